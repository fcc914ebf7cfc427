"""When a certificate was last used, to the hour.

Noted in memory by every request and written down once a minute by one statement, each certificate at most once an hour
whatever the number of replicas. No request waits for it, and what a killed process had not yet written is lost.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Final

from compass.postgres.pool import AWAY, Database, Tx

log = logging.getLogger(__name__)

WRITE_EVERY_SECONDS: Final = 60.0
AGAIN_AFTER_SECONDS: Final = 3600.0
MOST_REMEMBERED: Final = 100_000
"""Certificates whose last writing a process remembers. With more it forgets all, and asks the database once more."""


class Uses:
    """The certificates that were used since they were last written down."""

    def __init__(self) -> None:
        self._written: dict[str, float] = {}
        self._waiting: set[str] = set()

    def note(self, fingerprint: str) -> None:
        """The certificate authenticated a request just now."""
        written = self._written.get(fingerprint)
        if written is None or time.monotonic() - written >= AGAIN_AFTER_SECONDS:
            self._waiting.add(fingerprint)

    async def run(self, database: Database) -> None:
        """Write down what was noted, for ever."""
        while True:
            await asyncio.sleep(WRITE_EVERY_SECONDS)
            try:
                await self.write(database)
            except AWAY as error:
                log.warning("the last use of certificates was not written, tried again: %s", type(error).__name__)

    async def write(self, database: Database) -> None:
        """Write down what was noted. One statement, none when nothing was. Raises what the database raises."""
        used = sorted(self._waiting)
        if not used:
            return

        async def noted(tx: Tx) -> None:
            await _write(tx, used)

        await database.run(noted)
        now = time.monotonic()
        if len(self._written) + len(used) > MOST_REMEMBERED:
            self._written.clear()
        self._written.update(dict.fromkeys(used, now))
        self._waiting.difference_update(used)


async def _write(tx: Tx, fingerprints: Sequence[str]) -> None:
    await tx.run(WRITE, fingerprints=fingerprints)


# What somebody else holds is being revoked or renewed; it is used again, or it is of no interest any more.
WRITE = """
-- use.write
UPDATE certificate SET last_used_at = clock_timestamp()
FROM (
    SELECT serial FROM certificate
    WHERE fingerprint = ANY(%(fingerprints)s::text[])
      AND (last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '1 hour')
    ORDER BY serial FOR NO KEY UPDATE SKIP LOCKED
) AS used
WHERE certificate.serial = used.serial
"""
