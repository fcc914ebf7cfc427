"""Migrating, on a real empty database, with files made by the test."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from compass.errors import Unavailable
from compass.postgres import migrate as module
from compass.postgres.embedded import running
from compass.postgres.migrate import (
    DatabaseFromNewerVersion,
    DatabaseRefused,
    DatabaseTooOld,
    MigrationChanged,
    MigrationFailed,
    MigrationMisnamed,
    MigrationOutOfOrder,
    RestoreUnfinished,
    known,
    migrate,
    migrate_restored,
    needed,
    pending,
)


class Ask(Protocol):
    async def __call__(self, dsn: str, *, folder: Path) -> list[str]: ...


FIRST = ("0001_pre_application", "CREATE TABLE application (id integer);")
SECOND = ("0002_post_name", "ALTER TABLE application ADD COLUMN name text; INSERT INTO application VALUES (1, 'a');")


def write(folder: Path, *files: tuple[str, str]) -> Path:
    for name, sql in files:
        (folder / f"{name}.sql").write_text(sql)
    return folder


SYSTEM_POSTGRES: Final = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


async def rows(dsn: str, sql: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(dsn)
    try:
        return [tuple(row) for row in await connection.fetch(sql)]
    finally:
        await connection.close()


def migrating(dsn: str, folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(Path(module.__file__).parents[2])}
    return subprocess.Popen(
        [sys.executable, Path(__file__).with_name("plane.py"), "migrate", dsn, folder], env=environment
    )


async def tables(dsn: str) -> set[object]:
    found = await rows(dsn, "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")
    return {row[0] for row in found}


async def history(dsn: str) -> list[tuple[object, ...]]:
    return await rows(dsn, "SELECT number, name FROM migration ORDER BY number")


async def test_files_are_applied_in_order_and_only_once(empty_dsn: str, tmp_path: Path) -> None:
    write(tmp_path, SECOND, FIRST)

    assert await migrate(empty_dsn, folder=tmp_path) == ["0001_pre_application", "0002_post_name"]
    assert await migrate(empty_dsn, folder=tmp_path) == []

    assert await rows(empty_dsn, "SELECT id, name FROM application") == [(1, "a")]
    assert await history(empty_dsn) == [(1, "0001_pre_application"), (2, "0002_post_name")]


async def test_a_file_of_a_later_release_is_applied_alone(empty_dsn: str, tmp_path: Path) -> None:
    await migrate(empty_dsn, folder=write(tmp_path, FIRST))

    assert await migrate(empty_dsn, folder=write(tmp_path, SECOND)) == ["0002_post_name"]


async def test_asking_what_is_missing_changes_nothing(empty_dsn: str, tmp_path: Path) -> None:
    write(tmp_path, FIRST, SECOND)

    assert await pending(empty_dsn, folder=tmp_path) == ["0001_pre_application", "0002_post_name"]
    assert await tables(empty_dsn) == set()

    await migrate(empty_dsn, folder=tmp_path)
    assert await pending(empty_dsn, folder=tmp_path) == []


def test_a_release_needs_what_it_brings_and_not_what_may_only_follow_it(tmp_path: Path) -> None:
    assert needed(write(tmp_path, FIRST, SECOND)) == "0001_pre_application"


async def test_a_file_that_fails_leaves_nothing_and_keeps_what_came_before(empty_dsn: str, tmp_path: Path) -> None:
    write(
        tmp_path, FIRST, ("0002_pre_broken", "CREATE TABLE half (id integer);\n\nALTER TABLE application ADD nonsense;")
    )

    with pytest.raises(MigrationFailed, match=r"0002_pre_broken failed .* at line 3"):
        await migrate(empty_dsn, folder=tmp_path)

    assert await tables(empty_dsn) == {"application", "migration"}
    assert await history(empty_dsn) == [(1, "0001_pre_application")]

    write(tmp_path, ("0002_pre_broken", "CREATE TABLE whole (id integer);"))
    assert await migrate(empty_dsn, folder=tmp_path) == ["0002_pre_broken"]


async def test_a_file_that_cannot_be_recorded_leaves_nothing(empty_dsn: str, tmp_path: Path) -> None:
    write(tmp_path, FIRST, ("0002_pre_forgetful", "CREATE TABLE half (id integer); DROP TABLE migration;"))

    with pytest.raises(MigrationFailed, match="0002_pre_forgetful"):
        await migrate(empty_dsn, folder=tmp_path)

    assert await tables(empty_dsn) == {"application", "migration"}
    assert await history(empty_dsn) == [(1, "0001_pre_application")]


@pytest.mark.parametrize("ask", [migrate, pending])
async def test_an_applied_file_that_was_edited_is_refused(empty_dsn: str, tmp_path: Path, ask: Ask) -> None:
    await migrate(empty_dsn, folder=write(tmp_path, FIRST))
    write(tmp_path, (FIRST[0], "CREATE TABLE application (id bigint);"), SECOND)

    with pytest.raises(MigrationChanged, match="0001_pre_application is not what was applied"):
        await ask(empty_dsn, folder=tmp_path)

    assert await history(empty_dsn) == [(1, "0001_pre_application")]


@pytest.mark.parametrize("ask", [migrate, pending])
async def test_a_database_of_a_newer_release_is_refused(empty_dsn: str, tmp_path: Path, ask: Ask) -> None:
    await migrate(empty_dsn, folder=write(tmp_path, FIRST, SECOND))
    (tmp_path / f"{SECOND[0]}.sql").unlink()

    with pytest.raises(DatabaseFromNewerVersion, match="up to 0002_post_name; run that release"):
        await ask(empty_dsn, folder=tmp_path)


async def test_a_file_that_comes_too_late_is_refused_and_not_applied(empty_dsn: str, tmp_path: Path) -> None:
    await migrate(empty_dsn, folder=write(tmp_path, FIRST, ("0003_pre_third", "CREATE TABLE third (id integer);")))
    write(tmp_path, SECOND)

    with pytest.raises(MigrationOutOfOrder, match="0002_post_name comes too late: 0003_pre_third is applied"):
        await migrate(empty_dsn, folder=tmp_path)

    assert await history(empty_dsn) == [(1, "0001_pre_application"), (3, "0003_pre_third")]


@pytest.mark.parametrize("name", ["0002_name", "2_pre_name", "0002_during_name", "0002_pre_Name", "0001_pre_other"])
async def test_a_file_without_a_place_in_the_order_is_refused(empty_dsn: str, tmp_path: Path, name: str) -> None:
    write(tmp_path, FIRST, (name, "SELECT 1;"))

    with pytest.raises(MigrationMisnamed, match=r"cannot be put in order"):
        await migrate(empty_dsn, folder=tmp_path)

    assert await tables(empty_dsn) == set()


async def test_of_several_at_once_one_works_and_the_others_find_nothing_to_do(empty_dsn: str, tmp_path: Path) -> None:
    write(tmp_path, ("0001_pre_slow", "CREATE TABLE slow AS SELECT pg_sleep(0.2)::text;"), ("0002_pre_b", "SELECT 1;"))

    applied = await asyncio.gather(*(migrate(empty_dsn, folder=tmp_path) for _ in range(4)))

    assert sorted(applied) == [[], [], [], ["0001_pre_slow", "0002_pre_b"]]


async def test_killed_in_the_middle_it_leaves_whole_files_only_and_the_next_run_ends_it(
    empty_dsn: str, tmp_path: Path
) -> None:
    write(tmp_path, FIRST, ("0002_pre_endless", "CREATE TABLE half (id integer); SELECT pg_sleep(600);"))
    process = migrating(empty_dsn, tmp_path)
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    while await rows(empty_dsn, asleep) != [(1,)]:
        await asyncio.sleep(0.02)
    process.kill()
    process.wait()
    assert await tables(empty_dsn) == {"application", "migration"}
    write(tmp_path, ("0002_pre_endless", "CREATE TABLE whole (id integer);"))

    # The dead one's statement would have run for ten minutes; the lock is free as soon as the server notices.
    assert await asyncio.wait_for(migrate(empty_dsn, folder=tmp_path), timeout=20) == ["0002_pre_endless"]

    assert await tables(empty_dsn) == {"application", "migration", "whole"}


async def test_a_database_that_is_away_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        await migrate(f"postgresql://compass@/compass?host={tmp_path}", folder=write(tmp_path, FIRST))


def message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


def refusal(code: str, words: str) -> bytes:
    return message(b"E", f"SFATAL\0VFATAL\0C{code}\0M{words}\0\0".encode())


WELCOME: Final = b"".join(
    [
        message(b"R", (0).to_bytes(4, "big")),
        message(b"S", b"server_version\x0014.9\x00"),
        message(b"Z", b"I"),
    ]
)


@asynccontextmanager
async def server(answer: bytes) -> AsyncIterator[str]:
    """A server of another kind than we have here: it answers the first message of a connection, and nothing else."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int.from_bytes(await reader.readexactly(4), "big")
        await reader.readexactly(length - 4)
        writer.write(answer)
        await reader.read(1)  # the goodbye
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        yield f"postgresql://compass:geheim@127.0.0.1:{port}/compass?sslmode=disable"


@pytest.mark.parametrize("ask", [migrate, pending])
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (refusal("28P01", 'password authentication failed for user "compass"'), "role, password or kind of connection"),
        (refusal("28000", "no pg_hba.conf entry, no encryption"), "role, password or kind of connection"),
        (refusal("42501", "permission denied for database"), "role, password or kind of connection"),
        (refusal("3D000", 'database "compass" does not exist'), "there is no such database"),
        (refusal("42704", 'unrecognized configuration parameter "geheim"'), "it does not know an option"),
    ],
)
async def test_a_database_that_does_not_let_us_in_says_why(tmp_path: Path, ask: Ask, answer: bytes, why: str) -> None:
    async with server(answer) as dsn:
        with pytest.raises(DatabaseRefused, match=f"does not let the plane in: {why}.*; check database.dsn") as refused:
            await ask(dsn, folder=write(tmp_path, FIRST))

    assert "geheim" not in str(refused.value)


async def test_a_database_that_does_not_exist_here_is_refused_and_not_made(empty_dsn: str, tmp_path: Path) -> None:
    wrong = urlunsplit(urlsplit(empty_dsn)._replace(path="/nowhere"))

    with pytest.raises(DatabaseRefused, match="there is no such database"):
        await migrate(wrong, folder=write(tmp_path, FIRST))

    assert await rows(empty_dsn, "SELECT 1 FROM pg_database WHERE datname = 'nowhere'") == []


@pytest.mark.parametrize(
    "dsn",
    [
        "mysql://compass:geheim@127.0.0.1/compass",
        "postgresql://compass:geheim@127.0.0.1/compass?sslmode=geheim",
        "postgresql://compass:geheim/more@127.0.0.1:5432/compass",
        "postgresql://compass:geheim@127.0.0.1:port/compass",
    ],
)
async def test_an_address_that_cannot_be_one_is_refused_and_not_repeated(tmp_path: Path, dsn: str) -> None:
    with pytest.raises(DatabaseRefused, match=r"malformed; check database\.dsn") as refused:
        await migrate(dsn, folder=write(tmp_path, FIRST))

    assert "geheim" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


@pytest.mark.parametrize("ask", [migrate, pending])
@pytest.mark.parametrize(
    "answer",
    [WELCOME, refusal("42704", 'unrecognized configuration parameter "client_connection_check_interval"')],
    ids=["14", "13"],
)
async def test_a_server_older_than_our_sql_is_refused(tmp_path: Path, ask: Ask, answer: bytes) -> None:
    async with server(answer) as dsn:
        with pytest.raises(DatabaseTooOld, match="older than PostgreSQL 15; upgrade it"):
            await ask(dsn, folder=write(tmp_path, FIRST))


async def test_the_migrations_of_the_plane_apply_to_the_oldest_and_the_newest_postgresql_of_this_machine(
    tmp_path: Path, empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = sorted(path.stem for path in module.MIGRATIONS.glob("*.sql"))
    assert await migrate(empty_dsn) == names

    for binaries in SYSTEM_POSTGRES[:1]:
        monkeypatch.setenv("PGBIN", str(binaries))
        async with running(tmp_path / "pg", settings={"fsync": "off"}) as dsn:
            assert await migrate(dsn) == names


async def test_a_database_that_is_being_restored_is_for_the_restore_alone(empty_dsn: str) -> None:
    connection = await asyncpg.connect(empty_dsn)
    await connection.execute("CREATE TABLE restore_unfinished (digest text)")
    begin: Callable[[str], Awaitable[object]]
    for begin in (pending, migrate):
        with pytest.raises(RestoreUnfinished, match="compass server restore"):
            await begin(empty_dsn)
    assert await connection.fetchval("SELECT to_regclass('migration')") is None

    assert await migrate_restored(empty_dsn) == known()
    await connection.execute("DROP TABLE restore_unfinished")
    await connection.close()
    assert await pending(empty_dsn) == []
