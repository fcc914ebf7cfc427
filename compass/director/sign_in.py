"""Signing in at a third party: from a stored Auth to the headers and parameters of a call to a receiver or a source.

What needs no call of its own is ready at once; an OAuth access token is fetched through the outbound door and kept
until shortly before it ends. Source: contract/director.md §8, §16; RFC 6749 §4.4, RFC 7617.
"""

import base64
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

import orjson

from compass.delivery.attempt import Sender
from compass.director.auth import StoredAuth
from compass.errors import Code, CompassError
from compass.outbound.door import Request
from compass.outbound.errors import OutboundError

_LARGEST_TOKEN_BYTES: Final = 64 * 1024
_KEPT: Final = 1000
"""Access tokens in memory, one per client and token endpoint."""
_UNSAID_SECONDS: Final = 60.0
"""How long a token is good of which nobody said so."""
_USED_PART: Final = 0.8
"""Of a token's life; a clock that is behind, or a slow call, must not meet its end."""


class SignInFailed(CompassError):
    """The credentials cannot be turned into what a call needs; `why` says what to change. Nothing was sent."""

    code = Code.INVALID_OPERATION
    message = "Signing in failed: {why}"
    retryable = True


@dataclass(frozen=True)
class SignIn:
    """What a call needs of a stored Auth."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    parameters: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)
    """To be added to the URL's query."""
    client: Mapping[str, Any] | None = field(default=None, repr=False)
    """An OAuth client whose access token is still to be fetched."""
    shows_certificate: bool = False
    """Whether the plane's client certificate is shown."""

    def url(self, url: str) -> str:
        """The URL with the parameters."""
        if not self.parameters:
            return url
        parts = urlsplit(url)
        query = "&".join(filter(None, [parts.query, urlencode(self.parameters, doseq=True)]))
        return parts._replace(query=query).geturl()


def sign_in(stored: StoredAuth | None) -> SignIn:
    """What an Auth adds to a call.

    Raises SignInFailed for what this plane cannot do, rather than to let the call go without it.
    """
    if stored is None:
        return SignIn()
    how = stored.value
    credential, shows_certificate = how.get("credential"), False
    match how.get("accessStrategy"):
        case None | "":
            pass
        case "open":
            credential = None
        case "sap:cmp-mtls:v1":
            credential, shows_certificate = None, True
        case strategy:
            raise SignInFailed(why=f"access strategy {str(strategy)[:100]} is not supported")
    if (how.get("requestAuth") or {}).get("csrf"):
        raise SignInFailed(why="a CSRF token cannot be obtained")
    headers = {name: ", ".join(values) for name, values in (how.get("additionalHeaders") or {}).items()}
    parameters = how.get("additionalQueryParams") or {}
    if not credential:
        return SignIn(headers, parameters, shows_certificate=shows_certificate)
    match credential["__typename"]:
        case "BasicCredentialData":
            headers["Authorization"] = _basic(credential["username"], credential["password"])
            return SignIn(headers, parameters)
        case "OAuthCredentialData":
            return SignIn(headers, parameters, credential)
        case _:
            raise SignInFailed(why="a credential with a certificate is not supported")


def _basic(name: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


class AccessTokens:
    """Fetches access tokens and keeps them while they are good. One per process."""

    def __init__(self, door: Sender, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds that never go back."""
        self._door = door
        self._clock = clock
        self._kept: OrderedDict[bytes, tuple[float, str]] = OrderedDict()

    async def headers(self, client: Mapping[str, Any]) -> Mapping[str, str]:
        """The header that shows an access token of this client. Raises SignInFailed."""
        key = _key(client)
        until, token = self._kept.get(key, (0.0, ""))
        if self._clock() >= until:
            token, good_for = await self._fetch(client)
            self._kept[key] = (self._clock() + good_for, token)
            self._kept.move_to_end(key)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return {"Authorization": f"Bearer {token}"}

    def forget(self, client: Mapping[str, Any]) -> None:
        """Fetch anew from now on: a receiver may have refused what it was shown."""
        self._kept.pop(_key(client), None)

    async def _fetch(self, client: Mapping[str, Any]) -> tuple[str, float]:
        """A token and for how many seconds it is used. Source: RFC 6749 §4.4, encoded as §2.3.1 wants it."""
        headers = {
            "Authorization": _basic(quote_plus(client["clientId"]), quote_plus(client["clientSecret"])),
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        }
        request = Request("POST", client["url"], headers, b"grant_type=client_credentials")
        try:
            response = await self._door.send(request, max_body_bytes=_LARGEST_TOKEN_BYTES)
        except OutboundError as error:
            raise SignInFailed(why=f"the token endpoint cannot be used: {error.reason}") from None
        if response.status != HTTPStatus.OK:
            raise SignInFailed(why=f"the token endpoint answered with status code {response.status}")
        try:
            answer = orjson.loads(response.body)
            token, life = answer["access_token"], answer.get("expires_in")
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            token, life = None, None
        if not isinstance(token, str) or not token or not token.isprintable():
            raise SignInFailed(why="the token endpoint gave no access token")
        is_said = isinstance(life, int | float) and not isinstance(life, bool)
        return token, _USED_PART * (float(life) if is_said else _UNSAID_SECONDS)


def _key(client: Mapping[str, Any]) -> bytes:
    # With the secret: a token got with an old one is not used after it was changed.
    return hashlib.sha256(orjson.dumps([client["url"], client["clientId"], client["clientSecret"]])).digest()
