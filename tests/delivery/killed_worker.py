"""A worker process that kills itself at one moment of a delivery: python killed_worker.py DSN MOMENT."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from compass.delivery.attempt import Answer, Prepared, Verdict, judged_by_status
from compass.delivery.enqueue import Delivery, State
from compass.delivery.worker import Worker
from compass.outbound.door import Door, Request, Response
from compass.postgres.pool import Database, Tx
from compass.postgres.queue import WorkSettings
from tests.delivery.conftest import LOOPBACK, QUICK


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DyingDatabase:
    """Dies in the instant after a claim or a record was committed."""

    def __init__(self, database: Database, moment: str) -> None:
        self._database = database
        self._moment = moment

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    async def run(self, work: Callable[[Tx], Awaitable[Any]]) -> Any:
        done = await self._database.run(work)
        claimed = work.__name__ == "claim" and done[0]
        if (claimed and self._moment == "after the claim") or (
            work.__name__ == "record" and self._moment == "after the record"
        ):
            die()
        return done


class DyingDoor:
    def __init__(self, door: Door, moment: str) -> None:
        self._door = door
        self._moment = moment

    async def send(self, request: Request, **limits: Any) -> Response:
        if self._moment == "before the call":
            die()
        response = await self._door.send(request, **limits)
        if self._moment == "after the answer":
            die()
        return response


async def main(dsn: str, moment: str) -> None:
    async def prepare(_tx: Tx, delivery: Delivery) -> Prepared:
        if moment == "in prepare" or delivery.subject == "poison":
            die()
        return Prepared()

    async def judge(_tx: Tx, _delivery: Delivery, answer: Answer) -> Verdict:
        if moment == "in the verdict":
            die()
        return judged_by_status(answer)

    async def finished(_tx: Tx, _delivery: Delivery, _state: State) -> None:
        if moment == "before the record is committed":
            die()

    if moment == "before the claim":
        die()
    work = WorkSettings(concurrency=64, lease=timedelta(seconds=0.7), poll=timedelta(milliseconds=100))
    async with Database.open(dsn) as database, Door(LOOPBACK) as door:
        worker = Worker(
            DyingDatabase(database, moment),  # type: ignore[arg-type]  # all of a database, and a sudden end
            DyingDoor(door, moment),
            prepare=prepare,
            judge=judge,
            finished=finished,
            settings=replace(QUICK, work=work, attempt_timeout=timedelta(seconds=30)),
        )
        print("working", flush=True)  # noqa: T201
        await worker.run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
