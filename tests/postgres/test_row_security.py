"""What callers change reaches the rows of their tenant, whatever the statement asks for.

The tables and their policies are taken from the catalogue, so a new table is tested as soon as there is one. Rows come
from the landscape of the cross-tenant probe: two tenants full of everything, one of which has a child.
"""

import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import orjson
import pytest

from compass.access.caller import Consumer
from compass.access.tenancy import Reach
from compass.api.request import Endpoint
from compass.app import plane
from compass.ids import TenantId
from compass.postgres import pool, row_security
from compass.postgres.migrate import MigrationFailed, migrate
from compass.postgres.pool import TENANT_ROLE, Confined, Database, NoTenantRole, Tx
from compass.postgres.row_security import Unprotected
from compass.reads.compile import Compiler
from compass.settings import DatabaseSettings, Settings
from tests.access.landscape import Landscape
from tests.access.operations import RECIPES, filled, own
from tests.access.populate import landscape
from tests.access.test_probe import ACROSS

Connection = Any
"""A connection of the superuser, for whom foreign keys keep out of it when they are told to."""

PROOF: Final = bool(os.environ.get("COMPASS_PROOF"))
_UUID: Final = re.compile("[0-9a-f-]{36}")

INTERNAL: Final[Mapping[str, str]] = {
    "account": "administrators of the plane",
    "audit_batch": "sealed by the plane, see ADR 0016",
    "audit_checkpoint": "as audit_batch",
    "audit_forgotten": "as audit_batch",
    "audit_key": "keys of the plane",
    "authority": "keys of the plane",
    "authority_replica": "which process knows which authority",
    "migration": "the history of the tables",
    "outbox_forgotten": "where the change feed begins",
    "provisioner": "the plane's own name",
    "signing_key": "keys of the plane",
    "vault_key": "which keys seal, and which were retired",
}
"""Tables that callers' transactions have no right to at all, and why they need none."""
UNFORCED: Final = {"application_label", "runtime_label"}
"""Where searches need to know how often a value occurs, see the migration 0051."""
BESIDE = """
INSERT INTO aspect (integration_dependency_id, number, name, api_resources, event_resources)
    SELECT id, 100, 'x', '[]', '[]' FROM integration_dependency;
INSERT INTO audit_record (id, tenant_id, body, mac)
    SELECT gen_random_uuid(), id, '{"operation": "x"}', sha256('x') FROM tenant;
INSERT INTO cluster_agent (operation_id, runtime_id, system_auth_id)
    SELECT DISTINCT ON (operation.id) operation.id, subject, system_auth.id
    FROM operation JOIN system_auth USING (tenant_id) WHERE system_auth.runtime_id IS NOT NULL
    ON CONFLICT DO NOTHING;
INSERT INTO delivery_attempt (delivery_id, number, started_at, elapsed_ms) SELECT id, 100, now(), 1 FROM delivery;
INSERT INTO formation_delivery (delivery_id, formation_id)
    SELECT DISTINCT ON (delivery.id) delivery.id, formation.id FROM delivery JOIN formation USING (tenant_id)
    ON CONFLICT DO NOTHING;
INSERT INTO formation_report (formation_id, attempt, digest, state, applied)
    SELECT id, 1, 'x', 'READY', true FROM formation;
INSERT INTO assignment_report (formation_assignment_id, attempt, digest, applied)
    SELECT id, 1, 'x', true FROM formation_assignment;
INSERT INTO runtime_context_label (runtime_context_id, key, value) SELECT id, 'x', '"canary"' FROM runtime_context;
INSERT INTO heartbeat (runtime_id, seen_at, missed_from, version, revision, applications, looks_every)
    SELECT id, now(), now() + interval '1 hour', '1', 1, 1, interval '1 minute' FROM runtime;
INSERT INTO spec_operation (revision_id, position, definition_id, verb, path, name, summary, deprecated, words)
    SELECT id, 5000, definition_id, 'GET', '/x', '', '', false, 'get /x' FROM spec_revision;
INSERT INTO applied_field (application_id, manager, name, digest)
    SELECT id, 'x', 'x', sha256('x') FROM application;
INSERT INTO applied_field (runtime_id, manager, name, digest) SELECT id, 'x', 'x', sha256('x') FROM runtime;
"""
"""What the landscape lacks, for both tenants: work in the background and reports make it."""
NO_OWNER: Final[Mapping[str, str]] = {
    "audit_unsealed": "numbers of records, which may be added and not be seen",
}
"""Tenants' tables that say nothing of a tenant."""

TABLES = """
SELECT relname AS name, relrowsecurity AS locked, relforcerowsecurity AS forced,
    ARRAY(SELECT polname::text FROM pg_policy WHERE polrelid = pg_class.oid ORDER BY 1) AS policies
FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace ORDER BY 1
"""
TENANTS_OWN = ["plane", "tenant_adds", "tenant_changes", "tenant_removes", "tenant_sees"]
EVERYBODYS = ["all_hold", "all_see", "plane"]
COLUMNS = """
SELECT attname AS name, atttypid = 'uuid'::regtype AS is_id, attidentity <> '' AS is_numbered FROM pg_attribute
WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum
"""


# Every table is of one kind


async def test_every_table_is_a_tenants_everybodys_or_the_planes_own(tx: Tx) -> None:
    unsorted, unforced = [], set()
    for table in await tx.rows(TABLES):
        is_sorted = (
            table["policies"] == [] and not table["locked"]
            if table["name"] in INTERNAL
            else table["policies"] in (TENANTS_OWN, EVERYBODYS) and table["locked"]
        )
        if not is_sorted:
            unsorted.append(table["name"])
        if table["locked"] and not table["forced"]:
            unforced.add(table["name"])

    assert unsorted == [], "a migration must say whose rows these are: see compass/postgres/row_security.py"
    assert unforced == UNFORCED


async def test_callers_have_no_right_to_what_is_the_planes_own(tx: Tx) -> None:
    role = await tx.value(TENANT_ROLE)
    rights = "SELECT has_table_privilege(%(role)s, %(table)s, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')"

    assert [name for name in INTERNAL if await tx.value(rights, role=role, table=name)] == []


# A plane does not start from a database that is not so


BROKEN: Final[Mapping[str, tuple[str, str]]] = {
    "a table without the lock": (
        "ALTER TABLE bundle DISABLE ROW LEVEL SECURITY",
        "table bundle has no row-level security",
    ),
    "a lock that the owner passes": (
        "ALTER TABLE bundle NO FORCE ROW LEVEL SECURITY",
        "table bundle does not force row-level security",
    ),
    "a missing policy": ("DROP POLICY tenant_removes ON bundle", "table bundle lacks a policy"),
    "a policy that is true": (
        "CREATE POLICY more ON bundle FOR SELECT TO compass_tenant USING (true)",
        "table bundle has a policy that lets everybody through",
    ),
    "a policy for others": (
        "CREATE POLICY more ON bundle FOR SELECT USING (reaches_application_v1(application_id))",
        "table bundle has a policy that lets everybody through",
    ),
    "everybody's that may be written": (
        "DROP POLICY all_hold ON tenant; CREATE POLICY all_hold ON tenant FOR UPDATE TO compass_tenant USING (true)",
        "table tenant lacks a policy",
    ),
    "a right to the plane's own": (
        "GRANT SELECT ON signing_key TO compass_tenant",
        "table signing_key has no row-level security",
    ),
    "a right to one column of it": (
        "GRANT SELECT (sealed_key) ON signing_key TO compass_tenant",
        "table signing_key has no row-level security",
    ),
    "a right to empty a table": (
        "GRANT TRUNCATE ON bundle TO compass_tenant",
        "table bundle may be emptied or referred to by callers",
    ),
    "a view with its owner's eyes": (
        "ALTER VIEW formation_member_v1 RESET (security_invoker)",
        "view formation_member_v1 shows more than its reader may see",
    ),
    "a function that looks where its caller says": (
        "ALTER FUNCTION reaches_bundle_v1 RESET search_path",
        "function reaches_bundle_v1 may be led to other tables",
    ),
    "a role that signs in": (
        "ALTER ROLE compass_tenant LOGIN",
        "the role compass_tenant has more rights than to run what callers change",
    ),
    "a role that is the owner, too": (
        "CREATE ROLE more_v1; GRANT more_v1 TO compass_tenant",
        "the role compass_tenant has more rights than to run what callers change",
    ),
    "a role that makes tables": (
        "GRANT CREATE ON SCHEMA public TO compass_tenant",
        "the role compass_tenant has more rights than to run what callers change",
    ),
}


async def test_a_migrated_database_is_good_to_serve_from(tx: Tx) -> None:
    await row_security.require(tx)


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_database_that_is_not_locked_is_refused_by_name(tx: Tx, broken: str) -> None:
    change, problem = BROKEN[broken]
    for statement in change.split("; "):
        await tx.run(f"-- test\n{statement}")

    with pytest.raises(Unprotected) as refused:
        await row_security.require(tx)

    assert problem in str(refused.value)


async def test_a_plane_does_not_start_from_such_a_database(dsn: str, tmp_path: Path) -> None:
    async with Database.open(dsn) as database, database.transaction() as tx:
        await tx.run("-- test\nDROP POLICY tenant_removes ON bundle")

    with pytest.raises(Unprotected, match="table bundle lacks a policy"):
        async with plane(Settings(data_folder=tmp_path, database=DatabaseSettings(dsn=dsn))):
            pass


async def test_a_superuser_is_refused(dsn: str) -> None:
    async with Database.open(_as_superuser(dsn)) as database, database.transaction() as tx:
        with pytest.raises(Unprotected, match=re.escape(row_security.SUPERUSER)):
            await row_security.require(tx)


async def test_a_database_without_the_role_is_refused(empty_dsn: str) -> None:
    async with Database.open(empty_dsn) as database:
        async with database.transaction() as tx:
            with pytest.raises(Unprotected, match="there is no role for what callers change"):
                await row_security.require(tx)
        with pytest.raises(NoTenantRole):
            async with database.transaction(Confined(None)):
                pass


async def test_a_role_that_may_not_make_roles_is_told_what_to_have_made(cluster: Connection, empty_dsn: str) -> None:
    name = urlsplit(empty_dsn).path[1:]
    await cluster.execute(f"CREATE ROLE plain; GRANT ALL ON DATABASE {name} TO plain")
    await cluster.execute("GRANT plain TO compass")
    await cluster.execute(f"ALTER DATABASE {name} OWNER TO plain")
    as_plain = f"{empty_dsn}&role=plain"
    try:
        with pytest.raises(MigrationFailed) as failed:
            await migrate(as_plain)
        assert "CREATE ROLE plain_tenant NOLOGIN; GRANT plain_tenant TO plain" in str(failed.value)

        await cluster.execute("CREATE ROLE plain_tenant NOLOGIN; GRANT plain_tenant TO plain, compass")
        await migrate(as_plain)

        async with Database.open(as_plain) as database:
            async with database.transaction() as tx:
                await row_security.require(tx)
            async with database.transaction(Confined(None)) as tx:
                assert await tx.value("-- test\nSELECT current_user::text") == "plain_tenant"
    finally:
        await cluster.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await cluster.execute(f"CREATE DATABASE {name}")
        await cluster.execute("DROP ROLE IF EXISTS plain_tenant")
        await cluster.execute("DROP ROLE plain")


# What a transaction is confined to


async def test_a_confined_transaction_runs_in_the_role_and_the_next_one_does_not(database: Database) -> None:
    who = "-- test\nSELECT current_user::text || ' ' || current_tenants_v1()::text"
    one = TenantId("00000000-0000-4000-8000-00000000000a")

    async def seen(confined: Confined | None) -> str:
        async with database.transaction(confined) as tx:
            return str(await tx.value(who))

    assert await seen(Confined(one)) == f"compass_tenant {{{one}}}"
    assert await seen(None) == "compass {}"
    assert await seen(Confined(one, above=True)) == f"compass_tenant {{{one}}}"
    assert await seen(Confined(None)) == "compass_tenant {}"
    with pytest.raises(ZeroDivisionError):
        async with database.transaction(Confined(one)):
            raise ZeroDivisionError
    with pytest.raises(asyncpg.DivisionByZeroError):
        async with database.transaction(Confined(one)) as tx:
            await tx.value("-- test\nSELECT 1 / 0")
    assert await seen(None) == "compass {}"


async def test_a_confined_transaction_commits_what_it_did_and_undoes_it_when_it_fails(database: Database) -> None:
    add = "-- test\nINSERT INTO outbox_event (tenant_id, name, facts) VALUES (NULL, %(name)s, '{}')"

    async with database.transaction(Confined(None)) as tx:
        await tx.run(add, name="kept")
    with pytest.raises(ZeroDivisionError):
        async with database.transaction(Confined(None)) as tx:
            await tx.run(add, name="undone")
            raise ZeroDivisionError

    async with database.transaction() as tx:
        assert [row["name"] for row in await tx.rows("-- test\nSELECT name FROM outbox_event")] == ["kept"]


def test_nothing_but_a_uuid_gets_into_the_text_that_begins_a_transaction() -> None:
    with pytest.raises(ValueError, match="badly formed"):
        Confined(TenantId("}'; RESET ROLE; --")).begin("compass_tenant")


def test_only_what_says_so_reaches_beyond_the_tenant(filled_landscape: Landscape) -> None:
    """The list is the reviewed one: everybody's, found by a secret, or with effect on groups of several tenants."""
    beyond = {
        name: command.reach
        for surface in filled_landscape.surfaces.values()
        for name, command in surface.commands.items()
        if command.reach is not Reach.TENANT
    }

    assert {name for name, reach in beyond.items() if reach is Reach.ABOVE} == {
        "registerRuntime",
        "provisionRuntime",
        "addWebhook",
        "updateWebhook",
        "testWebhook",
        "pauseWebhook",
        "resumeWebhook",
        "deleteWebhook",
        "createFormationTemplate",
        "updateFormationTemplate",
        "deleteFormationTemplate",
        "setFormationTemplateLabel",
        "deleteFormationTemplateLabel",
    }
    assert {name for name, reach in beyond.items() if reach is Reach.PLANE} == {
        "writeTenant",
        "writeTenants",
        "updateTenant",
        "deleteTenants",
        "setTenantLabel",
        "addTenantAccess",
        "removeTenantAccess",
        "createCertificateSubjectMapping",
        "updateCertificateSubjectMapping",
        "deleteCertificateSubjectMapping",
        "registerIntegrationSystem",
        "updateIntegrationSystem",
        "unregisterIntegrationSystem",
        "requestClientCredentialsForIntegrationSystem",
        "deleteSystemAuthForIntegrationSystem",
        "createApplicationTemplate",
        "updateApplicationTemplate",
        "deleteApplicationTemplate",
        "createFormationConstraint",
        "updateFormationConstraint",
        "deleteFormationConstraint",
        "attachConstraintToFormationTemplate",
        "detachConstraintFromFormationTemplate",
        "unassignFormationGlobal",
        "systemAuthByToken",
        "updateSystemAuth",
        "invalidateSystemAuthOneTimeToken",
        "configuration",
        "signCertificateSigningRequest",
        "revokeCertificate",
        "unregisterRuntime",
        "registerRuntimeContext",
        "unregisterRuntimeContext",
    }


# Table by table


def _as_superuser(dsn: str) -> str:
    return dsn.replace("compass@", "postgres@", 1)


@pytest.fixture(scope="module")
async def filled_landscape(
    cluster: Connection, cluster_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Landscape]:
    """Two tenants full of everything. Tests leave it as it is."""
    await cluster.execute("CREATE DATABASE row_security TEMPLATE template")
    dsn = urlunsplit(urlsplit(cluster_dsn)._replace(path="/row_security"))
    async with landscape(dsn, tmp_path_factory.mktemp("landscape")) as made:
        async with made.database.transaction() as tx:
            for statement in BESIDE.split(";\n")[:-1]:
                await tx.run(f"-- test\n{statement}")
        await made.keep()
        yield made
    await cluster.execute("DROP DATABASE row_security WITH (FORCE)")


@pytest.fixture
async def raw(filled_landscape: Landscape) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(_as_superuser(filled_landscape.database.dsn))
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def seeing(raw: Connection, confined: Confined) -> AsyncIterator[None]:
    """As a caller's transaction sees and changes, and nothing of it stays. No foreign key and no trigger interferes."""
    await raw.execute(
        confined.begin("compass_tenant").replace("BEGIN;", "BEGIN; SET LOCAL session_replication_role = replica;")
    )
    try:
        yield
    finally:
        await raw.execute("ROLLBACK")


async def tenants_tables(raw: Connection) -> list[str]:
    return [row["name"] for row in await raw.fetch(TABLES) if row["policies"] == TENANTS_OWN]


async def rows_seen(raw: Connection, table: str, confined: Confined) -> set[str]:
    """Where the rows are that such a transaction reads, without the table's rights, which are tested by trying."""
    async with seeing(raw, confined):
        await raw.execute(f"RESET ROLE; GRANT SELECT ON {table} TO compass_tenant; SET LOCAL ROLE compass_tenant")
        return {row["at"] for row in await raw.fetch(f"SELECT ctid::text AS at FROM {table}")}


async def rows_there(raw: Connection, table: str) -> set[str]:
    return {row["at"] for row in await raw.fetch(f"SELECT ctid::text AS at FROM {table}")}


class Foreign:
    """One table, with the rows that only the first tenant has, and those that a foreigner has."""

    def __init__(self, table: str, theirs: set[str], own_rows: set[str]) -> None:
        self.table = table
        self.theirs = theirs
        self.own = own_rows


async def foreign_tables(made: Landscape, raw: Connection, foreigner: Confined) -> list[Foreign]:
    found = []
    for table in await tenants_tables(raw):
        mine = await rows_seen(raw, table, Confined(made.mine.tenant))
        everybodys = await rows_seen(raw, table, Confined(None))
        found.append(Foreign(table, mine - everybodys, await rows_seen(raw, table, foreigner) - everybodys))
    return found


async def test_each_row_of_a_tenant_is_seen_by_that_tenant_alone(filled_landscape: Landscape, raw: Connection) -> None:
    made = filled_landscape
    empty, shared = [], []
    for kept in await foreign_tables(made, raw, Confined(made.other.tenant)):
        if kept.table not in NO_OWNER and not kept.theirs:
            empty.append(kept.table)
        if kept.theirs & kept.own:
            shared.append(kept.table)

    assert not empty, f"the landscape has no row of the first tenant in {', '.join(empty)}"
    assert shared == []


async def test_no_row_that_names_a_tenant_is_seen_by_another(filled_landscape: Landscape, raw: Connection) -> None:
    """Told by the column itself, not by a policy."""
    made = filled_landscape
    wrong = []
    for table in await tenants_tables(raw):
        columns = [row["name"] for row in await raw.fetch(COLUMNS, table)]
        if "tenant_id" not in columns:
            continue
        theirs = {
            row["at"]
            for row in await raw.fetch(
                f"SELECT ctid::text AS at FROM {table} WHERE tenant_id::text = $1", made.mine.tenant
            )
        }
        if theirs & await rows_seen(raw, table, Confined(made.other.tenant)):
            wrong.append(table)

    assert wrong == []


@pytest.mark.parametrize("who", ["another tenant", "a child", "nobody"])
async def test_no_statement_changes_or_removes_a_foreign_row(
    filled_landscape: Landscape, raw: Connection, who: str, record_property: Any
) -> None:
    made = filled_landscape
    foreigner = Confined({"another tenant": made.other.tenant, "a child": made.below.tenant, "nobody": None}[who])
    reached, tried = [], 0
    for kept in await foreign_tables(made, raw, foreigner):
        before = await rows_there(raw, kept.table)
        column = next(row["name"] for row in await raw.fetch(COLUMNS, kept.table) if not row["is_numbered"])
        for statement in (
            f"UPDATE {kept.table} SET {column} = {column}",
            f"DELETE FROM {kept.table}",
        ):
            async with seeing(raw, foreigner):
                tried += 1
                try:
                    await raw.execute(statement)
                except asyncpg.InsufficientPrivilegeError:
                    continue
                await raw.execute("RESET ROLE")
                gone = before - await rows_there(raw, kept.table)
                # Rows of everybody's templates are everybody's to change: the scope decides.
                if gone & kept.theirs - kept.own:
                    reached.append(statement)

    record_property("cases", tried)
    assert reached == []
    assert tried > 60


TAKE = "SELECT to_jsonb(t)::text AS row FROM {} t WHERE ctid = ANY ($1::text[]::tid[]) ORDER BY ctid LIMIT 5"
AS_GIVEN = "jsonb_populate_record(NULL::{}, $1::text::jsonb)"


async def test_no_statement_adds_a_row_to_another_tenant_or_moves_one_there(
    filled_landscape: Landscape, raw: Connection, record_property: Any
) -> None:
    made = filled_landscape
    foreigner = Confined(made.other.tenant)
    written, tried = [], 0
    for kept in await foreign_tables(made, raw, foreigner):
        columns = await raw.fetch(COLUMNS, kept.table)
        names = ", ".join(row["name"] for row in columns)
        ids = ", ".join(row["name"] for row in columns if row["is_id"] and row["name"] != "id")
        theirs = await raw.fetch(TAKE.format(kept.table), sorted(kept.theirs))
        given = AS_GIVEN.format(kept.table)
        adding = f"INSERT INTO {kept.table} ({names}) OVERRIDING SYSTEM VALUE SELECT {names} FROM {given}"
        there = ", ".join(f"given.{name}" for name in ids.split(", "))
        moving = f"UPDATE {kept.table} t SET ({ids}) = ROW({there}) FROM {given} AS given WHERE t.ctid = $2::text::tid"
        for row in theirs:
            attempts: list[tuple[str, tuple[str, ...]]] = [(adding, (row["row"],))]
            if kept.own and ids:
                attempts.append((moving, (row["row"], min(kept.own))))
            for statement, values in attempts:
                async with seeing(raw, foreigner):
                    tried += 1
                    try:
                        await raw.execute(statement, *values)
                    except asyncpg.InsufficientPrivilegeError:
                        continue
                    except asyncpg.PostgresError as other:
                        written.append(f"{statement.split(' (')[0]}: {other}")
                    else:
                        written.append(f"{statement.split(' FROM ')[0][:200]} {row['row'][:200]}")

    record_property("cases", tried)
    assert not written, "\n".join(written)
    assert tried > 100


MIXED: Final[Mapping[str, str]] = {
    "access for itself": "INSERT INTO application_tenant SELECT {us}, {theirs}, true",
    "its access moved to theirs": "UPDATE application_tenant SET application_id = {theirs} WHERE tenant_id = {us}",
    "access for itself to a runtime": "INSERT INTO runtime_tenant SELECT {us}, {their_runtime}, true",
    "an API in their bundle": "INSERT INTO api_definition (application_id, bundle_id, name, target_url)"
    " SELECT {ours}, {their_bundle}, 'x', 'x'",
    "a request of its own for their bundle": "INSERT INTO bundle_instance_auth (bundle_id, owner_tenant_id,"
    " status_condition, status_message, status_reason) SELECT {their_bundle}, {us}, 'PENDING', '', ''",
    "their application in its group": "INSERT INTO formation_assignment (formation_id, source, source_type, target,"
    " target_type, state) SELECT {our_group}, {theirs}, 'APPLICATION', {theirs}, 'APPLICATION', 'READY'",
    "its application in their group": "INSERT INTO formation_assignment (formation_id, source, source_type, target,"
    " target_type, state) SELECT {their_group}, {ours}, 'APPLICATION', {ours}, 'APPLICATION', 'READY'",
    "credentials of its own for theirs": "INSERT INTO system_auth (tenant_id, application_id) SELECT {us}, {theirs}",
    "a second row after one of its own": "INSERT INTO application_label SELECT id, 'new', '1'"
    " FROM unnest(ARRAY[{ours}, {theirs}]) AS id",
}
"""What takes hold of something foreign by a row that is otherwise the tenant's own."""


@pytest.mark.parametrize("mixed", MIXED)
async def test_nobody_takes_hold_of_what_is_anothers(filled_landscape: Landscape, raw: Connection, mixed: str) -> None:
    mine, other = filled_landscape.mine.known, filled_landscape.other.known
    ids = {
        "us": filled_landscape.other.tenant,
        "ours": other["application"],
        "our_group": other["formation"],
        "theirs": mine["application"],
        "their_runtime": mine["runtime"],
        "their_bundle": mine["bundle"],
        "their_group": mine["formation"],
    }
    async with seeing(raw, Confined(filled_landscape.other.tenant)):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="violates row-level security policy"):
            await raw.execute(MIXED[mixed].format(**{name: f"'{one}'::uuid" for name, one in ids.items()}))


# With the other lock switched off


class Confining:
    """The pools, with every read in a caller's transaction."""

    def __init__(self, database: Database, confined: Confined) -> None:
        self._database = database
        self._confined = confined

    async def read(self, sql: str, parameters: Any, *, searches: bool = False) -> Any:  # noqa: ARG002  # as the pools have it
        async with self._database.transaction(self._confined) as tx:
            return await tx.read(sql, parameters)


async def answers(made: Landscape, database: Any) -> dict[str, str]:
    """What the other tenant's administrator gets for every query about what the first one has."""
    caller = made.other.administrator()
    got = {}
    kept = made._endpoints
    made._endpoints = {name: Endpoint(offered, database) for name, offered in made.surfaces.items()}
    try:
        for surface, recipes in RECIPES.items():
            for called, recipe in recipes.items():
                name = called.partition(" ")[0]
                operation = next(one for one in made.operations() if (one.surface, one.name) == (surface, name))
                if operation.kind != "Query" or name in ACROSS or name in made.surfaces[surface].commands:
                    continue
                arguments = filled(recipe, own(made.mine, "new"))
                answer = await made.ask(caller, operation, arguments, made.selection(operation, caller.scopes, 2))
                said = orjson.dumps(arguments).decode()
                got[f"{surface} {called}"] = "".join(
                    word for word in re.findall(r"canary\w*", answer.text) if word not in said
                )
    finally:
        made._endpoints = kept
    return got


async def test_with_the_compiled_tenant_switched_off_the_policies_show_nothing_foreign(
    filled_landscape: Landscape, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    made = filled_landscape
    compiled = Compiler._text

    def without_tenant(self: Compiler, template: str, *others: Any) -> str:
        return compiled(self, re.sub(r"= \{tenant\}", "IS NOT NULL", template), *others)

    monkeypatch.setattr(Compiler, "_text", without_tenant)

    assert made.other.administrator().consumer is Consumer.STATIC_USER
    naked = await answers(made, made.database)
    locked = await answers(made, Confining(made.database, Confined(made.other.tenant)))

    record_property("cases", len(locked))
    leaking = [called for called, words in naked.items() if words]
    assert len(leaking) >= 15, "the tenant is still compiled in, so this proves nothing"
    assert {called: words for called, words in locked.items() if words} == {}


NAMES_THE_TENANT: Final = re.compile(r"(\w+\.)?tenant_id = %\(tenant\)s(::uuid)?")


async def changes(made: Landscape, *, one_in: int) -> dict[str, list[str]]:
    """What of the first tenant is changed when the other's administrator asks for each change of it."""
    caller = made.other.administrator()
    ids = {word for side in (made.mine, made.also_mine) for word in side.known.values() if _UUID.fullmatch(word)}
    ids -= {*made.other.known.values(), *made.shared.values()}  # what is everybody's
    found = {}
    recipes = [(surface, called) for surface in RECIPES for called in RECIPES[surface]]
    for surface, called in recipes[::one_in]:
        name = called.partition(" ")[0]
        command = made.surfaces[surface].commands.get(name)
        if command is None or name in ACROSS or command.reach is Reach.PLANE:
            continue
        arguments = filled(RECIPES[surface][called], own(made.mine, "new"))
        operation = next(one for one in made.operations() if (one.surface, one.name) == (surface, name))
        await made.ask(caller, operation, arguments)
        tables = await made.changed()
        named = "|".join(ids)
        # Records of the attempt name what was asked for.
        touched = await made.touched([one for one in tables if not one.startswith("audit")], f"canary|{named}", named)
        await made.restore(tables)
        found[f"{surface} {called}"] = [row[:200] for row in touched]
    return found


@pytest.mark.timeout(300)
async def test_with_the_tenant_of_commands_switched_off_the_policies_let_nothing_foreign_be_changed(
    filled_landscape: Landscape, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    made = filled_landscape
    named = pool.positional
    monkeypatch.setattr(pool, "positional", lambda sql: named(NAMES_THE_TENANT.sub(r"\1tenant_id IS NOT NULL", sql)))

    with monkeypatch.context() as unlocked:
        unlocked.setattr(Reach, "confines", lambda _reach, _caller: None)
        naked = await changes(made, one_in=1 if PROOF else 4)
    locked = await changes(made, one_in=1)

    record_property("cases", len(locked))
    assert sum(map(bool, naked.values())) >= (20 if PROOF else 5), "commands still name the tenant: this proves nothing"
    reached = [f"{called}: {row}" for called, rows in locked.items() for row in rows]
    assert not reached, "\n".join(reached)
    assert len(locked) >= 60
