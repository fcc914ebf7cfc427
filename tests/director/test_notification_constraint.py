"""Constraints on notifications, with the plane's own relay and delivery worker and a receiver on a real socket."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
import pytest
from standardwebhooks import Webhook

from compass.director.formation_template import DEFAULT
from compass.errors import InvalidOperation
from tests.delivery.receiver import Call, Receiver, answer, receiving
from tests.director.catalogue import counted
from tests.director.groups import (
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
    webhook,
    working,
)
from tests.director.test_assignment_status import RESYNCHRONIZE, URL, Pair, adapter, paired
from tests.director.test_formation_constraint import (
    ATTACH,
    DELETE,
    DETACH,
    constraint,
    default_template,
    not_satisfied,
    typed_runtime,
)
from tests.director.test_formation_lifecycle import told
from tests.director.test_notifications import UNREGISTER, connect, data, heard, told_application

MUTE = "DoNotGenerateFormationAssignmentNotification"
LOOPS = "DoNotGenerateFormationAssignmentNotificationForLoops"
REDIRECT = "RedirectNotification"
FLOW = "AsynchronousFlowControl"
MUTATOR = "ConfigMutator"
TARGETS = {
    MUTE: "GENERATE_FORMATION_ASSIGNMENT_NOTIFICATION",
    LOOPS: "GENERATE_FORMATION_ASSIGNMENT_NOTIFICATION",
    REDIRECT: "SEND_NOTIFICATION",
    FLOW: "SEND_NOTIFICATION",
    MUTATOR: "NOTIFICATION_STATUS_RETURNED",
}

FACTS = (
    "Operation",
    "FormationID",
    "FormationName",
    "FormationTemplateID",
    "FormationType",
    "TenantID",
    "ResourceType",
    "ResourceSubtype",
    "ResourceID",
    "SourceResourceType",
    "SourceResourceSubtype",
    "SourceResourceID",
    "FormationAssignmentID",
    "State",
    "Configuration",
    "ReverseConfiguration",
    "WebhookID",
    "WebhookMode",
    "URL",
)
"""What templates see."""


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as running:
        yield running


async def rule(director: Any, operator: str, template: str = "{}", /, *, name: str = "", **more: Any) -> str:
    given = {"constraintScope": "GLOBAL", "targetOperation": TARGETS[operator], **more}
    return await constraint(director, name or operator, operator=operator, inputTemplate=template, **given)


async def errors(director: Any) -> list[dict[str, Any]]:
    data = await director.data(STATUS, name="g")
    return [
        {"message": error["message"], "errorCode": error["errorCode"]}
        for error in data["formationByName"]["status"]["errors"]
    ]


# Whether a participant is told


async def test_who_must_not_be_told_is_not_and_is_ready(director: Any, receiver: Receiver) -> None:
    app, _ = await told_application(director, receiver, "one")
    cluster = await runtime(director, "cluster")
    await webhook(director, receiver.url("/cluster"), runtime=cluster)
    await rule(director, MUTE)
    async with working(director):
        await group(director, "g", applications=[app], runtimes=[cluster])
        await idle(director)
        assert await states(director, "g") == sorted([(app, cluster, "READY"), (cluster, app, "READY")])
        await connect(director, cluster)
        await unassign(director, "g", application=app)
        await idle(director)

    assert [call.path for call in receiver.calls] == ["/cluster", "/cluster"]  # the rule is about applications
    assert await states(director, "g") == []


async def test_what_is_kept_back_leaves_no_delivery(director: Any) -> None:
    app, cluster = await application(director, "one"), await runtime(director, "cluster")
    await webhook(director, URL, application=app)
    await rule(director, MUTE)
    await group(director, "g", applications=[app], runtimes=[cluster])
    await relayed(director)

    assert await deliveries(director) == []
    assert await condition(director, "g") == "READY"


async def test_a_group_of_a_template_that_the_rule_is_not_attached_to_is_told(
    director: Any, receiver: Receiver
) -> None:
    app, _ = await told_application(director, receiver, "one")
    first, second = [await runtime(director, name) for name in ("a", "b")]
    quiet = await rule(director, MUTE, constraintScope="FORMATION_TYPE")
    template = await default_template(director)
    await director.data(ATTACH, id=quiet, template=template)
    async with working(director):
        await group(director, "g", applications=[app], runtimes=[first])
        await idle(director)
        assert receiver.calls == []

        await director.data(DETACH, id=quiet, template=template)
        await assign(director, "g", runtime=second)
        await idle(director)

    assert heard(receiver) == [("assign", app, second)]


@pytest.mark.parametrize(
    ("template", "of"),
    [
        ("{}", []),
        (f'{{"except_formation_types": ["{DEFAULT}"]}}', ["kyma", "edge"]),
        ('{"except_subtypes": ["kyma"]}', ["kyma"]),
        ('{"source_resource_type": "APPLICATION"}', ["kyma", "edge"]),
        ('{"source_resource_type": "{{.SourceResourceType}}"}', []),
    ],
)
async def test_exceptions_are_told(director: Any, receiver: Receiver, template: str, of: list[str]) -> None:
    app, _ = await told_application(director, receiver, "one")
    clusters = {name: await typed_runtime(director, name, name) for name in ("kyma", "edge")}
    await rule(director, MUTE, template)
    async with working(director):
        await group(director, "g", applications=[app], runtimes=list(clusters.values()))
        await idle(director)
        for cluster in clusters.values():
            await connect(director, cluster)
            await idle(director)
        # Also of one that is gone, by what it was.
        for cluster in clusters.values():
            await director.data(UNREGISTER, id=cluster)
            await idle(director)

    assert heard(receiver) == [
        (operation, app, clusters[name]) for operation in ("assign", "ready", "unregister") for name in of
    ]


async def test_an_application_is_told_of_others_and_not_of_itself(director: Any, receiver: Receiver) -> None:
    apps = [await application(director, name) for name in ("a", "b")]
    for app in apps:
        await webhook(director, receiver.url(), application=app, type="APPLICATION_TENANT_MAPPING")
    await rule(director, LOOPS)
    async with working(director):
        await group(director, "g", applications=apps)
        await idle(director)

    heard_of = sorted((data(call)["sourceApplicationID"], data(call)["targetApplicationID"]) for call in receiver.calls)
    assert heard_of == sorted([(apps[0], apps[1]), (apps[1], apps[0])])
    assert await condition(director, "g") == "READY"


async def test_a_rule_that_cannot_decide_is_seen_and_keeps_the_group_in_error(director: Any) -> None:
    app, cluster = await application(director, "one"), await runtime(director, "cluster")
    await webhook(director, URL, application=app)
    await rule(director, MUTE, '{"except_subtypes": {{if .ResourceID}}7{{else}}[]{{end}}}')
    async with working(director):
        await group(director, "g", applications=[app], runtimes=[cluster])
        await idle(director)

    why = f"{not_satisfied(MUTE, MUTE)}: its input cannot be used: "
    why += "the template must render except_subtypes as a list of texts"
    assert await errors(director) == [{"message": why, "errorCode": 1}]
    [delivery] = await deliveries(director)
    assert (delivery["state"], delivery["error"]) == ("DEAD", why)


async def test_what_templates_see_of_a_notification(director: Any, receiver: Receiver) -> None:
    shop = await application(director, "one", labels={"applicationType": "shop"})
    cluster = await typed_runtime(director, "cluster", "kyma")
    hook = await webhook(director, receiver.url("/one"), application=shop)
    formation = await group(director, "g", applications=[shop])
    seen = "&".join(f"{field}={{{{.{field} | urlquery}}}}" for field in FACTS)
    await rule(director, REDIRECT, f'{{"url": "{receiver.url("/seen")}?{seen}"}}')
    async with working(director):
        await assign(
            director,
            "g",
            runtime=cluster,
            initial=[{"sourceID": shop, "targetID": cluster, "configuration": '{"a":1}'}],
        )
        await idle(director)

    [call] = receiver.calls
    data = await director.data(STATUS, name="g")
    rows = data["formationByName"]["formationAssignments"]["data"]
    [assignment] = [row["id"] for row in rows if (row["source"], row["target"]) == (cluster, shop)]
    assert dict(parse_qsl(urlsplit(call.path).query, keep_blank_values=True)) == {
        "Operation": "assign",
        "FormationID": formation,
        "FormationName": "g",
        "FormationTemplateID": await default_template(director),
        "FormationType": DEFAULT,
        "TenantID": director.caller.tenant,
        "ResourceType": "APPLICATION",
        "ResourceSubtype": "shop",
        "ResourceID": shop,
        "SourceResourceType": "RUNTIME",
        "SourceResourceSubtype": "kyma",
        "SourceResourceID": cluster,
        "FormationAssignmentID": assignment,
        "State": "INITIAL",
        "Configuration": "",
        "ReverseConfiguration": '{"a":1}',
        "WebhookID": hook["id"],
        "WebhookMode": "",
        "URL": receiver.url("/one"),
    }


# Where a notification goes


async def test_a_notification_goes_elsewhere_with_all_that_belongs_to_it(director: Any, receiver: Receiver) -> None:
    app = await application(director, "one")
    basic = {"credential": {"basic": {"username": "ann", "password": "planted-secret-1"}}}
    hook = await webhook(director, receiver.url("/one"), application=app, auth=basic)
    cluster = await runtime(director, "cluster")
    await rule(director, REDIRECT, f'{{"url": "{receiver.url("/elsewhere")}"}}')
    async with working(director):
        await group(director, "g", applications=[app], runtimes=[cluster])
        await idle(director)

    [call] = receiver.calls
    assert call.path == "/elsewhere"
    assert call.headers["authorization"].startswith("Basic ")
    Webhook(hook["signingSecret"]).verify(call.body, call.headers)
    assert heard(receiver) == [("assign", app, cluster)]
    assert await condition(director, "g") == "READY"


async def test_a_rendered_notification_goes_elsewhere_too(director: Any, receiver: Receiver) -> None:
    app, cluster = await application(director, "one"), await runtime(director, "cluster")
    await webhook(director, None, application=app, **adapter(receiver, "/one"))
    await rule(director, REDIRECT, f'{{"url": "{receiver.url("/elsewhere")}", "should_redirect": {{{{eq .URL ""}}}}}}')
    async with working(director):
        await group(director, "g", applications=[app], runtimes=[cluster])
        await idle(director)

    [call] = receiver.calls
    assert (call.path, orjson.loads(call.body)) == ("/elsewhere", {"operation": "assign", "theirs": None})


async def test_of_several_that_redirect_the_last_one_counts(director: Any, receiver: Receiver) -> None:
    app, _ = await told_application(director, receiver, "one")
    cluster = await runtime(director, "cluster")
    await rule(director, REDIRECT, '{"url": "{{.URL}}/last"}', name="last", priority=1)
    await rule(director, REDIRECT, f'{{"url": "{receiver.url("/first")}"}}', name="first", priority=2)
    async with working(director):
        await group(director, "g", applications=[app], runtimes=[cluster])
        await idle(director)

    assert [call.path for call in receiver.calls] == ["/first/last"]


@pytest.mark.parametrize(
    ("operator", "template", "why"),
    [
        (REDIRECT, '{"url": "nowhere"}', "url must be a valid URL"),
        (FLOW, '{"fail_on_sync_participants": true}', "the webhook's mode is not ASYNC_CALLBACK"),
    ],
)
async def test_a_notification_that_must_not_be_sent_is_an_error_until_it_may(
    director: Any, receiver: Receiver, operator: str, template: str, why: str
) -> None:
    app, _ = await told_application(director, receiver, "one")
    cluster = await runtime(director, "cluster")
    forbids = await rule(director, operator, template)
    async with working(director):
        formation = await group(director, "g", applications=[app], runtimes=[cluster])
        await idle(director)

        assert receiver.calls == []
        assert await errors(director) == [{"message": f"{not_satisfied(operator, operator)}: {why}", "errorCode": 1}]
        assert [delivery["state"] for delivery in await deliveries(director)] == ["DEAD"]
        await director.data(DELETE, id=forbids)
        await director.data(RESYNCHRONIZE, id=formation)
        await idle(director)

    assert heard(receiver) == [("assign", app, cluster)]
    assert await condition(director, "g") == "READY"


@pytest.mark.parametrize("templated", [False, True])
async def test_an_answer_decides_nothing_where_a_report_is_awaited(
    director: Any, receiver: Receiver, templated: bool
) -> None:
    async def ready(_call: Call) -> bytes:
        return answer(body=b'{"state": "READY"}')

    receiver.behaviour = ready
    app, cluster = await application(director, "one"), await runtime(director, "cluster")
    if templated:
        await webhook(director, None, application=app, **adapter(receiver, "/one"))
    else:
        await webhook(director, receiver.url("/one"), application=app)
    await rule(director, FLOW, f'{{"url": "{receiver.url("/flow")}"}}')
    async with working(director):
        await group(director, "g", applications=[app], runtimes=[cluster])
        await idle(director)
        pair = await paired(director, app=app, cluster=cluster)
        assert await pair.state() == "INITIAL"

        [call] = receiver.calls
        assert call.path == "/flow"
        if not templated:
            assert data(call)["formationAssignment"] == {"id": pair.of_app}
        await pair.report(state="READY")
        assert await pair.state() == "READY"

        await unassign(director, "g", runtime=cluster)
        await idle(director)
        assert await pair.state() == "DELETING"
        await pair.report(state="READY")
        assert await pair.state() is None


# What an answer or a report counts for


async def test_another_configuration_and_state_count_than_were_answered(director: Any, receiver: Receiver) -> None:
    async def configured(call: Call) -> bytes:
        told = orjson.loads(call.body)
        if told["theirs"] is not None or told["operation"] == "unassign":
            return answer(body=b"{}")
        return answer(body=orjson.dumps({"state": "CONFIG_PENDING", "config": {"url": "x", "secret": "s"}}))

    receiver.behaviour = configured
    app, cluster = await application(director, "one"), await runtime(director, "cluster")
    await webhook(director, None, application=app, **adapter(receiver, "/one"))
    await webhook(director, None, runtime=cluster, **adapter(receiver, "/cluster"))
    await rule(
        director,
        MUTATOR,
        '{"operation": "assign", {{if eq .State "CONFIG_PENDING"}} "state": "READY", "modified_configuration": '
        '{{updateAndCopy .Configuration "secret" "hidden" | toJson}} {{else}} "state": "" {{end}} }',
    )
    async with working(director):
        await group(director, "g", applications=[app], runtimes=[cluster])
        await idle(director)

    pair = await paired(director, app=app, cluster=cluster)
    row = await pair.row()
    assert row is not None
    assert (row["state"], orjson.loads(row["configuration"])) == ("READY", {"url": "x", "secret": "hidden"})
    passed_on = [orjson.loads(call.body)["theirs"] for call in receiver.calls if call.path == "/cluster"]
    assert {"url": "x", "secret": "hidden"} in passed_on
    assert {"url": "x", "secret": "s"} not in passed_on


async def test_an_answer_about_an_object_of_another_subtype_counts_as_it_is(director: Any, receiver: Receiver) -> None:
    app, _ = await told_application(director, receiver, "one")
    clusters = {name: await typed_runtime(director, name, name) for name in ("kyma", "edge")}
    await rule(director, MUTATOR, '{"only_for_source_subtypes": ["edge"], "state": "CONFIG_PENDING"}')
    async with working(director):
        await group(director, "g", applications=[app], runtimes=list(clusters.values()))
        await idle(director)

    assert set(await states(director, "g")) >= {
        (clusters["kyma"], app, "READY"),
        (clusters["edge"], app, "CONFIG_PENDING"),
    }


@pytest.mark.parametrize(
    ("template", "error"),
    [
        (
            '{"state": "{{if .State}}DELETE_READY{{end}}"}',
            {
                "message": f"{not_satisfied(MUTATOR, MUTATOR)}: a participant cannot report 'DELETE_READY'",
                "errorCode": 1,
            },
        ),
        (
            '{"state": "CREATE_ERROR"}',
            {"message": "a constraint takes the answer for CREATE_ERROR", "errorCode": 2},
        ),
    ],
)
async def test_an_answer_may_count_for_an_error(
    director: Any, receiver: Receiver, template: str, error: dict[str, Any]
) -> None:
    app, _ = await told_application(director, receiver, "one")
    cluster = await runtime(director, "cluster")
    await rule(director, MUTATOR, template)
    async with working(director):
        await group(director, "g", applications=[app], runtimes=[cluster])
        await idle(director)

    assert await errors(director) == [error]
    assert (cluster, app, "CREATE_ERROR") in await states(director, "g")


@pytest.fixture
async def pair(director: Any) -> Pair:
    """An application that reports, and a runtime."""
    app, cluster = await application(director, "one"), await runtime(director, "cluster")
    await webhook(director, URL, application=app, mode="ASYNC_CALLBACK")
    await group(director, "g", applications=[app], runtimes=[cluster])
    await relayed(director)
    return await paired(director, app=app, cluster=cluster)


async def test_a_report_counts_for_what_the_rule_makes_of_it(pair: Pair) -> None:
    await rule(
        pair.director,
        MUTATOR,
        '{"operation": "assign", "state": "CONFIG_PENDING", "modified_configuration": "{\\"was\\": \\"{{.State}}\\"}"}',
    )

    await pair.report(state="READY", configuration={"a": 1})

    row = await pair.row()
    assert row is not None
    assert (row["state"], row["configuration"]) == ("CONFIG_PENDING", '{"was":"READY"}')


async def test_a_report_of_an_error_stays_one(pair: Pair) -> None:
    await rule(pair.director, MUTATOR, '{"state": "READY"}')

    await pair.report(state="CREATE_ERROR", error="broken")

    assert await errors(pair.director) == [{"message": "broken", "errorCode": 2}]


async def test_a_report_may_count_for_an_error(pair: Pair) -> None:
    await rule(pair.director, MUTATOR, '{"state": "CREATE_ERROR"}')

    await pair.report(state="READY", configuration={"a": 1})

    row = await pair.row()
    assert row is not None
    assert (row["state"], row["configuration"]) == ("CREATE_ERROR", None)


async def test_a_report_that_cannot_be_judged_is_refused(pair: Pair) -> None:
    await rule(pair.director, MUTATOR, '{"modified_configuration": "{{if .State}}{{else}}0{{end}}{{.State}}"}')

    text = await pair.refused(InvalidOperation, pair.report, state="READY")

    assert f"{not_satisfied(MUTATOR, MUTATOR)}: modified_configuration is no JSON" in text


async def test_rules_about_answers_cost_one_statement_whatever_their_number(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    with counted(monkeypatch) as without:
        await pair.report(state="CONFIG_PENDING")
    for number in range(10):
        await rule(pair.director, MUTATOR, name=f"rule {number}")
    with counted(monkeypatch) as with_them:
        await pair.report(state="READY")

    assert len(without) == len(with_them) == 4


# Groups that begin and end


async def test_what_is_told_of_a_group_goes_elsewhere_too(director: Any, receiver: Receiver) -> None:
    group_ = await told(director, receiver.url("/lifecycle"))
    to = f'{{"url": "{receiver.url("/elsewhere")}?{{{{.Operation}}}}-{{{{.ResourceSubtype}}}}-{{{{.FormationName}}}}"}}'
    await rule(director, REDIRECT, to, resourceType="FORMATION")
    async with working(director):
        await group_.create()
        await idle(director)
        assert await group_.state() == "READY"
        await group_.delete()
        await idle(director)

    assert await group_.state() is None
    assert [call.path for call in receiver.calls] == [
        f"/elsewhere?{operation}-told-g" for operation in ("createFormation", "deleteFormation")
    ]


async def test_what_is_told_of_a_group_may_be_forbidden_or_decide_nothing(director: Any, receiver: Receiver) -> None:
    group_ = await told(director, receiver.url("/lifecycle"))
    forbids = await rule(director, FLOW, '{"fail_on_sync_participants": true}', resourceType="FORMATION")
    async with working(director):
        await group_.create()
        await idle(director)
        why = f"{not_satisfied(FLOW, FLOW)}: the webhook's mode is not ASYNC_CALLBACK"
        assert (await group_.state(), await group_.error()) == ("CREATE_ERROR", (why, 1))
        assert receiver.calls == []

        await director.data(DELETE, id=forbids)
        await rule(director, FLOW, resourceType="FORMATION")
        await group_.resynchronize()
        await idle(director)

    assert len(receiver.calls) == 1
    assert await group_.state() == "INITIAL"
