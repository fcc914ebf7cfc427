import asyncio
import time
import uuid

import pytest

from compass.ids import new_id
from compass.postgres.pool import Database


def test_ids_are_uuids_of_the_seventh_kind_in_the_order_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_800_000_000_123_456_789
    monkeypatch.setattr("compass.ids.time.time_ns", lambda: now)
    drawn = [new_id()]
    for _ in range(5000):
        now += 250  # nanoseconds
        drawn.append(new_id())
    assert drawn == sorted(drawn)
    assert len(set(drawn)) == 5001
    one = uuid.UUID(drawn[0])
    assert (one.version, one.variant) == (7, uuid.RFC_4122)
    assert one.int >> 80 == 1_800_000_000_123
    assert one.int >> 64 & 0xFFF == 456_789 * 4096 // 1_000_000


def test_ids_of_one_moment_are_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compass.ids.time.time_ns", lambda: 0)
    drawn = [uuid.UUID(new_id()).int & (1 << 62) - 1 for _ in range(1000)]
    assert len(set(drawn)) == 1000
    for bit in range(62):
        assert 350 < sum(each >> bit & 1 for each in drawn) < 650


async def test_the_database_draws_the_same_kind(database: Database) -> None:
    before = time.time_ns() // 1_000_000
    drawn = []
    for _ in range(3):
        async with database.transaction() as tx:
            rows = await tx.rows("-- tests.ids\nSELECT new_id_v1() AS id FROM generate_series(1, 100)")
        drawn += [uuid.UUID(row["id"]) for row in rows]
        await asyncio.sleep(0.002)
    after = time.time_ns() // 1_000_000
    assert {(each.version, each.variant) for each in drawn} == {(7, uuid.RFC_4122)}
    assert all(before <= each.int >> 80 <= after for each in drawn)
    assert [each.int >> 64 for each in drawn] == sorted(each.int >> 64 for each in drawn)
    assert len(set(drawn)) == 300


async def test_no_table_draws_ids_at_random(database: Database) -> None:
    async with database.transaction() as tx:
        rows = await tx.rows("""
            -- tests.random_ids
            SELECT pg_get_expr(adbin, adrelid) AS drawn FROM pg_attrdef JOIN pg_class ON pg_class.oid = adrelid
            WHERE relnamespace = current_schema()::regnamespace AND pg_get_expr(adbin, adrelid) ~ 'uuid|new_id'
        """)
    assert len(rows) > 20
    assert {row["drawn"] for row in rows} == {"new_id_v1()"}
