"""The order API as callers see it: who may call, what they may say, what they get."""

import base64
import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import web

from compass.demo.orders import credential, documents, order
from compass.demo.orders.store import Store

PREFIXES = ("", "/v2")
"""The API answers at both, so that its registered target URL can move from one to the other."""
LARGEST_LIMIT = 200
LIMITS = {str(limit): limit for limit in range(1, LARGEST_LIMIT + 1)}
"""What a caller may write for the number of orders wanted: no sign, no zero in front, no other script's digits."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class OrderApi:
    """The handlers over one store. `base_url` is the address the service is reached at."""

    def __init__(self, store: Store, base_url: str, announced: Callable[[], None]) -> None:
        self._store = store
        self._base_url = base_url
        self._announced = announced

    def add_to(self, app: web.Application) -> None:
        """Add the API, its documents and its token endpoint to the server."""
        for prefix in PREFIXES:
            app.router.add_get(f"{prefix}/orders", self._guarded(self.list_newest))
            app.router.add_post(f"{prefix}/orders", self._guarded(self.place))
            app.router.add_get(f"{prefix}/orders/{{id:[^/]+}}", self._guarded(self.read))
        app.router.add_post("/oauth/token", self.token)
        app.router.add_get("/openapi.json", self.openapi)
        app.router.add_get("/asyncapi.json", self.asyncapi)

    async def list_newest(self, request: web.Request) -> web.Response:
        """The newest orders."""
        limit = request.query.get("limit", "100")
        if limit not in LIMITS:
            return problem(HTTPStatus.BAD_REQUEST, f"limit is a whole number from 1 to {LARGEST_LIMIT}")
        return web.json_response({"orders": await order.newest(self._store, limit=LIMITS[limit])})

    async def place(self, request: web.Request) -> web.Response:
        """Store an order in the name of the caller's credential."""
        try:
            new = order.read_order(json.loads(await request.read()))
        except order.OrderRefused as refusal:
            return problem(HTTPStatus.BAD_REQUEST, str(refusal))
        except (ValueError, RecursionError):
            return problem(HTTPStatus.BAD_REQUEST, "the body is not JSON")
        except web.HTTPRequestEntityTooLarge:
            return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is larger than a mebibyte")
        caller = request["caller"]
        stored = await order.place(self._store, new, by=caller, at_path=request.path, source=self._base_url)
        self._announced()
        return web.json_response(stored, status=HTTPStatus.CREATED)

    async def read(self, request: web.Request) -> web.Response:
        """One order."""
        found = await order.one(self._store, request.match_info["id"])
        return problem(HTTPStatus.NOT_FOUND, "there is no such order") if found is None else web.json_response(found)

    async def token(self, request: web.Request) -> web.Response:
        """Exchange a pair for a bearer. Source: RFC 6749 §4.4, errors §5.2."""
        form = await request.post()
        if form.get("grant_type") != "client_credentials":
            return web.json_response({"error": "unsupported_grant_type"}, status=HTTPStatus.BAD_REQUEST)
        name, secret = _basic(request) or (str(form.get("client_id", "")), str(form.get("client_secret", "")))
        if not await credential.matches(self._store, name, secret):
            return web.json_response({"error": "invalid_client"}, status=HTTPStatus.UNAUTHORIZED, headers=CHALLENGE)
        return web.json_response(
            {
                "access_token": await credential.bearer(self._store, name),
                "token_type": "Bearer",
                "expires_in": int(credential.TOKEN_LIFETIME.total_seconds()),
            },
            headers={"Cache-Control": "no-store"},
        )

    async def openapi(self, _request: web.Request) -> web.Response:
        """The OpenAPI document, for anybody."""
        return web.json_response(documents.openapi(self._base_url))

    async def asyncapi(self, _request: web.Request) -> web.Response:
        """The AsyncAPI document, for anybody."""
        return web.json_response(documents.asyncapi())

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            caller = await self._caller(request)
            if caller is None:
                return problem(HTTPStatus.UNAUTHORIZED, "sign in with Basic or a bearer", headers=CHALLENGE)
            request["caller"] = caller
            return await handler(request)

        return guarded

    async def _caller(self, request: web.Request) -> str | None:
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return await credential.bearer_owner(self._store, value)
        pair = _basic(request)
        return pair[0] if pair and await credential.matches(self._store, *pair) else None


def problem(status: HTTPStatus, detail: str, *, headers: dict[str, str] | None = None) -> web.Response:
    """A refusal as callers read it. Source: RFC 9457."""
    body: dict[str, Any] = {"title": status.phrase, "status": int(status), "detail": detail}
    return web.json_response(body, status=status, content_type="application/problem+json", headers=headers)


def _basic(request: web.Request) -> tuple[str, str] | None:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError:
        return None
    return (name, secret) if colon else None


CHALLENGE = {"WWW-Authenticate": 'Basic realm="orders", Bearer realm="orders"'}
