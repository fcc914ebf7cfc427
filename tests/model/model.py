"""The plane as a few dictionaries: what answers depend on, and how an object looks to whoever asks.

Written from contract/director.md and docs/compatibility.toml, not from the SQL: access is worked out anew from the tree
of tenants each time it is asked for, membership is a set of pairs, and so on.
"""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import ANY

if TYPE_CHECKING:
    from tests.model.play import Who

Json = dict[str, Any]
BESIDE_ACCOUNTS: Final = ("organization", "folder", "resource-group")
ENDING: Final = ("DELETING", "DELETE_ERROR")


@dataclass
class Tenant:
    """A tenant; `id` is the internal one."""

    id: str
    external: str
    name: str
    type: str
    provider: str
    parents: set[str] = field(default_factory=set)
    labels: Json = field(default_factory=dict)


@dataclass
class Owned:
    """Something that belongs to a tenant and may be granted to others."""

    id: str
    tenant: str
    number: int
    """Later ones have higher numbers."""
    fields: Json
    """What is shown as it was given, by field."""
    labels: Json
    status: str
    grants: dict[str, bool] = field(default_factory=dict)
    """Tenants that were granted it, and whether as owner."""


@dataclass
class Application(Owned):
    """An application."""

    template: str | None = None


@dataclass
class Runtime(Owned):
    """A runtime."""


@dataclass
class SystemAuth:
    """One way of being known."""

    id: str
    kind: str
    """APPLICATION, RUNTIME or INTEGRATION_SYSTEM."""
    owner: str
    tenant: str | None
    number: int
    has_secret: bool = False
    name: str = ""
    kept: Json | None = None
    """What updateSystemAuth put there."""
    token: str | None = None
    """`fresh` or `used` when there is one in force."""


@dataclass
class Webhook:
    """A webhook of an application, runtime, application template or formation template."""

    id: str
    owner: str
    owner_kind: str
    """The field of the schema that names the owner."""
    number: int
    fields: Json
    user: str | None = None


@dataclass
class Part:
    """A bundle, or something in one or in an application."""

    id: str
    application: str
    bundle: str | None
    fields: Json
    spec: Json | None = None
    user: str | None = None
    """Of a bundle's default credentials."""


@dataclass
class Credentials:
    """Credentials of one runtime for one bundle."""

    id: str
    bundle: str
    tenant: str
    runtime: str | None
    number: int
    fields: Json
    user: str | None
    status: tuple[str, str, str]


@dataclass
class Template:
    """A template of applications or of formations."""

    id: str
    tenant: str | None
    fields: Json
    labels: Json
    placeholders: Sequence[Json] = ()
    input: Json = field(default_factory=dict)


@dataclass
class Formation:
    """A group and its pairs, by source and target."""

    id: str
    tenant: str
    name: str
    template: str
    state: str
    pairs: dict[tuple[str, str], str] = field(default_factory=dict)
    """The state of each pair."""
    kinds: dict[str, str] = field(default_factory=dict)
    """What kind of object each participant is, or was."""
    subaccount: str | None = None
    """The tenant whose runtimes are in it."""
    caused: set[str] = field(default_factory=set)
    """Who takes part only because of that."""

    def members(self) -> list[str]:
        """Who takes part."""
        return [one for (one, other), state in self.pairs.items() if one == other and state not in ENDING]


@dataclass
class Context:
    """A context of a runtime."""

    id: str
    runtime: str
    fields: Json
    labels: Json = field(default_factory=dict)


@dataclass
class Constraint:
    """A constraint on groups, and the templates that it is attached to."""

    id: str
    number: int
    fields: Json
    templates: set[str] = field(default_factory=set)


class World:
    """All there is."""

    def __init__(self, default_template: str) -> None:
        self.number = 0
        self.tenants: dict[str, Tenant] = {}
        self.applications: dict[str, Application] = {}
        self.runtimes: dict[str, Runtime] = {}
        self.integration_systems: dict[str, Json] = {}
        self.auths: dict[str, SystemAuth] = {}
        self.tokens: dict[str, str] = {}
        """Tokens that were handed out, with their system auths."""
        self.webhooks: dict[str, Webhook] = {}
        self.bundles: dict[str, Part] = {}
        self.apis: dict[str, Part] = {}
        self.events: dict[str, Part] = {}
        self.documents: dict[str, Part] = {}
        self.dependencies: dict[str, Part] = {}
        self.credentials: dict[str, Credentials] = {}
        self.application_templates: dict[str, Template] = {}
        self.formation_templates: dict[str, Template] = {default_template: _default(default_template)}
        self.formations: dict[str, Formation] = {}
        self.contexts: dict[str, Context] = {}
        self.constraints: dict[str, Constraint] = {}
        self.mappings: dict[str, Json] = {}
        self.defaults: dict[str, str] = {}
        """The default runtime of applications."""

    def next(self) -> int:
        """A number higher than all before."""
        self.number += 1
        return self.number

    # Tenants and access

    def up(self, tenant: str) -> set[str]:
        """A tenant and its ancestors."""
        found, waiting = set[str](), [tenant]
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting.extend(self.tenants[one].parents)
        return found

    def access(self, thing: Owned) -> dict[str, bool]:
        """Who sees a thing, and whether as owner."""
        found: dict[str, bool] = {}
        for tenant, owner in ((thing.tenant, True), *thing.grants.items()):
            for one in self.up(tenant):
                found[one] = found.get(one, False) or owner
        return {one: found[one] for one in self.tenants if one in found}

    def _landscape(self, tenant: str) -> set[str]:
        """Everything below the customers and cost objects that a tenant is under."""
        roots = [
            one
            for one in self.up(tenant)
            if self.tenants[one].type in ("customer", "cost-object") and not self.tenants[one].parents
        ]
        return {one for one in self.tenants if any(root in self.up(one) for root in roots)}

    def share_with_accounts(self, application: "Application") -> None:
        """What is registered beside accounts is theirs, too."""
        if self.tenants[application.tenant].type in BESIDE_ACCOUNTS:
            beside = self._landscape(application.tenant)
            for one in self.tenants.values():
                if one.id in beside and one.type == "account":
                    application.grants[one.id] = True

    def share_with_new(self, accounts: Iterable[str]) -> None:
        """Accounts that come later see what is there already."""
        new = set(accounts)
        for account in (one for one in self.tenants if one in new):
            if self.tenants[account].type == "account":
                beside = {one for one in self._landscape(account) if self.tenants[one].type in BESIDE_ACCOUNTS}
                for application in self.applications.values():
                    if application.tenant in beside:
                        application.grants.setdefault(account, False)

    def forget_beside(self, moved: Iterable[str]) -> None:
        """Accounts that moved away see it no more."""
        away = set(moved)
        for application in self.applications.values():
            if self.tenants[application.tenant].type in BESIDE_ACCOUNTS:
                application.grants = {
                    one: owner
                    for one, owner in application.grants.items()
                    if self.tenants[one].type != "account"
                    or not away & {one, application.tenant}
                    or self.up(one) & self.up(application.tenant)
                }

    def sees(self, tenant: str | None, thing: Owned | None) -> bool:
        """Whether a tenant sees a thing, if there is one."""
        return thing is not None and tenant is not None and tenant in self.access(thing)

    def owns(self, tenant: str | None, thing: Owned | None) -> bool:
        """Whether a tenant may change a thing, if there is one."""
        return thing is not None and tenant is not None and self.access(thing).get(tenant, False)

    def visible_applications(self, who: "Who") -> list[Application]:
        """Those that a caller's lists hold, in order."""
        return [
            entry
            for entry in by_id(self.applications)
            if self.sees(who.tenant, entry) and (who.runtime is None or self.share(entry.id, who.runtime))
        ]

    def visible_runtimes(self, who: "Who") -> list[Runtime]:
        """Those that a caller's lists hold, in order."""
        return [entry for entry in by_id(self.runtimes) if self.sees(who.tenant, entry)]

    # Groups

    def share(self, one: str, other: str | None) -> bool:
        """Whether two are paired in a group, neither of them leaving it."""
        return any(
            state not in ENDING
            for formation in self.formations.values()
            for pair, state in formation.pairs.items()
            if pair == (one, other)
        )

    def groups_of(self, member: str) -> list[Formation]:
        """The groups that somebody is in."""
        return [entry for entry in by_id(self.formations) if member in entry.members()]

    def relabel(self, member: str) -> None:
        """Bring the label of the groups up to date."""
        thing: Application | Runtime | Context | None = (
            self.applications.get(member) or self.runtimes.get(member) or self.contexts.get(member)
        )
        if thing is None:
            return
        names = sorted({entry.name for entry in self.groups_of(member)})
        if names:
            thing.labels["scenarios"] = names
        else:
            thing.labels.pop("scenarios", None)

    def settle(self, applications: Iterable[str]) -> None:
        """Have each of them keep its default runtime while it shares a group with it, or get the oldest."""
        for one in applications:
            if not self.share(one, self.defaults.get(one)):
                self.defaults.pop(one, None)
            found = [entry for entry in self.runtimes.values() if self.share(one, entry.id)]
            if found and one not in self.defaults:
                self.defaults[one] = min(found, key=lambda entry: entry.number).id

    def events_url(self, application: str) -> str:
        """Where an application sends its events."""
        found = [entry for entry in self.runtimes.values() if self.share(application, entry.id)]
        if not found:
            return ""
        chosen = min(found, key=lambda entry: (self.defaults.get(application) != entry.id, entry.number))
        url = chosen.labels.get("runtime_eventServiceUrl")
        if not isinstance(url, str) or "://" not in url:
            return ""
        host = "/".join(url.split("/")[:3])
        return f"{host}/{self.called(application, chosen)}/v1/events"

    def called(self, application: str, runtime: Runtime) -> str:
        """What a runtime calls an application."""
        name: str = self.applications[application].fields["name"]
        return normalized(name) if runtime.labels.get("isNormalized", "true") == "true" else name

    def listens(self, formation: Formation, source: str, target: str) -> bool:
        """Whether a target has a webhook by which it is told of a source. Source: contract/director.md §16."""
        wanted = "CONFIGURATION_CHANGED"
        if formation.kinds[target] == "APPLICATION":
            if formation.kinds[source] == "APPLICATION":
                wanted = "APPLICATION_TENANT_MAPPING"
            own = [one for one in self.webhooks.values() if one.owner == target and one.fields["type"] == wanted]
            template = self.applications[target].template if target in self.applications else None
            lent = [one for one in self.webhooks.values() if one.owner == template and one.fields["type"] == wanted]
            return bool(own or lent)
        if formation.kinds[source] != "APPLICATION":
            return False
        context = self.contexts.get(target)
        holder = context.runtime if context is not None else target
        return any(one.owner == holder and one.fields["type"] == wanted for one in self.webhooks.values())

    def join(self, formation: Formation, joining: Mapping[str, str], *, caused: bool = False) -> set[str]:
        """Pair objects, by kind, with each other and all that are in the group; answers for whom that is news."""
        formation.kinds.update(joining)
        meeting = [*dict.fromkeys((*formation.members(), *joining))]
        applications = [one for one in formation.members() if formation.kinds[one] == "APPLICATION"]
        new = set[str]()
        for one in joining:
            for other in meeting:
                if other in self.of_runtime(one) or one in self.of_runtime(other):
                    continue
                for pair in ((one, other), (other, one)):
                    if formation.pairs.get(pair, "DELETING") in ENDING:
                        waits = formation.state != "READY" or self.listens(formation, *pair)
                        formation.pairs[pair] = "INITIAL" if waits else "READY"
                        new |= {one} if one == other else set()
        for one in new:
            formation.caused.discard(one)
            formation.caused |= {one} if caused else set()
        self._settle_members(formation, new, applications)
        return new

    def of_runtime(self, runtime: str) -> set[str]:
        """The contexts of a runtime."""
        return {one.id for one in self.contexts.values() if one.runtime == runtime}

    def leave(self, formation: Formation, leaving: Iterable[str]) -> None:
        """End what joins objects with the group, or have those that are to be told of it wait."""
        gone = {one for one in leaving if one in formation.members()}
        applications = [one for one in formation.members() if formation.kinds[one] == "APPLICATION"]
        for pair, state in list(formation.pairs.items()):
            if gone & {*pair} and state not in ENDING:
                if formation.state == "READY" and self.listens(formation, *pair):
                    formation.pairs[pair] = "DELETING"
                else:
                    del formation.pairs[pair]
        formation.caused -= gone
        self._settle_members(formation, gone, applications)

    def _settle_members(self, formation: Formation, moved: set[str], applications: list[str]) -> None:
        for one in moved:
            self.relabel(one)
        concerned = {one for one in moved if formation.kinds[one] == "APPLICATION"}
        if any(formation.kinds[one] == "RUNTIME" for one in moved):
            concerned |= {*applications}
        self.settle(concerned)

    def admitted(self, formation: Formation, runtime: Runtime) -> bool:
        """Whether the template of a group admits a runtime."""
        types = self.formation_templates[formation.template].fields.get("runtimeTypes") or []
        return "ANY" in types or as_text(runtime.labels.get("runtimeType")) in types

    def covering(self, runtime: Runtime) -> list[Formation]:
        """The groups that a runtime is in because a tenant of it is."""
        return [
            one
            for one in self.formations.values()
            if one.subaccount is not None and self.owns(one.subaccount, runtime) and self.admitted(one, runtime)
        ]

    # Going

    def drop_application(self, application: str) -> None:
        """An application goes with everything that belongs to it."""
        del self.applications[application]
        for parts in (self.apis, self.events, self.documents, self.dependencies, self.bundles):
            for part in [entry.id for entry in parts.values() if entry.application == application]:
                del parts[part]
        self._drop_orphans()
        self.defaults.pop(application, None)

    def drop_runtime(self, runtime: str) -> None:
        """A runtime goes with its contexts; their groups have been left before."""
        del self.runtimes[runtime]
        self.contexts = {key: one for key, one in self.contexts.items() if one.runtime != runtime}
        self.defaults = {one: other for one, other in self.defaults.items() if other != runtime}
        self._drop_orphans()

    def drop_bundle(self, bundle: str) -> None:
        """A bundle goes with everything in it."""
        del self.bundles[bundle]
        for parts in (self.apis, self.events, self.documents):
            for part in [entry.id for entry in parts.values() if entry.bundle == bundle]:
                del parts[part]
        self._drop_orphans()

    def _drop_orphans(self) -> None:
        owners = {
            *self.applications,
            *self.runtimes,
            *self.integration_systems,
            *self.application_templates,
            *self.formation_templates,
        }
        self.auths = {key: one for key, one in self.auths.items() if one.owner in owners}
        self.webhooks = {key: one for key, one in self.webhooks.items() if one.owner in owners}
        self.credentials = {key: one for key, one in self.credentials.items() if one.bundle in self.bundles}
        for one in self.credentials.values():
            if one.runtime not in self.runtimes:
                one.runtime = None

    drop_orphans = _drop_orphans

    # How things look

    def application(self, who: "Who", one: Application) -> Json:
        """As APPLICATION selects it."""
        bundles = [entry for entry in by_id(self.bundles) if entry.application == one.id]
        dependencies = [entry for entry in by_id(self.dependencies) if entry.application == one.id]
        template = self.application_templates.get(one.template or "")
        return {
            "id": one.id,
            **{name: one.fields.get(name) for name in _APPLICATION_FIELDS},
            "systemNumber": None,
            "applicationTemplateID": template and template.id,
            "labels": one.labels,
            "status": {"condition": one.status},
            "operations": [],
            "webhooks": self.webhooks_of_application(who, one)
            if who.may("application.webhooks:read") and who.itself in (None, one.id)
            else None,
            "bundles": whole([self.bundle(who, entry) for entry in bundles]),
            "integrationDependencies": whole([self.dependency(entry) for entry in dependencies]),
            "auths": [self.system_auth(who, entry) for entry in in_order(self.auths) if entry.owner == one.id]
            if who.application in (None, one.id)
            else None,
            "eventingConfiguration": {"defaultURL": self.events_url(one.id)},
        }

    def webhooks_of_application(self, who: "Who", one: Application) -> list[Json]:
        """Its own, and its template's of the types that it has none of."""
        own = [entry for entry in in_order(self.webhooks) if entry.owner == one.id]
        types = {entry.fields["type"] for entry in own}
        of_template = [
            entry
            for entry in in_order(self.webhooks)
            if entry.owner == one.template and entry.fields["type"] not in types
        ]
        shown = sorted([*own, *of_template], key=lambda entry: (entry.number, entry.id))
        return [self.webhook(who, entry) for entry in shown]

    def runtime(self, who: "Who", one: Runtime) -> Json:
        """As RUNTIME selects it."""
        url = one.labels.get("runtime_eventServiceUrl")
        return {
            "id": one.id,
            **{name: one.fields.get(name) for name in ("name", "description", "applicationNamespace")},
            "labels": one.labels,
            "status": {"condition": one.status},
            "webhooks": [self.webhook(who, entry) for entry in in_order(self.webhooks) if entry.owner == one.id]
            if who.may("runtime.webhooks:read") and who.itself in (None, one.id)
            else None,
            "auths": [self.system_auth(who, entry) for entry in in_order(self.auths) if entry.owner == one.id]
            if who.itself in (None, one.id)
            else None,
            "eventingConfiguration": {"defaultURL": "" if url is None else str(url)},
            "runtimeContexts": whole(
                [self.context(entry) for entry in by_id(self.contexts) if entry.runtime == one.id]
            ),
        }

    def context(self, one: Context) -> Json:
        """As CONTEXT selects it."""
        return {"id": one.id, **one.fields, "labels": one.labels}

    def webhook(self, who: "Who", one: Webhook) -> Json:
        """As WEBHOOK selects it."""
        secret = None
        # A program can read the secret of its own webhooks only.
        if who.may("webhook:write") and who.itself in (None, one.owner):
            secret = ANY
        return {
            "id": one.id,
            **{name: one.owner if name == one.owner_kind else None for name in _WEBHOOK_OWNERS},
            **{name: one.fields.get(name) for name in _WEBHOOK_FIELDS},
            "auth": credential(one.user) if who.may("webhooks.auth:read") else None,
            "signingSecret": secret,
        }

    def system_auth(self, who: "Who", one: SystemAuth) -> Json:
        """As SYSTEM_AUTH selects it."""
        scope = f"{one.kind.lower()}.auths:read"
        return {
            "id": one.id,
            "auth": self._auth(who, one) if who.may(scope) else None,
            "type": one.kind,
            "tenantId": one.tenant,
            "referenceObjectId": one.owner,
        }

    def _auth(self, who: "Who", one: SystemAuth) -> Json | None:
        if who.itself not in (None, one.owner):
            return None  # another's
        if not (one.name or one.has_secret or one.kept is not None or one.id in self.tokens.values()):
            return None
        shown = {"__typename": "OAuthCredentialData"} if one.has_secret else None
        if one.kept is not None and one.kept.get("user") is not None:
            shown = {"__typename": "BasicCredentialData"}
        token = one.token if one.kind == "APPLICATION" and not one.name else None
        return {
            "credential": shown,
            "certCommonName": one.name,
            "oneTimeToken": token and {"used": token == "used"},
        }

    def bundle(self, who: "Who", one: Part) -> Json:
        """As BUNDLE selects it."""
        mine = who.application in (None, one.application)
        seen = who.may("bundle.instance_auths:read")
        own = [
            entry
            for entry in in_order(self.credentials)
            if entry.bundle == one.id and who.runtime in (None, entry.runtime) and mine
        ]
        given = next(
            (
                entry.user
                for entry in own
                if who.runtime is not None and entry.status[0] == "SUCCEEDED" and entry.user is not None
            ),
            one.user,
        )
        return {
            "id": one.id,
            **{name: one.fields.get(name) for name in _BUNDLE_FIELDS},
            "instanceAuths": [self.instance_auth(entry) for entry in own] if seen else None,
            "defaultInstanceAuth": credential(given) if seen and mine else None,
            "apiDefinitions": whole([self.api(who, entry) for entry in by_id(self.apis) if entry.bundle == one.id]),
            "eventDefinitions": whole(
                [self.event(who, entry) for entry in by_id(self.events) if entry.bundle == one.id]
            ),
            "documents": whole([self.document(entry) for entry in by_id(self.documents) if entry.bundle == one.id]),
        }

    def instance_auth(self, one: Credentials) -> Json:
        """As INSTANCE_AUTH selects it."""
        condition, reason, message = one.status
        return {
            "id": one.id,
            **{name: one.fields.get(name) for name in ("context", "inputParams")},
            "auth": credential(one.user),
            "status": {"condition": condition, "reason": reason, "message": message},
            "runtimeID": one.runtime,
            "runtimeContextID": None,
        }

    def api(self, who: "Who", one: Part) -> Json:
        """As API selects it."""
        return {
            "id": one.id,
            **{name: one.fields.get(name) for name in ("name", "description", "targetURL", "group", "version")},
            "spec": self.spec(who, one, "api_spec"),
        }

    def event(self, who: "Who", one: Part) -> Json:
        """As EVENT selects it."""
        return {
            "id": one.id,
            **{name: one.fields.get(name) for name in ("name", "description", "group", "version")},
            "spec": self.spec(who, one, "event_spec"),
        }

    def spec(self, who: "Who", one: Part, kind: str) -> Json | None:
        """As SPEC selects it."""
        if one.spec is None:
            return None
        seen = who.may(f"{kind}.fetch_request:read") and who.itself in (None, one.application)
        return {**one.spec, "fetchRequest": one.spec["fetchRequest"] if seen else None}

    def document(self, one: Part) -> Json:
        """As DOCUMENT selects it."""
        return {"id": one.id, **{name: one.fields.get(name) for name in _DOCUMENT_FIELDS}}

    def dependency(self, one: Part) -> Json:
        """As DEPENDENCY selects it."""
        return {
            "id": one.id,
            **{name: one.fields.get(name) for name in _DEPENDENCY_FIELDS},
            "aspects": [
                {"name": aspect["name"], "apiResources": [{"ordID": entry} for entry in aspect["apis"]]}
                for aspect in one.fields["aspects"]
            ],
        }

    def tenant(self, one: Tenant) -> Json:
        """As TENANT selects it."""
        return {
            "id": one.external,
            "internalID": one.id,
            "name": one.name,
            "type": one.type,
            "parents": sorted(one.parents),
            "initialized": any(entry.tenant == one.id for entry in self.formations.values()),
            "labels": one.labels,
            "provider": one.provider,
        }

    def integration_system(self, who: "Who", one: str) -> Json:
        """As INTEGRATION_SYSTEM selects it."""
        auths = [self.system_auth(who, entry) for entry in in_order(self.auths) if entry.owner == one]
        return {"id": one, **self.integration_systems[one], "auths": auths}

    def application_template(self, who: "Who", one: Template) -> Json:
        """As APPLICATION_TEMPLATE selects it."""
        may = who.may("application_template.webhooks:read")
        return {
            "id": one.id,
            **{name: one.fields.get(name) for name in ("name", "description", "accessLevel", "applicationNamespace")},
            "placeholders": list(one.placeholders),
            "labels": one.labels,
            "webhooks": [self.webhook(who, entry) for entry in in_order(self.webhooks) if entry.owner == one.id]
            if may
            else None,
        }

    def formation_template(self, who: "Who", one: Template) -> Json:
        """As FORMATION_TEMPLATE selects it."""
        may = who.may("formation_template.webhooks:read")
        return {
            "id": one.id,
            **{name: one.fields.get(name) for name in _FORMATION_TEMPLATE_FIELDS},
            "labels": one.labels,
            "webhooks": [self.webhook(who, entry) for entry in in_order(self.webhooks) if entry.owner == one.id]
            if may
            else None,
        }

    def formation(self, one: Formation) -> Json:
        """As FORMATION selects it; assignments are put in the order of what they join."""
        states = set(one.pairs.values())
        if one.state == "DRAFT":
            condition = "DRAFT"
        elif states & {"CREATE_ERROR", "DELETE_ERROR"}:
            condition = "ERROR"
        elif states & {"INITIAL", "DELETING", "CONFIG_PENDING"}:
            condition = "IN_PROGRESS"
        else:
            condition = "READY"
        return {
            "id": one.id,
            "name": one.name,
            "formationTemplateId": one.template,
            "state": one.state,
            "error": {"message": "", "errorCode": 0},
            "status": {"condition": condition, "errors": []},
            "formationAssignments": {
                "totalCount": len(one.pairs),
                "data": [
                    {"source": source, "target": target, "state": state}
                    for (source, target), state in one.pairs.items()
                ],
            },
        }


def _default(template: str) -> Template:
    fields = {
        "name": "Side-by-Side Extensibility with Kyma",
        "applicationTypes": ["ANY"],
        "runtimeTypes": ["ANY"],
        "runtimeTypeDisplayName": ANY,
        "runtimeArtifactKind": "ENVIRONMENT_INSTANCE",
        "supportsReset": False,
    }
    return Template(template, None, fields, {})


# What is selected

_CREDENTIAL: Final = "{ credential { __typename ... on BasicCredentialData { username } } }"
_WEBHOOK_OWNERS: Final = ("applicationID", "applicationTemplateID", "runtimeID", "formationTemplateID")
_WEBHOOK_FIELDS: Final = (
    *("type", "mode", "correlationIdKey", "retryInterval", "timeout", "url", "urlTemplate"),
    *("inputTemplate", "headerTemplate", "outputTemplate", "statusTemplate"),
)
WEBHOOK: Final = f"id {' '.join(_WEBHOOK_OWNERS)} {' '.join(_WEBHOOK_FIELDS)} auth {_CREDENTIAL} signingSecret"
SYSTEM_AUTH: Final = (
    "id type tenantId referenceObjectId auth { credential { __typename } certCommonName oneTimeToken { used } }"
)
INSTANCE_AUTH: Final = (
    f"id context inputParams auth {_CREDENTIAL} status {{ condition reason message }} runtimeID runtimeContextID"
)
SPEC: Final = "id data type format fetchRequest { url mode status { condition } }"
_VERSION: Final = "version { value deprecated deprecatedSince forRemoval }"
API: Final = f"id name description targetURL group {_VERSION} spec {{ {SPEC} }}"
EVENT: Final = f"id name description group {_VERSION} spec {{ {SPEC} }}"
_DOCUMENT_FIELDS: Final = ("title", "displayName", "description", "format", "kind", "data")
DOCUMENT: Final = f"id {' '.join(_DOCUMENT_FIELDS)}"
_DEPENDENCY_FIELDS: Final = (
    *("name", "ordID", "description", "partOfPackage", "visibility", "releaseStatus", "mandatory", "labels"),
)
DEPENDENCY: Final = f"id {' '.join(_DEPENDENCY_FIELDS)} aspects {{ name apiResources {{ ordID }} }}"
_BUNDLE_FIELDS: Final = ("name", "description", "instanceAuthRequestInputSchema", "correlationIDs")
_PAGE: Final = "totalCount pageInfo { startCursor endCursor hasNextPage }"


def paged(selection: str) -> str:
    """The selection of a whole page."""
    return f"data {{ {selection} }} {_PAGE}"


BUNDLE: Final = (
    f"id {' '.join(_BUNDLE_FIELDS)} instanceAuths {{ {INSTANCE_AUTH} }} defaultInstanceAuth {_CREDENTIAL} "
    f"apiDefinitions {{ {paged(API)} }} eventDefinitions {{ {paged(EVENT)} }} documents {{ {paged(DOCUMENT)} }}"
)
_APPLICATION_FIELDS: Final = (
    *("name", "localTenantID", "baseUrl", "providerName", "description", "integrationSystemID"),
    *("healthCheckURL", "applicationNamespace"),
)
APPLICATION: Final = (
    f"id {' '.join(_APPLICATION_FIELDS)} systemNumber applicationTemplateID labels status {{ condition }} "
    f"operations {{ id }} webhooks {{ {WEBHOOK} }} bundles {{ {paged(BUNDLE)} }} "
    f"integrationDependencies {{ {paged(DEPENDENCY)} }} auths {{ {SYSTEM_AUTH} }} "
    "eventingConfiguration { defaultURL }"
)
CONTEXT: Final = "id key value labels"
RUNTIME: Final = (
    f"id name description applicationNamespace labels status {{ condition }} webhooks {{ {WEBHOOK} }} "
    f"auths {{ {SYSTEM_AUTH} }} eventingConfiguration {{ defaultURL }} runtimeContexts {{ {paged(CONTEXT)} }}"
)
TENANT: Final = "id internalID name type parents initialized labels provider"
INTEGRATION_SYSTEM: Final = f"id name description auths {{ {SYSTEM_AUTH} }}"
APPLICATION_TEMPLATE: Final = (
    "id name description accessLevel applicationNamespace labels "
    f"placeholders {{ name description jsonPath optional }} webhooks {{ {WEBHOOK} }}"
)
_FORMATION_TEMPLATE_FIELDS: Final = (
    *("name", "applicationTypes", "runtimeTypes", "runtimeTypeDisplayName", "runtimeArtifactKind"),
    *("leadingProductIDs", "supportsReset", "discoveryConsumers"),
)
FORMATION_TEMPLATE: Final = f"id {' '.join(_FORMATION_TEMPLATE_FIELDS)} labels webhooks {{ {WEBHOOK} }}"
FORMATION: Final = (
    "id name formationTemplateId state error { message errorCode } status { condition errors { message errorCode } } "
    "formationAssignments { totalCount data { source target state } }"
)


# Small things


def by_id(things: Mapping[str, Any]) -> list[Any]:
    """In the order of most lists."""
    return [things[key] for key in sorted(things)]


def in_order(things: Mapping[str, Any]) -> list[Any]:
    """In the order in which they came to be."""
    return sorted(things.values(), key=lambda one: (one.number, one.id))


def credential(user: str | None) -> Json | None:
    """An Auth with a user name and a password."""
    if user is None:
        return None
    return {"credential": {"__typename": "BasicCredentialData", "username": user}}


def whole(rows: Sequence[Any]) -> Json:
    """A page that holds everything."""
    info = {"startCursor": "", "endCursor": "", "hasNextPage": False}
    return {"data": list(rows), "totalCount": len(rows), "pageInfo": info}


def cursor(rows_before: int) -> str:
    """Source: contract/director.md §4."""
    return base64.b64encode(f"DpKtJ4j9jDq{rows_before}".encode()).decode()


def normalized(name: str) -> str:
    """Source: contract/director.md §6."""
    kept = "abcdefghijklmnopqrstuvwxyz0123456789-"
    if name.startswith("mp-") and set(name) <= set(kept) and not name.endswith("-") and "--" not in name:
        return name
    text = "".join(letter if letter in kept else "-" for letter in f"mp-{name.lower()}")
    while "--" in text:
        text = text.replace("--", "-")
    return text.removesuffix("-")


def as_text(value: Any) -> str | None:
    """A JSON value as the database writes it, a text without its quotes."""
    return value if value is None or isinstance(value, str) else json.dumps(value)


def contains(value: Any, wanted: Any) -> bool:
    """Whether one JSON value contains another. Source: PostgreSQL 15 §8.14.3."""
    if isinstance(value, list) and not isinstance(wanted, list | dict):
        return any(_same(entry, wanted) for entry in value)
    return _contains(value, wanted)


def _contains(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(value, dict) and all(key in value and _contains(value[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return isinstance(value, list) and all(any(_contains(entry, one) for entry in value) for one in wanted)
    return _same(value, wanted)


def _same(one: Any, other: Any) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
