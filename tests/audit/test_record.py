"""Each mutation leaves one record, in its own transaction, however it is written."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from compass.access.caller import Consumer, Flow
from compass.audit.record import MOST_BYTES, Done
from compass.connector.one_time_token import TokenMisused
from compass.postgres.pool import Database, Tx

REGISTER = 'registerApplication(in: {name: "%s"}) { id }'
RUNTIME = 'registerRuntime(in: {name: "r"}) { id }'
GROUP = 'mutation { %s createFormation(formation: {name: "g"}) { id } }' % RUNTIME


async def test_a_record_says_who_did_what_when_and_to_which_object(plane: Any) -> None:
    made = await plane.data("mutation { %s }" % (REGISTER % "shop"))
    application = made["registerApplication"]["id"]
    async with plane.database.transaction() as tx:
        now = await tx.value("SELECT clock_timestamp()")

    (record,) = await plane.records()

    assert record["body"] == {
        "key": plane.keys.current.name,
        "operation": "registerApplication",
        "who": {
            "consumer": "Static User",
            "consumerID": "admin",
            "flow": "JWT",
            "tenant": "tenant-mine",
            "systemAuth": None,
            "certificate": None,
            "mapping": None,
            "issuer": None,
        },
        "requestID": "request-1",
        "objectType": "Application",
        "objectID": application,
        "arguments": {"in": {"name": "shop"}, "mode": "SYNC"},
    }
    assert (record["tenant_id"], record["operation"], record["object_id"]) == (
        plane.caller.tenant,
        "registerApplication",
        application,
    )
    assert record["before"] is None
    assert (record["after"]["id"], record["after"]["name"]) == (application, "shop")
    assert 0 <= (now - record["happened_at"]).total_seconds() < 60


async def test_a_certificate_and_the_auth_it_belongs_to_are_named(plane: Any) -> None:
    made = await plane.data("mutation { %s }" % (REGISTER % "shop"))
    application = made["registerApplication"]["id"]
    itself = replace(
        plane.caller,
        consumer=Consumer.APPLICATION,
        consumer_id=application,
        flow=Flow.CERTIFICATE,
        system_auth="5d0c6d9e-0000-4000-8000-000000000000",
        certificate="ab" * 32,
    )

    await plane.data('mutation { updateApplication(id: "%s", in: {}) { id } }' % application, caller=itself)

    who = (await plane.records())[-1]["body"]["who"]
    assert (who["consumer"], who["consumerID"], who["flow"]) == ("Application", application, "Certificate")
    assert (who["systemAuth"], who["certificate"]) == ("5d0c6d9e-0000-4000-8000-000000000000", "ab" * 32)


async def test_what_an_object_was_before_is_what_it_was_after_the_last_record(plane: Any) -> None:
    made = await plane.data("mutation { %s }" % (REGISTER % "shop"))
    application = made["registerApplication"]["id"]
    await plane.data('mutation { updateApplication(id: "%s", in: {description: "new"}) { id } }' % application)
    await plane.data('mutation { unregisterApplication(id: "%s") { name } }' % application)

    added, changed, removed = await plane.records()

    assert (added["before"], changed["before"], removed["before"]) == (None, added["after"], changed["after"])
    assert (added["after"]["description"], changed["after"]["description"]) == (None, "new")
    assert removed["after"] is None
    assert removed["object_id"] == application


@pytest.mark.parametrize(
    ("document", "operations"),
    [
        ("# mutation\n mutation { %s }" % (REGISTER % "a"), ["registerApplication"]),
        ("# {\n\n,,mutation M { %s }" % (REGISTER % "a"), ["registerApplication"]),
        ("mutation { viewer: %s }" % (REGISTER % "a"), ["registerApplication"]),
        (
            "fragment F on Mutation { %s } mutation { ...F }" % (REGISTER % "a"),
            ["registerApplication"],
        ),
        (
            "query Q { viewer { id } } fragment F on Mutation { a: %s b: %s } mutation M { ...F }"
            % (REGISTER % "a", REGISTER % "b"),
            ["registerApplication", "registerApplication"],
        ),
        ("mutation { ... on Mutation { __typename x: %s } }" % (REGISTER % "a"), ["registerApplication"]),
        (
            'mutation { %s registerRuntime(in: {name: "r"}) { id } }' % (REGISTER % "a"),
            ["registerApplication", "registerRuntime"],
        ),
        (
            'mutation { a: registerApplication(in: {name: "a"}) @skip(if: true) { id } %s }' % RUNTIME,
            ["registerRuntime"],
        ),
    ],
)
async def test_a_mutation_is_recorded_however_it_is_written(plane: Any, document: str, operations: list[str]) -> None:
    name = "M" if " M " in document else None
    answer = await plane.endpoint.answer(plane.caller, document, {}, name)

    assert b"errors" not in answer.body, answer.body
    assert [record["operation"] for record in await plane.records()] == operations


async def test_queries_and_refused_mutations_leave_no_record(plane: Any) -> None:
    await plane.data("{ viewer { id } }")
    await plane('mutation { registerApplication(in: {name: ""}) { id } }')
    await plane("mutation { registerApplication(in: {name: 5}) { id } }")
    await plane('mutation { unregisterApplication(id: "nobody") { id } }')
    await plane("mutation { %s }" % (REGISTER % "a"), caller=replace(plane.caller, scopes=frozenset()))
    await plane("mutation { %s }" % (REGISTER % "a"), caller=plane.nobody)

    assert await plane.records() == []


async def test_of_a_document_that_is_refused_halfway_what_was_done_is_recorded(plane: Any) -> None:
    answer = await plane("mutation { a: %s b: %s c: %s }" % (REGISTER % "x", REGISTER % "x", REGISTER % "y"))

    assert "errors" in answer
    assert [record["body"]["arguments"]["in"]["name"] for record in await plane.records()] == ["x"]


async def test_a_mutation_whose_record_cannot_be_written_is_not_done(
    plane: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(tx: Tx, done: Done, *, statement: str = "") -> None:
        raise OSError("no room")

    monkeypatch.setattr(plane.log, "record", fail)

    answer = await plane("mutation { %s }" % (REGISTER % "shop"))

    assert "errors" in answer
    async with plane.database.transaction() as tx:
        assert await tx.value("SELECT count(*) FROM application") == 0
        assert await tx.value("SELECT count(*) FROM outbox_event") == 0


async def test_a_refusal_that_changes_something_is_recorded_as_one(plane: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    command = plane.endpoint._offered.commands["registerApplication"]

    async def misused(*_: Any) -> None:
        raise TokenMisused.__new__(TokenMisused)

    recorded: list[object] = []

    async def keep(self: TokenMisused, tx: Tx) -> None:
        recorded.append(tx)
        if len(recorded) == 1:
            await tx.run("UPDATE tenant SET name = 'changed'")

    monkeypatch.setattr(command, "run", misused)
    monkeypatch.setattr(TokenMisused, "record", keep)
    monkeypatch.setattr(TokenMisused, "wire_text", lambda _: "misused")

    for _ in range(2):
        assert "errors" in await plane("mutation { %s }" % (REGISTER % "shop"))

    (record,) = await plane.records()
    assert (record["body"]["refused"], record["after"], len(recorded)) == ("TokenMisused", None, 2)


async def test_a_text_that_the_database_cannot_read_stops_nothing(plane: Any) -> None:
    done = Done("op", {"consumerID": "a\0"}, None, "\0", {"error": "no \0", "k\0": [1]}, result={"a": "\0"})
    async with plane.database.transaction() as tx:
        await plane.log.record(tx, done)

    (record,) = await plane.records()
    assert record["body"]["arguments"] == {"error": "no \ufffd", "k\ufffd": [1]}


async def test_it_costs_one_statement(plane: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    for name in ("run", "row", "rows", "value"):
        kept = getattr(Tx, name)

        async def counted(self: Tx, sql: str, /, _kept: Any = kept, **parameters: Any) -> Any:
            sent.append(sql.strip().splitlines()[0])
            return await _kept(self, sql, **parameters)

        monkeypatch.setattr(Tx, name, counted)

    await plane.data("mutation { %s }" % (REGISTER % "shop"))

    assert sent.count("-- audit.record") == 1
    assert [name for name in sent if "audit" in name] == ["-- audit.record"]


async def test_what_is_large_is_recorded_by_its_size(plane: Any) -> None:
    large = "x" * 2000
    many = {f"k{number}": "v" * 1000 for number in range(40)}
    await plane.data('mutation { registerApplication(in: {name: "a", description: "%s"}) { id } }' % large)
    await plane.data(
        'mutation($labels: Labels) { registerApplication(in: {name: "b", labels: $labels}) { id } }', labels=many
    )

    one, two = await plane.records()

    digest = hashlib.sha256(large.encode()).hexdigest()
    assert one["body"]["arguments"]["in"]["description"] == {"bytes": 2000, "sha256": digest}
    assert two["body"]["arguments"].keys() == {"bytes", "sha256"}
    assert two["body"]["arguments"]["bytes"] > MOST_BYTES
    assert two["after"].keys() == {"bytes", "sha256"}
    assert two["after"]["bytes"] > MOST_BYTES


SECRETS = {name: f"planted-{name}-7f3a" for name in ("password", "client", "header", "query", "template", "context")}


async def test_no_planted_secret_is_in_any_record(plane: Any) -> None:
    auth = {
        "credential": {"basic": {"username": "u", "password": SECRETS["password"]}},
        "additionalHeaders": {"X-Key": [SECRETS["header"]]},
        "additionalQueryParams": {"k": [SECRETS["query"]]},
    }
    oauth = {"credential": {"oauth": {"clientId": "c", "clientSecret": SECRETS["client"], "url": "https://x.test/"}}}
    webhook = {"type": "CONFIGURATION_CHANGED", "url": f"https://x.test/?t={SECRETS['query']}", "auth": auth}
    made = await plane.data(
        "mutation($in: ApplicationRegisterInput!) { registerApplication(in: $in) { id webhooks { id auth { credential "
        "{ ... on BasicCredentialData { password } } } } } }",
        **{"in": {"name": "shop", "webhooks": [webhook], "bundles": [{"name": "b", "defaultInstanceAuth": oauth}]}},
    )
    application = made["registerApplication"]["id"]
    listed = await plane.data('{ application(id: "%s") { bundles { data { id } } } }' % application)
    bundle = listed["application"]["bundles"]["data"][0]["id"]
    made = await plane.data(GROUP)
    runtime = made["registerRuntime"]["id"]
    for one, kind in ((application, "APPLICATION"), (runtime, "RUNTIME")):
        await plane.data(
            'mutation { assignFormation(objectID: "%s", objectType: %s, formation: {name: "g"}) { id } }' % (one, kind)
        )
    await plane.data(
        "mutation($in: BundleInstanceAuthCreateInput!, $b: ID!) { createBundleInstanceAuth(bundleID: $b, in: $in) "
        "{ id auth { credential { ... on BasicCredentialData { password } } } } }",
        b=bundle,
        **{"in": {"auth": auth, "context": f'"{SECRETS["context"]}"', "inputParams": "{}", "runtimeID": runtime}},
    )
    token = await plane.data('mutation { requestOneTimeTokenForApplication(id: "%s") { token raw } }' % application)
    issued = await plane.data(
        'mutation { requestClientCredentialsForApplication(id: "%s") { auth { credential { ... on OAuthCredentialData '
        "{ clientSecret } } } } }" % application
    )

    secrets = [
        *SECRETS.values(),
        token["requestOneTimeTokenForApplication"]["token"],
        issued["requestClientCredentialsForApplication"]["auth"]["credential"]["clientSecret"],
    ]
    text = str(await plane.records())
    assert len(await plane.records()) == 8
    assert [secret for secret in secrets if secret in text] == []


KILLED = """
import asyncio, os, sys
from compass.postgres.pool import Tx
kept, moment = Tx.run, sys.argv[2]
async def run(self, sql, /, **parameters):
    is_record = "-- audit.record" in sql
    if is_record and moment == "before":
        os._exit(9)
    result = await kept(self, sql, **parameters)
    if is_record:
        os._exit(9)
    return result
Tx.run = run
from tests.audit.killed import register
asyncio.run(register(sys.argv[1]))
"""


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_kill_between_mutation_and_record_or_after_it_leaves_neither(
    plane: Any, database: Database, dsn: str, moment: str
) -> None:
    ended = subprocess.run(  # noqa: ASYNC221  # nothing else is to happen meanwhile
        [sys.executable, "-c", KILLED, dsn, moment],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ,
    )

    assert ended.returncode == 9, ended.stderr
    assert await plane.records() == []
    async with database.transaction() as tx:
        assert await tx.value("SELECT count(*) FROM application") == 0
        assert await tx.value("SELECT count(*) FROM audit_unsealed") == 0
