"""A definition as text."""

import json

from compass.definition.read import read
from compass.definition.show import MOST_LINES, count, lines
from tests.definition.samples import ASYNCAPI_2, EVERY, OPENAPI_2, OPENAPI_3


def test_a_definition_is_shown_with_what_it_takes_and_gives() -> None:
    shown = "\n".join(lines(read(json.dumps(OPENAPI_3))))

    assert shown.startswith(
        "Orders 2\nOpenAPI 3.0.3, 3 operations\nat https://shop.example\nAll of them.\n\nGET /orders\n"
    )
    assert "  query limit: integer\n  header X-Trace: string\n  gives 200\n    all\n" in shown
    assert "POST /orders\n  takes body\n    application/json: Order\n  gives 201\n    made\n" in shown
    assert "  Order: object\n    id: string, required\n    total: number\n    state: one of new, paid\n" in shown


def test_every_kind_is_shown() -> None:
    for text in EVERY.values():
        assert len(list(lines(read(text)))) > 3


def test_channels_are_counted_once_whatever_is_done_in_them() -> None:
    both = "asyncapi: 2.0.0\nchannels: {a: {publish: {}, subscribe: {}}}"

    assert [count(read(text)) for text in (both, ASYNCAPI_2, OPENAPI_2)] == ["1 channel", "2 channels", "1 operation"]


def test_what_is_too_long_is_cut() -> None:
    paths = {f"/{number}": {"get": {"description": "\n" * 1900}} for number in range(20)}

    shown = list(lines(read(json.dumps({"openapi": "3.0.0", "paths": paths}))))

    assert (len(shown), shown[-1]) == (MOST_LINES + 1, "…")
