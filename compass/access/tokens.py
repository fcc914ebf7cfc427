"""Access tokens: what an OAuth client gets for its secret and shows with every request.

JSON Web Tokens of our own, signed with P-256 under a key that all replicas share; only this algorithm and these keys
are accepted, and nothing is ever fetched because a token says so. A token that was asked for over a connection with a
client certificate is good on such connections only. Source: RFC 6749 §4.4, RFC 7519, RFC 8705 §3, RFC 9068.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Self

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet

from compass.errors import Unauthorized
from compass.postgres.pool import Tx
from compass.vault import Vault

_ALGORITHM: Final = "ES256"
_ISSUER: Final = "compass"
_LEEWAY_SECONDS: Final = 30
_LARGEST_TOKEN: Final = 8192
_THUMBPRINT: Final = "x5t#S256"
_FINGERPRINT_DIGITS: Final = 64
LIFE: Final = timedelta(hours=1)
"""A token cannot be taken back, its client can: each use looks the client up."""

KEYS = """
-- tokens.keys
SELECT id, sealed_key FROM signing_key WHERE retired_at IS NULL ORDER BY created_at DESC
"""
ADD_KEY = """
-- tokens.add_key
INSERT INTO signing_key (id, sealed_key) VALUES (%(id)s, %(sealed_key)s)
"""
ALONE = """
-- tokens.alone
SELECT pg_advisory_xact_lock(hashtext('compass.access.tokens'))
"""


RETIRE_KEYS = """
-- tokens.retire_keys
UPDATE signing_key SET retired_at = clock_timestamp() WHERE retired_at IS NULL
"""


@dataclass(frozen=True)
class Bearer:
    """Who a verified token speaks for."""

    client: str
    is_account: bool
    scopes: frozenset[str]
    certificate: str = ""
    """The fingerprint of the certificate without which the token is worth nothing; empty: whoever has it may use it."""
    by_certificate: bool = False
    """Whether that certificate, and no secret, was what the client signed in with."""


class NotBound(Exception):
    """What a token says of the certificate it is bound to is not understood, and so cannot be obeyed."""


class AccessTokens:
    """Issues and verifies the plane's access tokens."""

    def __init__(self, keys: list[ECKey]) -> None:
        self._keys = KeySet(list(keys))
        self._current = keys[0]

    @classmethod
    async def open(cls, tx: Tx, vault: Vault) -> Self:
        """The keys all replicas share; made by whichever starts first."""
        await tx.value(ALONE)
        rows = await tx.rows(KEYS)
        if not rows:
            key = ECKey.generate_key("P-256", {"kid": secrets.token_hex(8)}, private=True)
            name = str(key.kid)
            await tx.run(ADD_KEY, id=name, sealed_key=vault.seal(f"signing_key/{name}", key.as_pem(private=True)))
            return cls([key])
        return cls(
            [
                ECKey.import_key(vault.open(f"signing_key/{row['id']}", row["sealed_key"]), {"kid": row["id"]})
                for row in rows
            ]
        )

    @staticmethod
    async def end_all(tx: Tx) -> None:
        """End every token there is: the next plane that starts makes another key. None may serve meanwhile."""
        await tx.run(RETIRE_KEYS)

    def issue(self, bearer: Bearer) -> str:
        """A token that is good for `LIFE`."""
        now = int(time.time())
        claims = {
            "iss": _ISSUER,
            "aud": _ISSUER,
            "sub": bearer.client,
            "iat": now,
            "exp": now + int(LIFE.total_seconds()),
            "jti": secrets.token_hex(16),
            "account": bearer.is_account,
            "scopes": " ".join(sorted(bearer.scopes)),
            **({"cnf": {_THUMBPRINT: thumbprint(bearer.certificate)}} if bearer.certificate else {}),
            **({"by_certificate": True} if bearer.by_certificate else {}),
        }
        return jwt.encode({"alg": _ALGORITHM, "kid": self._current.kid, "typ": "at+jwt"}, claims, self._current)

    def verify(self, text: str) -> Bearer:
        """Who the token speaks for. Raises Unauthorized for anything that is not a token of ours in its time."""
        try:
            if len(text) > _LARGEST_TOKEN:
                raise ValueError("larger than any token of ours")
            token = jwt.decode(text, self._keys, algorithms=[_ALGORITHM])
            jwt.JWTClaimsRegistry(
                leeway=_LEEWAY_SECONDS,
                iss={"essential": True, "value": _ISSUER},
                aud={"essential": True, "value": _ISSUER},
                sub={"essential": True},
                exp={"essential": True},
            ).validate(token.claims)
            claims = token.claims
            return Bearer(
                str(claims["sub"]),
                bool(claims["account"]),
                frozenset(str(claims["scopes"]).split()),
                bound_to(claims),
                bool(claims.get("by_certificate")),
            )
        except (JoseError, NotBound, ValueError, KeyError, TypeError):
            raise Unauthorized(reason="invalid bearer token") from None


def thumbprint(fingerprint: str) -> str:
    """How a token names a certificate. Source: RFC 8705 §3.1."""
    return base64.urlsafe_b64encode(bytes.fromhex(fingerprint)).rstrip(b"=").decode()


def bound_to(claims: Mapping[str, Any]) -> str:
    """The fingerprint of the certificate that a token is bound to; empty when it is bound to nothing.

    Raises NotBound for what else a token may be bound to, and for what is no thumbprint.
    """
    if "cnf" not in claims:
        return ""
    match claims["cnf"]:
        case {"x5t#S256": str(named), **others} if not others:
            try:
                fingerprint = base64.urlsafe_b64decode(named + "=" * (-len(named) % 4)).hex()
                if len(fingerprint) == _FINGERPRINT_DIGITS and thumbprint(fingerprint) == named:
                    return fingerprint
            except (binascii.Error, ValueError):
                pass
    raise NotBound


def digest(secret: str) -> bytes:
    """What is kept of a client secret. A fast hash is enough for random secrets of this length."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def same(left: bytes, right: bytes) -> bool:
    """Whether two digests are equal, in time that does not depend on where they differ."""
    return hmac.compare_digest(left, right)
