"""Who is told of what is found by index, however many groups and applications there are."""

import pytest

from compass.director import formation_assignment, notification_constraint, notifications, runtime, runtime_context
from compass.postgres.pool import positional
from tests.plans.conftest import BIG, Planner


@pytest.mark.parametrize(
    "sql",
    [
        notifications.SHARING,
        notifications.ASSIGNED,
        notifications.PARTED,
        notifications.UNSETTLED,
        notifications.REVERSE,
        notifications.AUDIENCE,
        notification_constraint.OF_NOTIFICATIONS,
        notification_constraint.OF_ANSWER,
        formation_assignment.TAKEN,
        formation_assignment.REFUSED,
        formation_assignment.GIVEN_UP,
        formation_assignment.UNTOLD,
        formation_assignment.TOLD,
        runtime.COUNTERPARTS,
        runtime.LEAVE_GROUPS,
        runtime_context.LOCK,
        runtime_context.COUNTERPARTS,
        runtime_context.LEAVE_GROUPS,
    ],
    ids=lambda sql: sql.strip().splitlines()[0].removeprefix("-- "),
)
async def test_telling_uses_indexes(planner: Planner, sql: str) -> None:
    text, _ = positional(sql)

    explained = await planner.statement(text)

    assert explained.scanned & BIG == set()
