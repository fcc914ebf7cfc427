import asyncio
import io
import json
import os
import ssl
import stat
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema_rs
import pytest

from compass.demo.orders_process import OrdersNotStarted, OrdersProcess, OrdersRefused
from tests.demo.plane import SECRET, Plane

RUNTIME = "11111111-2222-4333-8444-555555555555"
CHAIR = {"customer": "Bolt", "item": "chair", "quantity": 4}


@asynccontextmanager
async def caller(orders: OrdersProcess, auth: tuple[str, str] | None = None) -> AsyncIterator[aiohttp.ClientSession]:
    context = ssl.create_default_context(cafile=str(orders.company_ca))
    async with aiohttp.ClientSession(
        orders.service_url,
        connector=aiohttp.TCPConnector(ssl=context),
        headers={} if auth is None else {"Authorization": aiohttp.encode_basic_auth(*auth)},
    ) as session:
        yield session


async def eventually(orders: OrdersProcess, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while True:
            state = await orders.state()
            if holds(state):
                return state
            await asyncio.sleep(0.02)


def settled(state: dict[str, Any]) -> bool:
    return bool(state["runtimes"]) and all(runtime["settled"] for runtime in state["runtimes"])


def basic(auth: dict[str, Any]) -> tuple[str, str]:
    credential = auth["auth"]["credential"]
    return credential["username"], credential["password"]


def ended(pid: int) -> bool:
    """Whether the process is gone, or only waits for a parent to notice its end."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True


async def place(orders: OrdersProcess, pair: tuple[str, str]) -> int:
    async with caller(orders, pair) as session, session.post("/orders", json=CHAIR) as answer:
        return answer.status


# The API


async def test_an_order_remembers_which_credential_placed_it(orders: OrdersProcess) -> None:
    alice, bob = await orders.issue_credential("alice"), await orders.issue_credential("bob")

    assert [await place(orders, alice), await place(orders, bob)] == [201, 201]

    async with caller(orders, alice) as session, session.get("/orders") as answer:
        listed = (await answer.json())["orders"]
    assert [(order["createdBy"], order["quantity"]) for order in listed] == [("bob", 4), ("alice", 4)]


async def test_without_a_valid_credential_nothing_is_shown_or_stored(orders: OrdersProcess) -> None:
    name, _ = await orders.issue_credential("alice")
    wrong: list[dict[str, str]] = [
        {},
        {"Authorization": aiohttp.encode_basic_auth(name, "guess")},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic \xff\xfe"},
        {"Authorization": "Bearer \xff"},
        {"Authorization": "Bearer "},
    ]
    async with caller(orders) as session:
        for headers in wrong:
            async with session.post("/orders", json=CHAIR, headers=headers) as answer:
                assert (answer.status, answer.headers["WWW-Authenticate"][:5]) == (401, "Basic"), headers
            async with session.get("/orders", headers=headers) as answer:
                assert answer.status == 401
    assert (await orders.state())["orders"] == []


async def test_a_bearer_acts_for_the_pair_it_was_made_from_until_that_pair_is_replaced(orders: OrdersProcess) -> None:
    alice = await orders.issue_credential("alice")
    async with caller(orders) as session:
        form = {"grant_type": "client_credentials", "client_id": alice[0], "client_secret": alice[1]}
        async with session.post("/oauth/token", data=form) as answer:
            granted = await answer.json()
        assert (granted["token_type"], granted["expires_in"]) == ("Bearer", 900)
        headers = {"Authorization": f"Bearer {granted['access_token']}"}
        async with session.post("/orders", json=CHAIR, headers=headers) as answer:
            assert (answer.status, (await answer.json())["createdBy"]) == (201, "alice")
        await orders.issue_credential("alice")
        async with session.post("/orders", json=CHAIR, headers=headers) as answer:
            assert answer.status == 401
        async with session.post("/oauth/token", data=form) as answer:
            assert (answer.status, await answer.json()) == (401, {"error": "invalid_client"})
        async with session.post("/oauth/token", data={"grant_type": "password"}) as answer:
            assert (answer.status, await answer.json()) == (400, {"error": "unsupported_grant_type"})


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"{", "the body is not JSON"),
        (b"[" * 100_000, "the body is not JSON"),
        (b"[]", "an order is a JSON object"),
        (b'{"customer": "", "item": "x"}', "customer is a text of 1 to 200 characters"),
        (b'{"customer": "x", "item": 7}', "item is a text of 1 to 200 characters"),
        (b'{"customer": "x", "item": "y", "quantity": true}', "quantity is a whole number from 1 to 1000000"),
        (b'{"customer": "x", "item": "y", "quantity": 0}', "quantity is a whole number from 1 to 1000000"),
    ],
)
async def test_a_wrong_order_is_refused_in_words_and_nothing_is_stored(
    orders: OrdersProcess, body: bytes, detail: str
) -> None:
    alice = await orders.issue_credential("alice")
    async with caller(orders, alice) as session, session.post("/orders", data=body) as answer:
        assert (answer.status, answer.content_type) == (400, "application/problem+json")
        assert (await answer.json())["detail"] == detail
    state = await orders.state()
    assert (state["orders"], state["events"]) == ([], [])


async def test_the_openapi_document_says_exactly_what_the_api_does(orders: OrdersProcess) -> None:
    alice = await orders.issue_credential("alice")
    async with caller(orders) as session, session.get("/openapi.json") as answer:
        document = await answer.json()
    assert document["openapi"] == "3.1.0"
    assert {path: sorted(item) for path, item in document["paths"].items()} == {
        "/orders": ["get", "post"],
        "/orders/{id}": ["get"],
    }
    seen = []
    for server in [server["url"].removeprefix(orders.service_url) for server in document["servers"]]:
        async with caller(orders, alice) as session:
            tries: list[tuple[str, str, str, dict[str, Any]]] = [
                ("post", "/orders", "", {"json": CHAIR}),
                ("post", "/orders", "", {"json": {}}),
                ("post", "/orders", "", {"data": io.BytesIO(b" " * 1_100_000)}),
                ("get", "/orders", "?limit=1", {}),
                ("get", "/orders", "?limit=0", {}),
                ("get", "/orders", "", {"headers": {"Authorization": "Basic eA=="}}),
                ("get", "/orders/{id}", "", {}),
            ]
            for method, path, query, given in tries:
                async with session.request(method, server + path + query, **given) as answer:
                    described = document["paths"][path][method]["responses"][str(answer.status)]
                    schema = {
                        **described["content"][answer.content_type]["schema"],
                        "components": document["components"],
                    }
                    jsonschema_rs.Draft202012Validator(schema).validate(await answer.json())
                    seen.append(answer.status)
    assert seen == [201, 400, 413, 200, 400, 401, 404] * 2


# Restart and crash


async def test_what_was_answered_survives_kill_9_at_the_same_address(registered: OrdersProcess, plane: Plane) -> None:
    alice = await registered.issue_credential("alice")
    assert await place(registered, alice) == 201
    headers, body = plane.signed(RUNTIME, "ready")
    assert await plane.deliver(registered, headers, body) == 200
    before = await eventually(registered, settled)

    await registered.kill()
    await registered.start()

    assert await registered.state() == before
    assert await place(registered, alice) == 201
    assert await plane.deliver(registered, headers, body) == 200
    assert len((await registered.state())["notifications"]) == 1


async def test_a_notification_answered_before_kill_9_is_acted_on_after_it(
    registered: OrdersProcess, plane: Plane
) -> None:
    plane.held.clear()
    assert await plane.deliver(registered, *plane.signed(RUNTIME, "ready")) == 200
    await registered.kill()
    plane.held.set()
    assert plane.instance_auths == []

    await registered.start()
    await eventually(registered, settled)

    [auth] = plane.instance_auths
    assert await place(registered, basic(auth)) == 201


async def test_the_service_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    script = f"""
import asyncio, os, signal
from pathlib import Path
from compass.demo.orders_process import OrdersProcess

async def main():
    orders = OrdersProcess(Path({str(tmp_path)!r}))
    await orders.start()
    print(orders.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
    starter = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    pid = int((await starter.communicate())[0])
    async with asyncio.timeout(10):
        while True:
            if ended(pid):
                break
            await asyncio.sleep(0.02)
    assert not (tmp_path / "control.json").exists()


async def test_a_stopped_service_leaves_no_process_and_no_control_file(tmp_path: Path) -> None:
    async with OrdersProcess(tmp_path) as orders:
        pid = orders.pid
        assert stat.S_IMODE((tmp_path / "control.json").stat().st_mode) == 0o600
    assert not (tmp_path / "control.json").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_taken_port_is_an_error_in_words(tmp_path: Path) -> None:
    async with OrdersProcess(tmp_path) as orders:
        with pytest.raises(OrdersNotStarted, match="is taken by another process"):
            await OrdersProcess(tmp_path).start()
        assert (await orders.state())["orders"] == []


async def test_the_control_interface_is_closed_to_who_does_not_hold_its_token(tmp_path: Path) -> None:
    async with OrdersProcess(tmp_path):
        control = json.loads((tmp_path / "control.json").read_bytes())
        async with aiohttp.ClientSession() as session:
            for headers in ({}, {"Authorization": "Bearer x"}):
                async with session.post(f"{control['url']}/state", json={}, headers=headers) as answer:
                    assert answer.status == 401


# Pairing and registration


async def test_pairing_makes_a_certificate_that_names_the_application(paired: OrdersProcess, plane: Plane) -> None:
    connection = (await paired.state())["connection"]
    assert (connection["state"], connection["application"]) == ("CONNECTED", plane.application)
    assert connection["certificate"]["commonName"] == plane.client_id


async def test_a_spent_token_is_refused_and_the_old_certificate_stays(paired: OrdersProcess, plane: Plane) -> None:
    before = (await paired.state())["connection"]

    with pytest.raises(OrdersRefused) as refusal:
        await paired.pair(connector_url=plane.connector_url, token="spent", trust_anchor=plane.trust_anchor)

    assert refusal.value.kind == "TokenRefused"
    assert (await paired.state())["connection"] == before
    assert await paired.poll() == ""


async def test_a_token_meant_for_a_runtime_makes_no_application(orders: OrdersProcess, plane: Plane) -> None:
    plane.viewer_type = "RUNTIME"

    with pytest.raises(OrdersRefused, match="belongs to a RUNTIME") as refusal:
        await orders.pair(connector_url=plane.connector_url, token="one-time-token", trust_anchor=plane.trust_anchor)

    assert refusal.value.kind == "NotAnApplication"
    with pytest.raises(OrdersRefused, match="pair first"):
        await orders.register()
    assert plane.bundles == []


async def test_registration_is_complete_and_repeating_it_adds_nothing(paired: OrdersProcess, plane: Plane) -> None:
    told = await paired.register(webhook_secret=SECRET)

    [bundle] = plane.bundles
    [api], [events] = bundle["apiDefinitions"]["data"], bundle["eventDefinitions"]["data"]
    assert told["api"]["spec"]["fetchRequest"]["status"]["condition"] == "SUCCEEDED"
    assert plane.fetched[0]["info"]["title"] == "Orders"
    assert json.loads(events["spec"]["data"])["channels"]["orderCreated"]["address"] == "sales.order.created.v1"
    assert (api["targetURL"], bundle["documents"]["data"][0]["format"]) == (paired.service_url, "MARKDOWN")
    assert plane.webhooks[0]["url"] == f"{paired.service_url}/compass/notifications"
    default = bundle["defaultInstanceAuth"]["credential"]["basic"]
    assert await place(paired, (default["username"], default["password"])) == 201

    again = await paired.register()
    assert [again[noun]["id"] for noun in ("api", "events", "document", "webhook")] == [
        told[noun]["id"] for noun in ("api", "events", "document", "webhook")
    ]
    assert (len(plane.bundles), len(plane.webhooks), len(plane.fetched)) == (1, 1, 1)


async def test_a_lost_reply_does_not_register_anything_twice(paired: OrdersProcess, plane: Plane) -> None:
    plane.losing_replies_of = {"OrdersAddBundle", "OrdersAddApi", "OrdersAddWebhook"}
    for _ in range(3):
        with pytest.raises(OrdersRefused):
            await paired.register(webhook_secret=SECRET)

    await paired.register(webhook_secret=SECRET)

    assert (len(plane.bundles), len(plane.webhooks)) == (1, 1)
    assert len(plane.bundles[0]["apiDefinitions"]["data"]) == 1
    default = plane.bundles[0]["defaultInstanceAuth"]["credential"]["basic"]
    assert await place(paired, (default["username"], default["password"])) == 201


async def test_wrong_registrations_bring_back_the_planes_words(registered: OrdersProcess, plane: Plane) -> None:
    before = json.dumps(plane.bundles)

    heard = await registered.register_wrong()

    assert {name: (told["accepted"], told["code"]) for name, told in heard.items()} == {
        "bad_url": (False, 22),
        "type_and_format": (False, 22),
        "event_type_and_format": (False, 22),
        "data_and_fetch_request": (False, 22),
        "unknown_bundle": (False, 22),
    }
    assert "targetURL=must be a valid URL" in heard["bad_url"]["error"]
    assert json.dumps(plane.bundles) == before


async def test_the_target_url_moves_to_an_address_that_works(registered: OrdersProcess, plane: Plane) -> None:
    changed = await registered.change_target_url()

    [api] = plane.bundles[0]["apiDefinitions"]["data"]
    assert (api["targetURL"], changed["targetURL"]) == (f"{registered.service_url}/v2",) * 2
    assert api["spec"]["fetchRequest"]["status"]["condition"] == "SUCCEEDED"
    alice = await registered.issue_credential("alice")
    async with caller(registered, alice) as session, session.post(f"{api['targetURL']}/orders", json=CHAIR) as answer:
        assert answer.status == 201
    assert (await registered.state())["orders"][0]["receivedAt"] == "/v2/orders"


# Notifications


async def test_a_notification_is_stored_once_however_often_it_comes(registered: OrdersProcess, plane: Plane) -> None:
    headers, body = plane.signed(RUNTIME, "ready")

    assert [await plane.deliver(registered, headers, body) for _ in range(3)] == [200, 200, 200]

    state = await registered.state()
    [stored] = state["notifications"]
    assert (stored["id"], stored["body"]) == (headers["webhook-id"], json.loads(body))
    assert stored["headers"]["webhook-signature"] == headers["webhook-signature"]
    assert [attempt["outcome"] for attempt in state["notificationAttempts"]] == ["stored", "duplicate", "duplicate"]


async def test_forged_stale_and_unreadable_notifications_are_refused(registered: OrdersProcess, plane: Plane) -> None:
    other = "whsec_" + "A" * 44
    headers, body = plane.signed(RUNTIME, "ready")
    foreign, _ = plane.signed(RUNTIME, "ready", secret=other)
    stale, stale_body = plane.signed(RUNTIME, "ready", age=301)
    early, early_body = plane.signed(RUNTIME, "ready", age=-310)
    no_event, no_event_body = plane.signed("x", "ready"), b"{}"
    signature = plane.signed(RUNTIME, "ready")[0]["webhook-signature"]
    tries: list[tuple[dict[str, str], bytes, int]] = [
        (headers, body.replace(b"ready", b"assign"), 401),
        ({**headers, "webhook-id": "another"}, body, 401),
        ({**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)}, body, 401),
        ({**headers, "webhook-signature": foreign["webhook-signature"]}, body, 401),
        ({**headers, "webhook-signature": signature.replace("v1,", "v2,")}, body, 401),
        ({**headers, "webhook-signature": "v1,\xff"}, body, 401),
        ({}, body, 401),
        (no_event[0], no_event_body, 401),
        (stale, stale_body, 400),
        (early, early_body, 400),
    ]
    assert [await plane.deliver(registered, sent, content) for sent, content, _ in tries] == [
        status for _, _, status in tries
    ]

    state = await registered.state()
    assert (state["notifications"], state["runtimes"], plane.instance_auths) == ([], [], [])


async def test_during_a_rotation_either_signature_is_enough(registered: OrdersProcess, plane: Plane) -> None:
    headers, body = plane.signed(RUNTIME, "ready")
    foreign, _ = plane.signed(RUNTIME, "ready", secret="whsec_" + "A" * 44)
    headers["webhook-signature"] = f"{foreign['webhook-signature']} {headers['webhook-signature']}"
    assert await plane.deliver(registered, headers, body) == 200


async def test_before_the_secret_is_known_the_plane_is_asked_to_come_again(paired: OrdersProcess, plane: Plane) -> None:
    await paired.register()
    headers, body = plane.signed(RUNTIME, "ready")

    assert await plane.deliver(paired, headers, body) == 503
    with pytest.raises(OrdersRefused, match="a webhook secret is whsec_"):
        await paired.trust_webhooks("whsec_short")
    await paired.trust_webhooks(SECRET)

    assert await plane.deliver(paired, headers, body) == 200


async def test_the_endpoint_can_be_told_to_fail_and_to_hang(registered: OrdersProcess, plane: Plane) -> None:
    headers, body = plane.signed(RUNTIME, "ready")

    await registered.misbehave("fail", requests=2, status=502)
    assert [await plane.deliver(registered, headers, body) for _ in range(2)] == [502, 502]
    await registered.misbehave("hang", requests=1)
    with pytest.raises(TimeoutError):
        await plane.deliver(registered, headers, body)
    assert (await registered.state())["notifications"] == []
    assert await plane.deliver(registered, headers, body) == 200

    outcomes = [attempt["outcome"] for attempt in (await registered.state())["notificationAttempts"]]
    assert outcomes == ["failed_on_purpose", "failed_on_purpose", "hung_on_purpose", "stored"]


# Credentials of Runtimes


async def test_a_ready_runtime_gets_credentials_of_its_own(registered: OrdersProcess, plane: Plane) -> None:
    await plane.deliver(registered, *plane.signed(RUNTIME, "ready"))
    state = await eventually(registered, settled)

    [auth] = plane.instance_auths
    assert auth["runtimeID"] == RUNTIME
    assert await place(registered, basic(auth)) == 201
    assert (await registered.state())["orders"][0]["createdBy"] == f"runtime-{RUNTIME}"
    assert state["runtimes"] == [
        {"id": RUNTIME, "wanted": True, "settled": True, "instanceAuthID": auth["id"], "problem": None}
    ]
    assert basic(auth)[1] not in json.dumps(state)

    await plane.deliver(registered, *plane.signed(RUNTIME, "changed"))
    await eventually(registered, lambda state: len(state["notifications"]) == 2 and settled(state))
    assert plane.instance_auths == [auth]


async def test_a_lost_reply_leaves_one_pair_that_works(registered: OrdersProcess, plane: Plane) -> None:
    plane.losing_replies_of = {"OrdersCreateInstanceAuth"}
    await plane.deliver(registered, *plane.signed(RUNTIME, "ready"))
    await eventually(registered, lambda state: bool(state["runtimes"][0]["problem"]))

    await plane.deliver(registered, *plane.signed(RUNTIME, "changed"))
    await eventually(registered, settled)

    [auth] = plane.instance_auths
    assert await place(registered, basic(auth)) == 201


async def test_a_pending_request_of_the_runtime_is_answered(registered: OrdersProcess, plane: Plane) -> None:
    plane.scopes.clear()
    pending = plane.instance_auth(RUNTIME, "PENDING", None)

    await plane.deliver(registered, *plane.signed(RUNTIME, "assign"))
    await eventually(registered, settled)

    [auth] = plane.instance_auths
    assert (auth["id"], auth["status"]["condition"]) == (pending["id"], "SUCCEEDED")
    assert await place(registered, basic(auth)) == 201


async def test_a_copy_of_the_default_pair_gives_way_and_other_runtimes_keep_theirs(
    registered: OrdersProcess, plane: Plane
) -> None:
    copied = {"username": "default", "password": "x"}
    plane.instance_auth(RUNTIME, "SUCCEEDED", copied)
    other = plane.instance_auth("another", "SUCCEEDED", copied)

    await plane.deliver(registered, *plane.signed(RUNTIME, "ready"))
    await eventually(registered, settled)

    assert [auth for auth in plane.instance_auths if auth["runtimeID"] != RUNTIME] == [other]
    [auth] = [auth for auth in plane.instance_auths if auth["runtimeID"] == RUNTIME]
    assert basic(auth)[0] == f"runtime-{RUNTIME}"


@pytest.mark.parametrize("operation", ["unassign", "unregister"])
async def test_credentials_end_with_the_assignment_and_return_as_new_ones(
    registered: OrdersProcess, plane: Plane, operation: str
) -> None:
    await plane.deliver(registered, *plane.signed(RUNTIME, "ready"))
    await eventually(registered, settled)
    first = basic(plane.instance_auths[0])
    if operation == "unregister":
        plane.instance_auths[0]["runtimeID"] = None

    await plane.deliver(registered, *plane.signed(RUNTIME, operation))
    state = await eventually(registered, lambda state: settled(state) and not state["runtimes"][0]["wanted"])

    assert plane.instance_auths == []
    assert await place(registered, first) == 401
    assert [c["revokedAt"] is not None for c in state["credentials"] if c["runtimeID"] == RUNTIME] == [True]

    await plane.deliver(registered, *plane.signed(RUNTIME, "assign"))
    await eventually(registered, lambda state: settled(state) and state["runtimes"][0]["wanted"])
    second = basic(plane.instance_auths[0])
    assert (await place(registered, first), await place(registered, second)) == (401, 201)


async def test_an_end_that_comes_while_credentials_are_being_set_wins(registered: OrdersProcess, plane: Plane) -> None:
    plane.held.clear()
    await plane.deliver(registered, *plane.signed(RUNTIME, "ready"))
    async with asyncio.timeout(10):
        await plane.waiting_for_release.wait()
    await plane.deliver(registered, *plane.signed(RUNTIME, "unassign"))
    plane.held.set()

    await eventually(registered, settled)

    assert plane.calls.count("OrdersCreateInstanceAuth") == 1
    assert plane.instance_auths == []


async def test_news_about_others_and_unknown_operations_change_nothing(registered: OrdersProcess, plane: Plane) -> None:
    await plane.deliver(registered, *plane.signed(RUNTIME, "renamed"))
    plane.application = "another"
    await plane.deliver(registered, *plane.signed(RUNTIME, "ready"))

    state = await registered.state()
    assert (len(state["notifications"]), state["runtimes"], plane.instance_auths) == (2, [], [])


async def test_a_missing_scope_is_told_and_healed_by_the_next_poll(tmp_path: Path, plane: Plane) -> None:
    async with OrdersProcess(tmp_path / "orders", poll_every=timedelta(seconds=0.1)) as orders:
        plane.company_ca = orders.company_ca
        await orders.pair(connector_url=plane.connector_url, token="one-time-token", trust_anchor=plane.trust_anchor)
        await orders.register(webhook_secret=SECRET)
        plane.scopes.clear()
        await plane.deliver(orders, *plane.signed(RUNTIME, "ready"))
        state = await eventually(orders, lambda state: bool(state["runtimes"][0]["problem"]))
        assert state["runtimes"][0]["problem"] == "insufficient scopes provided"
        assert plane.instance_auths == []

        plane.scopes.add("bundle_instance_auth:write")
        await eventually(orders, settled)
        assert len(plane.instance_auths) == 1


# Events


async def test_an_order_is_announced_where_the_director_says(registered: OrdersProcess, plane: Plane) -> None:
    plane.default_url = plane.events_url

    told = await registered.publish(**CHAIR)

    [(sender, event)] = plane.events
    assert (sender, event["type"], event["data"]["id"]) == (
        plane.client_id,
        "sales.order.created.v1",
        told["order"]["id"],
    )
    assert (told["event"]["accepted"], told["event"]["status"]) == (True, 202)
    async with caller(registered) as session, session.get("/asyncapi.json") as answer:
        document = await answer.json()
    jsonschema_rs.Draft202012Validator(document["components"]["messages"]["orderCreated"]["payload"]).validate(event)


async def test_events_wait_for_a_receiver_and_each_is_taken_once(tmp_path: Path, plane: Plane) -> None:
    async with OrdersProcess(tmp_path / "orders", poll_every=timedelta(seconds=0.1)) as orders:
        await orders.pair(connector_url=plane.connector_url, token="one-time-token", trust_anchor=plane.trust_anchor)
        alice = await orders.issue_credential("alice")
        assert [await place(orders, alice), await place(orders, alice)] == [201, 201]
        assert (await orders.publish())["event"]["attempts"] == 0
        plane.default_url = plane.events_url

        state = await eventually(orders, lambda state: all(event["accepted"] for event in state["events"]))

        assert state["defaultURL"] == plane.events_url
        await asyncio.sleep(0.3)
        assert [event["id"] for _, event in plane.events] == [event["id"] for event in state["events"]]


@pytest.mark.parametrize("answer", [403, 404, 503])
async def test_a_receiver_that_is_not_ready_gets_all_events_later_and_in_order(
    registered: OrdersProcess, plane: Plane, answer: int
) -> None:
    first = await registered.publish()
    plane.default_url, plane.event_statuses = plane.events_url, [answer]

    assert (await registered.publish())["event"]["attempts"] == 0
    [(_, tried)] = plane.events
    assert tried["id"] == first["event"]["id"]
    await registered.publish()

    events = (await registered.state())["events"]
    assert [event["id"] for _, event in plane.events[1:]] == [event["id"] for event in events]
    assert [event["accepted"] for event in events] == [True, True, True]


async def test_an_event_that_is_no_good_is_not_sent_again(registered: OrdersProcess, plane: Plane) -> None:
    plane.default_url, plane.event_statuses = plane.events_url, [400]

    first = await registered.publish()
    second = await registered.publish()

    assert (first["event"]["accepted"], first["event"]["status"], first["event"]["answer"]) == (False, 400, "not today")
    assert second["event"]["accepted"] is True
    assert [event["id"] for _, event in plane.events] == [first["event"]["id"], second["event"]["id"]]


async def test_a_receiver_the_planes_authority_does_not_vouch_for_gets_nothing(
    registered: OrdersProcess, plane: Plane
) -> None:
    plane.default_url = f"{registered.service_url}/orders"  # certified by the company's own authority

    told = await registered.publish()

    assert (told["event"]["status"], told["event"]["attempts"]) == (None, 1)
    assert "no answer" in told["event"]["answer"]


# The end of the relation


async def test_a_certificate_near_its_end_is_replaced(tmp_path: Path, plane: Plane) -> None:
    plane.certificate_used = timedelta(days=80)
    async with OrdersProcess(tmp_path / "orders", poll_every=timedelta(seconds=0.1)) as orders:
        await orders.pair(connector_url=plane.connector_url, token="one-time-token", trust_anchor=plane.trust_anchor)
        plane.certificate_used = timedelta(minutes=1)

        def renewed(state: dict[str, Any]) -> bool:
            ends = datetime.fromisoformat(state["connection"]["certificate"]["notAfter"])
            return ends - datetime.now(UTC) > timedelta(days=89)

        state = await eventually(orders, renewed)

        assert state["connection"]["certificate"]["commonName"] == plane.client_id
        assert await orders.poll() == ""


async def test_after_revocation_the_state_says_so(registered: OrdersProcess, plane: Plane) -> None:
    await registered.revoke_certificate()

    with pytest.raises(OrdersRefused, match="the certificate is revoked") as refusal:
        await registered.poll()

    assert (refusal.value.kind, refusal.value.code) == ("PlaneRefused", 26)
    connection = (await registered.state())["connection"]
    assert connection["state"] == "REFUSED"
    assert "the certificate is revoked" in connection["reason"]


async def test_an_absent_plane_stops_neither_the_api_nor_the_events(registered: OrdersProcess, plane: Plane) -> None:
    plane.default_url = plane.events_url
    await registered.poll()
    plane.revoked = True

    assert await place(registered, await registered.issue_credential("alice")) == 201
    assert (await registered.publish())["event"]["accepted"] is True


async def test_an_unpaired_service_says_so(orders: OrdersProcess) -> None:
    with pytest.raises(OrdersRefused) as refusal:
        await orders.register()
    assert refusal.value.kind == "NotPaired"
    assert (await orders.state())["connection"] == {"state": "NOT_PAIRED", "reason": None, "certificate": None}
