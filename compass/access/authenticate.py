"""Who is asking, from a client certificate or an access token, and in which tenant.

A paired client is looked up on every request, so deleting its system auth ends it at once; a certificate must also
not be revoked. Nothing in the request's headers is believed but the `Tenant` a caller wants to work in.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from compass.access.caller import Caller, Consumer, Flow
from compass.access.scopes import BY_CONSUMER
from compass.access.tokens import AccessTokens, Bearer, digest, same
from compass.errors import TenantNotFound, Unauthorized
from compass.ids import SystemAuthId, TenantId
from compass.postgres.pool import Database

_SHOWN_HEADERS: Final = ("suggest_token", "scenario_groups", "client_user")

SYSTEM_AUTH = """
-- authenticate.system_auth
SELECT known.*, tenant.external_id, wanted.id AS wanted_id
FROM (SELECT 1) AS always
LEFT JOIN (
    SELECT system_auth.id, system_auth.tenant_id, system_auth.application_id, system_auth.runtime_id,
        system_auth.integration_system_id, system_auth.cert_common_name, system_auth.client_secret_digest,
        coalesce(application.status_condition, runtime.status_condition) AS status
    FROM system_auth
    LEFT JOIN application ON application.id = system_auth.application_id
    LEFT JOIN runtime ON runtime.id = system_auth.runtime_id
    WHERE system_auth.id = $1
) AS known ON true
LEFT JOIN tenant ON tenant.id = known.tenant_id AND tenant.status = 'Active'
LEFT JOIN tenant wanted ON wanted.external_id = $2 AND wanted.status = 'Active'
"""
ACCOUNT = """
-- authenticate.account
SELECT account.name, account.secret_digest, wanted.id AS wanted_id
FROM (SELECT 1) AS always
LEFT JOIN account ON account.name = $1
LEFT JOIN tenant wanted ON wanted.external_id = $2 AND wanted.status = 'Active'
"""
ENDED = """
-- authenticate.ended
SELECT coalesce(array_agg(asked.number), '{}') AS ended
FROM unnest($1::uuid[], $2::bool[], $3::text[], $4::uuid[]) WITH ORDINALITY
    AS asked (system_auth, by_secret, account, tenant, number)
WHERE NOT CASE
        WHEN asked.system_auth IS NULL THEN EXISTS (SELECT FROM account WHERE account.name = asked.account)
        ELSE EXISTS (
            SELECT FROM system_auth known
            WHERE known.id = asked.system_auth AND (NOT asked.by_secret OR known.client_secret_digest IS NOT NULL)
        )
    END
    OR asked.tenant IS NOT NULL
        AND NOT EXISTS (SELECT FROM tenant WHERE tenant.id = asked.tenant AND tenant.status = 'Active')
"""


class Revoked(Protocol):
    """Knows which certificates were revoked."""

    async def is_revoked(self, fingerprint: str) -> bool:
        """Raises Unavailable when that cannot be known."""


@dataclass(frozen=True)
class Identified:
    """A caller, and whether the plane has noted already that it is connected."""

    caller: Caller
    noted: bool


class Authenticator:
    """Identifies callers against one database."""

    def __init__(self, database: Database, tokens: AccessTokens, revoked: Revoked) -> None:
        self._database = database
        self._tokens = tokens
        self._revoked = revoked

    async def by_certificate(
        self, common_name: str, fingerprint: str, headers: Mapping[str, str], request_id: str
    ) -> Identified:
        """The paired client that holds this certificate. Raises Unauthorized, TenantNotFound, Unavailable."""
        if await self._revoked.is_revoked(fingerprint):
            raise Unauthorized(reason="the certificate was revoked")
        row = await self._database.read(SYSTEM_AUTH, [common_name, (headers.get("tenant") or None)])
        if row["id"] is None:
            raise Unauthorized(reason="the certificate belongs to nobody")
        identified = _client(row, Flow.CERTIFICATE, None, headers, request_id)
        caller = replace(identified.caller, certificate=fingerprint)
        return Identified(caller, identified.noted and row["cert_common_name"] == row["id"])

    async def by_token(self, headers: Mapping[str, str], request_id: str) -> Identified:
        """The person or program whose access token stands in `Authorization`. Raises Unauthorized, TenantNotFound."""
        scheme, _, text = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not text:
            raise NoBearer()
        bearer = self._tokens.verify(text.strip())
        wanted = headers.get("tenant") or None
        if not bearer.is_account:
            row = await self._database.read(SYSTEM_AUTH, [bearer.client, wanted])
            if row["id"] is None or row["client_secret_digest"] is None:
                raise Unauthorized(reason="invalid bearer token")
            return _client(row, Flow.OAUTH2, bearer.scopes, headers, request_id)
        row = await self._database.read(ACCOUNT, [bearer.client, wanted])
        if row["name"] is None:
            raise Unauthorized(reason="invalid bearer token")
        return Identified(
            Caller(
                Consumer.STATIC_USER,
                row["name"],
                Flow.JWT,
                bearer.scopes,
                _wanted_tenant(row, wanted),
                wanted,
                headers=_shown(headers),
                request_id=request_id,
            ),
            noted=True,
        )

    async def ended(self, callers: Collection[Caller]) -> list[Caller]:
        """Those who would not be let in any more with what they came with. One statement. Raises Unavailable.

        Not for the end of an access token: whoever holds on to a caller does so for less than a token lives.
        """
        asked: list[Caller] = []
        ended: list[Caller] = []
        for caller in callers:
            revoked = caller.certificate and await self._revoked.is_revoked(caller.certificate)
            (ended if revoked else asked).append(caller)
        row = await self._database.read(
            ENDED,
            [
                [caller.system_auth for caller in asked],
                [caller.flow is Flow.OAUTH2 for caller in asked],
                [caller.consumer_id for caller in asked],
                [caller.tenant for caller in asked],
            ],
        )
        return ended + [asked[number - 1] for number in row["ended"]]

    async def exchange(self, client: str, secret: str, scope: str) -> tuple[str, frozenset[str]]:
        """An access token for a client's secret, and the scopes it has. Source: RFC 6749 §4.4.

        An empty `scope` asks for everything the client may do. Raises Unauthorized, the same for an unknown client and
        for a wrong secret.
        """
        row = await self._database.read(SYSTEM_AUTH, [client, None])
        is_account = row["id"] is None
        if is_account:
            row = await self._database.read(ACCOUNT, [client, None])
            allowed = BY_CONSUMER[Consumer.STATIC_USER]
            known = row["secret_digest"]
        else:
            allowed = BY_CONSUMER[_consumer(row)[0]]
            known = row["client_secret_digest"]
        if not same(digest(secret), known or bytes(32)):
            raise Unauthorized(reason="unknown client or wrong secret")
        scopes = allowed & frozenset(scope.split()) if scope else allowed
        return self._tokens.issue(Bearer(client, is_account, scopes)), scopes


class NoBearer(Unauthorized):
    """There is no access token in the request."""

    def __init__(self) -> None:
        super().__init__(reason="invalid bearer token")


def _client(
    row: Any, flow: Flow, scopes: frozenset[str] | None, headers: Mapping[str, str], request_id: str
) -> Identified:
    consumer, object_id = _consumer(row)
    wanted = headers.get("tenant") or None
    if consumer is Consumer.INTEGRATION_SYSTEM:
        tenant, external = _wanted_tenant(row, wanted), wanted
    elif wanted is not None and wanted != row["external_id"]:
        raise TenantNotFound(externalTenant=wanted)
    elif row["external_id"] is None:
        raise TenantNotFound(externalTenant="")
    else:
        tenant, external = TenantId(row["tenant_id"]), row["external_id"]
    allowed = BY_CONSUMER[consumer]
    caller = Caller(
        consumer,
        object_id,
        flow,
        allowed if scopes is None else allowed & scopes,
        tenant,
        external,
        SystemAuthId(row["id"]),
        headers=_shown(headers),
        request_id=request_id,
    )
    return Identified(caller, noted=consumer is Consumer.INTEGRATION_SYSTEM or row["status"] == "CONNECTED")


def _consumer(row: Any) -> tuple[Consumer, str]:
    if row["application_id"] is not None:
        return Consumer.APPLICATION, row["application_id"]
    if row["runtime_id"] is not None:
        return Consumer.RUNTIME, row["runtime_id"]
    return Consumer.INTEGRATION_SYSTEM, row["integration_system_id"]


def _wanted_tenant(row: Any, wanted: str | None) -> TenantId | None:
    if wanted is None:
        return None
    if row["wanted_id"] is None:
        raise TenantNotFound(externalTenant=wanted)
    return TenantId(row["wanted_id"])


def _shown(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, headers[name]) for name in _SHOWN_HEADERS if name in headers)
