import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from compass.errors import InvalidOperation
from compass.operations.operation import (
    Again,
    Done,
    Go,
    Kind,
    Operation,
    OperationInProgress,
    Outcome,
    Step,
    StepFailed,
    start,
    step,
)
from compass.operations.worker import OperationWork, StepMisdeclared, Worker
from tests.operations.killed_worker import QUICK

if TYPE_CHECKING:
    from compass.postgres.pool import Database, Tx

SECOND = timedelta(seconds=1)
TENANT = str(uuid4())


@dataclass
class Cloud:
    """What a step asks, and what it was asked."""

    answers: list[Outcome | Exception] = field(default_factory=list)
    asked: list[Operation] = field(default_factory=list)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def next(self, op: Operation) -> Outcome:
        self.asked.append(op)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@step("ask", timeout=timedelta(seconds=5), message="asking the cloud")
async def ask(op: Operation, cloud: Cloud) -> Outcome:
    return cloud.next(op)


@step("brief", timeout=timedelta(seconds=0.3))
async def brief(op: Operation, cloud: Cloud) -> Outcome:
    return cloud.next(op)


@step("hang", timeout=timedelta(seconds=0.3))
async def hang(op: Operation) -> Outcome:
    await asyncio.sleep(3600)
    return Done()


@step("held", timeout=timedelta(seconds=60))
async def held(_op: Operation, cloud: Cloud) -> Outcome:
    await cloud.released.wait()
    return Done()


@step("last", timeout=SECOND)
async def last(_op: Operation) -> Outcome:
    return Done(seen=True)


@step("tidy", timeout=timedelta(seconds=0.5))
async def tidy(op: Operation, cloud: Cloud) -> Outcome:
    return cloud.next(op)


KIND = Kind("kind", (ask, brief, hang, last))


def beginning_with(first: Step, **changes: Any) -> Kind:
    return replace(KIND, steps=(first, *[other for other in KIND.steps if other is not first]), **changes)


Working = Callable[..., AbstractAsyncContextManager[Worker]]


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def working(database: "Database", cloud: Cloud) -> Working:
    """Runs a worker for a kind during the block, and stops it in the end."""

    @asynccontextmanager
    async def run(kind: Kind = KIND, settings: OperationWork = QUICK) -> AsyncIterator[Worker]:
        worker = Worker(database, kinds=[kind], parts={Cloud: cloud}, settings=settings)
        stopping = asyncio.Event()
        task = asyncio.create_task(worker.run(stopping))
        try:
            yield worker
        finally:
            stopping.set()
            await task

    return run


async def begin(database: "Database", kind: Kind = KIND, subject: str | None = None, **data: Any) -> str:
    async with database.transaction() as tx:
        return await start(tx, kind, subject or str(uuid4()), tenant=TENANT, data=data)


async def row(database: "Database", operation: str) -> dict[str, Any]:
    async with database.transaction() as tx:
        found = await tx.row("-- test\nSELECT * FROM operation WHERE id = %(id)s", id=operation)
    assert found is not None
    return dict(found)


async def until(database: "Database", operation: str, true: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any]:
    async with asyncio.timeout(15):
        while not true(found := await row(database, operation)):
            await asyncio.sleep(0.01)
    return found


async def ended(database: "Database", operation: str) -> dict[str, Any]:
    return await until(database, operation, lambda found: found["finished_at"] is not None)


async def journal(database: "Database") -> list[tuple[Any, ...]]:
    async with database.transaction() as tx:
        rows = await tx.rows("-- test\nSELECT step, outcome, attempts, error FROM operation_step ORDER BY number")
    return [tuple(one) for one in rows]


async def test_steps_follow_each_other_with_what_was_found_out(
    database: "Database", working: Working, cloud: Cloud
) -> None:
    cloud.answers = [Again(timedelta(seconds=0.05)), Again(timedelta(0)), Go(last, endpoint="e", given="new")]
    async with working():
        operation = await begin(database, given="old")
        found = await ended(database, operation)
    assert (found["state"], found["step"], found["message"], found["error"]) == ("SUCCEEDED", "last", "done", None)
    assert found["data"] == {"given": "new", "endpoint": "e", "seen": True}
    assert (found["next_at"], found["holder"], found["tenant_id"]) == (None, None, TENANT)
    assert await journal(database) == [("ask", "last", 3, None), ("last", "SUCCEEDED", 1, None)]
    assert [op.attempt for op in cloud.asked] == [1, 2, 3]
    assert {op.id for op in cloud.asked} == {operation}


async def test_one_unfinished_operation_per_object_and_the_refusal_changes_nothing(
    database: "Database", working: Working, cloud: Cloud
) -> None:
    subject = str(uuid4())
    first = await begin(database, subject=subject)
    before = await row(database, first)
    async with database.transaction() as tx:
        with pytest.raises(OperationInProgress, match=subject):
            await start(tx, KIND, subject)
        assert await tx.value("-- test\nSELECT count(*) FROM operation") == 1  # the transaction is still usable
    assert await row(database, first) == before
    assert await journal(database) == [("ask", None, 0, None)]
    cloud.answers = [Done(), Done()]
    async with working():
        await ended(database, first)
        await ended(database, await begin(database, subject=subject))


async def test_an_unexpected_error_is_tried_again_and_shown_meanwhile(
    database: "Database", working: Working, cloud: Cloud
) -> None:
    cloud.answers = [RuntimeError("secret"), InvalidOperation(reason="busy"), Done()]
    slow = replace(QUICK, first_retry_after=timedelta(seconds=1))
    async with working(settings=slow):
        operation = await begin(database)
        shown = await until(database, operation, lambda found: found["failures"] == 1)
        await ended(database, operation)
    assert shown["message"] == "asking the cloud; will try again: RuntimeError"
    assert await journal(database) == [
        ("ask", "SUCCEEDED", 3, "The operation is not allowed [reason=busy]"),
    ]
    assert [op.failures for op in cloud.asked] == [0, 1, 2]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([Again(timedelta(seconds=0.1))] * 9, "brief was not done within 0:00:00.300000"),
        ([RuntimeError("x")] * 99, "brief was not done within 0:00:00.300000; the last error was RuntimeError"),
    ],
)
async def test_a_step_fails_when_its_time_is_over(
    database: "Database", working: Working, cloud: Cloud, answers: list[Outcome | Exception], message: str
) -> None:
    cloud.answers = answers
    async with working(beginning_with(brief)):
        found = await ended(database, await begin(database, beginning_with(brief)))
    assert found["state"] == "FAILED"
    assert found["error"] == {"reason": "StepTimedOut", "err_message": message, "component": "kind.brief"}
    assert found["message"] == message
    ((name, outcome, attempts, _),) = await journal(database)
    assert (name, outcome) == ("brief", "TIMED_OUT")
    assert attempts == len(cloud.asked) >= 2


async def test_a_step_that_never_answers_is_broken_off_when_its_time_is_over(
    database: "Database", working: Working
) -> None:
    async with working(beginning_with(hang)):
        found = await ended(database, await begin(database, beginning_with(hang)))
    assert found["error"]["reason"] == "StepTimedOut"


async def test_time_that_passed_without_any_worker_fails_nothing_unasked(
    database: "Database", working: Working, cloud: Cloud
) -> None:
    operation = await begin(database)
    async with database.transaction() as tx:
        await tx.run("-- test\nUPDATE operation SET step_started_at = now() - interval '1 day'")
    cloud.answers = [Go(last)]
    async with working():
        assert (await ended(database, operation))["state"] == "SUCCEEDED"


async def test_a_failed_operation_is_tidied_up_before_it_is_recorded_as_failed(
    database: "Database", working: Working, cloud: Cloud
) -> None:
    told: list[tuple[str, str, str]] = []

    async def entered(tx: "Tx", op: Operation) -> None:
        told.append(("entered", op.step, op.state))

    async def finished(tx: "Tx", op: Operation) -> None:
        told.append(("finished", op.step, op.state))

    kind = replace(KIND, steps=(*KIND.steps, tidy), on_failure=tidy, entered=entered, finished=finished)
    cloud.answers = [StepFailed("QuotaExceeded", "no more room", component="cloud"), RuntimeError(), Done(gone=True)]
    async with working(kind):
        found = await ended(database, await begin(database, kind))
    assert (found["state"], found["message"]) == ("FAILED", "no more room")
    assert found["error"] == {"reason": "QuotaExceeded", "err_message": "no more room", "component": "cloud"}
    assert found["data"] == {"gone": True}
    assert await journal(database) == [
        ("ask", "FAILED", 1, "no more room"),
        ("tidy", "FAILED", 2, "RuntimeError"),
    ]
    assert cloud.asked[-1].compensating
    assert cloud.asked[-1].error == found["error"]
    assert told == [("entered", "ask", "PENDING"), ("entered", "tidy", "IN_PROGRESS"), ("finished", "tidy", "FAILED")]


async def test_a_compensation_that_fails_keeps_the_first_cause_and_says_so(
    database: "Database", working: Working, cloud: Cloud
) -> None:
    kind = replace(KIND, steps=(*KIND.steps, tidy), on_failure=tidy)
    cloud.answers = [StepFailed("Lost"), StepFailed("Stuck", "still there")]
    async with working(kind):
        found = await ended(database, await begin(database, kind))
    assert found["state"] == "FAILED"
    assert found["error"] == {
        "reason": "Lost",
        "err_message": "Lost",
        "component": "kind.ask",
        "compensation": "still there",
    }


async def test_a_step_to_nowhere_or_an_answer_that_cannot_be_kept_fails_the_operation(
    database: "Database", working: Working, cloud: Cloud
) -> None:
    cloud.answers = [Go(tidy)]
    async with working(beginning_with(brief)):
        stray = await ended(database, await begin(database, beginning_with(brief)))
        cloud.answers = [Done(what=object())] * 99
        unkept = await ended(database, await begin(database, beginning_with(brief)))
    assert stray["error"]["reason"] == "StepUnknown"
    assert unkept["error"]["err_message"].endswith("the last error was TypeError")


async def test_a_step_this_release_does_not_know_waits_visibly_for_one_that_does(
    database: "Database", working: Working, cloud: Cloud
) -> None:
    quick = replace(QUICK, retry_at_most_every=timedelta(seconds=0.1))
    async with working(replace(KIND, steps=(last,)), quick):
        operation = await begin(database)
        await until(database, operation, lambda found: found["attempts"] >= 2)
        assert (await row(database, operation))["message"] == "this release knows no step ask of kind"
    cloud.answers = [Done()]
    async with working():
        assert (await ended(database, operation))["state"] == "SUCCEEDED"


async def test_a_graceful_stop_gives_a_long_step_back_at_once(database: "Database", working: Working) -> None:
    slow = step("ask", timeout=timedelta(minutes=1))(hang.run)
    work = replace(QUICK.work, lease=timedelta(minutes=10), grace=timedelta(seconds=0.1))
    settings = replace(QUICK, work=work)
    async with working(replace(KIND, steps=(slow,)), settings):
        operation = await begin(database)
        await until(database, operation, lambda found: found["holder"] is not None)
    assert (await row(database, operation))["holder"] is None
    async with working(replace(KIND, steps=(step("ask", timeout=SECOND)(last.run),)), settings):
        assert (await ended(database, operation))["state"] == "SUCCEEDED"


async def test_several_workers_never_run_one_operation_at_the_same_time(database: "Database", working: Working) -> None:
    at_work: set[str] = set()
    calls: list[str] = []

    @step("again", timeout=timedelta(seconds=30))
    async def again(op: Operation) -> Outcome:
        assert op.id not in at_work
        at_work.add(op.id)
        await asyncio.sleep(0.002)
        at_work.discard(op.id)
        calls.append(op.id)
        return Done() if op.attempt == 5 else Again(timedelta(0))

    kind = Kind("again", (again,))
    ids = [await begin(database, kind) for _ in range(20)]
    async with working(kind), working(kind), working(kind):
        for operation in ids:
            assert (await ended(database, operation))["state"] == "SUCCEEDED"
    assert {operation: calls.count(operation) for operation in ids} == dict.fromkeys(ids, 5)


def test_a_step_whose_part_nobody_supplies_is_refused_at_start(database: "Database") -> None:
    with pytest.raises(StepMisdeclared, match=r"kind\.ask asks for parts nobody supplies: cloud"):
        Worker(database, kinds=[KIND], parts={})


@step("odd", timeout=SECOND)
async def odd(cloud: Cloud) -> Outcome:
    return cloud.next(None)  # type: ignore[arg-type]  # never called: what it wants first is no operation


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Kind("k", (odd,)), "not an Operation"),
        (Kind("k", (ask, ask)), "two steps named ask"),
        (Kind("k", ()), "no steps"),
        (Kind("k", (ask,), on_failure=tidy), "does not list tidy"),
    ],
)
def test_a_kind_that_cannot_run_is_refused_at_start(database: "Database", kind: Kind, why: str) -> None:
    with pytest.raises(StepMisdeclared, match=why):
        Worker(database, kinds=[kind], parts={Cloud: Cloud()})


async def test_claiming_does_not_read_finished_operations(database: "Database") -> None:
    from compass.operations.worker import OPERATIONS

    async with database.transaction() as tx:
        await tx.run("""-- test
            INSERT INTO operation (kind, subject, step, data, message, state, next_at, finished_at)
            SELECT 'k', gen_random_uuid(), 's', '{}', '', 'SUCCEEDED', NULL, now() FROM generate_series(1, 50000)
        """)
        await start(tx, KIND, str(uuid4()))
        await tx.run("-- test\nANALYZE operation")
        plan = await tx.rows(
            "EXPLAIN (ANALYZE, BUFFERS) " + OPERATIONS.claiming, holder="t", lease=SECOND, limit=8, suspects=1
        )
    text = "\n".join(line[0] for line in plan)
    assert "operation_due" in text
    assert "Seq Scan" not in text


async def test_operations_under_way_are_counted(database: "Database", working: Working, cloud: Cloud) -> None:
    kind = Kind("kind", (held,))
    # A machine that stalls takes no lease from it.
    async with working(kind, replace(QUICK, work=replace(QUICK.work, lease=timedelta(minutes=1)))) as worker:
        assert worker.seats == (0, QUICK.work.concurrency)
        operations = [await begin(database, kind) for _ in range(2)]
        async with asyncio.timeout(30):
            while worker.seats.used < len(operations):
                await asyncio.sleep(0.01)
        assert worker.seats == (2, QUICK.work.concurrency)
        cloud.released.set()
        for operation in operations:
            await ended(database, operation)
        async with asyncio.timeout(30):
            while worker.seats.used:
                await asyncio.sleep(0.01)
