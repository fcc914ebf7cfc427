"""What is wrong with a specification, each with its line: what would keep others from using it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from compass.definition import text as texts
from compass.definition.model import Definition
from compass.definition.openapi import METHODS
from compass.definition.read import of, read
from compass.definition.schemas import Map, Reader, mapping, name, sequence

MOST_PROBLEMS: Final = 100
_MOST_NODES: Final = 200_000
_MOST_DEPTH: Final = 40
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    sentence: str
    line: int = 0
    """From 1; 0 when it cannot be told."""
    is_error: bool = True
    """Otherwise it is a warning: it can be used all the same."""


def problems(text: str) -> list[Problem]:
    """What is wrong with a specification, at most `MOST_PROBLEMS`. Raises Unreadable for what is no document at all."""
    is_xml = texts.is_xml(text)
    if is_xml:
        found: Iterator[tuple[Path, str, bool]] = _of_service(read(text))
    else:
        document = texts.document(text)
        definition = of(document)
        by_kind = _of_events if definition.standard.startswith("AsyncAPI") else _of_paths
        found = _of_service(definition) if definition.standard.startswith("OData") else by_kind(document)
    listed = [one for one, _ in zip(found, range(MOST_PROBLEMS), strict=False)]
    lines = texts.Lines(text) if listed and not is_xml else None
    return [Problem(sentence, lines.at(path) if lines else 0, is_error) for path, sentence, is_error in listed]


def _of_paths(document: Map) -> Iterator[tuple[Path, str, bool]]:
    """Source: OpenAPI 2.0, 3.0, 3.1."""
    yield from _of_head(document)
    reader = Reader(document)
    paths = document.get("paths")
    if paths is None and name(document.get("openapi")).startswith("3.1"):
        paths = {}
    if not isinstance(paths, dict):
        yield ("paths",), "paths must be an object", True
    ids: dict[str, str] = {}
    for place, value in mapping(paths).items():
        at: Path = ("paths", place)
        if str(place).startswith("x-"):
            continue
        if not str(place).startswith("/"):
            yield at, f"path {name(place)} must begin with /", True
        if not isinstance(value, dict):
            yield at, f"path {name(place)} must be an object", True
            continue
        for method, operation in value.items():
            if method in METHODS:
                yield from _of_operation(reader, str(place), method, operation, value, ids)
    yield from _of_references(reader)


def _of_operation(
    reader: Reader, place: str, method: str, operation: Any, item: Map, ids: dict[str, str]
) -> Iterator[tuple[Path, str, bool]]:
    called, at = f"{method.upper()} {name(place)}", ("paths", place, method)
    if not isinstance(operation, dict):
        yield at, f"{called} must be an object", True
        return
    if not mapping(operation.get("responses")):
        # Version 3.1 does without.
        is_error = not name(reader.document.get("openapi")).startswith("3.1")
        yield at, f"{called} has no responses", is_error
    identity = name(operation.get("operationId"))
    if identity and identity in ids:
        yield (*at, "operationId"), f"operationId {identity} is also that of {ids[identity]}", True
    ids.setdefault(identity, called)
    given = [
        reader.followed(each) for each in (*sequence(item.get("parameters")), *sequence(operation.get("parameters")))
    ]
    known = {name(each.get("name")) for each in given if each.get("in") == "path"}
    wanted = {piece.split("}")[0] for piece in place.split("{")[1:] if "}" in piece}
    for missing in sorted(wanted - known):
        yield at, f"{called} does not describe its path parameter {name(missing)}", True
    for surplus in sorted(known - wanted):
        yield at, f"{called} describes a path parameter {surplus} that is not in its path", True
    for number, each in enumerate(sequence(operation.get("parameters"))):
        found = reader.followed(each)
        if found and not (name(found.get("name")) and name(found.get("in"))):
            yield (*at, "parameters", number), f"{called}: a parameter needs name and in", True


def _of_events(document: Map) -> Iterator[tuple[Path, str, bool]]:
    """Source: AsyncAPI 1, 2 and 3."""
    yield from _of_head(document)
    member = "topics" if "topics" in document else "channels"
    channels = document.get(member)
    is_third = name(document.get("asyncapi")).startswith("3")
    if channels is None and not is_third:
        yield (), f"there are no {member}", True
    elif channels is not None and not isinstance(channels, dict):
        yield (member,), f"{member} must be an object", True
    for key, value in mapping(channels).items():
        if not isinstance(value, dict):
            yield (member, key), f"channel {name(key)} must be an object", True
    for key, value in mapping(document.get("operations")).items():
        if mapping(value).get("action") not in ("send", "receive") and "$ref" not in mapping(value):
            yield ("operations", key), f"operation {name(key)} must send or receive", True
    yield from _of_references(Reader(document))


def _of_head(document: Map) -> Iterator[tuple[Path, str, bool]]:
    standards = [key for key in ("openapi", "swagger", "asyncapi") if key in document]
    if not standards:
        yield (), "it does not say by which standard it is written: openapi, swagger or asyncapi", True
    info = document.get("info")
    if not isinstance(info, dict):
        yield ("info",), "info is missing", True
        return
    for member in ("title", "version"):
        if not name(info.get(member)):
            yield ("info",), f"info.{member} is missing", True


def _of_references(reader: Reader) -> Iterator[tuple[Path, str, bool]]:
    """References that lead nowhere, or out of the document: those are not followed."""
    waiting: list[tuple[Path, Any]] = [((), reader.document)]
    left = _MOST_NODES
    while waiting and left > 0:
        path, value = waiting.pop()
        left -= 1
        if len(path) > _MOST_DEPTH:
            continue
        if isinstance(value, dict):
            reference = value.get("$ref")
            if isinstance(reference, str) and path[-1:] != ("properties",):
                if not reference.startswith("#"):
                    yield (*path, "$ref"), f"{name(reference)} is in another document, which is not read", False
                elif reader.at(reference) is None:
                    yield (*path, "$ref"), f"{name(reference)} leads nowhere", True
            waiting += [((*path, key), inner) for key, inner in value.items() if isinstance(inner, dict | list)]
        elif isinstance(value, list):
            waiting += [((*path, key), inner) for key, inner in enumerate(value) if isinstance(inner, dict | list)]


def _of_service(definition: Definition) -> Iterator[tuple[Path, str, bool]]:
    """Source: OData CSDL. Lines are not told: the model no longer knows them."""
    if not definition.operations:
        yield (), "there is no entity container with sets, functions or actions", True
    spaces = {called.rpartition(".")[0] for called in definition.schemas}
    named = [
        (operation.key, schema)
        for operation in definition.operations
        for content in operation.gives
        for schema in content.types.values()
    ]
    named += [
        (f"property {key} of {called}", inner)
        for called, schema in definition.schemas.items()
        for key, inner in schema.properties.items()
    ]
    for where, schema in named:
        kind = (schema.items if schema.items is not None else schema).reference
        # A namespace that is not declared here is that of another document.
        if kind and kind not in definition.schemas and kind.rpartition(".")[0] in spaces:
            yield (), f"{where} is of type {kind}, which is not declared", True
