"""The one table that the proofs end with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


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
    needs_quiet: bool = False
    short: Sequence[str] = ()
    """Where it fell short, beside that tests failed."""
    counted: Mapping[str, int] = field(default_factory=dict)
    """Cases by the name of the test."""
    caught: Mapping[str, float] = field(default_factory=dict)
    """The planted bugs that were caught, and after how many seconds."""


_HEAD = ("promise", "command", "cases", "failures", "bugs caught", "seed", "seconds", "")


def table(lines: Sequence[Line]) -> str:
    """The lines in columns as wide as they need to be, below them where a proof fell short and the bugs nobody saw."""
    rows = [_HEAD, *(_row(line) for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    text = "".join(
        "  ".join(part.ljust(width) for part, width in zip(row, widths, strict=True)).rstrip() + "\n" for row in rows
    )
    text += "".join(f"{line.promise}: {reason}\n" for line in lines for reason in line.short)
    return text + "".join(f"not caught: {bug}\n" for line in lines for bug in line.missed)


def counted(lines: Sequence[Line]) -> str:
    """For each proof what its tests tried, in their own words, and the bugs that it caught."""
    text = ""
    for line in lines:
        tried = [f"  {cases:>9,}  {sentence(test)}\n" for test, cases in line.counted.items()]
        bugs = [f"  {seconds:>7.0f} s  caught: {bug}\n" for bug, seconds in line.caught.items()]
        if tried or bugs:
            text += "".join([f"{line.promise}\n", *tried, *bugs])
    return text


def sentence(test: str) -> str:
    """The name of a test, for people."""
    return test.removeprefix("test_").replace("_", " ")


def _row(line: Line) -> tuple[str, ...]:
    done = "ok" if line.is_good else "FAILED"
    if line.needs_quiet:
        done += ", needs a quiet machine"
    return (line.promise, line.command, line.cases, line.failures, line.bugs, line.seed, line.seconds, done)
