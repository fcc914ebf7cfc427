# ruff: noqa: E501
# Documents and statements stand on one line, as they are sent.
"""One request from its text to its bytes."""

import asyncio
from dataclasses import replace
from typing import Any

import asyncpg
import orjson
import pytest

from compass.access.caller import Caller, Consumer, Flow
from compass.access.tenancy import Reach
from compass.api.request import Endpoint, InternalFault, translated
from compass.api.schema import Surface
from compass.commands import Command, command
from compass.errors import NameTaken, NotFound, OperationTimedOut, Unavailable
from compass.ids import TenantId
from compass.postgres.pool import Database, Tx
from compass.reads.document import Schema
from compass.reads.plan import One, Page, Query, Read

SCHEMA = Schema(
    """
    scalar PageCursor
    type PageInfo { startCursor: PageCursor! endCursor: PageCursor! hasNextPage: Boolean! }
    type Pot { id: ID!  name: String!  secret: String  owner: String! }
    type PotPage { data: [Pot!]!  pageInfo: PageInfo!  totalCount: Int! }
    type Query { pots(first: Int = 200, after: PageCursor): PotPage!  pot(id: ID!): Pot  spend: Int }
    type Mutation { makePot(name: String!): Pot!  breakPot(id: ID!): Pot!  count: Int!  fail(how: String!): Int! }
    """
)
POT = Read(
    "Pot",
    table="pot",
    fields={"id": "id", "name": "name", "secret": "'s'", "owner": "'o'"},
    scoped={"secret": "secret:read", "owner": "owner:read"},
)
QUERIES = {
    "pots": Query("pots", scope="", read=Page("Pot", on="{c}.tenant_id = {tenant}", order="{c}.name")),
    "pot": Query("pot", scope="", read=One("Pot", on="{c}.id = {arg:id}::uuid AND {c}.tenant_id = {tenant}")),
}
TENANT = TenantId("00000000-0000-4000-8000-000000000001")
ME = Caller(Consumer.STATIC_USER, "admin", Flow.JWT, frozenset({"secret:read", "owner:read"}), TENANT)
NAMES = "{ pots { data { name } } }"


@command("makePot", scope="")
async def make(tx: Tx, tenant: TenantId, name: str) -> str:
    made: str | None = await tx.value(
        "-- test\nINSERT INTO pot (tenant_id, name) VALUES (%(tenant)s, %(name)s) ON CONFLICT DO NOTHING RETURNING id",
        tenant=tenant, name=name,
    )  # fmt: skip
    if made is None:
        raise NameTaken(object="pot")
    return made


@command("breakPot", scope="pot:break", reply_before=True)
async def smash(tx: Tx, _caller: Caller, pot: str) -> None:
    if not await tx.run("-- test\nDELETE FROM pot WHERE id = %(pot)s", pot=pot):
        raise NotFound(object="pot")


@command("count", scope="")
async def count(tx: Tx, _caller: Caller) -> int:
    return int(await tx.value("-- test\nSELECT count(*) FROM pot"))


@command("spend", scope="")
async def spend(tx: Tx, _caller: Caller) -> int:
    return await tx.run("-- test\nDELETE FROM pot")


@command("fail", scope="", reach=Reach.PLANE)
async def fail(tx: Tx, _caller: Caller, how: str) -> int:
    await tx.run("-- test\nINSERT INTO pot (tenant_id, name) VALUES (%(tenant)s, 'never')", tenant=TENANT)
    match how:
        case "defect":
            raise ZeroDivisionError("password=hunter2")
        case "unique":
            await tx.run("-- test\nINSERT INTO pot (tenant_id, name) VALUES (%(tenant)s, 'never')", tenant=TENANT)
        case "timeout":
            await tx.run("-- test\nSET LOCAL statement_timeout = '20ms'")
            await tx.run("-- test\nSELECT pg_sleep(1)")
        case "away":
            await tx.run("-- test\nSELECT pg_terminate_backend(pg_backend_pid())")
    return 1


class Pots:
    def __init__(self, database: Database) -> None:
        commands = {one.mutation: one for one in (Command(SCHEMA, f, {}) for f in (make, smash, count, spend, fail))}
        self.endpoint = Endpoint(Surface(SCHEMA, {"Pot": POT}, QUERIES, commands, {}), database)

    async def __call__(self, text: str, /, caller: Caller = ME, **variables: Any) -> dict[str, Any]:
        answered = await self.endpoint.answer(caller, text, variables)
        decoded: dict[str, Any] = orjson.loads(answered.body)
        return decoded

    async def names(self) -> list[str]:
        return [pot["name"] for pot in (await self(NAMES))["data"]["pots"]["data"]]


@pytest.fixture
async def pots(database: Database) -> Pots:
    async with database.transaction() as tx:
        await tx.run(
            "-- test\nCREATE TABLE pot (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), tenant_id uuid, name text UNIQUE)"
        )
        await tx.run("-- test\nSELECT keep_to_tenants_v1('pot', 'true')")
    return Pots(database)


async def test_a_mutation_answers_with_the_object_as_it_now_is(pots: Pots) -> None:
    assert await pots('mutation { a: makePot(name: "blue") { name __typename } }') == {
        "data": {"a": {"name": "blue", "__typename": "Pot"}}
    }


async def test_mutations_run_in_order_each_for_itself_and_the_first_refusal_ends_the_document(pots: Pots) -> None:
    answered = await pots(
        'mutation { a: makePot(name: "a") { id } b: makePot(name: "a") { id } c: makePot(name: "c") { id } }'
    )

    assert answered == {
        "errors": [
            {
                "message": "Object name is not unique [object=pot]",
                "path": ["b"],
                "extensions": {"error": "NotUniqueName", "error_code": 31},
            }
        ],
        "data": None,
    }
    assert await pots.names() == ["a"]


async def test_what_is_removed_is_answered_as_it_was(pots: Pots) -> None:
    made = (await pots('mutation { makePot(name: "a") { id } }'))["data"]["makePot"]["id"]
    breaker = replace(ME, scopes=ME.scopes | {"pot:break"})
    text = "mutation ($id: ID!) { breakPot(id: $id) { name } }"

    refused = await pots(text, ME, id=made)
    assert refused["errors"][0]["extensions"]["error_code"] == 23
    assert await pots.names() == ["a"]
    assert await pots(text, breaker, id=made) == {"data": {"breakPot": {"name": "a"}}}
    assert (await pots(text, breaker, id=made))["errors"][0]["extensions"]["error_code"] == 20


async def test_a_reply_that_is_refused_takes_its_change_along(pots: Pots) -> None:
    poor = replace(ME, scopes=frozenset())

    answered = await pots('mutation { makePot(name: "a") { name owner } }', poor)

    assert answered["data"] is None
    assert answered["errors"][0]["path"] == ["makePot", "owner"]
    assert await pots.names() == []


async def test_a_reply_may_lack_a_field_and_say_so(pots: Pots) -> None:
    for name in ("a", "b"):  # the second time from the kept plan
        answered = await pots(
            f'mutation {{ makePot(name: "{name}") {{ name secret }} }}', replace(ME, scopes=frozenset())
        )
        assert answered["data"] == {"makePot": {"name": name, "secret": None}}
        assert [error["path"] for error in answered["errors"]] == [["makePot", "secret"]]


async def test_replies_of_one_document_have_plans_of_their_own(pots: Pots) -> None:
    text = 'mutation { a: makePot(name: "a") { id } b: makePot(name: "b") { name } n: count __typename }'
    data = (await pots(text))["data"]
    assert list(data) == ["a", "b", "n", "__typename"]
    assert (list(data["a"]), data["b"], data["n"], data["__typename"]) == (["id"], {"name": "b"}, 2, "Mutation")


async def test_a_mutation_is_refused_where_only_queries_may_come(pots: Pots) -> None:
    answered = await pots.endpoint.answer(ME, 'mutation { makePot(name: "a") { id } }', queries_only=True)

    assert answered.status == 422
    assert b"what changes something must be sent with POST" in answered.body
    assert await pots.names() == []


@pytest.mark.parametrize("text", ["{ spend }", "{ __typename ...F } fragment F on Query { a: spend }"])
async def test_a_query_that_acts_is_refused_where_only_queries_may_come(pots: Pots, text: str) -> None:
    await pots('mutation { makePot(name: "a") { id } }')

    answered = await pots.endpoint.answer(ME, text, queries_only=True)

    assert answered.status == 422
    assert b"what changes something must be sent with POST" in answered.body
    assert await pots.names() == ["a"]


async def test_a_query_may_be_one_that_acts(pots: Pots) -> None:
    await pots('mutation { makePot(name: "a") { id } }')
    assert await pots("{ spend }") == {"data": {"spend": 1}}
    assert await pots.names() == []


@pytest.mark.parametrize(
    ("how", "code", "message"),
    [
        ("unique", 21, "Object is not unique [object=pot]"),
        ("timeout", 28, "operation has timed out"),
        ("away", 28, "the plane cannot reach its database; nothing was changed, try again in a moment"),
    ],
)
async def test_the_databases_answers_become_the_contracts_and_nothing_is_changed(
    pots: Pots, how: str, code: int, message: str
) -> None:
    answered = await pots("mutation ($how: String!) { it: fail(how: $how) }", how=how)

    (error,) = answered["errors"]
    assert (error["message"], error["path"], error["extensions"]["error_code"]) == (message, ["it"], code)
    assert await pots.names() == []


async def test_a_defect_is_told_by_its_number_alone(pots: Pots, caplog: pytest.LogCaptureFixture) -> None:
    answered = await pots('mutation { fail(how: "defect") }')

    message = answered["errors"][0]["message"]
    assert message.startswith("Internal Server Error [errorID=")
    assert "hunter2" not in str(answered)
    assert message.removeprefix("Internal Server Error [errorID=").removesuffix("]") in caplog.text
    assert "hunter2" in caplog.text
    assert await pots.names() == []


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(), Unavailable), (asyncpg.TooManyConnectionsError("x"), Unavailable), (TimeoutError(), OperationTimedOut),
        (asyncpg.QueryCanceledError("x"), OperationTimedOut), (asyncpg.ConnectionDoesNotExistError("x"), Unavailable),
        (asyncpg.AdminShutdownError("x"), Unavailable), (asyncpg.UndefinedTableError("x"), InternalFault), (KeyError("x"), InternalFault),
    ],
)  # fmt: skip
def test_errors_are_translated_once(error: Exception, kind: type[Exception]) -> None:
    assert type(translated(error)) is kind


async def test_a_refused_document_is_answered_with_422_and_no_path(pots: Pots) -> None:
    for text in ("{ nope }", "{", "query A { pots { totalCount } } query B { pots { totalCount } }"):
        answered = await pots.endpoint.answer(ME, text)
        assert answered.status == 422
        (error,) = orjson.loads(answered.body)["errors"]
        assert "path" not in error
        assert error["extensions"]["error_code"] == 10


async def test_plans_of_queries_are_kept_up_to_a_bound(pots: Pots) -> None:
    for number in range(1_001):
        await pots(f"{{ k{number}: __typename }}")
    assert len(pots.endpoint._plans) == 1_000


async def test_the_plans_of_a_document_that_carries_its_own_data_are_not_kept(pots: Pots) -> None:
    await pots("{ __typename }" + " " * 64_000)
    await pots('mutation { makePot(name: "a") { id } }' + " " * 64_000)
    assert len(pots.endpoint._plans) == 0


async def test_what_the_schema_says_of_itself_is_said_anew_to_other_variables(pots: Pots) -> None:
    text = "query ($name: String!) { __type(name: $name) { name } }"
    assert [await pots(text, name=name) for name in ("Pot", "Query")] == [
        {"data": {"__type": {"name": name}}} for name in ("Pot", "Query")
    ]
    assert len(pots.endpoint._plans) == 0


async def test_eight_identical_registrations_at_once_make_one(pots: Pots) -> None:
    answers = await asyncio.gather(*(pots('mutation { makePot(name: "a") { id } }') for _ in range(8)))

    assert sum("errors" not in answer for answer in answers) == 1
    assert await pots.names() == ["a"]


@pytest.mark.parametrize(
    ("statement", "message", "code"),
    [
        ("INSERT INTO formation (id, parent) VALUES (1, NULL)", "Object is not unique [object=formations]", 21),
        (
            "INSERT INTO formation (id, parent) VALUES (2, 9)",
            "The operation is not allowed [object=formations; reason=The referenced entity does not exists]",
            27,
        ),
        (
            "DELETE FROM api_definition",
            (
                "The operation is not allowed [object=formations; "
                "reason=The record cannot be deleted because another record refers to it]"
            ),
            27,
        ),
        ("INSERT INTO formation (id) VALUES (NULL)", "Some required data was left out [object=formations]", 29),
        ("INSERT INTO formation (id) VALUES (-1)", "Inconsistent or out-of-range data [object=formations]", 30),
        ("INSERT INTO label_definition VALUES ('[1]'), ('[1]')", "Object is not unique [object=labelDefinition]", 21),
    ],
)
async def test_what_only_the_database_noticed_is_told_in_the_contracts_words(
    database: Database, statement: str, message: str, code: int
) -> None:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as broken:
        async with database.transaction() as tx:
            for prepared in (
                "CREATE TEMPORARY TABLE api_definition (id int PRIMARY KEY)",
                (
                    "CREATE TEMPORARY TABLE formation "
                    "(id int PRIMARY KEY CHECK (id > 0), parent int REFERENCES api_definition)"
                ),
                "CREATE TEMPORARY TABLE label_definition (key jsonb UNIQUE)",
                "INSERT INTO api_definition VALUES (1)",
                "INSERT INTO formation VALUES (1, 1)",
            ):
                await tx.run(prepared)
            await tx.run(statement)

    refusal = translated(broken.value)
    assert (refusal.wire_text(), refusal.code) == (message, code)


async def test_what_is_too_long_for_an_index_is_refused(database: Database) -> None:
    with pytest.raises(asyncpg.ProgramLimitExceededError) as broken:
        async with database.transaction() as tx:
            await tx.run("CREATE TEMPORARY TABLE t (id text PRIMARY KEY)")
            await tx.run("INSERT INTO t SELECT string_agg(md5(n::text), '') FROM generate_series(1, 10000) AS n")

    assert translated(broken.value).wire_text() == (
        "Invalid data [reason=a text is too long to be looked up by, or a value is too deep to be kept]"
    )
