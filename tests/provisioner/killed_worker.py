"""A worker process that kills itself at one moment: python killed_worker.py DSN FOLDER DRIVER MOMENT AT BREAKS."""

import asyncio
import sys
from collections.abc import Awaitable, Mapping
from pathlib import Path

from compass.app import PROVISIONER_OPERATIONS
from compass.ids import RuntimeId
from compass.operations.worker import Worker
from compass.postgres.pool import Database
from compass.provisioner.drivers.local import Local
from compass.provisioner.infrastructure import (
    AgentConfiguration,
    EndpointIdentity,
    Infrastructure,
    Observed,
    Sleeping,
    Upgrading,
)
from tests.operations.death import Death, DyingDatabase, dying
from tests.provisioner.cloud import Cloud, Lies
from tests.provisioner.conftest import QUICK, made_parts

PLANE = "11111111-1111-4111-8111-111111111111"
SLEEPS = (sys.executable, "-c", "import time; time.sleep(600)")


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

    async def upgrade(self, runtime: RuntimeId, *, once: str) -> None:
        assert isinstance(self.driver, Upgrading)
        await self._called("upgrade", self.driver.upgrade(runtime, once=once))

    async def sleep(self, runtime: RuntimeId) -> None:
        assert isinstance(self.driver, Sleeping)
        await self._called("sleep", self.driver.sleep(runtime))

    async def wake(self, runtime: RuntimeId) -> None:
        assert isinstance(self.driver, Sleeping)
        await self._called("wake", self.driver.wake(runtime))

    async def delete(self, runtime: RuntimeId) -> None:
        await self._called("delete", self.driver.delete(runtime))

    async def observe(self, runtime: RuntimeId) -> Observed:
        return await self.driver.observe(runtime)

    async def existing(self) -> set[RuntimeId]:
        return await self.driver.existing()

    async def keep(self, runtime: RuntimeId) -> None:
        await self.driver.keep(runtime)


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
