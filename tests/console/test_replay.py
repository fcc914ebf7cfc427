"""Replaying what was missed: what was given up is told as it is now, and what is on its way is left alone."""

import asyncio

from compass.console.replay import missed
from tests.console.conftest import Site
from tests.console.test_deliveries import given_up, until_dead

TOLD = "query ($id: ID) { result: webhookDeliveries(webhookID: $id) { totalCount data { id state } } }"


def test_missed_is_what_its_owner_neither_knows_nor_is_being_told() -> None:
    def group(name: str, *pairs: tuple[str, str, str]) -> dict[str, object]:
        data = [{"id": pair, "target": target, "state": state} for pair, target, state in pairs]
        return {"id": name, "formationAssignments": {"data": data}}

    groups = [
        group(
            "g", ("1", "me", "CREATE_ERROR"), ("2", "me", "READY"), ("3", "other", "INITIAL"), ("4", "me", "DELETING")
        ),
        group("h", ("5", "me", "INITIAL")),
        group("i", ("6", "me", "CONFIG_PENDING"), ("7", "me", "DELETE_ERROR")),
    ]

    assert missed("me", groups, {"h"}) == ["1", "4", "7"]
    assert missed("nobody", groups, set()) == []


async def test_what_was_given_up_is_told_anew_and_once(site: Site) -> None:
    webhook, page = await given_up(site)
    await until_dead(site, page)
    assert f"/console/webhooks/{webhook}/replay" in (await site.get(f"/webhooks/{webhook}")).tree.xpath(
        "//form/@action"
    )

    moved = await site.post(f"/webhooks/{webhook}/replay")

    assert "1 notification told anew" in (await site.follow(moved)).words
    async with asyncio.timeout(60):
        while (told := await site.ask(TOLD, id=webhook))["totalCount"] < 2:
            await asyncio.sleep(0.1)
    assert (await site.post("/webhooks/00000000-0000-4000-8000-000000000000/replay")).status == 404
    assert told["data"][1]["state"] == "DEAD"  # the old one stays as it was


async def test_nothing_is_told_where_nothing_was_missed(site: Site) -> None:
    application, _ = await site.application()
    text = """mutation ($id: ID!) { result: addWebhook(applicationID: $id, in: {
        type: CONFIGURATION_CHANGED, url: "https://a.example" }) { id } }"""
    webhook = (await site.ask(text, id=application))["id"]

    moved = await site.post(f"/webhooks/{webhook}/replay")

    assert "Nothing is missing" in (await site.follow(moved)).words
    assert (await site.ask(TOLD, id=webhook))["totalCount"] == 0
