"""What one process of the plane says of itself: how much it does, and how much of what it has is in use.

Counted in memory, at no statement's cost, and read every few seconds by what tells all replicas of this one, see
`connector/authority.py`. Rates are of the last minute: a shorter one jumps, a longer one hides what just began.
"""

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

_WINDOW_SECONDS: Final = 60.0
_LEAST_SECONDS: Final = 1.0
"""A process younger than this has no rate worth the name."""


class Share(NamedTuple):
    """How much of something bounded is in use."""

    used: int
    of: int


class Requests:
    """Requests that were answered since the start, and how long that took."""

    __slots__ = ("answered", "seconds", "slowest")

    def __init__(self) -> None:
        self.answered = 0
        self.seconds = 0.0
        self.slowest = 0.0
        """Since it was taken last."""

    def count(self, seconds: float) -> None:
        """One more was answered, after so long."""
        self.answered += 1
        self.seconds += seconds
        self.slowest = max(self.slowest, seconds)

    def take_slowest(self) -> float:
        """The slowest since the last time this was asked, in seconds."""
        slowest, self.slowest = self.slowest, 0.0
        return slowest


class Errors(logging.Handler):
    """Counts what the process notes as an error, whoever notes it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.amount = 0
        self.last_at: datetime | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Count it. Its text is the log's."""
        self.amount += 1
        self.last_at = datetime.fromtimestamp(record.created, UTC)


@contextmanager
def counted_errors() -> Iterator[Errors]:
    """Count errors while the block runs."""
    errors = Errors()
    logging.getLogger().addHandler(errors)
    try:
        yield errors
    finally:
        logging.getLogger().removeHandler(errors)


class _Sample(NamedTuple):
    at: float
    cpu: float
    answered: int
    seconds: float
    slowest: float
    """Since the sample before."""


class Gauges:
    """The gauges of this process."""

    def __init__(
        self,
        *,
        release: str,
        requests: Requests,
        errors: Errors,
        followers: Callable[[], int],
        feed_behind: Callable[[], float | None],
        shares: Callable[[], Mapping[str, Share]],
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        """`feed_behind` says by how many seconds, or None when there is nothing to say; `shares` are told by name."""
        self._release = release
        self._requests = requests
        self._errors = errors
        self._followers = followers
        self._feed_behind = feed_behind
        self._shares = shares
        self._clock = clock
        self._cpu = cpu
        self._started_at = datetime.now(UTC)
        self._samples = deque([self._sample()])

    def _sample(self) -> _Sample:
        requests = self._requests
        return _Sample(self._clock(), self._cpu(), requests.answered, requests.seconds, requests.take_slowest())

    def read(self) -> dict[str, Any]:
        """What `SystemGauges` of the API shows, as JSON values."""
        now = self._sample()
        # The oldest that is kept says where the minute begins; how slow what was answered before it was is over.
        while now.at - self._samples[0].at > _WINDOW_SECONDS and len(self._samples) > 1:
            self._samples.popleft()
        first = self._samples[0]
        self._samples.append(now)
        elapsed = max(now.at - first.at, _LEAST_SECONDS)
        answered = now.answered - first.answered
        slowest = max(sample.slowest for sample in self._samples if sample is not first)
        behind = self._feed_behind()
        return {
            "release": self._release,
            "started_at": _moment(self._started_at),
            "memory_megabytes": memory_megabytes(),
            "cpu_percent": round(100 * (now.cpu - first.cpu) / elapsed),
            "requests_per_minute": round(answered * 60 / elapsed),
            "request_microseconds": round((now.seconds - first.seconds) / answered * 1_000_000) if answered else None,
            "slowest_microseconds": round(slowest * 1_000_000) if answered else None,
            "followers": self._followers(),
            "feed_behind_milliseconds": None if behind is None else round(behind * 1000),
            "errors": self._errors.amount,
            "last_error_at": _moment(self._errors.last_at),
            **{name: share._asdict() for name, share in self._shares().items()},
        }


def memory_megabytes() -> int | None:
    """What of the machine's memory the process holds; None where the system does not say."""
    try:
        resident_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return resident_pages * os.sysconf("SC_PAGE_SIZE") // 2**20


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.strftime("%Y-%m-%dT%H:%M:%SZ")
