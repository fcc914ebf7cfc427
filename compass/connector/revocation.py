"""Revoked certificates, and how every replica knows of them within a second.

A certificate is revoked with its whole line, all that were renewed from one another: whoever stole one may have renewed
it. That is a row each, announced in the same transaction. Each process keeps the set of revoked
certificates in memory, told of additions by the database and counting them several times a second, because an
announcement can be lost with its connection. When the last count began a second ago or more, whatever kept the next
one, it asks the table, and when the table cannot be asked the request is refused. So what was let in after a revocation
was let in within a second of its commit, also where nothing is heard and the database hangs.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, Self

from compass.errors import NotFound, Unavailable
from compass.ids import SystemAuthId, TenantId
from compass.outbox.append import append
from compass.outbox.events import Event
from compass.postgres.pool import AWAY, Database, Tx

log = logging.getLogger(__name__)

CHANNEL: Final = "access"
_REVOKED: Final = "revoked "

COUNT_EVERY_SECONDS: Final = 0.4
"""How long a lost announcement usually goes unnoticed. One count that is late by as much again is no trouble."""
FRESH_SECONDS: Final = 1.0
"""After the last count began the set in memory is believed no more: the longest that a revoked certificate is let in.
Source: design/guarantees.md I3."""


@dataclass(frozen=True)
class CertificatesRevoked(Event):
    """Certificates were revoked that were in force. Those of a system auth that is deleted go without this."""

    tenant: TenantId | None
    system_auths: tuple[SystemAuthId, ...]
    count: int
    by: str


async def revoke(tx: Tx, fingerprint: str, *, reason: str, by: str) -> int:
    """End the certificate of that fingerprint and its line, now and on every replica; once more changes nothing.

    How many were still in force. Four statements. Raises NotFound when the plane never issued it. Emits
    CertificatesRevoked.
    """
    line = await tx.value(LINE_OF, fingerprint=fingerprint)
    if line is None:
        raise NotFound(object="certificate")
    return await revoke_lines(tx, [line], reason=reason, by=by)


LINE_OF = """
-- revocation.line_of
SELECT lineage FROM certificate WHERE fingerprint = %(fingerprint)s
"""


async def revoke_lines(tx: Tx, lines: Sequence[str], *, reason: str, by: str) -> int:
    """End these lines. How many certificates were still in force. Three statements. Emits CertificatesRevoked."""
    await tx.run(HOLD_LINES, lines=lines)
    ended = await tx.row(REVOKE, lines=lines, reason=reason, by=by, channel=CHANNEL)
    if ended is None:
        raise AssertionError("an aggregate always has one row")
    if ended["count"]:
        await append(tx, CertificatesRevoked(ended["tenant"], tuple(ended["system_auths"]), ended["count"], by))
    return int(ended["count"])


# Alone, and first: a renewal that is under way holds the line's first certificate, and what it adds is seen only by a
# statement that begins after it. In one order, so that two revocations do not wait for each other.
HOLD_LINES = """
-- revocation.hold_lines
SELECT FROM certificate WHERE serial = ANY(%(lines)s::text[]) ORDER BY serial FOR NO KEY UPDATE
"""
# All lines that are ended together are one tenant's.
REVOKE = """
-- revocation.revoke
WITH ended AS (
    UPDATE certificate SET revoked_at = clock_timestamp(), revocation_reason = %(reason)s, revoked_by = %(by)s
    WHERE lineage = ANY(%(lines)s::text[]) AND revoked_at IS NULL
    RETURNING fingerprint, tenant_id, system_auth_id
)
SELECT count(pg_notify(%(channel)s, 'revoked ' || fingerprint)), min(tenant_id::text) AS tenant,
    coalesce(array_agg(DISTINCT system_auth_id::text) FILTER (WHERE system_auth_id IS NOT NULL), '{}') AS system_auths
FROM ended
"""


class Revocations:
    """The set of revoked certificates in one process. Ask it on every request, not once per connection."""

    def __init__(self, database: Database, *, counted_by: Database | None = None) -> None:
        """`counted_by`: the connections to count over, if not those of the callers, who may have all of them."""
        self._database = database
        self._counted_by = counted_by or database
        self._revoked: set[str] = set()
        self._counted = 0
        self._counted_at = -FRESH_SECONDS
        self._lost: asyncio.Event | None = None

    @classmethod
    @asynccontextmanager
    async def watching(cls, database: Database, *, counted_by: Database | None = None) -> AsyncIterator[Self]:
        """Keep a set up to date while the block runs. It is usable at once, also while the database is away."""
        revocations = cls(database, counted_by=counted_by)
        watch = asyncio.create_task(revocations._watch(), name="revocations")
        try:
            yield revocations
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch

    @property
    def fresh(self) -> bool:
        """Whether the set in memory can be believed: announcements are heard, and the last count is recent."""
        listening = self._lost is not None and not self._lost.is_set()
        return listening and time.monotonic() - self._counted_at < FRESH_SECONDS

    @property
    def known(self) -> int:
        """How many revoked certificates this process knows of; grows with every revocation it hears of."""
        return len(self._revoked)

    async def is_revoked(self, fingerprint: str) -> bool:
        """Whether the certificate was revoked. Raises Unavailable when that cannot be known: refuse the request."""
        if fingerprint in self._revoked:
            return True  # nothing takes a revocation back, however old the set is
        if self.fresh:
            return False
        try:
            found = await self._database.read(IS_REVOKED, [fingerprint])
        except AWAY as error:
            raise Unavailable from error
        return bool(found["revoked"])

    async def _watch(self) -> None:
        while True:
            try:
                async with self._database.listening(CHANNEL, self._heard) as lost:
                    await self._load()  # after listening began: what came before is in the table
                    self._lost = lost
                    while not lost.is_set():
                        with suppress(TimeoutError):
                            async with asyncio.timeout(COUNT_EVERY_SECONDS):
                                await lost.wait()
                        await self._count()
            except AWAY as error:
                log.warning("revocations are looked up one by one: %s", error)
            self._lost = None
            await asyncio.sleep(COUNT_EVERY_SECONDS)

    def _heard(self, payload: str) -> None:
        if payload.startswith(_REVOKED):
            self._revoked.add(payload.removeprefix(_REVOKED))

    async def _count(self) -> None:
        # Rows are never unrevoked and never deleted, so an equal count is an equal set.
        began = time.monotonic()
        if (await self._ask(COUNT))["counted"] == self._counted:
            self._counted_at = began
        else:
            await self._load()

    async def _load(self) -> None:
        began = time.monotonic()
        row = await self._ask(LOAD)
        self._revoked.update(row["fingerprints"])
        self._counted = row["counted"]
        self._counted_at = began

    async def _ask(self, sql: str) -> Any:
        async with asyncio.timeout(FRESH_SECONDS):
            return await self._counted_by.read(sql, [])


IS_REVOKED = """
-- revocation.is_revoked
SELECT EXISTS (SELECT FROM certificate WHERE fingerprint = $1 AND revoked_at IS NOT NULL) AS revoked
"""

COUNT = """
-- revocation.count
SELECT count(*) AS counted FROM certificate WHERE revoked_at IS NOT NULL
"""

LOAD = """
-- revocation.load
SELECT count(*) AS counted, coalesce(array_agg(fingerprint), '{}') AS fingerprints
FROM certificate WHERE revoked_at IS NOT NULL
"""
