"""The command as a whole: exit codes, what goes where, and how failures read."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import App
from rich.console import Console

from compass.cli.main import app, run

HELP = Path(__file__).parent / "help.txt"
"""The help of every command, as a terminal of 100 columns shows it."""


def helps(command: App, *words: str) -> Iterator[str]:
    """The help of a command and of those below it."""
    for name in command:
        command[name]  # imports it, as the command itself does: the list then says what each is for
    console = Console(width=100, file=io.StringIO(), color_system=None)
    app.help_print(words, console=console)
    assert isinstance(console.file, io.StringIO)
    shown = "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())
    yield f"$ {' '.join(('compass', *words, '--help'))}\n{shown.strip()}\n"
    below: dict[int, str] = {}
    for name in command:
        if not name.startswith("-"):
            below.setdefault(id(command[name]), name)  # an alias comes after the name
    for name in sorted(below.values()):
        yield from helps(command[name], *words, name)


@pytest.fixture(scope="module")
def every_help() -> list[str]:
    """The help of every command; it takes seconds to write."""
    return list(helps(app))


def test_the_help_of_every_command_is_as_it_was_looked_at(every_help: list[str]) -> None:
    """After a change: `UPDATE_HELP=1 pytest tests/cli/test_main.py`, then read the difference."""
    now = "\n".join(every_help)
    if os.environ.get("UPDATE_HELP"):
        HELP.write_text(now, encoding="utf-8")

    assert HELP.read_text(encoding="utf-8") == now


def test_a_list_of_commands_says_what_each_is_for() -> None:
    """In a process of its own: here all of them were imported before."""
    for words in ([], ["--help"], ["agent"], ["agent", "--help"], ["cert", "-h"]):
        ended = subprocess.run(
            [sys.executable, "-m", "compass", *words],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={"COLUMNS": "200"},
        )
        listed = [line.strip("│ ").split("  ", 1) for line in ended.stdout.splitlines() if line.startswith("│ ")]
        assert len(listed) > 4
        assert [line for line in listed if len(line) == 1 and not line[0].endswith((".", ","))] == [], words


def test_every_command_says_how_it_ends(every_help: list[str]) -> None:
    commands = [text for text in every_help if " COMMAND\n" not in text]

    assert len(commands) > 90
    # These can only fail as every command can.
    assert [text.splitlines()[0] for text in commands if "Exit codes:" not in text] == [
        f"$ compass {name} --help" for name in ("config show", "context list", "version")
    ]


def test_the_list_of_commands_says_what_each_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"]):
        assert run(arguments) == 0
        shown = capsys.readouterr().out
        assert "The landscape as files" in shown
        assert "Applications: systems that offer APIs and events." in shown


def test_an_unknown_command_is_a_usage_error_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verison"]) == 2

    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith('error: Unknown command "verison". Did you mean "version"?')
    assert shown.err.endswith("\nhint: compass --help lists the commands\n")


def test_an_unknown_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "20", "--outptu", "json"]) == 2

    assert capsys.readouterr().err.startswith("error: Unknown option: --outptu. Did you mean --output?\n")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["app", "create"], "error: compass app create needs NAME\nhint: compass app create --help says how\n"),
        (
            ["token", "revoke"],
            "error: compass token revoke needs IDENTITY\nhint: compass token revoke --help says how\n",
        ),
    ],
)
def test_what_is_missing_is_named_with_the_help_of_the_command(
    typed: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(typed) == 2
    assert capsys.readouterr().err == told


def test_a_rehearsal_at_the_plane_is_refused_because_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["app", "create", "x", "--dry-run=server"]) == 2

    assert "error: a rehearsal is made here, and the plane has none" in capsys.readouterr().err


def test_a_refused_setting_prints_its_code_and_a_hint(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPASS_LISTEN__TOKEN_PROT", "1")

    assert run(["config", "check"]) == 2

    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == (
        "error[COMPASS-22]: setting listen.token_prot (environment COMPASS_LISTEN__TOKEN_PROT): "
        "there is no such setting, did you mean listen.token_port?\nhint: compass explain 22\n"
    )


@pytest.mark.parametrize("arguments", [["config", "show"], ["config", "check"], ["explain", "20"]])
def test_a_reader_that_has_seen_enough_is_no_failure(arguments: list[str], home: Path) -> None:
    """As in `compass config show | head -1`, for output that fills the buffer and for output that does not."""
    program = "from compass.cli.main import main; main()"
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            cwd=home,
            timeout=30,
            check=False,
        )
    finally:
        os.close(writing)

    assert (ended.returncode, ended.stderr) == (0, "")


def test_somebody_may_say_when_to_colour(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "--color=always", "99"]) == 4
    assert "\x1b[31merror\x1b[0m: there is no" in capsys.readouterr().err
    for arguments in (["explain", "99", "--color=always", "--color=never"], ["explain", "99"]):
        assert run(arguments) == 4
        assert "\x1b" not in capsys.readouterr().err  # nor because of what was said before
    assert run(["explain", "99", "--color=perhaps"]) == 2
    assert capsys.readouterr().err == "error: --color=perhaps is none of auto, always, never\n"


def test_nothing_is_coloured_away_from_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR")

    run(["explain", "99"])

    assert "\x1b" not in capsys.readouterr().err


def test_the_entry_point_ends_the_process_with_the_code_of_the_command(home: Path) -> None:
    program = "from compass.cli.main import main; main()"
    ended = subprocess.run([sys.executable, "-c", program, "explain", "99"], capture_output=True, cwd=home, check=False)

    assert ended.returncode == 4
