from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.agent.plane import FakePlane, fake_plane
from tests.runtime.parts import FakeApplication, prepared


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[FakePlane]:
    folder = tmp_path / "plane"
    folder.mkdir()
    async with fake_plane(folder) as running:
        yield running


@pytest.fixture
async def orders(tmp_path: Path) -> AsyncIterator[FakeApplication]:
    folder = tmp_path / "orders"
    folder.mkdir()
    application = FakeApplication(folder)
    await application.start()
    try:
        yield application
    finally:
        await application.stop()


@pytest.fixture
def folder(plane: FakePlane, orders: FakeApplication, tmp_path: Path) -> Path:
    """A runtime's folder that trusts the application."""
    made = prepared(tmp_path / "runtime", plane)
    (made / "applications_ca.pem").write_text(orders.authority.pem)
    return made
