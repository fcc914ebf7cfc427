"""How a runtime is doing, as its agent comes, goes silent and comes back, with a real plane and a real agent."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from compass.files import private_folder
from tests.e2e.plane import CONNECTOR, DEFAULT_TENANT, Plane, Tables

SETTINGS = {"COMPASS_HEARTBEAT__EVERY": "1s", "COMPASS_HEARTBEAT__MISSED_AFTER": "3s"}
AXES: Final = "health state reason since until"
STATUS: Final = f"""query ($id: ID!) {{ result: runtime(id: $id) {{ connection {{
    health lastSeen agent {{ version revision applications trouble error }}
    paired {{ {AXES} }} certificate {{ {AXES} }} inSync {{ {AXES} }} heartbeat {{ {AXES} }} }} }} }}"""
ATTENTION: Final = "{ result: searchRuntimes(attention: true) { totalCount data { id } } }"
LABEL: Final = """mutation ($id: ID!, $value: Any!) {
    result: setApplicationLabel(applicationID: $id, key: "k", value: $value) { key } }"""


async def prepared(plane: Plane, folder: Path, runtime: str) -> Path:
    """A folder with which an agent pairs."""
    private_folder(folder)
    told = {
        "connector_url": f"{plane.token_url}{CONNECTOR}",
        "token": await plane.token(runtime=runtime),
        "runtime_id": runtime,
        "tenant": DEFAULT_TENANT,
        "sync_period_seconds": 2,
        "name": "edge",
    }
    (folder / "configuration.json").write_text(json.dumps(told))
    (folder / "plane_ca.pem").write_text(plane.anchor.read_text())
    return folder


@contextmanager
def agent(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The runtime as a process of its own, killed at the end."""
    one = subprocess.Popen([sys.executable, "-m", "compass.runtime", "--folder", str(folder)])
    try:
        yield one
    finally:
        one.kill()
        one.wait()


async def connection(plane: Plane, runtime: str) -> Any:
    return (await plane.ask(STATUS, id=runtime))["connection"]


async def until(plane: Plane, runtime: str, wanted: Callable[[Any], bool]) -> Any:
    """The first connection status that is like this."""
    async with asyncio.timeout(60):
        while not wanted(now := await connection(plane, runtime)):
            await asyncio.sleep(0.1)
    return now


def states(now: Any) -> list[str]:
    return [now[axis]["state"] for axis in ("paired", "certificate", "inSync", "heartbeat")]


async def test_an_agent_that_goes_silent_is_missed_and_one_that_comes_back_is_not(
    plane: Plane, tables: Tables, tmp_path: Path
) -> None:
    application, runtime = await plane.application("orders"), await plane.runtime("edge")
    await plane.group("retail", applications=[application], runtimes=[runtime])
    waiting = await connection(plane, runtime)
    assert (waiting["health"], states(waiting)) == ("WAITING", ["UNPAIRED", "NONE", "UNKNOWN", "NONE"])
    folder = await prepared(plane, tmp_path / "edge", runtime)

    with agent(folder):
        well = await until(plane, runtime, lambda now: states(now) == ["PAIRED", "VALID", "IN_SYNC", "ALIVE"])
        assert (well["health"], well["agent"]["applications"], well["agent"]["trouble"]) == ("OK", 1, None)
        assert (await plane.ask(ATTENTION))["totalCount"] == 0

        # What a runtime sees changes, and it takes it over.
        await plane.ask(LABEL, id=application, value="new")
        before = well["inSync"]["since"]
        await until(plane, runtime, lambda now: now["inSync"]["state"] == "IN_SYNC" and now["inSync"]["since"] > before)

    events = await tables.value("SELECT count(*) FROM outbox_event")
    silent = await until(plane, runtime, lambda now: now["heartbeat"]["state"] == "MISSING")
    assert (silent["health"], silent["heartbeat"]["health"]) == ("BAD", "BAD")
    assert silent["heartbeat"]["reason"].startswith("no heartbeat for ")
    assert silent["heartbeat"]["since"] == silent["lastSeen"]
    assert silent["inSync"]["state"] == "UNKNOWN"
    assert (silent["paired"]["state"], silent["certificate"]["state"]) == ("PAIRED", "VALID")
    assert [one["id"] for one in (await plane.ask(ATTENTION))["data"]] == [runtime]
    # That it is missed was written by nobody.
    assert await tables.value("SELECT count(*) FROM outbox_event") == events

    with agent(folder):
        await until(plane, runtime, lambda now: states(now) == ["PAIRED", "VALID", "IN_SYNC", "ALIVE"])
        assert (await plane.ask(ATTENTION))["totalCount"] == 0
