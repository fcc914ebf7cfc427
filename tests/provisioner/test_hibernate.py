import asyncio
from typing import Any

from tests.provisioner.conftest import DEPROVISION, NOTHING, RECONNECT, Provisioner
from tests.provisioner.test_deprovision import UNKNOWN
from tests.provisioner.test_provision import ONE

HIBERNATE = "mutation ($id: String!) { result: hibernateRuntime(id: $id) { id operation state message } }"
WAKE = "mutation ($id: String!) { result: wakeRuntime(id: $id) { id operation state message } }"
SLEEP = """
query ($id: String!) { result: runtimeStatus(id: $id) {
  runtimeConnectionStatus { status errors { message } } hibernationStatus { hibernated hibernationPossible } } }
"""
UPGRADE = """mutation ($id: String!) { result: upgradeRuntime(id: $id, config: {kymaConfig: {
  version: "2", components: [{component: "compass-runtime-agent", namespace: "n"}]}}) { id } }"""
BEAT = """
INSERT INTO heartbeat (runtime_id, seen_at, missed_from, version, revision, applications, looks_every)
VALUES (%(id)s, now() - interval '1 hour', now() - interval '1 minute', '1', 1, 1, interval '1 s') RETURNING 1 AS one
"""
KEPT = """
SELECT asleep_since IS NOT NULL AS asleep, missed_from > now() AS expected
FROM heartbeat JOIN runtime ON runtime.id = heartbeat.runtime_id
"""


async def put_to_sleep(provisioner: Provisioner) -> str:
    """A runtime that is asleep."""
    runtime = await provisioner.provisioned()
    await provisioner.row(BEAT, id=runtime)
    begun = await provisioner.result(HIBERNATE, id=runtime)
    ended = await provisioner.ended(begun["id"])
    assert (ended["operation"], ended["state"]) == ("Hibernate", "Succeeded"), ended
    assert await provisioner.journal(begun["id"]) == ["WaitForHibernation"]
    return runtime


async def sleep_of(provisioner: Provisioner, runtime: str) -> Any:
    return await provisioner.result(SLEEP, id=runtime)


async def test_a_runtime_sleeps_and_is_woken_up_and_keeps_all_it_has(provisioner: Provisioner) -> None:
    provisioner.lies.sleep_works_and_fails = provisioner.lies.stays_awake = provisioner.lies.wake_works_and_fails = 2
    async with provisioner.working():
        runtime = await put_to_sleep(provisioner)
        assert await sleep_of(provisioner, runtime) == {
            "runtimeConnectionStatus": {"status": "Disconnected", "errors": [{"message": "it is hibernated"}]},
            "hibernationStatus": {"hibernated": True, "hibernationPossible": True},
        }
        assert await provisioner.row(KEPT) == {"asleep": True, "expected": False}

        begun = await provisioner.result(WAKE, id=runtime)
        ended = await provisioner.ended(begun["id"])

    assert (begun["operation"], begun["message"], ended["state"]) == ("Wake", "Waking up started", "Succeeded")
    assert await provisioner.journal(begun["id"]) == ["WakeRuntime", "WaitForAgentToSync"]
    assert await sleep_of(provisioner, runtime) == {
        "runtimeConnectionStatus": {"status": "Connected", "errors": []},
        "hibernationStatus": {"hibernated": False, "hibernationPossible": True},
    }
    assert await provisioner.row(KEPT) == {"asleep": False, "expected": True}
    assert await provisioner.counts() == ONE


async def test_what_is_asleep_is_not_upgraded_and_wakes_up_when_it_is_paired_anew(provisioner: Provisioner) -> None:
    async with provisioner.working():
        runtime = await put_to_sleep(provisioner)
    error = await provisioner.refusal(UPGRADE, id=runtime)
    assert error["message"] == f"Runtime {runtime} is hibernated; wake it up first"
    async with provisioner.working():
        assert (await provisioner.ended(await provisioner.result(RECONNECT, id=runtime)))["state"] == "Succeeded"

    assert (await sleep_of(provisioner, runtime))["hibernationStatus"]["hibernated"] is False
    assert (await provisioner.row(KEPT))["asleep"] is False


async def test_what_is_asleep_can_be_removed(provisioner: Provisioner) -> None:
    async with provisioner.working():
        runtime = await put_to_sleep(provisioner)
        await provisioner.ended(await provisioner.result(DEPROVISION, id=runtime))

    assert await provisioner.counts() == NOTHING


async def test_what_is_lost_cannot_be_put_to_sleep(provisioner: Provisioner) -> None:
    async with provisioner.working():
        runtime = await provisioner.provisioned()
    await provisioner.row("WITH g AS (DELETE FROM fake_cluster RETURNING 1) SELECT count(*) AS n FROM g")

    error = await provisioner.refusal(HIBERNATE, id=runtime)

    assert error["message"] == "cannot hibernate cluster: it is not there"
    assert (await sleep_of(provisioner, runtime))["hibernationStatus"]["hibernationPossible"] is False


async def test_of_many_at_once_one_begins_and_unknown_ones_are_refused(provisioner: Provisioner) -> None:
    async with provisioner.working():
        runtime = await provisioner.provisioned()
    answers = await asyncio.gather(*(provisioner(document, id=runtime) for document in (HIBERNATE, WAKE) * 2))
    assert sum("errors" not in answer for answer in answers) == 1

    for document in (HIBERNATE, WAKE):
        assert (await provisioner.refusal(document, id=runtime))["extensions"]["error"] == "ConcurrentOperation"
        assert (await provisioner.refusal(document, id=UNKNOWN))["extensions"]["error"] == "NotFound"
