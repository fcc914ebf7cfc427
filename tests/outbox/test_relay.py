# ruff: noqa: E501
# Documents and statements stand on one line, as they are sent.
"""Every committed event reaches every reaction once, whatever dies on the way."""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from compass.ids import TenantId
from compass.outbox.append import append
from compass.outbox.events import Event
from compass.outbox.relay import Relay, parked, reactions
from compass.postgres.pool import LOST, Database, Tx
from compass.postgres.queue import BROKEN_OFF
from tests.outbox.killed_relay import CREATE, MOMENTS, StepTaken

ROOT = Path(__file__).parents[2]
TENANT = TenantId("00000000-0000-4000-8000-000000000001")
STATE = "-- test\nSELECT facts ->> 'number' AS number, attempts, error, relayed_at IS NOT NULL AS relayed, parked_at IS NOT NULL AS parked FROM outbox_event ORDER BY id"


@dataclass(frozen=True)
class DoorOpened(Event):
    """A door was opened."""

    door: str


async def announce(database: Database, *events: Event) -> None:
    for event in events:
        async with database.transaction() as tx:
            await append(tx, event)


async def state(database: Database) -> list[dict[str, Any]]:
    async with database.transaction() as tx:
        return [dict(row) for row in await tx.rows(STATE)]


async def hurry(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.run("-- test\nUPDATE outbox_event SET next_at = now() - interval '1 s'")


async def test_an_event_reaches_every_reaction_to_its_kind_in_the_order_of_announcements(database: Database) -> None:
    seen: list[tuple[str, object]] = []

    async def first(_tx: Tx, event: StepTaken) -> None:
        seen.append(("first", event))

    async def second(_tx: Tx, event: StepTaken) -> None:
        seen.append(("second", event))

    relay = Relay(database, reactions((StepTaken, first), (StepTaken, second)))
    events = [StepTaken(TENANT, 1), DoorOpened(None, "front"), StepTaken(TENANT, 2)]
    await announce(database, *events)

    assert [await relay.relay_one() for _ in range(4)] == [True, True, True, False]
    assert seen == [("first", events[0]), ("second", events[0]), ("first", events[2]), ("second", events[2])]
    assert all(entry["relayed"] for entry in await state(database))


async def test_an_event_that_did_not_commit_is_never_relayed(database: Database) -> None:
    with contextlib.suppress(ZeroDivisionError):
        async with database.transaction() as tx:
            await append(tx, StepTaken(TENANT, 1))
            raise ZeroDivisionError

    assert not await Relay(database, {}).relay_one()


async def test_a_reaction_that_fails_leaves_nothing_behind_and_holds_up_nobody(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.run(CREATE)

    async def react(tx: Tx, event: StepTaken) -> None:
        await tx.run("-- test\nINSERT INTO effect (number) VALUES (%(number)s)", number=event.number)
        if event.number == 1:
            raise ValueError("a defect of ours")

    relay = Relay(database, reactions((StepTaken, react)))
    await announce(database, StepTaken(TENANT, 1), StepTaken(TENANT, 2))

    assert [await relay.relay_one() for _ in range(3)] == [True, True, False]  # the first waits for its next turn
    failed, done = await state(database)
    assert failed == {
        "number": "1",
        "attempts": 1,
        "error": "ValueError: a defect of ours",
        "relayed": False,
        "parked": False,
    }
    assert (done["relayed"], done["error"]) == (True, None)
    async with database.transaction() as tx:
        assert [row["number"] for row in await tx.rows("-- test\nSELECT number FROM effect")] == [2]


async def test_an_event_is_parked_after_eight_failures_and_stays_visible(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    tried = 0

    async def react(_tx: Tx, _event: StepTaken) -> None:
        nonlocal tried
        tried += 1
        raise ValueError("x" * 1_000)

    relay = Relay(database, reactions((StepTaken, react)))
    await announce(database, StepTaken(TENANT, 1))
    for _ in range(12):
        await hurry(database)
        await relay.relay_one()

    (entry,) = await state(database)
    assert tried == 8
    assert (entry["attempts"], entry["parked"], entry["relayed"]) == (8, True, False)
    assert len(entry["error"]) == 500
    assert await parked(database) == 1
    said = [record for record in caplog.records if "is parked" in record.message]
    assert [(record.levelno, record.args) for record in said] == [(logging.ERROR, (1,))]


async def test_a_parked_event_is_relayed_after_the_next_start(database: Database) -> None:
    told = asyncio.Event()

    async def broken(_tx: Tx, _event: StepTaken) -> None:
        raise ValueError("mended by the upgrade")

    async def react(_tx: Tx, event: StepTaken) -> None:
        assert event.number == 1
        told.set()

    await announce(database, StepTaken(TENANT, 1))
    before = Relay(database, reactions((StepTaken, broken)))
    for _ in range(8):
        await hurry(database)
        await before.relay_one()
    assert await parked(database) == 1

    running = asyncio.create_task(Relay(database, reactions((StepTaken, react))).run())
    try:
        await asyncio.wait_for(told.wait(), 10)
        while not (await state(database))[0]["relayed"]:
            await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert await parked(database) == 0


BREAK_OFF = "-- test\nDO $$ BEGIN RAISE EXCEPTION 'for the sake of another' USING ERRCODE = '{code}'; END $$"
CUT = "-- test\nSELECT pg_terminate_backend(pg_backend_pid())"


@pytest.mark.parametrize(
    "breaks",
    [BREAK_OFF.format(code="40P01"), BREAK_OFF.format(code="40001"), BREAK_OFF.format(code="08006"), CUT],
    ids=["deadlock", "serialisation", "connection failure", "connection cut"],
)
async def test_what_the_database_broke_off_is_no_failure_and_is_tried_again_in_order(
    database: Database, breaks: str
) -> None:
    seen: list[int] = []
    broken = False

    async def react(tx: Tx, event: StepTaken) -> None:
        nonlocal broken
        if not broken:
            broken = True
            await tx.run(breaks)
        seen.append(event.number)

    relay = Relay(database, reactions((StepTaken, react)))
    await announce(database, StepTaken(TENANT, 1), StepTaken(TENANT, 2))

    with pytest.raises((*LOST, *BROKEN_OFF)):
        await relay.relay_one()
    assert [(entry["attempts"], entry["error"]) for entry in await state(database)] == [(0, None), (0, None)]
    assert [await relay.relay_one() for _ in range(3)] == [True, True, False]
    assert seen == [1, 2]


async def test_waits_grow_between_failures(database: Database) -> None:
    async def react(_tx: Tx, _event: StepTaken) -> None:
        raise ValueError

    relay = Relay(database, reactions((StepTaken, react)))
    await announce(database, StepTaken(TENANT, 1))
    waits = []
    for _ in range(4):
        await hurry(database)
        await relay.relay_one()
        async with database.transaction() as tx:
            wait: timedelta = await tx.value("-- test\nSELECT next_at - clock_timestamp() FROM outbox_event")
            waits.append(round(wait.total_seconds()))
    assert waits == [1, 2, 4, 8]


async def test_an_event_that_succeeds_later_is_relayed_once(database: Database) -> None:
    done = 0

    async def react(_tx: Tx, _event: StepTaken) -> None:
        nonlocal done
        if done == 0:
            done = 1
            raise ValueError
        done += 1

    relay = Relay(database, reactions((StepTaken, react)))
    await announce(database, StepTaken(TENANT, 1))
    for _ in range(4):
        await relay.relay_one()
        await hurry(database)

    assert done == 2
    (entry,) = await state(database)
    assert (entry["attempts"], entry["error"], entry["relayed"]) == (1, None, True)


async def test_an_event_of_a_kind_this_release_does_not_know_is_kept(database: Database) -> None:
    await announce(database, StepTaken(TENANT, 1))
    async with database.transaction() as tx:
        await tx.run("-- test\nUPDATE outbox_event SET name = 'FromTheFuture'")
    await announce(database, StepTaken(TENANT, 2))
    seen: list[int] = []

    async def react(_tx: Tx, event: StepTaken) -> None:
        seen.append(event.number)

    relay = Relay(database, reactions((StepTaken, react)))
    while await relay.relay_one():
        pass

    assert seen == [2]
    unknown, _ = await state(database)
    assert (unknown["relayed"], unknown["attempts"]) == (False, 1)


async def test_several_relays_relay_everything_once(database: Database) -> None:
    seen: list[int] = []

    async def react(_tx: Tx, event: StepTaken) -> None:
        await asyncio.sleep(0)
        seen.append(event.number)

    await announce(database, *(StepTaken(TENANT, n) for n in range(30)))
    running = [asyncio.create_task(Relay(database, reactions((StepTaken, react))).run()) for _ in range(4)]
    for _ in range(200):
        await asyncio.sleep(0.02)
        if len(seen) >= 30:
            break
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)

    assert seen == list(range(30))  # one relay works at a time, so the order is kept too


async def test_a_running_relay_hears_of_a_commit_at_once(database: Database) -> None:
    told = asyncio.Event()

    async def react(_tx: Tx, _event: StepTaken) -> None:
        told.set()

    running = asyncio.create_task(Relay(database, reactions((StepTaken, react))).run())
    try:
        await asyncio.sleep(0.3)
        began = asyncio.get_running_loop().time()
        await announce(database, StepTaken(TENANT, 1))
        await asyncio.wait_for(told.wait(), 5)
        assert asyncio.get_running_loop().time() - began < 0.9  # less than the poll
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_relay_ends_also_when_it_is_stopped_just_as_an_announcement_arrives(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening = Database.listening

    def stopped_as_it_hears(self: Database, channel: str, heard: Callable[[str], None]) -> Any:
        def hear(payload: str) -> None:
            heard(payload)
            running.cancel()

        return listening(self, channel, hear)

    monkeypatch.setattr(Database, "listening", stopped_as_it_hears)
    running = asyncio.create_task(Relay(database, {}).run())
    await asyncio.sleep(0.3)
    await announce(database, StepTaken(TENANT, 1))

    ended, _ = await asyncio.wait({running}, timeout=5)
    assert ended == {running}


async def test_a_relay_goes_on_after_its_connections_were_cut(database: Database) -> None:
    told = asyncio.Event()

    async def react(_tx: Tx, event: StepTaken) -> None:
        if event.number == 2:
            told.set()

    running = asyncio.create_task(Relay(database, reactions((StepTaken, react))).run())
    try:
        await announce(database, StepTaken(TENANT, 1))
        await asyncio.sleep(0.2)
        async with database.transaction() as tx:
            await tx.rows(
                "-- test\nSELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        await announce(database, StepTaken(TENANT, 2))
        await asyncio.wait_for(told.wait(), 10)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_what_was_relayed_a_week_ago_is_forgotten_and_nothing_else(database: Database) -> None:
    relay = Relay(database, {})
    await announce(database, *(StepTaken(TENANT, n) for n in range(3)))
    await relay.relay_one()
    await relay.relay_one()
    async with database.transaction() as tx:
        await tx.run("-- test\nUPDATE outbox_event SET happened_at = now() - interval '30 days'")
        await tx.run(
            "-- test\nUPDATE outbox_event SET relayed_at = now() - interval '7 days 1 minute' WHERE facts ->> 'number' = '0'"
        )

    assert await relay.purge() == 1
    assert [entry["number"] for entry in await state(database)] == ["1", "2"]


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_relay_killed_at_any_moment_loses_and_repeats_nothing(database: Database, moment: str) -> None:
    async with database.transaction() as tx:
        await tx.run(CREATE)
    await announce(database, *(StepTaken(TENANT, n) for n in range(3)))

    for chosen in (moment, "never"):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.outbox.killed_relay", database.dsn, chosen, cwd=ROOT
        )
        code = await asyncio.wait_for(process.wait(), 30)
        assert code == (0 if chosen == "never" else -signal.SIGKILL)

    assert all(entry["relayed"] and entry["attempts"] == 0 for entry in await state(database))
    async with database.transaction() as tx:
        assert [row["number"] for row in await tx.rows("-- test\nSELECT number FROM effect ORDER BY event")] == [
            0,
            1,
            2,
        ]
