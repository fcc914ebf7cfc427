import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from compass.delivery import worker
from compass.delivery.enqueue import KEPT_DAYS, enqueue, purge
from tests.delivery.receiver import due

if TYPE_CHECKING:
    from compass.postgres.pool import Database, Tx


async def test_ids_come_in_the_order_given_and_nothing_given_is_nothing_done(tx: "Tx") -> None:
    assert await enqueue(tx, []) == []
    ids = await enqueue(tx, [due(f"http://r/{i}", subject=str(i % 3), fact=str(i)) for i in range(20)])
    rows = await tx.rows("-- test\nSELECT id, url, facts, state, attempts FROM delivery ORDER BY sequence")
    assert [row["id"] for row in rows] == ids
    assert [row["url"] for row in rows] == [f"http://r/{i}" for i in range(20)]
    assert [row["facts"] for row in rows] == [{"fact": str(i)} for i in range(20)]
    assert {(row["state"], row["attempts"]) for row in rows} == {("PENDING", 0)}
    assert await tx.value("-- test\nSELECT count(*) FROM delivery_lane") == 3


async def test_enqueuing_into_a_lane_that_waits_does_not_cut_the_wait_short(tx: "Tx") -> None:
    await enqueue(tx, [due("http://r/")])
    await tx.run("-- test\nUPDATE delivery_lane SET next_at = '2100-01-01Z', fence = 7")
    await enqueue(tx, [due("http://r/")])
    lanes = await tx.rows("-- test\nSELECT extract(year FROM next_at)::int AS year, fence FROM delivery_lane")
    assert [tuple(lane) for lane in lanes] == [(2100, 7)]


@pytest.mark.parametrize("exists", [True, False])
async def test_who_enqueues_second_into_a_lane_waits_for_the_first_to_commit(
    database: "Database", exists: bool
) -> None:
    async def owe(url: str) -> None:
        async with database.transaction() as tx:
            await enqueue(tx, [due(url)])

    if exists:
        await owe("http://r/0")
    async with database.transaction() as tx:
        await enqueue(tx, [due("http://r/1")])
        second = asyncio.create_task(owe("http://r/2"))
        await asyncio.sleep(0.2)
        assert not second.done()
        await enqueue(tx, [due("http://r/3")])
    await second
    async with database.transaction() as tx:
        rows = await tx.rows("-- test\nSELECT url FROM delivery WHERE url <> 'http://r/0' ORDER BY sequence")
    assert [row["url"] for row in rows] == ["http://r/1", "http://r/3", "http://r/2"]


CLAIM: dict[str, Any] = {"holder": "test", "suspects": 1, "begin": str(uuid4()), "paused": [], "probed": []}


async def explain(tx: "Tx", sql: str, **parameters: Any) -> tuple[str, int]:
    """The plan as it ran, and how many pages of 8 KB it touched."""
    (row,) = await tx.rows(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", **parameters)
    raw = row[0]
    found = json.loads(raw) if isinstance(raw, str | bytes) else raw
    root = found[0]["Plan"]
    return json.dumps(found), root["Shared Hit Blocks"] + root["Shared Read Blocks"]


async def test_claims_read_neither_what_is_finished_nor_a_backlog(database: "Database") -> None:
    """100,000 finished, 10,000 pending in one lane, 10,000 lanes of one receiver, 10,000 webhooks, few paused."""
    one, many = str(uuid4()), str(uuid4())
    fill = """-- test
        INSERT INTO delivery (receiver, subject, kind, method, url, headers, body, facts, state, finished_at)
        SELECT %(receiver)s, CASE WHEN %(lanes)s THEN n::text ELSE 's' END, 'k', 'POST', 'http://r/', '{}', '', '{}',
               %(state)s::text, CASE WHEN %(state)s::text <> 'PENDING' THEN now() END
        FROM generate_series(1, %(count)s::int) AS n
    """
    async with database.transaction() as tx:
        await tx.run(fill, receiver=one, lanes=False, state="DELIVERED", count=50_000)
        await tx.run(fill, receiver=many, lanes=True, state="DEAD", count=50_000)
        await tx.run(fill, receiver=one, lanes=False, state="PENDING", count=10_000)
        await tx.run(fill, receiver=many, lanes=True, state="PENDING", count=10_000)
        await tx.run(
            "-- test\nINSERT INTO delivery_lane (receiver, subject)"
            " SELECT DISTINCT receiver, subject FROM delivery WHERE state = 'PENDING'"
        )
        await tx.run(
            """-- test
            WITH home AS (
                INSERT INTO tenant (external_id, name, type, provider) VALUES ('t', 't', 'account', 'p') RETURNING id
            ), owner AS (
                INSERT INTO application (tenant_id, name) SELECT id, 'a' FROM home RETURNING id
            )
            INSERT INTO webhook (application_id, type, url, signing_secret_sealed, paused_at)
            SELECT owner.id, 'CONFIGURATION_CHANGED', 'http://r/', '', CASE WHEN n < 10 THEN now() END
            FROM owner, generate_series(1, 10000) AS n"""
        )
        await tx.run("-- test\nANALYZE webhook")
        await tx.run("-- test\nANALYZE delivery")
        await tx.run("-- test\nANALYZE delivery_lane")
    async with database.transaction() as tx:
        plan, pages = await explain(
            tx, worker.LANES.claiming, lease=timedelta(seconds=30), limit=128, per_receiver=2, **CLAIM
        )
        assert "Seq Scan" not in plan
        assert "delivery_lane_turn" in plan
        assert "delivery_lane_due" not in plan
        assert pages < 150
        lanes = [row["id"] for row in await tx.rows("-- test\nSELECT id FROM delivery_lane WHERE holder = 'test'")]
        assert len(lanes) == 3  # one of the long lane, two of the receiver with many
        plan, pages = await explain(tx, worker.HEADS, lanes=lanes)
        assert "Seq Scan" not in plan
        assert "delivery_pending_in_order" in plan
        assert pages < 150


async def test_turns_go_round_all_receivers_wherever_they_begin(tx: "Tx") -> None:
    receivers = [f"{i:x}0000000-0000-4000-8000-000000000000" for i in range(1, 16)]
    await enqueue(tx, [due("http://r/", receiver=receiver, subject=s) for receiver in receivers for s in "abc"])
    for begin in ("80000000-0000-4000-8000-000000000000", "f8000000-0000-4000-8000-000000000000", str(uuid4())):
        where = {**CLAIM, "begin": begin, "paused": receivers[:1], "probed": receivers[1:2]}
        leases = await worker.LANES.claim(tx, lease=timedelta(0), limit=100, per_receiver=2, **where)
        held = await tx.rows(
            "-- test\nSELECT receiver, count(*) FROM delivery_lane WHERE holder IS NOT NULL GROUP BY receiver"
        )
        assert {row["receiver"]: row["count"] for row in held} == {receivers[1]: 1} | dict.fromkeys(receivers[2:], 2)
        assert len(leases) == 27
        await tx.run("-- test\nUPDATE delivery_lane SET holder = NULL, abandoned = 0, next_at = now()")


async def test_what_ended_long_ago_is_forgotten_with_its_attempts_and_nothing_else(tx: "Tx") -> None:
    old, recent, waiting = await enqueue(tx, [due("http://r/", subject=subject) for subject in ("a", "b", "c")])
    await tx.run(END, ids=[old], days=KEPT_DAYS + 1)
    await tx.run(END, ids=[recent], days=KEPT_DAYS - 1)
    await tx.run(ATTEMPTED, ids=[old, recent, waiting])

    assert await purge(tx) == 1
    assert await purge(tx) == 0

    left = {row["id"] for row in await tx.rows("-- test\nSELECT id FROM delivery")}
    assert left == {recent, waiting}
    assert await tx.value("-- test\nSELECT count(*) FROM delivery_attempt WHERE delivery_id = %(old)s", old=old) == 0


END = """
-- test
UPDATE delivery SET state = 'DELIVERED', finished_at = clock_timestamp() - make_interval(days => %(days)s)
WHERE id = ANY (%(ids)s::uuid[])
"""
ATTEMPTED = """
-- test
INSERT INTO delivery_attempt (delivery_id, number, started_at, elapsed_ms)
SELECT id, 1, now(), 1 FROM unnest(%(ids)s::uuid[]) AS id
"""
