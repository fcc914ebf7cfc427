import asyncio

from tests.provisioner.conftest import OPERATION, RECONNECT, Provisioner
from tests.provisioner.test_agent import EXPIRE, tokens_given
from tests.provisioner.test_deprovision import UNKNOWN
from tests.provisioner.test_provision import BUILT, ONE


async def test_the_agent_gets_a_new_identity_and_the_former_one_ends_when_the_new_one_works(
    provisioner: Provisioner,
) -> None:
    async with provisioner.working():
        runtime = await provisioner.provisioned()
    former = await provisioner.row("SELECT id FROM system_auth")
    operation = await provisioner.result(RECONNECT, id=runtime)
    async with provisioner.working(pairing=False):
        await tokens_given(provisioner, 2)
        known = await provisioner.row("SELECT array_agg(id) AS ids FROM system_auth WHERE cert_common_name <> ''")
        assert known == {"ids": [former["id"]]}  # it works as long as the new one does not
    async with provisioner.working():
        ended = await provisioner.ended(operation)

    assert (ended["operation"], ended["state"], ended["runtimeID"]) == ("ReconnectRuntime", "Succeeded", runtime)
    assert await provisioner.journal(operation) == BUILT
    assert await provisioner.counts() == ONE
    assert (await provisioner.row("SELECT id FROM system_auth"))["id"] != former["id"]
    assert await provisioner.row("SELECT count(*) AS made FROM fake_creation") == {"made": 1}


async def test_a_reconnection_that_fails_leaves_the_former_identity_and_the_runtime(provisioner: Provisioner) -> None:
    async with provisioner.working():
        runtime = await provisioner.provisioned()
    former = await provisioner.row("SELECT id FROM system_auth")
    async with provisioner.working(pairing=False):
        operation = await provisioner.result(RECONNECT, id=runtime)
        for number in (2, 3, 4):
            await tokens_given(provisioner, number)
            await provisioner.row(EXPIRE)
        ended = await provisioner.ended(operation)

    assert ended["state"] == "Failed"
    assert await provisioner.row("SELECT id FROM system_auth") == former
    assert await provisioner.counts() == ONE


async def test_a_cluster_that_was_lost_is_made_again(provisioner: Provisioner) -> None:
    async with provisioner.working():
        runtime = await provisioner.provisioned()
        await provisioner.row("WITH g AS (DELETE FROM fake_cluster RETURNING 1) SELECT count(*) AS n FROM g")
        ended = await provisioner.ended(await provisioner.result(RECONNECT, id=runtime))

    assert ended["state"] == "Succeeded"
    assert (await provisioner.row("SELECT identities FROM fake_cluster")) == {"identities": 1}


async def test_other_ways_the_runtime_is_known_are_kept(provisioner: Provisioner) -> None:
    async with provisioner.working():
        runtime = await provisioner.provisioned()
        other = await provisioner.row(
            "INSERT INTO system_auth (tenant_id, runtime_id) VALUES (%(tenant)s, %(runtime)s) RETURNING id",
            tenant=provisioner.caller.tenant,
            runtime=runtime,
        )
        await provisioner.ended(await provisioner.result(RECONNECT, id=runtime))

    kept = await provisioner.row("SELECT array_agg(id) AS ids FROM system_auth")
    assert other["id"] in kept["ids"]
    assert len(kept["ids"]) == 2


async def test_two_at_once_and_unknown_runtimes_are_refused(provisioner: Provisioner) -> None:
    async with provisioner.working():
        runtime = await provisioner.provisioned()
    answers = await asyncio.gather(*(provisioner(RECONNECT, id=runtime) for _ in range(4)))
    begun = [answer["data"]["result"] for answer in answers if "errors" not in answer]
    assert len(begun) == 1
    assert (await provisioner.result(OPERATION, id=begun[0]))["message"] == "Reconnecting started"

    error = await provisioner.refusal(RECONNECT, id=runtime)
    assert error["extensions"]["error"] == "ConcurrentOperation"
    error = await provisioner.refusal(RECONNECT, id=UNKNOWN)
    assert error["extensions"]["error"] == "NotFound"
