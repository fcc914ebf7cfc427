"""Rows as work: claimed under a lease, renewed while being worked on, given back or finished by the holder alone.

A queue is any table with these columns, beside its own:

    id         uuid PRIMARY KEY
    next_at    timestamptz    claimable from then on; while leased, the end of the lease; null = nothing to do
    holder     text           who holds the lease; null = nobody. Still set after next_at = the holder died or stalls
    fence      bigint         grows with every claim; a write that carries an older one is refused
    abandoned  smallint       leases in a row that ended without any result

The database's clock alone decides when a lease ends, so workers may disagree about the time. A holder that was
paused for longer than its lease finds a newer fence and can no longer write (F22). Work that kills its worker
again and again is a *suspect*: a worker takes one suspect at a time, so that it cannot take its neighbours along,
and the domain gives up on it when `Lease.abandoned` reaches its limit (F20).
"""

import asyncio
import logging
import os
import random
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Generic, Protocol, TypeVar

import asyncpg

from compass.gauges import Share
from compass.postgres.pool import AWAY, Database, Tx

log = logging.getLogger(__name__)

SUSPECT_FROM: Final = 2
"""Abandoned leases in a row that make work a suspect. One proves little: all work of a killed process has it."""

BROKEN_OFF: Final = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
"""What `Database.run` answers by running the work again: nobody in between may turn it into something else."""

_CLAIM = """
-- queue.claim
WITH fresh AS (
    {fresh}
), suspect AS (
    SELECT id FROM {table}
    WHERE next_at <= now() AND abandoned > 0 AND (holder IS NOT NULL OR abandoned > 1)
    ORDER BY next_at
    LIMIT %(suspects)s
    FOR UPDATE SKIP LOCKED
)
UPDATE {table} AS row
SET holder = %(holder)s,
    fence = row.fence + 1,
    abandoned = row.abandoned + CASE WHEN row.holder IS NULL THEN 0 ELSE 1 END,
    next_at = clock_timestamp() + %(lease)s
-- An array, not a join: a join of a few ids with many rows may be planned as a scan of all of them.
WHERE row.id = ANY(ARRAY(SELECT id FROM fresh UNION ALL SELECT id FROM suspect))
RETURNING row.id, row.fence, row.abandoned
"""

_FRESH = """
    SELECT id FROM {table}
    WHERE next_at <= now() AND (abandoned = 0 OR (holder IS NULL AND abandoned = 1))
    ORDER BY next_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
"""

_HOLD = """
-- queue.hold
SELECT id FROM {table} WHERE id = %(id)s AND fence = %(fence)s AND holder IS NOT NULL FOR UPDATE
"""

_RENEW = """
-- queue.renew
UPDATE {table} AS row
SET next_at = clock_timestamp() + %(lease)s
FROM unnest(%(ids)s::uuid[], %(fences)s::bigint[]) AS held (id, fence)
WHERE row.id = held.id AND row.fence = held.fence AND row.holder IS NOT NULL
RETURNING row.id
"""

_BACK_OFF = """
-- queue.back_off
UPDATE {table}
SET holder = NULL, abandoned = 0, next_at = clock_timestamp() + %(after)s
WHERE id = %(id)s AND fence = %(fence)s AND holder IS NOT NULL
"""

_RELEASE = """
-- queue.release
UPDATE {table} AS row
SET holder = NULL, next_at = clock_timestamp()
FROM unnest(%(ids)s::uuid[], %(fences)s::bigint[]) AS held (id, fence)
WHERE row.id = held.id AND row.fence = held.fence AND row.holder IS NOT NULL
"""

_NEXT_DUE = """
-- queue.next_due
SELECT next_at - clock_timestamp() FROM {table} WHERE next_at > now() ORDER BY next_at LIMIT 1
"""


class LeaseLost(Exception):
    """The lease ended and another worker may hold the row: whatever this one found out is no longer its to write."""


@dataclass(frozen=True)
class Lease:
    """The right to work on one row until the lease ends, and the number that proves it."""

    id: str
    fence: int
    abandoned: int
    """How many leases before this one ended without a result, in a row."""

    @property
    def suspect(self) -> bool:
        """Whether this work may be what killed its workers."""
        return self.abandoned >= SUSPECT_FROM


class Queue:
    """The statements of the lease over one table."""

    def __init__(self, table: str, *, fresh: str = _FRESH) -> None:
        """`fresh` selects and locks the ids of at most `%(limit)s` due rows that are no suspects."""
        self.claiming: Final = _CLAIM.format(table=table, fresh=fresh.format(table=table))
        self._hold = _HOLD.format(table=table)
        self._renew = _RENEW.format(table=table)
        self._back_off = _BACK_OFF.format(table=table)
        self._release = _RELEASE.format(table=table)
        self._next_due = _NEXT_DUE.format(table=table)

    async def claim(
        self, tx: Tx, *, holder: str, lease: timedelta, limit: int, suspects: int = 1, **parameters: Any
    ) -> list[Lease]:
        """Take up to `limit` due rows and up to `suspects` suspects; `parameters` are those of the table's own `fresh`.

        One statement. Rows that another worker is claiming at this moment are passed over, not waited for. Count
        the attempt in the same transaction: what is not counted before the work is not counted when the work kills us.
        """
        rows = await tx.rows(self.claiming, holder=holder, lease=lease, limit=limit, suspects=suspects, **parameters)
        return [Lease(row["id"], row["fence"], row["abandoned"]) for row in rows]

    async def hold(self, tx: Tx, lease: Lease) -> None:
        """Lock the row until the transaction ends: what follows in it is written by the holder, or not at all.

        A lease that ran out but was taken by nobody still holds: the fence decides, not the time.
        Raises LeaseLost.
        """
        if await tx.row(self._hold, id=lease.id, fence=lease.fence) is None:
            raise LeaseLost(lease.id)

    async def renew(self, tx: Tx, leases: Sequence[Lease], *, lease: timedelta) -> set[str]:
        """Extend the leases; the ids of those that still hold. One statement, whatever their number."""
        rows = await tx.rows(
            self._renew, lease=lease, ids=[held.id for held in leases], fences=[held.fence for held in leases]
        )
        return {row["id"] for row in rows}

    async def back_off(self, tx: Tx, lease: Lease, *, after: timedelta) -> None:
        """Give the row back, to be claimed again in a while. Raises LeaseLost."""
        if not await tx.run(self._back_off, id=lease.id, fence=lease.fence, after=after):
            raise LeaseLost(lease.id)

    async def release(self, tx: Tx, leases: Sequence[Lease]) -> None:
        """Give rows back as they are, to be claimed by anybody at once. Those no longer held are left alone."""
        await tx.run(self._release, ids=[held.id for held in leases], fences=[held.fence for held in leases])

    async def next_due(self, tx: Tx) -> timedelta | None:
        """How long until the next row that is not due yet becomes so, a running lease's end included."""
        due: timedelta | None = await tx.value(self._next_due)
        return due


def backoff(failures: int, *, base: timedelta, factor: float, cap: timedelta, chance: float) -> timedelta:
    """How long to wait after that many failures in a row (1 = the first): exponential, capped, full jitter.

    `chance` in [0, 1) is the randomness. Waiting anything between nothing and the full time keeps many that
    failed together from coming back together. Source: "Exponential Backoff And Jitter", AWS Architecture Blog.
    """
    # In float seconds, and with a bounded exponent: both timedelta and float overflow long after the cap applies.
    full = base.total_seconds() * factor ** min(failures - 1, 64)
    return timedelta(seconds=min(cap.total_seconds(), full) * chance)


@dataclass(frozen=True)
class WorkSettings:
    """How one worker process takes work."""

    concurrency: int
    """Rows worked on at the same time."""
    lease: timedelta = timedelta(seconds=30)
    """How long after the death of a worker its rows are taken up again. Renewed at every third of it."""
    poll: timedelta = timedelta(seconds=1)
    """The longest rest between two looks at the table, for when a notification was missed."""
    grace: timedelta = timedelta(seconds=5)
    """How long a stop waits for the work in flight before it is broken off and given back."""


class Claimed(Protocol):
    """Work taken from a queue."""

    @property
    def lease(self) -> Lease:
        """What must still hold when the result is written."""


Work = TypeVar("Work", bound=Claimed)


def this_process() -> str:
    """Who holds a lease, for the operator who looks at the table."""
    return f"{socket.gethostname()}:{os.getpid()}"


class Loop(Generic[Work]):
    """Claims work as it becomes due and performs it side by side, until told to stop.

    `claim` takes at most so many rows and so many suspects in the transaction it is given; `perform` does the work
    outside of any and writes its result with the fence. A `perform` that raises leaves its row to the end of the lease.
    """

    def __init__(
        self,
        database: Database,
        queue: Queue,
        *,
        channel: str,
        claim: Callable[[Tx, int, int], Awaitable[Iterable[Work]]],
        perform: Callable[[Work], Awaitable[None]],
        settings: WorkSettings,
    ) -> None:
        self._database = database
        self._queue = queue
        self._channel = channel
        self._claim = claim
        self._perform = perform
        self._settings = settings
        self._in_flight: dict[asyncio.Task[None], Work] = {}
        self._wake = asyncio.Event()

    @property
    def seats(self) -> Share:
        """How many rows are worked on, of those that may be at the same time."""
        return Share(len(self._in_flight), self._settings.concurrency)

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until `stopping` is set or the task is cancelled; then finish or give back what is in flight."""
        background = [
            asyncio.create_task(self._listen()),
            asyncio.create_task(self._renew()),
            asyncio.create_task(self._wake_when(stopping)),
        ]
        try:
            while not stopping.is_set():
                self._wake.clear()
                rest = await self._take()
                with suppress(TimeoutError):
                    async with asyncio.timeout(rest.total_seconds()):
                        await self._wake.wait()
        finally:
            await self._drain()
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)

    async def _take(self) -> timedelta:
        """Claim what fits and start it; how long to rest if nothing wakes us earlier."""
        free = self._settings.concurrency - len(self._in_flight)
        if free <= 0:
            return self._settings.poll
        suspects = 0 if any(work.lease.suspect for work in self._in_flight.values()) else 1

        async def claim(tx: Tx) -> tuple[list[Work], timedelta | None]:
            return list(await self._claim(tx, free, suspects)), await self._queue.next_due(tx)

        try:
            works, next_due = await self._database.run(claim)
        except AWAY as error:
            log.warning("cannot claim work on %s: %s", self._channel, error)
            return self._settings.poll
        for work in works:
            task = asyncio.create_task(self._perform_one(work))
            self._in_flight[task] = work
            task.add_done_callback(self._done)
        return self._settings.poll if next_due is None else max(timedelta(0), min(self._settings.poll, next_due))

    async def _perform_one(self, work: Work) -> None:
        try:
            await self._perform(work)
        except LeaseLost:
            log.warning("%s %s was taken over by another worker; its result is dropped", self._channel, work.lease.id)
        except Exception:
            log.exception("%s %s ended without a result; it is taken up after its lease", self._channel, work.lease.id)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._in_flight.pop(task, None)
        self._wake.set()

    async def _drain(self) -> None:
        flying = set(self._in_flight)
        if not flying:
            return
        _, late = await asyncio.wait(flying, timeout=self._settings.grace.total_seconds())
        broken_off = [self._in_flight[task].lease for task in late]
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        if broken_off:
            try:
                await self._database.run(lambda tx: self._queue.release(tx, broken_off))
            except AWAY as error:
                log.warning("cannot give back work on %s, its leases will run out: %s", self._channel, error)

    async def _renew(self) -> None:
        doubtful: set[asyncio.Task[None]] = set()
        while True:
            await asyncio.sleep(self._settings.lease.total_seconds() / 3)
            held = dict(self._in_flight)
            if not held:
                continue
            try:
                kept = await self._renewed([work.lease for work in held.values()])
            except AWAY as error:
                log.warning("cannot renew leases on %s: %s", self._channel, error)
                continue
            missed = {task for task, work in held.items() if work.lease.id not in kept and task in self._in_flight}
            # Once may be work that wrote its result a moment ago and is on its way out; twice is a lease that was lost.
            for task in missed & doubtful:
                log.warning("%s %s is held by another worker; broken off", self._channel, held[task].lease.id)
                task.cancel()
            doubtful = missed

    async def _renewed(self, leases: Sequence[Lease]) -> set[str]:
        return await self._database.run(lambda tx: self._queue.renew(tx, leases, lease=self._settings.lease))

    async def _listen(self) -> None:
        while True:
            try:
                async with self._database.listening(self._channel, lambda _: self._wake.set()) as lost:
                    self._wake.set()  # whatever was announced while nobody listened
                    await lost.wait()
            except AWAY as error:
                log.warning("cannot listen on %s: %s", self._channel, error)
            # Spread, so that the workers of a fleet do not all reconnect in the instant a database returns.
            await asyncio.sleep(self._settings.poll.total_seconds() * (0.5 + random.random()))  # noqa: S311

    async def _wake_when(self, stopping: asyncio.Event) -> None:
        await stopping.wait()
        self._wake.set()
