"""The agent's heartbeat: that it lives, every few seconds, and what changed, at once.

A plane that takes no heartbeats, as the original, is asked again now and then.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

log = logging.getLogger(__name__)

_APART_SECONDS: Final = 1.0
"""Between two, however much there is to be told: the plane writes them down as often."""
_LONGEST_PAUSE_SECONDS: Final = 30.0
"""Between two tries while they do not arrive."""
_NOT_TAKEN_SECONDS: Final = 300.0
"""Between two tries with a plane that takes none: it may be replaced by a newer one."""

Send = Callable[[], Awaitable[float | None]]
"""Sends one, and says in how many seconds the next is due; None when the plane takes none. May raise anything."""


class Heart:
    """Beats until it is cancelled."""

    def __init__(self, send: Send, *, randomness: Callable[[], float]) -> None:
        self._send = send
        self._randomness = randomness
        self._news = asyncio.Event()

    def hurry(self) -> None:
        """There is something to tell."""
        self._news.set()

    async def run(self) -> None:
        """One after the other. What goes wrong is noted, and tried again."""
        failures = 0
        while True:
            self._news.clear()  # before: what changes while it is on its way is told by the next
            try:
                due = await self._send()
            except Exception as error:  # noqa: BLE001 - the edge, as of a pass: whatever it is, the next is tried
                level = logging.INFO if failures == 0 else logging.DEBUG
                log.log(level, "no heartbeat got through: %s", str(error) or type(error).__name__)
                failures += 1
                # Not all at once: a plane that comes back is missed by everybody.
                due = min(_LONGEST_PAUSE_SECONDS, _APART_SECONDS * 2 ** min(failures, 16)) * (
                    0.5 + self._randomness() / 2
                )
            else:
                failures = 0
            await asyncio.sleep(_APART_SECONDS)
            if due is None:
                await asyncio.sleep(_NOT_TAKEN_SECONDS)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, due - _APART_SECONDS)):
                    await self._news.wait()
