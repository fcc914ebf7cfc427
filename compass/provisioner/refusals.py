"""What the Provisioner refuses, and how its refusals look on the wire.

Its errors carry a code like HTTP's, a reason and a component beside the sentence, as clients of the original read them.
Source: contract/connector-agent-provisioner.md §D.1.
"""

from collections.abc import Mapping
from typing import Any, Final

from compass.access.caller import Caller
from compass.errors import Code, CompassError, Refused, TenantRequired
from compass.ids import TenantId

INTERNAL_REASON: Final = "err_provisioner_internal"
TIMEOUT_REASON: Final = "err_provisioner_timeout"
COMPONENT: Final = "provisioner"
_DATABASE: Final = "db - provisioner"


class TenantHeaderEmpty(TenantRequired):
    """The request does not say in which tenant it wants to work."""

    message = "tenant header is empty"


class InputRefused(CompassError):
    """The configuration breaks a rule; `reason` says which, in the words clients know."""

    code = Code.INVALID_DATA
    message = "error: {reason}"


class ClusterNameTaken(CompassError):
    """The tenant has a cluster of that name that was asked for with another configuration."""

    code = Code.NOT_UNIQUE
    message = "a cluster named '{name}' was provisioned in this tenant with another configuration"


class OperationRunning(CompassError):
    """One operation at a time on a runtime. Wait for the one that runs."""

    code = Code.CONCURRENT_OPERATION
    message = "cannot start new operation for {runtime} Runtime while previous one is in progress"


class ClusterNotFound(CompassError):
    """There is no such runtime of this Provisioner in the tenant."""

    code = Code.NOT_FOUND
    message = "cannot find the cluster of Runtime {runtime}"


class OperationNotFound(CompassError):
    """There is no such operation of this Provisioner in the tenant."""

    code = Code.NOT_FOUND
    message = "cannot find operation {operation}"


class NotSupported(CompassError):
    """The infrastructure of the runtime cannot do that, whatever its state."""

    code = Code.INVALID_OPERATION
    message = "{mutation} is not supported: {why}"


class RuntimeAsleep(CompassError):
    """That needs a runtime that is awake. Wake it up first."""

    code = Code.INVALID_OPERATION
    message = "Runtime {runtime} is hibernated; wake it up first"


class HibernationImpossible(CompassError):
    """The runtime is not in a state in which it can be put to sleep."""

    code = Code.INVALID_OPERATION
    message = "cannot hibernate cluster: {why}"


class NothingToRetry(CompassError):
    """Only the last operation on a runtime can be taken up again, and only when it failed."""

    code = Code.INVALID_OPERATION
    message = "operation {operation} cannot be taken up again: {why}"


def tenant_of(caller: Caller) -> TenantId:
    """The tenant the caller works in. Raises TenantHeaderEmpty, TenantNotFound."""
    if caller.tenant is None and not caller.external_tenant:
        raise TenantHeaderEmpty()
    return caller.in_tenant()


def wire_extensions(error: CompassError) -> Mapping[str, Any]:
    """What the extensions of a refusal say here in addition to, or instead of, what they say everywhere."""
    code, reason, component = _shown(error)
    return {"error_code": code, "error_reason": reason, "error_component": component}


def _shown(error: CompassError) -> tuple[int, str, str]:
    match error:
        case ClusterNotFound() | OperationNotFound():
            return 2, "err_db_not_found", _DATABASE
        case ClusterNameTaken():
            return 3, "err_db_already_exists", _DATABASE
        case NotSupported():
            return 501, INTERNAL_REASON, COMPONENT
        case Refused():
            return 400, INTERNAL_REASON, COMPONENT
    match error.code:
        case Code.UNAUTHORIZED | Code.INSUFFICIENT_SCOPES:
            return 403, INTERNAL_REASON, COMPONENT
        case Code.OPERATION_TIMEOUT:
            return 500, TIMEOUT_REASON, COMPONENT
        case Code.INTERNAL:
            return 500, INTERNAL_REASON, COMPONENT
        case _:
            return 400, INTERNAL_REASON, COMPONENT
