"""Definitions: taken apart within limits, and never run."""

import json
import time
from typing import Any

import pytest

from compass.console.definitions import MOST_OPERATIONS, MOST_PARSED_BYTES, MOST_SHOWN_BYTES, Operation, outline
from tests.console.conftest import HOSTILE, Site

OPENAPI = {
    "openapi": "3.1.0",
    "info": {"title": "Orders", "version": "2"},
    "paths": {"/o": {"get": {"summary": "List"}, "x": {}}},
}
EDMX = """<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"><edmx:DataServices>
<Schema xmlns="http://docs.oasis-open.org/odata/ns/edm" Namespace="n"><EntityContainer Name="c">
<EntitySet Name="Orders" EntityType="n.Order"/></EntityContainer></Schema></edmx:DataServices></edmx:Edmx>"""
BOMB = """<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY c "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY d "&c;&c;&c;&c;&c;&c;">
<!ENTITY e SYSTEM "file:///etc/passwd">]><b Version="&d;"><EntitySet Name="x"/>&e;</b>"""
LAUGHS = "a: &a [x,x,x]\n" + "\n".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)},*{chr(97 + n)}]" for n in range(20)
)


@pytest.mark.parametrize(
    ("text", "kind", "operations"),
    [
        (json.dumps(OPENAPI), "OPEN_API", [Operation("GET", "/o", "List")]),
        ("swagger: '2.0'\npaths: {/a: {post: {operationId: make}}}", "OPEN_API", [Operation("POST", "/a", "make")]),
        (
            "asyncapi: 2.0.0\nchannels: {c: {subscribe: {summary: told}}}",
            "ASYNC_API",
            [Operation("subscribe", "c", "told")],
        ),
        ("asyncapi: 3.0.0\nchannels: {c: {address: a/b}}", "ASYNC_API", [Operation("channel", "a/b", "")]),
        ("asyncapi: 1.0.0\ntopics: {t: {publish: {}}}", "ASYNC_API", [Operation("publish", "t", "")]),
        (EDMX, "ODATA", [Operation("entity set", "Orders", "n.Order")]),
        ('{"paths": {"/a": null, "/b": [1], "/c": {"get": "x"}}}', "OPEN_API", []),
        ('{"info": [], "paths": "x"}', "OPEN_API", []),
    ],
)
def test_every_kind_says_what_it_offers(text: str, kind: str, operations: list[Operation]) -> None:
    found = outline(text, kind)

    assert found is not None
    assert list(found.operations) == operations


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("{", "OPEN_API"),
        ("[1]", "OPEN_API"),
        ("just words", "ASYNC_API"),
        ("<a", "ODATA"),
        (LAUGHS, "OPEN_API"),
        ("[" * 100_000, "OPEN_API"),
        ("{" * 100_000, "ASYNC_API"),
        ("- " * 100_000, "ASYNC_API"),
        ("- a\n" * 150_000, "ASYNC_API"),
        ("a: " + "[" * 300 + "]" * 300, "ASYNC_API"),
        ("!!python/object/apply:os.system ['true']", "OPEN_API"),
        (" " * (MOST_PARSED_BYTES + 1), "OPEN_API"),
        ("<a>" * 5000, "ODATA"),
    ],
)
def test_what_cannot_be_read_is_no_outline_and_no_harm(text: str, kind: str) -> None:
    began = time.process_time()

    assert outline(text, kind) is None

    assert time.process_time() - began < 20


def test_entities_are_not_resolved() -> None:
    found = outline(BOMB, "ODATA")

    assert found is None or ("root:" not in repr(found) and len(repr(found)) < 5000)


def test_a_huge_outline_is_cut() -> None:
    paths = {f"/{number}": {"get": {"summary": "s" * 10_000}} for number in range(MOST_OPERATIONS + 10)}
    found = outline(json.dumps({"paths": dict(list(paths.items())[:150])}), "OPEN_API")
    assert found is not None
    assert max(len(one.text) for one in found.operations) == 2000
    many = outline(json.dumps({"paths": {path: {"get": {}} for path in paths}}), "OPEN_API")
    assert many is not None
    assert len(many.operations) == MOST_OPERATIONS


async def offered(site: Site, spec: str, **more: Any) -> tuple[str, str]:
    application, _ = await site.application()
    text = """mutation ($id: ID!, $in: APIDefinitionInput!) {
      result: addAPIDefinitionToApplication(appID: $id, in: $in) { id } }"""
    given = {
        "name": "orders",
        "targetURL": "https://shop.example",
        "spec": {"type": "OPEN_API", "format": "JSON", "data": spec},
    }
    return application, (await site.ask(text, id=application, **{"in": {**given, **more}}))["id"]


async def test_a_hostile_definition_is_text(site: Site) -> None:
    spec = json.dumps({**OPENAPI, "info": {"title": HOSTILE, "version": HOSTILE, "description": HOSTILE}})
    application, definition = await offered(site, spec, description=HOSTILE, group=HOSTILE[:30])

    shown = await site.get(f"/applications/{application}/apis/{definition}")

    assert "alert(1)" in shown.words
    assert "<img" not in shown.text
    raw = await site.get(f"/applications/{application}/apis/{definition}/raw")
    assert (raw.text, raw.headers["content-type"]) == (spec, "text/plain; charset=utf-8")
    assert raw.headers["content-disposition"] == 'attachment; filename="definition.json"'
    assert raw.headers["x-content-type-options"] == "nosniff"


async def test_of_a_large_definition_the_beginning_is_shown(site: Site) -> None:
    application, definition = await offered(site, json.dumps({"x": "y" * 600_000}))

    shown = await site.get(f"/applications/{application}/apis/{definition}")

    assert len(shown.text) < MOST_SHOWN_BYTES * 2
    assert "the beginning" in shown.words


async def test_an_event_definition_is_shown_with_its_channels(site: Site) -> None:
    application, _ = await site.application()
    text = """mutation ($id: ID!, $in: EventDefinitionInput!) {
      result: addEventDefinitionToApplication(appID: $id, in: $in) { id } }"""
    spec = "asyncapi: 2.0.0\nchannels: {order/made: {subscribe: {summary: told}}}"
    given = {"name": "ev", "spec": {"type": "ASYNC_API", "format": "YAML", "data": spec}}
    event = (await site.ask(text, id=application, **{"in": given}))["id"]

    shown = await site.get(f"/applications/{application}/events/{event}")

    assert "order/made" in shown.words
    assert (await site.get(f"/applications/{application}/events/{event}/raw")).text == spec
    assert (
        f"/console/applications/{application}/events/{event}"
        in (await site.get(f"/applications/{application}?tab=offers")).links
    )


async def test_a_definition_of_another_application_is_not_found(site: Site) -> None:
    _, definition = await offered(site, "{}")
    other, _ = await site.application()

    for kind in ("apis", "events"):
        assert (await site.get(f"/applications/{other}/{kind}/{definition}")).status == 404
        assert (await site.get(f"/applications/{other}/{kind}/{definition}/raw")).status == 404
