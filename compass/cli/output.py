"""What commands print: data on stdout in the form asked for, everything else on stderr."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Final, NamedTuple, TextIO

from cyclopts import Parameter

from compass.cli.jsonpath import JsonPath, as_text


class Format(StrEnum):
    """The form of the data on stdout."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"
    CSV = "csv"


def form(_: object, tokens: Sequence[Any]) -> Format | JsonPath:
    """What was said after `-o`: one of the forms, or `jsonpath=` with a path. Raises ValueError, CommandFailed."""
    text = str(tokens[0].value)
    if text.startswith("jsonpath="):
        return JsonPath.of(text.removeprefix("jsonpath="))
    if text not in list(Format):
        raise ValueError(f"{text!r} is none of {', '.join(Format)}, jsonpath=…")
    return Format(text)


Output = Annotated[
    Format | JsonPath,
    Parameter(
        alias="-o",
        converter=form,
        n_tokens=1,
        accepts_keys=False,
        completer=lambda _: [*Format, "jsonpath="],
        metavar="FORM",
        show_choices=False,
        help="table, wide, json, yaml, name, csv or jsonpath=….",
    ),
]
"""The flag `-o` of every command that prints data."""


class Column(NamedTuple):
    """A column of a table."""

    title: str
    at: str | Callable[[Mapping[str, Any]], object]
    """Where the value stands, by names with dots between, or what makes it of the row."""
    wide: bool = False
    """Whether it is left out of `-o table`."""

    def of(self, row: Mapping[str, Any]) -> object:
        """The value of this column; None where there is none."""
        if not isinstance(self.at, str):
            return self.at(row)
        value: Any = row
        for name in self.at.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        return value


def show(rows: Sequence[Mapping[str, Any]], how: Format | JsonPath, columns: Sequence[Column] | None = None) -> None:
    """Print rows: as they are in JSON, YAML and jsonpath, by `columns` otherwise, which are all keys unless given.

    `name` prints the first column only, one a line. `csv` has every column, `table` those that are not wide.
    """
    if columns is None:
        columns = [Column(key, key) for key in (rows[0] if rows else ())]
    match how:
        case Format.NAME:
            for row in rows:
                emit(_text(columns[0].of(row)))
        case Format.CSV:
            import csv

            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(column.title for column in columns)
            writer.writerows([_plain(column.of(row)) for column in columns] for row in rows)
        case Format.TABLE:
            # Nothing is cut off for a program that reads it, nor for a person who wants it wide.
            most = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
            _table(rows, [column for column in columns if not column.wide], most=most)
        case Format.WIDE:
            _table(rows, columns, most=None)
        case _:
            _document(list(map(dict, rows)), how)


def detail(one: Mapping[str, Any], how: Format | JsonPath, columns: Sequence[Column]) -> None:
    """Print one object: whole in JSON, YAML and jsonpath, else each of its columns that has a value, one a line."""
    match how:
        case Format.TABLE | Format.WIDE:
            shown = [(column.title.lower(), _text(column.of(one))) for column in columns]
            width = max(len(title) for title, _ in shown)
            for title, text in shown:
                if text:
                    emit(f"{title.ljust(width)}  {text}")
        case Format.NAME | Format.CSV:
            show([one], how, columns)
        case _:
            _document(dict(one), how)


def show_made(
    made: Mapping[str, Any], how: Format | JsonPath, columns: Sequence[Column], *, next_command: str | None = None
) -> None:
    """Print what was made: its id and, for people, the command that comes next; in the other forms as `detail` does."""
    if how is not Format.TABLE:
        detail(made, how, columns)
        return
    emit(made["id"])
    if next_command is not None:
        say(f"→ {printable(next_command)}")


def _document(document: Any, how: Format | JsonPath) -> None:
    if how is Format.JSON:
        emit(json.dumps(document, indent=2, ensure_ascii=False))
    elif how is Format.YAML:
        import yaml

        emit(yaml.safe_dump(document, sort_keys=False, allow_unicode=True).rstrip())
    elif not isinstance(how, Format):
        for value in how.values(document):
            emit(as_text(value))


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, most: int | None) -> None:
    if not rows:
        if sys.stdout.isatty():
            say("nothing is there")
        return
    titles = [column.title.upper() for column in columns]
    lines = [titles, *([_text(column.of(row)) for column in columns] for row in rows)]
    widths = [max(map(_cells, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (cell + " " * (width - _cells(cell)) for cell, width in zip(line, widths, strict=True))
        text = "  ".join(padded).rstrip()
        emit(text if most is None or _cells(text) <= most else f"{_beginning(text, most - 1)}…")


def _cells(text: str) -> int:
    """How many places of a terminal the text takes: an emoji and a Chinese letter take two, an accent none."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.category(letter) in {"Mn", "Me"} else 1 + (unicodedata.east_asian_width(letter) in {"W", "F"})
        for letter in text
    )


def _beginning(text: str, most: int) -> str:
    """As much of the text as has that many places."""
    taken = 0
    for number, letter in enumerate(text):
        taken += _cells(letter)
        if taken > most:
            return text[:number]
    return text


def _plain(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ",".join(map(_plain, value))
        case Mapping():
            return ",".join(f"{key}={_plain(inner)}" for key, inner in value.items())
        case _:
            return str(value)


def _text(value: object) -> str:
    # One row is one line, whatever a name or a message holds; control characters would also steer the terminal.
    return printable(_plain(value))


def printable(text: str) -> str:
    """The text on one line, without anything that steers a terminal: it may come from anybody."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def as_yaml(document: Any) -> str:
    """YAML for people."""
    from compass.client import yaml_blocks

    return yaml_blocks.as_yaml(document)


def count(number: int, what: str) -> str:
    """A number of things: `1 API`, `2 APIs`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def emit(line: str) -> None:
    """One line of data."""
    sys.stdout.write(line + "\n")


def say(line: str = "") -> None:
    """One line for the person in front of the terminal. Nothing in it steers the terminal, but our own colours."""
    pieces = _OUR_COLOURS.split(line)
    sys.stderr.write("".join(piece if number % 2 else printable(piece) for number, piece in enumerate(pieces)) + "\n")
    sys.stderr.flush()


def done(line: str) -> None:
    """One line that says that something was done."""
    say(f"{coloured('✓', 'green', sys.stderr)} {printable(line)}")


_COLOURS: Final = {"red": 31, "green": 32, "yellow": 33}
_OUR_COLOURS: Final = re.compile(r"(\x1b\[(?:0|31|32|33)m)")


class Colour(StrEnum):
    """What `--color` admits: this process's word on it, over the terminal's and the environment's."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


_chosen = Colour.AUTO


def choose_colour(colour: Colour) -> None:
    """Colour as somebody said, from here on."""
    global _chosen  # noqa: PLW0603  # one terminal, one process, one answer
    _chosen = colour


def is_living(stream: TextIO) -> bool:
    """Whether the stream is a terminal on which a line can be written over."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def coloured(text: str, colour: str, stream: TextIO) -> str:
    """`text` in `red`, `yellow` or `green`, when `stream` is a terminal that wants colours, or `--color` says so."""
    wanted = is_living(stream) and not os.environ.get("NO_COLOR")
    if _chosen is Colour.NEVER or (_chosen is Colour.AUTO and not wanted):
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"
