"""One stream of server-sent events per page: that what it shows has changed. The page then asks for itself anew.

The stream says no more than that, so that it can neither show too much nor differ from what the page would show. It
comes from the plane's change feed, whose first word is always that everything may have changed: what happened between
the answer with the page and the beginning of the stream is thereby not missed.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from compass.client.protocol import PlaneAnswerUnreadable
from compass.console.plane import Plane, SignedOut

COLLECT_SECONDS: Final = 0.03
"""Changes that come together are told once."""
APART_SECONDS: Final = 0.25
"""Between two tellings, however much happens: a page is not built anew more often."""
TOPICS: Final = {
    "applications": ("Application", "DefaultEventing", "BundleInstanceAuth"),
    "runtimes": ("Runtime",),
    "groups": ("Formation", "Configuration", "AutomaticScenario"),
    "webhooks": ("Webhooks",),
    "deliveries": ("DeliveryChanged",),
    "certificates": ("Certificates", "SystemAuth", "OneTimeToken", "ApplicationConnected", "RuntimeConnected"),
    "tenants": ("Tenants",),
    "templates": ("ApplicationTemplates",),
    "integrations": ("IntegrationSystems", "SystemAuth"),
    "everything": ("",),
}
"""What a page may depend on, and how the names of its events begin."""

CHANGED: Final = b"event: changed\ndata: \n\n"
ENDED: Final = b"event: ended\ndata: \n\n"
_BEAT: Final = b":\n\n"


def names(topics: str) -> tuple[str, ...]:
    """How the names of the events begin that these topics, separated by commas, are about. Unknown ones are none."""
    return tuple(name for topic in topics.split(",") for name in TOPICS.get(topic, ()))


async def changes(plane: Plane, begins: Sequence[str]) -> AsyncGenerator[bytes, None]:
    """A stream that says `changed` whenever an event of these names happened, and `ended` when the session did."""
    woken = asyncio.Event()
    wanted = (*begins, "reset")
    is_over = False
    refused = False

    async def follow() -> None:
        nonlocal is_over, refused
        try:
            async with aclosing(plane.events()) as stream:
                async for one in stream:
                    if one.name.startswith(wanted):
                        woken.set()
        except SignedOut:
            refused = True
        except PlaneAnswerUnreadable:
            pass  # the browser comes back, and is told then
        finally:
            is_over = True
            woken.set()

    task = asyncio.ensure_future(follow())
    try:
        yield b"retry: 1000\n\n"
        while not is_over:
            try:
                async with asyncio.timeout(5):
                    await woken.wait()
            except TimeoutError:
                yield _BEAT
                continue
            await asyncio.sleep(COLLECT_SECONDS)
            woken.clear()
            if is_over:
                break
            yield CHANGED
            await asyncio.sleep(APART_SECONDS)
        if refused:
            yield ENDED
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def over() -> AsyncGenerator[bytes, None]:
    """The stream of a session that has ended."""
    yield ENDED
