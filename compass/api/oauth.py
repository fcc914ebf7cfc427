"""The token endpoint: client credentials become an access token. Source: RFC 6749 §3.2, §4.4, §5."""

import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import parse_qs, unquote_plus

import orjson

from compass.access.authenticate import Authenticator
from compass.access.tokens import LIFE
from compass.api.http import Request, Response
from compass.errors import Unauthorized

_LARGEST_BODY: Final = 16 * 1024
_UNAUTHORIZED: Final = 401
_WRONG_METHOD: Final = 405


def token_endpoint(authenticator: Authenticator) -> Callable[[Request], Awaitable[Response]]:
    """A handler for `POST /oauth2/token`, with the client's secret in Basic authorization or in the form."""

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
            if not client.isprintable():
                raise Unauthorized()  # no client is named so, and the database takes no NUL to look it up
            token, scopes = await authenticator.exchange(client, secret, form.get("scope", [""])[-1])
        except Unauthorized:
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


def _error(status: int, code: str, description: str) -> Response:
    headers = {}
    if status == _UNAUTHORIZED:
        headers = {"www-authenticate": 'Basic realm="compass"'}
    elif status == _WRONG_METHOD:
        headers = {"allow": "POST"}
    body = orjson.dumps({"error": code, "error_description": description})
    return Response(body, status=status, headers=headers)
