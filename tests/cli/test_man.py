"""The manual: a page for every command, of the words of its help."""

import re
from pathlib import Path

import pytest

from tests.cli.conftest import Cli


def test_every_command_has_a_page_where_man_looks_for_it_and_no_line_is_taken_for_a_macro(cli: Cli, home: Path) -> None:
    written = cli("man", "--folder", str(home / "share"))

    assert (written.code, written.out) == (0, "")
    pages = {path.name: path.read_text() for path in (home / "share/man1").iterdir()}
    assert len(pages) > 120
    assert {"compass.1", "compass-app.1", "compass-app-create.1", "compass-pair.1"} <= pages.keys()
    assert not any("application" in name for name in pages)  # that is an alias
    assert cli("man").out == pages["compass.1"]
    macros = {".TH", ".SH", ".PP", ".TP", ".nf", ".fi"}
    for name, text in pages.items():
        assert text.startswith(f'.TH "{name.removesuffix(".1").upper()}" 1 ')
        assert {line.split()[0] for line in text.splitlines() if line.startswith((".", "'"))} <= macros, name
        assert r"\-\-\-\-" not in text, name
    ends = [name for name, text in pages.items() if "EXIT STATUS" not in text and ".SH COMMANDS" not in text]
    assert sorted(ends) == ["compass-config-show.1", "compass-context-list.1", "compass-version.1"]


def test_a_page_has_examples_before_all_else_and_what_each_exit_code_means(cli: Cli) -> None:
    shown = cli("man", "app", "connect").out

    assert re.findall(r"^\.SH (.+)$", shown, re.MULTILINE) == [
        "NAME",
        "SYNOPSIS",
        "EXAMPLES",
        "DESCRIPTION",
        "OPTIONS",
        "EXIT STATUS",
        "SEE ALSO",
    ]
    assert r"\fBcompass app connect\fR NAME [options]" in shown
    assert r"\fB\-\-timeout TIMEOUT\fR" in shown
    assert "\\fB4\\fR\nthere is none\n" in shown
    assert "\\fB124\\fR\nit did not connect in time\n" in shown


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (["ap"], 4, "did you mean app"),
        (["app", "craete"], 4, "did you mean create?"),
        (["version", "x"], 4, "compass version is one command"),
        (["app", "--folder", "x"], 2, "compass man --help"),
    ],
)
def test_what_has_no_page_says_what_may_have_been_meant(words: list[str], code: int, hint: str, cli: Cli) -> None:
    ended = cli("man", *words)

    assert (ended.code, ended.out) == (code, "")
    assert f"hint: {hint}" in ended.err
