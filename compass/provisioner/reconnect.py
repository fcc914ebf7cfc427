"""`reconnectRuntimeAgent`: the agent gets a new identity; the former one ends when the new one works.

For an agent whose certificate ended, was revoked or was lost. It goes the way of provisioning, where all that is there
already is kept, so a cluster that was lost is made again, and one that is asleep wakes up. The original
never did anything here.
"""

from typing import Final

from compass.access.caller import Caller
from compass.commands import command
from compass.director import heartbeat
from compass.ids import OperationId, RuntimeId
from compass.operations.operation import Done, Kind, Operation, Outcome, step
from compass.postgres.pool import Database, Tx
from compass.provisioner import cluster
from compass.provisioner.deprovision import REMOVAL_TIME
from compass.provisioner.provision import BUILDING
from compass.provisioner.refusals import tenant_of

WITHDRAW = """
-- cluster_agent.withdraw
DELETE FROM system_auth USING cluster_agent agent
WHERE system_auth.id = agent.system_auth_id AND agent.operation_id = %(operation)s
"""


@step("WithdrawIdentity", timeout=REMOVAL_TIME)
async def withdraw(op: Operation, database: Database) -> Outcome:
    """Take back the identity that was meant for the agent; the former one stays."""
    await database.run(lambda tx: tx.run(WITHDRAW, operation=op.id))
    return Done()


async def expected(tx: Tx, op: Operation) -> None:
    """Its agent was started, also when the runtime was asleep, and is to be heard."""
    await heartbeat.rise(tx, RuntimeId(op.subject))


RECONNECT: Final = Kind("reconnect", (*BUILDING, withdraw), on_failure=withdraw, finished=expected)


@command("reconnectRuntimeAgent", scope="provisioner:write")
async def reconnect(tx: Tx, caller: Caller, runtime: RuntimeId) -> OperationId:
    """Begin to pair the agent anew. Raises ClusterNotFound, OperationRunning."""
    tenant = tenant_of(caller)
    await cluster.hold(tx, tenant, runtime)
    return await cluster.operate(tx, RECONNECT, tenant, runtime)
