"""The relay: hands every committed event to those who react to it, once, in the order of commits per subject.

One relay works at a time over all replicas. A reaction runs in the transaction that marks the event as relayed, so
its effects (delivery rows, operations) exist exactly once; the relay may be killed at any line.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from compass.outbox.append import CHANNEL
from compass.outbox.events import Event
from compass.postgres.pool import Database, Tx

_log = logging.getLogger(__name__)

_POLL_SECONDS: Final = 1.0
"""How long an event can wait when its notification was missed."""
_ATTEMPTS: Final = 8
"""After so many failures of a reaction the event is parked, visible, and the others go on."""

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
"""
PURGE = """
-- outbox.purge
DELETE FROM outbox_event WHERE relayed_at < clock_timestamp() - interval '7 days'
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
        """Relay until cancelled."""
        while True:
            try:
                await self._listen_and_relay()
            except Exception as error:  # noqa: BLE001  # the edge: a relay that ended would take the plane along
                _log.warning("the relay was broken off and begins again: %s: %s", type(error).__name__, error)
            await asyncio.sleep(_POLL_SECONDS)

    async def _listen_and_relay(self) -> None:
        waiting = asyncio.Event()
        async with self._database.listening(CHANNEL, lambda _: waiting.set()) as lost:
            while not lost.is_set():
                waiting.clear()
                while await self.relay_one():
                    pass
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(waiting.wait(), _POLL_SECONDS)

    async def relay_one(self) -> bool:
        """Relay the next event. False when none waits, or another replica relays."""
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
        except (OSError, ConnectionError):
            raise
        except Exception as error:
            if failure is None:
                raise
            # A defect of ours in a reaction: the event is kept, tried later, and must not hold up the others.
            _log.exception("a reaction to outbox event %s failed", failure[0])
            async with self._database.transaction() as tx:
                await tx.run(FAILED, id=failure[0], error=f"{type(error).__name__}: {error}"[:500], most=_ATTEMPTS)
        return True

    async def _react(self, tx: Tx, name: str, facts: dict[str, Any]) -> None:
        kind = Event.known[name]
        event = kind(**facts)
        for reaction in self._reactions.get(kind, ()):
            await reaction(tx, event)

    async def purge(self) -> int:
        """Forget events that were relayed a week ago."""
        async with self._database.transaction() as tx:
            return await tx.run(PURGE)


def reactions(*pairs: tuple[type[Event], Callable[..., Awaitable[None]]]) -> dict[type[Event], list[Reaction]]:
    """Group (event, reaction) pairs by event."""
    grouped: dict[type[Event], list[Reaction]] = {}
    for kind, reaction in pairs:
        grouped.setdefault(kind, []).append(reaction)
    return grouped
