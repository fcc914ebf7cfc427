"""What the plane remembers of files that were applied: reading it, and recording it around the changes of an object.

Before anything of an object is changed it is recorded what is about to be, with what it replaces, and afterwards what
is: an apply that was cut off knows both for its own work, whatever its file says by then.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from compass.errors import Code
from compass.landscape.conversation import Conversation, Json
from compass.landscape.manifest import Kind, Manifest
from compass.landscape.offers import OFFERED
from compass.landscape.ownership import Judged, Owners, fields, first_said, judge
from compass.landscape.plan import Landscape, Step

_KINDS: Final = frozenset({Kind.APPLICATION, Kind.RUNTIME})
"""Whose fields are remembered. Of a group nothing is changed; integration systems belong to all tenants."""

_MOST_FIELDS: Final = 5_000
"""That the plane remembers of one manager and object. A document that says more is applied without."""


@dataclass(frozen=True)
class Owned:
    """Who applied which fields of the objects of one tenant, seen by one manager."""

    manager: str
    of: Mapping[str, Owners]
    """By the ids of objects."""
    offering: frozenset[str]
    """The names of applications of which some file said what they offer."""
    is_remembered: bool
    """Whether this plane remembers it at all."""

    @classmethod
    def read(cls, plane: Conversation, kinds: Iterable[Kind], manager: str, *, tell: Callable[[str], None]) -> Self:
        """Read it for all objects of these kinds: as many calls as there are pages.

        Older planes have nothing, of which `tell` hears.
        """
        from compass.client.protocol import PlaneRefused

        found: dict[str, Owners] = {}
        offering = set()
        try:
            for kind in sorted(_KINDS.intersection(kinds)):
                for row in plane.all(f"{kind}AppliedFields"):
                    applied = row["appliedFields"] or []
                    found[row["id"]] = Owners(row["id"], applied)
                    if any(field["name"].startswith(tuple(OFFERED)) for field in applied):
                        offering.add(row["name"])
        except PlaneRefused as refused:
            if "appliedFields" not in str(refused):
                raise
            tell("this plane does not remember who applied what: what somebody else changed is written over")
            return cls(manager, {}, frozenset(), is_remembered=False)
        return cls(manager, found, frozenset(offering), is_remembered=True)

    def judged(self, one: Manifest, now: Landscape) -> Judged | None:
        """What a document means for its object; None when that is not there, or nothing is remembered of its kind.

        In the row of the object in `now` it is put down whose the fields are.
        """
        row = now.found.get(one.kind, {}).get(one.name)
        if row is None or not self._remembers(one):
            return None
        owners = self.of.get(row["id"]) or Owners(row["id"], ())
        row["owners"] = {name: f" (owned by {', '.join(whose)})" for name, whose in owners.all().items()}
        return judge(one, row, owners, self.manager)

    def around(self, one: Manifest, own: Sequence[Step], judged: Judged | None) -> Iterator[Step]:
        """The steps of a document, and what is recorded before and after them."""
        if own and judged is not None:
            yield self._recorded(one, lambda _: judged.under_way)
        yield from own
        if not self._remembers(one):
            return
        if judged is None:
            yield self._recorded(one, lambda identity: first_said(one, identity))
        elif own or not judged.is_recorded:
            yield self._recorded(one, lambda _: judged.done, is_all=not own)

    def _remembers(self, one: Manifest) -> bool:
        return self.is_remembered and one.kind in _KINDS and len(fields(one.says)) <= _MOST_FIELDS

    def _recorded(self, one: Manifest, fields: Callable[[str], Sequence[Json]], *, is_all: bool = False) -> Step:
        def act(plane: Conversation, landscape: Landscape) -> None:
            identity = landscape.id_of(one.kind, one.name)
            said = {"manager": self.manager, "fields": fields(identity)}
            try:
                plane.ask(f"Set{one.kind}AppliedFields", {"id": identity, "in": said})
            except PlaneRefused as refused:
                # Whoever may not change an object may still find that it is as the file says.
                if not (is_all and (refused.unauthorized or refused.error_code == Code.INSUFFICIENT_SCOPES)):
                    raise

        from compass.client.protocol import PlaneRefused

        return Step("·", f"{one.kind.lower()} {one.name}: what the file says of it", act, is_quiet=True)
