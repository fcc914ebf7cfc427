"""The status API: participants of a group report how far an assignment is, and with what configuration.

The target of an assignment may do so, the integration system that manages it, and the administrator. A report is about
one attempt, from one notification to the next. Within it states only go forward (CONFIG_PENDING, then an error, then
READY), so that reports may come twice and in any order: what comes too late is recorded and decides nothing. A new
notification, or `reset`, begins a new attempt. Source: contract/director.md §14.1; guarantees F17.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import asyncpg
import orjson

from compass.access.caller import Caller, Consumer
from compass.audit.record import Log
from compass.director import formation_assignment, notification_constraint
from compass.director.formation_assignment import CLIENT, ENDING, REPORTED, State
from compass.director.notification_constraint import Answered
from compass.director.report import about_assignment, fields, record, text
from compass.errors import CompassError, InvalidData, InvalidOperation, NotFound, Unauthorized
from compass.postgres.pool import Database, Tx

MOST_BYTES: Final = 1_000_000
"""The largest report. Source: contract/director.md §14.1."""
_RANK: Final = {State.CONFIG_PENDING: 1, State.CREATE_ERROR: 2, State.DELETE_ERROR: 2, State.READY: 3}
_IN_ERROR: Final = ("CREATE_ERROR", "DELETE_ERROR")
_AFTER_RESET: Final = ("READY", "CONFIG_PENDING")
_FIELDS: Final = frozenset({"state", "configuration", "error"})


@dataclass(frozen=True)
class Report:
    """What a participant says."""

    state: str | None
    configuration: str | None
    """JSON; None when it is empty in one of the ways the contract names."""
    error: str | None

    @classmethod
    def read(cls, body: bytes) -> Self:
        """A report as it was sent. Raises InvalidData for anything but one object of the known fields that fit."""
        given = fields(body, _FIELDS)
        state, error = (text(given, name) for name in ("state", "error"))
        report = cls(state, _configuration(given.get("configuration")), error)
        if report.error is not None and report.state not in _IN_ERROR:
            raise InvalidData(reason="an error goes with the states CREATE_ERROR and DELETE_ERROR only")
        if report.state in _IN_ERROR and report.configuration is not None:
            raise InvalidData(reason=f"a configuration does not go with the state {report.state}")
        return report

    def said(self) -> Mapping[str, str | None]:
        """What may be recorded of it: a configuration holds credentials as often as not."""
        return {
            "state": self.state,
            "configuration": None if self.configuration is None else "(taken out)",
            "error": self.error,
        }


def _configuration(value: Any) -> str | None:
    """Source: contract/director.md §14, "Empty"."""
    return None if value in (None, "", '""', {}, []) else orjson.dumps(value).decode()


LOCK = """
-- assignment_status.lock
SELECT pair.id, pair.state, pair.configuration, pair.attempt, pair.reported, pair.exchange_depth,
    -- A runtime speaks for its contexts.
    coalesce((SELECT runtime_id FROM runtime_context WHERE id = pair.target), pair.target) AS reporter,
    pair.formation_id, formation.state AS formation_state, formation.tenant_id,
    pair.target_type = 'APPLICATION' AND EXISTS (
        SELECT FROM application WHERE application.id = pair.target
            AND application.integration_system_id = %(integration_system)s
    ) AS managed
FROM formation_assignment pair JOIN formation ON formation.id = pair.formation_id
WHERE pair.id = %(assignment)s AND pair.formation_id = %(formation)s
FOR NO KEY UPDATE OF pair
"""
LOCK_REVERSE = """
-- assignment_status.lock_reverse
SELECT reverse.id, reverse.state
FROM formation_assignment pair JOIN formation_assignment reverse ON reverse.formation_id = pair.formation_id
    AND reverse.source = pair.target AND reverse.target = pair.source
WHERE pair.id = %(assignment)s
FOR NO KEY UPDATE OF reverse
"""
APPLY = """
-- assignment_status.apply
WITH settled AS (
    -- The participant has said how it is: nothing that is still on its way to it decides that any more.
    DELETE FROM formation_assignment_delivery WHERE formation_assignment_id = %(assignment)s
), finished AS (
    UPDATE assignment_operation SET finished_at = now()
    WHERE finished_at IS NULL AND type = 'ASSIGN' AND formation_assignment_id = %(assignment)s
        AND %(state)s::text = 'READY'
)
UPDATE formation_assignment
SET state = %(state)s, reported = %(state)s, error = %(error)s,
    configuration = coalesce(%(configuration)s, configuration),
    last_state_change_timestamp = CASE state WHEN %(state)s THEN last_state_change_timestamp ELSE now() END
WHERE id = %(assignment)s
"""
CONFIGURE = """
-- assignment_status.configure
UPDATE formation_assignment SET configuration = %(configuration)s WHERE id = %(assignment)s
"""
END = """
-- assignment_status.end
DELETE FROM formation_assignment WHERE id = %(assignment)s
"""
RESET = """
-- assignment_status.reset
WITH reset AS (
    UPDATE formation_assignment
    SET state = 'INITIAL', error = NULL, reported = NULL, attempt = attempt + 1, exchange_depth = 0,
        last_state_change_timestamp = now()
    WHERE id = ANY (%(assignments)s::uuid[])
    RETURNING id
)
INSERT INTO assignment_operation (formation_assignment_id, formation_id, type, triggered_by)
SELECT id, %(formation)s, 'ASSIGN', 'RESET' FROM reset
"""


class Reports:
    """What the two paths of the API do. One per process."""

    def __init__(self, database: Database, log: Log | None = None) -> None:
        """Without a log nothing is recorded."""
        self._database = database
        self._log = log

    async def report(self, caller: Caller, path: Mapping[str, str], body: bytes) -> None:
        """`PATCH …/status`: see `report`. Raises InvalidData for a body that is no report."""
        given = Report.read(body)
        formation, assignment = _named(path)

        async def work(tx: Tx) -> None:
            await report(tx, caller, formation, assignment, given)
            await record(tx, self._log, caller, "reportAssignment", _about(assignment), given.said())

        await self._database.run(work)

    async def reset(self, caller: Caller, path: Mapping[str, str], body: bytes) -> None:
        """`PATCH …/status/reset`: see `reset`. Raises InvalidData for a body that is no report."""
        given = Report.read(body)
        formation, assignment = _named(path)

        async def work(tx: Tx) -> None:
            await reset(tx, caller, formation, assignment, given)
            await record(tx, self._log, caller, "resetAssignment", _about(assignment), given.said())

        await self._database.run(work)


def _about(assignment: str) -> tuple[str, str]:
    return "FormationAssignment", assignment


def _named(path: Mapping[str, str]) -> tuple[str, str]:
    return path["ucl-formation-id"], path["ucl-assignment-id"]


async def report(tx: Tx, caller: Caller, formation: str, assignment: str, given: Report) -> None:
    """Take over what a participant says, unless it said the same or later already in this attempt.

    An administrator may leave the state out and set the configuration alone. At most five statements.
    Raises NotFound, Unauthorized, InvalidData (no state), InvalidOperation (a state that the pair cannot take now, a
    constraint). Emits ConfigurationReceived when the configuration is new.
    """
    pair = await _locked(tx, caller, formation, assignment)
    if given.state is None:
        await _configure(tx, caller, pair, given)
        return
    given, state = await _counted(tx, pair, given, _meant(pair, given.state))
    rank = _RANK[state]
    applied = pair["reported"] is None or rank >= _RANK[State(pair["reported"])]
    is_new = await about_assignment(tx, pair, state, given.configuration, given.error, applied=applied)
    if not is_new or not applied:
        return
    if pair["state"] in ENDING and state is State.READY:
        await tx.run(END, assignment=pair["id"])
        return
    await _apply(tx, pair, given, state)
    if given.configuration is not None and given.configuration != pair["configuration"]:
        await formation_assignment.exchange(tx, pair["tenant_id"], pair["id"], pair["exchange_depth"])


async def reset(tx: Tx, caller: Caller, formation: str, assignment: str, given: Report) -> None:
    """Begin anew with another configuration what both sides were done with. Five statements.

    Raises NotFound, Unauthorized, InvalidData (other than READY or CONFIG_PENDING with a configuration),
    InvalidOperation (one of the two directions is not READY). Emits ConfigurationReceived.
    """
    pair = await _locked(tx, caller, formation, assignment)
    if given.state not in _AFTER_RESET or given.configuration is None:
        raise InvalidData(reason="a reset needs the state READY or CONFIG_PENDING, and a configuration")
    reverse = await tx.row(LOCK_REVERSE, assignment=pair["id"])
    if reverse is None or (pair["state"], reverse["state"]) != (State.READY, State.READY):
        raise InvalidOperation(reason="only an assignment that is READY in both directions can be reset")
    state = _meant(pair, given.state)
    await tx.run(RESET, assignments=[pair["id"], reverse["id"]], formation=pair["formation_id"])
    await _apply(tx, pair, given, state)
    await formation_assignment.exchange(tx, pair["tenant_id"], pair["id"], 0)


async def _locked(tx: Tx, caller: Caller, formation: str, assignment: str) -> asyncpg.Record:
    manager = caller.consumer_id if caller.consumer is Consumer.INTEGRATION_SYSTEM else None
    pair = await tx.row(LOCK, assignment=assignment, formation=formation, integration_system=manager)
    if pair is None:
        raise NotFound(object="formationAssignment")
    refusal = _refusal(caller, pair)
    if refusal is not None:
        raise refusal
    return pair


def _refusal(caller: Caller, pair: asyncpg.Record) -> CompassError | None:
    """Why the caller may not report about the pair: of other tenants' not even that there is one."""
    is_near = caller.tenant == pair["tenant_id"]
    match caller.consumer:
        case Consumer.APPLICATION | Consumer.RUNTIME:
            allowed = caller.consumer_id == pair["reporter"]
        case Consumer.INTEGRATION_SYSTEM:
            allowed = pair["managed"] and "formation:write" in caller.scopes
        case _:
            is_everywhere = caller.external_tenant is None and "formation:global_write" in caller.scopes
            is_near = is_near or is_everywhere
            allowed = is_near and "formation:write" in caller.scopes
    if allowed:
        return None
    if is_near:
        return Unauthorized(reason="only the target of an assignment may report about it")
    return NotFound(object="formationAssignment")


def _meant(pair: asyncpg.Record, said: str) -> State:
    if pair["formation_state"] != State.READY:
        raise InvalidOperation(reason=f"the formation is in state {pair['formation_state']}, it must be READY")
    is_end = pair["state"] in ENDING
    state = REPORTED.get((is_end, said))
    if state is None:
        operation = "UNASSIGN" if is_end else "ASSIGN"
        raise InvalidOperation(reason=f"the state {said[:100]} does not go with the operation {operation}")
    return state


async def _configure(tx: Tx, caller: Caller, pair: asyncpg.Record, given: Report) -> None:
    if caller.consumer not in (Consumer.STATIC_USER, Consumer.BUSINESS_INTEGRATION):
        raise InvalidData(reason="the state is missing")
    if given.configuration is None or pair["state"] in ENDING:
        raise InvalidData(reason="without a state there must be a configuration, and the assignment must not be ending")
    if given.configuration == pair["configuration"]:
        return
    await tx.run(CONFIGURE, assignment=pair["id"], configuration=given.configuration)
    await formation_assignment.exchange(tx, pair["tenant_id"], pair["id"], pair["exchange_depth"])


async def _counted(tx: Tx, pair: asyncpg.Record, given: Report, state: State) -> tuple[Report, State]:
    """What a report that is no error counts for, by the constraints on it. At most one statement."""
    if state in _IN_ERROR:
        return given, state
    operation = "unassign" if pair["state"] in ENDING else "assign"
    said = Answered(given.state or state, given.configuration)
    counted = await notification_constraint.returned_by_report(tx, pair["id"], operation, said)
    if counted.fault is not None:
        raise InvalidOperation(reason=counted.fault)
    state = _meant(pair, counted.state)
    configuration = None if state in _IN_ERROR else counted.configuration
    return Report(counted.state, configuration, None), state


async def _apply(tx: Tx, pair: asyncpg.Record, given: Report, state: State) -> None:
    error = None
    if state in _IN_ERROR:
        error = formation_assignment.error_text(given.error or f"the participant reported {state}", CLIENT)
    await tx.run(APPLY, assignment=pair["id"], state=state, error=error, configuration=given.configuration)
