import asyncio
from typing import Any

import pytest

from compass.access.caller import Caller
from tests.provisioner.conftest import DEPROVISION, NOTHING, OPERATION, PROVISION, Provisioner, asked

BUILT = [
    "FetchRuntimeConfiguration",
    "CreateCluster",
    "WaitForClusterCreation",
    "IssueCertificate",
    "ConnectRuntimeAgent",
    "WaitForAgentToConnect",
]
REMOVED = ["DeprovisionCluster", "WaitForClusterDeletion", "UnregisterRuntime"]
ONE = {"runtimes": 1, "clusters": 1, "made": 1, "identities": 1, "tokens": 1, "certificates": 0}
NO_ERROR = {"errMessage": "", "reason": "", "component": ""}


async def test_the_answer_names_the_registered_runtime_and_the_operation_that_began(provisioner: Provisioner) -> None:
    begun = await provisioner.result(PROVISION, config=asked())

    registered = await provisioner.row("SELECT id, name, status_condition, tenant_id FROM runtime")
    assert begun == {
        "id": begun["id"],
        "operation": "Provision",
        "state": "InProgress",
        "message": "Provisioning started",
        "runtimeID": registered["id"],
        "compassRuntimeID": registered["id"],
        "lastError": NO_ERROR,
    }
    assert registered["name"] == "edge-01"
    assert registered["status_condition"] == "PROVISIONING"
    assert registered["tenant_id"] == provisioner.caller.tenant
    assert await provisioner.cloud.existing() == set()  # nothing outside happens before the answer


async def test_a_runtime_is_made_step_by_step_and_its_agent_pairs(provisioner: Provisioner) -> None:
    async with provisioner.working():
        begun = await provisioner.begun()
        ended = await provisioner.ended(begun["id"])

    assert (ended["state"], ended["message"], ended["lastError"]) == ("Succeeded", "Operation succeeded", NO_ERROR)
    assert await provisioner.journal(begun["id"]) == BUILT
    assert await provisioner.counts() == ONE
    runtime = await provisioner.row("SELECT status_condition AS status FROM runtime")
    assert runtime == {"status": "CONNECTED"}
    made = await provisioner.row("SELECT identities, told, cardinality(tokens) AS tokens FROM fake_cluster")
    assert made == {
        "identities": 1,
        "told": {
            "connector_url": "https://plane.test:8443/connector/graphql",
            "tenant": "tenant-mine",
            "name": "edge-01",
        },
        "tokens": 1,
    }


async def test_the_same_request_again_gets_the_same_operation_and_another_name_another_runtime(
    provisioner: Provisioner,
) -> None:
    first, again = await provisioner.begun(), await provisioner.begun()
    other = await provisioner.begun("edge-02")

    assert again == first
    assert other["runtimeID"] != first["runtimeID"]
    assert (await provisioner.counts())["runtimes"] == 2


async def test_of_many_equal_requests_at_once_one_registers_a_runtime(provisioner: Provisioner) -> None:
    begun = await asyncio.gather(*(provisioner.begun() for _ in range(8)))

    assert len({one["id"] for one in begun}) == 1
    assert (await provisioner.counts()) == NOTHING | {"runtimes": 1, "clusters": 1}
    assert (await provisioner.row("SELECT count(*) AS n FROM operation")) == {"n": 1}
    assert (await provisioner.row("SELECT count(*) AS n FROM outbox_event")) == {"n": 1}


async def test_a_taken_cluster_name_with_another_configuration_is_refused(provisioner: Provisioner) -> None:
    await provisioner.begun("edge-01")

    error = await provisioner.refusal(PROVISION, config=asked("edge-01", machineType="m5"))

    assert error == {
        "message": "a cluster named 'edge-01' was provisioned in this tenant with another configuration",
        "path": ["result"],
        "extensions": {
            "error": "NotUnique",
            "error_code": 3,
            "error_reason": "err_db_already_exists",
            "error_component": "db - provisioner",
        },
    }


async def test_a_cluster_name_of_another_tenant_is_free(provisioner: Provisioner) -> None:
    mine = await provisioner.begun("edge-01")
    theirs = await provisioner.result(PROVISION, caller=provisioner.other, config=asked("edge-01"))

    assert theirs["runtimeID"] != mine["runtimeID"]


def with_kyma(components: list[str]) -> dict[str, Any]:
    entries = [{"component": name, "namespace": "kyma-system"} for name in components]
    return {**asked(), "kymaConfig": {"version": "2.0", "components": entries}}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (with_kyma([]), "error: Kyma components list is empty"),
        (with_kyma(["istio"]), "error: Kyma components list does not contain Compass Runtime Agent"),
        (asked(machineImageVersion="1.2"), "error: Machine Image Version passed while Machine Image is empty"),
        (
            asked(provider="openstack", diskType="ssd"),
            "error: OpenStack mutation does not accept diskType or volumeSizeGb parameters",
        ),
        (
            asked(provider="openstack", volumeSizeGB=0),
            "error: OpenStack mutation does not accept diskType or volumeSizeGb parameters",
        ),
        (asked(provider="gcp"), "unknown provider 'gcp': this plane provisions on local"),
        (asked(cluster=" "), "error: the name of the cluster is empty"),
        (asked("two words", cluster="c"), "Invalid data RuntimeInput [name=must be in a valid format]"),
    ],
)
async def test_a_configuration_that_breaks_a_rule_is_refused_in_the_contracts_words(
    provisioner: Provisioner, config: dict[str, Any], message: str
) -> None:
    error = await provisioner.refusal(PROVISION, config=config)

    assert error["message"] == message
    assert (error["extensions"]["error"], error["extensions"]["error_code"]) == ("InvalidData", 400)
    assert error["extensions"]["error_reason"] == "err_provisioner_internal"
    assert error["extensions"]["error_component"] == "provisioner"


async def test_what_the_schema_requires_is_required(provisioner: Provisioner) -> None:
    config = asked()
    del config["clusterConfig"]["gardenerConfig"]["region"]

    error = await provisioner.refusal(PROVISION, config=config)

    assert "region" in error["message"]
    assert error["extensions"]["error_code"] == 400


async def test_only_who_has_the_scope_and_names_a_tenant_may_provision(
    provisioner: Provisioner, without_scopes: Caller
) -> None:
    error = await provisioner.refusal(PROVISION, caller=without_scopes, config=asked())
    assert (error["extensions"]["error"], error["extensions"]["error_code"]) == ("InsufficientScopes", 403)

    nowhere = Caller(**{**vars(provisioner.caller), "tenant": None, "external_tenant": None})
    error = await provisioner.refusal(PROVISION, caller=nowhere, config=asked())
    assert (error["message"], error["extensions"]["error_code"]) == ("tenant header is empty", 400)

    unknown = Caller(**{**vars(provisioner.caller), "tenant": None, "external_tenant": "nobody"})
    error = await provisioner.refusal(PROVISION, caller=unknown, config=asked())
    assert error["extensions"]["error"] == "TenantNotFound"


async def test_a_secret_of_the_configuration_is_not_kept(provisioner: Provisioner) -> None:
    config = with_kyma(["compass-runtime-agent"])
    entries = [{"key": "a", "value": "open"}, {"key": "b", "value": "hidden-7", "secret": True}]
    config["kymaConfig"]["configuration"] = entries
    config["kymaConfig"]["components"][0]["configuration"] = entries

    await provisioner.result(PROVISION, config=config)

    kept = str((await provisioner.row("SELECT asked FROM cluster"))["asked"])
    assert "open" in kept
    assert "hidden-7" not in kept


@pytest.mark.parametrize(
    "lies",
    [
        {"create_works_and_fails": 1},
        {"create_fails": 2},
        {"create_works_and_fails": 1, "hides": 3},
        {"slow": 4},
        {"identify_works_and_fails": 2},
        {"connect_works_and_fails": 2},
    ],
)
async def test_an_infrastructure_that_lies_gets_one_cluster_all_the_same(
    provisioner: Provisioner, lies: dict[str, int]
) -> None:
    vars(provisioner.lies).update(lies)
    async with provisioner.working():
        await provisioner.provisioned()

    assert (await provisioner.counts()) == ONE | {"tokens": (await provisioner.counts())["tokens"]}
    assert await provisioner.row("SELECT count(*) AS made FROM fake_creation") == {"made": 1}


@pytest.mark.parametrize(
    "lies", [{}, {"delete_works_and_fails": 1}, {"delete_does_nothing": 3}, {"create_works_and_fails": 1, "slow": 2}]
)
async def test_a_provisioning_that_fails_leaves_nothing_but_its_operation(
    provisioner: Provisioner, lies: dict[str, int]
) -> None:
    vars(provisioner.lies).update(lies | {"breaks": True})
    async with provisioner.working():
        begun = await provisioner.begun()
        ended = await provisioner.ended(begun["id"])

    failure = "cluster provisioning failed. Last state: Failed"
    assert ended["state"] == "Failed"
    assert ended["message"] == failure
    assert ended["lastError"] == {"errMessage": failure, "reason": "err_provisioner_internal", "component": "local"}
    assert await provisioner.counts() == NOTHING
    assert await provisioner.journal(begun["id"]) == BUILT[:3] + REMOVED


async def test_after_a_failure_the_same_request_begins_anew(provisioner: Provisioner) -> None:
    provisioner.lies.breaks = True
    async with provisioner.working():
        first = await provisioner.begun()
        await provisioner.ended(first["id"])
        provisioner.lies.breaks = False
        second = await provisioner.begun()
        assert (await provisioner.ended(second["id"]))["state"] == "Succeeded"

    assert second["id"] != first["id"]
    assert await provisioner.counts() == ONE


async def test_a_runtime_unregistered_while_it_is_made_takes_everything_along(provisioner: Provisioner) -> None:
    provisioner.lies.slow = 10**6
    async with provisioner.working():
        begun = await provisioner.begun()
        while not await provisioner.cloud.existing():
            await asyncio.sleep(0.02)
        await provisioner.row("WITH gone AS (DELETE FROM runtime RETURNING id) SELECT count(*) AS n FROM gone")
        ended = await provisioner.ended(begun["id"])

    assert ended["state"] == "Failed"
    assert ended["lastError"] == {
        "errMessage": f"Runtime {begun['runtimeID']} was unregistered meanwhile",
        "reason": "err_provisioner_internal",
        "component": "compass director",
    }
    assert await provisioner.counts() == NOTHING


async def test_while_a_runtime_is_made_it_cannot_be_removed_nor_its_removal_be_overtaken(
    provisioner: Provisioner,
) -> None:
    begun = await provisioner.begun()

    error = await provisioner.refusal(DEPROVISION, id=begun["runtimeID"])

    runtime = begun["runtimeID"]
    assert error["message"] == f"cannot start new operation for {runtime} Runtime while previous one is in progress"
    assert (error["extensions"]["error"], error["extensions"]["error_code"]) == ("ConcurrentOperation", 400)


async def test_what_passes_is_shown_while_it_lasts(provisioner: Provisioner) -> None:
    provisioner.lies.create_fails = 10**6
    async with provisioner.working():
        begun = await provisioner.begun()
        async with asyncio.timeout(10):
            while (shown := await provisioner.result(OPERATION, id=begun["id"]))["lastError"] == NO_ERROR:
                await asyncio.sleep(0.02)

    assert shown["state"] == "InProgress"
    assert shown["message"] == "Operation in progress. Stage CreateCluster"
    assert shown["lastError"] == {
        "errMessage": "CloudError",  # the class alone: the text of a foreign error may hold secrets
        "reason": "err_provisioner_internal",
        "component": "provisioner",
    }
