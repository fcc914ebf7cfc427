"""Contexts: kept private, chosen by name, and forgotten whole."""

import json
from pathlib import Path

import pytest

from compass.cli import context
from compass.cli.context import Context
from compass.cli.failures import CommandFailed
from compass.cli.main import run

A = Context(name="a", url="https://a.example:8443", ca_pin="sha256:aa", client_id="admin", tenant='te"nant\\')
B = Context(name="b", url="https://b.example:8443", ca_pin="sha256:bb", client_id="admin")


@pytest.fixture
def both() -> None:
    context.keep(A, secret="geheim-a", anchor="PEM A")
    context.keep(B, secret="geheim-b", anchor="PEM B")


@pytest.mark.usefixtures("both")
def test_a_context_reads_back_as_it_was_kept_and_the_last_one_kept_is_current() -> None:
    assert context.chosen("a") == A
    assert context.chosen() == B
    assert (A.secret_file.read_text(), A.anchor_file.read_text()) == ("geheim-a\n", "PEM A")


@pytest.mark.usefixtures("both")
def test_only_the_owner_can_read_what_is_kept(home: Path) -> None:
    folder = home / ".config/compass"

    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == dict.fromkeys(
        ["config.toml", "a.secret", "a.ca.pem", "b.secret", "b.ca.pem"], 0o600
    )


@pytest.mark.usefixtures("both")
def test_the_list_shows_no_secret_and_marks_the_current_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["context", "list", "-o", "json"]) == 0

    shown = capsys.readouterr().out
    assert [(row["name"], row["current"]) for row in json.loads(shown)] == [("a", ""), ("b", "*")]
    assert "geheim" not in shown


@pytest.mark.usefixtures("both")
def test_another_context_can_be_used_for_good_or_for_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(["context", "use", "a"]) == 0
    assert context.chosen() == A

    monkeypatch.setenv("COMPASS_CONTEXT", "b")
    assert context.chosen() == B
    assert context.chosen("a") == A


@pytest.mark.usefixtures("both")
def test_an_unknown_context_is_not_found_and_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["context", "use", "c"]) == 4

    assert capsys.readouterr().err == "error: there is no context 'c'\nhint: there are: a, b\n"
    assert context.chosen() == B


@pytest.mark.usefixtures("both")
def test_a_removed_context_leaves_no_credentials_behind(home: Path) -> None:
    assert run(["context", "remove", "b"]) == 0

    assert {path.name for path in (home / ".config/compass").iterdir()} == {"config.toml", "a.secret", "a.ca.pem"}
    assert "b.example" not in (home / ".config/compass/config.toml").read_text()
    with pytest.raises(CommandFailed, match="there is no context ''"):
        context.chosen()


@pytest.mark.parametrize("name", ["", "A", "../x", "a.b", "-a", "a" * 41])
def test_a_name_that_could_leave_the_folder_is_refused_and_nothing_is_written(name: str, home: Path) -> None:
    with pytest.raises(CommandFailed, match="no name for a context"):
        context.keep(Context(name=name, url="u", ca_pin="p", client_id="c"), secret="s", anchor="a")

    assert list(home.iterdir()) == []


def test_a_broken_file_is_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / ".config/compass").mkdir(parents=True)
    (home / ".config/compass/config.toml").write_text("current = \n")

    assert run(["context", "list"]) == 1

    assert str(home / ".config/compass/config.toml") in capsys.readouterr().err
