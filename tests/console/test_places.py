"""The navigation: every entry leads to a page, has an icon, and a key of its own."""

from lxml import etree

from compass.console.app import ROUTES
from compass.console.assets import Assets
from compass.console.places import NAVIGATION
from tests.console.conftest import Site

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
