"""A log as a plane has it after a year: `compass audit verify` reads all of it, within a minute, and finds the one
record that somebody changed.

The records are made and sealed by the plane's own code, only not by as many mutations. `COMPASS_PROOF=1` has a million.
"""

import asyncio
import os
import random
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

import asyncpg
import pytest

from compass.audit.keys import Keys
from compass.audit.record import Done, Log
from compass.audit.seal import seal
from compass.postgres.pool import Database, Tx
from compass.vault import Vault
from tests.faults.chaos import PROOF, standstill

RECORDS: Final = 1_000_000 if PROOF else 600
EACH: Final = 100
"""Records of one checkpoint: what several clients do in a second."""
TENANTS: Final = tuple(f"{number:08x}-0000-4000-8000-000000000001" for number in range(5))
WITHIN_SECONDS: Final = 60
"""Source: design/guarantees.md G29. Held against the clock as a proof only."""
COLUMNS: Final = ("id", "tenant_id", "happened_at", "body", "before", "after", "mac")
CHANGE: Final = 'UPDATE audit_record SET body = (body::jsonb || \'{"requestID": "another"}\')::json WHERE id = $1::uuid'


class Written:
    """Takes what a log writes, as a transaction would."""

    def __init__(self) -> None:
        self.parameters: dict[str, Any] = {}

    async def run(self, _statement: str, **parameters: Any) -> int:
        self.parameters = parameters
        return 1


def done(number: int, chance: random.Random) -> Done:
    """One of the things that administrators and clients do most."""
    return Done(
        operation=chance.choice(("registerApplication", "setRuntimeLabel", "assignFormation", "updateBundle")),
        who={"consumer": "Static User", "consumerID": "admin", "flow": "JWT", "tenant": "default"},
        tenant=chance.choice(TENANTS),
        request_id=f"{chance.getrandbits(128):032x}",
        arguments={"in": {"name": f"shop-{number}", "description": "sells things", "labels": {"region": ["eu", "us"]}}},
        object_type="Application",
        object_id=f"{chance.getrandbits(128):032x}",
    )


def image(number: int) -> str:
    """An object as the API shows it."""
    status = '{"condition": "INITIAL", "timestamp": "2026-01-01T00:00:00Z"}'
    return f'{{"id": "{number}", "name": "shop-{number}", "description": "sells things", "status": {status}}}'


async def fill(dsn: str, keys: Keys, chance: random.Random) -> list[str]:
    """Write and seal that many records. Their ids."""
    log, written, ids = Log(keys), Written(), []
    at = datetime.now(UTC) - timedelta(days=365)
    # As the superuser: whom policies hold cannot write in bulk.
    connection = await asyncpg.connect(dsn.replace("compass@", "postgres@", 1))
    try:
        async with Database.open(dsn, connections=1) as database:
            for begin in range(0, RECORDS, EACH):
                rows = []
                for number in range(begin, begin + EACH):
                    await log.record(cast("Tx", written), done(number, chance))
                    one = written.parameters
                    at += timedelta(milliseconds=31)
                    before = None if number % 3 else image(number)
                    body = one["body"].decode()
                    rows.append((one["id"], one["tenant"], at, body, before, image(number), one["mac"]))
                await connection.copy_records_to_table("audit_record", records=rows, columns=COLUMNS)
                waiting: Iterator[tuple[str]] = ((row[0],) for row in rows)
                await connection.copy_records_to_table("audit_unsealed", records=waiting, columns=["record_id"])
                assert await database.run(lambda tx: seal(tx, keys)) is not None
                ids += [row[0] for row in rows]
    finally:
        await connection.close()
    return ids


async def verify(folder: Path, dsn: str) -> tuple[int, str, str, float]:
    """`compass audit verify` as a process: exit code, what it printed and said, and its seconds."""
    began = time.monotonic()
    async with standstill() as stood:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "compass", "audit", "verify", "--data-folder", str(folder)),
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "COMPASS_DATABASE__DSN": dsn},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        printed, said = await process.communicate()
    return process.returncode or 0, printed.decode(), said.decode(), time.monotonic() - began - stood.seconds


@pytest.mark.timeout(1800)
async def test_a_million_records_are_checked_within_a_minute_and_the_one_that_was_changed_is_named(
    dsn: str, tmp_path: Path, record_property: Any
) -> None:
    seed = os.environ.get("AUDIT_SEED") or str(random.SystemRandom().getrandbits(32))
    print(f"AUDIT_SEED={seed}")  # noqa: T201  # shown when the test fails
    chance = random.Random(seed)  # noqa: S311  # records, not secrets
    async with Database.open(dsn, connections=1) as database, database.transaction() as tx:
        keys = await Keys.open(tx, Vault.at(tmp_path / "vault.keys"))
    ids = await fill(dsn, keys, chance)

    code, printed, said, took = await verify(tmp_path, dsn)

    assert (code, printed) == (0, ""), printed
    assert said.splitlines()[0] == f"checked {RECORDS} records in {RECORDS // EACH} checkpoints"
    assert not PROOF or took <= WITHIN_SECONDS
    changed = chance.choice(ids)
    connection = await asyncpg.connect(dsn)
    try:
        assert await connection.execute(CHANGE, changed) == "UPDATE 1"
    finally:
        await connection.close()
    code, printed, said, _ = await verify(tmp_path, dsn)
    [line] = printed.splitlines()
    assert (code, line.startswith("altered: record "), changed in line) == (9, True, True)
    record_property("cases", RECORDS)
    print(f"{RECORDS} records checked in {took:.1f} s, one of them found altered")  # noqa: T201  # for make proof
