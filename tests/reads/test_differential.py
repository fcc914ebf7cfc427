"""Random queries through the compiler and through plain graphql-core: the two answers are the same JSON.

A failure prints its seed; `COMPASS_SEED=12:34 pytest tests/reads/test_differential.py` runs that one query again.
`COMPASS_PROOF=1` runs twenty thousand queries with seeds nobody has seen.

Where the compiled reads answer differently from a resolver per field, on purpose:

* A refusal refuses the whole answer. One statement is one snapshot: there is no half of it. A resolver server would
  leave a null where the field is nullable, and the clients we know look at `errors` first.
* One refusal is reported, not all: the first that is found. It is one that the oracle reports, or a wrong argument.
* A wrong argument (page size, cursor, label filter) is refused wherever it stands, also below a list that is empty
  and therefore would never have come to it. Otherwise a client's mistake shows up with the first row of data.
* A field that the caller lacks the scope for (`Formation.tenantID`) is refused the same way, rows or not.
* The path of a refusal names response keys and no positions in lists: it is found before there are rows.
"""

import os
import random
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import orjson
import pytest

from compass.access.caller import Caller, Consumer, Flow
from compass.api.request import Endpoint
from compass.api.schema import Surface
from compass.app import DIRECTOR_NOUNS
from compass.ids import TenantId
from compass.postgres.pool import Database
from compass.reads.document import Schema
from compass.reads.limits import DocumentTooCostly
from compass.reads.plan import Field, Hole, Interface, Many, Object, One, OneOf, Page
from compass.vault import Vault
from tests.director.conftest import PARTS, SCOPES
from tests.reads.landscape import Landscape, random_landscape
from tests.reads.oracle import Oracle, World
from tests.reads.queries import Asked, Coverage, Generator, Pool

PROOF = bool(os.environ.get("COMPASS_PROOF"))
REPLAYED = os.environ.get("COMPASS_SEED")
LANDSCAPES, QUERIES = (100, 200) if PROOF else (6, 50)
FIRST = secrets.randbelow(10**6) if PROOF else 0


def read_surface(sdl: str, parts: Mapping[type, Any]) -> Surface:
    """What the Director offers, without its commands: none is called here."""
    return Surface(
        Schema(sdl),
        {read.type: read for noun in DIRECTOR_NOUNS for read in getattr(noun, "READS", ())},
        {query.name: query for noun in DIRECTOR_NOUNS for query in getattr(noun, "QUERIES", ())},
        {},
        parts,
    )


def known_fields(offered: Surface) -> frozenset[str]:
    """The fields of the schema that can be read today, `Type.field`."""
    return frozenset(_known(offered))


def _known(offered: Surface) -> Iterator[str]:
    for query in offered.queries.values():
        if query.name not in offered.schema.fields("Query"):
            continue
        if not isinstance(query.read, One | Many | Page) or query.read.type in offered.reads:
            yield f"Query.{query.name}"
            if isinstance(query.read, Page | Hole):
                yield from _whole(offered, offered.schema.type_of("Query", query.name))
    for read in offered.reads.values():
        if read.type not in offered.schema.graphql.type_map:
            continue
        if isinstance(read, Interface):
            yield from (f"{read.type}.{name}" for name in _interface_fields(offered, read.type))
        else:
            for name in read.fields.keys() & offered.schema.fields(read.type).keys():
                yield from _field(offered, read.type, name, read.fields[name])


def _interface_fields(offered: Surface, name: str) -> list[str]:
    try:
        return list(offered.schema.fields(name))
    except TypeError:  # a union has none
        return []


def _field(offered: Surface, parent: str, name: str, how: Field) -> Iterator[str]:
    below = offered.schema.type_of(parent, name)
    match how:
        case Object():
            for inner, deeper in how.fields.items():
                yield from _field(offered, below, inner, deeper)
        case One() | Many():
            if how.type not in offered.reads:
                return
        case Page():
            if how.type not in offered.reads:
                return
            yield from _whole(offered, below)
        case OneOf():
            if any(one.type not in offered.reads for one in how.cases.values()):
                return
        case Hole():
            yield from _whole(offered, below)
    yield f"{parent}.{name}"


def _whole(offered: Surface, type_name: str, seen: frozenset[str] = frozenset()) -> Iterator[str]:
    """Everything of a type that comes as one value."""
    for member in offered.schema.possible(type_name) if type_name not in seen else ():
        try:
            fields = offered.schema.fields(member)
        except TypeError:
            continue
        for name in fields:
            yield f"{member}.{name}"
            below = offered.schema.type_of(member, name)
            if below not in offered.reads:
                yield from _whole(offered, below, seen | {type_name, member})


def callers(landscape: Landscape, chance: random.Random) -> Caller:
    """Somebody who may ask, in one of many kinds."""
    tenants = [row for row in landscape.rows["tenant"] if row["status"] == "Active"]
    tenant = chance.choice(tenants)
    scopes = SCOPES | {"ory_internal"}
    if chance.random() < 0.4:
        scopes -= frozenset(chance.sample(sorted(scopes), chance.randint(1, 12)))
    kind = chance.choice((Consumer.STATIC_USER, Consumer.STATIC_USER, Consumer.RUNTIME, Consumer.APPLICATION))
    if kind is Consumer.STATIC_USER and chance.random() < 0.1:
        return Caller(kind, "admin", Flow.JWT, scopes, None)
    owner = "admin"
    if kind is not Consumer.STATIC_USER:
        table = "runtime" if kind is Consumer.RUNTIME else "application"
        owner = chance.choice([row["id"] for row in landscape.rows[table] if row["tenant_id"] == tenant["id"]])
    return Caller(kind, owner, Flow.CERTIFICATE, scopes, TenantId(tenant["id"]), tenant["external_id"])


def pool_of(landscape: Landscape) -> Pool:
    """Values of arguments that mean something in the landscape."""
    return Pool(
        ids={table: [row["id"] for row in rows] for table, rows in landscape.rows.items() if rows and "id" in rows[0]},
        tenants=[row["id"] for row in landscape.rows["tenant"]],
        formations=[row["name"] for row in landscape.rows["formation"]],
    )


def _affordable(offered: Surface, generator: Callable[[], Generator]) -> Asked:
    """The first that does not ask for more than the plane answers in one request."""
    while True:
        asked = generator().query()
        with suppress(DocumentTooCostly):
            offered.schema.document(asked.text)
            return asked


async def _compare(endpoint: Endpoint, oracle: Oracle, caller: Caller, asked: Asked) -> None:
    name = "Asked" if "query Asked" in asked.text else None
    answer = await endpoint.answer(caller, asked.text, asked.variables, name)
    told = oracle.ask(caller, asked.text, asked.variables, name)
    body = orjson.loads(answer.body)
    assert answer.status == 200, body
    if body["data"] is not None and _lacks_template(asked, caller):
        # A field that may be null is null for want of its scope, with the error beside the answer, rows or not.
        assert {error["extensions"]["error_code"] for error in body.pop("errors", ())} <= {23}
    expected = told.errors | asked.planted
    lacks = "Formation.tenantID" in asked.used and "formation:global_read" not in caller.scopes
    if expected or (lacks and "errors" in body):
        assert "errors" in body, f"should have been refused: {sorted(expected)}"
        refusal = body["errors"][0]
        found = tuple(refusal["path"]), refusal["extensions"]["error_code"]
        assert found in expected or (lacks and found[1] == 23), (refusal, sorted(expected))
        assert body["data"] is None
    else:
        assert "errors" not in body, body["errors"]
        assert not list(_differences(body["data"], told.data, "data"))


def _lacks_template(asked: Asked, caller: Caller) -> bool:
    needed = "application.application_template:read"
    return "Application.applicationTemplate" in asked.used and needed not in caller.scopes


def _differences(answered: Any, expected: Any, place: str) -> Iterator[str]:
    """Where the two differ, in words."""
    if isinstance(answered, dict) and isinstance(expected, dict) and answered.keys() == expected.keys():
        for key in answered:
            yield from _differences(answered[key], expected[key], f"{place}.{key}")
    elif isinstance(answered, list) and isinstance(expected, list) and len(answered) == len(expected):
        for number, (left, right) in enumerate(zip(answered, expected, strict=True)):
            yield from _differences(left, right, f"{place}[{number}]")
    elif answered != expected or type(answered) is not type(expected):
        yield f"{place}: compiled {answered!r}, oracle {expected!r}"


@pytest.mark.timeout(3600)
async def test_compiled_answers_are_those_of_a_resolver_per_field(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str], record_property: Any
) -> None:
    record_property("cases", LANDSCAPES * QUERIES)
    record_property("seed", f"COMPASS_SEED={FIRST}:0")
    vault = Vault.at(tmp_path / "vault.keys")
    sdl = resources.files("compass.director").joinpath("schema.graphql").read_text()
    offered = read_surface(sdl, PARTS | {Vault: vault})
    known, coverage = known_fields(offered), Coverage()
    refused = 0
    for landscape_seed in [int(REPLAYED.partition(":")[0])] if REPLAYED else range(FIRST, FIRST + LANDSCAPES):
        landscape = random_landscape(random.Random(f"landscape {landscape_seed}"), vault)  # noqa: S311  # data, not a secret
        async with database.transaction() as tx:
            for table in reversed(list(landscape.rows)):
                await tx.run(f"DELETE FROM {table}")
            await landscape.write(tx)
        oracle = Oracle(sdl, await World.read(database.dsn, vault))
        known = oracle.reaches(frozenset(name for name in known if oracle.knows(name)))
        endpoint = Endpoint(offered, database)
        for number in [int(REPLAYED.partition(":")[2])] if REPLAYED else range(QUERIES):
            chance = random.Random(f"query {landscape_seed} {number}")  # noqa: S311  # a query, not a secret
            caller = callers(landscape, chance)
            from_runtime = caller.consumer is Consumer.RUNTIME
            generator = partial(Generator, oracle.schema, pool_of(landscape), chance, known, runtime=from_runtime)
            asked = _affordable(offered, generator)
            coverage.add(asked)
            refused += bool(asked.planted)
            try:
                await _compare(endpoint, oracle, caller, asked)
            except BaseException:
                with capsys.disabled():
                    who = f"{caller.consumer} {caller.consumer_id} in {caller.external_tenant}"
                    sys.stdout.write(
                        f"\nCOMPASS_SEED={landscape_seed}:{number} {who}\n{asked.text}\n{asked.variables}\n"
                    )
                raise
    if not REPLAYED:
        assert refused > LANDSCAPES  # mistakes were among them
        missing = known - coverage.used - _COMMON
        assert len(missing) < len(known) / (50 if PROOF else 3), sorted(missing)


_COMMON = frozenset(f"SystemAuth.{name}" for name in ("id", "auth", "type", "tenantId", "referenceObjectId"))
