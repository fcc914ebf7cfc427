"""The one door to the database: named parameters, ids that are none, what is undone and what is run again."""

import asyncio
import contextlib
import uuid
from datetime import timedelta

import asyncpg
import pytest

from compass.postgres.pool import Database, Tx, positional

MAKE = "CREATE TABLE note (id uuid PRIMARY KEY, text text, facts jsonb, raw json)"
ADD = "INSERT INTO note VALUES (%(id)s, %(text)s, %(facts)s, %(raw)s)"


@pytest.fixture
async def notes(database: Database) -> Database:
    async with database.transaction() as tx:
        await tx.run(MAKE)
    return database


async def count(database: Database) -> int:
    return int((await database.read("SELECT count(*) AS n FROM note", []))["n"])


def test_names_become_numbers_and_equal_names_share_one() -> None:
    sql = "SELECT %(b)s, %(a)s, %(b)s || '%', 100 % 7"

    assert positional(sql) == ("SELECT $1, $2, $1 || '%', 100 % 7", ("b", "a"))


async def test_json_is_bytes_jsonb_is_values_and_ids_are_text(notes: Database) -> None:
    id_ = str(uuid.uuid4())
    async with notes.transaction() as tx:
        await tx.run(ADD, id=id_, text="a", facts={"b": [1, None]}, raw=b'{ "kept":  "as it is" }')
        row = await tx.row("SELECT * FROM note WHERE id = %(id)s", id=id_)

    assert row is not None
    assert (row["id"], row["facts"], row["raw"]) == (id_, {"b": [1, None]}, b'{ "kept":  "as it is" }')


@pytest.mark.parametrize("id_", ["", "no-uuid", "00000000", "ä", "1" * 5000])
async def test_text_that_is_no_id_finds_nothing_and_leaves_the_transaction_usable(notes: Database, id_: str) -> None:
    async with notes.transaction() as tx:
        await tx.run(ADD, id=str(uuid.uuid4()), text=None, facts=None, raw=None)

        assert await tx.row("SELECT * FROM note WHERE id = %(id)s", id=id_) is None
        assert await tx.run("DELETE FROM note WHERE id = %(id)s", id=id_) == 0
        assert await tx.value("SELECT count(*) FROM note") == 1


async def test_run_says_how_many_rows_and_zero_for_what_counts_none(notes: Database) -> None:
    async with notes.transaction() as tx:
        for _ in range(3):
            await tx.run(ADD, id=str(uuid.uuid4()), text="same", facts=None, raw=None)

        assert await tx.run("UPDATE note SET text = 'other' WHERE text = %(text)s", text="same") == 3
        assert await tx.run("SET LOCAL lock_timeout = '1s'") == 0


async def test_a_block_that_raises_is_undone(notes: Database) -> None:
    with pytest.raises(LookupError):
        async with notes.transaction() as tx:
            await tx.run(ADD, id=str(uuid.uuid4()), text=None, facts=None, raw=None)
            raise LookupError

    assert await count(notes) == 0


async def test_a_deadlock_is_run_again_from_the_start_and_nobody_hears_of_it(notes: Database) -> None:
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    async with notes.transaction() as tx:
        for id_ in (first, second):
            await tx.run(ADD, id=id_, text="0", facts=None, raw=None)
    met = asyncio.Barrier(2)
    runs = 0

    async def cross(one: str, other: str) -> None:
        async def work(tx: Tx) -> None:
            nonlocal runs
            runs += 1
            await tx.run("UPDATE note SET text = text || '1' WHERE id = %(id)s", id=one)
            with contextlib.suppress(TimeoutError, asyncio.BrokenBarrierError):
                await asyncio.wait_for(met.wait(), 1)
            await tx.run("UPDATE note SET text = text || '2' WHERE id = %(id)s", id=other)

        await notes.run(work)

    await asyncio.gather(cross(first, second), cross(second, first))

    assert runs > 2
    async with notes.transaction() as tx:
        texts = [row["text"] for row in await tx.rows("SELECT text FROM note")]
    assert sorted(len(text) for text in texts) == [3, 3]  # each was changed twice: once by each


async def test_a_broken_off_transaction_is_given_up_after_some_runs(notes: Database) -> None:
    runs = 0

    async def work(_tx: Tx) -> None:
        nonlocal runs
        runs += 1
        raise asyncpg.SerializationError("always")

    with pytest.raises(asyncpg.SerializationError):
        await notes.run(work)

    assert runs == 5


async def test_the_connections_for_reading_cannot_write(notes: Database) -> None:
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await notes.read("INSERT INTO note (id) VALUES ($1) RETURNING id", [str(uuid.uuid4())])

    assert await count(notes) == 0


async def test_a_listener_hears_what_was_committed_and_nothing_else(notes: Database) -> None:
    heard: list[str] = []
    async with notes.listening("notes", heard.append) as lost:
        with pytest.raises(LookupError):
            async with notes.transaction() as tx:
                await tx.value("SELECT pg_notify('notes', 'undone')")
                raise LookupError
        async with notes.transaction() as tx:
            await tx.value("SELECT pg_notify('notes', 'done')")
        async with asyncio.timeout(5):
            while not heard:
                await asyncio.sleep(0.01)

        assert heard == ["done"]
        assert not lost.is_set()


async def test_a_listener_is_told_when_its_connection_is_lost(notes: Database) -> None:
    async with notes.listening("notes", lambda _: None) as lost:
        async with notes.transaction() as tx:
            await tx.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'compass-listen' AND datname = current_database()"
            )
        async with asyncio.timeout(timedelta(seconds=5).total_seconds()):
            await lost.wait()


async def test_the_connections_in_use_are_counted_by_pool(dsn: str) -> None:
    async with Database.open(dsn, connections=3) as database:
        assert database.in_use() == {"reads": (0, 3), "searches": (0, 4), "writes": (0, 3)}
        async with database.transaction(), database.transaction():
            await database.read("SELECT 1 AS one", [], searches=True)

            assert database.in_use() == {"reads": (0, 3), "searches": (0, 4), "writes": (2, 3)}
        assert database.in_use()["writes"] == (0, 3)
