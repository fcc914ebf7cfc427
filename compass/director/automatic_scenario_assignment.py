"""Automatic scenario assignments: a subaccount is part of a group, and with it every runtime that it owns.

A group has one at most. What the subaccount owns when it joins is made a participant then, what is registered in it
later with its registration: of the types that the group's template admits, and not in place of what was assigned by
hand. A participant that is one only because of this remembers what caused it, and is none any more when that ends.
Source: contract/director.md §14, §19.

Of two transactions that add a runtime and make its subaccount part of a group at once, the later one must see what the
earlier one did. Registering holds the rows of all the runtime's tenants (their foreign keys); who makes one of them
part of a group takes that row whole. The order is: tenants, groups, runtimes, contexts, other participants.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg

from compass.director import membership
from compass.director.constraint_operators import Target, When
from compass.director.formation_assignment import Joining, Leaving
from compass.director.formation_constraint import Member, enforce_on_members
from compass.errors import CompassError, InvalidInput, InvalidOperation, NotFound
from compass.ids import AutomaticScenarioAssignmentId, FormationId, RuntimeContextId, RuntimeId, TenantId
from compass.postgres.pool import Tx
from compass.reads.plan import Many, Object, One, Page, Query, Read

_SELECTOR: Final = "global_subaccount_id"
"""The one key by which runtimes are selected; its value is the external id of their subaccount."""
_MISSING: Final = "automaticScenarioAssigment"  # the contract's spelling
_KIND: Final = "TENANT"
"""What a subaccount is called where objects join groups."""
_READY: Final = "READY"

# How it is read

AUTOMATIC_SCENARIO_ASSIGNMENT = Read(
    "AutomaticScenarioAssignment",
    table="automatic_scenario_assignment",
    fields={
        "scenarioName": "(SELECT formation.name FROM formation WHERE formation.id = {t}.formation_id)",
        "selector": Object(
            {
                "key": f"'{_SELECTOR}'",
                "value": "(SELECT to_json(tenant.external_id) FROM tenant WHERE tenant.id = {t}.subaccount_id)",
            }
        ),
    },
)
AUTOMATIC_SCENARIO_ASSIGNMENT_EFFECT = Read(
    "AutomaticScenarioAssignmentEffect",
    table="automatic_scenario_assignment",
    fields={"objectID": "id", "objectType": "type", "name": "name"},
)
READS = (AUTOMATIC_SCENARIO_ASSIGNMENT, AUTOMATIC_SCENARIO_ASSIGNMENT_EFFECT)

_ADMITTED: Final = """
    (template.runtime_types && ARRAY['ANY', (
        SELECT label.value #>> '{}' FROM runtime_label label
        WHERE label.runtime_id = access.runtime_id AND label.key = 'runtimeType'
    )])
"""
"""That a template admits the runtime of a row of access."""
_GROUP: Final = "(SELECT id FROM formation WHERE tenant_id = {tenant} AND name = {arg:scenarioName}::text)"
_SUBACCOUNT: Final = """(
    SELECT id FROM tenant WHERE external_id = {arg:selector}::jsonb ->> 'value' AND status = 'Active'
        AND {tenant} IN (SELECT tenant_and_ancestors_v1(tenant.id))
)"""
# Wherever in the tree the subaccount is by now, as when it ends.
_RULE: Final = f"""
    FROM automatic_scenario_assignment own JOIN tenant ON tenant.id = own.subaccount_id
    WHERE own.formation_id = {_GROUP} AND tenant.external_id = {{arg:selector}}::jsonb ->> 'value'
"""
# As LOCK_COVERED and LOCK_CAUSED find them.
_EFFECTS: Final = f"""(
    WITH covered AS MATERIALIZED (
        SELECT runtime.id, runtime.name
        FROM formation
        JOIN formation_template template ON template.id = formation.formation_template_id
        JOIN runtime_tenant access ON access.tenant_id = {_SUBACCOUNT} AND access.owner
        JOIN runtime ON runtime.id = access.runtime_id
        WHERE formation.id = {_GROUP} AND {{arg:change}}::text = 'ASSIGN' AND {_ADMITTED}
    ), contexts AS MATERIALIZED (
        SELECT id, runtime_id, value FROM runtime_context WHERE runtime_id IN (SELECT id FROM covered)
    ), joining AS (
        SELECT id, 'RUNTIME_CONTEXT' AS type, value AS name FROM contexts
        UNION ALL
        SELECT id, 'RUNTIME', name FROM covered WHERE id NOT IN (SELECT runtime_id FROM contexts)
    )
    SELECT id, type, name FROM joining
    WHERE id NOT IN (SELECT participant FROM formation_member_v1 WHERE formation_id = {_GROUP})
        -- A group has one subaccount at most.
        AND NOT EXISTS (SELECT FROM automatic_scenario_assignment own WHERE own.formation_id = {_GROUP})
    UNION ALL
    SELECT caused.source, caused.source_type, coalesce(runtime.name, context.value)
    FROM formation_assignment caused
    LEFT JOIN runtime ON runtime.id = caused.source
    LEFT JOIN runtime_context context ON context.id = caused.source
    WHERE {{arg:change}}::text = 'UNASSIGN' AND caused.caused_by = (SELECT own.id {_RULE})
        AND caused.state NOT IN ('DELETING', 'DELETE_ERROR')
)"""


def _wrong_selector(arguments: Mapping[str, Any]) -> CompassError:
    given = arguments["selector"]
    problems = {name: "cannot be blank" for name, value in given.items() if not value.strip()}
    if given["key"] != _SELECTOR:
        problems.setdefault("key", "must be a valid value")
    return InvalidInput(input_type="LabelSelectorInput", **problems)


_SELECTED: Final = (
    f"{{arg:selector}}::jsonb ->> 'key' = '{_SELECTOR}' "
    "AND btrim({arg:selector}::jsonb ->> 'value', E' \\t\\n') <> ''"
)


def _not_to_be_had(arguments: Mapping[str, Any]) -> CompassError:
    given = arguments["selector"]
    if given["key"] != _SELECTOR or not given["value"].strip():
        return _wrong_selector(arguments)
    return NotFound(object="formation or tenant")


QUERIES = (
    Query(
        "automaticScenarioAssignments",
        scope="automatic_scenario_assignment:read",
        read=Page("AutomaticScenarioAssignment", on="{c}.tenant_id = {tenant}", order="{c}.id"),
    ),
    Query(
        "automaticScenarioAssignmentForScenario",
        scope="automatic_scenario_assignment:read",
        read=One(
            "AutomaticScenarioAssignment",
            source="formation JOIN automatic_scenario_assignment {c} ON {c}.formation_id = formation.id",
            on="formation.tenant_id = {tenant} AND formation.name = {arg:scenarioName}::text",
        ),
        absent=lambda _: NotFound(object=_MISSING),
    ),
    Query(
        "automaticScenarioAssignmentsForSelector",
        scope="automatic_scenario_assignment:read",
        read=Many(
            "AutomaticScenarioAssignment",
            source="tenant JOIN automatic_scenario_assignment {c} ON {c}.subaccount_id = tenant.id",
            on="{c}.tenant_id = {tenant} AND tenant.external_id = {arg:selector}::jsonb ->> 'value'",
            order="{c}.id",
            exists=_SELECTED,
        ),
        absent=_wrong_selector,
    ),
    Query(
        "automaticScenarioAssignmentEffects",
        scope="automatic_scenario_assignment:read",
        read=Page(
            "AutomaticScenarioAssignmentEffect",
            source=f"{_EFFECTS} {{c}}",
            on="true",
            order="{c}.type, {c}.name, {c}.id",
            exists=(
                f"{_GROUP} IS NOT NULL AND {_SELECTED} AND CASE {{arg:change}}::text "
                f"WHEN 'UNASSIGN' THEN EXISTS (SELECT {_RULE}) ELSE {_SUBACCOUNT} IS NOT NULL END"
            ),
        ),
        absent=_not_to_be_had,
    ),
)

# A subaccount joins and leaves

LOCK_SUBACCOUNT = """
-- automatic_scenario_assignment.lock_subaccount
SELECT id FROM tenant
WHERE external_id = %(subaccount)s AND status = 'Active'
    AND %(tenant)s::uuid IN (SELECT tenant_and_ancestors_v1(tenant.id))
FOR UPDATE
"""
CREATE = """
-- automatic_scenario_assignment.create
INSERT INTO automatic_scenario_assignment (tenant_id, formation_id, subaccount_id)
VALUES (%(tenant)s, %(formation)s, %(subaccount)s)
ON CONFLICT (formation_id) DO NOTHING
RETURNING id
"""
FIND = """
-- automatic_scenario_assignment.find
SELECT own.id, own.subaccount_id FROM automatic_scenario_assignment own JOIN tenant ON tenant.id = own.subaccount_id
WHERE own.formation_id = %(formation)s AND tenant.external_id = %(subaccount)s
"""
DELETE = """
-- automatic_scenario_assignment.delete
DELETE FROM automatic_scenario_assignment WHERE id = %(assignment)s
"""

# Who is a participant because of it

LOCK_COVERED = f"""
-- automatic_scenario_assignment.lock_covered
WITH runtimes AS MATERIALIZED (
    SELECT runtime.id
    FROM automatic_scenario_assignment own
    JOIN formation ON formation.id = own.formation_id
    JOIN formation_template template ON template.id = formation.formation_template_id
    JOIN runtime_tenant access ON access.tenant_id = own.subaccount_id AND access.owner
    JOIN runtime ON runtime.id = access.runtime_id
    WHERE own.id = %(assignment)s AND {_ADMITTED}
    ORDER BY runtime.id
    FOR NO KEY UPDATE OF runtime
), contexts AS MATERIALIZED (
    SELECT id, runtime_id FROM runtime_context WHERE runtime_id IN (SELECT id FROM runtimes)
    ORDER BY id FOR NO KEY UPDATE
)
SELECT id, 'RUNTIME_CONTEXT' AS type FROM contexts
UNION ALL
SELECT id, 'RUNTIME' FROM runtimes WHERE id NOT IN (SELECT runtime_id FROM contexts)
"""
# Of a new runtime the foreign keys hold these rows already.
LOCK_TENANTS = """
-- automatic_scenario_assignment.lock_tenants
SELECT tenant.id FROM tenant
WHERE tenant.id IN (SELECT tenant_id FROM runtime_tenant WHERE runtime_id = %(runtime)s AND owner)
ORDER BY tenant.id FOR KEY SHARE
"""
LOCK_COVERING = f"""
-- automatic_scenario_assignment.lock_covering
SELECT own.id AS assignment, formation.id, formation.state
FROM runtime_tenant access
JOIN automatic_scenario_assignment own ON own.subaccount_id = access.tenant_id
JOIN formation ON formation.id = own.formation_id
JOIN formation_template template ON template.id = formation.formation_template_id
WHERE access.runtime_id = %(runtime)s AND access.owner AND {_ADMITTED}
ORDER BY formation.id
FOR NO KEY UPDATE OF formation FOR KEY SHARE OF own
"""
LOCK_CAUSED = """
-- automatic_scenario_assignment.lock_caused
WITH caused AS (
    SELECT source AS id FROM formation_assignment
    WHERE caused_by = %(assignment)s AND state NOT IN ('DELETING', 'DELETE_ERROR')
), runtimes AS MATERIALIZED (
    SELECT id FROM runtime WHERE id IN (SELECT id FROM caused)
    ORDER BY id FOR NO KEY UPDATE
), parents AS MATERIALIZED (
    SELECT id FROM runtime
    WHERE id IN (SELECT runtime_id FROM runtime_context WHERE id IN (SELECT id FROM caused))
    ORDER BY id FOR KEY SHARE
), contexts AS MATERIALIZED (
    SELECT id FROM runtime_context
    WHERE id IN (SELECT id FROM caused) AND (SELECT count(*) FROM parents) >= 0
    ORDER BY id FOR NO KEY UPDATE
)
SELECT id FROM runtimes UNION ALL SELECT id FROM contexts
"""
# Whoever the template does not admit any more, or the subaccount lost, is not held: it could never be removed.
HOLD = f"""
-- automatic_scenario_assignment.hold
UPDATE formation_assignment self SET caused_by = own.id
FROM automatic_scenario_assignment own
JOIN formation ON formation.id = own.formation_id
JOIN formation_template template ON template.id = formation.formation_template_id
JOIN runtime_tenant access ON access.tenant_id = own.subaccount_id AND access.owner
WHERE own.formation_id = %(formation)s AND {_ADMITTED}
    AND (
        access.runtime_id = %(member)s
            AND NOT EXISTS (SELECT FROM runtime_context context WHERE context.runtime_id = access.runtime_id)
        OR access.runtime_id = (SELECT context.runtime_id FROM runtime_context context WHERE context.id = %(member)s)
    )
    AND self.formation_id = own.formation_id AND self.source = %(member)s AND self.target = self.source
    AND self.state NOT IN ('DELETING', 'DELETE_ERROR')
"""
RELEASE = """
-- automatic_scenario_assignment.release
UPDATE formation_assignment self SET caused_by = NULL
WHERE self.formation_id = %(formation)s AND self.source = %(member)s AND self.target = self.source
    AND self.caused_by IS NOT NULL
"""


async def lock_subaccount(tx: Tx, tenant: TenantId, external_id: str) -> TenantId:
    """The tenant of that external id, if it is the given one or below it. Nothing is registered in it meanwhile.

    Call it before the group is locked. One statement. Raises NotFound.
    """
    found: Any = await tx.value(LOCK_SUBACCOUNT, tenant=tenant, subaccount=external_id)
    if found is None:
        raise NotFound(object="tenant")
    return TenantId(found)


async def create(tx: Tx, tenant: TenantId, group: asyncpg.Record, subaccount: TenantId) -> None:
    """Make a locked subaccount part of a locked group: what it owns joins, a runtime's contexts in its place.

    Fourteen statements, and one for each further hundred that join; the pairs that are written grow with the square of
    the group. Raises InvalidOperation when the group has a subaccount, Refused (a constraint). Emits FormationAssigned
    for each that joins.
    """
    itself = [Member(group["id"], subaccount, _KIND)]
    await enforce_on_members(tx, When.PRE, Target.ASSIGN_FORMATION, itself)
    created: Any = await tx.value(CREATE, tenant=tenant, formation=group["id"], subaccount=subaccount)
    if created is None:
        raise InvalidOperation(reason="a given scenario already has an assignment")
    assignment = AutomaticScenarioAssignmentId(created)
    covered = await tx.rows(LOCK_COVERED, assignment=assignment)
    if covered:
        await membership.join(tx, [_joining(group, row["id"], row["type"], assignment) for row in covered])
    await enforce_on_members(tx, When.POST, Target.ASSIGN_FORMATION, itself)


async def delete(tx: Tx, group: asyncpg.Record, external_id: str) -> None:
    """Make a subaccount no part of a locked group any more, wherever in the tree it is by now.

    Whoever is in the group only because of it leaves. Fifteen statements, and one for each further hundred that leave.
    Raises NotFound when it is no part of it, Refused (a constraint). Emits FormationUnassigned for each that leaves.
    """
    found = await tx.row(FIND, formation=group["id"], subaccount=external_id)
    if found is None:
        raise NotFound(object=_MISSING)
    itself = [Member(group["id"], found["subaccount_id"], _KIND)]
    await enforce_on_members(tx, When.PRE, Target.UNASSIGN_FORMATION, itself)
    caused = await tx.rows(LOCK_CAUSED, assignment=found["id"])
    if caused:
        await membership.leave(tx, [_leaving(group, row["id"]) for row in caused])
    await tx.run(DELETE, assignment=found["id"])
    await enforce_on_members(tx, When.POST, Target.UNASSIGN_FORMATION, itself)


async def follow(tx: Tx, runtime: RuntimeId) -> None:
    """Have a runtime that was just registered join the groups that one of its tenants is part of.

    One statement where there are none, else ten, however many they are. Raises Refused (a constraint). Emits
    FormationAssigned for each.
    """
    groups = await tx.rows(LOCK_COVERING, runtime=runtime)
    if groups:
        await membership.join(tx, [_joining(group, runtime, "RUNTIME", group["assignment"]) for group in groups])


async def lock_covering(tx: Tx, runtime: RuntimeId) -> list[asyncpg.Record]:
    """The groups that a runtime, or its contexts, are in because of its tenants. Call it before the runtime is locked.

    Two statements.
    """
    await tx.rows(LOCK_TENANTS, runtime=runtime)
    return await tx.rows(LOCK_COVERING, runtime=runtime)


async def follow_in_place(
    tx: Tx, groups: Sequence[asyncpg.Record], runtime: RuntimeId, context: RuntimeContextId
) -> None:
    """Have a context that was just registered join these groups, and its runtime leave them.

    None where there are none, else eighteen, however many they are. Raises Refused (a constraint). Emits
    FormationAssigned and FormationUnassigned for each.
    Source: contract/director.md §7.
    """
    if groups:
        await membership.leave(tx, [_leaving(group, runtime) for group in groups])
        await membership.join(
            tx, [_joining(group, context, "RUNTIME_CONTEXT", group["assignment"]) for group in groups]
        )


async def holds(tx: Tx, formation: FormationId, member: str) -> bool:
    """Whether a participant stays one when nobody assigns it any more; from now on it is one only because of that.

    One statement.
    """
    return bool(await tx.run(HOLD, formation=formation, member=member))


async def release(tx: Tx, formation: FormationId, member: str) -> None:
    """Note that somebody assigned a participant that was one without it. Safe to repeat. One statement."""
    await tx.run(RELEASE, formation=formation, member=member)


def _joining(group: asyncpg.Record, member: str, kind: str, assignment: AutomaticScenarioAssignmentId) -> Joining:
    return Joining(FormationId(group["id"]), member, kind, waits=group["state"] != _READY, caused_by=assignment)


def _leaving(group: asyncpg.Record, member: str) -> Leaving:
    return Leaving(FormationId(group["id"]), member, silently=group["state"] != _READY)
