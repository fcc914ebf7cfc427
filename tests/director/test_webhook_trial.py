"""Trying a webhook out: a preview of what its templates make, and a call that changes nothing."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from compass.delivery.signature import key_of, signed_headers
from compass.director.webhook_trial import EXAMPLES
from tests.delivery.receiver import Call, answer, receiving, takes_it
from tests.director.catalogue import named, without
from tests.director.groups import (
    PATIENT,
    Announced,
    application,
    condition,
    deliveries,
    group,
    idle,
    runtime,
    states,
    until,
    webhook,
    working,
)

TEST = """
mutation ($id: ID!) { result: testWebhook(webhookID: $id) { id operation state url request { method body } } }
"""
PREVIEW = """
query (
  $type: WebhookType!, $url: String, $urlTemplate: String, $inputTemplate: String, $headerTemplate: String,
  $outputTemplate: String, $statusTemplate: String
) {
  result: webhookPreview(
    type: $type, url: $url, urlTemplate: $urlTemplate, inputTemplate: $inputTemplate, headerTemplate: $headerTemplate,
    outputTemplate: $outputTemplate, statusTemplate: $statusTemplate
  ) { method url headers { name value } body problems { template line message rendered } }
}
"""
HEALTH = """
query ($id: ID!) {
  application(id: $id) { webhooks { health { delivered dead pending lastAttemptAt lastStatus lastError recent } } }
}
"""
RECOVER = """
mutation ($id: ID!) { result: recoverWebhookDeliveries(webhookID: $id, since: "2026-01-01T00:00:00Z") }
"""
NOBODY = "8fd7f7f4-3d6c-4a9a-8f3c-000000000000"


async def down(_call: Call) -> bytes:
    return answer(503, b"later")


async def says_no(_call: Call) -> bytes:
    return answer(200, b'{"error": "I do not know you"}')


async def tried(director: Any, hook: str, **more: Any) -> Any:
    return (await director.data(TEST, id=hook, **more))["result"]


async def health(director: Any, owner: str) -> Any:
    [hook] = (await director.data(HEALTH, id=owner))["application"]["webhooks"]
    return hook["health"]


async def test_a_test_is_a_signed_call_of_its_own_and_no_group_changes(director: Any) -> None:
    async with receiving() as receiver, working(director, settings=PATIENT):
        app, cluster = await application(director, "one"), await runtime(director, "cluster")
        hook = await webhook(director, receiver.url("/hook?token=s3cret"), application=app)
        await group(director, "g", applications=[app], runtimes=[cluster])
        await idle(director)
        before = await states(director, "g")

        made = await tried(director, hook["id"])
        await idle(director)

    [_, call] = receiver.calls
    sent_at = datetime.fromtimestamp(int(call.headers["webhook-timestamp"]), UTC)
    signed = signed_headers(made["id"], sent_at, call.body, [key_of(hook["signingSecret"])])
    assert {name: call.headers[name] for name in signed} == signed
    assert (call.id, call.headers["compass-test"]) == (made["id"], "true")
    event = json.loads(call.body)
    assert (event["type"], event["subject"], event["data"]) == (
        "io.compass.webhook.test.v1",
        hook["id"],
        {"operation": "test", "webhookID": hook["id"]},
    )
    assert (made["operation"], made["state"], made["url"]) == ("test", "PENDING", receiver.url("/hook"))
    assert (made["request"]["method"], json.loads(made["request"]["body"])) == ("POST", event)
    [newest, _] = await deliveries(director)
    assert (newest["id"], newest["state"]) == (made["id"], "DELIVERED")
    assert [attempt["status"] for attempt in newest["attempts"]] == [200]
    assert await states(director, "g") == before
    assert await condition(director, "g") == "READY"


async def test_a_test_takes_three_statements(director: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    app = await application(director, "one")
    hook = await webhook(director, "https://receiver.example", application=app)
    ran = named(monkeypatch)

    await tried(director, hook["id"])

    # Besides the reading of the answer, which has no name.
    assert [name for name in ran if name.startswith("--") and "audit" not in name] == [
        "-- webhook.owner",
        "-- webhook_trial.hook",
        "-- delivery.enqueue",
    ]


async def test_a_test_is_tried_once_and_says_what_was_wrong(director: Any) -> None:
    async with receiving(down) as receiver, working(director, settings=PATIENT):
        app, cluster = await application(director, "one"), await runtime(director, "cluster")
        hook = await webhook(director, receiver.url(), application=app)

        made = await tried(director, hook["id"])
        await idle(director)
        [failed] = await deliveries(director)
        receiver.behaviour = takes_it
        await group(director, "g", applications=[app], runtimes=[cluster])
        await idle(director)
        recovered = (await director.data(RECOVER, id=hook["id"]))["result"]

    only_owed = "{ webhookDeliveries(state: DEAD, tests: false) { totalCount } }"
    assert (await director.data(only_owed))["webhookDeliveries"]["totalCount"] == 0
    assert (failed["id"], failed["state"], failed["error"]) == (made["id"], "DEAD", "the receiver answered 503")
    assert len(failed["attempts"]) == 1
    assert await condition(director, "g") == "READY"
    assert recovered == 0  # a test that failed is not owed to anybody


async def test_tests_do_not_wait_for_what_waits_for_the_receiver(director: Any) -> None:
    async with receiving(down) as receiver, working(director, settings=PATIENT):
        app, cluster = await application(director, "one"), await runtime(director, "cluster")
        hook = await webhook(director, receiver.url(), application=app)
        await group(director, "g", applications=[app], runtimes=[cluster])
        await receiver.has(1)

        made = [await tried(director, hook["id"]) for _ in range(3)]

        async def all_settled() -> bool:
            dead = await deliveries(director, state="DEAD")
            return {one["id"] for one in made} == {one["id"] for one in dead}

        await until(all_settled, 30)
        receiver.behaviour = takes_it
        await idle(director)

    assert await condition(director, "g") == "READY"


async def test_templates_are_filled_in_with_examples_and_the_answer_is_read_as_always(director: Any) -> None:
    async with receiving(says_no) as receiver, working(director, settings=PATIENT):
        app = await application(director, "one")
        hook = await webhook(
            director,
            None,
            application=app,
            urlTemplate=json.dumps({"method": "PUT", "path": receiver.url("/{{.Runtime.Name}}")}),
            inputTemplate='{"for": "{{.Application.Name}}", "context": "{{.RuntimeContext.Value}}"}',
            headerTemplate='{"X-Key": ["k-4711"]}',
            outputTemplate='{"success_status_code": 200, "error": "{{.Body.error}}"}',
        )
        await tried(director, hook["id"])
        await idle(director)

    [call] = receiver.calls
    assert call.path == "/example-runtime"
    assert json.loads(call.body) == {"for": "example-shop", "context": "example-context"}
    assert (call.headers["x-key"], call.headers["compass-test"]) == ("k-4711", "true")
    [failed] = await deliveries(director)
    assert (failed["state"], failed["error"]) == ("DEAD", "I do not know you")


async def test_credentials_that_cannot_be_used_end_a_test_at_once(director: Any) -> None:
    async with receiving() as receiver, working(director, settings=PATIENT):
        app = await application(director, "one")
        hook = await webhook(director, receiver.url(), application=app, auth={"accessStrategy": "made-up"})

        await tried(director, hook["id"])
        await idle(director)

    assert receiver.calls == []
    [failed] = await deliveries(director)
    assert failed["state"] == "DEAD"
    assert "access strategy made-up is not supported" in failed["error"]


async def test_who_may_not_change_a_webhook_may_not_test_it(director: Any, announced: Announced) -> None:
    app, other = await application(director, "one"), await application(director, "other")
    hook = await webhook(director, "https://receiver.example", application=app)
    before = await announced()

    for caller in (director.other, director.application(other)):
        error = await director.refusal(TEST, caller=caller, id=hook["id"])
        assert error["message"] == "Object not found [object=webhook]"
    error = await director.refusal(TEST, caller=without(director.caller, "webhook:write"), id=hook["id"])
    assert "webhook:write" in error["message"]
    assert (await director.refusal(TEST, id=NOBODY))["message"] == "Object not found [object=webhook]"

    assert await deliveries(director) == []
    assert await announced() == before
    assert (await tried(director, hook["id"], caller=director.application(app)))["state"] == "PENDING"


async def test_a_webhook_that_is_never_called_is_not_tested(director: Any) -> None:
    app = await application(director, "one")
    hook = await webhook(director, "https://receiver.example", application=app, type="OPEN_RESOURCE_DISCOVERY")

    error = await director.refusal(TEST, id=hook["id"])

    assert "webhooks of type OPEN_RESOURCE_DISCOVERY are never called" in error["message"]
    assert await deliveries(director) == []


async def test_health_counts_what_became_of_the_last_notifications(director: Any) -> None:
    async with receiving() as receiver, working(director, settings=PATIENT):
        app = await application(director, "one")
        hook = await webhook(director, receiver.url(), application=app)
        untouched = await health(director, app)
        await tried(director, hook["id"])
        await idle(director)
        receiver.behaviour = down
        await tried(director, hook["id"])
        await idle(director)

    seen = await health(director, app)
    assert untouched == {
        "delivered": 0, "dead": 0, "pending": 0, "lastAttemptAt": None, "lastStatus": None, "lastError": None,
        "recent": [],
    }  # fmt: skip
    assert seen.pop("lastAttemptAt").endswith("Z")
    assert seen == {
        "delivered": 1, "dead": 1, "pending": 0, "lastStatus": 503, "lastError": "the receiver answered 503",
        "recent": ["DELIVERED", "DEAD"],
    }  # fmt: skip


async def test_what_was_sent_is_shown_without_secrets_to_who_may_change_it(director: Any) -> None:
    app = await application(director, "one")
    hook = await webhook(
        director,
        "https://receiver.example",
        application=app,
        inputTemplate='{"name": "{{.Application.Name}}", "clientSecret": "c-4711", "keep": 1}',
        headerTemplate='{"X-Key": ["k-4711"]}',
    )
    await tried(director, hook["id"])
    text = "query { webhookDeliveries { data { id request { headers { name value } body } } } }"

    [shown] = (await director.data(text))["webhookDeliveries"]["data"]
    [hidden] = (await director.data(text, caller=without(director.caller, "webhook:write")))["webhookDeliveries"][
        "data"
    ]

    assert json.loads(shown["request"]["body"]) == {"name": "example-shop", "clientSecret": "***", "keep": 1}
    assert shown["request"]["headers"] == [
        {"name": "Compass-Test", "value": "true"},
        {"name": "Content-Type", "value": "application/json"},
        {"name": "X-Key", "value": "***"},
    ]
    assert hidden == {"id": shown["id"], "request": None}


async def preview(director: Any, **given: Any) -> Any:
    return (await director.data(PREVIEW, **{"type": "CONFIGURATION_CHANGED", **given}))["result"]


async def test_a_preview_shows_the_call_and_sends_nothing(director: Any, announced: Announced) -> None:
    plain = await preview(director, url="https://receiver.example/in")
    made = await preview(
        director,
        urlTemplate='{"method": "post", "path": "https://a.example/{{.Application.ID}}"}',
        inputTemplate='{"group": "{{.Formation.Name}}"}',
        headerTemplate='{"X-Kind": ["{{.Operation}}"]}',
        outputTemplate='{"success_status_code": 200, "error": "{{.Body.error}}"}',
    )

    assert (plain["method"], plain["url"], plain["problems"]) == ("POST", "https://receiver.example/in", [])
    assert json.loads(plain["body"])["type"] == "io.compass.webhook.test.v1"
    assert made == {
        "method": "POST",
        "url": "https://a.example/33333333-0000-4000-8000-000000000000",
        "headers": [{"name": "Content-Type", "value": "application/json"}, {"name": "X-Kind", "value": "assign"}],
        "body": '{"group":"example group"}',
        "problems": [],
    }
    assert await deliveries(director) == []
    assert await announced() == []


async def test_a_preview_says_in_which_line_of_which_template_something_is_wrong(director: Any) -> None:
    made = await preview(
        director,
        urlTemplate='{"path": "https://a.example"}',
        inputTemplate='{\n  "id": "{{.Nobody.ID}}"\n}',
        headerTemplate="{\n{{if}}\n}",
        outputTemplate='{"error": ""}',
        statusTemplate='{\n"status": {{.Body.state}}\n}',
    )

    found = {one["template"]: one for one in made["problems"]}
    assert list(found) == ["urlTemplate", "inputTemplate", "headerTemplate", "outputTemplate", "statusTemplate"]
    assert found["urlTemplate"]["message"] == "urlTemplate must render a method"
    assert found["inputTemplate"]["line"] == 2
    assert found["headerTemplate"]["line"] == 2
    assert found["outputTemplate"]["message"] == "outputTemplate must render success_status_code"
    assert "Nobody" in found["inputTemplate"]["message"]


async def test_of_what_renders_to_no_json_a_preview_shows_the_text(director: Any) -> None:
    made = await preview(director, url="https://a.example", inputTemplate='{"a": "{{.Application.Name}}",\n"b" 1}')

    [problem] = made["problems"]
    assert (problem["template"], problem["line"]) == ("inputTemplate", 2)
    assert problem["rendered"] == '{"a": "example-shop",\n"b" 1}'
    assert made["body"] == "{}"


async def test_a_template_that_only_examples_satisfy_is_told_of_like_when_it_is_stored(director: Any) -> None:
    template = '{"scenarios": {{.Application.Labels.scenarios}}}'
    made = await preview(director, url="https://a.example", inputTemplate=template)
    app = await application(director, "one")
    given = {"type": "CONFIGURATION_CHANGED", "url": "https://a.example", "inputTemplate": template}
    refused = await director.refusal(
        "mutation ($id: ID!, $in: WebhookInput!) { addWebhook(applicationID: $id, in: $in) { id } }",
        id=app,
        **{"in": given},
    )

    [problem] = made["problems"]
    assert made["body"] == '{"scenarios":["example group"]}'
    assert problem["message"].removeprefix("with data without content, ") in refused["message"]


async def test_a_type_without_templates_says_so(director: Any) -> None:
    made = await preview(director, type="OPEN_RESOURCE_DISCOVERY", url="no address", inputTemplate="{}")

    assert [(one["template"], one["message"]) for one in made["problems"]] == [
        ("url", "must be a valid URL"),
        ("inputTemplate", "missing template input for type: OPEN_RESOURCE_DISCOVERY"),
    ]


async def test_a_preview_needs_the_right_to_write(director: Any) -> None:
    error = await director.refusal(
        PREVIEW, caller=without(director.caller, "webhook:write"), type="CONFIGURATION_CHANGED"
    )

    assert "webhook:write" in error["message"]


async def test_there_is_an_example_for_every_type_that_is_called(director: Any) -> None:
    for type_ in sorted(EXAMPLES):
        made = await preview(director, type=type_, url="https://a.example", inputTemplate='{"a": 1}')

        assert (made["problems"], made["body"]) == ([], '{"a":1}'), type_
