"""Measuring side by side, and one table of what came out."""

import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

Once = Callable[[], Awaitable[object]]
_TURN_SECONDS: Final = 0.02
_FEWEST_TURNS: Final = 15


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    section: str
    what: str
    values: Mapping[str, str]
    verdict: str = ""
    """The ratio that matters, and what was aimed at."""


@dataclass(frozen=True)
class Cost:
    """What one call costs."""

    seconds: float
    """Until the answer is there. Depends on what else the machine does."""
    cpu: float
    """Seconds of processor time, of this process and of the database together. The steadier figure."""

    def __str__(self) -> str:
        return f"{shown(self.seconds)} ({shown(self.cpu)})"


class Measured:
    """What calls of several variants cost, turn by turn."""

    def __init__(self, turns: Mapping[str, Sequence[Cost]]) -> None:
        self._turns = turns

    def shown(self) -> dict[str, str]:
        """The median of each variant."""
        return {name: str(self[name]) for name in self._turns}

    def __getitem__(self, name: str) -> Cost:
        costs = self._turns[name]
        return Cost(median(one.seconds for one in costs), median(one.cpu for one in costs))

    def ratio(self, one: str, other: str) -> float:
        """How many times the time of `other` the call of `one` takes: the median of neighbouring turns."""
        return median(a.seconds / b.seconds for a, b in zip(self._turns[one], self._turns[other], strict=True))


async def interleaved(variants: Mapping[str, Once], *, seconds: float) -> Measured:
    """What a call of each variant costs, over many short turns, some milliseconds each, taken in rotation.

    The machine is shared, so only what ran at about the same time is compared.
    """
    taken: dict[str, list[Cost]] = {name: [] for name in variants}
    counts: dict[str, int] = {}
    for name, once in variants.items():
        for _ in range(3):
            await once()  # plans, connections, caches
        begin = time.perf_counter()
        await once()
        counts[name] = max(1, int(_TURN_SECONDS / max(time.perf_counter() - begin, 1e-6)))
    processes = _with_descendants()
    order = list(variants)
    end = time.perf_counter() + seconds
    turn = 0
    while time.perf_counter() < end or turn < _FEWEST_TURNS:
        turn += 1
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            begin, used = time.perf_counter(), _used(processes)
            for _ in range(counts[name]):
                await variants[name]()
            wall, cpu = time.perf_counter() - begin, _used(processes) - used
            taken[name].append(Cost(wall / counts[name], cpu / counts[name]))
    return Measured(taken)


@contextmanager
def one_core() -> Iterator[None]:
    """Keep our process and its database on one core, for ratios of calls of a tenth of a millisecond.

    On several, whether a backend shares a core with us or must be woken on another makes up to half of such a call,
    and stays so for as long as the connection lives: it would be counted for or against one side.
    """
    family = [int(entry.parent.name) for entry in _with_descendants()]
    before = {process: os.sched_getaffinity(process) for process in family}
    for process in family:
        os.sched_setaffinity(process, {min(before[process])})
    try:
        yield
    finally:
        for process, cores in before.items():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(process, cores)


def _with_descendants() -> list[Path]:
    """Where the kernel counts the processor time of this process, its children and theirs."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
    family = {os.getpid()}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return [Path(f"/proc/{process}/schedstat") for process in family]


def _used(processes: Sequence[Path]) -> float:
    return sum(int(entry.read_text().split()[0]) for entry in processes if entry.exists()) / 1e9


def quantiles(seconds: Sequence[float]) -> dict[str, str]:
    """The middle and the far end of some durations."""
    ordered = sorted(seconds)
    return {
        "p50": shown(ordered[len(ordered) // 2]),
        "p99": shown(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]),
    }


def shown(seconds: float) -> str:
    """A duration with its unit, three digits."""
    for limit, factor, unit in ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms")):
        if seconds < limit:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def table(lines: Sequence[Line]) -> str:
    """The lines as one table of text."""
    rows = [
        (line.section, line.what, "  ".join(f"{k} {v}" for k, v in line.values.items()), line.verdict) for line in lines
    ]
    heads = ("section", "what", "measured", "verdict")
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (heads, tuple("─" * width for width in widths), *rows)
    )
