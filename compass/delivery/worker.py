"""The worker that makes the calls that are owed.

    claim      the lane's lease and the attempt's number are committed before anything happens outside
    prepare    the domain says with which credentials, or that nobody is to be told any more
    send       no connection to the database is held
    record     judge, result and the next attempt, in one transaction under the lane's fence

A worker killed at any point leaves a lease that runs out; the delivery is then tried again under the same id. What
the receiver may see twice it can tell by that id.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import Final
from uuid import uuid4

from compass.delivery.attempt import (
    Answer,
    Cancelled,
    Dead,
    Exchange,
    Prepared,
    Retry,
    RetryRules,
    Sender,
    Settled,
    Verdict,
    excerpt,
    judged_by_status,
    send,
    settle,
    storable,
)
from compass.delivery.enqueue import CHANNEL, TELL_CHANGED, Delivery, State
from compass.delivery.kept import KEPT_ATTEMPTS, columns
from compass.errors import presentable
from compass.gauges import Share
from compass.outbound.door import Response
from compass.outbound.errors import RequestRefused
from compass.outbox.append import FEED_CHANNEL
from compass.postgres.pool import Database, Tx
from compass.postgres.queue import BROKEN_OFF, Lease, Loop, Queue, WorkSettings, backoff, this_process
from compass.settings import DeliverySettings

log = logging.getLogger(__name__)

_ERROR_BYTES: Final = 1024
"""How much of an error's text is kept."""

Prepare = Callable[[Tx, Delivery], Awaitable[Prepared | None]]
"""Credentials for this attempt; None when the receiver is gone, which cancels the delivery."""
Judge = Callable[[Tx, Delivery, Answer], Awaitable[Verdict]]
"""The domain's verdict on an answer. What it writes is committed together with the result, or not at all."""
Finished = Callable[[Tx, Delivery, State], Awaitable[None]]
"""Told of every final state, for whatever reason it was reached, in the transaction that records it."""


async def prepare_nothing(_tx: Tx, _delivery: Delivery) -> Prepared:
    """No credentials, no signature."""
    return Prepared()


async def judge_by_status(_tx: Tx, _delivery: Delivery, answer: Answer) -> Verdict:
    """The default verdict, see `judged_by_status`."""
    return judged_by_status(answer)


async def tell_nobody(_tx: Tx, _delivery: Delivery, _state: State) -> None:
    """Nothing happens at the end of a delivery."""


@dataclass(frozen=True)
class DeliveryWork:
    """How one worker process delivers."""

    attempt_timeout: timedelta = DeliverySettings.attempt_timeout
    """Connect, send and read together. A receiver that never answers keeps one of its slots this long."""
    per_receiver: int = 2
    """Calls at the same time to one receiver. Exact within a process; two processes that claim in the same instant
    may together exceed it once."""
    breaker_after: int = 5
    """Failed calls in a row, over all subjects of a receiver, before this process pauses the receiver as a whole."""
    breaker_cap: timedelta = timedelta(seconds=30)
    """The longest such pause. After a pause one call at a time is made, until one succeeds."""
    give_up_on_crashes: int = 5
    """Attempts in a row that ended with the death of the worker; then the delivery is dead."""
    retry: RetryRules = field(default_factory=RetryRules)
    work: WorkSettings = field(default_factory=lambda: WorkSettings(concurrency=DeliverySettings.concurrent_attempts))
    """Slots for calls; a slot costs a socket and a few kilobytes, so many receivers may hang at once."""


LANES: Final = Queue(
    "delivery_lane",
    fresh="""
    WITH RECURSIVE turn (receiver, lap) AS (
        -- Every receiver with something pending, once, beginning anywhere and going round. An index probe each.
        SELECT %(begin)s::uuid, 0
        UNION ALL
        SELECT coalesce(later.receiver, '00000000-0000-0000-0000-000000000000'),
               CASE WHEN later.receiver IS NULL THEN 1 ELSE turn.lap END
        FROM turn LEFT JOIN LATERAL (
            SELECT lane.receiver FROM delivery_lane AS lane
            -- One upper bound, not an OR: only a bound is found in the index without reading what lies before it.
            WHERE lane.receiver > turn.receiver
              AND lane.receiver <= CASE turn.lap WHEN 0 THEN 'ffffffff-ffff-ffff-ffff-ffffffffffff'
                                                 ELSE %(begin)s::uuid END
            ORDER BY lane.receiver
            LIMIT 1
        ) AS later ON true
        WHERE later.receiver IS NOT NULL OR turn.lap = 0
    )
    SELECT due.id
    FROM turn
    CROSS JOIN LATERAL (
        SELECT greatest(0, CASE WHEN turn.receiver = ANY(%(paused)s::uuid[]) THEN 0
                                -- As an array, which is made once and not for every receiver.
                                WHEN turn.receiver = ANY(
                                    ARRAY(SELECT id FROM webhook WHERE paused_at IS NOT NULL)
                                ) THEN 0
                                WHEN turn.receiver = ANY(%(probed)s::uuid[]) THEN 1
                                ELSE %(per_receiver)s::bigint END - count(*)) AS free
        FROM delivery_lane AS held
        WHERE held.receiver = turn.receiver AND held.holder IS NOT NULL AND held.next_at > now()
    ) AS slots
    CROSS JOIN LATERAL (
        SELECT lane.id FROM delivery_lane AS lane
        -- Compared as rows, so that no plan walks through the due lanes of all receivers to find this one's.
        WHERE (lane.receiver, lane.next_at) >= (turn.receiver, '-infinity')
          AND (lane.receiver, lane.next_at) <= (turn.receiver, now())
          AND (lane.abandoned = 0 OR (lane.holder IS NULL AND lane.abandoned = 1))
        ORDER BY lane.receiver, lane.next_at
        LIMIT slots.free
        FOR UPDATE SKIP LOCKED
    ) AS due
    LIMIT %(limit)s
""",
)

HEADS: Final = """
-- delivery.attempt
WITH head AS MATERIALIZED (
    SELECT lane.id AS lane_id, pending.id
    FROM delivery_lane AS lane CROSS JOIN LATERAL (
        SELECT id FROM delivery
        WHERE receiver = lane.receiver AND subject = lane.subject AND state = 'PENDING'
        ORDER BY sequence
        LIMIT 1
    ) AS pending
    WHERE lane.id = ANY(%(lanes)s::uuid[])
)
UPDATE delivery
SET attempts = attempts + 1, first_attempt_at = coalesce(first_attempt_at, clock_timestamp())
FROM head
WHERE delivery.id = head.id
RETURNING head.lane_id, delivery.id, sequence, tenant_id, receiver, subject, kind, method, url, headers, body, facts,
          attempts, failures, clock_timestamp() AS attempted_at, clock_timestamp() - first_attempt_at AS since_first,
          created_at
"""

_RECORD: Final = f"""
-- delivery.record
WITH recorded AS (
    INSERT INTO delivery_attempt (
        delivery_id, number, started_at, elapsed_ms, status, error, response_excerpt,
        url, request_headers, response_headers
    )
    VALUES (
        %(delivery)s, %(number)s, %(started_at)s, %(elapsed_ms)s, %(status)s, %(error)s, %(excerpt)s,
        %(url)s, %(request_headers)s, %(response_headers)s
    )
), forgotten AS (
    DELETE FROM delivery_attempt WHERE delivery_id = %(delivery)s AND number <= %(number)s - %(kept)s
), changed AS (
    UPDATE delivery
    SET state = %(state)s,
        failures = %(failures)s,
        last_status = %(status)s,
        last_error = %(error)s,
        next_at = clock_timestamp() + %(after)s::interval,
        finished_at = CASE WHEN %(after)s::interval IS NULL THEN clock_timestamp() END
    WHERE id = %(delivery)s AND state = 'PENDING'
    RETURNING id, tenant_id, receiver, state
), told AS ({TELL_CHANGED})
SELECT id, pg_notify('{FEED_CHANNEL}', '') FROM changed
"""

_PASS: Final = """
-- delivery_lane.pass
WITH waiting AS MATERIALIZED (
    SELECT EXISTS (
        SELECT FROM delivery JOIN delivery_lane AS lane USING (receiver, subject)
        WHERE lane.id = %(lane)s AND delivery.state = 'PENDING'
    ) AS found
), empty AS (
    DELETE FROM delivery_lane USING waiting WHERE id = %(lane)s AND NOT waiting.found
)
UPDATE delivery_lane
SET holder = NULL, abandoned = 0, next_at = clock_timestamp()
FROM waiting
WHERE id = %(lane)s AND waiting.found
RETURNING id
"""


@dataclass(frozen=True)
class _Due:
    lease: Lease
    delivery: Delivery


@dataclass(frozen=True)
class _Health:
    """What this process last saw of a receiver that fails."""

    failures: int
    pause_until: float


class _Breaker:
    """Receivers that fail on every subject are paused as a whole, so that they do not hold slots all the time.

    Known to this process only: it is a courtesy and a protection, no state anybody relies on.
    """

    def __init__(self, rules: DeliveryWork, chance: Callable[[], float], clock: Callable[[], float]) -> None:
        self._rules = rules
        self._chance = chance
        self._clock = clock
        self._failing: dict[str, _Health] = {}

    def heard(self, receiver: str, answer: Answer) -> None:
        """Count a call. The pauses grow from one second, each at least half of what it could be."""
        if isinstance(answer, RequestRefused):
            return  # never sent, so it says nothing about the receiver
        if isinstance(answer, Response) and not _overloaded(answer.status):
            self._failing.pop(receiver, None)
            return
        failures = self._failing[receiver].failures + 1 if receiver in self._failing else 1
        over = failures - self._rules.breaker_after
        pause = timedelta(0)
        if over >= 0:
            chance = 0.5 + self._chance() / 2
            pause = backoff(over + 1, base=timedelta(seconds=1), factor=2, cap=self._rules.breaker_cap, chance=chance)
        self._failing[receiver] = _Health(failures, self._clock() + pause.total_seconds())

    def standing(self) -> tuple[list[str], list[str]]:
        """The receivers that are paused, and those that get one call at a time. Forgets who has not failed for long."""
        now = self._clock()
        forgotten = now - 10 * self._rules.breaker_cap.total_seconds()
        self._failing = {name: health for name, health in self._failing.items() if health.pause_until > forgotten}
        broken = {name: h for name, h in self._failing.items() if h.failures >= self._rules.breaker_after}
        paused = [name for name, health in broken.items() if health.pause_until > now]
        return paused, [name for name in broken if name not in paused]


def _overloaded(status: int) -> bool:
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS


class Worker:
    """Delivers until told to stop. Any number of processes may run one on the same database."""

    def __init__(
        self,
        database: Database,
        door: Sender,
        *,
        prepare: Prepare = prepare_nothing,
        judge: Judge = judge_by_status,
        finished: Finished = tell_nobody,
        settings: DeliveryWork | None = None,
        chance: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`chance` gives numbers in [0, 1) for jitter; `clock` seconds that never go back, for durations only."""
        self._database = database
        self._door = door
        self._prepare = prepare
        self._judge = judge
        self._finished = finished
        self._settings = settings or DeliveryWork()
        self._chance = chance
        self._clock = clock
        self._breaker = _Breaker(self._settings, chance, clock)
        self._holder = this_process()
        self._loop: Loop[_Due] = Loop(
            database, LANES, channel=CHANNEL, claim=self._claim, perform=self._attempt, settings=self._settings.work
        )

    @property
    def seats(self) -> Share:
        """How many calls are under way in this process, of those that may be."""
        return self._loop.seats

    async def run(self, stopping: asyncio.Event) -> None:
        """Deliver until `stopping` is set; then wait for the calls under way, and give back what takes too long."""
        await self._loop.run(stopping)

    async def _claim(self, tx: Tx, limit: int, suspects: int) -> list[_Due]:
        paused, probed = self._breaker.standing()
        leases = await LANES.claim(
            tx,
            holder=self._holder,
            lease=self._settings.work.lease,
            limit=limit,
            suspects=suspects,
            begin=str(uuid4()),
            paused=paused,
            probed=probed,
            per_receiver=self._settings.per_receiver,
        )
        if not leases:
            return []
        rows = await tx.rows(HEADS, lanes=[lease.id for lease in leases])
        heads = {row["lane_id"]: row for row in rows}
        due = []
        for lease in leases:
            row = heads.get(lease.id)
            if row is None:
                # Somebody removed what was pending without passing the lane on.
                await tx.value(_PASS, lane=lease.id)
                continue
            due.append(
                _Due(
                    lease,
                    Delivery(
                        id=row["id"],
                        sequence=row["sequence"],
                        tenant=row["tenant_id"],
                        receiver=row["receiver"],
                        subject=row["subject"],
                        kind=row["kind"],
                        method=row["method"],
                        url=row["url"],
                        headers=row["headers"],
                        body=row["body"],
                        facts=row["facts"],
                        attempt=row["attempts"],
                        failures=row["failures"],
                        attempted_at=row["attempted_at"],
                        since_first=row["since_first"],
                        created_at=row["created_at"],
                    ),
                )
            )
        return due

    async def _attempt(self, due: _Due) -> None:
        delivery = due.delivery
        began = self._clock()
        if due.lease.abandoned >= self._settings.give_up_on_crashes:
            dead = Dead(f"{due.lease.abandoned} attempts in a row ended with the death of the worker")
            await self._record(due, _known(dead), None, began)
            return
        try:
            async with self._database.transaction() as tx:
                prepared = await self._prepare(tx, delivery)
        except Exception as error:  # the domain's failure is this delivery's, not the worker's
            log.exception("delivery %s cannot be prepared", delivery.id)
            await self._record(due, _known(Retry(f"it could not be prepared: {presentable(error)}")), None, began)
            return
        if prepared is None:
            await self._record(due, _known(Cancelled("the receiver is gone")), None, began)
            return
        made = await send(self._door, delivery, prepared, within=self._settings.attempt_timeout)
        self._breaker.heard(delivery.receiver, made.answer)
        try:
            await self._record(due, lambda tx: self._judge(tx, delivery, made.answer), made, began)
        except _NotJudged as failure:
            # Rolled back with all the domain wrote; the attempt is recorded without it.
            log.exception("the answer to delivery %s cannot be judged", delivery.id)
            await self._record(due, _known(Retry(f"its answer could not be judged: {failure}")), made, began)

    async def _record(
        self, due: _Due, judge: Callable[[Tx], Awaitable[Verdict]], made: Exchange | None, began: float
    ) -> None:
        """Judge, write the result and pass the lane on, if it is still ours. Raises LeaseLost, _NotJudged."""
        delivery = due.delivery
        elapsed = timedelta(seconds=self._clock() - began)
        chance = self._chance()

        async def record(tx: Tx) -> None:
            await LANES.hold(tx, due.lease)
            try:
                verdict = await judge(tx)
            except BROKEN_OFF:
                raise
            except Exception as error:
                raise _NotJudged(presentable(error)) from error
            settled = settle(
                verdict,
                made.answer if made else None,
                failures=delivery.failures + 1,
                since_first=delivery.since_first + elapsed,
                rules=self._settings.retry,
                now=delivery.attempted_at + elapsed,
                chance=chance,
            )
            await self._write(tx, due, settled, made, elapsed)

        await self._database.run(record)

    async def _write(self, tx: Tx, due: _Due, settled: Settled, made: Exchange | None, elapsed: timedelta) -> None:
        response = made.answer if made and isinstance(made.answer, Response) else None
        delivery = due.delivery
        written = await tx.value(
            _RECORD,
            delivery=delivery.id,
            number=delivery.attempt,
            started_at=delivery.attempted_at,
            elapsed_ms=int(elapsed / timedelta(milliseconds=1)),
            status=response.status if response else None,
            error=None if settled.why is None else storable(settled.why, _ERROR_BYTES),
            excerpt=excerpt(response) if response else None,
            **columns(made),
            kept=KEPT_ATTEMPTS,
            state=settled.state,
            failures=delivery.failures + (settled.state in (State.PENDING, State.DEAD)),
            after=settled.after,
        )
        if written and settled.after is not None:
            await LANES.back_off(tx, due.lease, after=settled.after)
            return
        if written:
            await self._finished(tx, delivery, settled.state)
        await tx.value(_PASS, lane=due.lease.id)


class _NotJudged(Exception):
    """The domain's verdict failed; the text names the error."""


def _known(verdict: Verdict) -> Callable[[Tx], Awaitable[Verdict]]:
    async def rule(_tx: Tx) -> Verdict:
        return verdict

    return rule
