from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compass.delivery.attempt import (
    Cancelled,
    Dead,
    Delivered,
    Retry,
    RetryRules,
    Settled,
    excerpt,
    judged_by_status,
    retry_after,
    settle,
    storable,
)
from compass.delivery.enqueue import State
from compass.outbound.door import Response
from compass.outbound.errors import OutboundFailed, OutboundTimedOut, ResponseTooLarge, UrlRefused

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
RULES = RetryRules()


def answered(status: int, body: bytes = b"", **headers: str) -> Response:
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, body, timedelta(0))


def settled(verdict: Retry | Dead | Delivered | Cancelled, answer: Response | None = None, **changes: float) -> Settled:
    return settle(
        verdict,
        answer,
        failures=int(changes.get("failures", 1)),
        since_first=timedelta(seconds=changes.get("since_first", 0)),
        rules=RULES,
        now=NOW,
        chance=changes.get("chance", 0.5),
    )


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (answered(200), Delivered()),
        (answered(204), Delivered()),
        (answered(299), Delivered()),
        (answered(410), Dead("the receiver answered 410")),
        (answered(300), Retry("the receiver answered 300")),
        (answered(404), Retry("the receiver answered 404")),
        (answered(429), Retry("the receiver answered 429")),
        (answered(500), Retry("the receiver answered 500")),
        (OutboundFailed(), Retry("The address could not be reached")),
        (OutboundTimedOut(), Retry("The receiver did not finish its answer in time")),
        (ResponseTooLarge(), Retry("The receiver's answer is too large")),
        (UrlRefused(rule="it is too long"), Dead("The URL cannot be used: it is too long")),
    ],
)
def test_without_a_domain_the_status_decides(answer: Response | OutboundFailed, verdict: object) -> None:
    assert judged_by_status(answer) == verdict


def test_the_verdict_is_final_unless_it_is_to_try_again() -> None:
    assert settled(Delivered()) == Settled(State.DELIVERED, None)
    assert settled(Dead("no")) == Settled(State.DEAD, "no")
    assert settled(Cancelled("moot")) == Settled(State.CANCELLED, "moot")


def test_the_pauses_grow_threefold_to_an_hour() -> None:
    pauses = [settled(Retry("x"), failures=failures, chance=0.9999999).after for failures in range(1, 13)]
    assert [round((pause or timedelta(0)).total_seconds()) for pause in pauses] == [
        *(2, 6, 18, 54, 162, 486, 1458),
        *(3600,) * 5,
    ]


def test_the_pause_is_any_part_of_the_full_one() -> None:
    assert settled(Retry("x"), failures=3, chance=0).after == timedelta(0)
    assert settled(Retry("x"), failures=3, chance=0.25).after == timedelta(seconds=4.5)


def test_the_last_attempt_is_made_when_the_time_is_up_and_then_it_is_given_up() -> None:
    two_days = timedelta(days=2).total_seconds()
    assert settled(Retry("x"), failures=12, chance=0.999, since_first=two_days - 60).after == timedelta(minutes=1)
    assert settled(Retry("x"), since_first=two_days) == Settled(State.DEAD, "x; given up after 2 days, 0:00:00")


def test_the_receivers_wish_to_wait_longer_is_granted_up_to_the_cap() -> None:
    assert settled(Retry("x"), answered(429, retry_after="120")).after == timedelta(minutes=2)
    assert settled(Retry("x"), answered(503, retry_after="999999")).after == timedelta(hours=1)
    assert settled(Retry("x"), answered(503, retry_after="0"), chance=0.5).after == timedelta(seconds=1)


@pytest.mark.parametrize(
    ("value", "pause"),
    [
        ("7", timedelta(seconds=7)),
        ("Mon, 23 Nov 2026 12:00:30 GMT", timedelta(seconds=30)),
        ("Mon, 23 Nov 2026 11:00:00 GMT", timedelta(0)),
        ("9" * 4000, timedelta(seconds=999_999_999)),
        ("Mon, 23 Nov 2026 12:00:30 -0000", None),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
    ],
)
def test_a_pause_is_read_as_seconds_or_as_a_date(value: str, pause: timedelta | None) -> None:
    assert retry_after({"retry-after": value}, NOW) == pause


@given(st.text(), st.integers(1, 20), st.integers(0, 200_000), st.floats(0, 1, exclude_max=True))
def test_whatever_a_receiver_asks_for_a_pause_is_between_nothing_and_the_cap(
    value: str, failures: int, since_first: int, chance: float
) -> None:
    result = settled(
        Retry("x"), answered(503, retry_after=value), failures=failures, since_first=since_first, chance=chance
    )
    if result.after is None:
        assert since_first >= RULES.give_up_after.total_seconds()
    else:
        assert timedelta(0) <= result.after <= RULES.cap
        assert timedelta(seconds=since_first) + result.after <= RULES.give_up_after


def test_an_excerpt_is_text_the_database_takes() -> None:
    assert excerpt(answered(500, b"a\0b\xff")) == "a\ufffdb\ufffd"
    assert len(excerpt(answered(500, b"\xff" * 5000)).encode()) <= 2048
    assert storable("a\ud800b", 10) == "a?b"
    assert storable("üü", 3) == "ü"
