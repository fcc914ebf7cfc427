"""Asking, on a terminal and without one."""

import io

import pytest

from compass.cli.confirm import confirm
from compass.cli.failures import CommandFailed, Exit
from tests.cli.test_output import Terminal


def terminal(monkeypatch: pytest.MonkeyPatch, typed: str) -> Terminal:
    """What the person sees, who types that."""
    shown = Terminal()
    monkeypatch.setattr("sys.stderr", shown)
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    return shown


@pytest.mark.parametrize("typed", ["y", "YES", " yes "])
def test_a_yes_goes_on_after_the_effects_were_shown(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal(monkeypatch, f"{typed}\n")

    confirm("Delete a\x1b[0m", ["3 APIs"], yes=False)

    assert shown.getvalue() == "  3 APIs\nDelete a [0m? [y/N] "


@pytest.mark.parametrize("typed", ["n\n", "\n", ""])
def test_everything_else_is_a_no(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal(monkeypatch, typed)

    with pytest.raises(CommandFailed, match="not done") as refused:
        confirm("Delete", yes=False)

    assert refused.value.exit_code is Exit.FAILURE


def test_without_a_terminal_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))

    with pytest.raises(CommandFailed, match="no terminal") as refused:
        confirm("Delete", yes=False)

    assert refused.value.exit_code is Exit.USAGE
    confirm("Delete", yes=True)
