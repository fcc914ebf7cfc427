"""One-time tokens in the Director's form."""

import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from importlib import resources
from typing import Any

import orjson
import pytest

from compass.api.request import Endpoint
from compass.api.schema import surface
from compass.app import DIRECTOR_NOUNS
from compass.connector import one_time_token
from compass.connector.one_time_token import Purpose
from compass.connector.urls import PublicUrls
from compass.director import tenant
from compass.ids import SystemAuthId
from compass.outbound.door import Door
from compass.postgres.pool import Database
from compass.settings import TokenSettings
from compass.vault import Vault
from tests.delivery.receiver import Behaviour, Call, Receiver, answer, receiving
from tests.director.catalogue import counted
from tests.director.conftest import PARTS

TOKEN = "token connectorURL used expiresAt createdAt usedAt raw rawEncoded type"
REQUEST = {
    "application": "mutation ($id: ID!, $auth: ID) { "
    "result: requestOneTimeTokenForApplication(id: $id, systemAuthID: $auth)"
    f" {{ __typename {TOKEN} legacyConnectorURL scenarioGroups }} }}",
    "runtime": "mutation ($id: ID!, $auth: ID) { result: requestOneTimeTokenForRuntime(id: $id, systemAuthID: $auth)"
    f" {{ __typename {TOKEN} }} }}",
}
ASK = {
    kind: f"mutation ($id: ID!, $auth: ID, $seconds: Int) {{ result: requestOneTimeTokenFor{kind.capitalize()}"
    "(id: $id, systemAuthID: $auth, validForSeconds: $seconds) { token expiresAt createdAt raw } }"
    for kind in ("application", "runtime")
}
REGISTER = {
    "application": 'mutation ($labels: Labels, $name: String = "orders") { '
    "result: registerApplication(in: {name: $name, labels: $labels}) { id } }",
    "runtime": 'mutation ($labels: Labels, $name: String = "kyma") { '
    "result: registerRuntime(in: {name: $name, labels: $labels}) { id } }",
}
AUTHS = {
    "application": "query ($id: ID!) { result: application(id: $id) { auths { id } } }",
    "runtime": "query ($id: ID!) { result: runtime(id: $id) { auths { id } } }",
}
BOTH = pytest.mark.parametrize("kind", ["application", "runtime"])


async def register(director: Any, kind: str, labels: Any = None, **more: Any) -> str:
    return str((await director.data(REGISTER[kind], labels=labels, **more))["result"]["id"])


async def request(director: Any, kind: str, id_: str, auth: str | None = None, **more: Any) -> Any:
    return (await director.data(REQUEST[kind], id=id_, auth=auth, **more))["result"]


async def asked(director: Any, kind: str, id_: str, seconds: int | None, auth: str | None = None) -> Any:
    return (await director.data(ASK[kind], id=id_, auth=auth, seconds=seconds))["result"]


async def auths(director: Any, kind: str, id_: str) -> list[str]:
    return [auth["id"] for auth in (await director.data(AUTHS[kind], id=id_))["result"]["auths"]]


def with_headers(director: Any, **headers: str) -> Any:
    return replace(director.caller, headers=tuple(headers.items()))


@pytest.mark.parametrize(
    ("kind", "minutes", "wire_type"), [("application", 5, "Application"), ("runtime", 60, "Runtime")]
)
async def test_a_token_is_answered_in_every_shape_of_the_contract(
    director: Any, kind: str, minutes: int, wire_type: str
) -> None:
    id_ = await register(director, kind)

    shown = await request(director, kind, id_)

    token = shown["token"]
    assert len(token) == 88
    assert len(base64.urlsafe_b64decode(token)) == 64
    created, expires = datetime.fromisoformat(shown["createdAt"]), datetime.fromisoformat(shown["expiresAt"])
    assert expires - created == timedelta(minutes=minutes)
    assert len(shown["expiresAt"]) == len("2026-11-23T08:04:54Z")
    assert shown["__typename"] == f"OneTimeTokenFor{wire_type}"
    assert shown["connectorURL"] == "https://plane.test:8443/connector/graphql"
    assert (shown["used"], shown["usedAt"], shown["type"]) == (False, "0001-01-01T00:00:00Z", wire_type)
    assert base64.b64decode(shown["rawEncoded"]).decode() == shown["raw"]
    raw = orjson.loads(shown["raw"])
    assert list(raw) == ["token", "connectorURL", "used", "expiresAt", "createdAt", "usedAt", "type", "scenario_groups"]
    assert raw["token"] == token
    assert raw["scenario_groups"] is None
    assert raw["expiresAt"].endswith("Z")
    assert raw["usedAt"] == "0001-01-01T00:00:00Z"
    assert abs(datetime.fromisoformat(raw["expiresAt"]) - expires) < timedelta(seconds=1)
    if kind == "application":
        assert shown["scenarioGroups"] == []
        assert shown["legacyConnectorURL"] == (
            f"https://plane.test:8443/v1/applications/signingRequests/info?token={token}"
        )


@BOTH
async def test_a_token_lives_as_long_as_was_asked_for(director: Any, kind: str) -> None:
    id_ = await register(director, kind)
    longest = {"application": 300, "runtime": 3600}[kind]

    made = [await asked(director, kind, id_, seconds) for seconds in (30, 90, longest, None)]
    [_, _, _, auth] = await auths(director, kind, id_)
    again = await asked(director, kind, id_, 45, auth)

    lives = [datetime.fromisoformat(one["expiresAt"]) - datetime.fromisoformat(one["createdAt"]) for one in made]
    assert lives == [timedelta(seconds=seconds) for seconds in (30, 90, longest, longest)]
    raw = orjson.loads(again["raw"])
    assert datetime.fromisoformat(raw["expiresAt"]) - datetime.fromisoformat(raw["createdAt"]) == timedelta(seconds=45)
    async with director.database.transaction() as tx:
        state = await one_time_token.latest(tx, SystemAuthId(auth))
    assert state is not None
    assert state.expires_at - state.created_at == timedelta(seconds=45)


@BOTH
async def test_a_longer_or_shorter_life_than_is_allowed_is_refused_before_anything_is_written(
    director: Any, kind: str
) -> None:
    id_ = await register(director, kind)
    await request(director, kind, id_)
    [auth] = await auths(director, kind, id_)
    longest = {"application": 300, "runtime": 3600}[kind]

    # `refusal` fails the test when anything was changed or announced.
    errors = [
        await director.refusal(ASK[kind], id=id_, auth=known, seconds=seconds)
        for known in (None, auth)
        for seconds in (longest + 1, 29, 0, -1)
    ]

    sentence = (
        f"Invalid data [reason=validForSeconds must be between 30 and {longest}: the plane's setting "
        f"tokens.{kind}_validity lets no one-time token live longer]"
    )
    assert {error["message"] for error in errors} == {sentence}
    assert {error["extensions"]["error_code"] for error in errors} == {22}


@BOTH
async def test_how_long_a_token_may_live_is_what_the_plane_is_set_to(director: Any, kind: str) -> None:
    id_ = await register(director, kind)
    two_hours = timedelta(hours=2)
    chosen = {
        "application": TokenSettings(application_validity=two_hours),
        "runtime": TokenSettings(runtime_validity=two_hours),
    }
    other = director.lent({TokenSettings: chosen[kind]})

    shown = await asked(other, kind, id_, 7200)
    error = await other.refusal(ASK[kind], id=id_, seconds=7201)

    assert datetime.fromisoformat(shown["expiresAt"]) - datetime.fromisoformat(shown["createdAt"]) == timedelta(hours=2)
    assert "between 30 and 7200" in error["message"]


@BOTH
async def test_a_life_of_its_own_costs_no_statement(director: Any, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    id_ = await register(director, kind)

    with counted(monkeypatch) as usual:
        await request(director, kind, id_)
    with counted(monkeypatch) as short:
        await asked(director, kind, id_, 60)

    assert len(short) == len(usual)


@BOTH
async def test_each_request_makes_a_new_way_to_be_known_unless_one_is_named(director: Any, kind: str) -> None:
    id_ = await register(director, kind)
    first = await request(director, kind, id_)
    [auth] = await auths(director, kind, id_)

    second = await request(director, kind, id_, auth)
    assert await auths(director, kind, id_) == [auth]
    third = await request(director, kind, id_)

    assert len({first["token"], second["token"], third["token"]}) == 3
    assert len(await auths(director, kind, id_)) == 2
    async with director.database.transaction() as tx:
        states = await tx.rows(
            "SELECT replaced_at IS NULL AS in_force FROM one_time_token WHERE system_auth_id = %(auth)s "
            "ORDER BY created_at",
            auth=auth,
        )
    assert [state["in_force"] for state in states] == [False, True]


@BOTH
async def test_the_text_of_a_token_is_kept_nowhere(director: Any, kind: str) -> None:
    id_ = await register(director, kind)

    token = (await request(director, kind, id_))["token"]

    async with director.database.transaction() as tx:
        for name in await director.state():
            whole = await tx.value(f"SELECT coalesce(string_agg(t::text, ''), '') FROM {name} t")
            assert token not in whole


@BOTH
async def test_a_system_auth_of_another_object_is_not_found(director: Any, kind: str) -> None:
    id_ = await register(director, kind)
    other_kind = "runtime" if kind == "application" else "application"
    other = await register(director, other_kind)
    await request(director, other_kind, other)
    sibling = await register(director, kind, name="sibling")
    await request(director, kind, sibling)
    foreign = await register(director, kind, caller=director.other)
    await request(director, kind, foreign, caller=director.other)
    async with director.database.transaction() as tx:
        others = [row["id"] for row in await tx.rows("SELECT id FROM system_auth")]

    errors = [
        await director.refusal(REQUEST[kind], id=id_, auth=auth)
        for auth in (*others, "8fd7f7f4-3d6c-4a9a-8f3c-000000000000", "no-uuid", "")
    ]

    assert {error["message"] for error in errors} == {"Object not found [object=systemAuth]"}


@BOTH
async def test_an_unknown_or_foreign_object_gets_no_token(director: Any, kind: str) -> None:
    foreign = await register(director, kind, caller=director.other)
    await request(director, kind, foreign, caller=director.other)
    async with director.database.transaction() as tx:
        auth = await tx.value("SELECT id FROM system_auth")

    errors = [
        await director.refusal(REQUEST[kind], id=id_, auth=with_auth)
        for id_ in (foreign, "8fd7f7f4-3d6c-4a9a-8f3c-000000000000", "no-uuid")
        for with_auth in (None, auth)
    ]

    assert {error["message"] for error in errors} == {f"Object not found [object={kind}]"}


@BOTH
async def test_a_program_cannot_ask_for_a_token_of_another_and_so_become_it(director: Any, kind: str) -> None:
    victim = await register(director, kind)
    await request(director, kind, victim)
    [auth] = await auths(director, kind, victim)
    attacker = getattr(director, kind)("8fd7f7f4-3d6c-4a9a-8f3c-000000000000")

    errors = [await director.refusal(REQUEST[kind], id=victim, auth=given, caller=attacker) for given in (None, auth)]

    assert {error["message"] for error in errors} == {
        "Unauthorized [reason=Owner access is needed for resource modification]"
    }
    assert (await request(director, kind, victim, caller=getattr(director, kind)(victim)))["token"]


@BOTH
async def test_a_token_ends_with_the_certificate_that_asked_for_it(director: Any, kind: str) -> None:
    """A thief of a certificate has nothing of the tokens it asked for once that is revoked, see connector/."""
    id_ = await register(director, kind)
    holder = replace(director.caller, certificate="f" * 64)
    for caller, with_certificate in ((director.caller, None), (holder, "f" * 64)):
        made = await request(director, kind, id_, caller=caller)
        again = await request(director, kind, id_, auth=(await auths(director, kind, id_))[0], caller=caller)
        async with director.database.transaction() as tx:
            for shown in (made, again):
                token = one_time_token.digest(shown["token"])
                asked = await tx.value("SELECT asked_with FROM one_time_token WHERE digest = %(token)s", token=token)
                assert asked == with_certificate


async def test_groups_of_the_header_are_answered_and_kept_in_the_raw_form(director: Any) -> None:
    application = await register(director, "application")

    shown = await request(director, "application", application, caller=with_headers(director, scenario_groups="a, b"))

    assert shown["scenarioGroups"] == ["a", "b"]
    assert orjson.loads(shown["raw"])["scenario_groups"] == ["a", "b"]
    text = """query ($id: ID!) { application(id: $id) {
      auths { auth { oneTimeToken { ... on OneTimeTokenForApplication { scenarioGroups } } } } } }"""
    [kept] = (await director.data(text, id=application))["application"]["auths"]
    assert kept["auth"]["oneTimeToken"] == {"scenarioGroups": ["a", "b"]}


async def test_a_suggested_token_is_the_encoded_form_or_the_legacy_address(director: Any) -> None:
    suggest = with_headers(director, suggest_token="true")
    plain = await register(director, "application")
    legacy = await register(director, "application", {"legacy": True}, caller=director.other)

    of_plain = await request(director, "application", plain, caller=suggest)
    of_legacy = await request(
        director, "application", legacy, caller=replace(director.other, headers=(("suggest_token", "true"),))
    )

    assert of_plain["token"] == of_plain["rawEncoded"]
    assert of_legacy["token"] == of_legacy["legacyConnectorURL"]
    bare = orjson.loads(of_legacy["raw"])["token"]
    assert of_legacy["legacyConnectorURL"].endswith(f"?token={bare}")
    no_boolean = await register(director, "application", {"legacy": "true"}, name="no-boolean")
    of_other = await request(director, "application", no_boolean, caller=suggest)
    assert of_other["token"] == of_other["rawEncoded"]


async def test_the_legacy_address_may_be_that_of_a_connector_beside_the_plane(director: Any, door: Door) -> None:
    urls = PublicUrls("https://plane.test:8443", "https://plane.test:8444", legacy="https://legacy.test/info")
    sdl = resources.files("compass.director").joinpath("schema.graphql").read_text()
    parts = PARTS | {PublicUrls: urls, Vault: director.vault, Door: door, Database: director.database}
    director.endpoint = Endpoint(surface(sdl, DIRECTOR_NOUNS, parts), director.database)

    shown = await request(director, "application", await register(director, "application"))

    assert shown["legacyConnectorURL"] == f"https://legacy.test/info?token={shown['token']}"


async def test_a_managed_application_and_a_runtime_get_the_plain_token_whatever_is_suggested(director: Any) -> None:
    suggest = with_headers(director, suggest_token="true")
    system = (await director.data('mutation { r: registerIntegrationSystem(in: {name: "broker"}) { id } }'))["r"]["id"]
    managed = (
        await director.data(
            'mutation ($is: ID) { r: registerApplication(in: {name: "m", integrationSystemID: $is}) { id } }',
            **{"is": system},
        )
    )["r"]["id"]
    runtime = await register(director, "runtime")

    shown = await request(director, "application", managed, caller=suggest)
    of_runtime = await request(director, "runtime", runtime, caller=suggest)
    unsuggested = await request(
        director,
        "application",
        await register(director, "application"),
        caller=with_headers(director, suggest_token="no"),
    )

    for one in (shown, of_runtime, unsuggested):
        assert len(one["token"]) == 88
        assert orjson.loads(one["raw"])["token"] == one["token"]


@BOTH
async def test_a_token_needs_the_scope_of_its_kind(director: Any, kind: str) -> None:
    id_ = await register(director, kind)

    error = await director.refusal(REQUEST[kind], id=id_, caller=replace(director.caller, scopes=frozenset()))

    assert error["message"] == f"insufficient scopes provided [actual=; required={kind}:write]"


# Pairing adapters


@pytest.fixture
async def adapted(director: Any, door: Door) -> AsyncIterator[tuple[Any, str, Receiver]]:
    """The Director with an integration system that has a pairing adapter: its id, and the adapter."""
    text = 'mutation { r: registerIntegrationSystem(in: {name: "broker"}) { id } }'
    system = (await director.data(text))["r"]["id"]
    async with receiving() as adapter:
        chosen = TokenSettings(pairing_adapters=(f"{system.upper()}={adapter.url('/adapter?v=1')}",))
        sdl = resources.files("compass.director").joinpath("schema.graphql").read_text()
        parts = PARTS | {TokenSettings: chosen, Vault: director.vault, Door: door, Database: director.database}
        director.endpoint = Endpoint(surface(sdl, DIRECTOR_NOUNS, parts), director.database)
        yield director, system, adapter


def answering(*raws: bytes) -> Behaviour:
    left = list(raws)

    async def behave(_: Call) -> bytes:
        return left.pop(0) if len(left) > 1 else left[0]

    return behave


async def managed(director: Any, system: str, name: str = "orders", **more: Any) -> str:
    text = "mutation ($in: ApplicationRegisterInput!) { result: registerApplication(in: $in) { id } }"
    given = {"name": name, "integrationSystemID": system, "providerName": "ACME"}
    return str((await director.data(text, **{"in": given}, **more))["result"]["id"])


@pytest.mark.parametrize("member", ["token", "Token"])
async def test_the_adapter_of_an_integration_system_makes_the_token(
    adapted: tuple[Any, str, Receiver], member: str
) -> None:
    director, system, adapter = adapted
    adapter.behaviour = answering(answer(200, orjson.dumps({member: "from-the-adapter"})))
    id_ = await managed(director, system)
    caller = replace(
        with_headers(director, client_user="ann", scenario_groups="a, b", suggest_token="true"),
        request_id="r-4711",
    )

    shown = await request(director, "application", id_, caller=caller)

    [call] = adapter.calls
    sent = orjson.loads(call.body)
    assert (call.path, call.headers["content-type"], call.headers["x-request-id"]) == (
        "/adapter?v=1",
        "application/json",
        "r-4711",
    )
    assert sent["Application"].pop("status").keys() == {"condition", "timestamp"}
    assert sent == {
        "Application": {
            "id": id_,
            "name": "orders",
            "providerName": "ACME",
            "description": None,
            "integrationSystemID": system,
            "applicationTemplateID": None,
            "systemNumber": None,
            "localTenantID": None,
            "baseUrl": None,
            "healthCheckURL": None,
            "applicationNamespace": None,
        },
        "Tenant": "tenant-mine",
        "TenantType": "account",
        "ClientUser": "ann",
        "ScenarioGroups": ["a", "b"],
    }
    assert (shown["token"], shown["connectorURL"], shown["legacyConnectorURL"]) == ("from-the-adapter", "", "")
    assert shown["scenarioGroups"] == ["a", "b"]
    raw = orjson.loads(base64.b64decode(shown["rawEncoded"]))
    assert list(raw) == ["token", "connectorURL", "used", "expiresAt", "createdAt", "usedAt", "type", "scenario_groups"]
    assert (raw["token"], raw["connectorURL"]) == ("from-the-adapter", "")


async def test_an_adapters_token_is_no_token_of_the_plane(adapted: tuple[Any, str, Receiver]) -> None:
    director, system, adapter = adapted
    adapter.behaviour = answering(answer(200, b'{"token": "from-the-adapter"}'))
    id_ = await managed(director, system)

    await request(director, "application", id_)
    [auth] = await auths(director, "application", id_)
    async with director.database.transaction() as tx:
        await one_time_token.issue(tx, SystemAuthId(auth), purpose=Purpose.APPLICATION, life=timedelta(minutes=5))
    await request(director, "application", id_, auth)

    assert await auths(director, "application", id_) == [auth]
    assert orjson.loads(adapter.calls[-1].body)["ScenarioGroups"] == []
    async with director.database.transaction() as tx:
        assert await tx.value("SELECT count(*) FROM one_time_token WHERE replaced_at IS NULL") == 0


async def test_how_long_an_adapters_token_lives_is_not_for_the_caller_to_say(
    adapted: tuple[Any, str, Receiver],
) -> None:
    director, system, adapter = adapted
    adapter.behaviour = answering(answer(200, b'{"token": "from-the-adapter"}'))
    id_ = await managed(director, system)

    error = await director.refusal(ASK["application"], id=id_, seconds=60)

    assert error["message"] == (
        "Invalid data [reason=validForSeconds must not be given: the pairing adapter of the application's integration "
        "system decides how long its tokens live]"
    )
    assert adapter.calls == []
    foreign = await director.refusal(ASK["application"], id=id_, seconds=60, caller=director.other)
    assert foreign["message"] == "Object not found [object=application]"
    assert (await asked(director, "application", id_, None))["token"] == "from-the-adapter"


@pytest.mark.parametrize("by_adapter", [True, False])
async def test_the_scenario_groups_are_kept_for_the_constraints_that_ask_for_them(
    adapted: tuple[Any, str, Receiver], *, by_adapter: bool
) -> None:
    director, system, adapter = adapted
    adapter.behaviour = answering(answer(200, b'{"token": "t"}'))
    text = "mutation ($id: ID!) { requestOneTimeTokenForApplication(id: $id) { scenarioGroups } }"
    id_ = await managed(director, system) if by_adapter else await register(director, "application")

    await director.data(text, caller=with_headers(director, scenario_groups="retail, billing"), id=id_)

    async with director.database.transaction() as tx:
        kept = await tx.value(
            "-- test.kept\nSELECT scenario_groups FROM system_auth WHERE application_id = %(id)s", id=id_
        )
    assert kept == ["retail", "billing"]


async def test_the_adapter_hears_of_the_account_of_a_subaccount_and_of_the_request_when_nobody_is_named(
    adapted: tuple[Any, str, Receiver],
) -> None:
    director, system, adapter = adapted
    adapter.behaviour = answering(answer(200, b'{"token": "t"}'))
    async with director.database.transaction() as tx:
        below = await tenant.write(
            tx, tenant.NewTenant("below", "tenant-below", "subaccount", "test", parents=["tenant-mine"])
        )
    caller = replace(director.caller, tenant=below, external_tenant="tenant-below", request_id="r-1")

    await request(director, "application", await managed(director, system, caller=caller), caller=caller)

    sent = orjson.loads(adapter.calls[0].body)
    assert (sent["Tenant"], sent["TenantType"], sent["ClientUser"]) == ("tenant-mine", "account", "r-1")


async def test_an_adapter_is_asked_three_times_and_the_third_may_succeed(adapted: tuple[Any, str, Receiver]) -> None:
    director, system, adapter = adapted
    adapter.behaviour = answering(answer(500), answer(201, b'{"token": "made"}'), answer(200, b'{"token": "third"}'))
    id_ = await managed(director, system)

    assert (await request(director, "application", id_))["token"] == "third"
    assert len(adapter.calls) == 3


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (answer(403, b"secret page"), "it answered with status code 403"),
        (answer(200, b"no json"), "it answered without a token"),
        (answer(200, b'["token"]'), "it answered without a token"),
        (answer(200, b'{"token": ""}'), "it answered without a token"),
        (answer(200, b'{"token": 7}'), "it answered without a token"),
        (answer(200, b'{"token": "%s"}' % (b"x" * 70_000)), "The receiver's answer is too large"),
    ],
)
async def test_an_adapter_that_gives_no_token_is_named_and_nothing_is_changed(
    adapted: tuple[Any, str, Receiver], raw: bytes, why: str
) -> None:
    director, system, adapter = adapted
    adapter.behaviour = answering(raw)
    id_ = await managed(director, system)

    error = await director.refusal(REQUEST["application"], id=id_)

    assert error["message"].endswith(f"reason: the pairing adapter of integration system {system} failed: {why}]")
    assert error["extensions"] == {"error": "InternalError", "error_code": 10}
    assert len(adapter.calls) == 3
    assert await auths(director, "application", id_) == []


async def test_an_adapter_hears_nothing_of_who_may_not_ask_and_of_others_applications(
    adapted: tuple[Any, str, Receiver],
) -> None:
    director, system, adapter = adapted
    id_, plain = await managed(director, system), await register(director, "application", name="plain")
    foreign = await managed(director, system, caller=director.other)
    text = 'mutation { r: registerIntegrationSystem(in: {name: "without"}) { id } }'
    elsewhere = await managed(director, (await director.data(text))["r"]["id"], "elsewhere")

    refused = [
        await director.refusal(REQUEST["application"], **given)
        for given in (
            {"id": foreign},
            {"id": "no-uuid"},
            {"id": id_, "auth": "8fd7f7f4-3d6c-4a9a-8f3c-000000000000"},
            {"id": id_, "auth": "no-uuid"},
            {"id": id_, "auth": ""},
            {"id": id_, "caller": director.application(plain)},
            {"id": id_, "caller": replace(director.caller, scopes=frozenset())},
        )
    ]
    for own in (plain, elsewhere):
        assert len((await request(director, "application", own))["token"]) == 88

    assert [error["extensions"]["error_code"] for error in refused] == [20, 20, 20, 20, 20, 26, 23]
    assert adapter.calls == []
