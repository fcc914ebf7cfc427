"""Every test of this folder draws its moments from one seed, which it prints: `FAULTS_SEED=… pytest …` replays them."""

import os
import random
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import pytest

if TYPE_CHECKING:
    import asyncpg


@pytest.fixture
def moments() -> random.Random:
    """Where all chance of a test comes from."""
    seed = os.environ.get("FAULTS_SEED") or str(random.SystemRandom().getrandbits(32))
    print(f"FAULTS_SEED={seed}")  # noqa: T201  # shown when the test fails
    return random.Random(seed)  # noqa: S311  # moments, not secrets


@pytest.fixture(scope="module")
async def shared_dsn(
    cluster: "asyncpg.Connection[asyncpg.Record]", cluster_dsn: str, request: pytest.FixtureRequest
) -> AsyncIterator[str]:
    """A database outside of the module's planes, for several of them or for looking into it."""
    name = f"faults_of_{request.module.__name__.rpartition('.')[2]}"
    await cluster.execute(f"CREATE DATABASE {name}")
    yield urlunsplit(urlsplit(cluster_dsn)._replace(path=f"/{name}"))
    await cluster.execute(f"DROP DATABASE {name} WITH (FORCE)")
