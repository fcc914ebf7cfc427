import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from compass.ids import RuntimeId
from compass.provisioner.drivers import processes
from compass.provisioner.drivers.local import Local
from compass.provisioner.infrastructure import (
    Absent,
    AgentConfiguration,
    AgentView,
    ClusterAbsent,
    ClusterForeign,
    EndpointIdentity,
    Ready,
)

SLEEPS = (sys.executable, "-c", "import time; time.sleep(600)")
DIES = (sys.executable, "-c", "print('no')")
PLANE = "11111111-1111-4111-8111-111111111111"
OTHER_PLANE = "22222222-2222-4222-8222-222222222222"


@pytest.fixture
async def runtimes(tmp_path: Path) -> AsyncIterator[Path]:
    folder = tmp_path / "runtimes"
    yield folder
    for place in processes.working():
        if place.parent == folder:
            processes.end(place, grace=timedelta(0))


@pytest.fixture
def driver(runtimes: Path) -> Local:
    return Local(runtimes, plane=PLANE, command=SLEEPS, grace=timedelta(seconds=2))


@pytest.fixture
def runtime() -> RuntimeId:
    return RuntimeId(str(uuid4()))


def configuration(runtime: RuntimeId, token: str = "token-1", applications_ca: str | None = None) -> AgentConfiguration:
    return AgentConfiguration(
        runtime, "tenant-mine", "edge-01", "https://plane", token, timedelta(seconds=10), "plane ca", applications_ca
    )


async def connected(driver: Local, runtime: RuntimeId) -> None:
    await driver.create(runtime, {})
    await driver.identify(runtime, EndpointIdentity("a key", "a chain"))
    await driver.connect(runtime, configuration(runtime))


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []


def pids(place: Path) -> list[int]:
    return [process.pid for process in processes.working_in(place)]


async def gone(place: Path) -> None:
    async with asyncio.timeout(5):
        while pids(place):
            await asyncio.sleep(0.01)


async def test_creating_twice_makes_one_folder_that_says_whose_it_is(
    driver: Local, runtimes: Path, runtime: RuntimeId
) -> None:
    assert await driver.observe(runtime) == Absent()
    await asyncio.gather(*(driver.create(runtime, {}) for _ in range(4)))
    await driver.create(runtime, {})

    assert names(runtimes) == [runtime]
    assert json.loads((runtimes / runtime / "provisioner.json").read_bytes()) == {"plane": PLANE, "runtime": runtime}
    assert (runtimes / runtime).stat().st_mode & 0o777 == 0o700
    assert await driver.observe(runtime) == Ready(("localhost", "127.0.0.1"), None)


async def test_connecting_writes_everything_and_starts_one_process(
    driver: Local, runtimes: Path, runtime: RuntimeId
) -> None:
    await driver.create(runtime, {})
    await driver.identify(runtime, EndpointIdentity("a key", "a chain"))
    await driver.connect(runtime, configuration(runtime, "hidden-7", "applications ca"))

    place = runtimes / runtime
    assert len(pids(place)) == 1
    assert json.loads((place / "configuration.json").read_bytes()) == {
        "connector_url": "https://plane",
        "runtime_id": runtime,
        "tenant": "tenant-mine",
        "name": "edge-01",
        "token": "hidden-7",
        "sync_period_seconds": 10.0,
    }
    texts = {
        name: (place / name).read_text() for name in ("plane_ca.pem", "applications_ca.pem", "server.key", "server.crt")
    }
    assert list(texts.values()) == ["plane ca", "applications ca", "a key", "a chain"]
    assert {
        entry.name: oct(entry.stat().st_mode & 0o777) for entry in place.iterdir() if entry.stat().st_mode & 0o077
    } == {}
    shown = Path(f"/proc/{pids(place)[0]}")
    assert b"hidden-7" not in shown.joinpath("cmdline").read_bytes() + shown.joinpath("environ").read_bytes()


async def test_connecting_again_replaces_the_process(driver: Local, runtimes: Path, runtime: RuntimeId) -> None:
    await connected(driver, runtime)
    first = pids(runtimes / runtime)
    await asyncio.gather(*(driver.connect(runtime, configuration(runtime, f"token-{n}")) for n in range(3)))

    assert len(pids(runtimes / runtime)) == 1
    assert pids(runtimes / runtime) != first


async def test_what_is_not_there_cannot_be_connected(driver: Local, runtimes: Path, runtime: RuntimeId) -> None:
    with pytest.raises(ClusterAbsent):
        await driver.connect(runtime, configuration(runtime))
    with pytest.raises(ClusterAbsent):
        await driver.identify(runtime, EndpointIdentity("a key", "a chain"))

    assert names(runtimes) == []


async def test_a_process_that_died_is_started_again_and_a_living_one_is_not(
    driver: Local, runtimes: Path, runtime: RuntimeId
) -> None:
    await connected(driver, runtime)
    first = pids(runtimes / runtime)
    await driver.keep(runtime)
    assert pids(runtimes / runtime) == first

    os.kill(first[0], signal.SIGKILL)
    await gone(runtimes / runtime)
    await asyncio.gather(*(driver.keep(runtime) for _ in range(4)))

    assert len(pids(runtimes / runtime)) == 1
    assert pids(runtimes / runtime) != first


async def test_the_process_is_found_again_by_another_plane_process(
    driver: Local, runtimes: Path, runtime: RuntimeId
) -> None:
    await connected(driver, runtime)
    first = pids(runtimes / runtime)
    restarted = Local(runtimes, plane=PLANE, command=SLEEPS)

    assert await restarted.existing() == {runtime}
    await restarted.keep(runtime)
    assert pids(runtimes / runtime) == first
    await restarted.delete(runtime)
    assert await driver.observe(runtime) == Absent()
    assert pids(runtimes / runtime) == []


async def test_one_that_is_not_configured_yet_is_not_started(driver: Local, runtimes: Path, runtime: RuntimeId) -> None:
    await driver.create(runtime, {})
    await driver.keep(runtime)
    await driver.keep(RuntimeId(str(uuid4())))

    assert pids(runtimes / runtime) == []


async def test_one_that_dies_at_once_is_started_ever_more_rarely(
    runtimes: Path, runtime: RuntimeId, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    driver = Local(runtimes, plane=PLANE, command=DIES, clock=lambda: now)
    await connected(driver, runtime)
    starts: list[float] = []
    monkeypatch.setattr(driver, "_start", lambda _: starts.append(now))
    await gone(runtimes / runtime)
    for second in range(400):
        now = 1000.0 + second
        await driver.keep(runtime)

    assert [start - 1000 for start in starts[:7]] == [0, 1, 4, 11, 26, 57, 117]
    assert starts[7] - starts[6] == 60


async def test_deleting_leaves_neither_process_nor_folder(driver: Local, runtimes: Path, runtime: RuntimeId) -> None:
    other = RuntimeId(str(uuid4()))
    await connected(driver, runtime)
    await connected(driver, other)

    await asyncio.gather(*(driver.delete(runtime) for _ in range(3)))
    await driver.delete(runtime)

    assert names(runtimes) == [other]
    assert pids(runtimes / runtime) == []
    assert len(pids(runtimes / other)) == 1
    assert await driver.existing() == {other}


async def test_deleting_what_never_existed_does_nothing(driver: Local, runtimes: Path, runtime: RuntimeId) -> None:
    await driver.delete(runtime)

    assert names(runtimes) == []
    assert await driver.existing() == set()


async def test_a_process_whose_folder_was_removed_by_hand_is_seen_and_ended(
    driver: Local, runtimes: Path, runtime: RuntimeId
) -> None:
    await connected(driver, runtime)
    (runtimes / runtime).rename(runtimes.parent / "elsewhere")

    assert await driver.observe(runtime) == Absent()
    assert await driver.existing() == {runtime}
    await driver.delete(runtime)
    assert pids(runtimes / runtime) == []
    assert await driver.existing() == set()


@pytest.mark.parametrize("kind", ["new", "gone"])
async def test_what_a_broken_off_call_left_is_seen_and_removed(
    driver: Local, runtimes: Path, runtime: RuntimeId, kind: str
) -> None:
    left = runtimes / f".{kind}-{PLANE}-{runtime}-0a1b2c3d"
    left.mkdir(parents=True)
    (left / "server.key").write_text("a key")

    assert await driver.existing() == {runtime}
    await driver.delete(runtime)
    assert names(runtimes) == []


async def test_making_the_runtime_removes_what_a_broken_off_call_left(
    driver: Local, runtimes: Path, runtime: RuntimeId
) -> None:
    (runtimes / f".new-{PLANE}-{runtime}-0a1b2c3d").mkdir(parents=True)
    another = runtimes / f".new-{PLANE}-{uuid4()}-0a1b2c3d"
    another.mkdir()

    await driver.create(runtime, {})

    assert names(runtimes) == sorted([another.name, runtime])


async def test_what_another_plane_or_a_person_made_is_neither_used_nor_removed(
    driver: Local, runtimes: Path, runtime: RuntimeId
) -> None:
    theirs = Local(runtimes, plane=OTHER_PLANE, command=SLEEPS)
    await connected(theirs, runtime)
    by_hand = runtimes / str(uuid4())
    by_hand.mkdir()
    left = runtimes / f".gone-{OTHER_PLANE}-{uuid4()}-0a1b2c3d"
    left.mkdir()
    process = pids(runtimes / runtime)

    assert await driver.existing() == set()
    assert await driver.observe(runtime) == Absent()
    with pytest.raises(ClusterForeign):
        await driver.create(runtime, {})
    with pytest.raises(ClusterAbsent):
        await driver.connect(runtime, configuration(runtime))
    await driver.keep(RuntimeId(by_hand.name))
    await driver.delete(runtime)
    await driver.delete(RuntimeId(by_hand.name))

    assert pids(runtimes / runtime) == process
    assert names(runtimes) == sorted([runtime, by_hand.name, left.name])


async def test_a_number_that_belongs_to_somebody_else_now_is_never_believed(
    driver: Local, runtimes: Path, runtime: RuntimeId
) -> None:
    await connected(driver, runtime)
    place = runtimes / runtime
    os.kill(pids(place)[0], signal.SIGKILL)
    await gone(place)
    # As the dead process left them, its number meanwhile given to another process: this one.
    (place / "lock").write_text(str(os.getpid()))
    (place / "status.json").write_text(json.dumps({"pid": os.getpid(), "state": "Synchronized"}))

    assert await driver.observe(runtime) == Ready(("localhost", "127.0.0.1"), None)
    await driver.delete(runtime)  # which this process survives
    assert await driver.observe(runtime) == Absent()


async def test_what_the_agent_says_is_shown_if_it_is_the_running_one(
    driver: Local, runtimes: Path, runtime: RuntimeId
) -> None:
    await connected(driver, runtime)
    place = runtimes / runtime
    said = {"pid": pids(place)[0], "state": "ConnectionFailed", "trouble": "token_refused", "error": "no"}
    (place / "status.json").write_text(json.dumps(said))

    assert await driver.observe(runtime) == Ready(
        ("localhost", "127.0.0.1"), AgentView("ConnectionFailed", "token_refused", "no")
    )
    earlier = json.dumps(said | {"pid": os.getpid()})
    for nonsense in (earlier, "", "[]", '{"pid": "x"}', "{"):
        (place / "status.json").write_text(nonsense)
        assert await driver.observe(runtime) == Ready(("localhost", "127.0.0.1"), None)


async def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path, runtime: RuntimeId) -> None:
    (tmp_path / "runtimes").write_text("a file")

    with pytest.raises(OSError, match="exists"):
        await Local(tmp_path / "runtimes", plane=PLANE).create(runtime, {})


async def test_the_processes_of_deleted_runtimes_leave_no_zombie(
    driver: Local, runtimes: Path, runtime: RuntimeId
) -> None:
    await connected(driver, runtime)
    pid = pids(runtimes / runtime)[0]
    await driver.delete(runtime)

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_an_upgrade_replaces_the_process_once_for_each_request(
    driver: Local, runtimes: Path, runtime: RuntimeId
) -> None:
    await connected(driver, runtime)
    first = pids(runtimes / runtime)
    await asyncio.gather(*(driver.upgrade(runtime, once="one") for _ in range(3)))
    second = pids(runtimes / runtime)
    await driver.upgrade(runtime, once="one")
    assert pids(runtimes / runtime) == second != first
    await driver.upgrade(runtime, once="two")

    assert len(pids(runtimes / runtime)) == 1
    assert pids(runtimes / runtime) != second


async def test_what_sleeps_has_no_process_until_it_is_woken_up_and_keeps_its_files(
    driver: Local, runtimes: Path, runtime: RuntimeId
) -> None:
    await connected(driver, runtime)
    place = runtimes / runtime
    kept = {name: (place / name).read_bytes() for name in names(place)}
    for _ in range(2):
        await driver.sleep(runtime)
        assert await driver.observe(runtime) == Ready(("localhost", "127.0.0.1"), None, asleep=True)
    await driver.keep(runtime)
    await Local(runtimes, plane=PLANE, command=SLEEPS).keep(runtime)
    assert pids(place) == []
    assert {name: (place / name).read_bytes() for name in kept} == kept

    await asyncio.gather(*(driver.wake(runtime) for _ in range(3)))
    assert len(pids(place)) == 1
    assert await driver.observe(runtime) == Ready(("localhost", "127.0.0.1"), None)


async def test_one_that_is_killed_between_falling_asleep_and_its_end_is_not_started_again(
    driver: Local, runtimes: Path, runtime: RuntimeId, monkeypatch: pytest.MonkeyPatch
) -> None:
    await connected(driver, runtime)

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(processes, "end", dies)
        with pytest.raises(KeyboardInterrupt):
            driver._sleep(runtime)  # in this thread: the test ends it
    assert (await driver.observe(runtime)) == Ready(("localhost", "127.0.0.1"), None)  # it still works
    os.kill(pids(runtimes / runtime)[0], signal.SIGKILL)
    await gone(runtimes / runtime)
    await driver.keep(runtime)

    assert pids(runtimes / runtime) == []


async def test_what_is_not_there_is_neither_upgraded_nor_put_to_sleep_nor_woken_up(
    driver: Local, runtimes: Path, runtime: RuntimeId
) -> None:
    for call in (driver.upgrade(runtime, once="one"), driver.sleep(runtime), driver.wake(runtime)):
        with pytest.raises(ClusterAbsent):
            await call

    assert names(runtimes) == []
