"""Single sign-on: people who come with a token of an OpenID provider that the operator trusts.

A token is believed when it is signed by a key that its provider publishes, with an asymmetric algorithm, for this
plane, in its time. Its groups say what the person may do, and in which tenants. Whatever is wrong with it, the
answer is the same, nothing is fetched because of it but keys from the provider itself, and nothing of it is logged.
Source: OpenID Connect Core 1.0 §3.1.3.7, RFC 8725, RFC 8705 §3.
"""

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError

from compass.access.caller import Consumer
from compass.access.provider import ALGORITHMS, Provider
from compass.access.scopes import BEYOND_A_TENANT, BY_CONSUMER, ROLES
from compass.access.strict_json import NotStrict, Unverified, unverified
from compass.access.tokens import NotBound, bound_to
from compass.errors import Unauthorized
from compass.outbound.door import Door
from compass.settings import OidcSettings, SettingRefused

_TYPES: Final = frozenset({"JWT", "AT+JWT", "APPLICATION/AT+JWT"})
"""Of tokens that say what they are: not those of the same provider for logging out or for events. RFC 8725 §3.11."""
_LONGEST_USER: Final = 256
_MOST_GROUPS: Final = 1000
_EVERY_TENANT: Final = "*"
_GENEROUS_SECONDS: Final = 300.0
"""The most that `oidc.leeway` can be."""
_GRANTABLE: Final = BY_CONSUMER[Consumer.STATIC_USER]


@dataclass(frozen=True)
class Person:
    """Somebody whom a provider vouches for."""

    id: str
    """`<issuer>#<user>`: nobody of one provider is taken for somebody of another, or of the plane's own."""
    issuer: str
    scopes: frozenset[str]
    tenants: frozenset[str] | None
    """The external ids of the tenants where the person may work; None for all."""
    groups: tuple[str, ...] = ()
    """Those that the provider told."""

    def may_work_in(self, tenant: str) -> bool:
        """Whether the tenant of that external id is among them."""
        return self.tenants is None or tenant in self.tenants


class SignOn:
    """The providers of one process. Run it as a task."""

    def __init__(self, settings: OidcSettings, door: Door, *, sources: Mapping[str, str] | None = None) -> None:
        """Raises SettingRefused for a scope that nobody has; `sources` says where a setting came from."""
        self._settings = settings
        self._providers = {issuer: Provider(issuer, door, settings) for issuer in settings.issuers}
        source = (sources or {}).get("oidc.scopes", "default")
        self._scopes = {group: _scopes(group, given, source) for group, given in settings.group_scopes().items()}
        self._tenants = {group: frozenset(given) for group, given in settings.group_tenants().items()}

    async def run(self) -> None:
        """Keep the keys of all providers fresh until cancelled."""
        async with asyncio.TaskGroup() as group:
            for provider in self._providers.values():
                group.create_task(provider.run())
            await asyncio.get_running_loop().create_future()

    def concerns(self, text: str) -> bool:
        """Whether the token says that it is of one of these providers, and so is to be judged here."""
        try:
            return self._provider(unverified(text)) is not None
        except NotStrict:
            return False

    async def person(self, text: str, certificate: str) -> Person:
        """Whom the token speaks for. Raises Unauthorized, the same for every reason, and ProviderAway.

        `certificate` is the fingerprint of the client's certificate, or empty: a token that is bound to one is good
        with that one only.
        """
        try:
            token, provider = await self._signed(text)
            return self._told(token.unsafe_claims, provider.issuer, certificate)
        except (NotStrict, NotBound, _Refused):
            raise Unauthorized(reason="invalid bearer token") from None

    def provider(self, issuer: str) -> Provider:
        """One of the providers of the settings."""
        return self._providers[issuer]

    async def unsafe_claims(self, text: str) -> Mapping[str, Any]:
        """What a provider signed and whose time is right; whom it is for is the caller's to judge.

        Raises Unauthorized, the same for every reason, and ProviderAway.
        """
        try:
            token, _ = await self._signed(text)
            _check_time(token.unsafe_claims, self._settings.leeway.total_seconds())
        except (NotStrict, _Refused):
            raise Unauthorized(reason="invalid token") from None
        return token.unsafe_claims

    def _provider(self, token: Unverified) -> Provider | None:
        issuer = token.unsafe_claims.get("iss")
        return self._providers.get(issuer) if isinstance(issuer, str) else None

    async def _signed(self, text: str) -> tuple[Unverified, Provider]:
        """A token that one of the providers signed, and which. Raises NotStrict, _Refused, ProviderAway."""
        token = unverified(text)
        provider = self._provider(token)
        if provider is None:
            raise _Refused
        await _verify(text, token, provider)
        return token, provider

    def _told(self, claims: Mapping[str, Any], issuer: str, certificate: str) -> Person:
        """The person in verified claims."""
        _check_time(claims, self._settings.leeway.total_seconds())
        if self._settings.audience not in _texts(claims.get("aud")):
            raise _Refused
        if bound_to(claims) not in ("", certificate):
            raise _Refused
        user = claims.get(self._settings.user_claim)
        if not isinstance(user, str) or not user.isprintable() or not 1 <= len(user) <= _LONGEST_USER:
            raise _Refused
        groups = _texts(claims.get(self._settings.groups_claim))
        scopes = frozenset[str]().union(*(self._scopes.get(group, frozenset()) for group in groups))
        tenants = self._tenants_of(claims, groups)
        if tenants is not None:
            scopes -= BEYOND_A_TENANT
        return Person(f"{issuer}#{user}", issuer, scopes, tenants, tuple(groups))

    def _tenants_of(self, claims: Mapping[str, Any], groups: Sequence[str]) -> frozenset[str] | None:
        named = frozenset[str]().union(*(self._tenants.get(group, frozenset()) for group in groups))
        if _EVERY_TENANT in named:
            return None
        claim = self._settings.tenants_claim
        # What a provider says is a tenant's id and nothing more: only the operator's word can mean all of them.
        return named | frozenset(_texts(claims.get(claim)) if claim else ())


class _Refused(Exception):
    """The token is not believed. Nobody is told why."""


async def _verify(text: str, token: Unverified, provider: Provider) -> None:
    header = token.unsafe_header
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS or not isinstance(kid, str | None):
        raise _Refused
    if not isinstance(kind, str) or kind.upper() not in _TYPES or "crit" in header or "b64" in header:
        raise _Refused
    # Before a key is asked for: a token whose time is over costs the provider nothing.
    _check_time(token.unsafe_claims, _GENEROUS_SECONDS)
    key = await provider.key(kid, algorithm)
    if key is None:
        raise _Refused
    # Not all members of the header have to be known to the library: nothing is taken from any but the three above.
    registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    registry.max_header_length = registry.max_payload_length
    try:
        jws.deserialize_compact(text, key.public, registry=registry)
    except (JoseError, ValueError, TypeError):
        raise _Refused from None


def _check_time(claims: Mapping[str, Any], leeway_seconds: float) -> None:
    """Raises _Refused for a token whose time is over, has not come, or is not said. Source: RFC 7519 §4.1.4-6."""
    now = time.time()
    moments = {name: _moment(claims[name]) for name in ("exp", "nbf", "iat") if name in claims}
    if "exp" not in moments or moments["exp"] <= now - leeway_seconds:
        raise _Refused
    if max(moments.get("nbf", now), moments.get("iat", now)) > now + leeway_seconds:
        raise _Refused


def _moment(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Refused
    try:
        moment = float(value)
    except OverflowError:
        raise _Refused from None
    if not math.isfinite(moment):
        raise _Refused
    return moment


def _texts(value: object) -> Sequence[str]:
    """A claim that is one text or a list of them. Raises _Refused for anything else that is there."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and len(value) <= _MOST_GROUPS and all(isinstance(one, str) for one in value):
        return value
    raise _Refused


def _scopes(group: str, given: Sequence[str], source: str) -> frozenset[str]:
    found: set[str] = set()
    for name in given:
        if name not in ROLES and name not in _GRANTABLE:
            reason = f"{name!r}, for {group!r}, is no scope that a person can have, nor one of {', '.join(ROLES)}"
            raise SettingRefused(setting="oidc.scopes", source=source, reason=reason)
        found |= ROLES.get(name, frozenset({name}))
    return frozenset(found)
