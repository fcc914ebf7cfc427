"""`compass app edit` as text: in an editor on a terminal, and from a file."""

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.terminal import terminal

pytestmark = pytest.mark.usefixtures("tenant")


@pytest.fixture
def crm(cli: Cli) -> str:
    """An application with something of everything."""
    cli(
        "app", "create", "crm", "--description", "Customers", "-l", "team=shop", "-l", "stage=test", "--group", "retail"
    )
    cli("webhook", "create", "--app", "crm", "--type", "CONFIGURATION_CHANGED", "--url", "https://crm.example/a")
    return "crm"


def editor(home: Path, script: str) -> str:
    """An editor that does that to the file which it is given."""
    (home / "editor").write_text(f'#!/bin/sh -e\ncp "$1" {home}/shown.yaml\n{script}\n')
    (home / "editor").chmod(0o755)
    return str(home / "editor")


def test_what_is_changed_in_the_editor_is_changed_and_the_rest_stays(cli: Cli, crm: str, home: Path) -> None:
    script = "sed -i -e 's/Customers/Clients/' -e '/stage:/d' -e 's/team: shop/team: web/' \"$1\""
    with terminal(home, "app", "edit", crm, "--yes", EDITOR=editor(home, script)) as edited:
        assert edited.end() == 0

    assert (home / "shown.yaml").read_text() == (
        "# Application crm. Change what you like, save and close; a line that you take out is emptied or removed.\n"
        "# A text that is not changed changes nothing.\n"
        "description: Customers\n"
        "labels:\n  stage: test\n  team: shop\n"
        "groups:\n- retail\n"
        "webhooks:\n- type: CONFIGURATION_CHANGED\n  url: https://crm.example/a\n"
    )
    assert [line for line in edited.shown.splitlines() if line.startswith(("~", "-", "+"))] == [
        '~ application crm: description "Customers" → "Clients"',
        '~ application crm: label team "shop" → "web"',
        "- application crm: label stage",
    ]
    row = cli("app", "get", crm, "-o", "json").json
    assert (row["description"], row["labels"]["team"], "stage" in row["labels"]) == ("Clients", "web", False)
    assert (row["labels"]["scenarios"], len(row["webhooks"])) == (["retail"], 1)


def test_a_text_that_is_not_changed_changes_nothing(cli: Cli, crm: str, home: Path) -> None:
    before = cli("app", "get", crm, "-o", "json").json
    with terminal(home, "app", "edit", crm, EDITOR=editor(home, "true")) as edited:
        assert edited.end() == 0

    assert "nothing to change" in edited.shown
    assert cli("app", "get", crm, "-o", "json").json == before


def test_a_line_that_is_taken_out_is_emptied(cli: Cli, crm: str, home: Path) -> None:
    (home / "text").write_text("labels: {stage: test, team: shop}\ngroups: [retail]\nwebhooks: []\n")

    said = cli("app", "edit", crm, "--file", "text", "--dry-run")
    assert said.out.splitlines() == [
        '~ application crm: description "Customers" → ""',
        "- application crm: webhook CONFIGURATION_CHANGED https://crm.example/a",
    ]
    assert cli("app", "edit", crm, "--file", "text").code == 2  # nobody can be asked
    assert cli("app", "get", crm, "-o", "json").json["description"] == "Customers"
    assert cli("app", "edit", crm, "--file", "text", "--yes").code == 0
    row = cli("app", "get", crm, "-o", "json").json
    assert (row["description"] or "", row["webhooks"]) == ("", [])


def test_a_change_that_somebody_else_made_meanwhile_is_shown_and_the_text_is_kept(
    cli: Cli, crm: str, home: Path
) -> None:
    """The question is answered only after the other change."""
    script = "sed -i -e 's/Customers/mine/' -e '/stage:/d' \"$1\""
    with terminal(home, "app", "edit", crm, EDITOR=editor(home, script), TMPDIR=str(home)) as edited:
        edited.until("[y/N] ")
        assert cli("app", "edit", crm, "--description", "theirs").code == 0
        edited.type("y\n")
        assert edited.end() == 6

    assert 'somebody changed description meanwhile, "Customers" → "theirs"' in edited.shown
    assert 'says "mine"' in edited.shown
    (kept,) = home.glob("compass-*.yaml")
    assert f"your text is kept: compass app edit crm --file {kept}" in edited.shown.replace("\r\n", "\n")
    assert kept.stat().st_mode & 0o777 == 0o600
    row = cli("app", "get", crm, "-o", "json").json
    assert (row["description"], row["labels"]["stage"]) == ("theirs", "test")

    assert cli("app", "edit", crm, "--file", str(kept), "--yes").code == 0
    assert cli("app", "get", crm, "-o", "jsonpath=.description").out == "mine\n"


def test_a_text_that_is_wrong_names_its_line_and_is_kept(cli: Cli, crm: str, home: Path) -> None:
    with terminal(
        home, "app", "edit", crm, EDITOR=editor(home, 'echo "lables: {}" >> "$1"'), TMPDIR=str(home)
    ) as edited:
        assert edited.end() == 2

    assert "Application has no 'lables'" in edited.shown
    assert "hint: did you mean labels" in edited.shown
    assert len(list(home.glob("compass-*.yaml"))) == 1


def test_an_editor_that_fails_changes_nothing(cli: Cli, crm: str, home: Path) -> None:
    with terminal(home, "app", "edit", crm, EDITOR=editor(home, "exit 3")) as edited:
        assert edited.end() == 1
    with terminal(home, "app", "edit", crm, EDITOR="none-such") as missing:
        assert missing.end() == 1

    assert "the editor ended with 3; nothing was changed" in edited.shown
    assert "hint: set EDITOR" in missing.shown
    assert cli("app", "get", crm, "-o", "jsonpath=.description").out == "Customers\n"


def test_without_a_terminal_nobody_is_shown_an_editor(cli: Cli, crm: str) -> None:
    ended = cli("app", "edit", crm)

    assert (ended.code, ended.err.splitlines()[0]) == (2, "error: there is no terminal to edit in")
    assert cli("app", "edit", crm, "--description", "x", "--file", "-").code == 2
