"""Label definitions: the one there is says which groups a tenant has, as a JSON schema of the label `scenarios`.

It is the tenant's groups seen from another side, for clients that know groups only so: the definition is there while
the tenant has a group, and its `enum` are their names. Source: contract/director.md §5, §14.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Final

import orjson

from compass.access.caller import Caller
from compass.commands import Selection, command
from compass.director import formation
from compass.director.formation import NewFormation
from compass.director.label import SCENARIOS
from compass.errors import InvalidData, InvalidInput, NotFound, NotUnique
from compass.ids import TenantId
from compass.inputs import OneOfValues, input_from
from compass.postgres.pool import Tx
from compass.reads.plan import Many, One, Query, Read

_PATTERN: Final = r"^[A-Za-z0-9]([-_A-Za-z0-9\s]*[A-Za-z0-9])$"
_LONGEST_NAME: Final = 128
_MOST_NAMES: Final = 10_000
_MOST_CHANGES: Final = 500
"""Groups that one call creates and removes: each costs statements of its own."""

# Inputs


def _problem(schema: str) -> str | None:
    try:
        given = orjson.loads(schema)
    except orjson.JSONDecodeError:
        return "must be valid JSON"
    items = given.get("items") if isinstance(given, dict) else None
    names = items.pop("enum", None) if isinstance(items, dict) else None
    fixed = {
        "type": "array",
        "minItems": 1,
        "uniqueItems": True,
        "items": {"type": "string", "pattern": _PATTERN, "maxLength": _LONGEST_NAME},
    }
    # As texts: to Python, true is 1.
    if orjson.dumps(given, option=orjson.OPT_SORT_KEYS) != orjson.dumps(fixed, option=orjson.OPT_SORT_KEYS):
        return f"only the enum of the items may differ from {orjson.dumps(fixed).decode()}"
    if not isinstance(names, list) or not names:
        return "the enum of the items must be a list of at least one name"
    if len(names) > _MOST_NAMES:
        return f"the enum of the items must have no more than {_MOST_NAMES} names"
    for name in names:
        wrong = _wrong_name(name)
        if wrong is not None:
            return wrong
    return None if len(set(names)) == len(names) else "a name is in the enum of the items twice"


def _wrong_name(name: Any) -> str | None:
    if not isinstance(name, str):
        return "the enum of the items must have texts only"
    try:
        input_from(NewFormation, "LabelDefinitionInput", {"name": name})
    except InvalidInput as refusal:
        return f"{name[:_LONGEST_NAME]!r} in the enum of the items: {refusal.facts['name']}"
    return None


@dataclass(frozen=True)
class NewLabelDefinition:
    """Which groups there shall be."""

    key: Annotated[str, OneOfValues(frozenset({SCENARIOS}))]
    schema: str | None = None

    def problems(self) -> dict[str, str]:
        """The schema is needed, and is the fixed one."""
        problem = _problem(self.schema) if self.schema else "cannot be blank"
        return {} if problem is None else {"schema": problem}

    def groups(self) -> list[str]:
        """The names of the groups, sorted: calls that lock several do so in one order."""
        names: list[str] = orjson.loads(self.schema or "")["items"]["enum"]
        return sorted(names)


# How it is read

_SHOWN: Final = f"""
    SELECT '{SCENARIOS}' AS key, jsonb_build_object(
        'type', 'array', 'minItems', 1, 'uniqueItems', true, 'items', jsonb_build_object(
            'type', 'string', 'pattern', '{_PATTERN}', 'maxLength', {_LONGEST_NAME},
            'enum', jsonb_agg(name ORDER BY name COLLATE "C")
        )
    )::text AS schema
    FROM formation
"""
_SOURCE: Final = f"({_SHOWN} WHERE tenant_id = {{tenant}} HAVING count(*) > 0) {{c}}"

LABEL_DEFINITION = Read("LabelDefinition", table="formation", fields={"key": "key", "schema": "schema"})
READS = (LABEL_DEFINITION,)
QUERIES = (
    Query(
        "labelDefinitions",
        scope="label_definition:read",
        read=Many("LabelDefinition", source=_SOURCE, on="true", order="{c}.key"),
    ),
    Query(
        "labelDefinition",
        scope="label_definition:read",
        read=One("LabelDefinition", source=_SOURCE, on="{c}.key = {arg:key}::text"),
    ),
)

# Commands

# Of two that define at the same time, the second must see what the first did.
ALONE = """
-- label_definition.alone
SELECT pg_advisory_xact_lock(hashtext('compass.director.label_definition'), hashtext(%(tenant)s::uuid::text))
"""
GROUPS = """
-- label_definition.groups
SELECT coalesce(array_agg(name), '{}') FROM formation WHERE tenant_id = %(tenant)s
"""
SHOWN = f"""
-- label_definition.shown
{_SHOWN} WHERE tenant_id = %(tenant)s
"""


@command("createLabelDefinition", scope="label_definition:write")
async def create(tx: Tx, caller: Caller, new: NewLabelDefinition) -> dict[str, Any]:
    """Create the tenant's first groups, of the default template: one for each name in the schema.

    Three statements, and as many for each group as to create it. Raises NotUnique when the tenant has groups already,
    InvalidData for too many at once. Emits FormationCreated for each.
    """
    tenant = caller.in_tenant()
    if await _groups(tx, tenant):
        raise NotUnique(object="labelDefinition")
    names = new.groups()
    _require_few(len(names))
    for name in names:
        await formation.create(tx, caller, NewFormation(name))
    return await _shown(tx, tenant)


@command("updateLabelDefinition", scope="label_definition:write")
async def update(tx: Tx, caller: Caller, changes: NewLabelDefinition) -> dict[str, Any]:
    """Create the groups that the schema names and are not there, remove those that it does not name.

    All of it or nothing. Raises NotFound when the tenant has no groups, Refused when one to be removed is not empty,
    InvalidData for too many at once. Emits FormationCreated and FormationDeleted.
    """
    tenant = caller.in_tenant()
    before = await _groups(tx, tenant)
    if not before:
        raise NotFound(object="labelDefinition")
    wanted = changes.groups()
    _require_few(len(before.symmetric_difference(wanted)))
    for name in sorted(before.difference(wanted)):
        await formation.delete(tx, caller, NewFormation(name), asked=Selection())
    for name in wanted:
        if name not in before:
            await formation.create(tx, caller, NewFormation(name))
    return await _shown(tx, tenant)


def _require_few(changes: int) -> None:
    if changes > _MOST_CHANGES:
        raise InvalidData(
            reason=f"one call creates and removes no more than {_MOST_CHANGES} formations, and this is {changes}"
        )


async def _groups(tx: Tx, tenant: TenantId) -> set[str]:
    """The names of the tenant's groups, which no other definition changes until the transaction ends."""
    await tx.value(ALONE, tenant=tenant)
    return set(await tx.value(GROUPS, tenant=tenant))


async def _shown(tx: Tx, tenant: TenantId) -> dict[str, Any]:
    shown = await tx.row(SHOWN, tenant=tenant)
    if shown is None:
        raise AssertionError("an aggregate always has a row")
    return dict(shown)
