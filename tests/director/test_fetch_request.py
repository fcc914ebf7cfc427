"""Fetch requests, against real sources on this machine that answer, lie, hang and lead elsewhere."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from compass.access.caller import Caller
from compass.director import fetch_request
from compass.director.auth import StoredAuth
from compass.director.fetch_request import Fetched, Source, fetch_all
from compass.outbound.door import Door, DoorSettings
from compass.outbound.errors import NoClientCertificate
from tests.delivery.receiver import Call, answer, hangs, receiving
from tests.director import catalogue
from tests.director.catalogue import ADD_API, BASIC
from tests.outbound.hostile import mutual_tls

API = {"name": "orders", "targetURL": "https://orders.example.com"}
STATUS = "While fetching Spec"
CREDENTIAL = {"__typename": "BasicCredentialData", "username": "ann", "password": "p"}


async def fetched(director: Any, *, caller: Caller | None = None, **request: Any) -> Any:
    """The spec of an API that was added with this fetch request."""
    bundle = await catalogue.bundle(director, await catalogue.register(director))
    spec = {"type": "OPEN_API", "format": "YAML", "fetchRequest": request}
    added = await director.data(ADD_API, caller=caller, bundle=bundle, **{"in": {**API, "spec": spec}})
    return added["result"]["spec"]


def always(raw: bytes) -> Any:
    async def behave(_: Call) -> bytes:
        return raw

    return behave


async def test_what_the_source_answers_is_the_data(director: Any) -> None:
    async with receiving(always(answer(200, "\ufeffopenapi: é".encode()))) as source:
        caller = replace(director.caller, request_id="r-4711")
        spec = await fetched(director, caller=caller, url=source.url("/spec?v=1"))
        call = source.calls[0]

    assert call.path == "/spec?v=1"
    assert call.headers["x-request-id"] == "r-4711"
    assert "authorization" not in call.headers
    assert spec["data"] == "openapi: é"
    request = spec["fetchRequest"]
    assert request["status"].pop("timestamp").endswith("Z")
    assert request == {
        "url": source.url("/spec?v=1"),
        "mode": "SINGLE",
        "filter": None,
        "auth": None,
        "status": {"condition": "SUCCEEDED", "message": None},
    }


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (answer(404, b"secret page"), f"{STATUS} status code: 404"),
        (answer(201, b"made"), f"{STATUS} status code: 201"),
        (answer(302, location="http://169.254.169.254/"), f"{STATUS} status code: 302"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nbreaks-off",
            f"{STATUS}: The receiver's answer is not valid HTTP",
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\nbreaks-off",
            f"{STATUS}: The receiver's answer is too large",
        ),
        (answer(200, b"\xff\xfe"), f"{STATUS}: the answer is not UTF-8 text"),
        (answer(200, b"a\0b"), f"{STATUS}: the answer is not UTF-8 text"),
    ],
)
async def test_a_source_that_gives_nothing_usable_is_a_status_and_no_error(
    director: Any, raw: bytes, message: str
) -> None:
    async with receiving(always(raw)) as source:
        spec = await fetched(director, url=source.url())
        assert len(source.calls) == 1

    assert spec["data"] is None
    assert spec["fetchRequest"]["status"]["condition"] == "FAILED"
    assert spec["fetchRequest"]["status"]["message"] == message


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest", "http://10.0.0.1/", "http://nobody.invalid/"])
async def test_forbidden_and_unknown_addresses_are_not_told_apart(director: Any, url: str) -> None:
    spec = await fetched(director, url=url)

    assert spec["fetchRequest"]["status"]["message"] == f"{STATUS}: The address could not be reached"
    assert spec["data"] is None


async def test_a_closed_port_reads_like_a_forbidden_address(director: Any) -> None:
    async with receiving() as source:
        closed = source.url()

    spec = await fetched(director, url=closed)

    assert spec["fetchRequest"]["status"]["message"] == f"{STATUS}: The address could not be reached"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mode": "BUNDLE"}, "Invalid data [reason=Unsupported fetch mode: BUNDLE]"),
        ({"mode": "INDEX"}, "Invalid data [reason=Unsupported fetch mode: INDEX]"),
        (
            {"filter": "x"},
            "Invalid data [reason=Filter for Fetch Request was provided, currently it's unsupported]",
        ),
        (
            {"auth": {"accessStrategy": "sap:cmp-mtls:v1"}},
            f"{STATUS}: {NoClientCertificate.message}",
        ),
        ({"auth": {"accessStrategy": "magic"}}, f"{STATUS}: access strategy magic is not supported"),
        (
            {"auth": {"credential": {"certificateOAuth": {"clientId": "c", "certificate": "x", "url": "http://a"}}}},
            f"{STATUS}: a credential with a certificate is not supported",
        ),
        (
            {"auth": {"requestAuth": {"csrf": {"tokenEndpointURL": "http://127.0.0.1:9/"}}}},
            f"{STATUS}: a CSRF token cannot be obtained",
        ),
        (
            {"auth": {"additionalHeaders": {"Host": ["evil"]}}},
            f"{STATUS}: The request cannot be sent: the header host is written by the plane",
        ),
    ],
)
async def test_what_the_plane_cannot_do_is_said_and_nothing_is_sent(
    director: Any, given: dict[str, Any], message: str
) -> None:
    async with receiving(always(answer(200, b"x"))) as source:
        spec = await fetched(director, url=source.url(), **given)
        assert source.calls == []

    assert (spec["data"], spec["fetchRequest"]["status"]["message"]) == (None, message)
    assert spec["fetchRequest"]["status"]["condition"] == "FAILED"


async def test_an_application_reads_where_its_own_sources_are_and_not_where_its_neighbours_are(director: Any) -> None:
    own, neighbour = await catalogue.register(director), await catalogue.register(director, "neighbour")
    request = {"url": "http://127.0.0.1:9/", "auth": BASIC}
    document = {"title": "t", "displayName": "t", "description": "d", "format": "MARKDOWN", "fetchRequest": request}
    event = {"type": "ASYNC_API", "format": "JSON", "fetchRequest": request}
    await catalogue.bundle(
        director,
        own,
        apiDefinitions=[{**API, "spec": {"type": "OPEN_API", "format": "JSON", "fetchRequest": request}}],
        eventDefinitions=[{"name": "e", "spec": event}],
        documents=[document],
    )
    part = "fetchRequest { url auth { credential { ... on BasicCredentialData { password } } } }"
    read = f"""query ($id: ID!) {{ application(id: $id) {{ bundles {{ data {{
      apiDefinitions {{ data {{ spec {{ {part} }} }} }} eventDefinitions {{ data {{ spec {{ {part} }} }} }}
      documents {{ data {{ {part} }} }} }} }} }} }}"""

    async def shown(caller: Any) -> list[Any]:
        [found] = (await director.data(read, id=own, caller=caller))["application"]["bundles"]["data"]
        [api], [told], [text] = (found[name]["data"] for name in ("apiDefinitions", "eventDefinitions", "documents"))
        return [one["fetchRequest"] for one in (api["spec"], told["spec"], text)]

    visible = {"url": request["url"], "auth": {"credential": {"password": "planted-secret-1"}}}
    for who in (director.caller, director.application(own)):
        assert await shown(who) == [visible] * 3
    cluster = await catalogue.runtime(director)
    await catalogue.group(director, own, cluster)
    for who in (director.application(neighbour), director.runtime(cluster)):
        assert await shown(who) == [None] * 3


async def test_basic_credentials_headers_and_parameters_go_along(director: Any) -> None:
    auth = {
        **BASIC,
        "additionalHeaders": {"X-One": ["a", "b"]},
        "additionalQueryParamsSerialized": '{"q": ["1 2", "3"]}',
    }
    async with receiving(always(answer(200, b"x"))) as source:
        await fetched(director, url=source.url("/spec?v=1"), auth=auth)
        call = source.calls[0]

    assert call.headers["authorization"] == "Basic YW5uOnBsYW50ZWQtc2VjcmV0LTE="
    assert call.headers["x-one"] == "a, b"
    assert call.path == "/spec?v=1&q=1+2&q=3"


async def test_the_open_strategy_sends_no_credentials(director: Any) -> None:
    async with receiving(always(answer(200, b"x"))) as source:
        spec = await fetched(director, url=source.url(), auth={**BASIC, "accessStrategy": "open"})

        assert "authorization" not in source.calls[0].headers
    assert spec["data"] == "x"


def oauth(url: str) -> dict[str, Any]:
    return {"credential": {"oauth": {"clientId": "me:x", "clientSecret": "planted secret", "url": url}}}


async def test_an_oauth_client_signs_in_at_its_token_endpoint_first(director: Any) -> None:
    async def behave(call: Call) -> bytes:
        return answer(200, b'{"access_token": "t0k3n"}' if call.path == "/token" else b"spec")

    async with receiving(behave) as source:
        spec = await fetched(director, url=source.url("/spec"), auth=oauth(source.url("/token")))
        token, call = source.calls

    assert (token.path, token.body) == ("/token", b"grant_type=client_credentials")
    # Source: RFC 6749 §2.3.1, both are form-encoded before they are joined: me%3Ax:planted+secret.
    assert token.headers["authorization"] == "Basic bWUlM0F4OnBsYW50ZWQrc2VjcmV0"
    assert (call.path, call.headers["authorization"]) == ("/spec", "Bearer t0k3n")
    assert spec["data"] == "spec"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (answer(401, b"no"), f"{STATUS}: the token endpoint answered with status code 401"),
        (answer(200, b"planted"), f"{STATUS}: the token endpoint gave no access token"),
        (answer(200, b'{"access_token": 5}'), f"{STATUS}: the token endpoint gave no access token"),
        (answer(200, b"[]"), f"{STATUS}: the token endpoint gave no access token"),
        (
            answer(200, b'{"access_token": "a\\r\\nX: y"}'),
            f"{STATUS}: the token endpoint gave no access token",
        ),
    ],
)
async def test_a_token_endpoint_that_gives_no_token_ends_the_fetch(director: Any, raw: bytes, message: str) -> None:
    async with receiving(always(raw)) as source:
        spec = await fetched(director, url=source.url("/spec"), auth=oauth(source.url("/token")))
        assert [call.path for call in source.calls] == ["/token"]

    assert (spec["data"], spec["fetchRequest"]["status"]["message"]) == (None, message)


async def test_the_auth_of_a_fetch_is_shown_to_those_with_the_scope_alone(director: Any) -> None:
    application = await catalogue.register(director)
    bundle = await catalogue.bundle(director, application)
    spec = {"type": "OPEN_API", "format": "YAML", "fetchRequest": {"url": "http://10.0.0.1/", "auth": BASIC}}
    api = (await director.data(ADD_API, bundle=bundle, **{"in": {**API, "spec": spec}}))["result"]["id"]
    query = """query ($app: ID!, $api: ID!) { application(id: $app) { apiDefinition(id: $api) { spec {
      type fetchRequest { url auth { credential { ... on BasicCredentialData { password } } } } } } } }"""

    async def read(*missing: str) -> Any:
        caller = director.caller
        for scope in missing:
            caller = catalogue.without(caller, scope)
        data = await director.data(query, caller=caller, app=application, api=api)
        return data["application"]["apiDefinition"]["spec"]["fetchRequest"]

    assert await read() == {
        "url": "http://10.0.0.1/", "auth": {"credential": {"password": "planted-secret-1"}}
    }  # fmt: skip
    assert await read("fetch-request.auth:read") == {"url": "http://10.0.0.1/", "auth": None}
    assert await read("api_spec.fetch_request:read") is None


async def test_a_source_that_demands_our_certificate_sees_it_and_no_other_source_does(tmp_path: Path) -> None:
    chosen, demanding = mutual_tls(tmp_path)
    certified = StoredAuth({"accessStrategy": "sap:cmp-mtls:v1", "credential": CREDENTIAL})
    async with (
        Door(DoorSettings(allowed_networks=(ip_network("127.0.0.1/32"),), **chosen)) as door,
        receiving(always(answer(200, b"data")), tls=demanding) as source,
    ):
        wanted = [Source(source.url(), auth=auth) for auth in (certified, None, StoredAuth({"accessStrategy": "open"}))]
        outcomes = await fetch_all(door, wanted)

    failed = Fetched(message=f"{STATUS}: The address could not be reached")
    assert outcomes == [Fetched(data="data"), failed, failed]
    [call] = source.calls
    assert "authorization" not in call.headers


async def test_a_source_whose_host_was_not_named_never_sees_our_certificate(tmp_path: Path) -> None:
    chosen, demanding = mutual_tls(tmp_path)
    chosen["client_certificate_hosts"] = ("other.example",)
    async with (
        Door(DoorSettings(allowed_networks=(ip_network("127.0.0.1/32"),), **chosen)) as door,
        receiving(tls=demanding) as source,
    ):
        [outcome] = await fetch_all(
            door, [Source(source.url(), auth=StoredAuth({"accessStrategy": "sap:cmp-mtls:v1"}))]
        )

    rule = "its host is none of the setting outbound.client_certificate_hosts"
    assert outcome == Fetched(message=f"{STATUS}: The request cannot be sent: {rule}")
    assert source.calls == []


async def test_fetches_run_four_at_a_time_and_keep_their_order(door: Door) -> None:
    async def behave(call: Call) -> bytes:
        await asyncio.sleep(0.05)
        return answer(200, call.path.encode())

    async with receiving(behave) as source:
        outcomes = await fetch_all(door, [Source(source.url(f"/{number}")) for number in range(12)])

        assert source.most_at_once == 4
    assert outcomes == [Fetched(data=f"/{number}") for number in range(12)]


async def test_all_fetches_of_one_mutation_share_one_budget(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_request, "BUDGET", timedelta(milliseconds=300))
    async with receiving(hangs) as source:
        outcomes = await asyncio.wait_for(fetch_all(door, [Source(source.url())] * 9), timeout=5)

    assert {outcome.message for outcome in outcomes} == {
        "While fetching Spec: the time for all fetches of one request was used up"
    }
    assert {outcome.condition for outcome in outcomes} == {"FAILED"}


async def test_a_source_that_hangs_is_a_status(director: Any) -> None:
    loopback = (ip_network("127.0.0.1/32"),)
    async with (
        receiving(hangs) as source,
        Door(DoorSettings(allowed_networks=loopback, total_timeout=timedelta(seconds=0.3))) as impatient,
    ):
        outcomes = await fetch_all(impatient, [Source(source.url())])

    assert outcomes == [Fetched(message=f"{STATUS}: The receiver did not finish its answer in time")]


async def test_no_transaction_is_open_while_a_source_is_fetched(director: Any) -> None:
    open_ones: list[int] = []

    async def behave(_: Call) -> bytes:
        row = await director.database.read(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND state LIKE 'idle in transaction%'",
            [],
        )
        open_ones.append(row[0])
        return answer(200, b"x")

    async with receiving(behave) as source:
        await fetched(director, url=source.url())

    assert open_ones == [0]
