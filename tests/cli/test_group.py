"""`compass group` against a real plane."""

import pytest

from compass.cli.group import participant
from tests.cli.conftest import Cli

pytestmark = pytest.mark.usefixtures("tenant")


def test_members_come_and_go_and_are_shown(cli: Cli) -> None:
    cli("app", "create", "crm")
    cli("runtime", "register", "edge")
    made = cli("group", "create", "retail").out.strip()

    added = cli("group", "add", "retail", "--app", "crm", "--runtime", "edge", "--wait", "--timeout", "60s")

    assert (added.code, added.err.splitlines()[-1]) == (0, "✓ group retail is ready")
    whole = cli("group", "get", "retail", "-o", "json").json
    assert whole["id"] == made
    assert sorted((each["type"], each["name"]) for each in whole["members"]) == [
        ("APPLICATION", "crm"),
        ("RUNTIME", "edge"),
    ]
    pairs = cli("group", "pairs", "retail", "-o", "csv").out.splitlines()
    assert sorted(line.split(",")[:3] for line in pairs[1:]) == [["crm", "edge", "READY"], ["edge", "crm", "READY"]]

    assert cli("group", "delete", "retail", "--yes").code == 1  # somebody is in it
    assert cli("group", "remove", "retail", "--app", "crm", "--runtime", "edge", "--yes").code == 0
    assert cli("group", "delete", "retail", "--yes").code == 0
    assert cli("group", "list", "-o", "json").json == []


def test_nobody_named_is_a_usage_error_and_an_unknown_name_leaves_all_as_it_is(cli: Cli) -> None:
    cli("group", "create", "retail")
    cli("app", "create", "crm")

    assert cli("group", "add", "retail").code == 2
    assert cli("group", "add", "retail", "--app", "crm", "--app", "cmr").code == 4
    assert cli("group", "get", "retail", "-o", "json").json["members"] == []
    assert cli("group", "create", "retail").code == 6


def test_a_draft_begins_when_it_is_finalized(cli: Cli) -> None:
    cli("group", "create", "later", "--draft")
    assert cli("group", "list", "-o", "jsonpath=[0].status.condition").out == "DRAFT\n"

    assert cli("group", "finalize", "later").code == 0
    assert cli("group", "resync", "later", "--wait", "--timeout", "60s").code == 0

    assert cli("group", "list", "-o", "jsonpath=[0].status.condition").out == "READY\n"


def test_one_pair_is_told_anew_by_its_id(cli: Cli) -> None:
    cli("app", "create", "crm", "--group", "retail")
    cli("runtime", "register", "edge", "--group", "retail")
    [first, _] = cli("group", "pairs", "retail", "-o", "json").json

    known = cli("group", "resync", "retail", "--pair", first["id"][-12:])

    assert (known.code, "there is nothing to tell anew" in known.err) == (1, True)
    assert cli("group", "resync", "retail", "--pair", first["id"], "--dry-run").code == 0
    assert cli("group", "resync", "retail", "--pair", "nobody").code == 4
    assert cli("group", "resync", "retail", "--pair", first["id"], "--reset").code == 2


def test_a_rule_brings_whom_the_preview_names_and_takes_them_away_again(cli: Cli, tenant: str) -> None:
    below = f"{tenant}-sub"
    cli("tenant", "create", below, "--type", "subaccount", "--parent", tenant)
    cli("runtime", "register", "edge", "--tenant", below)
    cli("group", "create", "retail")

    shown = cli("group", "preview", "retail", below, "-o", "json").json
    unasked = cli("group", "rule", "add", "retail", below)
    rehearsed = cli("group", "rule", "add", "retail", below, "--dry-run")
    assert cli("group", "rule", "list", "-o", "json").json == []
    added = cli("group", "rule", "add", "retail", below, "--yes")

    assert [(one["objectType"], one["name"]) for one in shown] == [("RUNTIME", "edge")]
    assert (unasked.code, rehearsed.code, added.code) == (2, 0, 0)
    assert "runtime edge joins" in rehearsed.err
    assert cli("group", "rule", "list", "retail", "-o", "json").json == [{"group": "retail", "subaccount": below}]
    members = cli("group", "get", "retail", "-o", "json").json["members"]
    assert [one["id"] for one in members] == [one["objectID"] for one in shown]
    assert cli("group", "preview", "retail", below, "--remove", "-o", "json").json == shown
    assert cli("group", "rule", "remove", "retail", below, "--yes").code == 0
    assert cli("group", "get", "retail", "-o", "json").json["members"] == []
    assert cli("group", "rule", "remove", "retail", below, "--yes").code == 4
    assert cli("group", "preview", "retail", "nobody").code == 4


def test_a_participant_is_called_by_what_the_caller_may_see_of_it() -> None:
    assert participant({"source": "1", "sourceEntity": {"name": "crm"}}) == "crm"
    assert participant({"source": "1", "sourceEntity": {"key": "zone", "value": "a"}}) == "zone=a"
    assert participant({"source": "1", "sourceEntity": None}) == "1"
