"""A small schema of orders and their lines, so that the compiler is tested without any noun of the plane."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from compass.access.caller import Caller, Consumer, Flow
from compass.api.request import Endpoint
from compass.api.schema import Surface
from compass.errors import NotFound
from compass.ids import TenantId
from compass.postgres.pool import Database
from compass.reads import labels
from compass.reads.document import Schema
from compass.reads.plan import Hole, Interface, Many, Object, One, Page, Query, Read, timestamp

SDL = """
scalar PageCursor
scalar Labels
scalar Timestamp
input LabelFilter { key: String!  query: String }
type PageInfo { startCursor: PageCursor!  endCursor: PageCursor!  hasNextPage: Boolean! }
type LinePage { data: [Line!]!  pageInfo: PageInfo!  totalCount: Int! }
type OrderPage { data: [Order!]!  pageInfo: PageInfo!  totalCount: Int! }
interface Line { id: ID!  text: String }
type Goods implements Line { id: ID!  text: String  weight: Int }
type Service implements Line { id: ID!  text: String  hours: Int }
type Customer { name: String! }
type Secret { word: String!  length: Int! }
type Order {
  id: ID!
  title: String!
  placedAt: Timestamp!
  customer: Customer
  labels(key: String): Labels
  lines(first: Int = 200, after: PageCursor): LinePage
  allLines: [Line!]
  line(id: ID!): Line
  secret(salt: String = "none"): Secret
  price: String
  margin: String
  owner: String!
}
type Query {
  orders(filter: [LabelFilter!], first: Int = 200, after: PageCursor): OrderPage!
  order(id: ID!): Order
  present(id: ID!): Order
}
"""
TABLES = """
-- reads.tables
CREATE TABLE purchase (
    id uuid PRIMARY KEY, tenant_id uuid NOT NULL, title text NOT NULL, customer_name text, secret text,
    placed_at timestamptz NOT NULL DEFAULT '2026-01-02T03:04:05.678+02:00'
);
CREATE TABLE purchase_label (purchase_id uuid, key text, value jsonb, PRIMARY KEY (purchase_id, key));
CREATE TABLE purchase_line (id uuid PRIMARY KEY, purchase_id uuid, kind text, text text, amount int)
"""


def _secret(filling: Any, payload: str) -> dict[str, Any]:
    return {"word": payload + filling.arguments["salt"], "length": len(payload)}


_LINE = {"id": "id", "text": "text"}
READS = {
    read.type: read
    for read in (
        Read("Goods", table="purchase_line", fields=_LINE | {"weight": "amount"}),
        Read("Service", table="purchase_line", fields=_LINE | {"hours": "amount"}),
        Interface("Line", table="purchase_line", which="{t}.kind", members=("Goods", "Service")),
        Read(
            "Order",
            table="purchase",
            fields={
                "id": "id",
                "title": "title",
                "placedAt": timestamp("placed_at"),
                "customer": Object({"name": "customer_name"}, present="{t}.customer_name IS NOT NULL"),
                "labels": labels.shown("purchase_label", "purchase_id"),
                "lines": Page("Line", on="{c}.purchase_id = {t}.id", order="{c}.id"),
                "allLines": Many("Line", on="{c}.purchase_id = {t}.id", order="{c}.id"),
                "line": One("Line", on="{c}.purchase_id = {t}.id AND {c}.id = {arg:id}::uuid"),
                "secret": Hole("{t}.secret", _secret),
                "price": "'9.99'",
                "margin": "'1.00'",
                "owner": "'nobody'",
            },
            sanitized={"price": "price:read"},
            scoped={"margin": "margin:read", "owner": "owner:read"},
        ),
    )
}
QUERIES = {
    query.name: query
    for query in (
        Query(
            "orders",
            scope="order:read",
            read=Page(
                "Order",
                on="{c}.tenant_id = {tenant}",
                order="{c}.id",
                filtered=labels.Matching("purchase_label", "purchase_id"),
            ),
        ),
        Query(
            "order", scope="order:read", read=One("Order", on="{c}.tenant_id = {tenant} AND {c}.id = {arg:id}::uuid")
        ),
        Query(
            "present",
            scope="order:read",
            read=One("Order", on="{c}.tenant_id = {tenant} AND {c}.id = {arg:id}::uuid"),
            absent=lambda given: NotFound(object="order", ID=given["id"]),
        ),
    )
}
SCOPES = frozenset({"order:read", "price:read", "margin:read", "owner:read"})
TENANT, OTHER = (TenantId(f"00000000-0000-4000-8000-00000000000{n}") for n in (1, 2))


def order_id(number: int) -> str:
    """The ids of orders, in their order."""
    return f"00000000-0000-4000-9000-{number:012d}"


def line_id(order: int, number: int) -> str:
    """The ids of lines."""
    return f"00000000-0000-4000-a000-{order:06d}{number:06d}"


class Counting(Database):
    """The pools, and every statement that was sent through them."""

    statements: list[str]

    async def read(self, sql: str, parameters: Any, *, searches: bool = False) -> Any:
        """As the plane's own, noted."""
        self.statements.append(sql)
        return await super().read(sql, parameters, searches=searches)


class Shop:
    """Answers documents over the orders."""

    def __init__(self, database: Counting) -> None:
        self.database = database
        self.caller = Caller(Consumer.STATIC_USER, "admin", Flow.JWT, SCOPES, TENANT)
        self.endpoint = Endpoint(Surface(Schema(SDL), READS, QUERIES, {}, {}), database)

    async def __call__(self, text: str, /, *, caller: Caller | None = None, **variables: Any) -> dict[str, Any]:
        """The decoded answer."""
        answered = await self.endpoint.answer(caller or self.caller, text, variables)
        decoded: dict[str, Any] = orjson.loads(answered.body)
        return decoded

    async def data(self, text: str, /, *, caller: Caller | None = None, **variables: Any) -> Any:
        """The answer's data; fails the test when there are errors."""
        answered = await self(text, caller=caller, **variables)
        assert "errors" not in answered, answered["errors"]
        return answered["data"]

    async def refusal(
        self, text: str, /, *, caller: Caller | None = None, **variables: Any
    ) -> tuple[list[str], int, str]:
        """Path, code and message of the refusal; there is no data."""
        answered = await self(text, caller=caller, **variables)
        assert answered["data"] is None
        (error,) = answered["errors"]
        return error.get("path", []), error["extensions"]["error_code"], error["message"]

    async def add(self, number: int, *, lines: int = 0, tenant: TenantId = TENANT, **columns: Any) -> str:
        """An order with so many lines, goods and services in turn."""
        async with self.database.transaction() as tx:
            await tx.run(
                "-- test\nINSERT INTO purchase (id, tenant_id, title, customer_name, secret) "
                "VALUES (%(id)s, %(tenant)s, %(title)s, %(customer)s, %(secret)s)",
                id=order_id(number), tenant=tenant, title=columns.get("title", f"order {number}"),
                customer=columns.get("customer"), secret=columns.get("secret"),
            )  # fmt: skip
            for key, value in columns.get("labels", {}).items():
                await tx.run(
                    "-- test\nINSERT INTO purchase_label VALUES (%(id)s, %(key)s, %(value)s)",
                    id=order_id(number), key=key, value=value,
                )  # fmt: skip
            for line in range(lines):
                await tx.run(
                    "-- test\nINSERT INTO purchase_line VALUES (%(id)s, %(order)s, %(kind)s, %(text)s, %(amount)s)",
                    id=line_id(number, line), order=order_id(number), kind="Service" if line % 2 else "Goods",
                    text=f"line {line}", amount=line,
                )  # fmt: skip
        return order_id(number)


@pytest.fixture
async def shop(dsn: str) -> AsyncIterator[Shop]:
    """A shop without orders."""
    async with Counting.open(dsn) as database:
        database.statements = []
        async with database.transaction() as tx:
            for statement in TABLES.split(";"):
                await tx.run(statement)
        yield Shop(database)
