import asyncio
import json
import os
import signal
import ssl
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from compass.runtime.process import FolderInUse, alone, remembered_sockets
from tests.agent.plane import FakePlane, api, application, basic, bundle
from tests.runtime.parts import FakeApplication, http, prepared, running, status, until


@pytest.fixture
def folder(plane: FakePlane, orders: FakeApplication, tmp_path: Path) -> Path:
    plane.applications = [
        application("a1", "mp-orders", bundle("b1", "Sales", basic(), [api("i1", "Orders", f"{orders.url}/basic/v1")]))
    ]
    made = prepared(tmp_path / "runtime", plane)
    (made / "applications_ca.pem").write_text(orders.authority.pem)
    return made


def started(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "compass.runtime", "--folder", str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


@asynccontextmanager
async def process(folder: Path) -> AsyncIterator[subprocess.Popen[bytes]]:
    """The runtime as a process of its own; at the end it is ours to end."""
    one = started(folder)
    try:
        yield one
    finally:
        if one.poll() is None:
            one.kill()
        await asyncio.to_thread(one.communicate)


async def waited(one: subprocess.Popen[bytes]) -> int:
    await until(lambda: one.poll() is not None)
    return one.returncode


def in_state(folder: Path, one: subprocess.Popen[bytes], state: str) -> bool:
    found = status(folder)
    return found.get("pid") == one.pid and found["state"] == state


async def get(url: str) -> tuple[int, Any]:
    async with http() as client, client.get(url) as answer:
        return answer.status, await answer.json(content_type=None)


async def test_a_started_runtime_pairs_serves_and_stops_when_told(plane: FakePlane, folder: Path) -> None:
    async with process(folder) as one:
        await until(lambda: in_state(folder, one, "Synchronized"))
        told = status(folder)
        assert (told["revision"], told["applications"], told["error"], told["trouble"]) == (1, 1, None, None)
        assert plane.labels["runtime_eventServiceUrl"] == told["events_url"]
        assert plane.labels["runtime_consoleUrl"] == told["health_url"]
        assert (await get(told["health_url"]))[0] == 200
        assert (await get(told["gateway_url"] + "/readyz"))[1]["ready"] is True
        assert (await get(told["gateway_url"] + "/mp-orders/sales/orders/x"))[0] == 200
        one.send_signal(signal.SIGHUP)
        one.terminate()
        assert await waited(one) == 0
    assert status(folder)["state"] == "Stopped"
    assert "Traceback" not in (folder / "log.txt").read_text()


async def test_no_secret_is_in_status_health_or_log(plane: FakePlane, folder: Path) -> None:
    token = json.loads((folder / "configuration.json").read_text())["token"]
    async with process(folder) as one:
        await until(lambda: in_state(folder, one, "Synchronized"))
        health = json.dumps((await get(status(folder)["health_url"]))[1])
        await get(status(folder)["gateway_url"] + "/mp-orders/sales/orders/x")
    texts = (health, (folder / "status.json").read_text(), (folder / "log.txt").read_text())
    for text in texts:
        assert "s3cret" not in text
        assert token not in text
        assert "PRIVATE KEY" not in text
    assert plane.calls[0] == "Configuration"


async def test_everything_secret_in_the_folder_is_its_owners_only(plane: FakePlane, folder: Path) -> None:
    async with process(folder) as one:
        await until(lambda: in_state(folder, one, "Synchronized"))
    for name in ("applied.json", "status.json", "configuration.json", "client.key", "events.jsonl", "lock"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600, name
    assert plane.calls


async def test_a_killed_runtime_serves_its_last_good_configuration_at_once_with_the_plane_away(
    plane: FakePlane, orders: FakeApplication, folder: Path
) -> None:
    async with process(folder) as one:
        await until(lambda: in_state(folder, one, "Synchronized"))
        one.kill()
        await waited(one)
    before = status(folder)
    await plane.stop()
    async with process(folder) as two:
        await until(lambda: in_state(folder, two, "ConnectionMaintenanceFailed"))
        now = status(folder)
        assert [now[name] for name in ("gateway_url", "events_url", "revision")] == [
            before[name] for name in ("gateway_url", "events_url", "revision")
        ]
        assert (now["trouble"], now["applications"]) == ("unreachable", 1)
        assert (await get(now["gateway_url"] + "/readyz"))[0] == 200
        assert (await get(now["gateway_url"] + "/mp-orders/sales/orders/x"))[0] == 200
        await plane.start()
        await until(lambda: in_state(folder, two, "Synchronized"))
    assert plane.calls.count("Configuration") == 1
    assert len(orders.calls) == 1


async def test_two_processes_never_share_a_folder(plane: FakePlane, folder: Path) -> None:
    async with process(folder) as one:
        await until(lambda: in_state(folder, one, "Synchronized"))
        async with process(folder) as two:
            assert await waited(two) == 1
            output = two.stdout.read().decode() if two.stdout is not None else ""
        assert f"process {one.pid} already runs in {folder}" in output
        assert status(folder)["pid"] == one.pid
        assert one.poll() is None
    with alone(folder), pytest.raises(FolderInUse, match=str(os.getpid())), alone(folder):
        pass
    assert plane.calls.count("Configuration") == 1


async def test_a_runtime_outlives_the_process_that_started_it(plane: FakePlane, folder: Path) -> None:
    starter = "import subprocess, sys; subprocess.Popen(sys.argv[1:], start_new_session=True)"
    command = [sys.executable, "-c", starter, sys.executable, "-m", "compass.runtime", "--folder", str(folder)]
    assert (await asyncio.to_thread(subprocess.run, command, check=False)).returncode == 0
    await until(lambda: status(folder).get("state") == "Synchronized")
    pid = status(folder)["pid"]
    os.kill(pid, signal.SIGTERM)
    await until(lambda: status(folder)["state"] == "Stopped")
    assert "ManagementPlane" in plane.calls


async def test_a_folder_that_does_not_exist_is_an_error_in_words(tmp_path: Path) -> None:
    async with process(tmp_path / "none") as one:
        assert await waited(one) == 1
        assert one.stdout is not None
        assert one.stdout.read().decode().startswith("error: ")


async def test_a_runtime_that_is_not_paired_is_alive_and_not_ready(plane: FakePlane, folder: Path) -> None:
    await plane.stop()
    async with running(folder, state="ConnectionFailed"):
        told = status(folder)
        assert (told["trouble"], told["revision"]) == ("unreachable", 0)
        assert (await get(told["health_url"]))[0] == 200
        code, ready = await get(told["gateway_url"] + "/readyz")
        assert (code, ready) == (503, {"ready": False, **told, "last_sync": ready["last_sync"]})
        # It tries again all the time, and says so where the Provisioner looks, although nothing else changes.
        await until(lambda: status(folder) == {**told, "last_sync": status(folder)["last_sync"]} != told)
        await plane.start()
        await until(lambda: status(folder)["state"] == "Synchronized")
        assert (await get(told["gateway_url"] + "/readyz"))[0] == 200


async def test_without_a_server_certificate_everything_but_events_works(plane: FakePlane, folder: Path) -> None:
    (folder / "server.crt").unlink()
    async with running(folder):
        assert "runtime_eventServiceUrl" not in plane.labels
        assert (await get(status(folder)["gateway_url"] + "/mp-orders/sales/orders/x"))[0] == 200
        plane.authority.write_server(folder / "server.crt", folder / "server.key")
        await until(lambda: plane.labels.get("runtime_eventServiceUrl") == status(folder)["events_url"])


async def test_a_replaced_server_certificate_is_shown_without_a_restart(plane: FakePlane, folder: Path) -> None:
    async with running(folder):
        port = int(status(folder)["events_url"].rsplit(":", 1)[1])
        plane.authority.write_server(folder / "server.crt", folder / "server.key")
        passes = len(plane.calls)
        await until(lambda: len(plane.calls) >= passes + 6)
        shown = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
    assert shown == (folder / "server.crt").read_text()


async def test_an_unusable_server_certificate_is_reported_and_stops_nothing_else(
    plane: FakePlane, folder: Path
) -> None:
    (folder / "server.key").write_text("no key")
    async with running(folder, state="MetadataUpdateFailed"):
        told = status(folder)
        assert (told["trouble"], told["revision"]) == ("local", 1)
        assert (await get(told["gateway_url"] + "/mp-orders/sales/orders/x"))[0] == 200
    assert plane.calls.count("SetRuntimeLabel") == 0


async def test_a_port_somebody_took_is_replaced_and_the_label_follows(plane: FakePlane, folder: Path) -> None:
    async with running(folder):
        before = status(folder)["events_url"]
    port = int(before.rsplit(":", 1)[1])
    taken = await asyncio.start_server(lambda _, __: None, "127.0.0.1", port)
    async with taken, running(folder):
        now = status(folder)["events_url"]
        assert now != before
        assert plane.labels["runtime_eventServiceUrl"] == now
    sockets = remembered_sockets(folder)
    assert sockets["events"].getsockname()[1] == int(now.rsplit(":", 1)[1])
    for bound in sockets.values():
        bound.close()
