# ruff: noqa: E501
# Tables of data, and statements: wrapping them hides their shape.
"""(h) every list of the Director, and (i) filters by label: few rows against a hundred times as many."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.landscape import id_of, tenant_id
from bench.reads import PAGES, WANTED_LATENCY_RATIO, asking, endpoint
from bench.table import Line, interleaved, one_core
from compass.access.caller import Caller, Consumer, Flow
from compass.access.scopes import BY_CONSUMER
from compass.postgres.pool import Database

WANTED: Final = f" (wanted ≤ {WANTED_LATENCY_RATIO:.2f})"
ROWS: Final = {"1,000": 1_000, "100,000": 100_000}


@dataclass(frozen=True)
class List:
    """A list query and the statements that fill it with `%(rows)s` rows. They run in the order of the lists."""

    field: str
    """With its arguments beside the page's."""
    seed: Sequence[str] = ()
    node: str = "id"


LISTS: Final = (
    List(
        "tenants",
        (
            "INSERT INTO tenant (id, external_id, name, type, provider) SELECT md5('tenant ' || n)::uuid, 'tenant-' || n, 'Tenant ' || n, 'account', 'bench' FROM generate_series(1, %(rows)s::int) n",
        ),
    ),
    List(
        "applications",
        (
            """INSERT INTO application (id, tenant_id, name, local_tenant_id, status_condition)
            SELECT CASE n WHEN 1 THEN md5('application 1 1')::uuid ELSE new_id_v1() END, md5('tenant 1')::uuid, 'Application ' || n, 'shared', 'CONNECTED' FROM generate_series(1, %(rows)s::int) n""",
            "INSERT INTO application_tenant (tenant_id, application_id, owner) SELECT tenant_id, id, true FROM application",
            # One in a hundred has `rare`, every one `common`; a label of the groups stands at what is in one.
            """INSERT INTO application_label (application_id, key, value)
            SELECT id, label.key, label.value
            FROM application, LATERAL (VALUES ('common', '"yes"'::jsonb), ('rare', to_jsonb('value-' || substr(name, 13)::int % (%(rows)s::int / 10)))) label(key, value)""",
        ),
    ),
    List("applicationsGlobal", node="application { id }"),
    List('applicationsByLocalTenantID(localTenantID: "shared"'),
    List(
        "runtimes",
        (
            """INSERT INTO runtime (id, tenant_id, name, status_condition)
            SELECT CASE n WHEN 1 THEN md5('runtime 1 1')::uuid ELSE new_id_v1() END, md5('tenant 1')::uuid, 'runtime-' || n, 'CONNECTED' FROM generate_series(1, %(rows)s::int) n""",
            "INSERT INTO runtime_tenant (tenant_id, runtime_id, owner) SELECT tenant_id, id, true FROM runtime",
        ),
    ),
    List(
        "formations",
        (
            """INSERT INTO formation (id, tenant_id, formation_template_id, name, state)
            SELECT CASE n WHEN 1 THEN md5('formation 1')::uuid ELSE new_id_v1() END, md5('tenant 1')::uuid, (SELECT id FROM formation_template WHERE tenant_id IS NULL LIMIT 1), 'group-' || n, 'READY' FROM generate_series(1, %(rows)s::int) n""",
        ),
    ),
    List(
        "automaticScenarioAssignments",
        (
            """INSERT INTO automatic_scenario_assignment (tenant_id, formation_id, subaccount_id)
            SELECT tenant_id, id, tenant_id FROM formation""",
        ),
        node="scenarioName",
    ),
    List(
        f'applicationsForRuntime(runtimeID: "{id_of("runtime", 1, 1)}"',
        # A group of a thousand in both: one of n participants has n² assignments. Only the pairs that the list reads.
        (
            """INSERT INTO formation_assignment (formation_id, source, source_type, target, target_type, state)
            SELECT md5('formation 1')::uuid, pair.source, pair.source_type, pair.target, pair.target_type, 'READY'
            FROM (SELECT id FROM application ORDER BY id LIMIT 1000) application, LATERAL (VALUES
                (application.id, 'APPLICATION', application.id, 'APPLICATION'),
                (application.id, 'APPLICATION', md5('runtime 1 1')::uuid, 'RUNTIME'),
                (md5('runtime 1 1')::uuid, 'RUNTIME', application.id, 'APPLICATION')
            ) pair(source, source_type, target, target_type)
            UNION ALL SELECT md5('formation 1')::uuid, md5('runtime 1 1')::uuid, 'RUNTIME', md5('runtime 1 1')::uuid, 'RUNTIME', 'READY'""",
        ),
    ),
    List(
        f'apisForApplication(appID: "{id_of("application", 1, 1)}"',
        (
            """INSERT INTO api_definition (application_id, name, target_url)
            SELECT md5('application 1 1')::uuid, 'API ' || n, 'https://api.example.com' FROM generate_series(1, %(rows)s::int) n""",
        ),
    ),
    List(
        f'eventsForApplication(appID: "{id_of("application", 1, 1)}"',
        (
            "INSERT INTO event_definition (application_id, name) SELECT md5('application 1 1')::uuid, 'Event ' || n FROM generate_series(1, %(rows)s::int) n",
        ),
    ),
    List(
        "applicationTemplates",
        (
            """INSERT INTO application_template (name, application_input_sealed, access_level)
            SELECT 'Template ' || n, 'sealed', 'GLOBAL' FROM generate_series(1, %(rows)s::int) n""",
        ),
    ),
    List(
        "integrationSystems",
        ("INSERT INTO integration_system (name) SELECT 'system-' || n FROM generate_series(1, %(rows)s::int) n",),
    ),
    List(
        "formationTemplates",
        (
            """INSERT INTO formation_template (tenant_id, name, application_types)
            SELECT md5('tenant 1')::uuid, 'Template ' || n, '{any}' FROM generate_series(1, %(rows)s::int) n""",
        ),
    ),
    List('formationTemplatesByName(name: "Template 1"'),
    List(
        "certificateSubjectMappings",
        (
            """INSERT INTO certificate_subject_mapping (subject, consumer_type, tenant_access_levels)
            SELECT 'CN=' || n || ', OU=a, O=b, L=c, C=DE', 'Super Admin', '{account}' FROM generate_series(1, %(rows)s::int) n""",
        ),
    ),
    List(
        "credentialRequests",
        (
            """INSERT INTO bundle (id, application_id, name) VALUES (md5('bundle 1')::uuid, md5('application 1 1')::uuid, 'bundle')""",
            """INSERT INTO bundle_instance_auth (bundle_id, owner_tenant_id, status_condition, status_reason, status_message)
            SELECT md5('bundle 1')::uuid, md5('tenant 1')::uuid, 'PENDING', 'a', 'a' FROM generate_series(1, %(rows)s::int) n""",
        ),
    ),
    List(
        "webhooks",
        (
            """INSERT INTO webhook (application_id, type, mode, url, signing_secret_sealed)
            SELECT id, 'CONFIGURATION_CHANGED', 'SYNC', 'https://example.com', 'sealed' FROM application""",
        ),
    ),
    List(
        "webhookDeliveries",
        (
            """INSERT INTO webhook (id, application_id, type, mode, url, signing_secret_sealed)
            VALUES (md5('webhook 1')::uuid, md5('application 1 1')::uuid, 'CONFIGURATION_CHANGED', 'SYNC', 'https://example.com', 'sealed')""",
            """INSERT INTO delivery (tenant_id, receiver, subject, kind, method, url, headers, body, facts, state, next_at, finished_at)
            SELECT md5('tenant 1')::uuid, md5('webhook 1')::uuid, n::text, 'webhook', 'POST', 'https://example.com', '{}', '{}', '{}', 'DELIVERED', NULL, now() FROM generate_series(1, %(rows)s::int) n""",
        ),
    ),
    List(
        "pairings",
        (
            """INSERT INTO system_auth (id, tenant_id, application_id)
            SELECT md5('client ' || substr(name, 13))::uuid, tenant_id, id FROM application""",
            """INSERT INTO one_time_token (digest, system_auth_id, purpose, created_at, expires_at)
            SELECT sha256(n::text::bytea), md5('client ' || n)::uuid, 'application', now(), now() + '1 hour' FROM generate_series(1, %(rows)s::int) n""",
        ),
        node="clientID",
    ),
    List(
        "auditRecords",
        (
            """INSERT INTO audit_record (id, tenant_id, body, mac)
            SELECT gen_random_uuid(), md5('tenant 1')::uuid, '{"operation": "registerApplication"}', sha256('') FROM generate_series(1, %(rows)s::int) n""",
        ),
    ),
)
"""Those that have pages and rows of their own: the others have a fixed number of rows, or none ever."""

SORTED: Final = ("applications", "runtimes", "formations")

FILTERS: Final[Mapping[str, tuple[str, str]]] = {
    "a key that every application has": ('[{key: "common"}]', ""),
    "a value that ten applications have": ('[{key: "rare", query: "\\"value-7\\""}]', " totalCount"),
    "both": ('[{key: "rare", query: "\\"value-7\\""}, {key: "common", query: "\\"yes\\""}]', " totalCount"),
    "a value that nobody has": ('[{key: "common", query: "\\"no\\""}]', " totalCount"),
    "a group of one": ('[{key: "scenarios", query: "$[*] ? (@ == \\"group-2\\")"}]', " totalCount"),
}


async def seed(database: Database, rows: int) -> None:
    """Fill an empty, migrated database with so many rows of everything that is listed."""
    for statement in (step for each in LISTS for step in each.seed):
        async with database.transaction() as tx:
            await tx.run("-- bench.patience\nSET LOCAL statement_timeout = '10min'")
            await tx.run(f"-- bench.rows\n{statement}", **({"rows": rows} if "%(rows)s" in statement else {}))
    async with database.transaction() as tx:
        await tx.run("-- bench.patience\nSET LOCAL statement_timeout = '10min'")
        await tx.run("-- bench.analyze\nANALYZE")


def everybody() -> Caller:
    """Somebody who may call every list."""
    return Caller(Consumer.STATIC_USER, "admin", Flow.JWT, frozenset().union(*BY_CONSUMER.values()), tenant_id(1))


def document(each: List, first: int, more: str) -> str:
    """A page of a list, and whether there are more."""
    opened = f"{each.field}, " if "(" in each.field else f"{each.field}("
    return f"{{ {opened}first: {first}) {{ data {{ {each.node} }} pageInfo {{ endCursor hasNextPage }}{more} }} }}"


async def lists(databases: Mapping[str, Database]) -> list[Line]:
    """(h) `databases` by how many rows they have, the smaller one first.

    A counted page has no goal: but for applications and runtimes, whose numbers are kept, the count reads every row. Nor
    has a sorted one, for which all rows are put in order.
    """
    lines = []
    for each in LISTS:
        for first, more in (*((page, "") for page in PAGES), (50, " totalCount")):
            asked = document(each, first, more)
            name = each.field.partition("(")[0]
            what = f"{name}, page of {first}{more and ', counted'}"
            lines.append(await _against("h list", what, asked, databases, wanted="" if more else WANTED))
    for name in SORTED:
        asked = f"{{ {name}(first: 50, orderBy: NAME) {{ data {{ id }} pageInfo {{ hasNextPage }} }} }}"
        lines.append(await _against("h list", f"{name}, page of 50, by name", asked, databases, wanted=""))
    return lines


async def filters(databases: Mapping[str, Database]) -> list[Line]:
    """(i)"""
    lines = []
    for name, (given, more) in FILTERS.items():
        asked = f"{{ applications(first: 50, filter: {given}) {{ data {{ id }} pageInfo {{ hasNextPage }}{more} }} }}"
        lines.append(await _against("i label filter", name, asked, databases))
    return lines


async def _against(
    section: str, what: str, asked: str, databases: Mapping[str, Database], *, wanted: str = WANTED
) -> Line:
    caller = everybody()
    variants: dict[str, Any] = {
        name: asking(endpoint(database), caller, asked, {}) for name, database in databases.items()
    }
    for ask in variants.values():
        await ask()  # opens the connections, whose processes must be there
    with one_core():
        taken = await interleaved(variants, seconds=1)
    few, many = databases
    ratio = taken.ratio(many, few)
    return Line(section, what, taken.shown(), f"{ratio:.2f}{wanted}")
