"""Clusters: what the Provisioner made, or is making, at an infrastructure, each for one runtime of one tenant.

Invariants: a cluster's row is there before anything is made and until everything is removed, so whatever exists
without one is nobody's; its tenant never changes; its name is unique in the tenant; and one operation at a time
works on it, which an index of `operation` decides. Source: contract/connector-agent-provisioner.md §D.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from compass.ids import OperationId, RuntimeId, TenantId
from compass.operations.operation import Kind, Operation, OperationInProgress, StepFailed, retry, start
from compass.postgres.pool import Tx
from compass.provisioner.refusals import INTERNAL_REASON, ClusterNotFound, OperationRunning

AGENT_COMPONENT: Final = "compass-runtime-agent"


@dataclass(frozen=True)
class Cluster:
    """A cluster as its operations see it."""

    runtime: RuntimeId
    tenant: TenantId
    provider: str
    asked: Mapping[str, Any]
    """The request it was provisioned with, in the names of the wire, without secrets."""


@dataclass(frozen=True)
class Registered:
    """What the Director says of a cluster's runtime: the configuration its agent gets."""

    name: str
    tenant: str
    """What clients call the tenant."""


# What it is found by

OWN = """
-- cluster.own
SELECT runtime_id, tenant_id, provider, asked FROM cluster
WHERE runtime_id = %(runtime)s AND tenant_id = %(tenant)s
"""
OF_RUNTIME = """
-- cluster.of_runtime
SELECT runtime_id, tenant_id, provider, asked FROM cluster WHERE runtime_id = %(runtime)s
"""
REGISTERED = """
-- cluster.registered
SELECT runtime.name, tenant.external_id FROM runtime JOIN tenant ON tenant.id = runtime.tenant_id
WHERE runtime.id = %(runtime)s
"""


async def own(tx: Tx, tenant: TenantId, runtime: RuntimeId) -> Cluster:
    """The tenant's cluster of that runtime. Raises ClusterNotFound, the same for another tenant's and for none."""
    row = await tx.row(OWN, tenant=tenant, runtime=runtime)
    if row is None:
        raise ClusterNotFound(runtime=runtime)
    return _cluster(row)


async def of_runtime(tx: Tx, runtime: RuntimeId) -> Cluster | None:
    """The cluster of that runtime, whoever's it is; None when it was removed."""
    row = await tx.row(OF_RUNTIME, runtime=runtime)
    return None if row is None else _cluster(row)


async def at_work(tx: Tx, op: Operation) -> Cluster:
    """The cluster an operation builds on. Raises StepFailed when its runtime was unregistered meanwhile."""
    made = await of_runtime(tx, RuntimeId(op.subject))
    await registered(tx, op)
    if made is None:
        gone = f"the cluster of Runtime {op.subject} is gone"
        raise StepFailed("err_db_not_found", gone, component="db - provisioner")
    return made


async def registered(tx: Tx, op: Operation) -> Registered:
    """What the Director knows of an operation's runtime. Raises StepFailed when it was unregistered there."""
    row = await tx.row(REGISTERED, runtime=op.subject)
    if row is None:
        gone = f"Runtime {op.subject} was unregistered meanwhile"
        raise StepFailed(INTERNAL_REASON, gone, component="compass director")
    return Registered(row["name"], row["external_id"])


def _cluster(row: Any) -> Cluster:
    return Cluster(RuntimeId(row["runtime_id"]), TenantId(row["tenant_id"]), row["provider"], row["asked"])


# How an operation on it begins

HOLD = f"-- cluster.hold{OWN.partition('-- cluster.own')[2]}FOR UPDATE"
FORGOTTEN: Final = ("tokens",)
"""An operation that is taken up again has as many one-time tokens as at first."""


async def hold(tx: Tx, tenant: TenantId, runtime: RuntimeId) -> Cluster:
    """As `own`, and no other request begins an operation on it before this one has committed."""
    row = await tx.row(HOLD, tenant=tenant, runtime=runtime)
    if row is None:
        raise ClusterNotFound(runtime=runtime)
    return _cluster(row)


async def operate(
    tx: Tx, kind: Kind, tenant: TenantId, runtime: RuntimeId, data: Mapping[str, Any] | None = None
) -> OperationId:
    """Begin an operation on the tenant's cluster when the transaction commits. Raises OperationRunning."""
    try:
        return await start(tx, kind, runtime, tenant=tenant, data=data)
    except OperationInProgress:
        raise OperationRunning(runtime=runtime) from None


async def operate_again(tx: Tx, kind: Kind, runtime: RuntimeId, operation: OperationId) -> None:
    """Take a failed operation on a cluster that is held up again. Raises OperationRunning."""
    try:
        await retry(tx, kind, operation, forgotten=FORGOTTEN)
    except OperationInProgress:
        raise OperationRunning(runtime=runtime) from None
