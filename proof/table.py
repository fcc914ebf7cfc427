"""The one table that the proofs end with."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """What one proof came to, as it is printed."""

    promise: str
    command: str
    cases: str
    failures: str
    bugs: str
    """How many of the planted ones were caught."""
    seed: str
    seconds: str
    missed: Sequence[str]
    """The planted bugs that were not caught."""
    is_good: bool


_HEAD = ("promise", "command", "cases", "failures", "bugs caught", "seed", "seconds", "")


def table(lines: Sequence[Line]) -> str:
    """The lines in columns as wide as they need to be, and below them the planted bugs that nobody saw."""
    rows = [_HEAD, *(_row(line) for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    text = "".join(
        "  ".join(part.ljust(width) for part, width in zip(row, widths, strict=True)).rstrip() + "\n" for row in rows
    )
    return text + "".join(f"not caught: {bug}\n" for line in lines for bug in line.missed)


def _row(line: Line) -> tuple[str, ...]:
    done = "ok" if line.is_good else "FAILED"
    return (line.promise, line.command, line.cases, line.failures, line.bugs, line.seed, line.seconds, done)
