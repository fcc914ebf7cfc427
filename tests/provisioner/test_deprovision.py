import asyncio

import pytest

from compass.access.caller import Caller
from compass.provisioner.deprovision import remove_abandoned
from tests.provisioner.conftest import DEPROVISION, NOTHING, OPERATION, PROVISION, Provisioner, asked
from tests.provisioner.test_provision import REMOVED

UNKNOWN = "8fd7f7f4-3d6c-4a9a-8f3c-000000000000"


async def test_after_deprovisioning_nothing_is_left_but_the_operations(provisioner: Provisioner) -> None:
    async with provisioner.working():
        runtime = await provisioner.provisioned()
        await provisioner.provisioned("stays")
        operation = await provisioner.result(DEPROVISION, id=runtime)
        ended = await provisioner.ended(operation)

    assert (ended["operation"], ended["state"], ended["runtimeID"]) == ("Deprovision", "Succeeded", runtime)
    assert await provisioner.journal(operation) == REMOVED
    assert await provisioner.row("SELECT array_agg(name) AS names FROM runtime") == {"names": ["stays"]}
    counts = await provisioner.counts()
    assert counts == {"runtimes": 1, "clusters": 1, "made": 1, "identities": 1, "tokens": 1, "certificates": 0}
    told = await provisioner.row("SELECT count(*) AS n FROM outbox_event WHERE name = 'RuntimeUnregistered'")
    assert told == {"n": 1}


@pytest.mark.parametrize("lies", [{"delete_works_and_fails": 2}, {"delete_does_nothing": 4}])
async def test_an_infrastructure_that_lies_about_removing_is_asked_until_it_is_true(
    provisioner: Provisioner, lies: dict[str, int]
) -> None:
    async with provisioner.working():
        runtime = await provisioner.provisioned()
        vars(provisioner.lies).update(lies)
        ended = await provisioner.ended(await provisioner.result(DEPROVISION, id=runtime))

    assert ended["state"] == "Succeeded"
    assert await provisioner.counts() == NOTHING


async def test_a_runtime_that_was_unregistered_before_is_no_obstacle(provisioner: Provisioner) -> None:
    async with provisioner.working():
        runtime = await provisioner.provisioned()
        await provisioner.row("WITH gone AS (DELETE FROM runtime RETURNING id) SELECT count(*) AS n FROM gone")
        ended = await provisioner.ended(await provisioner.result(DEPROVISION, id=runtime))

    assert ended["state"] == "Succeeded"
    assert await provisioner.counts() == NOTHING


async def test_a_foreign_a_random_and_a_malformed_id_get_the_same_refusal(provisioner: Provisioner) -> None:
    theirs = await provisioner.result(PROVISION, caller=provisioner.other, config=asked())

    for runtime in (theirs["runtimeID"], UNKNOWN, "no-uuid", ""):
        error = await provisioner.refusal(DEPROVISION, id=runtime)
        assert error == {
            "message": f"cannot find the cluster of Runtime {runtime}",
            "path": ["result"],
            "extensions": {
                "error": "NotFound",
                "error_code": 2,
                "error_reason": "err_db_not_found",
                "error_component": "db - provisioner",
            },
        }


async def test_of_many_requests_at_once_one_begins_and_the_others_are_refused(provisioner: Provisioner) -> None:
    async with provisioner.working():
        runtime = await provisioner.provisioned()
    answers = await asyncio.gather(*(provisioner(DEPROVISION, id=runtime) for _ in range(8)))

    begun = [answer["data"]["result"] for answer in answers if "errors" not in answer]
    refused = {answer["errors"][0]["extensions"]["error"] for answer in answers if "errors" in answer}
    assert len(begun) == 1
    assert refused == {"ConcurrentOperation"}
    error = await provisioner.refusal(PROVISION, config=asked())
    assert error["extensions"]["error"] == "ConcurrentOperation"
    assert (await provisioner.result(OPERATION, id=begun[0]))["message"] == "Deprovisioning started"


async def test_only_who_has_the_scope_may_deprovision(provisioner: Provisioner, without_scopes: Caller) -> None:
    begun = await provisioner.begun()

    error = await provisioner.refusal(DEPROVISION, caller=without_scopes, id=begun["runtimeID"])

    assert error["extensions"]["error"] == "InsufficientScopes"


async def test_a_cluster_whose_runtime_was_unregistered_at_the_director_is_removed(provisioner: Provisioner) -> None:
    async with provisioner.working():
        await provisioner.provisioned("stays")
        await provisioner.provisioned("gone")
        await provisioner.row("WITH g AS (DELETE FROM runtime WHERE name = 'gone' RETURNING id) SELECT count(*) FROM g")
        for _ in range(2):
            await provisioner.database.run(remove_abandoned)
        async with asyncio.timeout(10):
            while await provisioner.row("SELECT count(*) AS n FROM cluster") != {"n": 1}:
                await asyncio.sleep(0.02)

    assert len(await provisioner.cloud.existing()) == 1
    assert await provisioner.row("SELECT array_agg(name) AS names FROM cluster") == {"names": ["stays"]}
    removals = await provisioner.row("SELECT count(*) AS n FROM operation WHERE kind = 'deprovision'")
    assert removals == {"n": 1}
