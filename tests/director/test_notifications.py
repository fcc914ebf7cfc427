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

from compass.delivery.enqueue import Delivery
from compass.director import application as application_noun
from compass.director import formation_assignment, notifications
from compass.director import runtime as runtime_noun
from compass.director.assignment_status import Reports
from compass.director.formation import FormationResynchronized
from compass.director.formation_assignment import BEGINNING, CLIENT, Joining, Leaving
from compass.director.notifications import Notifications
from compass.errors import Unauthorized
from compass.ids import FormationId
from compass.outbox.append import append
from compass.outbox.relay import Relay
from compass.postgres.pool import Tx
from tests.delivery.receiver import Call, Receiver, answer, hangs, receiving, takes_it
from tests.director.catalogue import named
from tests.director.groups import (
    DELETE_FORMATION,
    PLANE,
    SET_RUNTIME_LABEL,
    STATUS,
    Announced,
    all_due,
    application,
    assign,
    condition,
    context,
    deliveries,
    group,
    idle,
    interrupted,
    labels,
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


async def test_what_is_told_anew_decides_nothing_about_what_began_again_meanwhile(
    director: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, cluster = await application(director, "one"), await runtime(director, "cluster")
    agreeing, refusing = [
        (await webhook(director, "https://receiver.example", application=app))["id"] for _ in range(2)
    ]
    formation = FormationId(await group(director, "g", applications=[app], runtimes=[cluster]))
    await relayed(director)
    for due in await all_due(director):
        async with director.database.transaction() as tx:
            if due.receiver == agreeing:
                await _taken(tx, due)
            else:
                await formation_assignment.refused(tx, due.id, BEGINNING, message="no", code=CLIENT)
            await tx.run("-- test.over\nUPDATE delivery SET state = 'DELIVERED' WHERE id = %(id)s", id=due.id)

    async def begins_again(tx: Tx) -> None:
        await formation_assignment.leave(tx, [Leaving(formation, app, silently=False)])
        await formation_assignment.join(tx, [Joining(formation, app, "APPLICATION", waits=False)])

    async with (
        interrupted(director, monkeypatch, notifications.UNSETTLED, begins_again),
        director.database.transaction() as tx,
    ):
        await Notifications(PLANE).resynchronized(tx, FormationResynchronized(director.caller.tenant, formation))
    [again] = await all_due(director)
    assert again.receiver == refusing
    async with director.database.transaction() as tx:
        await _taken(tx, again)

    # The other has its say about the new beginning as well, and was not heard yet.
    assert (cluster, app, "INITIAL") in await states(director, "g")


async def _taken(tx: Tx, due: Delivery) -> None:
    await formation_assignment.taken(tx, due.id, BEGINNING, receiver=due.receiver, sequence=due.sequence)


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
    formation = await group(director, "g", applications=apps)
    await relayed(director)
    await assign(director, "g", runtime=cluster)
    counted = named(monkeypatch)
    relay_s = ["-- outbox.alone", "-- outbox.next"]

    await relayed(director)
    assert counted == [
        *relay_s,
        "-- notifications.assigned",
        "-- notification_constraint.of_notifications",
        "-- notifications.audience",
        "-- delivery.enqueue",
        "-- formation_assignment.told",
        "-- formation_assignment.lock",
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
        "-- notification_constraint.of_notifications",
        "-- notifications.audience",
        "-- delivery.enqueue",
        "-- outbox.relayed",
        *relay_s,
    ]
    await director.data(
        "mutation ($id: ID!) { resynchronizeFormationNotifications(formationID: $id) { id } }", id=formation
    )
    counted.clear()
    await relayed(director)

    assert counted == [
        *relay_s,
        "-- notifications.lock_unsettled",
        "-- notifications.unsettled",
        "-- delivery_lane.hurry",
        "-- notification_constraint.of_notifications",
        "-- notifications.audience",
        "-- formation_assignment.lock",
        "-- formation_assignment.untold",
        "-- notifications.parted",
        "-- formation_lifecycle.lock",
        "-- outbox.relayed",
        *relay_s,
    ]
    # Everything is on its way already.
    assert len(await deliveries(director, first=200)) == 2 * size


# Runtime contexts


CONTEXT_TEMPLATE = """{
  "operation": "{{.Operation}}", "runtime": "{{.Runtime.ID}} {{.Runtime.Name}}", "application": "{{.Application.ID}}"
  {{if .RuntimeContext}}, "groups": {{.RuntimeContext.Labels.scenarios | toJson}}, "context":
    "{{.RuntimeContext.ID}} {{.RuntimeContext.RuntimeID}} {{.RuntimeContext.Key}}={{.RuntimeContext.Value}}"{{end}}
}"""


def templated(receiver: Receiver, path: str, template: str, **more: str) -> dict[str, str]:
    """A webhook that is sent what the template makes of the data."""
    return {
        "urlTemplate": f'{{"method": "POST", "path": "{receiver.url(path)}"}}',
        "inputTemplate": template,
        **more,
    }


async def test_a_context_is_told_as_one_of_its_runtime(director: Any, receiver: Receiver) -> None:
    app, _ = await told_application(director, receiver, "one")
    cluster = await runtime(director, "cluster")
    blue = await context(director, cluster, "blue")
    formation = await group(director, "g", applications=[app])
    async with working(director):
        await assign(director, "g", context=blue)
        assert await states(director, "g") == sorted([(app, blue, "READY"), (blue, app, "INITIAL")])
        await idle(director)
    assert await condition(director, "g") == "READY"

    event = orjson.loads(receiver.calls[0].body)
    assert (event["type"], event["subject"]) == ("io.compass.runtime_context.assign.v1", blue)
    assert event["data"] == {
        "operation": "assign",
        "applicationID": app,
        "runtimeID": cluster,
        "runtimeContextID": blue,
        "application": {"id": app, "name": "one"},
        "runtime": {"id": cluster, "name": "cluster"},
        "runtimeContext": {"id": blue, "key": "tenant", "value": "blue"},
        "formation": {"id": formation, "name": "g"},
    }
    [delivery] = await deliveries(director)
    assert (delivery["applicationID"], delivery["runtimeID"]) == (app, cluster)


async def test_both_sides_templates_have_the_runtime_and_the_context(director: Any, receiver: Receiver) -> None:
    app, cluster = await application(director, "one"), await runtime(director, "cluster")
    await webhook(director, None, application=app, **templated(receiver, "/app", CONTEXT_TEMPLATE))
    await webhook(director, None, runtime=cluster, **templated(receiver, "/cluster", CONTEXT_TEMPLATE))
    blue = await context(director, cluster, "blue")
    async with working(director):
        await group(director, "g", applications=[app], runtimes=[cluster])
        await assign(director, "g", context=blue)
        await idle(director)
        await unassign(director, "g", context=blue)
        await idle(director)

    of_runtime = {"runtime": f"{cluster} cluster", "application": app}
    of_context = {**of_runtime, "context": f"{blue} {cluster} tenant=blue", "groups": '["g"]'}
    parted = {**of_context, "groups": ""}
    told = {
        path: [orjson.loads(call.body) for call in receiver.calls if call.path == path] for path in ("/app", "/cluster")
    }
    assert told["/app"] == told["/cluster"]
    assert told["/app"] == [
        {"operation": "assign", **of_runtime},
        {"operation": "assign", **of_context},
        {"operation": "unassign", **parted},
    ]
    assert await states(director, "g") == sorted([(app, cluster, "READY"), (cluster, app, "READY")])


async def test_what_concerns_a_runtime_is_told_where_its_contexts_are(director: Any, receiver: Receiver) -> None:
    app, _ = await told_application(director, receiver, "one")
    outside, _ = await told_application(director, receiver, "outside")
    cluster, other = await runtime(director, "cluster"), await runtime(director, "other")
    blue = await context(director, cluster, "blue")
    await group(director, "g", applications=[app])
    await assign(director, "g", context=blue)
    await group(director, "elsewhere", applications=[outside])
    await assign(director, "elsewhere", context=await context(director, other, "green"))
    async with working(director):
        await idle(director)
        receiver.calls.clear()
        await connect(director, cluster)
        await set_label(director, cluster, EVENT_URL, "https://a.example")
        await idle(director)

    assert heard(receiver) == [("ready", app, cluster), ("changed", app, cluster)]
    assert [data(call)["runtimeContextID"] for call in receiver.calls] == [blue, blue]


@pytest.mark.parametrize("gone", ["context", "runtime"])
async def test_a_context_that_is_gone_is_told_with_what_it_was(director: Any, receiver: Receiver, gone: str) -> None:
    app = await application(director, "one")
    await webhook(director, None, application=app, **templated(receiver, "/app", CONTEXT_TEMPLATE))
    cluster = await runtime(director, "cluster")
    blue = await context(director, cluster, "blue")
    await group(director, "g", applications=[app])
    await assign(director, "g", context=blue)
    unregister_context = "mutation ($id: ID!) { unregisterRuntimeContext(id: $id) { id } }"
    async with working(director):
        await idle(director)
        receiver.calls.clear()
        if gone == "context":
            await director.data(unregister_context, id=blue)
        else:
            await director.data(UNREGISTER, id=cluster)
        await idle(director)

    [call] = receiver.calls
    assert orjson.loads(call.body) == {
        "operation": "unassign",
        "runtime": f"{cluster} cluster",
        "application": app,
        "context": f"{blue} {cluster} tenant=blue",
        "groups": '["g"]',
    }
    assert [delivery["operation"] for delivery in await deliveries(director)] == ["unregister", "assign"]
    assert await states(director, "g") == []


async def test_a_runtime_reports_for_its_context(director: Any, receiver: Receiver) -> None:
    app, cluster, other = (
        await application(director, "one"),
        await runtime(director, "cluster"),
        await runtime(director, "other"),
    )
    await webhook(director, receiver.url("/cluster"), runtime=cluster, mode="ASYNC_CALLBACK")
    blue = await context(director, cluster, "blue")
    formation = await group(director, "g", applications=[app])
    await assign(director, "g", context=blue)
    async with working(director):
        await idle(director)
    assert (app, blue, "INITIAL") in await states(director, "g")
    assignment = data(receiver.calls[0])["formationAssignment"]["id"]
    path = {"ucl-formation-id": formation, "ucl-assignment-id": assignment}
    reports = Reports(director.database)

    with pytest.raises(Unauthorized):
        await reports.report(director.runtime(other), path, b'{"state": "READY"}')
    await reports.report(director.runtime(cluster), path, b'{"state": "READY"}')

    assert (app, blue, "READY") in await states(director, "g")


# Applications about applications


MAPPING = "APPLICATION_TENANT_MAPPING"
MAPPING_TEMPLATE = (
    '{"operation": "{{.Operation}}", "source": "{{.SourceApplication.Name}}", "target": "{{.TargetApplication.Name}}"}'
)


async def mapped(director: Any, receiver: Receiver, name: str, **more: Any) -> tuple[str, dict[str, Any]]:
    """An application that is told of other applications."""
    app = await application(director, name)
    return app, await webhook(director, receiver.url(f"/{name}"), application=app, type=MAPPING, **more)


def mappings(receiver: Receiver) -> Counter[tuple[str, str, str]]:
    """Operation, source and target of every call, in any order."""
    return Counter(
        (data(call)["operation"], data(call)["sourceApplicationID"], data(call)["targetApplicationID"])
        for call in receiver.calls
    )


async def everything(director: Any, name: str) -> list[tuple[str, str, str]]:
    """As `states`, with the pairs of an object with itself."""
    rows = (await director.data(STATUS, name=name))["formationByName"]["formationAssignments"]["data"]
    return sorted((row["source"], row["target"], row["state"]) for row in rows)


async def test_an_application_is_told_of_the_others_and_of_itself(director: Any, receiver: Receiver) -> None:
    one, _ = await mapped(director, receiver, "one")
    two, hook = await mapped(director, receiver, "two")
    silent, cluster = await application(director, "silent"), await runtime(director, "cluster")
    formation = await group(director, "g", applications=[one, silent], runtimes=[cluster])
    async with working(director):
        await idle(director)
        receiver.calls.clear()
        await assign(director, "g", application=two)
        assert [(s, t) for s, t, state in await everything(director, "g") if state == "INITIAL"] == sorted(
            [(two, two), (one, two), (silent, two), (two, one)]
        )
        await idle(director)

    assert mappings(receiver) == Counter(
        [("assign", two, two), ("assign", one, two), ("assign", silent, two), ("assign", two, one)]
    )
    assert {state for _, _, state in await everything(director, "g")} == {"READY"}
    [of_one] = [call for call in receiver.calls if call.path == "/two" and data(call)["sourceApplicationID"] == one]
    event = Webhook(hook["signingSecret"]).verify(of_one.body, of_one.headers)
    assert (event["type"], event["subject"]) == ("io.compass.application.assign.v1", one)
    assert event["data"] == {
        "operation": "assign",
        "sourceApplicationID": one,
        "targetApplicationID": two,
        "sourceApplication": {"id": one, "name": "one"},
        "targetApplication": {"id": two, "name": "two"},
        "formation": {"id": formation, "name": "g"},
    }
    [delivery] = [entry for entry in await deliveries(director) if entry["id"] == of_one.id]
    assert (delivery["applicationID"], delivery["runtimeID"], delivery["formationID"]) == (one, None, formation)


async def test_leaving_is_told_to_those_who_stay_and_to_the_one_that_leaves(director: Any, receiver: Receiver) -> None:
    one, _ = await mapped(director, receiver, "one")
    two, _ = await mapped(director, receiver, "two")
    await group(director, "g", applications=[one, two])
    async with working(director):
        await idle(director)
        receiver.calls.clear()
        await unassign(director, "g", application=two)
        assert await everything(director, "g") == sorted(
            [(one, one, "READY"), (two, two, "DELETING"), (one, two, "DELETING"), (two, one, "DELETING")]
        )
        await idle(director)

    assert mappings(receiver) == Counter([("unassign", two, two), ("unassign", one, two), ("unassign", two, one)])
    assert await everything(director, "g") == [(one, one, "READY")]


async def test_one_that_is_still_to_be_told_of_its_end_is_a_participant_no_more(
    director: Any, receiver: Receiver, announced: Announced
) -> None:
    one, _ = await mapped(director, receiver, "one")
    two = await application(director, "two")
    await group(director, "g", applications=[one])
    await relayed(director)

    await unassign(director, "g", application=one)

    assert await everything(director, "g") == [(one, one, "DELETING")]
    assert "scenarios" not in await labels(director, one)
    asked = "query ($id: String!) { formationsForObject(objectID: $id) { name } }"
    assert (await director.data(asked, id=one))["formationsForObject"] == []
    await assign(director, "g", application=two)
    assert await everything(director, "g") == sorted([(one, one, "DELETING"), (two, two, "READY")])
    await unassign(director, "g", application=one)
    await unassign(director, "g", application=two)
    assert list(await announced()).count("FormationUnassigned") == 2
    await director.data("mutation ($id: ID!) { unregisterApplication(id: $id) { id } }", id=two)
    await director.data(DELETE_FORMATION, **{"in": {"name": "g"}})
    async with working(director):
        await idle(director)
    assert [data(call)["operation"] for call in receiver.calls] == ["assign", "unassign"]
    assert data(receiver.calls[-1])["formation"]["name"] == "g"


@pytest.mark.parametrize("mode", ["SYNC", "ASYNC_CALLBACK"])
async def test_an_application_that_is_gone_before_it_took_its_end_leaves_no_assignment_behind(
    director: Any, receiver: Receiver, mode: str
) -> None:
    one, _ = await mapped(director, receiver, "one", mode=mode)
    await webhook(director, receiver.url("/one"), application=one, mode=mode)
    two, cluster = (await mapped(director, receiver, "two"))[0], await runtime(director, "cluster")
    await group(director, "g", applications=[one, two], runtimes=[cluster])

    async def down(call: Call) -> bytes:
        return answer(200 if mode == "ASYNC_CALLBACK" or call.path != "/one" else 503)

    receiver.behaviour = down
    async with working(director):
        await unassign(director, "g", application=one)
        await until(lambda: _has_heard(receiver, "/one", 3))
        await director.data("mutation ($id: ID!) { unregisterApplication(id: $id) { id } }", id=one)
        await idle(director)

    members = [two, cluster]
    assert await everything(director, "g") == sorted((s, t, "READY") for s in members for t in members)


async def _has_heard(receiver: Receiver, path: str, calls: int) -> bool:
    return len([call for call in receiver.calls if call.path == path]) >= calls


async def test_one_that_joins_again_before_it_was_told_of_its_end_is_told_of_the_beginning(
    director: Any, receiver: Receiver
) -> None:
    one, _ = await mapped(director, receiver, "one")
    await group(director, "g", applications=[one])
    await unassign(director, "g", application=one)
    await assign(director, "g", application=one)
    assert await labels(director, one) == {"managed": "false", "name": "mp-one", "scenarios": ["g"]}
    async with working(director):
        await idle(director)

    assert [data(call)["operation"] for call in receiver.calls][-1] == "assign"
    assert await everything(director, "g") == [(one, one, "READY")]


async def test_a_mapping_ends_with_its_group_whatever_else_they_share(director: Any, receiver: Receiver) -> None:
    one, _ = await mapped(director, receiver, "one")
    two = await application(director, "two")
    for name in ("g", "h"):
        await group(director, name, applications=[one, two])
    async with working(director):
        await idle(director)
        receiver.calls.clear()
        await unassign(director, "g", application=two)
        await idle(director)

    assert mappings(receiver) == Counter([("unassign", two, one)])
    assert data(receiver.calls[0])["formation"]["name"] == "g"
    assert await everything(director, "g") == [(one, one, "READY")]


async def test_each_type_of_webhook_hears_of_its_own_kind_of_participant(director: Any, receiver: Receiver) -> None:
    one = await application(director, "one")
    two, cluster = await application(director, "two"), await runtime(director, "cluster")
    await webhook(director, receiver.url("/mapping"), application=one, type=MAPPING)
    await webhook(director, receiver.url("/configuration"), application=one)
    await webhook(director, receiver.url("/cluster"), runtime=cluster, type=MAPPING)
    async with working(director):
        await group(director, "g", applications=[one, two], runtimes=[cluster])
        await idle(director)

    told = {(call.path, orjson.loads(call.body)["subject"]) for call in receiver.calls}
    assert told == {("/mapping", one), ("/mapping", two), ("/configuration", cluster)}
    assert {state for _, _, state in await everything(director, "g")} == {"READY"}


async def test_templates_of_mappings_have_both_applications_and_their_templates(
    director: Any, receiver: Receiver
) -> None:
    create = """mutation { r: createApplicationTemplate(in: {name: "Shop", description: "all shops", placeholders: [],
      accessLevel: GLOBAL, labels: {tier: "gold"}, applicationInput: {name: "shop"} }) { id } }"""
    template = (await director.data(create))["r"]["id"]
    made = 'mutation { r: registerApplicationFromTemplate(in: {templateName: "Shop", values: []}) { id } }'
    shop = (await director.data(made))["r"]["id"]
    plain = await application(director, "plain", labels={"colour": "blue"})
    parts = {
        "operation": ".Operation",
        "formation": ".FormationID",
        "name": ".Formation.Name",
        "source": ".SourceApplication.ID",
        "tier": ".SourceApplicationTemplate.Labels.tier",
        "template": ".SourceApplicationTemplate.ID",
        "target": ".TargetApplication.ID",
        "colour": ".TargetApplication.Labels.colour",
        "none": ".TargetApplicationTemplate.ID",
        "account": ".CustomerTenantContext.AccountID",
        "assignment": ".Assignment.Source",
        "assigned": ".Assignment.Target",
        "reverse": ".ReverseAssignment.Source",
    }
    text = "{" + ", ".join(f'"{key}": "{{{{{value}}}}}"' for key, value in parts.items()) + "}"
    await webhook(director, None, application=plain, type=MAPPING, **templated(receiver, "/plain", text))
    async with working(director):
        formation = await group(director, "g", applications=[plain, shop])
        await idle(director)

    [of_shop] = [read for call in receiver.calls if (read := orjson.loads(call.body))["source"] == shop]
    assert of_shop == {
        "operation": "assign",
        "formation": formation,
        "name": "g",
        "source": shop,
        "tier": "gold",
        "template": template,
        "target": plain,
        "colour": "blue",
        "none": "",
        "account": "tenant-mine",
        "assignment": shop,
        "assigned": plain,
        "reverse": plain,
    }


@pytest.mark.parametrize("kind", [MAPPING, "CONFIGURATION_CHANGED"])
async def test_a_webhook_of_the_template_makes_its_applications_wait_and_hear(
    director: Any, receiver: Receiver, kind: str
) -> None:
    template = await shop_template(director, receiver, kind)
    shops = [await shop(director, name) for name in ("first", "second")]
    other, cluster = await application(director, "other"), await runtime(director, "cluster")
    await group(director, "g", applications=[*shops, other], runtimes=[cluster])

    about = [other, *shops] if kind == MAPPING else [cluster]
    expected = sorted((source, target) for source in about for target in shops)
    assert [(s, t) for s, t, state in await everything(director, "g") if state == "INITIAL"] == expected
    async with working(director):
        await idle(director)
        assert len(receiver.calls) == len(expected)
        assert {state for _, _, state in await everything(director, "g")} == {"READY"}
        receiver.calls.clear()
        await unassign(director, "g", application=shops[0])
        ending = [(s, t) for s, t, state in await everything(director, "g") if state == "DELETING"]
        assert sorted(ending) == sorted(
            [(source, shops[0]) for source in about] + ([(shops[0], shops[1])] if kind == MAPPING else [])
        )
        await idle(director)
    assert len(receiver.calls) == len(ending)
    assert {delivery["webhookID"] for delivery in await deliveries(director)} == {template}


async def shop_template(director: Any, receiver: Receiver, kind: str) -> str:
    """A template of applications with one webhook; the webhook's id."""
    create = """mutation ($url: String!, $type: WebhookType!) { r: createApplicationTemplate(in: {name: "Shop",
      placeholders: [{name: "name"}], accessLevel: GLOBAL, applicationInput: {name: "{{name}}"},
      webhooks: [{type: $type, url: $url}] }) { webhooks { id } } }"""
    made = await director.data(create, url=receiver.url("/shops"), type=kind)
    return str(made["r"]["webhooks"][0]["id"])


async def shop(director: Any, name: str) -> str:
    """An application made from it."""
    make = """mutation ($name: String!) { r: registerApplicationFromTemplate(in: {templateName: "Shop",
      values: [{placeholder: "name", value: $name}]}) { id } }"""
    return str((await director.data(make, name=name))["r"]["id"])


async def test_an_application_with_a_webhook_of_its_own_is_not_told_by_its_templates(
    director: Any, receiver: Receiver
) -> None:
    await shop_template(director, receiver, MAPPING)
    one = await shop(director, "one")
    await webhook(director, receiver.url("/own"), application=one, type=MAPPING)
    async with working(director):
        await group(director, "g", applications=[one])
        await idle(director)

    assert [call.path for call in receiver.calls] == ["/own"]


async def test_what_one_application_of_a_template_was_not_told_is_not_outdated_by_what_another_was(
    director: Any, receiver: Receiver
) -> None:
    await shop_template(director, receiver, "CONFIGURATION_CHANGED")
    shops = [await shop(director, name) for name in ("first", "second")]
    cluster = await runtime(director, "cluster")

    async def first_is_gone(call: Call) -> bytes:
        return answer(410 if data(call)["applicationID"] == shops[0] else 200)

    receiver.behaviour = first_is_gone
    resend = "mutation ($id: ID!) { resendWebhookDelivery(id: $id) { id } }"
    async with working(director):
        for name, app in zip("gh", shops, strict=True):
            await group(director, name, applications=[app], runtimes=[cluster])
            await idle(director)
        [dead] = await deliveries(director, state="DEAD")
        receiver.behaviour = takes_it
        await director.data(resend, id=dead["id"])
        await idle(director)

    assert await condition(director, "g") == await condition(director, "h") == "READY"


@pytest.mark.parametrize("size", [1, 20])
async def test_the_number_of_statements_of_a_mapping_does_not_grow_with_the_group(
    director: Any, receiver: Receiver, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    apps = [(await mapped(director, receiver, f"app-{number}"))[0] for number in range(size)]
    await group(director, "g", applications=apps)
    await relayed(director)
    last, _ = await mapped(director, receiver, "last")
    await relayed(director)
    before = await total(director)
    counted = named(monkeypatch)
    relay_s = ["-- outbox.alone", "-- outbox.next"]

    await assign(director, "g", application=last)
    assert len(counted) <= 20
    counted.clear()
    await relayed(director)
    assert counted == [
        *relay_s,
        "-- notifications.assigned",
        "-- notification_constraint.of_notifications",
        "-- notifications.audience",
        "-- delivery.enqueue",
        "-- formation_assignment.told",
        "-- outbox.relayed",
        *relay_s,
    ]
    assert await total(director) - before == 2 * size + 1
    await unassign(director, "g", application=last)
    counted.clear()
    await relayed(director)
    assert counted == [
        *relay_s,
        "-- notifications.parted",
        "-- notification_constraint.of_notifications",
        "-- notifications.audience",
        "-- delivery.enqueue",
        "-- formation_assignment.told",
        "-- outbox.relayed",
        *relay_s,
    ]
    assert await total(director) - before == 4 * size + 2


async def total(director: Any) -> int:
    found = await director.data("{ webhookDeliveries(first: 1) { totalCount } }")
    return int(found["webhookDeliveries"]["totalCount"])
