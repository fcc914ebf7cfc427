"""What the tests of the catalogue's nouns share: documents, and ways to an application with something to offer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from compass.access.caller import Caller
from compass.postgres.pool import Tx

UNKNOWN = "8fd7f7f4-3d6c-4a9a-8f3c-000000000000"
NOT_OWNER = "Unauthorized [reason=Owner access is needed for resource modification]"
OPEN_API = {"type": "OPEN_API", "format": "JSON", "data": '{"openapi": "3.1.0"}'}
BASIC = {"credential": {"basic": {"username": "ann", "password": "planted-secret-1"}}}

ADD_BUNDLE = """mutation ($app: ID!, $in: BundleCreateInput!) { result: addBundle(applicationID: $app, in: $in) {
  id name description instanceAuthRequestInputSchema correlationIDs createdAt updatedAt deletedAt error
  defaultInstanceAuth { credential { ... on BasicCredentialData { username password } } }
  apiDefinitions { data { id name targetURL spec { data } } totalCount }
  eventDefinitions { data { id name spec { data } } totalCount }
  documents { data { id title data } totalCount }
} }"""
ADD_API = """mutation ($bundle: ID!, $in: APIDefinitionInput!) {
  result: addAPIDefinitionToBundle(bundleID: $bundle, in: $in) {
  id name description targetURL group version { value deprecated deprecatedSince forRemoval } created_at updated_at
  spec { id data type format
    fetchRequest { url mode filter auth { accessStrategy } status { condition message timestamp } } }
} }"""


async def register(director: Any, name: str = "orders", caller: Caller | None = None, **more: Any) -> str:
    """The id of a new application."""
    text = "mutation ($in: ApplicationRegisterInput!) { registerApplication(in: $in) { id } }"
    data = await director.data(text, caller=caller, **{"in": {"name": name, **more}})
    return str(data["registerApplication"]["id"])


async def bundle(director: Any, application: str, caller: Caller | None = None, **more: Any) -> str:
    """The id of a new bundle."""
    data = await director.data(ADD_BUNDLE, caller=caller, app=application, **{"in": {"name": "main", **more}})
    return str(data["result"]["id"])


async def runtime(director: Any, name: str = "kyma") -> str:
    """The id of a new runtime."""
    data = await director.data("mutation ($n: String!) { registerRuntime(in: {name: $n}) { id } }", n=name)
    return str(data["registerRuntime"]["id"])


async def group(director: Any, application: str, runtime_id: str) -> None:
    """Put both into one group, as the formation engine does it, row by row."""
    async with director.database.transaction() as tx:
        formation = await tx.value(
            """INSERT INTO formation (tenant_id, formation_template_id, name, state)
            SELECT %(tenant)s, id, gen_random_uuid()::text, 'READY' FROM formation_template LIMIT 1 RETURNING id""",
            tenant=director.caller.tenant,
        )
        await tx.run(
            """INSERT INTO formation_assignment (formation_id, source, source_type, target, target_type, state)
            VALUES (%(f)s, %(a)s, 'APPLICATION', %(r)s, 'RUNTIME', 'READY'),
                (%(f)s, %(r)s, 'RUNTIME', %(a)s, 'APPLICATION', 'READY')""",
            f=formation,
            a=application,
            r=runtime_id,
        )


async def seen_not_owned(director: Any, application: str) -> Caller:
    """A caller of the other tenant, which may see the application now and still not change it."""
    async with director.database.transaction() as tx:
        await tx.run(
            "INSERT INTO application_tenant (tenant_id, application_id, owner) VALUES (%(t)s, %(a)s, false)",
            t=director.other.tenant,
            a=application,
        )
    caller: Caller = director.other
    return caller


async def facts(director: Any, name: str = "ApplicationCatalogueChanged") -> list[dict[str, Any]]:
    """The facts of the events of one name, oldest first."""
    async with director.database.transaction() as tx:
        rows = await tx.rows("SELECT facts FROM outbox_event WHERE name = %(name)s ORDER BY id", name=name)
        return [row["facts"] for row in rows]


async def everything(director: Any) -> str:
    """The whole database as text."""
    async with director.database.transaction() as tx:
        tables = await tx.rows(
            "SELECT relname AS name FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        texts = [
            await tx.value(f"SELECT string_agg(t::text, ' ') FROM {row['name']} t")  # from the catalogue
            for row in tables
        ]
    return " ".join(text for text in texts if text)


def without(caller: Caller, scope: str) -> Caller:
    """The caller with one scope less."""
    return replace(caller, scopes=caller.scopes - {scope})


@contextmanager
def counted(monkeypatch: Any) -> Iterator[list[str]]:
    """The SQL of every statement that is run in a transaction while the block runs."""
    with monkeypatch.context() as patch:
        yield _noted(patch, lambda sql: sql)


def named(monkeypatch: Any) -> list[str]:
    """The name of every statement that is run in a transaction from now on, until the test ends."""
    return _noted(monkeypatch, lambda sql: sql.strip().splitlines()[0])


def _noted(patch: Any, noted: Callable[[str], str]) -> list[str]:
    ran: list[str] = []

    def counting(original: Any) -> Any:
        async def run(self: Tx, sql: str, *arguments: Any, **parameters: Any) -> Any:
            ran.append(noted(sql))
            return await original(self, sql, *arguments, **parameters)

        return run

    for name in ("row", "rows", "value", "run", "read"):
        patch.setattr(Tx, name, counting(getattr(Tx, name)))
    return ran
