"""A definition as rows for a page. The page itself: test_definitions.py."""

import json

from compass.console.rendered import MOST_OPERATIONS, MOST_ROWS, Rendered, anchor, rendered
from compass.definition.read import of, read
from tests.definition.samples import EVERY, OPENAPI_3


def rows(found: Rendered) -> int:
    operations = sum(
        1 + len(one.parameters) + sum(1 + len(body.rows) for body in (*one.takes, *one.gives)) for one in found.entries
    )
    return operations + sum(1 + len(inside) for *_, inside in found.schemas)


def test_schemas_are_linked_from_where_they_are_used() -> None:
    found = rendered(read(json.dumps(OPENAPI_3)))

    [target, name, whole, inside] = found.schemas[0]
    assert (target, name, whole.kind) == ("schema-0", "Order", "object")
    assert [(row.name, row.kind, row.is_required, row.target) for row in inside] == [
        ("id", "string", True, ""),
        ("total", "number", False, ""),
        ("state", "one of new, paid", False, ""),
        ("parent", "Order", False, "schema-0"),
    ]
    answer = found.entries[0].gives[0]
    assert (answer.name, answer.media, answer.whole.kind, answer.whole.target) == (
        "200",
        "application/json",
        "array of Order",
        "schema-0",
    )
    assert not found.is_cut


def test_properties_within_properties_are_indented() -> None:
    inner = {"properties": {"b": {"properties": {"c": {"type": "string"}}}}}
    found = rendered(of({**OPENAPI_3, "components": {"schemas": {"A": {"properties": {"a": inner}}}}}))

    [shown] = [inside for _, name, _, inside in found.schemas if name == "A"]
    assert [(row.name, row.depth) for row in shown] == [("a", 0), ("b", 1), ("c", 2)]


def test_operations_that_are_called_alike_have_places_of_their_own() -> None:
    several = {f"o{number}": {"action": "send", "channel": {"$ref": "#/channels/a"}} for number in range(3)}
    found = rendered(of({"asyncapi": "3.0.0", "channels": {"a": {"address": "x"}}, "operations": several}))

    places = [one.id for one in found.entries]
    assert (len(set(places)), places[0]) == (3, anchor("send", "x"))
    assert anchor("send", "x") != anchor("receive", "x")


def test_every_kind_can_be_shown() -> None:
    for text in EVERY.values():
        assert rendered(read(text)).entries


def test_a_page_has_so_many_rows_and_no_more() -> None:
    parameters = [{"name": str(number), "in": "query"} for number in range(150)]
    paths = {f"/{number}": {"get": {"parameters": parameters}} for number in range(100)}
    found = rendered(of({"openapi": "3.0.0", "paths": paths}))
    assert (rows(found) <= MOST_ROWS, found.is_cut) == (True, True)

    many = rendered(of({"openapi": "3.0.0", "paths": {f"/{number}": {"get": {}} for number in range(600)}}))
    assert (len(many.entries), many.is_cut) == (MOST_OPERATIONS, True)
