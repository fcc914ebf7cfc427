"""Applications in the console: found and registered."""

from compass.console.applications import label_value
from tests.console.conftest import Site


async def test_the_list_is_searched_in_name_provider_and_description(site: Site) -> None:
    await site.application("needle-by-name")
    await site.application("other-1", providerName="Needle Inc")
    await site.application("other-2", description="has a nEEdle in it")
    await site.application("plain-3")

    shown = await site.get("/applications?q=NEEDLE")

    assert [name in shown.words for name in ("needle-by-name", "other-1", "other-2", "plain-3")] == [True] * 3 + [False]
    assert "Nothing matches" in (await site.get("/applications?q=%25_")).words
    assert "Nothing matches" in (await site.get("/applications?q=needle&show=connected")).words


async def test_a_long_list_comes_in_pages(site: Site) -> None:
    for number in range(51):
        await site.application(f"many-{number:02}")

    first = await site.get("/applications?q=many-")
    (following,) = (link for link in first.links if "after=" in link)
    second = await site.get(following.removeprefix("/console"))

    assert ("51 in all" in first.words, "many-49" in first.words, "many-50" in first.words) == (True, True, False)
    assert ("many-00" in second.words, "many-50" in second.words) == (False, True)
    assert "q=many-" in following


async def test_a_new_one_is_registered_and_goes_on_to_pairing(site: Site) -> None:
    _, group = await site.group()

    moved = await site.post("/applications/new", name="brand-new", providerName="ACME", description="", group=group)

    application = moved.headers["location"].split("/")[3]
    assert moved.headers["location"] == f"/console/applications/{application}/pair"
    assert "brand-new is registered" in (await site.follow(moved)).words
    text = "query ($id: ID!) { result: application(id: $id) { name providerName description labels } }"
    assert await site.ask(text, id=application) == {
        "name": "brand-new",
        "providerName": "ACME",
        "description": None,
        "labels": {"name": "mp-brand-new", "managed": "false", "scenarios": [group]},
    }


async def test_a_form_that_was_refused_keeps_what_was_typed(site: Site) -> None:
    await site.application("taken")
    before = await site.ask("{ result: applications { totalCount } }")

    shown = await site.post("/applications/new", name="taken", providerName="Typed & kept", description="long <text>")

    assert shown.status == 422
    assert shown.tree.xpath("//p[@role='alert']")
    assert shown.tree.xpath("//input[@name='providerName']/@value") == ["Typed & kept"]
    assert shown.tree.xpath("//textarea")[0].text == "long <text>"
    assert await site.ask("{ result: applications { totalCount } }") == before


async def test_the_form_offers_templates_too(site: Site) -> None:
    text = "mutation ($in: ApplicationTemplateInput!) { result: createApplicationTemplate(in: $in) { id } }"
    new = {"name": "shop-template", "applicationInput": {"name": "shop"}, "placeholders": [], "accessLevel": "GLOBAL"}
    template = (await site.ask(text, **{"in": new}))["id"]

    shown = await site.get("/applications/new")

    assert f"/console/templates/{template}" in shown.links
    assert "/console/templates" in (await site.get("/applications")).links


def test_a_label_is_json_when_it_reads_so() -> None:
    assert [label_value(one) for one in ("1", "true", "a b", "[")] == [1, True, "a b", "["]
