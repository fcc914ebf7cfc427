"""System auths through the Director's API: client credentials, and the ways in which a client is known."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from compass.access.tokens import digest
from compass.director import system_auth
from tests.director import catalogue

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


@pytest.mark.parametrize("kind", ["application", "runtime"])
async def test_a_tenant_gets_no_credentials_for_what_it_only_sees(director: Any, kind: str) -> None:
    id_ = await register(director, kind)
    access = {"tenantID": "tenant-other", "resourceType": kind.upper(), "resourceID": id_, "owner": False}
    await director.data("mutation ($in: TenantAccessInput!) { addTenantAccess(in: $in) { owner } }", **{"in": access})

    error = await director.refusal(request(kind), id=id_, caller=director.other)

    assert error["message"] == "Unauthorized [reason=Owner access is needed for resource modification]"


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


async def test_a_program_reads_what_it_signs_in_with_and_not_what_others_do(director: Any) -> None:
    own, neighbour = await register(director, "application"), await catalogue.register(director, "neighbour")
    cluster, other_cluster = await register(director, "runtime"), await catalogue.runtime(director, "other")
    await catalogue.group(director, own, cluster)
    for kind, id_ in (("application", own), ("application", neighbour), ("runtime", cluster)):
        await director.data(request(kind), id=id_)

    for kind, id_ in (("application", own), ("runtime", cluster)):
        for who in (None, getattr(director, kind)(id_)):
            [shown] = await auths(director, kind, id_, caller=who)
            assert shown["auth"]["credential"]["clientId"] == shown["id"]

    assert await auths(director, "application", neighbour, caller=director.application(own)) is None
    assert await auths(director, "runtime", cluster, caller=director.runtime(other_cluster)) is None
    # The agent of a runtime lets calls through by these ids.
    [of_application] = await auths(director, "application", own, caller=director.runtime(cluster))
    assert (of_application["auth"], of_application["referenceObjectId"]) == (None, own)


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


# For the plane's own components

BY_TOKEN = f"query ($token: String!) {{ result: systemAuthByToken(token: $token) {{ {AUTH} }} }}"
UPDATE = f"mutation ($id: ID!, $in: AuthInput!) {{ result: updateSystemAuth(authID: $id, in: $in) {{ {AUTH} }} }}"
INVALIDATE = f"mutation ($id: ID!) {{ result: invalidateSystemAuthOneTimeToken(authID: $id) {{ {AUTH} }} }}"
UNKNOWN = ("8fd7f7f4-3d6c-4a9a-8f3c-000000000000", "no-uuid", "")
WIRE_TOKEN = {
    "token": "chosen-by-the-caller",
    "used": False,
    "expiresAt": "2030-01-01T00:00:00Z",
    "createdAt": "2030-01-01T00:00:00Z",
    "usedAt": "0001-01-01T00:00:00Z",
}


def internal(director: Any) -> Any:
    scopes = frozenset({"ory_internal", "application.auths:read", "runtime.auths:read"})
    return replace(director.caller, scopes=scopes, tenant=None, external_tenant=None)


async def token_for(director: Any, kind: str, id_: str, **more: Any) -> str:
    field = f"requestOneTimeTokenFor{KINDS[kind][0]}"
    given = "id: $id, systemAuthID: $a, validForSeconds: $s"
    document = f"mutation ($id: ID!, $a: ID, $s: Int) {{ r: {field}({given}) {{ token }} }}"
    return str((await director.data(document, id=id_, **more))["r"]["token"])


@pytest.mark.parametrize("kind", ["application", "runtime"])
async def test_a_token_leads_to_its_system_auth_without_being_used(director: Any, kind: str) -> None:
    id_ = await register(director, kind)
    token = await token_for(director, kind, id_)

    found = (await director.data(BY_TOKEN, token=token, caller=internal(director)))["result"]
    assert (await director.data(BY_TOKEN, token=token, caller=internal(director)))["result"] == found
    assert (found["referenceObjectId"], found["type"]) == (id_, KINDS[kind][2])
    newer = await token_for(director, kind, id_, a=found["id"])
    assert (await director.data(BY_TOKEN, token=newer, caller=internal(director)))["result"]["id"] == found["id"]
    for nobodys in (token, "", "x" * 88, digest(newer).hex()):
        error = await director.refusal(BY_TOKEN, token=nobodys, caller=internal(director))
        assert error["message"] == "Object not found [object=systemAuth]"
        assert error["extensions"] == {"error": "NotFound", "error_code": 20}


@pytest.mark.parametrize(
    ("kind", "asked", "validity"),
    [("application", None, "5m0s"), ("runtime", None, "1h0m0s"), ("application", 45, "45s"), ("runtime", 90, "1m30s")],
)
async def test_a_used_and_an_expired_token_are_refused_by_name(
    director: Any, kind: str, asked: int | None, validity: str
) -> None:
    id_ = await register(director, kind)
    token = await token_for(director, kind, id_, s=asked)
    auth = (await director.data(BY_TOKEN, token=token, caller=internal(director)))["result"]["id"]

    async with director.database.transaction() as tx:
        await tx.run(
            "UPDATE one_time_token SET (created_at, expires_at) = (created_at - hour, expires_at - hour) "
            "FROM (SELECT interval '1 hour' AS hour) AS one"
        )
    error = await director.refusal(BY_TOKEN, token=token, caller=internal(director))
    sentence = f"One Time Token with validity {validity} for system auth with ID {auth} has expired"
    assert error["message"].endswith(f"reason: {sentence}]")
    assert error["extensions"] == {"error": "InternalError", "error_code": 10}

    async with director.database.transaction() as tx:
        await tx.run("UPDATE one_time_token SET used_at = clock_timestamp()")
    error = await director.refusal(BY_TOKEN, token=token, caller=internal(director))
    assert error["message"].endswith(f"reason: One Time Token for system auth id {auth} has been used]")


async def test_an_invalidated_token_is_a_used_one(director: Any, announced: Announced) -> None:
    id_ = await register(director, "application")
    token = await token_for(director, "application", id_)
    [before] = await auths(director, "application", id_)

    after = (await director.data(INVALIDATE, id=before["id"], caller=internal(director)))["result"]
    again = (await director.data(INVALIDATE, id=before["id"], caller=internal(director)))["result"]

    assert before["auth"]["oneTimeToken"]["used"] is False
    assert after["auth"]["oneTimeToken"]["used"] is True
    assert after["auth"]["oneTimeToken"]["usedAt"] > "2020"
    assert again == after
    assert (await announced())[-2:] == ["SystemAuthUpdated"] * 2
    error = await director.refusal(BY_TOKEN, token=token, caller=internal(director))
    assert "has been used" in error["message"]


async def test_without_a_token_there_is_nothing_to_invalidate(director: Any) -> None:
    id_ = await register(director, "application")
    made = (await director.data(request("application"), id=id_))["result"]

    error = await director.refusal(INVALIDATE, id=made["id"], caller=internal(director))
    assert error["message"].endswith(f"reason: System Auth with ID {made['id']} has no One Time Token]")
    for unknown in UNKNOWN:
        error = await director.refusal(INVALIDATE, id=unknown, caller=internal(director))
        assert error["message"] == "Object not found [object=systemAuth]"
        error = await director.refusal(UPDATE, id=unknown, caller=internal(director), **{"in": {}})
        assert error["message"] == "Object not found [object=systemAuth]"


async def test_an_update_replaces_what_is_kept_and_voids_the_token(director: Any, announced: Announced) -> None:
    id_ = await register(director, "application")
    token = await token_for(director, "application", id_)
    [before] = await auths(director, "application", id_)
    given = {
        "credential": {"oauth": {"clientId": "c", "clientSecret": "planted-secret-7", "url": "https://idp.test"}},
        "certCommonName": "somebody",
    }

    after = (await director.data(UPDATE, id=before["id"].upper(), caller=internal(director), **{"in": given}))["result"]

    assert after == before | {
        "auth": {
            "certCommonName": "somebody",
            "credential": {"__typename": "OAuthCredentialData", **given["credential"]["oauth"]},  # type: ignore[index]  # a dict
            "oneTimeToken": None,
        }
    }
    assert await auths(director, "application", id_) == [after]
    assert (await director.refusal(BY_TOKEN, token=token, caller=internal(director)))["extensions"]["error_code"] == 20
    assert (await announced())[-1] == "SystemAuthUpdated"
    async with director.database.transaction() as tx:
        assert "planted-secret-7" not in str(dict(await tx.row("SELECT * FROM system_auth")))

    emptied = (await director.data(UPDATE, id=before["id"], caller=internal(director), **{"in": {}}))["result"]
    assert emptied["auth"] == {"certCommonName": "", "credential": None, "oneTimeToken": None}


async def test_an_update_with_a_token_keeps_the_one_in_force_and_makes_none(director: Any) -> None:
    id_ = await register(director, "application")
    token = await token_for(director, "application", id_)
    [before] = await auths(director, "application", id_)

    given = {"in": {"oneTimeToken": WIRE_TOKEN}}
    after = (await director.data(UPDATE, id=before["id"], caller=internal(director), **given))["result"]

    assert after == before
    assert (await director.data(BY_TOKEN, token=token, caller=internal(director)))["result"]["id"] == before["id"]
    error = await director.refusal(BY_TOKEN, token=WIRE_TOKEN["token"], caller=internal(director))
    assert error["extensions"]["error_code"] == 20


async def test_an_update_leaves_the_planes_own_client_secret_in_force(director: Any) -> None:
    id_ = await register(director, "application")
    made = (await director.data(request("application"), id=id_))["result"]

    await director.data(UPDATE, id=made["id"], caller=internal(director), **{"in": {"accessStrategy": "open"}})

    [shown] = await auths(director, "application", id_)
    assert shown["auth"]["credential"]["clientId"] == made["id"]
    async with director.database.transaction() as tx:
        kept = await tx.value("SELECT client_secret_digest FROM system_auth")
    assert kept == digest(made["auth"]["credential"]["clientSecret"])


@pytest.mark.parametrize(
    ("document", "given"), [(BY_TOKEN, {"token": "x"}), (UPDATE, {"id": "x", "in": {}}), (INVALIDATE, {"id": "x"})]
)
async def test_nobody_from_outside_has_the_scope_of_the_planes_own_components(
    director: Any, document: str, given: dict[str, Any]
) -> None:
    error = await director.refusal(document, **given)

    assert error["extensions"]["error_code"] == 23
    assert error["message"].endswith("required=ory_internal]")
