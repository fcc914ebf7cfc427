"""How applications and runtimes are doing, on three axes and by their heartbeat, as things stand."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import pytest

from compass.access.caller import Consumer
from compass.director.change import SHOWN
from compass.director.heartbeat import rest, rise
from compass.ids import RuntimeId
from compass.outbox.events import Event
from compass.postgres.pool import Tx
from tests.director.groups import ASSIGN, CREATE_FORMATION, REGISTER_APPLICATION, REGISTER_RUNTIME, UNASSIGN

AXIS: Final = "{ health state reason since until }"
WHOLE: Final = f"""connection {{
    health lastSeen agent {{ version revision applications trouble error }}
    paired {AXIS} certificate {AXIS} inSync {AXIS} heartbeat {AXIS} }}"""
CLIENT: Final = """
INSERT INTO system_auth (id, tenant_id, {kind}_id, cert_common_name)
VALUES (md5(%(id)s::uuid::text)::uuid, %(tenant)s, %(id)s, 'client')"""
TOKEN: Final = """
INSERT INTO one_time_token (digest, system_auth_id, purpose, created_at, expires_at, used_at)
SELECT sha256(id::text::bytea), id, '{kind}', now() - interval '30 minutes', now() + {ends}, {used} FROM system_auth
WHERE {kind}_id = %(id)s"""
AUTHORITY: Final = """
INSERT INTO authority (serial, kind, certificate, sealed_key, state, retired_at)
VALUES ('{state}', 'issuing', 'pem', 'key', '{state}', {retired}) ON CONFLICT DO NOTHING"""
CERTIFICATE: Final = """
INSERT INTO certificate (serial, kind, signed_by, system_auth_id, names, key_thumbprint, fingerprint, pem,
    intended_at, not_before, not_after, revoked_at, revocation_reason, last_used_at)
SELECT '{serial}', 'client', '{state}', id, '{{client}}', 'k', '{serial}', 'pem',
    now() - {age}, now() - {age}, now() + {left}, {revoked},
    CASE WHEN {revoked}::timestamptz IS NOT NULL THEN 'laptop lost' END, now() - interval '2 hours'
FROM system_auth WHERE %(id)s IN (application_id, runtime_id)"""
BEAT: Final = """
INSERT INTO heartbeat (runtime_id, seen_at, missed_from, version, revision, applications, synced_at, looks_every,
    trouble, error)
VALUES (%(id)s, now() - interval '{seen}', now() - interval '{seen}' + interval '{patience}', '1.2.3', 14, 2,
    now() - interval '{looked}', interval '60 seconds', {trouble}, {error})"""
BY_SECRET: Final = """
UPDATE system_auth SET cert_common_name = '', client_secret_digest = sha256('s') WHERE {kind}_id = %(id)s"""
MAPPING: Final = """
INSERT INTO certificate_subject_mapping (subject, consumer_type, internal_consumer_id, tenant_access_levels)
VALUES ('CN=x', 'Runtime', %(id)s::uuid::text, '{account}')"""
UNKNOWN_YET: Final = "UPDATE system_auth SET cert_common_name = '' WHERE {kind}_id = %(id)s"


def signed(**how: str) -> tuple[str, str]:
    """An authority and a certificate of it."""
    facts = {
        "serial": "a1",
        "state": "active",
        "retired": "NULL",
        "age": "interval '1 day'",
        "left": "interval '89 days 1 hour'",
        "revoked": "NULL",
        **how,
    }
    return AUTHORITY.format(**facts), CERTIFICATE.format(**facts)


def beat(
    seen: str = "2 seconds",
    looked: str = "3 seconds",
    trouble: str = "NULL",
    error: str = "NULL",
    patience: str = "1 hour",
) -> str:
    """A heartbeat. A slow machine must not miss it, where the test does not say so."""
    return BEAT.format(seen=seen, looked=looked, trouble=trouble, error=error, patience=patience)


async def done(director: Any, identity: str, *statements: str, kind: str = "runtime") -> None:
    """Bring the tables into a state that takes months otherwise."""
    async with director.database.transaction() as tx:
        for statement in statements:
            await tx.run(statement.replace("{kind}", kind), id=identity, tenant=director.caller.tenant)


async def registered(director: Any, kind: str = "runtime", name: str = "edge") -> str:
    text = REGISTER_RUNTIME if kind == "runtime" else REGISTER_APPLICATION
    return str((await director.data(text, **{"in": {"name": name}}))["result"]["id"])


async def connection(director: Any, identity: str, kind: str = "runtime", **more: Any) -> Any:
    text = f"query ($id: ID!) {{ one: {kind}(id: $id) {{ {WHOLE} }} }}"
    return (await director.data(text, id=identity, **more))["one"]["connection"]


def said(axis: Any) -> tuple[str, str, str | None]:
    return axis["health"], axis["state"], axis["reason"]


async def test_nothing_is_wrong_with_what_was_never_paired(director: Any) -> None:
    for kind in ("application", "runtime"):
        now = await connection(director, await registered(director, kind), kind)

        assert (now["health"], now["lastSeen"], now["agent"]) == ("WAITING", None, None)
        assert said(now["paired"]) == ("WAITING", "UNPAIRED", "no one-time token was made for it yet")
        assert said(now["certificate"]) == ("WAITING", "NONE", "none was signed for it yet")
        assert said(now["inSync"]) == ("WAITING", "UNKNOWN", "it is not paired")
        beating = None if kind == "application" else ("OK", "NONE", "no agent is paired")
        assert (now["heartbeat"] and said(now["heartbeat"])) == beating


async def test_all_is_well_with_an_agent_that_is_paired_and_beats(director: Any) -> None:
    runtime = await registered(director)
    await done(director, runtime, CLIENT, *signed(), "DELETE FROM outbox_event", beat())

    now = await connection(director, runtime)

    assert now["health"] == "OK"
    assert now["agent"] == {"version": "1.2.3", "revision": 14, "applications": 2, "trouble": None, "error": None}
    assert said(now["paired"]) == ("OK", "PAIRED", None)
    assert said(now["certificate"]) == ("OK", "VALID", "ends in 89 d")
    assert said(now["inSync"]) == ("OK", "IN_SYNC", "revision 14, 2 applications")
    assert said(now["heartbeat"])[:2] == ("OK", "ALIVE")
    assert re.fullmatch(r"\d+ s ago", now["heartbeat"]["reason"])
    assert now["heartbeat"]["since"] == now["lastSeen"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", now[axis]["since"]) for axis in ("paired", "inSync"))
    assert now["certificate"]["since"] < now["certificate"]["until"]


PAIRED: Final = {
    (CLIENT, UNKNOWN_YET, TOKEN.format(kind="{kind}", ends="interval '1 minute'", used="NULL")): (
        "WAITING", "PAIRING", "its one-time token was not used yet"),
    (CLIENT, UNKNOWN_YET, TOKEN.format(kind="{kind}", ends="interval '-1 minute'", used="NULL")): (
        "WAITING", "UNPAIRED", "its one-time token was not used in time"),
    (CLIENT, UNKNOWN_YET, TOKEN.format(kind="{kind}", ends="interval '1 minute'", used="now()")): (
        "WAITING", "PAIRING", "its one-time token was used; its first call has not come yet"),
    (CLIENT, UNKNOWN_YET, TOKEN.format(kind="{kind}", ends="interval '0'", used="now() - interval '2 hours'")): (
        "WAITING", "UNPAIRED", "its one-time token is spent, and it never called"),
    (CLIENT,): ("OK", "PAIRED", None),
    (CLIENT, BY_SECRET): ("OK", "PAIRED", None),
    (MAPPING,): ("OK", "PAIRED", "by a certificate of another authority"),
    ("UPDATE {kind} SET status_condition = 'CONNECTED' WHERE id = %(id)s",): (
        "BAD", "UNPAIRED", "it was connected, and is known by nothing any more"),
}  # fmt: skip


async def test_paired_is_what_the_plane_knows_by_something_that_works(director: Any) -> None:
    for kind in ("application", "runtime"):
        identity = await registered(director, kind)
        for steps, expected in PAIRED.items():
            await done(director, identity, *steps, kind=kind)

            assert said((await connection(director, identity, kind))["paired"]) == expected, steps

            await done(director, identity, "DELETE FROM system_auth", "DELETE FROM certificate_subject_mapping")


CERTIFICATES: Final[list[tuple[dict[str, str], tuple[str, str, str]]]] = [
    ({}, ("OK", "VALID", "ends in 89 d")),
    ({"age": "interval '61 days'", "left": "interval '29 days'"}, ("OK", "RENEWABLE", "ends in 29 d; due for renewal")),
    ({"age": "interval '81 days'", "left": "interval '9 days'"},
     ("WARNING", "EXPIRING", "it ends in 9 d and was not renewed")),
    ({"age": "interval '91 days'", "left": "interval '-3 hours'"},
     ("BAD", "EXPIRED", "it ended 3 h ago and was not renewed")),
    ({"revoked": "now()"}, ("BAD", "REVOKED", "revoked: laptop lost")),
    ({"state": "replaced"},
     ("WARNING", "RETIRING", "another authority signs now; it has to be renewed before the former is retired")),
    ({"state": "retired", "retired": "now()"}, ("BAD", "UNTRUSTED", "the authority that signed it was retired")),
]  # fmt: skip


async def test_a_certificate_is_good_for_as_long_as_it_is_believed(director: Any) -> None:
    application = await registered(director, "application")
    await done(director, application, CLIENT, kind="application")
    for how, expected in CERTIFICATES:
        await done(director, application, *signed(**how))

        now = await connection(director, application, "application")

        assert (said(now["certificate"]), now["health"]) == (expected, expected[0])
        assert now["lastSeen"] is not None
        await done(director, application, "DELETE FROM certificate", "DELETE FROM authority")


async def test_the_certificate_in_use_is_the_youngest_good_one(director: Any) -> None:
    application = await registered(director, "application")
    authority, first = signed(age="interval '80 days'", left="interval '9 days'")
    _, second = signed(serial="b2", left="interval '50 days'")
    _, ended = signed(serial="c3", age="interval '1 hour'", left="interval '50 days'", revoked="now()")
    await done(director, application, CLIENT, authority, first, second, ended, kind="application")

    assert said((await connection(director, application, "application"))["certificate"])[2] == "ends in 50 d"

    await done(director, application, "DELETE FROM system_auth")
    gone = await connection(director, application, "application")
    assert said(gone["certificate"]) == ("WAITING", "NONE", "none was signed for it yet")


SILENT: Final = ("WARNING", "UNKNOWN", "its agent is silent; it had revision 14")
AGENTS: Final = [
    (beat(seen="13 seconds", patience="12 seconds"), SILENT, ("BAD", "MISSING", r"no heartbeat for \d+ s")),
    (beat(seen="5 minutes", patience="12 seconds"), SILENT, ("BAD", "MISSING", r"no heartbeat for 5 min")),
    (beat(trouble="'local'", error="'the disk is full'"), ("BAD", "FAILED", "its agent says: the disk is full"),
     ("OK", "ALIVE", r"\d+ s ago")),
    (beat(looked="5 minutes"), ("WARNING", "BEHIND", "it has not looked for 5 min"), ("OK", "ALIVE", r"\d+ s ago")),
    (beat().replace("now() - interval '3 seconds'", "NULL"),
     ("WARNING", "BEHIND", "it has not looked for as long as it runs"), ("OK", "ALIVE", r"\d+ s ago")),
    ("SELECT", ("OK", "UNKNOWN", "its agent does not report what it has taken over"),
     ("OK", "NONE", "its agent sends none")),
]  # fmt: skip


async def test_an_agent_is_missed_and_its_trouble_is_told(director: Any) -> None:
    runtime = await registered(director)
    await done(director, runtime, CLIENT, *signed(), "DELETE FROM outbox_event")
    for beating, in_sync, heartbeat in AGENTS:
        await done(director, runtime, beating)

        now = await connection(director, runtime)

        assert said(now["inSync"]) == in_sync
        *seen, reason = said(now["heartbeat"])
        assert tuple(seen) == heartbeat[:2]
        assert re.fullmatch(heartbeat[2], reason or "")
        assert now["health"] == max(in_sync[0], heartbeat[0], key=["OK", "WAITING", "WARNING", "BAD"].index)
        await done(director, runtime, "DELETE FROM heartbeat")


async def test_an_agent_that_was_put_to_sleep_is_not_missed_until_it_is_to_be_awake(director: Any) -> None:
    runtime = await registered(director)
    await done(director, runtime, CLIENT, *signed(), "DELETE FROM outbox_event", beat(seen="2 hours", looked="2 hours"))
    assert (await connection(director, runtime))["health"] == "BAD"

    async with director.database.transaction() as tx:
        for _ in range(2):
            await rest(tx, RuntimeId(runtime))
    now = await connection(director, runtime)

    assert now["health"] == "WAITING"
    assert said(now["heartbeat"])[:2] == ("WAITING", "HIBERNATED")
    assert re.fullmatch(r"hibernated for \d+ s", now["heartbeat"]["reason"])
    assert said(now["inSync"]) == ("WAITING", "UNKNOWN", "it is hibernated; it had revision 14")
    async with director.database.transaction() as tx:
        for _ in range(2):
            await rise(tx, RuntimeId(runtime))
    assert said((await connection(director, runtime))["heartbeat"])[:2] == ("OK", "ALIVE")  # patience, for a while
    await done(director, runtime, "UPDATE heartbeat SET missed_from = now() - interval '1 second'")
    assert said((await connection(director, runtime))["heartbeat"])[:2] == ("BAD", "MISSING")


async def test_one_that_sleeps_before_it_was_first_heard_is_not_missed_when_that_heartbeat_arrives(
    director: Any,
) -> None:
    runtime = await registered(director)
    await done(director, runtime, CLIENT, *signed(), "DELETE FROM outbox_event")
    async with director.database.transaction() as tx:
        await rest(tx, RuntimeId(runtime))
    silent = await connection(director, runtime)
    assert said(silent["heartbeat"])[:2] == ("WAITING", "HIBERNATED")
    assert said(silent["inSync"]) == ("WAITING", "UNKNOWN", "it is hibernated")

    await done(director, runtime, beat(seen="2 hours", looked="2 hours"))

    assert said((await connection(director, runtime))["heartbeat"])[:2] == ("WAITING", "HIBERNATED")


@pytest.fixture
async def grouped(director: Any) -> tuple[str, str]:
    """An application and a runtime in one group, with an agent that has taken over all of it."""
    application, runtime = await registered(director, "application"), await registered(director)
    await director.data(CREATE_FORMATION, **{"in": {"name": "retail"}})
    for identity, kind in ((application, "APPLICATION"), (runtime, "RUNTIME")):
        await director.data(ASSIGN, id=identity, type=kind, group="retail")
    await done(director, runtime, CLIENT, *signed(), "DELETE FROM outbox_event", beat())
    return application, runtime


Changed = Callable[[Any, str, str], Awaitable[Any]]


async def label_of_the_application(director: Any, application: str, _: str) -> None:
    text = 'mutation ($id: ID!) { setApplicationLabel(applicationID: $id, key: "k", value: 1) { key } }'
    await director.data(text, id=application)


async def api_of_the_application(director: Any, application: str, _: str) -> None:
    text = """mutation ($id: ID!) {
        addAPIDefinitionToApplication(appID: $id, in: {name: "orders", targetURL: "https://x.test"}) { id } }"""
    await director.data(text, id=application)


async def label_of_the_runtime(director: Any, _: str, runtime: str) -> None:
    text = 'mutation ($id: ID!) { setRuntimeLabel(runtimeID: $id, key: "isNormalized", value: "false") { key } }'
    await director.data(text, id=runtime)


async def the_application_leaves(director: Any, application: str, _: str) -> None:
    await director.data(UNASSIGN, id=application, type="APPLICATION", group="retail")


async def another_one_joins(director: Any, _: str, __: str) -> None:
    other = await registered(director, "application", "another")
    await director.data(ASSIGN, id=other, type="APPLICATION", group="retail")


CHANGES: Final[Sequence[Changed]] = (
    label_of_the_application,
    api_of_the_application,
    label_of_the_runtime,
    another_one_joins,
    the_application_leaves,
)


async def test_what_a_runtime_sees_changed_and_is_not_taken_over_yet(director: Any, grouped: tuple[str, str]) -> None:
    application, runtime = grouped
    for change in CHANGES:
        assert said((await connection(director, runtime))["inSync"])[1] == "IN_SYNC", change

        await change(director, application, runtime)

        health, state, reason = said((await connection(director, runtime))["inSync"])
        assert (health, state) == ("WAITING", "BEHIND"), change
        assert re.fullmatch(r"a change of \d+ s ago is being taken over", reason or "")
        await done(director, runtime, "UPDATE outbox_event SET happened_at = now() - interval '90 seconds'")
        await done(director, runtime, "UPDATE heartbeat SET synced_at = now() - interval '100 seconds'")
        health, state, reason = said((await connection(director, runtime))["inSync"])
        assert (health, state) == ("WARNING", "BEHIND"), change
        assert re.fullmatch(r"a change of \d+ s ago is not taken over", reason or "")
        await done(director, runtime, "UPDATE heartbeat SET synced_at = clock_timestamp()")


async def test_what_a_runtime_does_not_see_leaves_it_in_sync(director: Any, grouped: tuple[str, str]) -> None:
    _, runtime = grouped
    elsewhere = await registered(director, "application", "elsewhere")
    await label_of_the_application(director, elsewhere, runtime)

    assert said((await connection(director, runtime))["inSync"])[1] == "IN_SYNC"


async def test_every_event_that_is_told_to_a_runtime_counts_and_no_other(director: Any, tx: Tx) -> None:
    """What the migration passes over by name is what `director/change.py` tells to no runtime."""
    untaken = await tx.value("SELECT pg_get_functiondef('untaken_since_v1'::regproc)")
    passed_over = set(re.findall(r"'(\w+)'", untaken.partition("NOT IN")[2]))

    about = {kind for kind in Event.known.values() if {"application", "formation", "runtime"} & fields(kind)}
    silent = {kind for kind in about if kind in SHOWN and not (SHOWN[kind].to_groups or "runtime" in fields(kind))}
    # Of its own credentials a runtime is told; they are no part of what it takes over.
    assert passed_over == {kind.__name__ for kind in silent} | {"BundleInstanceAuthChanged"}


def fields(kind: type[Event]) -> set[str]:
    return set(kind.__dataclass_fields__)


TOLD: Final = [
    ("CREATE_ERROR", '{"error": {"message": "HTTP 503", "errorCode": 2}}',
     ("BAD", "FAILED", "telling it of 1 of 1 in its groups failed: HTTP 503")),
    ("DELETE_ERROR", "no JSON at all", ("BAD", "FAILED",
     "telling it of 1 of 1 in its groups failed: no reason was given")),
    ("INITIAL", None, ("WAITING", "PENDING", "news of 1 of 1 in its groups is on its way")),
    ("CONFIG_PENDING", None, ("WAITING", "PENDING", "waits for the configuration of 1 of 1 in its groups")),
    ("READY", None, ("OK", "IN_SYNC", None)),
]  # fmt: skip


async def test_an_application_is_in_sync_when_it_was_told_of_everything(
    director: Any, grouped: tuple[str, str]
) -> None:
    application, _ = grouped
    await done(director, application, CLIENT, kind="application")
    for state, error, expected in TOLD:
        async with director.database.transaction() as tx:
            await tx.run(
                """UPDATE formation_assignment SET state = %(state)s, error = %(error)s
                WHERE target = %(target)s AND source <> target""",
                state=state,
                error=error,
                target=application,
            )

        now = await connection(director, application, "application")

        assert said(now["inSync"]) == expected
        assert now["heartbeat"] is None


async def test_what_needs_attention_is_found_without_working_out_how_everything_is(director: Any) -> None:
    """What is looked for by what is wrong is what is found when everything is looked at."""
    number = 0
    for kind in ("application", "runtime"):
        for steps in PAIRED:
            number += 1
            identity = await registered(director, kind, f"paired-{number}")
            await done(director, identity, *(step.replace("CN=x", f"CN={number}") for step in steps), kind=kind)
        for how, _ in CERTIFICATES:
            for more in ({}, {"left": "interval '50 days'"}):
                number += 1
                identity = await registered(director, kind, f"certificate-{number}")
                first, second = signed(serial=f"a{number}", **how), signed(serial=f"b{number}", **(how | more))
                await done(director, identity, CLIENT, *first, *(second if more else ()), kind=kind)
    for beating, *_ in AGENTS:
        number += 1
        await done(
            director,
            await registered(director, "runtime", f"agent-{number}"),
            CLIENT,
            *signed(serial=f"c{number}"),
            beating,
        )
    behind = await registered(director, "runtime", "behind")
    await done(director, behind, CLIENT, *signed(serial="behind"), beat(looked="100 seconds"))
    await done(director, behind, "UPDATE outbox_event SET happened_at = now() - interval '90 seconds'")
    told = await registered(director, "application", "told")
    await director.data(CREATE_FORMATION, **{"in": {"name": "retail"}})
    for identity, kind in ((told, "APPLICATION"), (behind, "RUNTIME")):
        await director.data(ASSIGN, id=identity, type=kind, group="retail")
    await done(director, told, CLIENT, *signed(serial="told"), kind="application")
    await done(director, told, "UPDATE formation_assignment SET state = 'CREATE_ERROR' WHERE target = %(id)s")
    text = f"""query ($attention: Boolean) {{
        runtimes: searchRuntimes(attention: $attention, first: 200) {{ totalCount data {{ name {WHOLE} }} }}
        applications: searchApplications(attention: $attention, first: 200) {{ totalCount data {{ name {WHOLE} }} }}
    }}"""

    wanted = await director.data(text, attention=True)
    for everything in (await director.data(text, attention=False), await director.data(text)):
        for kind in ("runtimes", "applications"):
            names = {
                one["name"] for one in everything[kind]["data"] if one["connection"]["health"] in ("WARNING", "BAD")
            }
            assert {one["name"] for one in wanted[kind]["data"]} == names
            assert wanted[kind]["totalCount"] == len(names) > 5
    assert "behind" in {one["name"] for one in wanted["runtimes"]["data"]}
    assert "told" in {one["name"] for one in wanted["applications"]["data"]}


async def test_the_answer_of_a_mutation_has_it_too(director: Any, grouped: tuple[str, str]) -> None:
    _, runtime = grouped
    text = f'mutation ($id: ID!) {{ one: updateRuntime(id: $id, in: {{name: "renamed"}}) {{ {WHOLE} }} }}'

    now = (await director.data(text, id=runtime))["one"]["connection"]

    assert [now[axis]["state"] for axis in ("paired", "certificate", "heartbeat")] == ["PAIRED", "VALID", "ALIVE"]
    assert now["inSync"]["state"] == "BEHIND"


async def test_how_others_are_doing_is_none_of_a_clients_business(director: Any, grouped: tuple[str, str]) -> None:
    application, runtime = grouped
    other = await registered(director, "application", "other")

    for caller, identity, kind in (
        (director.application(application), other, "application"),
        (director.application(application), runtime, "runtime"),
        (director.runtime(runtime), application, "application"),
    ):
        assert await connection(director, identity, kind, caller=caller) is None
    assert (await connection(director, runtime, caller=director.runtime(runtime)))["heartbeat"]["state"] == "ALIVE"
    text = "{ searchApplications(attention: true) { totalCount } }"
    assert (await director.data(text, caller=director.runtime(runtime)))["searchApplications"]["totalCount"] == 0
    elsewhere = replace(director.other, consumer=Consumer.STATIC_USER)
    text = "query ($id: ID!) { one: runtime(id: $id) { connection { health } } }"
    assert (await director.data(text, caller=elsewhere, id=runtime))["one"] is None


async def test_it_costs_no_statement_of_its_own(
    director: Any, grouped: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    read = director.database.read

    async def counting(sql: str, parameters: Any, **more: Any) -> Any:
        ran.append(sql)
        return await read(sql, parameters, **more)

    assert grouped
    monkeypatch.setattr(director.database, "read", counting)
    await director.data(f"{{ runtimes {{ data {{ {WHOLE} }} }} applications {{ data {{ {WHOLE} }} }} }}")
    await director.data("{ runtimes { data { id } } applications { data { id } } }")

    assert len(ran) == 2
    assert "heartbeat" in ran[0]
    # Who does not ask does not pay.
    assert "heartbeat" not in ran[1]
