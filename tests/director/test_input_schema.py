"""JSON Schemas that users give are checked in bounded time, and ask nobody."""

import json
import time
from typing import Any

import pytest

from compass.director import input_schema
from compass.errors import InvalidData, Refused

PERSON = {
    "type": "object",
    "properties": {"id": {"type": "string", "pattern": "^[a-z]+$"}, "friend": {"$ref": "#/$defs/name"}},
    "required": ["id"],
    "$defs": {"name": {"type": "string"}, "a/b~c": {"$ref": "#/$defs/name"}},
    "allOf": [{"$ref": "#/$defs/a~1b~0c"}, {"$ref": "#/$defs/name"}],
}


@pytest.mark.parametrize(
    "schema",
    [
        PERSON,
        True,
        {},
        {"$schema": "http://json-schema.org/draft-07/schema#", "$id": "https://example.com/mine", "type": "object"},
        {"properties": {"$ref": {"type": "string"}, "$id": {"type": "string"}}},
    ],
)
def test_an_ordinary_schema_is_accepted(schema: Any) -> None:
    assert input_schema.valid_schema(json.dumps(schema)) is None


def bomb(levels: int) -> dict[str, Any]:
    parts: dict[str, Any] = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/a0", "$defs": {**parts, f"a{levels}": {"type": "string"}}}


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "nonsense"}, "\"nonsense\" is not valid under any of the schemas listed in the 'anyOf' keyword"),
        (
            {"$ref": "http://127.0.0.1:1/x"},
            "the reference http://127.0.0.1:1/x is not a JSON pointer into the schema itself",
        ),
        (
            {"$ref": "file:///etc/passwd"},
            "the reference file:///etc/passwd is not a JSON pointer into the schema itself",
        ),
        ({"$ref": "#/nowhere"}, "the reference #/nowhere leads nowhere"),
        ({"$ref": "#"}, "# refers to itself"),
        ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, "#/$defs/a refers to itself"),
        ({"properties": {"a": {"allOf": [{"$ref": "#"}] * 2}}}, "# refers to itself"),
        ({"$dynamicRef": "#x"}, "$dynamicRef is not supported"),
        ({"not": {"$id": "https://example.com/other", "$ref": "#/x"}}, "$id is not supported"),
        (
            {"$ref": "#/%24defs/a", "%24defs": {"a": {}}},
            "the reference #/%24defs/a is not a JSON pointer into the schema itself",
        ),
        ({"$schema": "http://json-schema.org/draft-04/schema#", "not": {"id": "http://a/"}}, "id is not supported"),
        (bomb(16), "with its references replaced it has more than 20000 parts"),
        (json.loads('{"not":' * 70 + "{}" + "}" * 70), "it is nested deeper than 64 levels"),
        ([], "it is neither an object nor a boolean"),
    ],
)
def test_a_schema_that_is_wrong_or_boundless_is_refused(schema: Any, problem: str) -> None:
    assert input_schema.valid_schema(json.dumps(schema)) == f"must be a valid JSON Schema: {problem}"


def test_a_meta_schema_is_not_fetched() -> None:
    problem = input_schema.valid_schema('{"$schema": "http://127.0.0.1:1/meta"}')

    assert problem is not None
    assert "127.0.0.1" in problem


@pytest.mark.parametrize("text", ["", "{", "{" * 2000, " " * (64 * 1024) + "{}", '{"pattern": "(?=a)b"}'])
def test_what_is_no_schema_is_refused(text: str) -> None:
    assert str(input_schema.valid_schema(text)).startswith("must be a valid JSON Schema: ")


def test_parameters_that_are_missing_or_do_not_fit_are_refused() -> None:
    schema = '{"type": "object", "required": ["id"]}'

    input_schema.require(None, None)
    input_schema.require(None, '{"any": "thing"}')
    input_schema.require(schema, '{"id": 1}')
    with pytest.raises(InvalidData, match="no input parameters were provided"):
        input_schema.require(schema, None)
    with pytest.raises(Refused, match='do not satisfy the bundle\'s JSON schema: "id" is a required property'):
        input_schema.require(schema, "{}")


def test_a_pattern_written_to_hurt_costs_nothing() -> None:
    began = time.process_time()

    with pytest.raises(Refused):
        input_schema.require('{"pattern": "^(a+)+$"}', json.dumps("a" * 60_000 + "b"))

    assert time.process_time() - began < 5


def test_parameters_have_a_limit_in_bytes() -> None:
    assert input_schema.small_json('"' + "x" * (64 * 1024 - 2) + '"') is None
    assert input_schema.small_json('"' + "é" * (32 * 1024) + '"') == "must be no larger than 65536 bytes"
    assert input_schema.small_json("{") == "must be valid JSON"


PLAN = json.dumps(
    {
        "type": "object",
        "properties": {"id": {"pattern": "^[a-z]+$"}, "a/b": {"items": {"type": "integer"}}},
        "required": ["id"],
    }
)


@pytest.mark.parametrize(
    ("schema", "parameters", "expected"),
    [
        (None, None, []),
        (PLAN, None, [("", "no input parameters were given")]),
        (PLAN, "{", [("", "the input parameters are no JSON")]),
        (PLAN, '{"id": "ann"}', []),
        (PLAN, '{"id": "Ann"}', [("/id", '"Ann" does not match "^[a-z]+$"')]),
        (PLAN, '{"id": "a", "a/b": [1, "x"]}', [("/a~1b/1", '"x" is not of type "integer"')]),
        (PLAN, "{}", [("", '"id" is a required property')]),
    ],
)
def test_what_does_not_fit_is_pointed_at(
    schema: str | None, parameters: str | None, expected: list[tuple[str, str]]
) -> None:
    assert input_schema.misfits(schema, parameters) == expected


def test_of_much_that_does_not_fit_the_first_hundred_are_named() -> None:
    schema = json.dumps({"items": {"type": "integer"}})

    assert len(input_schema.misfits(schema, json.dumps(["x"] * 1000))) == 100
