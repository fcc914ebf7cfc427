"""One application in the console: each of its parts, and what is done to it."""

import pytest

from compass.console.application import OFFERS, TABS
from tests.console.conftest import HOSTILE, Site

BUNDLES = [
    {
        "name": "orders",
        "apiDefinitions": [{"name": "orders-v1", "targetURL": "https://shop.example/orders"}],
        "eventDefinitions": [{"name": "order-events"}],
        "documents": [
            {
                "title": "Handbook",
                "displayName": "How to order",
                "description": HOSTILE[:90],
                "format": "MARKDOWN",
                "data": f"# Orders\n{HOSTILE}",
            }
        ],
    }
]


@pytest.mark.parametrize("tab", [*TABS, OFFERS, "nonsense"])
async def test_every_part_of_an_application_can_be_seen(tab: str, site: Site) -> None:
    application, name = await site.application()

    shown = await site.get(f"/applications/{application}?tab={tab}")

    assert shown.tree.findtext(".//h1") == name


async def test_each_part_shows_what_it_is_about(site: Site) -> None:
    application, _ = await site.application(bundles=BUNDLES)
    path = f"/applications/{application}"
    text = "mutation ($bundle: ID!) { result: requestBundleInstanceAuthCreation(bundleID: $bundle, in: {}) { id } }"
    bundle = "query ($id: ID!) { result: application(id: $id) { bundles { data { id } } } }"
    (found,) = (await site.ask(bundle, id=application))["bundles"]["data"]
    await site.ask(text, bundle=found["id"])

    shown = {name: (await site.get(f"{path}?tab={name}")).words for name in TABS}

    assert [name for name, words in shown.items() if "orders-v1" in words] == ["apis", "yaml"]
    assert [name for name, words in shown.items() if "order-events" in words] == ["events", "yaml"]
    assert [name for name, words in shown.items() if "How to order" in words] == ["docs"]
    assert HOSTILE in shown["docs"]
    assert ("No client secret" in shown["credentials"], "orders" in shown["credentials"]) == (True, True)
    assert "Register application" in shown["activity"]
    everything = (await site.get(f"{path}?tab={OFFERS}")).words
    assert all(name in everything for name in ("orders-v1", "order-events", "Credentials given"))


async def test_who_may_not_see_a_part_is_told_so_and_sees_the_others(site: Site) -> None:
    application, name = await site.application()
    async with site.another() as browser:
        await browser.limit("application:read", "health_checks:read")

        shown = {tab: await browser.get(f"/applications/{application}?tab={tab}") for tab in TABS}

    assert {tab: page.status for tab, page in shown.items()} == dict.fromkeys(TABS, 200)
    assert {tab for tab, page in shown.items() if "You may not see" in page.words} == {"activity", "connection"}
    assert name in shown["yaml"].words


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
