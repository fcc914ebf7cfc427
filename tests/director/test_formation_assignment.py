"""The pairs of a group, below the API: what joins, leaves and settles."""

import asyncio
from typing import Any

import pytest

from compass.delivery.enqueue import NewDelivery, enqueue
from compass.director import formation_assignment
from compass.director.formation_assignment import BEGINNING, CLIENT, ENDING, State
from compass.ids import FormationId
from compass.postgres.pool import Tx
from tests.director.groups import application, group, runtime, webhook

URL = "https://receiver.example"


class Pair:
    """An application with two webhooks and a runtime, and the pair that its webhooks decide about."""

    def __init__(self, tx: Tx, formation: str, app: str, cluster: str, hooks: list[str]) -> None:
        self.tx, self.formation, self.app, self.cluster, self.hooks = tx, formation, app, cluster, hooks

    async def state(self) -> str | None:
        found = await self.tx.value(
            "-- test.state\nSELECT state FROM formation_assignment WHERE source = %(s)s AND target = %(t)s",
            s=self.cluster,
            t=self.app,
        )
        return None if found is None else str(found)

    async def tell(self, hook: int = 0) -> tuple[str, int]:
        """Owe a delivery to one of the webhooks that the pair's state waits for: its id and sequence."""
        [delivery] = await enqueue(
            self.tx, [NewDelivery(self.hooks[hook], self.cluster, "t", "POST", URL, "{}", {}, {})]
        )
        assignment = await self.tx.value(
            "-- test.pair\nSELECT id FROM formation_assignment WHERE source = %(s)s AND target = %(t)s",
            s=self.cluster,
            t=self.app,
        )
        await formation_assignment.told(self.tx, [{"delivery": delivery, "assignment": assignment, "awaited": True}])
        sequence = await self.tx.value("-- test.seq\nSELECT sequence FROM delivery WHERE id = %(id)s", id=delivery)
        return delivery, sequence

    async def taken(self, told: tuple[str, int], hook: int = 0, state: State = State.READY) -> None:
        await formation_assignment.taken(
            self.tx,
            told[0],
            ENDING if await self.state() in ENDING else BEGINNING,
            receiver=self.hooks[hook],
            sequence=told[1],
            state=state,
        )

    async def leave(self) -> None:
        await formation_assignment.leave(self.tx, FormationId(self.formation), member=self.app)


@pytest.fixture
async def pair(director: Any) -> Any:
    app, cluster = await application(director, "one"), await runtime(director, "cluster")
    hooks = [(await webhook(director, URL, application=app))["id"] for _ in range(2)]
    formation = await group(director, "g", applications=[app], runtimes=[cluster])
    async with director.database.transaction() as tx:
        yield Pair(tx, formation, app, cluster, hooks)


async def test_a_pair_is_ready_when_every_webhook_took_it(pair: Pair) -> None:
    first, second = await pair.tell(0), await pair.tell(1)

    await pair.taken(first)
    assert await pair.state() == "INITIAL"
    await pair.taken(second, hook=1)
    assert await pair.state() == "READY"


async def test_a_later_success_of_the_same_webhook_makes_good_an_earlier_failure(pair: Pair) -> None:
    failed = await pair.tell()
    await formation_assignment.refused(pair.tx, failed[0], BEGINNING, message="no", code=CLIENT, answered=False)
    assert await pair.state() == "CREATE_ERROR"

    await pair.taken(await pair.tell())
    assert await pair.state() == "READY"


async def test_an_outdated_outcome_decides_nothing(pair: Pair) -> None:
    begun = await pair.tell()
    await pair.leave()
    assert await pair.state() == "DELETING"

    await pair.taken(begun)
    await formation_assignment.refused(pair.tx, begun[0], BEGINNING, message="no", code=CLIENT, answered=False)
    await formation_assignment.given_up(pair.tx, begun[0], BEGINNING)

    assert await pair.state() == "DELETING"


async def test_an_end_that_was_taken_removes_the_pair_and_one_that_failed_does_not(pair: Pair) -> None:
    await pair.leave()
    end = await pair.tell()

    await formation_assignment.refused(pair.tx, end[0], ENDING, message="no", code=CLIENT, answered=False)
    assert await pair.state() == "DELETE_ERROR"
    await pair.taken(end)
    assert await pair.state() is None


async def test_one_that_was_given_up_is_in_error_with_a_reason(pair: Pair) -> None:
    told = await pair.tell()

    await formation_assignment.given_up(pair.tx, told[0], BEGINNING)

    assert await pair.state() == "CREATE_ERROR"
    error = await pair.tx.value("-- test.error\nSELECT error FROM formation_assignment WHERE error IS NOT NULL")
    assert error == '{"error":{"message":"the notification was given up","errorCode":1}}'


async def test_one_that_nobody_waits_for_settles_at_once(pair: Pair) -> None:
    rows = await pair.tx.rows("-- test.ids\nSELECT id FROM formation_assignment")
    ids = [row["id"] for row in rows]

    await formation_assignment.untold(pair.tx, ids)
    assert await pair.state() == "READY"
    await pair.leave()
    await formation_assignment.untold(pair.tx, ids)
    assert await pair.state() is None


async def test_a_reset_begins_every_pair_anew(pair: Pair) -> None:
    await pair.taken(await pair.tell())

    await formation_assignment.reset(pair.tx, FormationId(pair.formation))

    states = await pair.tx.rows("-- test.states\nSELECT DISTINCT state FROM formation_assignment")
    assert [row["state"] for row in states] == ["INITIAL"]


@pytest.mark.parametrize("outcome", ["refused", "taken", "given_up"])
async def test_an_end_whose_outcome_comes_in_while_the_pair_begins_again_decides_nothing(
    director: Any, outcome: str
) -> None:
    app, cluster = await application(director, "one"), await runtime(director, "cluster")
    hook = (await webhook(director, URL, application=app))["id"]
    formation = FormationId(await group(director, "g", applications=[app], runtimes=[cluster]))
    async with director.database.transaction() as tx:
        await formation_assignment.leave(tx, formation, member=app)
        end = await Pair(tx, formation, app, cluster, [hook]).tell()

    async def settle() -> None:
        async with director.database.transaction() as tx:
            match outcome:
                case "refused":
                    await formation_assignment.refused(tx, end[0], ENDING, message="no", code=CLIENT, answered=False)
                case "taken":
                    await formation_assignment.taken(tx, end[0], ENDING, receiver=hook, sequence=end[1])
                case _:
                    await formation_assignment.given_up(tx, end[0], ENDING)

    async with director.database.transaction() as tx:
        await formation_assignment.join(tx, formation, member=app, kind="APPLICATION")
        settling = asyncio.create_task(settle())
        await asyncio.sleep(0.2)  # long enough to have read what was, and to wait for our lock
        assert not settling.done()
    await settling

    async with director.database.transaction() as tx:
        assert await Pair(tx, formation, app, cluster, [hook]).state() == "INITIAL"
