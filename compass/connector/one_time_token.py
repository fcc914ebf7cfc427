"""The one-time token: what a client shows once, before it has a certificate.

Invariants: only a token's digest is kept; a system auth has at most one token in force; a token is used once, which
one conditional UPDATE decides by the database's clock; and a token certifies at most one public key, ever.
Unknown, expired, used and replaced tokens are refused alike. Source: contract/connector-agent-provisioner.md §B.3.
"""

import base64
import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from compass.errors import Code, CompassError, NotFound
from compass.ids import SystemAuthId
from compass.postgres.pool import Tx
from compass.settings import TokenSettings

TOKEN_BYTES: Final = 64


class Purpose(StrEnum):
    """Whom a token was issued to, which decides how long it lives. Any token may be used at either step of pairing."""

    APPLICATION = "application"
    RUNTIME = "runtime"
    CSR = "csr"
    """Handed out by `configuration` for the signing request that follows."""

    def life(self, settings: TokenSettings) -> timedelta:
        """How long a token of this purpose may be used after it was issued."""
        match self:
            case Purpose.APPLICATION:
                return settings.application_validity
            case Purpose.RUNTIME:
                return settings.runtime_validity
            case Purpose.CSR:
                return settings.csr_validity


class TokenRefused(CompassError):
    """The token is unknown, expired, used or replaced: which of them is not told. A new one has to be requested."""

    code = Code.UNAUTHORIZED
    message = "Failed to authenticate with one time token."


@dataclass(frozen=True)
class Holder:
    """Who a token speaks for."""

    system_auth: SystemAuthId
    purpose: Purpose
    used: bool


@dataclass(frozen=True)
class TokenState:
    """What may be shown of a system auth's latest token; the token itself is not kept."""

    purpose: Purpose
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None


def digest(token: str) -> bytes:
    """What is kept of a token. A fast hash is enough: 512 random bits cannot be guessed, however fast."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


async def issue(tx: Tx, system_auth: SystemAuthId, *, purpose: Purpose, life: timedelta) -> str:
    """A new token for the system auth, 88 characters; every older one of it becomes unusable.

    Three statements. Raises NotFound. Whoever asks twice at the same time is served one after the other, and
    only the later token is in force.
    """
    if await tx.value(LOCK, system_auth=system_auth) is None:
        raise NotFound(object="systemAuth")
    await tx.run(REPLACE, system_auth=system_auth)
    token = base64.urlsafe_b64encode(secrets.token_bytes(TOKEN_BYTES)).decode()
    await tx.run(ISSUE, digest=digest(token), system_auth=system_auth, purpose=purpose, life=life)
    return token


LOCK = """
-- one_time_token.lock
SELECT id FROM system_auth WHERE id = %(system_auth)s FOR NO KEY UPDATE
"""

REPLACE = """
-- one_time_token.replace
UPDATE one_time_token SET replaced_at = clock_timestamp()
WHERE system_auth_id = %(system_auth)s AND replaced_at IS NULL
"""

ISSUE = """
-- one_time_token.issue
INSERT INTO one_time_token (digest, system_auth_id, purpose, created_at, expires_at)
SELECT %(digest)s, %(system_auth)s, %(purpose)s, issued.at, issued.at + %(life)s
FROM (SELECT clock_timestamp() AS at) AS issued
"""


async def spend(tx: Tx, token: str) -> Holder:
    """Use the token, for good once the transaction commits. `Holder.used` is False: nobody used it before.

    One statement; of any number of simultaneous calls exactly one succeeds. Raises TokenRefused.
    """
    spent = await tx.row(SPEND, digest=digest(token))
    if spent is None:
        raise TokenRefused
    return Holder(SystemAuthId(spent["system_auth_id"]), Purpose(spent["purpose"]), used=False)


SPEND = """
-- one_time_token.spend
UPDATE one_time_token SET used_at = clock_timestamp()
WHERE digest = %(digest)s AND used_at IS NULL AND replaced_at IS NULL AND expires_at > clock_timestamp()
RETURNING system_auth_id, purpose
"""


async def holder(tx: Tx, token: str) -> Holder:
    """Whom the token speaks for, without using it. It may be used already, which only `redeem` can forgive.

    Raises TokenRefused for a token that is unknown, expired or replaced.
    """
    held = await tx.row(HOLDER, digest=digest(token))
    if held is None:
        raise TokenRefused
    return Holder(SystemAuthId(held["system_auth_id"]), Purpose(held["purpose"]), used=held["used"])


HOLDER = """
-- one_time_token.holder
SELECT system_auth_id, purpose, used_at IS NOT NULL AS used
FROM one_time_token
WHERE digest = %(digest)s AND replaced_at IS NULL AND expires_at > clock_timestamp()
"""


async def redeem(tx: Tx, token: str, *, key_thumbprint: str) -> SystemAuthId:
    """Use the token to certify the public key of that thumbprint, and no other key ever.

    Twice with the same key, within the token's life, is the same as once: a client whose reply was lost asks
    again. One statement. Raises TokenRefused, also for a token that was spent on a configuration.
    """
    system_auth = await tx.value(REDEEM, digest=digest(token), key=key_thumbprint)
    if system_auth is None:
        raise TokenRefused
    return SystemAuthId(system_auth)


REDEEM = """
-- one_time_token.redeem
UPDATE one_time_token SET used_at = coalesce(used_at, clock_timestamp()), key_thumbprint = %(key)s
WHERE digest = %(digest)s AND (used_at IS NULL OR key_thumbprint = %(key)s)
  AND replaced_at IS NULL AND expires_at > clock_timestamp()
RETURNING system_auth_id
"""


async def forget_replaced(tx: Tx) -> int:
    """Delete the tokens that were replaced a week ago; gives how many. One statement. The token in force stays."""
    return await tx.run(FORGET_REPLACED)


FORGET_REPLACED = """
-- one_time_token.forget_replaced
DELETE FROM one_time_token WHERE replaced_at < clock_timestamp() - interval '7 days'
"""


async def latest(tx: Tx, system_auth: SystemAuthId) -> TokenState | None:
    """The state of the system auth's token in force, used or not, or None when it never had one."""
    row = await tx.row(LATEST, system_auth=system_auth)
    if row is None:
        return None
    return TokenState(Purpose(row["purpose"]), row["created_at"], row["expires_at"], row["used_at"])


LATEST = """
-- one_time_token.latest
SELECT purpose, created_at, expires_at, used_at
FROM one_time_token
WHERE system_auth_id = %(system_auth)s AND replaced_at IS NULL
"""
