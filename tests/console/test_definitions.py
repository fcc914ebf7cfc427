"""Definitions in the console: found, taken apart, compared; and never run."""

import asyncio
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from compass.console.definitions import MOST_SHOWN_BYTES, TABS, is_recent
from tests.console.conftest import HOSTILE, Shown, Site
from tests.definition.samples import ASYNCAPI_2, EVERY, OPENAPI_3, UNREADABLE
from tests.director.groups import until

PROOF = bool(os.environ.get("COMPASS_PROOF"))
ADD = """mutation ($id: ID!, $in: APIDefinitionInput!) {
  result: addAPIDefinitionToApplication(appID: $id, in: $in) { id } }"""
ADD_EVENT = """mutation ($id: ID!, $in: EventDefinitionInput!) {
  result: addEventDefinitionToApplication(appID: $id, in: $in) { id } }"""
UPDATE = """mutation ($id: ID!, $in: APIDefinitionInput!) {
  result: updateAPIDefinitionForApplication(id: $id, in: $in) { id } }"""
CHANGED = {**OPENAPI_3, "paths": {"/orders": OPENAPI_3["paths"]["/orders"]}}


def given(spec: str, **more: Any) -> dict[str, Any]:
    """An API with that specification."""
    inline = {"type": "OPEN_API", "format": "JSON", "data": spec}
    return {"in": {"name": "orders", "targetURL": "https://shop.example", "spec": inline, **more}}


async def offered(site: Site, *specs: str, **more: Any) -> tuple[str, str, str]:
    """An application, its API with these texts one after the other, and the page of that."""
    application, _ = await site.application()
    first, *rest = specs
    definition = (await site.ask(ADD, id=application, **given(first, **more)))["id"]
    for spec in rest:
        await site.ask(UPDATE, id=definition, **given(spec, **more))
    return application, definition, f"/applications/{application}/apis/{definition}"


async def led_to(site: Site, moved: Shown) -> Shown:
    """The page that comes when nothing is waited for any more."""
    while True:
        shown = await site.follow(moved) if moved.status == 303 else moved
        if "Fetching from" not in shown.text:
            if shown.status == 303:
                moved = shown
                continue
            return shown
        await asyncio.sleep(0.1)


async def test_a_definition_is_rendered_with_what_it_takes_and_gives(site: Site) -> None:
    _, _, page = await offered(site, json.dumps(OPENAPI_3), description="All orders", group="sales")

    shown = await site.get(page)

    for words in ("GET /orders List orders", "limit query", "integer", "Gives 200", "array of Order", "OpenAPI 3.0.3"):
        assert words in shown.words
    assert shown.tree.xpath("//a[@href='#schema-0']")
    state = shown.tree.xpath("//*[@id='schema-0']//tr[contains(td[1], 'state')]/td[2]")
    assert [cell.text_content() for cell in state] == ["one of new, paid"]
    assert "revision 1" in shown.words


@pytest.mark.parametrize("name", EVERY if PROOF else ["OpenAPI 2", "AsyncAPI 3", "OData 4"])
async def test_every_kind_of_definition_has_its_pages(site: Site, name: str) -> None:
    _, _, page = await offered(site, EVERY[name])

    pages = [await site.get(f"{page}?tab={tab}") for tab in TABS]

    assert [one.status for one in pages] == [200] * len(TABS)
    assert "Not taken apart" not in pages[0].words
    assert "There is a difference as soon as the specification changes" in pages[3].words


@pytest.mark.parametrize("name", ["aliases", "entities", "deep YAML"])
async def test_what_cannot_be_taken_apart_says_why_and_is_a_download(site: Site, name: str) -> None:
    spec = UNREADABLE[name]
    _, _, page = await offered(site, "{}", spec)

    shown = await site.get(page)

    assert "Not taken apart" in shown.words
    assert (await site.get(f"{page}/raw")).text == spec
    assert (await site.get(f"{page}?tab=raw")).status == 200
    assert "Not comparable" in (await site.get(f"{page}?tab=differences")).words


def hostile() -> dict[str, Any]:
    """A specification whose every name and text means harm."""
    thing = {"type": HOSTILE, "description": HOSTILE, "enum": [HOSTILE]}
    schema = {"properties": {HOSTILE: thing}, "required": [HOSTILE], "items": thing}
    body = {"description": HOSTILE, "content": {HOSTILE: {"schema": schema}}}
    operation = {
        **dict.fromkeys(("operationId", "summary", "description"), HOSTILE),
        "tags": [HOSTILE],
        "security": [{HOSTILE: [HOSTILE]}],
        "parameters": [{"name": HOSTILE, "in": HOSTILE, "description": HOSTILE, "schema": thing}],
        "requestBody": body,
        "responses": {HOSTILE: body},
    }
    return {
        "openapi": HOSTILE,
        "info": {"title": HOSTILE, "version": HOSTILE, "description": HOSTILE},
        "servers": [{"url": f"javascript:alert(3){HOSTILE}"}],
        "paths": {f"/{HOSTILE}": {"get": operation}},
        "components": {"schemas": {HOSTILE: schema}},
    }


async def test_a_hostile_definition_is_text_on_every_page(site: Site) -> None:
    spec = json.dumps(hostile())
    _, definition, page = await offered(site, json.dumps(OPENAPI_3), spec, description=HOSTILE, group=HOSTILE[:30])

    for tab in TABS:
        shown = await site.get(f"{page}?tab={tab}")
        assert [harm for harm in ("<img", "<script>alert", 'href="javascript') if harm in shown.text] == [], tab
    assert "alert(1)" in (await site.get(page)).words
    raw = await site.get(f"{page}/raw")
    assert (raw.text, raw.headers["content-type"]) == (spec, "text/plain; charset=utf-8")
    assert raw.headers["content-disposition"] == 'attachment; filename="definition.json"'
    assert raw.headers["x-content-type-options"] == "nosniff"

    async def is_found() -> bool:
        return definition in (await site.get("/catalogue?q=alert")).text

    await until(is_found, within=60)
    assert "<img" not in (await site.get("/catalogue?q=alert")).text


async def test_of_a_large_definition_the_beginning_is_shown(site: Site) -> None:
    several = [{"name": f"p{number}", "in": "query"} for number in range(9)]
    paths = {f"/{number}": {"get": {"description": "d" * 300, "parameters": several}} for number in range(600)}
    _, _, page = await offered(site, json.dumps({"openapi": "3.0.0", "paths": paths}))

    raw = await site.get(f"{page}?tab=raw")
    assert (len(raw.text) < MOST_SHOWN_BYTES * 2, "the beginning" in raw.words) == (True, True)
    shown = await site.get(page)
    assert len(shown.text) < 3_000_000
    assert "It says more than is shown here" in shown.words


async def test_differences_are_marked_with_a_word_when_they_break(site: Site) -> None:
    _, _, page = await offered(site, json.dumps(OPENAPI_3), json.dumps(CHANGED), json.dumps(OPENAPI_3))

    def rows(shown: Any) -> Sequence[tuple[str, str]]:
        cells = [row.xpath("./td") for row in shown.tree.xpath("//main//table//tbody/tr")]
        return [(" ".join(effect.text_content().split()), what.text_content()) for effect, what in cells]

    assert rows(await site.get(f"{page}?tab=differences")) == [("compatible", "added GET /orders/{id}")]
    assert rows(await site.get(f"{page}?tab=differences&from=1&to=2")) == [("! breaking", "removed GET /orders/{id}")]
    assert "They say the same" in (await site.get(f"{page}?tab=differences&from=1&to=3")).words
    assert "the same revision" in (await site.get(f"{page}?tab=differences&from=2&to=2")).words
    # Numbers that are none of its revisions are as if not given.
    assert rows(await site.get(f"{page}?tab=differences&from=99&to=x")) == [("compatible", "added GET /orders/{id}")]
    listed = await site.get(f"{page}?tab=revisions")
    numbers = [row.xpath("./td")[0].text_content() for row in listed.tree.xpath("//main//table//tbody/tr")]
    assert numbers == ["3", "2", "1"]
    assert (await site.get(f"{page}/raw?revision=2")).text == json.dumps(CHANGED)
    for wrong in ("4", "x", "9" * 30, "0"):
        assert (await site.get(f"{page}/raw?revision={wrong}")).status == 404


async def test_the_runtimes_that_see_a_definition_are_those_of_its_groups(site: Site) -> None:
    application, _, page = await offered(site, "{}")
    assert "is in no group" in (await site.get(f"{page}?tab=consumers")).words
    runtime, name = await site.runtime()
    _, other = await site.runtime()
    _, group = await site.group(("APPLICATION", application), ("RUNTIME", runtime))

    shown = await site.get(f"{page}?tab=consumers")

    assert f"/console/runtimes/{runtime}" in shown.links
    assert (name in shown.words, group in shown.words, other in shown.words) == (True, True, False)


async def test_a_specification_is_fetched_again_and_says_when_that_fails(site: Site) -> None:
    application, _ = await site.application()
    spec = {"type": "OPEN_API", "format": "JSON", "fetchRequest": {"url": "https://127.0.0.1:1/spec"}}
    new = {"in": {"name": "far", "targetURL": "https://shop.example", "spec": spec}}
    definition = (await site.ask(ADD, id=application, **new))["id"]
    page = f"/applications/{application}/apis/{definition}"
    assert "No specification" in (await site.get(page)).words

    told = await led_to(site, await site.post(f"{page}/refetch"))

    assert "It could not be fetched, so the last good one stays" in told.words
    assert "failed" in told.words


async def test_operations_of_the_whole_tenant_are_found_by_words(site: Site) -> None:
    application, definition, _ = await offered(
        site, json.dumps({**OPENAPI_3, "paths": {"/rare-birds/{id}": {"get": {}}}})
    )
    event = (
        await site.ask(
            ADD_EVENT,
            id=application,
            **{"in": {"name": "ev", "spec": {"type": "ASYNC_API", "format": "YAML", "data": ASYNCAPI_2}}},
        )
    )["id"]

    async def is_found() -> bool:
        page = await site.get("/catalogue?q=get+rare-birds")
        return f"/console/applications/{application}/apis/{definition}" in page.links

    await until(is_found, within=60)

    async def is_heard() -> bool:
        return f"/console/applications/{application}/events/{event}" in (await site.get("/catalogue?q=made")).links

    await until(is_heard, within=60)
    seen_by = f"//a[contains(@href, '{definition}?tab=consumers')]"
    assert (await site.get("/catalogue?q=rare-birds")).tree.xpath(f"string({seen_by})").startswith("0 runtimes")
    runtime, _ = await site.runtime()
    await site.group(("APPLICATION", application), ("RUNTIME", runtime))
    assert (await site.get("/catalogue?q=rare-birds")).tree.xpath(f"string({seen_by})").startswith("1 runtime ")
    assert "Nothing matches" in (await site.get("/catalogue?q=no-such-thing-at-all")).words
    assert (await site.get("/catalogue")).status == 200
    assert "/console/catalogue" in (await site.get("/catalogue")).text


async def test_a_revision_that_is_new_is_marked_where_it_is_found_and_where_it_is_shown(site: Site) -> None:
    birds = {**OPENAPI_3, "paths": {"/new-birds": {"get": {}}}}
    _, first, fresh = await offered(site, json.dumps(birds))
    assert "new revision" not in (await site.get(fresh)).words
    _, definition, page = await offered(site, json.dumps(OPENAPI_3), json.dumps(birds))

    async def are_found() -> bool:
        found = (await site.get("/catalogue?q=new-birds")).text
        return first in found and definition in found

    await until(are_found, within=60)
    marked = (await site.get("/catalogue?q=new-birds")).tree.xpath("//main//a[.='new revision']/@href")
    assert marked == [f"/console{page}?tab=differences"]
    assert (await site.get(page)).tree.xpath("//main//a[.='new revision']/@href") == [f"/console{page}?tab=differences"]


def test_a_revision_is_new_for_a_week() -> None:
    now = datetime.now(UTC)
    assert is_recent((now - timedelta(days=6)).isoformat())
    assert not is_recent((now - timedelta(days=8)).isoformat())


async def test_every_operation_that_is_found_has_its_place_on_a_page(site: Site) -> None:
    paths: dict[str, Any] = {"/places/{id}/ü b": {"get": {}, "delete": {}}, "/places": {"get": {}}}
    _, definition, page = await offered(site, json.dumps({**OPENAPI_3, "paths": paths}))

    async def are_found() -> bool:
        return (await site.get("/catalogue?q=places")).text.count(f"{definition}#operation-") == 3

    await until(are_found, within=60)
    links = [link for link in (await site.get("/catalogue?q=places")).links if f"{definition}#" in link]
    ids = (await site.get(page)).tree.xpath("//details[@class='operation']/@id")
    assert sorted(link.partition("#")[2] for link in links) == sorted(one for one in ids if one.startswith("operation"))


async def test_an_operation_can_be_copied_as_a_call(site: Site) -> None:
    _, _, page = await offered(site, json.dumps(OPENAPI_3))

    commands = (await site.get(page)).tree.xpath("//pre[contains(@aria-label, 'with curl')]/text()")

    assert commands[0] == "curl --request GET --url https://shop.example/orders --header 'Accept: application/json'"
    assert len(commands) == 3


async def test_an_event_definition_is_shown_with_its_channels(site: Site) -> None:
    application, _ = await site.application()
    new = {"name": "ev", "spec": {"type": "ASYNC_API", "format": "YAML", "data": ASYNCAPI_2}}
    event = (await site.ask(ADD_EVENT, id=application, **{"in": new}))["id"]

    shown = await site.get(f"/applications/{application}/events/{event}")

    assert "order/{id}/made" in shown.words
    assert (await site.get(f"/applications/{application}/events/{event}/raw")).text == ASYNCAPI_2
    offers = await site.get(f"/applications/{application}?tab=offers")
    assert f"/console/applications/{application}/events/{event}" in offers.links


async def test_a_definition_of_another_application_is_not_found(site: Site) -> None:
    _, definition, _ = await offered(site, "{}")
    other, _ = await site.application()

    for kind in ("apis", "events"):
        page = f"/applications/{other}/{kind}/{definition}"
        assert [(await site.get(f"{page}?tab={tab}")).status for tab in TABS] == [404] * len(TABS)
        assert (await site.get(f"{page}/raw")).status == 404


async def test_who_may_not_see_runtimes_is_told_so(site: Site) -> None:
    application, _, page = await offered(site, "{}")
    await site.group(("APPLICATION", application))
    async with site.another(signed_in=False) as limited:
        await limited.limit("application:read")

        assert "You may not see the runtimes" in (await limited.get(f"{page}?tab=consumers")).words
