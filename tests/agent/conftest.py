from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.agent.plane import FakePlane, fake_plane


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[FakePlane]:
    folder = tmp_path / "plane"
    folder.mkdir()
    async with fake_plane(folder) as running:
        yield running
