"""Groups whose beginning and end somebody has a say in, with receivers that answer, fail, hang, come late and twice."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from standardwebhooks import Webhook

from compass.commands import Selection
from compass.delivery.attempt import RetryRules
from compass.delivery.enqueue import Delivery
from compass.director import formation as formation_noun
from compass.director import formation_lifecycle
from compass.director import runtime as runtime_noun
from compass.director.formation import FormationCreated, FormationDeleting, FormationResynchronized, NewFormation
from compass.director.formation_lifecycle import FormationLifecycle, Unsettled
from compass.ids import FormationId, RuntimeId
from tests.delivery.receiver import Behaviour, Call, answer, hangs, receiving, takes_it
from tests.director.catalogue import counted
from tests.director.groups import (
    ASSIGN,
    CREATE_FORMATION,
    DELETE_FORMATION,
    PLANE,
    QUICK,
    Announced,
    all_due,
    application,
    assign,
    condition,
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

SILENT = "https://receiver.example"
CREATE_TEMPLATE = """
mutation ($in: FormationTemplateRegisterInput!) {
  result: createFormationTemplate(in: $in) { id webhooks { id signingSecret } }
}
"""
ADD = """
mutation ($template: ID!, $in: WebhookInput!) {
  result: addWebhook(formationTemplateID: $template, in: $in) { id formationTemplateID type mode url }
}
"""
UPDATE = "mutation ($id: ID!, $in: WebhookInput!) { result: updateWebhook(webhookID: $id, in: $in) { id url } }"
REMOVE = "mutation ($id: ID!) { result: deleteWebhook(webhookID: $id) { id } }"
CREATE = "mutation ($in: FormationInput!) { result: createFormation(formation: $in) { id state } }"
DELETE = """
mutation ($name: String!) { result: deleteFormation(formation: {name: $name}) {
  id name state tenantID error { message errorCode } status { condition errors { assignmentID message errorCode } }
} }
"""
SHOWN = """
query ($name: String!) { formationByName(name: $name) {
  id state error { message errorCode } status { condition errors { assignmentID message errorCode } }
  lastStateChangeTimestamp lastNotificationSentTimestamp
} }
"""
RESYNCHRONIZE = "mutation ($id: ID!) { resynchronizeFormationNotifications(formationID: $id) { id state } }"
FINALIZE = "mutation ($id: ID!) { result: finalizeDraftFormation(formationID: $id) { id state } }"
RESEND = "mutation ($id: ID!) { resendWebhookDelivery(id: $id) { id } }"
FINE = {"message": "", "errorCode": 0}
IMPATIENT = replace(QUICK, retry=RetryRules(timedelta(milliseconds=20), 1, timedelta(milliseconds=20), timedelta(0)))
"""One attempt, and it is given up."""


class Lifecycle:
    """A template with lifecycle webhooks, and the group `g` of it."""

    def __init__(self, director: Any, template: str, hooks: list[Mapping[str, str]]) -> None:
        self.director, self.template, self.hooks = director, template, hooks
        self.formation = ""

    async def create(self, **more: str) -> str:
        """The state that creating the group answers."""
        data = await self.director.data(CREATE, **{"in": {"name": "g", "templateName": "told", **more}})
        self.formation = data["result"]["id"]
        return str(data["result"]["state"])

    async def delete(self) -> dict[str, Any]:
        result: dict[str, Any] = (await self.director.data(DELETE, name="g"))["result"]
        return result

    async def resynchronize(self) -> None:
        await self.director.data(RESYNCHRONIZE, id=self.formation)

    async def shown(self) -> dict[str, Any] | None:
        answered = await self.director(SHOWN, name="g")
        found: dict[str, Any] | None = (answered["data"] or {}).get("formationByName")
        return found

    async def state(self) -> str | None:
        """None when it is gone."""
        shown = await self.shown()
        return None if shown is None else str(shown["state"])

    async def error(self) -> tuple[str, int]:
        shown = await self.shown()
        assert shown is not None
        if shown["error"] != FINE:
            assert {"assignmentID": None, **shown["error"]} in shown["status"]["errors"]
            assert shown["status"]["condition"] == "ERROR"
        return shown["error"]["message"], shown["error"]["errorCode"]

    async def is_(self, state: str | None) -> None:
        """Wait for it."""

        async def reached() -> bool:
            return await self.state() == state

        await until(reached)


async def told(director: Any, *urls: str, **more: Any) -> Lifecycle:
    """The template `told` for every type, with a webhook for each URL."""
    hooks = [{"type": "FORMATION_LIFECYCLE", "url": url, **more} for url in urls]
    return await template(director, *hooks)


async def template(director: Any, *hooks: Mapping[str, Any]) -> Lifecycle:
    given = {
        "name": "told",
        "applicationTypes": ["ANY"],
        "runtimeTypes": ["ANY"],
        "runtimeTypeDisplayName": "Runtime",
        "runtimeArtifactKind": "SUBSCRIPTION",
        "webhooks": list(hooks),
    }
    made = (await director.data(CREATE_TEMPLATE, **{"in": given}))["result"]
    return Lifecycle(director, made["id"], made["webhooks"])


def templates(url: str, **more: str) -> dict[str, str]:
    """A webhook that calls there and says what is told."""
    return {
        "type": "FORMATION_LIFECYCLE",
        "urlTemplate": f'{{"method": "PUT", "path": "{url}"}}',
        "inputTemplate": '{"what": "{{.Operation}}", "name": "{{.Formation.Name}}", "id": "{{.Formation.ID}}",'
        ' "template": "{{.Formation.FormationTemplateID}}", "account": "{{.CustomerTenantContext.AccountID}}"}',
        "headerTemplate": '{"X-Group": ["{{.Formation.Name}}"]}',
        **more,
    }


OUTPUT = (
    '{"success_status_code": 200, "incomplete_status_code": 202, "gone_status_code": 404,'
    ' "error": "{{.Body.error}}", "state": "{{.Body.state}}"}'
)


def answers(*raw: bytes) -> Behaviour:
    """One after the other, the last again and again."""
    left = list(raw)

    async def next_one(_call: Call) -> bytes:
        return left.pop(0) if len(left) > 1 else left[0]

    return next_one


async def stamps(director: Any) -> tuple[datetime, datetime]:
    """When the state of the group changed last, and when somebody was told last."""
    async with director.database.transaction() as tx:
        row = await tx.row(
            "-- test.stamps\nSELECT last_state_change_timestamp, last_notification_sent_timestamp FROM formation"
        )
    return row[0], row[1]


def shown(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def operations(calls: list[Call]) -> list[str]:
    return [orjson.loads(call.body)["data"]["operation"] for call in calls]


# The beginning


async def test_a_group_is_ready_and_its_participants_are_told_once_the_receiver_took_it(
    director: Any, announced: Announced
) -> None:
    held = asyncio.Event()

    async def takes_its_time(call: Call) -> bytes:
        if call.path == "/lifecycle":
            await held.wait()
        return answer()

    async with receiving(takes_its_time) as receiver, working(director):
        group_ = await told(director, receiver.url("/lifecycle"))
        app, cluster = await application(director, "one"), await runtime(director, "cluster")
        await webhook(director, receiver.url("/app"), application=app)
        assert await group_.create() == "INITIAL"
        await assign(director, "g", application=app)
        await assign(director, "g", runtime=cluster)
        await receiver.has(1)
        async with director.database.transaction() as tx:
            await runtime_noun.connect(tx, RuntimeId(cluster))
        await asyncio.sleep(0.2)
        assert {state for _, _, state in await states(director, "g")} == {"INITIAL"}
        assert await condition(director, "g") == "IN_PROGRESS"
        assert (await labels(director, app))["scenarios"] == ["g"]
        before = await stamps(director)
        held.set()
        await idle(director)

    after = await group_.shown()
    assert after is not None
    assert (after["state"], after["error"]) == ("READY", FINE)
    assert after["status"] == {"condition": "READY", "errors": []}
    changed, sent = await stamps(director)
    assert (changed > before[0], sent) == (True, before[1])
    assert (after["lastStateChangeTimestamp"], after["lastNotificationSentTimestamp"]) == (shown(changed), shown(sent))
    assert {state for _, _, state in await states(director, "g")} == {"READY"}
    assert [call.path for call in receiver.calls] == ["/lifecycle", "/app"]
    # Readiness is what has the participants told.
    assert (await announced()).count("FormationResynchronized") == 1


async def test_the_notification_is_a_signed_cloud_event(director: Any) -> None:
    async with receiving() as receiver, working(director):
        group_ = await told(director, receiver.url(), correlationIdKey="X-Correlation")
        await group_.create()
        await idle(director)

    [call] = receiver.calls
    event = Webhook(group_.hooks[0]["signingSecret"]).verify(call.body, call.headers)
    [delivery] = await deliveries(director)
    assert call.headers["content-type"] == "application/cloudevents+json"
    assert call.headers["x-correlation"] == event["id"]
    assert call.id == delivery["id"]
    assert (delivery["operation"], delivery["formationID"], delivery["webhookID"], delivery["state"]) == (
        "createFormation",
        group_.formation,
        group_.hooks[0]["id"],
        "DELIVERED",
    )
    assert (delivery["applicationID"], delivery["runtimeID"]) == (None, None)
    assert len(event.pop("time")) == len("2026-11-23T09:00:00.000Z")
    assert len(event.pop("id")) == 36
    assert event == {
        "specversion": "1.0",
        "source": PLANE,
        "type": "io.compass.formation.create.v1",
        "subject": group_.formation,
        "datacontenttype": "application/json",
        "data": {
            "operation": "createFormation",
            "formation": {"id": group_.formation, "name": "g"},
            "formationTemplate": {"id": group_.template, "name": "told"},
            "tenant": {"externalID": "tenant-mine"},
        },
    }


async def test_templates_say_how_the_call_looks(director: Any) -> None:
    async with receiving() as receiver, working(director):
        group_ = await template(director, templates(receiver.url("/x")))
        await group_.create()
        await idle(director)
        await group_.delete()
        await idle(director)

    first, second = receiver.calls
    assert orjson.loads(first.body) == {
        "what": "createFormation",
        "name": "g",
        "id": group_.formation,
        "template": group_.template,
        "account": "tenant-mine",
    }
    assert (first.path, first.headers["x-group"], first.headers["content-type"]) == ("/x", "g", "application/json")
    assert orjson.loads(second.body)["what"] == "deleteFormation"


@pytest.mark.parametrize("kind", ["urlTemplate", "inputTemplate", "headerTemplate"])
async def test_a_template_that_cannot_be_used_is_given_up_at_once_and_says_so(director: Any, kind: str) -> None:
    async with receiving() as receiver, working(director):
        hook = templates(receiver.url())
        # Over data without content it is fine.
        hook[kind] = hook[kind].removesuffix("}") + "{{if .Formation.ID}} oops {{end}}}"
        group_ = await template(director, hook)
        await group_.create()
        await idle(director)

    message, code = await group_.error()
    assert message.startswith("the webhook's template cannot be used: ")
    assert (await group_.state(), code) == ("CREATE_ERROR", 1)
    assert [d["state"] for d in await deliveries(director)] == ["DEAD"]
    assert receiver.calls == []


@pytest.mark.parametrize(
    ("raw", "state", "error"),
    [
        (answer(200), "READY", FINE),
        (answer(200, b'{"state": "READY"}'), "READY", FINE),
        (answer(202), "INITIAL", FINE),
        (answer(202, b'{"state": "READY"}'), "READY", FINE),
        (answer(200, b'{"error": "no room"}'), "CREATE_ERROR", {"message": "no room", "errorCode": 2}),
        (
            answer(200, b'{"state": "CREATE_ERROR"}'),
            "CREATE_ERROR",
            {"message": "the receiver answered with state CREATE_ERROR", "errorCode": 2},
        ),
        (
            answer(200, b'{"state": "CONFIG_PENDING"}'),
            "CREATE_ERROR",
            {"message": "Invalid transition from state createFormation to CONFIG_PENDING", "errorCode": 2},
        ),
        (
            answer(200, b'{"state": "DELETE_ERROR"}'),
            "CREATE_ERROR",
            {"message": "Invalid transition from state createFormation to DELETE_ERROR", "errorCode": 2},
        ),
        (
            answer(404),
            "CREATE_ERROR",
            {"message": "the receiver answered 404, which says that it is gone", "errorCode": 1},
        ),
        (answer(404, b'{"error": "closed"}'), "CREATE_ERROR", {"message": "closed", "errorCode": 2}),
        (
            answer(500),
            "CREATE_ERROR",
            {
                "message": "response success status code was not met - expected success status code '200', got '500'",
                "errorCode": 1,
            },
        ),
        (answer(500, b'{"error": "on fire"}'), "CREATE_ERROR", {"message": "on fire", "errorCode": 2}),
    ],
)
async def test_the_answer_to_a_beginning_is_the_state(
    director: Any, raw: bytes, state: str, error: dict[str, Any]
) -> None:
    async with receiving(answers(raw)) as receiver, working(director, settings=IMPATIENT):
        group_ = await template(director, templates(receiver.url(), outputTemplate=OUTPUT))
        await group_.create()
        await idle(director)

    shown = await group_.shown()
    assert shown is not None
    assert (shown["state"], shown["error"]) == (state, error)
    assert await group_.error() == (error["message"], error["errorCode"])
    expected = {"READY": "READY", "INITIAL": "IN_PROGRESS", "CREATE_ERROR": "ERROR"}
    assert shown["status"]["condition"] == expected[state]


@pytest.mark.parametrize(
    ("raw", "state", "error"),
    [
        (answer(200), None, FINE),
        (answer(200, b'{"state": "READY"}'), None, FINE),
        (answer(202), "DELETING", FINE),
        (answer(200, b'{"error": "busy"}'), "DELETE_ERROR", {"message": "busy", "errorCode": 2}),
        (
            answer(200, b'{"state": "DELETE_ERROR"}'),
            "DELETE_ERROR",
            {"message": "the receiver answered with state DELETE_ERROR", "errorCode": 2},
        ),
        (
            answer(200, b'{"state": "CREATE_ERROR"}'),
            "DELETE_ERROR",
            {"message": "Invalid transition from state deleteFormation to CREATE_ERROR", "errorCode": 2},
        ),
        (answer(500, b'{"error": "on fire"}'), "DELETE_ERROR", {"message": "on fire", "errorCode": 2}),
    ],
)
async def test_the_answer_to_an_end_decides_whether_the_group_goes(
    director: Any, announced: Announced, raw: bytes, state: str | None, error: dict[str, Any]
) -> None:
    async with receiving(answers(answer(200), raw)) as receiver, working(director, settings=IMPATIENT):
        group_ = await template(director, templates(receiver.url(), outputTemplate=OUTPUT))
        await group_.create()
        await idle(director)
        await group_.delete()
        await idle(director)

    assert await group_.state() == state
    assert (await announced()).count("FormationDeleted") == (state is None)
    if state is not None:
        assert await group_.error() == (error["message"], error["errorCode"])


async def test_without_an_output_template_the_status_decides(director: Any) -> None:
    async with receiving(answers(answer(410))) as receiver, working(director):
        group_ = await told(director, receiver.url())
        await group_.create()
        await idle(director)

    assert (await group_.state(), await group_.error()) == ("CREATE_ERROR", ("the receiver answered 410", 1))
    assert len(receiver.calls) == 1


# Receivers that fail, hang, come late and twice


async def test_a_group_is_in_error_while_calls_fail_and_ready_once_one_is_taken(director: Any) -> None:
    async with receiving(answers(answer(503))) as receiver, working(director):
        group_ = await told(director, receiver.url())
        await group_.create()
        await group_.is_("CREATE_ERROR")
        assert await group_.error() == ("the receiver answered 503", 1)
        app, cluster = await application(director, "one"), await runtime(director, "cluster")
        await webhook(director, receiver.url("/app"), application=app)
        await assign(director, "g", application=app)
        await assign(director, "g", runtime=cluster)
        await relayed(director)
        assert {state for _, _, state in await states(director, "g")} == {"INITIAL"}
        receiver.behaviour = takes_it
        await idle(director)

    assert (await group_.state(), await group_.error()) == ("READY", ("", 0))
    assert {state for _, _, state in await states(director, "g")} == {"READY"}
    assert len({call.id for call in receiver.calls if call.path == "/hook"}) == 1
    assert receiver.calls[-1].path == "/app"


async def test_one_that_hangs_is_given_up_and_told_again_when_the_group_is_resynchronized(director: Any) -> None:
    async with receiving(hangs) as receiver, working(director, settings=IMPATIENT):
        group_ = await told(director, receiver.url())
        await group_.create()
        await idle(director)
        message, code = await group_.error()
        assert await group_.state() == "CREATE_ERROR"
        assert (code, [d["state"] for d in await deliveries(director)]) == (1, ["DEAD"])
        assert "time" in message
        receiver.behaviour = takes_it
        await group_.resynchronize()
        await idle(director)

    assert await group_.state() == "READY"
    assert operations(receiver.calls) == ["createFormation"] * 2
    assert len({call.id for call in receiver.calls}) == 2


async def test_one_that_was_given_up_can_be_resent(director: Any) -> None:
    async with receiving(answers(answer(410))) as receiver, working(director):
        group_ = await told(director, receiver.url())
        await group_.create()
        await idle(director)
        [dead] = await deliveries(director)
        receiver.behaviour = takes_it
        await director.data(RESEND, id=dead["id"])
        await idle(director)

    assert await group_.state() == "READY"


async def test_what_is_on_its_way_is_hurried_and_not_sent_twice_by_a_resynchronization(director: Any) -> None:
    slow = replace(
        QUICK, retry=RetryRules(timedelta(seconds=60), 1, timedelta(seconds=60), timedelta(days=1)), breaker_after=1000
    )
    async with receiving(answers(answer(503))) as receiver, working(director, settings=slow):
        group_ = await told(director, receiver.url())
        await group_.create()
        await group_.is_("CREATE_ERROR")
        receiver.behaviour = takes_it
        await group_.resynchronize()
        await group_.is_("READY")
        await idle(director)

    assert len(await deliveries(director)) == 1
    assert len(receiver.calls) == 2


async def test_a_late_answer_to_the_beginning_decides_nothing_about_the_end(director: Any) -> None:
    late = asyncio.Event()

    async def late_at_first(call: Call) -> bytes:
        if len(receiver.calls) == 1:
            await late.wait()
            return answer(200)
        return answer(200, b'{"error": "not yet"}')

    patient = replace(QUICK, attempt_timeout=timedelta(seconds=10))
    async with receiving(late_at_first) as receiver, working(director, settings=patient):
        group_ = await told(director, receiver.url(), outputTemplate=OUTPUT)
        await group_.create()
        await receiver.has(1)
        assert (await group_.delete())["state"] == "DELETING"
        await relayed(director)
        assert await group_.state() == "DELETING"
        late.set()
        await group_.is_("DELETE_ERROR")
        await idle(director)
        assert await group_.error() == ("not yet", 2)

    assert operations(receiver.calls) == ["createFormation", "deleteFormation"]
    assert [d["state"] for d in await deliveries(director)] == ["DELIVERED", "DELIVERED"]


async def test_an_error_of_the_beginning_that_comes_after_the_deletion_is_not_its_error(director: Any) -> None:
    async with receiving(answers(answer(503))) as receiver, working(director):
        group_ = await told(director, receiver.url())
        await group_.create()
        await group_.is_("CREATE_ERROR")
        assert (await group_.delete())["error"] == FINE
        seen = len(receiver.calls)
        await receiver.has(seen + 2)
        assert (await group_.state(), await group_.error()) == ("DELETING", ("", 0))
        receiver.behaviour = takes_it
        await idle(director)

    assert await group_.state() is None
    # In order, although the first was tried for long.
    assert operations(receiver.calls)[-2:] == ["createFormation", "deleteFormation"]


async def test_an_answer_that_is_judged_twice_or_broken_off_in_between_ends_the_same(
    director: Any, announced: Announced
) -> None:
    group_ = await told(director, SILENT)
    await group_.create()
    await relayed(director)
    delivery = await one_due(director)

    for said, state in ((refusing, "CREATE_ERROR"), (formation_lifecycle.accepted, "INITIAL")):
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await in_transaction(director, delivery, said, broken_off=True)
            await in_transaction(director, delivery, said)
            assert await group_.state() == state
    for _ in range(3):
        await in_transaction(director, delivery, formation_lifecycle.taken)
    for said in (refusing, formation_lifecycle.accepted, formation_lifecycle.given_up):
        await in_transaction(director, delivery, said)

    assert await group_.state() == "READY"
    assert (await announced()).count("FormationResynchronized") == 1


async def refusing(tx: Any, delivery: Delivery) -> None:
    await formation_lifecycle.refused(tx, delivery, message="no", code=2)


async def in_transaction(
    director: Any, delivery: Delivery, said: Callable[[Any, Delivery], Awaitable[None]], *, broken_off: bool = False
) -> None:
    async with director.database.transaction() as tx:
        await said(tx, delivery)
        if broken_off:
            raise ZeroDivisionError


async def one_due(director: Any) -> Delivery:
    return (await all_due(director))[0]


async def test_an_event_that_is_handed_over_twice_makes_one_call(director: Any) -> None:
    group_ = await told(director, SILENT)
    await group_.create()
    await relayed(director)
    event = FormationCreated(director.caller.tenant, FormationId(group_.formation))
    for _ in range(2):
        async with director.database.transaction() as tx:
            await FormationLifecycle(PLANE).tell(tx, event)

    assert [d["operation"] for d in await deliveries(director)] == ["createFormation"]
    await group_.delete()
    await group_.delete()
    await relayed(director)
    # Too late for the beginning: what is told is what is so now, and that is under way.
    async with director.database.transaction() as tx:
        await FormationLifecycle(PLANE).tell(tx, event)
    assert [d["operation"] for d in await deliveries(director)] == ["deleteFormation", "createFormation"]


# Several that have a say


async def test_a_group_waits_for_every_webhook(director: Any) -> None:
    async with receiving() as quick, receiving(answers(answer(503))) as slow, working(director):
        group_ = await told(director, quick.url(), slow.url())
        await group_.create()
        await quick.has(1)
        await group_.is_("CREATE_ERROR")
        slow.behaviour = takes_it
        await idle(director)
        assert await group_.state() == "READY"
        slow.behaviour = answers(answer(410))
        await group_.delete()
        await idle(director)
        assert await group_.state() == "DELETE_ERROR"
        slow.behaviour = takes_it
        await group_.resynchronize()
        await idle(director)

    assert await group_.state() is None


async def test_a_no_of_one_is_not_overruled_by_another(director: Any) -> None:
    async with receiving(answers(answer(200, b'{"error": "no"}'))) as against, receiving() as in_favour:
        group_ = await told(director, against.url(), in_favour.url(), outputTemplate=OUTPUT)
        async with working(director):
            await group_.create()
            await idle(director)
            for _ in range(2):
                assert (await group_.state(), await group_.error()) == ("CREATE_ERROR", ("no", 2))
                await group_.resynchronize()
                await idle(director)
            against.behaviour = takes_it
            await group_.resynchronize()
            await idle(director)

    assert await group_.state() == "READY"
    # Whoever agreed is not asked again.
    assert (len(against.calls), len(in_favour.calls)) == (4, 1)


async def test_two_that_agree_at_the_same_moment_are_both_counted(director: Any, announced: Announced) -> None:
    group_ = await told(director, SILENT, SILENT)
    for number in range(8):
        await group_.create()
        await relayed(director)
        await asyncio.gather(
            *(in_transaction(director, due, formation_lifecycle.taken) for due in await all_due(director))
        )
        assert await group_.state() == "READY"
        assert (await announced()).count("FormationResynchronized") == number + 1
        async with director.database.transaction() as tx:
            await tx.run("-- test.settled\nUPDATE delivery SET state = 'DELIVERED' WHERE state = 'PENDING'")
            await tx.run("-- test.gone\nDELETE FROM formation")


@pytest.mark.parametrize(
    ("meanwhile", "state", "error"),
    [
        ("refuses a beginning", "CREATE_ERROR", ("no", 2)),
        ("refuses an end", "DELETE_ERROR", ("no", 2)),
        ("reports", "CREATE_ERROR", ("stop", 2)),
        ("deletes", "DELETING", ("", 0)),
    ],
)
async def test_a_yes_of_one_that_is_told_anew_does_not_decide_alone_whatever_happens_meanwhile(
    director: Any,
    announced: Announced,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: str,
    state: str,
    error: tuple[str, int],
) -> None:
    group_ = await told(director, SILENT, SILENT)
    await group_.create()
    await relayed(director)
    if state.startswith("DELET"):
        for due in await all_due(director):
            await in_transaction(director, due, ends_with(formation_lifecycle.taken))
        await group_.delete()
        await relayed(director)
    slow, quick = await all_due(director)
    await in_transaction(director, quick, ends_with(refusing))
    before = await announced()

    async def happens(tx: Any) -> None:
        match meanwhile:
            case "reports":
                row = await tx.row("-- test.lock\nSELECT id, state, tenant_id FROM formation FOR NO KEY UPDATE")
                group = Unsettled(row["id"], "g", row["state"], row["tenant_id"])
                await formation_lifecycle.failed(tx, group, "stop", 2)
            case "deletes":
                await formation_noun.delete(tx, director.caller, NewFormation("g"), asked=Selection())
            case _:
                await ends_with(refusing)(tx, slow)

    await tell_while(director, group_, monkeypatch, happens)
    [again] = [due for due in await all_due(director) if due.id != slow.id]
    assert again.receiver == quick.receiver
    await in_transaction(director, again, ends_with(formation_lifecycle.taken))

    assert (await group_.state(), await group_.error()) == (state, error)
    of_the_group = [name for name in (await announced())[len(before) :] if name != "DeliveryChanged"]
    assert of_the_group == (["FormationDeleting"] if meanwhile == "deletes" else [])
    # Both are asked again where that is still open, and then it goes on.
    await group_.resynchronize()
    await relayed(director)
    for due in await all_due(director):
        await in_transaction(director, due, ends_with(formation_lifecycle.taken))
    assert await group_.state() == (None if state.startswith("DELET") else "READY")


async def test_a_group_that_is_ready_is_not_waited_for_by_what_is_told_of_its_participants(director: Any) -> None:
    group_ = await told(director)
    assert await group_.create() == "READY"
    await relayed(director)
    before = await director.state()
    event = FormationResynchronized(director.caller.tenant, FormationId(group_.formation))

    async with director.database.transaction() as tx:
        await tx.run("-- test.lock\nSELECT FROM formation FOR NO KEY UPDATE")
        async with asyncio.timeout(5), director.database.transaction() as other:
            await FormationLifecycle(PLANE).tell(other, event)

    assert await director.state() == before


@pytest.mark.parametrize("hooks", [1, 5])
async def test_who_has_a_say_is_told_in_six_statements_however_many_they_are(
    director: Any, monkeypatch: pytest.MonkeyPatch, hooks: int
) -> None:
    group_ = await told(director, *[SILENT] * (2 * hooks))
    await group_.create()
    await relayed(director)
    for due in (await all_due(director))[:hooks]:
        await in_transaction(director, due, ends_with(refusing))
    event = FormationResynchronized(director.caller.tenant, FormationId(group_.formation))

    with counted(monkeypatch) as statements:
        async with director.database.transaction() as tx:
            await FormationLifecycle(PLANE).tell(tx, event)

    assert len(statements) == 6
    assert len(await all_due(director)) == 2 * hooks


def ends_with(said: Callable[[Any, Delivery], Awaitable[None]]) -> Callable[[Any, Delivery], Awaitable[None]]:
    """What a worker does with the last answer to a call: judge it, and note that the call is over."""

    async def record(tx: Any, delivery: Delivery) -> None:
        await said(tx, delivery)
        await tx.run("-- test.over\nUPDATE delivery SET state = 'DELIVERED' WHERE id = %(id)s", id=delivery.id)

    return record


async def tell_while(
    director: Any, group_: Lifecycle, monkeypatch: pytest.MonkeyPatch, happens: Callable[[Any], Awaitable[None]]
) -> None:
    """Tell whoever did not agree yet; once it was read who that is, the other happens, or waits until they are told."""
    event = FormationResynchronized(director.caller.tenant, FormationId(group_.formation))
    async with (
        interrupted(director, monkeypatch, formation_lifecycle.AUDIENCE, happens),
        director.database.transaction() as tx,
    ):
        await FormationLifecycle(PLANE).tell(tx, event)


# Webhooks that come and go


async def test_a_group_goes_on_when_nobody_has_a_say_any_more(director: Any) -> None:
    async with receiving(answers(answer(503))) as receiver, working(director):
        group_ = await told(director, receiver.url())
        await group_.create()
        await group_.is_("CREATE_ERROR")
        await director.data(REMOVE, id=group_.hooks[0]["id"])
        await idle(director)

    assert await group_.state() == "READY"
    assert [d["state"] for d in await deliveries(director)] == ["CANCELLED"]
    assert (await group_.delete())["state"] == "READY"
    assert await group_.state() is None


async def test_a_group_that_waits_for_a_webhook_that_is_gone_goes_on_when_it_is_resynchronized(director: Any) -> None:
    async with receiving(answers(answer(410))) as receiver, working(director):
        group_ = await told(director, receiver.url(), receiver.url("/other"))
        await group_.create()
        await idle(director)
        await director.data(REMOVE, id=group_.hooks[0]["id"])
        receiver.behaviour = takes_it
        await group_.resynchronize()
        await idle(director)
        assert await group_.state() == "READY"
        receiver.behaviour = answers(answer(410))
        await group_.delete()
        await idle(director)
        assert await group_.state() == "DELETE_ERROR"
        await director.data(REMOVE, id=group_.hooks[1]["id"])
        await group_.resynchronize()
        await idle(director)

    assert await group_.state() is None


async def test_an_end_that_nobody_has_a_say_in_any_more_comes_at_once(director: Any, announced: Announced) -> None:
    async with receiving(answers(answer(410))) as receiver, working(director):
        group_ = await told(director, receiver.url())
        await group_.create()
        await idle(director)
        await director.data(REMOVE, id=group_.hooks[0]["id"])
    shown = await group_.shown()
    assert shown is not None

    gone = await group_.delete()

    assert {key: gone[key] for key in ("id", "state", "error", "status")} == {
        key: shown[key] for key in ("id", "state", "error", "status")
    }
    assert gone["status"]["condition"] == "ERROR"
    assert await group_.state() is None
    assert (await announced())[-1] == "FormationDeleted"


async def test_webhooks_of_a_template_are_changed_by_whoever_may_change_the_template(director: Any) -> None:
    own = await told(director)
    given = {"in": {"type": "FORMATION_LIFECYCLE", "url": SILENT, "mode": "ASYNC_CALLBACK"}}
    added = (await director.data(ADD, template=own.template, **given))["result"]
    nobody = replace(director.caller, tenant=None, external_tenant=None)
    for_all = (
        await director.data(
            CREATE_TEMPLATE, caller=nobody, **{"in": {"name": "all", "applicationTypes": ["ANY"], "webhooks": []}}
        )
    )["result"]["id"]
    common = (await director.data(ADD, caller=nobody, template=for_all, **given))["result"]["id"]
    weak = replace(director.caller, scopes=director.caller.scopes - {"formation_template:write"})
    app = director.application(await application(director, "one"))

    assert {key: added[key] for key in ("formationTemplateID", "type", "mode", "url")} == {
        "formationTemplateID": own.template,
        **given["in"],
    }
    for caller, code in ((weak, 23), (director.other, 22), (nobody, 22), (app, 22)):
        error = await director.refusal(ADD, caller=caller, template=own.template, **given)
        assert error["extensions"]["error_code"] == code
    for caller, code in ((weak, 23), (director.other, 20), (nobody, 1000), (app, 20)):
        for text, more in ((UPDATE, given), (REMOVE, {})):
            answered = await director(text, caller=caller, id=added["id"], **more)
            assert "errors" in answered
            if code != 1000:
                assert answered["errors"][0]["extensions"]["error_code"] == code
    error = await director.refusal(REMOVE, caller=weak, id=common)
    assert error["extensions"]["error_code"] == 23
    changed = {"in": {"type": "FORMATION_LIFECYCLE", "url": "https://other.example/"}}
    assert (await director.data(UPDATE, id=added["id"], **changed))["result"]["url"] == "https://other.example/"
    assert (await director.data(REMOVE, id=added["id"]))["result"]["id"] == added["id"]
    assert (await director.data(REMOVE, caller=director.other, id=common))["result"]["id"] == common


async def below(director: Any) -> None:
    """Put the other tenant below the caller's."""
    async with director.database.transaction() as tx:
        await tx.run(
            "-- test.below\nINSERT INTO tenant_parent (tenant_id, parent_id) VALUES (%(c)s, %(p)s)",
            c=director.other.tenant,
            p=director.caller.tenant,
        )


async def test_only_who_may_change_a_template_sees_the_secrets_of_its_webhooks(director: Any) -> None:
    nobody = replace(director.caller, tenant=None, external_tenant=None)
    own = await told(director, SILENT)
    hook = {"type": "FORMATION_LIFECYCLE", "url": SILENT}
    given = {"name": "all", "applicationTypes": ["ANY"], "webhooks": [hook]}
    common = (await director.data(CREATE_TEMPLATE, caller=nobody, **{"in": given}))["result"]
    await below(director)
    query = "query ($id: ID!) { formationTemplate(id: $id) { webhooks { id signingSecret } } }"

    async def secrets(template: str, caller: Any) -> list[Any]:
        data = await director.data(query, caller=caller, id=template)
        return [hook["signingSecret"] for hook in data["formationTemplate"]["webhooks"]]

    weak = replace(director.caller, scopes=director.caller.scopes - {"formation_template:write"})
    assert await secrets(own.template, director.caller) == [own.hooks[0]["signingSecret"]]
    for caller in (director.caller, director.other, nobody):
        assert await secrets(common["id"], caller) == [common["webhooks"][0]["signingSecret"]]
    assert await secrets(own.template, director.other) == [None]
    for template in (own.template, common["id"]):
        assert await secrets(template, weak) == [None]


async def test_an_ancestors_template_is_not_a_tenants_to_listen_to(director: Any) -> None:
    above = await told(director, SILENT)
    await below(director)
    given = {"in": {"type": "FORMATION_LIFECYCLE", "url": SILENT}}

    errors = [
        await director.refusal(ADD, caller=director.other, template=above.template, **given),
        await director.refusal(UPDATE, caller=director.other, id=above.hooks[0]["id"], **given),
        await director.refusal(REMOVE, caller=director.other, id=above.hooks[0]["id"]),
    ]

    assert {error["message"] for error in errors} == {
        "Unauthorized [reason=Owner access is needed for resource modification]"
    }


# Drafts and those that leave


async def test_a_draft_is_told_when_it_is_finalized(director: Any) -> None:
    async with receiving(answers(answer(503))) as receiver, working(director):
        group_ = await told(director, receiver.url("/lifecycle"))
        app, cluster = await application(director, "one"), await runtime(director, "cluster")
        await webhook(director, receiver.url("/app"), application=app)
        assert await group_.create(state="DRAFT") == "DRAFT"
        await assign(director, "g", application=app)
        await assign(director, "g", runtime=cluster)
        await idle(director)
        assert receiver.calls == []
        assert (await director.data(FINALIZE, id=group_.formation))["result"]["state"] == "INITIAL"
        await group_.is_("CREATE_ERROR")
        await group_.resynchronize()
        await receiver.has(len(receiver.calls) + 2)
        assert {call.path for call in receiver.calls} == {"/lifecycle"}
        receiver.behaviour = takes_it
        await idle(director)

    assert await group_.state() == "READY"
    assert [call.path for call in receiver.calls][-2:] == ["/lifecycle", "/app"]


async def test_a_draft_goes_without_a_word(director: Any, announced: Announced) -> None:
    group_ = await told(director, SILENT)
    await group_.create(state="DRAFT")

    gone = await group_.delete()
    await relayed(director)

    assert (gone["state"], gone["status"]["condition"]) == ("DRAFT", "DRAFT")
    assert await group_.state() is None
    assert await deliveries(director) == []
    assert (await announced())[-1] == "FormationDeleted"


@pytest.mark.parametrize("state", ["INITIAL", "CREATE_ERROR"])
async def test_one_that_leaves_a_group_that_has_not_begun_is_gone_without_a_word(director: Any, state: str) -> None:
    group_ = await told(director, SILENT)
    app, cluster = await application(director, "one"), await runtime(director, "cluster")
    await webhook(director, SILENT, application=app)
    await group_.create()
    await assign(director, "g", application=app)
    await assign(director, "g", runtime=cluster)
    await relayed(director)
    if state == "CREATE_ERROR":
        await in_transaction(director, await one_due(director), refusing)
    assert await group_.state() == state

    await unassign(director, "g", application=app)
    await relayed(director)

    assert await states(director, "g") == []
    assert "scenarios" not in await labels(director, app)
    assert [d["operation"] for d in await deliveries(director)] == ["createFormation"]


async def test_who_shares_only_a_group_that_has_not_begun_is_told_of_the_end(director: Any) -> None:
    group_ = await told(director, SILENT)
    app, cluster = await application(director, "one"), await runtime(director, "cluster")
    async with receiving() as receiver, working(director, relaying=False):
        await webhook(director, receiver.url(), application=app)
        await group(director, "begun", applications=[app], runtimes=[cluster])
        await group_.create()
        await assign(director, "g", application=app)
        await assign(director, "g", runtime=cluster)
        await relayed(director)
        await receiver.has(1)
        await unassign(director, "begun", application=app)
        await relayed(director)
        await receiver.has(2)

    assert operations(receiver.calls) == ["assign", "unassign"]


# The end


async def test_a_group_is_deleting_until_the_receiver_took_it_and_nobody_joins_meanwhile(
    director: Any, announced: Announced
) -> None:
    async with receiving() as receiver, working(director):
        group_ = await told(director, receiver.url())
        await group_.create()
        await idle(director)
        receiver.behaviour = answers(answer(503))
        asked = await group_.delete()
        assert asked == {
            "id": group_.formation,
            "name": "g",
            "state": "DELETING",
            "tenantID": director.caller.tenant,
            "error": FINE,
            "status": {"condition": "IN_PROGRESS", "errors": []},
        }
        await group_.is_("DELETE_ERROR")
        assert await group_.error() == ("the receiver answered 503", 1)
        app = await application(director, "one")
        answered = await director(ASSIGN, id=app, type="APPLICATION", group="g")
        assert (
            f'cannot assign to formation with ID "{group_.formation}", because it is in state DELETE_ERROR'
            in (answered["errors"][0]["message"])
        )
        answered = await director(CREATE_FORMATION, **{"in": {"name": "g"}})
        assert answered["errors"][0]["message"] == "Object is not unique [object=formations]"
        receiver.behaviour = takes_it
        await idle(director)

    assert await group_.state() is None
    assert "scenarios" not in await labels(director, app)
    assert (await announced()).count("FormationDeleted") == 1
    assert operations([receiver.calls[0], receiver.calls[-1]]) == ["createFormation", "deleteFormation"]
    assert await group_.create() == "INITIAL"


async def test_a_deletion_that_failed_is_told_anew_by_deleting_again(director: Any) -> None:
    async with receiving() as receiver, working(director):
        group_ = await told(director, receiver.url())
        await group_.create()
        await idle(director)
        receiver.behaviour = answers(answer(410))
        await group_.delete()
        await idle(director)
        assert await group_.state() == "DELETE_ERROR"
        receiver.behaviour = takes_it
        again = await group_.delete()
        assert (again["state"], again["error"]) == ("DELETING", FINE)
        await idle(director)

    assert await group_.state() is None
    assert len({call.id for call in receiver.calls}) == 3


async def test_deleting_one_that_is_deleting_changes_nothing(director: Any, announced: Announced) -> None:
    group_ = await told(director, SILENT)
    await group_.create()
    first = await group_.delete()
    before = (await director.state(), await announced())

    assert await group_.delete() == first
    assert (await director.state(), await announced()) == before
    assert before[1][-1] == "FormationDeleting"


async def test_a_group_with_participants_is_not_deleted(director: Any) -> None:
    group_ = await told(director, SILENT)
    await group_.create()
    await assign(director, "g", application=await application(director, "one"))

    error = await director.refusal(DELETE_FORMATION, **{"in": {"name": "g"}})

    assert f'cannot delete formation with ID "{group_.formation}", because it is not empty' in error["message"]


# Receivers that report later


async def test_one_that_reports_later_leaves_the_group_waiting_and_can_be_told_again(director: Any) -> None:
    async with receiving(answers(answer(503), answer(202))) as receiver, working(director):
        group_ = await told(director, receiver.url(), mode="ASYNC_CALLBACK")
        await group_.create()
        await receiver.has(2)
        await idle(director)
        # What the first call failed of is over.
        assert (await group_.state(), await group_.error()) == ("INITIAL", ("", 0))
        await group_.resynchronize()
        await idle(director)
        assert len(receiver.calls) == 3
        assert await group_.state() == "INITIAL"
        await group_.delete()
        await idle(director)
        assert await group_.state() == "DELETING"
        await group_.resynchronize()
        await idle(director)

    assert await group_.state() == "DELETING"
    assert operations(receiver.calls)[2:] == ["createFormation", "deleteFormation", "deleteFormation"]


async def test_one_that_answers_does_not_decide_for_one_that_reports_later(director: Any) -> None:
    async with receiving() as receiver, working(director):
        group_ = await template(
            director,
            {"type": "FORMATION_LIFECYCLE", "url": receiver.url("/later"), "mode": "ASYNC_CALLBACK"},
            {"type": "FORMATION_LIFECYCLE", "url": receiver.url("/now"), "mode": "SYNC"},
        )
        await group_.create()
        await idle(director)

    assert await group_.state() == "INITIAL"


async def test_a_deletion_begins_a_new_attempt(director: Any) -> None:
    group_ = await told(director, SILENT)
    await group_.create()
    await relayed(director)
    delivery = await one_due(director)
    event = FormationDeleting(director.caller.tenant, FormationId(group_.formation))
    await group_.delete()

    # The answer to the beginning comes between the deletion and its notification.
    for said in (refusing, formation_lifecycle.accepted, formation_lifecycle.taken, formation_lifecycle.given_up):
        await in_transaction(director, delivery, said)
        assert (await group_.state(), await group_.error()) == ("DELETING", ("", 0))
    async with director.database.transaction() as tx:
        await FormationLifecycle(PLANE).tell(tx, event)
    await in_transaction(director, delivery, formation_lifecycle.taken)
    assert await group_.state() == "DELETING"


@pytest.mark.parametrize("said", ["refused", "accepted", "taken", "given_up"])
async def test_an_answer_that_comes_in_while_the_group_is_deleted_decides_nothing(director: Any, said: str) -> None:
    group_ = await told(director, SILENT)
    await group_.create()
    await relayed(director)
    delivery = await one_due(director)
    says = refusing if said == "refused" else getattr(formation_lifecycle, said)
    async with director.database.transaction() as tx:
        await formation_noun.delete(tx, director.caller, NewFormation("g"), asked=Selection())
        judging = asyncio.create_task(in_transaction(director, delivery, says))
        await asyncio.sleep(0.3)
        assert not judging.done()
    await judging

    assert (await group_.state(), await group_.error()) == ("DELETING", ("", 0))
