"""The relay: hands every committed event to those who react to it, once, in the order of commits per subject.

One relay works at a time over all replicas. A reaction runs in the transaction that marks the event as relayed, so
its effects (delivery rows, operations) exist exactly once; the relay may be killed at any line.

The order holds as long as no reaction fails. An event whose reaction fails waits for its next turn while the others go
on, so those that follow it, also of its own subject, may be relayed before it. A database that is away or breaks a
transaction off is no failure of a reaction: the event is tried again before any that follows.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from compass.outbox.append import CHANNEL
from compass.outbox.events import Event
from compass.postgres.pool import LOST, Database, Tx
from compass.postgres.queue import BROKEN_OFF

_log = logging.getLogger(__name__)

_POLL_SECONDS: Final = 1.0
"""How long an event can wait when its notification was missed."""
_ATTEMPTS: Final = 8
"""After so many failures of a reaction, two minutes, the event is parked until a plane starts; the others go on."""

NEXT = """
-- outbox.next
SELECT id, tenant_id, name, facts FROM outbox_event
WHERE relayed_at IS NULL AND parked_at IS NULL AND next_at <= clock_timestamp()
ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
"""
ALONE = """
-- outbox.alone
SELECT pg_try_advisory_xact_lock(hashtext('compass.outbox.relay'))
"""
RELAYED = """
-- outbox.relayed
UPDATE outbox_event SET relayed_at = clock_timestamp(), error = NULL WHERE id = %(id)s
"""
FAILED = """
-- outbox.failed
UPDATE outbox_event
SET attempts = attempts + 1, error = %(error)s,
    next_at = clock_timestamp() + least(300, power(2, attempts)) * interval '1 second',
    parked_at = CASE WHEN attempts + 1 >= %(most)s THEN clock_timestamp() END
WHERE id = %(id)s AND relayed_at IS NULL
RETURNING parked_at IS NOT NULL AS parked
"""
PUT_BACK = """
-- outbox.put_back
UPDATE outbox_event SET parked_at = NULL, attempts = 0, next_at = clock_timestamp()
WHERE parked_at IS NOT NULL AND relayed_at IS NULL
"""
PARKED = """
-- outbox.parked
SELECT count(*) FROM outbox_event WHERE parked_at IS NOT NULL AND relayed_at IS NULL
"""
PURGE = """
-- outbox.purge
WITH gone AS (
    DELETE FROM outbox_event WHERE relayed_at < clock_timestamp() - interval '7 days' RETURNING xid, id
), last AS (
    SELECT xid, id FROM gone ORDER BY xid DESC, id DESC LIMIT 1
), noted AS (
    UPDATE outbox_forgotten forgotten SET xid = last.xid, id = last.id
    FROM last WHERE (last.xid, last.id) > (forgotten.xid, forgotten.id)
)
SELECT count(*) FROM gone
"""


class Reaction(Protocol):
    """Reacts to one kind of event, in the relay's transaction."""

    def __call__(self, tx: Tx, event: Any, /) -> Awaitable[None]: ...


class Relay:
    """Relays events of one database to reactions by event type. Run it as a task of the process."""

    def __init__(self, database: Database, reactions: Mapping[type[Event], Sequence[Reaction]]) -> None:
        self._database = database
        self._reactions = reactions

    async def run(self) -> None:
        """Relay until cancelled. Parked events have their turn again: what they failed of may have been put right."""
        ready = False
        while True:
            try:
                if not ready:
                    await self._put_back()
                    ready = True
                await self._listen_and_relay()
            except Exception as error:  # noqa: BLE001  # the edge: a relay that ended would take the plane along
                _log.warning("the relay was broken off and begins again: %s: %s", type(error).__name__, error)
            await asyncio.sleep(_POLL_SECONDS)

    async def _put_back(self) -> None:
        async with self._database.transaction() as tx:
            if count := await tx.run(PUT_BACK):
                _log.warning("%s parked outbox events are tried again", count)

    async def _listen_and_relay(self) -> None:
        waiting = asyncio.Event()
        async with self._database.listening(CHANNEL, lambda _: waiting.set()) as lost:
            while not lost.is_set():
                waiting.clear()
                while await self.relay_one():
                    pass
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_SECONDS):
                        await waiting.wait()

    async def relay_one(self) -> bool:
        """Relay the next event. False when none waits, or another replica relays.

        Raises what the database raises when it is away or broke the transaction off; the event is as it was.
        """
        failure: tuple[int, str] | None = None
        try:
            async with self._database.transaction() as tx:
                if not await tx.value(ALONE):
                    return False
                row = await tx.row(NEXT)
                if row is None:
                    return False
                failure = (row["id"], "")
                await self._react(tx, row["name"], {"tenant": row["tenant_id"], **row["facts"]})
                await tx.run(RELAYED, id=row["id"])
        except (*LOST, *BROKEN_OFF):
            raise
        except Exception as error:
            if failure is None:
                raise
            # A defect of ours in a reaction: the event is kept, tried later, and must not hold up the others.
            _log.exception("a reaction to outbox event %s failed", failure[0])
            async with self._database.transaction() as tx:
                told = f"{type(error).__name__}: {error}"[:500]
                parked = await tx.value(FAILED, id=failure[0], error=told, most=_ATTEMPTS)
            if parked:
                _log.error("outbox event %s is parked: nobody hears of it until the plane starts again", failure[0])
        return True

    async def _react(self, tx: Tx, name: str, facts: dict[str, Any]) -> None:
        kind = Event.known[name]
        event = kind(**facts)
        for reaction in self._reactions.get(kind, ()):
            await reaction(tx, event)

    async def purge(self) -> int:
        """Forget events that were relayed a week ago, and note how far: the change feed cannot go back to before it."""
        async with self._database.transaction() as tx:
            return int(await tx.value(PURGE))


async def parked(database: Database) -> int:
    """How many events wait for the next start because reactions to them failed again and again."""
    async with database.transaction() as tx:
        return int(await tx.value(PARKED))


def reactions(*pairs: tuple[type[Event], Callable[..., Awaitable[None]]]) -> dict[type[Event], list[Reaction]]:
    """Group (event, reaction) pairs by event."""
    grouped: dict[type[Event], list[Reaction]] = {}
    for kind, reaction in pairs:
        grouped.setdefault(kind, []).append(reaction)
    return grouped
