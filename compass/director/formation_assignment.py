"""Formation assignments: every ordered pair of the participants of a group, and how far it is.

`source` is what the pair is about, `target` whose webhook is told. The pair of a participant with itself is its
membership: it comes and goes with the assignment itself, never with a notification. A pair of an application and a
runtime whose target has a webhook is INITIAL until the target knows, and DELETING until it knows of the end; nobody
else's configuration shows it meanwhile. Source: contract/director.md §14.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

from compass.ids import FormationId
from compass.postgres.pool import Tx
from compass.reads.plan import Field, One, OneOf, Read, timestamp


class State(StrEnum):
    """Where a pair stands."""

    INITIAL = "INITIAL"
    READY = "READY"
    CONFIG_PENDING = "CONFIG_PENDING"
    CREATE_ERROR = "CREATE_ERROR"
    DELETING = "DELETING"
    DELETE_ERROR = "DELETE_ERROR"


BEGINNING: Final = (State.INITIAL, State.CONFIG_PENDING, State.CREATE_ERROR)
"""What a notification of a beginning decides about. Said with every outcome: a pair may turn round as it comes in."""
ENDING: Final = (State.DELETING, State.DELETE_ERROR)
"""The same for a notification of an end."""
TECHNICAL: Final = 1
"""The error code of a call that did not come to an answer one can use."""
CLIENT: Final = 2
"""The error code of a receiver that says itself what is wrong."""

# How it is read


def _participant(which: str) -> OneOf:
    return OneOf(
        f"{{t}}.{which}_type",
        {
            "APPLICATION": One(
                "Application",
                source="application_tenant access JOIN application {c} ON {c}.id = access.application_id",
                on=f"access.tenant_id = {{tenant}} AND access.application_id = {{t}}.{which}",
            ),
            "RUNTIME": One(
                "Runtime",
                source="runtime_tenant access JOIN runtime {c} ON {c}.id = access.runtime_id",
                on=f"access.tenant_id = {{tenant}} AND access.runtime_id = {{t}}.{which}",
            ),
        },
    )


_FIELDS: Final[Mapping[str, Field]] = {
    "id": "id",
    "source": "source",
    "sourceType": "source_type",
    "sourceEntity": _participant("source"),
    "target": "target",
    "targetType": "target_type",
    "targetEntity": _participant("target"),
    "state": "state",
    "value": "coalesce({t}.error, {t}.configuration)",
    "configuration": "configuration",
    "error": "error",
    "lastStateChangeTimestamp": timestamp("last_state_change_timestamp"),
    "lastNotificationSentTimestamp": timestamp("last_notification_sent_timestamp"),
}
FORMATION_ASSIGNMENT = Read("FormationAssignment", table="formation_assignment", fields=_FIELDS)
READS = (FORMATION_ASSIGNMENT,)

# Joining and leaving a group

_TOLD: Final = """
    (pair.source_type = 'RUNTIME' AND pair.target_type = 'APPLICATION' AND EXISTS (
        SELECT FROM webhook WHERE webhook.application_id = pair.target AND webhook.type = 'CONFIGURATION_CHANGED'
    ) OR pair.source_type = 'APPLICATION' AND pair.target_type = 'RUNTIME' AND EXISTS (
        SELECT FROM webhook WHERE webhook.runtime_id = pair.target AND webhook.type = 'CONFIGURATION_CHANGED'
    ))
"""
JOIN: Final = f"""
-- formation_assignment.join
WITH member AS (
    SELECT source AS id, source_type AS type FROM formation_assignment
    WHERE formation_id = %(formation)s AND source = target AND source <> %(object)s
), pair AS (
    SELECT %(object)s::uuid AS source, %(type)s::text AS source_type, %(object)s::uuid AS target,
        %(type)s::text AS target_type
    UNION ALL SELECT %(object)s, %(type)s, id, type FROM member
    UNION ALL SELECT id, type, %(object)s, %(type)s FROM member
), initial AS (
    SELECT * FROM jsonb_to_recordset(%(initial)s) AS (source text, target text, configuration text)
), joined AS (
    INSERT INTO formation_assignment AS old (
        formation_id, source, source_type, target, target_type, state, configuration, last_state_change_timestamp
    )
    SELECT %(formation)s, pair.source, pair.source_type, pair.target, pair.target_type,
        CASE WHEN {_TOLD} THEN 'INITIAL' ELSE 'READY' END, initial.configuration, now()
    FROM pair LEFT JOIN initial ON initial.source = pair.source::text AND initial.target = pair.target::text
    -- Left a moment ago, and not everybody knows yet.
    ON CONFLICT (formation_id, source, target) DO UPDATE SET
        state = excluded.state, configuration = excluded.configuration, error = NULL,
        last_state_change_timestamp = now()
    WHERE old.state IN ('DELETING', 'DELETE_ERROR')
    RETURNING id, source, source_type, target, target_type, state
), forgotten AS (
    DELETE FROM formation_assignment_delivery WHERE formation_assignment_id IN (SELECT id FROM joined)
)
SELECT EXISTS (SELECT FROM joined WHERE source = target) AS joined,
    (SELECT count(*) FROM initial
     JOIN pair ON initial.source = pair.source::text AND initial.target = pair.target::text) AS placed,
    (SELECT coalesce(jsonb_agg(DISTINCT CASE source_type
            WHEN 'APPLICATION' THEN jsonb_build_array(source, target) ELSE jsonb_build_array(target, source) END), '[]')
     FROM joined WHERE state = 'INITIAL') AS paired
"""
LEAVE: Final = f"""
-- formation_assignment.leave
WITH pair AS (
    SELECT id, source, source_type, target, target_type, state FROM formation_assignment
    WHERE formation_id = %(formation)s AND (source = %(object)s OR target = %(object)s)
        AND EXISTS (
            SELECT FROM formation_assignment self
            WHERE self.formation_id = %(formation)s AND self.source = %(object)s AND self.target = %(object)s
        )
), ending AS (
    SELECT pair.*, {_TOLD} AS told FROM pair WHERE state NOT IN ('DELETING', 'DELETE_ERROR')
), left_at_once AS (
    DELETE FROM formation_assignment WHERE id IN (SELECT id FROM ending WHERE NOT told)
), left_later AS (
    UPDATE formation_assignment
    SET state = 'DELETING', configuration = NULL, error = NULL, last_state_change_timestamp = now()
    WHERE id IN (SELECT id FROM ending WHERE told)
), forgotten AS (
    DELETE FROM formation_assignment_delivery WHERE formation_assignment_id IN (SELECT id FROM ending)
)
SELECT DISTINCT source = target AS self, told,
    CASE source_type WHEN 'APPLICATION' THEN source ELSE target END AS application,
    CASE source_type WHEN 'RUNTIME' THEN source ELSE target END AS runtime
FROM ending
"""
RESET: Final = """
-- formation_assignment.reset
WITH reset AS (
    UPDATE formation_assignment
    SET state = 'INITIAL', configuration = NULL, error = NULL, last_state_change_timestamp = now()
    WHERE formation_id = %(formation)s AND state NOT IN ('DELETING', 'DELETE_ERROR')
    RETURNING id
)
DELETE FROM formation_assignment_delivery WHERE formation_assignment_id IN (SELECT id FROM reset)
"""


@dataclass(frozen=True)
class Configuration:
    """What one participant is configured with towards another before it was ever asked."""

    source: str
    target: str
    configuration: str


@dataclass(frozen=True)
class Joined:
    """What became of an assignment."""

    is_new: bool
    placed: int
    """How many of the given configurations found their pair."""
    paired: tuple[tuple[str, str], ...]
    """Pairs of application and runtime in which somebody has to be told."""


@dataclass(frozen=True)
class Left:
    """What became of a removal."""

    was_member: bool
    parted: tuple[tuple[str, str], ...]
    """Pairs of application and runtime in which somebody has to be told."""


async def join(
    tx: Tx, formation: FormationId, *, member: str, kind: str, initial: Sequence[Configuration] = ()
) -> Joined:
    """Pair the object with itself and, in both directions, with every participant. Safe to repeat. One statement."""
    row = await tx.row(JOIN, formation=formation, object=member, type=kind, initial=[vars(entry) for entry in initial])
    if row is None:
        raise AssertionError("a SELECT without FROM always has a row")
    paired = tuple((application, runtime) for application, runtime in row["paired"])
    return Joined(row["joined"], row["placed"], paired)


async def leave(tx: Tx, formation: FormationId, *, member: str) -> Left:
    """End the object's membership and its pairs, or mark those DELETING whose target has to be told. One statement."""
    rows = await tx.rows(LEAVE, formation=formation, object=member)
    parted = tuple(sorted({(row["application"], row["runtime"]) for row in rows if row["told"]}))
    return Left(any(row["self"] for row in rows), parted)


async def reset(tx: Tx, formation: FormationId) -> None:
    """Have every pair begin anew; what was configured is forgotten. One statement."""
    await tx.run(RESET, formation=formation)


# What notifications do to pairs

TAKEN: Final = """
-- formation_assignment.taken
WITH mine AS (
    SELECT formation_assignment_id AS id FROM formation_assignment_delivery WHERE delivery_id = %(delivery)s
), settled AS (
    -- With the earlier ones of the same webhook: what came after them repairs what they failed at.
    DELETE FROM formation_assignment_delivery link USING delivery
    WHERE delivery.id = link.delivery_id AND delivery.receiver = %(receiver)s AND delivery.sequence <= %(sequence)s
        AND link.formation_assignment_id IN (SELECT id FROM mine)
    RETURNING link.delivery_id, link.formation_assignment_id
), done AS (
    SELECT id FROM mine WHERE NOT EXISTS (
        SELECT FROM formation_assignment_delivery other
        WHERE other.formation_assignment_id = mine.id
            AND (other.delivery_id, other.formation_assignment_id) NOT IN (SELECT * FROM settled)
    )
), removed AS (
    DELETE FROM formation_assignment
    WHERE id IN (SELECT id FROM done) AND state = ANY (%(among)s::text[]) AND state IN ('DELETING', 'DELETE_ERROR')
        AND %(state)s::text = 'READY'
)
UPDATE formation_assignment
SET state = %(state)s, error = NULL, configuration = coalesce(%(configuration)s, configuration),
    last_state_change_timestamp = now()
WHERE id IN (SELECT id FROM done) AND state = ANY (%(among)s::text[])
    AND state IN ('INITIAL', 'CONFIG_PENDING', 'CREATE_ERROR')
"""
REFUSED: Final = """
-- formation_assignment.refused
WITH mine AS (
    SELECT formation_assignment_id AS id FROM formation_assignment_delivery WHERE delivery_id = %(delivery)s
), closed AS (
    DELETE FROM formation_assignment_delivery WHERE delivery_id = %(delivery)s AND %(answered)s::boolean
)
UPDATE formation_assignment
SET state = CASE WHEN state IN ('DELETING', 'DELETE_ERROR') THEN 'DELETE_ERROR' ELSE 'CREATE_ERROR' END,
    error = %(error)s,
    last_state_change_timestamp = CASE WHEN state LIKE '%_ERROR' THEN last_state_change_timestamp ELSE now() END
WHERE id IN (SELECT id FROM mine) AND state = ANY (%(among)s::text[])
"""
WAITING: Final = """
-- formation_assignment.waiting
DELETE FROM formation_assignment_delivery WHERE delivery_id = %(delivery)s
"""
GIVEN_UP: Final = """
-- formation_assignment.given_up
UPDATE formation_assignment
SET state = CASE state WHEN 'DELETING' THEN 'DELETE_ERROR' ELSE 'CREATE_ERROR' END,
    error = coalesce(error, %(error)s), last_state_change_timestamp = now()
WHERE id IN (SELECT formation_assignment_id FROM formation_assignment_delivery WHERE delivery_id = %(delivery)s)
    AND state = ANY (%(among)s::text[]) AND state IN ('INITIAL', 'DELETING')
"""
UNTOLD: Final = """
-- formation_assignment.untold
WITH removed AS (
    DELETE FROM formation_assignment WHERE id = ANY (%(ids)s::uuid[]) AND state IN ('DELETING', 'DELETE_ERROR')
)
UPDATE formation_assignment SET state = 'READY', error = NULL, last_state_change_timestamp = now()
WHERE id = ANY (%(ids)s::uuid[]) AND state IN ('INITIAL', 'CREATE_ERROR')
"""
TOLD: Final = """
-- formation_assignment.told
WITH told AS (
    SELECT * FROM jsonb_to_recordset(%(links)s) AS (delivery uuid, assignment uuid, awaited boolean)
), present AS (
    -- Locked, because it may be leaving at this moment.
    SELECT id FROM formation_assignment WHERE id IN (SELECT assignment FROM told) ORDER BY id FOR NO KEY UPDATE
), linked AS (
    INSERT INTO formation_assignment_delivery (delivery_id, formation_assignment_id)
    SELECT told.delivery, present.id FROM told JOIN present ON present.id = told.assignment WHERE told.awaited
)
UPDATE formation_assignment SET last_notification_sent_timestamp = now() WHERE id IN (SELECT id FROM present)
"""


async def taken(
    tx: Tx,
    delivery: str,
    among: Sequence[State],
    *,
    receiver: str,
    sequence: int,
    state: State = State.READY,
    configuration: str | None = None,
) -> None:
    """The target took a notification: its pairs become `state`, or end when READY was said of an end. One statement.

    Nothing changes as long as another notification about the same pair is on its way to another webhook.
    """
    await tx.run(
        TAKEN,
        delivery=delivery,
        among=list(among),
        receiver=receiver,
        sequence=sequence,
        state=state,
        configuration=configuration,
    )


async def refused(tx: Tx, delivery: str, among: Sequence[State], *, message: str, code: int, answered: bool) -> None:
    """A notification failed; its pairs are in error until one is taken. One statement.

    `answered`: the target took it and said no, so nothing more comes of this one.
    """
    error = orjson.dumps({"error": {"message": message, "errorCode": code}}).decode()
    await tx.run(REFUSED, delivery=delivery, among=list(among), error=error, answered=answered)


async def given_up(tx: Tx, delivery: str, among: Sequence[State]) -> None:
    """A notification is tried no more; what still waited for it is in error. One statement."""
    error = orjson.dumps({"error": {"message": "the notification was given up", "errorCode": TECHNICAL}}).decode()
    await tx.run(GIVEN_UP, delivery=delivery, among=list(among), error=error)


async def waiting(tx: Tx, delivery: str) -> None:
    """The target took a notification and will report by itself; its pairs stay as they are. One statement."""
    await tx.run(WAITING, delivery=delivery)


async def untold(tx: Tx, assignments: Sequence[str]) -> None:
    """Nobody has to be told: what waits to begin is READY, what waits to end is gone. One statement."""
    if assignments:
        await tx.run(UNTOLD, ids=list(assignments))


async def told(tx: Tx, links: Sequence[Mapping[str, Any]]) -> None:
    """Note which delivery speaks of which assignment, and whether its outcome decides the state. One statement."""
    if links:
        await tx.run(TOLD, links=[dict(link) for link in links])
