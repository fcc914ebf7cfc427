"""When the agent's heart beats."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from compass.agent.heartbeat import Heart
from compass.errors import Unavailable


class Slept:
    """Pauses that take no time, and how long they would have been; ends the heart after so many."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
        self.seconds: list[float] = []
        self._most = most
        monkeypatch.setattr(asyncio, "sleep", self._sleep)
        monkeypatch.setattr(asyncio, "timeout", self._timeout)

    def _noted(self, seconds: float) -> None:
        if len(self.seconds) == self._most:
            raise asyncio.CancelledError
        self.seconds.append(seconds)

    async def _sleep(self, seconds: float) -> None:
        self._noted(seconds)

    def _timeout(self, seconds: float) -> "Slept":
        self._noted(seconds)
        return self

    async def __aenter__(self) -> None:
        raise TimeoutError

    async def __aexit__(self, *_: object) -> None:
        """Nothing is left to be done."""


async def beaten(slept: Slept, answers: list[float | Exception | None], randomness: Callable[[], float]) -> int:
    sent = 0

    async def send() -> float | None:
        nonlocal sent
        sent += 1
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(asyncio.CancelledError):
        await Heart(send, randomness=randomness).run()
    assert slept.seconds
    return sent


async def test_it_beats_as_often_as_the_plane_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    slept = Slept(monkeypatch, 6)

    assert await beaten(slept, [5.0, 5.0, 0.5, 7.0], lambda: 0.0) == 4

    assert slept.seconds == [1.0, 4.0, 1.0, 4.0, 1.0, 0.0]


async def test_it_is_patient_with_a_plane_that_is_away_and_others_are_so_at_other_times(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for randomness, pauses in ((lambda: 1.0, [1, 3, 7, 15, 29, 29]), (lambda: 0.0, [0, 1, 3, 7, 14, 14])):
        slept = Slept(monkeypatch, 12)

        await beaten(slept, [Unavailable() for _ in range(7)], randomness)

        assert slept.seconds == [each for pause in pauses for each in (1.0, float(pause))]
    # Said once for each outage.
    assert len([one for one in caplog.records if "no heartbeat got through" in one.message]) == 2


async def test_whatever_goes_wrong_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await beaten(Slept(monkeypatch, 4), [RuntimeError("session is closed"), 5.0, 5.0], lambda: 0.0) == 3


async def test_a_plane_that_takes_none_is_asked_again_after_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    slept = Slept(monkeypatch, 2)

    assert await beaten(slept, [None, None], lambda: 0.0) == 2

    assert slept.seconds == [1.0, 300.0]


async def test_news_is_told_at_once_and_what_changes_meanwhile_too() -> None:
    sent: list[int] = []

    async def send() -> float:
        sent.append(len(sent))
        if len(sent) == 1:
            heart.hurry()  # while it is on its way
        return 3600.0

    heart = Heart(send, randomness=lambda: 0.0)
    running = asyncio.ensure_future(heart.run())
    async with asyncio.timeout(30):
        while len(sent) < 2:
            await asyncio.sleep(0.02)
    heart.hurry()
    async with asyncio.timeout(30):
        while len(sent) < 3:
            await asyncio.sleep(0.02)
    running.cancel()
