"""The token endpoint: client credentials become an access token. Source: RFC 6749 §3.2, §4.4, §5.

Over a connection with a client certificate the token is bound to that certificate; one of the plane's own is enough to
get one, without a secret. Source: RFC 8705 §2, §3.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, unquote_plus

import orjson

from compass.access.authenticate import Authenticator
from compass.access.caller import Caller, Consumer, Flow
from compass.access.tokens import LIFE
from compass.api.http import Request, Response
from compass.api.quota import Quotas
from compass.errors import TooManyRequests, Unauthorized

_LARGEST_BODY: Final = 16 * 1024
_UNAUTHORIZED: Final = 401
_WRONG_METHOD: Final = 405


@dataclass(frozen=True)
class Shown:
    """The client certificate of a connection."""

    fingerprint: str = ""
    """Empty: there is none."""
    common_name: str = ""
    """Whom the plane issued it to; empty when another authority did."""
    listed: str = ""
    """By what the list of that other authority knows it. Empty: it has no list."""


def token_endpoint(
    authenticator: Authenticator, quotas: Quotas, shown: Callable[[Request], Shown] = lambda _: Shown()
) -> Callable[[Request], Awaitable[Response]]:
    """A handler for `POST /oauth2/token`, with the client's secret in Basic authorization or in the form.

    `shown` says what certificate a request came with.
    """

    async def answer(request: Request) -> Response:
        if request.method != "POST":
            return _error(405, "invalid_request", "send a POST with a form")
        form = parse_qs((await request.body(_LARGEST_BODY)).decode("utf-8", "replace"), keep_blank_values=True)
        if "grant_type" not in form:
            return _error(400, "invalid_request", "the form must have grant_type=client_credentials")
        if form["grant_type"][-1] != "client_credentials":
            return _error(400, "unsupported_grant_type", "the only grant_type is client_credentials")
        client, secret = _basic(request) or (form.get("client_id", [""])[-1], form.get("client_secret", [""])[-1])
        try:
            quotas.refuse_guessing(request.address)
            request.at_end.append(quotas.admit(_asking(request)))
            if not client.isprintable():
                raise Unauthorized()  # no client is named so, and the database takes no NUL to look it up
            scope, certificate = form.get("scope", [""])[-1], shown(request)
            if certificate.common_name and not secret:
                token, scopes = await authenticator.exchange_certificate(
                    client, certificate.common_name, certificate.fingerprint, scope
                )
            else:
                token, scopes = await authenticator.exchange(client, secret, scope, certificate.fingerprint)
        except TooManyRequests as refusal:
            return _error(429, "temporarily_unavailable", refusal.wire_text(), retry_after=refusal.facts["seconds"])
        except Unauthorized:
            quotas.failed(request.address)
            return _error(401, "invalid_client", "unknown client or wrong secret")
        return Response(
            orjson.dumps(
                {
                    "access_token": token,
                    "token_type": "bearer",
                    "expires_in": int(LIFE.total_seconds()),
                    "scope": " ".join(sorted(scopes)),
                }
            )
        )

    return answer


def _basic(request: Request) -> tuple[str, str] | None:
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        client, _, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return unquote_plus(client), unquote_plus(secret)


def _asking(request: Request) -> Caller:
    """Whoever is at that address: who it is, the secret will tell."""
    return Caller(Consumer.STATIC_USER, "", Flow.ONE_TIME_TOKEN, frozenset(), None, address=request.address)


def _error(status: int, code: str, description: str, *, retry_after: str = "") -> Response:
    headers = {"retry-after": retry_after} if retry_after else {}
    if status == _UNAUTHORIZED:
        headers = {"www-authenticate": 'Basic realm="compass"'}
    elif status == _WRONG_METHOD:
        headers = {"allow": "POST"}
    body = orjson.dumps({"error": code, "error_description": description})
    return Response(body, status=status, headers=headers)
