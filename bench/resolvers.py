"""The same answers by a resolver server: plain graphql-core with a loader per relation.

Documents are parsed and validated once. Leaves are dictionary look-ups; every relation is one statement per level.
"""

import asyncio
import base64
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg
import graphql
import orjson

Row = Mapping[str, Any]
_PREFIX = "DpKtJ4j9jDq"


class Loader:
    """Collects the keys asked for in one turn of the event loop and loads them together."""

    def __init__(self, load: Callable[[list[Any]], Awaitable[Mapping[Any, Any]]]) -> None:
        self._load = load
        self._known: dict[Any, asyncio.Future[Any]] = {}
        self._waiting: list[Any] = []

    def of(self, key: Any) -> Awaitable[Any]:
        """What belongs to the key, or None."""
        if key not in self._known:
            loop = asyncio.get_running_loop()
            self._known[key] = loop.create_future()
            if not self._waiting:
                loop.call_soon(lambda: loop.create_task(self._run()))
            self._waiting.append(key)
        return self._known[key]

    async def _run(self) -> None:
        keys, self._waiting = self._waiting, []
        found = await self._load(keys)
        for key in keys:
            self._known[key].set_result(found.get(key))


def _page(rows: Sequence[Row], first: int, total: int) -> Row:
    more = len(rows) > first
    end = base64.b64encode(f"{_PREFIX}{first}".encode()).decode() if more else ""
    return {
        "data": rows[:first],
        "pageInfo": {"startCursor": "", "endCursor": end, "hasNextPage": more},
        "totalCount": total,
    }


class Server:
    """Answers queries for one tenant."""

    def __init__(self, sdl: str, pool: "asyncpg.Pool[asyncpg.Record]", tenant: str) -> None:
        self._schema = graphql.build_schema(sdl)
        self._pool = pool
        self._tenant = tenant
        self._documents: dict[str, graphql.DocumentNode] = {}
        for type_name, columns in _COLUMNS.items():
            for field_name, column in columns.items():
                self._field(type_name, field_name).resolve = _column(column)
        for type_name, field_name, column in _TIMES:
            self._field(type_name, field_name).resolve = _time(column)
        for type_name in ("Application",):
            self._field(type_name, "status").resolve = lambda row, _info: row
        for type_name in ("APIDefinition", "EventDefinition"):
            self._field(type_name, "version").resolve = lambda row, _info: (
                row if row["version_value"] is not None else None
            )
            self._field(type_name, "spec").resolve = lambda row, info: info.context["specs"].of(row["id"])
        self._field("Query", "applications").resolve = self._applications
        self._field("Application", "labels").resolve = lambda row, info, **_: info.context["labels"].of(row["id"])
        self._field("Application", "webhooks").resolve = lambda row, info: info.context["webhooks"].of(row["id"])
        for type_name, field_name in (
            ("Application", "bundles"),
            ("Bundle", "apiDefinitions"),
            ("Bundle", "eventDefinitions"),
            ("Bundle", "documents"),
        ):
            self._field(type_name, field_name).resolve = _nested(field_name)

    def _field(self, type_name: str, name: str) -> Any:
        return self._schema.type_map[type_name].fields[name]  # type: ignore[attr-defined]  # types with fields only

    async def answer(self, text: str, variables: Mapping[str, Any]) -> bytes:
        """The answer's bytes."""
        document = self._documents.get(text)
        if document is None:
            document = self._documents[text] = graphql.parse(text)
            problems = graphql.validate(self._schema, document)
            if problems:
                raise problems[0]
        result = graphql.execute(self._schema, document, context_value=self._loaders(), variable_values=dict(variables))
        done = await result if isinstance(result, Awaitable) else result
        if done.errors:
            raise done.errors[0]
        return b'{"data":' + orjson.dumps(done.data) + b"}"

    async def _rows(self, sql: str, *parameters: Any) -> list[Row]:
        async with self._pool.acquire() as connection:
            return [dict(row) for row in await connection.fetch(sql, *parameters)]

    async def _applications(self, _root: Any, info: graphql.GraphQLResolveInfo[Any], first: int, **_: Any) -> Row:
        rows = await self._rows(
            "SELECT a.* FROM application_tenant s JOIN application a ON a.id = s.application_id "
            "WHERE s.tenant_id = $1 ORDER BY s.application_id LIMIT $2",
            self._tenant, first + 1,
        )  # fmt: skip
        total = 0
        if any(node.name.value == "totalCount" for node in info.field_nodes[0].selection_set.selections):  # type: ignore[union-attr]  # the field has a selection of fields
            total = (
                await self._rows("SELECT count(*) AS n FROM application_tenant WHERE tenant_id = $1", self._tenant)
            )[0]["n"]
        return _page(rows, first, total)

    def _loaders(self) -> dict[str, Loader]:
        return {
            "labels": Loader(self._labels),
            "specs": Loader(self._specs),
            "webhooks": self._children("webhook", "application_id", "created_at, id"),
            "bundles": self._children("bundle", "application_id", "id"),
            "apiDefinitions": self._children("api_definition", "bundle_id", "id"),
            "eventDefinitions": self._children("event_definition", "bundle_id", "id"),
            "documents": self._children("document", "bundle_id", "id"),
        }

    def _children(self, table: str, owner: str, order: str) -> Loader:
        async def load(keys: list[Any]) -> Mapping[Any, Any]:
            found: dict[Any, list[Row]] = {key: [] for key in keys}
            for row in await self._rows(
                f"SELECT * FROM {table} WHERE {owner} = ANY($1::uuid[]) ORDER BY {order}", keys
            ):
                found[row[owner]].append(row)
            return found

        return Loader(load)

    async def _labels(self, keys: list[Any]) -> Mapping[Any, Any]:
        found: dict[Any, dict[str, Any]] = defaultdict(dict)
        for row in await self._rows("SELECT * FROM application_label WHERE application_id = ANY($1::uuid[])", keys):
            found[row["application_id"]][row["key"]] = row["value"]
        return found

    async def _specs(self, keys: list[Any]) -> Mapping[Any, Any]:
        rows = await self._rows(
            "SELECT * FROM spec WHERE api_definition_id = ANY($1::uuid[]) OR event_definition_id = ANY($1::uuid[])",
            keys,
        )
        return {row["api_definition_id"] or row["event_definition_id"]: row for row in rows}


def _nested(name: str) -> Any:
    async def resolve(row: Row, info: graphql.GraphQLResolveInfo[Any], first: int, **_: Any) -> Row:
        children = await info.context[name].of(row["id"])
        return _page(children, first, len(children))

    return resolve


def _column(column: str) -> Any:
    return lambda row, _info: row[column]


def _time(column: str) -> Any:
    def resolve(row: Row, _info: graphql.GraphQLResolveInfo[Any]) -> str | None:
        value: datetime | None = row[column]
        return None if value is None else value.strftime("%Y-%m-%dT%H:%M:%SZ")

    return resolve


_COLUMNS = {
    "Application": {
        "systemNumber": "system_number", "localTenantID": "local_tenant_id", "baseUrl": "base_url",
        "providerName": "provider_name", "integrationSystemID": "integration_system_id",
        "applicationTemplateID": "application_template_id", "healthCheckURL": "health_check_url",
        "applicationNamespace": "application_namespace", "systemStatus": "system_status",
    },
    "ApplicationStatus": {"condition": "status_condition"},
    "APIDefinition": {"targetURL": "target_url", "group": "api_group"},
    "EventDefinition": {"group": "event_group"},
    "Version": {"value": "version_value", "deprecated": "version_deprecated"},
    "Document": {"displayName": "display_name"},
    "Webhook": {"inputTemplate": "input_template"},
}  # fmt: skip
_TIMES = (
    ("Application", "createdAt", "created_at"), ("Application", "updatedAt", "updated_at"),
    ("Application", "deletedAt", "deleted_at"), ("ApplicationStatus", "timestamp", "status_timestamp"),
    ("Bundle", "createdAt", "created_at"), ("APIDefinition", "created_at", "created_at"),
    ("EventDefinition", "createdAt", "created_at"), ("Document", "createdAt", "created_at"),
    ("Webhook", "createdAt", "created_at"),
)  # fmt: skip
