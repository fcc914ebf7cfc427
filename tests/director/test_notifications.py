"""Who is told of what, with the plane's own relay and delivery worker and a receiver on a real socket."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import orjson
import pytest
from standardwebhooks import Webhook

from compass.director import application as application_noun
from compass.director import runtime as runtime_noun
from compass.outbox.append import append
from compass.outbox.relay import Relay
from compass.postgres.pool import Tx
from tests.delivery.receiver import Call, Receiver, answer, hangs, receiving, takes_it
from tests.director.groups import (
    DELETE_FORMATION,
    PLANE,
    SET_RUNTIME_LABEL,
    STATUS,
    application,
    assign,
    condition,
    deliveries,
    group,
    idle,
    relayed,
    runtime,
    states,
    unassign,
    until,
    webhook,
    working,
)

UNREGISTER = "mutation ($id: ID!) { unregisterRuntime(id: $id) { id } }"
EVENT_URL = "runtime_eventServiceUrl"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as running:
        yield running


def data(call: Call) -> dict[str, Any]:
    read: dict[str, Any] = orjson.loads(call.body)["data"]
    return read


def heard(receiver: Receiver) -> list[tuple[str, str, str]]:
    """Operation, application and runtime of every call, in the order of arrival."""
    return [(data(c)["operation"], data(c)["applicationID"], data(c)["runtimeID"]) for c in receiver.calls]


async def connect(director: Any, runtime_id: str) -> None:
    """The runtime's agent calls with its certificate."""
    async with director.database.transaction() as tx:
        await runtime_noun.connect(tx, runtime_id)  # type: ignore[arg-type]  # a text is an id here


async def set_label(director: Any, runtime_id: str, key: str, value: str) -> None:
    await director.data(SET_RUNTIME_LABEL, id=runtime_id, key=key, value=value)


async def told_application(director: Any, receiver: Receiver, name: str) -> tuple[str, dict[str, Any]]:
    """An application with a webhook at the receiver."""
    app = await application(director, name)
    return app, await webhook(director, receiver.url(f"/{name}"), application=app)


# What is told


async def test_a_runtime_that_is_ready_is_told_once_to_every_application_of_its_groups(
    director: Any, receiver: Receiver
) -> None:
    apps = [(await told_application(director, receiver, f"app-{number}"))[0] for number in range(3)]
    silent = await application(director, "without-webhook")
    outside = (await told_application(director, receiver, "outside"))[0]
    cluster, other = await runtime(director, "cluster"), await runtime(director, "other")
    await group(director, "g", applications=[*apps, silent], runtimes=[cluster])
    await group(director, "elsewhere", applications=[outside], runtimes=[other])
    async with working(director):
        await idle(director)
        receiver.calls.clear()

        await connect(director, cluster)
        await connect(director, cluster)
        await idle(director)

    assert Counter(heard(receiver)) == Counter([("ready", app, cluster) for app in apps])


async def test_a_runtime_in_no_group_is_told_to_nobody(director: Any, receiver: Receiver) -> None:
    await told_application(director, receiver, "one")
    cluster = await runtime(director, "cluster")

    await connect(director, cluster)
    await relayed(director)

    assert await deliveries(director) == []


async def test_the_notification_is_a_signed_cloud_event_without_secrets(director: Any, receiver: Receiver) -> None:
    app, hook = await told_application(director, receiver, "one")
    cluster = await runtime(director, "cluster")
    formation = await group(director, "g", applications=[app], runtimes=[cluster])
    async with working(director):
        await idle(director)

    [call] = receiver.calls
    verified = Webhook(hook["signingSecret"]).verify(call.body, call.headers)
    [delivery] = await deliveries(director)
    assert call.id == delivery["id"]
    assert call.headers["content-type"] == "application/cloudevents+json"
    assert 0 <= time.time() - datetime.fromisoformat(verified.pop("time")).timestamp() < 60
    assert len(verified.pop("id")) == 36
    assert verified == {
        "specversion": "1.0",
        "source": PLANE,
        "type": "io.compass.runtime.assign.v1",
        "subject": cluster,
        "datacontenttype": "application/json",
        "data": {
            "operation": "assign",
            "applicationID": app,
            "runtimeID": cluster,
            "application": {"id": app, "name": "one"},
            "runtime": {"id": cluster, "name": "cluster"},
            "formation": {"id": formation, "name": "g"},
        },
    }


@pytest.mark.parametrize("key", [EVENT_URL, "runtime_consoleUrl"])
async def test_a_new_address_of_a_runtime_is_told_and_the_same_again_is_not(
    director: Any, receiver: Receiver, key: str
) -> None:
    app, _ = await told_application(director, receiver, "one")
    cluster = await runtime(director, "cluster")
    await group(director, "g", applications=[app], runtimes=[cluster])
    async with working(director):
        await idle(director)
        receiver.calls.clear()

        await set_label(director, cluster, key, "https://a.example")
        await set_label(director, cluster, key, "https://a.example")
        await set_label(director, cluster, "colour", "blue")
        await set_label(director, cluster, key, "https://b.example")
        await director.data(
            "mutation ($id: ID!, $k: String!) { deleteRuntimeLabel(runtimeID: $id, key: $k) { key } }",
            id=cluster,
            k=key,
        )
        await idle(director)

    assert heard(receiver) == [("changed", app, cluster)] * 3


async def test_an_update_that_moves_a_runtime_is_told_and_one_that_does_not_is_not(
    director: Any, receiver: Receiver
) -> None:
    app, _ = await told_application(director, receiver, "one")
    cluster = await runtime(director, "cluster")
    await group(director, "g", applications=[app], runtimes=[cluster])
    update = "mutation ($id: ID!, $in: RuntimeUpdateInput!) { updateRuntime(id: $id, in: $in) { id } }"
    async with working(director):
        await idle(director)
        receiver.calls.clear()

        await director.data(update, id=cluster, **{"in": {"name": "renamed", "labels": {"colour": "blue"}}})
        await director.data(
            update, id=cluster, **{"in": {"name": "renamed", "labels": {EVENT_URL: "https://a.example"}}}
        )
        await director.data(
            update,
            id=cluster,
            **{"in": {"name": "x", "labels": {EVENT_URL: "https://a.example"}, "statusCondition": "CONNECTED"}},
        )
        await idle(director)

    assert heard(receiver) == [("changed", app, cluster), ("ready", app, cluster)]


@pytest.mark.parametrize("last", ["application", "runtime"])
async def test_joining_is_told_whichever_side_joins_last(director: Any, receiver: Receiver, last: str) -> None:
    app, _ = await told_application(director, receiver, "one")
    cluster = await runtime(director, "cluster")
    await group(director, "g")
    async with working(director):
        for side, id_ in sorted({"application": app, "runtime": cluster}.items(), key=lambda pair: pair[0] == last):
            await assign(director, "g", **{side: id_})
        await idle(director)

    assert heard(receiver) == [("assign", app, cluster)]


@pytest.mark.parametrize("leaving", ["application", "runtime"])
async def test_leaving_is_told_whichever_side_leaves(director: Any, receiver: Receiver, leaving: str) -> None:
    app, _ = await told_application(director, receiver, "one")
    cluster = await runtime(director, "cluster")
    await group(director, "g", applications=[app], runtimes=[cluster])
    async with working(director):
        await idle(director)
        receiver.calls.clear()

        await unassign(director, "g", **{leaving: {"application": app, "runtime": cluster}[leaving]})
        await idle(director)

    assert heard(receiver) == [("unassign", app, cluster)]
    assert data(receiver.calls[0])["formation"]["name"] == "g"
    assert await states(director, "g") == []


async def test_unregistering_a_runtime_is_told_once_with_its_name(director: Any, receiver: Receiver) -> None:
    app, _ = await told_application(director, receiver, "one")
    cluster = await runtime(director, "cluster")
    await group(director, "g", applications=[app], runtimes=[cluster])
    await group(director, "h", applications=[app], runtimes=[cluster])
    async with working(director):
        await idle(director)
        receiver.calls.clear()

        await director.data(UNREGISTER, id=cluster)
        await idle(director)

    assert heard(receiver) == [("unregister", app, cluster)]
    assert data(receiver.calls[0])["runtime"] == {"id": cluster, "name": "cluster"}


async def test_two_shared_groups_make_one_notification_of_a_ready_runtime(director: Any, receiver: Receiver) -> None:
    app, _ = await told_application(director, receiver, "one")
    cluster = await runtime(director, "cluster")
    await group(director, "g", applications=[app], runtimes=[cluster])
    await group(director, "h", applications=[app], runtimes=[cluster])
    async with working(director):
        await idle(director)
        assert heard(receiver) == [("assign", app, cluster)] * 2
        receiver.calls.clear()

        await connect(director, cluster)
        await set_label(director, cluster, EVENT_URL, "https://a.example")
        await idle(director)

    assert heard(receiver) == [("ready", app, cluster), ("changed", app, cluster)]


async def test_leaving_one_of_two_shared_groups_is_told_to_nobody_and_the_last_is(
    director: Any, receiver: Receiver
) -> None:
    app, _ = await told_application(director, receiver, "one")
    cluster = await runtime(director, "cluster")
    await group(director, "g", applications=[app], runtimes=[cluster])
    await group(director, "h", applications=[app], runtimes=[cluster])
    async with working(director):
        await idle(director)
        receiver.calls.clear()

        await unassign(director, "g", runtime=cluster)
        await idle(director)
        assert heard(receiver) == []
        assert await states(director, "g") == []

        await unassign(director, "h", application=app)
        await idle(director)

    assert heard(receiver) == [("unassign", app, cluster)]


async def test_leaving_two_groups_at_once_is_told(director: Any, receiver: Receiver) -> None:
    app, _ = await told_application(director, receiver, "one")
    cluster = await runtime(director, "cluster")
    await group(director, "g", applications=[app], runtimes=[cluster])
    await group(director, "h", applications=[app], runtimes=[cluster])
    async with working(director):
        await idle(director)
        receiver.calls.clear()

        await asyncio.gather(unassign(director, "g", runtime=cluster), unassign(director, "h", application=app))
        await idle(director)

    # Once per cause when neither saw the other's group any more, and never not at all.
    assert set(heard(receiver)) == {("unassign", app, cluster)}
    assert len(receiver.calls) <= 2


async def test_every_webhook_of_an_application_is_told_and_other_types_are_not(
    director: Any, receiver: Receiver
) -> None:
    app, _ = await told_application(director, receiver, "one")
    await webhook(director, receiver.url("/second"), application=app)
    await webhook(director, receiver.url("/never"), application=app, type="OPEN_RESOURCE_DISCOVERY")
    cluster = await runtime(director, "cluster")
    async with working(director):
        await group(director, "g", applications=[app], runtimes=[cluster])
        await idle(director)

    assert sorted(call.path for call in receiver.calls) == ["/one", "/second"]


async def test_a_runtime_with_a_webhook_is_told_of_the_applications_that_come_and_go(
    director: Any, receiver: Receiver
) -> None:
    app, cluster = await application(director, "one"), await runtime(director, "cluster")
    await webhook(director, receiver.url("/cluster"), runtime=cluster)
    async with working(director):
        await group(director, "g", applications=[app], runtimes=[cluster])
        await idle(director)
        await connect(director, cluster)
        await unassign(director, "g", application=app)
        await idle(director)

    assert heard(receiver) == [("assign", app, cluster), ("unassign", app, cluster)]
    assert {orjson.loads(call.body)["subject"] for call in receiver.calls} == {app}


# Only what was committed


async def test_a_change_that_was_rolled_back_is_told_to_nobody(director: Any, receiver: Receiver) -> None:
    app, _ = await told_application(director, receiver, "one")
    cluster = await runtime(director, "cluster")
    await group(director, "g", applications=[app], runtimes=[cluster])
    async with working(director):
        await idle(director)
        receiver.calls.clear()

        with pytest.raises(ZeroDivisionError):
            async with director.database.transaction() as tx:
                await runtime_noun.connect(tx, cluster)  # type: ignore[arg-type]  # a text is an id here
                await append(tx, application_noun.ApplicationConnected(director.caller.tenant, app))  # type: ignore[arg-type]  # as above
                raise ZeroDivisionError
        await director.refusal(UNREGISTER, caller=director.other, id=cluster)
        await asyncio.sleep(0.3)
        await idle(director)

    assert receiver.calls == []


async def test_a_relay_that_dies_after_it_owed_and_before_it_committed_tells_once(
    director: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, _ = await told_application(director, receiver, "one")
    cluster = await runtime(director, "cluster")
    await group(director, "g", applications=[app], runtimes=[cluster])
    await relayed(director)
    await connect(director, cluster)
    died = False
    react = Relay._react

    async def dies_once(self: Relay, tx: Tx, name: str, facts: dict[str, Any]) -> None:
        nonlocal died
        await react(self, tx, name, facts)
        if not died:
            died = True
            raise ConnectionError

    monkeypatch.setattr(Relay, "_react", dies_once)
    with pytest.raises(ConnectionError):
        await relayed(director)
    async with working(director):
        await idle(director)

    assert heard(receiver) == [("assign", app, cluster), ("ready", app, cluster)]


async def test_a_foreign_tenants_runtime_is_told_to_nobody_here(director: Any, receiver: Receiver) -> None:
    app, _ = await told_application(director, receiver, "one")
    await group(director, "g", applications=[app], runtimes=[await runtime(director, "mine")])
    theirs = await runtime(director, "theirs", caller=director.other)
    async with working(director):
        await idle(director)
        receiver.calls.clear()
        await connect(director, theirs)
        await director.data(UNREGISTER, caller=director.other, id=theirs)
        await idle(director)

    assert receiver.calls == []
    page = await director.data("{ webhookDeliveries { totalCount } }", caller=director.other)
    assert page == {"webhookDeliveries": {"totalCount": 0}}


# Receivers that fail


async def test_a_receiver_that_was_down_hears_everything_in_order_when_it_is_back(
    director: Any, receiver: Receiver
) -> None:
    async def down(_call: Call) -> bytes:
        return answer(503)

    app, _ = await told_application(director, receiver, "one")
    cluster = await runtime(director, "cluster")
    receiver.behaviour = down
    async with working(director):
        await group(director, "g", applications=[app], runtimes=[cluster])
        await connect(director, cluster)
        await set_label(director, cluster, EVENT_URL, "https://a.example")
        await unassign(director, "g", application=app)
        await receiver.has(2)
        assert {data(call)["operation"] for call in receiver.calls} <= {"assign", "unassign"}
        receiver.calls.clear()
        receiver.behaviour = takes_it
        await idle(director)

    told = [data(call)["operation"] for call in receiver.calls]
    assert told[0] == "assign" or told == ["unassign"]
    assert told[-1] == "unassign"
    assert told == sorted(told, key=["assign", "ready", "changed", "unassign"].index)


async def test_what_one_receiver_is_told_about_one_runtime_arrives_in_the_order_of_the_causes(
    director: Any, receiver: Receiver
) -> None:
    app, _ = await told_application(director, receiver, "one")
    clusters = [await runtime(director, f"cluster-{number}") for number in range(4)]
    urls: dict[str, list[str]] = {cluster: [] for cluster in clusters}
    await group(director, "g", applications=[app], runtimes=clusters)
    failing = Counter[str]()

    async def shaky(call: Call) -> bytes:
        failing[call.id] += 1
        return answer(200 if failing[call.id] > 1 or call.id[0] in "01234567" else 500)

    async with working(director):
        await idle(director)
        receiver.calls.clear()
        receiver.behaviour = shaky
        for number in range(10):
            for cluster in clusters:
                urls[cluster].append(f"https://{number}.example")
                await set_label(director, cluster, EVENT_URL, urls[cluster][-1])
        await idle(director)

    order = [delivery["id"] for delivery in reversed(await deliveries(director, first=200))]
    for cluster in clusters:
        seen = [call.id for call in receiver.calls if data(call)["runtimeID"] == cluster]
        once = list(dict.fromkeys(seen))
        assert len(once) == 10
        assert once == sorted(once, key=order.index)


async def test_a_receiver_that_hangs_holds_up_nobody_else_and_hears_of_it_again(
    director: Any, receiver: Receiver
) -> None:
    app, _ = await told_application(director, receiver, "one")
    cluster = await runtime(director, "cluster")
    async with receiving(hangs) as hanging:
        slow = await application(director, "slow")
        hook = await webhook(director, hanging.url(), application=slow)
        async with working(director):
            await group(director, "g", applications=[app, slow], runtimes=[cluster])
            await receiver.has(1, within=5)
            await hanging.has(2)
            pending = await deliveries(director, webhook=hook["id"])
            hanging.behaviour = takes_it
            await idle(director)

    assert heard(receiver) == [("assign", app, cluster)]
    assert len({call.id for call in hanging.calls}) == 1
    assert (
        pending[0]["error"] == "operation has timed out" or "did not finish its answer in time" in pending[0]["error"]
    )
    assert await condition(director, "g") == "READY"


async def test_a_receiver_that_is_gone_is_told_once_and_the_delivery_is_dead(director: Any, receiver: Receiver) -> None:
    async def gone(_call: Call) -> bytes:
        return answer(410, b"no such hook")

    receiver.behaviour = gone
    app, hook = await told_application(director, receiver, "one")
    cluster = await runtime(director, "cluster")
    async with working(director):
        await group(director, "g", applications=[app], runtimes=[cluster])
        await idle(director)

    [dead] = await deliveries(director, webhook=hook["id"], state="DEAD")
    assert (dead["error"], dead["attempts"][0]["status"], dead["attempts"][0]["response"]) == (
        "the receiver answered 410",
        410,
        "no such hook",
    )
    assert await states(director, "g") == sorted([(app, cluster, "READY"), (cluster, app, "CREATE_ERROR")])
    assert await condition(director, "g") == "ERROR"
    assert len(receiver.calls) == 1


# What becomes of the pairs


async def test_a_pair_is_initial_until_its_target_knows_and_deleting_until_it_knows_of_the_end(
    director: Any, receiver: Receiver
) -> None:
    app, _ = await told_application(director, receiver, "one")
    cluster = await runtime(director, "cluster")
    await group(director, "g", applications=[app], runtimes=[cluster])
    assert await states(director, "g") == sorted([(app, cluster, "READY"), (cluster, app, "INITIAL")])
    assert await condition(director, "g") == "IN_PROGRESS"

    async with working(director):
        await idle(director)
    assert {state for _, _, state in await states(director, "g")} == {"READY"}
    assert await condition(director, "g") == "READY"

    await unassign(director, "g", runtime=cluster)
    assert await states(director, "g") == [(cluster, app, "DELETING")]
    seen = await director.data(
        "query ($id: ID!) { applicationsForRuntime(runtimeID: $id) { totalCount } runtime(id: $id) { labels } }",
        id=cluster,
    )
    assert seen["applicationsForRuntime"]["totalCount"] == 0
    assert "scenarios" not in seen["runtime"]["labels"]

    async with working(director):
        await idle(director)
    assert await states(director, "g") == []


async def test_a_runtime_that_is_still_to_be_told_of_the_end_sees_the_application_no_more(director: Any) -> None:
    app, cluster = await application(director, "one"), await runtime(director, "cluster")
    await webhook(director, "https://receiver.example", runtime=cluster)
    await group(director, "g", applications=[app], runtimes=[cluster])
    asked = "query ($id: ID!) { applicationsForRuntime(runtimeID: $id) { data { id } } }"
    assert (await director.data(asked, id=cluster))["applicationsForRuntime"]["data"] == [{"id": app}]

    await unassign(director, "g", application=app)

    assert await states(director, "g") == [(app, cluster, "DELETING")]
    assert (await director.data(asked, id=cluster))["applicationsForRuntime"]["data"] == []


async def test_a_pair_whose_target_fails_is_in_error_and_ready_once_it_took_it(
    director: Any, receiver: Receiver
) -> None:
    async def fails(_call: Call) -> bytes:
        return answer(500)

    receiver.behaviour = fails
    app, _ = await told_application(director, receiver, "one")
    cluster = await runtime(director, "cluster")
    async with working(director):
        await group(director, "g", applications=[app], runtimes=[cluster])
        await receiver.has(2)
        data_ = (await director.data(STATUS, name="g"))["formationByName"]
        assert data_["status"]["condition"] == "ERROR"
        assert [(e["message"], e["errorCode"]) for e in data_["status"]["errors"]] == [("the receiver answered 500", 1)]
        failed = [row for row in data_["formationAssignments"]["data"] if row["error"]]
        assert [(row["source"], row["target"], row["state"]) for row in failed] == [(cluster, app, "CREATE_ERROR")]
        assert (
            failed[0]["value"]
            == failed[0]["error"]
            == '{"error":{"message":"the receiver answered 500","errorCode":1}}'
        )
        receiver.behaviour = takes_it
        await idle(director)

    assert await condition(director, "g") == "READY"


async def test_one_that_joins_again_before_its_end_was_told_hears_of_the_beginning_last(
    director: Any, receiver: Receiver
) -> None:
    app, _ = await told_application(director, receiver, "one")
    cluster = await runtime(director, "cluster")
    await group(director, "g", applications=[app], runtimes=[cluster])
    async with working(director):
        await idle(director)
        receiver.calls.clear()

        async def down(_call: Call) -> bytes:
            return answer(503)

        receiver.behaviour = down
        await unassign(director, "g", application=app)
        await receiver.has(1)
        await assign(director, "g", application=app)
        assert await states(director, "g") == sorted([(app, cluster, "READY"), (cluster, app, "INITIAL")])
        receiver.behaviour = takes_it
        await idle(director)

    operations = [data(call)["operation"] for call in receiver.calls]
    assert list(dict.fromkeys(operations)) == ["unassign", "assign"]
    assert await states(director, "g") == sorted([(app, cluster, "READY"), (cluster, app, "READY")])


async def test_a_group_that_is_deleted_before_its_end_was_told_is_told_all_the_same(
    director: Any, receiver: Receiver
) -> None:
    app, _ = await told_application(director, receiver, "one")
    cluster = await runtime(director, "cluster")
    await group(director, "g", applications=[app], runtimes=[cluster])
    await relayed(director)
    await unassign(director, "g", application=app)
    await unassign(director, "g", runtime=cluster)
    await director.data(DELETE_FORMATION, **{"in": {"name": "g"}})
    async with working(director):
        await idle(director)

    assert heard(receiver) == [("assign", app, cluster), ("unassign", app, cluster)]
    assert data(receiver.calls[-1])["formation"]["name"] == "g"


async def test_a_deleted_webhook_settles_what_waited_for_it(director: Any, receiver: Receiver) -> None:
    async def down(_call: Call) -> bytes:
        return answer(503)

    receiver.behaviour = down
    app, hook = await told_application(director, receiver, "one")
    cluster, second = await runtime(director, "cluster"), await runtime(director, "second")
    await group(director, "g", applications=[app], runtimes=[cluster, second])
    async with working(director):
        await receiver.has(2)
        await unassign(director, "g", runtime=second)
        await director.data("mutation ($id: ID!) { deleteWebhook(webhookID: $id) { id } }", id=hook["id"])
        await idle(director)

    assert await states(director, "g") == sorted([(app, cluster, "READY"), (cluster, app, "READY")])
    assert {delivery["state"] for delivery in await deliveries(director)} == {"CANCELLED"}


async def test_resynchronizing_sends_what_was_given_up_anew_and_hurries_what_is_on_its_way(
    director: Any, receiver: Receiver
) -> None:
    async def gone(_call: Call) -> bytes:
        return answer(410)

    app, _ = await told_application(director, receiver, "one")
    cluster = await runtime(director, "cluster")
    receiver.behaviour = gone
    resynchronize = "mutation ($id: ID!) { resynchronizeFormationNotifications(formationID: $id) { id } }"
    async with working(director):
        formation = await group(director, "g", applications=[app], runtimes=[cluster])
        await idle(director)
        assert await condition(director, "g") == "ERROR"
        receiver.behaviour = takes_it
        await director.data(resynchronize, id=formation)
        await until(lambda: _is_ready(director, "g"))
        await director.data(resynchronize, id=formation)
        await idle(director)

    assert [data(call)["operation"] for call in receiver.calls] == ["assign", "assign"]
    assert len({call.id for call in receiver.calls}) == 2


async def _is_ready(director: Any, name: str) -> bool:
    return await condition(director, name) == "READY"


async def test_a_ready_runtime_repairs_a_pair_that_was_given_up(director: Any, receiver: Receiver) -> None:
    async def gone(_call: Call) -> bytes:
        return answer(410)

    app, _ = await told_application(director, receiver, "one")
    cluster = await runtime(director, "cluster")
    receiver.behaviour = gone
    async with working(director):
        await group(director, "g", applications=[app], runtimes=[cluster])
        await idle(director)
        receiver.behaviour = takes_it
        await connect(director, cluster)
        await idle(director)

    assert await condition(director, "g") == "READY"


async def test_a_failing_news_of_readiness_takes_nothing_from_a_pair_that_is_ready(
    director: Any, receiver: Receiver
) -> None:
    async def gone(_call: Call) -> bytes:
        return answer(410)

    app, _ = await told_application(director, receiver, "one")
    cluster = await runtime(director, "cluster")
    async with working(director):
        await group(director, "g", applications=[app], runtimes=[cluster])
        await idle(director)
        receiver.behaviour = gone
        await connect(director, cluster)
        await idle(director)

    assert await condition(director, "g") == "READY"
    assert [delivery["state"] for delivery in await deliveries(director)] == ["DEAD", "DELIVERED"]


@pytest.mark.parametrize("size", [1, 30])
async def test_the_number_of_statements_of_a_reaction_does_not_grow_with_the_group(
    director: Any, receiver: Receiver, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    apps = [(await told_application(director, receiver, f"app-{number}"))[0] for number in range(size)]
    cluster = await runtime(director, "cluster")
    await group(director, "g", applications=apps)
    await relayed(director)
    await assign(director, "g", runtime=cluster)
    counted: list[str] = []
    for name in ("row", "rows", "value", "run"):
        original = getattr(Tx, name)

        async def counting(self: Tx, text: str, *args: Any, _original: Any = original, **parameters: Any) -> Any:
            counted.append(text.strip().splitlines()[0])
            return await _original(self, text, *args, **parameters)

        monkeypatch.setattr(Tx, name, counting)
    relay_s = ["-- outbox.alone", "-- outbox.next"]

    await relayed(director)
    assert counted == [
        *relay_s,
        "-- notifications.assigned",
        "-- notifications.audience",
        "-- delivery.enqueue",
        "-- formation_assignment.told",
        "-- formation_assignment.untold",
        "-- outbox.relayed",
        *relay_s,
    ]
    counted.clear()
    await connect(director, cluster)
    counted.clear()
    await relayed(director)

    assert counted == [
        *relay_s,
        "-- notifications.sharing",
        "-- notifications.audience",
        "-- delivery.enqueue",
        "-- outbox.relayed",
        *relay_s,
    ]
    assert len(await deliveries(director, first=200)) == 2 * size
