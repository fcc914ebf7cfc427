"""Announcing in the transaction that changes."""

import asyncio
from dataclasses import dataclass

import pytest

from compass.ids import TenantId
from compass.outbox.append import CHANNEL, append, append_all
from compass.outbox.events import Event
from compass.postgres.pool import Database, Tx

TENANT = TenantId("00000000-0000-4000-8000-000000000001")
ALL = "-- test\nSELECT tenant_id, name, facts, attempts, relayed_at, parked_at FROM outbox_event ORDER BY id"


@dataclass(frozen=True)
class KettleBoiled(Event):
    """Something happened in a kitchen."""

    kettle: str
    degrees: int
    guests: tuple[str, ...]


async def test_an_event_is_kept_with_its_facts_and_its_tenant(tx: Tx) -> None:
    await append(tx, KettleBoiled(TENANT, "blue", 100, ("ann", "ben")))

    (row,) = await tx.rows(ALL)
    assert dict(row) == {
        "tenant_id": TENANT,
        "name": "KettleBoiled",
        "facts": {"kettle": "blue", "degrees": 100, "guests": ["ann", "ben"]},
        "attempts": 0,
        "relayed_at": None,
        "parked_at": None,
    }


async def test_several_events_are_kept_in_their_order_and_none_leave_nothing(tx: Tx) -> None:
    boiled = [KettleBoiled(TENANT, f"kettle-{degrees}", degrees, ("ann", "ben")) for degrees in (90, 100, 80)]

    await append_all(tx, [])
    await append_all(tx, [*boiled, KettleBoiled(None, "nobody's", 70, ())])

    rows = await tx.rows(ALL)
    assert [(row["tenant_id"], row["name"], row["facts"]["kettle"], row["facts"]["guests"]) for row in rows] == [
        (TENANT, "KettleBoiled", "kettle-90", ["ann", "ben"]),
        (TENANT, "KettleBoiled", "kettle-100", ["ann", "ben"]),
        (TENANT, "KettleBoiled", "kettle-80", ["ann", "ben"]),
        (None, "KettleBoiled", "nobody's", []),
    ]


async def test_an_event_may_belong_to_no_tenant(tx: Tx) -> None:
    await append(tx, KettleBoiled(None, "blue", 99, ()))

    (row,) = await tx.rows(ALL)
    assert row["tenant_id"] is None


async def test_a_change_that_did_not_happen_is_not_announced(database: Database) -> None:
    heard: list[str] = []
    async with database.listening(CHANNEL, heard.append):
        with pytest.raises(ZeroDivisionError):
            async with database.transaction() as tx:
                await append(tx, KettleBoiled(TENANT, "blue", 100, ()))
                raise ZeroDivisionError
        async with database.transaction() as tx:
            assert await tx.rows(ALL) == []
        assert heard == []


async def test_whoever_listens_is_told_when_it_commits_and_not_before(database: Database) -> None:
    heard = asyncio.Event()
    async with database.listening(CHANNEL, lambda _: heard.set()):
        async with database.transaction() as tx:
            await append(tx, KettleBoiled(TENANT, "blue", 100, ()))
            await asyncio.sleep(0.05)
            assert not heard.is_set()
        await asyncio.wait_for(heard.wait(), 5)
