import pytest

from tests.provisioner.conftest import PROVISION, Provisioner, asked

MUTATIONS = {
    "upgradeRuntime": (
        """mutation ($id: String!) {
          result: upgradeRuntime(id: $id, config: {kymaConfig: {version: "2", components: []}}) { id } }""",
        "the local driver has nothing to upgrade",
    ),
    "upgradeShoot": (
        "mutation ($id: String!) { result: upgradeShoot(id: $id, config: {gardenerConfig: {}}) { id } }",
        "the local driver has nothing to upgrade",
    ),
    "hibernateRuntime": (
        "mutation ($id: String!) { result: hibernateRuntime(id: $id) { id } }",
        "a runtime of the local driver cannot sleep",
    ),
    "rollBackUpgradeOperation": (
        "mutation ($id: String!) { result: rollBackUpgradeOperation(id: $id) { hibernationStatus { hibernated } } }",
        "the local driver has nothing to roll back",
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
