import asyncio
from typing import Any

from tests.provisioner.conftest import OPERATION, RECONNECT, Provisioner
from tests.provisioner.test_deprovision import UNKNOWN
from tests.provisioner.test_provision import NO_ERROR, ONE
from tests.provisioner.test_upgrade import AGENT, UPGRADE

RETRY = "mutation ($id: String!) { result: retryOperation(id: $id) { id operation state message runtimeID } }"
STEPS = "query ($id: String!) { result: runtimeOperationStatus(id: $id) { steps { name error failed leftAt } } }"
LATE = """
UPDATE operation SET step_started_at = step_started_at - interval '2 hours' WHERE finished_at IS NULL RETURNING 1 AS one
"""


async def failed_upgrade(provisioner: Provisioner) -> Any:
    """An upgrade whose agent did not come back."""
    runtime = await provisioner.provisioned()
    provisioner.lies.upgrade_fails = True
    begun = await provisioner.result(UPGRADE, id=runtime, components=AGENT)
    async with asyncio.timeout(30):
        while (await provisioner.journal(begun["id"]))[-1] != "WaitingForInstallation":
            await asyncio.sleep(0.02)
    await provisioner.row(LATE)
    ended = await provisioner.ended(begun["id"])
    assert ended["state"] == "Failed"
    provisioner.lies.upgrade_fails = False
    return ended


async def test_what_failed_goes_on_at_the_step_that_failed_and_its_cause_stays_readable(
    provisioner: Provisioner,
) -> None:
    async with provisioner.working():
        failed = await failed_upgrade(provisioner)
        cause = failed["lastError"]["errMessage"]
        assert cause == "the agent is not in sync: it is ConnectionFailed"
        again = await provisioner.result(RETRY, id=failed["id"])
        assert (again["id"], again["operation"], again["state"]) == (failed["id"], "Upgrade", "InProgress")
        await provisioner.row("UPDATE fake_cluster SET trouble = NULL RETURNING 1 AS one")
        ended = await provisioner.ended(failed["id"])

    assert (ended["state"], ended["lastError"]) == ("Succeeded", NO_ERROR)
    steps = (await provisioner.result(STEPS, id=failed["id"]))["steps"]
    assert [(step["name"], step["error"], step["failed"]) for step in steps] == [
        ("StartingUpgrade", None, False),
        ("WaitingForInstallation", cause, True),
        ("WaitingForInstallation", None, False),
        ("UpdatingUpgradeState", None, False),
    ]
    assert await provisioner.row("SELECT upgraded FROM fake_cluster") == {"upgraded": [failed["id"]]}
    assert await provisioner.counts() == ONE


async def test_only_the_last_that_failed_is_taken_up_again_and_once(provisioner: Provisioner) -> None:
    async with provisioner.working():
        failed = await failed_upgrade(provisioner)
    answers = await asyncio.gather(*(provisioner(RETRY, id=failed["id"]) for _ in range(4)))
    assert sum("errors" not in answer for answer in answers) == 1
    error = await provisioner.refusal(RETRY, id=failed["id"])
    assert error["message"] == f"operation {failed['id']} cannot be taken up again: it has not failed"
    async with provisioner.working():
        await provisioner.row("UPDATE fake_cluster SET trouble = NULL RETURNING 1 AS one")
        assert (await provisioner.ended(failed["id"]))["state"] == "Succeeded"
        await provisioner.ended(await provisioner.result(RECONNECT, id=failed["runtimeID"]))
    error = await provisioner.refusal(RETRY, id=failed["id"])
    assert error["message"].endswith("it is not the last one on its runtime")
    error = await provisioner.refusal(RETRY, caller=provisioner.other, id=failed["id"])
    assert error["extensions"]["error"] == "NotFound"
    assert (await provisioner.refusal(RETRY, id=UNKNOWN))["extensions"]["error"] == "NotFound"


async def test_a_provisioning_that_failed_has_removed_what_it_made_and_is_asked_for_anew(
    provisioner: Provisioner,
) -> None:
    provisioner.lies.breaks = True
    async with provisioner.working():
        begun = await provisioner.begun()
        await provisioner.ended(begun["id"])

    error = await provisioner.refusal(RETRY, id=begun["id"])

    assert error["message"] == f"operation {begun['id']} cannot be taken up again: what it worked on is removed"
    assert (await provisioner.result(OPERATION, id=begun["id"]))["state"] == "Failed"


async def test_a_reconnection_that_was_undone_begins_anew_with_new_tokens(provisioner: Provisioner) -> None:
    async with provisioner.working():
        runtime = await provisioner.provisioned()
    operation = await provisioner.result(RECONNECT, id=runtime)
    await provisioner.row(
        "UPDATE operation SET state = 'FAILED', step = 'WithdrawIdentity', compensating = true, next_at = NULL,"
        ' finished_at = now(), data = \'{"tokens": 3}\', error = \'{"err_message": "late", "reason": "r",'
        ' "component": "c"}\' WHERE id = %(id)s RETURNING 1 AS one',
        id=operation,
    )
    await provisioner.row("UPDATE operation_step SET left_at = now() WHERE left_at IS NULL RETURNING 1 AS one")
    await provisioner.result(RETRY, id=operation)
    async with provisioner.working():
        assert (await provisioner.ended(operation))["state"] == "Succeeded"

    assert await provisioner.counts() == ONE
