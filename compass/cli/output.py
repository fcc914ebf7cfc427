"""What commands print: data on stdout in the form asked for, everything else on stderr."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TextIO


class Format(StrEnum):
    """The form of the data on stdout."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


def show(rows: Sequence[Mapping[str, object]], form: Format) -> None:
    """Print rows that share their keys. `name` prints the first column only, one a line."""
    match form:
        case Format.JSON:
            emit(json.dumps(rows, indent=2, ensure_ascii=False))
        case Format.YAML:
            import yaml

            emit(yaml.safe_dump(list(map(dict, rows)), sort_keys=False, allow_unicode=True).rstrip())
        case Format.NAME:
            for row in rows:
                emit(_text(next(iter(row.values()))))
        case Format.TABLE:
            _table(rows)


def _table(rows: Sequence[Mapping[str, object]]) -> None:
    if not rows:
        return
    lines = [[key.upper() for key in rows[0]], *([_text(value) for value in row.values()] for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        emit("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _text(value: object) -> str:
    # One row is one line, whatever a name or a message holds; control characters would also steer the terminal.
    text = "" if value is None else str(value)
    return "".join(letter if letter.isprintable() else " " for letter in text)


def emit(line: str) -> None:
    """One line of data."""
    sys.stdout.write(line + "\n")


def say(line: str = "") -> None:
    """One line for the person in front of the terminal."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def coloured(text: str, colour: str, stream: TextIO) -> str:
    """`text` in `red`, `yellow` or `green`, when `stream` is a terminal that wants colours."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    number = {"red": 31, "green": 32, "yellow": 33}[colour]
    return f"\x1b[{number}m{text}\x1b[0m"
