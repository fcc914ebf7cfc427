"""Staying signed in: one question at a time, tried again while the provider is away, and over when it says so."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from compass.access.code_flow import SignInAway, SignInRefused
from compass.access.sign_on import Person
from compass.console.plane import SignedOut
from compass.console.renewal import AGAIN_AFTER, Renewals
from compass.console.session import RENEWED_LIFE, SESSION_LIFE, Renewable, Session, Sessions

ANN = Person("https://idp.example#ann", "https://idp.example", frozenset({"application:read"}), None)
LIFE = 300.0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Signed:
    """What a provider gives."""

    token: str
    person: Person = ANN
    seconds_left: float = LIFE
    is_renewable: bool = True


@dataclass
class Provider:
    """One that gives whatever is next in `gives`, or raises it, once it is let."""

    name: str = "idp.example"
    gives: list[Signed | Exception] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def begin(self) -> Any:
        raise AssertionError("a renewal begins no sign-in")

    async def finish(self, begun: Any, answer: Any) -> Signed:
        raise AssertionError(f"a renewal finishes no sign-in: {begun}, {answer}")

    async def renew(self, signed: Any) -> Signed:
        self.asked.append(signed)
        await self.may_answer.wait()
        given = self.gives.pop(0)
        if isinstance(given, Exception):
            raise given
        return given

    async def leave(self, signed: Any) -> str | None:
        raise AssertionError(f"a renewal leaves nobody: {signed}")


@dataclass
class World:
    clock: Clock
    provider: Provider
    sessions: Sessions
    renewals: Renewals
    cookie: str

    @property
    def session(self) -> Session:
        session = self.sessions.find(self.cookie)
        assert session is not None
        return session


@pytest.fixture
async def world() -> World:
    clock, provider = Clock(), Provider()
    provider.may_answer.set()
    sessions = Sessions(clock=clock)
    renewable = Renewable.by(Signed("first"), seconds=LIFE, now=clock.now)
    cookie = sessions.open("first", "t", seconds=LIFE, account=ANN.id, person=ANN.id, renewable=renewable)
    return World(clock, provider, sessions, Renewals(sessions, provider), cookie)


async def test_nobody_is_asked_before_it_is_time(world: World) -> None:
    world.clock.now += LIFE - 61

    await world.renewals.keep(world.session)

    assert (world.provider.asked, world.session.token) == ([], "first")


async def test_a_token_is_replaced_before_it_ends_and_its_successor_too(world: World) -> None:
    world.provider.gives = [Signed("second"), Signed("third")]
    for token in ("second", "third"):
        world.clock.now += LIFE - 60
        await world.renewals.keep(world.session)
        await world.renewals.keep(world.session)
        assert world.session.token == token

    assert [one.token for one in world.provider.asked] == ["first", "second"]


async def test_of_many_requests_one_asks_and_none_goes_on_with_the_old_token(world: World) -> None:
    world.provider.gives = [Signed("second")]
    world.provider.may_answer.clear()
    world.clock.now += LIFE - 1
    session = world.session
    waiting = [asyncio.ensure_future(world.renewals.keep(session)) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not any(one.done() for one in waiting)

    world.provider.may_answer.set()
    await asyncio.gather(*waiting)

    assert (len(world.provider.asked), session.token) == (1, "second")


async def test_a_browser_that_goes_away_meanwhile_loses_nothing(world: World) -> None:
    world.provider.gives = [Signed("second")]
    world.provider.may_answer.clear()
    world.clock.now += LIFE - 1
    session = world.session
    gone = asyncio.ensure_future(world.renewals.keep(session))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)

    world.provider.may_answer.set()
    await world.renewals.keep(session)

    assert (len(world.provider.asked), session.token) == (1, "second")


async def test_while_the_provider_is_away_the_token_is_good_as_long_as_it_is(world: World) -> None:
    world.provider.gives = [SignInAway(why="slow"), SignInAway(why="slow"), Signed("second")]
    world.clock.now += LIFE - 30
    session = world.session
    await world.renewals.keep(session)
    await world.renewals.keep(session)
    assert (session.token, len(world.provider.asked)) == ("first", 1)

    world.clock.now += 31
    for _ in range(3):
        with pytest.raises(SignInAway):
            await world.renewals.keep(session)
    assert len(world.provider.asked) == 2

    world.clock.now += AGAIN_AFTER.total_seconds()
    await world.renewals.keep(session)

    assert (session.token, world.session) == ("second", session)


@pytest.mark.parametrize(
    "given",
    [
        SignInRefused(why="no"),
        Signed("second", Person(ANN.id, ANN.issuer, frozenset(), None)),
        Signed("second", Person(ANN.id, ANN.issuer, ANN.scopes, frozenset({"another"}))),
        Signed("second", Person(ANN.id, ANN.issuer, ANN.scopes, frozenset())),
    ],
    ids=["the provider refuses", "no rights any more", "in another tenant now", "in no tenant"],
)
async def test_a_session_is_over_for_all_when_its_person_is_not_vouched_for(
    world: World, given: Signed | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    world.provider.gives = [given]
    world.clock.now += LIFE - 1
    session = world.session

    several = await asyncio.gather(*(world.renewals.keep(session) for _ in range(5)), return_exceptions=True)

    assert [type(one) for one in several] == [SignedOut] * 5
    assert (world.sessions.find(world.cookie), len(world.provider.asked)) == (None, 1)
    assert session.token == "first"
    assert f"the session of {ANN.id} is over" in caplog.text
    assert "first" not in caplog.text
    with pytest.raises(SignedOut):
        await world.renewals.keep(session)
    assert len(world.provider.asked) == 1


async def test_nobody_stays_signed_in_for_longer_than_a_working_day(world: World) -> None:
    world.provider.gives = [Signed("next", seconds_left=1e9) for _ in range(100)]
    begun = world.clock.now
    while world.sessions.find(world.cookie) is not None:
        world.clock.now += 60
        if (session := world.sessions.find(world.cookie)) is not None:
            await world.renewals.keep(session)

    assert world.clock.now - begun == RENEWED_LIFE.total_seconds()
    # However long a token is good for: what the person may do is asked for anew each hour.
    assert len(world.provider.asked) >= RENEWED_LIFE / SESSION_LIFE


async def test_a_session_by_link_is_never_asked_for(world: World) -> None:
    session = world.sessions.find(world.sessions.redeem(world.sessions.link("t", "tenant")))
    assert session is not None

    await world.renewals.keep(session)

    assert (session.renewable, world.provider.asked) == (None, [])
