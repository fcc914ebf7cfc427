"""Membership: what it takes to be in a group, and to be out of it, for one object or many at once.

The pairs, the label that names the object's groups, the default runtimes of the applications it meets, and the
announcement change together. Whoever calls has locked the groups, then the objects; here follow the other participants,
so that two that join at once are paired. Source: contract/director.md §14.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import asyncpg

from compass.director import eventing, formation_assignment
from compass.director.constraint_operators import Target, When
from compass.director.formation_assignment import Configuration, Joined, Joining, Leaving, Left
from compass.director.formation_constraint import Member, enforce_on_members
from compass.ids import FormationId
from compass.outbox.append import append_all
from compass.outbox.events import Event
from compass.postgres.pool import Tx

# Events


@dataclass(frozen=True)
class FormationAssigned(Event):
    """A participant joined a group. `paired` are source and target of the pairs whose target is to be told."""

    formation: FormationId
    participant: str
    type: str
    paired: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class FormationUnassigned(Event):
    """A participant left a group.

    `parted` are the pairs whose target is to be told, as source, its type, target, its type: by then all of them may
    be gone.
    """

    formation: FormationId
    name: str
    participant: str
    type: str
    parted: tuple[tuple[str, ...], ...]


# Joining and leaving

_AT_ONCE: Final = 100
"""Objects that one statement pairs with the others. Pairs grow with the square of a group: of a thousand that join
there are a million, and no statement may take as long as those do."""
_Moving = TypeVar("_Moving", Joining, Leaving)

LOCK_PARTICIPANTS = """
-- membership.lock_participants
WITH member AS (
    SELECT participant AS id FROM formation_member_v1 WHERE formation_id = ANY (%(formations)s::uuid[])
), applications AS MATERIALIZED (
    SELECT id FROM application WHERE id IN (SELECT id FROM member) ORDER BY id FOR KEY SHARE
), runtimes AS MATERIALIZED (
    -- With those of the contexts, before them: whoever removes a runtime does it in that order.
    SELECT id FROM runtime WHERE id IN (
        SELECT id FROM member
        UNION ALL SELECT runtime_id FROM runtime_context WHERE id IN (SELECT id FROM member)
    )
    ORDER BY id FOR KEY SHARE
), contexts AS MATERIALIZED (
    SELECT id FROM runtime_context
    WHERE id IN (SELECT id FROM member) AND (SELECT count(*) FROM runtimes) >= 0
    ORDER BY id FOR KEY SHARE
)
SELECT (SELECT array_agg(id) FROM applications) AS applications, (SELECT array_agg(id) FROM runtimes) AS runtimes,
    (SELECT array_agg(id) FROM contexts) AS contexts
"""
_LABEL: Final = """
WITH groups AS (
    SELECT self.participant AS id, jsonb_agg(DISTINCT formation.name) AS names
    FROM formation_member_v1 self JOIN formation ON formation.id = self.formation_id
    WHERE self.participant = ANY (%(members)s::uuid[])
    GROUP BY self.participant
), written AS (
    INSERT INTO {noun}_label ({noun}_id, key, value) SELECT id, 'scenarios', names FROM groups
    ON CONFLICT ({noun}_id, key) DO UPDATE SET value = excluded.value
)
DELETE FROM {noun}_label
WHERE {noun}_id = ANY (%(members)s::uuid[]) AND key = 'scenarios' AND {noun}_id NOT IN (SELECT id FROM groups)
"""
LABEL_APPLICATIONS = f"""
-- membership.label_applications
{_LABEL.format(noun="application")}"""
LABEL_RUNTIMES = f"""
-- membership.label_runtimes
{_LABEL.format(noun="runtime")}"""
LABEL_RUNTIME_CONTEXTS = f"""
-- membership.label_runtime_contexts
{_LABEL.format(noun="runtime_context")}"""


async def join(tx: Tx, joining: Sequence[Joining], *, initial: Sequence[Configuration] = ()) -> list[Joined]:
    """Make objects participants, paired with all others of their groups. Safe to repeat.

    Seven statements, and one for each kind of object and each further hundred of them; three when all were in before.
    Raises Refused (a constraint). Emits FormationAssigned for each that was not.
    """
    others = await _lock_participants(tx, {entry.formation for entry in joining})
    asked = [Member(entry.formation, entry.id, entry.type) for entry in joining]
    await enforce_on_members(tx, When.PRE, Target.ASSIGN_FORMATION, asked)
    joined = [
        entry for some in _in_turn(joining) for entry in await formation_assignment.join(tx, some, initial=initial)
    ]
    new = [entry for entry in joined if entry.is_new]
    if new:
        await settle(tx, [(entry.member, entry.type) for entry in new], others["applications"] or ())
        done = [Member(entry.formation, entry.member, entry.type) for entry in new]
        await enforce_on_members(tx, When.POST, Target.ASSIGN_FORMATION, done)
        await append_all(
            tx,
            [FormationAssigned(entry.tenant, entry.formation, entry.member, entry.type, entry.paired) for entry in new],
        )
    return joined


async def leave(tx: Tx, leaving: Sequence[Leaving]) -> list[Left]:
    """Take objects out of groups and answer for those that were in. Safe to repeat. As many statements as joining.

    Raises Refused (a constraint). Emits FormationUnassigned for each that was in.
    """
    others = await _lock_participants(tx, {entry.formation for entry in leaving})
    asked = [Member(entry.formation, entry.id) for entry in leaving]
    await enforce_on_members(tx, When.PRE, Target.UNASSIGN_FORMATION, asked)
    left = [entry for some in _in_turn(leaving) for entry in await formation_assignment.leave(tx, some)]
    if left:
        await settle(tx, [(entry.member, entry.type) for entry in left], others["applications"] or ())
        done = [Member(entry.formation, entry.member, entry.type) for entry in left]
        await enforce_on_members(tx, When.POST, Target.UNASSIGN_FORMATION, done)
        await append_all(
            tx,
            [
                FormationUnassigned(entry.tenant, entry.formation, entry.name, entry.member, entry.type, entry.parted)
                for entry in left
            ],
        )
    return left


def _in_turn(members: Sequence[_Moving]) -> list[Sequence[_Moving]]:
    return [members[start : start + _AT_ONCE] for start in range(0, len(members), _AT_ONCE)]


async def _lock_participants(tx: Tx, formations: Iterable[FormationId]) -> asyncpg.Record:
    others = await tx.row(LOCK_PARTICIPANTS, formations=sorted(formations))
    if others is None:
        raise AssertionError("a SELECT without FROM always has a row")
    return others


async def settle(tx: Tx, members: Sequence[tuple[str, str]], others: Sequence[str]) -> None:
    """Write the labels of those that joined or left, by id and kind, and the default runtimes that change with them.

    `others`: the applications of their groups. A statement for each kind, and two.
    """
    applications = _of_kind(members, "APPLICATION")
    runtimes = _of_kind(members, "RUNTIME")
    contexts = _of_kind(members, "RUNTIME_CONTEXT")
    if applications:
        await tx.run(LABEL_APPLICATIONS, members=applications)
    if runtimes:
        await tx.run(LABEL_RUNTIMES, members=runtimes)
        applications += others
    if contexts:  # nobody's default
        await tx.run(LABEL_RUNTIME_CONTEXTS, members=contexts)
    await eventing.settle(tx, applications)


def _of_kind(members: Sequence[tuple[str, str]], kind: str) -> list[str]:
    return sorted({member for member, its_kind in members if its_kind == kind})
