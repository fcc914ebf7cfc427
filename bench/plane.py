"""(e) pairing and redemption over TLS, (f) from a commit to who is told, (g) start-up: a plane process of its own."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp
from cryptography.hazmat.primitives.asymmetric import ec

from bench.table import Line, quantiles, shown
from compass.agent.loop import Agent, State
from compass.agent.pair import signing_request
from compass.files import private_folder, write_private, write_private_json
from tests.e2e.plane import ADD_WEBHOOK, CONNECTOR, DEFAULT_TENANT, TOKEN_FOR_APPLICATION, Plane

CONFIGURATION: Final = "{ configuration { token { token } certificateSigningRequestInfo { subject } } }"
SIGN: Final = "mutation ($csr: String!) { signCertificateSigningRequest(csr: $csr) { clientCertificate } }"
PAIRINGS: Final = 120
AT_ONCE: Final = 8
RACES: Final = 40
RACERS: Final = 32
ADD_API: Final = """mutation ($id: ID!, $url: String!) {
    result: addBundle(applicationID: $id, in: {name: "sales", apiDefinitions: [{name: "orders", targetURL: $url}]}) {
        apiDefinitions { data { id } } } }"""
MOVE_API: Final = """mutation ($id: ID!, $url: String!) {
    result: updateAPIDefinition(id: $id, in: {name: "orders", targetURL: $url}) { targetURL } }"""
NOTIFICATIONS: Final = 150
CHANGES: Final = 60
SYNC_PERIOD: Final = timedelta(seconds=20)
SETTLE: Final = timedelta(seconds=1)
APART: Final = timedelta(milliseconds=250)
"""Between two changes. An agent that has just had one taken over waits a tenth of a second for more."""
LOOK_EVERY: Final = timedelta(milliseconds=1)


async def _connector(session: aiohttp.ClientSession, plane: Plane, token: str, text: str, **variables: Any) -> Any:
    body = {"query": text, "variables": variables}
    async with session.post(f"{plane.token_url}{CONNECTOR}", json=body, headers={"Connector-Token": token}) as answer:
        return json.loads(await answer.read())


@asynccontextmanager
async def _session(plane: Plane) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(ssl=plane.trust.context(), limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


async def _tokens(plane: Plane, count: int, name: str) -> list[str]:
    application = await plane.application(name)
    return [str((await plane.ask(TOKEN_FOR_APPLICATION, id=application))["token"]) for _ in range(count)]


async def pairing(folder: Path) -> list[Line]:
    """(e)"""
    async with Plane(folder) as plane:
        tokens = await _tokens(plane, PAIRINGS, "paired")
        key = ec.generate_private_key(ec.SECP256R1())
        durations: list[float] = []
        seats = asyncio.Semaphore(AT_ONCE)

        async def pair(token: str) -> None:
            async with seats, _session(plane) as session:  # a client of its own: its own connection
                begin = time.perf_counter()
                answer = (await _connector(session, plane, token, CONFIGURATION))["data"]["configuration"]
                csr = signing_request(key, answer["certificateSigningRequestInfo"]["subject"])
                signed = await _connector(session, plane, answer["token"]["token"], SIGN, csr=csr)
                if not signed["data"]["signCertificateSigningRequest"]["clientCertificate"]:
                    raise AssertionError(signed)
                durations.append(time.perf_counter() - begin)

        begin = time.perf_counter()
        await asyncio.gather(*(pair(token) for token in tokens))
        elapsed = time.perf_counter() - begin
        lines = [
            Line(
                "e pairing",
                f"{PAIRINGS} clients, {AT_ONCE} at once, a connection each",
                {"pairings/s": f"{PAIRINGS / elapsed:.0f}", **quantiles(durations)},
                "token → configuration → CSR → certificate",
            )
        ]
        tokens = await _tokens(plane, RACES, "raced")
        async with _session(plane) as session:
            winners, begin = [], time.perf_counter()
            for token in tokens:
                answers = await asyncio.gather(
                    *(_connector(session, plane, token, CONFIGURATION) for _ in range(RACERS))
                )
                winners.append(sum("errors" not in answer for answer in answers))
            elapsed = time.perf_counter() - begin
        if winners != [1] * RACES:
            raise AssertionError(f"winners per token: {winners}")
        calls = f"{RACES * RACERS / elapsed:.0f}"
        verdict = "one winner for every token"
        lines.append(
            Line(
                "e redemption",
                f"{RACERS} clients race for each of {RACES} tokens",
                {"tokens/s": f"{RACES / elapsed:.1f}", "calls/s": calls},
                verdict,
            )
        )
        return lines


class _Receiver:
    """An application's webhook: notes when it is called."""

    def __init__(self) -> None:
        self._arrived: asyncio.Queue[float] = asyncio.Queue()
        self.port = 0

    async def next(self) -> float:
        """When the next call came."""
        async with asyncio.timeout(30):
            return await self._arrived.get()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(length)
        self._arrived.put_nowait(time.perf_counter())
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{}"
        )
        await writer.drain()
        writer.close()


async def changes(folder: Path) -> list[Line]:
    """(f)"""
    async with Plane(folder) as plane:
        return [await _to_webhook(plane), *await _to_agent(plane, folder / "agent")]


async def _to_webhook(plane: Plane) -> Line:
    receiver = _Receiver()
    async with await asyncio.start_server(receiver, "127.0.0.1", 0) as server:
        application, runtime = await plane.application("told"), await plane.runtime("moving")
        webhook = {"type": "CONFIGURATION_CHANGED", "url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"}
        variables: dict[str, Any] = {"id": application, "in": webhook}
        await plane.ask(ADD_WEBHOOK, **variables)
        await plane.group("bench", applications=[application], runtimes=[runtime])
        await receiver.next()
        move = """mutation ($id: ID!, $to: Any!) {
            setRuntimeLabel(runtimeID: $id, key: "runtime_consoleUrl", value: $to) { key } }"""
        waits: list[float] = []
        for number in range(NOTIFICATIONS):
            begin = time.perf_counter()
            await plane.ask(move, id=runtime, to=f"https://console-{number}.example")
            answered = time.perf_counter()
            arrived = await receiver.next()
            # It may arrive before the answer to the mutation does: the commit lies between the two moments.
            waits.append(max(arrived - answered, 0.0) if arrived > answered else arrived - begin)
    return Line(
        "f commit → webhook",
        f"{NOTIFICATIONS} changes, one after the other",
        quantiles(waits),
        "after the mutation's answer",
    )


async def _to_agent(plane: Plane, folder: Path) -> list[Line]:
    """The agent as it is, in its own folder, over mTLS; nothing is measured before it took the first address over."""
    application, runtime = await plane.application("moved"), await plane.runtime("following")
    api = (await plane.ask(ADD_API, id=application, url=_address(0)))["apiDefinitions"]["data"][0]["id"]
    await plane.group("followed", applications=[application], runtimes=[runtime])
    _prepare(folder, plane, runtime, await plane.token(runtime=runtime))
    agent = Agent(folder, labels=_no_labels, apply=lambda _: None)
    try:
        passes, waits = await _passes(plane, agent, api), await _told(plane, agent, api)
    finally:
        await agent.close()
    return [
        Line(
            "f one pass of an agent",
            f"{CHANGES} changes, a pass after each",
            quantiles(passes),
            "first question → applied.json, without waiting for a turn",
        ),
        Line(
            "f commit → applied",
            f"{CHANGES} changes, an agent that is told; it looks by itself every {SYNC_PERIOD.total_seconds():.0f} s",
            quantiles(waits),
            "mutation's answer → applied.json; at most the period when it is not told",
        ),
    ]


def _prepare(folder: Path, plane: Plane, runtime: str, token: str) -> None:
    private_folder(folder)
    told = {
        "connector_url": f"{plane.token_url}{CONNECTOR}",
        "token": token,
        "runtime_id": runtime,
        "tenant": DEFAULT_TENANT,
        "sync_period_seconds": SYNC_PERIOD.total_seconds(),
    }
    write_private_json(folder / "configuration.json", told)
    write_private(folder / "plane_ca.pem", plane.anchor.read_bytes())


async def _passes(plane: Plane, agent: Agent, api: str) -> list[float]:
    """How long the pass takes that takes a change over."""
    await _taking_over(agent, 0)
    durations = []
    for number in range(1, CHANGES + 1):
        await plane.ask(MOVE_API, id=api, url=_address(number))
        durations.append(await _taking_over(agent, number))
    return durations


async def _taking_over(agent: Agent, number: int) -> float:
    begin = time.perf_counter()
    status = await agent.once()
    elapsed = time.perf_counter() - begin
    if status.state is not State.SYNCHRONIZED or not _applied(agent, number):
        raise AssertionError(status)
    return elapsed


async def _told(plane: Plane, agent: Agent, api: str) -> list[float]:
    """How long a change takes to reach an agent that follows the change feed."""
    stop = asyncio.Event()
    running = asyncio.ensure_future(agent.run(stop))
    waits = []
    try:
        await asyncio.sleep(SETTLE.total_seconds())  # it pairs no more, but begins to follow, and looks once for that
        for number in range(CHANGES + 1, 2 * CHANGES + 1):
            await asyncio.sleep(APART.total_seconds())
            await plane.ask(MOVE_API, id=api, url=_address(number))
            answered = time.perf_counter()
            async with asyncio.timeout(30):
                while not _applied(agent, number):  # noqa: ASYNC110  a file sets no event
                    await asyncio.sleep(LOOK_EVERY.total_seconds())
            waits.append(time.perf_counter() - answered)
    finally:
        stop.set()
        await running
    return waits


def _address(number: int) -> str:
    return f"https://orders-{number}.example/"


def _applied(agent: Agent, number: int) -> bool:
    return _address(number) in (agent.folder / "applied.json").read_text()


async def _no_labels() -> Mapping[str, str]:
    return {}


async def start_up(folder: Path) -> list[Line]:
    """(g)"""
    lines = []
    plane = Plane(folder)
    for name in ("cold: the database is made", "warm"):
        begin = time.perf_counter()
        async with plane:
            ready = time.perf_counter() - begin
            await asyncio.sleep(3)
            lines.append(
                Line(
                    "g start-up",
                    name,
                    {"until ready": shown(ready), "plane RSS, idle": f"{plane.resident_kilobytes / 1024:.0f} MB"},
                )
            )
    return lines


SECTIONS: Final[Sequence[tuple[str, Callable[[Path], Awaitable[list[Line]]]]]] = (
    ("e", pairing),
    ("f", changes),
    ("g", start_up),
)
