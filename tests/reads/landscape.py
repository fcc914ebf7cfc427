# ruff: noqa: E501
# Tables of data, and statements: wrapping them hides their shape.
"""A random landscape for the differential test: rows of every table of the Director, in three tenants.

Rows are written straight into the tables: what the reads make of a state must not depend on how it came about.
"""

import json
import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from compass.postgres.pool import Tx
from compass.vault import Vault

Row = dict[str, Any]

ADDED = "INSERT INTO %s (%s) SELECT %s FROM jsonb_populate_recordset(NULL::%s, %%(rows)s)"
ORDER = (
    "tenant", "tenant_parent", "tenant_label", "integration_system", "application_template", "application_template_label", "application", "application_tenant",
    "application_label", "runtime", "runtime_tenant", "runtime_label", "runtime_context", "runtime_context_label", "applied_field", "system_auth", "one_time_token", "bundle",
    "api_definition", "event_definition", "integration_dependency", "aspect", "certificate_subject_mapping", "document",
    "spec", "fetch_request", "bundle_instance_auth",
    "formation_template", "formation_template_label", "formation_constraint", "formation_template_constraint", "formation", "automatic_scenario_assignment",
    "formation_assignment", "webhook", "delivery",
    "delivery_attempt",
)  # fmt: skip
"""Tables, each after those it refers to."""

_TEXTS = (
    None,
    "",
    "plain",
    'with "quotes" and \\ and /',
    "two\nlines\tand a tab",
    "snow ☃ 😀",
    '{"json": [1]}',
    "%s {t} $1",
)
_LABELS: Sequence[tuple[str, Any]] = (
    ("tier", "gold"), ("tier", "silver"), ("tier", ["gold", 1]), ("scenarios", ["one", "two"]), ("scenarios", ["two"]),
    ("runtimeType", "kyma"), ("numbers", {"a": 1.5, "b": None}), ("flag", True), ("global_subaccount_id", "sub-1"),
    ("systemRole", "S4"), ("systemRole", {"S4": 1}), ("systemRole", ["x", "S4"]), ("numbers", [[1, 3], 2]), ("odd key", {"nested": {"deep": ["x", {"y": "z"}]}}),
)  # fmt: skip


@dataclass
class Landscape:
    """The rows of every table, as they are to be written."""

    rows: dict[str, list[Row]] = field(default_factory=lambda: {table: [] for table in ORDER})

    def add(self, table: str, **values: Any) -> str:
        """Add a row; answers its id."""
        self.rows[table].append(values)
        return str(values.get("id", ""))

    async def write(self, tx: Tx) -> None:
        """Write everything in the order of the references."""
        for table in ORDER:
            rows = self.rows[table]
            if rows:
                columns = ", ".join({name: None for row in rows for name in row})
                complete = [{name: row.get(name) for name in columns.split(", ")} for row in rows]
                await tx.run(ADDED % (table, columns, columns, table), rows=complete)


def random_landscape(chance: random.Random, vault: Vault) -> Landscape:
    """Three tenants, one the child of another, with applications, runtimes, groups and everything below them."""
    made = _Maker(chance, vault)
    made.tenants()
    made.templates()
    made.mappings()
    for tenant in made.tenant_ids:
        made.directory(tenant)
    made.formations()
    return made.landscape


class _Maker:
    def __init__(self, chance: random.Random, vault: Vault) -> None:
        self.chance = chance
        self.vault = vault
        self.landscape = Landscape()
        self.tenant_ids: list[str] = []
        self.parents: dict[str, list[str]] = {}
        self.application_templates: list[str] = []
        self.applications: dict[str, list[str]] = {}
        self.runtimes: dict[str, list[str]] = {}
        self.contexts: dict[str, list[str]] = {}
        self.systems = [
            self.landscape.add("integration_system", id=self.id(), name=f"system-{n}", description=self.text())
            for n in range(3)
        ]

    def id(self) -> str:
        return str(uuid.UUID(int=self.chance.getrandbits(128), version=4))

    def text(self) -> str | None:
        return self.chance.choice(_TEXTS)

    def time(self) -> str:
        # Few distinct times, so that ties are decided by the id.
        return f"2026-01-0{self.chance.randint(1, 4)}T0{self.chance.randint(0, 9)}:00:0{self.chance.randint(0, 9)}.75+02:00"

    def maybe(self, value: Any, share: float = 0.5) -> Any:
        return value if self.chance.random() < share else None

    def add(self, table: str, **values: Any) -> str:
        return self.landscape.add(table, **values)

    def tenants(self) -> None:
        for number, kind in enumerate(("account", "subaccount", "customer")):
            tenant = self.id()
            self.tenant_ids.append(tenant)
            self.add(
                "tenant", id=tenant, external_id=f"external-{number}", name=f"Tenant {'ABa'[number]}", type=kind,
                provider="test", status="Active", created_at=self.time(),
            )  # fmt: skip
            self.add("tenant_label", tenant_id=tenant, key="region", value=f"eu-{number}")
        self.add(
            "tenant", id=self.id(), external_id="asleep", name="Asleep", type="account", provider="test",
            status="Inactive", created_at=self.time(),
        )  # fmt: skip
        parent, child, _ = self.tenant_ids
        self.add("tenant_parent", tenant_id=child, parent_id=parent)
        self.parents = {child: [parent]}

    def mappings(self) -> None:
        for number in range(3):
            self.add(
                "certificate_subject_mapping", id=self.id(), subject=f"CN={number}, OU=u, O=o, L=l, C=c",
                consumer_type="Super Admin", internal_consumer_id=self.text(), tenant_access_levels=["account", "global"],
                created_at=self.time(), updated_at=self.maybe(self.time()),
            )  # fmt: skip

    def templates(self) -> None:
        for number in range(3):
            template = self.id()
            auth = {"credential": {"basic": {"username": "u", "password": "p"}}}
            form = {
                "name": "{{a}}", "labels": {"auth": {"auth": 1}},
                "webhooks": self.maybe([{"type": "CONFIGURATION_CHANGED", "url": "https://x.example", "auth": auth}]),
                "bundles": [{"name": "b", "defaultInstanceAuth": auth}],
            }  # fmt: skip
            placeholders = [
                {"name": "a", "description": self.text(), "json_path": "$.a", "optional": False},
                {"name": "b", "description": None, "json_path": None, "optional": True},
            ]
            self.add(
                "application_template", id=template, name=f"form-{number}", region=self.maybe("eu"), description=self.text(),
                application_input_sealed=self.vault.seal(f"application_template/{template}", json.dumps(form).encode()),
                placeholders=placeholders[: self.chance.randint(0, 2)], access_level="GLOBAL",
                application_namespace=self.text(), created_at=self.time(), updated_at=self.time(),
            )  # fmt: skip
            self.labels("application_template_label", "application_template_id", template, {})
            for _ in range(self.chance.randint(0, 2)):
                self.webhook(application_template_id=template)
            self.application_templates.append(template)

    def directory(self, tenant: str) -> None:
        seen_by = [tenant, *self.parents.get(tenant, ())]
        self.runtimes[tenant] = [self.runtime(tenant, seen_by, number) for number in range(self.chance.randint(2, 4))]
        self.applications[tenant] = [
            self.application(tenant, seen_by, number) for number in range(self.chance.randint(4, 8))
        ]

    def labels(self, table: str, owner: str, object_id: str, more: Mapping[str, Any]) -> None:
        chosen = dict(self.chance.sample(_LABELS, self.chance.randint(0, 4))) | dict(more)
        for key, value in chosen.items():
            self.add(table, **{owner: object_id}, key=key, value=value)

    def runtime(self, tenant: str, seen_by: Sequence[str], number: int) -> str:
        runtime = self.id()
        self.add(
            "runtime", id=runtime, tenant_id=tenant, name=f"runtime-{number}", description=self.text(),
            application_namespace=self.text(), status_condition=self.chance.choice(("INITIAL", "CONNECTED")),
            status_timestamp=self.time(), created_at=self.time(),
        )  # fmt: skip
        for visible in seen_by:
            self.add("runtime_tenant", tenant_id=visible, runtime_id=runtime, owner=self.chance.random() < 0.8)
        url = self.maybe("https://gateway.example:9443/some/path?x=1", 0.7)
        normal = self.chance.choice(("true", "false", None))
        self.labels(
            "runtime_label", "runtime_id", runtime,
            ({"runtime_eventServiceUrl": url} if url else {}) | ({"isNormalized": normal} if normal else {}),
        )  # fmt: skip
        for _ in range(self.chance.randint(0, 2)):
            self.system_auth(tenant, runtime_id=runtime)
        for _ in range(self.chance.randint(0, 2)):
            self.webhook(runtime_id=runtime)
        self.applied(runtime_id=runtime)
        self.contexts[runtime] = [self.id() for _ in range(self.chance.randint(0, 3))]
        for context in self.contexts[runtime]:
            self.add(
                "runtime_context", id=context, runtime_id=runtime, key="tenant", value=self.text() or "", created_at=self.time()
            )  # fmt: skip
            self.labels("runtime_context_label", "runtime_context_id", context, {})
        return runtime

    def application(self, tenant: str, seen_by: Sequence[str], number: int) -> str:
        application = self.id()
        self.add(
            "application", id=application, tenant_id=tenant, name=f"Billing {number} of {self.chance.randint(1, 9)}",
            provider_name=self.text(), description=self.text(), health_check_url=self.text(), base_url=self.text(),
            application_namespace=self.text(), integration_system_id=self.maybe(self.chance.choice(self.systems)),
            application_template_id=self.maybe(self.chance.choice(self.application_templates)),
            local_tenant_id=self.text(),
            system_number=self.maybe(str(number)), system_status=self.text(),
            status_condition=self.chance.choice(("INITIAL", "CONNECTED", "FAILED")), status_timestamp=self.time(),
            created_at=self.time(), updated_at=self.time(), deleted_at=self.maybe(self.time(), 0.1), error=self.text(),
        )  # fmt: skip
        for visible in seen_by:
            self.add(
                "application_tenant", tenant_id=visible, application_id=application, owner=self.chance.random() < 0.8
            )
        self.labels("application_label", "application_id", application, {"managed": "false"})
        if self.chance.random() < 0.3:
            chosen = self.chance.choice(self.runtimes[tenant])
            self.add("runtime_label", runtime_id=chosen, key=f"{application}_defaultEventing", value="true")
        for _ in range(self.chance.randint(0, 2)):
            self.system_auth(tenant, application_id=application)
        for _ in range(self.chance.randint(0, 2)):
            self.webhook(application_id=application)
        self.applied(application_id=application)
        for bundle in range(self.chance.randint(0, 3)):
            self.bundle(tenant, application, bundle)
        for definition in range(self.chance.randint(0, 2)):
            self.definition("api", application, None, definition)
            self.definition("event", application, None, definition)
        for dependency in range(self.chance.randint(0, 2)):
            self.integration_dependency(application, dependency)
        return application

    def applied(self, **owner: str) -> None:
        for name in self.chance.sample(("description", "labels.team", "groups"), self.chance.randint(0, 3)):
            for manager in self.chance.sample(("ci", "ops"), self.chance.randint(1, 2)):
                self.add(
                    "applied_field", **owner, name=name, manager=manager, digest="\\x" + self.chance.randbytes(32).hex(),
                    replaces=self.maybe("\\x" + "ab" * 32), applied_at=self.time(),
                )  # fmt: skip

    def integration_dependency(self, application: str, number: int) -> None:
        dependency = self.id()
        version = self.maybe(f"1.0.{number}")
        self.add(
            "integration_dependency", id=dependency, application_id=application, name=f"needs {number}", ord_id="ns:x:y:v1",
            description=self.text(), part_of_package=self.text(), visibility=self.text(), release_status=self.text(),
            mandatory=self.maybe(True), version_value=version, version_deprecated=version and self.maybe(True),
            version_deprecated_since=version and self.maybe("0.9.0"), version_for_removal=version and self.maybe(False),
            labels=dict(self.chance.sample(_LABELS, self.chance.randint(0, 3))), created_at=self.time(),
            updated_at=self.time(), deleted_at=self.maybe(self.time(), 0.1), error=self.text(),
        )  # fmt: skip
        for place in range(self.chance.randint(0, 2)):
            subset = [{"event_type": self.text()} for _ in range(self.chance.randint(0, 3))]
            self.add(
                "aspect", id=self.id(), integration_dependency_id=dependency, number=place + 1, name=f"aspect {place}",
                description=self.text(), mandatory=self.maybe(False),
                api_resources=[{"ord_id": f"api {each}"} for each in range(self.chance.randint(0, 2))],
                event_resources=[{"ord_id": f"{each}", "subset": subset} for each in range(self.chance.randint(0, 2))],
                created_at=self.time(), updated_at=self.time(), deleted_at=self.maybe(self.time(), 0.1), error=self.text(),
            )  # fmt: skip

    def auth(self, table: str, row: str, share: float = 0.5) -> str | None:
        if self.chance.random() > share:
            return None
        credential = self.chance.choice(
            (
                None,
                {"__typename": "BasicCredentialData", "username": "u", "password": 'p"\\☃'},
                {"__typename": "OAuthCredentialData", "clientId": "c", "clientSecret": "s", "url": "https://t.example"},
                {
                    "__typename": "CertificateOAuthCredentialData",
                    "clientId": "c",
                    "certificate": "-",
                    "url": "https://t.example",
                },
            )
        )
        headers = self.maybe({"X-One": ["a", "b"]})
        value = {
            "credential": credential,
            "accessStrategy": self.maybe("open"),
            "additionalHeaders": headers,
            "additionalQueryParams": self.maybe({"q": ["1"]}),
            "requestAuth": self.maybe(
                {
                    "csrf": {
                        "tokenEndpointURL": "https://csrf.example",
                        "credential": credential,
                        "additionalHeaders": headers,
                        "additionalQueryParams": None,
                    }
                },
            ),
        }
        return self.vault.seal(f"{table}/{row}", json.dumps(value).encode())

    def system_auth(self, tenant: str | None, **owner: str) -> None:
        auth = self.id()
        kind = self.chance.choice(("bare", "secret", "token", "paired"))
        self.add(
            "system_auth", id=auth, tenant_id=tenant, **owner, cert_common_name=auth if kind == "paired" else "",
            client_secret_digest="\\x" + "ab" * 32 if kind == "secret" else None, created_at=self.time(),
        )  # fmt: skip
        if kind in ("token", "paired"):
            for number in range(self.chance.randint(1, 2)):
                self.add(
                    "one_time_token", digest="\\x" + self.chance.randbytes(32).hex(), system_auth_id=auth,
                    purpose="application" if "application_id" in owner else "runtime", created_at=self.time(),
                    expires_at="2026-02-01T00:00:00Z", used_at=self.maybe("2026-01-05T00:00:00Z"),
                    replaced_at=None if number == 0 else self.time(),
                )  # fmt: skip

    def webhook(self, **owner: str) -> None:
        webhook = self.id()
        self.add(
            "webhook", id=webhook, **owner,
            type=self.chance.choice(("CONFIGURATION_CHANGED", "APPLICATION_TENANT_MAPPING", "UNREGISTER_APPLICATION")),
            mode=self.chance.choice((None, "SYNC", "ASYNC_CALLBACK")), correlation_id_key=self.text(),
            retry_interval=self.maybe(3), timeout=self.maybe(7), url=self.maybe("https://hook.example/x"),
            auth_sealed=self.auth("webhook", webhook), url_template=self.text(), input_template=self.text(),
            header_template=self.text(), output_template=self.text(), status_template=self.text(),
            signing_secret_sealed=self.vault.seal(f"webhook-signing/{webhook}", b"whsec_of_" + webhook[:4].encode()),
            created_at=self.time(), paused_at=self.maybe(self.time()),
        )  # fmt: skip
        for _ in range(self.chance.randint(0, 2)):
            self.delivery(webhook)

    def delivery(self, webhook: str) -> None:
        delivery, state = self.id(), self.chance.choice(("PENDING", "DELIVERED", "DEAD"))
        self.add(
            "delivery", id=delivery, tenant_id=self.chance.choice(self.tenant_ids), receiver=webhook, subject="s",
            kind=self.chance.choice(("CONFIGURATION_CHANGED", "FORMATION_LIFECYCLE", "TEST")), method="POST", url=self.chance.choice(("https://hook.example/x?secret=1", "https://hook.example/y")), headers={},
            body="", facts=self.chance.choice(({}, {"operation": "assign", "application": self.id(), "formation": self.id()})),
            state=state, next_at=self.time() if state == "PENDING" else None, last_error=self.text(), created_at=self.time(),
            finished_at=None if state == "PENDING" else self.time(),
        )  # fmt: skip
        for number in range(1, self.chance.randint(1, 3)):
            self.add(
                "delivery_attempt", delivery_id=delivery, number=number, started_at=self.time(), elapsed_ms=17,
                status=self.maybe(500), error=self.text(), response_excerpt=self.text(), url=self.maybe("https://hook.example/x"),
                request_headers=self.maybe([{"name": "Authorization", "value": "***"}, {"name": "X", "value": 'a"\\b'}]),
                response_headers=self.maybe([{"name": "server", "value": "snow \u2603"}]),
            )  # fmt: skip

    def bundle(self, tenant: str, application: str, number: int) -> None:
        bundle = self.id()
        self.add(
            "bundle", id=bundle, application_id=application, name=f"bundle-{number}", description=self.text(),
            instance_auth_request_input_schema=self.maybe('{"type": "object"}'),
            default_instance_auth_sealed=self.auth("bundle", bundle),
            correlation_ids=self.chance.choice((None, [], ["a:b", "c"])), created_at=self.time(), updated_at=self.time(),
            deleted_at=None, error=self.text(),
        )  # fmt: skip
        for definition in range(self.chance.randint(0, 3)):
            self.definition("api", application, bundle, definition)
            self.definition("event", application, bundle, definition)
        for _ in range(self.chance.randint(0, 2)):
            document = self.id()
            self.add(
                "document", id=document, application_id=application, bundle_id=bundle, title="Title", display_name="Shown",
                description="Says", format="MARKDOWN", kind=self.text(), data=self.text(), created_at=self.time(),
                updated_at=self.time(), deleted_at=None, error=self.text(),
            )  # fmt: skip
            self.fetch_request(document_id=document)
        for _ in range(self.chance.randint(0, 3)):
            instance, runtime = self.id(), self.chance.choice(self.runtimes[tenant])
            context = self.chance.choice((*self.contexts[runtime], None))
            self.add(
                "bundle_instance_auth", id=instance, bundle_id=bundle,
                owner_tenant_id=self.chance.choice((tenant, tenant, self.tenant_ids[0])),
                runtime_id=None if context else self.maybe(runtime, 0.8), runtime_context_id=context,
                context=self.maybe('{"c": 1}'),
                input_params=self.maybe('{"i": "x"}'), auth_sealed=self.auth("bundle_instance_auth", instance, 0.7),
                status_condition=self.chance.choice(("PENDING", "SUCCEEDED", "FAILED", "UNUSED")),
                status_timestamp=self.time(), status_message="a message", status_reason="AReason", created_at=self.time(),
            )  # fmt: skip

    def definition(self, kind: str, application: str, bundle: str | None, number: int) -> None:
        definition = self.id()
        version = self.maybe(f"1.0.{number}")
        more: Row = {"target_url": "https://api.example/v1", "api_group": self.text()} if kind == "api" else {}
        if kind == "event":
            more = {"event_group": self.text()}
        self.add(
            f"{kind}_definition", id=definition, application_id=application, bundle_id=bundle, name=f"{kind}-{number}",
            description=self.text(), version_value=version, version_deprecated=version and self.maybe(True),
            version_deprecated_since=version and self.maybe("0.9.0"), version_for_removal=version and self.maybe(False),
            created_at=self.time(), updated_at=self.time(), deleted_at=self.maybe(self.time(), 0.1), error=self.text(), **more,
        )  # fmt: skip
        if self.chance.random() < 0.7:
            spec = self.id()
            self.add(
                "spec", id=spec, **{f"{kind}_definition_id": definition},
                type="OPEN_API" if kind == "api" else "ASYNC_API", format=self.chance.choice(("JSON", "YAML")),
                data=self.text(),
            )  # fmt: skip
            self.fetch_request(spec_id=spec)

    def fetch_request(self, **owner: str) -> None:
        if self.chance.random() < 0.5:
            request = self.id()
            self.add(
                "fetch_request", id=request, **owner, url="https://spec.example", auth_sealed=self.auth("fetch_request", request),
                mode="SINGLE", filter=self.text(), status_condition=self.chance.choice(("SUCCEEDED", "FAILED")),
                status_message=self.text(), status_timestamp=self.time(),
            )  # fmt: skip

    def formations(self) -> None:
        templates = [self.template(None, 0), self.template(self.tenant_ids[0], 1), self.template(self.tenant_ids[2], 2)]
        for tenant in self.tenant_ids:
            for number in range(self.chance.randint(1, 3)):
                self.formation(tenant, self.chance.choice(templates), number)
        for system in self.systems:
            for _ in range(self.chance.randint(0, 2)):
                self.system_auth(None, integration_system_id=system)

    def template(self, tenant: str | None, number: int) -> str:
        template = self.id()
        self.add(
            "formation_template", id=template, tenant_id=tenant, name=f"template-{number}", application_types=["ANY"],
            runtime_types=self.maybe(["ANY", "kyma"]), runtime_type_display_name=self.text(),
            runtime_artifact_kind=self.maybe("SUBSCRIPTION"), leading_product_ids=self.maybe(["p"]),
            supports_reset=self.chance.random() < 0.5, discovery_consumers=self.maybe([]), created_at=self.time(),
            updated_at=self.maybe(self.time()),
        )  # fmt: skip
        self.labels("formation_template_label", "formation_template_id", template, {})
        for _ in range(self.chance.randint(0, 2)):
            self.webhook(formation_template_id=template)
        self.constraint(number, template)
        return template

    def constraint(self, number: int, template: str) -> None:
        constraint = self.id()
        self.add(
            "formation_constraint", id=constraint, name=f"constraint-{number}", description=self.text() or "",
            type=self.chance.choice(("PRE", "POST", "UI")), target_operation="ASSIGN_FORMATION", operator="ContainsScenarioGroups",
            resource_type="APPLICATION", resource_subtype="ANY", input_template="{}",
            scope=self.chance.choice(("GLOBAL", "FORMATION_TYPE")), priority=self.chance.randint(-1, 1), created_at=self.time(),
        )  # fmt: skip
        if self.chance.random() < 0.7:
            self.add(
                "formation_template_constraint", formation_template_id=template, formation_constraint_id=constraint
            )

    def formation(self, tenant: str, template: str, number: int) -> None:
        formation = self.id()
        self.add(
            "formation", id=formation, tenant_id=tenant, formation_template_id=template, name=f"group-{number}",
            state=self.chance.choice(("INITIAL", "READY", "CREATE_ERROR", "DELETING", "DELETE_ERROR", "DRAFT")),
            error=self.maybe({"message": "went wrong", "errorCode": 2}, 0.3),
            last_state_change_timestamp=self.maybe(self.time()), last_notification_sent_timestamp=self.maybe(self.time()),
            created_at=self.time(),
        )  # fmt: skip
        if self.chance.random() < 0.6:
            self.add(
                "automatic_scenario_assignment", id=self.id(), tenant_id=tenant, formation_id=formation,
                subaccount_id=self.chance.choice(self.tenant_ids), created_at=self.time(),
            )  # fmt: skip
        members = [
            *(("APPLICATION", a) for a in self.chance.sample(self.applications[tenant], self.chance.randint(1, 3))),
            *(("RUNTIME", r) for r in self.chance.sample(self.runtimes[tenant], self.chance.randint(0, 2))),
            *(("RUNTIME_CONTEXT", c) for c in self.contexts[self.chance.choice(self.runtimes[tenant])][:1]),
        ]
        for source_type, source in members:
            for target_type, target in members:
                state = self.chance.choice(
                    ("INITIAL", "READY", "READY", "CONFIG_PENDING", "CREATE_ERROR", "DELETING", "DELETE_ERROR")
                )
                self.add(
                    "formation_assignment", id=self.id(), formation_id=formation, source=source, source_type=source_type,
                    target=target, target_type=target_type,
                    # An application may still have to be told that it left.
                    state="READY" if source == target and (source_type != "APPLICATION" or "DELET" not in state) else state,
                    configuration=self.maybe('{"k": "v"}'),
                    error='{"error":{"message":"no","errorCode":1}}' if state.endswith("ERROR") and source != target else None,
                    last_state_change_timestamp=self.maybe(self.time()),
                    last_notification_sent_timestamp=self.maybe(self.time()), created_at=self.time(),
                )  # fmt: skip
