"""What is printed is data that another program can read."""

import io
import os

import pytest

from compass.cli.jsonpath import JsonPath
from compass.cli.output import Column, Format, coloured, detail, form, is_living, say, show, show_made


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


ROWS = [{"name": "a", "status": {"condition": "OK"}, "labels": {"k": ["v", True]}, "text": 'x,\n"y"'}]
COLUMNS = (Column("name", "name"), Column("status", "status.condition"), Column("text", "text", wide=True))


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (Format.TABLE, "NAME  STATUS\na     OK\n"),
        (Format.WIDE, 'NAME  STATUS  TEXT\na     OK      x, "y"\n'),
        (Format.CSV, 'name,status,text\na,OK,"x,\n""y"""\n'),
        (Format.NAME, "a\n"),
        (JsonPath.of("[*].labels.k"), '["v", true]\n'),
    ],
)
def test_columns_are_for_people_and_the_whole_row_for_programs(
    how: Format | JsonPath, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show(ROWS, how, COLUMNS)

    assert capsys.readouterr().out == expected


def test_one_object_is_one_line_for_each_value_that_it_has(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = Column("nothing", "not.there")
    detail(ROWS[0], Format.TABLE, (*COLUMNS, nothing, Column("labels", "labels")))

    assert capsys.readouterr().out == 'name     a\nstatus   OK\ntext     x, "y"\nlabels   k=v,yes\n'


def test_lines_are_cut_to_the_width_of_a_terminal_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    rows = [{"name": "n" * 50}]
    terminal, wide, pipe = Terminal(), Terminal(), io.StringIO()

    for stream, how in ((terminal, Format.TABLE), (wide, Format.WIDE), (pipe, Format.TABLE)):
        monkeypatch.setattr("sys.stdout", stream)
        show(rows, how)

    assert terminal.getvalue() == f"NAME\n{'n' * 19}…\n"
    assert wide.getvalue() == pipe.getvalue() == f"NAME\n{'n' * 50}\n"


def test_an_unknown_form_is_refused_with_those_there_are() -> None:
    class Token:
        value = "xml"

    with pytest.raises(ValueError, match=r"'xml' is none of table, wide, json, yaml, name, csv, jsonpath=…"):
        form(None, [Token()])


def test_of_what_was_made_people_get_the_id_and_the_next_command_and_programs_what_they_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    made, columns = {"id": "1", "name": "shop"}, [Column("name", "name")]

    show_made(made, Format.TABLE, columns, next_command="compass app connect shop")
    assert capsys.readouterr() == ("1\n", "→ compass app connect shop\n")
    show_made(made, Format.TABLE, columns)
    assert capsys.readouterr() == ("1\n", "")
    show_made(made, Format.NAME, columns, next_command="compass app connect shop")
    assert capsys.readouterr() == ("shop\n", "")


def test_wide_letters_keep_the_columns_and_are_cut_at_the_edge(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"name": "買い物", "note": "x"}, {"name": "cafe\u0301", "note": "y"}, {"name": "🛒 shop", "note": "z"}]

    show(rows, Format.TABLE)

    # Two places for each of the first row's letters and for the cart, none for the accent.
    assert capsys.readouterr().out.splitlines() == ["NAME     NOTE", "買い物   x", "cafe\u0301     y", "🛒 shop  z"]
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setattr("shutil.get_terminal_size", lambda *_: os.terminal_size((6, 24)))
    show(rows, Format.TABLE)
    assert terminal.getvalue().splitlines() == ["NAME …", "買い…", "cafe\u0301 …", "🛒 sh…"]


def test_what_is_said_does_not_steer_the_terminal_but_for_our_colours(capsys: pytest.CaptureFixture[str]) -> None:
    say("\x1b[32m✓\x1b[0m shop\x1b[2J\x1b]0;title\x07 is there")

    assert capsys.readouterr().err == "\x1b[32m✓\x1b[0m shop [2J ]0;title  is there\n"


def test_the_next_command_is_one_whatever_the_name(capsys: pytest.CaptureFixture[str]) -> None:
    show_made({"id": "7", "name": "a"}, Format.TABLE, (), next_command="compass app connect 'a\x1b[2J'")

    assert capsys.readouterr() == ("7\n", "→ compass app connect 'a [2J'\n")


def test_a_dumb_terminal_is_not_living(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert (is_living(Terminal()), is_living(io.StringIO())) == (True, False)
    monkeypatch.setenv("TERM", "dumb")
    assert not is_living(Terminal())
