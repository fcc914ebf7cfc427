"""`retryOperation`: an operation that failed is taken up again at the step that failed.

What was done is not done twice, and the cause stays readable among the operation's steps. A provisioning that failed
has removed what it made, with the runtime: there is nothing to take up, and the same request begins anew.
"""

from typing import Any, Final

from compass.access.caller import Caller
from compass.commands import command
from compass.ids import OperationId, RuntimeId
from compass.operations.operation import Kind
from compass.postgres.pool import Tx
from compass.provisioner import cluster, status
from compass.provisioner.deprovision import DEPROVISION
from compass.provisioner.hibernate import HIBERNATE, WAKE
from compass.provisioner.provision import PROVISION
from compass.provisioner.reconnect import RECONNECT
from compass.provisioner.refusals import ClusterNotFound, NothingToRetry, tenant_of
from compass.provisioner.upgrade import UPGRADE

_KINDS: Final = {kind.name: kind for kind in (PROVISION, DEPROVISION, RECONNECT, UPGRADE, HIBERNATE, WAKE)}

KIND = """
-- provisioner.kind
SELECT kind FROM operation WHERE id = %(operation)s
"""


@command("retryOperation", scope="provisioner:write")
async def retry(tx: Tx, caller: Caller, operation: OperationId) -> dict[str, Any]:
    """Take it up again. Raises OperationNotFound, NothingToRetry, OperationRunning."""
    tenant = tenant_of(caller)
    known = await status.of_operation(tx, tenant, operation)
    runtime = RuntimeId(known["runtimeID"])
    try:
        await cluster.hold(tx, tenant, runtime)
    except ClusterNotFound:
        raise NothingToRetry(operation=operation, why="what it worked on is removed") from None
    # After the hold: whoever held it before may have begun another one, or have taken this one up.
    last = await status.last_operation(tx, tenant, runtime)
    if last is None or last["id"] != known["id"]:
        raise NothingToRetry(operation=operation, why="it is not the last one on its runtime")
    if last["state"] != "Failed":
        raise NothingToRetry(operation=operation, why="it has not failed")
    kind: Kind = _KINDS[await tx.value(KIND, operation=operation)]
    await cluster.operate_again(tx, kind, runtime, operation)
    return await status.of_operation(tx, tenant, operation)
