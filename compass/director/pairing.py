"""Pairing as the Director offers it: a one-time token of the Connector in the Director's own form.

Each request without a system auth makes a new one; with it, the token inside that one is replaced. An application of
an integration system that pairs by itself gets the token of that system's pairing adapter, which is good there only.
Source: contract/director.md §10; contract/connector-agent-provisioner.md §A.1.
"""

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
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
from compass.errors import InvalidData, NotFound, Refused
from compass.ids import ApplicationId, RuntimeId, SystemAuthId, TenantId
from compass.outbound.door import Door, Request
from compass.outbound.errors import OutboundError
from compass.postgres.pool import Database, Tx
from compass.settings import TokenSettings

_TRUE: Final = "true"
_ATTEMPTS: Final = 3
"""Calls of a pairing adapter until one succeeds. Source: contract/director.md §10."""
_ATTEMPT: Final = timedelta(seconds=10)
"""For one of them; somebody waits for the answer."""
_PAUSE: Final = timedelta(milliseconds=200)
"""Before the second attempt, and twice as long before the third."""
_LARGEST_ANSWER_BYTES: Final = 64 * 1024

# Errors


class AdapterDecidesLife(InvalidData):
    """The pairing adapter of the application's integration system makes the token, and no call of it says how long one
    is to live. Ask without `validForSeconds`.
    """

    def __init__(self) -> None:
        super().__init__(
            reason="validForSeconds must not be given: the pairing adapter of the application's integration system "
            "decides how long its tokens live"
        )


class PairingAdapterFailed(Refused):
    """The adapter of the application's integration system gave no token; nothing was changed. Asking again may help."""

    retryable = True


# Commands

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
# The adapter knows accounts; a subaccount is named by its account.
TO_ADAPT = """
-- pairing.to_adapt
SELECT application.integration_system_id AS system, tenant.external_id AS tenant, tenant.type AS tenant_type,
    json_build_object(
        'id', application.id, 'name', application.name, 'providerName', application.provider_name,
        'description', application.description, 'integrationSystemID', application.integration_system_id,
        'applicationTemplateID', application.application_template_id, 'systemNumber', application.system_number,
        'localTenantID', application.local_tenant_id, 'baseUrl', application.base_url,
        'healthCheckURL', application.health_check_url, 'applicationNamespace', application.application_namespace,
        'status', json_build_object(
            'condition', application.status_condition,
            'timestamp', to_char(application.status_timestamp AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
        )
    )::text AS application
FROM application_tenant access
JOIN application ON application.id = access.application_id
JOIN tenant own ON own.id = access.tenant_id
LEFT JOIN LATERAL (
    SELECT parent.id FROM tenant_parent JOIN tenant parent ON parent.id = tenant_parent.parent_id
    WHERE tenant_parent.tenant_id = own.id AND own.type = 'subaccount' AND parent.type = 'account'
    ORDER BY parent.external_id LIMIT 1
) account ON true
JOIN tenant ON tenant.id = coalesce(account.id, own.id)
WHERE access.tenant_id = %(tenant)s AND access.owner AND application.id = %(application)s
    AND (%(system_auth)s::uuid IS NULL OR EXISTS (
        SELECT FROM system_auth
        WHERE system_auth.id = %(system_auth)s::uuid AND system_auth.application_id = application.id
    ))
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
# Constraints of formations ask for them, see director/constraint_operators.py.
NOTE_SCENARIO_GROUPS = """
-- pairing.note_scenario_groups
UPDATE system_auth SET scenario_groups = %(groups)s WHERE id = %(system_auth)s AND scenario_groups <> %(groups)s
"""


@dataclass(frozen=True)
class _Adapted:
    """What a pairing adapter answered."""

    token: str = field(repr=False)


async def _adapted(
    caller: Caller,
    application: ApplicationId,
    system_auth: SystemAuthId | None,
    valid_for_seconds: int | None,
    *,
    door: Door,
    database: Database,
    settings: TokenSettings,
) -> _Adapted | None:
    """The token of the application's integration system, when that has a pairing adapter.

    Whoever may not ask gets None, and is refused by the command itself.
    Raises AdapterDecidesLife, PairingAdapterFailed.
    """
    tenant = caller.in_tenant()
    itself.require(caller, application)
    adapters = settings.adapter_urls()
    if not adapters:
        return None
    async with database.transaction() as tx:
        row = await tx.row(TO_ADAPT, tenant=tenant, application=application, system_auth=system_auth)
    url = adapters.get(row["system"]) if row is not None else None
    if row is None or url is None:
        return None
    if valid_for_seconds is not None:
        raise AdapterDecidesLife
    about = {
        "Application": orjson.Fragment(row["application"]),
        "Tenant": row["tenant"],
        "TenantType": row["tenant_type"],
        "ClientUser": caller.header("client_user") or caller.request_id,
        "ScenarioGroups": _groups(caller),
    }
    headers = {"Content-Type": "application/json", "Accept": "application/json", "X-Request-Id": caller.request_id}
    request = Request("POST", url, headers, orjson.dumps(about))
    why = ""
    for attempt in range(_ATTEMPTS):
        await asyncio.sleep(attempt * _PAUSE.total_seconds())
        try:
            response = await door.send(request, total_timeout=_ATTEMPT, max_body_bytes=_LARGEST_ANSWER_BYTES)
        except OutboundError as error:
            why = error.reason
            continue
        if response.status != HTTPStatus.OK:
            why = f"it answered with status code {response.status}"
        elif (token := _answered_token(response.body)) is not None:
            return _Adapted(token)
        else:
            why = "it answered without a token"
    raise PairingAdapterFailed(f"the pairing adapter of integration system {row['system']} failed: {why}")


def _answered_token(body: bytes) -> str | None:
    """The member `token` of a JSON object; adapters in the field write it `Token`."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(answer, Mapping):
        return None
    token = next((value for name, value in answer.items() if name.lower() == "token"), None)
    return token if isinstance(token, str) and token else None


@command("requestOneTimeTokenForApplication", scope="application:write", prepare=_adapted)
async def request_for_application(
    tx: Tx,
    caller: Caller,
    application: ApplicationId,
    system_auth: SystemAuthId | None,
    valid_for_seconds: int | None,
    *,
    prepared: _Adapted | None,
    urls: PublicUrls,
    settings: TokenSettings,
) -> dict[str, Any]:
    """A one-time token with which the application pairs, in every shape the contract knows.

    Raises NotFound (the application, or a system auth that is not its own), Unauthorized, LifeNotAllowed,
    AdapterDecidesLife, PairingAdapterFailed.
    """
    tenant = caller.in_tenant()
    itself.require(caller, application)
    life = Purpose.APPLICATION.life_of(valid_for_seconds, settings)
    if system_auth is not None and not await tx.value(
        OWNS_APPLICATION_AUTH, tenant=tenant, system_auth=system_auth, application=application
    ):
        await _require_application(tx, tenant, application)
        raise NotFound(object="systemAuth")
    groups = _groups(caller)
    if prepared is not None:
        system_auth = await _keep_none(tx, tenant, application, system_auth)
        await tx.run(NOTE_SCENARIO_GROUPS, system_auth=system_auth, groups=groups)
        return _shown_adapted(prepared.token, groups, life)
    if system_auth is None:
        system_auth, token = await pairing.begin_for_application(
            tx, tenant, application, life=life, asked_with=caller.certificate or None
        )
    else:
        token = await one_time_token.issue(
            tx,
            system_auth,
            purpose=Purpose.APPLICATION,
            life=life,
            asked_with=caller.certificate or None,
        )
    await tx.run(NOTE_SCENARIO_GROUPS, system_auth=system_auth, groups=groups)
    legacy_url = f"{urls.legacy_connector}?token={token}"
    shown = await _shown(tx, system_auth, token, "Application", urls, groups)
    shown |= {"legacyConnectorURL": legacy_url, "scenarioGroups": groups}
    suggestion = await tx.row(SUGGESTION, application=application)
    if caller.header("suggest_token") == _TRUE and suggestion is not None and not suggestion["managed"]:
        shown["token"] = legacy_url if suggestion["legacy"] else shown["rawEncoded"]
    return shown


async def _keep_none(
    tx: Tx, tenant: TenantId, application: ApplicationId, system_auth: SystemAuthId | None
) -> SystemAuthId:
    """A way for the application to be known whose token is the adapter's: ours are void, and nothing else is kept."""
    if system_auth is not None:
        await tx.run(one_time_token.REPLACE, system_auth=system_auth)
        return system_auth
    made = await tx.value(pairing.PAIR_APPLICATION, tenant=tenant, application=application)
    if made is None:
        raise await application_refusal(tx, tenant, application)
    return SystemAuthId(made)


def _groups(caller: Caller) -> list[str]:
    return [group for group in caller.header("scenario_groups").split(", ") if group]


@command("requestOneTimeTokenForRuntime", scope="runtime:write")
async def request_for_runtime(
    tx: Tx,
    caller: Caller,
    runtime: RuntimeId,
    system_auth: SystemAuthId | None,
    valid_for_seconds: int | None,
    *,
    urls: PublicUrls,
    settings: TokenSettings,
) -> dict[str, Any]:
    """A one-time token with which the runtime's agent pairs. Raises NotFound, Unauthorized, LifeNotAllowed."""
    tenant = caller.in_tenant()
    itself.require(caller, runtime)
    life = Purpose.RUNTIME.life_of(valid_for_seconds, settings)
    if system_auth is None:
        system_auth, token = await pairing.begin_for_runtime(
            tx, tenant, runtime, life=life, asked_with=caller.certificate or None
        )
    else:
        if not await tx.value(OWNS_RUNTIME_AUTH, tenant=tenant, system_auth=system_auth, runtime=runtime):
            await _require_runtime(tx, tenant, runtime)
            raise NotFound(object="systemAuth")
        token = await one_time_token.issue(
            tx,
            system_auth,
            purpose=Purpose.RUNTIME,
            life=life,
            asked_with=caller.certificate or None,
        )
    return await _shown(tx, system_auth, token, "Runtime", urls, _groups(caller))


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
    return _in_every_shape(token, kind, urls.connector, groups, state.created_at, state.expires_at)


def _shown_adapted(token: str, groups: list[str], life: timedelta) -> dict[str, Any]:
    """The adapter does not say when its token ends; the plane's own rule is what clients expect."""
    now = datetime.now(UTC)
    shown = _in_every_shape(token, "Application", "", groups, now, now + life)
    return {**shown, "legacyConnectorURL": "", "scenarioGroups": groups}


def _in_every_shape(
    token: str, kind: str, connector_url: str, groups: list[str], created_at: datetime, expires_at: datetime
) -> dict[str, Any]:
    raw = orjson.dumps(
        {
            "token": token,
            "connectorURL": connector_url,
            "used": False,
            "expiresAt": _exactly(expires_at),
            "createdAt": _exactly(created_at),
            "usedAt": NEVER,
            "type": kind,
            "scenario_groups": groups or None,
        }
    )
    return {
        "__typename": f"OneTimeTokenFor{kind}",
        "token": token,
        "connectorURL": connector_url,
        "used": False,
        "expiresAt": _second(expires_at),
        "createdAt": _second(created_at),
        "usedAt": NEVER,
        "raw": raw.decode(),
        "rawEncoded": base64.b64encode(raw).decode(),
        "type": kind,
    }


def _second(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _exactly(moment: datetime) -> str:
    """With fractions of a second, as `raw` has its times."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
