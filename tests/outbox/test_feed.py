"""Nobody who follows misses an event, is told one twice, or is told of what is not theirs to know."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from compass.errors import Unavailable
from compass.ids import TenantId
from compass.outbox import feed as feed_module
from compass.outbox.append import FEED_CHANNEL, TELL, append
from compass.outbox.events import Event
from compass.outbox.feed import Change, Feed, FeedRules, Follower, Position, Reset, Told
from compass.outbox.relay import Relay
from compass.postgres.pool import Database

MINE = TenantId("00000000-0000-4000-8000-000000000001")
OTHER = TenantId("00000000-0000-4000-8000-000000000002")


@dataclass(frozen=True)
class BellRung(Event):
    """A bell was rung."""

    number: int


def told(change: Change) -> Told:
    data = str(change.facts["number"]).encode()
    return Told(change.position, change.name, data, frozenset({f"tenant {change.tenant}"}), "bell:hear")


async def address(changes: Sequence[Change]) -> Sequence[Told]:
    return [told(change) for change in changes]


async def nobody(_: Collection[Any]) -> Collection[Any]:
    return []


def follower(tenant: TenantId = MINE, *, scopes: frozenset[str] | None = None, credential: str = "c") -> Follower:
    return Follower(frozenset({f"tenant {tenant}"}), frozenset({"bell:hear"}) if scopes is None else scopes, credential)


@asynccontextmanager
async def running(database: Database, **options: Any) -> AsyncIterator[Feed]:
    feed = Feed(database, address=options.pop("address", address), ended=options.pop("ended", nobody), **options)
    task = asyncio.create_task(feed.run())
    try:
        yield feed
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.fixture
async def feed(database: Database) -> AsyncIterator[Feed]:
    async with running(database) as feed:
        yield feed


async def ring(database: Database, *numbers: int, tenant: TenantId = MINE) -> None:
    for number in numbers:
        async with database.transaction() as tx:
            await append(tx, BellRung(tenant, number))


class Ear:
    """A follower that writes down what it hears."""

    def __init__(self, feed: Feed, who: Follower, after: str | None) -> None:
        self.heard: list[int] = []
        self.resets: list[str] = []
        self.position = after
        self.began = asyncio.Event()
        self.task = asyncio.create_task(self._listen(feed, who, after))

    async def _listen(self, feed: Feed, who: Follower, after: str | None) -> None:
        async with aclosing(feed.follow(who, after)) as stream:
            async for one in stream:
                if isinstance(one, Reset):
                    self.resets.append(str(one.position))
                elif one is not None:
                    self.heard.append(int(one.data))
                if one is not None:
                    self.position = str(one.position)
                self.began.set()

    async def hears(self, count: int) -> list[int]:
        async with asyncio.timeout(10):
            while len(self.heard) < count and not self.task.done():
                await asyncio.sleep(0.005)
        return self.heard

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})


Listen = Callable[..., Awaitable[Ear]]


@pytest.fixture
async def listen() -> AsyncIterator[Listen]:
    ears: list[Ear] = []

    async def listening(feed: Feed, who: Follower | None = None, after: str | None = None) -> Ear:
        ears.append(Ear(feed, who or follower(), after))
        began = asyncio.ensure_future(ears[-1].began.wait())
        await asyncio.wait({began, ears[-1].task}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        began.cancel()
        return ears[-1]

    yield listening
    for ear in ears:
        await ear.stop()


async def test_whoever_begins_is_told_to_read_everything_and_then_of_what_changes(
    database: Database, feed: Feed, listen: Listen
) -> None:
    await ring(database, 1)
    ear = await listen(feed)
    await ring(database, 2, 3)

    assert await ear.hears(2) == [2, 3]
    assert len(ear.resets) == 1


async def test_what_is_announced_for_followers_alone_wakes_the_feed_by_itself(
    database: Database, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "_POLL_SECONDS", 3600.0)
    async with running(database) as feed:
        ear = await listen(feed)
        for number in (1, 2):
            async with database.transaction() as tx:
                await tx.run(f"-- test\n{TELL} %(tenant)s::uuid, 'BellRung', '{{\"number\": {number}}}'", tenant=MINE)
                await tx.run(f"-- test\nSELECT pg_notify('{FEED_CHANNEL}', '')")
            assert await ear.hears(number) == [1, 2][:number]


async def test_an_event_that_commits_after_a_later_one_is_not_missed(
    database: Database, feed: Feed, listen: Listen
) -> None:
    live = await listen(feed)
    async with database.transaction() as slow:
        await append(slow, BellRung(MINE, 1))
        await ring(database, 2)
        await asyncio.sleep(0.2)
        assert live.heard == []
        resumed = await listen(feed, after=live.position)
        assert resumed.resets == []

    # In the order of the transactions, and the one that came back hears the same.
    assert await live.hears(2) == [1, 2]
    assert await resumed.hears(2) == [1, 2]


async def test_the_end_of_an_older_transaction_is_noticed_though_nobody_announces_it(
    database: Database, feed: Feed, listen: Listen
) -> None:
    ear = await listen(feed)
    async with database.transaction() as older:
        await older.value("-- test\nSELECT pg_current_xact_id()::text")
        await ring(database, 1)
        await asyncio.sleep(0.2)
        assert ear.heard == []
    async with asyncio.timeout(0.5):
        assert await ear.hears(1) == [1]


async def test_under_many_writers_every_follower_hears_every_event_once(database: Database, listen: Listen) -> None:
    async with running(database) as one, running(database) as two:
        steady, moving = await listen(one), [await listen(two)]

        async def write(writer: int) -> None:
            for number in range(25):
                async with database.transaction() as tx:
                    await append(tx, BellRung(MINE, writer * 25 + number))
                    await asyncio.sleep(0.001 * ((writer + number) % 5))

        def heard() -> list[int]:
            return [number for ear in moving for number in ear.heard]

        writing = asyncio.gather(*(write(writer) for writer in range(8)))
        while not writing.done():
            await asyncio.sleep(0.05)
            await moving[-1].stop()  # and comes back with what it heard last, now here and now there
            moving.append(await listen((one, two)[len(moving) % 2], after=moving[-1].position))
        await writing
        async with asyncio.timeout(10):
            while len(heard()) < 200:
                await asyncio.sleep(0.01)

        assert sorted(await steady.hears(200)) == list(range(200))
        assert heard() == steady.heard
        assert len(moving) > 2
        assert not any(ear.resets for ear in moving[1:])


async def test_it_goes_on_after_the_last_position_also_at_another_replica(database: Database, listen: Listen) -> None:
    async with running(database) as one:
        ear = await listen(one)
        await ring(database, 1, 2)
        await ear.hears(2)
        await ear.stop()
    await ring(database, 3)
    async with running(database) as two:
        back = await listen(two, after=ear.position)
        await ring(database, 4)
        assert await back.hears(2) == [3, 4]
        assert back.resets == []


@pytest.mark.parametrize("position", ["", "x", "1", "1-x", "-1-1", "9" * 30 + "-1", "999999999999999-0", "٣-١"])
async def test_a_position_that_nobody_gave_is_answered_with_a_reset(
    feed: Feed, database: Database, listen: Listen, position: str
) -> None:
    ear = await listen(feed, after=position)
    await ring(database, 1)
    assert await ear.hears(1) == [1]
    assert len(ear.resets) == 1


async def test_a_position_before_what_was_forgotten_is_answered_with_a_reset(
    database: Database, feed: Feed, listen: Listen
) -> None:
    begun = await listen(feed)
    first = begun.position
    await ring(database, 1, 2)
    await begun.hears(2)
    last = begun.position
    async with database.transaction() as tx:
        await tx.run(
            "-- test\nUPDATE outbox_event SET relayed_at = now() - interval '8 days' WHERE facts ->> 'number' = '1'"
        )
    assert await Relay(database, {}).purge() == 1

    assert len((await listen(feed, after=first)).resets) == 1
    assert (await listen(feed, after=last)).resets == []


async def test_who_missed_very_much_is_told_to_read_everything(
    database: Database, feed: Feed, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compass.outbox.feed._MOST_MISSED", 2)
    begun = await listen(feed)
    first = begun.position
    await ring(database, 1, 2)
    await begun.hears(2)
    fits = await listen(feed, after=first)
    assert (await fits.hears(2), fits.resets) == ([1, 2], [])
    await ring(database, 3)
    await begun.hears(3)
    assert len((await listen(feed, after=first)).resets) == 1


async def test_what_was_missed_is_told_in_pages(
    database: Database, feed: Feed, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compass.outbox.feed._PAGE", 2)
    begun = await listen(feed)
    first = begun.position
    await ring(database, *range(5))
    assert await begun.hears(5) == list(range(5))
    assert await (await listen(feed, after=first)).hears(5) == list(range(5))


async def test_nobody_hears_of_another_tenant_or_without_the_right(
    database: Database, feed: Feed, listen: Listen
) -> None:
    mine, other, without = (
        await listen(feed),
        await listen(feed, follower(OTHER)),
        await listen(feed, follower(scopes=frozenset())),
    )
    first = mine.position
    await ring(database, 1)
    await ring(database, 2, tenant=OTHER)
    await ring(database, 3)

    assert (await mine.hears(2), await other.hears(1)) == ([1, 3], [2])
    back = [await listen(feed, who, after=first) for who in (follower(OTHER), follower(scopes=frozenset()))]
    await asyncio.sleep(0.1)
    assert (without.heard, back[0].heard, back[1].heard) == ([], [2], [])


async def test_one_that_falls_behind_is_let_go_and_the_others_hear_on(database: Database, listen: Listen) -> None:
    async with running(database, rules=FeedRules(buffer=3)) as feed:
        quick = await listen(feed)
        stream = feed.follow(follower(), None)
        begin = await anext(stream)
        for number in range(5):
            await ring(database, number)
            await quick.hears(number + 1)
        assert isinstance(begin, Reset)
        assert [one async for one in stream] == []
        assert quick.heard == list(range(5))
        assert feed.followers == 1

        back = await listen(feed, after=str(begin.position))
        assert await back.hears(5) == list(range(5))


async def test_it_ends_within_a_second_for_whom_the_credential_ended(database: Database, listen: Listen) -> None:
    gone: set[str] = set()

    async def ended(asked: Collection[str]) -> Collection[str]:
        return gone & set(asked)

    async with running(database, ended=ended) as feed:
        stays, goes = await listen(feed), await listen(feed, follower(credential="stolen"))
        gone.add("stolen")
        await asyncio.wait({goes.task}, timeout=1)
        assert goes.task.done()
        assert not stays.task.done()
        await ring(database, 1)
        assert (await stays.hears(1), goes.heard) == ([1], [])


async def test_something_is_said_when_nothing_happens_and_the_end_comes_in_time(database: Database) -> None:
    rules = FeedRules(heart_beat=timedelta(milliseconds=20), life=timedelta(milliseconds=100))
    async with running(database, rules=rules) as feed, asyncio.timeout(5):
        heard = [one async for one in feed.follow(follower(), None)]
    assert isinstance(heard[0], Reset)
    assert heard[1:] == [None] * (len(heard) - 1)
    assert 3 <= len(heard) <= 10


async def test_with_the_plane_it_ends_at_once_and_takes_nobody_any_more(database: Database, listen: Listen) -> None:
    async with running(database) as feed:
        ears = [await listen(feed) for _ in range(3)]
    await asyncio.wait({ear.task for ear in ears}, timeout=0.5)
    assert all(ear.task.done() for ear in ears)
    assert feed.followers == 0
    with pytest.raises(Unavailable):
        await anext(feed.follow(follower(), None))


async def test_nothing_is_read_while_nobody_follows(database: Database, listen: Listen) -> None:
    read: list[int] = []

    async def counted(changes: Sequence[Change]) -> Sequence[Told]:
        read.append(len(changes))
        return [told(change) for change in changes]

    async with running(database, address=counted) as feed:
        await ring(database, 1)
        await asyncio.sleep(0.1)
        assert read == []
        ear = await listen(feed)
        await ring(database, 2)
        await ear.hears(1)
        await ear.stop()
        await ring(database, 3)
        await asyncio.sleep(0.1)
        again = await listen(feed, after=ear.position)
        assert await again.hears(1) == [3]


async def test_a_lost_connection_loses_no_event(dsn: str, database: Database, feed: Feed, listen: Listen) -> None:
    ear = await listen(feed)
    outside = await asyncpg.connect(dsn)
    try:
        await ring(database, 1)
        await ear.hears(1)
        await outside.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await outside.execute(
            "INSERT INTO outbox_event (tenant_id, name, facts) VALUES ($1, 'BellRung', '{\"number\": 2}')", MINE
        )
    finally:
        await outside.close()
    assert await ear.hears(2) == [1, 2]
    assert not ear.task.done()


async def test_a_transaction_that_is_rolled_back_is_never_heard_of(
    database: Database, feed: Feed, listen: Listen
) -> None:
    ear = await listen(feed)
    with pytest.raises(ZeroDivisionError):
        async with database.transaction() as tx:
            await append(tx, BellRung(MINE, 1))
            raise ZeroDivisionError
    await ring(database, 2)
    assert await ear.hears(1) == [2]


def test_positions_are_read_as_they_are_written() -> None:
    assert Position.parse(str(Position(17, 4))) == Position(17, 4)
    assert Position(9, 9) < Position(10, 1) < Position(10, 2)


async def test_it_is_behind_while_something_waits_for_an_older_transaction_and_not_after_its_end(
    database: Database, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "_POLL_SECONDS", 0.2)
    async with running(database) as feed:
        assert feed.behind_seconds is None  # nobody follows
        ear = await listen(feed)
        async with asyncio.timeout(30):
            while feed.behind_seconds != 0.0:
                await asyncio.sleep(0.01)
            async with database.transaction() as older:
                await older.value("-- test\nSELECT pg_current_xact_id()::text")
                await ring(database, 1)
                while feed.behind_seconds == 0.0:
                    await asyncio.sleep(0.01)
            assert await ear.hears(1) == [1]
            while feed.behind_seconds != 0.0:
                await asyncio.sleep(0.01)
