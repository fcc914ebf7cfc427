"""A worker process that kills itself at one moment of an operation: python killed_operation.py DSN FOLDER MOMENT AT."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from compass.director import application
from compass.director.application_operation import Receivers
from compass.operations.operation import Kind, Operation
from compass.operations.worker import OperationWork, Worker
from compass.outbound.door import Door, Request, Response
from compass.postgres.pool import Database, Tx
from compass.postgres.queue import WorkSettings
from compass.settings import ApplicationSettings
from compass.vault import Vault
from tests.director.groups import LOOPBACK, PLANE

QUICK = OperationWork(
    first_retry_after=timedelta(milliseconds=40),
    work=WorkSettings(
        concurrency=4, lease=timedelta(seconds=0.7), poll=timedelta(milliseconds=100), grace=timedelta(seconds=2)
    ),
)
SETTINGS = ApplicationSettings(retry_after=timedelta(milliseconds=30))


class Death:
    """Comes at one moment, and never without one."""

    def __init__(self, moment: str = "", at: str = "") -> None:
        self._moment = (moment, at)

    def if_now(self, moment: str, at: str) -> None:
        """Kill -9, from inside."""
        if (moment, at) == self._moment:
            os.kill(os.getpid(), signal.SIGKILL)


class DyingDoor:
    """Before a call goes out, and after its answer came back."""

    def __init__(self, door: Door, death: Death) -> None:
        self._door = door
        self._death = death

    async def send(
        self, request: Request, *, total_timeout: timedelta | None = None, max_body_bytes: int | None = None
    ) -> Response:
        self._death.if_now("before the call", request.method)
        answer = await self._door.send(request, total_timeout=total_timeout, max_body_bytes=max_body_bytes)
        self._death.if_now("after the call", request.method)
        return answer


class DyingDatabase:
    """In the instant after something was committed."""

    def __init__(self, database: Database, death: Death) -> None:
        self._database = database
        self._death = death

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    async def run(self, work: Callable[[Tx], Awaitable[Any]]) -> Any:
        done = await self._database.run(work)
        match work.__name__:
            case "claim" if done[0]:
                self._death.if_now("after the claim", done[0][0].operation.step)
            case "enter":
                self._death.if_now("after entering is committed", done.step)
            case "wait" | "finish":
                self._death.if_now("after the commit", work.__name__)
        return done


def dying(kind: Kind, death: Death) -> Kind:
    """The kind, dying before an entry or its end is committed."""

    async def entered(_tx: Tx, op: Operation) -> None:
        death.if_now("before entering is committed", op.step)

    async def finished(tx: Tx, op: Operation) -> None:
        await kind.finished(tx, op)
        death.if_now("before the end is committed", "finish")

    return replace(kind, entered=entered, finished=finished)


async def work(database: Database, folder: Path, stopping: asyncio.Event, death: Death) -> None:
    """Run operations as the plane does."""
    mortal: Any = DyingDatabase(database, death)
    async with Door(LOOPBACK) as door:
        vault = Vault.at(folder / "vault.keys")
        receivers = Receivers(vault, DyingDoor(door, death), source=PLANE, settings=SETTINGS)
        kinds = [dying(kind, death) for kind in application.OPERATIONS]
        parts = {Database: mortal, Receivers: receivers}
        await Worker(mortal, kinds=kinds, parts=parts, settings=QUICK).run(stopping)


async def main(dsn: str, folder: str, moment: str, at: str) -> None:
    async with Database.open(dsn) as database:
        await work(database, Path(folder), asyncio.Event(), Death(moment, at))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
