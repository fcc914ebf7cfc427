"""Waiting for something in front of whoever is waiting: a line that lives on a terminal, quiet lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated, Final, TypeVar

from cyclopts import Parameter

from compass.cli.failures import CommandFailed, Exit
from compass.cli.output import coloured, is_living, printable, say

Wait = Annotated[bool, Parameter(name="--wait", help="Wait for it, and say how far it is on stderr.")]
Timeout = Annotated[timedelta, Parameter(name="--timeout", help="How long to wait, such as 30s or 5m.")]

Item = TypeVar("Item")

FIVE_MINUTES: Final = timedelta(minutes=5)
_PERIOD_SECONDS: Final = 0.3
_BAR: Final = 24
"""Letters."""
_FRAMES: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class Progress:
    """What is waited for, and what of it has happened. Steps are told once each, in the order in which they happen."""

    def __init__(self, what: str, *, timeout: timedelta) -> None:
        self._what = what
        self._ends_at = time.monotonic() + timeout.total_seconds()
        self._told: set[str] = set()
        self._alive = is_living(sys.stderr)
        self._frame = 0
        self.note = ""
        """Beside what is waited for, on a terminal."""
        if not self._alive:
            say(f"waiting for {printable(what)}, at most {timeout.total_seconds():g} s")

    def step(self, text: str) -> None:
        """Say once that this has happened."""
        if text not in self._told:
            self._told.add(text)
            self.clear()
            say(f"{coloured('✓', 'green', sys.stderr)} {printable(text)}")

    def draw(self) -> None:
        """Show that something is still waited for, and for how long."""
        if self._alive:
            left = max(0, round(self._ends_at - time.monotonic()))
            self._frame += 1
            note = f"  {printable(self.note)}" if self.note else ""
            frame = _FRAMES[self._frame % len(_FRAMES)]
            sys.stderr.write(
                f"\r\x1b[K{frame} waiting for {printable(self._what)}{note} … {left // 60}:{left % 60:02} left"
            )
            sys.stderr.flush()

    def clear(self) -> None:
        """Take the living line away."""
        if self._alive:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    @property
    def is_over(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= self._ends_at


@contextmanager
def progress(what: str, *, timeout: timedelta) -> Iterator[Progress]:
    """A progress whose line is taken away, however the waiting ends."""
    shown = Progress(what, timeout=timeout)
    try:
        yield shown
    finally:
        shown.clear()


_SILENT_SECONDS: Final = 1.0
"""Nobody is told of what takes less."""
_LINE_SECONDS: Final = 10.0
"""Between two lines where nothing can be written over."""


class _Line:
    """How far something is, for whoever waits: a line that is written over, or one now and then."""

    def __init__(self) -> None:
        self._alive = is_living(sys.stderr)
        self._tell_at = time.monotonic() + _SILENT_SECONDS
        self._drawn = False

    @property
    def is_due(self) -> bool:
        """Whether it is time to say something again."""
        return time.monotonic() >= self._tell_at

    def tell(self, text: str, bar: str = "") -> None:
        """Say it; `bar` before it, where it lives."""
        self._tell_at = time.monotonic() + (_PERIOD_SECONDS if self._alive else _LINE_SECONDS)
        if self._alive:
            sys.stderr.write(f"\r\x1b[K{bar}{text}")
            sys.stderr.flush()
            self._drawn = True
        else:
            say(text)

    def clear(self) -> None:
        """Take a living line away."""
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def counted(items: Sequence[Item], what: str) -> Iterator[Item]:
    """The items, and how many were gone through for whoever waits, once that takes longer than a second."""
    line = _Line()
    try:
        for number, item in enumerate(items):
            if line.is_due:
                filled = round(_BAR * number / len(items))
                bar = f"{'━' * filled}{'─' * (_BAR - filled)} "
                line.tell(f"{printable(what)}: {number:,} of {len(items):,}", bar)
            yield item
    finally:
        line.clear()


@contextmanager
def amount(what: str) -> Iterator[Callable[[int], None]]:
    """What hears how many bytes there are, and says so for whoever waits, once that takes longer than a second."""
    line = _Line()

    def told(size: int) -> None:
        if line.is_due:
            line.tell(f"{printable(what)}: {size / 1_000_000:.1f} MB")

    try:
        yield told
    finally:
        line.clear()


def until(what: str, look: Callable[[Progress], bool], *, timeout: timedelta, hint: str | None = None) -> None:
    """Look again and again until it is so. Raises CommandFailed, exit code 124, when the time is over before."""
    with progress(what, timeout=timeout) as shown:
        while not look(shown):
            if shown.is_over:
                message = f"waited {timeout.total_seconds():g} s for {what} in vain"
                raise CommandFailed(message, exit_code=Exit.WAITED_TOO_LONG, hint=hint)
            for _ in range(3):
                shown.draw()
                time.sleep(_PERIOD_SECONDS / 3)
