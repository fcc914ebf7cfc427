import asyncio
import gzip
from collections.abc import AsyncIterator
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from compass.runtime.gateway import GatewaySettings
from tests.agent.plane import FakePlane, api, application, basic, bundle, free_port_url
from tests.runtime.parts import FakeApplication, http, prepared, running, status, until

OAUTH = {"__typename": "OAuthCredentialData", "clientId": "oauth-id", "clientSecret": "oauth-secret"}


def offered(plane: FakePlane, url: str, auth: dict[str, Any] | None) -> None:
    plane.applications = [application("a1", "mp-orders", bundle("b1", "Sales", auth, [api("i1", "Orders", url)]))]


@pytest.fixture
def folder(plane: FakePlane, orders: FakeApplication, tmp_path: Path) -> Path:
    made = prepared(tmp_path / "runtime", plane)
    (made / "applications_ca.pem").write_text(orders.authority.pem)
    return made


def called(folder: Path, rest: str = "") -> str:
    return f"{status(folder)['gateway_url']}/mp-orders/sales/orders{rest}"


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


async def test_an_oauth_token_is_fetched_once_and_kept(plane: FakePlane, orders: FakeApplication, folder: Path) -> None:
    offered(plane, f"{orders.url}/oauth/v1", {"credential": OAUTH | {"url": f"{orders.url}/token"}})
    async with running(folder), http() as client:

        async def call() -> int:
            async with client.get(called(folder, "/x")) as answer:
                return answer.status

        assert await asyncio.gather(*(call() for _ in range(8))) == [200] * 8
    assert orders.tokens_issued == 1


async def test_a_refused_oauth_token_is_replaced_once(plane: FakePlane, orders: FakeApplication, folder: Path) -> None:
    offered(plane, f"{orders.url}/oauth/v1", {"credential": OAUTH | {"url": f"{orders.url}/token"}})
    async with running(folder), http() as client:
        async with client.post(called(folder, "/x"), data=b"once") as answer:
            assert answer.status == 201
        orders.valid_tokens.clear()
        async with client.post(called(folder, "/x"), data=b"again") as answer:
            assert (answer.status, await answer.read()) == (201, b"again")
        assert orders.tokens_issued == 2
        orders.token_answer = {"access_token": "never-valid"}
        orders.valid_tokens.clear()
        orders.calls.clear()
        async with client.post(called(folder, "/x"), data=b"third") as answer:
            assert answer.status == 401
        assert len(orders.calls) == 2


async def test_a_long_request_with_a_refused_token_is_answered_and_the_next_gets_another(
    plane: FakePlane, orders: FakeApplication, folder: Path
) -> None:
    offered(plane, f"{orders.url}/oauth/v1", {"credential": OAUTH | {"url": f"{orders.url}/token"}})
    async with running(folder, GatewaySettings(replay_bytes=1000)), http() as client:
        async with client.post(called(folder, "/x"), data=b"1") as answer:
            assert answer.status == 201
        orders.valid_tokens.clear()
        async with client.post(called(folder, "/x"), data=b"2" * 100_000) as answer:
            assert answer.status == 401
        async with client.post(called(folder, "/x"), data=b"3" * 100_000) as answer:
            assert answer.status == 201


@pytest.mark.parametrize("answer_of_endpoint", [{"no": "token"}, {"access_token": ""}, {"access_token": "a\nb"}])
async def test_a_token_endpoint_that_gives_no_token_is_a_bad_gateway(
    plane: FakePlane, orders: FakeApplication, folder: Path, answer_of_endpoint: dict[str, str]
) -> None:
    offered(plane, f"{orders.url}/oauth/v1", {"credential": OAUTH | {"url": f"{orders.url}/token"}})
    orders.token_answer = answer_of_endpoint
    async with running(folder), http() as client, client.get(called(folder, "/x")) as answer:
        assert answer.status == 502
        assert (await answer.json())["error"].startswith("no token for the application")
    assert orders.calls == []


async def test_wrong_oauth_credentials_are_a_bad_gateway_without_a_secret(
    plane: FakePlane, orders: FakeApplication, folder: Path
) -> None:
    wrong = OAUTH | {"url": f"{orders.url}/token", "clientSecret": "t0psecret"}
    offered(plane, f"{orders.url}/oauth/v1", {"credential": wrong})
    async with running(folder), http() as client, client.get(called(folder, "/x")) as answer:
        assert (answer.status, "t0psecret" in await answer.text()) == (502, False)


async def test_a_token_endpoint_that_knows_its_client_by_certificate_is_served(
    plane: FakePlane, orders: FakeApplication, folder: Path, tmp_path: Path
) -> None:
    certificate, key = orders.authority.write_client(tmp_path, "runtime-at-orders")
    pem = certificate.read_text() + key.read_text()
    credential = {
        "__typename": "CertificateOAuthCredentialData",
        "clientId": "oauth-id",
        "certificate": pem,
        "url": f"{orders.url}/token",
    }
    offered(plane, f"{orders.url}/oauth/v1", {"credential": credential})
    async with running(folder), http() as client:
        async with client.get(called(folder, "/x")) as answer:
            assert answer.status == 200
        assert orders.token_clients == ["certificate"]
        plane.applications[0]["bundles"][0]["defaultInstanceAuth"]["credential"]["certificate"] = "no pem"
        await until(lambda: status(folder)["revision"] == 2)
        async with client.get(called(folder, "/x")) as answer:
            assert answer.status == 502


async def test_a_forgery_token_is_fetched_for_changing_calls_and_replaced_when_required(
    plane: FakePlane, orders: FakeApplication, folder: Path
) -> None:
    auth = basic() | {"requestAuth": {"csrf": {"tokenEndpointURL": f"{orders.url}/csrf"}}}
    offered(plane, f"{orders.url}/csrf/v1", auth)
    async with running(folder), http() as client:
        for _ in range(2):
            async with client.post(called(folder, "/x"), data=b"1", headers={"Cookie": "mine=1"}) as answer:
                assert answer.status == 201
        assert orders.csrf_issued == 1
        assert orders.calls[0]["headers"]["Cookie"] == "mine=1; session=7"
        orders.valid_csrf.clear()
        async with client.post(called(folder, "/x"), data=b"1") as answer:
            assert answer.status == 201
        assert orders.csrf_issued == 2
        async with client.get(called(folder, "/x")) as answer:
            assert answer.status == 403
        assert orders.csrf_issued == 2


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
        writer.write(f"GET /mp-orders/sales/orders{rest} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
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
