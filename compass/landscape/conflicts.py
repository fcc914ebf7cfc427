"""What is said of an object that was left as it is, because somebody else changed or owns what its file says."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from compass.errors import Code
from compass.landscape.conversation import PAGE_SIZE, Conversation, Json
from compass.landscape.manifest import Manifest
from compass.landscape.offers import LISTS, named
from compass.landscape.ownership import Conflict

HINT: Final = (
    "--force-conflicts takes these fields over; what you take out of the file is left to the other; "
    "compass export shows the other's values"
)
_LONGEST: Final = 80
"""Characters of a value that are shown."""
_RECORDED: Final = ("description", "targetURL", "group", "version")
_GROUPS: Final = {"assignFormation", "unassignFormation"}


def brief(conflict: Conflict) -> str:
    """A conflict in a line of a difference: the plane's value, the file's, and whose it is."""
    if conflict.wanted is True or conflict.present is True:
        change = "is there, and not in the file" if conflict.wanted is None else "is in the file, and not there"
        return f"{conflict.name} {change} ({conflict.reason})"
    return f"{conflict.name} {shown(conflict.present)} → {shown(conflict.wanted)} ({conflict.reason})"


def shown(value: Any) -> str:
    """A value, on one line that is not too long."""
    if value is None or value == "":
        return "(none)"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


@dataclass
class Changes:
    """Who changed what, from the audit log; nothing from a plane that keeps none, or that does not tell this caller."""

    plane: Conversation
    _read: dict[tuple[str, str], list[Json]] = field(default_factory=dict)

    def last(self, one: Manifest, row: Json, name: str) -> str | None:
        """Who gave the field the value that it has, and when, for people; None when that is not known."""
        # Their ids begin with the time, to the millisecond.
        found = max(self._of(one, row, name), key=lambda record: str(record["id"]), default=None)
        if found is None:
            return None
        return f"{found['consumer']} {found['consumerID']} at {found['happenedAt']} ({found['operation']})"

    def _of(self, one: Manifest, row: Json, name: str) -> Iterator[Json]:
        for identity, members in _places(row, name):
            for record in self._records(object=identity):
                if _at(record["before"], members) != _at(record["after"], members):
                    yield record
        for key in {*(row["labels"] or {}), *one.says.get("labels", {})}:
            if name == named("labels", key):
                for verb in ("set", "delete"):
                    yield from self._told(f"{verb}{one.kind}Label", {f"{one.kind.lower()}ID": row["id"], "key": key})
        for operation in _GROUPS if name.startswith("groups") else ():
            for record in self._told(operation, {"objectID": row["id"]}):
                if named("groups", _at(record["arguments"], ("formation", "name")) or "") == name:
                    yield record

    def _told(self, operation: str, said: Json) -> Iterator[Json]:
        for record in self._records(operation=operation):
            if all(_at(record["arguments"], (key,)) == value for key, value in said.items()):
                yield record

    def _records(self, **wanted: str) -> list[Json]:
        from compass.client.protocol import PlaneRefused

        ((key, value),) = wanted.items()
        if (key, value) not in self._read:
            try:
                answer = self.plane.ask("Changes", {**wanted, "first": PAGE_SIZE})
            except PlaneRefused as refused:
                if refused.error_code not in (Code.INSUFFICIENT_SCOPES, None) and not refused.unauthorized:
                    raise
                answer = {"data": []}
            self._read[key, value] = answer["data"]
        return self._read[key, value]


def _places(row: Json, name: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Whose records tell of a field, and which of their members."""
    for key in ("description", "providerName", "baseUrl", "healthCheckURL"):
        if name == key:
            yield row["id"], (key,)
    if name.startswith("labels"):
        yield from ((row["id"], ("labels", key)) for key in row["labels"] or {} if name == named("labels", key))
    offers = row.get("offers") or {}
    definitions: list[tuple[tuple[str, ...], Json]] = [((key,), each) for key in LISTS for each in offers.get(key, ())]
    for bundle in offers.get("bundles", ()):
        if name == named("bundles", bundle["name"], "description"):
            yield bundle["id"], ("description",)
        definitions += [(("bundles", bundle["name"], key), each) for key in LISTS for each in bundle[key]]
    for place, each in definitions:
        yield from ((each["id"], (key,)) for key in _RECORDED if name == named(*place, each["name"], key))


def _at(text: str | None, members: tuple[str, ...]) -> Any:
    found = json.loads(text) if text else None
    for member in members:
        found = found.get(member) if isinstance(found, dict) else None
    return found
