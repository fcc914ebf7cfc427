"""`compass apply`, `diff` and `export` against a real plane."""

from pathlib import Path

import pytest

from compass.cli import apply, confirm
from compass.cli.main import run
from tests.cli.conftest import Cli

pytestmark = pytest.mark.usefixtures("tenant")

FILE = """\
kind: Application
name: crm
description: Customers
labels: {team: shop}
groups: [retail]
webhooks: [{type: CONFIGURATION_CHANGED, url: "https://crm.example/a"}]
---
kind: Runtime
name: edge
labels: {team: shop}
groups: [retail, spare]
---
kind: Group
name: spare
"""


@pytest.fixture
def file(home: Path) -> Path:
    (home / "landscape.yaml").write_text(FILE)
    return home / "landscape.yaml"


def test_applying_makes_it_so_and_applying_twice_changes_nothing(cli: Cli, file: Path) -> None:
    expected = [
        "+ group retail",
        "+ group spare",
        "+ application crm",
        "+ application crm in group retail",
        "+ runtime edge",
        "+ runtime edge in group retail",
        "+ runtime edge in group spare",
    ]
    differs = cli("diff", "-f", "landscape.yaml")
    assert (differs.code, differs.out.splitlines()) == (5, expected)
    for rehearsal in ("--dry-run", "--dry-run=client"):
        assert cli("apply", "-f", "landscape.yaml", rehearsal).out == differs.out
    assert cli("group", "list", "-o", "json").json == []

    applied = cli("apply", "-f", "landscape.yaml")

    assert (applied.code, applied.out) == (0, differs.out)
    again = cli("apply", "-f", "landscape.yaml")
    assert (again.code, again.out, again.err) == (0, "", "nothing to change\n")
    assert cli("app", "get", "crm", "-o", "json").json["labels"]["scenarios"] == ["retail"]


def test_what_is_exported_is_what_is_there(cli: Cli, file: Path, home: Path) -> None:
    cli("apply", "-f", "landscape.yaml")

    exported = cli("export").out
    (home / "copy.yaml").write_text(exported)

    assert exported.startswith("# compass/v1\n---\nkind: ")
    assert "crm.example/a" in exported
    assert cli("diff", "-f", "copy.yaml").code == 0
    assert "kind: Runtime" not in cli("export", "group").out


def test_each_difference_is_one_step_and_what_is_not_mentioned_stays(cli: Cli, file: Path) -> None:
    cli("apply", "-f", "landscape.yaml")
    cli("app", "label", "crm", "mine=1")
    changed = FILE.replace("Customers", "Clients").replace(
        "team: shop}\ngroups: [retail]\n", "team: web}\ngroups: []\n", 1
    )
    file.write_text(changed.replace("example/a", "example/b").partition("---")[0])

    differs = cli("diff", "-f", "landscape.yaml")

    assert differs.out.splitlines() == [
        '~ application crm: description "Customers" → "Clients" (owned by local)',
        '~ application crm: label team "shop" → "web" (owned by local)',
        "- application crm in group retail",
        "+ application crm: webhook CONFIGURATION_CHANGED https://crm.example/b",
        "- application crm: webhook CONFIGURATION_CHANGED https://crm.example/a",
    ]
    refused = cli("apply", "-f", "landscape.yaml")  # it removes something, and nobody can be asked
    assert (refused.code, refused.out) == (2, "")
    assert cli("diff", "-f", "landscape.yaml").out == differs.out
    assert cli("apply", "-f", "landscape.yaml", "--yes").code == 0
    assert cli("diff", "-f", "landscape.yaml").code == 0
    assert cli("app", "get", "crm", "-o", "json").json["labels"]["mine"] == 1
    assert cli("runtime", "list", "-o", "name").out == "edge\n"


def test_a_described_runtime_keeps_labels_that_no_file_says(cli: Cli, file: Path) -> None:
    cli("apply", "-f", "landscape.yaml")
    cli("runtime", "label", "edge", "mine=1")
    file.write_text("kind: Runtime\nname: edge\ndescription: in the shop\n")

    described = cli("apply", "-f", "landscape.yaml", "--field-manager", "other")

    assert described.out == '~ runtime edge: description (none) → "in the shop"\n'

    row = cli("runtime", "get", "edge", "-o", "json").json
    assert (row["description"], row["labels"]["mine"], row["labels"]["team"]) == ("in the shop", 1, "shop")
    assert row["labels"]["scenarios"] == ["retail", "spare"]


def test_pruning_removes_what_has_the_label_and_is_in_no_document_and_nothing_else(cli: Cli, file: Path) -> None:
    cli("apply", "-f", "landscape.yaml")
    cli("app", "create", "old", "-l", "team=shop", "--group", "retail")
    cli("app", "create", "theirs", "-l", "team=other")

    assert cli("apply", "-f", "landscape.yaml", "--prune").code == 2  # it has to be said what is mine
    assert cli("apply", "-f", "landscape.yaml", "-l", "team=shop").code == 2
    pruned = cli("apply", "-f", "landscape.yaml", "--prune", "-l", "team=shop", "--yes")

    assert pruned.out.splitlines() == ["- application old in group retail", "- application old"]
    assert cli("app", "list", "-o", "name").out.split() == ["crm", "theirs"]


def test_a_refused_step_says_how_far_it_came_and_the_rest_can_be_done_later(cli: Cli, home: Path) -> None:
    cli("app", "create", "A")
    (home / "f.yaml").write_text("kind: Group\nname: g\n---\nkind: Application\nname: a\n")

    ended = cli("apply", "-f", "f.yaml")

    assert (ended.code, ended.out) == (6, "+ group g\n")
    assert ended.err.startswith("! at + application a: 1 of 2 changes are done\nerror[COMPASS-31]: ")
    cli("app", "delete", "A", "--yes")
    assert cli("apply", "-f", "f.yaml").out == "+ application a\n"


@pytest.mark.parametrize("kind", ["Application", "Runtime"])
def test_what_somebody_else_changed_meanwhile_is_not_written_over_and_both_values_are_said(
    kind: str, cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "f.yaml").write_text(f"kind: {kind}\nname: crm\ndescription: first\nlabels: {{team: a}}\n")
    assert cli("apply", "-f", "f.yaml").code == 0
    (home / "f.yaml").write_text(f"kind: {kind}\nname: crm\ndescription: mine\nlabels: {{team: b}}\n")
    other = home / "other.yaml"
    other.write_text(f"kind: {kind}\nname: crm\ndescription: theirs\n")
    (home / "gone.yaml").write_text("kind: Application\nname: gone\ngroups: [g]\n")
    cli("apply", "-f", "gone.yaml")
    (home / "gone.yaml").write_text("kind: Application\nname: gone\ngroups: []\n")

    def slow(*_: object, **__: object) -> None:
        """Somebody else is quicker than whoever is asked."""
        assert run(["apply", "-f", str(other), "--field-manager", "other", "--force-conflicts"]) == 0

    monkeypatch.setattr(apply, confirm.confirm.__name__, slow)

    ended = cli("apply", "-f", "f.yaml", "-f", "gone.yaml", "--yes")

    assert ended.code == 6
    assert f"error: {kind.lower()} crm: somebody changed description meanwhile" in ended.err
    assert '"first" → "theirs"; f.yaml:1 says "mine"' in ended.err
    row = cli("app" if kind == "Application" else "runtime", "get", "crm", "-o", "json").json
    assert (row["description"], row["labels"]["team"]) == ("theirs", "a")
