from typing import Any

import pytest

from compass.provisioner.infrastructure import Drivers
from tests.provisioner.conftest import PROVISION, Provisioner, asked
from tests.provisioner.test_deprovision import UNKNOWN
from tests.provisioner.test_hibernate import HIBERNATE, WAKE
from tests.provisioner.test_provision import ONE

UPGRADE = """mutation ($id: String!, $components: [ComponentConfigurationInput]!) {
  result: upgradeRuntime(id: $id, config: {kymaConfig: {version: "2", components: $components}}) {
    id operation state message runtimeID lastError { errMessage reason component } } }"""
AGENT = [{"component": "compass-runtime-agent", "namespace": "n"}]
UPGRADED = ["StartingUpgrade", "WaitingForInstallation", "UpdatingUpgradeState"]

MUTATIONS = {
    "upgradeShoot": (
        "mutation ($id: String!) { result: upgradeShoot(id: $id, config: {gardenerConfig: {}}) { id } }",
        "a runtime of the local driver has no machines",
    ),
    "rollBackUpgradeOperation": (
        "mutation ($id: String!) { result: rollBackUpgradeOperation(id: $id) { hibernationStatus { hibernated } } }",
        "the release before is not installed any more",
    ),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
async def test_what_no_driver_can_do_is_refused_with_the_reason(provisioner: Provisioner, mutation: str) -> None:
    begun = await provisioner.begun()
    document, why = MUTATIONS[mutation]
    subject = begun["id" if mutation == "rollBackUpgradeOperation" else "runtimeID"]

    error = await provisioner.refusal(document, id=subject)

    assert error["message"] == f"{mutation} is not supported: {why}"
    assert error["extensions"] == {
        "error": "InvalidOperation",
        "error_code": 501,
        "error_reason": "err_provisioner_internal",
        "error_component": "provisioner",
    }


@pytest.mark.parametrize("mutation", MUTATIONS)
async def test_a_foreign_runtime_does_not_exist_for_it(provisioner: Provisioner, mutation: str) -> None:
    theirs = await provisioner.result(PROVISION, caller=provisioner.other, config=asked())
    document, _ = MUTATIONS[mutation]
    subject = theirs["id" if mutation == "rollBackUpgradeOperation" else "runtimeID"]

    error = await provisioner.refusal(document, id=subject)

    assert error["extensions"]["error"] == "NotFound"


async def test_what_runs_there_is_replaced_once_and_what_it_was_upgraded_to_is_kept(provisioner: Provisioner) -> None:
    provisioner.lies.upgrade_works_and_fails = 2
    async with provisioner.working():
        runtime = await provisioner.provisioned()
        begun = await provisioner.result(UPGRADE, id=runtime, components=AGENT)
        ended = await provisioner.ended(begun["id"])

    assert (begun["operation"], begun["state"], begun["message"]) == ("Upgrade", "InProgress", "Upgrade started")
    assert (ended["state"], ended["message"]) == ("Succeeded", "Operation succeeded")
    assert await provisioner.journal(begun["id"]) == UPGRADED
    assert await provisioner.row("SELECT upgraded FROM fake_cluster") == {"upgraded": [begun["id"]]}
    kept = await provisioner.row("SELECT asked -> 'kymaConfig' ->> 'version' AS version FROM cluster")
    assert kept == {"version": "2"}
    assert await provisioner.counts() == ONE


@pytest.mark.parametrize(
    ("components", "why"),
    [
        ([], "error: Kyma components list is empty"),
        (
            [{"component": "istio", "namespace": "n"}],
            "error: Kyma components list does not contain Compass Runtime Agent",
        ),
    ],
)
async def test_an_upgrade_without_an_agent_is_refused(
    provisioner: Provisioner, components: list[dict[str, Any]], why: str
) -> None:
    async with provisioner.working():
        runtime = await provisioner.provisioned()

    error = await provisioner.refusal(UPGRADE, id=runtime, components=components)

    assert (error["message"], error["extensions"]["error_code"]) == (why, 400)


async def test_an_upgrade_of_what_is_not_there_or_busy_is_refused(provisioner: Provisioner) -> None:
    begun = await provisioner.begun()

    error = await provisioner.refusal(UPGRADE, id=begun["runtimeID"], components=AGENT)
    assert error["extensions"]["error"] == "ConcurrentOperation"
    error = await provisioner.refusal(UPGRADE, id=UNKNOWN, components=AGENT)
    assert error["extensions"]["error"] == "NotFound"


class Plain:
    """A driver that can do no more than it must."""

    def __init__(self, driver: Any) -> None:
        for name in ("pace", "create", "observe", "identify", "connect", "delete", "existing", "keep"):
            setattr(self, name, getattr(driver, name))


@pytest.mark.parametrize("document", [UPGRADE, HIBERNATE, WAKE])
async def test_a_driver_that_cannot_do_it_says_so(provisioner: Provisioner, document: str) -> None:
    async with provisioner.working():
        runtime = await provisioner.provisioned()
    provisioner.parts[Drivers].by_provider["local"] = Plain(provisioner.cloud)
    variables: dict[str, Any] = {"components": AGENT} if document is UPGRADE else {}

    error = await provisioner.refusal(document, id=runtime, **variables)

    assert (error["extensions"]["error"], error["extensions"]["error_code"]) == ("InvalidOperation", 501)
