"""Applications in the console: found and registered."""

import pytest

from compass.console.applications import label_value
from tests.console.conftest import Shown, Site


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


def in_list(shown: Shown) -> list[str]:
    return [str(one.text_content()) for one in shown.tree.xpath("//section[@id='list']//td/a[@class='primary']")]


def headers(shown: Shown) -> dict[str, tuple[str | None, str]]:
    """How the list is sorted by what, and where a click leads."""
    return {
        link.text: (link.getparent().get("aria-sort") if link.xpath("span") else None, link.get("href"))
        for link in shown.tree.xpath("//section[@id='list']//th/a")
    }


@pytest.mark.parametrize("kind", ["Application", "Runtime"])
async def test_a_list_is_sorted_by_its_headers_and_keeps_what_is_searched(site: Site, kind: str) -> None:
    place = f"{kind.lower()}s"
    for name in ("sorted-b", "sorted-C", "sorted-a"):
        text = f"mutation ($in: {kind}RegisterInput!) {{ result: register{kind}(in: $in) {{ id }} }}"
        await site.ask(text, **{"in": {"name": name}})

    usual = await site.get(f"/{place}?q=sorted-&columns=registered&after=")
    assert in_list(usual) == ["sorted-a", "sorted-b", "sorted-C"]
    assert headers(usual)["Name"] == (
        "ascending",
        f"/console/{place}?q=sorted-&columns=registered&sort=name-desc",
    )
    assert headers(usual)["Registered"] == (
        None,
        f"/console/{place}?q=sorted-&columns=registered&sort=created-desc",
    )
    newest = await site.get(headers(usual)["Registered"][1].removeprefix("/console"))
    assert in_list(newest) == ["sorted-a", "sorted-C", "sorted-b"]
    assert headers(newest)["Registered"][0] == "descending"
    assert headers(newest)["Name"] == (None, f"/console/{place}?q=sorted-&columns=registered&sort=name")
    oldest = await site.get(headers(newest)["Registered"][1].removeprefix("/console"))
    assert in_list(oldest) == ["sorted-b", "sorted-C", "sorted-a"]
    # Another filter, and what is typed into the search, keep the order.
    (waiting,) = newest.tree.xpath("//nav[@aria-label='Filter']/a[normalize-space()='waiting']/@href")
    assert in_list(await site.get(waiting.removeprefix("/console"))) == in_list(newest)
    assert newest.tree.xpath("//form[@role='search']/input[@name='sort']/@value") == ["created-desc"]
    assert in_list(await site.get(f"/{place}?q=sorted-&sort=nonsense")) == in_list(usual)


async def test_an_order_is_kept_with_a_search(site: Site) -> None:
    await site.register_application("sorted-and-kept")
    moved = await site.post(
        "/applications/searches", name="newest", q="sorted-and", show="", columns="", sort="created-desc"
    )

    (link,) = (await site.follow(moved)).tree.xpath("//ul[@class='kept']//a[.='newest']/@href")
    assert link == "/console/applications?q=sorted-and&sort=created-desc"


async def test_groups_come_by_name_and_backwards(site: Site) -> None:
    for name in ("sorted b", "sorted C", "sorted a"):
        await site.ask("mutation ($n: String!) { result: createFormation(formation: {name: $n}) { id } }", n=name)

    shown = [name for name in in_list(await site.get("/groups")) if name.startswith("sorted")]
    assert shown == ["sorted a", "sorted b", "sorted C"]
    back = [name for name in in_list(await site.get("/groups?sort=name-desc")) if name.startswith("sorted")]
    assert back == ["sorted C", "sorted b", "sorted a"]
