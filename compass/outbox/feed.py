"""The change feed: every committed event, to everybody who follows and may know of it, in one order without gaps.

The order is that of the transactions that wrote the events, and it is read only as far as the oldest transaction that
still runs. An event's id is given before its commit: whoever read by ids alone would pass over an event that commits
after one with a larger id. Source: design/architecture.md rule 8, docs/adr/0014.

One connection per process listens and one statement reads for all followers; without followers nothing is read.
Delivery is at least once: a follower that comes back with the last position it handled is given each later event once,
by whichever replica. The mechanism knows no caller and no domain: an `Address` says under which keys an event is told.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, Self

from compass.errors import Unavailable
from compass.outbox.append import CHANNEL, FEED_CHANNEL
from compass.postgres.pool import AWAY, Database

_log = logging.getLogger(__name__)

_POLL_SECONDS: Final = 1.0
"""How long an event can wait when its notification was missed."""
_HELD_BACK_SECONDS: Final = 0.02
"""Between looks while an event waits for an older transaction: its end is announced to nobody."""
_APART_SECONDS: Final = 0.005
"""Between two reads. Under load one read then fetches what several commits announced."""
_PAGE: Final = 500
_MOST_MISSED: Final = 10_000
"""Who missed more is told to read everything anew, which is less work for both."""
_WAITS_SECONDS: Final = 5.0
"""How long somebody who begins to follow waits for the feed to listen."""
_CHECK_SECONDS: Final = 0.5
"""How long somebody whose rights ended is told of changes: this, and the time of one statement."""

READ: Final = """
-- feed.read
WITH bound AS MATERIALIZED (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS horizon)
SELECT
    bound.horizon::text::bigint AS horizon,
    coalesce((SELECT last.xid FROM outbox_event last ORDER BY last.xid DESC, last.id DESC LIMIT 1), '0')
        >= bound.horizon AS held_back,
    ARRAY(
        SELECT ROW (event.xid::text::bigint, event.id, event.tenant_id, event.name, event.facts, event.happened_at)
        FROM outbox_event event
        WHERE (event.xid, event.id) > ($1::text::xid8, $2::bigint) AND event.xid < bound.horizon
        ORDER BY event.xid, event.id
        LIMIT $3
    ) AS events
FROM bound
"""
BEGIN: Final = """
-- feed.begin
WITH bound AS MATERIALIZED (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS horizon)
SELECT
    bound.horizon::text::bigint AS horizon,
    forgotten.xid::text::bigint AS forgotten_xid,
    forgotten.id AS forgotten_id,
    (
        SELECT count(*) FROM (
            SELECT FROM outbox_event event
            WHERE (event.xid, event.id) > ($1::text::xid8, $2::bigint) AND event.xid < bound.horizon
            ORDER BY event.xid, event.id
            LIMIT $3
        ) AS missed
    ) AS missed
FROM bound CROSS JOIN outbox_forgotten forgotten
"""


class Position(NamedTuple):
    """A place in the order: after this event of this transaction. Sent as `transaction-event`."""

    xid: int
    event: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """None for what is no position of ours."""
        xid, dash, event = text.partition("-")
        if not dash or not all(part.isascii() and part.isdigit() and len(part) < _DIGITS for part in (xid, event)):
            return None
        return cls(int(xid), int(event))

    def __str__(self) -> str:
        return f"{self.xid}-{self.event}"


_DIGITS: Final = 19
"""Shorter numbers fit into what the database counts with."""


_NOWHERE: Final = Position(2**62, 0)
"""After everything that will ever be: who has read nothing has missed nothing."""


@dataclass(frozen=True)
class Change:
    """A committed event, at its place."""

    position: Position
    tenant: str | None
    name: str
    facts: Mapping[str, Any]
    happened_at: datetime


@dataclass(frozen=True)
class Told:
    """What followers are told of a change."""

    position: Position
    name: str
    data: bytes
    """JSON."""
    keys: frozenset[str]
    """Told to followers that have one of these."""
    scope: str
    """And this right."""


@dataclass(frozen=True)
class Reset:
    """Read everything anew: what was missed cannot be told. What comes after it, is."""

    position: Position


@dataclass(frozen=True)
class Follower:
    """Who follows: the keys it has, its rights, and what of it may end meanwhile."""

    keys: frozenset[str]
    scopes: frozenset[str] | None
    """None when the keys say it all."""
    credential: Hashable

    def may_know(self, told: Told) -> bool:
        """Whether it is told."""
        return not self.keys.isdisjoint(told.keys) and (self.scopes is None or told.scope in self.scopes)


Address = Callable[[Sequence[Change]], Awaitable[Sequence[Told]]]
"""What is told of each change, and to whom; a change that is told to nobody may be left out."""
Ended = Callable[[Collection[Any]], Awaitable[Collection[Any]]]
"""Those of the credentials that are no longer good."""


@dataclass(frozen=True)
class FeedRules:
    """How followers are treated."""

    buffer: int = 1000
    """Changes that wait for one follower. Who falls behind further is let go, and comes back to where it was."""
    life: timedelta = timedelta(minutes=10)
    """Half as much again at most; then the follower has to show anew who it is and what it may know."""
    heart_beat: timedelta = timedelta(seconds=10)
    """Something is said at least this often."""


class _Subscription:
    """What waits for one follower."""

    def __init__(self, follower: Follower, most: int) -> None:
        self.follower = follower
        self.waiting: deque[Told] = deque()
        self.woken = asyncio.Event()
        self.ended = False
        self._most = most

    def offer(self, told: Told) -> None:
        if len(self.waiting) >= self._most:
            self.end()
        elif not self.ended:
            self.waiting.append(told)
            self.woken.set()

    def end(self) -> None:
        self.ended = True
        self.waiting.clear()
        self.woken.set()


class Feed:
    """The feed of one process. Run it as a task; `follow` it from requests."""

    def __init__(self, database: Database, *, address: Address, ended: Ended, rules: FeedRules | None = None) -> None:
        self._database = database
        self._address = address
        self._ended = ended
        self.rules = rules or FeedRules()
        self._subscriptions: dict[str, set[_Subscription]] = {}
        self._followers: set[_Subscription] = set()
        self._position = Position(0, 0)
        self._reading = asyncio.Event()
        self._hint = asyncio.Event()
        self._told_all_at = 0.0
        self._closed = False

    @property
    def followers(self) -> int:
        """How many follow at this moment."""
        return len(self._followers)

    @property
    def behind_seconds(self) -> float | None:
        """For how long there has been something that could not be told, or not even looked for; None without followers.

        Up to a second of it is not seen: that is how often it is looked when nothing is announced.
        """
        if not self._followers or not self._reading.is_set():
            return None
        return max(0.0, time.monotonic() - self._told_all_at - _POLL_SECONDS)

    async def run(self) -> None:
        """Read and tell until cancelled; then let all followers go."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._again_and_again(self._listen_and_tell))
                group.create_task(self._again_and_again(self._watch_credentials))
        finally:
            self._closed = True
            for subscription in self._followers:
                subscription.end()

    async def follow(self, follower: Follower, after: str | None) -> AsyncGenerator[Told | Reset | None, None]:
        """What happens from now on; or, `after` a position that is still known, what happened since.

        None when there was nothing to say for a while. Ends when the follower fell behind, when its credential ended,
        after `FeedRules.life` and with the plane. Raises Unavailable.
        """
        if self._closed:
            raise Unavailable
        subscription = _Subscription(follower, self.rules.buffer)
        self._join(subscription)
        try:
            try:
                async with asyncio.timeout(_WAITS_SECONDS):
                    await self._reading.wait()
            except TimeoutError:
                raise Unavailable from None
            position = Position.parse(after) if after is not None else None
            begin, known = await self._begin(position)
            if position is None or not known:
                position = begin
                yield Reset(position)
            else:
                yield None  # it is known by now that there will be an answer
                async for told in self._missed(follower, position):
                    if subscription.ended:
                        return
                    yield told
                    position = told.position
            async for next_told in self._live(subscription, position):
                yield next_told
        finally:
            self._leave(subscription)

    async def _live(self, subscription: _Subscription, position: Position) -> AsyncIterator[Told | None]:
        loop = asyncio.get_running_loop()
        # Not all at the same moment: those who came back together would come back together for ever.
        until = loop.time() + self.rules.life.total_seconds() * (1 + random.random() / 2)  # noqa: S311
        while not subscription.ended and loop.time() < until:
            if not subscription.waiting:
                subscription.woken.clear()
                try:
                    async with asyncio.timeout(self.rules.heart_beat.total_seconds()):
                        await subscription.woken.wait()
                except TimeoutError:
                    yield None
                continue
            told = subscription.waiting.popleft()
            if told.position > position:
                yield told

    async def _begin(self, position: Position | None) -> tuple[Position, bool]:
        """The present end of the order, and whether everything after `position` is still there and not too much."""
        asked = _NOWHERE if position is None else position
        row = await self._database.read(BEGIN, [str(asked.xid), asked.event, _MOST_MISSED + 1])
        begin = Position(row["horizon"], 0)
        forgotten = Position(row["forgotten_xid"], row["forgotten_id"])
        # A position after the end was given by a database that was since replaced by an older one.
        return begin, forgotten <= asked <= begin and row["missed"] <= _MOST_MISSED

    async def _missed(self, follower: Follower, position: Position) -> AsyncIterator[Told]:
        while True:
            changes, _, _ = await self._read(position)
            for told in await self._address(changes):
                if follower.may_know(told):
                    yield told
            if len(changes) < _PAGE:
                return
            position = changes[-1].position

    def _join(self, subscription: _Subscription) -> None:
        self._followers.add(subscription)
        for key in subscription.follower.keys:
            self._subscriptions.setdefault(key, set()).add(subscription)
        self._hint.set()

    def _leave(self, subscription: _Subscription) -> None:
        self._followers.discard(subscription)
        for key in subscription.follower.keys:
            having = self._subscriptions.get(key, set())
            having.discard(subscription)
            if not having:
                self._subscriptions.pop(key, None)

    async def _again_and_again(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except Exception as error:  # noqa: BLE001  # the edge: a feed that ended would take the plane along
                unexpected = None if isinstance(error, AWAY) else error
                told = f"{type(error).__name__}: {error}"
                _log.warning("the change feed was broken off and begins again: %s", told, exc_info=unexpected)
            await asyncio.sleep(_POLL_SECONDS)

    async def _listen_and_tell(self) -> None:
        async with self._database.listening(CHANNEL, lambda _: self._hint.set(), FEED_CHANNEL) as lost:
            loop = asyncio.get_running_loop()
            while not lost.is_set():
                self._hint.clear()
                looked, pause = loop.time(), _POLL_SECONDS
                if not self._followers:
                    self._reading.clear()
                elif not self._reading.is_set():
                    self._position, _ = await self._begin(None)
                    self._told_all_at = time.monotonic()
                    self._reading.set()
                elif await self._tell():
                    pause = _HELD_BACK_SECONDS
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._hint.wait()
                await asyncio.sleep(max(0.0, looked + _APART_SECONDS - loop.time()))

    async def _tell(self) -> bool:
        """Tell all that can be read. Whether something waits for an older transaction."""
        while True:
            looked_at = time.monotonic()
            changes, horizon, held_back = await self._read(self._position)
            for told in await self._address(changes) if changes else ():
                for subscription in {one for key in told.keys for one in self._subscriptions.get(key, ())}:
                    if subscription.follower.may_know(told):
                        subscription.offer(told)
            if len(changes) < _PAGE:
                # Everything before the horizon was read; the next read need not look at it again.
                self._position = max(self._position, Position(horizon, 0))
                if not held_back:
                    self._told_all_at = looked_at
                return held_back
            self._position = changes[-1].position

    async def _read(self, after: Position) -> tuple[list[Change], int, bool]:
        row = await self._database.read(READ, [str(after.xid), after.event, _PAGE])
        changes = [
            Change(Position(xid, number), tenant, name, facts, happened_at)
            for xid, number, tenant, name, facts, happened_at in row["events"]
        ]
        return changes, row["horizon"], row["held_back"]

    async def _watch_credentials(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            asked = {subscription.follower.credential for subscription in self._followers}
            if asked:
                ended = set(await self._ended(asked))
                for subscription in self._followers:
                    if subscription.follower.credential in ended:
                        subscription.end()
