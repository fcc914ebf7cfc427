"""A database that goes away while the plane runs: clear errors, nothing lost, and no restart needed when it is back."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from compass.postgres.embedded import running
from tests.delivery.receiver import receiving
from tests.e2e.field import CONFIGURATION, FieldClient
from tests.e2e.plane import ADD_WEBHOOK, ASSIGN, DIRECTOR, PROVISIONER, Plane

AWAY = {
    "message": "the plane cannot reach its database; nothing was changed, try again in a moment",
    "extensions": {"error": "OperationTimeout", "error_code": 28},
}
APPLICATIONS = "{ applications { totalCount data { id name } } }"


class Database:
    """A PostgreSQL of the test's own that can be stopped and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = AsyncExitStack()

    async def start(self) -> str:
        return await self._stack.enter_async_context(running(self._folder))

    async def stop(self) -> None:
        await self._stack.aclose()


@pytest.fixture
async def own_database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "database")
    yield database
    await database.stop()


async def _status(plane: Plane, path: str) -> int:
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=plane.trust.context())) as session,
        session.get(f"{plane.token_url}{path}") as answer,
    ):
        return answer.status


async def test_a_database_that_goes_away_and_comes_back_costs_nothing_but_the_calls_meanwhile(
    own_database: Database, tmp_path: Path
) -> None:
    dsn = await own_database.start()
    settings = {"COMPASS_DATABASE__DSN": dsn, "COMPASS_DELIVERY__FIRST_RETRY_AFTER": "200ms"}
    async with receiving() as receiver, Plane(tmp_path / "plane", settings=settings) as plane:
        application, runtime = await plane.application("orders"), await plane.runtime("edge")
        client = FieldClient(plane, tmp_path / "client", ec.generate_private_key(ec.SECP256R1()))
        await client.pair(await plane.token(application=application))
        token = await plane.token(application=await plane.application("later"))
        webhook = {"type": "CONFIGURATION_CHANGED", "url": receiver.url()}
        await plane.post(ADD_WEBHOOK, {"id": application, "in": webhook})
        await plane.group("g", applications=[application], runtimes=[])
        before = (await plane.post(APPLICATIONS)).data
        bearer = await plane.bearer()

        await own_database.stop()

        async def asked(path: str, document: str, headers: dict[str, str]) -> tuple[int, Any]:
            answer = await plane.send(path, json.dumps({"query": document}), bearer | headers)
            return answer.status, answer.error["extensions"]

        for path, document in (
            (DIRECTOR, APPLICATIONS),
            (DIRECTOR, 'mutation { registerApplication(in: {name: "lost"}) { id } }'),
            (PROVISIONER, 'mutation { deprovisionRuntime(id: "x") }'),
        ):
            answer = await plane.send(path, json.dumps({"query": document}), bearer)
            assert (answer.status, answer.body) == (503, {"errors": [AWAY], "data": None})
        # A one-time token is looked at inside the operation, so the answer is GraphQL's.
        pairing = await client.call(CONFIGURATION, token=token)
        assert (pairing.status, pairing.body) == (200, {"errors": [AWAY | {"path": ["result"]}], "data": None})
        for paired in (await client.director("{ viewer { id } }"), await client.call(CONFIGURATION, paired=True)):
            assert (paired.status, paired.body) == (503, {"errors": [AWAY], "data": None})
        assert (await _status(plane, "/readyz"), await _status(plane, "/livez")) == (503, 200)

        assert await own_database.start() == dsn

        async with asyncio.timeout(20):
            while await _status(plane, "/readyz") != 200:
                await asyncio.sleep(0.05)
        assert (await plane.post(APPLICATIONS)).data == before
        assert (await client.director("{ viewer { type } }")).data["viewer"] == {"type": "APPLICATION"}
        assert (await client.configuration(token))["token"]["token"]  # what was refused did not cost the token
        # Relay and delivery are back too.
        await plane.ask(ASSIGN, id=runtime, type="RUNTIME", name="g")
        (told,) = await receiver.has(1)
        assert json.loads(told.body)["data"]["operation"] == "assign"
        assert plane.is_running()
        assert "Traceback" not in plane.log, plane.log


async def test_a_plane_whose_own_database_was_killed_says_so_and_has_everything_after_a_restart(tmp_path: Path) -> None:
    async with Plane(tmp_path / "plane") as plane:
        await plane.application("kept")
        before = (await plane.post(APPLICATIONS)).data
        bearer = await plane.bearer()

        os.kill(_postmaster_of(plane), signal.SIGKILL)

        # It ends itself, with the reason, for whoever supervises it to start it anew. Until then it refuses.
        lost = json.dumps({"query": 'mutation { registerApplication(in: {name: "lost"}) { id } }'})
        async with asyncio.timeout(60):
            while plane.is_running():
                with suppress(aiohttp.ClientConnectionError):
                    answer = await plane.send(DIRECTOR, lost, bearer)
                    assert (answer.status, answer.body) == (503, {"errors": [AWAY], "data": None})
        assert "postgres failed: it ended while the plane was up" in plane.log
        await plane.stop()
        await plane.start()
        assert (await plane.post(APPLICATIONS)).data == before
        assert "Traceback" not in plane.log, plane.log


def _postmaster_of(plane: Plane) -> int:
    return int((plane.data_folder / "postgres/data/postmaster.pid").read_text().splitlines()[0])
