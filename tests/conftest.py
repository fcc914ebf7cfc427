"""A real PostgreSQL for every test process, and a database of its own for every test that asks for one.

`tx` an open transaction, rolled back afterwards: the cheapest, for code that takes the caller's transaction (1 ms)
`database` the plane's pools on a fresh migrated database: for code that opens transactions itself (about 25 ms)
`dsn` the address of that database
`empty_dsn` the address of a database without any table
"""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from compass.postgres.embedded import running
from compass.postgres.migrate import MigrationFailed, migrate
from compass.postgres.pool import Database, Tx

SETTINGS = {
    # Nothing here outlives the process, so nothing needs to survive a power cut.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_wal_size": "64MB",
    "min_wal_size": "32MB",
    "max_connections": "200",
}
_MEMORY = Path("/dev/shm")  # noqa: S108  our folder in it has mode 0700
_MEMORY_BYTES = 2 * 1024**3
_numbers = count(1)


def _on(dsn: str, database: str) -> str:
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{database}"))


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True


@pytest.fixture(scope="session")
def cluster_folder() -> Iterator[Path]:
    """Where the databases of this test process lie: in memory if there is enough, ten times faster than a disk."""
    in_memory = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _MEMORY_BYTES and os.access(_MEMORY, os.W_OK)
    parent = _MEMORY if in_memory else Path(tempfile.gettempdir())
    for left in parent.glob("compass-test-*"):  # by a test process that was killed
        if not _is_alive(left.name.rpartition("-")[2]):
            shutil.rmtree(left, ignore_errors=True)
    folder = parent / f"compass-test-{os.getpid()}"
    folder.mkdir(mode=0o700)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
async def cluster_dsn(cluster_folder: Path) -> AsyncIterator[str]:
    """The embedded PostgreSQL of this test process, by the DSN of an empty database that nobody else uses."""
    async with running(cluster_folder / "pg", settings=SETTINGS) as dsn:
        yield dsn


@pytest.fixture(scope="session")
async def cluster(cluster_dsn: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    """A connection for making and dropping databases; the database `template` is a migrated one."""
    connection = await asyncpg.connect(cluster_dsn)
    try:
        await connection.execute("CREATE DATABASE template")
        try:
            await migrate(_on(cluster_dsn, "template"))
        except MigrationFailed as failed:
            pytest.fail(str(failed), pytrace=False)  # told once per test that needs it: a sentence, not a page
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def _fresh(cluster: "asyncpg.Connection[asyncpg.Record]", how: str) -> AsyncIterator[str]:
    name = f"test_{next(_numbers)}"
    await cluster.execute(f"CREATE DATABASE {name} {how}")
    try:
        yield name
    finally:
        await cluster.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def empty_dsn(cluster: "asyncpg.Connection[asyncpg.Record]", cluster_dsn: str) -> AsyncIterator[str]:
    """A database without any table, dropped after the test."""
    async with _fresh(cluster, "STRATEGY file_copy") as name:
        yield _on(cluster_dsn, name)


@pytest.fixture
async def dsn(cluster: "asyncpg.Connection[asyncpg.Record]", cluster_dsn: str) -> AsyncIterator[str]:
    """A migrated database of this test's own, dropped after it."""
    async with _fresh(cluster, "TEMPLATE template STRATEGY file_copy") as name:
        yield _on(cluster_dsn, name)


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """The plane's pools, open on the test's own database."""
    async with Database.open(dsn) as database:
        yield database


@pytest.fixture(scope="session")
async def shared_database(cluster: "asyncpg.Connection[asyncpg.Record]", cluster_dsn: str) -> AsyncIterator[Database]:
    """For `tx` alone: whatever is done in it is rolled back, so it stays as the migrations left it."""
    async with (
        _fresh(cluster, "TEMPLATE template STRATEGY file_copy") as name,
        Database.open(_on(cluster_dsn, name)) as database,
    ):
        yield database


@pytest.fixture
def tx_database(request: pytest.FixtureRequest) -> Database:
    """The test's own database when it asks for one besides `tx`, otherwise the one that such tests share."""
    owns_one = {"dsn", "database"} & set(request.fixturenames)
    database: Database = request.getfixturevalue("database" if owns_one else "shared_database")
    return database


@pytest.fixture
async def tx(tx_database: Database) -> AsyncIterator[Tx]:
    """An open transaction, rolled back after the test: what it writes nobody else ever sees."""
    try:
        async with tx_database.transaction() as tx:
            yield tx
            raise _RolledBackError
    except _RolledBackError:
        pass


class _RolledBackError(Exception):
    """The end of every test's transaction."""
