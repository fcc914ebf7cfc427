"""`upgradeRuntime`: what runs in a cluster is replaced by the release that is installed now.

The local driver's processes outlive the plane, so that they run the code of the release that started them until they
are upgraded. What it cannot do, as it has no machines and keeps no former release, is refused in one
clear sentence each.
Source of stages: contract/connector-agent-provisioner.md §D.2.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, NoReturn

from compass.access.caller import Caller
from compass.commands import command
from compass.ids import OperationId, RuntimeId
from compass.operations.operation import Done, Go, Kind, Operation, Outcome, StepFailed, step
from compass.postgres.pool import Database, Tx
from compass.provisioner import cluster, status
from compass.provisioner.agent import wait_until_in_sync
from compass.provisioner.infrastructure import Drivers, Ready, Upgrading
from compass.provisioner.provision import kept_of, refuse_components
from compass.provisioner.refusals import INTERNAL_REASON, NotSupported, RuntimeAsleep, tenant_of
from compass.provisioner.status import Look

# Steps, the last of them first

TAKE_OVER = """
-- cluster.upgraded
UPDATE cluster SET asked = asked || jsonb_build_object('kymaConfig', %(config)s::jsonb) WHERE runtime_id = %(runtime)s
"""


@step("UpdatingUpgradeState", timeout=timedelta(minutes=5))
async def take_over(op: Operation, database: Database) -> Outcome:
    """Keep what it was upgraded to as what it was asked to be."""
    await database.run(lambda tx: tx.run(TAKE_OVER, runtime=op.subject, config=op.data["kymaConfig"]))
    return Done()


@step("WaitingForInstallation", timeout=timedelta(hours=1))
async def wait_for_installation(op: Operation, database: Database, drivers: Drivers) -> Outcome:
    """Ask once whether the agent of the new release is in sync."""
    return await wait_until_in_sync(op, database, drivers) or Go(take_over)


@step("StartingUpgrade", timeout=timedelta(minutes=20))
async def start_upgrade(op: Operation, database: Database, drivers: Drivers) -> Outcome:
    """Have it replaced: once, however often this is repeated."""
    made = await database.run(lambda tx: cluster.at_work(tx, op))
    driver = drivers.of(made.provider)
    if not isinstance(driver, Upgrading):
        raise StepFailed(INTERNAL_REASON, "the driver cannot upgrade", component=made.provider)
    await driver.upgrade(made.runtime, once=op.id)
    return Go(wait_for_installation)


UPGRADE: Final = Kind("upgrade", (start_upgrade, wait_for_installation, take_over))

# Commands


async def look(
    caller: Caller,
    runtime: RuntimeId,
    config: Mapping[str, Any],  # noqa: ARG001  # as the mutation has it
    *,
    database: Database,
    drivers: Drivers,
) -> Look:
    """See `status.look`."""
    return await status.look(caller, runtime, database=database, drivers=drivers)


@command("upgradeRuntime", scope="provisioner:write", prepare=look)
async def upgrade_runtime(
    tx: Tx, caller: Caller, runtime: RuntimeId, config: Mapping[str, Any], *, prepared: Look
) -> dict[str, Any]:
    """Begin to replace what runs there.

    Raises InputRefused, ClusterNotFound, NotSupported, RuntimeAsleep, OperationRunning.
    """
    tenant = tenant_of(caller)
    refuse_components(config["kymaConfig"])
    await cluster.hold(tx, tenant, runtime)
    if not prepared.can_upgrade:
        raise NotSupported(mutation="upgradeRuntime", why="the driver has nothing to upgrade")
    if isinstance(prepared.seen, Ready) and prepared.seen.asleep:
        raise RuntimeAsleep(runtime=runtime)
    operation = await cluster.operate(tx, UPGRADE, tenant, runtime, kept_of(config))
    return await status.of_operation(tx, tenant, operation)


@command("upgradeShoot", scope="provisioner:write")
async def upgrade_shoot(tx: Tx, caller: Caller, runtime: RuntimeId, config: Mapping[str, Any]) -> NoReturn:  # noqa: ARG001  # as the schema has it
    """Raises NotSupported, ClusterNotFound."""
    await cluster.own(tx, tenant_of(caller), runtime)
    raise NotSupported(mutation="upgradeShoot", why="a runtime of the local driver has no machines")


@command("rollBackUpgradeOperation", scope="provisioner:write")
async def roll_back(tx: Tx, caller: Caller, operation: OperationId) -> NoReturn:
    """Raises NotSupported, OperationNotFound."""
    await status.of_operation(tx, tenant_of(caller), operation)
    raise NotSupported(mutation="rollBackUpgradeOperation", why="the release before is not installed any more")
