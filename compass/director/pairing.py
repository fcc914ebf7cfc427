"""Pairing as the Director offers it: a one-time token of the Connector in the Director's own form.

Each request without a system auth makes a new one; with it, the token inside that one is replaced.
Source: contract/director.md §10.
"""

import base64
from datetime import datetime
from typing import Any, Final

import orjson

from compass.access import itself
from compass.access.caller import Caller
from compass.access.tenancy import application_refusal, runtime_refusal
from compass.commands import command
from compass.connector import one_time_token, pairing
from compass.connector.one_time_token import Purpose
from compass.connector.urls import PublicUrls
from compass.director.system_auth import NEVER
from compass.errors import NotFound
from compass.ids import ApplicationId, RuntimeId, SystemAuthId, TenantId
from compass.postgres.pool import Tx
from compass.settings import TokenSettings

_TRUE: Final = "true"

OWNS_APPLICATION_AUTH = """
-- pairing.owns_application_auth
SELECT EXISTS (
    SELECT 1 FROM system_auth JOIN application_tenant access ON access.application_id = system_auth.application_id
    WHERE system_auth.id = %(system_auth)s AND access.tenant_id = %(tenant)s AND access.owner
        AND system_auth.application_id = %(application)s
)
"""
OWNS_RUNTIME_AUTH = """
-- pairing.owns_runtime_auth
SELECT EXISTS (
    SELECT 1 FROM system_auth JOIN runtime_tenant access ON access.runtime_id = system_auth.runtime_id
    WHERE system_auth.id = %(system_auth)s AND access.tenant_id = %(tenant)s AND access.owner
        AND system_auth.runtime_id = %(runtime)s
)
"""
SUGGESTION = """
-- pairing.suggestion
SELECT application.integration_system_id IS NOT NULL AS managed,
    EXISTS (
        SELECT 1 FROM application_label legacy
        WHERE legacy.application_id = application.id AND legacy.key = 'legacy' AND legacy.value = 'true'
    ) AS legacy
FROM application WHERE application.id = %(application)s
"""


@command("requestOneTimeTokenForApplication", scope="application:write")
async def request_for_application(
    tx: Tx,
    caller: Caller,
    application: ApplicationId,
    system_auth: SystemAuthId | None,
    *,
    urls: PublicUrls,
    settings: TokenSettings,
) -> dict[str, Any]:
    """A one-time token with which the application pairs, in every shape the contract knows.

    Raises NotFound (the application, or a system auth that is not its own), Unauthorized.
    """
    tenant = caller.in_tenant()
    itself.require(caller, application)
    if system_auth is None:
        system_auth, token = await pairing.begin_for_application(tx, tenant, application, settings)
    else:
        if not await tx.value(OWNS_APPLICATION_AUTH, tenant=tenant, system_auth=system_auth, application=application):
            await _require_application(tx, tenant, application)
            raise NotFound(object="systemAuth")
        token = await one_time_token.issue(
            tx, system_auth, purpose=Purpose.APPLICATION, life=settings.application_validity
        )
    groups = [group for group in caller.header("scenario_groups").split(", ") if group]
    legacy_url = f"{urls.token_port}/v1/applications/signingRequests/info?token={token}"
    shown = await _shown(tx, system_auth, token, "Application", urls, groups)
    shown |= {"legacyConnectorURL": legacy_url, "scenarioGroups": groups}
    suggestion = await tx.row(SUGGESTION, application=application)
    if caller.header("suggest_token") == _TRUE and suggestion is not None and not suggestion["managed"]:
        shown["token"] = legacy_url if suggestion["legacy"] else shown["rawEncoded"]
    return shown


@command("requestOneTimeTokenForRuntime", scope="runtime:write")
async def request_for_runtime(
    tx: Tx,
    caller: Caller,
    runtime: RuntimeId,
    system_auth: SystemAuthId | None,
    *,
    urls: PublicUrls,
    settings: TokenSettings,
) -> dict[str, Any]:
    """A one-time token with which the runtime's agent pairs. Raises NotFound, Unauthorized."""
    tenant = caller.in_tenant()
    itself.require(caller, runtime)
    if system_auth is None:
        system_auth, token = await pairing.begin_for_runtime(tx, tenant, runtime, settings)
    else:
        if not await tx.value(OWNS_RUNTIME_AUTH, tenant=tenant, system_auth=system_auth, runtime=runtime):
            await _require_runtime(tx, tenant, runtime)
            raise NotFound(object="systemAuth")
        token = await one_time_token.issue(tx, system_auth, purpose=Purpose.RUNTIME, life=settings.runtime_validity)
    return await _shown(tx, system_auth, token, "Runtime", urls, [])


async def _require_application(tx: Tx, tenant: TenantId, application: ApplicationId) -> None:
    refusal = await application_refusal(tx, tenant, application)
    if isinstance(refusal, NotFound):
        raise refusal


async def _require_runtime(tx: Tx, tenant: TenantId, runtime: RuntimeId) -> None:
    refusal = await runtime_refusal(tx, tenant, runtime)
    if isinstance(refusal, NotFound):
        raise refusal


async def _shown(
    tx: Tx, system_auth: SystemAuthId, token: str, kind: str, urls: PublicUrls, groups: list[str]
) -> dict[str, Any]:
    state = await one_time_token.latest(tx, system_auth)
    if state is None:
        raise AssertionError("the token was issued a moment ago, in this transaction")
    raw = orjson.dumps(
        {
            "token": token,
            "connectorURL": urls.connector,
            "used": False,
            "expiresAt": state.expires_at.isoformat(),
            "createdAt": state.created_at.isoformat(),
            "usedAt": NEVER,
            "type": kind,
            "scenario_groups": groups or None,
        }
    )
    return {
        "__typename": f"OneTimeTokenFor{kind}",
        "token": token,
        "connectorURL": urls.connector,
        "used": False,
        "expiresAt": _second(state.expires_at),
        "createdAt": _second(state.created_at),
        "usedAt": NEVER,
        "raw": raw.decode(),
        "rawEncoded": base64.b64encode(raw).decode(),
        "type": kind,
    }


def _second(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
