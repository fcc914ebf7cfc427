"""`compass status`: what it counts, and what it calls trouble."""

import pytest

from tests.cli.conftest import Cli

FAIL = "mutation ($id: ID!) { updateApplication(id: $id, in: {statusCondition: FAILED}) { id } }"


@pytest.mark.usefixtures("tenant")
def test_trouble_is_named_with_the_command_that_looks_closer(cli: Cli) -> None:
    identity = cli("app", "create", "crm", "--group", "retail").out.strip()
    cli("runtime", "register", "edge")
    well = cli("status")
    assert (well.code, well.out.splitlines()) == (
        0,
        [
            "applications      1  1 waiting to be paired",
            "runtimes          1  1 waiting to be paired",
            "groups            1  1 ready",
            "✓ ok  1 applications ok · 1 runtimes ok · 0 need attention",
        ],
    )

    cli("graphql", "-q", FAIL, "--var", f"id={identity}")

    ended = cli("status")
    assert ended.code == 3
    assert ended.out.splitlines()[3].startswith("! application crm: FAILED since ")
    assert ended.out.splitlines()[4] == f"    compass app get {identity}"
    assert ended.out.splitlines()[5] == "! degraded  0 applications ok · 1 runtimes ok · 1 needs attention"
    whole = cli("status", "-o", "jsonpath=.attention[*].what")
    assert (whole.code, whole.out) == (3, "application crm\n")
