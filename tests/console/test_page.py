"""How values look on pages."""

from datetime import UTC, datetime, timedelta

import pytest

from compass.console.page import GOOD, groups_of, host, instant, left_permille, query, remaining, stage, tone, word


def at(**ahead: float) -> str:
    return (datetime.now(UTC) + timedelta(**ahead)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(
    ("state", "colour"),
    [
        ("CONNECTED", "good"),
        ("DEAD", "bad"),
        ("UNPAIR_FAILED", "bad"),
        ("DELETING", "busy"),
        ("EXPIRING", "warn"),
        ("INITIAL", "idle"),
        ("?", "idle"),
        (None, "idle"),
    ],
)
def test_a_state_has_a_colour(state: str | None, colour: str) -> None:
    assert tone(state) == colour


def test_a_state_has_words() -> None:
    assert [word(one) for one in ("INITIAL", "CREATE_FAILED", "InProgress", None)] == [
        "not connected yet",
        "create failed",
        "in progress",
        "unknown",
    ]
    assert all(word(state).strip() for state in GOOD)


@pytest.mark.parametrize(
    ("ahead", "text"),
    [
        ({"days": 2.5}, "in 2 days"),
        ({"hours": 1.5}, "in 1 hour"),
        ({"minutes": -3.5}, "3 minutes ago"),
        ({"seconds": -3}, "just now"),
        ({"seconds": 20}, "in a moment"),
    ],
)
def test_times_are_told_in_the_unit_that_says_something(ahead: dict[str, float], text: str) -> None:
    assert remaining(at(**ahead)) == text


def test_a_time_that_has_not_come_is_none() -> None:
    assert (remaining(None), remaining("0001-01-01T00:00:00Z"), instant("")) == ("never", "never", None)


def test_what_is_left_of_a_life() -> None:
    assert left_permille(at(days=-1), at(days=1)) in (499, 500, 501)
    assert left_permille(at(days=-2), at(days=-1)) == 0
    assert left_permille(at(days=1), at(days=-1)) == 0


def test_a_step_is_told_in_words() -> None:
    assert stage("WaitForClusterCreation") == "Wait for cluster creation"


def test_a_table_shows_where_a_url_leads() -> None:
    assert (host("https://u@shop.example:8443/a?b"), host("nonsense"), host(None)) == (
        "u@shop.example:8443",
        "nonsense",
        "",
    )


def test_groups_are_those_of_the_label() -> None:
    assert [groups_of(one) for one in ({"scenarios": ["a", "b"]}, {"scenarios": "a"}, {}, None)] == [
        ["a", "b"],
        [],
        [],
        [],
    ]


def test_a_query_has_what_is_given_at_all() -> None:
    assert query({"a": "x y&", "b": None, "c": ""}) == "a=x+y%26"
