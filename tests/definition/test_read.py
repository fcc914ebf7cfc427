"""Definitions of every kind, read into one model within limits."""

import json
import os
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compass.definition import show
from compass.definition.changes import changes
from compass.definition.model import Operation
from compass.definition.problems import problems
from compass.definition.read import of, read
from compass.definition.text import Unreadable
from tests.definition.samples import EVERY, OPENAPI_3, UNREADABLE

CPU_SECONDS = 20
"""What a hostile text may cost at the very most, on a machine that is busy; it is about two."""


def keys(text: str) -> list[str]:
    return [operation.key for operation in read(text).operations]


@pytest.mark.parametrize(
    ("kind", "standard", "operations"),
    [
        ("OpenAPI 3.0", "OpenAPI 3.0.3", ["GET /orders", "POST /orders", "GET /orders/{id}"]),
        ("OpenAPI 3.1", "OpenAPI 3.1.0", ["GET /prices"]),
        ("OpenAPI 2", "OpenAPI 2.0", ["POST /a"]),
        ("AsyncAPI 1", "AsyncAPI 1.2.0", ["publish hitch.signup"]),
        ("AsyncAPI 2", "AsyncAPI 2.6.0", ["subscribe order/{id}/made", "channel silence"]),
        ("AsyncAPI 3", "AsyncAPI 3.0.0", ["send order/made", "channel a/b"]),
        ("OData 4", "OData 4.0", ["entity set Orders", "singleton Me", "function Best"]),
        ("OData 2", "OData 2.0", ["entity set Orders", "function Best"]),
        ("OData JSON", "OData 4.01", ["entity set Orders"]),
    ],
)
def test_every_kind_says_what_it_is_and_offers(kind: str, standard: str, operations: list[str]) -> None:
    assert (read(EVERY[kind]).standard, keys(EVERY[kind])) == (standard, operations)


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_says_so_and_does_no_harm(text: str) -> None:
    began = time.process_time()

    with pytest.raises(Unreadable) as refused:
        read(text)

    assert time.process_time() - began < CPU_SECONDS
    assert "root:" not in str(refused.value)
    assert len(str(refused.value)) < 400


def wide(size: int) -> dict[str, Any]:
    """Everything refers to everything."""
    names = [f"S{number}" for number in range(size)]
    every = {name: {"$ref": f"#/components/schemas/{name}"} for name in names}
    return {name: {"properties": every, "allOf": [*every.values()]} for name in names}


HARMLESS = {
    "a circle of references": {"a": {"$ref": "#/components/schemas/b"}, "b": {"$ref": "#/components/schemas/a"}},
    "a reference to itself": {"a": {"$ref": "#/components/schemas/a"}},
    "parts of itself": {"a": {"allOf": [{"$ref": "#/components/schemas/a"}, {"$ref": "#/components/schemas/a"}]}},
    "a reference to everything": {"a": {"$ref": "#"}},
    "a chain": {f"c{number}": {"items": {"$ref": f"#/components/schemas/c{number + 1}"}} for number in range(1500)},
    "a long reference": {"a": {"$ref": "#" + "/a" * 100_000}},
    "far away": {"a": {"$ref": "https://evil.example/x"}, "b": {"$ref": "file:///etc/passwd"}},
}


@pytest.mark.parametrize("schemas", [*HARMLESS.values(), wide(150)], ids=[*HARMLESS, "wide"])
def test_circles_and_crowds_end(schemas: dict[str, Any]) -> None:
    document = {**OPENAPI_3, "components": {"schemas": schemas}}
    answer = {"200": {"content": {name: {"schema": {"$ref": f"#/components/schemas/{name}"}} for name in schemas}}}
    text = json.dumps({**document, "paths": {"/x": {"get": {"responses": answer}}, "/y": {"$ref": "#/paths/~1y"}}})
    began = time.process_time()

    found = read(text)
    assert [change for change in changes(found, found) if change.is_breaking] == []
    changes(read(json.dumps(OPENAPI_3)), found)
    assert len("\n".join(show.lines(found))) < 10_000_000
    problems(text)

    assert time.process_time() - began < CPU_SECONDS


def test_many_paths_that_share_one_long_part_end() -> None:
    shared = {"parameters": [{"name": f"p{number}", "in": "query"} for number in range(5000)]}
    item = {**shared, **dict.fromkeys(("get", "put", "post"), shared)}
    paths = {f"/{number}": {"$ref": "#/x-shared"} for number in range(5000)}
    began = time.process_time()

    found = of({"openapi": "3.0.0", "paths": paths, "x-shared": item})

    assert found.is_cut
    assert time.process_time() - began < CPU_SECONDS


def test_a_text_of_ten_megabytes_is_read() -> None:
    paths = {f"/{number}": {"get": {"summary": "s" * 2000}} for number in range(4900)}
    began = time.process_time()

    found = read(json.dumps({"openapi": "3.0.0", "paths": paths}))

    assert time.process_time() - began < CPU_SECONDS
    assert (len(found.operations), found.is_cut) == (4900, False)
    assert len(found.operations[0].summary) == 300


NAMES = [
    "openapi",
    "swagger",
    "asyncapi",
    "info",
    "title",
    "paths",
    "/a",
    "get",
    "parameters",
    "name",
    "in",
    "schema",
    "$ref",
    "type",
    "properties",
    "required",
    "items",
    "allOf",
    "oneOf",
    "enum",
    "responses",
    "content",
    "200",
    "requestBody",
    "components",
    "schemas",
    "definitions",
    "channels",
    "topics",
    "publish",
    "subscribe",
    "message",
    "payload",
    "operations",
    "action",
    "channel",
    "messages",
    "address",
    "servers",
    "security",
    "tags",
    "$Version",
    "$EntityContainer",
    "$Kind",
    "$Type",
    "baseTopic",
    "additionalProperties",
    "const",
    "description",
    "default",
    "body",
]
LEAVES = st.sampled_from(["#", "#/paths", "object", "$ref"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=40,
)


@settings(max_examples=2000 if os.environ.get("COMPASS_PROOF") else 100, deadline=None)
@given(JSON, JSON)
def test_whatever_a_document_holds_it_is_read_compared_and_checked(one: Any, other: Any) -> None:
    found = []
    for document in (one, other):
        try:
            found.append(of(document))
            text = json.dumps(document)
            "\n".join(show.lines(read(text)))
            problems(text)
        except Unreadable:
            pass
    if len(found) == 2:
        changes(*found)
        assert changes(found[0], found[0]) == []


def test_an_operation_says_what_it_takes_and_gives() -> None:
    first, second, third = read(json.dumps(OPENAPI_3)).operations

    assert [(one.place, one.name, one.is_required, one.schema.type) for one in first.parameters] == [
        ("query", "limit", False, "integer"),
        ("header", "X-Trace", False, "string"),
    ]
    [answer] = first.gives
    items = answer.types["application/json"].items
    assert (answer.name, answer.text, items and items.reference) == ("200", "all", "Order")
    assert second.takes is not None
    assert second.takes.types["application/json"].reference == "Order"
    assert [content.text for content in second.gives] == ["made"]
    assert [(one.name, one.is_required) for one in third.parameters] == [("id", True)]
    assert third == Operation("GET", "/orders/{id}", parameters=third.parameters, gives=third.gives)
