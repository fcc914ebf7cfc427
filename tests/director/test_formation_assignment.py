"""The pairs of a group, below the API: what joins, leaves and settles."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from compass.delivery.enqueue import NewDelivery, enqueue
from compass.director import formation_assignment
from compass.director.formation_assignment import BEGINNING, CLIENT, ENDING, Joining, Leaving, State
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

    async def tell(self, hook: int = 0, *, spared: Sequence[int] = (), depth: int = 0) -> tuple[str, int]:
        """Owe a delivery to one of the webhooks that the pair's state waits for: its id and sequence."""
        [delivery] = await enqueue(
            self.tx, [NewDelivery(self.hooks[hook], self.cluster, "t", "POST", URL, "{}", {}, {})]
        )
        link = {"delivery": delivery, "awaited": True, "depth": depth, **await self.untold(spared)}
        await formation_assignment.told(self.tx, [link])
        sequence = await self.tx.value("-- test.seq\nSELECT sequence FROM delivery WHERE id = %(id)s", id=delivery)
        return delivery, sequence

    async def untold(self, spared: Sequence[int]) -> dict[str, Any]:
        """The pair, for whom nobody but these webhooks has a say that was not told anew."""
        assignment = await self.tx.value(
            "-- test.pair\nSELECT id FROM formation_assignment WHERE source = %(s)s AND target = %(t)s",
            s=self.cluster,
            t=self.app,
        )
        return {"assignment": assignment, "spared": [self.hooks[hook] for hook in spared]}

    async def end(self, told: tuple[str, int]) -> None:
        """What was told is on its way no more."""
        await self.tx.run("-- test.end\nUPDATE delivery SET state = 'DELIVERED' WHERE id = %(id)s", id=told[0])

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
        await formation_assignment.leave(self.tx, [Leaving(FormationId(self.formation), self.app, silently=False)])


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
    await formation_assignment.refused(pair.tx, failed[0], BEGINNING, message="no", code=CLIENT)
    assert await pair.state() == "CREATE_ERROR"

    await pair.taken(await pair.tell())
    assert await pair.state() == "READY"


async def test_an_outdated_outcome_decides_nothing(pair: Pair) -> None:
    begun = await pair.tell()
    await pair.leave()
    assert await pair.state() == "DELETING"

    await pair.taken(begun)
    await formation_assignment.refused(pair.tx, begun[0], BEGINNING, message="no", code=CLIENT)
    await formation_assignment.given_up(pair.tx, begun[0], BEGINNING)

    assert await pair.state() == "DELETING"


async def test_an_end_that_was_taken_removes_the_pair_and_one_that_failed_does_not(pair: Pair) -> None:
    await pair.leave()
    end = await pair.tell()

    await formation_assignment.refused(pair.tx, end[0], ENDING, message="no", code=CLIENT)
    assert await pair.state() == "DELETE_ERROR"
    await pair.taken(end)
    assert await pair.state() is None


async def test_one_that_was_given_up_is_in_error_with_a_reason(pair: Pair) -> None:
    told = await pair.tell()

    await formation_assignment.given_up(pair.tx, told[0], BEGINNING)

    assert await pair.state() == "CREATE_ERROR"
    error = await pair.tx.value("-- test.error\nSELECT error FROM formation_assignment WHERE error IS NOT NULL")
    assert error == '{"error":{"message":"the notification was given up","errorCode":1}}'


async def test_one_that_waited_for_a_configuration_and_was_given_up_is_in_error(pair: Pair) -> None:
    await pair.taken(await pair.tell(), state=State.CONFIG_PENDING)
    told = await pair.tell(depth=1)
    assert await pair.state() == "CONFIG_PENDING"

    await formation_assignment.given_up(pair.tx, told[0], BEGINNING)

    assert await pair.state() == "CREATE_ERROR"


async def test_one_that_nobody_waits_for_settles_at_once(pair: Pair) -> None:
    rows = await pair.tx.rows("-- test.ids\nSELECT id FROM formation_assignment")
    ids = [{"assignment": row["id"], "spared": []} for row in rows]

    await formation_assignment.untold(pair.tx, ids, ENDING)
    assert await pair.state() == "INITIAL"
    await formation_assignment.untold(pair.tx, ids, BEGINNING)
    assert await pair.state() == "READY"
    await pair.leave()
    # It turned round in the meantime.
    await formation_assignment.untold(pair.tx, ids, BEGINNING)
    assert await pair.state() == "DELETING"
    await formation_assignment.untold(pair.tx, ids, ENDING)
    assert await pair.state() is None


@pytest.mark.parametrize("ends", [False, True])
async def test_a_no_that_comes_in_while_others_are_told_anew_is_not_forgotten(pair: Pair, ends: bool) -> None:
    if ends:
        await pair.leave()
    among, error = (ENDING, "DELETE_ERROR") if ends else (BEGINNING, "CREATE_ERROR")
    first, second = await pair.tell(0), await pair.tell(1)
    for told in (second, first):
        await formation_assignment.refused(pair.tx, told[0], among, message="no", code=CLIENT)
        await pair.end(told)

    # The first was under way when it was looked at.
    anew = await pair.tell(1, spared=[0])
    await pair.taken(anew, hook=1)
    assert await pair.state() == error
    await formation_assignment.untold(pair.tx, [await pair.untold(spared=[0, 1])], among)
    assert await pair.state() == error
    await formation_assignment.untold(pair.tx, [await pair.untold(spared=[1])], among)
    assert await pair.state() == (None if ends else "READY")


async def test_what_was_agreed_to_counts_when_nobody_else_is_left(pair: Pair) -> None:
    first, second = await pair.tell(0), await pair.tell(1)
    await pair.taken(first, state=State.CONFIG_PENDING)
    await formation_assignment.refused(pair.tx, second[0], BEGINNING, message="no", code=CLIENT)
    for told in (first, second):
        await pair.end(told)

    await formation_assignment.untold(pair.tx, [await pair.untold(spared=[0])], BEGINNING)

    assert await pair.state() == "CONFIG_PENDING"
    assert await pair.tx.value("-- test.links\nSELECT count(*) FROM formation_assignment_delivery") == 0


async def test_a_webhook_that_is_gone_has_no_say_also_while_its_call_is_under_way(pair: Pair) -> None:
    await pair.tell(0)
    await pair.tx.run("-- test.gone\nDELETE FROM webhook WHERE id = %(id)s", id=pair.hooks[0])

    await formation_assignment.untold(pair.tx, [await pair.untold(spared=[])], BEGINNING)

    assert await pair.state() == "READY"


async def test_a_configuration_is_taken_by_every_webhook_before_the_pair_is_ready_again(pair: Pair) -> None:
    for told, hook in [(await pair.tell(0), 0), (await pair.tell(1), 1)]:
        await pair.taken(told, hook)
        await pair.end(told)
    assert await pair.state() == "READY"

    first, second = await pair.tell(0, depth=1), await pair.tell(1, depth=1)
    assert await pair.state() == "INITIAL"
    await pair.taken(first)
    assert await pair.state() == "INITIAL"
    await pair.taken(second, hook=1)
    assert await pair.state() == "READY"


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
        await formation_assignment.leave(tx, [Leaving(formation, app, silently=False)])
        end = await Pair(tx, formation, app, cluster, [hook]).tell()

    async def settle() -> None:
        async with director.database.transaction() as tx:
            match outcome:
                case "refused":
                    await formation_assignment.refused(tx, end[0], ENDING, message="no", code=CLIENT)
                case "taken":
                    await formation_assignment.taken(tx, end[0], ENDING, receiver=hook, sequence=end[1])
                case _:
                    await formation_assignment.given_up(tx, end[0], ENDING)

    async with director.database.transaction() as tx:
        await formation_assignment.join(tx, [Joining(formation, app, "APPLICATION", waits=False)])
        settling = asyncio.create_task(settle())
        await asyncio.sleep(0.2)  # long enough to have read what was, and to wait for our lock
        assert not settling.done()
    await settling

    async with director.database.transaction() as tx:
        assert await Pair(tx, formation, app, cluster, [hook]).state() == "INITIAL"


async def test_one_that_agrees_while_the_no_of_another_is_forgotten_is_counted(director: Any) -> None:
    app, cluster = await application(director, "one"), await runtime(director, "cluster")
    hooks = [(await webhook(director, URL, application=app))["id"] for _ in range(2)]
    formation = await group(director, "g", applications=[app], runtimes=[cluster])
    async with director.database.transaction() as tx:
        pair = Pair(tx, formation, app, cluster, hooks)
        first, second = await pair.tell(0), await pair.tell(1)
        await formation_assignment.refused(tx, second[0], BEGINNING, message="no", code=CLIENT)
        await pair.end(second)

    async def forget() -> None:
        async with director.database.transaction() as tx:
            pair = Pair(tx, formation, app, cluster, hooks)
            await formation_assignment.untold(tx, [await pair.untold(spared=[0])], BEGINNING)

    async with director.database.transaction() as tx:
        pair = Pair(tx, formation, app, cluster, hooks)
        await pair.taken(first)
        assert await pair.state() == "CREATE_ERROR"
        forgetting = asyncio.create_task(forget())
        await asyncio.sleep(0.2)  # long enough to have read what was, and to wait for our lock
        assert not forgetting.done()
    await forgetting

    async with director.database.transaction() as tx:
        assert await Pair(tx, formation, app, cluster, hooks).state() == "READY"


async def test_of_two_that_join_at_once_each_direction_is_told_for_one_of_them(director: Any) -> None:
    apps = [await application(director, name) for name in ("one", "two", "three")]
    for app in apps:
        await webhook(director, URL, application=app, type="APPLICATION_TENANT_MAPPING")
    formation = FormationId(await group(director, "g", applications=apps[:1]))

    async with director.database.transaction() as tx:
        joined = await formation_assignment.join(
            tx, [Joining(formation, app, "APPLICATION", waits=False) for app in apps[1:]]
        )
        left = await formation_assignment.leave(tx, [Leaving(formation, app, silently=False) for app in apps[1:]])

    everybody = {(one, two) for one in apps for two in apps} - {(apps[0], apps[0])}
    paired = [pair for entry in joined for pair in entry.paired]
    parted = [(source, target) for entry in left for source, _, target, _ in entry.parted]
    assert sorted(paired) == sorted(parted) == sorted(everybody)
    told_for = {pair: entry.member for entry in joined for pair in entry.paired}
    assert told_for[apps[1], apps[2]] == told_for[apps[2], apps[1]]
