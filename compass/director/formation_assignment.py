"""Formation assignments: every ordered pair of the participants of a group, and how far it is.

`source` is what the pair is about, `target` whose webhook is told. The pair of a participant with itself is its
membership: it comes and goes with the assignment itself, never with a notification. A pair of an application and a
runtime whose target has a webhook is INITIAL until the target knows, and DELETING until it knows of the end; nobody
else's configuration shows it meanwhile. A configuration that the target answers or reports is news for the source: it
is told in the pair of the other direction. Source: contract/director.md §14.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

from compass.delivery.attempt import storable
from compass.ids import FormationId, TenantId
from compass.outbox.append import append
from compass.outbox.events import Event
from compass.postgres.pool import Tx
from compass.reads.plan import Field, One, OneOf, Page, Read, timestamp


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
REPORTED: Final[Mapping[tuple[bool, str], State]] = {
    (False, "READY"): State.READY,
    (False, "CREATE_READY"): State.READY,
    (False, "CONFIG_PENDING"): State.CONFIG_PENDING,
    (False, "CREATE_ERROR"): State.CREATE_ERROR,
    (True, "READY"): State.READY,
    (True, "DELETE_READY"): State.READY,
    (True, "DELETE_ERROR"): State.DELETE_ERROR,
}
"""What a participant may say itself, at an end and otherwise, and what it comes to."""
TECHNICAL: Final = 1
"""The error code of a call that did not come to an answer one can use."""
CLIENT: Final = 2
"""The error code of a receiver that says itself what is wrong."""

DEEPEST_EXCHANGE: Final = 10
"""So many configurations, each the answer to the one before, are passed on; then the two sides will not agree by
themselves. Source: contract/director.md §14."""
_LONGEST_MESSAGE_BYTES: Final = 1024

# Events


@dataclass(frozen=True)
class ConfigurationReceived(Event):
    """The target of a pair has a new configuration for its source, which is to be told."""

    assignment: str
    depth: int
    """How many configurations, each the answer to the one before, led to this one, itself included."""


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
    "assignmentOperations": Page(
        "AssignmentOperation", on="{c}.formation_assignment_id = {t}.id", order="{c}.sequence"
    ),
}
FORMATION_ASSIGNMENT = Read("FormationAssignment", table="formation_assignment", fields=_FIELDS)
ASSIGNMENT_OPERATION = Read(
    "AssignmentOperation",
    table="assignment_operation",
    fields={
        "id": "id",
        "operationType": "type",
        "formationAssignmentID": "formation_assignment_id",
        "formationID": "formation_id",
        "triggeredBy": "triggered_by",
        "startedAtTimestamp": timestamp("started_at"),
        "finishedAtTimestamp": timestamp("finished_at"),
    },
)
READS = (FORMATION_ASSIGNMENT, ASSIGNMENT_OPERATION)

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
        CASE WHEN %(waits)s::boolean OR {_TOLD} THEN 'INITIAL' ELSE 'READY' END, initial.configuration, now()
    FROM pair LEFT JOIN initial ON initial.source = pair.source::text AND initial.target = pair.target::text
    -- Left a moment ago, and not everybody knows yet.
    ON CONFLICT (formation_id, source, target) DO UPDATE SET
        state = excluded.state, configuration = excluded.configuration, error = NULL, reported = NULL,
        attempt = old.attempt + 1, last_state_change_timestamp = now()
    WHERE old.state IN ('DELETING', 'DELETE_ERROR')
    RETURNING id, source, source_type, target, target_type, state
), begun AS (
    INSERT INTO assignment_operation (formation_assignment_id, formation_id, type, triggered_by, finished_at)
    SELECT id, %(formation)s, 'ASSIGN', 'ASSIGN_OBJECT', CASE state WHEN 'READY' THEN now() END FROM joined
), forgotten AS (
    DELETE FROM formation_assignment_delivery WHERE formation_assignment_id IN (SELECT id FROM joined)
)
SELECT EXISTS (SELECT FROM joined WHERE source = target) AS joined,
    (SELECT count(*) FROM initial
     JOIN pair ON initial.source = pair.source::text AND initial.target = pair.target::text) AS placed,
    (SELECT coalesce(jsonb_agg(DISTINCT CASE source_type
            WHEN 'APPLICATION' THEN jsonb_build_array(source, target) ELSE jsonb_build_array(target, source) END), '[]')
     -- In a draft nobody is told yet.
     FROM joined WHERE state = 'INITIAL' AND NOT %(waits)s::boolean) AS paired
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
    SELECT pair.*, {_TOLD} AND NOT %(silently)s::boolean AS told FROM pair
    WHERE state NOT IN ('DELETING', 'DELETE_ERROR')
), left_at_once AS (
    DELETE FROM formation_assignment WHERE id IN (SELECT id FROM ending WHERE NOT told)
), left_later AS (
    UPDATE formation_assignment
    SET state = 'DELETING', configuration = NULL, error = NULL, reported = NULL, attempt = attempt + 1,
        last_state_change_timestamp = now()
    WHERE id IN (SELECT id FROM ending WHERE told)
), begun AS (
    INSERT INTO assignment_operation (formation_assignment_id, formation_id, type, triggered_by)
    SELECT id, %(formation)s, 'UNASSIGN', 'UNASSIGN_OBJECT' FROM ending WHERE told
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
    SET state = 'INITIAL', configuration = NULL, error = NULL, reported = NULL, attempt = attempt + 1,
        last_state_change_timestamp = now()
    WHERE formation_id = %(formation)s AND state NOT IN ('DELETING', 'DELETE_ERROR')
    RETURNING id
), begun AS (
    INSERT INTO assignment_operation (formation_assignment_id, formation_id, type, triggered_by)
    SELECT id, %(formation)s, 'ASSIGN', 'RESET' FROM reset
)
DELETE FROM formation_assignment_delivery WHERE formation_assignment_id IN (SELECT id FROM reset)
"""
RESYNCHRONIZED: Final = """
-- formation_assignment.resynchronized
UPDATE assignment_operation SET triggered_by = 'RESYNC', started_at = now()
WHERE finished_at IS NULL AND formation_assignment_id IN (
    SELECT id FROM formation_assignment
    WHERE formation_id = %(formation)s AND state IN ('INITIAL', 'CREATE_ERROR', 'DELETING', 'DELETE_ERROR')
)
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
    tx: Tx,
    formation: FormationId,
    *,
    member: str,
    kind: str,
    initial: Sequence[Configuration] = (),
    waits: bool = False,
) -> Joined:
    """Pair the object with itself and, in both directions, with every participant. Safe to repeat. One statement.

    `waits`: the group is a draft; every pair is INITIAL until it is finalized.
    """
    given = [vars(entry) for entry in initial]
    row = await tx.row(JOIN, formation=formation, object=member, type=kind, initial=given, waits=waits)
    if row is None:
        raise AssertionError("a SELECT without FROM always has a row")
    paired = tuple((application, runtime) for application, runtime in row["paired"])
    return Joined(row["joined"], row["placed"], paired)


async def leave(tx: Tx, formation: FormationId, *, member: str, silently: bool = False) -> Left:
    """End the object's membership and its pairs, or mark those DELETING whose target has to be told. One statement.

    `silently`: the group is a draft, of whose beginning nobody was told either.
    """
    rows = await tx.rows(LEAVE, formation=formation, object=member, silently=silently)
    parted = tuple(sorted({(row["application"], row["runtime"]) for row in rows if row["told"]}))
    return Left(any(row["self"] for row in rows), parted)


async def reset(tx: Tx, formation: FormationId) -> None:
    """Have every pair begin anew; what was configured is forgotten. One statement."""
    await tx.run(RESET, formation=formation)


async def resynchronized(tx: Tx, formation: FormationId) -> None:
    """Note that what is under way in the group is told anew because somebody asked for it. One statement."""
    await tx.run(RESYNCHRONIZED, formation=formation)


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
), before AS (
    -- Locked first: whether the configuration is news must not be older than the lock.
    SELECT id, configuration FROM formation_assignment
    WHERE id IN (SELECT id FROM mine) AND state = ANY (%(among)s::text[])
        AND state IN ('INITIAL', 'CONFIG_PENDING', 'CREATE_ERROR')
    ORDER BY id FOR NO KEY UPDATE
), decided AS (
    UPDATE formation_assignment pair SET
        state = CASE WHEN is_done.id IS NULL THEN pair.state ELSE %(state)s END,
        error = CASE WHEN is_done.id IS NULL THEN pair.error END,
        -- Kept also while another webhook of the target has not answered yet.
        configuration = coalesce(%(configuration)s, pair.configuration),
        last_state_change_timestamp = CASE WHEN is_done.id IS NULL
            THEN pair.last_state_change_timestamp ELSE now() END
    FROM before LEFT JOIN done is_done ON is_done.id = before.id
    WHERE pair.id = before.id
    RETURNING pair.id, pair.formation_id, pair.exchange_depth, pair.state,
        before.configuration IS DISTINCT FROM pair.configuration AS is_news
), finished AS (
    UPDATE assignment_operation SET finished_at = now()
    WHERE finished_at IS NULL AND type = 'ASSIGN'
        AND formation_assignment_id IN (SELECT id FROM decided WHERE state = 'READY')
)
SELECT decided.id, decided.exchange_depth, formation.tenant_id
FROM decided JOIN formation ON formation.id = decided.formation_id
WHERE decided.is_news
ORDER BY decided.id
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
), settled AS (
    UPDATE formation_assignment SET state = 'READY', error = NULL, last_state_change_timestamp = now()
    WHERE id = ANY (%(ids)s::uuid[]) AND state IN ('INITIAL', 'CREATE_ERROR')
    RETURNING id
)
UPDATE assignment_operation SET finished_at = now()
WHERE finished_at IS NULL AND type = 'ASSIGN' AND formation_assignment_id IN (SELECT id FROM settled)
"""
TOLD: Final = """
-- formation_assignment.told
WITH told AS (
    SELECT * FROM jsonb_to_recordset(%(links)s) AS (delivery uuid, assignment uuid, awaited boolean, depth integer)
), present AS (
    -- Locked, because it may be leaving at this moment.
    SELECT id FROM formation_assignment WHERE id IN (SELECT assignment FROM told) ORDER BY id FOR NO KEY UPDATE
), linked AS (
    INSERT INTO formation_assignment_delivery (delivery_id, formation_assignment_id)
    SELECT told.delivery, present.id FROM told JOIN present ON present.id = told.assignment WHERE told.awaited
), asked AS (
    SELECT assignment, bool_or(awaited) AS awaited, max(depth) AS depth FROM told GROUP BY assignment
), reopened AS (
    UPDATE assignment_operation SET finished_at = NULL
    WHERE type = 'ASSIGN' AND sequence IN (
        SELECT max(operation.sequence)
        FROM asked
        JOIN formation_assignment pair ON pair.id = asked.assignment AND pair.state = 'READY'
        JOIN assignment_operation operation ON operation.formation_assignment_id = pair.id
        WHERE asked.awaited AND asked.depth > 0
        GROUP BY pair.id
    )
)
UPDATE formation_assignment pair SET
    last_notification_sent_timestamp = now(), exchange_depth = asked.depth,
    attempt = pair.attempt + asked.awaited::integer,
    reported = CASE WHEN asked.awaited THEN NULL ELSE pair.reported END,
    -- Whoever has a new configuration to take is not ready before it took it.
    state = CASE WHEN asked.awaited AND asked.depth > 0 AND pair.state = 'READY' THEN 'INITIAL' ELSE pair.state END
FROM asked JOIN present ON present.id = asked.assignment
WHERE pair.id = asked.assignment
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
    """The target took a notification: its pairs become `state`, or end when READY was said of an end.

    The state stays as long as another notification about the same pair is on its way to another webhook. One statement,
    and one for each pair whose configuration is new. Emits ConfigurationReceived for those.
    """
    news = await tx.rows(
        TAKEN,
        delivery=delivery,
        among=list(among),
        receiver=receiver,
        sequence=sequence,
        state=state,
        configuration=configuration,
    )
    for row in news:
        await exchange(tx, row["tenant_id"], row["id"], row["exchange_depth"])


async def exchange(tx: Tx, tenant: TenantId, assignment: str, depth: int) -> None:
    """Have the source told of a new configuration, unless it is one too many in a row. At most one statement.

    `depth`: how many led to the notification that it answers. Emits ConfigurationReceived.
    """
    if depth < DEEPEST_EXCHANGE:
        await append(tx, ConfigurationReceived(tenant, assignment, depth + 1))


def error_text(message: str, code: int) -> str:
    """An error as it is stored and shown."""
    shown = storable(message, _LONGEST_MESSAGE_BYTES)
    return orjson.dumps({"error": {"message": shown, "errorCode": code}}).decode()


async def refused(tx: Tx, delivery: str, among: Sequence[State], *, message: str, code: int, answered: bool) -> None:
    """A notification failed; its pairs are in error until one is taken. One statement.

    `answered`: the target took it and said no, so nothing more comes of this one.
    """
    await tx.run(REFUSED, delivery=delivery, among=list(among), error=error_text(message, code), answered=answered)


async def given_up(tx: Tx, delivery: str, among: Sequence[State]) -> None:
    """A notification is tried no more; what still waited for it is in error. One statement."""
    error = error_text("the notification was given up", TECHNICAL)
    await tx.run(GIVEN_UP, delivery=delivery, among=list(among), error=error)


async def waiting(tx: Tx, delivery: str) -> None:
    """The target took a notification and will report by itself; its pairs stay as they are. One statement."""
    await tx.run(WAITING, delivery=delivery)


async def untold(tx: Tx, assignments: Sequence[str]) -> None:
    """Nobody has to be told: what waits to begin is READY, what waits to end is gone. One statement."""
    if assignments:
        await tx.run(UNTOLD, ids=list(assignments))


async def told(tx: Tx, links: Sequence[Mapping[str, Any]]) -> None:
    """Note which delivery speaks of which assignment, and whether its outcome decides the state. One statement.

    `depth` of a link: how many configurations in a row led to it; a READY pair with one to take is INITIAL again.
    """
    if links:
        await tx.run(TOLD, links=[{"depth": 0, **link} for link in links])
