"""Constraint operators: what each decides about what is to happen to a group, or just did.

A constraint's template renders the operator's input over the facts of the occasion. Those about the groups themselves
permit or refuse; those about notifications also say where one goes, or what is taken for a participant's answer.
Source: contract/director.md §15, the names; inputs and effects are derived from them, docs/guide/constraints.md.
"""

import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cache
from typing import Any, Final

import asyncpg
import orjson

from compass.director.formation_assignment import REPORTED
from compass.errors import Code, CompassError
from compass.gotemplate import Record, render_json
from compass.inputs import snake, web_address
from compass.postgres.pool import Tx

# Occasions


class When(StrEnum):
    """Before something happens or after it, in the same transaction; UI is for user interfaces, and never enforced."""

    PRE = "PRE"
    POST = "POST"
    UI = "UI"


class Target(StrEnum):
    """What may be constrained."""

    ASSIGN_FORMATION = "ASSIGN_FORMATION"
    UNASSIGN_FORMATION = "UNASSIGN_FORMATION"
    CREATE_FORMATION = "CREATE_FORMATION"
    DELETE_FORMATION = "DELETE_FORMATION"
    GENERATE_FORMATION_ASSIGNMENT_NOTIFICATION = "GENERATE_FORMATION_ASSIGNMENT_NOTIFICATION"
    GENERATE_FORMATION_NOTIFICATION = "GENERATE_FORMATION_NOTIFICATION"
    LOAD_FORMATIONS = "LOAD_FORMATIONS"
    SELECT_SYSTEMS_FOR_FORMATION = "SELECT_SYSTEMS_FOR_FORMATION"
    SEND_NOTIFICATION = "SEND_NOTIFICATION"
    NOTIFICATION_STATUS_RETURNED = "NOTIFICATION_STATUS_RETURNED"


@dataclass(frozen=True)
class Occasion:
    """What templates see, as `.Operation`, `.FormationID` and so on; what an occasion does not have is empty."""

    operation: str = ""
    """`assign`, `unassign`, `createFormation` or `deleteFormation`, as in the templates of webhooks."""
    formation_id: str = ""
    formation_name: str = ""
    formation_template_id: str = ""
    formation_type: str = ""
    """The name of the template."""
    tenant_id: str = ""
    resource_type: str = ""
    """Of a notification: the participant that is told."""
    resource_subtype: str = ""
    resource_id: str = ""
    source_resource_type: str = ""
    """The participant that the other is told about."""
    source_resource_subtype: str = ""
    source_resource_id: str = ""
    formation_assignment_id: str = ""
    configuration: str = ""
    """What the participant is configured with; when it answers or reports, what it answers or reports."""
    reverse_configuration: str = ""
    """What the other one is configured with towards it."""
    state: str = ""
    """Of the assignment; when the participant answers or reports, what it answers or reports."""
    webhook_id: str = ""
    webhook_mode: str = ""
    url: str = ""
    """Where the notification is to go."""

    def record(self) -> Record:
        """The facts as templates name them."""
        return Record({_template_name(entry.name): getattr(self, entry.name) for entry in fields(self)})


def _template_name(name: str) -> str:
    upper = {"id": "ID", "url": "URL"}
    return "".join(upper.get(part, part.capitalize()) for part in name.split("_"))


@dataclass(frozen=True)
class Outcome:
    """What an operator makes of an occasion."""

    satisfied: bool = True
    why: str = ""
    """What else there is to say when it is not satisfied."""
    url: str | None = None
    """Where the notification goes instead."""
    awaits_report: bool = False
    """Whether the answer to the notification decides nothing yet."""
    state: str | None = None
    """What counts as answered or reported instead."""
    configuration: str | None = None
    """What counts as the configuration that came with it."""


_SATISFIED: Final = Outcome()
_NOT_SATISFIED: Final = Outcome(satisfied=False)


def _outcome(satisfied: bool) -> Outcome:  # noqa: FBT001  # the answer of the database
    return _SATISFIED if satisfied else _NOT_SATISFIED


# What operators decide

_CASES: Final = "ROWS FROM (jsonb_to_recordset(%(cases)s) AS ({columns})) WITH ORDINALITY AS given ({names}, number)"


def _cases(**columns: str) -> str:
    """SQL for the cases that are to be decided, as rows."""
    typed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    return _CASES.format(columns=typed, names=", ".join(columns))


IN_ANOTHER = f"""
-- constraint_operators.in_another
SELECT given.number FROM {_cases(object="uuid", template="text", formation="uuid")}
WHERE EXISTS (
    SELECT FROM formation_member_v1 member JOIN formation ON formation.id = member.formation_id
    WHERE member.participant = given.object
        AND formation.formation_template_id::text = lower(given.template) AND formation.id <> given.formation
) OR EXISTS (
    SELECT FROM automatic_scenario_assignment part JOIN formation ON formation.id = part.formation_id
    WHERE part.subaccount_id = given.object
        AND formation.formation_template_id::text = lower(given.template) AND formation.id <> given.formation
)
"""
ONE_AFTER_THE_OTHER = """
-- constraint_operators.one_after_the_other
SELECT FROM formation_template WHERE id = %(template)s FOR NO KEY UPDATE
"""
ANOTHER = """
-- constraint_operators.another
SELECT EXISTS (
    SELECT FROM formation WHERE tenant_id = %(tenant)s AND formation_template_id = %(template)s
        AND name <> %(name)s
)
"""
SUBTYPE: Final = """
    CASE {type}
        WHEN 'APPLICATION' THEN (SELECT label.value #>> '{{}}' FROM application_label label
            WHERE label.application_id = {id} AND label.key = 'applicationType')
        WHEN 'RUNTIME' THEN (SELECT label.value #>> '{{}}' FROM runtime_label label
            WHERE label.runtime_id = {id} AND label.key = 'runtimeType')
        WHEN 'RUNTIME_CONTEXT' THEN (SELECT label.value #>> '{{}}' FROM runtime_context context
            JOIN runtime_label label ON label.runtime_id = context.runtime_id AND label.key = 'runtimeType'
            WHERE context.id = {id})
        WHEN 'TENANT' THEN (SELECT tenant.type FROM tenant WHERE tenant.id = {id})
    END
"""
"""The subtype of an object: its type label, that of a context's runtime, or what kind of tenant it is."""
CONTAINS = f"""
-- constraint_operators.contains
SELECT given.number FROM {_cases(formation="uuid", object="uuid", type="text", subtype="text")}
WHERE EXISTS (
    SELECT FROM formation_member_v1 member
    WHERE member.formation_id = given.formation AND member.type = given.type
        AND member.participant IS DISTINCT FROM given.object
        AND given.subtype IN ('ANY', {SUBTYPE.format(type="member.type", id="member.participant")})
)
"""
HAS_SCENARIO_GROUP = f"""
-- constraint_operators.has_scenario_group
SELECT given.number FROM {_cases(application="uuid", required="text[]")}
WHERE EXISTS (
    SELECT FROM system_auth WHERE application_id = given.application AND scenario_groups && given.required
)
"""


def _found(rows: Sequence[asyncpg.Record], cases: Sequence[object]) -> list[bool]:
    """For each case whether it is among the rows that a statement found."""
    numbers = {row["number"] for row in rows}
    return [number in numbers for number in range(1, len(cases) + 1)]


@dataclass(frozen=True)
class OfType:
    """Input of IsNotAssignedToAnyFormationOfType."""

    formation_template_id: str = ""
    """Empty: the group's own."""
    except_subtypes: tuple[str, ...] = ()


async def is_not_assigned_to_any_of_type(tx: Tx, cases: Sequence[tuple[Occasion, OfType]]) -> list[Outcome]:
    """Satisfied unless the object is in another group of the template.

    A group itself counts as assigned to its tenant: a template may have one group a tenant.
    """
    if cases[0][0].resource_type == "FORMATION":
        return [await _is_the_only_one(tx, of, given) for of, given in cases]
    asked = [
        {
            "object": of.resource_id or None,
            "template": given.formation_template_id or of.formation_template_id,
            "formation": of.formation_id or None,
        }
        for of, given in cases
    ]
    in_another = _found(await tx.rows(IN_ANOTHER, cases=asked), asked)
    return [
        _outcome(of.resource_subtype in given.except_subtypes or not found)
        for (of, given), found in zip(cases, in_another, strict=True)
    ]


async def _is_the_only_one(tx: Tx, of: Occasion, given: OfType) -> Outcome:
    if of.resource_subtype in given.except_subtypes:
        return _SATISFIED
    template = given.formation_template_id or of.formation_template_id
    # Two that are created at once would not see each other.
    await tx.run(ONE_AFTER_THE_OTHER, template=template)
    return _outcome(not await tx.value(ANOTHER, tenant=of.tenant_id, template=template, name=of.formation_name))


@dataclass(frozen=True)
class OfSubtype:
    """Input of DoesNotContainResourceOfSubtype."""

    resource_type: str = ""
    """Empty: the object's own."""
    resource_subtype: str = ""
    """Empty: the object's own; `ANY` is any and none."""


async def does_not_contain_resource_of_subtype(tx: Tx, cases: Sequence[tuple[Occasion, OfSubtype]]) -> list[Outcome]:
    """Satisfied unless somebody else in the group is of the type and subtype."""
    asked = [
        {
            "formation": of.formation_id or None,
            "object": of.resource_id or None,
            "type": given.resource_type or of.resource_type,
            "subtype": given.resource_subtype or of.resource_subtype,
        }
        for of, given in cases
    ]
    contained = _found(await tx.rows(CONTAINS, cases=asked), asked)
    return [_outcome(not found) for found in contained]


@dataclass(frozen=True)
class Groups:
    """Input of ContainsScenarioGroups."""

    required_scenario_groups: tuple[str, ...] = ()


async def contains_scenario_groups(tx: Tx, cases: Sequence[tuple[Occasion, Groups]]) -> list[Outcome]:
    """Satisfied when a token for the application was asked for in the name of one of the scenario groups."""
    asked = [
        {
            "application": of.resource_id if of.resource_type == "APPLICATION" else None,
            "required": given.required_scenario_groups,
        }
        for of, given in cases
    ]
    named = _found(await tx.rows(HAS_SCENARIO_GROUP, cases=asked), asked)
    return [
        _outcome(not given.required_scenario_groups or found) for (_, given), found in zip(cases, named, strict=True)
    ]


@dataclass(frozen=True)
class Exceptions:
    """Input of the two that keep notifications back."""

    source_resource_type: str = ""
    """Not empty: only about objects of that type."""
    except_formation_types: tuple[str, ...] = ()
    except_subtypes: tuple[str, ...] = ()
    """Subtypes of those who are told about all the same."""


def do_not_generate(of: Occasion, given: Exceptions) -> Outcome:
    """Never satisfied, but for the exceptions."""
    return _outcome(
        given.source_resource_type not in ("", of.source_resource_type)
        or of.formation_type in given.except_formation_types
        or of.source_resource_subtype in given.except_subtypes
    )


def do_not_generate_for_loops(of: Occasion, given: Exceptions) -> Outcome:
    """Satisfied unless the participant would be told about itself, but for the exceptions."""
    return _SATISFIED if of.resource_id != of.source_resource_id else do_not_generate(of, given)


@dataclass(frozen=True)
class Redirection:
    """Input of RedirectNotification."""

    url: str = ""
    should_redirect: bool = True


def redirect_notification(of: Occasion, given: Redirection) -> Outcome:
    """Satisfied; the notification goes to another address. Not satisfied when that is none."""
    if not given.should_redirect or given.url == of.url:
        return _SATISFIED
    wrong = web_address(given.url)
    return Outcome(satisfied=wrong is None, why=f"url {wrong}" if wrong else "", url=given.url)


@dataclass(frozen=True)
class Flow:
    """Input of AsynchronousFlowControl."""

    url: str = ""
    """Empty: the webhook's own."""
    should_redirect: bool = True
    fail_on_sync_participants: bool = False


def asynchronous_flow_control(of: Occasion, given: Flow) -> Outcome:
    """The notification goes to another address, if there is one, and its outcome is reported, whatever is answered.

    Not satisfied, when that is asked for, unless the webhook's mode is ASYNC_CALLBACK.
    """
    if given.fail_on_sync_participants and of.webhook_mode != "ASYNC_CALLBACK":
        return Outcome(satisfied=False, why="the webhook's mode is not ASYNC_CALLBACK")
    redirected = redirect_notification(of, Redirection(given.url or of.url, given.should_redirect))
    return Outcome(redirected.satisfied, redirected.why, redirected.url, awaits_report=True)


@dataclass(frozen=True)
class Mutation:
    """Input of ConfigMutator."""

    operation: str = ""
    """Not empty: only when the participant was told of that."""
    only_for_source_subtypes: tuple[str, ...] = ()
    """Not empty: only what is answered about objects of these."""
    state: str = ""
    modified_configuration: Any = ""
    """JSON, or a text that holds it; empty leaves the configuration as it is."""


def config_mutator(of: Occasion, given: Mutation) -> Outcome:
    """Satisfied; another state or configuration counts than the participant answered or reported.

    Not satisfied when that is a state it could not have reported itself, or no JSON.
    """
    only_for = given.only_for_source_subtypes
    if given.operation not in ("", of.operation) or (only_for and of.source_resource_subtype not in only_for):
        return _SATISFIED
    if given.state and (of.operation == "unassign", given.state) not in REPORTED:
        return Outcome(satisfied=False, why=f"a participant cannot report {given.state[:100]!r}")
    configuration = given.modified_configuration
    if isinstance(configuration, str) and configuration:
        try:
            configuration = orjson.loads(configuration)
        except orjson.JSONDecodeError:
            return Outcome(satisfied=False, why="modified_configuration is no JSON")
    # Source: contract/director.md §14, "Empty".
    kept = configuration in ("", {}, [])
    return Outcome(state=given.state or None, configuration=None if kept else orjson.dumps(configuration).decode())


# All of them

Decide = Callable[[Tx, Sequence[tuple[Occasion, Any]]], Awaitable[list[Outcome]]]
Moment = tuple[When, Target]

_ABOUT_GROUPS: Final[frozenset[Moment]] = frozenset(
    (when, target)
    for when in (When.PRE, When.POST)
    for target in (
        Target.ASSIGN_FORMATION,
        Target.UNASSIGN_FORMATION,
        Target.CREATE_FORMATION,
        Target.DELETE_FORMATION,
    )
)
_GENERATED: Final[frozenset[Moment]] = frozenset({(When.PRE, Target.GENERATE_FORMATION_ASSIGNMENT_NOTIFICATION)})
_SENT: Final[frozenset[Moment]] = frozenset({(When.PRE, Target.SEND_NOTIFICATION)})
_RETURNED: Final[frozenset[Moment]] = frozenset({(When.PRE, Target.NOTIFICATION_STATUS_RETURNED)})


@dataclass(frozen=True)
class Operator:
    """What decides, when, and upon what input."""

    moments: frozenset[Moment]
    input: type
    decide: Decide
    """For several occasions at once, each with its input."""


def _each(decide: Callable[[Occasion, Any], Outcome]) -> Decide:
    """One occasion after the other, without the database."""

    async def decide_all(_tx: Tx, cases: Sequence[tuple[Occasion, Any]]) -> list[Outcome]:
        return [decide(of, given) for of, given in cases]

    return decide_all


OPERATORS: Final[Mapping[str, Operator]] = {
    "IsNotAssignedToAnyFormationOfType": Operator(_ABOUT_GROUPS, OfType, is_not_assigned_to_any_of_type),
    "DoesNotContainResourceOfSubtype": Operator(_ABOUT_GROUPS, OfSubtype, does_not_contain_resource_of_subtype),
    "ContainsScenarioGroups": Operator(_ABOUT_GROUPS, Groups, contains_scenario_groups),
    "DoNotGenerateFormationAssignmentNotification": Operator(_GENERATED, Exceptions, _each(do_not_generate)),
    "DoNotGenerateFormationAssignmentNotificationForLoops": Operator(
        _GENERATED, Exceptions, _each(do_not_generate_for_loops)
    ),
    "RedirectNotification": Operator(_SENT, Redirection, _each(redirect_notification)),
    "AsynchronousFlowControl": Operator(_SENT, Flow, _each(asynchronous_flow_control)),
    "ConfigMutator": Operator(_RETURNED, Mutation, _each(config_mutator)),
}
DESTINATION_CREATOR: Final = "DestinationCreator"
"""The one that needs a service of one vendor."""


class OperatorInputUnusable(CompassError):
    """The template renders to JSON, but not to the operator's input; `reason` says why."""

    code = Code.INVALID_DATA
    message = "Invalid data"


async def decide(tx: Tx, operator: str, template: str, of: Occasion) -> Outcome:
    """What the operator makes of one occasion; see `decide_all`."""
    [outcome] = await decide_all(tx, operator, template, [of])
    return outcome


async def decide_all(tx: Tx, operator: str, template: str, occasions: Sequence[Occasion]) -> list[Outcome]:
    """What the operator makes of each occasion. At most two statements, whatever their number.

    With an input that cannot be used it is not satisfied: a rule that is broken must not let everything pass.
    """
    chosen = OPERATORS[operator]
    outcomes: list[Outcome | None] = []
    cases: list[tuple[Occasion, Any]] = []
    for of in occasions:
        try:
            cases.append((of, _read(chosen.input, render_json(template, of.record()))))
            outcomes.append(None)
        except CompassError as error:
            why = f"its input cannot be used: {error.facts['reason']}"
            outcomes.append(Outcome(satisfied=False, why=why))
    decided = iter(await chosen.decide(tx, cases) if cases else ())
    return [next(decided) if outcome is None else outcome for outcome in outcomes]


def try_out(operator: str, template: str) -> str | None:
    """What is wrong with the template of an operator's input, seen over facts without content."""
    try:
        _read(OPERATORS[operator].input, render_json(template, Occasion().record()))
    except CompassError as error:
        return error.facts["reason"]
    return None


def _read(kind: Any, made: object) -> Any:
    """The input from what the template made. Further names are left out, as there is nothing they could mean."""
    if not isinstance(made, dict):
        raise OperatorInputUnusable(reason="the template must render a JSON object")
    expected = _expected(kind)
    values: dict[str, Any] = {}
    for name, value in made.items():
        wanted = expected.get(snake(name))
        if wanted is None or value is None:
            continue
        read, wording = wanted
        values[snake(name)] = read(value)
        if values[snake(name)] is None:
            raise OperatorInputUnusable(reason=f"the template must render {name} as {wording}")
    return kind(**values)


def _text(value: object) -> str | None:
    # The database has no texts with NUL.
    return value if isinstance(value, str) and "\0" not in value else None


def _texts(value: object) -> tuple[str, ...] | None:
    return tuple(value) if isinstance(value, list) and all(_text(entry) is not None for entry in value) else None


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


_KINDS: Final[Mapping[object, tuple[Callable[[object], Any], str]]] = {
    str: (_text, "a text"),
    tuple[str, ...]: (_texts, "a list of texts"),
    bool: (_flag, "true or false"),
    Any: (lambda value: value, "JSON"),
}


@cache  # one entry per operator's input
def _expected(kind: Any) -> Mapping[str, tuple[Callable[[object], Any], str]]:
    return {name: _KINDS[hint] for name, hint in typing.get_type_hints(kind).items()}
