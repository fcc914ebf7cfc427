"""Revoked certificates, and how every replica knows of them within a second.

A certificate is revoked by a row and announced in the same transaction. Each process keeps the set of revoked
certificates in memory, told of additions by the database and counting them twice a second, because an announcement
can be lost with its connection. When it cannot show that its set is fresh it asks the table, and when the table
cannot be asked the request is refused.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Self

from compass.errors import NotFound, Unavailable
from compass.ids import SystemAuthId
from compass.postgres.pool import AWAY, Database, Tx

log = logging.getLogger(__name__)

CHANNEL: Final = "access"
_REVOKED: Final = "revoked "

COUNT_EVERY_SECONDS: Final = 0.5
"""How long a lost announcement can go unnoticed; half of what a revocation may take."""
FRESH_SECONDS: Final = 2.0
"""How old the last count may be before the set in memory is not believed any more."""


async def revoke(tx: Tx, fingerprint: str, *, reason: str) -> None:
    """End the certificate of that fingerprint, now and on every replica; once more changes nothing.

    One statement. Raises NotFound when the plane never issued it.
    """
    if await tx.value(REVOKE, fingerprint=fingerprint, reason=reason, channel=CHANNEL) is None:
        raise NotFound(object="certificate")


# `known` sees the row as it was: a certificate revoked before is found, and neither changed nor announced again.
REVOKE = """
-- revocation.revoke
WITH known AS (
    SELECT fingerprint FROM certificate WHERE fingerprint = %(fingerprint)s
), ended AS (
    UPDATE certificate SET revoked_at = clock_timestamp(), revocation_reason = %(reason)s
    WHERE fingerprint = %(fingerprint)s AND revoked_at IS NULL
    RETURNING fingerprint
), announced AS (
    SELECT count(pg_notify(%(channel)s, 'revoked ' || fingerprint)) FROM ended
)
SELECT known.fingerprint FROM known, announced
"""


async def revoke_all_of(tx: Tx, system_auth: SystemAuthId, *, reason: str) -> int:
    """End every certificate that speaks for the system auth. How many were still in force.

    Deleting the system auth does this by itself; this is for one that stays.
    """
    return int(await tx.value(REVOKE_ALL_OF, system_auth=system_auth, reason=reason, channel=CHANNEL))


REVOKE_ALL_OF = """
-- revocation.revoke_all_of
WITH ended AS (
    UPDATE certificate SET revoked_at = clock_timestamp(), revocation_reason = %(reason)s
    WHERE system_auth_id = %(system_auth)s AND revoked_at IS NULL
    RETURNING fingerprint
)
SELECT count(pg_notify(%(channel)s, 'revoked ' || fingerprint)) FROM ended
"""


class Revocations:
    """The set of revoked certificates in one process. Ask it on every request, not once per connection."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._revoked: set[str] = set()
        self._counted = 0
        self._counted_at = -FRESH_SECONDS
        self._lost: asyncio.Event | None = None

    @classmethod
    @asynccontextmanager
    async def watching(cls, database: Database) -> AsyncIterator[Self]:
        """Keep a set up to date while the block runs. It is usable at once, also while the database is away."""
        revocations = cls(database)
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
            return await self._database.read(sql, [])


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
