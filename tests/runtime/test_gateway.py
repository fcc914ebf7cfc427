import asyncio
import gzip
from collections.abc import AsyncIterator
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import aiohttp
import pytest

from compass.runtime.gateway import GatewaySettings
from tests.agent.plane import FakePlane, api, application, basic, bundle, free_port_url
from tests.runtime.parts import FakeApplication, called, http, offered, running, status, until


async def test_a_call_reaches_the_application_with_its_credentials(
    plane: FakePlane, orders: FakeApplication, folder: Path
) -> None:
    offered(plane, f"{orders.url}/basic/v1", basic())
    async with running(folder), http() as client, client.get(called(folder, "/items/1%2F2?q=a+b&q=%C3%A9")) as answer:
        assert (answer.status, await answer.text()) == (200, '{"orders": []}')
        assert answer.headers["X-From"] == "orders"
        assert answer.headers.getall("Set-Cookie") == ["a=1", "b=2"]
        assert not {"X-Private", "Keep-Alive"} & set(answer.headers)
    assert [call["path"] for call in orders.calls] == ["/basic/v1/items/1%2F2?q=a+b&q=%C3%A9"]


async def test_what_the_caller_sends_as_authorization_is_replaced(
    plane: FakePlane, orders: FakeApplication, folder: Path
) -> None:
    offered(plane, f"{orders.url}/basic/v1", basic())
    headers = {
        "Authorization": "Bearer mine",
        "Connection": "X-Hop, keep-alive",
        "X-Hop": "1",
        "Proxy-Authorization": "x",
        "TE": "trailers",
        "X-Kept": "yes",
    }
    async with running(folder), http() as client, client.get(called(folder, "/x"), headers=headers) as answer:
        assert answer.status == 200
    sent = orders.calls[0]["headers"]
    assert sent["X-Kept"] == "yes"
    assert not {"X-Hop", "Proxy-Authorization", "TE"} & set(sent)
    assert sent["Host"] == orders.url.removeprefix("https://")


async def test_an_api_without_credentials_gets_none(plane: FakePlane, orders: FakeApplication, folder: Path) -> None:
    offered(plane, f"{orders.url}/open/v1/", None)
    async with (
        running(folder),
        http() as client,
        client.get(called(folder), headers={"Authorization": "Bearer mine"}) as answer,
    ):
        assert answer.status == 200
    assert orders.calls[0]["path"] == "/open/v1/"
    assert "Authorization" not in orders.calls[0]["headers"]


async def test_configured_headers_and_parameters_win(plane: FakePlane, orders: FakeApplication, folder: Path) -> None:
    auth = basic() | {"additionalHeaders": {"X-Client": ["a", "b"]}, "additionalQueryParams": {"client": ["100"]}}
    offered(plane, f"{orders.url}/basic/v1?fixed=1", auth)
    async with (
        running(folder),
        http() as client,
        client.get(called(folder, "/x?client=7&mine=2"), headers={"x-client": "spoofed"}) as answer,
    ):
        assert answer.status == 200
    assert orders.calls[0]["path"] == "/basic/v1/x?fixed=1&mine=2&client=100"
    assert orders.calls[0]["headers"].getall("X-Client") == ["a", "b"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_every_method_and_its_body_are_passed_on(
    plane: FakePlane, orders: FakeApplication, folder: Path, method: str
) -> None:
    offered(plane, f"{orders.url}/basic/v1", basic())
    body = gzip.compress(b'{"order": 1}')
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with (
        running(folder),
        http() as client,
        client.request(method, called(folder, "/o"), data=body, headers=headers) as answer,
    ):
        assert answer.status == 201
    assert (orders.calls[0]["method"], orders.calls[0]["headers"]["Content-Encoding"]) == (method, "gzip")


async def test_a_long_body_is_streamed(plane: FakePlane, orders: FakeApplication, folder: Path) -> None:
    offered(plane, f"{orders.url}/basic/v1", basic())
    body = bytes(range(256)) * 4096 * 5

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    async with running(folder), http() as client:
        for sent in (BytesIO(body), chunks()):
            async with client.post(called(folder, "/o"), data=sent) as answer:
                assert answer.status == 201
                assert await answer.read() == body
    assert [call["body"] == body for call in orders.calls] == [True, True]


async def test_a_body_that_is_too_long_is_refused(plane: FakePlane, orders: FakeApplication, folder: Path) -> None:
    offered(plane, f"{orders.url}/basic/v1", basic())
    settings = GatewaySettings(max_request_bytes=200_000, replay_bytes=50_000)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b"x" * 10_000

    async with running(folder, settings), http() as client:
        async with client.post(called(folder, "/o"), data=b"x" * 300_000) as answer:
            assert answer.status == 413
        async with client.post(called(folder, "/o"), data=chunks()) as answer:
            assert (answer.status, await answer.json()) == (413, {"code": 413, "error": "the request is too long"})
    assert orders.calls == []


async def test_a_page_that_calls_the_loopback_by_another_name_is_refused(
    plane: FakePlane, orders: FakeApplication, folder: Path
) -> None:
    """A browser on this machine can be made to call us by a name that leads here (DNS rebinding)."""
    offered(plane, f"{orders.url}/basic/v1", basic())
    async with running(folder), http() as client:
        for url in (called(folder, "/x"), status(folder)["health_url"]):
            async with client.get(url, headers={"Host": "evil.example"}) as answer:
                assert answer.status == 421
        async with client.get(called(folder, "/x").replace("127.0.0.1", "localhost")) as answer:
            assert answer.status == 200
    assert len(orders.calls) == 1


async def test_unknown_paths_are_not_found(plane: FakePlane, orders: FakeApplication, folder: Path) -> None:
    offered(plane, f"{orders.url}/basic/v1", basic())
    async with running(folder), http() as client:
        for path in ("/", "/mp-orders", "/mp-orders/sales", "/mp-orders/sales/other", "/x/y/z"):
            async with client.get(status(folder)["gateway_url"] + path) as answer:
                assert (answer.status, (await answer.json())["code"]) == (404, 404)
    assert orders.calls == []


@pytest.mark.parametrize("rest", ["/../secret", "/a/../../x", "/%2e%2e/secret", "/..%2fsecret", "/a%5c..%5cx"])
async def test_a_path_cannot_leave_the_api(plane: FakePlane, orders: FakeApplication, folder: Path, rest: str) -> None:
    offered(plane, f"{orders.url}/open/v1", None)
    async with running(folder):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(called(folder).split(":")[2].split("/")[0]))
        writer.write(
            f"GET /mp-orders/sales/orders{rest} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 400")
    assert orders.calls == []


async def test_an_application_that_fails_is_told_apart_from_one_that_is_slow(
    plane: FakePlane, orders: FakeApplication, folder: Path
) -> None:
    other = await free_port_url()
    plane.applications = [
        application(
            "a1",
            "mp-orders",
            bundle(
                "b1",
                "Sales",
                None,
                [
                    api("i1", "slow", f"{orders.url}/slow"),
                    api("i2", "reset", f"{orders.url}/reset"),
                    api("i3", "away", f"{other}/x"),
                    api("i4", "half", f"{orders.url}/half"),
                    api("i5", "long", f"{orders.url}/long"),
                ],
            ),
        )
    ]
    settings = GatewaySettings(silence_timeout=timedelta(seconds=0.3), max_response_bytes=1_000_000)
    async with running(folder, settings), http() as client:
        base = f"{status(folder)['gateway_url']}/mp-orders/sales"
        for path, expected in (("slow", 504), ("reset", 502), ("away", 502)):
            async with client.get(f"{base}/{path}") as answer:
                assert (answer.status, (await answer.json())["code"]) == (expected, expected)
        for path in ("half", "long"):
            with pytest.raises(aiohttp.ClientError):
                async with client.get(f"{base}/{path}") as answer:
                    await answer.read()


async def test_an_application_of_an_unknown_authority_is_not_called(
    plane: FakePlane, orders: FakeApplication, folder: Path
) -> None:
    (folder / "applications_ca.pem").unlink()
    offered(plane, f"{orders.url}/basic/v1", basic())
    async with running(folder), http() as client, client.get(called(folder, "/x")) as answer:
        assert answer.status == 502
        assert "s3cret" not in await answer.text()
    assert orders.calls == []


async def test_a_changed_target_is_used_and_a_removed_api_is_gone(
    plane: FakePlane, orders: FakeApplication, folder: Path
) -> None:
    offered(plane, f"{orders.url}/basic/v1", basic())
    async with running(folder), http() as client:
        offered(plane, f"{orders.url}/basic/v2", basic())
        await until(lambda: status(folder)["revision"] == 2)
        async with client.get(called(folder, "/x")) as answer:
            assert answer.status == 200
        plane.applications = []
        await until(lambda: status(folder)["revision"] == 3)
        async with client.get(called(folder, "/x")) as answer:
            assert answer.status == 404
    assert [call["path"] for call in orders.calls] == ["/basic/v2/x"]
