"""Real worker processes, killed at every step of provisioning and deprovisioning."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from compass.provisioner.drivers import processes
from compass.provisioner.drivers.local import Local
from compass.provisioner.infrastructure import Drivers
from compass.provisioner.supervision import Supervision
from tests.provisioner.cloud import agents
from tests.provisioner.conftest import DEPROVISION, NOTHING, Provisioner
from tests.provisioner.killed_worker import PLANE, SLEEPS
from tests.provisioner.test_hibernate import HIBERNATE, WAKE
from tests.provisioner.test_provision import BUILT, ONE, REMOVED
from tests.provisioner.test_upgrade import AGENT, UPGRADE, UPGRADED

ROOT = Path(__file__).parents[2]

AROUND = ("before", "after")
BUILDING = [
    *[(f"{when} the call", at) for at in ("create", "identify", "connect") for when in AROUND],
    *[(f"{when} entering is committed", at) for at in BUILT[1:] for when in AROUND],
    ("after the claim", BUILT[0]),
    ("after the commit", "prepare"),
    ("after the commit", "look"),
    ("before the end is committed", "finish"),
    ("after the commit", "finish"),
]
REMOVING = [
    *[(f"{when} the call", "delete") for when in AROUND],
    *[(f"{when} entering is committed", at) for at in REMOVED[1:] for when in AROUND],
    ("after the commit", "unregister"),
    ("before the end is committed", "finish"),
    ("after the commit", "finish"),
]
COMPENSATING = [
    *[(f"{when} entering is committed", REMOVED[0]) for when in AROUND],
    *REMOVING,
]


def steps_killed(call: str, steps: list[str]) -> list[tuple[str, str]]:
    """Around the call, every entry and the end."""
    return [
        *[(f"{when} the call", call) for when in AROUND],
        *[(f"{when} entering is committed", at) for at in steps[1:] for when in AROUND],
        ("after the claim", steps[0]),
        ("before the end is committed", "finish"),
        ("after the commit", "finish"),
    ]


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@asynccontextmanager
async def worker_process(
    dsn: str, folder: Path, moment: str, at: str, *, driver: str = "cloud", breaks: bool = False
) -> AsyncIterator[asyncio.subprocess.Process]:
    arguments = (dsn, str(folder), driver, moment, at, "breaks" if breaks else "")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.provisioner.killed_worker", *arguments, cwd=ROOT
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def killed(process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(20):
        assert await process.wait() == -signal.SIGKILL


@asynccontextmanager
async def pairing(provisioner: Provisioner) -> AsyncIterator[None]:
    task = asyncio.create_task(agents(provisioner.database))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(("moment", "at"), BUILDING)
async def test_a_provisioning_whose_worker_is_killed_ends_with_exactly_one_runtime(
    provisioner: Provisioner, dsn: str, tmp_path: Path, moment: str, at: str
) -> None:
    begun = await provisioner.begun()
    async with pairing(provisioner), worker_process(dsn, tmp_path, moment, at) as process:
        await killed(process)
    provisioner.lies.slow = 2
    async with provisioner.working():
        ended = await provisioner.ended(begun["id"])

    assert ended["state"] == "Succeeded", ended
    assert await provisioner.journal(begun["id"]) == BUILT
    counts = await provisioner.counts()
    assert counts == ONE | {"tokens": counts["tokens"]}
    assert await provisioner.row("SELECT count(*) AS made FROM fake_creation") == {"made": 1}
    in_force = "SELECT count(*) AS n FROM one_time_token WHERE used_at IS NULL AND replaced_at IS NULL"
    assert await provisioner.row(in_force) == {"n": 0}
    assert await provisioner.row("SELECT status_condition AS status FROM runtime") == {"status": "CONNECTED"}


@pytest.mark.parametrize(("moment", "at"), COMPENSATING)
async def test_a_failing_provisioning_whose_worker_is_killed_leaves_nothing(
    provisioner: Provisioner, dsn: str, tmp_path: Path, moment: str, at: str
) -> None:
    begun = await provisioner.begun()
    async with worker_process(dsn, tmp_path, moment, at, breaks=True) as process:
        await killed(process)
    provisioner.lies.breaks = True
    async with provisioner.working():
        ended = await provisioner.ended(begun["id"])

    assert ended["state"] == "Failed"
    assert ended["lastError"]["errMessage"] == "cluster provisioning failed. Last state: Failed"
    assert await provisioner.journal(begun["id"]) == BUILT[:3] + REMOVED
    assert await provisioner.counts() == NOTHING


@pytest.mark.parametrize(("moment", "at"), REMOVING)
async def test_a_deprovisioning_whose_worker_is_killed_leaves_nothing(
    provisioner: Provisioner, dsn: str, tmp_path: Path, moment: str, at: str
) -> None:
    async with provisioner.working():
        runtime = await provisioner.provisioned()
    operation = await provisioner.result(DEPROVISION, id=runtime)
    async with worker_process(dsn, tmp_path, moment, at) as process:
        await killed(process)
    async with provisioner.working():
        ended = await provisioner.ended(operation)

    assert ended["state"] == "Succeeded"
    assert await provisioner.journal(operation) == REMOVED
    assert await provisioner.counts() == NOTHING
    told = "SELECT count(*) AS n FROM outbox_event WHERE name = 'RuntimeUnregistered'"
    assert await provisioner.row(told) == {"n": 1}


CHANGING = [
    *[("upgrade", *each) for each in steps_killed("upgrade", UPGRADED)],
    *[("hibernate", *each) for each in steps_killed("sleep", ["WaitForHibernation"])],
    *[("wake", *each) for each in steps_killed("wake", ["WakeRuntime", "WaitForAgentToSync"])],
]


@pytest.mark.parametrize(("kind", "moment", "at"), CHANGING)
async def test_a_change_whose_worker_is_killed_is_made_once(
    provisioner: Provisioner, dsn: str, tmp_path: Path, kind: str, moment: str, at: str
) -> None:
    documents = {"upgrade": UPGRADE, "hibernate": HIBERNATE, "wake": WAKE}
    async with provisioner.working():
        runtime = await provisioner.provisioned()
        if kind == "wake":
            await provisioner.ended((await provisioner.result(HIBERNATE, id=runtime))["id"])
    more: dict[str, Any] = {"components": AGENT} if kind == "upgrade" else {}
    operation = (await provisioner.result(documents[kind], id=runtime, **more))["id"]
    async with worker_process(dsn, tmp_path, moment, at) as process:
        await killed(process)
    async with provisioner.working():
        ended = await provisioner.ended(operation)

    assert ended["state"] == "Succeeded", ended
    made = await provisioner.row("SELECT asleep, upgraded FROM fake_cluster")
    assert made == {"asleep": kind == "hibernate", "upgraded": [operation] if kind == "upgrade" else []}
    assert await provisioner.counts() == ONE


@pytest.fixture
def runtimes(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "runtimes"
    yield folder
    for place in processes.working():
        if place.parent == folder:
            processes.end(place, grace=timedelta(0))


@pytest.mark.parametrize(
    ("moment", "at"), [(f"{when} the call", at) for at in ("create", "connect") for when in AROUND]
)
async def test_with_real_processes_exactly_one_is_at_work_after_a_kill(
    provisioner: Provisioner, dsn: str, tmp_path: Path, runtimes: Path, moment: str, at: str
) -> None:
    begun = await provisioner.begun()
    async with worker_process(dsn, tmp_path, moment, at, driver="local") as process:
        await killed(process)
    provisioner.parts[Drivers] = Drivers({"local": Local(runtimes, plane=PLANE, command=SLEEPS)})
    place = runtimes / begun["runtimeID"]
    async with provisioner.working():
        async with asyncio.timeout(20):
            while (await provisioner.row("SELECT step FROM operation"))["step"] != BUILT[-1]:
                await asyncio.sleep(0.02)
        assert names(runtimes) == [begun["runtimeID"]]
        assert len(processes.working_in(place)) == 1


async def test_with_real_processes_nothing_is_left_of_a_removal_killed_half_way(
    provisioner: Provisioner, dsn: str, tmp_path: Path, runtimes: Path
) -> None:
    driver = Local(runtimes, plane=PLANE, command=SLEEPS)
    provisioner.parts[Drivers] = Drivers({"local": driver})
    begun = await provisioner.begun()
    place = runtimes / begun["runtimeID"]
    async with provisioner.working():
        async with asyncio.timeout(20):
            while not processes.working_in(place):
                await asyncio.sleep(0.02)
            await provisioner.row("WITH g AS (DELETE FROM runtime RETURNING 1) SELECT count(*) AS n FROM g")
            await provisioner.ended(begun["id"])

    assert names(runtimes) == []
    assert processes.working_in(place) == []
    assert await provisioner.counts() == NOTHING


async def test_what_a_worker_does_that_lost_its_lease_without_knowing_is_removed_in_the_next_round(
    provisioner: Provisioner, runtimes: Path
) -> None:
    driver = Local(runtimes, plane=PLANE, command=SLEEPS)
    provisioner.lies.breaks = True
    async with provisioner.working():
        begun = await provisioner.begun()
        await provisioner.ended(begun["id"])
    # Paused inside CreateCluster all the while, it goes on now.
    await driver.create(begun["runtimeID"], {})

    await Supervision(provisioner.database, Drivers({"local": driver})).once()

    assert names(runtimes) == []
