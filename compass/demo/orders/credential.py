"""Who may call the order service: name and secret pairs that it issues itself, and the bearers made from them.

Only digests are kept. A secret is 256 random bits, so a plain digest is as hard to turn round as the secret to guess.
"""

import hashlib
import secrets
import sqlite3
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from compass.demo.orders.store import Store, now

DEFAULT = "default"
"""The pair that the bundle shows to every Runtime until the Runtime has its own."""
TOKEN_LIFETIME = timedelta(minutes=15)


@dataclass(frozen=True)
class Pair:
    """What a caller needs. The secret exists here once and nowhere on disk."""

    name: str
    secret: str = field(repr=False)


async def issue(store: Store, name: str, *, runtime: str | None = None) -> Pair:
    """Issue a pair; a pair of the same name that was issued before stops working, its bearers too."""
    pair = Pair(name, secrets.token_urlsafe(32))

    def work(tx: sqlite3.Connection) -> None:
        tx.execute(BEARER_DROP, {"credential": name})
        tx.execute(ISSUE, {"name": name, "digest": _digest(pair.secret), "runtime": runtime, "at": now()})

    await store.transaction(work)
    return pair


async def live(store: Store, name: str) -> bool:
    """Whether a pair of that name exists and is not revoked."""
    return await store.row(LIVE, name=name) is not None


async def matches(store: Store, name: str, secret: str) -> bool:
    """Whether the pair is one we issued and did not revoke."""
    return await store.row(MATCH, name=name, digest=_digest(secret)) is not None


async def revoke(store: Store, name: str) -> None:
    """From the next request on, neither the pair nor a bearer made from it works. Twice is once."""

    def work(tx: sqlite3.Connection) -> None:
        tx.execute(BEARER_DROP, {"credential": name})
        tx.execute(REVOKE, {"name": name, "at": now()})

    await store.transaction(work)


async def bearer(store: Store, name: str) -> str:
    """A bearer that works for `TOKEN_LIFETIME` in the name of the pair."""
    token = secrets.token_urlsafe(32)

    def work(tx: sqlite3.Connection) -> None:
        tx.execute(BEARER_PURGE, {"now": now()})
        tx.execute(BEARER_ADD, {"digest": _digest(token), "credential": name, "expires_at": _moment(TOKEN_LIFETIME)})

    await store.transaction(work)
    return token


async def bearer_owner(store: Store, token: str) -> str | None:
    """The name of the pair the bearer was made from, or nothing when it is unknown or over."""
    row = await store.row(BEARER_OWNER, digest=_digest(token), now=now())
    return None if row is None else str(row["credential"])


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()


def _moment(ahead: timedelta) -> str:
    return (datetime.now(UTC) + ahead).isoformat(timespec="milliseconds").replace("+00:00", "Z")


ISSUE = """
-- credential.issue
INSERT INTO credential (name, digest, runtime_id, created_at) VALUES (:name, :digest, :runtime, :at)
ON CONFLICT (name) DO UPDATE SET digest = excluded.digest, created_at = excluded.created_at, revoked_at = NULL
"""
LIVE = """
-- credential.live
SELECT 1 FROM credential WHERE name = :name AND revoked_at IS NULL
"""
MATCH = """
-- credential.match
SELECT 1 FROM credential WHERE name = :name AND digest = :digest AND revoked_at IS NULL
"""
REVOKE = """
-- credential.revoke
UPDATE credential SET revoked_at = :at WHERE name = :name AND revoked_at IS NULL
"""
BEARER_ADD = """
-- access_token.add
INSERT INTO access_token (digest, credential, expires_at) VALUES (:digest, :credential, :expires_at)
"""
BEARER_OWNER = """
-- access_token.owner
SELECT credential FROM access_token WHERE digest = :digest AND expires_at > :now
"""
BEARER_DROP = """
-- access_token.drop
DELETE FROM access_token WHERE credential = :credential
"""
BEARER_PURGE = """
-- access_token.purge
DELETE FROM access_token WHERE expires_at <= :now
"""
