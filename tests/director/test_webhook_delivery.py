"""Deliveries to webhooks as people see them, and signing in at receivers."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.delivery.receiver import Call, answer, receiving, takes_it
from tests.director.catalogue import without
from tests.director.groups import (
    LOOPBACK,
    PATIENT,
    SET_RUNTIME_LABEL,
    application,
    assign,
    condition,
    deliveries,
    group,
    idle,
    relayed,
    runtime,
    until,
    webhook,
    working,
)
from tests.outbound.hostile import mutual_tls

NOBODY = "8fd7f7f4-3d6c-4a9a-8f3c-000000000000"
RESEND = "mutation ($id: ID!) { resendWebhookDelivery(id: $id) { id state } }"
RECOVER = "mutation ($id: ID!, $since: Timestamp!) { recoverWebhookDeliveries(webhookID: $id, since: $since) }"
UPDATE = "mutation ($id: ID!, $in: WebhookInput!) { updateWebhook(webhookID: $id, in: $in) { id } }"


async def gone(_call: Call) -> bytes:
    return answer(410, b"gone for good")


async def down(_call: Call) -> bytes:
    return answer(503, b"later")


async def pair(director: Any, url: str, **more: Any) -> tuple[str, str, Any]:
    """An application with a webhook, and a runtime that share the group `g`."""
    app, cluster = await application(director, "one"), await runtime(director, "cluster")
    hook = await webhook(director, url, application=app, **more)
    await group(director, "g", applications=[app], runtimes=[cluster])
    return app, cluster, hook


async def test_a_delivery_shows_its_attempts_and_its_next_one(director: Any) -> None:
    async with receiving(down) as receiver, working(director):
        app, cluster, hook = await pair(director, receiver.url("/hook?token=s3cret"))
        await receiver.has(2)

        async def recorded() -> bool:
            return len((await deliveries(director))[0]["attempts"]) >= 2

        await until(recorded)
        [delivery] = await deliveries(director)
        receiver.behaviour = takes_it
        await idle(director)

    [settled] = await deliveries(director)
    assert {
        key: delivery[key] for key in ("webhookID", "operation", "applicationID", "runtimeID", "state", "error")
    } == {
        "webhookID": hook["id"],
        "operation": "assign",
        "applicationID": app,
        "runtimeID": cluster,
        "state": "PENDING",
        "error": "the receiver answered 503",
    }
    assert delivery["url"] == receiver.url("/hook")
    assert delivery["nextAttemptAt"] is not None
    assert delivery["finishedAt"] is None
    first = delivery["attempts"][0]
    assert (first["number"], first["status"], first["error"], first["response"]) == (
        1,
        503,
        "the receiver answered 503",
        "later",
    )
    assert (settled["state"], settled["nextAttemptAt"], settled["error"]) == ("DELIVERED", None, None)
    assert settled["attempts"][-1]["error"] is None


async def test_deliveries_can_be_asked_for_by_webhook_and_state_newest_first(director: Any) -> None:
    async with receiving() as receiver, working(director):
        _, cluster, hook = await pair(director, receiver.url())
        await idle(director)
        receiver.behaviour = gone
        await director.data(SET_RUNTIME_LABEL, id=cluster, key="runtime_consoleUrl", value="https://a.example")
        await idle(director)

    assert [d["operation"] for d in await deliveries(director)] == ["changed", "assign"]
    assert [d["operation"] for d in await deliveries(director, state="DEAD")] == ["changed"]
    assert [d["operation"] for d in await deliveries(director, webhook=hook["id"], first=1)] == ["changed"]
    assert await deliveries(director, webhook=NOBODY) == []


async def test_deliveries_are_narrowed_by_the_type_of_their_webhook_and_by_time(director: Any) -> None:
    async with receiving() as receiver, working(director):
        await pair(director, receiver.url())
        await idle(director)
    [delivery] = await deliveries(director)
    asked = """query ($type: WebhookType, $since: Timestamp, $until: Timestamp) {
      webhookDeliveries(type: $type, since: $since, until: $until) { data { id } } }"""

    async def found(**narrowed: str) -> list[str]:
        return [one["id"] for one in (await director.data(asked, **narrowed))["webhookDeliveries"]["data"]]

    now = datetime.now(UTC)
    past, future = [(now + timedelta(hours=hours)).isoformat() for hours in (-1, 1)]
    assert await found(type="CONFIGURATION_CHANGED", since=past, until=future) == [delivery["id"]]
    assert await found(type="FORMATION_LIFECYCLE") == []
    assert await found(since=future) == []
    assert await found(until=past) == []
    for text in ("soon", "2026-11-23", "2026-13-23T08:00:00Z", "0001-01-01T00:00:00+14:00"):
        error = await director.refusal(asked, since=text)
        assert "since must be a point in time such as 2026-11-23T08:00:00Z" in error["message"]


async def test_an_attempt_tells_where_it_went_and_the_headers_of_both_sides_without_secrets(director: Any) -> None:
    async def refuses(call: Call) -> bytes:
        return answer(503, b"later", server="first") if call.path == "/hook?k=s3cret" else answer(server="second")

    credential = {"credential": {"basic": {"username": "u", "password": "s3cret"}}}
    async with receiving(refuses) as receiver, working(director, settings=PATIENT):
        _, _, hook = await pair(director, receiver.url("/hook?k=s3cret"), auth=credential)
        await receiver.has(1)
        changed = {"type": "CONFIGURATION_CHANGED", "url": receiver.url("/v2?k=s3cret"), "auth": credential}
        await director.data(UPDATE, id=hook["id"], **{"in": changed})
        await idle(director)

    fields = "number url requestHeaders { called: name value } responseHeaders { value }"
    text = f"query {{ webhookDeliveries {{ data {{ attempts {{ {fields} }} }} }} }}"
    [seen] = (await director.data(text))["webhookDeliveries"]["data"]
    first, last = seen["attempts"][0], seen["attempts"][-1]
    assert (first["url"], last["url"]) == (receiver.url("/hook"), receiver.url("/v2"))
    assert {one["called"]: one["value"] for one in first["requestHeaders"]} == {
        "Authorization": "***",
        "Content-Type": "application/cloudevents+json",
        "webhook-id": receiver.calls[0].id,
        "webhook-signature": "***",
        "webhook-timestamp": receiver.calls[0].headers["webhook-timestamp"],
    }
    assert [one["responseHeaders"] for one in (first, last)] == [
        [{"value": "5"}, {"value": "first"}],
        [{"value": "0"}, {"value": "second"}],
    ]
    assert "s3cret" not in str(seen)
    [hidden] = (await director.data(text, caller=without(director.caller, "webhook:write")))["webhookDeliveries"][
        "data"
    ]
    assert [one["requestHeaders"] for one in hidden["attempts"]] == [None] * len(seen["attempts"])
    assert hidden["attempts"][0]["responseHeaders"] == [{"value": "5"}, {"value": "first"}]


async def test_an_application_and_a_runtime_see_their_own_deliveries_only(director: Any) -> None:
    app, cluster, _ = await pair(director, "https://receiver.example")
    other = await application(director, "other")
    await relayed(director)

    assert len(await deliveries(director, caller=director.application(app))) == 1
    assert await deliveries(director, caller=director.application(other)) == []
    assert await deliveries(director, caller=director.runtime(cluster)) == []
    assert await deliveries(director, caller=director.other) == []


async def test_a_dead_delivery_is_resent_under_its_id_and_settles_its_assignment(director: Any) -> None:
    async with receiving(gone) as receiver, working(director):
        app, _, _ = await pair(director, receiver.url())
        other = await application(director, "other")
        await idle(director)
        [dead] = await deliveries(director)
        assert await condition(director, "g") == "ERROR"
        receiver.behaviour = takes_it

        for caller in (director.other, director.application(other)):
            error = await director.refusal(RESEND, caller=caller, id=dead["id"])
            assert error["message"] == "Object not found [object=webhookDelivery]"
        data = await director.data(RESEND, caller=director.application(app), id=dead["id"])
        await idle(director)

    assert data == {"resendWebhookDelivery": {"id": dead["id"], "state": "PENDING"}}
    assert [call.id for call in receiver.calls] == [dead["id"]] * 2
    assert await condition(director, "g") == "READY"
    error = await director.refusal(RESEND, id=dead["id"])
    assert error["message"] == f"delivery {dead['id']} is not dead, there is nothing to send again"


async def test_old_news_is_not_resent_after_newer_arrived(director: Any) -> None:
    async with receiving(gone) as receiver, working(director):
        _, cluster, hook = await pair(director, receiver.url())
        await idle(director)
        [dead] = await deliveries(director)
        receiver.behaviour = takes_it
        await director.data(SET_RUNTIME_LABEL, id=cluster, key="runtime_consoleUrl", value="https://a.example")
        await idle(director)

        error = await director.refusal(RESEND, id=dead["id"])
        recovered = await director.data(RECOVER, id=hook["id"], since="2026-01-01T00:00:00Z")

    assert "a later notification about the same object has arrived" in error["message"]
    assert recovered == {"recoverWebhookDeliveries": 0}


async def test_what_was_given_up_since_a_point_in_time_can_be_recovered(director: Any) -> None:
    async with receiving(gone) as receiver, working(director):
        app, cluster, hook = await pair(director, receiver.url())
        await director.data(SET_RUNTIME_LABEL, id=cluster, key="runtime_consoleUrl", value="https://a.example")
        await idle(director)
        receiver.calls.clear()
        receiver.behaviour = takes_it
        later = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()

        assert await director.data(RECOVER, id=hook["id"], since=later) == {"recoverWebhookDeliveries": 0}
        for bad in ("yesterday", "2026-01-01T00:00:00"):
            assert (await director.refusal(RECOVER, id=hook["id"], since=bad))["extensions"]["error_code"] == 22
        error = await director.refusal(RECOVER, caller=director.other, id=hook["id"], since=later)
        assert error["message"] == "Object not found [object=webhook]"
        data = await director.data(
            RECOVER, caller=director.application(app), id=hook["id"], since="2026-01-01T00:00:00Z"
        )
        await idle(director)

    assert data == {"recoverWebhookDeliveries": 2}
    assert {d["state"] for d in await deliveries(director)} == {"DELIVERED"}
    assert [d["id"] for d in reversed(await deliveries(director))] == [call.id for call in receiver.calls]


async def test_a_corrected_url_is_used_at_once_by_what_waits(director: Any) -> None:
    async with receiving(down) as wrong, receiving() as right, working(director):
        _, _, hook = await pair(director, wrong.url())
        await wrong.has(1)
        await director.data(UPDATE, id=hook["id"], **{"in": {"type": "CONFIGURATION_CHANGED", "url": right.url()}})
        await right.has(1)
        await idle(director)

    assert {call.id for call in wrong.calls} == {call.id for call in right.calls}
    assert await condition(director, "g") == "READY"


async def test_credentials_headers_and_parameters_go_along_and_are_never_shown(director: Any) -> None:
    auth = {
        "credential": {"basic": {"username": "u", "password": "p-4711"}},
        "additionalHeaders": {"X-Api-Key": ["k-4711"]},
        "additionalQueryParams": {"q": ["v-4711"]},
    }
    async with receiving() as receiver, working(director):
        await pair(director, receiver.url(), auth=auth, correlationIdKey="X-Correlation")
        await idle(director)

    [call] = receiver.calls
    assert call.headers["authorization"] == "Basic dTpwLTQ3MTE="
    assert call.headers["x-api-key"] == "k-4711"
    assert len(call.headers["x-correlation"]) == 36
    assert call.path == "/hook?q=v-4711"
    async with director.database.transaction() as tx:
        kept = await tx.value("-- test.kept\nSELECT string_agg(delivery::text, '') FROM delivery")
    assert "4711" not in kept
    assert "4711" not in str(await deliveries(director))


async def test_an_oauth_client_signs_in_once_for_many_calls_and_anew_after_a_refusal(director: Any) -> None:
    issued: list[str] = []

    async def issue(_call: Call) -> bytes:
        issued.append(f"t{len(issued)}")
        return answer(200, b'{"access_token": "%s", "expires_in": 3600}' % issued[-1].encode())

    async def guarded(call: Call) -> bytes:
        return answer(401 if call.headers["authorization"] == "Bearer t0" and len(receiver.calls) > 1 else 200)

    async with receiving(issue) as tokens, receiving(guarded) as receiver, working(director):
        client = {"clientId": "c", "clientSecret": "s", "url": tokens.url("/token")}
        _, cluster, _ = await pair(director, receiver.url(), auth={"credential": {"oauth": client}})
        await idle(director)
        for number in range(3):
            await director.data(
                SET_RUNTIME_LABEL, id=cluster, key="runtime_consoleUrl", value=f"https://{number}.example"
            )
        await idle(director)

    assert issued == ["t0", "t1"]
    assert {d["state"] for d in await deliveries(director)} == {"DELIVERED"}


async def test_a_token_endpoint_that_hangs_costs_no_connection_of_the_plane(director: Any) -> None:
    async with receiving() as receiver, receiving() as tokens, working(director):

        async def hang(_call: Call) -> bytes:
            async with director.database.transaction() as tx:
                idle_in_transaction = await tx.value(
                    "-- test.idle\nSELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                    "AND state = 'idle in transaction' AND pid <> pg_backend_pid()"
                )
            return answer(500, str(idle_in_transaction).encode())

        tokens.behaviour = hang
        client = {"clientId": "c", "clientSecret": "s", "url": tokens.url("/token")}
        await pair(director, receiver.url(), auth={"credential": {"oauth": client}})
        await tokens.has(2)
        await until(lambda: _failed(director))
        [delivery] = await deliveries(director)

    assert "the token endpoint answered with status code 500" in delivery["error"]
    assert receiver.calls == []


async def _failed(director: Any) -> bool:
    return any(delivery["error"] is not None for delivery in await deliveries(director))


async def test_an_access_strategy_that_needs_our_certificate_fails_visibly_and_calls_nobody(director: Any) -> None:
    async with receiving() as receiver, working(director):
        await pair(director, receiver.url(), auth={"accessStrategy": "sap:cmp-mtls:v1"})
        await until(lambda: _failed(director))

    [delivery] = await deliveries(director)
    assert delivery["error"].endswith("this plane has none: outbound.client_certificate_file is not set")
    assert (delivery["state"], receiver.calls) == ("PENDING", [])


async def test_a_webhook_that_demands_our_certificate_sees_it(director: Any, tmp_path: Path) -> None:
    chosen, demanding = mutual_tls(tmp_path)
    async with (
        receiving(tls=demanding) as certified,
        receiving(tls=demanding) as plain,
        working(director, outbound=replace(LOOPBACK, **chosen)),
    ):
        app, _, _ = await pair(director, certified.url(), auth={"accessStrategy": "sap:cmp-mtls:v1"})
        other = await application(director, "two")
        await webhook(director, plain.url(), application=other)
        await assign(director, "g", application=other)
        await certified.has(1)
        await until(lambda: _failed(director))

    by_application = {delivery["applicationID"]: delivery for delivery in await deliveries(director)}
    assert (by_application[app]["state"], by_application[app]["error"]) == ("DELIVERED", None)
    assert "The address could not be reached" in by_application[other]["error"]
    assert plain.calls == []
