"""From a stored Auth to what a call needs."""

from datetime import timedelta
from typing import Any

import orjson
import pytest

from compass.director.auth import StoredAuth
from compass.director.sign_in import AccessTokens, SignIn, SignInFailed, sign_in
from compass.outbound.door import Door, Request, Response
from compass.outbound.errors import OutboundTimedOut
from tests.delivery.receiver import Call, answer, receiving

BASIC = {"__typename": "BasicCredentialData", "username": "u", "password": "p"}
CLIENT = {"__typename": "OAuthCredentialData", "clientId": "c d", "clientSecret": "s:1", "url": "http://127.0.0.1/t"}


class TokenEndpoint:
    """Answers each request with the next of its answers, the last for good."""

    def __init__(self, *answers: tuple[int, Any]) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []

    async def send(
        self,
        request: Request,
        *,
        total_timeout: timedelta | None = None,  # noqa: ARG002  # the door's
        max_body_bytes: int | None = None,  # noqa: ARG002  # the door's
    ) -> Response:
        self.requests.append(request)
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(body, Exception):
            raise body
        return Response(status, {}, body if isinstance(body, bytes) else orjson.dumps(body), timedelta())


def stored(**how: Any) -> StoredAuth:
    return StoredAuth({"credential": None, "accessStrategy": None, "requestAuth": None, **how})


def test_headers_parameters_and_basic_credentials_are_ready_at_once() -> None:
    found = sign_in(
        stored(credential=BASIC, additionalHeaders={"X-A": ["1", "2"]}, additionalQueryParams={"k": ["a b", "c"]})
    )

    assert found.headers == {"X-A": "1, 2", "Authorization": "Basic dTpw"}
    assert found.url("https://a.example/x?y=1") == "https://a.example/x?y=1&k=a+b&k=c"
    assert sign_in(None) == SignIn()
    assert sign_in(stored(credential=BASIC, accessStrategy="open")) == SignIn()
    assert "dTpw" not in repr(found)


def test_our_certificate_is_shown_where_the_access_strategy_says_so_and_nothing_else_is() -> None:
    found = sign_in(stored(credential=BASIC, accessStrategy="sap:cmp-mtls:v1", additionalHeaders={"X-A": ["1"]}))

    assert found == SignIn({"X-A": "1"}, shows_certificate=True)
    assert not sign_in(stored(credential=BASIC)).shows_certificate
    assert not sign_in(stored(credential=CLIENT)).shows_certificate


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"accessStrategy": "other"}, "access strategy other is not supported"),
        ({"requestAuth": {"csrf": {"tokenEndpointURL": "x"}}}, "CSRF"),
        ({"credential": {"__typename": "CertificateOAuthCredentialData"}}, "certificate"),
    ],
)
def test_what_cannot_be_done_is_refused_rather_than_left_out(how: dict[str, Any], why: str) -> None:
    with pytest.raises(SignInFailed, match=why):
        sign_in(stored(**how))


async def test_a_token_is_fetched_once_and_again_before_it_ends_and_after_it_was_refused() -> None:
    now = 0.0
    endpoint = TokenEndpoint(
        (200, {"access_token": "one", "expires_in": 100}),
        (200, {"access_token": "two"}),
        (200, {"access_token": "three"}),
    )
    tokens = AccessTokens(endpoint, clock=lambda: now)

    assert await tokens.headers(CLIENT) == {"Authorization": "Bearer one"}
    now = 79
    assert await tokens.headers(CLIENT) == {"Authorization": "Bearer one"}
    now = 81
    assert await tokens.headers(CLIENT) == {"Authorization": "Bearer two"}
    tokens.forget(CLIENT)
    assert await tokens.headers(CLIENT) == {"Authorization": "Bearer three"}
    await tokens.headers({**CLIENT, "clientSecret": "changed"})

    assert len(endpoint.requests) == 4
    sent = endpoint.requests[0]
    assert (sent.method, sent.body) == ("POST", b"grant_type=client_credentials")
    assert sent.headers["Authorization"] == "Basic YytkOnMlM0Ex"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ((401, {}), "the token endpoint answered with status code 401"),
        ((200, b"no json"), "gave no access token"),
        ((200, {"access_token": "a\r\nX-Evil: 1"}), "gave no access token"),
        ((200, []), "gave no access token"),
        ((200, OutboundTimedOut()), "did not finish its answer in time"),
    ],
)
async def test_a_token_endpoint_that_fails_is_named(given: tuple[int, Any], why: str) -> None:
    with pytest.raises(SignInFailed, match=why):
        await AccessTokens(TokenEndpoint(given)).headers(CLIENT)


async def test_a_token_endpoint_inside_the_network_is_not_called(door: Door) -> None:
    calls: list[Call] = []

    async def takes(call: Call) -> bytes:
        calls.append(call)
        return answer(200, b'{"access_token": "t"}')

    async with receiving(takes) as receiver:
        assert await AccessTokens(door).headers({**CLIENT, "url": receiver.url()}) == {"Authorization": "Bearer t"}
        with pytest.raises(SignInFailed, match="the token endpoint cannot be used"):
            await AccessTokens(door).headers({**CLIENT, "url": f"http://127.0.0.2:{receiver.port}/"})

    assert len(calls) == 1
