"""The one-time token: what a client shows once, before it has a certificate.

Invariants: only a token's digest is kept; a system auth has at most one token in force; a token is used once, which
one conditional UPDATE decides by the database's clock; and a token certifies at most one public key, ever.
A client that announces its key with the first step may repeat that step, and the token it gets is good for that key
alone. Unknown, expired, used and replaced tokens are refused alike. Source: contract/connector-agent-provisioner.md
§B.3; the announced key is ours.
"""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from compass.commands import OnRecord
from compass.errors import Code, CompassError, InvalidData, NotFound
from compass.ids import SystemAuthId, TenantId
from compass.outbox.append import append
from compass.outbox.events import Event
from compass.postgres.pool import Tx
from compass.settings import TokenSettings

TOKEN_BYTES: Final = 64
SHORTEST_LIFE: Final = timedelta(seconds=30)
"""Of a token that is asked for with a life of its own: to copy a command, start it and shake hands takes that long on a
slow machine. What ends before is asked for again and again, and every one of them is a password on its way."""


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

    def life_of(self, seconds: int | None, settings: TokenSettings) -> timedelta:
        """The same for a token that is to live so many seconds. None: as long as it may. Raises LifeNotAllowed."""
        longest = self.life(settings)
        if seconds is None:
            return longest
        if not min(SHORTEST_LIFE, longest) <= timedelta(seconds=seconds) <= longest:
            raise LifeNotAllowed(self, longest)
        return timedelta(seconds=seconds)


class LifeNotAllowed(InvalidData):
    """A one-time token was to live shorter than handing it over takes, or longer than whoever runs the plane allows.

    `signedIn.oneTimeTokenLives` tells how long it may.
    """

    def __init__(self, purpose: Purpose, longest: timedelta) -> None:
        most = int(longest.total_seconds())
        least = min(int(SHORTEST_LIFE.total_seconds()), most)
        super().__init__(
            reason=f"validForSeconds must be between {least} and {most}: the plane's setting "
            f"tokens.{purpose}_validity lets no one-time token live longer"
        )


class TokenRefused(CompassError):
    """The token is unknown, expired, used or replaced: which of them is not told. A new one has to be requested."""

    code = Code.UNAUTHORIZED
    message = "Failed to authenticate with one time token."


class TokenMisused(TokenRefused, OnRecord):
    """The token was shown with another key than its own. The caller is told no more than of any refused token."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._digest = digest(token)

    async def record(self, tx: Tx) -> None:
        """Announce it, once per token, however often it is shown. Emits OneTimeTokenMisused."""
        misused = await tx.row(MISUSED, digest=self._digest)
        if misused is not None:
            await append(tx, OneTimeTokenMisused(misused["tenant_id"], SystemAuthId(misused["system_auth_id"])))


@dataclass(frozen=True)
class OneTimeTokenMisused(Event):
    """Somebody showed a one-time token with another key than the one it belongs to: it may have been stolen."""

    tenant: TenantId | None
    system_auth: SystemAuthId


MISUSED = """
-- one_time_token.misused
UPDATE one_time_token SET misused_at = clock_timestamp()
FROM system_auth
WHERE digest = %(digest)s AND misused_at IS NULL AND system_auth.id = one_time_token.system_auth_id
RETURNING one_time_token.system_auth_id, system_auth.tenant_id
"""


@dataclass(frozen=True)
class Holder:
    """Who a token speaks for."""

    system_auth: SystemAuthId
    purpose: Purpose
    used: bool
    asked_with: str | None = None
    """Fingerprint of the certificate the token was asked for with, if it was."""


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


async def issue(
    tx: Tx, system_auth: SystemAuthId, *, purpose: Purpose, life: timedelta, asked_with: str | None = None
) -> str:
    """A new token for the system auth, 88 characters; every older one of it becomes unusable.

    `asked_with` is the certificate it was asked for with, if any: the token is worth no more than that.
    Three statements. Raises NotFound. Whoever asks twice at the same time is served one after the other, and
    only the later token is in force.
    """
    token = base64.urlsafe_b64encode(secrets.token_bytes(TOKEN_BYTES)).decode()
    await _put(tx, system_auth, token, purpose=purpose, life=life, asked_with=asked_with)
    return token


async def issue_next(tx: Tx, spent: Holder, token: str, *, key: str | None, life: timedelta) -> str:
    """The token for the signing request, to whoever spent `token` on a configuration.

    For a client that announced its key it is always the same, see `repeated`, and certifies that key alone. As `issue`.
    """
    if key is None:
        return await issue(tx, spent.system_auth, purpose=Purpose.CSR, life=life, asked_with=spent.asked_with)
    following = _following(token, key)
    await _put(
        tx, spent.system_auth, following, purpose=Purpose.CSR, life=life, asked_with=spent.asked_with, bound_key=key
    )
    return following


def _following(token: str, key: str) -> str:
    # Made of the token itself, which is kept nowhere: nobody but its holder can make it a second time.
    made = hmac.digest(token.encode(), b"compass: the token for the signing request of " + key.encode(), "sha512")
    return base64.urlsafe_b64encode(made).decode()


async def _put(
    tx: Tx,
    system_auth: SystemAuthId,
    token: str,
    *,
    purpose: Purpose,
    life: timedelta,
    asked_with: str | None,
    bound_key: str | None = None,
) -> None:
    if await tx.value(LOCK, system_auth=system_auth) is None:
        raise NotFound(object="systemAuth")
    await tx.run(REPLACE, system_auth=system_auth)
    await tx.run(
        ISSUE,
        digest=digest(token),
        system_auth=system_auth,
        purpose=purpose,
        life=life,
        asked_with=asked_with,
        bound_key=bound_key,
    )


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
INSERT INTO one_time_token (digest, system_auth_id, purpose, created_at, expires_at, asked_with, bound_key)
SELECT %(digest)s, %(system_auth)s, %(purpose)s, issued.at, issued.at + %(life)s, %(asked_with)s, %(bound_key)s
FROM (SELECT clock_timestamp() AS at) AS issued
"""


async def spend(tx: Tx, token: str, *, key: str | None = None) -> Holder:
    """Use the token, for good once the transaction commits. `Holder.used` is False: nobody used it before.

    `key` is the thumbprint of the key that the client announced, and has to be the token's own if that has one.
    One statement; of any number of simultaneous calls exactly one succeeds. Raises TokenRefused.
    """
    spent = await tx.row(SPEND, digest=digest(token), key=key)
    if spent is None:
        raise TokenRefused
    return Holder(
        SystemAuthId(spent["system_auth_id"]), Purpose(spent["purpose"]), used=False, asked_with=spent["asked_with"]
    )


SPEND = """
-- one_time_token.spend
UPDATE one_time_token SET used_at = clock_timestamp(), bound_key = %(key)s
WHERE digest = %(digest)s AND used_at IS NULL AND (bound_key IS NULL OR bound_key = %(key)s)
  AND replaced_at IS NULL AND expires_at > clock_timestamp()
RETURNING system_auth_id, purpose, asked_with
"""


async def repeated(tx: Tx, token: str, key: str) -> tuple[SystemAuthId, str]:
    """What a client got that spent the token and announced this key, for one whose answer was lost.

    Changes nothing. Raises TokenRefused when the token ended since, or the one it led to; TokenMisused when it was
    another key's.
    """
    following = _following(token, key)
    system_auth = await tx.value(REPEATED, digest=digest(token), key=key, following=digest(following))
    if system_auth is None:
        await refuse_other_key(tx, token, key)
        raise TokenRefused
    return SystemAuthId(system_auth), following


REPEATED = """
-- one_time_token.repeated
SELECT spent.system_auth_id
FROM one_time_token spent JOIN one_time_token following ON following.system_auth_id = spent.system_auth_id
WHERE spent.digest = %(digest)s AND spent.bound_key = %(key)s AND spent.used_at IS NOT NULL
  AND spent.expires_at > clock_timestamp()
  AND following.digest = %(following)s AND following.replaced_at IS NULL AND following.expires_at > clock_timestamp()
"""


async def refuse_other_key(tx: Tx, token: str, key: str | None) -> None:
    """Raises TokenMisused when the token is known and belongs to another key; otherwise does nothing."""
    if await tx.value(BELONGS_TO_ANOTHER, digest=digest(token), key=key):
        raise TokenMisused(token)


BELONGS_TO_ANOTHER = """
-- one_time_token.belongs_to_another
SELECT coalesce(key_thumbprint, bound_key) <> %(key)s FROM one_time_token WHERE digest = %(digest)s
"""


async def holder(tx: Tx, token: str) -> Holder:
    """Whom the token speaks for, without using it. It may be used already, which only `redeem` can forgive.

    Raises TokenRefused for a token that is unknown, expired or replaced.
    """
    held = await tx.row(HOLDER, digest=digest(token))
    if held is None:
        raise TokenRefused
    return Holder(
        SystemAuthId(held["system_auth_id"]),
        Purpose(held["purpose"]),
        used=held["used"],
        asked_with=held["asked_with"],
    )


HOLDER = """
-- one_time_token.holder
SELECT system_auth_id, purpose, asked_with, used_at IS NOT NULL AS used
FROM one_time_token
WHERE digest = %(digest)s AND replaced_at IS NULL AND expires_at > clock_timestamp()
"""


async def redeem(tx: Tx, token: str, *, key_thumbprint: str) -> SystemAuthId:
    """Use the token to certify the public key of that thumbprint, and no other key ever.

    Twice with the same key, within the token's life, is the same as once: a client whose reply was lost asks
    again. One statement, two for a refusal. Raises TokenRefused, also for a token that was spent on a configuration,
    and TokenMisused for one that belongs to another key.
    """
    system_auth = await tx.value(REDEEM, digest=digest(token), key=key_thumbprint)
    if system_auth is None:
        await refuse_other_key(tx, token, key_thumbprint)
        raise TokenRefused
    return SystemAuthId(system_auth)


REDEEM = """
-- one_time_token.redeem
UPDATE one_time_token SET used_at = coalesce(used_at, clock_timestamp()), key_thumbprint = %(key)s
WHERE digest = %(digest)s AND (used_at IS NULL OR key_thumbprint = %(key)s)
  AND (bound_key IS NULL OR bound_key = %(key)s) AND replaced_at IS NULL AND expires_at > clock_timestamp()
RETURNING system_auth_id
"""


async def end_all(tx: Tx) -> int:
    """End every token that could still be used for the first time; gives how many. One statement."""
    return await tx.run(END_ALL)


END_ALL = """
-- one_time_token.end_all
UPDATE one_time_token SET replaced_at = clock_timestamp()
WHERE used_at IS NULL AND replaced_at IS NULL AND expires_at > clock_timestamp()
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
