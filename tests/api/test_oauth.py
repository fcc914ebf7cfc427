"""The token endpoint, on a real database; the network in front is left out."""

import base64
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest

from compass.access import account
from compass.access.authenticate import Authenticator
from compass.access.tokens import AccessTokens, digest
from compass.api.http import BodyTooLarge, Request, Response
from compass.api.oauth import token_endpoint
from compass.api.quota import Quotas
from compass.postgres.pool import Database
from compass.settings import LimitSettings
from compass.vault import Vault

TokenEndpoint = Callable[[Request], Awaitable[Response]]
Ask = Callable[..., Awaitable[Response]]


class NothingRevoked:
    async def is_revoked(self, fingerprint: str) -> bool:  # noqa: ARG002  # no certificate is
        return False


def request(body: bytes, method: str = "POST", **headers: str) -> Request:
    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(method, "/oauth2/token", {}, headers, None, "r", receive)


def basic(client: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{client}:{secret}".encode()).decode()


def form(**fields: str) -> bytes:
    return urlencode({"grant_type": "client_credentials", **fields}).encode()


@pytest.fixture
async def tokens(database: Database, tmp_path: Path) -> AccessTokens:
    async with database.transaction() as tx:
        return await AccessTokens.open(tx, Vault.at(tmp_path / "vault.keys"))


@pytest.fixture
async def endpoint(database: Database, tokens: AccessTokens) -> TokenEndpoint:
    return token_endpoint(Authenticator(database, tokens, NothingRevoked()), Quotas(LimitSettings(), connections=8))


@pytest.fixture
async def secret(database: Database) -> str:
    async with database.transaction() as tx:
        made = await account.first(tx)
    assert made is not None
    return made


@pytest.fixture
async def program(database: Database) -> str:
    """A runtime's client id; its secret is `s3cret:+ä`."""
    async with database.transaction() as tx:
        return str(
            await tx.value(
                """
                WITH t AS (
                    INSERT INTO tenant (external_id, name, type, provider)
                    VALUES ('t', 't', 'account', 't') RETURNING id
                ), r AS (
                    INSERT INTO runtime (tenant_id, name) SELECT id, 'kyma' FROM t RETURNING id, tenant_id
                )
                INSERT INTO system_auth (tenant_id, runtime_id, client_secret_digest)
                SELECT tenant_id, id, %(digest)s FROM r RETURNING id
                """,
                digest=digest("s3cret:+ä"),
            )
        )


async def test_a_secret_in_basic_authorization_or_in_the_form_becomes_a_token(
    endpoint: TokenEndpoint, secret: str, tokens: AccessTokens
) -> None:
    answers = [
        await endpoint(request(form(), authorization=basic("admin", secret))),
        await endpoint(request(form(), authorization=basic("admin", secret).replace("Basic", "bAsIc"))),
        await endpoint(request(form(client_id="admin", client_secret=secret))),
    ]

    for answer in answers:
        body = orjson.loads(answer.body)
        assert answer.status == 200
        assert (body["token_type"], body["expires_in"]) == ("bearer", 3600)
        bearer = tokens.verify(body["access_token"])
        assert (bearer.client, bearer.is_account) == ("admin", True)
        assert body["scope"].split() == sorted(bearer.scopes)
        assert {"application:write", "tenant:write"} < bearer.scopes


async def test_fewer_scopes_are_given_when_fewer_are_asked_for_and_never_more(
    endpoint: TokenEndpoint, secret: str, program: str
) -> None:
    asked = form(scope="application:read ory_internal nothing")

    admin = await endpoint(request(asked, authorization=basic("admin", secret)))
    runtime = await endpoint(
        request(form(scope="application:write runtime:read"), authorization=basic(program, "s3cret%3A%2B%C3%A4"))
    )

    assert orjson.loads(admin.body)["scope"] == "application:read"
    assert orjson.loads(runtime.body)["scope"] == "runtime:read"


async def test_a_programs_secret_is_read_as_a_form_encodes_it(
    endpoint: TokenEndpoint, program: str, tokens: AccessTokens
) -> None:
    by_header = await endpoint(request(form(), authorization=basic(program, "s3cret%3A%2B%C3%A4")))
    by_form = await endpoint(request(form(client_id=program, client_secret="s3cret:+ä")))

    for answer in (by_header, by_form):
        assert answer.status == 200
        bearer = tokens.verify(orjson.loads(answer.body)["access_token"])
        assert (bearer.client, bearer.is_account) == (program, False)


async def test_whoever_cannot_prove_it_is_told_nothing_more(endpoint: TokenEndpoint, secret: str, program: str) -> None:
    answers = [
        await endpoint(request(form(), authorization=basic("admin", "wrong"))),
        await endpoint(request(form(), authorization=basic("nobody", secret))),
        await endpoint(request(form(), authorization=basic(program, secret))),
        await endpoint(request(form(), authorization=basic("admin\0", secret))),
        await endpoint(request(form(), authorization=basic("00000000-0000-0000-0000-000000000000", ""))),
        await endpoint(request(form(), authorization=basic("", ""))),
        await endpoint(request(form(), authorization="Basic %%%")),
        await endpoint(request(form(), authorization="Basic " + base64.b64encode(b"\xff\xfe:x").decode())),
        await endpoint(request(form(), authorization=f"Bearer {secret}")),
        await endpoint(request(form(client_id="admin"))),
        await endpoint(request(form(client_id="admin", client_secret=""))),
        await endpoint(request(b"grant_type=client_credentials&client_id=%00&client_secret=%00")),
        await endpoint(request(b"grant_type=client_credentials&client_id=%ff\xff&client_secret=%ff")),
        await endpoint(request(form())),
    ]

    assert {answer.status for answer in answers} == {401}
    assert {answer.body for answer in answers} == {
        b'{"error":"invalid_client","error_description":"unknown client or wrong secret"}'
    }
    assert {answer.headers["www-authenticate"] for answer in answers} == {'Basic realm="compass"'}


async def test_a_client_without_a_secret_cannot_sign_in_with_an_empty_one(
    endpoint: TokenEndpoint, program: str, database: Database
) -> None:
    async with database.transaction() as tx:
        await tx.run("UPDATE system_auth SET client_secret_digest = NULL")

    answer = await endpoint(request(form(), authorization=basic(program, "")))

    assert answer.status == 401


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"grant_type=password", "unsupported_grant_type"),
        (b"grant_type=", "unsupported_grant_type"),
        (b"", "invalid_request"),
        (b'{"grant_type": "client_credentials"}', "invalid_request"),
        (b"\xff\xfe\x00", "invalid_request"),
    ],
)
async def test_only_client_credentials_in_a_form_are_understood(
    endpoint: TokenEndpoint, secret: str, body: bytes, error: str
) -> None:
    answer = await endpoint(request(body, authorization=basic("admin", secret)))

    assert (answer.status, orjson.loads(answer.body)["error"]) == (400, error)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_only_a_post_is_answered(endpoint: TokenEndpoint, secret: str, method: str) -> None:
    answer = await endpoint(request(form(), method, authorization=basic("admin", secret)))

    assert (answer.status, answer.headers) == (405, {"allow": "POST"})


async def test_a_large_form_is_not_read(endpoint: TokenEndpoint) -> None:
    with pytest.raises(BodyTooLarge):
        await endpoint(request(form(client_id="x" * 17_000)))
