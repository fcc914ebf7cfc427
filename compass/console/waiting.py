"""What the plane may take a minute for, because others have to answer it: it goes on, and its page tells so.

The page of a form waits for it in place, with `waiting` in its address, and leads on by itself when it is done. It goes
on as well when nobody waits any more.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from compass.console.http import Answer, moved
from compass.console.page import PREFIX, Page
from compass.console.visit import Visit

_log = logging.getLogger(__name__)

SOON_SECONDS: Final = 0.4
"""What is done by then has no page of its own."""
MOST_UNDER_WAY: Final = 10
"""Of a session, those that ended included; the oldest is not told any more, and goes on."""


@dataclass(frozen=True)
class UnderWay:
    """Something that goes on."""

    from_where: str
    """The host that has to answer."""
    began: str
    task: "asyncio.Task[Answer]" = field(repr=False)
    asked: list[tuple[str, Any]] = field(repr=False)
    """What the plane answered meanwhile."""


async def patiently(visit: Visit, work: Callable[[Visit], Awaitable[Answer]], *, page: str, from_where: str) -> Answer:
    """What `work` answers, if that is soon; otherwise the way to `page`, which waits for it.

    `work` has to answer its refusals itself, with a way back.
    """
    inside = replace(visit, asked=[])
    task = asyncio.ensure_future(_answered(work, inside))
    done, _ = await asyncio.wait({task}, timeout=SOON_SECONDS)
    if done:
        visit.asked.extend(inside.asked)
        return task.result()
    number = secrets.token_urlsafe(9)
    kept = visit.session.under_way
    kept[number] = UnderWay(from_where, datetime.now(UTC).isoformat(), task, inside.asked)
    while len(kept) > MOST_UNDER_WAY:
        del kept[next(iter(kept))]
    return moved(f"{PREFIX}{page}?{urlencode({'waiting': number})}")


async def _answered(work: Callable[[Visit], Awaitable[Answer]], visit: Visit) -> Answer:
    try:
        return await work(visit)
    except Exception:  # noqa: BLE001  # an edge: nobody else sees how it ends
        _log.exception("what went on for %s did not end well", visit.request.path)
        return visit.refused("Something broke on our side; look whether it was done before it is tried again", "/")


def waited(visit: Visit) -> Page | Answer | None:
    """The page that waits, or where it leads; None when the visit waits for nothing."""
    one: UnderWay | None = visit.session.under_way.get(visit.query("waiting"))
    if one is None:
        return None
    if not one.task.done():
        # No event tells that it ended.
        title = f"Fetching from {one.from_where}"
        return Page("waiting.html", title, {"one": one}, live="applications", poll_seconds=1, section="catalogue")
    answer = one.task.result()
    visit.asked.extend(one.asked)
    one.asked.clear()
    if visit.request.is_part:
        return Answer(b"", headers={"hx-redirect": answer.headers["location"]})
    return answer
