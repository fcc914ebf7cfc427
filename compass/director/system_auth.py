"""System auths: the ways in which applications, runtimes and integration systems are known.

The id of a system auth is the common name of the client's certificate, or its OAuth client id. Tokens and secrets are
shown once, when they are made; afterwards only that they exist. Source: contract/director.md §10.
"""

import base64
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import orjson

from compass.access import itself
from compass.access.caller import Caller
from compass.access.tenancy import Reach, application_refusal, runtime_refusal
from compass.access.tokens import digest
from compass.commands import command
from compass.connector.urls import PublicUrls
from compass.director import auth
from compass.director.auth import NewAuth
from compass.errors import NotFound, Refused
from compass.ids import ApplicationId, IntegrationSystemId, RuntimeId, SystemAuthId, TenantId
from compass.outbox.append import append
from compass.outbox.events import Event
from compass.postgres.pool import Tx
from compass.reads.plan import Filling, Hole, Interface, One, Query, Read
from compass.vault import Vault

NEVER: Final = "0001-01-01T00:00:00Z"
"""How the original writes a time that has not come yet."""

# Events


@dataclass(frozen=True)
class SystemAuthDeleted(Event):
    """A way in which a client was known is void."""

    system_auth: SystemAuthId


@dataclass(frozen=True)
class SystemAuthUpdated(Event):
    """What is known of a way in which a client is known was replaced, or its token made void."""

    system_auth: SystemAuthId


# How it is read

_OWN = itself.alone("coalesce({t}.application_id, {t}.runtime_id)")
_WHOLE = """
    AND ({t}.cert_common_name <> '' OR {t}.client_secret_digest IS NOT NULL OR {t}.auth_sealed IS NOT NULL
        OR EXISTS (SELECT 1 FROM one_time_token known WHERE known.system_auth_id = {t}.id))
    THEN replace(encode(convert_to(json_build_object(
        'id', {t}.id, 'name', {t}.cert_common_name, 'secret', {t}.client_secret_digest IS NOT NULL,
        'sealed', {t}.auth_sealed, 'application', {t}.application_id IS NOT NULL, 'groups', {t}.scenario_groups,
        'token', (SELECT json_build_object(
                'createdAt', to_char(token.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                'expiresAt', to_char(token.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                'usedAt', to_char(token.used_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
            ) FROM one_time_token token WHERE token.system_auth_id = {t}.id AND token.replaced_at IS NULL)
    )::text, 'UTF8'), 'base64'), E'\\n', '') END
"""
_STATE = f"CASE WHEN {_OWN} {_WHOLE}"


def _shown(filling: Filling, payload: str) -> dict[str, Any]:
    state = orjson.loads(base64.b64decode(payload))
    urls: PublicUrls = filling.parts[PublicUrls]
    kept = auth.opened(filling.parts[Vault], _place(state["id"]), state["sealed"]) if state["sealed"] else {}
    return {
        **kept,
        # The secret itself is gone; that there is one, and where to use it, may be seen.
        "credential": kept.get("credential") or (_credential(state["id"], "", urls) if state["secret"] else None),
        "certCommonName": state["name"],
        # Only an application's token is shown, and only until it is paired. Source: contract/director.md §10.
        "oneTimeToken": _token(state, urls) if state["application"] and not state["name"] else None,
    }


def _place(system_auth: str) -> str:
    return f"system_auth/{system_auth}"


def _credential(client: str, secret: str, urls: PublicUrls) -> dict[str, Any]:
    return {
        "__typename": "OAuthCredentialData",
        "clientId": client,
        "clientSecret": secret,
        "url": urls.access_token,
    }


def _token(state: dict[str, Any], urls: PublicUrls) -> dict[str, Any] | None:
    token = state["token"]
    if token is None:
        return None
    return {
        "__typename": "OneTimeTokenForApplication",
        "token": "",
        "connectorURL": urls.connector,
        "legacyConnectorURL": "",
        "used": token["usedAt"] is not None,
        "createdAt": token["createdAt"],
        "expiresAt": token["expiresAt"],
        "usedAt": token["usedAt"] or NEVER,
        "type": "Application",
        "scenarioGroups": state["groups"],
    }


def _read(type_name: str, kind: str, owner: str, scope: str) -> Read:
    return Read(
        type_name,
        table="system_auth",
        fields={
            "id": "id",
            "auth": Hole(_STATE, _shown),
            "type": f"'{kind}'",
            "tenantId": "tenant_id",
            "referenceObjectId": owner,
        },
        sanitized={"auth": scope},
    )


READS = (
    _read("AppSystemAuth", "APPLICATION", "application_id", "application.auths:read"),
    _read("RuntimeSystemAuth", "RUNTIME", "runtime_id", "runtime.auths:read"),
    _read("IntSysSystemAuth", "INTEGRATION_SYSTEM", "integration_system_id", "integration_system.auths:read"),
    Interface(
        "SystemAuth",
        table="system_auth",
        which=(
            "CASE WHEN {t}.application_id IS NOT NULL THEN 'AppSystemAuth' "
            "WHEN {t}.runtime_id IS NOT NULL THEN 'RuntimeSystemAuth' ELSE 'IntSysSystemAuth' END"
        ),
        members=("AppSystemAuth", "RuntimeSystemAuth", "IntSysSystemAuth"),
    ),
)
QUERIES = (
    Query(
        "systemAuth",
        scope="ory_internal",
        tenant=False,
        read=One("SystemAuth", on="{c}.id = {arg:id}::uuid"),
        absent=lambda _: NotFound(object="systemAuth"),
    ),
)

# Commands

CREDENTIALS_FOR_APPLICATION = """
-- system_auth.credentials_for_application
INSERT INTO system_auth (tenant_id, application_id, client_secret_digest)
SELECT tenant_id, application_id, %(digest)s FROM application_tenant
WHERE tenant_id = %(tenant)s AND application_id = %(application)s AND owner
RETURNING id
"""
CREDENTIALS_FOR_RUNTIME = """
-- system_auth.credentials_for_runtime
INSERT INTO system_auth (tenant_id, runtime_id, client_secret_digest)
SELECT tenant_id, runtime_id, %(digest)s FROM runtime_tenant
WHERE tenant_id = %(tenant)s AND runtime_id = %(runtime)s AND owner
RETURNING id
"""
CREDENTIALS_FOR_INTEGRATION_SYSTEM = """
-- system_auth.credentials_for_integration_system
INSERT INTO system_auth (integration_system_id, client_secret_digest)
SELECT id, %(digest)s FROM integration_system WHERE id = %(integration_system)s
RETURNING id
"""
DELETE_FOR_APPLICATION = """
-- system_auth.delete_for_application
DELETE FROM system_auth USING application_tenant access
WHERE system_auth.id = %(system_auth)s AND access.application_id = system_auth.application_id
    AND access.tenant_id = %(tenant)s AND access.owner
    AND system_auth.application_id = coalesce(%(only)s::uuid, system_auth.application_id)
"""
DELETE_FOR_RUNTIME = """
-- system_auth.delete_for_runtime
DELETE FROM system_auth USING runtime_tenant access
WHERE system_auth.id = %(system_auth)s AND access.runtime_id = system_auth.runtime_id
    AND access.tenant_id = %(tenant)s AND access.owner
    AND system_auth.runtime_id = coalesce(%(only)s::uuid, system_auth.runtime_id)
"""
DELETE_FOR_INTEGRATION_SYSTEM = """
-- system_auth.delete_for_integration_system
DELETE FROM system_auth WHERE id = %(system_auth)s AND integration_system_id IS NOT NULL
"""
BY_TOKEN = """
-- system_auth.by_token
SELECT system_auth_id, used_at, expires_at - created_at AS validity, clock_timestamp() >= expires_at AS expired
FROM one_time_token WHERE digest = %(digest)s AND replaced_at IS NULL
"""
UPDATE = """
-- system_auth.update
WITH void AS (
    UPDATE one_time_token SET replaced_at = clock_timestamp()
    WHERE system_auth_id = %(system_auth)s AND replaced_at IS NULL AND NOT %(keeps_token)s
)
UPDATE system_auth SET auth_sealed = %(sealed)s, cert_common_name = %(name)s WHERE id = %(system_auth)s
"""
LOCK = """
-- system_auth.lock
SELECT id, tenant_id FROM system_auth WHERE id = %(system_auth)s FOR NO KEY UPDATE
"""
INVALIDATE = """
-- system_auth.invalidate
UPDATE one_time_token SET used_at = coalesce(used_at, clock_timestamp())
WHERE system_auth_id = %(system_auth)s AND replaced_at IS NULL
"""
PAIRED = """
-- system_auth.paired
UPDATE system_auth SET cert_common_name = id::text WHERE id = %(system_auth)s AND cert_common_name = ''
"""


async def note_paired(tx: Tx, system_auth: SystemAuthId) -> None:
    """Note that the client has called with its certificate: from now on its name is known. Safe to repeat."""
    await tx.run(PAIRED, system_auth=system_auth)


@command("requestClientCredentialsForApplication", scope="application:write")
async def credentials_for_application(
    tx: Tx, caller: Caller, application: ApplicationId, *, urls: PublicUrls
) -> dict[str, Any]:
    """An OAuth client id and secret for an application; the secret is shown in this answer only.

    Raises Refused, Unauthorized.
    """
    tenant = caller.in_tenant()
    itself.require(caller, application)
    secret = secrets.token_urlsafe(32)
    made = await tx.value(CREDENTIALS_FOR_APPLICATION, tenant=tenant, application=application, digest=digest(secret))
    if made is None:
        refusal = await application_refusal(tx, tenant, application)
        raise Refused(f"Application with ID '{application}' not found") if isinstance(refusal, NotFound) else refusal
    return _made("AppSystemAuth", "APPLICATION", made, application, tenant, _credential(made, secret, urls))


@command("requestClientCredentialsForRuntime", scope="runtime:write")
async def credentials_for_runtime(tx: Tx, caller: Caller, runtime: RuntimeId, *, urls: PublicUrls) -> dict[str, Any]:
    """An OAuth client id and secret for a runtime; the secret is shown in this answer only.

    Raises Refused, Unauthorized.
    """
    tenant = caller.in_tenant()
    itself.require(caller, runtime)
    secret = secrets.token_urlsafe(32)
    made = await tx.value(CREDENTIALS_FOR_RUNTIME, tenant=tenant, runtime=runtime, digest=digest(secret))
    if made is None:
        refusal = await runtime_refusal(tx, tenant, runtime)
        raise Refused(f"Runtime with ID '{runtime}' not found") if isinstance(refusal, NotFound) else refusal
    return _made("RuntimeSystemAuth", "RUNTIME", made, runtime, tenant, _credential(made, secret, urls))


@command("requestClientCredentialsForIntegrationSystem", scope="integration_system:write", reach=Reach.PLANE)
async def credentials_for_integration_system(
    tx: Tx, _caller: Caller, integration_system: IntegrationSystemId, *, urls: PublicUrls
) -> dict[str, Any]:
    """An OAuth client id and secret for an integration system; shown in this answer only. Raises Refused."""
    secret = secrets.token_urlsafe(32)
    made = await tx.value(
        CREDENTIALS_FOR_INTEGRATION_SYSTEM, integration_system=integration_system, digest=digest(secret)
    )
    if made is None:
        raise Refused(f"Integration System with ID '{integration_system}' not found")
    return _made(
        "IntSysSystemAuth", "INTEGRATION_SYSTEM", made, integration_system, None, _credential(made, secret, urls)
    )


def _made(
    type_name: str, kind: str, system_auth: str, owner: str, tenant: TenantId | None, credential: dict[str, Any]
) -> dict[str, Any]:
    return {
        "__typename": type_name,
        "id": system_auth,
        "auth": {"credential": credential, "certCommonName": ""},
        "type": kind,
        "tenantId": tenant,
        "referenceObjectId": owner,
    }


@command("deleteSystemAuthForApplication", scope="application:write", reply_before=True)
async def delete_for_application(tx: Tx, caller: Caller, system_auth: SystemAuthId) -> None:
    """Cut one way off in which an application is known, its certificates included.

    Raises NotFound, also for another kind's system auth, and for an application that calls about another's.
    Emits SystemAuthDeleted.
    """
    tenant = caller.in_tenant()
    count = await tx.run(DELETE_FOR_APPLICATION, tenant=tenant, system_auth=system_auth, only=itself.only(caller))
    await _deleted(tx, tenant, system_auth, count)


@command("deleteSystemAuthForRuntime", scope="runtime:write", reply_before=True)
async def delete_for_runtime(tx: Tx, caller: Caller, system_auth: SystemAuthId) -> None:
    """Cut one way off in which a runtime is known. Raises NotFound. Emits SystemAuthDeleted."""
    tenant = caller.in_tenant()
    count = await tx.run(DELETE_FOR_RUNTIME, tenant=tenant, system_auth=system_auth, only=itself.only(caller))
    await _deleted(tx, tenant, system_auth, count)


@command("deleteSystemAuthForIntegrationSystem", scope="integration_system:write", reach=Reach.PLANE, reply_before=True)
async def delete_for_integration_system(tx: Tx, _caller: Caller, system_auth: SystemAuthId) -> None:
    """Cut one way off in which an integration system is known. Raises NotFound. Emits SystemAuthDeleted."""
    await _deleted(tx, None, system_auth, await tx.run(DELETE_FOR_INTEGRATION_SYSTEM, system_auth=system_auth))


async def _deleted(tx: Tx, tenant: TenantId | None, system_auth: SystemAuthId, count: int) -> None:
    if not count:
        raise NotFound(object="systemAuth")
    await append(tx, SystemAuthDeleted(tenant, system_auth))


# For the plane's own components


@command("systemAuthByToken", scope="ory_internal", reach=Reach.PLANE)
async def by_token(tx: Tx, _caller: Caller, token: str) -> SystemAuthId:
    """The system auth that a one-time token speaks for, without using the token.

    Raises NotFound for a token that is unknown or was replaced, Refused for one that was used or has expired.
    """
    row = await tx.row(BY_TOKEN, digest=digest(token))
    if row is None:
        raise NotFound(object="systemAuth")
    if row["used_at"] is not None:
        raise Refused(f"One Time Token for system auth id {row['system_auth_id']} has been used")
    if row["expired"]:
        validity = _as_go_writes_it(row["validity"])
        raise Refused(
            f"One Time Token with validity {validity} for system auth with ID {row['system_auth_id']} has expired"
        )
    return SystemAuthId(row["system_auth_id"])


def _as_go_writes_it(span: timedelta) -> str:
    """`5m0s`, `1h0m0s`: the original writes spans of time as its language does."""
    minutes, seconds = divmod(int(span.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


@command("updateSystemAuth", scope="ory_internal", reach=Reach.PLANE)
async def update(tx: Tx, _caller: Caller, system_auth: SystemAuthId, new: NewAuth, *, vault: Vault) -> SystemAuthId:
    """Replace what is kept in a system auth. A client secret of the plane's own goes on working.

    Tokens are only ever made by asking for one: with `oneTimeToken` in the new value the token in force stays, without
    it the token is void. Raises NotFound. Emits SystemAuthUpdated.
    """
    row = await tx.row(LOCK, system_auth=system_auth)
    if row is None:
        raise NotFound(object="systemAuth")
    await tx.run(
        UPDATE,
        system_auth=row["id"],
        sealed=new.sealed(vault, _place(row["id"])),
        name=new.cert_common_name or "",
        keeps_token=new.one_time_token is not None,
    )
    await append(tx, SystemAuthUpdated(row["tenant_id"], row["id"]))
    return SystemAuthId(row["id"])


@command("invalidateSystemAuthOneTimeToken", scope="ory_internal", reach=Reach.PLANE)
async def invalidate_token(tx: Tx, _caller: Caller, system_auth: SystemAuthId) -> SystemAuthId:
    """Make the token in force of a system auth a used one; a used one stays as it is. Safe to repeat.

    Raises NotFound, Refused when there is no token. Emits SystemAuthUpdated.
    """
    row = await tx.row(LOCK, system_auth=system_auth)
    if row is None:
        raise NotFound(object="systemAuth")
    if not await tx.run(INVALIDATE, system_auth=row["id"]):
        raise Refused(f"System Auth with ID {row['id']} has no One Time Token")
    await append(tx, SystemAuthUpdated(row["tenant_id"], row["id"]))
    return SystemAuthId(row["id"])
