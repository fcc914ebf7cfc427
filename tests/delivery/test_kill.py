"""Real worker processes, killed at every step of a delivery."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from compass.delivery.enqueue import NewDelivery, State, enqueue
from tests.delivery.conftest import Working
from tests.delivery.receiver import Call, Receiver, answer, due, hangs, receiving, takes_it

if TYPE_CHECKING:
    from compass.postgres.pool import Database

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def worker_process(dsn: str, moment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.delivery.killed_worker", dsn, moment, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def owe(database: "Database", *deliveries: NewDelivery) -> list[str]:
    async with database.transaction() as tx:
        return await enqueue(tx, deliveries)


async def states(database: "Database") -> dict[str, str]:
    async with database.transaction() as tx:
        return {row["id"]: row["state"] for row in await tx.rows("-- test\nSELECT id, state FROM delivery")}


async def drained(database: "Database", within: float = 20) -> None:
    async with asyncio.timeout(within):
        while State.PENDING in (await states(database)).values():
            await asyncio.sleep(0.02)


def firsts(receiver: Receiver, path: str) -> list[str]:
    """The ids that arrived on a path, in order, duplicates left out."""
    return list(dict.fromkeys(call.id for call in receiver.calls if call.path == path))


MOMENTS = {
    "before the claim": 0,
    "after the claim": 0,
    "in prepare": 0,
    "before the call": 0,
    "while the receiver works": 2,
    "after the answer": 1,
    "in the verdict": 1,
    "before the record is committed": 1,
    "after the record": 1,
}
"""How many of the two lanes' heads the receiver has surely seen by then; a killed process may have managed more."""


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_worker_killed_at_any_step_loses_nothing_and_repeats_under_the_same_id(
    database: "Database", dsn: str, working: Working, moment: str
) -> None:
    async with receiving(hangs if moment == "while the receiver works" else takes_it) as receiver:
        first = await owe(database, *[due(receiver.url("/1"), subject="1", body=f"{i}") for i in range(3)])
        second = await owe(database, *[due(receiver.url("/2"), subject="2", body=f"{i}") for i in range(3)])
        async with worker_process(dsn, moment) as process:
            if moment == "while the receiver works":
                await receiver.has(2)
                process.kill()
            async with asyncio.timeout(20):
                assert await process.wait() == -signal.SIGKILL
        assert len(receiver.calls) >= MOMENTS[moment]

        receiver.behaviour = takes_it
        async with working():
            await drained(database)

    assert set((await states(database)).values()) == {State.DELIVERED}
    assert firsts(receiver, "/1") == first
    assert firsts(receiver, "/2") == second
    bodies: dict[str, set[bytes]] = {}
    for call in receiver.calls:
        bodies.setdefault(call.id, set()).add(call.body)
    assert all(len(seen) == 1 for seen in bodies.values())


async def test_a_worker_killed_after_it_scheduled_a_retry_has_the_retry_made_by_another(
    database: "Database", dsn: str, working: Working
) -> None:
    async def fails(_call: Call) -> bytes:
        return answer(500)

    async with receiving(fails) as receiver:
        (delivery,) = await owe(database, due(receiver.url()))
        async with worker_process(dsn, "after the record") as process:
            assert await process.wait() == -signal.SIGKILL
        receiver.behaviour = takes_it
        async with working():
            await drained(database)
    assert [call.id for call in receiver.calls] == [delivery, delivery]
    assert await states(database) == {delivery: State.DELIVERED}


async def test_a_delivery_that_kills_every_worker_ends_dead_and_its_neighbours_arrive(
    database: "Database", dsn: str
) -> None:
    async with receiving() as receiver:
        everything = [due(receiver.url(f"/{i}"), receiver=str(uuid4()), subject=f"{i}") for i in range(60)]
        everything.insert(20, due(receiver.url("/poison"), subject="poison"))
        ids = await owe(database, *everything)
        deaths = 0
        async with asyncio.timeout(60):
            while State.PENDING in (await states(database)).values():
                async with worker_process(dsn, "never") as process:
                    ended = asyncio.create_task(process.wait())
                    empty = asyncio.create_task(drained(database, within=60))
                    await asyncio.wait({ended, empty}, return_when=asyncio.FIRST_COMPLETED)
                    deaths += ended.done()
                    empty.cancel()
                    await asyncio.gather(empty, return_exceptions=True)
                    process.kill() if not ended.done() else None
                    await ended
        found = await states(database)
    poison = ids.pop(20)
    assert deaths == 5
    assert found.pop(poison) == State.DEAD
    assert found == dict.fromkeys(ids, State.DELIVERED)
    assert "/poison" not in {call.path for call in receiver.calls}
    async with database.transaction() as tx:
        dead = await tx.row("-- test\nSELECT attempts, last_error FROM delivery WHERE id = %(id)s", id=poison)
    assert dead is not None
    assert dict(dead) == {
        "attempts": 6,  # five that killed, and the one that was not made
        "last_error": "5 attempts in a row ended with the death of the worker",
    }


async def test_a_process_stopped_for_longer_than_its_lease_cannot_write_when_it_goes_on(
    database: "Database", dsn: str, working: Working
) -> None:
    let_go = asyncio.Event()

    async def answers(call: Call) -> bytes:
        if call is not receiver.calls[0]:
            return answer()
        await let_go.wait()
        return answer(410)

    async with receiving(answers) as receiver, worker_process(dsn, "never") as process:
        (delivery,) = await owe(database, due(receiver.url()))
        await receiver.has(1)
        os.kill(process.pid, signal.SIGSTOP)
        async with working(attempt_timeout=timedelta(seconds=5)):
            await drained(database)
        async with database.transaction() as tx:
            before = dict(await tx.row("-- test\nSELECT * FROM delivery") or {})
        let_go.set()
        os.kill(process.pid, signal.SIGCONT)
        await asyncio.sleep(1)
        async with database.transaction() as tx:
            assert dict(await tx.row("-- test\nSELECT * FROM delivery") or {}) == before
            numbers = await tx.value("-- test\nSELECT array_agg(number) FROM delivery_attempt")
    assert before["id"] == delivery
    assert (before["state"], before["attempts"], numbers) == (State.DELIVERED, 2, [2])
