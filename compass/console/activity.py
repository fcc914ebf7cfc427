"""Activity: who changed what, with the differences; narrowed down, followed, and taken away as CSV or JSON."""

import csv
import io
import json
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from compass.console.deliveries import instant
from compass.console.http import Stream, named
from compass.console.page import PAGE_SIZE, Page
from compass.console.visit import View, Visit

MOST_EXPORTED: Final = 10_000
"""Records of one file, the newest; `compass audit export` writes all of them, with their signatures."""
_AT_ONCE: Final = 200
FILTERS: Final = ("operation", "actor", "object")
_JSON: Final = ("arguments", "before", "after")
Pages = AsyncGenerator[Sequence[Mapping[str, Any]], None]
"""Records, some at a time."""
_PLACES: Final = {"Application": "applications", "Runtime": "runtimes", "Formation": "groups"}
_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r")
COLUMNS: Final = (
    *("happenedAt", "operation", "consumer", "consumerID", "flow", "objectType", "objectID", "refused"),
    *("requestID", "systemAuthID", "certificate", "isSealed", "arguments", "before", "after"),
)


@dataclass(frozen=True)
class Difference:
    """One field of an object that is not what it was."""

    field: str
    before: str
    after: str


def differences(before: str | None, after: str | None) -> list[Difference]:
    """What of an object became different; every field that says something of one that is new or gone."""
    old, new = _fields(before), _fields(after)
    return [
        Difference(name, _text(old.get(name)), _text(new.get(name)))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _fields(text: str | None) -> Mapping[str, Any]:
    found = json.loads(text) if text else {}
    return found if isinstance(found, dict) else {"value": found}


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


@dataclass(frozen=True)
class Record:
    """One record, as the page shows it."""

    facts: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What the object was called, when the record says so."""
        known = _fields(self.facts["after"]) or _fields(self.facts["before"])
        return _text(known.get("name") or known.get("key"))

    @property
    def path(self) -> str | None:
        """The object's page, when it has one and is not gone."""
        place = _PLACES.get(self.facts["objectType"] or "")
        return f"/{place}/{self.facts['objectID']}" if place and self.facts["after"] is not None else None

    @property
    def differences(self) -> list[Difference]:
        """What it changed."""
        return differences(self.facts["before"], self.facts["after"])

    @property
    def arguments(self) -> str:
        """What was asked for, to be read."""
        return json.dumps(json.loads(self.facts["arguments"]), ensure_ascii=False, indent=2)


def _asked(visit: Visit) -> dict[str, str | None]:
    times = {name: instant(visit.query(name)) for name in ("since", "until")}
    return {**{name: visit.query(name) or None for name in FILTERS}, **times}


async def index(visit: Visit) -> Page:
    """A page of the records that match, newest first."""
    asked = _asked(visit)
    found = (await visit.ask("Activity", **asked, first=PAGE_SIZE, after=visit.query("after") or None))["auditRecords"]
    data = {
        "found": found,
        "records": [Record(one) for one in found["data"]],
        "asked": asked,
        "operations": sorted({one["operation"] for one in found["data"]}),
        "actors": sorted({one["consumerID"] for one in found["data"] if one["consumerID"]}),
        "most": MOST_EXPORTED,
    }
    return Page("activity.html", "Activity", data, live="everything", poll_seconds=15, section="activity")


async def _newest(visit: Visit) -> Pages:
    """The newest records that match, some at a time, each once: what is recorded meanwhile shifts the pages."""
    seen: set[str] = set()
    after = None
    while len(seen) < MOST_EXPORTED:
        page = (await visit.ask("Activity", **_asked(visit), first=_AT_ONCE, after=after))["auditRecords"]
        fresh = [one for one in page["data"] if one["id"] not in seen][: MOST_EXPORTED - len(seen)]
        seen.update(one["id"] for one in fresh)
        yield fresh
        if not page["pageInfo"]["hasNextPage"]:
            return
        after = page["pageInfo"]["endCursor"]


async def as_json(visit: Visit) -> Stream:
    """The newest records that match, as one JSON list."""

    async def parts(pages: Pages) -> AsyncGenerator[bytes, None]:
        joint = "["
        async for records in pages:
            for one in records:
                parsed = {name: json.loads(one[name]) if one[name] else None for name in _JSON}
                yield f"{joint}{json.dumps({**one, **parsed}, ensure_ascii=False)}".encode()
                joint = ",\n"
        yield b"[]" if joint == "[" else b"]"

    return Stream(parts(await _begun(_newest(visit))), "application/json", named("activity.json"))


async def as_csv(visit: Visit) -> Stream:
    """The same as a table for spreadsheets. Source: RFC 4180."""

    async def parts(pages: Pages) -> AsyncGenerator[bytes, None]:
        yield _rows([COLUMNS])
        async for records in pages:
            yield _rows([cell(one[name]) for name in COLUMNS] for one in records)

    return Stream(parts(await _begun(_newest(visit))), "text/csv; charset=utf-8", named("activity.csv"))


def _rows(rows: Iterable[Sequence[str]]) -> bytes:
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    return file.getvalue().encode()


async def _begun(pages: Pages) -> Pages:
    """The same, the first of them asked for now: a refusal is then a page that says so, and no broken file."""
    first = await anext(pages)

    async def whole() -> Pages:
        async with aclosing(pages):
            yield first
            async for one in pages:
                yield one

    return whole()


def cell(value: Any) -> str:
    """A value as a spreadsheet takes it for text: what begins like a formula would be one.

    Source: OWASP, CSV Injection.
    """
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULAS) else text


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/activity"): index,
    ("GET", "/activity.csv"): as_csv,
    ("GET", "/activity.json"): as_json,
}
