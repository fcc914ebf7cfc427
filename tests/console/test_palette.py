"""The palette as a page: what leads where, for whoever has no JavaScript; and what a session remembers."""

import json

from compass.console.places import NAVIGATION
from compass.console.rendered import anchor
from compass.console.session import MOST_RECENT, Session
from tests.console.conftest import Site
from tests.console.test_definitions import offered
from tests.definition.samples import OPENAPI_3
from tests.director.groups import until


async def test_every_place_is_found_without_a_word(site: Site) -> None:
    found = await site.get("/find")

    for place in (place for area in NAVIGATION for place in area.places):
        assert f"/console{place.path}" in found.links
        assert (await site.get(place.path)).status == 200, place


async def test_every_command_leads_to_a_page(site: Site) -> None:
    found = await site.get("/find?q=a")

    commands = found.tree.xpath("//h2[.='Do']/following-sibling::ul[1]//a/@href")
    assert "/console/applications/new" in commands
    for path in commands:
        assert (await site.get(str(path).removeprefix("/console").partition("#")[0])).status == 200, path


async def test_objects_are_found_by_name_whatever_its_case(site: Site) -> None:
    application, _ = await site.application("Palette-Application")
    runtime, _ = await site.runtime("palette-runtime")
    group, name = await site.group()

    found = await site.get("/find?q=palette")

    assert {f"/console/applications/{application}", f"/console/runtimes/{runtime}"} <= set(found.links)
    assert f"/console/groups/{group}" in (await site.get(f"/find?q={name.upper()}")).links


async def test_operations_are_found_by_their_paths_and_lead_to_their_place(site: Site) -> None:
    paths = {"/palette-birds/{id}": {"get": {"summary": "One bird"}}}
    _, definition, page = await offered(site, json.dumps({**OPENAPI_3, "paths": paths}))

    async def is_found() -> bool:
        return definition in (await site.get("/find?q=get+palette-birds")).text

    await until(is_found, within=60)
    [link] = (await site.get("/find?q=get+palette-birds")).links
    assert link == f"/console{page}#{anchor('GET', '/palette-birds/{id}')}"
    assert (await site.get(page)).tree.xpath("//details/@id")[0] == link.partition("#")[2]
    async with site.another() as foreign:
        await foreign.post("/tenants", tenant=await site.tenant())
        assert definition not in (await foreign.get("/find?q=get+palette-birds")).text


async def test_what_is_not_there_is_said(site: Site) -> None:
    shown = await site.get("/find?q=nothing-is-called-like-this")

    assert "Nothing is called that" in shown.words
    assert shown.links == []


async def test_objects_seen_last_come_first_and_those_gone_do_not(site: Site) -> None:
    one, _ = await site.application("seen-before")
    other, _ = await site.application("seen-last")
    await site.get(f"/applications/{one}")
    await site.get(f"/applications/{other}?tab=labels")

    links = (await site.get("/find")).links
    assert links[:2] == [f"/console/applications/{other}", f"/console/applications/{one}"]

    await site.ask("mutation ($id: ID!) { result: unregisterApplication(id: $id) { id } }", id=other)
    assert (await site.get(f"/applications/{other}")).status == 404
    assert (await site.get("/find")).links[0] == f"/console/applications/{one}"


async def test_the_keys_are_a_page_too(site: Site) -> None:
    shown = await site.get("/help")

    for place in (place for area in NAVIGATION for place in area.places):
        assert f"g {place.key}{place.text}" in shown.words


async def test_the_links_that_open_them_work_without_javascript(site: Site) -> None:
    shown = await site.get("/")

    assert shown.tree.xpath("//a[@data-palette]/@href") == ["/console/find"]
    assert shown.tree.xpath("//a[@data-help]/@href") == ["/console/help"]
    assert shown.tree.xpath("//dialog[@id='palette']//form/@action") == ["/console/find"]


def test_a_session_remembers_a_few_pages_each_once_and_only_those_of_its_tenant() -> None:
    session = Session("token", "mine", 0.0)
    for number in (*range(MOST_RECENT + 3), 5):
        session.see(f"/x/{number}", str(number), "x")
    recent = [one.title for one in session.recent()]
    assert recent == ["5", "10", "9", "8", "7", "6", "4", "3"]

    session.tenant = "other"
    assert session.recent() == []
    session.see("/x/5", "other's", "x")
    session.forget("/x/5")
    session.tenant = "mine"
    assert session.recent()[0].title == "5"
