"""Planes as processes. `plane` serves all tests of a module, which may name what it is started with in `SETTINGS`."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.e2e.plane import Plane, Tables

if TYPE_CHECKING:
    import asyncpg


@pytest.fixture(scope="module")
async def plane_dsn(
    cluster: "asyncpg.Connection[asyncpg.Record]", cluster_dsn: str, request: pytest.FixtureRequest
) -> AsyncIterator[str]:
    """The database of the module's plane: an external one, so that the tests can look into its tables."""
    name = f"plane_of_{request.module.__name__.rpartition('.')[2]}"
    await cluster.execute(f"CREATE DATABASE {name}")
    yield urlunsplit(urlsplit(cluster_dsn)._replace(path=f"/{name}"))
    await cluster.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
async def plane(
    plane_dsn: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[Plane]:
    """One plane, over real TLS, for all tests of the module. Its log must hold no traceback in the end."""
    folder: Path = tmp_path_factory.mktemp("plane")
    settings = {"COMPASS_DATABASE__DSN": plane_dsn, **getattr(request.module, "SETTINGS", {})}
    async with Plane(folder, settings=settings) as plane:
        yield plane
    assert "Traceback" not in plane.log, plane.log[-4000:]


@pytest.fixture
async def tables(plane_dsn: str) -> AsyncIterator[Tables]:
    """The tables of the module's plane."""
    async with Tables.of(plane_dsn) as tables:
        yield tables
