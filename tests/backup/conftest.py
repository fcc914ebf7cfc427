"""A plane's database that is full of everything, its vault, and a backup of it."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from compass.access.tokens import AccessTokens
from compass.audit.keys import Keys
from compass.audit.seal import seal
from compass.backup.make import make
from compass.postgres.pool import Database
from compass.vault import Vault
from tests.access.populate import landscape


@pytest.fixture(scope="session")
async def source(
    cluster: "asyncpg.Connection[asyncpg.Record]", cluster_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[str, Path]]:
    """The address of the database, to which nobody is connected and which nobody changes, and its key file."""
    await cluster.execute("CREATE DATABASE to_back_up TEMPLATE template")
    folder = tmp_path_factory.mktemp("to_back_up")
    dsn = urlunsplit(urlsplit(cluster_dsn)._replace(path="/to_back_up"))
    async with landscape(dsn, folder) as made:
        vault = made.parts[Vault]
        async with made.database.transaction() as tx:
            await AccessTokens.open(tx, vault)
            await seal(tx, await Keys.open(tx, vault))
    # What that keeps to compare with belongs to the superuser, and is no part of a plane.
    superuser = await asyncpg.connect(dsn.replace("compass@", "postgres@", 1))
    await superuser.execute("DROP SCHEMA kept CASCADE")
    await superuser.close()
    yield dsn, folder / "vault.keys"
    await cluster.execute("DROP DATABASE to_back_up WITH (FORCE)")


@pytest.fixture(scope="session")
async def backup(source: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of it, which no test changes."""
    path = tmp_path_factory.mktemp("backup") / "plane.backup"
    await make(*source, path, release="0.1.0", with_keys=False, told=lambda _: None)
    return path


@pytest.fixture
def keys(source: tuple[str, Path], tmp_path: Path) -> Path:
    """A copy of its key file, in a folder of its own."""
    (tmp_path / "data").mkdir(mode=0o700)
    return Path(shutil.copy(source[1], tmp_path / "data" / "vault.keys"))


async def content(dsn: str) -> dict[str, list[str]]:
    """Every row of every table, as text, in order."""
    async with Database.open(dsn, connections=1) as database, database.transaction() as tx:
        tables = await tx.rows(
            "-- test.tables\nSELECT relname::text AS name FROM pg_class"
            " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY relname"
        )
        return {
            row["name"]: sorted(
                each["row"] for each in await tx.rows(f"-- test.all\nSELECT t::text AS row FROM {row['name']} t")
            )
            for row in tables
        }
