import pytest

from compass.errors import (
    CompassError,
    InsufficientScopes,
    InvalidData,
    OperationTimedOut,
    Refused,
    TenantNotFound,
    Unauthorized,
    Unavailable,
)
from compass.provisioner.refusals import (
    ClusterNameTaken,
    ClusterNotFound,
    NotSupported,
    OperationRunning,
    TenantHeaderEmpty,
    wire_extensions,
)

OURS = ("err_provisioner_internal", "provisioner")
DATABASE = "db - provisioner"


@pytest.mark.parametrize(
    ("error", "code", "reason", "component"),
    [
        (ClusterNotFound(runtime="r"), 2, "err_db_not_found", DATABASE),
        (ClusterNameTaken(name="n"), 3, "err_db_already_exists", DATABASE),
        (OperationRunning(runtime="r"), 400, *OURS),
        (InvalidData(reason="r"), 400, *OURS),
        (Refused("no such document"), 400, *OURS),
        (TenantHeaderEmpty(), 400, *OURS),
        (TenantNotFound(externalTenant="t"), 400, *OURS),
        (Unauthorized(reason="r"), 403, *OURS),
        (InsufficientScopes("a", "b"), 403, *OURS),
        (NotSupported(mutation="m", why="w"), 501, *OURS),
        (OperationTimedOut(), 500, "err_provisioner_timeout", "provisioner"),
        (Unavailable(), 500, "err_provisioner_timeout", "provisioner"),
    ],
)
def test_a_refusal_has_the_code_reason_and_component_clients_know(
    error: CompassError, code: int, reason: str, component: str
) -> None:
    assert wire_extensions(error) == {"error_code": code, "error_reason": reason, "error_component": component}
