"""Label definitions in the console: read, changed, and what a change would break."""

from collections.abc import AsyncIterator

import pytest

from compass.console.label_definitions import KEY, schema, values
from tests.console.conftest import Shown, Site

PAGE = f"/label-definitions/{KEY}"


@pytest.fixture
async def own(site: Site) -> AsyncIterator[Site]:
    """A browser in a tenant of its own, where nobody else makes groups."""
    tenant = await site.tenant()
    async with site.another() as browser:
        await browser.post("/tenants", tenant=tenant)
        yield browser


async def save(browser: Site, *names: str, do: str = "save", was: str | None = None) -> Shown:
    if was is None:
        (was, *_) = (await browser.get(PAGE)).tree.xpath("//input[@name='was']/@value")
    return await browser.post(PAGE, schema=schema(*names), was=was, do=do)


async def groups(browser: Site) -> list[str]:
    page = await browser.get("/groups")
    return sorted(str(one.text) for one in page.tree.xpath("//section[@id='list']//tbody//a"))


def test_values_are_those_of_the_items() -> None:
    assert values(schema("b", "a")) == ["b", "a"]
    assert [values(one) for one in (None, "", "[]", '{"items": {}}', '{"items": {"enum": 1}}', "nonsense")] == [[]] * 6


async def test_a_tenant_without_groups_is_led_to_its_first_definition(own: Site) -> None:
    empty = await own.get("/label-definitions")
    assert "No definition yet" in empty.words
    assert f"/console{PAGE}" in empty.links

    made = await save(own, "north", "south")

    assert "Label scenarios is defined" in (await own.follow(made)).words
    assert await groups(own) == ["north", "south"]
    listed = await own.get("/label-definitions")
    assert listed.tree.xpath("//span[@class='chip']/text()") == ["north", "south"]


async def test_what_a_change_would_do_is_shown_before_it_is_done(own: Site) -> None:
    await save(own, "north", "south")

    looked = await save(own, "south", "west", do="check")

    assert looked.status == 200
    assert "west becomes a group" in looked.words
    assert "north is removed; nobody is in it" in looked.words
    assert '"west"' in looked.tree.xpath("string(//textarea)")
    assert await groups(own) == ["north", "south"]  # nothing was done yet
    await save(own, "south", "west")
    assert await groups(own) == ["south", "west"]


async def test_a_change_that_would_break_objects_is_refused_with_their_list(own: Site) -> None:
    await save(own, "north", "south")
    application, name = await own.register_application()
    await own.post(f"/applications/{application}/join", group="north")

    refused = await save(own, "south")

    assert refused.status == 422
    assert f"north cannot go, in it: application {name}" in refused.words
    assert refused.tree.xpath("//p[@role='alert']")
    assert values(refused.tree.xpath("string(//textarea)")) == ["south"]  # what was typed stays
    assert await groups(own) == ["north", "south"]
    usage = (await own.get("/label-definitions")).tree.xpath("//td[@data-name='Applications']/text()")
    assert usage == ["1"]


async def test_one_value_more_is_added_without_the_schema(own: Site) -> None:
    await save(own, "north")
    (was, *_) = (await own.get(PAGE)).tree.xpath("//input[@name='was']/@value")

    added = await own.follow(await own.post(PAGE, do="add", value="south", was=was))
    refused = await own.post(PAGE, do="add", value="not/one", was='["north", "south"]')

    assert "Label scenarios is defined" in added.words
    assert refused.status == 422
    assert await groups(own) == ["north", "south"]


async def test_a_change_of_somebody_else_meanwhile_is_not_overwritten(own: Site) -> None:
    await save(own, "north")
    (was, *_) = (await own.get(PAGE)).tree.xpath("//input[@name='was']/@value")
    await save(own, "north", "theirs")

    refused = await save(own, "north", "mine", was=was)

    assert refused.status == 422
    assert "Somebody else changed it meanwhile" in refused.words
    assert "theirs is removed; nobody is in it" in refused.words
    assert await groups(own) == ["north", "theirs"]


@pytest.mark.parametrize("typed", ["{", "[]", "{}", '{"type": "string"}', schema(), schema("a b!")])
async def test_what_is_no_definition_is_refused_and_stays_as_it_was_typed(own: Site, typed: str) -> None:
    refused = await own.post(PAGE, schema=typed, was="[]", do="save")

    assert refused.status == 422
    assert refused.tree.xpath("string(//p[@role='alert'])").strip()
    assert refused.tree.xpath("string(//textarea)") == typed
    assert await groups(own) == []


async def test_there_is_no_definition_of_another_label(own: Site) -> None:
    assert (await own.get("/label-definitions/colour")).status == 404
    assert (await own.post("/label-definitions/colour", schema="{}", do="save")).status == 404
