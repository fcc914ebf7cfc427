"""Resynchronization of one pair of a group: its target is told anew, and nobody else. All of this is ours."""

from dataclasses import dataclass
from typing import Final

from compass.commands import command
from compass.director import formation_assignment
from compass.director.formation_assignment import State
from compass.errors import InvalidOperation, NotFound, Refused
from compass.ids import FormationId, TenantId
from compass.outbox.append import append
from compass.outbox.events import Event
from compass.postgres.pool import Tx

# Events


@dataclass(frozen=True)
class FormationAssignmentResynchronized(Event):
    """The target of a pair that does not know yet of the source, or of its end, is to be told now."""

    formation: FormationId
    assignment: str


# The command

# The group as well: who changes its state, or empties it, comes before or after.
LOCK: Final = """
-- pair_resynchronization.lock
SELECT pair.id, pair.formation_id, pair.state, formation.state AS group_state
FROM formation_assignment pair JOIN formation ON formation.id = pair.formation_id
WHERE pair.id = %(pair)s AND formation.tenant_id = %(tenant)s
FOR NO KEY UPDATE OF formation
"""
_UNSETTLED: Final = frozenset({State.INITIAL, State.CREATE_ERROR, State.DELETING, State.DELETE_ERROR})


@command("resynchronizeFormationAssignment", scope="formation:write")
async def resynchronize(tx: Tx, tenant: TenantId, pair: str) -> str:
    """Tell the target of one pair now, when it does not know yet or failed to take it. Three statements.

    Raises NotFound, Refused (a group that has not begun), InvalidOperation (it knows).
    Emits FormationAssignmentResynchronized.
    """
    row = await tx.row(LOCK, tenant=tenant, pair=pair)
    if row is None:
        raise NotFound(object="formationAssignment")
    if row["group_state"] in ("DRAFT", "INITIAL", "CREATE_ERROR"):
        raise Refused(f'formation with ID "{row["formation_id"]}" is in state {row["group_state"]}: nobody is told yet')
    if row["state"] not in _UNSETTLED:
        raise InvalidOperation(reason=f"the assignment is {row['state']}: there is nothing to tell anew")
    formation = FormationId(row["formation_id"])
    await formation_assignment.resynchronized(tx, formation, row["id"])
    await append(tx, FormationAssignmentResynchronized(tenant, formation, row["id"]))
    return str(row["id"])
