"""Killing planes, and callers that outlive it."""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, ParamSpec, TypeVar

import aiohttp

from compass.client.graphql import PlaneAnswerUnreadable, PlaneRefused, PlaneUnreachable
from compass.errors import Code
from tests.e2e.plane import Plane

PROOF: Final = bool(os.environ.get("COMPASS_PROOF"))
"""Many more kills than in the everyday run."""
_TICK_SECONDS: Final = 0.01
_NOTICED_SECONDS: Final = 0.05

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def kills(everyday: int) -> int:
    """How often a plane is killed: some times every day, ten times as often as a proof."""
    return everyday * 10 if PROOF else everyday


async def strike(plane: Plane, moments: random.Random) -> None:
    """End the plane as a power cut would, and start it again on the same folder, at the same addresses."""
    await plane.kill()
    await asyncio.sleep(moments.uniform(0, 0.1))
    await plane.start()


@asynccontextmanager
async def struck(
    plane: Plane, moments: random.Random, *, times: int, after: tuple[float, float] = (0.05, 1.0)
) -> AsyncIterator[None]:
    """Kill the plane at random moments while the block runs, each so many seconds after it was ready.

    The block is left when all kills are over and the plane is up.
    """

    async def striking() -> None:
        for _ in range(times):
            await asyncio.sleep(moments.uniform(*after))
            await strike(plane, moments)

    task = asyncio.create_task(striking())
    try:
        yield
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@dataclass
class Stood:
    """How long this process was not let run, while somebody watched."""

    seconds: float = 0.0


@asynccontextmanager
async def standstill() -> AsyncIterator[Stood]:
    """Count what this machine, being shared, takes from us while the block runs: for bounds that it must not decide."""
    stood = Stood()

    async def watch() -> None:
        while True:
            begun = time.monotonic()
            await asyncio.sleep(_TICK_SECONDS)
            over = time.monotonic() - begun - _TICK_SECONDS
            stood.seconds += over if over > _NOTICED_SECONDS else 0.0

    task = asyncio.create_task(watch())
    try:
        yield stood
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def persistently(
    call: Callable[Parameters, Awaitable[Result]], /, *arguments: Parameters.args, **named: Parameters.kwargs
) -> Result:
    """Call until there is an answer: what a client does that does not know whether it was heard."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await call(*arguments, **named)
            except (PlaneUnreachable, PlaneAnswerUnreadable, aiohttp.ClientError, OSError):
                pass
            except PlaneRefused as refusal:
                if refusal.error_code != Code.OPERATION_TIMEOUT:
                    raise
            await asyncio.sleep(0.02)
