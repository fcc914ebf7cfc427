# ruff: noqa: E501
# Tables of data, and statements: wrapping them hides their shape.
"""Random valid queries over a schema: what a client may write, in every shape the grammar allows.

Every random choice comes from one `random.Random`, so a seed is a query.
"""

import base64
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import graphql

Path = tuple[str, ...]


@dataclass
class Asked:
    """A query, its variables, and the arguments in it that must be refused: response path and code."""

    text: str
    variables: dict[str, Any]
    planted: frozenset[tuple[Path, int]]
    used: frozenset[str]
    """The fields in it, `Type.field`."""


@dataclass(frozen=True)
class Pool:
    """Values for arguments that have a meaning in the data."""

    ids: Mapping[str, Sequence[str]]
    """By table."""
    tenants: Sequence[str]
    formations: Sequence[str]
    label_keys: Sequence[str] = (
        "tier", "scenarios", "runtimeType", "numbers", "flag", "global_subaccount_id", "systemRole", "odd key", "managed",
        "region", "nobody_has_it",
    )  # fmt: skip


_FILTERS = (
    {"key": "tier"}, {"key": "managed"}, {"key": "odd key"}, {"key": "tier", "query": '"gold"'}, {"key": "tier", "query": '["gold"]'},
    {"key": "tier", "query": "1"}, {"key": "scenarios", "query": '$[*] ? (@ == "two" || @ == "three")'},
    {"key": "scenarios", "query": '$[*]?(@=="one")'}, {"key": "systemRole", "query": '$[*] ? ( @ == "S4" )'},
    {"key": "runtimeType", "query": '$[*] ? (@ == "kyma")'}, {"key": "numbers", "query": '{"a": 1.50}'},
    {"key": "numbers", "query": "[1]"}, {"key": "numbers", "query": "[[3]]"}, {"key": "numbers", "query": "2"},
    {"key": "flag", "query": "true"}, {"key": "flag", "query": "1"}, {"key": "managed", "query": '"false"'},
    {"key": "odd key", "query": '{"nested": {"deep": [{"y": "z"}]}}'}, {"key": "odd key", "query": '{"nested": {"deep": "x"}}'},
    {"key": "global_subaccount_id", "query": '{"exists": false}'}, {"key": "global_subaccount_id", "query": '"sub-1"'},
    {"key": "isNormalized", "query": '"true"'}, {"key": "nobody_has_it"}, {"key": "tier", "query": None},
)  # fmt: skip
_WRONG_FILTERS = (
    {"key": "tier", "query": "gold"}, {"key": "scenarios", "query": '"one"'}, {"key": "runtimeType", "query": '$[*] ? (@ != "a")'},
    {"key": "scenarios", "query": '$[*] ? (@ == "a") || true'},
)  # fmt: skip
_TABLES = {
    "Query.application.id": "application", "Query.applicationsForRuntime.runtimeID": "runtime",
    "Query.applicationTemplate.id": "application_template",
    "Query.applicationByLocalTenantIDAndAppTemplateID.applicationTemplateID": "application_template",
    "Query.apisForApplication.appID": "application", "Query.eventsForApplication.appID": "application",
    "Query.runtime.id": "runtime", "Query.bundleByInstanceAuth.authID": "bundle_instance_auth",
    "Query.bundleInstanceAuth.id": "bundle_instance_auth", "Query.integrationSystem.id": "integration_system",
    "Query.systemAuth.id": "system_auth", "Query.formation.id": "formation", "Query.formationsForObject.objectID": "application",
    "Query.formationTemplate.id": "formation_template", "Query.formationConstraint.id": "formation_constraint",
    "Query.formationConstraintsByFormationType.formationTemplateID": "formation_template",
    "Query.healthChecks.origin": "application", "Query.webhookDeliveries.webhookID": "webhook",
    "Query.webhookDeliveries.id": "delivery",
    "Application.bundle.id": "bundle", "Application.apiDefinition.id": "api_definition",
    "Application.eventDefinition.id": "event_definition", "Bundle.instanceAuth.id": "bundle_instance_auth",
    "Bundle.apiDefinition.id": "api_definition", "Bundle.eventDefinition.id": "event_definition", "Bundle.document.id": "document",
    "Formation.formationAssignment.id": "formation_assignment", "Runtime.runtimeContext.id": "runtime_context",
    "Query.tenantByInternalID.id": "tenant",
    "Query.tenantByLowestOwnerForResource.id": "application", "Query.operation.id": "application",
    "Query.certificateSubjectMapping.id": "certificate_subject_mapping",
}  # fmt: skip
_UNCAPPED = frozenset({"tenants", "applicationsForRuntime", "applicationsByLocalTenantID"})
_FIELD_BUDGET = 260
_MANY_KEYS = 62


class Generator:
    """Writes queries. `known` says which fields are to be asked for."""

    def __init__(
        self, schema: graphql.GraphQLSchema, pool: Pool, chance: random.Random, known: frozenset[str], *, runtime: bool
    ) -> None:
        """`runtime`: a runtime asks, for whom the filter of `applications` means nothing."""
        self._runtime = runtime
        self._schema = schema
        self._pool = pool
        self._chance = chance
        self._known = known
        self._numbers = 0
        self._fields = 0
        self._values: dict[str, Any] = {}
        self._declared: dict[str, str] = {}
        self._fragments: dict[str, tuple[str, str]] = {}
        self._planted: set[tuple[Path, int]] = set()
        self._used: set[str] = set()

    def query(self) -> Asked:
        """One random query."""
        faulty = self._chance.random() < 0.3
        selection = self._selection("Query", (), depth=0, live=True, faulty=faulty)
        name = self._chance.choice(("", "Asked"))
        declared = ", ".join(f"${variable}: {kind}" for variable, kind in self._declared.items())
        head = f"query {name}({declared}) " if declared else self._chance.choice((f"query {name} " if name else "", ""))
        fragments = [f"fragment {name} on {kind} {text}" for name, (kind, text) in self._fragments.items()]
        body = [head + selection, *fragments]
        if self._chance.random() < 0.3:
            body.reverse()
        return Asked("\n".join(body), self._values, frozenset(self._planted), frozenset(self._used))

    def _coin(self, share: float) -> bool:
        return self._chance.random() < share

    def _new(self, letter: str) -> str:
        self._numbers += 1
        return f"{letter}{self._numbers}"

    # Selections. A key under one parent is either a field's own name, without arguments, or an alias that is used for
    # one field with one list of arguments: so any two selections of it can be merged.

    def _selection(self, type_name: str, path: Path, *, depth: int, live: bool, faulty: bool) -> str:
        kind = self._schema.type_map[type_name]
        if isinstance(kind, graphql.GraphQLUnionType | graphql.GraphQLInterfaceType):
            parts = self._of_abstract(kind, path, depth=depth, live=live)
        else:
            parts = self._of_object(type_name, path, depth=depth, live=live, faulty=faulty)
        self._chance.shuffle(parts)
        return "{ " + " ".join(parts) + " }"

    def _of_object(self, type_name: str, path: Path, *, depth: int, live: bool, faulty: bool) -> list[str]:
        names = [name for name in self._fields_of(type_name) if self._fits(type_name, name, depth)]
        if type_name == "Query":
            chosen = self._chance.choices(names, k=self._chance.choice((1, 1, 1, 2, 3)))
        else:
            chosen = self._chance.choices(names, k=self._chance.randint(1, min(8, 2 * len(names)))) if names else []
        parts: list[str] = []
        for name in chosen:
            if self._fields < _FIELD_BUDGET or not parts:
                parts += self._wrapped(type_name, name, path, depth=depth, live=live, faulty=faulty)
        if self._coin(0.15) or not parts:
            parts.append("__typename" if self._coin(0.5) else f"{self._new('t')}: __typename")
        leaves = [
            name for name in names if self._is_leaf(type_name, name) and not self._schema_field(type_name, name).args
        ]
        if leaves and type_name != "Query" and self._coin(0.03):
            chosen = [self._chance.choice([*leaves, "__typename"]) for _ in range(_MANY_KEYS)]
            self._used.update(f"{type_name}.{leaf}" for leaf in chosen)
            parts.append(" ".join(f"{self._new('k')}: {leaf}" for leaf in chosen))
        return parts

    def _wrapped(self, type_name: str, name: str, path: Path, *, depth: int, live: bool, faulty: bool) -> list[str]:
        """The field as it is, or in a fragment of either kind, or with a directive."""
        match self._chance.random():
            case share if share < 0.1:
                condition, directive, live_below = f" on {type_name}" if self._coin(0.5) else "", *self._directive(live)
                inner = self._field(type_name, name, path, depth=depth, live=live_below, faulty=faulty)
                return [f"...{condition}{directive} {{ {' '.join(inner)} }}"]
            case share if share < 0.2:
                directive, live_below = self._directive(live)
                old = [
                    known for known, (kind, _) in self._fragments.items() if kind == type_name and known.startswith("R")
                ]
                if old and type_name != "Query" and self._coin(0.5):
                    return [f"...{self._chance.choice(old)}{directive}"]
                # One that may be used again, elsewhere, must be free of planted mistakes: those have one path.
                again = type_name != "Query"
                fragment = self._new("R" if again else "F")
                inner = self._field(type_name, name, path, depth=depth, live=live_below, faulty=faulty and not again)
                self._fragments[fragment] = (type_name, "{ " + " ".join(inner) + " }")
                return [f"...{fragment}{directive}"]
            case _:
                return self._field(type_name, name, path, depth=depth, live=live, faulty=faulty)

    def _field(self, type_name: str, name: str, path: Path, *, depth: int, live: bool, faulty: bool) -> list[str]:
        self._fields += 1
        self._used.add(f"{type_name}.{name}")
        directive, live = self._directive(live)
        definition = self._schema_field(type_name, name)
        key = self._new("a") if definition.args or self._coin(0.2) else name
        arguments = self._arguments(type_name, name, (*path, key), live=live, faulty=faulty)
        shown = f"{key}: {name}" if key != name else name
        times = 2 if self._coin(0.08) else 1
        below = str(graphql.get_named_type(definition.type).name)
        texts = []
        for _ in range(times):
            inner = (
                "" if self._is_leaf(type_name, name)
                else " " + self._selection(below, (*path, key), depth=depth + 1, live=live, faulty=faulty)
            )  # fmt: skip
            texts.append(f"{shown}{arguments}{directive}{inner}")
        return texts

    def _of_abstract(self, kind: Any, path: Path, *, depth: int, live: bool) -> list[str]:
        parts = ["__typename"] if self._coin(0.7) else []
        common = list(kind.fields) if isinstance(kind, graphql.GraphQLInterfaceType) else []
        for name in common:
            if f"{kind.name}.{name}" in self._known and self._fits(kind.name, name, depth) and self._coin(0.5):
                parts += self._field(kind.name, name, path, depth=depth, live=live, faulty=False)
        for member in self._schema.get_possible_types(kind):
            for name in self._fields_of(member.name):
                if self._fits(member.name, name, depth) and self._coin(0.4):
                    # Members have different types under one name; an alias of its own keeps them apart.
                    inner = [f"{self._new('m')}: {name}"] if self._plain(member.name, name) else []
                    if not inner and self._coin(0.6):
                        aliased = self._aliased(member.name, name, path, depth=depth, live=live)
                        inner = [aliased]
                    if inner:
                        self._used.add(f"{member.name}.{name}")
                        parts.append(f"... on {member.name} {{ {' '.join(inner)} }}")
        return parts or ["__typename"]

    def _aliased(self, type_name: str, name: str, path: Path, *, depth: int, live: bool) -> str:
        key = self._new("m")
        definition = self._schema_field(type_name, name)
        arguments = self._arguments(type_name, name, (*path, key), live=live, faulty=False)
        below = str(graphql.get_named_type(definition.type).name)
        leaf = self._is_leaf(type_name, name)
        inner = "" if leaf else " " + self._selection(below, (*path, key), depth=depth + 1, live=live, faulty=False)
        return f"{key}: {name}{arguments}{inner}"

    def _plain(self, type_name: str, name: str) -> bool:
        return self._is_leaf(type_name, name) and not self._schema_field(type_name, name).args

    # What there is

    def _fields_of(self, type_name: str) -> list[str]:
        return [name for name in self._schema.type_map[type_name].fields if f"{type_name}.{name}" in self._known]  # type: ignore[attr-defined]  # called for types with fields

    def _schema_field(self, type_name: str, name: str) -> Any:
        return self._schema.type_map[type_name].fields[name]  # type: ignore[attr-defined]  # as above

    def _is_leaf(self, type_name: str, name: str) -> bool:
        return bool(graphql.is_leaf_type(graphql.get_named_type(self._schema_field(type_name, name).type)))

    def _fits(self, type_name: str, name: str, depth: int) -> bool:
        if self._is_leaf(type_name, name):
            return True
        return depth < 9 and self._fields < _FIELD_BUDGET

    # Directives

    def _directive(self, live: bool) -> tuple[str, bool]:
        if not self._coin(0.08):
            return "", live
        verb, value = self._chance.choice(("include", "skip")), self._coin(0.6)
        shown = "$" + self._boolean(value) if self._coin(0.7) else str(value).lower()
        return f" @{verb}(if: {shown})", live and value == (verb == "include")

    def _boolean(self, value: bool) -> str:
        variable = self._new("b")
        if self._coin(0.3):
            self._declared[variable] = f"Boolean = {'true' if value else 'false'}"
            self._declared[variable] = self._declared[variable].replace(
                "Boolean", self._chance.choice(("Boolean", "Boolean!"))
            )
        else:
            self._declared[variable] = "Boolean!"
            self._values[variable] = value
        return variable

    # Arguments

    def _arguments(self, type_name: str, name: str, path: Path, *, live: bool, faulty: bool) -> str:
        given = []
        for argument, definition in self._schema_field(type_name, name).args.items():
            required = graphql.is_required_argument(definition)
            if not required and self._coin(0.4):
                continue
            value, code = self._value(type_name, name, argument, faulty=faulty and self._coin(0.2))
            if code is not None and live:
                self._planted.add((path, code))
            given.append(f"{argument}: {self._written(value, str(definition.type))}")
        return f"({', '.join(given)})" if given else ""

    def _value(self, type_name: str, name: str, argument: str, *, faulty: bool) -> tuple[Any, int | None]:
        chance = self._chance
        match argument:
            case "first" if type_name == "Query" and name == "healthChecks":
                return chance.choice((1, 200)), None
            case "first":
                if faulty and (name in _UNCAPPED or (self._runtime and name == "applications")):
                    return chance.choice((0, -1, None)), 22
                if faulty and name == "certificateSubjectMappings":
                    return chance.choice((0, 301, -5, None)), 22
                if faulty:
                    return chance.choice((0, 201, -5, None)), 22
                return chance.choice((1, 1, 2, 3, 5, 200)), None
            case "after" if name == "healthChecks":
                return "", None
            case "after":
                if faulty:
                    return chance.choice(
                        (("!!!", 10), (_base64("DpKtJ4j9jDqx"), 10), (_base64("DpKtJ4j9jDq-1"), 22), ("\u00e9", 10))
                    )
                return chance.choice(
                    (_base64("DpKtJ4j9jDq%d" % chance.randint(0, 4)), _base64(str(chance.randint(0, 3))), "", None)
                ), None
            case "filter":
                rules = [dict(chance.choice(_FILTERS)) for _ in range(chance.choice((0, 1, 1, 1, 2, 3)))]
                if faulty and not (self._runtime and name == "applications"):
                    return [*rules, dict(chance.choice(_WRONG_FILTERS))], 10
                return chance.choice((rules, rules, rules, rules, rules, None)), None
            case "orderBy":
                order = chance.choice(("NAME", "NAME_DESC", "CREATED", "CREATED_DESC", None))
                return order and Name(order), None
            case "key":
                return chance.choice(self._pool.label_keys), None
            case "group":
                return chance.choice(("plain", "", "some group", None)), None
            case "systemNumber":
                return chance.choice(("0", "1", "2", "5", "")), None
            case "localTenantID":
                return chance.choice(("", "plain", "plain", "snow \u2603 \U0001f600", "nobody")), None
            case "searchTerm":
                return chance.choice(("", "tenant", "EXTERNAL-1", self._pool.tenants[0][:6], "%", "no such")), None
            case "state":
                return Name(chance.choice(("PENDING", "DELIVERED", "DEAD"))), None
            case "type" if name == "webhookDeliveries":
                return Name(chance.choice(("CONFIGURATION_CHANGED", "FORMATION_LIFECYCLE"))), None
            case "since" | "until" if faulty:
                return chance.choice(("soon", "2026-01-02", "2026-13-02T00:00:00Z")), 22
            case "since" | "until":
                return chance.choice(("2026-01-02T00:00:00Z", "2026-01-03T01:00:00+02:00", None)), None
            case "tests":
                return chance.choice((True, False, None)), None
            case "types":
                return ["MANAGEMENT_PLANE_APPLICATION_HEALTHCHECK"], None
            case "name" if name == "formationTemplatesByName":
                return chance.choice(("template-0", "template-1", "template-2", "no such template")), None
            case "name":
                return chance.choice([*self._pool.formations, "no such group"]), None
            case "resource":
                return chance.choice(("application", "application", "runtime", "bundle")), None
            case "scenarioName":
                return chance.choice([*self._pool.formations, "no such group"]), None
            case "selector":
                if faulty:
                    return {"key": chance.choice(("region", "")), "value": "external-0"}, 22
                selected = chance.choice(("external-0", "external-1", "external-2", "asleep", "nobody"))
                return {"key": "global_subaccount_id", "value": selected}, None
            case "externalTenant":
                return chance.choice(("external-0", "external-1", "external-2", "asleep", "nobody")), None
            case "id" if name == "tenantByExternalID":
                return chance.choice(("external-0", "external-1", "external-2", "asleep", "nobody")), None
            case _:
                known = self._pool.ids[_TABLES[f"{type_name}.{name}.{argument}"]]
                one = chance.choice(known) if known else "none"
                return chance.choice(
                    (one, one, one, one, one.upper(), "not-a-uuid", "00000000-0000-0000-0000-000000000000")
                ), None

    def _written(self, value: Any, kind: str) -> str:
        """As a literal, as a variable, or as a literal with variables in it."""
        nullable = not kind.endswith("!")
        if self._coin(0.4) and (value is not None or nullable):
            variable = self._new("v")
            self._declared[variable] = kind
            if value is not None and self._coin(0.2) and not isinstance(value, list):
                self._declared[variable] += f" = {_literal(value)}"
            else:
                self._values[variable] = value
            return f"${variable}"
        if isinstance(value, list) and value and isinstance(value[0], dict) and self._coin(0.4):
            entries = []
            for rule in value:
                members = []
                for name, entry in rule.items():
                    if entry is not None and self._coin(0.5):
                        variable = self._new("v")
                        self._declared[variable] = "String!"
                        self._values[variable] = entry
                        members.append(f"{name}: ${variable}")
                    else:
                        members.append(f"{name}: {_literal(entry)}")
                entries.append("{" + ", ".join(members) + "}")
            return "[" + ", ".join(entries) + "]"
        return _literal(value)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Name(str):
    """A value of an enumeration, which is written without quotes."""

    __slots__ = ()


def _literal(value: Any) -> str:
    if isinstance(value, Name):
        return value
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_literal(entry)}" for name, entry in value.items()) + "}"
    if isinstance(value, list):
        # The only lists of names are enumerations.
        return "[" + ", ".join(_literal(v) if isinstance(v, dict) else str(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False)


@dataclass
class Coverage:
    """Which fields were asked for over many queries."""

    used: set[str] = field(default_factory=set)

    def add(self, asked: Asked) -> None:
        """Count a query."""
        self.used |= asked.used
