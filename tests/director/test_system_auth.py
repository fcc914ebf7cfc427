"""System auths through the Director's API: client credentials, and the ways in which a client is known."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from compass.access.tokens import digest
from compass.director import system_auth

KINDS = {
    "application": ("Application", "AppSystemAuth", "APPLICATION"),
    "runtime": ("Runtime", "RuntimeSystemAuth", "RUNTIME"),
    "integrationSystem": ("IntegrationSystem", "IntSysSystemAuth", "INTEGRATION_SYSTEM"),
}
REGISTER = {
    "application": 'mutation { result: registerApplication(in: {name: "orders"}) { id } }',
    "runtime": 'mutation { result: registerRuntime(in: {name: "kyma"}) { id } }',
    "integrationSystem": 'mutation { result: registerIntegrationSystem(in: {name: "broker"}) { id } }',
}
AUTH = """
  __typename id type tenantId referenceObjectId
  auth { certCommonName credential { __typename ... on OAuthCredentialData { clientId clientSecret url } }
    oneTimeToken { __typename token used usedAt createdAt expiresAt connectorURL type } }
"""
NO_OBJECT = {
    "application": "Application with ID '{id}' not found",
    "runtime": "Runtime with ID '{id}' not found",
    "integrationSystem": "Integration System with ID '{id}' not found",
}
ALL = pytest.mark.parametrize("kind", list(KINDS))

Announced = Callable[[], Awaitable[Sequence[str]]]


def request(kind: str) -> str:
    return f"mutation ($id: ID!) {{ result: requestClientCredentialsFor{KINDS[kind][0]}(id: $id) {{ {AUTH} }} }}"


def deletion(kind: str) -> str:
    return f"mutation ($id: ID!) {{ result: deleteSystemAuthFor{KINDS[kind][0]}(authID: $id) {{ {AUTH} }} }}"


async def register(director: Any, kind: str, **more: Any) -> str:
    return str((await director.data(REGISTER[kind], **more))["result"]["id"])


async def auths(director: Any, kind: str, id_: str, **more: Any) -> Any:
    document = f"query ($id: ID!) {{ result: {kind}(id: $id) {{ auths {{ {AUTH} }} }} }}"
    return (await director.data(document, id=id_, **more))["result"]["auths"]


@ALL
async def test_client_credentials_are_shown_once_and_only_their_digest_is_kept(director: Any, kind: str) -> None:
    _, type_name, reference = KINDS[kind]
    id_ = await register(director, kind)

    made = (await director.data(request(kind), id=id_))["result"]

    secret = made["auth"]["credential"]["clientSecret"]
    assert len(secret) == 43
    assert made == {
        "__typename": type_name,
        "id": made["auth"]["credential"]["clientId"],
        "type": reference,
        "tenantId": None if kind == "integrationSystem" else director.caller.tenant,
        "referenceObjectId": id_,
        "auth": {
            "certCommonName": "",
            "credential": {
                "__typename": "OAuthCredentialData",
                "clientId": made["id"],
                "clientSecret": secret,
                "url": "https://plane.test:8443/oauth2/token",
            },
            "oneTimeToken": None,
        },
    }
    made["auth"]["credential"]["clientSecret"] = ""
    assert await auths(director, kind, id_) == [made]
    async with director.database.transaction() as tx:
        kept = await tx.row("SELECT * FROM system_auth WHERE id = %(id)s", id=made["id"])
    assert kept["client_secret_digest"] == digest(secret)
    assert secret not in str(dict(kept))


@ALL
async def test_an_unknown_or_foreign_object_gets_no_credentials(director: Any, kind: str) -> None:
    ids = ["8fd7f7f4-3d6c-4a9a-8f3c-000000000000", "no-uuid"]
    if kind != "integrationSystem":  # those belong to no tenant
        ids.append(await register(director, kind, caller=director.other))

    for id_ in ids:
        error = await director.refusal(request(kind), id=id_)
        assert error["message"].endswith(f"reason: {NO_OBJECT[kind].format(id=id_)}]")
        assert error["extensions"] == {"error": "InternalError", "error_code": 10}


@ALL
async def test_a_system_auth_is_deleted_by_the_mutation_of_its_kind_alone(
    director: Any, announced: Announced, kind: str
) -> None:
    id_ = await register(director, kind)
    made = (await director.data(request(kind), id=id_))["result"]
    for other in KINDS.keys() - {kind}:
        error = await director.refusal(deletion(other), id=made["id"])
        assert error["message"] == "Object not found [object=systemAuth]"

    deleted = (await director.data(deletion(kind), id=made["id"]))["result"]

    assert deleted["id"] == made["id"]
    assert deleted["auth"]["credential"]["clientSecret"] == ""
    assert await auths(director, kind, id_) == []
    assert (await announced())[-1] == "SystemAuthDeleted"
    again = await director.refusal(deletion(kind), id=made["id"])
    assert again["message"] == "Object not found [object=systemAuth]"


@pytest.mark.parametrize("kind", ["application", "runtime"])
async def test_a_foreign_tenants_system_auth_is_not_found(director: Any, kind: str) -> None:
    id_ = await register(director, kind, caller=director.other)
    made = (await director.data(request(kind), id=id_, caller=director.other))["result"]

    errors = [await director.refusal(deletion(kind), id=auth) for auth in (made["id"], "no-uuid", "")]

    assert {error["message"] for error in errors} == {"Object not found [object=systemAuth]"}


@pytest.mark.parametrize("kind", ["application", "runtime"])
async def test_a_program_gets_and_deletes_its_own_credentials_and_no_others(director: Any, kind: str) -> None:
    victim = await register(director, kind)
    attacker = getattr(director, kind)("8fd7f7f4-3d6c-4a9a-8f3c-000000000000")
    made = (await director.data(request(kind), id=victim))["result"]

    asked = await director.refusal(request(kind), id=victim, caller=attacker)
    deleted = await director.refusal(deletion(kind), id=made["id"], caller=attacker)

    assert asked["message"] == "Unauthorized [reason=Owner access is needed for resource modification]"
    assert deleted["message"] == "Object not found [object=systemAuth]"
    itself = getattr(director, kind)(victim)
    own = (await director.data(request(kind), id=victim, caller=itself))["result"]
    assert (await director.data(deletion(kind), id=own["id"], caller=itself))["result"]["id"] == own["id"]
    assert [auth["id"] for auth in await auths(director, kind, victim)] == [made["id"]]


async def test_deleting_a_system_auth_ends_its_certificates_and_tokens(director: Any) -> None:
    application = await register(director, "application")
    await director.data("mutation ($id: ID!) { requestOneTimeTokenForApplication(id: $id) { token } }", id=application)
    [auth] = await auths(director, "application", application)
    async with director.database.transaction() as tx:
        await tx.run(
            """
            WITH issuing AS (
                INSERT INTO authority (serial, kind, certificate, sealed_key)
                VALUES ('1', 'root', '', '') RETURNING serial
            )
            INSERT INTO certificate (
                serial, kind, signed_by, system_auth_id, names, key_thumbprint, fingerprint, pem, not_before, not_after
            ) SELECT '2', 'client', serial, %(auth)s, '{x}', 'k', 'f', 'p', now(), now() FROM issuing
            """,
            auth=auth["id"],
        )

    await director.data(deletion("application"), id=auth["id"])

    async with director.database.transaction() as tx:
        assert await tx.value("SELECT revocation_reason FROM certificate") == "system auth deleted"
        assert await tx.value("SELECT count(*) FROM one_time_token") == 0


async def test_only_an_applications_token_is_shown_and_never_its_text(director: Any) -> None:
    application, runtime = await register(director, "application"), await register(director, "runtime")
    await director.data("mutation ($id: ID!) { requestOneTimeTokenForApplication(id: $id) { token } }", id=application)
    await director.data("mutation ($id: ID!) { requestOneTimeTokenForRuntime(id: $id) { token } }", id=runtime)

    [of_application] = await auths(director, "application", application)
    [of_runtime] = await auths(director, "runtime", runtime)

    token = of_application["auth"]["oneTimeToken"]
    assert token.pop("createdAt") < token.pop("expiresAt")
    assert token == {
        "__typename": "OneTimeTokenForApplication",
        "token": "",
        "used": False,
        "usedAt": "0001-01-01T00:00:00Z",
        "connectorURL": "https://plane.test:8443/connector/graphql",
        "type": "Application",
    }
    assert of_application["auth"]["credential"] is None
    assert of_runtime["auth"] == {"certCommonName": "", "credential": None, "oneTimeToken": None}


async def test_a_paired_client_is_shown_by_its_name_and_no_longer_by_its_token(director: Any) -> None:
    application = await register(director, "application")
    await director.data("mutation ($id: ID!) { requestOneTimeTokenForApplication(id: $id) { token } }", id=application)
    [before] = await auths(director, "application", application)

    for _ in range(2):
        async with director.database.transaction() as tx:
            await system_auth.note_paired(tx, before["id"])

    [after] = await auths(director, "application", application)
    assert after["auth"] == {"certCommonName": before["id"], "credential": None, "oneTimeToken": None}


@ALL
async def test_without_the_scope_auths_are_listed_and_their_content_is_null(director: Any, kind: str) -> None:
    id_ = await register(director, kind)
    await director.data(request(kind), id=id_)
    hidden = {"application.auths:read", "runtime.auths:read", "integration_system.auths:read"}
    caller = replace(director.caller, scopes=director.caller.scopes - hidden)

    [shown] = await auths(director, kind, id_, caller=caller)

    assert shown["auth"] is None
    assert shown["referenceObjectId"] == id_


async def test_a_single_system_auth_is_for_the_planes_own_components(director: Any) -> None:
    application = await register(director, "application")
    made = (await director.data(request("application"), id=application))["result"]
    query = "query ($id: ID!) { systemAuth(id: $id) { __typename id referenceObjectId } }"
    internal = replace(director.caller, scopes=frozenset({"ory_internal"}), tenant=None)

    shown = (await director.data(query, id=made["id"], caller=internal))["systemAuth"]
    refused = await director.refusal(query, id=made["id"])
    absent = await director.refusal(query, id="no-uuid", caller=internal)

    assert shown == {"__typename": "AppSystemAuth", "id": made["id"], "referenceObjectId": application}
    assert refused["extensions"] == {"error": "InsufficientScopes", "error_code": 23}
    assert absent["message"] == "Object not found [object=systemAuth]"


@ALL
async def test_credentials_need_the_scope_of_their_kind(director: Any, kind: str) -> None:
    id_ = await register(director, kind)
    scope = {"application": "application:write", "runtime": "runtime:write"}.get(kind, "integration_system:write")

    for document in (request(kind), deletion(kind)):
        error = await director.refusal(document, id=id_, caller=replace(director.caller, scopes=frozenset()))
        assert error["message"] == f"insufficient scopes provided [actual=; required={scope}]"
