from typing import Any

import pytest

from compass.access.caller import Caller
from compass.provisioner.infrastructure import Absent, AgentView, Broken, Creating, Observed, Ready
from compass.provisioner.status import connection
from tests.provisioner.conftest import DEPROVISION, OPERATION, PROVISION, Provisioner, asked
from tests.provisioner.test_deprovision import UNKNOWN

STATUS = """
query ($id: String!) { result: runtimeStatus(id: $id) {
  lastOperationStatus { id operation state }
  runtimeConnectionStatus { status errors { message } }
  runtimeConfiguration {
    clusterConfig { name provider region autoScalerMax machineImage providerSpecificConfig {
      __typename ... on AWSProviderConfig { vpcCidr awsZones { name } enableIMDSv2 } } dnsConfig { domain } }
    kymaConfig { version profile components { component } configuration { key value secret } }
    kubeconfig
  }
  hibernationStatus { hibernated hibernationPossible }
} }
"""
ZONE = {"name": "eu-1a", "publicCidr": "a", "internalCidr": "b", "workerCidr": "c"}


async def test_a_runtime_shows_its_last_operation_its_connection_and_what_was_asked(provisioner: Provisioner) -> None:
    config = asked(providerSpecificConfig={"awsConfig": {"vpcCidr": "10.0.0.0/8", "awsZones": [ZONE]}})
    config["kymaConfig"] = {
        "version": "2.0",
        "profile": "Production",
        "components": [{"component": "compass-runtime-agent", "namespace": "n"}],
        "configuration": [{"key": "k", "value": "v", "secret": True}],
    }
    async with provisioner.working():
        begun = await provisioner.result(PROVISION, config=config)
        await provisioner.ended(begun["id"])

    assert await provisioner.result(STATUS, id=begun["runtimeID"]) == {
        "lastOperationStatus": {"id": begun["id"], "operation": "Provision", "state": "Succeeded"},
        "runtimeConnectionStatus": {"status": "Connected", "errors": []},
        "runtimeConfiguration": {
            "clusterConfig": {
                "name": "edge-01",
                "provider": "local",
                "region": "-",
                "autoScalerMax": 1,
                "machineImage": None,
                "providerSpecificConfig": {
                    "__typename": "AWSProviderConfig",
                    "vpcCidr": "10.0.0.0/8",
                    "awsZones": [{"name": "eu-1a"}],
                    "enableIMDSv2": None,
                },
                "dnsConfig": None,
            },
            "kymaConfig": {
                "version": "2.0",
                "profile": "Production",
                "components": [{"component": "compass-runtime-agent"}],
                "configuration": [{"key": "k", "value": "", "secret": True}],
            },
            "kubeconfig": None,
        },
        "hibernationStatus": {"hibernated": False, "hibernationPossible": True},
    }


async def connection_of(provisioner: Provisioner, runtime: str) -> Any:
    return (await provisioner.result(STATUS, id=runtime))["runtimeConnectionStatus"]


async def test_the_connection_is_what_is_true_now(provisioner: Provisioner) -> None:
    begun = await provisioner.begun()
    runtime = begun["runtimeID"]
    assert await connection_of(provisioner, runtime) == {"status": "Pending", "errors": []}
    async with provisioner.working():
        await provisioner.ended(begun["id"])
    assert await connection_of(provisioner, runtime) == {"status": "Connected", "errors": []}

    await provisioner.row("UPDATE fake_cluster SET trouble = 'unauthorized' RETURNING 1 AS one")
    assert (await connection_of(provisioner, runtime))["status"] == "Disconnected"
    await provisioner.row("UPDATE fake_cluster SET trouble = NULL RETURNING 1 AS one")
    await provisioner.row("WITH g AS (DELETE FROM system_auth RETURNING 1) SELECT count(*) AS n FROM g")
    assert await connection_of(provisioner, runtime) == {
        "status": "Disconnected",
        "errors": [{"message": "the plane no longer knows the identity of the agent"}],
    }


@pytest.mark.parametrize(
    ("seen", "status", "error"),
    [
        (Ready((), AgentView("Synchronized", None, None)), "Connected", None),
        (Ready((), AgentView("MetadataUpdateFailed", "refused", "no")), "Connected", None),
        (Ready((), AgentView("ConnectionMaintenanceFailed", "unreachable", "nobody")), "Disconnected", "nobody"),
        (Ready((), AgentView("Stopped", None, None)), "Disconnected", "the agent is Stopped"),
        (Ready((), None), "Disconnected", "the agent does not run"),
        (Broken("burnt"), "Disconnected", "burnt"),
        (Absent(), "Disconnected", "the cluster is not there"),
        (Creating(), "Disconnected", "the cluster is not there"),
        (None, "Disconnected", "the cluster is not there"),
    ],
)
def test_a_paired_agent_is_connected_when_it_is_at_work_where_it_lives(
    seen: Observed | None, status: str, error: str | None
) -> None:
    errors = [] if error is None else [{"message": error}]
    assert connection(seen, now=True, ever=True) == {"status": status, "errors": errors}


async def test_foreign_random_and_malformed_ids_get_the_same_refusals(provisioner: Provisioner) -> None:
    theirs = await provisioner.result(PROVISION, caller=provisioner.other, config=asked())

    for runtime in (theirs["runtimeID"], UNKNOWN, "no-uuid"):
        error = await provisioner.refusal(STATUS, id=runtime)
        assert error["message"] == f"cannot find the cluster of Runtime {runtime}"
        assert error["extensions"]["error_reason"] == "err_db_not_found"
    for operation in (theirs["id"], UNKNOWN, "no-uuid"):
        error = await provisioner.refusal(OPERATION, id=operation)
        assert error["message"] == f"cannot find operation {operation}"
        assert error["extensions"]["error_code"] == 2


async def test_operations_of_other_kinds_are_not_shown(provisioner: Provisioner) -> None:
    begun = await provisioner.begun()
    await provisioner.row("UPDATE operation SET kind = 'renewal' RETURNING 1 AS one")

    error = await provisioner.refusal(OPERATION, id=begun["id"])
    assert error["extensions"]["error"] == "NotFound"


async def test_reading_never_changes_whose_the_runtime_is(provisioner: Provisioner) -> None:
    begun = await provisioner.begun()
    for document in (STATUS, DEPROVISION):
        await provisioner.refusal(document, caller=provisioner.other, id=begun["runtimeID"])

    owner = await provisioner.row("SELECT tenant_id FROM cluster")
    assert owner == {"tenant_id": provisioner.caller.tenant}


async def test_only_who_has_the_scope_may_read(provisioner: Provisioner, without_scopes: Caller) -> None:
    begun = await provisioner.begun()
    for document, id_ in ((STATUS, begun["runtimeID"]), (OPERATION, begun["id"])):
        error = await provisioner.refusal(document, caller=without_scopes, id=id_)
        assert error["extensions"]["error"] == "InsufficientScopes"


async def test_what_could_not_be_undone_is_told_beside_the_cause(provisioner: Provisioner) -> None:
    begun = await provisioner.begun()
    await provisioner.row(
        "UPDATE operation SET state = 'FAILED', finished_at = now(), next_at = NULL, error = %(error)s"
        " RETURNING 1 AS one",
        error={"err_message": "late", "reason": "StepTimedOut", "component": "c", "compensation": "stuck"},
    )

    shown = await provisioner.result(OPERATION, id=begun["id"])
    assert shown["lastError"] == {
        "errMessage": "late; what was made could not be removed: stuck",
        "reason": "err_provisioner_timeout",
        "component": "c",
    }
    assert shown["message"] == shown["lastError"]["errMessage"]
