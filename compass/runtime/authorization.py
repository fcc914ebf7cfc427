"""What a call to an application carries to be let in: Basic, OAuth tokens, tokens against request forgery.

Tokens are kept in memory until they end, one per credentials: a changed configuration never meets an old token.
"""

import asyncio
import base64
import json
import os
import ssl
import tempfile
import time
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from compass.agent.reconcile import Basic, CertificateOAuth, Credentials, Csrf, OAuth, Service
from compass.errors import Code, CompassError

_MARGIN_SECONDS: Final = 10.0
"""A token is not used in the last seconds of its life: it has to arrive before it ends."""
_LIFE_SECONDS: Final = 300.0
"""Of a token whose endpoint does not say how long it lives."""
_KEPT: Final = 1000
_MAX_ANSWER_BYTES: Final = 64 * 1024
_SAFE_METHODS: Final = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
_CSRF_HEADER: Final = "X-CSRF-Token"


class AuthorizationFailed(CompassError):
    """The application's own token endpoint gave no token. The call was not made."""

    code = Code.UNAUTHORIZED
    message = "no token for the application: {why}"
    retryable = True


@dataclass(frozen=True)
class _Token:
    headers: dict[str, str] = field(repr=False)
    ends: float
    """On the monotonic clock, in seconds."""


class Authorization:
    """The tokens of all applications of one runtime."""

    def __init__(self, session: aiohttp.ClientSession, *, trust: Path | None) -> None:
        self._session = session
        self._trust = trust
        self._tokens: dict[str, _Token] = {}
        self._asking: dict[str, asyncio.Lock] = {}

    async def close(self) -> None:
        """Forget every token."""
        self._tokens.clear()

    async def headers(self, service: Service, method: str) -> dict[str, str]:
        """What to add to a call. Raises AuthorizationFailed, and TimeoutError, aiohttp.ClientError, OSError."""
        headers = await self._credentials(service.credentials)
        if service.csrf is not None and method.upper() not in _SAFE_METHODS:
            headers |= await self._csrf(service, service.csrf)
        return headers

    def renewed(self, service: Service, *, status: int, headers: CIMultiDictProxy[str]) -> bool:
        """Forget the token an application refused. True when the call is worth one more try with another."""
        if status == HTTPStatus.UNAUTHORIZED and isinstance(service.credentials, OAuth | CertificateOAuth):
            return self._tokens.pop(_key(service.credentials), None) is not None
        if status == HTTPStatus.FORBIDDEN and service.csrf is not None:
            wanted = headers.get(_CSRF_HEADER, "").lower() == "required"
            return wanted and self._tokens.pop(_key(service.csrf, service.credentials), None) is not None
        return False

    async def _credentials(self, credentials: Credentials) -> dict[str, str]:
        match credentials:
            case None:
                return {}
            case Basic(username, password):
                return {"Authorization": _basic(username, password)}
        return await self._kept(_key(credentials), credentials)

    async def _kept(self, key: str, credentials: OAuth | CertificateOAuth) -> dict[str, str]:
        async with self._asking.setdefault(key, asyncio.Lock()):
            token = self._tokens.get(key)
            if token is None or token.ends <= time.monotonic():
                token = await self._asked(credentials)
                self._keep(key, token)
            return dict(token.headers)

    def _keep(self, key: str, token: _Token) -> None:
        if len(self._tokens) >= _KEPT:
            self._tokens.clear()
            self._asking = {other: lock for other, lock in self._asking.items() if lock.locked()}
        self._tokens[key] = token

    async def _asked(self, credentials: OAuth | CertificateOAuth) -> _Token:
        """One token by client credentials. Source: RFC 6749 §4.4, RFC 8705 §2."""
        form = {"grant_type": "client_credentials"}
        headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
        context: ssl.SSLContext | bool = True
        match credentials:
            case OAuth(client_id, client_secret):
                headers["Authorization"] = _basic(client_id, client_secret)
            case CertificateOAuth(client_id, certificate):
                form["client_id"] = client_id
                context = await asyncio.to_thread(self._presenting, certificate)
        asked = time.monotonic()
        async with self._session.post(
            credentials.url, data=form, headers=headers, ssl=context, allow_redirects=False
        ) as answer:
            if answer.status != HTTPStatus.OK:
                raise AuthorizationFailed(why=f"the token endpoint answered {answer.status}")
            told = await _json(answer)
        token, life = told.get("access_token"), told.get("expires_in")
        if not isinstance(token, str) or not token or not token.isprintable():
            raise AuthorizationFailed(why="the token endpoint's answer holds no token")
        seconds = float(life) if isinstance(life, int | float) and life > 0 else _LIFE_SECONDS
        return _Token({"Authorization": f"Bearer {token}"}, asked + max(seconds - _MARGIN_SECONDS, seconds / 2))

    def _presenting(self, certificate: str) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._trust is not None:
            context.load_verify_locations(self._trust)
        # The ssl module takes a client certificate from a file only.
        descriptor, path = tempfile.mkstemp()
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(certificate)
            context.load_cert_chain(path)
        except (OSError, UnicodeError):
            raise AuthorizationFailed(why="the client certificate and its key cannot be read") from None
        finally:
            Path(path).unlink()
        return context

    async def _csrf(self, service: Service, csrf: Csrf) -> dict[str, str]:
        key = _key(csrf, service.credentials)
        async with self._asking.setdefault(key, asyncio.Lock()):
            token = self._tokens.get(key)
            if token is None or token.ends <= time.monotonic():
                token = await self._csrf_asked(service, csrf)
                self._keep(key, token)
            return dict(token.headers)

    async def _csrf_asked(self, service: Service, csrf: Csrf) -> _Token:
        headers = CIMultiDict(csrf.headers)
        headers.update(await self._credentials(csrf.credentials or service.credentials))
        headers[_CSRF_HEADER] = "fetch"
        url = URL(csrf.url)
        asked = url.update_query([*url.query.items(), *csrf.query]) if csrf.query else url
        async with self._session.get(asked, headers=headers, allow_redirects=False) as answer:
            token = answer.headers.get(_CSRF_HEADER)
            cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in answer.cookies.items())
        if not token or token.lower() == "required":
            raise AuthorizationFailed(why=f"the forgery token endpoint answered {answer.status} without a token")
        found = {_CSRF_HEADER: token} | ({"Cookie": cookies} if cookies else {})
        return _Token(found, time.monotonic() + _LIFE_SECONDS)


async def _json(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    try:
        body = await answer.content.readexactly(_MAX_ANSWER_BYTES + 1)
    except asyncio.IncompleteReadError as whole:
        body = whole.partial
    try:
        told = json.loads(body)
    except ValueError:
        told = None
    if len(body) > _MAX_ANSWER_BYTES or not isinstance(told, dict):
        raise AuthorizationFailed(why="the token endpoint's answer cannot be read")
    return told


def _basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def _key(*parts: Credentials | Csrf) -> str:
    """Equal for equal credentials, and no secret itself."""
    facts = [asdict(part) if part is not None else None for part in parts]
    return sha256(json.dumps([*map(str, map(type, parts)), facts]).encode()).hexdigest()
