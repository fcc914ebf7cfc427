"""What a browser keeps of the list of applications, and what it is not trusted with."""

from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest

from compass.console.http import Request
from compass.console.kept import COLUMNS, COOKIE, USUAL, Kept, Search, in_order
from tests.console.conftest import HOSTILE, Shown, Site


@pytest.fixture
async def fresh(site: Site) -> AsyncIterator[Site]:
    """A browser that keeps nothing yet."""
    async with site.another() as browser:
        yield browser


def headings(shown: Shown) -> list[str]:
    return [
        str((one.xpath("a/text()") or [one.text_content()])[0])
        for one in shown.tree.xpath("//section[@id='list']//th")[1:]
    ]


async def columns(site: Site, path: str, *chosen: str) -> Shown:
    pairs = [("csrf", await site.csrf()), *(("column", one) for one in chosen)]
    return await site.bare_post(path, pairs, {"origin": site.origin})


async def test_the_columns_that_are_chosen_are_shown_from_then_on(fresh: Site) -> None:
    await fresh.register_application()
    assert headings(await fresh.get("/applications")) == ["Name", *(COLUMNS[name] for name in USUAL)]

    moved = await columns(fresh, "/applications/columns", "seen", "apis", "nonsense")

    assert moved.headers["location"] == "/console/applications?columns=apis.seen"
    assert headings(await fresh.follow(moved)) == ["Name", "APIs", "Last seen"]
    assert headings(await fresh.get("/applications")) == ["Name", "APIs", "Last seen"]
    # A link shows everybody the same.
    assert headings(await fresh.get("/applications?columns=groups")) == ["Name", "Groups"]
    assert headings(await fresh.get("/applications?columns=nonsense")) == ["Name", "APIs", "Last seen"]
    again = await columns(fresh, "/applications/columns")
    assert headings(await fresh.follow(again)) == ["Name", *(COLUMNS[name] for name in USUAL)]


async def test_what_an_application_offers_is_counted(fresh: Site, site: Site) -> None:
    api = {"name": "loose", "targetURL": "https://a.example"}
    bundle = {"name": "b", "apiDefinitions": [{**api, "name": "in"}], "eventDefinitions": [{"name": "e"}]}
    application, name = await site.application(bundles=[bundle])
    text = """mutation ($id: ID!, $in: APIDefinitionInput!) {
      result: addAPIDefinitionToApplication(appID: $id, in: $in) { id } }"""
    await site.ask(text, id=application, **{"in": api})

    shown = await fresh.get(f"/applications?q={name}&columns=apis.events")

    assert [one.text_content() for one in shown.tree.xpath("//td[@class='number']")] == ["2", "1"]


async def test_a_search_is_kept_under_a_name_and_forgotten(fresh: Site) -> None:
    await fresh.register_application("kept-search")
    moved = await fresh.post("/applications/searches", name="mine & yours", q="kept-sea", show="", columns="seen")
    shown = await fresh.follow(moved)

    (link,) = shown.tree.xpath("//ul[@class='kept']//a")
    assert (link.text_content(), link.get("href")) == ("mine & yours", "/console/applications?q=kept-sea&columns=seen")
    found = await fresh.get(str(link.get("href")).removeprefix("/console"))
    assert ("kept-search" in found.words, headings(found)) == (True, ["Name", "Last seen"])
    await fresh.post("/applications/searches/forget", name="mine & yours")
    assert not (await fresh.get("/applications")).tree.xpath("//ul[@class='kept']//a")


async def test_a_name_that_is_none_keeps_nothing(fresh: Site) -> None:
    for name in ("", "x" * 41):
        refused = await fresh.post("/applications/searches", name=name, q="a")
        assert "nothing was kept" in (await fresh.follow(refused)).words
    assert not (await fresh.get("/applications")).tree.xpath("//ul[@class='kept']//a")


def shown_by(cookie: str) -> Kept:
    return Kept.of(Request("GET", "/", {}, "", {"cookie": f"{COOKIE}={cookie}"}))


@pytest.mark.parametrize(
    "told",
    ["", "%", "[]", "{}", "null", '{"columns": 1, "searches": []}', '{"columns": [], "searches": [["a"]]}', "[" * 5000],
)
def test_what_is_not_ours_counts_for_nothing(told: str) -> None:
    assert shown_by(quote(told, safe="")) == Kept()


def test_what_is_kept_comes_back_as_it_was() -> None:
    kept = Kept(in_order(["seen", "paired"]), (Search(HOSTILE[:40], "q=%C3%A4&show=failed"), Search("b", "")))

    header = kept.cookie()["set-cookie"]

    assert header.endswith("; Path=/console; Max-Age=31536000; HttpOnly; SameSite=Strict; Secure")
    assert shown_by(header.partition(";")[0].partition("=")[2]) == kept


def test_a_browser_is_never_given_more_than_it_keeps() -> None:
    kept = Kept(searches=tuple(Search(f"{number:02}" + "ä" * 38, "q=" + "x" * 398) for number in range(20)))

    cookie = kept.cookie()["set-cookie"].partition(";")[0]

    assert len(cookie) <= 4096
    left = shown_by(cookie.partition("=")[2]).searches
    assert left == kept.searches[-len(left) :]
    assert len(left) > 2
