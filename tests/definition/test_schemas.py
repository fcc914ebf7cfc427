"""JSON schemas, and references within a document. What is hostile: test_read.py."""

import pytest

from compass.definition.model import ANYTHING, Schema
from compass.definition.schemas import MOST_NAME, MOST_PARTS, Reader, name, pieces, text


def schema(given: object) -> Schema:
    return Reader({}).schema(given)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, ANYTHING),
        ("nonsense", ANYTHING),
        ({"type": ["string", "null"]}, Schema(type="null|string")),
        ({"type": "string", "nullable": True}, Schema(type="null|string")),
        ({"properties": {"a": {"type": "string"}}}, Schema(type="object", properties={"a": Schema(type="string")})),
        ({"items": {"type": "string"}}, Schema(type="array", items=Schema(type="string"))),
        ({"enum": ["a", 1, None, True]}, Schema(enum=("a", "1", "null", "true"))),
        ({"const": "a"}, Schema(enum=("a",))),
        ({"additionalProperties": {"type": "string"}}, Schema(values=Schema(type="string"))),
        ({"additionalProperties": False}, ANYTHING),
        ({"oneOf": [{"type": "string"}], "anyOf": [{}]}, Schema(choices=(Schema(type="string"), ANYTHING))),
        ({"$ref": "#/components/schemas/A", "type": "string"}, Schema(reference="A")),
        ({"required": ["a", 1]}, Schema(required=frozenset({"a"}))),
        ({"title": "T", "deprecated": True}, Schema(text="T", is_deprecated=True)),
    ],
)
def test_a_schema_says_what_a_value_looks_like(given: object, found: Schema) -> None:
    assert schema(given) == found


def test_schemas_of_the_same_name_are_told_apart() -> None:
    document = {"components": {"schemas": {"A": {"type": "string"}}}, "x": {"A": {"type": "integer"}}}
    reader = Reader(document)

    near, far = reader.schema({"$ref": "#/components/schemas/A"}), reader.schema({"$ref": "#/x/A"})

    assert (near.reference, far.reference) == ("A", "#/x/A")
    assert {key: one.type for key, one in reader.schemas().items()} == {"A": "string", "#/x/A": "integer"}


def test_names_in_a_pointer_are_spelt_out() -> None:
    reader = Reader({"paths": {"/a/{b}": {"~": ["x", {"y": 1}]}}})

    assert pieces("#/paths/~1a~1%7Bb%7D/~0/1") == ("paths", "/a/{b}", "~", "1")
    assert reader.at("#/paths/~1a~1%7Bb%7D/~0/1") == {"y": 1}
    assert [reader.at(pointer) for pointer in ("#/x", "#/paths/~1a~1%7Bb%7D/~0/7", "https://x", "#x")] == [None] * 4
    assert reader.at("#") is reader.document


def test_what_is_long_is_cut_and_what_is_many_ends() -> None:
    assert (len(name("a" * 1000)), len(text("a" * 5000))) == (MOST_NAME, 2000)
    assert (name(" a\n b "), text({"a": 1}), text([1]), text(True), text(None)) == ("a b", "", "", "true", "")
    reader = Reader({})

    found = reader.schema({"properties": {str(number): {"type": "string"} for number in range(MOST_PARTS + 10)}})

    assert (len(found.properties) < MOST_PARTS, reader.is_cut) == (True, True)
