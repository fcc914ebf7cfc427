# ruff: noqa: A002, E501, N803
# Arguments are named as the schema names them; a resolver is one line where it can be.
"""The oracle: what the Director must answer, worked out the plain way.

graphql-core executes a document over the same SDL, with one naive resolver per field, over rows that were read by
`SELECT * FROM table`. Nothing of `compass.reads` is used: what the two agree on, two people worked out.
"""

import base64
import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
import graphql

from compass.access.caller import Caller, Consumer
from compass.vault import Vault
from tests.reads.landscape import ORDER

Row = Mapping[str, Any]


class Refusal(Exception):
    """A resolver refuses, with the contract's code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Told:
    """What the oracle says: the data, and every error as its path without list positions and its code."""

    data: Any
    errors: frozenset[tuple[tuple[str, ...], int]]


class World:
    """Every row of the database, by table."""

    def __init__(self, rows: Mapping[str, list[Row]], vault: Vault) -> None:
        self.rows = rows
        self.vault = vault
        self._by_id = {
            table: {row["id"]: row for row in those} for table, those in rows.items() if those and "id" in those[0]
        }

    @classmethod
    async def read(cls, dsn: str, vault: Vault) -> "World":
        """Load everything."""
        connection = await asyncpg.connect(dsn)
        try:
            return cls(
                {table: [_plain(r) for r in await connection.fetch(f"SELECT * FROM {table}")] for table in ORDER}, vault
            )
        finally:
            await connection.close()

    def get(self, table: str, key: str | None) -> Row | None:
        """The row of that id, or None."""
        return self._by_id.get(table, {}).get(_id(key))

    def where(self, table: str, **equal: Any) -> list[Row]:
        """The rows whose columns have these values."""
        return [row for row in self.rows[table] if all(row[name] == value for name, value in equal.items())]


def _plain(record: Any) -> Row:
    json_columns = {
        "value", "error", "facts", "placeholders", "labels", "api_resources", "event_resources", "request_headers",
        "response_headers",
    }  # fmt: skip
    return {
        name: json.loads(value)
        if name in json_columns and isinstance(value, str) and _is_jsonb(record, name)
        else _text(value)
        for name, value in record.items()
    }


def _is_jsonb(record: Any, name: str) -> bool:
    # Labels' values, and the error of a formation; a runtime context's value and every other `error` are text.
    return "formation_template_id" in record if name == "error" else name != "value" or "id" not in record


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, uuid.UUID) else value


def _id(text: str | None) -> str | None:
    """An id as the database compares it: not a UUID is no id of anything."""
    try:
        return str(uuid.UUID(text)) if text is not None else None
    except ValueError:
        return None


@dataclass(frozen=True)
class Asking:
    """One execution: the world, who asks, and the runtime whose view it is where the API has one."""

    world: World
    caller: Caller

    @property
    def tenant(self) -> str:
        return str(self.caller.tenant)


# A field's resolver gets the row, what is asked, and the arguments.
Resolver = Callable[..., Any]
RESOLVERS: dict[str, Resolver] = {}


def field(*names: str) -> Callable[[Resolver], Resolver]:
    """The resolver of these fields, `Type.field`."""

    def declared(resolver: Resolver) -> Resolver:
        for name in names:
            if name in RESOLVERS:
                raise AssertionError(name)
            RESOLVERS[name] = resolver
        return resolver

    return declared


def columns(type_name: str, **names: str) -> None:
    """Fields that are a column."""
    for field_name, column in names.items():
        field(f"{type_name}.{field_name}")(lambda row, _asking, column=column: row[column])


def times(type_name: str, **names: str) -> None:
    """Fields that are a time: RFC 3339, UTC, whole seconds."""
    for field_name, column in names.items():
        field(f"{type_name}.{field_name}")(lambda row, _asking, column=column: _time(row[column]))


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def guarded(scope: str, resolver: Resolver) -> Resolver:
    """Null for a caller without the scope."""

    def resolve(row: Row, asking: Asking, **arguments: Any) -> Any:
        return resolver(row, asking, **arguments) if scope in asking.caller.scopes else None

    return resolve


# Pages

_PREFIX = "DpKtJ4j9jDq"


def page(rows: Iterable[Row], first: int | None, after: str | None, largest: int | None = 200) -> Row:
    """One page of the rows, or the refusal of its arguments."""
    if first is None or first < 1 or (largest is not None and first > largest):
        raise Refusal(22)
    offset = 0
    if after:
        try:
            offset = int(base64.b64decode(after, validate=True).decode("ascii").removeprefix(_PREFIX))
        except ValueError as error:
            raise Refusal(10) from error
        if offset < 0:
            raise Refusal(22)
    everything = list(rows)
    more = offset + first < len(everything)
    end = base64.b64encode(f"{_PREFIX}{offset + first}".encode()).decode() if more else ""
    return {
        "data": everything[offset : offset + first],
        "totalCount": len(everything),
        "pageInfo": {"startCursor": after or "", "endCursor": end, "hasNextPage": more},
    }


def ordered(rows: Iterable[Row], order: str | None) -> list[Row]:
    """Rows that come by their ids, as a ListOrder has them."""
    if order is None:
        return list(rows)
    by_name = order.startswith("NAME")
    return sorted(
        rows,
        key=lambda row: (row["name"].lower() if by_name else row["created_at"], row["id"]),
        reverse=order.endswith("DESC"),
    )


# Labels


def _labels(world: World, table: str, owner: str, row: Row, key: str | None) -> dict[str, Any]:
    return {
        label["key"]: label["value"]
        for label in world.where(table, **{owner: row["id"]})
        if key is None or label["key"] == key
    }


def _contains(value: Any, wanted: Any, *, top: bool = True) -> bool:
    """What PostgreSQL's `jsonb @>` decides."""
    if isinstance(wanted, dict):
        return isinstance(value, dict) and all(
            name in value and _contains(value[name], entry, top=False) for name, entry in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(value, list) and all(
            any(_contains(entry, each, top=False) for entry in value) for each in wanted
        )
    if isinstance(value, list):
        # An array contains a bare scalar, but only at the top.
        return top and any(_contains(entry, wanted, top=False) for entry in value)
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    return not isinstance(value, dict) and bool(value == wanted)


_ANY_OF = re.compile(r"\$\[\*\]\s*\?\s*\((.*)\)")
_NAME = re.compile(r'\s*@\s*==\s*"([a-zA-Z0-9\-_\s]+)"\s*')


def _matches(labels: Mapping[str, Any], rule: Mapping[str, Any]) -> bool:
    key, query = rule["key"], rule.get("query")
    if query is None:
        return key in labels
    if key in ("scenarios", "runtimeType", "systemRole"):
        whole = _ANY_OF.fullmatch(query.strip())
        names = [_NAME.fullmatch(part) for part in whole[1].split("||")] if whole else [None]
        if not all(names):
            raise Refusal(10)
        wanted = {name[1] for name in names if name}
        value = labels.get(key)
        return value in wanted if isinstance(value, str) else isinstance(value, list) and bool(wanted & set(value))
    try:
        literal = json.loads(query)
    except ValueError as error:
        raise Refusal(10) from error
    if key == "global_subaccount_id" and literal == {"exists": False}:
        return key not in labels
    return key in labels and _contains(labels[key], literal)


def _filtered(
    rows: Iterable[Row], asking: Asking, table: str, owner: str, rules: list[Mapping[str, Any]] | None
) -> list[Row]:
    # Every rule is looked at, also when there is no row: a wrong query is refused in an empty tenant too.
    for rule in rules or ():
        _matches({}, rule)
    return [
        row
        for row in rows
        if all(_matches(_labels(asking.world, table, owner, row, None), rule) for rule in rules or ())
    ]


# Directory


def _visible(asking: Asking, kind: str) -> list[Row]:
    seen = [access[f"{kind}_id"] for access in asking.world.where(f"{kind}_tenant", tenant_id=asking.tenant)]
    return [row for one in sorted(seen) if (row := asking.world.get(kind, one)) is not None]


def _see(asking: Asking, kind: str, key: str) -> Row | None:
    return next((row for row in _visible(asking, kind) if row["id"] == _id(key)), None)


def _share_a_group(world: World, application: str, runtime: str | None) -> bool:
    return any(
        pair["target"] == _id(runtime) and pair["state"] not in ("DELETING", "DELETE_ERROR")
        for pair in world.where("formation_assignment", source=application)
    )


def _label(world: World, runtime: str, key: str) -> Any:
    return next((row["value"] for row in world.where("runtime_label", runtime_id=runtime, key=key)), None)


def _named_for(world: World, application: Row, runtime: str) -> str:
    plain = _label(world, runtime, "isNormalized") not in (None, "true")
    name = str(application["name"] if plain else application["normalized_name"])
    return name if application["system_number"] is None else f"{name}-{application['system_number']}"


def _for_runtime(asking: Asking, runtime: str) -> list[Row]:
    return [
        {**row, "name": _named_for(asking.world, row, runtime)}
        for row in _visible(asking, "application")
        if _share_a_group(asking.world, row["id"], runtime)
    ]


@field("Query.applications")
def applications(
    _row: Row, asking: Asking, first: int | None, after: str | None = None, filter: Any = None,
    orderBy: str | None = None,  # the schema's names
) -> Row:  # fmt: skip
    if asking.caller.runtime is not None:
        return page(_for_runtime(asking, asking.caller.runtime), first, after, largest=None)
    rows = ordered(_visible(asking, "application"), orderBy)
    return page(_filtered(rows, asking, "application_label", "application_id", filter), first, after)


@field("Query.application")
def application(_row: Row, asking: Asking, id: str) -> Row | None:  # the schema's name
    found = _see(asking, "application", id)
    if asking.caller.consumer is Consumer.RUNTIME and not (
        found and _share_a_group(asking.world, found["id"], asking.caller.consumer_id)
    ):
        raise Refusal(27)
    return found


@field("Query.applicationsForRuntime")
def applications_for_runtime(
    _row: Row, asking: Asking, runtimeID: str, first: int | None, after: str | None = None
) -> Row:  # the schema's name
    runtime = _see(asking, "runtime", runtimeID)
    found = page(_for_runtime(asking, str(_id(runtimeID))), first, after, largest=None)
    if runtime is None or asking.caller.runtime not in (None, runtime["id"]):
        raise Refusal(22)
    return found


def _reachable(asking: Asking, **equal: Any) -> list[Row]:
    """Applications of these values that the caller may find: a runtime those of its groups."""
    runtime = asking.caller.runtime
    return [
        row
        for row in _visible(asking, "application")
        if all(row[name] == value for name, value in equal.items())
        and (runtime is None or _share_a_group(asking.world, row["id"], runtime))
    ]


@field("Query.applicationBySystemNumber")
def application_by_system_number(_row: Row, asking: Asking, systemNumber: str) -> Row | None:  # the schema's name
    return next(iter(_oldest_first(_reachable(asking, system_number=systemNumber))), None)


@field("Query.applicationsByLocalTenantID")
def applications_by_local_tenant(
    _row: Row, asking: Asking, localTenantID: str, first: int | None, after: str | None = None, filter: Any = None,  # the schema's names
) -> Row:  # fmt: skip
    rows = _reachable(asking, local_tenant_id=localTenantID)
    return page(_filtered(rows, asking, "application_label", "application_id", filter), first, after, largest=None)


@field("Query.applicationByLocalTenantIDAndAppTemplateID")
def application_by_local_tenant(
    _row: Row, asking: Asking, localTenantID: str, applicationTemplateID: str
) -> Row | None:  # the schema's names
    template = _id(applicationTemplateID)
    found = _reachable(asking, local_tenant_id=localTenantID, application_template_id=template) if template else []
    return next(iter(_oldest_first(found)), None)


@field("Query.applicationsGlobal")
def applications_global(
    _row: Row, asking: Asking, first: int | None, after: str | None = None, filter: Any = None
) -> Row:  # the schema's name
    rows = _sorted_by_id(asking.world.rows["application"])
    return page(_filtered(rows, asking, "application_label", "application_id", filter), first, after)


field("ApplicationWithTenants.application")(lambda row, _asking: row)


@field("ApplicationWithTenants.tenants")
def tenants_of_application(row: Row, asking: Asking) -> list[Row]:
    seen_by = {access["tenant_id"] for access in asking.world.where("application_tenant", application_id=row["id"])}
    found = [one for one in asking.world.where("tenant", status="Active") if one["id"] in seen_by]
    return sorted(found, key=lambda one: one["external_id"])


@field("Query.applicationTemplates")
def application_templates(
    _row: Row, asking: Asking, first: int | None, after: str | None = None, filter: Any = None
) -> Row:  # the schema's name
    rows = _sorted_by_id(asking.world.rows["application_template"])
    return page(_filtered(rows, asking, "application_template_label", "application_template_id", filter), first, after)


@field("Query.applicationTemplate")
def application_template(_row: Row, asking: Asking, id: str) -> Row:  # the schema's name
    found = asking.world.get("application_template", id)
    if found is None:
        raise Refusal(20)
    return found


columns(
    "ApplicationTemplate", id="id", name="name", description="description", accessLevel="access_level",
    applicationNamespace="application_namespace", placeholders="placeholders",
)  # fmt: skip
times("ApplicationTemplate", createdAt="created_at", updatedAt="updated_at")
columns("PlaceholderDefinition", name="name", description="description", jsonPath="json_path", optional="optional")


@field("ApplicationTemplate.labels")
def application_template_labels(row: Row, asking: Asking, key: str | None = None) -> dict[str, Any]:
    return _labels(asking.world, "application_template_label", "application_template_id", row, key)


@field("ApplicationTemplate.applicationInput")
def application_input(row: Row, asking: Asking) -> str:
    text = asking.world.vault.open(f"application_template/{row['id']}", row["application_input_sealed"]).decode()
    if "webhooks.auth:read" in asking.caller.scopes:
        return text
    form = json.loads(text)
    for hook in form["webhooks"] or ():
        del hook["auth"]
    for bundle in form["bundles"]:
        del bundle["defaultInstanceAuth"]
    return json.dumps(form, separators=(",", ":"), ensure_ascii=False)


@field("Query.runtimes")
def runtimes(
    _row: Row, asking: Asking, first: int | None, after: str | None = None, filter: Any = None,
    orderBy: str | None = None,  # the schema's names
) -> Row:  # fmt: skip
    rows = ordered(_visible(asking, "runtime"), orderBy)
    return page(_filtered(rows, asking, "runtime_label", "runtime_id", filter), first, after)


@field("Query.runtime")
def runtime(_row: Row, asking: Asking, id: str) -> Row | None:  # the schema's name
    return _see(asking, "runtime", id)


columns(
    "Application", id="id", name="name", systemNumber="system_number", localTenantID="local_tenant_id", baseUrl="base_url",
    providerName="provider_name", description="description", integrationSystemID="integration_system_id",
    applicationTemplateID="application_template_id", healthCheckURL="health_check_url",
    applicationNamespace="application_namespace", systemStatus="system_status", error="error",
)  # fmt: skip
times("Application", createdAt="created_at", updatedAt="updated_at", deletedAt="deleted_at")
columns("Runtime", id="id", name="name", description="description", applicationNamespace="application_namespace")
field("Application.status", "Runtime.status", "Runtime.metadata")(lambda row, _asking: row)
columns("ApplicationStatus", condition="status_condition")
columns("RuntimeStatus", condition="status_condition")
times("ApplicationStatus", timestamp="status_timestamp")
times("RuntimeStatus", timestamp="status_timestamp")
times("RuntimeMetadata", creationTimestamp="created_at")


@field("Application.labels")
def application_labels(row: Row, asking: Asking, key: str | None = None) -> dict[str, Any]:
    return _labels(asking.world, "application_label", "application_id", row, key)


columns("RuntimeContext", id="id", key="key", value="value")


@field("RuntimeContext.labels")
def context_labels(row: Row, asking: Asking, key: str | None = None) -> dict[str, Any]:
    return _labels(asking.world, "runtime_context_label", "runtime_context_id", row, key)


@field("Runtime.labels")
def runtime_labels(row: Row, asking: Asking, key: str | None = None) -> dict[str, Any]:
    shown = _labels(asking.world, "runtime_label", "runtime_id", row, key)
    return {name: value for name, value in shown.items() if not name.endswith("_defaultEventing")}


def _oldest_first(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row["created_at"], row["id"]))


def _of(table: str, owner: str) -> Resolver:
    return lambda row, asking: _oldest_first(asking.world.where(table, **{owner: row["id"]}))


def _webhooks_of_application(row: Row, asking: Asking) -> list[Row] | None:
    if _itself(asking) not in (None, row["id"]):
        return None
    own = asking.world.where("webhook", application_id=row["id"])
    template = row["application_template_id"]
    lent = asking.world.where("webhook", application_template_id=template) if template else []
    types = {hook["type"] for hook in own}
    return _oldest_first([*own, *(hook for hook in lent if hook["type"] not in types)])


def _to_itself(resolver: Resolver) -> Resolver:
    return lambda row, asking: resolver(row, asking) if _itself(asking) in (None, row["id"]) else None


@field("Application.auths")
def auths_of_application(row: Row, asking: Asking) -> list[Row] | None:
    if _neighbours(asking, row["id"]):
        return None
    return _oldest_first(asking.world.where("system_auth", application_id=row["id"]))


# Without the scope the compiled answer has an error beside the null; the test knows.
field("Application.applicationTemplate")(
    guarded(
        "application.application_template:read",
        lambda row, asking: asking.world.get("application_template", row["application_template_id"]),
    )
)
field("Application.webhooks")(guarded("application.webhooks:read", _webhooks_of_application))
field("ApplicationTemplate.webhooks")(
    guarded("application_template.webhooks:read", _of("webhook", "application_template_id"))
)
field("Runtime.webhooks")(guarded("runtime.webhooks:read", _to_itself(_of("webhook", "runtime_id"))))


def _applied_to(owner: str) -> Resolver:
    def resolve(row: Row, asking: Asking) -> list[Row]:
        return sorted(
            asking.world.where("applied_field", **{owner: row["id"]}), key=lambda one: (one["name"], one["manager"])
        )

    return _to_itself(resolve)


field("Application.appliedFields")(_applied_to("application_id"))
field("Runtime.appliedFields")(_applied_to("runtime_id"))
columns("AppliedField", name="name", manager="manager")
times("AppliedField", appliedAt="applied_at")
field("AppliedField.digest")(lambda row, _asking: f"sha256:{row['digest'].hex()}")
field("AppliedField.replaces")(lambda row, _asking: row["replaces"] and f"sha256:{row['replaces'].hex()}")
field("Runtime.auths")(_to_itself(_of("system_auth", "runtime_id")))
field("IntegrationSystem.auths")(_of("system_auth", "integration_system_id"))


@field("Runtime.eventingConfiguration")
def eventing_of_runtime(row: Row, asking: Asking) -> Row:
    return {"url": _label(asking.world, row["id"], "runtime_eventServiceUrl") or ""}


@field("Application.eventingConfiguration")
def eventing_of_application(row: Row, asking: Asking) -> Row:
    world = asking.world
    pairs = [
        pair
        for pair in world.where("formation_assignment", source=row["id"])
        if pair["state"] not in ("DELETING", "DELETE_ERROR")
    ]
    sharing = [found for pair in pairs if (found := world.get("runtime", pair["target"])) is not None]
    preferred = [
        one for one in sharing if world.where("runtime_label", runtime_id=one["id"], key=f"{row['id']}_defaultEventing")
    ]
    chosen = next(iter(_oldest_first(preferred) or _oldest_first(sharing)), None)
    url = chosen and _label(world, chosen["id"], "runtime_eventServiceUrl")
    if chosen is None or not url:
        return {"url": ""}
    origin = "/".join(url.split("/")[:3])
    # The name that `applicationsForRuntime` would show, whatever name the row goes under here.
    stored = world.get("application", row["id"])
    return {"url": f"{origin}/{_named_for(world, stored or row, chosen['id'])}/v1/events"}


columns("ApplicationEventingConfiguration", defaultURL="url")
columns("RuntimeEventingConfiguration", defaultURL="url")


# System auths

_KINDS = {
    "AppSystemAuth": ("APPLICATION", "application_id", "application.auths:read"),
    "RuntimeSystemAuth": ("RUNTIME", "runtime_id", "runtime.auths:read"),
    "IntSysSystemAuth": ("INTEGRATION_SYSTEM", "integration_system_id", "integration_system.auths:read"),
}
_NEVER = "0001-01-01T00:00:00Z"
CONNECTOR_URL = "https://plane.test:8443/connector/graphql"
TOKEN_URL = "https://plane.test:8443/oauth2/token"


def _shown_auth(row: Row, asking: Asking) -> Row | None:
    tokens = asking.world.where("one_time_token", system_auth_id=row["id"])
    if _itself(asking) not in (None, row["application_id"] or row["runtime_id"]):
        return None
    known = (
        row["cert_common_name"] or row["client_secret_digest"] is not None or row["auth_sealed"] is not None or tokens
    )
    if not known:
        return None
    current = next((token for token in tokens if token["replaced_at"] is None), None)
    token = None
    if current and row["application_id"] is not None and not row["cert_common_name"]:
        token = {
            "__typename": "OneTimeTokenForApplication", "token": "", "connectorURL": CONNECTOR_URL, "legacyConnectorURL": "",
            "used": current["used_at"] is not None, "createdAt": _time(current["created_at"]),
            "expiresAt": _time(current["expires_at"]), "usedAt": _time(current["used_at"]) or _NEVER, "type": "Application",
            "scenarioGroups": row["scenario_groups"],
        }  # fmt: skip
    secret = {"__typename": "OAuthCredentialData", "clientId": row["id"], "clientSecret": "", "url": TOKEN_URL}
    return {
        "credential": secret if row["client_secret_digest"] is not None else None,
        "certCommonName": row["cert_common_name"],
        "oneTimeToken": token,
    }


for _type, (_kind, _owner, _scope) in _KINDS.items():
    columns(_type, id="id", tenantId="tenant_id", referenceObjectId=_owner)
    field(f"{_type}.type")(lambda _row, _asking, kind=_kind: kind)
    field(f"{_type}.auth")(guarded(_scope, _shown_auth))


def _type_of_system_auth(row: Row) -> str:
    return next(name for name, (_, owner, _) in _KINDS.items() if row[owner] is not None)


@field("Query.systemAuth")
def system_auth(_row: Row, asking: Asking, id: str) -> Row:  # the schema's name
    found = asking.world.get("system_auth", id)
    if found is None:
        raise Refusal(20)
    return found


# Auth values, as they are kept: a document of the schema's own shape


def _sealed(place: str, column: str) -> Resolver:
    def resolve(row: Row, asking: Asking) -> Row | None:
        if row[column] is None:
            return None
        opened: Row = json.loads(asking.world.vault.open(f"{place}/{row['id']}", row[column]))
        return opened

    return resolve


WHOLE = ("Auth", "CSRFTokenCredentialRequestAuth")
"""Types whose values are what is kept, but for some fields that have resolvers."""

for _type in WHOLE:
    for _name in ("additionalHeaders", "additionalQueryParams"):
        field(f"{_type}.{_name}Serialized")(
            lambda row, _asking, name=_name: (
                None if row.get(name) is None else json.dumps(row[name], separators=(",", ":"), ensure_ascii=False)
            )
        )


# Directory of the plane itself


@field("Query.operation")
def operation(_row: Row, _asking: Asking, **_arguments: Any) -> None:
    raise Refusal(20)  # there is none


field("Application.operations")(lambda _row, _asking: [])


@field("Query.certificateSubjectMapping")
def certificate_subject_mapping(_row: Row, asking: Asking, id: str) -> Row:
    found = asking.world.get("certificate_subject_mapping", id)
    if found is None:
        raise Refusal(20)
    return found


@field("Query.certificateSubjectMappings")
def certificate_subject_mappings(_row: Row, asking: Asking, first: int | None, after: str | None = None) -> Row:
    return page(_sorted_by_id(asking.world.rows["certificate_subject_mapping"]), first, after, largest=300)


columns(
    "CertificateSubjectMapping", id="id", subject="subject", consumerType="consumer_type",
    internalConsumerID="internal_consumer_id", tenantAccessLevels="tenant_access_levels",
)  # fmt: skip
times("CertificateSubjectMapping", createdAt="created_at", updatedAt="updated_at")


@field("Query.integrationSystems")
def integration_systems(_row: Row, asking: Asking, first: int | None, after: str | None = None) -> Row:
    return page(sorted(asking.world.rows["integration_system"], key=lambda row: row["id"]), first, after)


@field("Query.integrationSystem")
def integration_system(_row: Row, asking: Asking, id: str) -> Row | None:  # the schema's name
    return asking.world.get("integration_system", id)


columns("IntegrationSystem", id="id", name="name", description="description")


@field("Query.tenants")
def tenants(
    _row: Row, asking: Asking, first: int | None, after: str | None = None, searchTerm: str | None = None
) -> Row:  # the schema's name
    term = (searchTerm or "").lower()
    found = [
        row
        for row in asking.world.where("tenant", status="Active")
        if term in row["name"].lower() or term in row["external_id"].lower() or term in row["id"]
    ]
    # The database's collation is by code point, as Python's.
    return page(sorted(found, key=lambda row: (row["name"], row["id"])), first, after, largest=None)


@field("Query.tenantByExternalID")
def tenant_by_external_id(_row: Row, asking: Asking, id: str) -> Row:  # the schema's name
    found = asking.world.where("tenant", external_id=id, status="Active")
    if not found:
        raise Refusal(20)
    return found[0]


@field("Query.tenantByInternalID")
def tenant_by_internal_id(_row: Row, asking: Asking, id: str) -> Row:
    found = asking.world.get("tenant", id)
    if found is None or found["status"] != "Active":
        raise Refusal(20)
    return found


@field("Query.rootTenants")
def root_tenants(_row: Row, asking: Asking, externalTenant: str) -> list[Row]:
    waiting = [one["id"] for one in asking.world.where("tenant", external_id=externalTenant, status="Active")]
    if not waiting:
        raise Refusal(20)
    seen: dict[str, list[str]] = {}
    while waiting:
        one = waiting.pop()
        if one not in seen:
            seen[one] = [link["parent_id"] for link in asking.world.where("tenant_parent", tenant_id=one)]
            waiting += seen[one]
    roots = [asking.world.get("tenant", one) for one, parents in seen.items() if not parents]
    active = [one for one in roots if one is not None and one["status"] == "Active"]
    return sorted(active, key=lambda one: (one["name"], one["id"]))


@field("Query.tenantByLowestOwnerForResource")
def tenant_by_lowest_owner(_row: Row, asking: Asking, id: str, resource: str) -> str:
    if resource not in ("application", "runtime"):
        raise Refusal(22)
    access = asking.world.where(f"{resource}_tenant", **{f"{resource}_id": _id(id)})
    owners = {one["tenant_id"] for one in access if one["owner"]}
    above = {link["parent_id"] for link in asking.world.rows["tenant_parent"] if link["tenant_id"] in owners}
    if not owners - above:
        raise Refusal(20)
    return str(min(owners - above))


columns("Tenant", id="external_id", internalID="id", name="name", type="type", provider="provider")


@field("Tenant.parents")
def tenant_parents(row: Row, asking: Asking) -> list[str]:
    return sorted(link["parent_id"] for link in asking.world.where("tenant_parent", tenant_id=row["id"]))


@field("Tenant.initialized")
def tenant_initialized(row: Row, asking: Asking) -> bool:
    return bool(asking.world.where("formation", tenant_id=row["id"]))


@field("Tenant.labels")
def tenant_labels(row: Row, asking: Asking, key: str | None = None) -> dict[str, Any]:
    return _labels(asking.world, "tenant_label", "tenant_id", row, key)


_VIEWERS = {
    Consumer.APPLICATION: "APPLICATION",
    Consumer.RUNTIME: "RUNTIME",
    Consumer.INTEGRATION_SYSTEM: "INTEGRATION_SYSTEM",
    Consumer.STATIC_USER: "USER",
}
field("Query.viewer")(lambda _row, asking: {"id": asking.caller.consumer_id, "type": _VIEWERS[asking.caller.consumer]})
# The original never had any.
field("Query.healthChecks")(
    lambda _row, _asking, **_arguments: {
        "data": [], "totalCount": 0, "pageInfo": {"startCursor": "", "endCursor": "", "hasNextPage": False},
    }
)  # fmt: skip


# Catalogue


def _sorted_by_id(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row["id"])


def _page_of(table: str, owner: str) -> Resolver:
    def resolve(row: Row, asking: Asking, first: int | None, after: str | None = None, group: str | None = None) -> Row:
        rows = _sorted_by_id(asking.world.where(table, **{owner: row["id"]}))
        kind = table.removesuffix("_definition")
        return page([one for one in rows if group is None or one[f"{kind}_group"] == group], first, after)

    return resolve


def _one_of(table: str, owner: str) -> Resolver:
    def resolve(row: Row, asking: Asking, id: str) -> Row | None:  # the schema's name
        found = asking.world.get(table, id)
        return found if found is not None and found[owner] == row["id"] else None

    return resolve


field("Application.bundles")(_page_of("bundle", "application_id"))
field("Application.integrationDependencies")(_page_of("integration_dependency", "application_id"))
field("Application.bundle")(_one_of("bundle", "application_id"))
field("Application.apiDefinition")(_one_of("api_definition", "application_id"))
field("Application.eventDefinition")(_one_of("event_definition", "application_id"))
field("Bundle.apiDefinitions")(_page_of("api_definition", "bundle_id"))
field("Bundle.eventDefinitions")(_page_of("event_definition", "bundle_id"))
field("Bundle.documents")(_page_of("document", "bundle_id"))
field("Bundle.apiDefinition")(_one_of("api_definition", "bundle_id"))
field("Bundle.eventDefinition")(_one_of("event_definition", "bundle_id"))
field("Bundle.document")(_one_of("document", "bundle_id"))
columns(
    "Bundle", id="id", name="name", description="description",
    instanceAuthRequestInputSchema="instance_auth_request_input_schema", correlationIDs="correlation_ids", error="error",
)  # fmt: skip
times("Bundle", createdAt="created_at", updatedAt="updated_at", deletedAt="deleted_at")


# Ours, and stricter than the original: a runtime sees its own credentials only, and what its groups offer; an
# application the credentials of its own only.


def _reaches(asking: Asking, application_id: str) -> bool:
    if _see(asking, "application", application_id) is None:
        return False
    runtime = asking.caller.runtime
    return runtime is None or _share_a_group(asking.world, application_id, runtime)


def _own_auths(row: Row, asking: Asking) -> list[Row]:
    if _neighbours(asking, row["application_id"]):
        return []
    auths = _oldest_first(asking.world.where("bundle_instance_auth", bundle_id=row["id"]))
    return [one for one in auths if _may_use(asking, one)]


def _default_auth(row: Row, asking: Asking) -> Row | None:
    if _neighbours(asking, row["application_id"]):
        return None
    given = [
        one
        for one in (_own_auths(row, asking) if asking.caller.runtime else ())
        if one["runtime_id"] and one["status_condition"] == "SUCCEEDED" and one["auth_sealed"] is not None
    ]
    place, column, holder = (
        ("bundle_instance_auth", "auth_sealed", given[0]) if given else ("bundle", "default_instance_auth_sealed", row)
    )
    found: Row | None = _sealed(place, column)(holder, asking)
    return found


def _instance_auth(row: Row, asking: Asking, id: str) -> Row | None:  # the schema's name
    return next((one for one in _own_auths(row, asking) if one["id"] == _id(id)), None)


field("Bundle.instanceAuths")(guarded("bundle.instance_auths:read", _own_auths))
field("Bundle.instanceAuth")(guarded("bundle.instance_auths:read", _instance_auth))
field("Bundle.defaultInstanceAuth")(guarded("bundle.instance_auths:read", _default_auth))
columns(
    "BundleInstanceAuth", id="id", context="context", inputParams="input_params", runtimeID="runtime_id",
    runtimeContextID="runtime_context_id",
)  # fmt: skip
field("BundleInstanceAuth.auth")(_sealed("bundle_instance_auth", "auth_sealed"))
field("BundleInstanceAuth.status")(lambda row, _asking: row)
columns("BundleInstanceAuthStatus", condition="status_condition", message="status_message", reason="status_reason")
times("BundleInstanceAuthStatus", timestamp="status_timestamp")


@field("Query.bundleInstanceAuth")
def bundle_instance_auth(_row: Row, asking: Asking, id: str) -> Row | None:  # the schema's name
    found = asking.world.get("bundle_instance_auth", id)
    bundle = asking.world.get("bundle", found["bundle_id"]) if found is not None else None
    if found is None or bundle is None or not _may_use(asking, found):
        return None
    if _neighbours(asking, bundle["application_id"]):
        return None
    seen = _see(asking, "application", bundle["application_id"]) is not None
    return found if found["owner_tenant_id"] == asking.tenant or seen else None


@field("Query.bundleByInstanceAuth")
def bundle_by_instance_auth(_row: Row, asking: Asking, authID: str) -> Row | None:  # the schema's name
    found = asking.world.get("bundle_instance_auth", authID)
    bundle = asking.world.get("bundle", found["bundle_id"]) if found is not None else None
    if found is None or bundle is None or not _may_use(asking, found):
        return None
    return bundle if _reaches(asking, bundle["application_id"]) else None


def _neighbours(asking: Asking, application_id: str | None) -> bool:
    """Whether an application asks about something that is not its own."""
    return asking.caller.consumer is Consumer.APPLICATION and asking.caller.consumer_id != application_id


def _may_use(asking: Asking, auth: Row) -> bool:
    context = asking.world.get("runtime_context", auth["runtime_context_id"])
    holder = context["runtime_id"] if context is not None else auth["runtime_id"]
    return asking.caller.runtime is None or holder == asking.caller.runtime


def _definitions_of(table: str) -> Resolver:
    def resolve(
        _row: Row, asking: Asking, appID: str, first: int | None, after: str | None = None
    ) -> Row | None:  # the schema's name
        found = _id(appID)
        rows = asking.world.where(table, application_id=found) if found and _reaches(asking, found) else []
        return page(_sorted_by_id(rows), first, after)

    return resolve


field("Query.apisForApplication")(_definitions_of("api_definition"))
field("Query.eventsForApplication")(_definitions_of("event_definition"))
columns(
    "APIDefinition",
    id="id",
    name="name",
    description="description",
    targetURL="target_url",
    group="api_group",
    error="error",
)
times("APIDefinition", created_at="created_at", updated_at="updated_at", deleted_at="deleted_at")
columns("EventDefinition", id="id", name="name", description="description", group="event_group", error="error")
times("EventDefinition", createdAt="created_at", updatedAt="updated_at", deletedAt="deleted_at")
field("APIDefinition.version", "EventDefinition.version")(
    lambda row, _asking: row if row["version_value"] is not None else None
)
field("IntegrationDependency.version")(lambda row, _asking: row if row["version_value"] is not None else None)
columns(
    "IntegrationDependency", id="id", name="name", description="description", ordID="ord_id", labels="labels",
    partOfPackage="part_of_package", visibility="visibility", releaseStatus="release_status", mandatory="mandatory",
    error="error",
)  # fmt: skip
columns(
    "Aspect", id="id", name="name", description="description", mandatory="mandatory", apiResources="api_resources",
    error="error",
)  # fmt: skip
for _type in ("IntegrationDependency", "Aspect", "AspectEventDefinition"):
    times(_type, created_at="created_at", updated_at="updated_at", deleted_at="deleted_at")
field("IntegrationDependency.aspects")(
    lambda row, asking: sorted(
        asking.world.where("aspect", integration_dependency_id=row["id"]), key=lambda aspect: aspect["number"]
    )
)
field("Aspect.eventResources")(lambda row, _asking: [{**row, **event} for event in row["event_resources"]])
columns("AspectAPIDefinition", ordID="ord_id")
columns("AspectEventDefinition", ordID="ord_id", subset="subset", error="error")
columns("AspectEventDefinitionSubset", eventType="event_type")
columns(
    "Version", value="version_value", deprecated="version_deprecated", deprecatedSince="version_deprecated_since",
    forRemoval="version_for_removal",
)  # fmt: skip


def _only(rows: list[Row]) -> Row | None:
    return rows[0] if rows else None


field("APIDefinition.spec")(lambda row, asking: _only(asking.world.where("spec", api_definition_id=row["id"])))
field("EventDefinition.spec")(lambda row, asking: _only(asking.world.where("spec", event_definition_id=row["id"])))


def _fetch_request_of_spec(row: Row, asking: Asking) -> Row | None:
    world = asking.world
    about = (
        world.get("api_definition", row["api_definition_id"])
        or world.get("event_definition", row["event_definition_id"])
        or {}
    )
    if _itself(asking) not in (None, about["application_id"]):
        return None
    return _only(world.where("fetch_request", spec_id=row["id"]))


def _fetch_request_of_document(row: Row, asking: Asking) -> Row | None:
    if _itself(asking) not in (None, row["application_id"]):
        return None
    return _only(asking.world.where("fetch_request", document_id=row["id"]))


for _type, _scope in (("APISpec", "api_spec.fetch_request:read"), ("EventSpec", "event_spec.fetch_request:read")):
    columns(_type, id="id", data="data", format="format", type="type")
    field(f"{_type}.fetchRequest")(guarded(_scope, _fetch_request_of_spec))
field("Document.fetchRequest")(guarded("document.fetch_request:read", _fetch_request_of_document))
columns(
    "Document", id="id", title="title", displayName="display_name", description="description", format="format", kind="kind",
    data="data", error="error",
)  # fmt: skip
times("Document", createdAt="created_at", updatedAt="updated_at", deletedAt="deleted_at")
columns("FetchRequest", url="url", mode="mode", filter="filter")
field("FetchRequest.auth")(guarded("fetch-request.auth:read", _sealed("fetch_request", "auth_sealed")))
field("FetchRequest.status")(lambda row, _asking: row)
columns("FetchRequestStatus", condition="status_condition", message="status_message")
times("FetchRequestStatus", timestamp="status_timestamp")

# Webhooks

columns(
    "Webhook", id="id", applicationID="application_id", applicationTemplateID="application_template_id",
    runtimeID="runtime_id", integrationSystemID="integration_system_id", formationTemplateID="formation_template_id",
    type="type", mode="mode", correlationIdKey="correlation_id_key", retryInterval="retry_interval", timeout="timeout",
    url="url", urlTemplate="url_template", inputTemplate="input_template", headerTemplate="header_template",
    outputTemplate="output_template", statusTemplate="status_template",
)  # fmt: skip
times("Webhook", createdAt="created_at", pausedSince="paused_at")
field("Webhook.auth")(guarded("webhooks.auth:read", _sealed("webhook", "auth_sealed")))


def _signing_secret(row: Row, asking: Asking) -> str | None:
    # Ours: the secret is for the webhook's owner and for people; of a template of groups, for who may change that.
    owner = row["application_id"] or row["runtime_id"] or row["id"]
    if _itself(asking) not in (None, owner):
        return None
    template = asking.world.get("formation_template", row["formation_template_id"])
    if template is not None and (
        "formation_template:write" not in asking.caller.scopes or template["tenant_id"] not in (None, asking.tenant)
    ):
        return None
    return asking.world.vault.open(f"webhook-signing/{row['id']}", row["signing_secret_sealed"]).decode()


def _itself(asking: Asking) -> str | None:
    speaks_for_itself = asking.caller.consumer in (Consumer.APPLICATION, Consumer.RUNTIME)
    return asking.caller.consumer_id if speaks_for_itself else None


field("Webhook.signingSecret")(guarded("webhook:write", _signing_secret))


@field("Query.webhookDeliveries")
def webhook_deliveries(
    _row: Row,
    asking: Asking,
    first: int | None,
    after: str | None = None,
    webhookID: str | None = None,
    state: str | None = None,
    id: str | None = None,
    tests: bool | None = True,
    type: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> Row:  # the schema's names
    def shown(one: Row) -> bool:
        hook = asking.world.get("webhook", one["receiver"])
        own = _itself(asking) is None or (
            hook is not None and _itself(asking) in (hook["application_id"], hook["runtime_id"])
        )
        asked = (webhookID is None or one["receiver"] == _id(webhookID)) and (id is None or one["id"] == _id(id))
        asked = asked and type in (None, one["kind"])
        asked = asked and (since is None or one["created_at"] >= datetime.fromisoformat(since))
        asked = asked and (until is None or one["created_at"] < datetime.fromisoformat(until))
        return own and asked and state in (None, one["state"]) and (tests is not False or one["kind"] != "TEST")

    rows = [one for one in asking.world.where("delivery", tenant_id=asking.tenant) if shown(one)]
    return page(sorted(rows, key=lambda one: -one["sequence"]), first, after)


columns("WebhookDelivery", id="id", webhookID="receiver", state="state", error="last_error")
times("WebhookDelivery", createdAt="created_at", nextAttemptAt="next_at", finishedAt="finished_at")


@field("WebhookDelivery.pausedSince")
def delivery_paused_since(row: Row, asking: Asking) -> str | None:
    hook = asking.world.get("webhook", row["receiver"])
    return None if hook is None or row["state"] != "PENDING" else _time(hook["paused_at"])


field("WebhookDelivery.url")(lambda row, _asking: row["url"].partition("?")[0])
for _name, _fact in (
    ("operation", "operation"),
    ("applicationID", "application"),
    ("runtimeID", "runtime"),
    ("formationID", "formation"),
):
    field(f"WebhookDelivery.{_name}")(lambda row, _asking, fact=_fact: row["facts"].get(fact))


@field("WebhookDelivery.attempts")
def delivery_attempts(row: Row, asking: Asking) -> list[Row]:
    return sorted(asking.world.where("delivery_attempt", delivery_id=row["id"]), key=lambda one: one["number"])


columns(
    "WebhookDeliveryAttempt",
    number="number",
    elapsedMilliseconds="elapsed_ms",
    status="status",
    error="error",
    response="response_excerpt",
    url="url",
    responseHeaders="response_headers",
)
field("WebhookDeliveryAttempt.requestHeaders")(guarded("webhook:write", lambda row, _asking: row["request_headers"]))
times("WebhookDeliveryAttempt", startedAt="started_at")

# Groups


@field("Query.formation")
def formation(_row: Row, asking: Asking, id: str) -> Row:  # the schema's name
    found = asking.world.get("formation", id)
    if found is None or found["tenant_id"] != asking.tenant:
        raise Refusal(20)
    return found


@field("Query.formationByName")
def formation_by_name(_row: Row, asking: Asking, name: str) -> Row:
    found = asking.world.where("formation", name=name, tenant_id=asking.tenant)
    if not found:
        raise Refusal(20)
    return found[0]


@field("Query.formations")
def formations(
    _row: Row, asking: Asking, first: int | None, after: str | None = None, orderBy: str | None = None
) -> Row:  # the schema's name
    own = _sorted_by_id(asking.world.where("formation", tenant_id=asking.tenant))
    return page(ordered(own, orderBy), first, after)


@field("Query.automaticScenarioAssignments")
def automatic_assignments(_row: Row, asking: Asking, first: int | None, after: str | None = None) -> Row:
    own = asking.world.where("automatic_scenario_assignment", tenant_id=asking.tenant)
    return page(_sorted_by_id(own), first, after)


@field("Query.automaticScenarioAssignmentForScenario")
def automatic_assignment(row: Row, asking: Asking, scenarioName: str) -> Row:  # the schema's name
    group = formation_by_name(row, asking, scenarioName)
    found = asking.world.where("automatic_scenario_assignment", formation_id=group["id"])
    if not found:
        raise Refusal(20)
    return found[0]


@field("Query.automaticScenarioAssignmentsForSelector")
def selected_automatic_assignments(_row: Row, asking: Asking, selector: Mapping[str, str]) -> list[Row]:
    if selector["key"] != "global_subaccount_id":
        raise Refusal(22)
    named = {one["id"] for one in asking.world.where("tenant", external_id=selector["value"])}
    own = asking.world.where("automatic_scenario_assignment", tenant_id=asking.tenant)
    return _sorted_by_id(one for one in own if one["subaccount_id"] in named)


@field("AutomaticScenarioAssignment.scenarioName")
def automatically_assigned_scenario(row: Row, asking: Asking) -> str:
    return str(asking.world.where("formation", id=row["formation_id"])[0]["name"])


@field("AutomaticScenarioAssignment.selector")
def automatic_selector(row: Row, asking: Asking) -> Row:
    (named,) = asking.world.where("tenant", id=row["subaccount_id"])
    return {"key": "global_subaccount_id", "value": named["external_id"]}


columns("Label", key="key", value="value")


@field("Query.formationsForObject")
def formations_for_object(_row: Row, asking: Asking, objectID: str) -> list[Row]:  # the schema's name
    member = _id(objectID)
    pairs = [
        pair
        for pair in asking.world.where("formation_assignment", source=member, target=member)
        if pair["state"] not in ("DELETING", "DELETE_ERROR")
    ]
    return _sorted_by_id(f for pair in pairs if (f := asking.world.get("formation", pair["formation_id"])) is not None)


columns("Formation", id="id", name="name", formationTemplateId="formation_template_id", state="state")
times(
    "Formation", lastStateChangeTimestamp="last_state_change_timestamp",
    lastNotificationSentTimestamp="last_notification_sent_timestamp",
)  # fmt: skip


@field("Formation.tenantID")
def formation_tenant(row: Row, asking: Asking) -> str:
    if "formation:global_read" not in asking.caller.scopes:
        raise Refusal(23)
    return str(row["tenant_id"])


field("Formation.error")(lambda row, _asking: row["error"] or {"message": "", "errorCode": 0})
field("Runtime.runtimeContext")(_one_of("runtime_context", "runtime_id"))
field("Runtime.runtimeContexts")(_page_of("runtime_context", "runtime_id"))
field("Formation.formationAssignment")(_one_of("formation_assignment", "formation_id"))
field("Formation.formationAssignments")(_page_of("formation_assignment", "formation_id"))


@field("Formation.status")
def formation_status(row: Row, asking: Asking) -> Row:
    pairs = _sorted_by_id(asking.world.where("formation_assignment", formation_id=row["id"]))
    told = [
        (None, row["error"]),
        *((pair["id"], pair["error"] and json.loads(pair["error"])["error"]) for pair in pairs),
    ]
    errors = [
        {"assignmentID": assignment, "message": error["message"], "errorCode": error["errorCode"]}
        for assignment, error in told
        if error is not None
    ]
    if row["state"] == "DRAFT":
        condition = "DRAFT"
    elif any(one["state"] in ("CREATE_ERROR", "DELETE_ERROR") for one in (row, *pairs)):
        condition = "ERROR"
    elif row["state"] in ("INITIAL", "DELETING") or any(
        pair["state"] in ("INITIAL", "DELETING", "CONFIG_PENDING") for pair in pairs
    ):
        condition = "IN_PROGRESS"
    else:
        condition = "READY"
    return {"condition": condition, "errors": errors}


columns(
    "FormationAssignment", id="id", source="source", sourceType="source_type", target="target", targetType="target_type",
    state="state", configuration="configuration", error="error",
)  # fmt: skip
times(
    "FormationAssignment", lastStateChangeTimestamp="last_state_change_timestamp",
    lastNotificationSentTimestamp="last_notification_sent_timestamp",
)  # fmt: skip
field("FormationAssignment.value")(
    lambda row, _asking: row["error"] if row["error"] is not None else row["configuration"]
)


def _participant(side: str) -> Resolver:
    def resolve(row: Row, asking: Asking) -> Row | None:
        kind = row[f"{side}_type"].lower()
        if kind == "runtime_context":
            context = asking.world.get(kind, row[side])
            if context is None or _see(asking, "runtime", context["runtime_id"]) is None:
                return None
            return {**context, "__typename": "RuntimeContext"}
        found = _see(asking, kind, row[side])
        return found and {**found, "__typename": kind.capitalize()}

    return resolve


field("FormationAssignment.sourceEntity")(_participant("source"))
field("FormationAssignment.targetEntity")(_participant("target"))


def _own_and_above(asking: Asking) -> set[str]:
    """The tenant and its ancestors; nothing for a caller without one."""
    found: set[str] = set()
    waiting = [asking.tenant] if asking.caller.tenant is not None else []
    while waiting:
        tenant = waiting.pop()
        found.add(tenant)
        waiting += [
            up["parent_id"]
            for up in asking.world.where("tenant_parent", tenant_id=tenant)
            if up["parent_id"] not in found
        ]
    return found


@field("Query.formationTemplate")
def formation_template(_row: Row, asking: Asking, id: str) -> Row:  # the schema's name
    found = asking.world.get("formation_template", id)
    if found is None or found["tenant_id"] not in {None, *_own_and_above(asking)}:
        raise Refusal(20)
    return found


@field("Query.formationTemplates")
def formation_templates(
    _row: Row, asking: Asking, first: int | None, after: str | None = None, filter: Any = None
) -> Row:  # the schema's name
    visible = {None, *_own_and_above(asking)}
    seen = [row for row in asking.world.rows["formation_template"] if row["tenant_id"] in visible]
    chosen = _filtered(_sorted_by_id(seen), asking, "formation_template_label", "formation_template_id", filter)
    return page(chosen, first, after)


@field("Query.formationTemplatesByName")
def formation_templates_by_name(
    _row: Row, asking: Asking, name: str, first: int | None, after: str | None = None
) -> Row:
    visible = {None, *_own_and_above(asking)}
    named = asking.world.where("formation_template", name=name)
    return page(_sorted_by_id(row for row in named if row["tenant_id"] in visible), first, after)


@field("Query.labelDefinitions")
def label_definitions(_row: Row, asking: Asking) -> list[Row]:
    names = sorted(row["name"] for row in asking.world.where("formation", tenant_id=asking.tenant))
    pattern = r"^[A-Za-z0-9]([-_A-Za-z0-9\s]*[A-Za-z0-9])$"
    # As the database writes objects: short names of members first.
    items = {"enum": names, "type": "string", "pattern": pattern, "maxLength": 128}
    schema = {"type": "array", "items": items, "minItems": 1, "uniqueItems": True}
    return [{"key": "scenarios", "schema": json.dumps(schema, ensure_ascii=False)}] if names else []


@field("Query.labelDefinition")
def label_definition(row: Row, asking: Asking, key: str) -> Row | None:
    return next((found for found in label_definitions(row, asking) if found["key"] == key), None)


columns("LabelDefinition", key="key", schema="schema")
columns(
    "FormationTemplate", id="id", name="name", applicationTypes="application_types", runtimeTypes="runtime_types",
    runtimeTypeDisplayName="runtime_type_display_name", runtimeArtifactKind="runtime_artifact_kind",
    leadingProductIDs="leading_product_ids", supportsReset="supports_reset", discoveryConsumers="discovery_consumers",
)  # fmt: skip
times("FormationTemplate", createdAt="created_at", updatedAt="updated_at")


@field("FormationTemplate.labels")
def formation_template_labels(row: Row, asking: Asking, key: str | None = None) -> dict[str, Any]:
    return _labels(asking.world, "formation_template_label", "formation_template_id", row, key)


field("FormationTemplate.webhooks")(
    guarded("formation_template.webhooks:read", _of("webhook", "formation_template_id"))
)

columns(
    "FormationConstraint", id="id", name="name", description="description", constraintType="type",
    targetOperation="target_operation", operator="operator", resourceType="resource_type",
    resourceSubtype="resource_subtype", inputTemplate="input_template", constraintScope="scope", priority="priority",
)  # fmt: skip
times("FormationConstraint", createdAt="created_at")


def _constraints(asking: Asking, template: str | None) -> list[Row]:
    """Those that hold for the groups of a template, in the order in which they decide."""
    attached = {
        row["formation_constraint_id"]
        for row in asking.world.where("formation_template_constraint", formation_template_id=template)
    }
    held = [r for r in asking.world.rows["formation_constraint"] if r["scope"] == "GLOBAL" or r["id"] in attached]
    return sorted(held, key=lambda row: (-row["priority"], row["created_at"], row["id"]))


@field("FormationTemplate.formationConstraints")
def formation_constraints_of(row: Row, asking: Asking) -> list[Row]:
    return _constraints(asking, row["id"])


@field("Query.formationConstraints")
def formation_constraints(_row: Row, asking: Asking) -> list[Row]:
    rows = asking.world.rows["formation_constraint"]
    return sorted(rows, key=lambda row: (-row["priority"], row["created_at"], row["id"]))


@field("Query.formationConstraint")
def formation_constraint(_row: Row, asking: Asking, id: str) -> Row:  # the schema's name
    found = asking.world.get("formation_constraint", id)
    if found is None:
        raise Refusal(20)
    return found


@field("Query.formationConstraintsByFormationType")
def formation_constraints_by_type(_row: Row, asking: Asking, formationTemplateID: str) -> list[Row]:
    template = asking.world.get("formation_template", formationTemplateID)
    visible = template is not None and template["tenant_id"] in {None, *_own_and_above(asking)}
    return _constraints(asking, template["id"] if template is not None and visible else None)


# Who may call what. Source: contract/director.md §2.

SCOPES = {
    "applicationBySystemNumber": "application:read", "applicationsByLocalTenantID": "application:read",
    "applicationByLocalTenantIDAndAppTemplateID": "application:read", "applicationsGlobal": "application_global:read",
    "applicationTemplates": "application_template:read", "applicationTemplate": "application_template:read",
    "tenantByInternalID": "ory_internal", "rootTenants": "tenant:read", "tenantByLowestOwnerForResource": "ory_internal",
    "operation": "operation:read", "certificateSubjectMapping": "certificate_subject_mapping:read",
    "certificateSubjectMappings": "certificate_subject_mapping:read",
    "applications": "application:read", "application": "application:read", "applicationsForRuntime": "application:read",
    "apisForApplication": "application:read", "eventsForApplication": "application:read", "runtimes": "runtime:read",
    "runtime": "runtime:read", "bundleByInstanceAuth": "application:read", "bundleInstanceAuth": "application:read",
    "integrationSystems": "integration_system:read", "integrationSystem": "integration_system:read", "viewer": "",
    "tenants": "tenant:read", "tenantByExternalID": "tenant:read", "systemAuth": "ory_internal",
    "formation": "formation:read", "formationByName": "formation:read", "formations": "formation:read",
    "formationsForObject": "formation:global_read", "formationTemplate": "formation_template:read",
    "formationTemplatesByName": "formation_template:read", "labelDefinitions": "label_definition:read",
    "labelDefinition": "label_definition:read",
    "automaticScenarioAssignments": "automatic_scenario_assignment:read",
    "automaticScenarioAssignmentForScenario": "automatic_scenario_assignment:read",
    "automaticScenarioAssignmentsForSelector": "automatic_scenario_assignment:read",
    "formationTemplates": "formation_template:read", "healthChecks": "health_checks:read",
    "formationConstraint": "formation_constraint:read", "formationConstraints": "formation_constraint:read",
    "formationConstraintsByFormationType": "formation_constraint:read",
    "webhookDeliveries": "application.webhooks:read",
}  # fmt: skip
WITHOUT_TENANT = frozenset(
    {"tenantByInternalID", "rootTenants", "tenantByLowestOwnerForResource", "operation", "certificateSubjectMapping",
     "certificateSubjectMappings",
     "applicationsGlobal", "applicationTemplates", "applicationTemplate", "integrationSystems", "integrationSystem", "viewer", "tenants", "tenantByExternalID", "systemAuth",
     "formationsForObject", "formationTemplate", "formationTemplates", "formationTemplatesByName", "healthChecks",
     "formationConstraint", "formationConstraints", "formationConstraintsByFormationType"}
)  # fmt: skip


class Oracle:
    """Answers documents for callers."""

    def __init__(self, sdl: str, world: World) -> None:
        self.schema = _schema(sdl)
        self.lenient = _lenient(sdl)
        self.world = world

    def knows(self, name: str) -> bool:
        """Whether `Type.field` can be answered here: it has a resolver, or is a part of a value that comes whole."""
        type_name, _, field_name = name.partition(".")
        if type_name == "Query":
            return field_name in SCOPES
        resolved = any(known.startswith(f"{type_name}.") for known in RESOLVERS)
        return name in RESOLVERS or not resolved or type_name in WHOLE

    def reaches(self, known: frozenset[str]) -> frozenset[str]:
        """Those of the known fields that a query of known fields can come to."""
        found, waiting = set[str](), self._fields_of("Query")
        while waiting:
            name, below = waiting.pop()
            if name in known and name not in found:
                found.add(name)
                waiting += self._fields_of(below)
        return frozenset(found)

    def _fields_of(self, type_name: str) -> list[tuple[str, str]]:
        """The fields of a type and of all that can stand for it, each with its type's name."""
        kind = self.schema.type_map[type_name]
        members = self.schema.get_possible_types(kind) if isinstance(kind, graphql.GraphQLAbstractType) else []
        return [
            (f"{one.name}.{name}", graphql.get_named_type(field.type).name)
            for one in (kind, *members)
            if isinstance(one, graphql.GraphQLObjectType | graphql.GraphQLInterfaceType)
            for name, field in one.fields.items()
        ]

    def ask(self, caller: Caller, text: str, variables: Mapping[str, Any], operation: str | None) -> Told:
        """Execute one document: first with every field nullable, so that every refusal is found, then as the schema is."""
        asked = graphql.parse(text), Asking(self.world, caller), dict(variables), operation
        errors = set()
        for error in _execute(self.lenient, *asked).errors or ():
            if not isinstance(error.original_error, Refusal):
                raise AssertionError(f"the oracle itself failed: {error}") from error.original_error  # noqa: TRY004  # a defect of this test
            path = tuple(step for step in error.path or () if isinstance(step, str))
            errors.add((path, error.original_error.code))
        if errors:
            return Told(None, frozenset(errors))
        strict = _execute(self.schema, *asked)
        if strict.errors:
            raise AssertionError(f"the oracle itself failed: {strict.errors[0]}")
        return Told(strict.data, frozenset())


def _execute(
    schema: graphql.GraphQLSchema,
    document: graphql.DocumentNode,
    asking: "Asking",
    variables: dict[str, Any],
    name: str | None,
) -> graphql.ExecutionResult:
    return graphql.execute_sync(
        schema, document, context_value=asking, variable_values=variables, operation_name=name, field_resolver=_resolve
    )


def _schema(sdl: str) -> graphql.GraphQLSchema:
    schema = graphql.build_schema(sdl)
    for name, kind in schema.type_map.items():
        if graphql.is_abstract_type(kind):
            kind.resolve_type = _resolve_system_auth if name == "SystemAuth" else _resolve_named
    return schema


def _lenient(sdl: str) -> graphql.GraphQLSchema:
    schema = _schema(sdl)
    for name, kind in schema.type_map.items():
        if isinstance(kind, graphql.GraphQLObjectType | graphql.GraphQLInterfaceType) and not name.startswith("__"):
            for definition in kind.fields.values():
                definition.type = _nullable(definition.type)
    return schema


def _nullable(kind: Any) -> Any:
    if isinstance(kind, graphql.GraphQLNonNull):
        return _nullable(kind.of_type)
    return graphql.GraphQLList(_nullable(kind.of_type)) if isinstance(kind, graphql.GraphQLList) else kind


def _resolve_system_auth(row: Row, *_: Any) -> str:
    return _type_of_system_auth(row)


def _resolve_named(row: Row, *_: Any) -> str:
    return str(row["__typename"])


def _resolve(row: Any, info: graphql.GraphQLResolveInfo[Any], **arguments: Any) -> Any:
    asking: Asking = info.context
    if info.parent_type.name == "Query":
        if SCOPES[info.field_name] and SCOPES[info.field_name] not in asking.caller.scopes:
            raise Refusal(23)
        if asking.caller.tenant is None and info.field_name not in WITHOUT_TENANT:
            raise Refusal(24)
    resolver = RESOLVERS.get(f"{info.parent_type.name}.{info.field_name}")
    return row.get(info.field_name) if resolver is None else resolver(row, asking, **arguments)
