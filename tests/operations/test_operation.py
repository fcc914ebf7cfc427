import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from compass.errors import InvalidOperation
from compass.operations.operation import Done, Kind, Operation, OperationInProgress, Outcome, StepFailed, start, step

if TYPE_CHECKING:
    from compass.postgres.pool import Database, Tx


@step("lay_cables", timeout=timedelta(seconds=1))
async def lay_cables(_op: Operation) -> Outcome:
    return Done()


KIND = Kind("build", (lay_cables,))


async def test_a_started_operation_is_pending_in_its_first_step_and_journalled(tx: "Tx") -> None:
    seen: list[Operation] = []

    async def entered(_tx: "Tx", op: Operation) -> None:
        seen.append(op)

    subject, tenant = str(uuid4()), str(uuid4())
    operation = await start(tx, replace(KIND, entered=entered), subject, tenant=tenant, data={"size": 3})
    row = await tx.row("-- test\nSELECT state, step, message, attempts, fence, subject, tenant_id, data FROM operation")
    assert row is not None
    assert tuple(row) == ("PENDING", "lay_cables", "lay cables", 0, 0, subject, tenant, {"size": 3})
    (journal,) = await tx.rows("-- test\nSELECT operation_id, number, step, left_at FROM operation_step")
    assert tuple(journal) == (operation, 1, "lay_cables", None)
    assert [(op.id, op.subject, op.step, op.state) for op in seen] == [(operation, subject, "lay_cables", "PENDING")]


async def test_of_many_that_start_on_one_object_at_once_exactly_one_does(database: "Database") -> None:
    subject = str(uuid4())

    async def begin() -> str:
        async with database.transaction() as tx:
            return await start(tx, KIND, subject)

    results = await asyncio.gather(*[begin() for _ in range(8)], return_exceptions=True)
    assert sum(isinstance(result, OperationInProgress) for result in results) == 7
    async with database.transaction() as tx:
        assert await tx.value("-- test\nSELECT count(*) FROM operation") == 1
        assert await tx.value("-- test\nSELECT count(*) FROM operation_step") == 1


async def test_a_hook_that_refuses_takes_the_start_back_with_it(database: "Database") -> None:
    async def refuse(_tx: "Tx", _op: Operation) -> None:
        raise InvalidOperation(reason="not now")

    with pytest.raises(InvalidOperation):
        async with database.transaction() as tx:
            await start(tx, replace(KIND, entered=refuse), str(uuid4()))
    async with database.transaction() as tx:
        assert await tx.value("-- test\nSELECT count(*) FROM operation") == 0
        assert await tx.value("-- test\nSELECT count(*) FROM operation_step") == 0


def test_a_failure_without_a_sentence_is_told_by_its_reason() -> None:
    assert (StepFailed("Lost").reason, StepFailed("Lost").err_message) == ("Lost", "Lost")
    assert StepFailed("Lost", "it is gone", component="cloud").err_message == "it is gone"
