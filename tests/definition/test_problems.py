"""What is wrong with a specification, and where."""

import json
from typing import Any

import pytest

from compass.definition.problems import MOST_PROBLEMS, Problem, problems
from compass.definition.text import Unreadable
from tests.definition.samples import ASYNCAPI_1, ASYNCAPI_2, ASYNCAPI_3, ODATA_2, ODATA_4, OPENAPI_2, OPENAPI_3

UNTOLD = "it does not say by which standard it is written: openapi, swagger or asyncapi"
HEAD = "openapi: 3.0.0\ninfo: {title: t, version: '1'}\n"


@pytest.mark.parametrize(
    "text", [json.dumps(OPENAPI_3), OPENAPI_2, ASYNCAPI_1, ASYNCAPI_2, ASYNCAPI_3, ODATA_2, ODATA_4]
)
def test_what_is_right_has_no_problem(text: str) -> None:
    assert problems(text) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (HEAD, [(1, "paths must be an object")]),
        (HEAD + "paths: []", [(3, "paths must be an object")]),
        (HEAD + "paths:\n  orders: {}", [(4, "path orders must begin with /")]),
        (HEAD + "paths:\n  /a: []", [(4, "path /a must be an object")]),
        (HEAD + "paths:\n  /a:\n    get: x", [(5, "GET /a must be an object")]),
        (HEAD + "paths:\n  /a:\n    get: {}", [(5, "GET /a has no responses")]),
        (
            HEAD + "paths:\n  /a/{b}:\n    get: {responses: {200: {}}}",
            [(5, "GET /a/{b} does not describe its path parameter b")],
        ),
        (
            HEAD + "paths:\n  /a:\n    get:\n      parameters: [{name: b, in: path}]\n      responses: {200: {}}",
            [(5, "GET /a describes a path parameter b that is not in its path")],
        ),
        (
            HEAD + "paths:\n  /a:\n    get:\n      parameters:\n      - {in: query}\n      responses: {200: {}}",
            [(7, "GET /a: a parameter needs name and in")],
        ),
        (
            HEAD + "paths:\n  /a:\n    get: &a\n      operationId: x\n      responses: {200: {}}\n"
            "    put:\n      operationId: x\n      responses: {200: {}}",
            [(9, "operationId x is also that of GET /a")],
        ),
        (
            HEAD + "paths:\n  /a:\n    get:\n      responses:\n        200:\n          $ref: '#/components/x'",
            [(8, "#/components/x leads nowhere")],
        ),
        ("openapi: 3.0.0\npaths: {}", [(1, "info is missing")]),
        ("openapi: 3.0.0\ninfo: {}\npaths: {}", [(2, "info.title is missing"), (2, "info.version is missing")]),
        (
            "paths: {}\ninfo: {title: t, version: '1'}",
            [(1, UNTOLD)],
        ),
        ("asyncapi: 2.0.0\ninfo: {title: t, version: '1'}", [(1, "there are no channels")]),
        ("asyncapi: 2.0.0\ninfo: {title: t, version: '1'}\nchannels: x", [(3, "channels must be an object")]),
        ("asyncapi: 2.0.0\ninfo: {title: t, version: '1'}\nchannels:\n  a: x", [(4, "channel a must be an object")]),
        (ASYNCAPI_3.replace("action: send", "action: sing"), [(9, "operation tell must send or receive")]),
        (
            ODATA_4.replace('EntityType="Self.Order"', 'EntityType="Self.Other"'),
            [(0, "entity set Orders is of type shop.Other, which is not declared")],
        ),
        (
            ODATA_4.replace('Name="Note" Type="Edm.String"', 'Name="Note" Type="Self.Note"'),
            [(0, "property Note of shop.Order is of type shop.Note, which is not declared")],
        ),
    ],
)
def test_each_problem_is_told_with_its_line(text: str, found: list[tuple[int, str]]) -> None:
    assert [(one.line, one.sentence) for one in problems(text)] == found
    assert all(one.is_error for one in problems(text))


def test_lines_of_json_are_known_too() -> None:
    text = json.dumps({**OPENAPI_3, "paths": {"/a": {"get": {}}}}, indent=2)

    [problem] = problems(text)

    assert text.splitlines()[problem.line - 1].strip() == '"get": {}'


def test_another_document_is_a_warning_because_it_is_not_read() -> None:
    text = HEAD + "paths:\n  /a: {$ref: 'https://evil.example/a.yaml'}"

    assert problems(text) == [
        Problem("https://evil.example/a.yaml is in another document, which is not read", 4, is_error=False)
    ]


def test_types_of_another_service_are_no_problem() -> None:
    assert problems(ODATA_4.replace('Type="shop.Order"', 'Type="other.Thing"')) == []


def test_no_document_has_no_problems_but_is_refused() -> None:
    with pytest.raises(Unreadable):
        problems("a: [")


def test_very_many_problems_are_cut() -> None:
    paths: dict[str, Any] = {f"/{number}": {"get": {}} for number in range(500)}

    assert len(problems(json.dumps({**OPENAPI_3, "paths": paths}))) == MOST_PROBLEMS
