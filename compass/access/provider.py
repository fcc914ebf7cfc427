"""The keys of an OpenID provider: found by discovery, fetched through the one door, kept while the provider is away.

Which provider is asked stands in the settings; nothing in a token leads to a call, but that a key nobody knows lets
the keys be fetched again, and that at most every few seconds however many such tokens come.
Source: OpenID Connect Discovery 1.0 §4, RFC 7517, RFC 8725 §3.10.
"""

import asyncio
import base64
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

from joserfc.jwk import ECKey, RSAKey

from compass.access.strict_json import NotStrict, mapping
from compass.errors import Code, CompassError
from compass.outbound.door import Door, Request
from compass.outbound.errors import OutboundError
from compass.settings import OidcSettings

_log = logging.getLogger(__name__)

ALGORITHMS: Final[Mapping[str, tuple[str, str | None]]] = {
    **{f"{kind}{bits}": ("RSA", None) for kind in ("RS", "PS") for bits in (256, 384, 512)},
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
}
"""All that is accepted, each with the keys it goes with: asymmetric ones, so that a public key is never a secret."""
AGAIN_AFTER_SECONDS: Final = 10.0
"""Between two fetches, whatever asks for them: what comes with an unknown key waits for no more than this."""
_AFTER_FAILURE_SECONDS: Final = 30.0
_WITHIN: Final = timedelta(seconds=5)
_LARGEST_DISCOVERY: Final = 64 * 1024
_LARGEST_KEYS: Final = 256 * 1024
_MOST_KEYS: Final = 64
_RSA_BITS: Final = range(2048, 8193)


class ProviderAway(CompassError):
    """No keys of the provider are known, so its tokens can neither be accepted nor refused."""

    code = Code.OPERATION_TIMEOUT
    message = "the identity provider cannot be reached to check the token; try again in a moment"
    retryable = True


class _Unusable(Exception):
    """The provider's answer is not what it should be; the text says why and holds nothing of the answer."""


@dataclass(frozen=True)
class Key:
    """A public key of a provider."""

    kid: str | None
    algorithm: str | None
    """The only one it may be used with, if the provider says so."""
    kind: str
    curve: str | None
    public: RSAKey | ECKey = field(repr=False)

    def fits(self, algorithm: str) -> bool:
        """Whether a signature of this algorithm may have been made with it."""
        return self.algorithm in (None, algorithm) and ALGORITHMS.get(algorithm) == (self.kind, self.curve)


class Provider:
    """One provider, and what is known of its keys."""

    def __init__(
        self, issuer: str, door: Door, settings: OidcSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock`: seconds that never go back."""
        self.issuer = issuer
        self._door = door
        self._settings = settings
        self._clock = clock
        self._keys: Sequence[Key] = ()
        self._metadata: Mapping[str, Any] = {}
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._fetching = asyncio.Lock()

    async def run(self) -> None:
        """Fetch the keys now and again, until cancelled."""
        while True:
            is_fresh = await self.refresh()
            pause = self._settings.keys_refresh.total_seconds()
            if not is_fresh:
                pause = min(pause, _AFTER_FAILURE_SECONDS)
            await asyncio.sleep(pause * (1 - random.random() / 10))  # noqa: S311  # replicas ask one after the other

    async def key(self, kid: str | None, algorithm: str) -> Key | None:
        """The key that a token names; None when the provider has no such key. Raises ProviderAway.

        A token may name no key where only one fits its algorithm. Source: RFC 7515 §4.1.4.
        """
        found = self._find(kid, algorithm)
        if found is None:
            await self.refresh()
            found = self._find(kid, algorithm)
        if found is None and not self._is_known():
            raise ProviderAway
        return found

    async def metadata(self) -> Mapping[str, Any]:
        """What its discovery document says. Raises ProviderAway."""
        if not self._metadata:
            await self.refresh()
        if not self._metadata:
            raise ProviderAway
        return self._metadata

    async def refresh(self) -> bool:
        """Fetch the keys, unless that was tried a moment ago; whoever comes meanwhile waits for the same answer.

        Whether they are as fresh as that. A failure leaves the keys as they were, and is logged.
        """
        async with self._fetching:
            now = self._clock()
            if self._tried_at is not None and now - self._tried_at < AGAIN_AFTER_SECONDS:
                return self._fetched_at is not None and self._fetched_at >= self._tried_at
            self._tried_at = now
            try:
                self._keys = await self._fetch()
            except (OutboundError, _Unusable) as failure:
                why = failure.reason if isinstance(failure, OutboundError) else str(failure)
                _log.warning("the keys of %s were not fetched: %s", self.issuer, why)
                return False
            self._fetched_at = now
            return True

    def _is_known(self) -> bool:
        kept = self._settings.keys_kept.total_seconds()
        return self._fetched_at is not None and self._clock() - self._fetched_at < kept

    def _find(self, kid: str | None, algorithm: str) -> Key | None:
        if not self._is_known():
            return None
        fitting = [key for key in self._keys if key.fits(algorithm) and kid in (None, key.kid)]
        return fitting[0] if len(fitting) == 1 else None

    async def _fetch(self) -> Sequence[Key]:
        where = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
        found = await self._get(where, _LARGEST_DISCOVERY)
        if found.get("issuer") != self.issuer:
            raise _Unusable("its discovery document is that of another issuer")
        address = found.get("jwks_uri")
        if not isinstance(address, str) or not address.startswith("https://"):
            raise _Unusable("its discovery document names no jwks_uri of https")
        self._metadata = found
        return usable((await self._get(address, _LARGEST_KEYS)).get("keys"))

    async def _get(self, url: str, most: int) -> Mapping[str, Any]:
        response = await self._door.send(
            Request("GET", url, {"Accept": "application/json"}), total_timeout=_WITHIN, max_body_bytes=most
        )
        if response.status != HTTPStatus.OK:
            raise _Unusable(f"it answered with status code {response.status}")
        try:
            return mapping(response.body)
        except NotStrict:
            raise _Unusable("it answered with something that is no JSON object") from None


def usable(listed: object) -> Sequence[Key]:
    """The keys of a JWKS that may verify tokens; the others are left out. Raises _Unusable when it is no list."""
    if not isinstance(listed, list) or len(listed) > _MOST_KEYS:
        raise _Unusable("its keys are no list, or too many")
    return [key for key in map(_key, listed) if key is not None]


def _key(described: object) -> Key | None:
    try:
        return _read(described)
    except Exception:  # noqa: BLE001  # two libraries read it, and either raises what it likes; the other keys count
        return None


def _read(described: Any) -> Key | None:
    if described.get("use", "sig") != "sig" or "verify" not in described.get("key_ops", ["verify"]):
        return None
    if "d" in described:
        return None  # everybody has its private half
    kid, algorithm = described.get("kid"), described.get("alg")
    if not isinstance(kid, str | None) or (algorithm is not None and algorithm not in ALGORITHMS):
        return None
    match described["kty"]:
        case "RSA":
            numbers = {name: _text(described, name) for name in ("n", "e")}
            if _bits(numbers["n"]) not in _RSA_BITS:
                return None
            return Key(kid, algorithm, "RSA", None, RSAKey.import_key({"kty": "RSA", **numbers}))
        case "EC":
            point = {name: _text(described, name) for name in ("crv", "x", "y")}
            if ("EC", point["crv"]) not in ALGORITHMS.values():
                return None
            return Key(kid, algorithm, "EC", point["crv"], ECKey.import_key({"kty": "EC", **point}))
        case _:
            return None


def _text(described: Mapping[str, Any], name: str) -> str:
    value = described[name]
    if not isinstance(value, str):
        raise TypeError(name)
    return value


def _bits(number: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(number + "=" * (-len(number) % 4))).bit_length()
