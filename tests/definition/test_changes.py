"""What changed between two definitions, and what of it breaks."""

import copy
import json
from typing import Any

import pytest

from compass.definition.changes import MOST_CHANGES, Change, changes
from compass.definition.read import of, read
from tests.definition.samples import ASYNCAPI_2, ASYNCAPI_3, EVERY, ODATA_4, OPENAPI_2, OPENAPI_3

ORDERS = ("paths", "/orders", "get")
MAKING = ("paths", "/orders", "post")
ORDER = ("components", "schemas", "Order")
REMOVED = object()


def edited(*edits: tuple[tuple[str | int, ...], Any]) -> dict[str, Any]:
    """The sample with these places changed, or removed."""
    document = copy.deepcopy(OPENAPI_3)
    for (*path, last), value in edits:
        at: Any = document
        for step in path:
            at = at[step]
        if value is REMOVED:
            del at[last]
        else:
            at[last] = value
    return document


def told(before: Any, after: Any) -> list[str]:
    """The differences as the command line says them."""
    found = changes(of(before), of(after))
    return [f"{'! ' if one.is_breaking else ''}{one.sentence}" for one in found]


LIMIT = (*ORDERS, "parameters", 0)
TAKEN = ASYNCAPI_2.replace("subscribe", "publish")
SENT, GOT = "Order (sent)", "Order (received)"


@pytest.mark.parametrize(
    ("edits", "forth", "back"),
    [
        (
            [(("paths", "/orders/{id}"), REMOVED)],
            ["! removed GET /orders/{id}"],
            ["added GET /orders/{id}"],
        ),
        (
            [(ORDERS, REMOVED)],
            ["! removed GET /orders"],
            ["added GET /orders"],
        ),
        (
            [(LIMIT, {"name": "limit", "in": "query", "required": True, "schema": {"type": "integer"}})],
            ["! GET /orders: query parameter limit is now required"],
            ["GET /orders: query parameter limit is no longer required"],
        ),
        (
            [(LIMIT, {"name": "most", "in": "query", "required": True, "schema": {"type": "integer"}})],
            ["! GET /orders: removed query parameter limit", "! GET /orders: added required query parameter most"],
            ["! GET /orders: removed query parameter most", "GET /orders: added query parameter limit"],
        ),
        (
            [((*LIMIT, "schema"), {"type": "string"})],
            ["! GET /orders: query parameter limit: type is now string, was integer"],
            ["! GET /orders: query parameter limit: type is now integer, was string"],
        ),
        (
            [((*LIMIT, "schema"), {"type": "number"})],
            ["GET /orders: query parameter limit: type is now number, was integer"],
            ["! GET /orders: query parameter limit: type is now integer, was number"],
        ),
        (
            [((*LIMIT, "schema"), {"type": "integer", "format": "int32"})],
            ["GET /orders: query parameter limit: format is now int32, was any"],
            ["GET /orders: query parameter limit: format is now any, was int32"],
        ),
        (
            [((*LIMIT, "schema"), {"type": "integer", "enum": [10, 20]})],
            ["! GET /orders: query parameter limit: only 10, 20 now"],
            ["GET /orders: query parameter limit: any value now"],
        ),
        (
            [((*ORDERS, "responses", "200"), REMOVED), ((*ORDERS, "responses", "206"), {})],
            ["! GET /orders: removed answer 200", "GET /orders: added answer 206"],
            ["! GET /orders: removed answer 206", "GET /orders: added answer 200"],
        ),
        (
            [((*ORDERS, "responses", "200", "content", "application/json", "schema"), {"type": "object"})],
            ["! GET /orders: answer 200: type is now object, was array"],
            ["! GET /orders: answer 200: type is now array, was object"],
        ),
        (
            [((*ORDERS, "responses", "200", "content"), {"text/csv": {}})],
            ["! GET /orders: answer 200: removed application/json", "GET /orders: answer 200: added text/csv"],
            ["! GET /orders: answer 200: removed text/csv", "GET /orders: answer 200: added application/json"],
        ),
        (
            [((*MAKING, "requestBody", "required"), True)],
            ["! POST /orders: the body is now required"],
            [],
        ),
        (
            [((*MAKING, "requestBody"), REMOVED)],
            ["! POST /orders: removed the body"],
            ["POST /orders: added a body"],
        ),
        (
            [((*ORDERS, "security"), [{"oauth": ["read"]}])],
            ["! GET /orders: now requires security: oauth (read)"],
            ["GET /orders: security is now nothing"],
        ),
        (
            [((*ORDERS, "security"), [{"oauth": ["read"]}, {}])],
            ["GET /orders: security is now nothing or oauth (read)"],
            ["GET /orders: security is now nothing"],
        ),
        (
            [((*ORDERS, "deprecated"), True)],
            ["GET /orders: is now deprecated"],
            [],
        ),
        (
            [((*ORDER, "properties", "note"), {"type": "string"})],
            [f"{GOT}: added property note", f"{SENT}: added property note"],
            [f"! {GOT}: removed property note", f"! {SENT}: removed property note"],
        ),
        (
            [((*ORDER, "required"), ["id", "total"])],
            [f"! {SENT}: property total is now required", f"{GOT}: property total is now required"],
            [f"! {GOT}: property total is no longer required", f"{SENT}: property total is no longer required"],
        ),
        (
            [((*ORDER, "properties", "state", "enum"), ["new", "paid", "sent"])],
            [f"{GOT}: property state: added value sent", f"{SENT}: property state: added value sent"],
            [f"! {SENT}: property state: removed value sent", f"{GOT}: property state: removed value sent"],
        ),
        (
            [((*ORDER, "properties", "total"), {"type": ["number", "null"]})],
            [
                f"! {GOT}: property total: type is now null|number, was number",
                f"{SENT}: property total: type is now null|number, was number",
            ],
            [
                f"! {SENT}: property total: type is now number, was null|number",
                f"{GOT}: property total: type is now number, was null|number",
            ],
        ),
        (
            [(("info", "version"), "3"), (("servers",), [])],
            ["version is now 3, was 2", "servers are now not named"],
            ["version is now 2, was 3", "servers are now https://shop.example"],
        ),
        ([(("openapi",), "3.1.0")], ["standard is now OpenAPI 3.1.0, was OpenAPI 3.0.3"], None),
        ([((*ORDERS, "summary"), "Orders")], ["GET /orders: is described otherwise"], None),
    ],
)
def test_each_change_is_told_and_marked_when_it_breaks(
    edits: list[tuple[tuple[str | int, ...], Any]], forth: list[str], back: list[str] | None
) -> None:
    assert told(OPENAPI_3, edited(*edits)) == forth
    if back:
        assert told(edited(*edits), OPENAPI_3) == back


@pytest.mark.parametrize("kind", EVERY)
def test_nothing_changed_is_no_change(kind: str) -> None:
    assert changes(read(EVERY[kind]), read(EVERY[kind])) == []


def test_the_same_written_otherwise_is_no_change() -> None:
    import yaml

    assert changes(read(json.dumps(OPENAPI_3)), read(yaml.safe_dump(OPENAPI_3))) == []


def test_a_parameter_of_a_path_may_be_called_otherwise() -> None:
    document = edited()
    item = document["paths"].pop("/orders/{id}")
    item["parameters"][0]["name"] = "order"
    document["paths"]["/orders/{order}"] = item

    assert told(OPENAPI_3, document) == ["GET /orders/{id}: its path is now written /orders/{order}"]


def test_headers_are_told_apart_in_any_case() -> None:
    document = edited((("components", "parameters", "Trace", "name"), "x-trace"))

    assert told(OPENAPI_3, document) == []


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        (ASYNCAPI_2, ASYNCAPI_2.replace("  silence: {description: nothing yet}\n", ""), ["! removed channel silence"]),
        (ASYNCAPI_2, ASYNCAPI_2.replace("name: Unmade", "name: Undone"), [
            "! subscribe order/{id}/made: removed message Unmade", "subscribe order/{id}/made: added message Undone"]),
        # What is told must stay; what is taken may grow.
        (ASYNCAPI_2, ASYNCAPI_2.replace("required: [id], ", ""), [
            "! subscribe order/{id}/made: message Made: property id is no longer required"]),
        (TAKEN, TAKEN.replace("required: [id], ", ""), [
            "publish order/{id}/made: message Made: property id is no longer required"]),
        (ASYNCAPI_3, ASYNCAPI_3.replace("schema: {type: string}", "schema: {type: object}"), [
            "! send order/made: message Made: type is now object, was string"]),
        (ODATA_4, ODATA_4.replace('<EntitySet Name="Orders" EntityType="Self.Order"/>', ""), [
            "! removed entity set Orders"]),
        (ODATA_4, ODATA_4.replace('<Property Name="Note" Type="Edm.String"/>', ""), [
            "! shop.Order (sent and received): removed property Note",
            "! shop.Order (received): removed property Note"]),
        (ODATA_4, ODATA_4.replace('Name="n" Type="Edm.Int32"', 'Name="n" Type="Edm.Int64"'), [
            "! function Best: query parameter n: type is now Int64, was Int32"]),
        (OPENAPI_2, OPENAPI_2.replace("type: integer, format: int32", "type: integer, format: int64"), [
            "! A (sent): property n: format is now int64, was int32",
            "! A (received): property n: format is now int64, was int32"]),
        (OPENAPI_2, OPENAPI_2.replace("required: true, ", ""), []),
    ],
)  # fmt: skip
def test_events_and_services_have_the_same_rules(before: str, after: str, wanted: list[str]) -> None:
    assert before != after

    found = [f"{'! ' if one.is_breaking else ''}{one.sentence}" for one in changes(read(before), read(after))]

    assert found == wanted


def test_another_standard_breaks_everything() -> None:
    found = changes(read(json.dumps(OPENAPI_3)), read(ASYNCAPI_2))

    assert found[0] == Change("it was OpenAPI 3.0.3, now it is AsyncAPI 2.6.0", is_breaking=True)
    assert "removed GET /orders" in [one.sentence for one in found if one.is_breaking]


def test_parts_and_alternatives_are_seen_through() -> None:
    def document(schema: dict[str, Any]) -> dict[str, Any]:
        return edited(((*ORDER,), schema))

    base = {"allOf": [{"type": "object", "properties": {"a": {"type": "string"}}}, {"required": ["a"]}]}
    flat = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    assert told(document(base), document(flat)) == []
    either = {"oneOf": [{"type": "string"}, {"type": "integer"}]}
    assert told(document({"oneOf": [{"type": "string"}]}), document(either)) == [
        f"{GOT}: added alternative integer 2",
        f"{SENT}: added alternative integer 2",
    ]
    assert told(document(either), document({"oneOf": [{"type": "string"}]})) == [
        f"! {SENT}: removed alternative integer 2",
        f"{GOT}: removed alternative integer 2",
    ]
    assert told(document({}), document(either)) == [
        f"! {SENT}: added alternative string 1",
        f"! {SENT}: added alternative integer 2",
        f"{GOT}: added alternative string 1",
        f"{GOT}: added alternative integer 2",
    ]


def test_very_many_changes_are_cut_and_breaking_ones_are_kept() -> None:
    paths: dict[str, Any] = {f"/{number}": {"get": {}} for number in range(MOST_CHANGES + 200)}
    more = {"openapi": "3.0.0", "paths": {**paths, "/kept": {"get": {}}}}
    less = {"openapi": "3.0.0", "paths": {**paths, "/lost": {"get": {}}}}
    none = {"openapi": "3.0.0", "paths": {"/lost": {"get": {}}}}

    found = changes(of(none), of(more))

    assert (len(found), found[0]) == (
        MOST_CHANGES + 1,
        Change("removed GET /lost", is_breaking=True, place="GET /lost"),
    )
    assert found[-1].sentence == "and 202 changes more"
    assert changes(of(less), of(less)) == []
