"""Many runtimes on an infrastructure that lies at random: whatever it says, there is one each, or none."""

import asyncio
import random
from collections.abc import Mapping

from compass.ids import RuntimeId
from compass.provisioner.infrastructure import (
    Absent,
    AgentConfiguration,
    Broken,
    Drivers,
    EndpointIdentity,
    Infrastructure,
    Observed,
    Ready,
)
from compass.provisioner.supervision import Supervision
from tests.provisioner.cloud import Cloud, CloudError
from tests.provisioner.conftest import DEPROVISION, NOTHING, Provisioner

RUNTIMES = 40


class Liar(Cloud):
    """One call in five lies; one cluster in five breaks."""

    def __init__(self, honest: Cloud, seed: int) -> None:
        super().__init__(honest.database)
        self.random = random.Random(seed)  # noqa: S311  # lies, not secrets

    def lies_now(self) -> bool:
        """Now?"""
        return self.random.random() < 0.2

    async def create(self, runtime: RuntimeId, wanted: Mapping[str, object]) -> None:
        if self.lies_now():
            raise CloudError("429")
        await super().create(runtime, wanted)
        if self.lies_now():
            raise CloudError("500, but it is there")

    async def observe(self, runtime: RuntimeId) -> Observed:
        if self.lies_now():
            raise CloudError("503")
        seen = await super().observe(runtime)
        if isinstance(seen, Ready) and seen.agent is None and int(runtime[0], 16) < 3:
            return Broken("Last state: Failed")
        return Absent() if isinstance(seen, Ready) and seen.agent is None and self.lies_now() else seen

    async def identify(self, runtime: RuntimeId, identity: EndpointIdentity) -> None:
        await super().identify(runtime, identity)
        if self.lies_now():
            raise CloudError("reset")

    async def connect(self, runtime: RuntimeId, configuration: AgentConfiguration) -> None:
        if self.lies_now():
            raise CloudError("timeout")
        await super().connect(runtime, configuration)
        if self.lies_now():
            raise CloudError("timeout")

    async def delete(self, runtime: RuntimeId) -> None:
        if self.lies_now():
            return  # "202 accepted", and nothing happens
        await super().delete(runtime)
        if self.lies_now():
            raise CloudError("500, but it is gone")


async def test_at_the_end_there_is_exactly_what_the_database_knows(provisioner: Provisioner) -> None:
    seed = random.randrange(2**32)  # noqa: S311  # as above
    print("seed", seed)  # noqa: T201  # shown when the test fails
    liar: Infrastructure = Liar(provisioner.cloud, seed)
    provisioner.parts[Drivers] = Drivers({"local": liar})
    async with provisioner.working():
        begun = [await provisioner.begun(f"edge-{number}") for number in range(RUNTIMES)]
        ended = await asyncio.gather(*(provisioner.ended(one["id"], within=60) for one in begun))
        ready = [one["runtimeID"] for one in ended if one["state"] == "Succeeded"]
        counts = await provisioner.counts()
        made = await provisioner.row(
            "SELECT coalesce(max(n), 0) AS most FROM (SELECT count(*) AS n FROM fake_creation GROUP BY runtime) AS each"
        )
        assert await provisioner.cloud.existing() == set(ready)
        assert (counts["runtimes"], counts["clusters"], counts["identities"]) == (len(ready),) * 3
        assert made["most"] <= 1, made

        operations = [await provisioner.result(DEPROVISION, id=runtime) for runtime in ready]
        removed = await asyncio.gather(*(provisioner.ended(operation, within=60) for operation in operations))
    await Supervision(provisioner.database, Drivers({"local": provisioner.cloud})).once()

    assert {one["state"] for one in removed} <= {"Succeeded"}
    assert await provisioner.counts() == NOTHING
