"""What a process says of itself: rates of the last minute, and nothing that is not so any more."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from compass import gauges as gauges_module
from compass.gauges import Errors, Gauges, Requests, Share, counted_errors, memory_megabytes


class Process:
    """One whose clocks go as the test says."""

    def __init__(self) -> None:
        self.now = self.cpu = 1000.0
        self.behind: float | None = None
        self.requests, self.errors = Requests(), Errors()
        self.gauges = Gauges(
            release="1.2.3",
            requests=self.requests,
            errors=self.errors,
            followers=lambda: 4,
            feed_behind=lambda: self.behind,
            shares=lambda: {"connections": Share(3, 8), "reads": Share(0, 2)},
            clock=lambda: self.now,
            cpu=lambda: self.cpu,
        )

    def passes(self, seconds: float, *, cpu: float = 0.0, requests: int = 0, each: float = 0.0) -> dict[str, Any]:
        """So long, in which so much was done; then what it says."""
        for _ in range(requests):
            self.requests.count(each)
        self.now += seconds
        self.cpu += cpu
        return self.gauges.read()

    def rates(self, told: dict[str, Any]) -> tuple[Any, ...]:
        names = ("cpu_percent", "requests_per_minute", "request_microseconds", "slowest_microseconds")
        return tuple(told[name] for name in names)


@pytest.fixture
def process() -> Process:
    return Process()


def test_it_says_what_it_is_and_what_is_in_use(process: Process) -> None:
    told = process.passes(3)

    assert told["release"] == "1.2.3"
    assert datetime.now(UTC) - datetime.fromisoformat(told["started_at"]) < timedelta(minutes=5)
    assert told["followers"] == 4
    assert (told["connections"], told["reads"]) == ({"used": 3, "of": 8}, {"used": 0, "of": 2})
    assert told["feed_behind_milliseconds"] is None
    process.behind = 1.5
    assert process.gauges.read()["feed_behind_milliseconds"] == 1500


def test_rates_are_of_the_last_minute(process: Process) -> None:
    assert process.rates(process.gauges.read()) == (0, 0, None, None)
    assert process.rates(process.passes(30, cpu=15, requests=10, each=0.002)) == (50, 20, 2000, 2000)
    assert process.rates(process.passes(30, requests=20, each=0.005)) == (25, 30, 4000, 5000)
    # The first half of it is over now, and with it what was slow then.
    assert process.rates(process.passes(30, cpu=3, requests=10, each=0.001)) == (5, 30, 3667, 5000)
    assert process.rates(process.passes(30, requests=1, each=0.001)) == (5, 11, 1000, 1000)
    assert process.rates(process.passes(61)) == (0, 0, None, None)


def test_the_slowest_of_the_minute_is_told_as_long_as_the_minute_lasts(process: Process) -> None:
    assert process.passes(3, requests=1, each=0.25)["slowest_microseconds"] == 250_000
    for _ in range(18):
        assert process.passes(3, requests=1, each=0.001)["slowest_microseconds"] == 250_000
    told = [process.passes(3, requests=1, each=0.001) for _ in range(3)]
    assert told[-1]["slowest_microseconds"] == 1_000


def test_rates_are_the_same_however_often_they_are_read(process: Process) -> None:
    process.passes(54)
    told = [process.passes(0.1, cpu=0.3, requests=1, each=0.002) for _ in range(60)]

    assert process.rates(told[-1]) == (30, 60, 2000, 2000)


def test_a_process_of_no_age_tells_no_wild_rates(process: Process) -> None:
    assert process.rates(process.passes(0, requests=3, each=0.001)) == (0, 180, 1000, 1000)


def test_errors_are_counted_whoever_notes_them_and_lesser_things_are_not() -> None:
    with counted_errors() as errors:
        logging.getLogger("compass.x").warning("careful")
        assert (errors.amount, errors.last_at) == (0, None)
        logging.getLogger("compass.x").error("broken")
        try:
            raise ValueError
        except ValueError:
            logging.getLogger("asyncio").exception("as well")
    logging.getLogger("compass.x").error("after the end")

    assert errors.amount == 2
    assert errors.last_at is not None
    assert datetime.now(UTC) - errors.last_at < timedelta(minutes=5)


def test_the_last_error_is_told_with_its_time(process: Process) -> None:
    assert (process.gauges.read()["errors"], process.gauges.read()["last_error_at"]) == (0, None)
    process.errors.amount, process.errors.last_at = 2, datetime(2026, 11, 24, 7, 30, 1, 999, tzinfo=UTC)

    told = process.gauges.read()

    assert (told["errors"], told["last_error_at"]) == (2, "2026-11-24T07:30:01Z")


def test_memory_is_told_where_the_system_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    said = memory_megabytes()
    assert said is not None
    assert 10 < said < 100_000

    def gone(_path: str) -> Any:
        raise FileNotFoundError

    silent: Callable[[str], Any] = gone
    monkeypatch.setattr(gauges_module, "Path", lambda _: type("Path", (), {"read_text": lambda *_, **__: silent("")})())
    assert memory_megabytes() is None
