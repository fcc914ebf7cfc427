"""An order service as a real process, and a plane of its own to talk to."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from compass.demo.orders_process import OrdersProcess
from tests.demo.plane import SECRET, Plane, running


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    """A plane that knows one application and one unused token."""
    folder = tmp_path / "plane"
    folder.mkdir()
    async with running(folder) as plane:
        yield plane


@pytest.fixture
async def orders(tmp_path: Path) -> AsyncIterator[OrdersProcess]:
    """A fresh order service; it asks the Director only when it is told to or notified."""
    async with OrdersProcess(tmp_path / "orders", poll_every=timedelta(minutes=10)) as orders:
        yield orders


@pytest.fixture
async def paired(orders: OrdersProcess, plane: Plane) -> OrdersProcess:
    """The same, paired."""
    plane.company_ca = orders.company_ca
    await orders.pair(connector_url=plane.connector_url, token="one-time-token", trust_anchor=plane.trust_anchor)
    return orders


@pytest.fixture
async def registered(paired: OrdersProcess) -> OrdersProcess:
    """The same, with everything registered and the webhook's secret handed over."""
    await paired.register(webhook_secret=SECRET)
    return paired
