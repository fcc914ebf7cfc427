import asyncio
import json
import os
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from compass.runtime import events as endpoint
from compass.runtime.events import EventRefused, Ledger, Received, received
from tests.agent.plane import Authority, FakePlane, application
from tests.runtime.parts import prepared, running, status, until

CLOUD = {"Content-Type": "application/cloudevents+json"}
EVENT = {"specversion": "1.0", "id": "e-1", "source": "/orders", "type": "order.created.v1", "data": {"order": 7}}
LEGACY = {
    "event-type": "order.created",
    "event-type-version": "v1",
    "event-time": "2026-11-23T10:00:00Z",
    "data": {"order": 7},
}


@pytest.fixture
def folder(plane: FakePlane, tmp_path: Path) -> Path:
    plane.applications = [
        application("a1", "mp-orders", clients=("orders-client", "orders-client-2")),
        application("a2", "mp-crm", clients=("crm-client",)),
    ]
    return prepared(tmp_path / "runtime", plane)


@asynccontextmanager
async def sender(
    plane: FakePlane, folder: Path, common_name: str | None, authority: Authority | None = None
) -> AsyncIterator[aiohttp.ClientSession]:
    context = ssl.create_default_context(cadata=plane.authority.pem)
    if common_name is not None:
        context.load_cert_chain(*(authority or plane.authority).write_client(folder.parent, common_name))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        yield session


def stored(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def address(folder: Path, application_name: str = "mp-orders") -> str:
    return f"{status(folder)['events_url']}/{application_name}/v1/events"


async def test_a_cloud_event_of_the_application_is_stored_before_the_answer(plane: FakePlane, folder: Path) -> None:
    async with (
        running(folder),
        sender(plane, folder, "orders-client") as client,
        client.post(address(folder), json=EVENT, headers=CLOUD) as answer,
    ):
        assert answer.status == 202
        id_ = (await answer.json())["id"]
        assert [(line["id"], line["application"], line["client_id"], line["event"]) for line in stored(folder)] == [
            (id_, "mp-orders", "orders-client", EVENT)
        ]


async def test_a_binary_cloud_event_is_stored_with_its_attributes(plane: FakePlane, folder: Path) -> None:
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "e-2",
        "ce-source": "/caf%C3%A9",
        "ce-type": "order.created.v1",
        "Content-Type": "application/json",
    }
    async with running(folder), sender(plane, folder, "orders-client-2") as client:
        async with client.post(address(folder), data=b'{"order": 8}', headers=headers) as answer:
            assert answer.status == 202
        async with client.post(
            address(folder), data=b"\xff\x00", headers=headers | {"ce-id": "e-3", "Content-Type": "image/png"}
        ) as answer:
            assert answer.status == 202
    first, second = (line["event"] for line in stored(folder))
    assert (first["source"], first["data"], first["datacontenttype"]) == ("/café", {"order": 8}, "application/json")
    assert (second["data_base64"], second["datacontenttype"]) == ("/wA=", "image/png")


async def test_a_legacy_event_is_stored_as_a_cloud_event(plane: FakePlane, folder: Path) -> None:
    async with running(folder), sender(plane, folder, "orders-client") as client:
        async with client.post(address(folder), json=LEGACY) as answer:
            assert answer.status == 200
            assert (await answer.json())["event-id"] == stored(folder)[0]["id"]
        async with client.post(address(folder), json=LEGACY | {"event-id": "mine"}) as answer:
            assert await answer.json() == {"event-id": "mine"}
    first = stored(folder)[0]["event"]
    assert (first["type"], first["time"], first["data"]) == ("order.created.v1", LEGACY["event-time"], {"order": 7})


@pytest.mark.parametrize("common_name", ["crm-client", "stranger", "mp-orders"])
async def test_a_certificate_that_is_not_the_applications_is_refused(
    plane: FakePlane, folder: Path, common_name: str
) -> None:
    async with (
        running(folder),
        sender(plane, folder, common_name) as client,
        client.post(address(folder), json=EVENT, headers=CLOUD) as answer,
    ):
        assert (answer.status, (await answer.json())["code"]) == (403, 403)
    assert stored(folder) == []


async def test_an_unknown_application_is_not_found(plane: FakePlane, folder: Path) -> None:
    async with running(folder), sender(plane, folder, "orders-client") as client:
        async with client.post(address(folder, "other"), json=EVENT, headers=CLOUD) as answer:
            assert answer.status == 404
        async with client.get(address(folder)) as answer:
            assert answer.status == 405
    assert stored(folder) == []


async def test_no_certificate_and_another_authoritys_certificate_end_at_tls(plane: FakePlane, folder: Path) -> None:
    async with running(folder):
        for name, authority in ((None, None), ("orders-client", Authority("Another")), ("orders-client", Authority())):
            async with sender(plane, folder, name, authority) as client:
                with pytest.raises((aiohttp.ClientError, OSError)):
                    await client.post(address(folder), json=EVENT, headers=CLOUD)
        server = ssl.create_default_context(cadata=plane.authority.pem)
        server.load_cert_chain(folder / "server.crt", folder / "server.key")
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=server)) as client:
            with pytest.raises((aiohttp.ClientError, OSError)):
                await client.post(address(folder), json=EVENT, headers=CLOUD)
    assert stored(folder) == []


async def test_old_tls_is_not_spoken(plane: FakePlane, folder: Path) -> None:
    async with running(folder):
        port = int(status(folder)["events_url"].rsplit(":", 1)[1])
        old = ssl.create_default_context(cadata=plane.authority.pem)
        old.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            old.minimum_version = ssl.TLSVersion.TLSv1
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", port, ssl=old)


async def test_a_certificate_that_ends_during_a_connection_is_refused_from_then_on(
    plane: FakePlane, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(folder), sender(plane, folder, "orders-client") as client:
        async with client.post(address(folder), json=EVENT, headers=CLOUD) as answer:
            assert answer.status == 202
        ends = ssl.cert_time_to_seconds
        monkeypatch.setattr("compass.runtime.events.ssl.cert_time_to_seconds", lambda text: ends(text) - 2 * 86400)
        async with client.post(address(folder), json=EVENT | {"id": "e-9"}, headers=CLOUD) as answer:
            assert answer.status == 403
        monkeypatch.undo()
    assert len(stored(folder)) == 1


async def test_an_event_sent_again_is_answered_the_same_and_stored_once(plane: FakePlane, folder: Path) -> None:
    async with sender(plane, folder, "orders-client") as client, sender(plane, folder, "crm-client") as crm:

        async def send(by: aiohttp.ClientSession = client, name: str = "mp-orders", **other: str) -> tuple[int, Any]:
            async with by.post(address(folder, name), json=EVENT | other, headers=CLOUD) as answer:
                return answer.status, await answer.json()

        async with running(folder):
            first, *others = await asyncio.gather(*(send() for _ in range(8)))
            assert others == [first] * 7
        async with running(folder):
            assert await send() == first
            assert await send(source="/other") != first
            assert await send(crm, "mp-crm") != first
    assert [(line["application"], line["event"]["source"]) for line in stored(folder)] == [
        ("mp-orders", "/orders"),
        ("mp-orders", "/other"),
        ("mp-crm", "/orders"),
    ]


async def test_a_revoked_client_id_may_not_send_after_the_next_synchronization(plane: FakePlane, folder: Path) -> None:
    async with running(folder), sender(plane, folder, "orders-client") as client:
        async with client.post(address(folder), json=EVENT, headers=CLOUD) as answer:
            assert answer.status == 202
        plane.applications[0]["auths"] = []
        await until(lambda: status(folder)["revision"] == 2)
        async with client.post(address(folder), json=EVENT, headers=CLOUD) as answer:
            assert answer.status == 403


async def test_an_event_that_is_too_long_is_refused(plane: FakePlane, folder: Path) -> None:
    async with running(folder), sender(plane, folder, "orders-client") as client:
        long = json.dumps(EVENT | {"data": "x" * (endpoint.MAX_EVENT_BYTES - 50)}).encode()
        async with client.post(address(folder), data=BytesIO(long), headers=CLOUD) as answer:
            assert answer.status == 413
    assert stored(folder) == []


async def test_an_event_that_cannot_be_stored_is_not_accepted(
    plane: FakePlane, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(folder), sender(plane, folder, "orders-client") as client:
        write = os.write
        monkeypatch.setattr("compass.runtime.events.os.write", lambda descriptor, line: write(descriptor, line[:10]))
        async with client.post(address(folder), json=EVENT, headers=CLOUD) as answer:
            assert answer.status == 503
        monkeypatch.undo()
        assert (folder / "events.jsonl").read_bytes() == b""
        async with client.post(address(folder), json=EVENT, headers=CLOUD) as answer:
            assert answer.status == 202
    assert len(stored(folder)) == 1


@pytest.mark.parametrize(
    ("content_type", "body", "why"),
    [
        ("application/cloudevents+json", b"{", "not JSON"),
        ("application/cloudevents+json", b"[" * 100_000, "not JSON"),
        ("application/cloudevents+json", b"[]", "not a JSON object"),
        ("application/cloudevents+json", b'{"specversion":"1.0","source":"s","type":"t"}', "'id' is missing"),
        ("application/cloudevents+json", b'{"specversion":"1.0","id":1,"source":"s","type":"t"}', "'id' is missing"),
        ("application/cloudevents+json", b'{"specversion":"0.3","id":"1","source":"s","type":"t"}', "specversion 1.0"),
        (
            "application/cloudevents+json",
            b'{"specversion":"1.0","id":"1","source":"s","type":"t","time":"noon"}',
            "RFC 3339",
        ),
        ("application/json", b'{"event-type":"t"}', "'event-type-version' is missing"),
        ("application/json", json.dumps(LEGACY | {"event-type-version": "v 1"}).encode(), "letters and digits"),
        ("application/json", json.dumps(LEGACY | {"event-time": "2026-11-23"}).encode(), "RFC 3339"),
        ("application/json", json.dumps(LEGACY | {"data": ""}).encode(), "'data' is missing"),
        ("application/json", json.dumps(LEGACY | {"event-id": 5}).encode(), "'event-id'"),
        ("text/plain", b"hello", "'text/plain'"),
    ],
)
def test_what_is_no_event_is_refused_with_the_reason(content_type: str, body: bytes, why: str) -> None:
    with pytest.raises(EventRefused, match=why):
        received(content_type, {}, body)


def test_a_line_cut_off_by_a_crash_is_taken_away_and_the_rest_remembered(tmp_path: Path) -> None:
    async def write() -> list[str]:
        got = Received("structured", EVENT, ("/orders", "e-1"))
        first = Ledger(tmp_path / "events.jsonl")
        ids = [await first.store("mp-orders", "c", got)]
        first.close()
        whole = (tmp_path / "events.jsonl").read_bytes()
        (tmp_path / "events.jsonl").write_bytes(whole + b"not json\n" + whole[:30])
        second = Ledger(tmp_path / "events.jsonl")
        ids.append(await second.store("mp-orders", "c", got))
        second.close()
        assert (tmp_path / "events.jsonl").read_bytes() == whole + b"not json\n"
        return ids

    first, second = asyncio.run(write())
    assert first == second


def test_only_the_newest_events_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "_REMEMBERED", 2)

    async def write() -> int:
        ledger = Ledger(tmp_path / "events.jsonl")
        for id_ in ("1", "2", "3", "3", "1"):
            await ledger.store("a", "c", Received("structured", {}, ("s", id_)))
        ledger.close()
        return len((tmp_path / "events.jsonl").read_text().splitlines())

    assert asyncio.run(write()) == 4
