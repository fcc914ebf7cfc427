"""A specification before it is sent: what kind it is, what is wrong with it and where, and what it changes.

Nothing here asks the plane. A text costs a second or two at most, whatever it holds; call it in a thread.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlsplit

from compass.definition import show
from compass.definition import text as texts
from compass.definition.changes import Change, changes
from compass.definition.model import Definition
from compass.definition.problems import problems
from compass.definition.read import read
from compass.definition.text import Unreadable

MOST_BYTES: Final = 5 * 1024 * 1024
"""Of a specification that the plane keeps. Source: contract/director.md §8."""
MOST_PLACES: Final = 20
"""Of what is wrong, shown with the lines around it."""
API_KINDS: Final = {
    "OPEN_API JSON": "OpenAPI, JSON",
    "OPEN_API YAML": "OpenAPI, YAML",
    "ODATA XML": "OData, XML",
    "ODATA JSON": "OData, JSON",
}
EVENT_KINDS: Final = {"ASYNC_API JSON": "AsyncAPI, JSON", "ASYNC_API YAML": "AsyncAPI, YAML"}
_AROUND: Final = 3
_MOST_LINE: Final = 200


@dataclass(frozen=True)
class Wrong:
    """One thing that is wrong, and where."""

    sentence: str
    line: int = 0
    """From 1; 0 when it cannot be told."""
    is_error: bool = True
    lines: tuple[tuple[int, str], ...] = ()
    """Those around it, with their numbers."""


@dataclass(frozen=True)
class Looked:
    """What was found in a text."""

    type: str
    form: str
    said: str = ""
    """What it offers, in a few words; empty for what is not taken apart."""
    wrong: tuple[Wrong, ...] = ()
    is_too_long: bool = False

    @property
    def errors(self) -> int:
        """How much keeps it from being used as it is."""
        return sum(one.is_error for one in self.wrong)


def digest(*several: str) -> str:
    """What stands for texts in a form that was made from them."""
    return sha256("\0".join(several).encode("utf-8", "replace")).hexdigest()


def looked_at(text: str, *, is_event: bool) -> Looked:
    """What a text is that somebody wants to give for an event definition, or else for an API."""
    form = "XML" if texts.is_xml(text) else "JSON" if texts.is_json(text) else "YAML"
    kind = "ASYNC_API" if is_event else "ODATA" if form == "XML" else "OPEN_API"
    if len(text.encode("utf-8", "replace")) > MOST_BYTES:
        wrong = Wrong(f"It is longer than {MOST_BYTES // 1024 // 1024} MiB, the most that is kept")
        return Looked(kind, form, wrong=(wrong,), is_too_long=True)
    try:
        definition = read(text)
        found = problems(text)
    except Unreadable as problem:
        return Looked(kind, form, wrong=(_placed(text.split("\n"), _upper(problem.why), problem.line, is_error=True),))
    if definition.standard.startswith("OData") and not is_event:
        kind = "ODATA"
    misplaced = _misplaced(definition, is_event=is_event)
    listed = [*([Wrong(misplaced)] if misplaced else ())]
    rows = text.split("\n")
    listed += [_placed(rows, _upper(one.sentence), one.line, is_error=one.is_error) for one in found]
    return Looked(kind, form, f"{definition.standard}, {show.count(definition)}", tuple(listed))


def _upper(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _misplaced(definition: Definition, *, is_event: bool) -> str:
    if definition.standard.startswith("AsyncAPI"):
        return "" if is_event else f"It is {definition.standard}, which tells of events: add an event definition"
    return f"It is {definition.standard}, which tells of calls: add an API" if is_event else ""


def _placed(rows: list[str], sentence: str, line: int, *, is_error: bool) -> Wrong:
    if not line:
        return Wrong(sentence, is_error=is_error)
    # A text that ends too early is wrong after its last line.
    line = min(line, len(rows))
    first = max(1, line - _AROUND)
    shown = enumerate(rows[first - 1 : line + _AROUND], first)
    return Wrong(sentence, line, is_error, tuple((number, each[:_MOST_LINE].rstrip("\r")) for number, each in shown))


def changed(before: str, after: str) -> list[Change] | None:
    """What the second text says otherwise than the first; None when one of the two cannot be taken apart."""
    try:
        return changes(read(before), read(after))
    except Unreadable:
        return None


def to_fetch(url: str, kind: str, *, is_event: bool) -> dict[str, Any]:
    """The input for a specification that is to be fetched: of a type and format, or what the address looks like."""
    place = urlsplit(url).path.lower()
    is_xml = place.endswith((".xml", ".edmx", "$metadata")) and not is_event
    guessed = "ASYNC_API" if is_event else "ODATA" if is_xml else "OPEN_API"
    form = "XML" if is_xml else "YAML" if place.endswith((".yaml", ".yml")) else "JSON"
    chosen = kind if kind in (EVENT_KINDS if is_event else API_KINDS) else f"{guessed} {form}"
    type_, _, form = chosen.partition(" ")
    return {"type": type_, "format": form, "fetchRequest": {"url": url}}
