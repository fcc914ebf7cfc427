"""OpenAPI documents. Source: OpenAPI 2.0, 3.0, 3.1."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from compass.definition.model import Content, Definition, Operation, Parameter, Schema
from compass.definition.schemas import MOST_NAME, Map, Reader, is_true, mapping, name, sequence, text

METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
MOST_OPERATIONS: Final = 5000


def read(document: Map) -> Definition:
    """The model of an OpenAPI document, however little of one it is."""
    reader = Reader(document)
    is_old = "swagger" in document
    standard = f"OpenAPI {name(document.get('swagger') or document.get('openapi'))}"
    return described(reader, standard, _servers(document), _operations(reader, is_old=is_old))


def described(reader: Reader, standard: str, servers: Iterator[str], operations: Iterator[Operation]) -> Definition:
    """The model of a document that says in `info` what it is, as those of OpenAPI and AsyncAPI do."""
    info = mapping(reader.document.get("info"))
    taken = tuple(islice(operations, MOST_OPERATIONS))
    return Definition(
        standard=standard.strip(),
        title=name(info.get("title")),
        version=name(info.get("version")),
        text=text(info.get("description")),
        servers=tuple(servers),
        operations=taken,
        schemas=reader.schemas(),
        is_cut=reader.is_cut or len(taken) == MOST_OPERATIONS,
    )


def _servers(document: Map) -> Iterator[str]:
    for server in sequence(document.get("servers"))[:20]:
        yield name(mapping(server).get("url"))
    if "host" in document:
        yield f"{name(document['host'])}{name(document.get('basePath'))}"


def _operations(reader: Reader, *, is_old: bool) -> Iterator[Operation]:
    for place, given in reader.each(reader.document.get("paths")):
        item = reader.followed(given)
        shared = [reader.followed(each) for each in sequence(item.get("parameters"))]
        for method in METHODS:
            if isinstance(item.get(method), dict) and reader.spend():
                yield _operation(reader, method, place, item[method], shared, is_old=is_old)


def _operation(reader: Reader, method: str, place: str, given: Map, shared: list[Map], *, is_old: bool) -> Operation:
    own = [reader.followed(each) for each in sequence(given.get("parameters"))]
    known: dict[tuple[str, str], Map] = {}
    for each in (*shared, *own):
        if reader.spend():
            known[name(each.get("in")), name(each.get("name"))] = each
    body = next((each for (where, _), each in known.items() if where == "body"), None)
    takes = _old_body(reader, given, body) if is_old else _content(reader, "body", given.get("requestBody"))
    return Operation(
        verb=method.upper(),
        place=place,
        name=name(given.get("operationId")),
        summary=name(given.get("summary")),
        text=text(given.get("description")),
        tags=tuple(name(each) for each in sequence(given.get("tags"))[:20]),
        parameters=tuple(_parameter(reader, each) for (where, _), each in known.items() if where != "body"),
        takes=takes,
        gives=tuple(_answers(reader, given, is_old=is_old)),
        security=security(given.get("security", reader.document.get("security"))),
        is_deprecated=is_true(given.get("deprecated")),
    )


def _parameter(reader: Reader, given: Map) -> Parameter:
    place = name(given.get("in"))
    schema = reader.schema(given.get("schema", given))
    if "schema" not in given and not mapping(given.get("content")):
        # OpenAPI 2 writes a parameter and its schema into one object, where `required` is said of the parameter.
        schema = replace(schema, required=frozenset(), text="")
    for each in mapping(given.get("content")).values():
        schema = reader.schema(mapping(each).get("schema"))
        break
    return Parameter(
        name=name(given.get("name")),
        place="form" if place == "formData" else place,
        schema=schema,
        is_required=is_true(given.get("required")) or place == "path",
        is_deprecated=is_true(given.get("deprecated")),
        text=text(given.get("description"), MOST_NAME),
    )


def _old_body(reader: Reader, given: Map, body: Map | None) -> Content | None:
    if body is None:
        return None
    types = sequence(given.get("consumes", reader.document.get("consumes"))) or ["application/json"]
    schema = reader.schema(body.get("schema"))
    return Content("body", text(body.get("description")), _of_types(types, schema), is_true(body.get("required")))


def _content(reader: Reader, called: str, given: Any) -> Content | None:
    if not isinstance(given, dict):
        return None
    found = reader.followed(given)
    types = {key: reader.schema(mapping(each).get("schema")) for key, each in reader.each(found.get("content"))}
    return Content(called, text(found.get("description")), types, is_true(found.get("required")))


def _answers(reader: Reader, given: Map, *, is_old: bool) -> Iterator[Content]:
    for status, each in reader.each(given.get("responses")):
        if status.startswith("x-"):
            continue
        content = _content(reader, status, each) or Content(status)
        if is_old:
            found = reader.followed(each)
            types = sequence(given.get("produces", reader.document.get("produces"))) or ["application/json"]
            if "schema" in found:
                content = replace(content, types=_of_types(types, reader.schema(found["schema"])))
        yield content


def _of_types(types: list[Any], schema: Schema) -> dict[str, Schema]:
    return {name(each): schema for each in types[:20]}


def security(given: object) -> frozenset[frozenset[str]]:
    """The ways in, each a set of schemes with their scopes; an empty way is a way without any."""
    ways = set[frozenset[str]]()
    for way in sequence(given)[:50]:
        schemes = set[str]()
        for scheme, scopes in list(mapping(way).items())[:20]:
            wanted = [name(scope) for scope in sequence(scopes)[:50]]
            schemes |= {f"{name(scheme)} ({scope})" for scope in wanted} or {name(scheme)}
        ways.add(frozenset(schemes))
    return frozenset(ways)
