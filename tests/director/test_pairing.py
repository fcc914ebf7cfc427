"""One-time tokens in the Director's form."""

import base64
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest

TOKEN = "token connectorURL used expiresAt createdAt usedAt raw rawEncoded type"
REQUEST = {
    "application": "mutation ($id: ID!, $auth: ID) { "
    "result: requestOneTimeTokenForApplication(id: $id, systemAuthID: $auth)"
    f" {{ __typename {TOKEN} legacyConnectorURL scenarioGroups }} }}",
    "runtime": "mutation ($id: ID!, $auth: ID) { result: requestOneTimeTokenForRuntime(id: $id, systemAuthID: $auth)"
    f" {{ __typename {TOKEN} }} }}",
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
    assert abs(datetime.fromisoformat(raw["expiresAt"]) - expires) < timedelta(seconds=1)
    if kind == "application":
        assert shown["scenarioGroups"] == []
        assert shown["legacyConnectorURL"] == (
            f"https://plane.test:8443/v1/applications/signingRequests/info?token={token}"
        )


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


async def test_groups_of_the_header_are_answered_and_kept_in_the_raw_form(director: Any) -> None:
    application = await register(director, "application")

    shown = await request(director, "application", application, caller=with_headers(director, scenario_groups="a, b"))

    assert shown["scenarioGroups"] == ["a", "b"]
    assert orjson.loads(shown["raw"])["scenario_groups"] == ["a", "b"]


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
