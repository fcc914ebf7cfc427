"""Two tenants full of everything the API knows, made through the API, for tests of who may see and change what.

A *side* is one application and one runtime with all they have: two sides live in the first tenant, one in the other.
Every text that the API takes from a side holds its marker, so that an answer which shows anything of it can be told by
its bytes alone. What belongs to no tenant (integration systems, templates of applications, constraints, certificate
subject mappings) is there once and carries no marker.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import graphql
import orjson

from compass.access.caller import Caller, Consumer, Flow
from compass.access.scopes import BY_CONSUMER
from compass.api.request import Endpoint
from compass.api.schema import Surface
from compass.app import connector_surface, director_surface, provisioner_surface
from compass.ids import SystemAuthId, TenantId
from compass.postgres.pool import Database
from compass.provisioner.refusals import wire_extensions

Json = dict[str, Any]

# Scopes beside those of `BY_CONSUMER`: the plane's own components.
COMPONENT: Final = frozenset({"ory_internal"})


@dataclass
class Side:
    """One application and one runtime of a tenant with all they have, by what the recipes of `operations.py` say."""

    marker: str
    tenant: TenantId
    external: str
    known: dict[str, str] = field(default_factory=dict)
    """Ids, names and such, by the word that stands for them in a recipe."""

    def administrator(self) -> Caller:
        """A person with every scope, in the side's tenant."""
        return user(self.tenant, self.external)

    def application(self, known: str = "application") -> Caller:
        """Its application, calling with the certificate it has."""
        return self._itself(Consumer.APPLICATION, self.known[known])

    def runtime(self) -> Caller:
        """Its runtime, calling with a certificate."""
        return self._itself(Consumer.RUNTIME, self.known["runtime"])

    def _itself(self, consumer: Consumer, subject: str) -> Caller:
        return Caller(
            consumer,
            subject,
            Flow.CERTIFICATE,
            BY_CONSUMER[consumer],
            self.tenant,
            self.external,
            SystemAuthId(self.known[f"{consumer.name.lower()}_paired"]),
            certificate=self.known[f"{consumer.name.lower()}_fingerprint"],
        )


def user(tenant_id: TenantId | None, external: str | None) -> Caller:
    """A person with every scope that a person can have."""
    return Caller(Consumer.STATIC_USER, "admin", Flow.JWT, BY_CONSUMER[Consumer.STATIC_USER], tenant_id, external)


@dataclass
class Answer:
    """What a request came to."""

    text: str
    code: int | None
    """The code of the first error."""


@dataclass(frozen=True)
class Offered:
    """One operation of one of the three endpoints."""

    surface: str
    name: str
    kind: str
    """Query or Mutation."""


class Landscape:
    """The three endpoints over one database with all that, and a way back to how it was."""

    mine: Side
    also_mine: Side
    other: Side
    below: Caller
    """An administrator of a subaccount of the first tenant."""
    subaccount: str
    """Another of them, which is in a group of it, by what clients call it."""
    system: str
    """The integration system, which may work in any tenant."""

    def __init__(self, database: Database, raw: "asyncpg.Connection[asyncpg.Record]", parts: dict[type, Any]) -> None:
        self.database = database
        self._raw = raw
        self.parts = parts
        self.surfaces: dict[str, Surface] = {
            "director": director_surface(parts),
            "connector": connector_surface(parts),
            "provisioner": provisioner_surface(parts),
        }
        self._endpoints = {
            name: Endpoint(offered, database, extend=wire_extensions if name == "provisioner" else None)
            for name, offered in self.surfaces.items()
        }
        self.shared: dict[str, str] = {}
        self._kept: dict[str, str] = {}
        self._written = 0

    def operations(self) -> list[Offered]:
        """Every query and mutation of every endpoint."""
        return [
            Offered(name, operation, kind)
            for name, offered in self.surfaces.items()
            for kind in ("Query", "Mutation")
            for operation in offered.schema.fields(kind)
        ]

    def find(self, name: str) -> Offered:
        """An operation by its name; the Director's when several endpoints have one of that name."""
        return next(one for one in self.operations() if one.name == name)

    # Asking

    async def ask(
        self,
        caller: Caller,
        operation: Offered,
        arguments: Mapping[str, Any],
        selection: str | None = None,
        nested: str | None = None,
    ) -> Answer:
        """One request. `nested` goes to every field below that needs an id."""
        declared = self.surfaces[operation.surface].schema.fields(operation.kind)[operation.name]
        chosen = self.selection(operation, caller.scopes, 1) if selection is None else selection
        variables = dict(arguments)
        named = [f"${name}: {declared.args[name].type}" for name in arguments]
        if "$nested" in chosen:
            named.append("$nested: ID!")
            variables["nested"] = nested or str(_RANDOM_UUID)
        head = f"{operation.kind.lower()}({', '.join(named)})" if named else operation.kind.lower()
        passed = ", ".join(f"{name}: ${name}" for name in arguments)
        call = f"{operation.name}({passed})" if arguments else operation.name
        text = f"{head} {{ result: {call} {chosen} }}"
        answer = await self._endpoints[operation.surface].answer(caller, text, orjson.loads(orjson.dumps(variables)))
        decoded = orjson.loads(answer.body)
        code = decoded["errors"][0]["extensions"].get("error_code") if decoded.get("errors") else None
        if decoded.get("errors") and code is None:
            code = 0
        return Answer(answer.body.decode(), code)

    async def must(self, caller: Caller, name: str, selection: str = "{ id }", /, **arguments: Any) -> Any:
        """The result of a request that has to be answered."""
        answer = await self.ask(caller, self.find(name), arguments, selection)
        assert answer.code is None, f"{name}: {answer.text}"
        return orjson.loads(answer.text)["data"]["result"]

    def selection(self, operation: Offered, scopes: frozenset[str], depth: int) -> str:
        """Everything that can be asked for, so many levels deep, without what is an error for lack of a scope."""
        offered = self.surfaces[operation.surface]
        kind = graphql.get_named_type(offered.schema.fields(operation.kind)[operation.name].type)
        return _selection(offered, kind, scopes, depth)

    async def without_policies(self) -> None:
        """Switch the database's own lock on tenancy off; what remains is what the plane's statements say."""
        tables = await self._raw.fetch(f"{_TABLES.replace('ORDER BY', 'AND relrowsecurity ORDER BY')}")
        assert tables
        await self._raw.execute("; ".join(f"ALTER TABLE {row['name']} DISABLE ROW LEVEL SECURITY" for row in tables))

    # What it was, and back

    async def keep(self) -> None:
        """Remember everything as it is now."""
        await self._raw.execute("DROP SCHEMA IF EXISTS kept CASCADE; CREATE SCHEMA kept")
        tables = [row["name"] for row in await self._raw.fetch(_TABLES)]
        await self._raw.execute("; ".join(f"CREATE TABLE kept.{name} AS TABLE public.{name}" for name in tables))
        digests = " UNION ALL ".join(
            f"SELECT '{name}' AS name, coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') AS digest"
            f" FROM public.{name} t"
            for name in tables
        )
        self._digests = await self._raw.prepare(digests)
        self._kept = {row["name"]: row["digest"] for row in await self._digests.fetch()}
        columns = await self._raw.fetch(_COLUMNS)
        self._columns = {row["name"]: row["columns"] for row in columns}
        self._ids = {row["name"]: row["ids"] for row in columns if row["ids"]}
        self._written = await self._raw.fetchval(_WRITTEN)

    async def changed(self) -> list[str]:
        """The tables that are not as they were kept."""
        if self._written == (now := await self._raw.fetchval(_WRITTEN)):
            return []  # nobody even began to write
        self._written = now
        return [row["name"] for row in await self._digests.fetch() if self._kept[row["name"]] != row["digest"]]

    async def touched(self, tables: Iterable[str], kept: str, new: str) -> list[str]:
        """Rows of these tables that match `kept` and are not there any more as they were kept, or that are new and
        refer to an id that matches `new`. An id in a text is no reference.
        """
        found = []
        for name in tables:
            gone = f"SELECT t::text AS row FROM kept.{name} t EXCEPT ALL SELECT t::text FROM public.{name} t"
            rows = await self._raw.fetch(f"SELECT row FROM ({gone}) AS gone WHERE row ~ $1", kept)
            found += [f"{name}: {row['row']}" for row in rows]
            if ids := self._ids.get(name):
                came = (
                    f"SELECT concat_ws(' ', {ids}) AS ids, t::text AS row FROM public.{name} t"
                    f" EXCEPT ALL SELECT concat_ws(' ', {ids}), t::text FROM kept.{name} t"
                )
                rows = await self._raw.fetch(f"SELECT row FROM ({came}) AS came WHERE ids ~ $1", new)
                found += [f"{name}: {row['row']}" for row in rows]
        return found

    async def restore(self, tables: Sequence[str]) -> None:
        """Everything as it was kept. No trigger fires, so that what triggers count is as it was, too."""
        if tables:
            back = "; ".join(
                f"DELETE FROM public.{name}; INSERT INTO public.{name} ({self._columns[name]}) OVERRIDING SYSTEM VALUE"
                f" SELECT {self._columns[name]} FROM kept.{name}"
                for name in tables
            )
            await self._raw.execute(f"BEGIN; SET LOCAL session_replication_role = replica; {back}; COMMIT")
            self._written = await self._raw.fetchval(_WRITTEN)


_TABLES: Final = (
    "SELECT relname AS name FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1"
)
_COLUMNS: Final = """
SELECT attrelid::regclass::text AS name, string_agg(quote_ident(attname), ', ') AS columns,
    string_agg(quote_ident(attname), ', ') FILTER (WHERE atttypid IN ('uuid'::regtype, 'uuid[]'::regtype)) AS ids
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
    AND attgenerated = ''
GROUP BY attrelid
"""
_WRITTEN: Final = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
_RANDOM_UUID: Final = "00000000-1111-4222-8333-444444444444"


def _selection(offered: Surface, kind: Any, scopes: frozenset[str], depth: int, alias: str = "") -> str:
    if isinstance(kind, graphql.GraphQLUnionType):
        # Members may have fields of one name and different types.
        members = (f"... on {one.name} {_selection(offered, one, scopes, depth, f'{one.name}_')}" for one in kind.types)
        return f"{{ __typename {' '.join(members)} }}"
    if not isinstance(kind, graphql.GraphQLObjectType | graphql.GraphQLInterfaceType):
        return ""
    needed = getattr(offered.reads.get(kind.name), "scoped", {})
    parts = ["__typename"]
    for name, declared in kind.fields.items():
        if name in needed and needed[name] not in scopes:
            continue
        named = graphql.get_named_type(declared.type)
        required = [key for key, argument in declared.args.items() if graphql.is_required_argument(argument)]
        call = f"{name}({', '.join(f'{key}: $nested' for key in required)})" if required else name
        called = f"{alias}{name}: {call}" if alias else call
        if graphql.is_leaf_type(named):
            parts.append(called)
        elif depth > 0:
            # A page is no level of its own.
            below = depth if named.name.endswith("Page") else depth - 1
            if inner := _selection(offered, named, scopes, below):
                parts.append(f"{called} {inner}")
    return f"{{ {' '.join(parts)} }}"
