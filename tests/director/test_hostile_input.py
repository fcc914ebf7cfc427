"""Input that is huge, deep or written to hurt is refused, or answered, at a cost that is bounded."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.director import catalogue

MEGABYTE = 1024 * 1024
FILTERED = """query ($filter: [LabelFilter!]) {
  applications(filter: $filter) { totalCount } runtimes(filter: $filter) { totalCount }
}"""
LABEL = """mutation ($id: ID!, $key: String!, $value: Any!) {
  result: setApplicationLabel(applicationID: $id, key: $key, value: $value) { key }
}"""
MOST_SECONDS = 8.0
"""Of this process's own work: far more than any of these takes, far less than what they were written to cost."""


@contextmanager
def bounded() -> Iterator[None]:
    started = time.process_time()
    yield
    assert time.process_time() - started < MOST_SECONDS


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    "cursor", ["A" * 5 * MEGABYTE, "=" * MEGABYTE, "%" * MEGABYTE, "RHBLdEo0ajlqRHE5" + "OTk5" * MEGABYTE]
)
async def test_a_huge_cursor_is_refused(director: Any, cursor: str) -> None:
    with bounded():
        error = await director.refusal(
            "query ($after: PageCursor) { applications(after: $after) { totalCount } }", after=cursor
        )

    assert "reason: cursor is not correct]" in error["message"]
    assert len(error["message"]) < 200


@pytest.mark.parametrize("key", ["tier", "scenarios", "global_subaccount_id"])
@pytest.mark.parametrize(
    "query",
    [
        nested(100_000), nested(1000), '{"a":' * 50_000 + "1" + "}" * 50_000, "9" * 5 * MEGABYTE + "x",
        '"' + "a" * 5 * MEGABYTE,
        '$[*] ? (@ == "a"' + ' || @ == "a"' * 100_000, "$[*] ? (" + "(" * MEGABYTE, "\x00", '"\\ud800"',
    ],
    ids=["deep list", "list", "deep object", "number", "open text", "open path", "parentheses", "nul", "half a pair"],
)  # fmt: skip
async def test_a_filter_that_is_no_query_is_refused(director: Any, key: str, query: str) -> None:
    with bounded():
        error = await director.refusal(FILTERED, filter=[{"key": key, "query": query}])

    assert error["extensions"]["error_code"] == 10
    assert f"the query of a filter on {key} must" in error["message"]
    assert len(error["message"]) < 600


@pytest.mark.parametrize(
    "filters",
    [
        [{"key": "tier", "query": '"' + "a" * 5 * MEGABYTE + '"'}],
        [{"key": "tier", "query": "[" + "1," * MEGABYTE + "1]"}],
        [{"key": "tier", "query": nested(200)}],
        [{"key": "scenarios", "query": "$[*] ? (" + " || ".join(f'@ == "a{n}"' for n in range(20_000)) + ")"}],
        [{"key": f"k{n}", "query": '"a"'} for n in range(20_000)],
        [{"key": f"k{n}"} for n in range(20_000)],
        [{"key": "k" * 5 * MEGABYTE}],
    ],
    ids=["text", "list", "deep", "names", "filters", "keys", "key"],
)  # fmt: skip
async def test_a_huge_filter_is_answered_in_bounded_time(director: Any, filters: list[dict[str, str]]) -> None:
    for number in range(20):
        await catalogue.register(director, f"app-{number}", labels={"tier": "gold"})

    with bounded():
        answer = await director(FILTERED, filter=filters)

    if "errors" in answer:
        assert "at most 50 are taken at once]" in answer["errors"][0]["message"]
    else:
        assert answer["data"] == {"applications": {"totalCount": 0}, "runtimes": {"totalCount": 0}}


@pytest.mark.parametrize("key", ["k" * 257, "k" * MEGABYTE])
async def test_a_label_key_that_no_label_can_have_is_refused(director: Any, key: str) -> None:
    application = await catalogue.register(director)

    alone = await director.refusal(LABEL, id=application, key=key, value="x")
    registered = await director.refusal(
        "mutation ($in: ApplicationRegisterInput!) { registerApplication(in: $in) { id } }",
        **{"in": {"name": "a", "labels": {key: "x"}}},
    )

    assert alone["message"] == "Invalid data LabelInput [key=the length must be no more than 256]"
    assert registered["message"] == (
        "Invalid data ApplicationRegisterInput [labels=the length of a label key must be no more than 256]"
    )


async def test_a_label_of_many_megabytes_is_kept_as_it_is(director: Any) -> None:
    application = await catalogue.register(director)
    value = {"text": "é" * MEGABYTE, "list": list(range(100_000))}

    with bounded():
        await director.data(LABEL, id=application, key="large", value=value)
        shown = await director.data(
            'query ($id: ID!) { application(id: $id) { labels(key: "large") } }', id=application
        )

    assert shown["application"]["labels"] == {"large": value}


@pytest.mark.parametrize(
    "schema",
    [
        nested(100_000), '{"a":' * 50_000 + "1" + "}" * 50_000, '"' + "a" * 5 * MEGABYTE + '"',
        '{"properties": {"a": {"$ref": "#"}}}', '{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}',
        '{"$ref": "http://127.0.0.1:9/schema"}', '{"allOf": [' + ",".join(["{}"] * 30_000) + "]}", "{",
    ],
    ids=["deep list", "deep object", "text", "itself", "loop", "elsewhere", "many", "open"],
)  # fmt: skip
async def test_a_schema_that_cannot_be_checked_is_refused(director: Any, schema: str) -> None:
    application = await catalogue.register(director)

    with bounded():
        error = await director.refusal(
            catalogue.ADD_BUNDLE, app=application, **{"in": {"name": "b", "instanceAuthRequestInputSchema": schema}}
        )

    assert error["extensions"]["error_code"] in (10, 22)
    assert len(error["message"]) < 600


@pytest.mark.parametrize("format_", ["JSON", "YAML"])
async def test_an_inline_specification_larger_than_five_megabytes_is_refused_and_one_below_is_kept(
    director: Any, format_: str
) -> None:
    application = await catalogue.register(director)
    bundle = await catalogue.bundle(director, application)
    api = {"name": "a", "targetURL": "https://a.example/"}

    with bounded():
        error = await director.refusal(
            catalogue.ADD_API,
            bundle=bundle,
            **{"in": {**api, "spec": {"type": "OPEN_API", "format": format_, "data": "x" * (5 * MEGABYTE + 1)}}},
        )
        # A specification is kept as it is sent: one that is a bomb to those who read it costs nothing here.
        bomb = "a: &a [x]\n" + "".join(f"b{n}: &b{n} [*a, *a]\n" for n in range(1000)) + "#" * (4 * MEGABYTE)
        added = await director.data(
            catalogue.ADD_API,
            bundle=bundle,
            **{"in": {**api, "spec": {"type": "OPEN_API", "format": format_, "data": bomb}}},
        )

    assert error["message"] == "Invalid data APIDefinitionInput [spec.data=must be no larger than 5242880 bytes]"
    assert added["result"]["spec"]["data"] == bomb


async def test_a_search_of_many_megabytes_finds_nothing(director: Any) -> None:
    with bounded():
        found = await director.data("query ($t: String) { tenants(searchTerm: $t) { totalCount } }", t="ä" * MEGABYTE)

    assert found["tenants"]["totalCount"] == 0


@pytest.mark.parametrize("field", ["externalTenant", "name"])
async def test_a_tenant_with_an_endless_name_is_refused_or_kept_and_no_defect(director: Any, field: str) -> None:
    given = {"name": "n", "externalTenant": "e", "type": "account", "provider": "p"}
    endless = "".join(str(number) for number in range(100_000))

    answer = await director(
        "mutation ($in: BusinessTenantMappingInput!) { writeTenant(in: $in) }", **{"in": {**given, field: endless}}
    )

    assert "errors" not in answer or answer["errors"][0]["extensions"]["error_code"] == 22, answer
