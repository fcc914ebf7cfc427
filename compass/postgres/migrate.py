"""The schema's history: numbered SQL files, each applied once, in order, in a transaction of its own.

A file is `NNNN_pre_what.sql` when the running release works before and after it, and `NNNN_post_what.sql` when it may
only follow the release that no longer needs what it removes. Applied files never change: the table `migration` keeps
the digest of each, and a database that does not fit the files is refused, never guessed about.
"""

import hashlib
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from compass.errors import Code, CompassError, Unavailable
from compass.postgres.embedded import OLDEST_MAJOR

MIGRATIONS: Final = Path(__file__).with_name("migrations")
_NAME: Final = re.compile(r"(\d{4})_(pre|post)_[a-z0-9_]+\.sql")
_LOCK: Final = 7_071_905_216_000_001
"""The advisory lock of whoever migrates. Any number that nobody else uses in the database."""
_SINCE_14: Final = "client_connection_check_interval"
"""A setting we make, by which a server older than PostgreSQL 14 refuses the connection before it says its version."""


class MigrationMisnamed(CompassError):
    """A file's name is of another form, or its number is taken."""

    code = Code.INTERNAL
    message = "the migration {name} cannot be put in order: {why}; rename it to NNNN_pre_what.sql or NNNN_post_what.sql"


class MigrationChanged(CompassError):
    """A file was edited after it was applied to the database."""

    code = Code.INTERNAL
    message = (
        "the migration {name} is not what was applied to this database; restore the file and write a new migration"
    )


class MigrationOutOfOrder(CompassError):
    """A file's number lies below one that is applied already."""

    code = Code.INTERNAL
    message = "the migration {name} comes too late: {latest} is applied already; give it a higher number"


class MigrationFailed(CompassError):
    """The database refused the file's SQL. The file is rolled back, the files before it stay applied."""

    code = Code.INTERNAL
    message = (
        "the migration {name} failed and left nothing behind: {why}; correct what it complains of and run it again"
    )


class DatabaseFromNewerVersion(CompassError):
    """The database knows a migration that this release does not have."""

    code = Code.INTERNAL
    message = (
        "the database was migrated by a newer release, up to {name};"
        " run that release, or restore a backup from before it"
    )


class DatabaseRefused(CompassError):
    """The database answers, and does not let the plane in; or the address cannot be one."""

    code = Code.INVALID_OPERATION
    message = "the database does not let the plane in: {why}; check database.dsn"


class DatabaseTooOld(CompassError):
    """The server is a PostgreSQL whose SQL is older than the plane's."""

    code = Code.INVALID_OPERATION
    message = "the database is older than PostgreSQL {oldest}; upgrade it, or set database.dsn to a newer one"


class RestoreUnfinished(CompassError):
    """A backup was to be restored into the database, and whoever did it was interrupted."""

    code = Code.INVALID_OPERATION
    message = (
        "the restore of a backup into this database was interrupted; give the command again with the same file:"
        " compass server restore"
    )


@dataclass(frozen=True)
class Migration:
    """One file."""

    number: int
    name: str
    """The file's name without its suffix."""
    sql: str
    digest: str


async def migrate(dsn: str, *, folder: Path = MIGRATIONS) -> list[str]:
    """Apply what is missing. Gives the names of what was applied now, in order.

    Of several at once one works and the others wait, and then find nothing to do. Killed at any moment, the files
    applied so far are in and the present one is not.

    Raises MigrationMisnamed, MigrationChanged, MigrationOutOfOrder, DatabaseFromNewerVersion, MigrationFailed,
    DatabaseRefused, DatabaseTooOld, RestoreUnfinished, Unavailable.
    """
    async with _connected(dsn) as connection:
        await _refuse_unfinished(connection)
        return await _apply_missing(connection, folder)


async def migrate_restored(dsn: str) -> list[str]:
    """As `migrate`, for whoever is restoring a backup into the database; nobody else uses it meanwhile."""
    async with _connected(dsn) as connection:
        return await _apply_missing(connection, MIGRATIONS)


async def pending(dsn: str, *, folder: Path = MIGRATIONS) -> list[str]:
    """The names of what `migrate` would apply. Changes nothing and waits for nobody.

    Raises MigrationMisnamed, MigrationChanged, MigrationOutOfOrder, DatabaseFromNewerVersion, DatabaseRefused,
    DatabaseTooOld, RestoreUnfinished, Unavailable.
    """
    files = _read(folder)
    async with _connected(dsn) as connection:
        await _refuse_unfinished(connection)
        exists = await connection.fetchval("SELECT to_regclass('migration') IS NOT NULL")
        applied = await connection.fetch(HISTORY) if exists else []
    return [migration.name for migration in _missing(files, applied)]


def needed(folder: Path = MIGRATIONS) -> str:
    """The name of the last migration without which this release does not work. Raises MigrationMisnamed."""
    return next(migration.name for migration in reversed(_read(folder)) if "_pre_" in migration.name[:9])


def known(folder: Path = MIGRATIONS) -> list[str]:
    """The names of all migrations of this release, in order. Raises MigrationMisnamed."""
    return [migration.name for migration in _read(folder)]


async def _refuse_unfinished(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    if await connection.fetchval(IS_BEING_RESTORED):
        raise RestoreUnfinished


async def _apply_missing(connection: "asyncpg.Connection[asyncpg.Record]", folder: Path) -> list[str]:
    files = _read(folder)
    # Belongs to the session, so it ends with us however we end.
    await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
    await connection.execute(CREATE_HISTORY)
    # After the lock: the history must not be older than it.
    missing = _missing(files, await connection.fetch(HISTORY))
    for migration in missing:
        await _apply(connection, migration)
    return [migration.name for migration in missing]


def _read(folder: Path) -> list[Migration]:
    migrations: dict[int, Migration] = {}
    for path in sorted(folder.glob("*.sql")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise MigrationMisnamed(name=path.name, why="its name has another form")
        number = int(match[1])
        if number in migrations:
            raise MigrationMisnamed(name=path.name, why=f"{migrations[number].name} has the same number")
        text = path.read_bytes()
        migrations[number] = Migration(number, path.stem, text.decode(), hashlib.sha256(text).hexdigest())
    return list(migrations.values())


def _missing(known: list[Migration], applied: list[asyncpg.Record]) -> list[Migration]:
    """What is known and not applied, provided that the rest is exactly what was applied."""
    files = {migration.number: migration for migration in known}
    for row in applied:
        file = files.pop(row["number"], None)
        if file is None:
            raise DatabaseFromNewerVersion(name=applied[-1]["name"])
        if (file.name, file.digest) != (row["name"], row["digest"]):
            raise MigrationChanged(name=row["name"])
    missing = list(files.values())
    if missing and applied and missing[0].number < applied[-1]["number"]:
        raise MigrationOutOfOrder(name=missing[0].name, latest=applied[-1]["name"])
    return missing


async def _apply(connection: "asyncpg.Connection[asyncpg.Record]", migration: Migration) -> None:
    try:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await connection.execute(RECORD, migration.number, migration.name, migration.digest)
    except asyncpg.PostgresError as error:
        raise MigrationFailed(name=migration.name, why=_explained(error, migration.sql)) from error


def _explained(error: asyncpg.PostgresError, sql: str) -> str:
    position = getattr(error, "position", None)
    line = f" at line {sql.count(chr(10), 0, int(position)) + 1}" if position else ""
    return f"{error}{line}"


@asynccontextmanager
async def _connected(dsn: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    try:
        connection = await asyncpg.connect(
            dsn,
            timeout=10,
            server_settings={
                "application_name": "compass-migrate",
                # When we are killed the server gives up our statement and our lock within a second, however long
                # the statement would have run.
                _SINCE_14: "1s",
            },
        )
    except ssl.SSLCertVerificationError as error:
        raise DatabaseRefused(why=f"its certificate is not trusted ({error.verify_message})") from error
    except (OSError, asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError) as error:
        raise Unavailable from error
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InsufficientPrivilegeError) as error:
        raise DatabaseRefused(why="role, password or kind of connection (TLS) is refused") from error
    except asyncpg.InvalidCatalogNameError as error:
        raise DatabaseRefused(why="there is no such database") from error
    except asyncpg.UndefinedObjectError as error:
        if _SINCE_14 in str(error):
            raise DatabaseTooOld(oldest=str(OLDEST_MAJOR)) from error
        raise DatabaseRefused(why="it does not know an option of the address") from error
    except ValueError:
        # Its words may hold any part of the DSN, the password too.
        raise DatabaseRefused(why="the address, or an option in it such as sslmode, is malformed") from None
    try:
        if connection.get_server_version().major < OLDEST_MAJOR:
            raise DatabaseTooOld(oldest=str(OLDEST_MAJOR))
        yield connection
    finally:
        await connection.close(timeout=5)


# A table that `compass/backup/restore.py` makes before everything else, and removes at its end.
IS_BEING_RESTORED: Final = """
-- migration.is_being_restored
SELECT to_regclass('restore_unfinished') IS NOT NULL
"""

CREATE_HISTORY: Final = """
-- migration.create_history
CREATE TABLE IF NOT EXISTS migration (
    number     integer     PRIMARY KEY,
    name       text        NOT NULL,
    digest     text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""

HISTORY: Final = """
-- migration.history
SELECT number, name, digest FROM migration ORDER BY number
"""

RECORD: Final = """
-- migration.record
INSERT INTO migration (number, name, digest) VALUES ($1, $2, $3)
"""
