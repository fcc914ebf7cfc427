"""Replaying what a webhook's owner has missed: pairs of its groups of which it neither knows nor is being told."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

from compass.console.http import Answer
from compass.console.page import groups_of
from compass.console.plane import Gone
from compass.console.visit import View, Visit

MOST_GROUPS: Final = 50
"""Of one owner that are looked through at once."""
UNSETTLED: Final = frozenset({"INITIAL", "CREATE_ERROR", "DELETING", "DELETE_ERROR"})
"""States of a pair whose target does not know yet."""


async def replay(visit: Visit) -> Answer:
    """Have the owner told of what it has missed. Raises Gone.

    What was given up and is outdated cannot be sent again; the present state can be told. What is on its way is left
    alone, so that nobody is told twice.
    """
    page = f"/webhooks/{visit['id']}"
    found = (await visit.ask("Webhooks", id=visit["id"], first=1))["webhooks"]["data"]
    if not found:
        raise Gone(what="webhook")
    owner = found[0]["applicationID"] or found[0]["runtimeID"]
    asked = await visit.ask("OwnerGroups", id=owner, isApplication=bool(found[0]["applicationID"]))
    groups = groups_of((asked.get("application") or asked.get("runtime") or {}).get("labels"))[:MOST_GROUPS]
    waiting = await visit.ask("WebhookDeliveries", webhook=visit["id"], state="PENDING", first=200)
    read = await asyncio.gather(*(visit.ask("PairsOfGroup", name=name) for name in groups))
    pairs = missed(
        owner,
        [one["formationByName"] for one in read],
        {one["formationID"] for one in waiting["webhookDeliveries"]["data"]},
    )
    for pair in pairs:
        await visit.ask("ResyncPair", id=pair)
    if not pairs:
        return visit.done("Nothing is missing: all was told, or is on its way", page)
    amount = len(pairs)
    return visit.done(f"{amount} notification{'' if amount == 1 else 's'} told anew", page)


def missed(owner: str, groups: Iterable[Mapping[str, Any]], on_their_way: set[str]) -> list[str]:
    """The ids of the pairs that an owner has missed; `on_their_way` are groups of which it is being told."""
    return [
        pair["id"]
        for group in groups
        if group["id"] not in on_their_way
        for pair in group["formationAssignments"]["data"]
        if pair["target"] == owner and pair["state"] in UNSETTLED
    ]


ROUTES: Final[Mapping[tuple[str, str], View]] = {("POST", "/webhooks/{id}/replay"): replay}
