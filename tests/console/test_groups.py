"""Groups in the console: made, filled, seen as a matrix, emptied, removed."""

import asyncio
from typing import Any

from compass.console.groups import members_of, why
from tests.console.conftest import Site


async def test_a_group_is_made_filled_emptied_and_removed(site: Site) -> None:
    application, name = await site.application()
    made = await site.post("/groups", name="by hand")
    page = made.headers["location"].removeprefix("/console")
    assert "Nobody is in it" in (await site.follow(made)).words

    await site.post(f"{page}/join", group="by hand", member=f"APPLICATION {application}")
    shown = await site.get(page)
    assert name in shown.words
    assert f"It cannot be removed while somebody is in it: {name}." in shown.words
    refused = await site.post(f"{page}/delete", group="by hand", back=f"/console{page}")
    assert (await site.follow(refused)).tree.xpath("//p[contains(@class, 'bad')]")
    await site.post(f"{page}/leave", group="by hand", member=f"APPLICATION {application}")
    gone = await site.post(f"{page}/delete", group="by hand")

    assert "by hand is gone" in (await site.follow(gone)).words
    assert (await site.get(page)).status == 404


async def test_the_matrix_shows_every_pair_with_its_state(site: Site) -> None:
    application, _ = await site.application()
    runtime, _ = await site.runtime()
    group, _ = await site.group(("APPLICATION", application), ("RUNTIME", runtime))

    shown = await site.get(f"/groups/{group}")

    cells = shown.tree.xpath("//table[@class='matrix']//td/span[contains(@class, 'cell')]/@title")
    assert len(cells) == 2
    assert all(title.endswith((": ready", "not connected yet")) for title in cells)


async def test_telling_again_is_possible(site: Site) -> None:
    group, _ = await site.group()

    moved = await site.post(f"/groups/{group}/resynchronize")

    assert "Whoever did not know yet is being told" in (await site.follow(moved)).words


async def test_of_one_that_failed_the_error_is_shown_and_it_is_told_again(site: Site) -> None:
    application, name = await site.application()
    runtime, _ = await site.runtime()
    text = """mutation ($id: ID!) { result: addWebhook(applicationID: $id, in: {
        type: CONFIGURATION_CHANGED, url: "https://127.0.0.1:9" }) { id } }"""
    await site.ask(text, id=application)
    group, _ = await site.group(("APPLICATION", application), ("RUNTIME", runtime))
    page = f"/groups/{group}"
    async with asyncio.timeout(60):
        while not (pairs := (await site.get(page)).tree.xpath("//form/input[@name='pair']/@value")):
            await asyncio.sleep(0.1)

    again = await site.post(f"{page}/tell-again", pair=str(pairs[0]))

    shown = await site.follow(again)
    assert f"{name}, told of" in shown.words
    assert '{"error"' not in shown.words
    assert "It is being told again" in shown.words
    assert shown.tree.xpath("//main/@hx-trigger") == ["changed, every 2s"]  # while somebody does not know yet


async def test_whom_a_rule_would_bring_is_shown_before_and_joins_then(site: Site) -> None:
    subaccount = f"sub-{id(site)}"
    made = {"name": subaccount, "externalTenant": subaccount, "type": "subaccount", "provider": "test"}
    text = "mutation ($in: BusinessTenantMappingInput!) { result: writeTenant(in: $in) }"
    await site.ask(text, **{"in": {**made, "parents": [site.started.tenant]}})
    group, name = await site.group()
    page = f"/groups/{group}"
    nobody = await site.get(f"{page}?subaccount=nobody")
    assert "Object not found" in nobody.words
    shown = await site.get(f"{page}?subaccount={subaccount}")
    assert "Nobody would join now" in shown.words
    within = f"runtime-of-{subaccount}"
    async with site.another() as theirs:
        await theirs.post("/tenants", tenant=subaccount)
        await theirs.post("/runtimes/new", name=within)

    shown = await site.get(f"{page}?subaccount={subaccount}")
    assert f"Would join now: 1{within}" in shown.words
    assert "Nobody is in it" in shown.words
    added = await site.post(f"{page}/rule", group=name, subaccount=subaccount)

    shown = await site.follow(added)
    assert f"The runtimes of subaccount {subaccount} are in it" in shown.words
    assert shown.tree.xpath("//span[text()='by rule']")
    assert f"Leave with it: 1{within}" in shown.words
    assert not [one for one in shown.tree.xpath("//form/@action") if one.endswith("/leave")]
    removed = await site.post(f"{page}/unrule", group=name, subaccount=subaccount)
    assert "Nobody is in it" in (await site.follow(removed)).words


def test_the_error_of_a_pair_is_a_sentence() -> None:
    assert why('{"error": {"message": "it is away", "errorCode": 1}}') == "it is away"
    assert [why(text) for text in ("it is away", '{"error": 1}', "[]")] == ["it is away", '{"error": 1}', "[]"]


def test_members_are_the_pairs_of_a_participant_with_itself() -> None:
    pairs: list[dict[str, Any]] = [
        {"source": "1", "target": "1", "sourceType": "RUNTIME", "state": "READY", "sourceEntity": {"name": "r"}},
        {"source": "2", "target": "1", "sourceType": "APPLICATION", "state": "READY", "sourceEntity": None},
        {"source": "2", "target": "2", "sourceType": "APPLICATION", "state": "READY", "sourceEntity": None},
        {
            "source": "3",
            "target": "3",
            "sourceType": "RUNTIME_CONTEXT",
            "state": "READY",
            "sourceEntity": {"value": "v"},
        },
    ]

    members = members_of(pairs)

    assert [(one.name, one.path) for one in members] == [("2", "/applications/2"), ("r", "/runtimes/1"), ("v", None)]
