"""Specifications: the machine-readable description of an API or event definition, and versions of both.

A specification is sent inline or fetched, never both; its format must be one its type comes in. A definition has one
at most. Source: contract/director.md §8.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from compass.access import itself
from compass.access.caller import Caller
from compass.director import spec_revision
from compass.director.auth import StoredAuth
from compass.director.catalogue import Draft, Row, not_too_large
from compass.director.fetch_request import Fetched, NewFetchRequest, Source, fetch_all
from compass.inputs import Length, Matches
from compass.outbound.door import Door
from compass.postgres.pool import Database, Tx
from compass.reads.plan import Object, One, Read
from compass.vault import Vault

_FORMATS: Final = {"OPEN_API": ("JSON", "YAML"), "ODATA": ("XML", "JSON"), "ASYNC_API": ("JSON", "YAML")}
# Source: semver.org, the expression suggested there.
_SEMVER: Final = (
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    r"(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?"
)

# Inputs


@dataclass(frozen=True)
class NewSpec:
    """A specification, inline or to be fetched."""

    type: str
    format: str
    data: Annotated[str | None, not_too_large] = None
    fetch_request: NewFetchRequest | None = None

    def problems(self) -> dict[str, str]:
        """The format must fit the type, and there must be one way to the data."""
        found = {}
        if self.format not in _FORMATS[self.type]:
            wording = f"{self.format} is not a valid spec format for spec type {self.type}"
            found["Rule.MatchingTypeAndFormat"] = wording
        if (self.data is None) == (self.fetch_request is None):
            found["Rule.DataOrFetchRequest"] = "Only one of Data or Fetch Request must be passed"
        return found


@dataclass(frozen=True)
class NewVersion:
    """The version of a definition."""

    value: Annotated[str, Length(1, 256), Matches(_SEMVER)]
    deprecated: bool | None = None
    deprecated_since: Annotated[str | None, Length(0, 256)] = None
    for_removal: bool | None = None

    def problems(self) -> dict[str, str]:
        """The schema's defaults stand in for what is absent, so only an explicit null is missing here."""
        flags = {"deprecated": self.deprecated, "forRemoval": self.for_removal}
        return {name: "is required" for name, value in flags.items() if value is None}


def version_columns(version: NewVersion | None) -> dict[str, Any]:
    """A version as columns of the definition's row."""
    return {
        "version_value": version and version.value,
        "version_deprecated": version and version.deprecated,
        "version_deprecated_since": version and version.deprecated_since,
        "version_for_removal": version and version.for_removal,
    }


def drafted(draft: Draft, new: NewSpec | None, owner: str, definition: str) -> None:
    """Add the specification of a definition to a draft; `owner` is the column that names the definition."""
    if new is not None:
        columns = {owner: definition, "type": new.type, "format": new.format, "data": new.data}
        draft.fetch_later(new.fetch_request, draft.add(draft.specs, **columns), "spec_id")


# How it is read

VERSION = Object(
    {
        "value": "version_value",
        "deprecated": "version_deprecated",
        "deprecatedSince": "version_deprecated_since",
        "forRemoval": "version_for_removal",
    },
    present="{t}.version_value IS NOT NULL",
)


def _read(type_name: str, definition: str, scope: str) -> Read:
    own = itself.alone(f"(SELECT application_id FROM {definition} WHERE {definition}.id = {{t}}.{definition}_id)")
    return Read(
        type_name,
        table="spec",
        fields={
            "id": "id",
            "data": "data",
            "format": "format",
            "type": "type",
            "fetchRequest": One("FetchRequest", on=f"{{c}}.spec_id = {{t}}.id AND {own}"),
            "revisions": spec_revision.all_of(f"{definition}_id"),
            "revision": spec_revision.one_of(f"{definition}_id"),
        },
        sanitized={"fetchRequest": scope},
    )


READS = (
    _read("APISpec", "api_definition", "api_spec.fetch_request:read"),
    _read("EventSpec", "event_definition", "event_spec.fetch_request:read"),
)

# Fetching again

SOURCE = """
-- spec.source
SELECT fetch_request.id, fetch_request.url, fetch_request.mode, fetch_request.filter, fetch_request.auth_sealed
FROM fetch_request WHERE fetch_request.spec_id = %(spec)s
"""
FETCHED_AGAIN = """
-- spec.fetched_again
WITH known AS (
    UPDATE fetch_request SET status_condition = %(condition)s, status_message = %(message)s, status_timestamp = now()
    WHERE id = %(fetch_request)s
    RETURNING spec_id
)
UPDATE spec SET data = coalesce(%(data)s, data) FROM known WHERE spec.id = known.spec_id
"""


@dataclass(frozen=True)
class FetchedAgain:
    """A fetch that was repeated, and for which fetch request."""

    fetch_request: str
    fetched: Fetched


async def fetch_again(
    caller: Caller, find: Callable[[Tx], Awaitable[Row]], *, vault: Vault, door: Door, database: Database
) -> FetchedAgain | None:
    """Fetch once more the specification that `find` gives as `spec_id`; None when it was sent inline.

    Raises what `find` raises.
    """
    async with database.transaction() as tx:
        row = await find(tx)
        source = await tx.row(SOURCE, spec=row["spec_id"])
    if source is None:
        return None
    stored = StoredAuth.open(vault, f"fetch_request/{source['id']}", source["auth_sealed"])
    wanted = Source(source["url"], source["mode"], source["filter"], stored)
    return FetchedAgain(source["id"], (await fetch_all(door, [wanted], request_id=caller.request_id))[0])


async def record(tx: Tx, again: FetchedAgain) -> bool:
    """Keep what was fetched once more. A fetch that failed leaves the data of the last good one in its place.

    False when the specification was replaced meanwhile.
    """
    fetched = again.fetched
    changed = await tx.run(
        FETCHED_AGAIN,
        fetch_request=again.fetch_request,
        condition=fetched.condition,
        message=fetched.message,
        data=fetched.data,
    )
    return changed > 0
