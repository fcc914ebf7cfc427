"""Specifications before they are sent: their kind, their lines, what they change."""

import json
from dataclasses import replace

import pytest

from compass.console.specification import MOST_BYTES, Looked, changed, digest, looked_at, to_fetch
from tests.definition.samples import ASYNCAPI_3, EVERY, OPENAPI_3, UNREADABLE


@pytest.mark.parametrize("name", EVERY)
def test_every_kind_is_known_by_its_text(name: str) -> None:
    found = looked_at(EVERY[name], is_event=name.startswith("AsyncAPI"))

    kinds = {"OpenAPI": "OPEN_API", "AsyncAPI": "ASYNC_API", "OData": "ODATA"}
    form = {"<": "XML", "{": "JSON"}.get(EVERY[name][0], "YAML")
    assert (found.type, found.form, found.is_too_long) == (kinds[name.split(maxsplit=1)[0]], form, False)
    assert found.said.startswith(name.split(maxsplit=1)[0])
    assert found.errors == 0


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_says_why_in_a_few_lines(name: str) -> None:
    found = looked_at(UNREADABLE[name], is_event=False)

    assert (found.said, found.errors) == ("", 1)
    assert found.wrong[0].sentence[0].isupper() or not found.wrong[0].sentence[0].isalpha()
    # However long the lines of the text are.
    assert sum(len(text) for _, text in found.wrong[0].lines) <= 7 * 200


def test_the_lines_around_what_is_wrong_come_with_their_numbers() -> None:
    text = "".join(f"a{number}: 1\n" for number in range(1, 11)) + "b: [\n"

    [wrong] = looked_at(text, is_event=False).wrong

    assert wrong.line == 12
    assert [number for number, _ in wrong.lines] == [9, 10, 11, 12]
    assert wrong.lines[:3] == ((9, "a9: 1"), (10, "a10: 1"), (11, "b: ["))
    [early] = looked_at("a: 1\nb: [", is_event=False).wrong
    assert (early.line, early.lines) == (2, ((1, "a: 1"), (2, "b: [")))
    first = looked_at("[1", is_event=False).wrong[0]
    assert (first.line, first.lines) == (1, ((1, "[1"),))


def test_what_is_wrong_in_a_readable_text_is_listed_with_its_lines() -> None:
    text = "openapi: 3.0.0\ninfo: {title: a, version: '1'}\npaths:\n  a: {}\n  b: {}\n"

    found = looked_at(text, is_event=False)

    assert [(one.line, one.sentence) for one in found.wrong] == [
        (4, "Path a must begin with /"),
        (5, "Path b must begin with /"),
    ]
    assert found.errors == 2


def test_events_and_calls_are_not_mixed_up() -> None:
    events = looked_at(ASYNCAPI_3, is_event=False)
    calls = looked_at(json.dumps(OPENAPI_3), is_event=True)

    assert [one.wrong[0].sentence.partition(",")[0] for one in (events, calls)] == [
        "It is AsyncAPI 3.0.0",
        "It is OpenAPI 3.0.3",
    ]
    assert (events.errors, calls.errors) == (1, 1)


def test_what_is_longer_than_the_plane_keeps_is_not_even_read() -> None:
    assert not looked_at("x" * MOST_BYTES, is_event=False).is_too_long
    found = looked_at("é" * (MOST_BYTES // 2) + "x", is_event=False)
    assert (found.is_too_long, found.errors) == (True, 1)
    assert replace(found, wrong=()) == Looked("OPEN_API", "YAML", is_too_long=True)


def test_differences_are_known_when_both_can_be_read() -> None:
    before = json.dumps(OPENAPI_3)
    after = json.dumps({**OPENAPI_3, "paths": {"/orders": OPENAPI_3["paths"]["/orders"]}})

    found = changed(before, after)

    assert found is not None
    assert [(one.sentence, one.is_breaking) for one in found] == [("removed GET /orders/{id}", True)]
    assert changed(before, "{") is None
    assert changed(before, json.dumps(OPENAPI_3, indent=2)) == []


def test_what_was_seen_is_these_texts_in_this_order() -> None:
    assert len({digest("a", "b"), digest("b", "a"), digest("ab"), digest("a"), digest("a", "b", "")}) == 5
    assert digest("a", "b") == digest("a", "b")


@pytest.mark.parametrize(
    ("url", "kind", "is_event", "wanted"),
    [
        ("https://a.example/openapi.yaml?v=1", "", False, ("OPEN_API", "YAML")),
        ("https://a.example/openapi", "", False, ("OPEN_API", "JSON")),
        ("https://a.example/shop/$metadata", "", False, ("ODATA", "XML")),
        ("https://a.example/shop/$metadata", "ODATA JSON", False, ("ODATA", "JSON")),
        ("https://a.example/shop.edmx", "OPEN_API YAML", False, ("OPEN_API", "YAML")),
        ("https://a.example/events.yml", "", True, ("ASYNC_API", "YAML")),
        ("https://a.example/events.xml", "", True, ("ASYNC_API", "JSON")),
        ("https://a.example/x", "OPEN_API JSON", True, ("ASYNC_API", "JSON")),
        ("https://a.example/x", "nonsense", False, ("OPEN_API", "JSON")),
    ],
)
def test_an_address_says_what_is_behind_it_unless_somebody_does(
    url: str, kind: str, is_event: bool, wanted: tuple[str, str]
) -> None:
    found = to_fetch(url, kind, is_event=is_event)

    assert (found["type"], found["format"], found["fetchRequest"]) == (*wanted, {"url": url})
