"""A worker process that kills itself at one moment: python killed_worker.py DSN FOLDER DRIVER MOMENT AT BREAKS."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from compass.app import PROVISIONER_OPERATIONS
from compass.ids import RuntimeId
from compass.operations.operation import Kind, Operation
from compass.operations.worker import Worker
from compass.postgres.pool import Database, Tx
from compass.provisioner.drivers.local import Local
from compass.provisioner.infrastructure import AgentConfiguration, EndpointIdentity, Infrastructure, Observed
from tests.provisioner.cloud import Cloud, Lies
from tests.provisioner.conftest import QUICK, made_parts

PLANE = "11111111-1111-4111-8111-111111111111"
SLEEPS = (sys.executable, "-c", "import time; time.sleep(600)")


class Death:
    """Comes at one moment."""

    def __init__(self, moment: str, at: str) -> None:
        self.moment = moment
        self.at = at

    def if_now(self, moment: str, at: str) -> None:
        """Kill -9, from inside."""
        if (moment, at) == (self.moment, self.at):
            os.kill(os.getpid(), signal.SIGKILL)


class DyingDriver:
    """Before and after each call that changes something outside."""

    def __init__(self, driver: Infrastructure, death: Death) -> None:
        self.driver = driver
        self.death = death
        self.pace = driver.pace

    async def _called(self, name: str, call: Awaitable[None]) -> None:
        self.death.if_now("before the call", name)
        await call
        self.death.if_now("after the call", name)

    async def create(self, runtime: RuntimeId, wanted: Mapping[str, object]) -> None:
        await self._called("create", self.driver.create(runtime, wanted))

    async def identify(self, runtime: RuntimeId, identity: EndpointIdentity) -> None:
        await self._called("identify", self.driver.identify(runtime, identity))

    async def connect(self, runtime: RuntimeId, configuration: AgentConfiguration) -> None:
        await self._called("connect", self.driver.connect(runtime, configuration))

    async def delete(self, runtime: RuntimeId) -> None:
        await self._called("delete", self.driver.delete(runtime))

    async def observe(self, runtime: RuntimeId) -> Observed:
        return await self.driver.observe(runtime)

    async def existing(self) -> set[RuntimeId]:
        return await self.driver.existing()

    async def keep(self, runtime: RuntimeId) -> None:
        await self.driver.keep(runtime)


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
            case name:
                self._death.if_now("after the commit", name)
        return done


def dying(kind: Kind, death: Death) -> Kind:
    """The kind, dying before an entry or an end is committed."""

    async def entered(_tx: Tx, op: Operation) -> None:
        death.if_now("before entering is committed", op.step)

    async def finished(_tx: Tx, op: Operation) -> None:
        death.if_now("before the end is committed", op.kind)

    return replace(kind, entered=entered, finished=finished)


async def main(dsn: str, folder: str, driver: str, moment: str, at: str, breaks: str) -> None:
    death = Death(moment, at)
    async with Database.open(dsn) as database:
        chosen: Infrastructure = (
            Local(Path(folder) / "runtimes", plane=PLANE, command=SLEEPS)
            if driver == "local"
            else Cloud(database, Lies(breaks=breaks == "breaks", slow=2))
        )
        parts = await made_parts(database, DyingDriver(chosen, death), Path(folder))
        parts[Database] = DyingDatabase(database, death)
        kinds = [dying(kind, death) for kind in PROVISIONER_OPERATIONS]
        await Worker(parts[Database], kinds=kinds, parts=parts, settings=QUICK).run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
