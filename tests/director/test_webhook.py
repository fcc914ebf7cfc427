"""Webhooks through the Director's API."""

from dataclasses import replace
from typing import Any

import pytest

from compass.director import webhook as noun
from tests.director import catalogue
from tests.director.groups import ADD_WEBHOOK, REGISTER_APPLICATION, Announced, application, runtime, webhook

NOBODY = "8fd7f7f4-3d6c-4a9a-8f3c-000000000000"
UPDATE = """
mutation ($id: ID!, $in: WebhookInput!) {
  result: updateWebhook(webhookID: $id, in: $in) { id type url mode auth { accessStrategy } signingSecret }
}
"""
DELETE = "mutation ($id: ID!) { result: deleteWebhook(webhookID: $id) { id url } }"
SHOWN = (
    "query ($id: ID!) { application(id: $id) { webhooks { id url signingSecret auth { credential { __typename } } } } }"
)
BASIC = {"credential": {"basic": {"username": "u", "password": "p-4711"}}}
URL = "https://receiver.example/hook"


async def test_a_webhook_answers_what_was_given_and_its_own_secret(director: Any, announced: Announced) -> None:
    app = await application(director, "one")

    added = await webhook(director, URL, application=app, mode="SYNC", auth=BASIC)

    assert {key: added[key] for key in ("applicationID", "runtimeID", "type", "mode", "url")} == {
        "applicationID": app,
        "runtimeID": None,
        "type": "CONFIGURATION_CHANGED",
        "mode": "SYNC",
        "url": URL,
    }
    assert added["signingSecret"].startswith("whsec_")
    assert (await announced())[-1] == "WebhooksChanged"
    second = await webhook(director, URL, application=app)
    assert second["signingSecret"] != added["signingSecret"]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, "missing webhook url"),
        ({"url": URL, "urlTemplate": "{}"}, "cannot provide both webhook url and url template"),
        ({"url": URL, "mode": "ASYNC"}, "unsupported webhook mode ASYNC for type: CONFIGURATION_CHANGED"),
        (
            {"url": URL, "type": "OPEN_RESOURCE_DISCOVERY", "mode": "ASYNC_CALLBACK"},
            "unsupported webhook mode ASYNC_CALLBACK for type: OPEN_RESOURCE_DISCOVERY",
        ),
        ({"url": URL, "type": "REGISTER_APPLICATION", "mode": "ASYNC"}, "missing webhook status template"),
        ({"url": URL, "type": "REGISTER_APPLICATION"}, "outputTemplate is required for type: REGISTER_APPLICATION"),
        (
            {"url": URL, "type": "SYSTEM_FIELD_DISCOVERY", "inputTemplate": "{}"},
            "missing template input for type: SYSTEM_FIELD_DISCOVERY",
        ),
        ({"url": URL, "inputTemplate": "{{.Runtime.Nope}}"}, "inputTemplate: line 1: "),
        ({"url": "nonsense"}, "url=must be a valid URL"),
        ({"url": "https://a.example/" + "x" * 256}, "url=the length must be no more than 256"),
        ({"url": URL, "timeout": -1}, "timeout=must be no less than 0"),
        ({"url": URL, "retryInterval": -1}, "retryInterval=must be no less than 0"),
        ({"url": URL, "correlationIdKey": "a b"}, "correlationIdKey=must be in a valid format"),
    ],
)
async def test_a_webhook_that_breaks_a_rule_is_refused(director: Any, given: dict[str, Any], reason: str) -> None:
    app = await application(director, "one")

    error = await director.refusal(ADD_WEBHOOK, application=app, **{"in": {"type": "CONFIGURATION_CHANGED", **given}})

    assert error["extensions"]["error_code"] == 22
    assert reason in error["message"]


@pytest.mark.parametrize(
    ("type_", "refused"),
    [
        ("CONFIGURATION_CHANGED", "ASYNC"),
        ("APPLICATION_TENANT_MAPPING", "ASYNC"),
        ("FORMATION_LIFECYCLE", "ASYNC"),
        ("REGISTER_APPLICATION", "ASYNC_CALLBACK"),
        ("UNREGISTER_APPLICATION", "ASYNC_CALLBACK"),
        ("OPEN_RESOURCE_DISCOVERY", "ASYNC_CALLBACK"),
        ("OPEN_RESOURCE_DISCOVERY_STATIC", "ASYNC_CALLBACK"),
        ("SYSTEM_FIELD_DISCOVERY", "ASYNC_CALLBACK"),
    ],
)
async def test_each_type_has_the_modes_that_fit_it(director: Any, type_: str, refused: str) -> None:
    app = await application(director, "one")
    status = """{"status": "{{.Body.status}}", "success_status_code": 200, "success_status_identifier": "DONE",
      "in_progress_status_identifier": "RUNNING", "failed_status_identifier": "FAILED", "error": "{{.Body.error}}"}"""
    given = {
        "type": type_,
        "url": URL,
        "outputTemplate": '{"success_status_code": 200, "error": "{{.Body.error}}"}',
        "statusTemplate": status,
    }
    async with director.database.transaction() as tx:
        for mode in {"SYNC", "ASYNC", "ASYNC_CALLBACK", None} - {refused}:
            added = (await director.data(ADD_WEBHOOK, application=app, **{"in": {**given, "mode": mode}}))["result"]
            assert (added["type"], added["mode"]) == (type_, mode)
        assert await tx.value("SELECT count(*) FROM webhook") == 3

    error = await director.refusal(ADD_WEBHOOK, application=app, **{"in": {**given, "mode": refused}})

    assert (
        error["message"] == f"Invalid data WebhookInput [reason=unsupported webhook mode {refused} for type: {type_}]"
    )


@pytest.mark.parametrize("type_", ["REGISTER_APPLICATION", "UNREGISTER_APPLICATION"])
async def test_what_takes_part_in_registering_says_how_its_answers_are_read(director: Any, type_: str) -> None:
    app = await application(director, "one")

    error = await director.refusal(ADD_WEBHOOK, application=app, **{"in": {"type": type_, "url": URL}})

    assert error["message"] == f"Invalid data WebhookInput [reason=outputTemplate is required for type: {type_}]"


@pytest.mark.parametrize(
    "type_", ["OPEN_RESOURCE_DISCOVERY", "OPEN_RESOURCE_DISCOVERY_STATIC", "SYSTEM_FIELD_DISCOVERY"]
)
async def test_a_type_that_nobody_is_told_of_has_no_data_for_templates(director: Any, type_: str) -> None:
    app = await application(director, "one")

    error = await director.refusal(
        ADD_WEBHOOK, application=app, **{"in": {"type": type_, "url": URL, "headerTemplate": "{}"}}
    )

    assert error["message"] == f"Invalid data WebhookInput [reason=missing template input for type: {type_}]"


async def test_a_webhook_has_exactly_one_owner_that_is_there(director: Any) -> None:
    app, cluster = await application(director, "one"), await runtime(director, "cluster")
    foreign = await application(director, "theirs", caller=director.other)
    given = {"in": {"type": "CONFIGURATION_CHANGED", "url": URL}}

    for owners in ({}, {"application": app, "runtime": cluster}):
        error = await director.refusal(ADD_WEBHOOK, **owners, **given)
        assert (
            "exactly one of applicationID, applicationTemplateID, runtimeID or formationTemplateID" in error["message"]
        )
    for owners in ({"application": foreign}, {"application": NOBODY}, {"application": cluster}, {"runtime": "no-uuid"}):
        error = await director.refusal(ADD_WEBHOOK, **owners, **given)
        assert error["message"] == "Invalid data [reason=cannot add Webhook due to not existing reference entity]"
    for owners in ({"template": NOBODY}, {"template": app}, {"template": "no-uuid"}):
        error = await director.refusal(ADD_WEBHOOK, **owners, **given)
        assert error["message"] == "Invalid data [reason=cannot add Webhook due to not existing reference entity]"


async def test_an_application_touches_its_own_webhooks_only(director: Any) -> None:
    app, other = await application(director, "one"), await application(director, "other")
    cluster = await runtime(director, "cluster")
    me = director.application(app)
    theirs = await webhook(director, URL, application=other)
    of_runtime = await webhook(director, URL, runtime=cluster)
    given = {"in": {"type": "CONFIGURATION_CHANGED", "url": URL}}

    mine = (await director.data(ADD_WEBHOOK, caller=me, application=app, **given))["result"]
    for owners in ({"application": other}, {"runtime": cluster}, {"runtime": app}):
        error = await director.refusal(ADD_WEBHOOK, caller=me, **owners, **given)
        assert error["extensions"]["error_code"] == 22
    for id_ in (theirs["id"], of_runtime["id"], NOBODY, "no-uuid"):
        assert (await director.refusal(DELETE, caller=me, id=id_))["message"] == "Object not found [object=webhook]"
        assert (await director.refusal(UPDATE, caller=me, id=id_, **given))[
            "message"
        ] == "Object not found [object=webhook]"
    assert (await director.data(UPDATE, caller=me, id=mine["id"], **given))["result"]["id"] == mine["id"]
    assert (await director.data(DELETE, caller=director.runtime(cluster), id=of_runtime["id"]))["result"]
    assert (await director.refusal(DELETE, caller=director.runtime(cluster), id=mine["id"]))["extensions"][
        "error_code"
    ] == 20


async def test_a_tenant_touches_its_own_webhooks_only(director: Any) -> None:
    added = await webhook(director, URL, application=await application(director, "one"))

    for text, more in ((DELETE, {}), (UPDATE, {"in": {"type": "CONFIGURATION_CHANGED", "url": URL}})):
        error = await director.refusal(text, caller=director.other, id=added["id"], **more)
        assert error["message"] == "Object not found [object=webhook]"


async def test_the_signing_secret_is_shown_to_the_owner_and_who_may_change_webhooks(director: Any) -> None:
    app = await application(director, "one")
    added = await webhook(director, URL, application=app)

    async def seen(caller: Any) -> Any:
        data = await director.data(SHOWN, caller=caller, id=app)
        return data["application"]["webhooks"][0]["signingSecret"]

    assert await seen(director.caller) == added["signingSecret"]
    assert await seen(director.application(app)) == added["signingSecret"]
    assert await seen(replace(director.caller, scopes=director.caller.scopes - {"webhook:write"})) is None


async def test_a_program_sees_its_own_webhooks_and_nobody_elses(director: Any) -> None:
    ids = {
        ("application", "one"): await application(director, "one"),
        ("application", "other"): await application(director, "other"),
        ("runtime", "one"): await runtime(director, "one"),
        ("runtime", "other"): await runtime(director, "other"),
    }
    await catalogue.group(director, ids["application", "one"], ids["runtime", "one"])
    for (kind, _), id_ in ids.items():
        await webhook(director, URL, **{kind: id_})

    async def seen(kind: str, name: str, *, by: tuple[str, str]) -> Any:
        caller = getattr(director, by[0])(ids[by])
        text = f"query ($id: ID!) {{ result: {kind}(id: $id) {{ webhooks {{ url }} }} }}"
        return (await director.data(text, caller=caller, id=ids[kind, name]))["result"]["webhooks"]

    for kind in ("application", "runtime"):
        assert await seen(kind, "one", by=(kind, "one")) == [{"url": URL}]
        assert await seen(kind, "other", by=(kind, "one")) is None
    assert await seen("application", "one", by=("runtime", "one")) is None


async def test_the_credentials_of_a_webhook_need_a_scope_of_their_own_and_lie_sealed(director: Any) -> None:
    app = await application(director, "one")
    await webhook(director, URL, application=app, auth=BASIC)

    shown = (await director.data(SHOWN, id=app))["application"]["webhooks"][0]
    hidden = await director.data(
        SHOWN, caller=replace(director.caller, scopes=director.caller.scopes - {"webhooks.auth:read"}), id=app
    )
    assert shown["auth"] == {"credential": {"__typename": "BasicCredentialData"}}
    assert hidden["application"]["webhooks"][0]["auth"] is None
    async with director.database.transaction() as tx:
        row = await tx.row("-- test.row\nSELECT id, auth_sealed, signing_secret_sealed FROM webhook")
    assert "p-4711" not in row["auth_sealed"]
    assert b"p-4711" in director.vault.open(f"webhook/{row['id']}", row["auth_sealed"])
    assert noun.signing_secret(director.vault, row["id"], row["signing_secret_sealed"]) == shown["signingSecret"]


async def test_an_update_replaces_everything_but_the_secret(director: Any, announced: Announced) -> None:
    app = await application(director, "one")
    added = await webhook(director, URL, application=app, mode="SYNC", auth={"accessStrategy": "open"})

    data = await director.data(UPDATE, id=added["id"], **{"in": {"type": "CONFIGURATION_CHANGED", "url": URL + "2"}})

    assert data["result"] == {
        "id": added["id"],
        "type": "CONFIGURATION_CHANGED",
        "url": URL + "2",
        "mode": None,
        "auth": None,
        "signingSecret": added["signingSecret"],
    }
    assert (await announced())[-1] == "WebhooksChanged"


async def test_a_deleted_webhook_answers_what_it_was_and_is_gone(director: Any) -> None:
    app = await application(director, "one")
    added = await webhook(director, URL, application=app)

    assert await director.data(DELETE, id=added["id"]) == {"result": {"id": added["id"], "url": URL}}
    assert (await director.data(SHOWN, id=app))["application"]["webhooks"] == []
    assert (await director.refusal(DELETE, id=added["id"]))["extensions"]["error_code"] == 20


async def test_webhooks_may_come_with_the_registration_and_a_bad_one_registers_nothing(director: Any) -> None:
    good = {"type": "CONFIGURATION_CHANGED", "url": URL}
    app = await application(director, "one", webhooks=[good, {**good, "url": URL + "2"}])
    cluster = await runtime(director, "cluster", webhooks=[good])

    error = await director.refusal(
        REGISTER_APPLICATION, **{"in": {"name": "two", "webhooks": [good, {"type": "CONFIGURATION_CHANGED"}]}}
    )

    shown = (await director.data(SHOWN, id=app))["application"]["webhooks"]
    assert [entry["url"] for entry in shown] == sorted([URL, URL + "2"], key=[e["url"] for e in shown].index)
    assert len({entry["signingSecret"] for entry in shown}) == 2
    data = await director.data("query ($id: ID!) { runtime(id: $id) { webhooks { url runtimeID } } }", id=cluster)
    assert data["runtime"]["webhooks"] == [{"url": URL, "runtimeID": cluster}]
    assert error["message"] == "Invalid data ApplicationRegisterInput [webhooks.1.reason=missing webhook url]"


LISTED = """
query ($id: ID, $owner: ID, $first: Int = 100, $after: PageCursor) {
  webhooks(id: $id, ownerID: $owner, first: $first, after: $after) {
    totalCount
    pageInfo { endCursor hasNextPage }
    data { id ownerName applicationID runtimeID }
  }
}
"""


async def test_the_webhooks_of_a_tenant_are_listed_newest_first(director: Any) -> None:
    app, cluster = await application(director, "app"), await runtime(director, "cluster")
    first = (await webhook(director, "https://a.example", application=app))["id"]
    second = (await webhook(director, "https://b.example", runtime=cluster))["id"]

    async def listed(caller: Any = None, **which: Any) -> list[tuple[str, str]]:
        data = (await director.data(LISTED, caller=caller, **which))["webhooks"]["data"]
        return [(one["id"], one["ownerName"]) for one in data]

    assert await listed() == [(second, "cluster"), (first, "app")]
    assert await listed(id=first) == [(first, "app")]
    assert await listed(owner=cluster) == [(second, "cluster")]
    page = (await director.data(LISTED, first=1))["webhooks"]
    assert (page["totalCount"], page["pageInfo"]["hasNextPage"]) == (2, True)
    assert await listed(first=1, after=page["pageInfo"]["endCursor"]) == [(first, "app")]
    third = (await webhook(director, "https://c.example", application=app))["id"]

    async def counted(caller: Any = None, **which: Any) -> int:
        return int((await director.data(LISTED, caller=caller, first=1, **which))["webhooks"]["totalCount"])

    narrowed = [{}, {"owner": app}, {"owner": cluster}, {"id": third}, {"owner": app, "id": second}]
    assert [await counted(**which) for which in narrowed] == [3, 2, 1, 1, 0]
    callers = [director.runtime(cluster), director.application(app), director.other]
    assert [await counted(caller) for caller in callers] == [1, 2, 0]
    await director.data("mutation ($id: ID!) { deleteWebhook(webhookID: $id) { id } }", id=third)
    assert await listed(caller=director.runtime(cluster)) == [(second, "cluster")]
    assert await listed(caller=director.application(app)) == [(first, "app")]
    assert await listed(caller=director.other) == []
    assert await listed(caller=director.other, id=first) == []
