"""A door that may reach loopback, and a worker that runs while a test looks at its receivers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest

from compass.delivery.attempt import RetryRules
from compass.delivery.worker import DeliveryWork, Worker
from compass.outbound.door import Door, DoorSettings
from compass.postgres.queue import WorkSettings

if TYPE_CHECKING:
    from compass.postgres.pool import Database

QUICK = DeliveryWork(
    attempt_timeout=timedelta(seconds=0.5),
    retry=RetryRules(base=timedelta(milliseconds=40), factor=2, cap=timedelta(seconds=1)),
    work=WorkSettings(
        concurrency=64, lease=timedelta(seconds=2), poll=timedelta(milliseconds=200), grace=timedelta(seconds=2)
    ),
)
"""Everything that takes minutes in production, in fractions of a second."""

LOOPBACK = DoorSettings(allowed_networks=(ip_network("127.0.0.1/32"),), failure_step=timedelta(0), max_per_host=1000)

Working = Callable[..., AbstractAsyncContextManager[Worker]]


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    async with Door(LOOPBACK) as door:
        yield door


@pytest.fixture
def working(database: "Database", door: Door) -> Working:
    """Runs a worker with such settings and parts during the block, and stops it in the end."""

    @asynccontextmanager
    async def run(**changes: Any) -> AsyncIterator[Worker]:
        parts = {name: changes.pop(name) for name in ("prepare", "judge", "finished", "chance") if name in changes}
        worker = Worker(database, changes.pop("door", door), settings=replace(QUICK, **changes), **parts)
        stopping = asyncio.Event()
        task = asyncio.create_task(worker.run(stopping))
        try:
            yield worker
        finally:
            stopping.set()
            await task

    return run
