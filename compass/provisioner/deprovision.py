"""`deprovisionRuntime`: the cluster goes first, then the registration; afterwards nothing is left of either.

The same steps undo a provisioning that failed. Source: contract/connector-agent-provisioner.md §D.4.
"""

from contextlib import suppress
from datetime import timedelta
from typing import Final

from compass.access.caller import Caller, Consumer, Flow
from compass.commands import command
from compass.director import runtime as director_runtime
from compass.errors import NotFound
from compass.ids import OperationId, RuntimeId, TenantId
from compass.operations.operation import Again, Done, Go, Kind, Operation, Outcome, step
from compass.postgres.pool import Database, Tx
from compass.provisioner import cluster
from compass.provisioner.cluster import Cluster
from compass.provisioner.infrastructure import Absent, Drivers
from compass.provisioner.refusals import OperationRunning, tenant_of

REMOVAL_TIME: Final = timedelta(hours=1)
"""For an infrastructure that does not let go. Then the operation fails, visibly, and may be asked for again."""

# Steps, the last of them first

FORGET = """
-- cluster.forget
DELETE FROM cluster WHERE runtime_id = %(runtime)s
"""
OF_OPERATION = """
-- cluster.of_operation
SELECT tenant_id FROM cluster WHERE runtime_id = %(runtime)s FOR UPDATE
"""


@step("UnregisterRuntime", timeout=REMOVAL_TIME)
async def unregister_runtime(op: Operation, database: Database) -> Outcome:
    """Unregister the runtime at the Director and forget the cluster: both happen, or neither.

    A runtime that was unregistered already is what was wanted. Its credentials and tokens go with it.
    """
    runtime = RuntimeId(op.subject)

    async def unregister(tx: Tx) -> None:
        tenant = await tx.value(OF_OPERATION, runtime=runtime)
        if tenant is None:
            return  # the step was done before, and only its answer was lost
        with suppress(NotFound):
            await director_runtime.unregister(tx, _ourselves(TenantId(tenant)), runtime)
        await tx.run(FORGET, runtime=runtime)

    await database.run(unregister)
    return Done()


def _ourselves(tenant: TenantId) -> Caller:
    """Who unregisters: the plane, long after whoever asked for it went away."""
    return Caller(Consumer.STATIC_USER, "provisioner", Flow.JWT, frozenset(["runtime:write"]), tenant)


@step("WaitForClusterDeletion", timeout=REMOVAL_TIME)
async def wait_for_deletion(op: Operation, database: Database, drivers: Drivers) -> Outcome:
    """Ask once whether the cluster is gone; while it is not, have it removed again."""
    made = await _cluster(op, database)
    if made is not None:
        driver = drivers.of(made.provider)
        if not isinstance(await driver.observe(made.runtime), Absent):
            await driver.delete(made.runtime)
            return Again(driver.pace)
    return Go(unregister_runtime)


@step("DeprovisionCluster", timeout=REMOVAL_TIME)
async def deprovision_cluster(op: Operation, database: Database, drivers: Drivers) -> Outcome:
    """Have the cluster removed, if there ever was one."""
    made = await _cluster(op, database)
    if made is not None:
        await drivers.of(made.provider).delete(made.runtime)
    return Go(wait_for_deletion)


async def _cluster(op: Operation, database: Database) -> Cluster | None:
    return await database.run(lambda tx: cluster.of_runtime(tx, RuntimeId(op.subject)))


REMOVAL: Final = (deprovision_cluster, wait_for_deletion, unregister_runtime)
DEPROVISION: Final = Kind("deprovision", REMOVAL)


@command("deprovisionRuntime", scope="provisioner:write")
async def deprovision(tx: Tx, caller: Caller, runtime: RuntimeId) -> OperationId:
    """Begin to remove a runtime. Raises ClusterNotFound, OperationRunning."""
    tenant = tenant_of(caller)
    await cluster.hold(tx, tenant, runtime)
    return await cluster.operate(tx, DEPROVISION, tenant, runtime)


# Clusters whose runtime was unregistered at the Director

ABANDONED = """
-- cluster.abandoned
SELECT runtime_id, tenant_id FROM cluster
WHERE NOT EXISTS (SELECT 1 FROM runtime WHERE runtime.id = cluster.runtime_id)
  AND NOT EXISTS (
      SELECT 1 FROM operation WHERE operation.subject = cluster.runtime_id
          AND (finished_at IS NULL OR kind = 'deprovision' AND finished_at > clock_timestamp() - interval '10 minutes')
  )
"""


async def remove_abandoned(tx: Tx) -> None:
    """Begin to remove every cluster whose runtime was unregistered; ten minutes after a removal failed, again."""
    for row in await tx.rows(ABANDONED):
        with suppress(OperationRunning):  # another replica was faster
            await cluster.operate(tx, DEPROVISION, TenantId(row["tenant_id"]), RuntimeId(row["runtime_id"]))
