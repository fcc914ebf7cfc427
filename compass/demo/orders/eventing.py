"""Where the events of the orders go, and the sending of them."""

import asyncio
import json
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import aiohttp

from compass.demo.orders import queries
from compass.demo.orders.connection import PlaneConnection
from compass.demo.orders.store import Store, now

SEND_TIMEOUT = timedelta(seconds=10)
LONGEST_KEPT_ANSWER = 2000
"""Characters of a receiver's answer that are remembered."""
NEVER_TAKEN = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)
"""Answers about the event itself: it is not sent again. Any other refusal may be about the moment, as a Runtime that
has not fetched its Applications yet does not know us."""


class Eventing:
    """Sends each stored event once it is known where to; one at a time, so that nobody gets an event twice."""

    def __init__(self, store: Store, plane: PlaneConnection) -> None:
        self._store = store
        self._plane = plane
        self._sending = asyncio.Lock()

    async def refresh(self) -> str:
        """Ask the Director where events go now; empty while there is no Runtime for them."""
        configuration = (await self._plane.ask_about_ourselves(queries.EVENTING))["eventingConfiguration"] or {}
        url = str(configuration.get("defaultURL") or "")
        if url != await self._store.setting("default_url"):
            await self._store.remember(default_url=url, default_url_since=now())
        return url

    async def flush(self) -> None:
        """Send what nobody has taken or refused yet, oldest first.

        A receiver that is away, fails or does not know us yet gets the same event first when it is tried again, so
        events arrive in the order of their orders.
        """
        async with self._sending:
            url = await self._store.setting("default_url")
            for event in await self._store.rows(UNSENT) if url else []:
                if not await self._send(event, str(url)):
                    return

    async def _send(self, event: dict[str, Any], url: str) -> bool:
        """Whether the event is settled, one way or the other."""
        try:
            connector = aiohttp.TCPConnector(ssl=self._plane.client_context(), force_close=True)
            timeout = aiohttp.ClientTimeout(total=SEND_TIMEOUT.total_seconds())
            headers = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
                session.post(url, data=event["body"].encode(), headers=headers, allow_redirects=False) as response,
            ):
                answer = (await response.content.read(LONGEST_KEPT_ANSWER)).decode(errors="replace")
                status: int | None = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
            status, answer = None, f"no answer: {str(problem) or type(problem).__name__}"
        settled = status is not None and (_taken(status) or status in NEVER_TAKEN)
        told = {"url": url, "status": status, "answer": answer, "settled": settled, "at": now()}
        await self._store.run(SENT, id=event["id"], **told)
        return settled


def sent_event(row: dict[str, Any]) -> dict[str, Any]:
    """An event's row as `state` shows it."""
    accepted = row["status"] is not None and _taken(row["status"])
    return {**row, "accepted": accepted, "body": json.loads(row["body"])}


def _taken(status: int) -> bool:
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


UNSENT = """
-- event.unsent
SELECT id, body FROM event WHERE settled = 0 ORDER BY rowid
"""
SENT = """
-- event.sent
UPDATE event
SET attempts = attempts + 1, settled = :settled, target_url = :url, status = :status, answer = :answer, sent_at = :at
WHERE id = :id
"""
