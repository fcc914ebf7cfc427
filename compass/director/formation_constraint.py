"""Formation constraints: rules about what may happen to groups, and who decides, see `constraint_operators`.

Global, not a tenant's. A GLOBAL one holds for the groups of every template, a FORMATION_TYPE one for those of the
templates that it is attached to. Those of an operation are asked one after the other: the higher priority first, of one
priority the older. The first that is not satisfied refuses the whole operation. Source: contract/director.md §15.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Any, Final

import asyncpg

from compass.access.caller import Caller
from compass.access.tenancy import Reach
from compass.commands import command
from compass.director import constraint_operators, formation_template
from compass.director.constraint_operators import DESTINATION_CREATOR, OPERATORS, Occasion, Target, When
from compass.director.not_offered import NotOffered
from compass.errors import CompassError, InvalidInput, NotFound, NotUnique, Refused
from compass.gotemplate import parse
from compass.ids import FormationConstraintId, FormationTemplateId
from compass.inputs import Length, OneOfValues
from compass.outbox.append import append
from compass.outbox.events import Event
from compass.postgres.pool import Tx
from compass.reads.plan import Many, One, Query, Read, timestamp

_DESCRIPTION: Final = Length(0, 2000)

# Errors


def _absent() -> NotFound:
    return NotFound(object="formationConstraint")


def violated(name: str, operator: str, why: str = "") -> Refused:
    """The refusal of an operation that a constraint does not permit. Source: contract/director.md §15."""
    sentence = f'Formation constraint "{name}" is not satisfied due to: Operator "{operator}" is not satisfied'
    return Refused(f"{sentence}: {why}" if why else sentence)


# Inputs


@dataclass(frozen=True)
class NewFormationConstraint:
    """A constraint as it is created."""

    name: Annotated[str, Length(1, 256)]
    constraint_type: When
    target_operation: Target
    operator: Annotated[str, OneOfValues(frozenset({*OPERATORS, DESTINATION_CREATOR}))]
    resource_type: str
    resource_subtype: Annotated[str, Length(1, 256)]
    input_template: str
    constraint_scope: str
    description: Annotated[str | None, _DESCRIPTION] = None
    priority: int | None = None

    def problems(self) -> dict[str, str]:
        """What is enforced needs an operator that decides then, and a template that makes its input."""
        operator = OPERATORS.get(self.operator)
        moment = (self.constraint_type, self.target_operation)
        if operator is not None and self.constraint_type is not When.UI and moment not in operator.moments:
            decided = ", ".join(sorted(f"{when} {target}" for when, target in operator.moments))
            return {"operator": f"decides about {decided} only"}
        wrong = _template_problem(self.constraint_type, self.operator, self.input_template)
        return {"inputTemplate": wrong} if wrong else {}


@dataclass(frozen=True)
class FormationConstraintChanges:
    """What a constraint is changed to; what is not given stays."""

    input_template: str
    priority: int | None = None
    description: Annotated[str | None, _DESCRIPTION] = None


def _template_problem(when: str, operator: str, template: str) -> str | None:
    if operator == DESTINATION_CREATOR:
        return None
    if when != When.UI:
        return constraint_operators.try_out(operator, template)
    try:
        parse(template)
    except CompassError as error:
        return error.facts["reason"]
    return None


# Events


@dataclass(frozen=True)
class FormationConstraintsChanged(Event):
    """A constraint was created, changed or deleted, or holds for the groups of another template, or no longer."""

    formation_constraint: FormationConstraintId


# How it is read

FORMATION_CONSTRAINT = Read(
    "FormationConstraint",
    table="formation_constraint",
    fields={
        "id": "id",
        "name": "name",
        "description": "description",
        "constraintType": "type",
        "targetOperation": "target_operation",
        "operator": "operator",
        "resourceType": "resource_type",
        "resourceSubtype": "resource_subtype",
        "inputTemplate": "input_template",
        "constraintScope": "scope",
        "priority": "priority",
        "createdAt": timestamp("created_at"),
    },
)
READS = (FORMATION_CONSTRAINT,)

QUERIES = (
    Query(
        "formationConstraints",
        scope="formation_constraint:read",
        tenant=False,
        read=Many("FormationConstraint", on="true", order=formation_template.CONSTRAINT_ORDER),
    ),
    Query(
        "formationConstraint",
        scope="formation_constraint:read",
        tenant=False,
        read=One("FormationConstraint", on="{c}.id = {arg:id}::uuid"),
        absent=lambda _: _absent(),
    ),
    Query(
        "formationConstraintsByFormationType",
        scope="formation_constraint:read",
        tenant=False,
        read=Many(
            "FormationConstraint",
            # Of a template that the caller does not see, no more than of one that is not there.
            on=formation_template.CONSTRAINED.format(
                template=f"""(
                    SELECT of_type.id FROM formation_template of_type
                    WHERE of_type.id = {{arg:formationTemplateID}}::uuid
                        AND {formation_template.VISIBLE.replace("{c}", "of_type")}
                )"""
            ),
            order=formation_template.CONSTRAINT_ORDER,
        ),
    ),
)

# Commands

CREATE = """
-- formation_constraint.create
INSERT INTO formation_constraint (
    name, description, type, target_operation, operator, resource_type, resource_subtype, input_template, scope,
    priority
) VALUES (
    %(name)s, %(description)s, %(type)s, %(target_operation)s, %(operator)s, %(resource_type)s, %(resource_subtype)s,
    %(input_template)s, %(scope)s, %(priority)s
)
ON CONFLICT ON CONSTRAINT formation_constraint_name_once DO NOTHING
RETURNING id
"""
LOCK = """
-- formation_constraint.lock
SELECT type, operator FROM formation_constraint WHERE id = %(id)s FOR UPDATE
"""
UPDATE = """
-- formation_constraint.update
UPDATE formation_constraint SET input_template = %(input_template)s,
    priority = coalesce(%(priority)s, priority), description = coalesce(%(description)s, description)
WHERE id = %(id)s
"""
USERS = """
-- formation_constraint.users
SELECT template.id,
    template.tenant_id IS NULL OR template.tenant_id IN (SELECT tenant_and_ancestors_v1(%(tenant)s::uuid)) AS is_visible
FROM formation_template_constraint attached JOIN formation_template template
    ON template.id = attached.formation_template_id
WHERE attached.formation_constraint_id = %(id)s
ORDER BY template.id
"""
DELETE = """
-- formation_constraint.delete
DELETE FROM formation_constraint WHERE id = %(id)s
"""
ATTACH = """
-- formation_constraint.attach
INSERT INTO formation_template_constraint (formation_template_id, formation_constraint_id)
VALUES (%(template)s, %(constraint)s)
ON CONFLICT DO NOTHING
"""
DETACH = """
-- formation_constraint.detach
DELETE FROM formation_template_constraint
WHERE formation_template_id = %(template)s AND formation_constraint_id = %(constraint)s
"""


@command("createFormationConstraint", scope="formation_constraint:write", reach=Reach.PLANE)
async def create(tx: Tx, _caller: Caller, new: NewFormationConstraint) -> FormationConstraintId:
    """Add a rule. A GLOBAL one holds at once, another from when it is attached.

    Two statements. Raises NotOffered (DestinationCreator), NotUnique (the name). Emits FormationConstraintsChanged.
    """
    if new.operator == DESTINATION_CREATOR:
        raise NotOffered(f"createFormationConstraint with {DESTINATION_CREATOR}", "a destination service")
    created = await tx.value(
        CREATE,
        name=new.name,
        description=new.description or "",
        type=new.constraint_type,
        target_operation=new.target_operation,
        operator=new.operator,
        resource_type=new.resource_type,
        resource_subtype=new.resource_subtype,
        input_template=new.input_template,
        scope=new.constraint_scope,
        priority=new.priority or 0,
    )
    if created is None:
        raise NotUnique(object="formationConstraint")
    constraint = FormationConstraintId(created)
    await append(tx, FormationConstraintsChanged(None, constraint))
    return constraint


@command("updateFormationConstraint", scope="formation_constraint:write", reach=Reach.PLANE)
async def update(
    tx: Tx, _caller: Caller, constraint: FormationConstraintId, changes: FormationConstraintChanges
) -> FormationConstraintId:
    """Replace the template of a constraint, and its priority and description if they are given.

    Raises NotFound, InvalidInput (a template that does not make the operator's input).
    Emits FormationConstraintsChanged.
    """
    before = await _lock(tx, constraint)
    wrong = _template_problem(before["type"], before["operator"], changes.input_template)
    if wrong:
        raise InvalidInput(input_type="FormationConstraintUpdateInput", inputTemplate=wrong)
    await tx.run(
        UPDATE,
        id=constraint,
        input_template=changes.input_template,
        priority=changes.priority,
        description=changes.description,
    )
    await append(tx, FormationConstraintsChanged(None, constraint))
    return constraint


@command("deleteFormationConstraint", scope="formation_constraint:write", reach=Reach.PLANE, reply_before=True)
async def delete(tx: Tx, caller: Caller, constraint: FormationConstraintId) -> None:
    """Remove a constraint and answer what it was.

    Raises NotFound, Refused (attached to a template). Emits FormationConstraintsChanged.
    """
    await _lock(tx, constraint)
    users = await tx.rows(USERS, id=constraint, tenant=caller.tenant)
    if users:
        seen = [row["id"] for row in users if row["is_visible"]]
        others = f" and {len(users) - len(seen)} of other tenants" if len(seen) < len(users) else ""
        raise Refused(
            f'cannot delete Formation Constraint with ID "{constraint}" '
            f"because it is used by Formation Templates with IDs [{', '.join(seen)}]{others}"
        )
    await tx.run(DELETE, id=constraint)
    await append(tx, FormationConstraintsChanged(None, constraint))


@command("attachConstraintToFormationTemplate", scope="formation_constraint:write", reach=Reach.PLANE)
async def attach(
    tx: Tx, caller: Caller, constraint: FormationConstraintId, template: FormationTemplateId
) -> dict[str, Any]:
    """Have a constraint hold for the groups of a template, those there are already too. Safe to repeat.

    Raises NotFound (the constraint, the template), Unauthorized (an ancestor's template).
    Emits FormationConstraintsChanged when it is news.
    """
    await formation_template.lock(tx, caller, template)
    try:
        attached = await tx.run(ATTACH, template=template, constraint=constraint)
    except asyncpg.ForeignKeyViolationError:
        raise _absent() from None
    if attached:
        await append(tx, FormationConstraintsChanged(None, constraint))
    return _reference(constraint, template)


@command("detachConstraintFromFormationTemplate", scope="formation_constraint:write", reach=Reach.PLANE)
async def detach(
    tx: Tx, caller: Caller, constraint: FormationConstraintId, template: FormationTemplateId
) -> dict[str, Any]:
    """End that a constraint holds for the groups of a template.

    Raises NotFound (the template, the constraint, or that it was attached), Unauthorized (an ancestor's template).
    Emits FormationConstraintsChanged.
    """
    await formation_template.lock(tx, caller, template)
    if not await tx.run(DETACH, template=template, constraint=constraint):
        raise _absent()
    await append(tx, FormationConstraintsChanged(None, constraint))
    return _reference(constraint, template)


async def _lock(tx: Tx, constraint: FormationConstraintId) -> asyncpg.Record:
    found = await tx.row(LOCK, id=constraint)
    if found is None:
        raise _absent()
    return found


def _reference(constraint: FormationConstraintId, template: FormationTemplateId) -> dict[str, Any]:
    return {"constraintID": constraint, "formationTemplateID": template}


# What happens to groups

RULES: Final = """
JOIN formation_constraint rule ON rule.type = %(when)s AND rule.target_operation = ANY (%(targets)s::text[])
    AND rule.resource_type = subject.type AND rule.resource_subtype IN ('ANY', subject.subtype)
    AND (rule.scope = 'GLOBAL' OR EXISTS (
        SELECT FROM formation_template_constraint attached
        WHERE attached.formation_constraint_id = rule.id AND attached.formation_template_id = template.id
    ))
"""
"""SQL that joins the constraints to ask, `rule`, to a `subject` with type and subtype and the group's `template`."""
IN_ORDER: Final = "rule.priority DESC, rule.created_at, rule.id"
OF_GROUP = f"""
-- formation_constraint.of_group
SELECT rule.name, rule.operator, rule.input_template, template.name AS template
FROM formation_template template
CROSS JOIN LATERAL (SELECT 'FORMATION' AS type, template.name AS subtype) subject {RULES}
WHERE template.id = %(template)s
ORDER BY {IN_ORDER}
"""
OF_MEMBERS = f"""
-- formation_constraint.of_members
WITH given AS (
    SELECT * FROM ROWS FROM (jsonb_to_recordset(%(members)s) AS (formation uuid, id uuid, type text))
        WITH ORDINALITY
), found AS (
    SELECT given.formation, given.id, coalesce(given.type, member.type) AS type, given.ordinality,
        member.participant IS NOT NULL OR EXISTS (
            SELECT FROM automatic_scenario_assignment part
            WHERE part.formation_id = given.formation AND part.subaccount_id = given.id
        ) AS is_in
    FROM given LEFT JOIN formation_member_v1 member
        ON member.formation_id = given.formation AND member.participant = given.id
), subject AS (
    SELECT found.*, {constraint_operators.SUBTYPE.format(type="found.type", id="found.id")} AS subtype FROM found
    -- Who is in the group already does not join it, and who is not does not leave it.
    WHERE is_in = %(is_in)s::boolean OR %(is_in)s IS NULL
)
SELECT rule.name, rule.operator, rule.input_template, template.name AS template, template.id AS template_id,
    formation.id AS formation_id, formation.name AS formation_name, formation.tenant_id,
    subject.id, subject.type, subject.subtype
FROM subject
JOIN formation ON formation.id = subject.formation
JOIN formation_template template ON template.id = formation.formation_template_id {RULES}
ORDER BY {IN_ORDER}, subject.ordinality
"""
_OPERATIONS: Final[Mapping[Target, str]] = {
    Target.ASSIGN_FORMATION: "assign",
    Target.UNASSIGN_FORMATION: "unassign",
    Target.CREATE_FORMATION: "createFormation",
    Target.DELETE_FORMATION: "deleteFormation",
}
_IS_IN: Final[Mapping[tuple[When, Target], bool]] = {
    (When.PRE, Target.ASSIGN_FORMATION): False,
    (When.PRE, Target.UNASSIGN_FORMATION): True,
}


@dataclass(frozen=True)
class Member:
    """An object that joins or leaves a group."""

    formation: str
    id: str
    type: str | None = None
    """`APPLICATION`, `RUNTIME`, `RUNTIME_CONTEXT` or `TENANT`; need not be said of a participant."""


async def enforce_on_members(tx: Tx, when: When, target: Target, members: Sequence[Member]) -> None:
    """Refuse that objects join or leave groups, or just did, when a constraint that holds for one is not satisfied.

    PRE, those are passed over whom it is no news. One statement, and at most one for each constraint, whatever the
    number of objects. Raises Refused.
    """
    found = await tx.rows(
        OF_MEMBERS,
        when=when,
        targets=[target],
        members=[vars(member) for member in members],
        is_in=_IS_IN.get((when, target)),
    )
    for _, rows in groupby(found, key=lambda row: row["name"]):
        concerned = list(rows)
        await _require_satisfied(tx, concerned[0], [_about_member(row, _OPERATIONS[target]) for row in concerned])


def _about_member(row: asyncpg.Record, operation: str) -> Occasion:
    return Occasion(
        operation=operation,
        formation_id=row["formation_id"],
        formation_name=row["formation_name"],
        formation_template_id=row["template_id"],
        formation_type=row["template"],
        tenant_id=row["tenant_id"],
        resource_type=row["type"],
        resource_subtype=row["subtype"] or "",
        resource_id=row["id"],
    )


async def enforce_on_group(tx: Tx, when: When, target: Target, group: asyncpg.Record | Mapping[str, Any]) -> None:
    """Refuse that a group is created or deleted, or just was, when a constraint that holds for it is not satisfied.

    `group` is its row, or what will be one: `id`, `name`, `formation_template_id`, `tenant_id`. One statement, and
    those of the operators. Raises Refused.
    """
    found = await tx.rows(OF_GROUP, when=when, targets=[target], template=group["formation_template_id"])
    for rule in found:
        await _require_satisfied(tx, rule, [about_group(rule, _OPERATIONS[target], group)])


def about_group(rule: asyncpg.Record, operation: str, group: asyncpg.Record | Mapping[str, Any]) -> Occasion:
    """What there is to know of a group that something happens to, for a row of OF_GROUP."""
    return Occasion(
        operation=operation,
        formation_id=group["id"] or "",
        formation_name=group["name"],
        formation_template_id=group["formation_template_id"],
        formation_type=rule["template"],
        tenant_id=group["tenant_id"],
        resource_type="FORMATION",
        resource_subtype=rule["template"],
        resource_id=group["id"] or "",
    )


async def _require_satisfied(tx: Tx, rule: asyncpg.Record, occasions: Sequence[Occasion]) -> None:
    outcomes = await constraint_operators.decide_all(tx, rule["operator"], rule["input_template"], occasions)
    for outcome in outcomes:
        if not outcome.satisfied:
            raise violated(rule["name"], rule["operator"], outcome.why)
