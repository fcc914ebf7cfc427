"""A webhook that is paused is owed everything and told nothing; resumed, it is told all of it, in its order."""

import asyncio
from typing import Any

from tests.delivery.receiver import Call, answer, receiving, takes_it
from tests.director.catalogue import without
from tests.director.groups import (
    Announced,
    application,
    condition,
    deliveries,
    group,
    idle,
    relayed,
    runtime,
    unassign,
    until,
    webhook,
    working,
)

PAUSE = "mutation ($id: ID!) { result: pauseWebhook(webhookID: $id) { id pausedSince } }"
RESUME = "mutation ($id: ID!) { result: resumeWebhook(webhookID: $id) { id pausedSince } }"
TEST = "mutation ($id: ID!) { result: testWebhook(webhookID: $id) { id } }"
WAITS = "{ webhookDeliveries { data { state pausedSince attempts { number } } } }"
NOBODY = "8fd7f7f4-3d6c-4a9a-8f3c-000000000000"


async def changed(director: Any, text: str, hook: str) -> Any:
    return (await director.data(text, id=hook))["result"]


async def waiting(director: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await director.data(WAITS))["webhookDeliveries"]["data"]
    return [one for one in found if one["state"] == "PENDING"]


async def test_a_paused_webhook_is_told_nothing_and_then_everything_in_order(director: Any) -> None:
    async with receiving() as receiver, working(director):
        quiet, other = await application(director, "quiet"), await application(director, "other")
        cluster = await runtime(director, "cluster")
        hook = await webhook(director, receiver.url("/quiet"), application=quiet)
        await webhook(director, receiver.url("/other"), application=other)

        paused = await changed(director, PAUSE, hook["id"])
        await group(director, "g", applications=[quiet, other], runtimes=[cluster])
        await unassign(director, "g", runtime=cluster)
        # The other one is told of the runtime and that it left, so the worker has looked at all that is owed.
        await until(lambda: _told(receiver, "/other", 2))
        await asyncio.sleep(0.3)

        assert [call.path for call in receiver.calls if call.path == "/quiet"] == []
        owed = await waiting(director)
        assert {one["pausedSince"] for one in owed} == {paused["pausedSince"]}
        assert [one["attempts"] for one in owed] == [[] for _ in owed]
        assert await condition(director, "g") == "IN_PROGRESS"

        assert await changed(director, RESUME, hook["id"]) == {"id": hook["id"], "pausedSince": None}
        await idle(director)

    about_runtime = [one for one in await deliveries(director) if one["runtimeID"] == cluster]
    told = [one["operation"] for one in reversed(about_runtime) if one["webhookID"] == hook["id"]]
    assert told == ["assign", "unassign"]
    assert {one["state"] for one in about_runtime} == {"DELIVERED"}
    assert await condition(director, "g") == "READY"
    assert await waiting(director) == []


async def _told(receiver: Any, path: str, times: int) -> bool:
    return [call.path for call in receiver.calls].count(path) >= times


async def test_what_fails_is_not_tried_again_while_it_is_paused(director: Any) -> None:
    async def down(_call: Call) -> bytes:
        return answer(503, b"later")

    async with receiving(down) as receiver, working(director):
        app, cluster = await application(director, "one"), await runtime(director, "cluster")
        hook = await webhook(director, receiver.url(), application=app)
        await group(director, "g", applications=[app], runtimes=[cluster])
        await receiver.has(2)
        await changed(director, PAUSE, hook["id"])
        # A call that is under way is finished, and written down.
        await asyncio.sleep(0.3)
        before = len(receiver.calls)
        await asyncio.sleep(0.5)
        assert len(receiver.calls) == before
        receiver.behaviour = takes_it
        await changed(director, RESUME, hook["id"])
        await idle(director)

    [delivery] = await deliveries(director)
    assert delivery["state"] == "DELIVERED"


async def test_pausing_and_resuming_twice_is_pausing_and_resuming_once(director: Any, announced: Announced) -> None:
    app = await application(director, "one")
    hook = await webhook(director, "https://receiver.example", application=app)
    before = len(await announced())

    first = await changed(director, PAUSE, hook["id"])
    assert await changed(director, PAUSE, hook["id"]) == first
    assert first["pausedSince"]
    assert len(await announced()) == before + 1
    for _ in range(2):
        assert (await changed(director, RESUME, hook["id"]))["pausedSince"] is None
    assert len(await announced()) == before + 2


async def test_a_paused_webhook_is_not_tested(director: Any) -> None:
    app = await application(director, "one")
    hook = await webhook(director, "https://receiver.example", application=app)
    await changed(director, PAUSE, hook["id"])

    error = await director.refusal(TEST, id=hook["id"])

    assert "the webhook is paused, so it is not called: resume it first" in error["message"]
    assert await deliveries(director) == []


async def test_a_change_leaves_it_paused_and_removing_it_cancels_what_waits(director: Any) -> None:
    async with receiving() as receiver, working(director, relaying=False):
        app, cluster = await application(director, "one"), await runtime(director, "cluster")
        hook = await webhook(director, receiver.url(), application=app)
        await changed(director, PAUSE, hook["id"])
        await group(director, "g", applications=[app], runtimes=[cluster])
        await relayed(director)
        text = "mutation ($id: ID!, $in: WebhookInput!) { r: updateWebhook(webhookID: $id, in: $in) { pausedSince } }"
        given = {"type": "CONFIGURATION_CHANGED", "url": receiver.url("/new")}
        assert (await director.data(text, id=hook["id"], **{"in": given}))["r"]["pausedSince"]
        await asyncio.sleep(0.3)
        assert receiver.calls == []
        await director.data("mutation ($id: ID!) { deleteWebhook(webhookID: $id) { id } }", id=hook["id"])
        await relayed(director)
        await idle(director)

    assert receiver.calls == []
    assert {one["state"] for one in await deliveries(director)} == {"CANCELLED"}


async def test_who_may_not_change_a_webhook_may_not_pause_it(director: Any, announced: Announced) -> None:
    app, other = await application(director, "one"), await application(director, "other")
    hook = await webhook(director, "https://receiver.example", application=app)
    before = await announced()

    for text in (PAUSE, RESUME):
        for caller in (director.other, director.application(other)):
            error = await director.refusal(text, caller=caller, id=hook["id"])
            assert error["message"] == "Object not found [object=webhook]"
        error = await director.refusal(text, id=NOBODY)
        assert error["message"] == "Object not found [object=webhook]"
        await director.refusal(text, caller=without(director.caller, "webhook:write"), id=hook["id"])

    assert await announced() == before
