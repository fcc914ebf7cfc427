"""The status API of groups: a leading product reports that a group's beginning or end is done, or what went wrong.

Whoever is among the `leadingProductIDs` of the group's template may do so, whatever its tenant, and nobody else. A
report decides for everybody who has a say. READY is final: what comes after it is recorded and decides nothing, so
reports may come twice and in any order. Source: contract/director.md §14.1; guarantees F17.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import asyncpg

from compass.access.caller import Caller
from compass.audit.record import Log
from compass.director import formation_lifecycle
from compass.director.formation import BEGINNING, ENDING
from compass.director.formation_assignment import CLIENT, State
from compass.director.formation_lifecycle import REPORTED, Operation, Unsettled
from compass.director.report import about_formation, fields, record, text
from compass.errors import CompassError, InvalidData, InvalidOperation, NotFound, Unauthorized
from compass.ids import FormationId, TenantId
from compass.postgres.pool import Database, Tx

_FIELDS: Final = frozenset({"state", "error"})
_DRAFT: Final = "DRAFT"


@dataclass(frozen=True)
class Report:
    """What a leading product says."""

    state: str
    error: str | None

    @classmethod
    def read(cls, body: bytes) -> Self:
        """A report as it was sent. Raises InvalidData for anything but one object of the known fields that fit."""
        given = fields(body, _FIELDS)
        state, error = text(given, "state"), text(given, "error")
        if state is None:
            raise InvalidData(reason="the state is missing")
        if error is not None and state not in (State.CREATE_ERROR, State.DELETE_ERROR):
            raise InvalidData(reason="an error goes with the states CREATE_ERROR and DELETE_ERROR only")
        return cls(state, error)


LOCK = """
-- formation_status.lock
SELECT formation.id, formation.name, formation.state, formation.tenant_id, formation.attempt,
    %(consumer)s = ANY (coalesce(template.leading_product_ids, '{}')) AS is_leading
FROM formation JOIN formation_template template ON template.id = formation.formation_template_id
WHERE formation.id = %(formation)s
FOR NO KEY UPDATE OF formation
"""


class Reports:
    """What the path of the API does. One per process."""

    def __init__(self, database: Database, log: Log | None = None) -> None:
        """Without a log nothing is recorded."""
        self._database = database
        self._log = log

    async def report(self, caller: Caller, path: Mapping[str, str], body: bytes) -> None:
        """`PATCH …/status`: see `report`. Raises InvalidData for a body that is no report."""
        given = Report.read(body)
        formation = path["ucl-formation-id"]

        async def work(tx: Tx) -> None:
            await report(tx, caller, formation, given)
            said = {"state": given.state, "error": given.error}
            await record(tx, self._log, caller, "reportFormation", ("Formation", formation), said)

        await self._database.run(work)


async def report(tx: Tx, caller: Caller, formation: str, given: Report) -> None:
    """Take over what a leading product says, unless it said so already or too late. At most four statements.

    Raises NotFound, Unauthorized, InvalidOperation (a state that the group cannot take now).
    Emits FormationResynchronized (it is ready: its participants are told) or FormationDeleted.
    """
    row = await tx.row(LOCK, formation=formation, consumer=caller.consumer_id)
    if row is None:
        raise NotFound(object="formations")
    if not row["is_leading"]:
        raise _refusal(caller, row)
    state = _meant(row, given.state)
    applied = row["state"] in (*BEGINNING, *ENDING)
    is_new = await about_formation(tx, row, state, given.error, applied=applied)
    if not is_new or not applied:
        return
    group = Unsettled(FormationId(row["id"]), row["name"], row["state"], TenantId(row["tenant_id"]))
    if state is State.READY:
        await formation_lifecycle.settle(tx, group)
    else:
        await formation_lifecycle.failed(tx, group, given.error or f"the leading product reported {state}", CLIENT)


def _refusal(caller: Caller, row: asyncpg.Record) -> CompassError:
    """Of other tenants' groups nobody learns even that there is one."""
    if caller.tenant == row["tenant_id"]:
        return Unauthorized(reason="only a leading product of its template may report about a formation")
    return NotFound(object="formations")


def _meant(row: asyncpg.Record, said: str) -> State:
    if row["state"] == _DRAFT:
        raise InvalidOperation(reason="the formation is in state DRAFT, of which nobody was told yet")
    is_end = row["state"] in ENDING
    state = REPORTED.get((is_end, said))
    if state is None:
        operation = Operation.DELETE if is_end else Operation.CREATE
        raise InvalidOperation(reason=f"the state {said[:100]} does not go with the operation {operation}")
    return state
