"""The navigation: every entry leads to a page, has an icon, and a key of its own."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from lxml import etree

from compass.client.protocol import PlaneRefused
from compass.console import places
from compass.console.app import ROUTES
from compass.console.assets import Assets
from compass.console.places import NAVIGATION, place_of
from compass.console.plane import Plane
from compass.errors import Code
from tests.console.conftest import Site

TEMPLATES = sorted(Path(places.__file__).parent.joinpath("templates").glob("*.html"))
PLACES = [place for area in NAVIGATION for place in area.places]


def test_every_entry_leads_to_a_page_of_its_own() -> None:
    assert [place.path for place in PLACES if ("GET", place.path) not in ROUTES] == []
    for what in ("name", "path", "key", "text"):
        assert len({getattr(place, what) for place in PLACES}) == len(PLACES), what


def test_every_entry_has_an_icon() -> None:
    sprite = Assets.load().get("icons.svg")
    assert sprite is not None
    drawn = {str(one.get("id")) for one in etree.fromstring(sprite.body)}

    assert {place.name for place in PLACES} - drawn == set()


async def test_the_page_that_is_shown_is_marked_in_the_navigation(site: Site) -> None:
    for place in PLACES:
        page = await site.get(place.path)
        assert page.status == 200, place
        (here,) = page.tree.xpath("//div[@id='places']//a[@aria-current='page']/@href")
        assert here == f"/console{place.path}"


async def test_the_help_names_every_key(site: Site) -> None:
    page = await site.get("/")

    keys = [one.text_content() for one in page.tree.xpath("//dialog[@id='help']//dt")]
    assert {f"g {place.key}" for place in PLACES} <= set(keys)


async def test_without_rights_a_page_says_so_and_breaks_nowhere(site: Site) -> None:
    async with site.another() as browser:
        await browser.limit("health_checks:read")

        refused = []
        for place in PLACES:
            page = await browser.get(place.path)
            assert page.status in (200, 403), place
            if page.status == 403:
                assert "You may not see this" in page.words
                refused.append(place.name)
    assert {"activity", "labels", "templates", "integrations", "system"} <= set(refused)


async def test_who_may_only_look_sees_every_place_and_changes_nothing(site: Site) -> None:
    scopes = (await site.ask("{ result: signedIn { scopes } }"))["scopes"]
    async with site.another() as browser:
        await browser.limit(*(one for one in scopes if one.endswith(":read")))

        for place in PLACES:
            assert (await browser.get(place.path)).status == 200, place
        before = await site.ask("{ result: formations { totalCount } }")
        refused = await browser.post("/groups", name="not allowed", back="/console/groups")

        if refused.status == 303:
            refused = await browser.follow(refused)
        assert "insufficient scopes" in refused.words
        assert await site.ask("{ result: formations { totalCount } }") == before


async def test_nobody_who_is_not_signed_in_sees_a_place_and_all_are_led_back_to_it(site: Site) -> None:
    async with site.another(signed_in=False) as stranger:
        for place in PLACES:
            where = "/console/sign-in" + (
                f"?{urlencode({'back': f'/console{place.path}'})}" if place.path != "/" else ""
            )
            assert (await stranger.get(place.path)).headers["location"] == where


async def test_while_the_plane_cannot_answer_every_place_says_so_and_how_to_go_on(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any, **__: Any) -> None:
        facts = {"message": "the database does not answer", "extensions": {"error_code": int(Code.OPERATION_TIMEOUT)}}
        raise PlaneRefused([facts], status=503, request_id="request-1")

    monkeypatch.setattr(Plane, "ask", away)
    told = 0
    for place in PLACES:
        page = await site.get(place.path)
        if page.status != 200:
            assert (page.status, "The plane cannot answer now" in page.words) == (503, True), place
            assert "request request-1" in page.words
            assert f"/console{place.path}" in page.links
            told += 1
    # The explorer asks nothing by itself, System says what it can.
    assert told >= len(PLACES) - 2


async def test_every_page_says_where_it_stands(site: Site) -> None:
    for place in PLACES[1:]:
        trail = (await site.get(place.path)).tree.xpath("//nav[@aria-label='Breadcrumb']/a")
        assert [one.get("href") for one in trail] == ["/console/"], place
    lost = await site.get("/applications/nothing")
    assert lost.tree.xpath("//nav[@aria-label='Breadcrumb']/a/@href") == ["/console/", "/console/applications"]

    # A page below a place names that place beside its own name.
    lists = {"access", "activity", "application_templates", "applications", "catalogue", "certificates", "deliveries"}
    lists |= {"explorer", "groups", "integrations", "label_definitions", "overview", "runtimes", "system", "tenants"}
    lists |= {"webhooks", "find", "help", "problem", "waiting"}
    pages = [one for one in TEMPLATES if '{% extends "layout.html" %}' in one.read_text()]
    assert {one.stem for one in pages if 'class="crumbs"' not in one.read_text()} <= lists


@pytest.mark.parametrize(
    ("path", "name"), [("/", "overview"), ("/groups/x/y", "groups"), ("groups", "groups"), ("/nothing", None)]
)
def test_a_page_belongs_to_the_place_that_its_path_begins_with(path: str, name: str | None) -> None:
    place = place_of(path)

    assert (place and place.name) == name


async def test_every_page_names_the_tenant_and_no_page_its_id_first(site: Site) -> None:
    async with site.another() as browser:
        first = await browser.get("/")
        assert first.tree.xpath("string(//a[@class='tenant']/text())") == "default"
        listed = await browser.get("/applications")
        assert listed.tree.xpath("string(//nav[@aria-label='Breadcrumb']/a)") == "default"
        assert "with your rights in tenant default" in (await browser.get("/explorer")).words


async def test_who_may_not_see_tenants_has_the_id_and_every_page(site: Site) -> None:
    async with site.another() as browser:
        await browser.limit("application:read")

        page = await browser.get("/applications")

        assert page.status == 200
        assert page.tree.xpath("string(//a[@class='tenant']/text())") == site.started.tenant


async def test_a_page_that_is_refused_says_the_number_that_compass_explain_knows(site: Site) -> None:
    nobody = "00000000-0000-4000-8000-000000000000"
    for path in (f"/applications/{nobody}", f"/runtimes/{nobody}", f"/groups/{nobody}", "/no-such-page"):
        assert re.search(r"\(COMPASS-20[,)]", (await site.get(path)).words), path
    async with site.another() as browser:
        await browser.limit("application:read")
        refused = await browser.get("/system")
        assert refused.status == 403
        assert re.search(r"insufficient scopes .*\(COMPASS-23, request [-0-9a-f]{36}\)", refused.words)
