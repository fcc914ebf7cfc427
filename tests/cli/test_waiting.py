"""Waiting: a living line on a terminal, quiet lines elsewhere, and an end."""

from datetime import timedelta

import pytest

from compass.cli.failures import CommandFailed, Exit
from compass.cli.waiting import Progress, amount, counted, until
from tests.cli.test_output import Terminal


def test_without_a_terminal_each_step_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    looks = iter([False, False, True])

    def look(shown: Progress) -> bool:
        shown.step("half of it")
        return next(looks)

    until("the end", look, timeout=timedelta(seconds=60))

    assert capsys.readouterr().err == "waiting for the end, at most 60 s\n✓ half of it\n"


def test_the_end_of_the_time_has_its_exit_code_and_hint() -> None:
    with pytest.raises(CommandFailed, match="waited 0 s for the end in vain") as refused:
        until("the end", lambda _: False, timeout=timedelta(0), hint="look there")

    assert (refused.value.exit_code, refused.value.hint) == (Exit.WAITED_TOO_LONG, "look there")


def test_on_a_terminal_the_line_lives_and_is_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    looks = iter([False, True])

    until("a\x1b[2Jb", lambda _: next(looks), timeout=timedelta(seconds=61))

    shown = terminal.getvalue()
    assert "waiting for a [2Jb … 1:0" in shown
    assert "\x1b[2J" not in shown
    assert shown.endswith("\r\x1b[K")
    assert "\n" not in shown


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which this test alone moves on."""
    now = [0.0]
    monkeypatch.setattr("compass.cli.waiting.time.monotonic", lambda: now[0])
    return now


def gone_through(clock: list[float], items: list[str]) -> list[str]:
    """Four seconds for each."""
    found = []
    for item in counted(items, "all of it"):
        found.append(item)
        clock[0] += 4
    return found


def test_what_takes_long_is_counted_in_lines_or_as_a_bar_that_is_taken_away(
    clock: list[float], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gone_through(clock, list("abcde")) == list("abcde")
    assert capsys.readouterr().err == "all of it: 1 of 5\nall of it: 4 of 5\n"  # ten seconds apart at least

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    gone_through(clock, ["a", "b"])
    assert terminal.getvalue() == f"\r\x1b[K{'━' * 12}{'─' * 12} all of it: 1 of 2\r\x1b[K"


def test_what_is_quick_is_not_counted(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    assert list(counted(["a", "b"], "all of it")) == ["a", "b"]
    assert list(counted([], "all of it")) == []

    assert capsys.readouterr().err == ""
    assert clock == [0.0]


def test_an_amount_is_told_once_it_takes_long(
    clock: list[float], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_of_it() -> None:
        with amount("the database") as told:
            for step in range(5):
                told(step * 1_500_000)
                clock[0] += 4

    all_of_it()
    assert capsys.readouterr().err == "the database: 1.5 MB\nthe database: 6.0 MB\n"  # ten seconds apart at least

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    all_of_it()
    assert terminal.getvalue().endswith("\r\x1b[Kthe database: 6.0 MB\r\x1b[K")
