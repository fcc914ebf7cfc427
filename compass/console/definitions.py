"""Definitions of APIs and events: what an application offers, read without running anything of it.

A specification is hostile until shown otherwise: it is parsed within limits, by parsers that fetch nothing and resolve
nothing, and what is shown of it is text.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml
from lxml import etree

from compass.console.http import Answer
from compass.console.page import Page
from compass.console.plane import Gone
from compass.console.visit import View, Visit

MOST_PARSED_BYTES: Final = 2 * 1024 * 1024
"""A longer one is shown as it is."""
MOST_SHOWN_BYTES: Final = 200 * 1024
"""Of the text, in the page; the whole is a download."""
MOST_OPERATIONS: Final = 500
MOST_EVENTS: Final = 100_000
"""Names, values, and beginnings and ends of lists and objects in a YAML text: a third of a second."""
MOST_DEPTH: Final = 200
"""Of lists and objects in each other."""
_METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


@dataclass(frozen=True)
class Operation:
    """One thing that can be called, heard or read."""

    verb: str
    place: str
    text: str


@dataclass(frozen=True)
class Outline:
    """What a specification says it is."""

    heading: str
    version: str
    text: str
    operations: tuple[Operation, ...]


async def api(visit: Visit) -> Page:
    """One API definition. Raises Gone."""
    application, definition = await _found(visit, "ApiDefinition", "apiDefinition")
    return await _page(visit, application, definition, "apis", created=definition["created_at"])


async def event(visit: Visit) -> Page:
    """One event definition. Raises Gone."""
    application, definition = await _found(visit, "EventDefinition", "eventDefinition")
    return await _page(visit, application, definition, "events", created=definition["createdAt"])


async def _page(
    visit: Visit, application: Mapping[str, Any], definition: Mapping[str, Any], kind: str, *, created: str | None
) -> Page:
    spec = definition["spec"]
    text = (spec or {}).get("data") or ""
    data = {
        "application": application,
        "one": definition,
        "kind": kind,
        "created": created,
        "spec": spec,
        "text": text.encode()[:MOST_SHOWN_BYTES].decode("utf-8", "ignore"),
        "is_cut": len(text.encode()) > MOST_SHOWN_BYTES,
        "size": len(text.encode()),
        # In a thread: others go on being answered meanwhile.
        "outline": await asyncio.to_thread(outline, text, spec["type"]) if text else None,
        "raw": f"{visit.request.path}/raw",
    }
    return Page("definition.html", definition["name"], data, live="applications", section="applications")


async def raw_api(visit: Visit) -> Answer:
    """The specification of an API as it was given. Raises Gone."""
    return _raw(*await _found(visit, "ApiDefinition", "apiDefinition"))


async def raw_event(visit: Visit) -> Answer:
    """The specification of an event definition as it was given. Raises Gone."""
    return _raw(*await _found(visit, "EventDefinition", "eventDefinition"))


def _raw(_application: Mapping[str, Any], definition: Mapping[str, Any]) -> Answer:
    spec = definition["spec"]
    if not spec or not spec["data"]:
        raise Gone(what="specification")
    # As a download of plain text: whatever it holds, the browser runs none of it.
    disposition = {"content-disposition": f'attachment; filename="definition.{spec["format"].lower()}"'}
    return Answer(spec["data"].encode(), content_type="text/plain; charset=utf-8", headers=disposition)


async def _found(visit: Visit, name: str, field: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    application = (await visit.ask(name, application=visit["id"], id=visit["definition"]))["application"]
    if application is None or application[field] is None:
        raise Gone(what="definition")
    return application, application[field]


def outline(text: str, kind: str) -> Outline | None:
    """What a specification offers; None for one that cannot be read, which is not an error of ours."""
    if len(text.encode()) > MOST_PARSED_BYTES:
        return None
    if text.lstrip().startswith("<"):
        return _of_edmx(text)
    document = _parsed(text)
    if not isinstance(document, dict):
        return None
    said = document.get("info")
    info = said if isinstance(said, dict) else {}
    operations = _of_events(document) if kind == "ASYNC_API" else _of_paths(document)
    return Outline(
        heading=_text(info.get("title")),
        version=_text(info.get("version")),
        text=_text(info.get("description")),
        operations=tuple(one for one, _ in zip(operations, range(MOST_OPERATIONS), strict=False)),
    )


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return yaml.load(text, Loader=yaml.CSafeLoader) if _is_plain(text) else None
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


def _is_plain(text: str) -> bool:
    """Whether a YAML text is no deeper than a specification is, and has no aliases: nine lines of them are a billion
    entries. The loader would end the process over the depth; the events come one by one.
    """
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=yaml.CSafeLoader)):
        if isinstance(event, yaml.AliasEvent):
            return False
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MOST_DEPTH or number > MOST_EVENTS:
            return False
    return True


def _of_paths(document: Mapping[str, Any]) -> Iterator[Operation]:
    """Source: OpenAPI 2.0, 3.0, 3.1."""
    paths = document.get("paths")
    for place, item in (paths if isinstance(paths, dict) else {}).items():
        for verb in _METHODS:
            operation = item.get(verb) if isinstance(item, dict) else None
            if isinstance(operation, dict):
                yield Operation(
                    verb.upper(), _text(place), _text(operation.get("summary") or operation.get("operationId"))
                )


def _of_events(document: Mapping[str, Any]) -> Iterator[Operation]:
    """Source: AsyncAPI 1, 2 and 3."""
    channels = document.get("channels") or document.get("topics")
    for place, channel in (channels if isinstance(channels, dict) else {}).items():
        known = channel if isinstance(channel, dict) else {}
        verbs = [verb for verb in ("publish", "subscribe") if isinstance(known.get(verb), dict)]
        for verb in verbs:
            yield Operation(verb, _text(place), _text(known[verb].get("summary") or known.get("description")))
        if not verbs:
            yield Operation("channel", _text(known.get("address") or place), _text(known.get("description")))


def _of_edmx(text: str) -> Outline | None:
    """Source: OData CSDL, versions 2 to 4."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(text.encode(), parser)
    except (etree.XMLSyntaxError, ValueError):
        return None
    wanted = {
        "EntitySet": "entity set",
        "Singleton": "singleton",
        "FunctionImport": "function",
        "ActionImport": "action",
    }
    operations = [
        Operation(wanted[local], _text(element.get("Name")), _text(element.get("EntityType") or element.get("Type")))
        for element in root.iter(etree.Element)
        if (local := etree.QName(element).localname) in wanted
    ]
    return Outline("OData service", _text(root.get("Version")), "", tuple(operations[:MOST_OPERATIONS]))


def _text(value: object) -> str:
    return value[:2000] if isinstance(value, str) else "" if value is None else str(value)[:200]


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/applications/{id}/apis/{definition}"): api,
    ("GET", "/applications/{id}/apis/{definition}/raw"): raw_api,
    ("GET", "/applications/{id}/events/{definition}"): event,
    ("GET", "/applications/{id}/events/{definition}/raw"): raw_event,
}
