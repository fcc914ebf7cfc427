"""Operations as commands: with a value for what is needed, and nothing that a shell or a header would take for more."""

import json
import shlex
from typing import Any

import pytest

from compass.console.sample import call
from compass.definition.read import of, read
from tests.console.conftest import HOSTILE
from tests.definition.samples import ASYNCAPI_2, EVERY, ODATA_4, OPENAPI_3

AT = "https://shop.example/v1/"


def calls(document: Any, at: str = AT) -> dict[str, list[str]]:
    """The words of each command, by operation."""
    found = of(document) if isinstance(document, dict) else read(document)
    return {one.key: shlex.split(call(one, found, at)) for one in found.operations}


def test_an_operation_is_called_with_what_it_needs() -> None:
    found = calls(OPENAPI_3)

    assert found["GET /orders"] == [
        "curl", "--request", "GET", "--url", "https://shop.example/v1/orders", "--header", "Accept: application/json"
    ]  # fmt: skip
    assert found["GET /orders/{id}"][4] == "https://shop.example/v1/orders/ID"
    posted = found["POST /orders"]
    assert posted[5:7] == ["--header", "Content-Type: application/json"]
    assert json.loads(posted[8])["state"] == "new"
    assert json.loads(posted[8])["total"] == 1


def test_values_fit_to_their_schemas() -> None:
    schema = {
        "type": "object",
        "properties": {
            "on": {"type": "boolean"},
            "day": {"type": "string", "format": "date"},
            "several": {"type": "array", "items": {"type": "integer"}},
            "either": {"oneOf": [{"type": "string", "format": "uuid"}, {"type": "integer"}]},
            "both": {"allOf": [{"properties": {"a": {"type": "string"}}}, {"properties": {"b": {"type": "number"}}}]},
        },
    }
    parameters = [
        {"name": "page", "in": "query", "required": True, "schema": {"type": "integer"}},
        {"name": "X-Trace", "in": "header", "required": True, "schema": {"type": "string"}},
        {"name": "may", "in": "query", "schema": {"type": "string"}},
    ]
    body = {"content": {"text/plain": {}, "application/json": {"schema": schema}}}
    found = calls({"openapi": "3.0.0", "paths": {"/a": {"put": {"parameters": parameters, "requestBody": body}}}})

    words = found["PUT /a"]
    assert (words[2], words[4]) == ("PUT", "https://shop.example/v1/a?page=1")
    assert "X-Trace: X-TRACE" in words
    assert json.loads(words[-1]) == {
        "on": True,
        "day": "2026-01-31",
        "several": [1],
        "either": "00000000-0000-4000-8000-000000000000",
        "both": {"a": "A", "b": 1},
    }


def test_entities_are_read_and_events_are_not_called() -> None:
    odata = calls(ODATA_4, "https://shop.example/odata")

    assert odata["entity set Orders"][2:5] == ["GET", "--url", "https://shop.example/odata/Orders?$top=5"]
    assert odata["singleton Me"][4] == "https://shop.example/odata/Me"
    assert set(map(tuple, calls(ASYNCAPI_2).values())) == {()}
    assert set(map(tuple, calls(OPENAPI_3, "").values())) == {()}


def test_whatever_it_says_is_one_request_and_nothing_else() -> None:
    evil = "a'; rm -rf / #$(id)`id`\r\nX-Evil: 1\n{}[]"
    thing = {"type": "string", "enum": [evil]}
    operation = {
        "parameters": [
            {"name": evil, "in": "header", "required": True, "schema": thing},
            {"name": "X-Good", "in": "header", "required": True, "schema": thing},
            {"name": evil, "in": "query", "required": True, "schema": thing},
            {"name": "p", "in": "path", "required": True, "schema": thing},
        ],
        "requestBody": {"content": {f"application/json\r\nX-Evil: 1{HOSTILE}": {"schema": thing}}},
        "responses": {"200": {"content": {HOSTILE: {}}}},
    }
    [words] = calls({"openapi": "3", "paths": {f"/{evil}{{p}}/-x": {"post": operation}}}).values()

    assert words[:4] == ["curl", "--request", "POST", "--url"]
    assert words[4].startswith("https://shop.example/v1/a'")
    assert not set(words[4]) & set(' {}[]\r\n"<>`')
    assert words[5::2] == ["--header"]
    assert words[6::2] == ["X-Good: a'; rm -rf / #$(id)`id` X-Evil: 1 {}[]"]


@pytest.mark.parametrize("name", EVERY)
def test_every_kind_has_commands_or_none(name: str) -> None:
    assert all(not words or words[0] == "curl" for words in calls(EVERY[name]).values())


def test_what_goes_in_circles_or_has_no_end_is_cut() -> None:
    wide = {"properties": {str(number): {"$ref": "#/components/schemas/A"} for number in range(50)}}
    schemas = {"A": wide, "B": {"$ref": "#/components/schemas/B"}}
    body = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/A"}}}}
    found = calls(
        {"openapi": "3.0.0", "paths": {"/a": {"post": {"requestBody": body}}}, "components": {"schemas": schemas}}
    )

    assert len(" ".join(found["POST /a"])) < 3000
