"""What happens between an agent and its token."""

import asyncio

from compass.provisioner.agent import TOKENS
from tests.provisioner.conftest import NOTHING, Provisioner

EXPIRE = "WITH done AS (UPDATE one_time_token SET expires_at = now() RETURNING 1) SELECT count(*) AS n FROM done"


async def tokens_given(provisioner: Provisioner, at_least: int) -> int:
    async with asyncio.timeout(10):
        while True:
            given = await provisioner.row("SELECT coalesce(max(cardinality(tokens)), 0) AS n FROM fake_cluster")
            if given["n"] >= at_least:
                return int(given["n"])
            await asyncio.sleep(0.01)


async def test_no_token_exists_before_there_is_somebody_to_give_it_to(provisioner: Provisioner) -> None:
    provisioner.lies.slow = 10**6
    async with provisioner.working():
        await provisioner.begun()
        while not await provisioner.cloud.existing():
            await asyncio.sleep(0.02)

        assert (await provisioner.counts())["tokens"] == 0
        assert (await provisioner.counts())["identities"] == 0


async def test_a_token_that_was_not_used_in_its_time_is_replaced_by_another_of_the_same_identity(
    provisioner: Provisioner,
) -> None:
    async with provisioner.working(pairing=False):
        begun = await provisioner.begun()
        await tokens_given(provisioner, 1)
        await provisioner.row(EXPIRE)
        await tokens_given(provisioner, 2)
    async with provisioner.working():
        assert (await provisioner.ended(begun["id"]))["state"] == "Succeeded"

    counts = await provisioner.counts()
    assert (counts["identities"], counts["tokens"]) == (1, 2)


async def test_an_agent_that_says_its_token_was_refused_gets_another_at_once(provisioner: Provisioner) -> None:
    async with provisioner.working(pairing=False):
        begun = await provisioner.begun()
        await tokens_given(provisioner, 1)
        await provisioner.row("UPDATE fake_cluster SET trouble = 'token_refused' RETURNING 1 AS one")
        await tokens_given(provisioner, 2)
    async with provisioner.working():
        assert (await provisioner.ended(begun["id"]))["state"] == "Succeeded"


async def test_an_agent_that_never_pairs_is_given_up_on_and_everything_is_removed(provisioner: Provisioner) -> None:
    async with provisioner.working(pairing=False):
        begun = await provisioner.begun()
        for number in range(1, TOKENS + 1):
            assert await tokens_given(provisioner, number) == number
            await provisioner.row(EXPIRE)
        ended = await provisioner.ended(begun["id"])

    assert ended["state"] == "Failed"
    assert ended["lastError"] == {
        "errMessage": "the agent did not pair with any of 3 tokens",
        "reason": "err_provisioner_timeout",
        "component": "compass connection",
    }
    assert await provisioner.counts() == NOTHING


async def test_an_agent_that_only_claims_to_be_connected_is_not_believed(provisioner: Provisioner) -> None:
    async with provisioner.working(pairing=False):
        begun = await provisioner.begun()
        await tokens_given(provisioner, 1)
        await asyncio.sleep(0.3)  # it is Synchronized, as it says itself
        shown = await provisioner.row("SELECT state, step FROM operation WHERE id = %(id)s", id=begun["id"])

    assert shown == {"state": "IN_PROGRESS", "step": "WaitForAgentToConnect"}


async def test_no_token_is_in_an_operation_or_its_journal(provisioner: Provisioner) -> None:
    async with provisioner.working():
        await provisioner.provisioned()
    token = (await provisioner.row("SELECT tokens[1] AS token FROM fake_cluster"))["token"]

    kept = await provisioner.row(
        "SELECT (SELECT string_agg(o::text, '') FROM operation o)"
        " || (SELECT string_agg(s::text, '') FROM operation_step s)"
        " || (SELECT string_agg(t::text, '') FROM one_time_token t) AS everything"
    )
    assert len(token) == 88
    assert token not in kept["everything"]
