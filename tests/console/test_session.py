"""Links and sessions: bounded in number, time and use."""

import pytest

from compass.console.session import (
    FORMER_LIFE,
    LINK_LIFE,
    MOST_FORMER,
    MOST_LINKS,
    MOST_PAIRINGS,
    MOST_SESSIONS,
    MOST_TENANTS,
    MOST_TYPED_CHARACTERS,
    SESSION_LIFE,
    FormRefused,
    FreshToken,
    LinkRefused,
    Session,
    Sessions,
)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> Sessions:
    return Sessions(clock=clock)


def test_a_code_becomes_one_session(sessions: Sessions) -> None:
    code = sessions.link("token", "tenant")

    session = sessions.find(sessions.redeem(code))

    assert session is not None
    assert (session.token, session.tenant) == ("token", "tenant")
    with pytest.raises(LinkRefused):
        sessions.redeem(code)


@pytest.mark.parametrize("late", [0.0, 1.0])
def test_a_link_ends(late: float, sessions: Sessions, clock: Clock) -> None:
    code = sessions.link("token", "tenant")
    clock.now += LINK_LIFE.total_seconds() + late

    with pytest.raises(LinkRefused):
        sessions.redeem(code)


def test_a_session_ends_however_busy_it_is(sessions: Sessions, clock: Clock) -> None:
    cookie = sessions.redeem(sessions.link("token", "tenant"))
    clock.now += SESSION_LIFE.total_seconds() - 1
    assert sessions.find(cookie) is not None

    clock.now += 1

    assert sessions.find(cookie) is None


def test_neither_links_nor_sessions_fill_the_memory(sessions: Sessions) -> None:
    first = sessions.link("token", "tenant")
    for _ in range(MOST_LINKS):
        sessions.link("token", "tenant")
    with pytest.raises(LinkRefused):
        sessions.redeem(first)

    cookies = [sessions.redeem(sessions.link("token", "tenant")) for _ in range(MOST_SESSIONS + 1)]

    assert (sessions.find(cookies[0]), sessions.find(cookies[1])) != (None, None)
    assert sessions.find(cookies[0]) is None


def test_what_the_browser_shows_is_kept_as_a_digest_only(sessions: Sessions) -> None:
    code = sessions.link("token", "tenant")
    assert code not in repr(vars(sessions))
    cookie = sessions.redeem(code)

    kept = repr(vars(sessions))

    assert cookie not in kept
    assert "'token'" not in kept


def test_a_form_carries_the_word_of_its_session() -> None:
    session, other = Session("t", "tenant", 0), Session("t", "tenant", 0)

    session.require({"csrf": session.csrf})

    for wrong in ({"csrf": other.csrf}, {"csrf": ""}, {}, {"csrf": session.csrf + "x"}, {"csrf": "ü"}):
        with pytest.raises(FormRefused):
            session.require(wrong)


def test_a_fresh_token_is_shown_until_it_ends() -> None:
    session = Session("t", "tenant", 0)
    session.keep_token("client", FreshToken("secret", until=10))

    assert (session.fresh_token("client", 9.9), session.fresh_token("other", 0)) == ("secret", None)
    assert session.fresh_token("client", 10) is None
    assert session.fresh_token("client", 9.9) is None  # it is forgotten, not hidden


def test_a_session_keeps_few_fresh_tokens() -> None:
    session = Session("t", "tenant", 0)
    for number in range(MOST_PAIRINGS + 1):
        session.keep_token(str(number), FreshToken("secret", until=10))

    assert (session.fresh_token("0", 0), session.fresh_token("1", 0)) == (None, "secret")


def test_a_secret_that_is_shown_once_is_forgotten_with_it() -> None:
    session = Session("t", "tenant", 0)
    session.keep_token("client", FreshToken("secret", until=10))
    session.keep_token("late", FreshToken("secret", until=10))

    assert (session.once("client", 9), session.once("client", 9)) == ("secret", None)
    assert (session.once("late", 10), session.once("never", 0)) == (None, None)


def test_a_sign_in_that_was_begun_is_finished_once_in_time_and_many_give_way(sessions: Sessions, clock: Clock) -> None:
    cookie, late = sessions.begin("one"), sessions.begin("other")
    assert (sessions.begun("x" * 43), sessions.begun(cookie), sessions.begun(cookie)) == (None, "one", None)

    clock.now += LINK_LIFE.total_seconds()
    assert sessions.begun(late) is None
    first, *_ = [sessions.begin(number) for number in range(MOST_LINKS + 1)]
    assert sessions.begun(first) is None


@pytest.mark.parametrize(("seconds", "life"), [(60.0, 60.0), (1e9, SESSION_LIFE.total_seconds())])
def test_a_session_ends_with_its_token_and_after_an_hour(
    sessions: Sessions, clock: Clock, seconds: float, life: float
) -> None:
    cookie = sessions.open("token", "tenant", seconds=seconds, account="ann", person="ann")
    clock.now += life - 1
    assert sessions.find(cookie) is not None

    clock.now += 1
    assert sessions.find(cookie) is None


FORM = "/console/groups"


def over(sessions: Sessions, clock: Clock, *, account: str = "ann", tenant: str = "tenant") -> tuple[str, Session]:
    """The cookie of a session that has just ended, and what it was."""
    cookie = sessions.open("token", tenant, seconds=60, account=account)
    session = sessions.find(cookie)
    assert session is not None
    clock.now += 60
    assert sessions.find(cookie) is None
    return cookie, session


def test_who_signs_in_again_has_what_was_typed_and_goes_on_where_it_was(sessions: Sessions, clock: Clock) -> None:
    former, session = over(sessions, clock)
    kept = sessions.former(former)
    assert kept is not None
    kept.back = "/console/groups?x=1"
    kept.keep(FORM, {"csrf": session.csrf, "name": "half"})

    cookie = sessions.open("other", "tenant", seconds=60, account="ann")
    back = sessions.resume(former, cookie)

    fresh = sessions.find(cookie)
    assert fresh is not None
    assert (back, fresh.typed) == ("/console/groups?x=1", (FORM, {"csrf": session.csrf, "name": "half"}))
    assert [kind for kind, _ in fresh.said] == ["ok"]
    assert sessions.former(former) is None  # once


@pytest.mark.parametrize(
    ("account", "tenant"), [("bob", "tenant"), ("ann", "another")], ids=["another account", "another tenant"]
)
def test_nobody_else_has_what_was_typed(account: str, tenant: str, sessions: Sessions, clock: Clock) -> None:
    former, session = over(sessions, clock)
    kept = sessions.former(former)
    assert kept is not None
    kept.back = FORM
    kept.keep(FORM, {"csrf": session.csrf, "name": "half"})

    cookie = sessions.open("other", tenant, seconds=60, account=account)

    assert sessions.resume(former, cookie) == ""
    fresh = sessions.find(cookie)
    assert fresh is not None
    assert (fresh.typed, fresh.said, sessions.former(former)) == (None, [], None)


def test_a_form_of_another_session_or_a_whole_book_is_not_kept(sessions: Sessions, clock: Clock) -> None:
    former, session = over(sessions, clock)
    kept = sessions.former(former)
    assert kept is not None

    kept.keep(FORM, {"name": "planted"})
    kept.keep(FORM, {"csrf": "guessed", "name": "planted"})
    kept.keep(FORM, {"csrf": session.csrf, "name": "x" * MOST_TYPED_CHARACTERS})

    assert kept.typed is None


def test_what_is_left_of_a_session_has_no_tokens_and_ends_too(sessions: Sessions, clock: Clock) -> None:
    former, session = over(sessions, clock)
    assert sessions.former(former) is not None
    assert session.csrf not in repr(vars(sessions))

    clock.now += FORMER_LIFE.total_seconds()

    assert sessions.former(former) is None
    many = [over(sessions, clock)[0] for _ in range(3)]
    for _ in range(MOST_FORMER):
        cookie = sessions.open("token", "tenant", seconds=60, account="ann")
        sessions.lapse(cookie)
    assert [sessions.former(one) for one in many] == [None, None, None]


def test_whoever_leaves_leaves_nothing(sessions: Sessions, clock: Clock) -> None:
    cookie = sessions.open("token", "tenant", seconds=60, account="ann")

    sessions.end(cookie)

    assert (sessions.find(cookie), sessions.former(cookie)) == (None, None)
    former, _ = over(sessions, clock)
    sessions.end(former)
    assert sessions.former(former) is None


def test_tenants_that_were_looked_at_are_a_few_each_once_and_never_the_present_one() -> None:
    session = Session("t", "t0", 0)
    session.keep_token("client", FreshToken("secret", until=10))
    for number in [*range(1, 9), 7]:
        session.look_at(f"t{number}")

    assert (session.tenant, session.tenants) == ("t7", ["t3", "t4", "t5", "t6", "t8"])
    assert len(session.tenants) == MOST_TENANTS
    assert session.fresh_token("client", 0) is None
