"""The worker that takes operations from step to step.

Every call of a step is counted before it and recorded after it, in a transaction under the operation's fence; none is
open during the call. While steps follow each other at once, the lease is kept: a step costs one transaction.
"""

import asyncio
import inspect
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final, assert_never, get_type_hints

import orjson

from compass.errors import presentable
from compass.gauges import Share
from compass.operations.operation import (
    CHANNEL,
    OPERATION_COLUMNS,
    Again,
    Done,
    Go,
    Kind,
    Operation,
    Outcome,
    State,
    Step,
    StepFailed,
    operation_from,
)
from compass.postgres.pool import Database, Tx
from compass.postgres.queue import Lease, LeaseLost, Loop, Queue, WorkSettings, backoff, this_process

log = logging.getLogger(__name__)

_LEAST_CALL: Final = timedelta(seconds=30)
"""A call always gets this long or the step's whole time, even when that time ran out while no worker ran."""


class StepMisdeclared(Exception):
    """A step cannot be run as declared. Raised when the worker is made: a wrongly wired plane does not start."""


@dataclass(frozen=True)
class OperationWork:
    """How one worker process runs operations."""

    first_retry_after: timedelta = timedelta(seconds=1)
    """The longest pause after the first unexpected error of a step; it doubles with each further one."""
    retry_at_most_every: timedelta = timedelta(minutes=1)
    """Where the doubling stops."""
    give_up_on_crashes: int = 5
    """Calls in a row that ended with the death of the worker; then the step has failed."""
    work: WorkSettings = field(default_factory=lambda: WorkSettings(concurrency=8))


OPERATIONS: Final = Queue("operation")

_TAKE: Final = f"""
-- operation.take
UPDATE operation SET state = 'IN_PROGRESS', attempts = attempts + 1 WHERE id = ANY(%(ids)s::uuid[])
RETURNING {OPERATION_COLUMNS}
"""

_ENTER: Final = f"""
-- operation.enter
WITH operation AS (
    UPDATE operation
    SET step = %(next)s, step_started_at = clock_timestamp(), message = %(message)s, data = data || %(data)s,
        error = coalesce(%(error)s, error), compensating = %(compensating)s,
        attempts = 1, failures = 0, abandoned = 0, next_at = clock_timestamp() + %(lease)s
    WHERE id = %(operation)s AND fence = %(fence)s AND holder IS NOT NULL
    RETURNING *
), journal AS (
    UPDATE operation_step AS step
    SET left_at = step_started_at, outcome = %(outcome)s, attempts = %(attempt)s,
        error = coalesce(%(trouble)s, step.error)
    FROM operation
    WHERE step.operation_id = operation.id AND step.left_at IS NULL
    RETURNING operation_id, number, left_at
), entered AS (
    INSERT INTO operation_step (operation_id, number, step, entered_at, attempts)
    SELECT operation_id, number + 1, %(next)s, left_at, 1 FROM journal
)
SELECT {OPERATION_COLUMNS} FROM operation
"""

_WAIT: Final = """
-- operation.wait
WITH operation AS (
    UPDATE operation
    SET holder = NULL, abandoned = 0, next_at = clock_timestamp() + %(after)s, failures = %(failures)s,
        message = %(message)s
    WHERE id = %(operation)s AND fence = %(fence)s AND holder IS NOT NULL
    RETURNING id
), journal AS (
    UPDATE operation_step AS step
    SET attempts = %(attempt)s, error = coalesce(%(trouble)s, step.error)
    FROM operation
    WHERE step.operation_id = operation.id AND step.left_at IS NULL
)
SELECT id FROM operation
"""

_FINISH: Final = f"""
-- operation.finish
WITH operation AS (
    UPDATE operation
    SET state = %(state)s, data = data || %(data)s, message = %(message)s, error = %(error)s,
        holder = NULL, next_at = NULL, finished_at = clock_timestamp()
    WHERE id = %(operation)s AND fence = %(fence)s AND holder IS NOT NULL
    RETURNING *
), journal AS (
    UPDATE operation_step AS step
    SET left_at = finished_at, outcome = %(outcome)s, attempts = %(attempt)s, error = coalesce(%(trouble)s, step.error)
    FROM operation
    WHERE step.operation_id = operation.id AND step.left_at IS NULL
)
SELECT {OPERATION_COLUMNS} FROM operation
"""


@dataclass(frozen=True)
class _Taken:
    lease: Lease
    operation: Operation


@dataclass(frozen=True)
class _Failed:
    """The step has failed for good."""

    outcome: str
    error: Mapping[str, str]


@dataclass(frozen=True)
class _Trouble:
    """The step failed in a way that may pass."""

    what: str


@dataclass(frozen=True)
class _Bound:
    """A step with its parts."""

    step: Step
    parts: Mapping[str, object]

    async def ask(self, op: Operation) -> Outcome:
        outcome = await self.step.run(op, **self.parts)
        if isinstance(outcome, Go | Done):
            orjson.dumps(outcome.data)  # what cannot be stored is the step's error, found while it can be told
        return outcome


def _bound(kind: Kind, parts: Mapping[Any, object]) -> dict[str, _Bound]:
    """Every step of the kind with its parts, by name. Raises StepMisdeclared."""
    bound: dict[str, _Bound] = {}
    for step in kind.steps:
        if step.name in bound:
            raise StepMisdeclared(f"{kind.name} has two steps named {step.name}")
        parameters = list(inspect.signature(step.run).parameters)
        hints = get_type_hints(step.run)
        if not parameters or hints.get(parameters[0]) is not Operation:
            raise StepMisdeclared(f"the first parameter of {kind.name}.{step.name} is not an Operation")
        missing = [name for name in parameters[1:] if hints.get(name) not in parts]
        if missing:
            raise StepMisdeclared(f"{kind.name}.{step.name} asks for parts nobody supplies: {', '.join(missing)}")
        bound[step.name] = _Bound(step, {name: parts[hints[name]] for name in parameters[1:]})
    if not bound:
        raise StepMisdeclared(f"{kind.name} has no steps")
    for rescue in (kind.on_failure, *(step.on_failure for step in kind.steps)):
        if rescue is not None and rescue not in kind.steps:
            raise StepMisdeclared(f"{kind.name} does not list {rescue.name}, which it enters on failure")
    return bound


class Worker:
    """Runs operations until told to stop. Any number of processes may run one on the same database."""

    def __init__(
        self,
        database: Database,
        *,
        kinds: Iterable[Kind],
        parts: Mapping[Any, object],
        settings: OperationWork | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`parts` are what steps ask for, by type; `chance` gives numbers in [0, 1) for jitter.

        Raises StepMisdeclared.
        """
        self._database = database
        self._settings = settings or OperationWork()
        self._chance = chance
        self._kinds = {kind.name: kind for kind in kinds}
        self._steps = {kind.name: _bound(kind, parts) for kind in self._kinds.values()}
        self._holder = this_process()
        self._stopping = asyncio.Event()
        self._loop: Loop[_Taken] = Loop(
            database, OPERATIONS, channel=CHANNEL, claim=self._claim, perform=self._go_on, settings=self._settings.work
        )

    @property
    def seats(self) -> Share:
        """How many operations are under way in this process, of those that may be."""
        return self._loop.seats

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until `stopping` is set; then wait for the calls under way, and give back those that take too long."""
        self._stopping = stopping
        await self._loop.run(stopping)

    async def _claim(self, tx: Tx, limit: int, suspects: int) -> list[_Taken]:
        leases = await OPERATIONS.claim(
            tx, holder=self._holder, lease=self._settings.work.lease, limit=limit, suspects=suspects
        )
        if not leases:
            return []
        rows = await tx.rows(_TAKE, ids=[lease.id for lease in leases])
        operations = {row["id"]: operation_from(row) for row in rows}
        return [_Taken(lease, operations[lease.id]) for lease in leases]

    async def _go_on(self, taken: _Taken) -> None:
        """Step after step, as long as they follow each other at once."""
        op, lease = taken.operation, taken.lease
        while True:
            bound = self._steps.get(op.kind, {}).get(op.step)
            if bound is None:
                # A newer release may be running beside this one. It is shown, and asked for again at the slowest pace.
                unknown = _Trouble(f"this release knows no step {op.step} of {op.kind}")
                await self._wait(op, lease, self._settings.retry_at_most_every, unknown, message=unknown.what)
                return
            entered = await self._record(op, lease, bound.step, await self._ask(op, lease, bound))
            if entered is None:
                return
            op, lease = entered, replace(lease, abandoned=0)
            if self._stopping.is_set():
                await self._give_back(lease)
                return

    async def _give_back(self, lease: Lease) -> None:
        await self._database.run(lambda tx: OPERATIONS.release(tx, [lease]))

    async def _ask(self, op: Operation, lease: Lease, bound: _Bound) -> Outcome | _Failed | _Trouble:
        """Call the step once, without a transaction, within what is left of its time."""
        if lease.abandoned >= self._settings.give_up_on_crashes:
            died = f"{lease.abandoned} calls in a row ended with the death of the worker"
            return _failed("WORKER_DIED", op, reason="WorkerDied", err_message=died)
        step = bound.step
        clock = asyncio.get_running_loop().time
        began = clock()
        least = min(step.timeout, _LEAST_CALL)
        answer: Outcome | _Trouble
        try:
            async with asyncio.timeout(max(step.timeout - op.in_step, least).total_seconds()):
                answer = await bound.ask(op)
        except StepFailed as failure:
            return _failed("FAILED", op, failure.reason, failure.err_message, failure.component)
        except Exception as error:
            log.exception("step %s of %s %s", step.name, op.kind, op.id)
            answer = _Trouble(presentable(error))
        in_time = op.in_step + timedelta(seconds=clock() - began) < step.timeout
        if in_time or isinstance(answer, Go | Done):
            return answer
        late = f"{step.name} was not done within {step.timeout}"
        if isinstance(answer, _Trouble):
            late += f"; the last error was {answer.what}"
        return _failed("TIMED_OUT", op, reason="StepTimedOut", err_message=late)

    async def _record(
        self, op: Operation, lease: Lease, step: Step, answer: Outcome | _Failed | _Trouble
    ) -> Operation | None:
        """Write the answer; the operation in its next step if that follows at once. Raises LeaseLost."""
        kind = self._kinds[op.kind]
        match answer:
            case Go(next=following, data=data):
                if self._steps[op.kind].get(following.name) is None:
                    stray = f"{step.name} goes on to {following.name}, which is no step of {op.kind}"
                    return await self._record(op, lease, step, _failed("FAILED", op, "StepUnknown", stray))
                return await self._enter(op, lease, following, outcome=following.name, data=data)
            case Again(after):
                await self._wait(op, lease, after, None, message=step.message)
            case _Trouble():
                pause = backoff(
                    op.failures + 1,
                    base=self._settings.first_retry_after,
                    factor=2,
                    cap=self._settings.retry_at_most_every,
                    chance=self._chance(),
                )
                await self._wait(op, lease, pause, answer, message=f"{step.message}; will try again: {answer.what}")
            case Done(data=data):
                if op.compensating:
                    await self._finish(op, lease, State.FAILED, data=data, error=op.error, outcome=State.FAILED)
                else:
                    await self._finish(op, lease, State.SUCCEEDED, data=data, error=None, outcome=State.SUCCEEDED)
            case _Failed(outcome, error):
                rescue = step.on_failure or kind.on_failure
                if op.compensating or rescue is None:
                    # The first cause stays the cause; what could not be undone is told beside it.
                    both = {**op.error, "compensation": error["err_message"]} if op.error else error
                    await self._finish(op, lease, State.FAILED, data={}, error=both, outcome=outcome, trouble=error)
                else:
                    return await self._enter(op, lease, rescue, outcome=outcome, data={}, error=error)
            case _:
                assert_never(answer)
        return None

    async def _enter(
        self,
        op: Operation,
        lease: Lease,
        following: Step,
        *,
        outcome: str,
        data: Mapping[str, Any],
        error: Mapping[str, str] | None = None,
    ) -> Operation:
        async def enter(tx: Tx) -> Operation:
            row = await tx.row(
                _ENTER,
                operation=op.id,
                fence=lease.fence,
                lease=self._settings.work.lease,
                next=following.name,
                message=following.message,
                data=data,
                error=error,
                compensating=op.compensating or error is not None,
                outcome=outcome,
                attempt=op.attempt,
                trouble=error["err_message"] if error else None,
            )
            if row is None:
                raise LeaseLost(op.id)
            entered = operation_from(row)
            await self._kinds[op.kind].entered(tx, entered)
            return entered

        return await self._database.run(enter)

    async def _wait(
        self, op: Operation, lease: Lease, after: timedelta, trouble: _Trouble | None, *, message: str
    ) -> None:
        async def wait(tx: Tx) -> None:
            waiting = await tx.value(
                _WAIT,
                operation=op.id,
                fence=lease.fence,
                after=after,
                failures=op.failures + 1 if trouble else 0,
                message=message,
                attempt=op.attempt,
                trouble=trouble.what if trouble else None,
            )
            if waiting is None:
                raise LeaseLost(op.id)

        await self._database.run(wait)

    async def _finish(
        self,
        op: Operation,
        lease: Lease,
        state: State,
        *,
        data: Mapping[str, Any],
        error: Mapping[str, str] | None,
        outcome: str,
        trouble: Mapping[str, str] | None = None,
    ) -> None:
        async def finish(tx: Tx) -> None:
            row = await tx.row(
                _FINISH,
                operation=op.id,
                fence=lease.fence,
                state=state,
                data=data,
                message=error["err_message"] if error else "done",
                error=error,
                outcome=outcome,
                attempt=op.attempt,
                trouble=trouble["err_message"] if trouble else None,
            )
            if row is None:
                raise LeaseLost(op.id)
            await self._kinds[op.kind].finished(tx, operation_from(row))

        await self._database.run(finish)


def _failed(outcome: str, op: Operation, reason: str, err_message: str, component: str = "") -> _Failed:
    return _Failed(
        outcome, {"err_message": err_message, "reason": reason, "component": component or f"{op.kind}.{op.step}"}
    )
