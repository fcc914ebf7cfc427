"""What happened, as facts that were committed with the change itself.

Each noun declares its events beside its commands, as frozen dataclasses of ids and plain values. An event says that
something changed, not how it looks now: whoever is told reads the present state.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from compass.ids import TenantId


@dataclass(frozen=True)
class Event:
    """The base of every event."""

    tenant: TenantId | None

    known: ClassVar[dict[str, type["Event"]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__name__ in Event.known:
            raise TypeError(f"two events are named {cls.__name__}")
        Event.known[cls.__name__] = cls

    def facts(self) -> dict[str, Any]:
        """The event's fields without the tenant, as JSON values."""
        return {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self) if entry.name != "tenant"}
