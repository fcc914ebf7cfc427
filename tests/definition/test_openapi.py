"""OpenAPI documents. All kinds together: test_read.py."""

from compass.definition.model import Schema
from compass.definition.openapi import security
from compass.definition.read import read
from tests.definition.samples import OPENAPI_2, OPENAPI_31


def test_version_2_has_bodies_and_forms_among_its_parameters() -> None:
    found = read(OPENAPI_2)

    [operation] = found.operations
    assert found.servers == ("old.example/v1",)
    assert operation.takes is not None
    assert operation.takes.is_required
    assert operation.takes.types == {"application/json": Schema(reference="A")}
    assert [(one.name, one.place, one.schema.type) for one in operation.parameters] == [("f", "form", "string")]
    assert operation.gives[0].types == {"application/json": Schema(reference="A")}
    assert found.schemas["A"].properties["n"] == Schema(type="integer|null", format="int32")


def test_version_3_1_has_several_types() -> None:
    found = read(OPENAPI_31)

    assert found.version == "1.10"
    assert found.operations[0].parameters[0].schema == Schema(type="null|string", format="date")


def test_an_operation_that_says_nothing_needs_what_the_document_says() -> None:
    paths = "paths: {/a: {get: {}, put: {security: []}}}"
    first, second = read(f"openapi: 3.0.0\nsecurity: [{{key: []}}]\n{paths}").operations

    assert (first.security, second.security) == (frozenset({frozenset({"key"})}), frozenset())


def test_ways_in_are_schemes_that_are_needed_together() -> None:
    found = security([{"a": [], "b": ["x", "y"]}, {}, "nonsense"])

    assert found == {frozenset({"a", "b (x)", "b (y)"}), frozenset()}


def test_a_parameter_of_an_operation_replaces_that_of_its_path() -> None:
    text = """
openapi: 3.0.0
paths:
  /a:
    parameters: [{name: p, in: query, schema: {type: string}}, {name: q, in: query}]
    get:
      parameters: [{name: p, in: query, content: {application/json: {schema: {type: integer}}}}]
"""
    [operation] = read(text).operations

    assert [(one.name, one.schema.type) for one in operation.parameters] == [("p", "integer"), ("q", "")]
