"""Where the order service keeps what must survive it: one SQLite file, one thread that writes to it."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

SCHEMA = """
CREATE TABLE IF NOT EXISTS setting (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sales_order (
    id TEXT PRIMARY KEY, customer TEXT NOT NULL, item TEXT NOT NULL, quantity INTEGER NOT NULL,
    created_at TEXT NOT NULL, created_by TEXT NOT NULL, received_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS event (
    id TEXT PRIMARY KEY, order_id TEXT NOT NULL UNIQUE, body TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    settled INTEGER NOT NULL DEFAULT 0,    target_url TEXT, status INTEGER, answer TEXT, sent_at TEXT
);
CREATE TABLE IF NOT EXISTS credential (
    name TEXT PRIMARY KEY, digest TEXT NOT NULL, runtime_id TEXT UNIQUE, created_at TEXT NOT NULL, revoked_at TEXT
);
CREATE TABLE IF NOT EXISTS access_token (digest TEXT PRIMARY KEY, credential TEXT NOT NULL, expires_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS notification (
    id TEXT PRIMARY KEY, received_at TEXT NOT NULL, headers TEXT NOT NULL, body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS notification_attempt (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, at TEXT NOT NULL, outcome TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS runtime (
    id TEXT PRIMARY KEY, wanted INTEGER NOT NULL, settled INTEGER NOT NULL, revision INTEGER NOT NULL,
    instance_auth_id TEXT, problem TEXT
);
"""


def now() -> str:
    """The present moment as RFC 3339 in UTC; such texts sort like the moments they name."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Store:
    """The service's memory. What a call wrote is on disk when the call returns, whatever kills us afterwards."""

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor) -> None:
        self._connection = connection
        self._thread = thread

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path) -> AsyncIterator["Store"]:
        """Open the file, create it when it is new, and close it after the last write."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        connection = await asyncio.get_running_loop().run_in_executor(thread, _connect, path)
        try:
            yield cls(connection, thread)
        finally:
            thread.submit(connection.close)
            await asyncio.to_thread(thread.shutdown)

    async def transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in the store's thread inside one transaction: all of it stays, or nothing."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._in_transaction, work)

    async def rows(self, sql: str, **params: object) -> list[dict[str, Any]]:
        """Every row of one statement."""
        return await self.transaction(lambda tx: [dict(row) for row in tx.execute(sql, params)])

    async def row(self, sql: str, **params: object) -> dict[str, Any] | None:
        """The first row of one statement, or nothing."""
        return next(iter(await self.rows(sql, **params)), None)

    async def run(self, sql: str, **params: object) -> int:
        """The number of rows one writing statement changed."""
        return await self.transaction(lambda tx: tx.execute(sql, params).rowcount)

    async def setting(self, key: str) -> str | None:
        """What was last remembered under `key`."""
        row = await self.row(SETTING_READ, key=key)
        return None if row is None else str(row["value"])

    async def remember(self, **settings: str) -> None:
        """Remember several settings at once."""
        await self.transaction(lambda tx: tx.executemany(SETTING_WRITE, [*settings.items()]))

    def _in_transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(self._connection)
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
        return result


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(SCHEMA)
    return connection


SETTING_READ = """
-- setting.read
SELECT value FROM setting WHERE key = :key
"""
SETTING_WRITE = """
-- setting.write
INSERT INTO setting (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value
"""
