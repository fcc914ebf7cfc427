"""Measuring side by side, and one table of what came out."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

Once = Callable[[], Awaitable[object]]
_TURN_SECONDS: Final = 0.005
_FEWEST_TURNS: Final = 15


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    section: str
    what: str
    values: Mapping[str, str]
    verdict: str = ""
    """The ratio that matters, and what was aimed at."""


async def interleaved(variants: Mapping[str, Once], *, seconds: float) -> dict[str, float]:
    """Seconds per call of each variant: the median over many short turns, a few milliseconds each, taken by all in rotation.

    The machine is shared, so only what ran at about the same time is compared.
    """
    taken: dict[str, list[float]] = {name: [] for name in variants}
    counts: dict[str, int] = {}
    for name, once in variants.items():
        for _ in range(3):
            await once()  # plans, connections, caches
        begin = time.perf_counter()
        await once()
        counts[name] = max(1, int(_TURN_SECONDS / max(time.perf_counter() - begin, 1e-6)))
    order = list(variants)
    end = time.perf_counter() + seconds
    turn = 0
    while time.perf_counter() < end or turn < _FEWEST_TURNS:
        turn += 1
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            begin = time.perf_counter()
            for _ in range(counts[name]):
                await variants[name]()
            taken[name].append((time.perf_counter() - begin) / counts[name])
    return {name: median(times) for name, times in taken.items()}


def quantiles(seconds: Sequence[float]) -> dict[str, str]:
    """The middle and the far end of some durations."""
    ordered = sorted(seconds)
    return {"p50": shown(ordered[len(ordered) // 2]), "p99": shown(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))])}


def shown(seconds: float) -> str:
    """A duration with its unit, three digits."""
    for limit, factor, unit in ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms")):
        if seconds < limit:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def table(lines: Sequence[Line]) -> str:
    """The lines as one table of text."""
    rows = [(line.section, line.what, "  ".join(f"{k} {v}" for k, v in line.values.items()), line.verdict) for line in lines]
    heads = ("section", "what", "measured", "verdict")
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (heads, tuple("─" * width for width in widths), *rows)
    )
