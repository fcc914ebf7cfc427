"""Applications in the console: found, registered, labelled, grouped, removed."""

import pytest

from compass.console.applications import TABS, label_value
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


@pytest.mark.parametrize("tab", [*TABS, "nonsense"])
async def test_every_part_of_an_application_can_be_seen(tab: str, site: Site) -> None:
    application, name = await site.application()

    shown = await site.get(f"/applications/{application}?tab={tab}")

    assert shown.tree.findtext(".//h1") == name


async def test_it_joins_and_leaves_a_group(site: Site) -> None:
    application, _ = await site.application()
    _, group = await site.group()

    joined = await site.post(f"/applications/{application}/join", group=group)
    assert joined.headers["location"].endswith("?tab=groups")
    assert f"It is in {group} now" in (await site.follow(joined)).words
    left = await site.post(f"/applications/{application}/leave", group=group)

    assert f"It leaves {group}" in (await site.follow(left)).words
    text = 'query ($id: ID!) { result: application(id: $id) { labels(key: "scenarios") } }'
    assert await site.ask(text, id=application) == {"labels": {}}


async def test_a_label_is_set_as_json_or_as_text_and_removed(site: Site) -> None:
    application, _ = await site.application()
    text = "query ($id: ID!) { result: application(id: $id) { labels } }"

    await site.post(f"/applications/{application}/label", key="region", value='["eu"]')
    await site.post(f"/applications/{application}/label", key="tier", value="gold")
    labels = (await site.ask(text, id=application))["labels"]
    assert (labels["region"], labels["tier"]) == (["eu"], "gold")
    await site.post(f"/applications/{application}/unlabel", key="tier")

    assert "tier" not in (await site.ask(text, id=application))["labels"]
    assert [label_value(one) for one in ("1", "true", "a b", "[")] == [1, True, "a b", "["]


async def test_it_is_removed_only_by_its_name(site: Site) -> None:
    application, name = await site.application()

    kept = await site.post(f"/applications/{application}/unregister", name="something else")
    assert f"Type {name} to remove it; nothing was changed" in (await site.follow(kept)).words
    removed = await site.post(f"/applications/{application}/unregister", name=name)

    assert f"{name} is gone" in (await site.follow(removed)).words
    assert (await site.get(f"/applications/{application}")).status == 404


async def test_unpairing_is_refused_with_the_planes_words_while_a_runtime_shares_a_group(site: Site) -> None:
    application, _ = await site.application()
    runtime, _ = await site.runtime()
    await site.group(("APPLICATION", application), ("RUNTIME", runtime))

    refused = await site.post(f"/applications/{application}/unpair", back=f"/console/applications/{application}")

    shown = await site.follow(refused)
    assert shown.tree.xpath("//p[contains(@class, 'bad')]")
