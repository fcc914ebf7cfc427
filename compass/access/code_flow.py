"""Signing in at a provider with a browser, and out again: the authorization code flow with PKCE, state and nonce.

Who begins keeps what `begin` gave and shows it again with the answer; each is good once. Nothing of the answer is
believed before the provider, asked directly, has given a token for it that it signed for this very sign-in.
A refresh token, where the provider gives one, gets the same person a new token in place of one that ends. Of whoever
leaves, the tokens are revoked, and the browser is sent to where the provider ends its own session, as far as it offers
either.
Source: OpenID Connect Core 1.0 §3.1 and §12, OpenID Connect RP-Initiated Logout 1.0 §2, RFC 6749 §6, RFC 7009, RFC
7636, RFC 9207, RFC 9700 §2.1 and §4.
"""

import asyncio
import base64
import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from compass.access.provider import ProviderAway
from compass.access.sign_on import Person, SignOn
from compass.access.strict_json import NotStrict, mapping
from compass.errors import Code, CompassError, Unauthorized
from compass.outbound.door import Door, Request
from compass.outbound.errors import OutboundError
from compass.secret import Secret
from compass.settings import OidcSettings

_log = logging.getLogger(__name__)

WITHIN: Final = timedelta(seconds=10)
"""For the provider to exchange a code; a person waits."""
REVOKED_WITHIN: Final = timedelta(seconds=3)
"""For the provider to revoke a token; whoever leaves is signed out here already."""
_LARGEST_ANSWER: Final = 128 * 1024
_LONGEST_CODE: Final = 4096
_LONGEST_REFRESH_TOKEN: Final = 16 * 1024
_LONGEST_HINT: Final = 4096
"""Of an ID token, to be shown in an address; many a server takes 8 KiB of one and no more."""
_DENIALS: Final = frozenset({"access_denied", "login_required", "interaction_required", "consent_required"})
"""Errors that are a person's own doing. Source: RFC 6749 §4.1.2.1, OpenID Connect Core 1.0 §3.1.2.6."""

_OVER: Final = "the provider does not say any more that it is you; sign in again"


class SignInRefused(CompassError):
    """The sign-in at the provider did not lead to anybody; `why` says what a person may do about it."""

    code = Code.UNAUTHORIZED
    message = "you were not signed in: {why}"


class SignInAway(CompassError):
    """The provider could not be asked, or its answer was none."""

    code = Code.OPERATION_TIMEOUT
    message = "the identity provider could not be asked: {why}; try again in a moment"
    retryable = True


@dataclass(frozen=True)
class Begun:
    """A sign-in under way. Nobody but the browser that began it may go on with it."""

    url: str = field(repr=False)
    """Where the person goes."""
    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)


@dataclass(frozen=True)
class Signed:
    """Somebody who signed in."""

    token: str = field(repr=False)
    """With which the plane is asked as this person."""
    seconds_left: float
    """Of the token's life."""
    person: Person
    subject: str
    """The `sub` of its ID token: who it was at the provider, whatever else about the person changes."""
    nonce: str = field(repr=False)
    """Of the sign-in that it goes back to."""
    id_token: Secret | None
    """The last that the provider gave: by it it knows who leaves."""
    access_token: Secret | None
    """The last that the provider gave, which may be one that only it can read; to be revoked."""
    refresh_token: Secret | None = None
    """None where the provider gives none: then it ends with the token."""

    @property
    def is_renewable(self) -> bool:
        """Whether `renew` may be asked for a token in place of this one."""
        return self.refresh_token is not None


class CodeFlow:
    """Signing in at the first provider of the settings."""

    def __init__(self, settings: OidcSettings, door: Door, sign_on: SignOn, *, redirect_uri: str) -> None:
        """The settings have a `client_id`."""
        self._settings = settings
        self._door = door
        self._sign_on = sign_on
        self._redirect_uri = redirect_uri
        self._issuer = settings.issuers[0]
        self._client = settings.client_id or ""

    @property
    def name(self) -> str:
        """Of the provider, as people know it: its host."""
        return urlsplit(self._issuer).netloc

    async def begin(self) -> Begun:
        """Everything for one sign-in. Raises ProviderAway, SignInAway."""
        metadata = await self._sign_on.provider(self._issuer).metadata()
        methods = metadata.get("code_challenge_methods_supported", ["S256"])
        if not isinstance(methods, list) or "S256" not in methods:
            raise SignInAway(why="it does not do PKCE with S256")
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        asked = {
            "response_type": "code",
            "client_id": self._client,
            "redirect_uri": self._redirect_uri,
            "scope": " ".join(self._settings.request_scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge(verifier),
            "code_challenge_method": "S256",
        }
        if "offline_access" in self._settings.request_scopes:
            # Without it the provider has to ignore that scope. Source: OpenID Connect Core 1.0 §11.
            asked["prompt"] = "consent"
        address = _endpoint(metadata, "authorization_endpoint")
        joint = "&" if "?" in address else "?"
        return Begun(f"{address}{joint}{urlencode(asked)}", state, nonce, verifier)

    async def finish(self, begun: Begun, answer: Mapping[str, str]) -> Signed:
        """Whom the provider's answer, as the browser brought it, speaks for.

        Raises SignInRefused, SignInAway, ProviderAway.
        """
        metadata = await self._sign_on.provider(self._issuer).metadata()
        code = self._code(begun, answer, metadata)
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": begun.verifier,
        }
        given = await self._given(form, metadata, refused="the code; it may be used or too old; begin anew")
        if not isinstance(given.get("id_token"), str):
            raise SignInRefused(why="the provider sent no id_token; the client there must be one of OpenID Connect")
        claims = await self._meant_for_us(given["id_token"])
        said = claims.get("nonce")
        if not isinstance(said, str) or not hmac.compare_digest(said.encode(), begun.nonce.encode()):
            raise SignInRefused(why="what the provider sent belongs to another sign-in; begin anew")
        return await self._signed(given, claims.get("sub"), begun.nonce, None)

    async def renew(self, signed: Signed) -> Signed:
        """The same person with a new token, for the refresh token that came with the last one.

        That one may be of no use afterwards: whoever asks, asks once at a time, and keeps what comes.
        Raises SignInRefused when the sign-in is over. Raises SignInAway and ProviderAway when nobody knows: it may be
        tried again. Source: RFC 6749 §6, OpenID Connect Core 1.0 §12.2.
        """
        if signed.refresh_token is None:
            raise SignInRefused(why=_OVER)
        metadata = await self._sign_on.provider(self._issuer).metadata()
        form = {"grant_type": "refresh_token", "refresh_token": signed.refresh_token.reveal()}
        given = await self._given(form, metadata, refused="to go on; sign in again")
        if "id_token" in given:
            claims = await self._meant_for_us(given["id_token"])
            # It need not say it again, and may not say another one.
            if claims.get("sub") != signed.subject or claims.get("nonce", signed.nonce) != signed.nonce:
                raise SignInRefused(why=_OVER)
        renewed = await self._signed(given, signed.subject, signed.nonce, signed)
        if renewed.person.id != signed.person.id:
            raise SignInRefused(why=_OVER)
        return renewed

    async def leave(self, signed: Signed) -> str | None:
        """Have the tokens of a sign-in revoked, and say where the browser ends the provider's own session.

        None when the provider has no such place, or the settings do not want it. Whatever the provider does or fails to
        do, it takes seconds, raises nothing and is logged without the tokens.
        """
        try:
            metadata = await self._sign_on.provider(self._issuer).metadata()
        except ProviderAway:
            _log.warning("%s left, and the provider could not be told", signed.person.id)
            return None
        await self._revoke(signed, metadata)
        if not self._settings.end_session or "end_session_endpoint" not in metadata:
            return None
        try:
            address = _endpoint(metadata, "end_session_endpoint")
        except SignInAway as unusable:
            _log.warning("%s left only here: %s", signed.person.id, unusable.facts["why"])
            return None
        # The address that is registered already for coming back from it.
        asked = {"client_id": self._client, "post_logout_redirect_uri": self._redirect_uri}
        if signed.id_token is not None and len(signed.id_token.reveal()) <= _LONGEST_HINT:
            asked["id_token_hint"] = signed.id_token.reveal()
        return f"{address}{'&' if '?' in address else '?'}{urlencode(asked)}"

    async def _revoke(self, signed: Signed, metadata: Mapping[str, Any]) -> None:
        """Source: RFC 7009 §2.1; with the refresh token goes what it was exchanged for, at most providers."""
        if "revocation_endpoint" not in metadata:
            return
        tokens = [("refresh_token", signed.refresh_token.reveal())] if signed.refresh_token is not None else []
        tokens += [("access_token", signed.access_token.reveal())] if signed.access_token is not None else []

        async def revoke(kind: str, token: str) -> None:
            try:
                request = self._request("revocation_endpoint", {"token": token, "token_type_hint": kind}, metadata)
                response = await self._door.send(request, total_timeout=REVOKED_WITHIN, max_body_bytes=_LARGEST_ANSWER)
                why = None if response.status == HTTPStatus.OK else f"it answered with status code {response.status}"
            except OutboundError as failure:
                why = failure.reason
            except SignInAway as unusable:
                why = unusable.facts["why"]
            if why is not None:
                _log.warning("the %s of %s was not revoked: %s", kind.replace("_", " "), signed.person.id, why)

        await asyncio.gather(*(revoke(kind, token) for kind, token in tokens))

    def _code(self, begun: Begun, answer: Mapping[str, str], metadata: Mapping[str, Any]) -> str:
        """The code in an answer that belongs to this sign-in and comes from this provider."""
        if not hmac.compare_digest(answer.get("state", "").encode(), begun.state.encode()):
            raise SignInRefused(why="the answer belongs to another sign-in; begin anew")
        # Another provider could have sent the browser here with a code of its own. Source: RFC 9207 §2.4.
        names_itself = metadata.get("authorization_response_iss_parameter_supported") is True
        if answer.get("iss", "" if names_itself else self._issuer) != self._issuer:
            raise SignInRefused(why="the answer does not come from the provider that was asked")
        if error := answer.get("error"):
            why = "the provider says that it was cancelled" if error in _DENIALS else "the provider refused it"
            raise SignInRefused(why=f"{why} ({error})" if re.fullmatch(r"[a-z_]{1,40}", error) else why)
        code = answer.get("code", "")
        if not 1 <= len(code) <= _LONGEST_CODE:
            raise SignInRefused(why="the answer has no code; begin anew")
        return code

    async def _given(self, asked: Mapping[str, str], metadata: Mapping[str, Any], *, refused: str) -> Mapping[str, Any]:
        """The tokens for what is asked; `refused` says what it is that the provider does not accept."""
        request = self._request("token_endpoint", asked, metadata)
        try:
            response = await self._door.send(request, total_timeout=WITHIN, max_body_bytes=_LARGEST_ANSWER)
        except OutboundError as failure:
            raise SignInAway(why=failure.reason) from None
        if response.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise SignInRefused(why=f"the provider does not accept {refused}")
        if response.status != HTTPStatus.OK:
            raise SignInAway(why=f"it answered with status code {response.status}")
        try:
            return mapping(response.body)
        except NotStrict:
            raise SignInAway(why="it answered with something that is no JSON object") from None

    def _request(self, endpoint: str, asked: Mapping[str, str], metadata: Mapping[str, Any]) -> Request:
        """A form for one of the provider's endpoints, with which the plane shows who it is. Raises SignInAway."""
        form = {**asked, "client_id": self._client}
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        secret = self._settings.client_secret
        ways = metadata.get(f"{endpoint}_auth_methods_supported", ["client_secret_basic"])
        if secret and isinstance(ways, list) and "client_secret_basic" not in ways:
            form["client_secret"] = secret
        elif secret:
            # Each half is form-encoded first. Source: RFC 6749 §2.3.1.
            pair = f"{quote(self._client, safe='')}:{quote(secret, safe='')}"
            headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return Request("POST", _endpoint(metadata, endpoint), headers, urlencode(form).encode())

    async def _meant_for_us(self, id_token: object) -> Mapping[str, Any]:
        """What an ID token says. Raises SignInRefused. Source: OpenID Connect Core 1.0 §3.1.3.7, steps 2 to 5."""
        try:
            claims = await self._sign_on.unsafe_claims(id_token if isinstance(id_token, str) else "")
        except Unauthorized:
            raise SignInRefused(why="what the provider sent is not signed by it, or its time is over") from None
        audiences = claims.get("aud")
        named = [audiences] if isinstance(audiences, str) else audiences
        party = claims.get("azp", self._client if named == [self._client] else None)
        if claims.get("iss") != self._issuer or not isinstance(named, list):
            raise SignInRefused(why="what the provider sent is of another provider")
        if self._client not in named or party != self._client:
            raise SignInRefused(why="what the provider sent is meant for somebody else, not for this console")
        return claims

    async def _signed(self, given: Mapping[str, Any], subject: object, nonce: str, before: Signed | None) -> Signed:
        """Whoever has the token that the plane itself accepts: the access token where it is one for us, else the ID
        token. What did not come with them is kept of `before`: its refresh token is still good then.
        """
        fresh, told_who, access = (given.get(name) for name in ("refresh_token", "id_token", "access_token"))
        kept, id_token = (before.refresh_token, before.id_token) if before is not None else (None, None)
        if isinstance(fresh, str) and 1 <= len(fresh) <= _LONGEST_REFRESH_TOKEN:
            kept = Secret(fresh)
        if isinstance(told_who, str):
            id_token = Secret(told_who)
        for name in ("access_token", "id_token"):
            text = given.get(name)
            if not isinstance(text, str) or not self._sign_on.concerns(text):
                continue
            try:
                person = await self._sign_on.person(text, "")
                told = await self._sign_on.unsafe_claims(text)
            except Unauthorized:
                continue
            if isinstance(subject, str) and (told.get("iss"), told.get("sub")) == (self._issuer, subject):
                left = float(told["exp"]) - time.time()
                access_token = Secret(access) if isinstance(access, str) else None
                return Signed(text, left, person, subject, nonce, id_token, access_token, kept)
        raise SignInRefused(why="the provider gives no token for this plane; `oidc.audience` must be in its `aud`")


def challenge(verifier: str) -> str:
    """Source: RFC 7636 §4.2."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _endpoint(metadata: Mapping[str, Any], name: str) -> str:
    address = metadata.get(name)
    if not isinstance(address, str) or not re.fullmatch(r"https://[\x21\x24-\x7e]+", address):
        raise SignInAway(why=f"its discovery document names no {name} of https")
    return address
