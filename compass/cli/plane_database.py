"""The plane's own database, for commands that are run where its data folder is."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from compass.cli.failures import CommandFailed
from compass.settings import Settings

if TYPE_CHECKING:
    from compass.postgres.pool import Database
    from compass.vault import Vault


@asynccontextmanager
async def opened(settings: Settings) -> "AsyncIterator[Database]":
    """The database, whether the plane is up or not. Raises CommandFailed."""
    async with reached(settings) as dsn, _migrated(dsn) as database:
        yield database


@asynccontextmanager
async def reached(settings: Settings) -> AsyncIterator[str]:
    """The DSN of the database, whether the plane is up or not, and whatever is in it. Raises CommandFailed."""
    from compass.postgres import embedded

    if settings.database.dsn is not None:
        yield settings.database.dsn
        return
    folder = settings.data_folder / "postgres"
    if not (folder / "data").exists():
        raise CommandFailed(
            f"there is no plane in {settings.data_folder}",
            hint="--data-folder names another folder; COMPASS_DATABASE__DSN names a database",
        )
    async with embedded.reached(folder) as dsn:
        yield dsn


@asynccontextmanager
async def _migrated(dsn: str) -> "AsyncIterator[Database]":
    from compass.postgres.migrate import pending
    from compass.postgres.pool import Database

    if missing := await pending(dsn):
        raise CommandFailed(
            f"the database misses {len(missing)} migrations", hint="compass server migrate applies them"
        )
    async with Database.open(dsn, connections=1) as database:
        yield database


def vault(settings: Settings) -> "Vault":
    """The plane's vault, which must be there: a new one could not open what the plane sealed. Raises CommandFailed."""
    from compass.vault import Vault

    return Vault.at(vault_keys(settings))


def vault_keys(settings: Settings) -> Path:
    """The key file of the plane's vault, which must be there. Raises CommandFailed."""
    keys = settings.data_folder / "vault.keys"
    if not keys.exists():
        raise CommandFailed(f"there is no {keys}", hint="use the plane's own settings and data folder")
    return keys
