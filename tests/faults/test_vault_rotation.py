"""The key of the vault is replaced, and whoever does it is killed, while callers write and read secrets at two planes.

`COMPASS_PROOF=1` kills at every point.
"""

import asyncio
import itertools
import os
import random
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from compass.errors import CompassError
from compass.postgres.pool import Database
from compass.vault import Vault, read
from compass.vault_rotation import SEALED
from tests.e2e.plane import ADD_WEBHOOK, Plane, Tables
from tests.e2e.test_planted_secrets import into
from tests.faults import killed_vault_rotation
from tests.faults.chaos import PROOF
from tests.test_vault_rotation import RECORDED

KILLS = 1
"""Of an everyday run."""
WRITERS = 4
UPDATE_WEBHOOK = "mutation ($id: ID!, $in: WebhookInput!) { result: updateWebhook(webhookID: $id, in: $in) { id } }"
PASSWORD = (
    "{ result: application(id: %s) { webhooks { auth { credential { ... on BasicCredentialData { password } } } } } }"
)
SIGKILLED = -9
ROOT = Path(__file__).parents[2]


@dataclass
class Callers:
    """Callers that write a secret at one plane and read it at the other, again and again."""

    planes: tuple[Plane, Plane]
    written: int = 0
    failures: list[str] = field(default_factory=list)
    passwords: dict[str, str] = field(default_factory=dict)
    """What each application's webhook has."""

    async def check(self, plane: Plane, application: str) -> None:
        """Whether what was written is what is read."""
        found = await plane.ask(PASSWORD % f'"{application}"')
        shown = [one["auth"]["credential"]["password"] for one in found["webhooks"]]
        assert shown == [self.passwords[application]]

    async def go_on(self, number: int) -> None:
        """One webhook, whose secret is replaced for ever."""
        application = await self.planes[0].application(f"application-{number}")
        self.passwords[application] = secrets.token_hex(16)
        added = await self.planes[0].ask(ADD_WEBHOOK, id=application, **into(hook(self.passwords[application])))
        while True:
            here, there = random.sample(self.planes, 2)
            password = secrets.token_hex(16)
            try:
                await here.ask(UPDATE_WEBHOOK, id=added["id"], **into(hook(password)))
                self.passwords[application] = password
                await self.check(there, application)
                self.written += 1
            except (CompassError, aiohttp.ClientError, OSError, AssertionError) as error:
                self.failures.append(f"{type(error).__name__} {error}")
            await asyncio.sleep(0.05)


def hook(password: str) -> Any:
    """A webhook that signs in with a password."""
    auth = {"credential": {"basic": {"username": "u", "password": password}}}
    return {"type": "CONFIGURATION_CHANGED", "url": "https://hook.invalid/", "auth": auth}


@asynccontextmanager
async def calling(planes: tuple[Plane, Plane]) -> AsyncIterator[Callers]:
    callers = Callers(planes)
    tasks = [asyncio.create_task(callers.go_on(number)) for number in range(WRITERS)]
    try:
        yield callers
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def python(*arguments: str) -> tuple[int, str]:
    """How a process of ours ended, and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *arguments),
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def readable(tables: Tables, keys: Path) -> int:
    """How many secrets there are. Raises SealBroken for one that the keys in the file do not open."""
    vault, count = Vault(read(keys)), 0
    for each in SEALED:
        query = (
            f"SELECT {each.key}::text AS id, {each.column} AS sealed FROM {each.table} WHERE {each.column} IS NOT NULL"
        )
        for row in await tables.rows(query):
            vault.open(each.place.format(row["id"]), row["sealed"])
            count += 1
    return count


@pytest.mark.timeout(1800)
async def test_nothing_is_lost_and_no_caller_notices_wherever_a_rotation_is_killed(
    tmp_path: Path, shared_dsn: str, moments: random.Random, record_property: Any
) -> None:
    settings = {"COMPASS_DATABASE__DSN": shared_dsn}
    a, b = (Plane(tmp_path / "planes", settings=settings) for _ in range(2))
    killed = 0
    async with a, b, Tables.of(shared_dsn) as tables, calling((a, b)) as callers:
        keys = a.data_folder / "vault.keys"
        arguments = (killed_vault_rotation.__file__, shared_dsn, str(keys))
        first = read(keys).seals
        async with asyncio.timeout(120):
            while callers.written < WRITERS:
                await asyncio.sleep(0.05)
        for point in itertools.count(1) if PROOF else moments.sample(range(1, 30), KILLS):
            before = read(keys)
            code, said = await python(*arguments, str(point))
            if code == 0:
                break  # there is no such point any more
            assert code == SIGKILLED, said
            killed += 1
            # The file is whole, and opens everything, also for a plane that starts now.
            await readable(tables, keys)
            code, said = await python(*arguments, "0")
            assert code == 0, said
            assert len(read(keys).by_id) == 1
            assert read(keys).seals != before.seals
        async with Database.open(shared_dsn, connections=1) as database:
            recorded = await database.run(lambda tx: tx.rows(RECORDED))
        assert await readable(tables, keys) >= 2 * len(callers.passwords)
    assert callers.failures == []
    assert killed >= KILLS
    sealing = [row["key"] for row in recorded if row["phase"] == "seal"]
    retired = [row["key"] for row in recorded if row["phase"] == "retire"]
    assert len(set(sealing)) == len(sealing)
    assert sorted(retired) == sorted({first, *sealing} - {read(keys).seals})
    record_property("cases", killed)
    print(f"{killed} kills, {len(sealing)} keys, {callers.written} secrets, 0 failures")  # noqa: T201
