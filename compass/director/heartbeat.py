"""Heartbeats: the agent of a runtime says that it lives, what it has taken over, and what troubles it.

`POST /v1/heartbeat` on the mTLS port. What is said is noted in memory and written down once a second by one statement,
one row for each runtime; that statement finds by the certificate whose it is, so that a heartbeat asks the database
nothing. The answer says how soon the next is due. What a killed process had not yet written is said again a few seconds
later. Nothing of this is in the original, and its agents send none.
"""

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import orjson

from compass.errors import InvalidData
from compass.ids import RuntimeId
from compass.postgres.pool import AWAY, Database, Tx
from compass.settings import HeartbeatSettings

log = logging.getLogger(__name__)

PATH: Final = "/v1/heartbeat"
MOST_BYTES: Final = 4096
MOST_ERROR: Final = 500
"""Characters that are kept of what an agent says of its trouble."""
WRITE_EVERY_SECONDS: Final = 1.0
_MOST_NUMBER: Final = 2**31 - 1
"""The largest `Int` of the API."""
_LONGEST_SECONDS: Final = 86_400.0
_VERSION: Final = re.compile(r"[0-9A-Za-z.+-]{1,64}")
_TROUBLE: Final = re.compile(r"[a-z_]{1,32}")


@dataclass(frozen=True)
class Report:
    """What an agent says."""

    version: str
    revision: int
    """Of the configuration that is in use."""
    applications: int
    """In that configuration."""
    looked_seconds_ago: float | None
    """When its last good look at the plane began; None when there was none yet."""
    looks_every_seconds: float
    trouble: str | None
    """The kind of its trouble, while the last look was not good."""
    error: str | None

    @classmethod
    def read(cls, body: bytes) -> Self:
        """Raises InvalidData. Members that are not known are from a newer agent, and are passed over."""
        try:
            said = orjson.loads(body)
        except orjson.JSONDecodeError:
            said = None
        if not isinstance(said, Mapping):
            raise InvalidData(reason="the body must be a JSON object")
        trouble = said.get("trouble")
        if trouble is not None and not (isinstance(trouble, str) and _TROUBLE.fullmatch(trouble)):
            raise InvalidData(reason="trouble must be a word of lower-case letters, or null")
        ago = said.get("lookedSecondsAgo")
        return cls(
            version=_version(said.get("version")),
            revision=_number(said, "revision"),
            applications=_number(said, "applications"),
            looked_seconds_ago=None if ago is None else _seconds("lookedSecondsAgo", ago),
            looks_every_seconds=_seconds("looksEverySeconds", said.get("looksEverySeconds")),
            trouble=trouble,
            error=None if trouble is None else _shown(said.get("error")) or trouble,
        )


def _version(given: Any) -> str:
    if not isinstance(given, str) or not _VERSION.fullmatch(given):
        raise InvalidData(reason="version must be a text such as 1.2.3")
    return given


def _number(said: Mapping[str, Any], name: str) -> int:
    given = said.get(name)
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given <= _MOST_NUMBER:
        raise InvalidData(reason=f"{name} must be a whole number, not below 0")
    return given


def _seconds(name: str, given: Any) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or given < 0:
        raise InvalidData(reason=f"{name} must be a number of seconds, not below 0")
    return min(float(given), _LONGEST_SECONDS)


def _shown(error: Any) -> str:
    """A text as people may be shown it, on one line."""
    text = error if isinstance(error, str) else ""
    return "".join(each if each.isprintable() else " " for each in text[:MOST_ERROR]).strip()


class Heartbeats:
    """What agents have said since it was last written down."""

    def __init__(self, settings: HeartbeatSettings) -> None:
        self._settings = settings
        self._waiting: dict[str, tuple[float, Report]] = {}

    def note(self, fingerprint: str, body: bytes) -> dict[str, Any]:
        """Take a heartbeat of whoever holds that certificate, and answer it. Raises InvalidData."""
        self._waiting[fingerprint] = (time.monotonic(), Report.read(body))
        return {"nextSeconds": self._settings.every.total_seconds()}

    async def run(self, database: Database) -> None:
        """Write down what was said, for ever."""
        while True:
            await asyncio.sleep(WRITE_EVERY_SECONDS)
            try:
                await self.write(database)
            except AWAY as error:
                log.warning("heartbeats were not written, tried again: %s", type(error).__name__)

    async def write(self, database: Database) -> None:
        """Write down what was said. One statement, none when nobody said anything. Raises what the database raises."""
        taken, self._waiting = self._waiting, {}
        if not taken:
            return
        now = time.monotonic()
        said = [
            {
                "fingerprint": fingerprint,
                "heard_seconds_ago": now - heard,
                "version": report.version,
                "revision": report.revision,
                "applications": report.applications,
                "looked_seconds_ago": None
                if report.looked_seconds_ago is None
                else now - heard + report.looked_seconds_ago,
                "looks_every_seconds": report.looks_every_seconds,
                "trouble": report.trouble,
                "error": report.error,
            }
            for fingerprint, (heard, report) in taken.items()
        ]
        missed = self._settings.missed_after.total_seconds()

        async def written(tx: Tx) -> None:
            await tx.run(WRITE, said=said, missed_after=missed)

        try:
            await database.run(written)
        except BaseException:
            self._waiting = {**taken, **self._waiting}
            raise


# Runtimes that are silent on purpose

REST = """
-- heartbeat.rest
UPDATE runtime SET asleep_since = clock_timestamp() WHERE id = %(runtime)s AND asleep_since IS NULL
"""
RISE = """
-- heartbeat.rise
WITH awake AS (
    UPDATE runtime SET asleep_since = NULL WHERE id = %(runtime)s AND asleep_since IS NOT NULL RETURNING id
)
UPDATE heartbeat SET missed_from = greatest(missed_from, clock_timestamp() + make_interval(secs => %(patience)s))
FROM awake WHERE runtime_id = awake.id
"""
_PATIENCE_SECONDS: Final = 30.0
"""For the first heartbeat of an agent that was woken up."""


async def rest(tx: Tx, runtime: RuntimeId) -> None:
    """Do not miss the runtime's agent from now on: it was put to sleep. Safe to repeat.

    Its heartbeats do not end that: one may have been on its way when the agent was stopped, even the first.
    """
    await tx.run(REST, runtime=runtime)


async def rise(tx: Tx, runtime: RuntimeId) -> None:
    """Expect the agent of a runtime that was put to sleep again. Safe to repeat."""
    await tx.run(RISE, runtime=runtime, patience=_PATIENCE_SECONDS)


# What is written down

# Of a runtime that is known by several certificates the last word counts. One that is being unregistered is passed
# over; whoever is not paired any more, or is no runtime, is not found. A heartbeat that was heard before the one that
# is there is of a replica that was slow to write.
WRITE = """
-- heartbeat.write
WITH said AS (
    SELECT DISTINCT ON (holder.runtime_id) holder.runtime_id, heard.*
    FROM jsonb_to_recordset(%(said)s) AS heard (
        fingerprint text, heard_seconds_ago float8, version text, revision bigint, applications integer,
        looked_seconds_ago float8, looks_every_seconds float8, trouble text, error text
    )
    JOIN certificate ON certificate.fingerprint = heard.fingerprint AND certificate.revoked_at IS NULL
    JOIN system_auth holder ON holder.id = certificate.system_auth_id
    WHERE holder.runtime_id IS NOT NULL
    ORDER BY holder.runtime_id, heard.heard_seconds_ago
), there AS (
    SELECT runtime.id FROM runtime WHERE runtime.id IN (SELECT said.runtime_id FROM said)
    ORDER BY runtime.id FOR KEY SHARE SKIP LOCKED
)
INSERT INTO heartbeat AS kept (
    runtime_id, seen_at, missed_from, version, revision, applications, synced_at, looks_every, trouble, error
)
SELECT said.runtime_id, clock.now - make_interval(secs => said.heard_seconds_ago),
    clock.now - make_interval(secs => said.heard_seconds_ago) + make_interval(secs => %(missed_after)s),
    said.version, said.revision, said.applications, clock.now - make_interval(secs => said.looked_seconds_ago),
    make_interval(secs => said.looks_every_seconds), said.trouble, said.error
FROM said JOIN there ON there.id = said.runtime_id CROSS JOIN (SELECT clock_timestamp() AS now) clock
ORDER BY said.runtime_id
ON CONFLICT (runtime_id) DO UPDATE SET
    seen_at = excluded.seen_at, missed_from = excluded.missed_from, version = excluded.version,
    revision = excluded.revision, applications = excluded.applications,
    synced_at = coalesce(excluded.synced_at, kept.synced_at), looks_every = excluded.looks_every,
    trouble = excluded.trouble, error = excluded.error
WHERE kept.seen_at < excluded.seen_at
"""
