"""The stream of a page: when it says that something changed, and when it ends."""

import asyncio
from collections.abc import AsyncGenerator

from compass.app import _sdl  # noqa: F401  # imports every noun, and with it every event
from compass.client.events import Happened
from compass.client.protocol import PlaneAnswerUnreadable
from compass.console.live import CHANGED, ENDED, TOPICS, changes, names
from compass.console.plane import Plane, SignedOut
from compass.director.change import SHOWN


class Feed(Plane):
    """A plane of which only the feed is there."""

    def __init__(self, *happened: str | Exception) -> None:
        self._happened = happened
        self.closed = False

    async def events(self) -> AsyncGenerator[Happened, None]:
        try:
            for one in self._happened:
                if isinstance(one, Exception):
                    raise one
                yield Happened("1-0", one, "{}")
                await asyncio.sleep(0.1)
        finally:
            self.closed = True


async def told(feed: Feed, topics: str) -> list[bytes]:
    return [part async for part in changes(feed, names(topics)) if part in (CHANGED, ENDED)]


async def test_the_first_word_is_that_everything_may_have_changed() -> None:
    assert await told(Feed("reset"), "applications") == [CHANGED]


async def test_only_what_the_page_is_about_is_told() -> None:
    assert await told(Feed("RuntimeUpdated", "FormationCreated"), "applications") == []
    assert await told(Feed("ApplicationUpdated"), "runtimes,applications") == [CHANGED]
    assert await told(Feed("ApplicationUpdated"), "nonsense") == []


async def test_what_comes_together_is_told_once() -> None:
    class Burst(Feed):
        async def events(self) -> AsyncGenerator[Happened, None]:
            for _ in range(500):
                yield Happened("1-0", "ApplicationUpdated", "{}")
            await asyncio.sleep(1)

    assert await told(Burst(), "applications") == [CHANGED]


async def test_the_end_of_a_session_is_told() -> None:
    assert await told(Feed("reset", SignedOut()), "applications") == [CHANGED, ENDED]


async def test_the_end_of_the_feed_is_only_an_end() -> None:
    away = PlaneAnswerUnreadable(url="/v1/events", status="503", why="away")
    assert await told(Feed("reset", away), "applications") == [CHANGED]


async def test_leaving_lets_the_feed_go() -> None:
    feed = Feed("reset", *["ApplicationUpdated"] * 100)
    stream = changes(feed, names("applications"))
    async for part in stream:
        if part == CHANGED:
            break
    await stream.aclose()

    assert feed.closed


def test_every_topic_begins_the_name_of_some_event() -> None:
    known = [kind.__name__ for kind in SHOWN]

    for topic, begins in TOPICS.items():
        assert any(name.startswith(begins) for name in known), topic
