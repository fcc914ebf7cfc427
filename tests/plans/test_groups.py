"""What it takes to join and leave groups finds its rows by index, however many groups there are."""

import pytest

from compass.director import (
    automatic_scenario_assignment,
    constraint_operators,
    formation_assignment,
    formation_constraint,
    membership,
)
from compass.postgres.pool import positional
from tests.plans.conftest import BIG, Planner


@pytest.mark.parametrize(
    "sql",
    [
        formation_assignment.JOIN,
        formation_assignment.LEAVE,
        membership.LOCK_PARTICIPANTS,
        membership.LABEL_APPLICATIONS,
        membership.LABEL_RUNTIMES,
        membership.LABEL_RUNTIME_CONTEXTS,
        automatic_scenario_assignment.LOCK_COVERED,
        automatic_scenario_assignment.LOCK_COVERING,
        automatic_scenario_assignment.LOCK_CAUSED,
        automatic_scenario_assignment.HOLD,
        automatic_scenario_assignment.RELEASE,
        automatic_scenario_assignment.DELETE,
        formation_constraint.OF_MEMBERS,
        formation_constraint.OF_GROUP,
        constraint_operators.IN_ANOTHER,
        constraint_operators.ANOTHER,
        constraint_operators.CONTAINS,
        constraint_operators.HAS_SCENARIO_GROUP,
    ],
    ids=lambda sql: sql.strip().splitlines()[0].removeprefix("-- "),
)
async def test_joining_and_leaving_uses_indexes(planner: Planner, sql: str) -> None:
    text, _ = positional(sql)

    explained = await planner.statement(text)

    assert explained.scanned & BIG == set()
