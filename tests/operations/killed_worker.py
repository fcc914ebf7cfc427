"""A worker process that kills itself at one moment of an operation: python killed_worker.py DSN MOMENT STEP."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from compass.operations.operation import Done, Go, Kind, Operation, Outcome, Step, StepFailed, step
from compass.operations.worker import OperationWork, Worker
from compass.postgres.pool import Database, Tx
from compass.postgres.queue import WorkSettings

QUICK = OperationWork(
    first_retry_after=timedelta(milliseconds=40),
    work=WorkSettings(
        concurrency=16, lease=timedelta(seconds=0.7), poll=timedelta(milliseconds=100), grace=timedelta(seconds=2)
    ),
)


class World:
    """What steps change outside: a row per operation and step, made once however often it is asked for."""

    def __init__(self, database: Database, moment: str = "never", at: str = "") -> None:
        self._database = database
        self.moment = moment
        self.at = at

    def die_if(self, moment: str, step: str) -> None:
        if self.moment == moment and self.at == step:
            os.kill(os.getpid(), signal.SIGKILL)

    async def have(self, op: Operation) -> None:
        self.die_if("before the effect", op.step)
        async with self._database.transaction() as tx:
            await tx.run(
                "-- test\nINSERT INTO effect VALUES (%(op)s, %(step)s) ON CONFLICT DO NOTHING", op=op.id, step=op.step
            )
        self.die_if("after the effect", op.step)


@step("four", timeout=timedelta(seconds=20))
async def four(op: Operation, world: World) -> Outcome:
    await world.have(op)
    if op.data.get("fails"):
        raise StepFailed("Asked", "it was asked to fail", component="test")
    return Done(four=op.data["three"] + 1)


@step("three", timeout=timedelta(seconds=20))
async def three(op: Operation, world: World) -> Outcome:
    await world.have(op)
    return Go(four, three=op.data["two"] + 1)


@step("two", timeout=timedelta(seconds=20))
async def two(op: Operation, world: World) -> Outcome:
    await world.have(op)
    return Go(three, two=op.data["one"] + 1)


@step("one", timeout=timedelta(seconds=20))
async def one(op: Operation, world: World) -> Outcome:
    await world.have(op)
    return Go(two, one=1)


@step("undo", timeout=timedelta(seconds=20))
async def undo(op: Operation, world: World) -> Outcome:
    await world.have(op)
    return Done()


STEPS: tuple[Step, ...] = (one, two, three, four, undo)


def kind(world: World) -> Kind:
    async def entered(_tx: Tx, op: Operation) -> None:
        world.die_if("before entering is committed", op.step)

    async def finished(tx: Tx, op: Operation) -> None:
        await tx.run("-- test\nINSERT INTO announced VALUES (%(op)s, %(state)s)", op=op.id, state=op.state)
        world.die_if("before the end is committed", op.step)

    return Kind("counting", STEPS, on_failure=undo, entered=entered, finished=finished)


class DyingDatabase:
    """Dies in the instant after an answer was committed."""

    def __init__(self, database: Database, world: World) -> None:
        self._database = database
        self._world = world

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    async def run(self, work: Callable[[Tx], Awaitable[Any]]) -> Any:
        done = await self._database.run(work)
        if work.__name__ == "claim" and done[0]:
            self._world.die_if("after the claim", done[0][0].operation.step)
        if work.__name__ == "enter":
            self._world.die_if("after entering is committed", done.step)
        if work.__name__ == "finish":
            self._world.die_if("after the end is committed", "four")
        return done


async def main(dsn: str, moment: str, at: str) -> None:
    async with Database.open(dsn) as database:
        world = World(database, moment, at)
        dying: Any = DyingDatabase(database, world)
        worker = Worker(dying, kinds=[kind(world)], parts={World: world}, settings=QUICK)
        await worker.run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
