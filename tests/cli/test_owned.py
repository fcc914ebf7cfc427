"""Two managers, a console and a cut-off apply at one landscape, against a real plane."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from compass.cli import speaking
from compass.cli.main import run
from compass.client.blocking import BlockingPlane
from compass.client.protocol import PlaneRefused
from compass.landscape import owned
from tests.cli.conftest import Cli, Ended

pytestmark = pytest.mark.usefixtures("tenant")

PROOF: Final = bool(os.environ.get("COMPASS_PROOF"))
KINDS = pytest.mark.parametrize(("kind", "noun"), [("Application", "app"), ("Runtime", "runtime")])
Applying = Callable[..., Ended]


@pytest.fixture
def apply(cli: Cli, home: Path) -> Applying:
    """`apply("ci", text)`: the text as a file, applied by that manager."""

    def call(manager: str, text: str, *more: str) -> Ended:
        (home / "f.yaml").write_text(text)
        return cli("apply", "-f", "f.yaml", "--field-manager", manager, *more)

    return call


def head(kind: str = "Application") -> str:
    return f"kind: {kind}\nname: crm\n"


def shown(cli: Cli, noun: str = "app") -> Any:
    return cli(noun, "get", "crm", "-o", "json").json


OWNERS = "query { result: %ss(first: 1) { data { appliedFields { name manager replaces } } } }"


def owners(cli: Cli, kind: str = "application") -> set[tuple[str, str]]:
    (row,) = cli("graphql", "-q", OWNERS % kind).json["result"]["data"]
    assert [field["replaces"] for field in row["appliedFields"] if field["replaces"]] == []
    return {(field["name"], field["manager"]) for field in row["appliedFields"]}


def changes(cli: Cli) -> list[str]:
    """The mutations of the tenant, oldest first."""
    rows = cli("graphql", "-q", "{ result: auditRecords(first: 200) { data { operation } } }").json
    return [record["operation"] for record in reversed(rows["result"]["data"])]


@KINDS
def test_two_managers_of_different_fields_live_together(kind: str, noun: str, cli: Cli, apply: Applying) -> None:
    assert apply("ci", head(kind) + "description: a\nlabels: {team: shop}\n").code == 0
    assert apply("ops", head(kind) + "labels: {tier: gold}\n").code == 0
    assert apply("ci", head(kind) + "description: b\nlabels: {team: web}\n").code == 0
    ended = apply("ops", head(kind) + "labels: {tier: silver}\n")

    assert (ended.code, ended.out) == (0, f'~ {kind.lower()} crm: label tier "gold" → "silver" (owned by ops)\n')
    row = shown(cli, noun)
    assert (row["description"], row["labels"]["team"], row["labels"]["tier"]) == ("b", "web", "silver")
    assert owners(cli, kind.lower()) == {("description", "ci"), ("labels.team", "ci"), ("labels.tier", "ops")}


@KINDS
def test_what_was_changed_by_hand_is_left_with_both_values_and_who_did_it(
    kind: str, noun: str, cli: Cli, apply: Applying
) -> None:
    assert apply("ci", head(kind) + "description: first\nlabels: {team: shop}\n").code == 0
    assert cli(noun, "label", "crm", "team=theirs").code == 0
    before, done = shown(cli, noun), changes(cli)
    differs = cli("diff", "-f", "f.yaml", "--field-manager", "ci")
    line = f'! {kind.lower()} crm: labels.team "theirs" → "shop" (changed since ci applied it)'
    assert (differs.code, differs.out) == (5, f"{line}\n")

    ended = apply("ci", head(kind) + "description: second\nlabels: {team: shop}\n")

    assert (ended.code, ended.out) == (6, "")
    first, second, *rest = ended.err.splitlines()
    assert first == f"! {kind.lower()} crm is left as it is (f.yaml:1)"
    told = '!   labels.team: the file says "shop", the plane has "theirs"; changed since ci applied it; changed by '
    assert second.startswith(told)
    assert second.endswith(f"(set{kind}Label)")
    assert "Static User admin at 20" in second
    error, hint = rest[1:]
    assert error == "error: 1 object is left as before: somebody else changed or owns what the files say"
    assert hint.startswith("hint: --force-conflicts takes these fields over; what you take out of the file is left to")
    assert (shown(cli, noun), changes(cli)) == (before, done)  # also its description, which nobody else changed


def test_a_conflict_leaves_its_object_alone_and_the_others_are_done(cli: Cli, apply: Applying) -> None:
    both = "kind: Application\nname: crm\ndescription: {}\n---\nkind: Application\nname: erp\ndescription: {}\n"
    assert apply("ci", both.format("a", "a")).code == 0
    assert apply("ops", head() + "description: theirs\n", "--force-conflicts").code == 0

    ended = apply("ci", both.format("b", "b"))

    assert (ended.code, ended.out) == (6, '~ application erp: description "a" → "b" (owned by ci)\n')
    assert 'description: the file says "b", the plane has "theirs"; owned by ops' in ended.err
    assert shown(cli)["description"] == "theirs"
    rehearsal = cli("apply", "-f", "f.yaml", "--field-manager", "ci", "--dry-run=client")
    assert (rehearsal.code, rehearsal.out) == (6, '! application crm: description "theirs" → "b" (owned by ops)\n')


def test_forcing_takes_the_field_over_and_the_other_is_refused_from_then_on(cli: Cli, apply: Applying) -> None:
    assert apply("ci", head() + "description: a\nlabels: {team: shop}\n").code == 0
    assert apply("ops", head() + "description: b\n").code == 6

    forced = apply("ops", head() + "description: b\n", "--force-conflicts")

    assert (forced.code, forced.out) == (0, '~ application crm: description "a" → "b" (owned by ci)\n')
    assert owners(cli) == {("description", "ops"), ("labels.team", "ci")}
    assert apply("ci", head() + "description: a\nlabels: {team: shop}\n").code == 6
    # Taken out of the file it is the other's, and the two live together again.
    assert apply("ci", head() + "labels: {team: shop}\n").out == ""
    assert shown(cli)["description"] == "b"


def test_the_same_value_is_owned_by_both_and_goes_when_the_last_says_it_no_more(cli: Cli, apply: Applying) -> None:
    text = head() + "description: a\nlabels: {team: shop}\n"
    assert apply("ci", text).code == 0
    shared = apply("ops", text)
    assert (shared.code, shared.out) == (0, "")
    done = changes(cli)
    assert apply("ops", text).out == ""
    assert changes(cli) == done  # the second time nothing is sent
    assert apply("ci", head() + "description: b\n").code == 6

    assert apply("ci", head()).out == ""  # given up, and left to the other
    assert owners(cli) == {("description", "ops"), ("labels.team", "ops")}
    last = apply("ops", head(), "--yes")

    assert last.out.splitlines() == [
        '~ application crm: description "a" → "" (owned by ops)',
        "- application crm: label team",
    ]
    assert (shown(cli)["description"], "team" in shown(cli)["labels"]) == ("", False)
    assert apply("ops", head()).out == ""


def test_what_was_there_before_any_file_is_taken_over_by_the_first(cli: Cli, apply: Applying) -> None:
    cli("app", "create", "crm", "--description", "by hand", "-l", "team=shop")

    assert (
        apply("ci", head() + "description: by file\n").out == '~ application crm: description "by hand" → "by file"\n'
    )
    assert apply("ops", head() + "description: by another\n").code == 6
    cli("app", "edit", "crm", "--description", "by hand again")
    assert apply("ci", head() + "description: by file\n").code == 6


def test_a_group_that_somebody_joined_by_hand_is_not_left(cli: Cli, apply: Applying) -> None:
    text = head() + "groups: [retail]\n"
    assert apply("ci", text).code == 0
    cli("group", "create", "spare")
    assert cli("group", "add", "spare", "--app", "crm").code == 0

    ended = apply("ci", text, "--yes")

    assert ended.code == 6
    assert "groups.spare: the file says (none), the plane has true; changed since ci applied it" in ended.err
    assert "(assignFormation)" in ended.err
    assert shown(cli)["labels"]["scenarios"] == ["retail", "spare"]
    assert apply("ci", text, "--yes", "--force-conflicts").out == "- application crm in group spare\n"
    assert apply("ci", head(), "--yes").out == "- application crm in group retail\n"  # the list was ours


def test_what_is_offered_has_owners_down_to_the_target_of_an_api(cli: Cli, apply: Applying) -> None:
    text = head() + "bundles: [{name: orders, apis: [{name: v1, targetURL: 'https://a.example', description: %s}]}]\n"
    assert apply("ci", text % "a").code == 0
    update = ("api", "update", "v1", "--app", "crm", "--url", "https://b.example")
    assert cli(*update).code == 0, cli(*update)

    ended = apply("ci", text % "b")

    assert ended.code == 6
    told = 'bundles.orders.apis.v1.targetURL: the file says "https://a.example", the plane has "https://b.example"'
    assert told in ended.err
    assert "(updateAPIDefinition)" in ended.err
    mended = apply("ci", (text % "b").replace("a.example", "b.example"))
    line = '~ application crm: API v1 in bundle orders: description "a" → "b" (owned by ci)'
    assert (mended.code, mended.out.splitlines()) == (0, [line])
    assert apply("ci", head(), "--yes").out == "- application crm: bundle orders, with what is in it\n"


def test_a_webhook_that_was_changed_by_hand_is_left(cli: Cli, apply: Applying) -> None:
    text = head() + "webhooks: [{type: CONFIGURATION_CHANGED, url: 'https://crm.example/a?token=planted', mode: %s}]\n"
    assert apply("ci", text % "SYNC").code == 0
    changed = apply("ci", text % "ASYNC_CALLBACK")
    assert changed.out.endswith('mode "SYNC" → "ASYNC_CALLBACK" (owned by ci)\n')
    (webhook,) = cli("webhook", "list", "--app", "crm", "-o", "json").json
    assert cli("webhook", "edit", webhook["id"], "--mode", "SYNC").code == 0

    ended = apply("ci", text % "ASYNC_CALLBACK")

    assert ended.code == 6
    assert '.mode: the file says "ASYNC_CALLBACK", the plane has "SYNC"; changed since ci applied it' in ended.err
    assert "planted" not in ended.err + repr(owners(cli))
    cli("webhook", "delete", webhook["id"], "--yes")
    assert apply("ci", text % "SYNC").code == 6
    assert apply("ci", text % "SYNC", "--force-conflicts").code == 0
    assert apply("ci", head(), "--yes").out.startswith("- application crm: webhook CONFIGURATION_CHANGED https://crm.")


class Killed(BaseException):
    """Nothing more of this process is done."""


CASES: Final = [(survived, changed) for survived in range(7) for changed in (True, False)][:: 1 if PROOF else 3]
"""After how many mutations it is killed, and whether the file is another one by then."""


@pytest.mark.parametrize(("survived", "changed"), CASES)
def test_an_apply_that_was_killed_anywhere_is_done_by_the_next_also_of_another_file(
    survived: int, cli: Cli, apply: Applying, monkeypatch: pytest.MonkeyPatch, *, changed: bool
) -> None:
    first = "description: a\nlabels: {team: shop, tier: gold}\ngroups: [one]\n"
    second = "description: b\nlabels: {team: web}\ngroups: [two]\n"
    third = "description: c\nlabels: {team: app}\ngroups: [three]\n"
    assert apply("ci", head() + first).code == 0
    left = survived
    original = BlockingPlane.send

    def cut(self: BlockingPlane, name: str, variables: Any = None) -> Any:
        nonlocal left
        if name.startswith(("Set", "Update", "Delete", "Assign", "Unassign")):
            if left == 0:
                raise Killed
            left -= 1
        return original(self, name, variables)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(BlockingPlane, "send", cut)
        run(["apply", "-f", _written(head() + second), "--field-manager", "ci", "--yes"])

    ended = apply("ci", head() + (third if changed else second), "--yes")

    assert ended.code == 0, ended
    row = shown(cli)
    expected = ("c", "app", ["three"]) if changed else ("b", "web", ["two"])
    assert (row["description"], row["labels"]["team"], row["labels"]["scenarios"]) == expected
    assert "tier" not in row["labels"]
    assert owners(cli) == {
        (name, "ci") for name in ("description", "labels.team", "groups", f"groups.{expected[2][0]}")
    }
    # What was cut off is no licence for later: a change by hand is seen again.
    assert cli("app", "edit", "crm", "--description", "a").code == 0
    assert apply("ci", head() + (third if changed else second)).code == 6


def _written(text: str) -> str:
    Path("killed.yaml").write_text(text)
    return "killed.yaml"


def test_owners_go_with_their_object_and_pruning_removes_it_whoever_owns_it(cli: Cli, apply: Applying) -> None:
    assert apply("ci", head() + "description: a\nlabels: {team: shop}\n").code == 0
    other = "kind: Application\nname: erp\n"
    pruned = apply("ops", other, "--prune", "-l", "team=shop", "--yes")
    assert pruned.out.splitlines() == ["+ application erp", "- application crm"]

    assert apply("ops", head() + "description: b\n").code == 0  # a new one of that name is nobody's
    assert shown(cli)["description"] == "b"


def test_a_plane_that_remembers_nothing_is_spoken_to_as_before(
    cli: Cli, apply: Applying, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert apply("ci", head() + "description: a\n").code == 0
    original = speaking.Speaking.ask
    asked: list[str] = []

    def old(self: speaking.Speaking, name: str, variables: Any = None) -> Any:
        asked.append(name)
        if "AppliedFields" in name:
            raise PlaneRefused([{"message": "Cannot query field 'appliedFields' on type 'Application'."}], status=200)
        return original(self, name, variables)

    monkeypatch.setattr(speaking.Speaking, "ask", old)
    ended = apply("ops", head() + "description: b\n")

    assert (ended.code, ended.out) == (0, '~ application crm: description "a" → "b"\n')
    assert ended.err.startswith("this plane does not remember who applied what")
    assert [name for name in asked if name.startswith("Set")] == []


@pytest.mark.parametrize("code", [23, 26])
def test_whoever_may_not_change_an_object_still_finds_that_it_is_as_the_file_says(
    code: int, cli: Cli, apply: Applying, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert apply("ci", head() + "description: a\n").code == 0
    original = BlockingPlane.send

    def refusing(self: BlockingPlane, name: str, variables: Any = None) -> Any:
        if name.startswith("Set"):
            raise PlaneRefused([{"message": "no", "extensions": {"error_code": code}}], status=200)
        return original(self, name, variables)

    monkeypatch.setattr(BlockingPlane, "send", refusing)

    same, other = apply("ops", head() + "description: a\n"), apply("ci", head() + "description: b\n")

    assert (same.code, same.err, other.code) == (0, "nothing to change\n", 7)
    assert shown(cli)["description"] == "a"  # it is asked before anything is changed


def test_a_document_that_says_too_much_is_applied_without_being_remembered(
    cli: Cli, apply: Applying, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owned, "_MOST_FIELDS", 1)
    assert apply("ci", head() + "description: a\nlabels: {team: shop}\n").code == 0
    assert apply("ops", head() + "description: b\nlabels: {team: shop}\n").code == 0
    assert owners(cli) == set()


def test_what_the_file_says_is_not_told_to_the_plane(cli: Cli, apply: Applying) -> None:
    assert apply("ci", head() + "labels: {team: planted}\n").code == 0
    text = '{ result: auditRecords(operation: "setApplicationAppliedFields") { data { arguments } } }'
    (record,) = cli("graphql", "-q", text).json["result"]["data"]
    assert "planted" not in record["arguments"]
    assert json.loads(record["arguments"])["in"]["manager"] == "ci"
