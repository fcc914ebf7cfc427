"""What the original's Provisioner does to a running cluster and no driver of ours can: one clear refusal each.

The mutations exist so that a client's documents stay valid. A driver that can do them will make them operations.
"""

from typing import Any, NoReturn

from compass.access.caller import Caller
from compass.commands import command
from compass.ids import OperationId, RuntimeId
from compass.postgres.pool import Tx
from compass.provisioner import cluster, status
from compass.provisioner.refusals import NotSupported, tenant_of


@command("upgradeRuntime", scope="provisioner:write")
async def upgrade_runtime(tx: Tx, caller: Caller, runtime: RuntimeId, config: dict[str, Any]) -> NoReturn:  # noqa: ARG001  # as the schema has it
    """Raises NotSupported, ClusterNotFound."""
    await cluster.own(tx, tenant_of(caller), runtime)
    raise NotSupported(mutation="upgradeRuntime", why="the local driver has nothing to upgrade")


@command("upgradeShoot", scope="provisioner:write")
async def upgrade_shoot(tx: Tx, caller: Caller, runtime: RuntimeId, config: dict[str, Any]) -> NoReturn:  # noqa: ARG001  # as above
    """Raises NotSupported, ClusterNotFound."""
    await cluster.own(tx, tenant_of(caller), runtime)
    raise NotSupported(mutation="upgradeShoot", why="the local driver has nothing to upgrade")


@command("hibernateRuntime", scope="provisioner:write")
async def hibernate(tx: Tx, caller: Caller, runtime: RuntimeId) -> NoReturn:
    """Raises NotSupported, ClusterNotFound."""
    await cluster.own(tx, tenant_of(caller), runtime)
    raise NotSupported(mutation="hibernateRuntime", why="a runtime of the local driver cannot sleep")


@command("rollBackUpgradeOperation", scope="provisioner:write")
async def roll_back(tx: Tx, caller: Caller, operation: OperationId) -> NoReturn:
    """Raises NotSupported, OperationNotFound."""
    await status.of_operation(tx, tenant_of(caller), operation)
    raise NotSupported(mutation="rollBackUpgradeOperation", why="the local driver has nothing to roll back")
