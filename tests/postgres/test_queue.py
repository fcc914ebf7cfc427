import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compass.postgres.queue import Lease, LeaseLost, Loop, Queue, WorkSettings, backoff

if TYPE_CHECKING:
    from compass.postgres.pool import Database, Tx

JOBS = Queue("job")
LONG = timedelta(minutes=1)

CREATE = """-- test
CREATE TABLE job (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), number int, next_at timestamptz DEFAULT now(), holder text,
    fence bigint NOT NULL DEFAULT 0, abandoned smallint NOT NULL DEFAULT 0
)
"""


@pytest.fixture
async def jobs(database: "Database") -> "Database":
    """A database with an empty queue `job`."""
    async with database.transaction() as tx:
        await tx.run(CREATE)
    return database


async def add(database: "Database", count: int) -> None:
    async with database.transaction() as tx:
        await tx.run("-- test\nINSERT INTO job (number) SELECT n FROM generate_series(1, %(n)s::int) AS n", n=count)


async def claim(database: "Database", *, limit: int = 1, lease: timedelta = LONG, suspects: int = 1) -> list[Lease]:
    async with database.transaction() as tx:
        return await JOBS.claim(tx, holder="me", lease=lease, limit=limit, suspects=suspects)


async def only_row(database: "Database") -> dict[str, Any]:
    async with database.transaction() as tx:
        row = await tx.row("-- test\nSELECT *, next_at - now() AS due_in FROM job")
    assert row is not None
    return dict(row)


async def lapse(database: "Database") -> None:
    """All leases end, as seen by the database's clock."""
    async with database.transaction() as tx:
        await tx.run("-- test\nUPDATE job SET next_at = now() WHERE holder IS NOT NULL")


async def test_workers_that_claim_at_once_never_get_the_same_row(jobs: "Database") -> None:
    await add(jobs, 200)
    taken = await asyncio.gather(*[claim(jobs, limit=10) for _ in range(20)])
    ids = [lease.id for leases in taken for lease in leases]
    assert len(ids) == len(set(ids))
    assert len(ids) + len(await claim(jobs, limit=1000)) == 200  # a row passed over by one is left for the next
    assert await claim(jobs, limit=1000) == []


async def test_a_row_that_somebody_is_claiming_is_passed_over_and_not_waited_for(jobs: "Database") -> None:
    await add(jobs, 2)
    async with jobs.transaction() as tx:
        (first,) = await JOBS.claim(tx, holder="a", lease=LONG, limit=1)
        async with asyncio.timeout(2):
            (second,) = await claim(jobs, limit=5)
    assert first.id != second.id


async def test_a_claim_that_is_rolled_back_took_nothing(jobs: "Database") -> None:
    await add(jobs, 1)
    with pytest.raises(RuntimeError):
        async with jobs.transaction() as tx:
            await JOBS.claim(tx, holder="a", lease=LONG, limit=1)
            raise RuntimeError
    assert (await only_row(jobs))["fence"] == 0
    assert len(await claim(jobs)) == 1


async def test_after_its_lease_a_row_goes_to_another_and_the_first_can_write_nothing(jobs: "Database") -> None:
    await add(jobs, 1)
    (stale,) = await claim(jobs)
    await lapse(jobs)
    (fresh,) = await claim(jobs)
    assert fresh == Lease(stale.id, stale.fence + 1, 1)
    before = await only_row(jobs)
    async with jobs.transaction() as tx:
        with pytest.raises(LeaseLost):
            await JOBS.hold(tx, stale)
        with pytest.raises(LeaseLost):
            await JOBS.back_off(tx, stale, after=timedelta(0))
        await JOBS.release(tx, [stale])
        assert await JOBS.renew(tx, [stale], lease=LONG) == set()
        await JOBS.hold(tx, fresh)
    after = await only_row(jobs)
    assert {**after, "due_in": None} == {**before, "due_in": None}


async def test_a_lease_that_ran_out_but_was_taken_by_nobody_still_holds(jobs: "Database") -> None:
    await add(jobs, 1)
    (lease,) = await claim(jobs)
    await lapse(jobs)
    async with jobs.transaction() as tx:
        await JOBS.back_off(tx, lease, after=timedelta(hours=1))
    row = await only_row(jobs)
    assert (row["holder"], row["abandoned"]) == (None, 0)
    assert timedelta(minutes=59) < row["due_in"] <= timedelta(hours=1)


async def test_while_a_row_is_held_nobody_claims_it_even_when_its_lease_ends(jobs: "Database") -> None:
    await add(jobs, 1)
    (lease,) = await claim(jobs, lease=timedelta(0))
    async with jobs.transaction() as tx:
        await JOBS.hold(tx, lease)
        assert await claim(jobs) == []
        await tx.run("-- test\nDELETE FROM job WHERE id = %(id)s", id=lease.id)
    assert await claim(jobs) == []


async def test_a_renewed_lease_lasts_longer(jobs: "Database") -> None:
    await add(jobs, 1)
    (lease,) = await claim(jobs, lease=timedelta(0))
    async with jobs.transaction() as tx:
        assert await JOBS.renew(tx, [lease, Lease(str(uuid4()), 1, 0)], lease=LONG) == {lease.id}
    assert await claim(jobs) == []


async def test_a_row_given_back_is_claimed_at_once_and_remembers_its_deaths(jobs: "Database") -> None:
    await add(jobs, 1)
    await claim(jobs)
    await lapse(jobs)
    (lease,) = await claim(jobs)
    async with jobs.transaction() as tx:
        await JOBS.release(tx, [lease])
    (again,) = await claim(jobs)
    assert (again.fence, again.abandoned) == (3, 1)


async def test_suspects_are_taken_one_at_a_time_and_others_freely(jobs: "Database") -> None:
    await add(jobs, 5)
    await claim(jobs, limit=5)
    await lapse(jobs)
    once = await claim(jobs, limit=5, suspects=0)  # dying once proves nothing
    assert [(lease.abandoned, lease.suspect) for lease in once] == [(1, False)] * 5
    await lapse(jobs)
    await add(jobs, 1)
    assert [lease.abandoned for lease in await claim(jobs, limit=5, suspects=0)] == [0]
    assert [(lease.abandoned, lease.suspect) for lease in await claim(jobs, limit=5)] == [(2, True)]
    assert [(lease.abandoned, lease.suspect) for lease in await claim(jobs, limit=5)] == [(2, True)]


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_pause_is_never_longer_than_the_cap_nor_than_the_full_one(failures: int, chance: float) -> None:
    base, cap = timedelta(seconds=2), timedelta(hours=6)
    pause = backoff(failures, base=base, factor=3, cap=cap, chance=chance)
    assert timedelta(0) <= pause <= cap
    if failures < 8:
        assert pause <= base * 3 ** (failures - 1)


@pytest.mark.parametrize("notified", [True, False])
async def test_a_loop_performs_what_becomes_due_and_wakes_by_notification_or_by_itself(
    jobs: "Database", notified: bool
) -> None:
    seen = asyncio.Queue[Lease]()

    class Taken:
        def __init__(self, lease: Lease) -> None:
            self.lease = lease

    async def take(tx: "Tx", limit: int, suspects: int) -> list[Taken]:
        return [Taken(x) for x in await JOBS.claim(tx, holder="l", lease=LONG, limit=limit, suspects=suspects)]

    async def perform(taken: Taken) -> None:
        async with jobs.transaction() as tx:
            await JOBS.hold(tx, taken.lease)
            await tx.run("-- test\nDELETE FROM job WHERE id = %(id)s", id=taken.lease.id)
        seen.put_nowait(taken.lease)

    poll = timedelta(seconds=30) if notified else timedelta(seconds=0.2)
    loop = Loop(jobs, JOBS, channel="job", claim=take, perform=perform, settings=WorkSettings(concurrency=2, poll=poll))
    stopping = asyncio.Event()
    running = asyncio.create_task(loop.run(stopping))
    await asyncio.sleep(0.5)  # it listens
    await add(jobs, 5)
    if notified:
        async with jobs.transaction() as tx:
            await tx.run("-- test\nNOTIFY job")
    async with asyncio.timeout(5):
        for _ in range(5):
            await seen.get()
        stopping.set()
        await running
    assert seen.empty()
