import asyncio
import random
import time
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from standardwebhooks import Webhook

from compass.delivery.attempt import Answer, Dead, Delivered, Prepared, RetryRules, Verdict
from compass.delivery.enqueue import Delivery, DeliveryNotDead, State, enqueue, recover, resend
from compass.delivery.signature import key_of, new_secret
from compass.errors import InvalidOperation
from compass.postgres.queue import WorkSettings
from tests.delivery.conftest import Working
from tests.delivery.receiver import Call, answer, due, hangs, receiving, takes_it

if TYPE_CHECKING:
    from compass.postgres.pool import Database, Tx


async def owe(database: "Database", *deliveries: Any) -> list[str]:
    async with database.transaction() as tx:
        return await enqueue(tx, deliveries)


async def row(database: "Database", delivery: str) -> dict[str, Any]:
    async with database.transaction() as tx:
        found = await tx.row("-- test\nSELECT * FROM delivery WHERE id = %(id)s", id=delivery)
    assert found is not None
    return dict(found)


async def attempts(database: "Database", delivery: str) -> list[dict[str, Any]]:
    async with database.transaction() as tx:
        rows = await tx.rows(
            "-- test\nSELECT * FROM delivery_attempt WHERE delivery_id = %(id)s ORDER BY number", id=delivery
        )
    return [dict(found) for found in rows]


async def count(database: "Database", table: str) -> int:
    async with database.transaction() as tx:
        return int(await tx.value(f"-- test\nSELECT count(*) FROM {table}"))


async def in_state(database: "Database", delivery: str, state: State, within: float = 15) -> dict[str, Any]:
    async with asyncio.timeout(within):
        while (found := await row(database, delivery))["state"] != state:
            await asyncio.sleep(0.01)
    return found


async def test_a_committed_delivery_arrives_once_signed_and_is_recorded(database: "Database", working: Working) -> None:
    old, new = new_secret(), new_secret()

    async def prepare(_tx: "Tx", delivery: Delivery) -> Prepared:
        assert delivery.facts == {"what": "known to the domain"}
        return Prepared(headers={"Authorization": "Bearer t"}, signing_keys=[key_of(old), key_of(new)])

    async with receiving() as receiver, working(prepare=prepare):
        (delivery,) = await owe(database, due(receiver.url(), body='{"ü": 1}', what="known to the domain"))
        await receiver.has(1)
        found = await in_state(database, delivery, State.DELIVERED)

    (call,) = receiver.calls
    assert call.id == delivery
    assert call.headers["authorization"] == "Bearer t"
    assert call.headers["content-type"] == "application/json"
    for secret in (old, new):
        assert Webhook(secret).verify(call.body, call.headers) == {"ü": 1}
    assert (found["attempts"], found["failures"], found["last_status"], found["last_error"]) == (1, 0, 200, None)
    assert found["next_at"] is None
    assert found["finished_at"] is not None
    (attempt,) = await attempts(database, delivery)
    assert (attempt["number"], attempt["status"], attempt["error"]) == (1, 200, None)
    assert await count(database, "delivery_lane") == 0


async def test_what_is_rolled_back_is_never_sent(database: "Database", working: Working) -> None:
    async with receiving() as receiver, working():
        with pytest.raises(RuntimeError, match="no"):
            async with database.transaction() as tx:
                await enqueue(tx, [due(receiver.url())])
                raise RuntimeError("no")
        await owe(database, due(receiver.url("/after"), subject="other"))
        await receiver.has(1)
        await asyncio.sleep(0.3)
    assert [call.path for call in receiver.calls] == ["/after"]
    assert await count(database, "delivery") == 1


async def test_every_failure_is_tried_again_under_the_same_id_until_it_is_taken(
    database: "Database", working: Working
) -> None:
    failures = [
        answer(500, b"broken"),
        answer(302, location="http://127.0.0.1:1/"),
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\nx: breaks-off\r\n\r\n{",
        b"rubbish breaks-off\r\n\r\n",
    ]

    async def behaviour(_call: Call) -> bytes:
        if not failures:
            return answer()
        return failures.pop(0)

    async with receiving(behaviour) as receiver, working(breaker_after=100):
        (delivery,) = await owe(database, due(receiver.url()))
        found = await in_state(database, delivery, State.DELIVERED)

    assert [call.id for call in receiver.calls] == [delivery] * 6
    assert (found["attempts"], found["failures"]) == (6, 5)
    recorded = await attempts(database, delivery)
    assert [one["status"] for one in recorded] == [500, 302, None, None, None, 200]
    assert recorded[0]["response_excerpt"] == "broken"
    assert recorded[1]["error"] == "the receiver answered 302"
    assert [one["error"] for one in recorded[2:]] == [
        "The address could not be reached",
        "The receiver's answer is not valid HTTP",
        "The receiver's answer is not valid HTTP",
        None,
    ]


async def test_a_receiver_that_hangs_is_left_after_the_timeout_and_delays_nobody(
    database: "Database", working: Working
) -> None:
    async with receiving(hangs) as hanging, receiving() as healthy, working(attempt_timeout=timedelta(seconds=3)):
        # More subjects than there are slots: without a limit per receiver they would take them all.
        whose = [str(uuid4()), str(uuid4()), *[str(uuid4())] * 98]
        await owe(
            database, *[due(hanging.url(), receiver=receiver, subject=f"{i}") for i, receiver in enumerate(whose)]
        )
        await hanging.has(4)
        began = time.monotonic()
        await owe(database, *[due(healthy.url(), receiver=str(uuid4()), subject=f"{i}") for i in range(50)])
        await healthy.has(50)
        took = time.monotonic() - began
        await asyncio.sleep(0.2)
        assert len(hanging.calls) == 4  # two receivers of one subject, and one receiver with its two slots
    assert took < 2.5  # less than the one time-out that nobody may be made to wait for


async def test_an_answer_that_comes_too_late_counts_as_none(database: "Database", working: Working) -> None:
    async def late(_call: Call) -> bytes:
        await asyncio.sleep(0 if len(receiver.calls) > 1 else 0.8)
        return answer()

    async with receiving(late) as receiver, working():
        (delivery,) = await owe(database, due(receiver.url()))
        await in_state(database, delivery, State.DELIVERED)
    first, second = await attempts(database, delivery)
    assert (first["status"], first["error"]) == (None, "The receiver did not finish its answer in time")
    assert 500 <= first["elapsed_ms"] < 1500
    assert second["status"] == 200
    assert [call.id for call in receiver.calls] == [delivery] * 2


async def test_410_ends_a_delivery_at_once_and_lets_the_next_one_pass(database: "Database", working: Working) -> None:
    async def behaviour(call: Call) -> bytes:
        return answer(410 if call.path == "/gone" else 200)

    ended: list[tuple[str, State]] = []

    async def finished(_tx: "Tx", delivery: Delivery, state: State) -> None:
        ended.append((delivery.id, state))

    async with receiving(behaviour) as receiver, working(finished=finished):
        gone, here = await owe(database, due(receiver.url("/gone")), due(receiver.url("/here")))
        await in_state(database, here, State.DELIVERED)
        found = await in_state(database, gone, State.DEAD)
    assert ended == [(gone, State.DEAD), (here, State.DELIVERED)]
    assert [call.path for call in receiver.calls] == ["/gone", "/here"]
    assert (found["attempts"], found["last_status"], found["last_error"]) == (1, 410, "the receiver answered 410")


async def test_retry_after_is_honoured_and_capped(database: "Database", working: Working) -> None:
    async def behaviour(call: Call) -> bytes:
        seconds = "1" if call.path == "/second" else "100000"
        return answer() if len([c for c in receiver.calls if c.id == call.id]) > 1 else answer(429, retry_after=seconds)

    rules = RetryRules(base=timedelta(milliseconds=20), cap=timedelta(seconds=2))
    async with receiving(behaviour) as receiver, working(retry=rules):
        second, capped = await owe(
            database, due(receiver.url("/second"), subject="1"), due(receiver.url("/capped"), subject="2")
        )
        await in_state(database, second, State.DELIVERED)
        await in_state(database, capped, State.DELIVERED)
    apart = {
        path: [b.at - a.at for a, b in pairwise(calls)]
        for path in ("/second", "/capped")
        if (calls := [call for call in receiver.calls if call.path == path])
    }
    assert [round(gap, 0) for gap in apart["/second"]] == [1]
    assert [round(gap, 0) for gap in apart["/capped"]] == [2]
    assert apart["/second"][0] >= 0.95
    assert apart["/capped"][0] >= 1.95


async def test_a_delivery_is_given_up_when_its_time_is_over_and_the_next_one_passes(
    database: "Database", working: Working
) -> None:
    async def behaviour(call: Call) -> bytes:
        return answer(500 if call.path == "/never" else 200)

    rules = RetryRules(
        base=timedelta(milliseconds=50), cap=timedelta(milliseconds=100), give_up_after=timedelta(seconds=1)
    )
    async with receiving(behaviour) as receiver, working(retry=rules, breaker_after=100):
        never, behind = await owe(database, due(receiver.url("/never")), due(receiver.url("/behind")))
        found = await in_state(database, never, State.DEAD)
        await in_state(database, behind, State.DELIVERED)
    assert found["last_error"].startswith("the receiver answered 500; given up after ")
    assert found["finished_at"] - found["first_attempt_at"] >= timedelta(seconds=1)
    assert receiver.calls[-1].path == "/behind"
    assert {call.path for call in receiver.calls[:-1]} == {"/never"}
    assert found["attempts"] == len(receiver.calls) - 1


async def test_dead_deliveries_are_sent_again_in_their_old_order_under_their_old_ids(
    database: "Database", working: Working
) -> None:
    well = False

    async def behaviour(_call: Call) -> bytes:
        return answer(200 if well else 410)

    async with receiving(behaviour) as receiver, working():
        before = datetime.now(UTC) - timedelta(seconds=5)
        dead = await owe(database, *[due(receiver.url(f"/{i}")) for i in range(4)])
        for delivery in dead:
            await in_state(database, delivery, State.DEAD)
        well = True
        receiver.calls.clear()
        async with database.transaction() as tx:
            await resend(tx, dead[3])
        await in_state(database, dead[3], State.DELIVERED)
        async with database.transaction() as tx:
            assert await recover(tx, due("").receiver, datetime.now(UTC) + timedelta(hours=1)) == 0
            assert await recover(tx, str(uuid4()), before) == 0
            assert await recover(tx, due("").receiver, before) == 3
        for delivery in dead:
            found = await in_state(database, delivery, State.DELIVERED)
            assert (found["attempts"], found["failures"]) == (2, 0)
        assert [call.id for call in receiver.calls] == [dead[3], *dead[:3]]
        assert [one["number"] for one in await attempts(database, dead[0])] == [1, 2]


@pytest.mark.parametrize("which", ["delivered", "unknown", "no uuid"])
async def test_only_a_dead_delivery_can_be_sent_again(database: "Database", working: Working, which: str) -> None:
    async with receiving() as receiver, working():
        (delivery,) = await owe(database, due(receiver.url()))
        await in_state(database, delivery, State.DELIVERED)
        wanted = {"delivered": delivery, "unknown": str(uuid4()), "no uuid": "x"}[which]
        before = await row(database, delivery)
        with pytest.raises(DeliveryNotDead, match=wanted):
            async with database.transaction() as tx:
                await resend(tx, wanted)
        await asyncio.sleep(0.3)
        assert await row(database, delivery) == before
    assert len(receiver.calls) == 1


async def test_a_receiver_that_is_gone_gets_nothing_and_its_deliveries_are_cancelled(
    database: "Database", working: Working
) -> None:
    async def prepare(_tx: "Tx", _delivery: Delivery) -> None:
        return None

    async with receiving() as receiver, working(prepare=prepare):
        one, two = await owe(database, due(receiver.url()), due(receiver.url()))
        await in_state(database, two, State.CANCELLED)
        found = await in_state(database, one, State.CANCELLED)
    assert receiver.calls == []
    assert (found["last_error"], found["last_status"]) == ("the receiver is gone", None)


async def test_what_the_domain_writes_in_its_verdict_is_committed_with_the_result(
    database: "Database", working: Working
) -> None:
    async with database.transaction() as tx:
        await tx.run("-- test\nCREATE TABLE noted (delivery uuid, answer text)")

    async def judge(tx: "Tx", delivery: Delivery, answer: Answer) -> Verdict:
        await tx.run("-- test\nINSERT INTO noted VALUES (%(id)s, %(path)s)", id=delivery.id, path=delivery.url[-2:])
        if delivery.url.endswith("/2") and delivery.attempt == 1:
            raise InvalidOperation(reason="not like this")
        if delivery.url.endswith("/3") and delivery.attempt == 1:
            await tx.run("-- test\nINSERT INTO nowhere VALUES (1)")
        return Dead("the domain says so") if delivery.url.endswith("/1") else Delivered()

    async with receiving() as receiver, working(judge=judge):
        vetoed, refused, broken = await owe(database, *[due(receiver.url(f"/{i}")) for i in (1, 2, 3)])
        dead = await in_state(database, vetoed, State.DEAD)
        await in_state(database, broken, State.DELIVERED)
    assert (dead["last_status"], dead["last_error"]) == (200, "the domain says so")
    async with database.transaction() as tx:
        noted = await tx.rows("-- test\nSELECT delivery FROM noted ORDER BY answer")
    assert [one["delivery"] for one in noted] == [vetoed, refused, broken]  # what failed to judge left nothing
    assert [one["error"] for one in await attempts(database, refused)] == [
        "its answer could not be judged: The operation is not allowed [reason=not like this]",
        None,
    ]
    assert [one["error"] for one in await attempts(database, broken)] == [
        "its answer could not be judged: UndefinedTableError",
        None,
    ]


async def test_a_delivery_that_cannot_be_prepared_is_tried_again(database: "Database", working: Working) -> None:
    async def prepare(_tx: "Tx", delivery: Delivery) -> Prepared:
        if delivery.attempt == 1:
            raise RuntimeError("with a secret in its text")
        return Prepared()

    async with receiving() as receiver, working(prepare=prepare):
        (delivery,) = await owe(database, due(receiver.url()))
        await in_state(database, delivery, State.DELIVERED)
    assert len(receiver.calls) == 1
    first, _ = await attempts(database, delivery)
    assert (first["status"], first["error"]) == (None, "it could not be prepared: RuntimeError")


async def test_a_url_the_door_refuses_is_dead_at_once(database: "Database", working: Working) -> None:
    async with working():
        (delivery,) = await owe(database, due("ftp://127.0.0.1/"))
        found = await in_state(database, delivery, State.DEAD)
    assert found["attempts"] == 1
    assert found["last_error"].startswith("The URL cannot be used")


async def test_an_excerpt_of_any_bytes_is_kept_to_two_kilobytes(database: "Database", working: Working) -> None:
    async def behaviour(_call: Call) -> bytes:
        return answer(410, b"\0\xff" + "ü".encode() * 5000)

    async with receiving(behaviour) as receiver, working():
        (delivery,) = await owe(database, due(receiver.url()))
        await in_state(database, delivery, State.DEAD)
    (attempt,) = await attempts(database, delivery)
    assert attempt["response_excerpt"].startswith("\ufffd\ufffdüü")
    assert 2040 <= len(attempt["response_excerpt"].encode()) <= 2048


async def test_of_every_attempt_is_kept_where_it_went_and_with_which_headers_but_no_secret(
    database: "Database", working: Working
) -> None:
    old, new = "s3cret-1", "s3cret-2"

    async def prepare(_tx: "Tx", delivery: Delivery) -> Prepared:
        return Prepared(headers={"Authorization": old if delivery.attempt == 1 else new}, signing_keys=[b"k" * 32])

    failures = [answer(503, b"later", server="first", set_cookie=old)]

    async def behaviour(_call: Call) -> bytes:
        return failures.pop() if failures else answer(server="second")

    # Long enough that a machine that stalls makes no attempt fail.
    patient = timedelta(seconds=30)
    async with receiving(behaviour) as receiver, working(prepare=prepare, attempt_timeout=patient):
        (delivery,) = await owe(database, due(receiver.url("/hook?key=s3cret-3")))
        await in_state(database, delivery, State.DELIVERED, within=60)

    recorded = await attempts(database, delivery)
    assert [one["url"] for one in recorded] == [receiver.url()] * 2
    assert [{header["name"]: header["value"] for header in one["request_headers"]} for one in recorded] == [
        {
            "Authorization": "***",
            "Content-Type": "application/json",
            "webhook-id": delivery,
            "webhook-signature": "***",
            "webhook-timestamp": call.headers["webhook-timestamp"],
        }
        for call in receiver.calls
    ]
    told = [{header["name"]: header["value"] for header in one["response_headers"]} for one in recorded]
    assert told == [
        {"content-length": "5", "server": "first", "set-cookie": "***"},
        {"content-length": "0", "server": "second"},
    ]
    assert "s3cret" not in str(recorded)


async def test_the_last_attempts_of_a_delivery_are_kept_and_no_more(
    database: "Database", working: Working, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compass.delivery.worker.KEPT_ATTEMPTS", 3)
    left = 6

    async def behaviour(_call: Call) -> bytes:
        nonlocal left
        left -= 1
        return answer(503 if left > 0 else 200)

    async with receiving(behaviour) as receiver, working(breaker_after=100):
        (delivery,) = await owe(database, due(receiver.url()))
        (other,) = await owe(database, due(receiver.url(), subject="other"))
        await in_state(database, delivery, State.DELIVERED, within=60)
        await in_state(database, other, State.DELIVERED, within=60)
        found = await row(database, delivery)

    kept = [one["number"] for one in await attempts(database, delivery)]
    assert kept == list(range(1, found["attempts"] + 1))[-3:]


async def test_no_connection_to_the_database_is_held_during_a_call(database: "Database", working: Working) -> None:
    async with receiving(hangs) as receiver, working(attempt_timeout=timedelta(seconds=2)):
        await owe(database, *[due(receiver.url(), receiver=str(uuid4())) for _ in range(40)])  # pools have 8
        await receiver.has(40)
        async with database.transaction() as tx:
            open_now = await tx.value(
                "-- test\nSELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND state = 'idle in transaction'"
            )
    assert open_now == 0


async def test_several_workers_keep_the_order_of_every_lane_under_failures(
    database: "Database", working: Working
) -> None:
    chance = random.Random(20261123)  # noqa: S311 — a test's dice
    received: dict[str, list[str]] = defaultdict(list)

    async def behaviour(call: Call) -> bytes:
        await asyncio.sleep(chance.random() * 0.004)
        if chance.random() < 0.15:
            return chance.choice([answer(500), answer(503), b""])
        received[call.path].append(call.body.decode())
        return answer()

    receivers = [str(uuid4()) for _ in range(6)]
    quick = RetryRules(base=timedelta(milliseconds=5), cap=timedelta(milliseconds=20))
    async with receiving(behaviour) as receiver:
        for first in range(0, 20, 5):
            await owe(
                database,
                *[
                    due(receiver.url(f"/{r}-{s}"), receiver=receivers[r], subject=f"{s}", body=f"{number}")
                    for number in range(first, first + 5)
                    for r in range(6)
                    for s in range(5)
                ],
            )
        options: dict[str, Any] = {"retry": quick, "breaker_after": 10_000, "per_receiver": 3}
        async with working(**options), working(**options), working(**options):
            async with asyncio.timeout(60):
                while await count(database, "delivery_lane"):
                    await asyncio.sleep(0.05)
    assert len(received) == 30
    for path, bodies in received.items():
        # A duplicate of the last is allowed (closed without a word), an inversion is not.
        assert list(dict.fromkeys(bodies)) == [f"{number}" for number in range(20)], path
    async with database.transaction() as tx:
        states = await tx.rows("-- test\nSELECT state, count(*) FROM delivery GROUP BY state")
    assert [(one["state"], one["count"]) for one in states] == [("DELIVERED", 600)]


async def test_the_sequence_of_a_lane_is_the_order_of_commit(database: "Database", working: Working) -> None:
    async with receiving() as receiver, working():
        second: asyncio.Task[list[str]]
        async with database.transaction() as tx:
            await enqueue(tx, [due(receiver.url("/first"))])
            second = asyncio.create_task(owe(database, due(receiver.url("/second"))))
            (other,) = await owe(database, due(receiver.url("/other"), subject="other"))
            await in_state(database, other, State.DELIVERED)  # other lanes do not wait
            await asyncio.sleep(0.2)
            assert not second.done()
        (delivery,) = await second
        await in_state(database, delivery, State.DELIVERED)
    assert [call.path for call in receiver.calls] == ["/other", "/first", "/second"]


async def test_a_receiver_gets_no_more_calls_at_once_than_its_slots(database: "Database", working: Working) -> None:
    async def slow(_call: Call) -> bytes:
        await asyncio.sleep(0.02)
        return answer()

    async with receiving(slow) as receiver, working(per_receiver=2):
        await owe(database, *[due(receiver.url(), subject=f"{i}") for i in range(40)])
        await receiver.has(40)
    assert receiver.most_at_once == 2


async def test_a_receiver_that_fails_on_every_subject_is_paused_as_a_whole_and_then_probed(
    database: "Database", working: Working
) -> None:
    well = False

    async def behaviour(_call: Call) -> bytes:
        await asyncio.sleep(0.02)
        return answer(200 if well else 500)

    async with receiving(behaviour) as receiver, working(chance=lambda: 0.99):
        ids = await owe(database, *[due(receiver.url(), subject=f"{i}") for i in range(60)])
        await receiver.has(5)
        await asyncio.sleep(0.6)
        # 60 subjects, each to be tried again after 40, 80, … ms, and still a handful of calls: five, and one in flight.
        assert len(receiver.calls) <= 6
        well = True
        for delivery in ids:
            await in_state(database, delivery, State.DELIVERED)


async def test_a_graceful_stop_finishes_what_is_short_and_gives_back_what_is_long(
    database: "Database", working: Working
) -> None:
    async def behaviour(call: Call) -> bytes:
        await asyncio.sleep(0.1 if call.path == "/short" else 3600)
        return answer()

    work = WorkSettings(concurrency=8, lease=timedelta(seconds=60), grace=timedelta(seconds=0.4))
    async with receiving(behaviour) as receiver:
        async with working(work=work, attempt_timeout=timedelta(seconds=30)):
            short, long = await owe(
                database, due(receiver.url("/short"), subject="1"), due(receiver.url("/long"), subject="2")
            )
            await receiver.has(2)
            began = time.monotonic()
        assert time.monotonic() - began < 1.5
        assert (await row(database, short))["state"] == State.DELIVERED
        found = await row(database, long)
        assert (found["state"], found["attempts"], found["failures"]) == (State.PENDING, 1, 0)
        receiver.behaviour = takes_it
        async with working(work=work):  # at once, not after the lease of 60 s
            await in_state(database, long, State.DELIVERED, within=3)
    assert sorted(call.id for call in receiver.calls) == sorted([short, long, long])


async def test_a_call_that_outlasts_its_lease_keeps_it(database: "Database", working: Working) -> None:
    async def slow(_call: Call) -> bytes:
        await asyncio.sleep(2)
        return answer()

    work = WorkSettings(concurrency=8, lease=timedelta(seconds=0.6), poll=timedelta(milliseconds=100))
    options: dict[str, Any] = {"work": work, "attempt_timeout": timedelta(seconds=10)}
    async with receiving(slow) as receiver, working(**options), working(**options):
        (delivery,) = await owe(database, due(receiver.url()))
        await in_state(database, delivery, State.DELIVERED)
    assert len(receiver.calls) == 1


async def test_a_holder_that_stalled_beyond_its_lease_can_write_nothing(database: "Database", working: Working) -> None:
    """Its renewals are off, as in a process that was stopped; meanwhile another worker delivers."""
    judged: list[str] = []
    release = asyncio.Event()

    class Stalled:
        """A door that answers when the lease is long over."""

        def __init__(self, door: Any) -> None:
            self.door = door

        async def send(self, request: Any, **limits: Any) -> Any:
            response = await self.door.send(request, **limits)
            await release.wait()
            return response

    async def judge(_tx: "Tx", _delivery: Delivery, _answer: Answer) -> Verdict:
        judged.append("stalled")
        return Dead("by the stalled holder")

    from compass.outbound.door import Door
    from tests.delivery.conftest import LOOPBACK

    never = timedelta(seconds=10_000)
    work = WorkSettings(concurrency=1, lease=never, poll=timedelta(milliseconds=100))  # busy: it takes nothing else
    async with receiving() as receiver, Door(LOOPBACK) as door:
        async with working(door=Stalled(door), judge=judge, work=work, attempt_timeout=timedelta(seconds=60)):
            (delivery,) = await owe(database, due(receiver.url()))
            await receiver.has(1)
            async with database.transaction() as tx:
                await tx.run("-- test\nUPDATE delivery_lane SET next_at = now()")  # the lease ends
            async with working():
                found = await in_state(database, delivery, State.DELIVERED)
            release.set()
        assert judged == []
        assert await row(database, delivery) == found
    assert [call.id for call in receiver.calls] == [delivery, delivery]
    assert [one["number"] for one in await attempts(database, delivery)] == [2]


TENANT = "00000000-0000-4000-8000-00000000000b"


async def told(database: "Database") -> list[tuple[Any, ...]]:
    """What followers of the feed are told, in order, and whether the relay would look at it."""
    async with database.transaction() as tx:
        rows = await tx.rows("-- test\nSELECT tenant_id, name, facts, relayed_at FROM outbox_event ORDER BY id")
    return [(one["tenant_id"], one["name"], one["facts"], one["relayed_at"] is None) for one in rows]


async def test_followers_are_told_of_every_attempt_and_the_relay_of_none(
    database: "Database", working: Working
) -> None:
    answers = [answer(500), answer(200), answer(410)]

    async def behaviour(_call: Call) -> bytes:
        return answers.pop(0)

    async with receiving(behaviour) as receiver, working():
        (taken,) = await owe(database, replace(due(receiver.url()), tenant=TENANT))
        await in_state(database, taken, State.DELIVERED)
        (refused,) = await owe(database, replace(due(receiver.url(), subject="other"), tenant=TENANT))
        await in_state(database, refused, State.DEAD)
    async with database.transaction() as tx:
        await resend(tx, refused)

    def change(delivery: str, state: str) -> tuple[Any, ...]:
        return TENANT, "DeliveryChanged", {"delivery": delivery, "receiver": due("").receiver, "state": state}, False

    assert await told(database) == [
        *(change(taken, state) for state in ("PENDING", "PENDING", "DELIVERED")),
        *(change(refused, state) for state in ("PENDING", "DEAD", "PENDING")),
    ]


async def test_what_belongs_to_no_tenant_or_was_not_put_back_is_told_to_nobody(
    database: "Database", working: Working
) -> None:
    async with receiving() as receiver, working():
        (delivery,) = await owe(database, due(receiver.url()))
        await in_state(database, delivery, State.DELIVERED)
    with pytest.raises(DeliveryNotDead):
        async with database.transaction() as tx:
            await resend(tx, delivery)

    assert await told(database) == []


async def test_calls_under_way_are_counted(database: "Database", working: Working) -> None:
    # A machine that stalls takes no lease from it.
    held = WorkSettings(concurrency=64, lease=timedelta(minutes=1), grace=timedelta(0))
    async with receiving(hangs) as receiver, working(attempt_timeout=timedelta(minutes=1), work=held) as worker:
        assert worker.seats == (0, 64)
        await owe(database, due(receiver.url(), subject="a"), due(receiver.url(), subject="b"))
        await receiver.has(2)

        assert worker.seats == (2, 64)
