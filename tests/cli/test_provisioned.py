"""What the Provisioner does to the runtimes that it makes, against a real plane with real processes."""

import json

import pytest

from tests.cli.conftest import Cli

pytestmark = pytest.mark.usefixtures("tenant")


def test_a_provisioned_runtime_is_upgraded_sleeps_wakes_up_and_has_no_kubeconfig(cli: Cli) -> None:
    made = cli("runtime", "provision", "edge-01", "--wait", "--timeout", "2m")
    assert made.code == 0, made.err

    upgraded = cli("runtime", "upgrade", "edge-01", "--wait", "--timeout", "2m")
    assert (upgraded.code, upgraded.err.splitlines()[1:]) == (
        0,
        ["✓ replace", "✓ agent in sync", "✓ runtime edge-01 is upgraded"],
    )

    assert cli("runtime", "hibernate", "edge-01").code == 2
    asleep = cli("runtime", "hibernate", "edge-01", "--yes", "--wait", "--timeout", "2m")
    assert (asleep.code, asleep.err.splitlines()[1:]) == (0, ["✓ fall asleep", "✓ runtime edge-01 sleeps"])
    status = cli("runtime", "status", "edge-01", "-o", "json")
    said = json.loads(status.out)
    assert (status.code, said["connection"]["heartbeat"]["state"]) == (3, "HIBERNATED")
    assert said["hibernationStatus"] == {"hibernated": True, "hibernationPossible": True}
    refused = cli("runtime", "upgrade", "edge-01")
    assert (refused.code, "is hibernated; wake it up first" in refused.err) == (1, True)

    awake = cli("runtime", "wake", "edge-01", "--wait", "--timeout", "2m")
    assert (awake.code, awake.err.splitlines()[1:]) == (
        0,
        ["✓ wake up", "✓ agent in sync", "✓ runtime edge-01 is awake"],
    )
    nothing = cli("runtime", "retry", "edge-01")
    assert (nothing.code, "it has not failed" in nothing.err) == (1, True)
    none = cli("runtime", "kubeconfig", "edge-01")
    assert (none.code, none.out) == (4, "")
    assert none.err.startswith("error: runtime edge-01 has no kubeconfig\nhint: a runtime of the provider local is")

    assert cli("runtime", "deprovision", "edge-01", "--wait", "--timeout", "2m", "--yes").code == 0


@pytest.mark.parametrize("verb", ["retry", "kubeconfig"])
def test_a_runtime_that_somebody_else_made_is_not_the_provisioners(cli: Cli, verb: str) -> None:
    cli("runtime", "register", "edge-02")

    ended = cli("runtime", verb, "edge-02")

    assert (ended.code, ended.out) == (4, "")
    assert ended.err.startswith("error: the Provisioner did not make runtime edge-02\nhint: ")
