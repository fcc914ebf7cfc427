"""Operations: work of many steps on one object, which goes on where it stopped whatever dies.

A step is asked once and answers at once: go on, ask again later, done, or failed. Waiting, time limits, retries,
restart and compensation belong to the engine. A step may be called again after its effect took place and before its
answer was recorded, so each step must be safe to repeat; `Operation.id` together with the step's name is a good
idempotency key.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from compass.errors import Code, CompassError
from compass.ids import OperationId
from compass.postgres.pool import Tx

CHANNEL: Final = "operation"
"""Notified when an operation was started. A hint: workers also look by themselves."""


class State(StrEnum):
    """Where an operation stands. The last two are final."""

    PENDING = "PENDING"
    IN_PROGRESS = "IN_PROGRESS"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


class OperationInProgress(CompassError):
    """Another operation on the same object is not finished; wait for it."""

    code = Code.CONCURRENT_OPERATION
    message = "another operation on this object is in progress"


class StepFailed(Exception):
    """Raised by a step: the operation cannot succeed any more, and why.

    `reason` is a short name for programs, `err_message` a sentence for people (the reason, if there is none),
    `component` what failed. Any other exception a step raises is taken as passing: the step is tried again until its
    time is up.
    """

    def __init__(self, reason: str, err_message: str = "", *, component: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.err_message = err_message or reason
        self.component = component


@dataclass(frozen=True)
class Operation:
    """An operation as a step or a hook sees it. What it shows was true when the step was entered or asked."""

    id: OperationId
    tenant: str | None
    kind: str
    subject: str
    """The UUID of the object worked on."""
    state: State
    step: str
    data: Mapping[str, Any]
    """What was given at the start and what steps have found out so far."""
    attempt: int
    """The number of this call of the step, 1 for the first; counted before the call."""
    failures: int
    """Unexpected errors in a row in this step so far."""
    in_step: timedelta
    """How long the operation has been in this step, by the database's clock."""
    age: timedelta
    """How long ago the operation began, by the database's clock."""
    error: Mapping[str, str] | None
    """Why it fails or failed. A compensating step finds the cause here."""
    compensating: bool


class Go:
    """The step is over; `next` follows. `data` is added to what is known."""

    def __init__(self, next: "Step", /, **data: Any) -> None:  # noqa: A002 — it reads as the sentence it is
        self.next = next
        self.data = data


@dataclass(frozen=True)
class Again:
    """Nothing to report yet; ask the same step again after this long."""

    after: timedelta


class Done:
    """The operation is over and succeeded; in a compensation, what could be undone is undone."""

    def __init__(self, **data: Any) -> None:
        self.data = data


Outcome = Go | Again | Done


@dataclass(frozen=True, eq=False)
class Step:
    """A step by name. Made with `@step`."""

    name: str
    run: Callable[..., Awaitable[Outcome]]
    timeout: timedelta
    """From entering the step. It is asked at least once more after it, so that a pause of the plane fails nothing."""
    message: str
    """What is shown while the operation is in this step."""
    on_failure: "Step | None"


def step(
    name: str, *, timeout: timedelta, message: str = "", on_failure: Step | None = None
) -> Callable[[Callable[..., Awaitable[Outcome]]], Step]:
    """Make a step of `async def f(op: Operation, part: SomePart, …) -> Outcome`.

    Parts are found by the type of the parameter. `on_failure` is entered when this step fails, before the operation
    is recorded as failed; without it, that of the kind.
    """

    def make(run: Callable[..., Awaitable[Outcome]]) -> Step:
        return Step(name, run, timeout, message or name.replace("_", " "), on_failure)

    return make


Hook = Callable[[Tx, Operation], Awaitable[None]]
"""Called inside the transaction that records the change, so a domain can announce it there or refuse to commit it."""


async def announce_nothing(_tx: Tx, _op: Operation) -> None:
    """Nothing is announced."""


@dataclass(frozen=True, eq=False)
class Kind:
    """A kind of operation: its steps, the first of them first."""

    name: str
    steps: tuple[Step, ...]
    """All that can be reached, compensating ones included. A running operation knows its step by name, so a name may
    not disappear while an operation of an older release may be in it."""
    on_failure: Step | None = None
    """Entered when a step fails that names no other."""
    entered: Hook = announce_nothing
    """A step was entered."""
    finished: Hook = announce_nothing
    """The operation succeeded or failed for good."""


OPERATION_COLUMNS: Final = """
    operation.id, tenant_id, kind, subject, state, operation.step, data, operation.attempts, failures, error,
    compensating, clock_timestamp() - step_started_at AS in_step, clock_timestamp() - created_at AS age
"""


def operation_from(row: Any) -> Operation:
    """The operation in a row of `OPERATION_COLUMNS`."""
    return Operation(
        id=OperationId(row["id"]),
        tenant=row["tenant_id"],
        kind=row["kind"],
        subject=row["subject"],
        state=State(row["state"]),
        step=row["step"],
        data=row["data"],
        attempt=row["attempts"],
        failures=row["failures"],
        in_step=row["in_step"],
        age=row["age"],
        error=row["error"],
        compensating=row["compensating"],
    )


_START: Final = f"""
-- operation.start
WITH operation AS (
    INSERT INTO operation (tenant_id, kind, subject, step, data, message)
    VALUES (%(tenant)s, %(kind)s, %(subject)s, %(step)s, %(data)s, %(message)s)
    ON CONFLICT (subject) WHERE finished_at IS NULL DO NOTHING
    RETURNING *
), entered AS (
    INSERT INTO operation_step (operation_id, number, step, entered_at)
    SELECT id, 1, step, step_started_at FROM operation
), heard AS (
    SELECT pg_notify(%(channel)s, '')
)
SELECT {OPERATION_COLUMNS} FROM operation, heard
"""


async def start(
    tx: Tx, kind: Kind, subject: str, *, tenant: str | None = None, data: Mapping[str, Any] | None = None
) -> OperationId:
    """Begin an operation when the transaction commits.

    One statement, and the kind's `entered` hook. Raises OperationInProgress when one on the same subject is unfinished.
    """
    first = kind.steps[0]
    row = await tx.row(
        _START,
        tenant=tenant,
        kind=kind.name,
        subject=subject,
        step=first.name,
        data=dict(data or {}),
        message=first.message,
        channel=CHANNEL,
    )
    if row is None:
        raise OperationInProgress(subject=subject)
    op = operation_from(row)
    await kind.entered(tx, op)
    return op.id


_RETRY: Final = f"""
-- operation.retry
WITH operation AS (
    UPDATE operation AS failed
    SET state = 'PENDING', step = CASE WHEN compensating THEN %(first)s ELSE step END,
        step_started_at = clock_timestamp(), data = data - %(forgotten)s::text[], message = %(message)s,
        error = NULL, compensating = false, attempts = 0, failures = 0, abandoned = 0,
        next_at = clock_timestamp(), finished_at = NULL
    WHERE id = %(operation)s AND kind = %(kind)s AND state = 'FAILED' AND NOT EXISTS (
        SELECT FROM operation other WHERE other.subject = failed.subject AND other.finished_at IS NULL
    )
    RETURNING *
), entered AS (
    INSERT INTO operation_step (operation_id, number, step, entered_at)
    SELECT id, (SELECT max(number) FROM operation_step WHERE operation_id = id) + 1, step, step_started_at
    FROM operation
), heard AS (
    SELECT pg_notify(%(channel)s, '')
)
SELECT {OPERATION_COLUMNS} FROM operation, heard
"""


async def retry(tx: Tx, kind: Kind, operation: OperationId, *, forgotten: Sequence[str] = ()) -> None:
    """Take a failed operation up again when the transaction commits, at the step that failed.

    One whose failure was compensated begins anew: what it had done is undone. Its journal goes on, so the cause stays
    readable there. Of what steps have found out, `forgotten` is not kept. One statement, and the kind's `entered` hook.
    Raises OperationInProgress when it has not failed, or another one on the same subject is unfinished.
    """
    row = await tx.row(
        _RETRY,
        operation=operation,
        kind=kind.name,
        first=kind.steps[0].name,
        forgotten=list(forgotten),
        message="will be tried again",
        channel=CHANNEL,
    )
    if row is None:
        raise OperationInProgress(operation=operation)
    await kind.entered(tx, operation_from(row))
