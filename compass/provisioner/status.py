"""`runtimeOperationStatus` and `runtimeStatus`: what is going on, and what is true.

Source of names and texts: contract/connector-agent-provisioner.md §D.1, §D.2.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, assert_never

from compass.access.caller import Caller
from compass.commands import command
from compass.ids import OperationId, RuntimeId, TenantId
from compass.operations.operation import State
from compass.postgres.pool import Database, Tx
from compass.provisioner import cluster
from compass.provisioner.infrastructure import (
    Absent,
    Broken,
    Creating,
    Drivers,
    Observed,
    Ready,
    Sleeping,
    Upgrading,
)
from compass.provisioner.refusals import (
    COMPONENT,
    INTERNAL_REASON,
    TIMEOUT_REASON,
    ClusterNotFound,
    OperationNotFound,
    tenant_of,
)

_TYPES: Final = {
    "provision": "Provision",
    "deprovision": "Deprovision",
    "reconnect": "ReconnectRuntime",
    "upgrade": "Upgrade",
    "hibernate": "Hibernate",
    "wake": "Wake",
}
_KINDS: Final = list(_TYPES)
"""Others are the plane's own affair, and shown to nobody."""
_STATES: Final = {
    # A client is not told whether a worker has looked at it yet: the original has no such state on the wire either.
    State.PENDING: "InProgress",
    State.IN_PROGRESS: "InProgress",
    State.SUCCEEDED: "Succeeded",
    State.FAILED: "Failed",
}
_STARTED: Final = {
    "provision": "Provisioning started",
    "deprovision": "Deprovisioning started",
    "reconnect": "Reconnecting started",
    "upgrade": "Upgrade started",
    "hibernate": "Hibernation started",
    "wake": "Waking up started",
}
_REASONS: Final = {"StepTimedOut": TIMEOUT_REASON, "StepUnknown": "err_provisioner_step_not_found"}
_HEALTHY: Final = frozenset(
    ["Connected", "Synchronized", "SynchronizationFailed", "ResourceApplicationFailed", "MetadataUpdateFailed"]
)
"""States in which an agent has spoken with the plane, though not all of what followed worked. Source: contract §D.2."""

# Operations

_OPERATION: Final = """
SELECT operation.id, operation.kind, operation.subject, operation.state, operation.step, operation.error,
    (
        SELECT step.error FROM operation_step step
        WHERE step.operation_id = operation.id AND step.left_at IS NULL
    ) AS trouble,
    (
        SELECT coalesce(jsonb_agg(jsonb_build_object(
            'name', step.step,
            'enteredAt', to_char(step.entered_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
            'leftAt', to_char(step.left_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
            'error', step.error,
            'failed', step.error IS NOT NULL AND step.outcome IN ('FAILED', 'TIMED_OUT', 'WORKER_DIED')
        ) ORDER BY step.number), '[]')
        FROM operation_step step WHERE step.operation_id = operation.id
    ) AS steps
FROM operation
WHERE operation.tenant_id = %(tenant)s AND operation.kind = ANY(%(kinds)s)
"""
OPERATION: Final = f"-- provisioner.operation{_OPERATION} AND operation.id = %(operation)s"
LAST_OPERATION: Final = (
    f"-- provisioner.last_operation{_OPERATION} AND operation.subject = %(runtime)s "
    "ORDER BY operation.created_at DESC, operation.id LIMIT 1"
)


@command("runtimeOperationStatus", scope="provisioner:read")
async def operation_status(tx: Tx, caller: Caller, operation: OperationId) -> dict[str, Any]:
    """How far an operation is. Raises OperationNotFound."""
    return await of_operation(tx, tenant_of(caller), operation)


async def of_operation(tx: Tx, tenant: TenantId, operation: OperationId) -> dict[str, Any]:
    """An `OperationStatus`. Raises OperationNotFound."""
    row = await tx.row(OPERATION, tenant=tenant, operation=operation, kinds=_KINDS)
    if row is None:
        raise OperationNotFound(operation=operation)
    return _shown(row)


async def last_operation(tx: Tx, tenant: TenantId, runtime: RuntimeId) -> dict[str, Any] | None:
    """The latest one on a runtime; None when there was none, or it is forgotten."""
    row = await tx.row(LAST_OPERATION, tenant=tenant, runtime=runtime, kinds=_KINDS)
    return None if row is None else _shown(row)


def _shown(row: Any) -> dict[str, Any]:
    state = State(row["state"])
    error = _error(row["error"], row["trouble"])
    match state:
        case State.PENDING:
            message = _STARTED[row["kind"]]
        case State.IN_PROGRESS:
            message = f"Operation in progress. Stage {row['step']}"
        case State.SUCCEEDED:
            message = "Operation succeeded"
        case State.FAILED:
            message = error["errMessage"]
        case _:
            assert_never(state)
    return {
        "id": row["id"],
        "operation": _TYPES[row["kind"]],
        "state": _STATES[state],
        "message": message,
        "runtimeID": row["subject"],
        "compassRuntimeID": row["subject"],
        "lastError": error,
        "steps": row["steps"],
    }


def _error(error: Mapping[str, str] | None, trouble: str | None) -> dict[str, str]:
    """Why it fails; else what the present step last stumbled over, which may pass."""
    if error is None:
        if trouble is None:
            return {"errMessage": "", "reason": "", "component": ""}
        return {"errMessage": trouble, "reason": INTERNAL_REASON, "component": COMPONENT}
    message = error["err_message"]
    if "compensation" in error:
        message = f"{message}; what was made could not be removed: {error['compensation']}"
    reason = error["reason"]
    known = reason if reason.startswith("err_") else _REASONS.get(reason, INTERNAL_REASON)
    return {"errMessage": message, "reason": known, "component": error["component"]}


# Runtimes

PAIRED = """
-- provisioner.paired
SELECT EXISTS (
    SELECT 1 FROM cluster_agent agent JOIN system_auth ON system_auth.id = agent.system_auth_id
    WHERE agent.runtime_id = %(runtime)s AND system_auth.cert_common_name <> ''
) AS now,
EXISTS (
    SELECT 1 FROM operation WHERE subject = %(runtime)s AND kind IN ('provision', 'reconnect') AND state = 'SUCCEEDED'
) AS ever
"""


@dataclass(frozen=True)
class Look:
    """A look at a cluster."""

    seen: Observed | None
    """None when there is nobody to ask."""
    can_upgrade: bool = False
    can_sleep: bool = False
    """What its driver can do."""


async def look(caller: Caller, runtime: RuntimeId, *, database: Database, drivers: Drivers) -> Look:
    """What the infrastructure says, asked before any transaction opens."""
    tenant = tenant_of(caller)
    try:
        made = await database.run(lambda tx: cluster.own(tx, tenant, runtime))
    except ClusterNotFound:
        return Look(None)
    driver = drivers.of(made.provider)
    seen = await driver.observe(made.runtime)
    return Look(seen, can_upgrade=isinstance(driver, Upgrading), can_sleep=isinstance(driver, Sleeping))


def why_awake(seen: Observed | None) -> str | None:
    """Why a cluster cannot be put to sleep; None when it can be, or is asleep."""
    match seen:
        case Ready():
            return None
        case Broken(why):
            return why
        case Absent() | Creating() | None:
            return "it is not there"


@command("runtimeStatus", scope="provisioner:read", prepare=look)
async def runtime_status(tx: Tx, caller: Caller, runtime: RuntimeId, *, prepared: Look) -> dict[str, Any]:
    """The last operation on a runtime, its agent's connection and its configuration. Raises ClusterNotFound."""
    tenant = tenant_of(caller)
    made = await cluster.own(tx, tenant, runtime)
    last = await last_operation(tx, tenant, runtime)
    paired = await tx.row(PAIRED, runtime=runtime)
    if paired is None:
        raise AssertionError("a SELECT without FROM has one row")
    return {
        "lastOperationStatus": last,
        "runtimeConnectionStatus": connection(prepared.seen, now=paired["now"], ever=paired["ever"]),
        "runtimeConfiguration": _configuration(made.asked),
        "hibernationStatus": {
            "hibernated": isinstance(prepared.seen, Ready) and prepared.seen.asleep,
            "hibernationPossible": prepared.can_sleep and why_awake(prepared.seen) is None,
        },
    }


def connection(seen: Observed | None, *, now: bool, ever: bool) -> dict[str, Any]:
    """A `RuntimeConnectionStatus`: paired at the plane (`now`), and at work where it lives (`seen`).

    `ever`: it was paired before, so it is no longer waited for but missed.
    """
    if not now:
        if ever:
            return _disconnected("the plane no longer knows the identity of the agent")
        return {"status": "Pending", "errors": []}
    match seen:
        case Ready(asleep=True):
            return _disconnected("it is hibernated")
        case Ready(agent=None):
            return _disconnected("the agent does not run")
        case Ready(agent=agent) if agent is not None and agent.state not in _HEALTHY:
            return _disconnected(agent.error or f"the agent is {agent.state}")
        case Ready():
            return {"status": "Connected", "errors": []}
        case Broken(why):
            return _disconnected(why)
        case Absent() | Creating() | None:
            return _disconnected("the cluster is not there")


def _disconnected(why: str) -> dict[str, Any]:
    return {"status": "Disconnected", "errors": [{"message": why}]}


def _configuration(asked: Mapping[str, Any]) -> dict[str, Any]:
    gardener = dict(asked["clusterConfig"]["gardenerConfig"])
    specific: Mapping[str, Any] = gardener["providerSpecificConfig"]
    gardener["providerSpecificConfig"] = next(
        (
            {"__typename": type_name, **specific[key]}
            for key, type_name in _SPECIFIC.items()
            if specific.get(key) is not None
        ),
        None,
    )
    return {"clusterConfig": gardener, "kymaConfig": asked.get("kymaConfig"), "kubeconfig": None}


_SPECIFIC: Final = {
    "gcpConfig": "GCPProviderConfig",
    "azureConfig": "AzureProviderConfig",
    "awsConfig": "AWSProviderConfig",
    "openStackConfig": "OpenStackProviderConfig",
}
