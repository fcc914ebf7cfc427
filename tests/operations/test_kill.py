"""Real worker processes, killed at every step of an operation."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from compass.operations.operation import start
from compass.operations.worker import Worker
from tests.operations.killed_worker import QUICK, World, kind

if TYPE_CHECKING:
    from compass.postgres.pool import Database

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def world(database: "Database") -> World:
    async with database.transaction() as tx:
        await tx.run("-- test\nCREATE TABLE effect (operation uuid, step text, PRIMARY KEY (operation, step))")
        await tx.run("-- test\nCREATE TABLE announced (operation uuid, state text)")
    return World(database)


@asynccontextmanager
async def worker_process(dsn: str, moment: str, at: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.operations.killed_worker", dsn, moment, at, cwd=ROOT
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def row(database: "Database", sql: str, **parameters: Any) -> dict[str, Any]:
    async with database.transaction() as tx:
        found = await tx.row(f"-- test\n{sql}", **parameters)
    assert found is not None
    return dict(found)


async def ended(database: "Database", operation: str, within: float = 20) -> dict[str, Any]:
    async with asyncio.timeout(within):
        while True:
            found = await row(database, "SELECT * FROM operation WHERE id = %(id)s", id=operation)
            if found["finished_at"] is not None:
                return found
            await asyncio.sleep(0.02)


@asynccontextmanager
async def working(database: "Database", world: World) -> AsyncIterator[None]:
    stopping = asyncio.Event()
    worker = Worker(database, kinds=[kind(world)], parts={World: world}, settings=QUICK)
    task = asyncio.create_task(worker.run(stopping))
    try:
        yield
    finally:
        stopping.set()
        await task


MOMENTS = [
    *[(f"{when} the effect", at) for at in ("one", "two", "three", "four", "undo") for when in ("before", "after")],
    *[(f"{when} entering is committed", at) for at in ("two", "three", "four", "undo") for when in ("before", "after")],
    ("after the claim", "one"),
    ("before the end is committed", "four"),
    ("before the end is committed", "undo"),
    ("after the end is committed", "four"),
]


@pytest.mark.parametrize(("moment", "at"), MOMENTS)
async def test_an_operation_whose_worker_is_killed_goes_on_where_it_stopped(
    database: "Database", dsn: str, world: World, moment: str, at: str
) -> None:
    fails = at == "undo"
    async with database.transaction() as tx:
        operation = await start(tx, kind(world), str(uuid4()), data={"fails": fails})
    async with worker_process(dsn, moment, at) as process, asyncio.timeout(20):
        assert await process.wait() == -signal.SIGKILL
    async with working(database, world):
        found = await ended(database, operation)
    journal = await row(
        database,
        "SELECT array_agg(step ORDER BY number) AS steps, array_agg(outcome ORDER BY number) AS outcomes,"
        " bool_and(left_at >= entered_at) AS left FROM operation_step",
    )
    effects = await row(database, "SELECT array_agg(step ORDER BY step) AS steps FROM effect")
    announced = await row(database, "SELECT array_agg(state) AS states FROM announced")
    if fails:
        assert found["state"] == "FAILED"
        assert found["error"] == {"reason": "Asked", "err_message": "it was asked to fail", "component": "test"}
        assert journal["steps"] == ["one", "two", "three", "four", "undo"]
        assert journal["outcomes"] == ["two", "three", "four", "FAILED", "FAILED"]
    else:
        assert (found["state"], found["error"]) == ("SUCCEEDED", None)
        assert journal["steps"] == ["one", "two", "three", "four"]
        assert journal["outcomes"] == ["two", "three", "four", "SUCCEEDED"]
        assert found["data"] == {"fails": False, "one": 1, "two": 2, "three": 3, "four": 4}
    assert journal["left"] is True
    assert effects["steps"] == sorted(journal["steps"])
    assert announced["states"] == [found["state"]]


async def test_a_step_that_kills_every_worker_fails_visibly_and_its_neighbours_succeed(
    database: "Database", dsn: str, world: World
) -> None:
    neighbours = []
    deaths = 0
    async with database.transaction() as tx:
        # The effect of this one's first step cannot be reached: only it has this subject's step killed by moment.
        poison = await start(tx, replace(kind(world), steps=kind(world).steps[2:]), str(uuid4()), data={"two": 2})
        for _ in range(20):
            skips = replace(kind(world), steps=kind(world).steps[3:])
            neighbours.append(await start(tx, skips, str(uuid4()), data={"three": 3}))
    async with asyncio.timeout(60):
        while True:
            async with worker_process(dsn, "before the effect", "three") as process:
                dead = asyncio.create_task(process.wait())
                end = asyncio.create_task(ended(database, poison, within=60))
                await asyncio.wait({dead, end}, return_when=asyncio.FIRST_COMPLETED)
                if end.done():
                    break
                deaths += 1
                end.cancel()
                await asyncio.gather(end, return_exceptions=True)
    await dead
    found = await end
    assert deaths == 5
    assert found["state"] == "FAILED"
    assert found["error"] == {
        "reason": "WorkerDied",
        "err_message": "5 calls in a row ended with the death of the worker",
        "component": "counting.three",
    }
    journal = await row(
        database,
        "SELECT array_agg(step || ':' || outcome ORDER BY number) AS steps"
        " FROM operation_step WHERE operation_id = %(id)s",
        id=poison,
    )
    assert journal["steps"] == ["three:WORKER_DIED", "undo:FAILED"]
    for neighbour in neighbours:
        assert (await ended(database, neighbour))["state"] == "SUCCEEDED"


async def test_a_process_stopped_for_longer_than_its_lease_cannot_write_when_it_goes_on(
    database: "Database", dsn: str, world: World
) -> None:
    async with database.transaction() as tx:
        await tx.run("-- test\nCREATE TABLE gate (open boolean)")
        # The stopped process stands inside its step, at this insert, until the lock below is released.
        await tx.run(
            "-- test\nCREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN new; END $$"
        )
        await tx.run("-- test\nCREATE TRIGGER slow BEFORE INSERT ON effect FOR EACH ROW EXECUTE FUNCTION slow()")
        operation = await start(tx, kind(world), str(uuid4()), data={})
    async with worker_process(dsn, "never", "") as process:
        async with database.transaction() as gate, asyncio.timeout(20):
            await gate.run("-- test\nSELECT pg_advisory_xact_lock(7)")
            blocked = "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            while (await row(database, blocked))["n"] == 0:
                await asyncio.sleep(0.02)
            os.kill(process.pid, signal.SIGSTOP)
            async with database.transaction() as tx:
                # Its lease ended, and another worker took the operation and is at work on it.
                await tx.run("-- test\nUPDATE operation SET fence = fence + 1, next_at = now() + interval '1 hour'")
        before = await row(database, "SELECT * FROM operation")
        os.kill(process.pid, signal.SIGCONT)
        async with asyncio.timeout(20):
            while (await row(database, "SELECT count(*) AS n FROM effect"))["n"] == 0:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)  # its answer comes right after its effect
    assert await row(database, "SELECT * FROM operation WHERE id = %(id)s", id=operation) == before
    assert await row(database, "SELECT array_agg(step) AS steps FROM effect") == {"steps": ["one"]}
