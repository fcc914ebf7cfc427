"""Running something until the person or the system asks it to stop."""

import asyncio
import contextlib
import signal
from collections.abc import Coroutine

from compass.cli.failures import Exit


def until_stopped(work: Coroutine[object, object, None]) -> int:
    """Run `work` until it ends, or until SIGINT or SIGTERM, which cancel it: a stop on request is a success."""
    import uvloop

    return uvloop.run(_until_stopped(work))


async def _until_stopped(work: Coroutine[object, object, None]) -> int:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return Exit.OK
