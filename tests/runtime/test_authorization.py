import asyncio
from pathlib import Path

import pytest

from compass.runtime.gateway import GatewaySettings
from tests.agent.plane import FakePlane, basic
from tests.runtime.parts import FakeApplication, called, http, offered, running, status, until

OAUTH = {"__typename": "OAuthCredentialData", "clientId": "oauth-id", "clientSecret": "oauth-secret"}


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
