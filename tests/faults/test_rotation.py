"""The authority is replaced while clients pair, renew and call at two planes; none notices until it is retired.

`COMPASS_PROOF=1` has 50 clients.
"""

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from compass.agent.anchors import Anchors
from compass.agent.loop import Agent, Status, Trouble
from compass.agent.pair import Connection, pair, renew
from compass.client.graphql import ClientCertificate, Trust
from compass.errors import CompassError
from tests.e2e.plane import DEFAULT_TENANT, DIRECTOR, Plane, Tables
from tests.faults.chaos import PROOF

AGENTS, ORIGINALS = (30, 20) if PROOF else (3, 2)
PERIOD = 0.1
PHASE_SECONDS = 10.0 if PROOF else 0.4
VIEWER = json.dumps({"query": "{ viewer { type } }"})
STATES = "SELECT array_agg(state ORDER BY state) FROM authority WHERE kind = 'issuing'"


@dataclass
class Tally:
    """What clients met with, each call over a connection of its own."""

    calls: int = 0
    pairings: int = 0
    failures: list[str] = field(default_factory=list)


async def ca(plane: Plane, dsn: str, *arguments: str) -> tuple[int, str, str]:
    """`compass ca …` as a process."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "compass", "ca", *arguments, "--data-folder", str(plane.data_folder)),
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "COMPASS_DATABASE__DSN": dsn},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, wrong = await process.communicate()
    return process.returncode or 0, said.decode(), wrong.decode()


def session_of(trust: Trust, connection: Connection) -> aiohttp.ClientSession:
    shown = ClientCertificate(connection.folder / "chain.crt", connection.folder / "client.key")
    connector = aiohttp.TCPConnector(ssl=trust.context(shown), limit=1)
    return aiohttp.ClientSession(connector=connector, headers={"Content-Type": "application/json"})


async def call(plane: Plane, trust: Trust, connection: Connection) -> None:
    """One call over a new connection. Raises what goes wrong."""
    async with (
        session_of(trust, connection) as session,
        session.post(f"{plane.mtls_url}{DIRECTOR}", data=VIEWER) as answer,
    ):
        body = await answer.text()
        if answer.status != 200 or "errors" in body:
            raise AssertionError(f"{answer.status} {body}")


@dataclass
class Field:
    """Two planes and everybody who speaks to them."""

    planes: tuple[Plane, Plane]
    folder: Path
    old: Trust
    tally: Tally = field(default_factory=Tally)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    present: Trust | None = None
    """What clients that pair are told to trust."""

    async def paired(self, name: str) -> Connection:
        plane = self.planes[self.tally.pairings % 2]
        self.tally.pairings += 1
        token = await plane.token(application=await plane.application(name))
        return await pair(
            self.folder / name,
            connector_url=f"{plane.token_url}/connector/graphql",
            token=token,
            trust=self.present or self.old,
        )

    async def agent(self, name: str) -> Agent:
        plane = self.planes[0]
        runtime = await plane.runtime(name)
        folder = self.folder / name
        folder.mkdir()
        told = {
            "connector_url": f"{plane.token_url}/connector/graphql",
            "runtime_id": runtime,
            "tenant": DEFAULT_TENANT,
            "name": name,
            "token": await plane.token(runtime=runtime),
            "sync_period_seconds": PERIOD,
        }
        (folder / "configuration.json").write_text(json.dumps(told))
        (folder / "plane_ca.pem").write_text(self.old.anchors or "")

        async def labels() -> Mapping[str, str]:
            return {}

        def report(status: Status) -> None:
            if status.trouble is not None:
                self.tally.failures.append(f"{name}: {status.error}")

        return Agent(folder, labels=labels, apply=lambda _: None, report=report)

    def goes_on(self, name: str, once: Callable[[int], Any], *, every: float) -> None:
        """Do it again and again; what goes wrong is written down."""

        async def going_on() -> None:
            number = 0
            while True:
                number += 1
                try:
                    await once(number)
                    self.tally.calls += 1
                except (CompassError, aiohttp.ClientError, OSError, AssertionError) as error:
                    self.tally.failures.append(f"{name}: {type(error).__name__} {error}")
                await asyncio.sleep(every)

        self.tasks.append(asyncio.create_task(going_on(), name=name))


@asynccontextmanager
async def running(agents: list[Agent]) -> AsyncIterator[None]:
    stop = asyncio.Event()
    passes = [asyncio.create_task(agent.run(stop)) for agent in agents]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*passes)


async def until(condition: Callable[[], Any], *, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.1)


@pytest.mark.timeout(900)
async def test_clients_pair_renew_and_call_through_a_whole_rotation_without_a_failure(
    tmp_path: Path, shared_dsn: str, moments: random.Random, record_property: Any
) -> None:
    settings = {"COMPASS_DATABASE__DSN": shared_dsn}
    a, b = (Plane(tmp_path / "planes", settings=settings) for _ in range(2))
    async with a, b, Tables.of(shared_dsn) as tables:
        clients = Field((a, b), tmp_path / "clients", a.trust)
        clients.folder.mkdir()
        agents = [await clients.agent(f"runtime-{n}") for n in range(AGENTS)]
        sleeper = await clients.agent("sleeper")
        assert (await sleeper.once()).trouble is None
        sleeping = Connection.read(sleeper.folder).client_id
        originals = [await clients.paired(f"original-{n}") for n in range(ORIGINALS)]
        async with running(agents):
            await until(lambda: all_hold(agents, 1))
            for agent in agents:

                async def as_agent(number: int, folder: Path = agent.folder) -> None:
                    trust = Trust.to((folder / "plane_ca.pem").read_text())
                    await call(clients.planes[number % 2], trust, Connection.read(folder))

                clients.goes_on(agent.folder.name, as_agent, every=0.2)
            for number, original in enumerate(originals):

                async def as_original(number: int, folder: Path = original.folder) -> None:
                    # It trusts the one root it was given, renews now and then, and never asks what to trust.
                    connection = Connection.read(folder)
                    if number % 10 == 9:
                        connection = await renew(connection, trust=clients.old)
                    await call(clients.planes[number % 2], clients.old, connection)

                clients.goes_on(f"original-{number}", as_original, every=0.2)

            async def as_newcomer(number: int) -> None:
                connection = await clients.paired(f"newcomer-{number}")
                for plane in clients.planes:
                    await call(plane, clients.present or clients.old, connection)

            clients.goes_on("newcomer", as_newcomer, every=0.5)
            began = time.monotonic()
            for phase in ("prepare", "distribute", "activate"):
                await asyncio.sleep(moments.uniform(0, PHASE_SECONDS))
                code, _, said = await ca(a, shared_dsn, "rotate", phase)
                assert code == 0, said
            # Whoever comes from now on may be told of either root.
            roots = (await published(a, clients.old)).split("-----END CERTIFICATE-----\n")
            clients.present = Trust.to(f"{roots[0]}-----END CERTIFICATE-----\n")
            await until(lambda: all_hold(agents, 2))
            await until(lambda: renewed(agents))
            code, _, said = await ca(a, shared_dsn, "rotate", "retire")
            assert (code, "clients have no certificate of the new authority" in said) == (1, True)
            assert PROOF or sleeping in said  # of many, the first ten are named
            assert await tables.value(STATES) == ["active", "replaced"]
            await asyncio.sleep(moments.uniform(0, PHASE_SECONDS))
            # The originals have what they need up to here. From now on nobody but the agents goes on.
            for task in clients.tasks[AGENTS:]:
                task.cancel()
            await asyncio.gather(*clients.tasks[AGENTS:], return_exceptions=True)
            failures_before_the_end = list(clients.tally.failures)
            async with session_of(clients.old, Connection.read(sleeper.folder)) as kept:
                statuses = []
                for arguments in ((), ("rotate", "retire", "--force")):
                    assert not arguments or (await ca(a, shared_dsn, *arguments))[0] == 0
                    async with kept.post(f"{a.mtls_url}{DIRECTOR}", data=VIEWER) as answer:
                        await answer.read()
                        statuses.append(answer.status)
                assert statuses == [200, 401]  # on the connection that was open
            await until(lambda: all_hold(agents, 1))
            await asyncio.sleep(moments.uniform(1, 1 + PHASE_SECONDS))
            took = time.monotonic() - began
            for task in clients.tasks:
                task.cancel()
            await asyncio.gather(*clients.tasks, return_exceptions=True)
        assert failures_before_the_end == []
        assert clients.tally.failures == []
        record_property("cases", clients.tally.calls)
        print(f"{clients.tally.calls} calls, {clients.tally.pairings} pairings, 0 failures, {took:.0f} s")  # noqa: T201
        assert clients.tally.calls > 20 * (AGENTS + ORIGINALS) / 2
        assert await tables.value(STATES) == ["active", "retired"]
        # Those that did not follow are told what to do, and nothing of theirs was lost.
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await call(a, clients.old, originals[0])
        slept = await sleeper.once()
        assert slept.trouble is Trouble.NOT_TRUSTED
        assert "replaced its authority" in (slept.error or "")
        (sleeper.folder / "plane_ca.pem").write_text(clients.present.anchors or "")
        await sleeper.close()
        slept = await sleeper.once()
        assert (slept.trouble, "pair again with a new token" in (slept.error or "")) == (Trouble.UNAUTHORIZED, True)
        a.anchor.write_text(clients.present.anchors or "")
        token = await a.token(runtime=json.loads((sleeper.folder / "configuration.json").read_text())["runtime_id"])
        told = json.loads((sleeper.folder / "configuration.json").read_text()) | {"token": token}
        (sleeper.folder / "configuration.json").write_text(json.dumps(told))
        assert (await sleeper.once()).trouble is None
        await sleeper.close()


async def all_hold(agents: list[Agent], count: int) -> bool:
    """Whether each trusts that many roots, and has said so."""
    kept = [Anchors.read(agent.folder) for agent in agents]
    return all(each is not None and each.roots.count("BEGIN CERTIFICATE") == count for each in kept)


async def renewed(agents: list[Agent]) -> bool:
    """Whether each has a certificate of the authority that signs now."""
    kept = [(agent.folder, Anchors.read(agent.folder)) for agent in agents]
    return all(
        each is not None and (folder / "chain.crt").read_text().endswith(first(each.issuing)) for folder, each in kept
    )


def first(pem: str) -> str:
    end = "-----END CERTIFICATE-----\n"
    return pem[: pem.index(end) + len(end)]


async def published(plane: Plane, trust: Trust) -> str:
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust.context())) as session,
        session.get(f"{plane.token_url}/ca.pem") as answer,
    ):
        return await answer.text()
