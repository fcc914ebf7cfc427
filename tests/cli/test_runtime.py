"""`compass runtime` against a real plane."""

import pytest

from tests.cli.conftest import Cli

pytestmark = pytest.mark.usefixtures("tenant")


def test_a_registered_runtime_is_listed_labelled_and_deleted(cli: Cli) -> None:
    made = cli("runtime", "register", "edge-01", "--group", "retail", "-l", "region=eu")
    assert made.err.splitlines()[-1] == "→ compass runtime connect edge-01"

    assert cli("runtime", "label", "edge-01", "region=us", "stage=x").code == 0
    (row,) = cli("rt", "list", "-l", "region=us", "-o", "json").json
    assert (row["id"], row["labels"]["scenarios"], row["labels"]["stage"]) == (made.out.strip(), ["retail"], "x")

    assert cli("runtime", "delete", "edge-01").code == 2
    assert cli("runtime", "delete", "edge-01", "--yes").err == "✓ runtime edge-01 deleted\n"
    assert cli("runtime", "list", "-o", "json").json == []


def test_of_two_runtimes_of_one_name_the_id_has_to_be_said(cli: Cli) -> None:
    first, second = (cli("runtime", "register", "edge").out.strip() for _ in range(2))

    ended = cli("runtime", "get", "edge")

    assert (ended.code, ended.out) == (6, "")
    assert ended.err.startswith("error: 2 runtimes are called 'edge'\nhint: say which by its id: ")
    assert {first, second} <= set(ended.err.replace(",", "").split())
    assert cli("runtime", "get", first, "-o", "jsonpath=.id").out.strip() == first


def test_a_runtime_that_the_provisioner_did_not_make_has_a_status_too(cli: Cli) -> None:
    cli("runtime", "register", "edge")

    waiting = cli("runtime", "status", "edge")
    assert (waiting.code, "operation" in waiting.out) == (3, False)
    assert cli("runtime", "status", "edgy").code == 4
    assert cli("runtime", "get", "edgy").err.endswith("hint: did you mean edge?\n")


def test_a_provisioned_runtime_is_made_step_by_step_and_removed_again(cli: Cli) -> None:
    made = cli("runtime", "provision", "edge-01", "--group", "retail", "--wait", "--timeout", "2m")

    assert made.code == 0, made.err
    said = made.err.splitlines()
    assert said[:4] == [
        "✓ runtime edge-01 registered",
        "✓ group retail created",
        "✓ in group retail",
        "waiting for runtime edge-01, at most 120 s",
    ]
    assert said[4:] == [
        *(f"✓ {step}" for step in ("configuration read", "create", "install agent", "agent paired")),
        "✓ runtime edge-01 is connected",
    ]
    assert cli("runtime", "status", "edge-01").code == 0
    assert cli("runtime", "delete", "edge-01", "--yes").err.endswith("hint: compass runtime deprovision edge-01\n")

    ended = cli("runtime", "deprovision", "edge-01", "--wait", "--timeout", "2m", "--yes")

    assert (ended.code, ended.err.splitlines()[-1]) == (0, "✓ runtime edge-01 is removed")
    assert cli("runtime", "list", "-o", "json").json == []
