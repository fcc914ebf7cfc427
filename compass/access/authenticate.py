"""Who is asking, from a client certificate or a token, and in which tenant.

A paired client is looked up on every request, so deleting its system auth ends it at once; a certificate must also
not be revoked. Nothing in the request's headers is believed but a token and the `Tenant` a caller wants to work in.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from compass.access.caller import Caller, Consumer, Flow
from compass.access.external import External
from compass.access.foreign_revocation import ForeignRevocations, RevocationUnknown
from compass.access.scopes import BY_CONSUMER
from compass.access.sign_on import Person, SignOn
from compass.access.strict_json import NotStrict, unverified
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
TENANT = """
-- authenticate.tenant
SELECT wanted.id AS wanted_id
FROM (SELECT 1) AS always LEFT JOIN tenant wanted ON wanted.external_id = $1 AND wanted.status = 'Active'
"""
# What a provider says of its people is asked of nobody here: it is in their tokens.
ENDED = """
-- authenticate.ended
SELECT coalesce(array_agg(asked.number), '{}') AS ended
FROM unnest($1::uuid[], $2::bool[], $3::text[], $4::uuid[], $5::text[], $6::bool[]) WITH ORDINALITY
    AS asked (system_auth, by_secret, account, tenant, mapping, by_provider, number)
WHERE NOT CASE
        WHEN asked.by_provider THEN true
        WHEN asked.mapping <> '' THEN EXISTS (
            SELECT FROM certificate_subject_mapping mapping
            WHERE mapping.id = split_part(asked.mapping, ' ', 1)::uuid
                AND extract(epoch FROM coalesce(mapping.updated_at, mapping.created_at))::text
                    = split_part(asked.mapping, ' ', 2)
        )
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

    def __init__(
        self,
        database: Database,
        tokens: AccessTokens,
        revoked: Revoked,
        *,
        external: External | None = None,
        foreign: ForeignRevocations | None = None,
        sign_on: SignOn | None = None,
    ) -> None:
        """`external` knows certificates of other authorities, `foreign` what those revoked, `sign_on` tokens of
        providers; None: there are none.
        """
        self._database = database
        self._tokens = tokens
        self._revoked = revoked
        self._external = external
        self._foreign = foreign
        self._sign_on = sign_on

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
        caller = replace(identified.caller, certificate=fingerprint, shown_certificate=fingerprint)
        return Identified(caller, identified.noted and row["cert_common_name"] == row["id"])

    async def by_mapping(self, der: bytes, fingerprint: str, headers: Mapping[str, str], request_id: str) -> Identified:
        """The client for whom this certificate of another authority speaks.

        Raises Unauthorized, TenantNotFound, TenantRequired.
        """
        if self._external is None:
            raise Unauthorized(reason="the certificate belongs to nobody")
        wanted = headers.get("tenant") or None
        caller, status = await self._external.caller(der, fingerprint, wanted, _shown(headers), request_id)
        return Identified(caller, noted=status == "CONNECTED")

    def is_bound(self, headers: Mapping[str, str]) -> bool:
        """Whether there is a token that says that it is bound to a certificate: then it decides, and must fit."""
        try:
            return "cnf" in unverified(_bearer(headers)).unsafe_claims
        except (NotStrict, NoBearer):
            return False

    async def by_token(self, headers: Mapping[str, str], request_id: str, certificate: str = "") -> Identified:
        """The person or program whose token stands in `Authorization`.

        `certificate` is the fingerprint of that of the connection, if it has one. Raises Unauthorized, TenantNotFound,
        ProviderAway, and Unavailable where it cannot be known whether the certificate is revoked.
        """
        text = _bearer(headers)
        wanted = headers.get("tenant") or None
        if self._sign_on is not None and self._sign_on.concerns(text):
            person = await self._sign_on.person(text, certificate)
            return await self._person(person, wanted, headers, request_id, await self._bound(certificate))
        bearer = self._tokens.verify(text)
        if bearer.certificate != certificate:
            raise Unauthorized(reason="invalid bearer token")
        shown = await self._bound(certificate)
        if not bearer.is_account:
            row = await self._database.read(SYSTEM_AUTH, [bearer.client, wanted])
            if row["id"] is None or (row["client_secret_digest"] is None and not bearer.by_certificate):
                raise Unauthorized(reason="invalid bearer token")
            flow = Flow.CERTIFICATE if bearer.by_certificate else Flow.OAUTH2
            client = _client(row, flow, bearer.scopes, headers, request_id)
            own = shown if bearer.by_certificate else ""
            return replace(client, caller=replace(client.caller, certificate=own, shown_certificate=shown))
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
                shown_certificate=shown,
                headers=_shown(headers),
                request_id=request_id,
            ),
            noted=True,
        )

    async def _bound(self, certificate: str) -> str:
        if certificate and await self._revoked.is_revoked(certificate):
            raise Unauthorized(reason="the certificate was revoked")
        return certificate

    async def _person(
        self, person: Person, wanted: str | None, headers: Mapping[str, str], request_id: str, shown: str
    ) -> Identified:
        tenant = None
        if wanted is not None:
            if not person.may_work_in(wanted):
                raise TenantNotFound(externalTenant=wanted)
            tenant = _wanted_tenant(await self._database.read(TENANT, [wanted]), wanted)
        return Identified(
            Caller(
                Consumer.STATIC_USER,
                person.id,
                Flow.JWT,
                person.scopes,
                tenant,
                wanted,
                shown_certificate=shown,
                issuer=person.issuer,
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
            revoked = caller.shown_certificate and await self._revoked.is_revoked(caller.shown_certificate)
            (ended if revoked or self._is_listed(caller) else asked).append(caller)
        row = await self._database.read(
            ENDED,
            [
                [caller.system_auth for caller in asked],
                [caller.flow is Flow.OAUTH2 for caller in asked],
                [caller.consumer_id for caller in asked],
                [caller.tenant for caller in asked],
                [caller.mapping for caller in asked],
                [bool(caller.issuer) for caller in asked],
            ],
        )
        return ended + [asked[number - 1] for number in row["ended"]]

    def _is_listed(self, caller: Caller) -> bool:
        """Whether the list of another authority has the certificate, or cannot say that it does not."""
        try:
            return self._foreign is not None and self._foreign.has_ended(caller.listed)
        except RevocationUnknown:
            return True

    async def exchange(self, client: str, secret: str, scope: str, certificate: str = "") -> tuple[str, frozenset[str]]:
        """An access token for a client's secret, and the scopes it has. Source: RFC 6749 §4.4.

        An empty `scope` asks for everything the client may do. With the fingerprint of the connection's certificate
        the token is bound to it. Raises Unauthorized, the same for an unknown client and for a wrong secret.
        """
        await self._bound(certificate)
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
        scopes = _asked(scope, allowed)
        return self._tokens.issue(Bearer(client, is_account, scopes, certificate)), scopes

    async def exchange_certificate(
        self, client: str, common_name: str, fingerprint: str, scope: str
    ) -> tuple[str, frozenset[str]]:
        """The same for a paired client that shows its certificate and no secret. Source: RFC 8705 §2.

        `client` is who it says it is. Raises Unauthorized, and Unavailable where a revocation cannot be known.
        """
        await self._bound(fingerprint)
        row = await self._database.read(SYSTEM_AUTH, [common_name, None])
        if row["id"] is None or client.lower() not in ("", row["id"]):
            raise Unauthorized(reason="the certificate belongs to nobody")
        scopes = _asked(scope, BY_CONSUMER[_consumer(row)[0]])
        bearer = Bearer(row["id"], is_account=False, scopes=scopes, certificate=fingerprint, by_certificate=True)
        return self._tokens.issue(bearer), scopes


class NoBearer(Unauthorized):
    """There is no access token in the request."""

    def __init__(self) -> None:
        super().__init__(reason="invalid bearer token")


def _bearer(headers: Mapping[str, str]) -> str:
    scheme, _, text = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not text:
        raise NoBearer()
    return text.strip()


def _asked(scope: str, allowed: frozenset[str]) -> frozenset[str]:
    return allowed & frozenset(scope.split()) if scope else allowed


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
