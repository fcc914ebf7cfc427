"""The command as a whole: exit codes, what goes where, and how failures read."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from compass.cli.main import app, run

COMMANDS = {
    "account",
    "agent",
    "config",
    "context",
    "demo",
    "doctor",
    "explain",
    "graphql",
    "login",
    "migrate",
    "pair",
    "serve",
    "up",
    "version",
}


def test_every_command_can_be_found_and_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert {name for name in app if not name.startswith("-")} == COMMANDS
    for name in sorted(COMMANDS):
        assert run([name, "--help"]) == 0
        shown = capsys.readouterr()
        assert f"Usage: compass {name}" in shown.out
        assert shown.err == ""


def test_an_unknown_command_is_a_usage_error_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verison"]) == 2

    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith('error: Unknown command "verison". Did you mean "version"?')
    assert shown.err.endswith("\nhint: compass --help lists the commands\n")


def test_an_unknown_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "20", "--outptu", "json"]) == 2

    assert capsys.readouterr().err.startswith("error: Unknown option: --outptu. Did you mean --output?\n")


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
