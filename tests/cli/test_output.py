"""What is printed is data that another program can read."""

import io

import pytest

from compass.cli.output import Format, coloured, show


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_table_has_one_line_per_row_whatever_the_values_hold(capsys: pytest.CaptureFixture[str]) -> None:
    show([{"name": "a\nb\x1b[31m", "note": None}, {"name": "longer name", "note": "x"}], Format.TABLE)

    assert capsys.readouterr().out == "NAME         NOTE\na b [31m\nlonger name  x\n"


def test_no_rows_are_no_lines_and_still_json(capsys: pytest.CaptureFixture[str]) -> None:
    show([], Format.TABLE)
    assert capsys.readouterr().out == ""
    show([], Format.JSON)
    assert capsys.readouterr().out == "[]\n"


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_that_wants_no_colours_gets_none(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "xterm")
    assert coloured("error", "red", Terminal()) == "\x1b[31merror\x1b[0m"

    monkeypatch.setenv(variable, value)

    assert coloured("error", "red", Terminal()) == "error"
