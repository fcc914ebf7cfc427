"""Formation assignments: every ordered pair of the participants of a group, and how far it is.

`source` is what the pair is about, `target` whose webhook is told. The pair of a participant with itself is its
membership, which ends with the assignment itself also while the participant is still to be told of the end. A pair
whose target has a webhook for it is INITIAL until the target knows, and DELETING until it knows of the end; nobody
else's configuration shows it meanwhile. A target with several webhooks knows once all of them agreed, or once it
reported by itself, see director/assignment_status.py. A configuration that the target answers or reports is news for
the source: it is told in the pair of the other direction. Source: contract/director.md §14; that every webhook of
several has a say is ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

from compass.delivery.attempt import storable
from compass.ids import AutomaticScenarioAssignmentId, FormationId, TenantId
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
            "RUNTIME_CONTEXT": One(
                "RuntimeContext",
                source="runtime_tenant access JOIN runtime_context {c} ON {c}.runtime_id = access.runtime_id",
                on=f"access.tenant_id = {{tenant}} AND {{c}}.id = {{t}}.{which}",
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

_WANTED: Final = """CASE pair.source_type
        WHEN 'APPLICATION' THEN 'APPLICATION_TENANT_MAPPING' ELSE 'CONFIGURATION_CHANGED' END"""
LISTENING: Final = f"""
    SELECT hook.* FROM webhook hook
    WHERE pair.target_type = 'APPLICATION' AND hook.application_id = pair.target AND hook.type = {_WANTED}
    UNION ALL
    -- An application without one of its own is reached by its template's.
    SELECT hook.* FROM application lent
    JOIN webhook hook ON hook.application_template_id = lent.application_template_id AND hook.type = {_WANTED}
    WHERE pair.target_type = 'APPLICATION' AND lent.id = pair.target AND NOT EXISTS (
        SELECT FROM webhook own WHERE own.application_id = pair.target AND own.type = {_WANTED}
    )
    UNION ALL
    SELECT hook.* FROM webhook hook
    WHERE pair.source_type = 'APPLICATION' AND hook.type = 'CONFIGURATION_CHANGED'
        AND hook.runtime_id = CASE pair.target_type
            WHEN 'RUNTIME' THEN pair.target
            WHEN 'RUNTIME_CONTEXT' THEN (SELECT runtime_id FROM runtime_context WHERE id = pair.target) END
"""
"""The webhooks by which the target of `pair` is told of its source; without one, nobody is. Source: contract §16."""
JOIN: Final = f"""
-- formation_assignment.join
WITH joining AS (
    SELECT * FROM jsonb_to_recordset(%(joining)s) AS (
        formation uuid, id uuid, type text, waits boolean, caused_by uuid
    )
), member AS (
    SELECT formation_id AS formation, participant AS id, type FROM formation_member_v1
    WHERE formation_id IN (SELECT formation FROM joining)
        AND (formation_id, participant) NOT IN (SELECT formation, id FROM joining)
    UNION ALL SELECT formation, id, type FROM joining
), met AS (
    SELECT joining.formation, joining.waits, joining.caused_by, joining.id, joining.type, member.id AS other,
        member.type AS other_type
    FROM joining JOIN member ON member.formation = joining.formation
    -- A context is part of its runtime already.
    WHERE NOT EXISTS (SELECT FROM runtime_context own WHERE own.id = joining.id AND own.runtime_id = member.id)
        AND NOT EXISTS (SELECT FROM runtime_context own WHERE own.id = member.id AND own.runtime_id = joining.id)
), pair AS (
    SELECT formation, waits, caused_by, id AS source, type AS source_type, other AS target, other_type AS target_type
    FROM met
    -- Two that join at once are found from both sides, and with itself each one is.
    UNION
    SELECT formation, waits, caused_by, other, other_type, id, type FROM met
), initial AS (
    SELECT * FROM jsonb_to_recordset(%(initial)s) AS (source text, target text, configuration text)
), joined AS (
    INSERT INTO formation_assignment AS old (
        formation_id, source, source_type, target, target_type, state, configuration, last_state_change_timestamp,
        caused_by
    )
    SELECT pair.formation, pair.source, pair.source_type, pair.target, pair.target_type,
        CASE WHEN pair.waits OR EXISTS ({LISTENING}) THEN 'INITIAL' ELSE 'READY' END, initial.configuration, now(),
        CASE WHEN pair.source = pair.target THEN pair.caused_by END
    FROM pair LEFT JOIN initial ON initial.source = pair.source::text AND initial.target = pair.target::text
    -- Left a moment ago, and not everybody knows yet.
    ON CONFLICT (formation_id, source, target) DO UPDATE SET
        state = excluded.state, configuration = excluded.configuration, error = NULL, reported = NULL,
        attempt = old.attempt + 1, last_state_change_timestamp = now(), caused_by = excluded.caused_by
    WHERE old.state IN ('DELETING', 'DELETE_ERROR')
    RETURNING id, formation_id, source, source_type, target, target_type, state
), begun AS (
    INSERT INTO assignment_operation (formation_assignment_id, formation_id, type, triggered_by, finished_at)
    SELECT id, formation_id, 'ASSIGN', 'ASSIGN_OBJECT', CASE state WHEN 'READY' THEN now() END FROM joined
), forgotten AS (
    DELETE FROM formation_assignment_delivery WHERE formation_assignment_id IN (SELECT id FROM joined)
), told AS (
    -- Both directions of a pair are told because of the same one, also when both sides join at once.
    SELECT joined.formation_id AS formation, min(joining.id::text)::uuid AS id, joined.source, joined.target
    FROM joined
    JOIN joining ON joining.formation = joined.formation_id AND joining.id IN (joined.source, joined.target)
    -- Where they wait, nobody is told yet.
    WHERE joined.state = 'INITIAL' AND NOT joining.waits
    GROUP BY joined.id, joined.formation_id, joined.source, joined.target
), paired AS (
    SELECT formation, id, jsonb_agg(jsonb_build_array(source, target) ORDER BY source, target) AS pairs
    FROM told GROUP BY formation, id
)
SELECT joining.formation, formation.tenant_id, joining.id, joining.type, self.id IS NOT NULL AS joined,
    (SELECT count(*) FROM initial
     JOIN pair ON initial.source = pair.source::text AND initial.target = pair.target::text) AS placed,
    coalesce(paired.pairs, '[]') AS paired
FROM joining
JOIN formation ON formation.id = joining.formation
LEFT JOIN joined self
    ON self.formation_id = joining.formation AND self.source = joining.id AND self.target = joining.id
LEFT JOIN paired ON paired.formation = joining.formation AND paired.id = joining.id
ORDER BY joining.formation, joining.id
"""
LEAVE: Final = f"""
-- formation_assignment.leave
WITH leaving AS (
    SELECT wanted.*, self.type
    FROM jsonb_to_recordset(%(leaving)s) AS wanted (formation uuid, id uuid, silently boolean)
    JOIN formation_member_v1 self ON self.formation_id = wanted.formation AND self.participant = wanted.id
), pair AS (
    SELECT pair.id, pair.formation_id, pair.source, pair.source_type, pair.target, pair.target_type, pair.state,
        leaving.silently
    FROM leaving JOIN formation_assignment pair
        ON pair.formation_id = leaving.formation AND pair.source = leaving.id
    UNION
    SELECT pair.id, pair.formation_id, pair.source, pair.source_type, pair.target, pair.target_type, pair.state,
        leaving.silently
    FROM leaving JOIN formation_assignment pair
        ON pair.formation_id = leaving.formation AND pair.target = leaving.id
), ending AS (
    SELECT pair.*, EXISTS ({LISTENING}) AND NOT pair.silently AS told FROM pair
    WHERE state NOT IN ('DELETING', 'DELETE_ERROR')
), left_at_once AS (
    DELETE FROM formation_assignment WHERE id IN (SELECT id FROM ending WHERE NOT told)
), left_later AS (
    UPDATE formation_assignment
    SET state = 'DELETING', configuration = NULL, error = NULL, reported = NULL, attempt = attempt + 1,
        last_state_change_timestamp = now()
    WHERE id IN (SELECT id FROM ending WHERE told)
    RETURNING id
), begun AS (
    INSERT INTO assignment_operation (formation_assignment_id, formation_id, type, triggered_by)
    SELECT id, formation_id, 'UNASSIGN', 'UNASSIGN_OBJECT' FROM ending WHERE told
), forgotten AS (
    -- After its pair was locked, as everybody does it; with those that left at once theirs are gone.
    DELETE FROM formation_assignment_delivery WHERE formation_assignment_id IN (SELECT id FROM left_later)
), parted AS (
    SELECT formation, id, jsonb_agg(
            jsonb_build_array(source, source_type, target, target_type) ORDER BY source, target
        ) AS pairs
    FROM (
        SELECT leaving.formation, min(leaving.id::text)::uuid AS id,
            ending.source, ending.source_type, ending.target, ending.target_type
        FROM ending
        JOIN leaving ON leaving.formation = ending.formation_id AND leaving.id IN (ending.source, ending.target)
        WHERE ending.told
        GROUP BY leaving.formation, ending.source, ending.source_type, ending.target, ending.target_type
    ) AS told
    GROUP BY formation, id
)
SELECT leaving.formation, formation.tenant_id, formation.name, leaving.id, leaving.type,
    coalesce(parted.pairs, '[]') AS parted
FROM leaving
JOIN formation ON formation.id = leaving.formation
LEFT JOIN parted ON parted.formation = leaving.formation AND parted.id = leaving.id
ORDER BY leaving.formation, leaving.id
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
        AND (%(pair)s::uuid IS NULL OR id = %(pair)s)
)
"""


@dataclass(frozen=True)
class Configuration:
    """What one participant is configured with towards another before it was ever asked."""

    source: str
    target: str
    configuration: str


@dataclass(frozen=True)
class Joining:
    """One object on its way into one group."""

    formation: FormationId
    id: str
    type: str
    waits: bool
    """The group is a draft; every pair is INITIAL until it is finalized."""
    caused_by: AutomaticScenarioAssignmentId | None = None
    """What makes it a participant, when nobody assigned it."""


@dataclass(frozen=True)
class Joined:
    """What became of an assignment."""

    formation: FormationId
    tenant: TenantId
    member: str
    type: str
    is_new: bool
    placed: int
    """How many of the given configurations found their pair."""
    paired: tuple[tuple[str, ...], ...]
    """Source and target of the pairs whose target has to be told."""


@dataclass(frozen=True)
class Leaving:
    """One object on its way out of one group."""

    formation: FormationId
    id: str
    silently: bool
    """The group is a draft, of whose beginning nobody was told either."""


@dataclass(frozen=True)
class Left:
    """What became of a removal."""

    formation: FormationId
    tenant: TenantId
    name: str
    member: str
    type: str
    parted: tuple[tuple[str, ...], ...]
    """The same, with the type after each: by the time that they are told, the objects may be gone."""


async def join(tx: Tx, joining: Sequence[Joining], *, initial: Sequence[Configuration] = ()) -> list[Joined]:
    """Pair each object with itself and, in both directions, with every participant of its group and with those that
    join the group with it; a context not with its own runtime. Safe to repeat. One statement, whatever their number.
    """
    rows = await tx.rows(JOIN, joining=[vars(entry) for entry in joining], initial=[vars(entry) for entry in initial])
    return [
        Joined(
            row["formation"],
            row["tenant_id"],
            row["id"],
            row["type"],
            row["joined"],
            row["placed"],
            _pairs(row["paired"]),
        )
        for row in rows
    ]


async def leave(tx: Tx, leaving: Sequence[Leaving]) -> list[Left]:
    """End the memberships of those that are in, and their pairs, or mark those DELETING whose target has to be told.

    One statement, whatever their number.
    """
    rows = await tx.rows(LEAVE, leaving=[vars(entry) for entry in leaving])
    return [
        Left(row["formation"], row["tenant_id"], row["name"], row["id"], row["type"], _pairs(row["parted"]))
        for row in rows
    ]


def _pairs(found: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(pair) for pair in found)


async def reset(tx: Tx, formation: FormationId) -> None:
    """Have every pair begin anew; what was configured is forgotten. One statement."""
    await tx.run(RESET, formation=formation)


async def resynchronized(tx: Tx, formation: FormationId, pair: str | None = None) -> None:
    """Note that what is under way in the group, or in one pair, is told anew because somebody asked. One statement."""
    await tx.run(RESYNCHRONIZED, formation=formation, pair=pair)


# What notifications do to pairs

HOLD: Final = """
-- formation_assignment.hold
SELECT pair.id FROM formation_assignment pair
WHERE pair.id IN (SELECT formation_assignment_id FROM formation_assignment_delivery WHERE delivery_id = %(delivery)s)
ORDER BY pair.id FOR NO KEY UPDATE
"""
TAKEN: Final = """
-- formation_assignment.taken
WITH mine AS (
    SELECT formation_assignment_id AS id FROM formation_assignment_delivery WHERE delivery_id = %(delivery)s
), earlier AS (
    -- Of the same webhook: what came after them repairs what they failed at.
    SELECT link.delivery_id, link.formation_assignment_id
    FROM formation_assignment_delivery link JOIN delivery ON delivery.id = link.delivery_id
    WHERE link.formation_assignment_id IN (SELECT id FROM mine)
        AND delivery.receiver = %(receiver)s AND delivery.sequence < %(sequence)s
), agreed AS (
    -- Nobody is left who has not agreed. One that waits for a configuration is not overruled by one that is ready.
    SELECT mine.id,
        CASE WHEN bool_or(other.agreed_to = 'CONFIG_PENDING') THEN 'CONFIG_PENDING' ELSE %(state)s::text END AS state
    FROM mine LEFT JOIN formation_assignment_delivery other
        ON other.formation_assignment_id = mine.id AND other.delivery_id <> %(delivery)s
        AND (other.delivery_id, other.formation_assignment_id) NOT IN (SELECT * FROM earlier)
    GROUP BY mine.id
    HAVING bool_and(other.delivery_id IS NULL OR other.agreed_to IS NOT NULL)
), counted AS (
    UPDATE formation_assignment_delivery SET agreed_to = %(state)s
    WHERE delivery_id = %(delivery)s AND formation_assignment_id NOT IN (SELECT id FROM agreed)
), settled AS (
    DELETE FROM formation_assignment_delivery
    WHERE formation_assignment_id IN (SELECT id FROM agreed)
        OR (delivery_id, formation_assignment_id) IN (SELECT * FROM earlier)
), removed AS (
    DELETE FROM formation_assignment
    WHERE id IN (SELECT id FROM agreed WHERE state = 'READY') AND state = ANY (%(among)s::text[])
        AND state IN ('DELETING', 'DELETE_ERROR')
), before AS (
    SELECT id, configuration FROM formation_assignment
    WHERE id IN (SELECT id FROM mine) AND state = ANY (%(among)s::text[])
        AND state IN ('INITIAL', 'CONFIG_PENDING', 'CREATE_ERROR')
), decided AS (
    UPDATE formation_assignment pair SET
        state = coalesce(agreed.state, pair.state),
        error = CASE WHEN agreed.id IS NULL THEN pair.error END,
        -- Kept also while another webhook of the target has not agreed yet.
        configuration = coalesce(%(configuration)s, pair.configuration),
        last_state_change_timestamp = CASE WHEN agreed.id IS NULL
            THEN pair.last_state_change_timestamp ELSE now() END
    FROM before LEFT JOIN agreed ON agreed.id = before.id
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
UPDATE formation_assignment
SET state = CASE WHEN state IN ('DELETING', 'DELETE_ERROR') THEN 'DELETE_ERROR' ELSE 'CREATE_ERROR' END,
    error = %(error)s,
    last_state_change_timestamp = CASE WHEN state LIKE '%_ERROR' THEN last_state_change_timestamp ELSE now() END
WHERE id IN (SELECT formation_assignment_id FROM formation_assignment_delivery WHERE delivery_id = %(delivery)s)
    AND state = ANY (%(among)s::text[])
"""
GIVEN_UP: Final = """
-- formation_assignment.given_up
UPDATE formation_assignment
SET state = CASE state WHEN 'DELETING' THEN 'DELETE_ERROR' ELSE 'CREATE_ERROR' END,
    error = coalesce(error, %(error)s), last_state_change_timestamp = now()
WHERE id IN (SELECT formation_assignment_id FROM formation_assignment_delivery WHERE delivery_id = %(delivery)s)
    AND state = ANY (%(among)s::text[]) AND state IN ('INITIAL', 'CONFIG_PENDING', 'DELETING')
"""
LOCK: Final = """
-- formation_assignment.lock
SELECT id FROM formation_assignment WHERE id = ANY (%(ids)s::uuid[]) ORDER BY id FOR NO KEY UPDATE
"""
UNTOLD: Final = """
-- formation_assignment.untold
WITH given AS (
    SELECT * FROM jsonb_to_recordset(%(pairs)s) AS (assignment uuid, spared uuid[])
), heard AS (
    -- Those that still have a say: what they agreed to, or that they have not yet.
    SELECT link.formation_assignment_id, link.delivery_id, link.agreed_to
    FROM given
    JOIN formation_assignment_delivery link ON link.formation_assignment_id = given.assignment
    JOIN delivery ON delivery.id = link.delivery_id
    WHERE (delivery.state = 'PENDING' OR delivery.receiver = ANY (given.spared))
        AND EXISTS (SELECT FROM webhook WHERE webhook.id = delivery.receiver)
), agreed AS (
    SELECT given.assignment AS id,
        CASE WHEN bool_or(heard.agreed_to = 'CONFIG_PENDING') THEN 'CONFIG_PENDING' ELSE 'READY' END AS state
    FROM given LEFT JOIN heard ON heard.formation_assignment_id = given.assignment
    GROUP BY given.assignment
    HAVING bool_and(heard.delivery_id IS NULL OR heard.agreed_to IS NOT NULL)
), forgotten AS (
    DELETE FROM formation_assignment_delivery
    WHERE formation_assignment_id IN (SELECT assignment FROM given) AND (
        formation_assignment_id IN (SELECT id FROM agreed)
        OR (formation_assignment_id, delivery_id) NOT IN (SELECT formation_assignment_id, delivery_id FROM heard)
    )
), removed AS (
    DELETE FROM formation_assignment
    WHERE id IN (SELECT id FROM agreed) AND state = ANY (%(among)s::text[]) AND state IN ('DELETING', 'DELETE_ERROR')
), settled AS (
    UPDATE formation_assignment pair SET state = agreed.state, error = NULL, last_state_change_timestamp = now()
    FROM agreed
    WHERE pair.id = agreed.id AND pair.state = ANY (%(among)s::text[]) AND pair.state IN ('INITIAL', 'CREATE_ERROR')
    RETURNING pair.id, pair.state
)
UPDATE assignment_operation SET finished_at = now()
WHERE finished_at IS NULL AND type = 'ASSIGN'
    AND formation_assignment_id IN (SELECT id FROM settled WHERE state = 'READY')
"""
TOLD: Final = """
-- formation_assignment.told
WITH told AS (
    SELECT * FROM jsonb_to_recordset(%(links)s) AS (
        delivery uuid, assignment uuid, awaited boolean, depth integer, spared uuid[]
    )
), present AS (
    -- Locked, because it may be leaving at this moment.
    SELECT id FROM formation_assignment WHERE id IN (SELECT assignment FROM told) ORDER BY id FOR NO KEY UPDATE
), linked AS (
    INSERT INTO formation_assignment_delivery (delivery_id, formation_assignment_id)
    SELECT told.delivery, present.id FROM told JOIN present ON present.id = told.assignment WHERE told.awaited
), forgotten AS (
    -- Whoever is not spared was told anew just now, or has no say any more.
    DELETE FROM formation_assignment_delivery link USING told, delivery
    WHERE link.formation_assignment_id = told.assignment AND told.awaited
        AND delivery.id = link.delivery_id AND delivery.state <> 'PENDING' AND delivery.receiver <> ALL (told.spared)
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
    """A webhook agreed to `state`: its pairs become so, or end when READY was said of an end, once all webhooks agreed.

    Two statements, and one for each pair whose configuration is new. Emits ConfigurationReceived for those.
    Locked first: of two that agree at the same time the second must see that the first did.
    """
    await tx.run(HOLD, delivery=delivery)
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


async def refused(tx: Tx, delivery: str, among: Sequence[State], *, message: str, code: int) -> None:
    """A notification failed or was answered with an error; its pairs are in error until one is taken. Two statements.

    Another webhook's success does not overrule it.
    """
    await tx.run(HOLD, delivery=delivery)
    await tx.run(REFUSED, delivery=delivery, among=list(among), error=error_text(message, code))


async def given_up(tx: Tx, delivery: str, among: Sequence[State]) -> None:
    """A notification is tried no more; what still waited for it is in error. Two statements."""
    await tx.run(HOLD, delivery=delivery)
    error = error_text("the notification was given up", TECHNICAL)
    await tx.run(GIVEN_UP, delivery=delivery, among=list(among), error=error)


async def untold(tx: Tx, pairs: Sequence[Mapping[str, Any]], among: Sequence[State]) -> None:
    """Nobody else has to be told: what waits for nobody is READY, or gone when it was to end. Two statements.

    A pair is an `assignment`, and in `spared` the webhooks that were not told again because they agreed, or because
    their call is under way; these have their say. Locked first, as in `taken`.
    """
    if pairs:
        await tx.run(LOCK, ids=[pair["assignment"] for pair in pairs])
        await tx.run(UNTOLD, pairs=pairs, among=list(among))


async def told(tx: Tx, links: Sequence[Mapping[str, Any]]) -> None:
    """Note which delivery speaks of which assignment, and whether its outcome decides the state. One statement.

    `depth` of a link: how many configurations in a row led to it; a READY pair with one to take is INITIAL again.
    `spared`: the webhooks that keep their say about the assignment, see `untold`; what the others said is forgotten.
    """
    if links:
        await tx.run(TOLD, links=[{"depth": 0, "spared": [], **link} for link in links])
