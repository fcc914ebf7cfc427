"""`compass server status`: how busy each replica of a plane is."""

from collections.abc import Mapping
from typing import Any, Final

from compass.cli.output import Column, Format, Output, show
from compass.cli.speaking import HERE, Where, speaking


def status(*, output: Output = Format.TABLE, where: Where = HERE) -> None:
    """Show the replicas of the plane: how much each does, and how much of what it has is in use.

    For example:

        compass server status
        compass server status -o wide
        compass server status -o jsonpath='[*].gauges.errors'

    Rates are of the last minute; 100 % of the CPU is one core. A replica of an older release says only that it serves.

    Exit codes: 0 shown, 7 not allowed, 8 plane not reached, 9 not the pinned plane.
    """
    with speaking(where) as plane:
        show(plane.ask("System")["replicas"], output, _COLUMNS)


def _share(title: str, name: str, *, wide: bool = False) -> Column:
    def of(row: Mapping[str, Any]) -> str | None:
        gauges = row["gauges"]
        return f"{gauges[name]['used']}/{gauges[name]['of']}" if gauges else None

    return Column(title, of, wide)


def _milliseconds(title: str, name: str, *, wide: bool = False) -> Column:
    def of(row: Mapping[str, Any]) -> str | None:
        microseconds = row["gauges"][name] if row["gauges"] else None
        return None if microseconds is None else f"{microseconds / 1000:.1f}"

    return Column(title, of, wide)


_COLUMNS: Final = (
    Column("place", "place"),
    Column("release", "gauges.release"),
    Column("started", "gauges.startedAt"),
    Column("follows", "follows", wide=True),
    Column("cpu %", "gauges.cpuPercent"),
    Column("memory mb", "gauges.memoryMegabytes"),
    Column("requests/min", "gauges.requestsPerMinute"),
    _milliseconds("ms", "requestMicroseconds"),
    _milliseconds("slowest ms", "slowestMicroseconds", wide=True),
    _share("connections", "connections"),
    _share("deliveries", "deliveries", wide=True),
    _share("operations", "operations", wide=True),
    _share("reads", "reads", wide=True),
    _share("searches", "searches", wide=True),
    _share("writes", "writes", wide=True),
    Column("followers", "gauges.followers", wide=True),
    Column("feed behind ms", "gauges.feedBehindMilliseconds", wide=True),
    Column("errors", "gauges.errors"),
    Column("last error", "gauges.lastErrorAt", wide=True),
)
