"""Columns of a connection status, for the lists and details of applications and runtimes."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from compass.cli.output import Column
from compass.client import standing


def _axis(name: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: standing.shown((row.get("connection") or {}).get(name))


COLUMNS: Final = (
    Column("connection", lambda row: standing.sentence(row.get("connection"))),
    *(Column(title, _axis(name), wide=True) for name, title in standing.AXES.items() if name != "heartbeat"),
    Column("last seen", "connection.lastSeen", wide=True),
)
AGENT: Final = Column("heartbeat", _axis("heartbeat"), wide=True)
