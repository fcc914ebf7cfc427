"""A worker process that kills itself at one moment of an operation: python killed_operation.py DSN FOLDER MOMENT AT."""

import asyncio
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from compass.director import application
from compass.director.application_operation import Receivers
from compass.operations.worker import OperationWork, Worker
from compass.outbound.door import Door, Request, Response
from compass.postgres.pool import Database
from compass.postgres.queue import WorkSettings
from compass.settings import ApplicationSettings
from compass.vault import Vault
from tests.director.groups import LOOPBACK, PLANE
from tests.operations.death import Death, DyingDatabase, dying

QUICK = OperationWork(
    first_retry_after=timedelta(milliseconds=40),
    work=WorkSettings(
        concurrency=4, lease=timedelta(seconds=0.7), poll=timedelta(milliseconds=100), grace=timedelta(seconds=2)
    ),
)
SETTINGS = ApplicationSettings(retry_after=timedelta(milliseconds=30))


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
