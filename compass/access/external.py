"""Clients with certificates of other authorities, which the operator trusts: whom such a certificate speaks for.

The listener verified the certificate; who signed it tells it from one of the plane's own, never a name in it. Its
subject leads to a mapping, which says what the caller is and in tenants of which types it may work. The mapping is
looked up on every request, so deleting it ends the client at once. Source: contract/director.md §18,
contract/connector-agent-provisioner.md §B.6.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from compass.access import subject
from compass.access.caller import Caller, Consumer, Flow
from compass.access.foreign_revocation import ForeignRevocations
from compass.access.scopes import BY_CONSUMER
from compass.errors import TenantNotFound, TenantRequired, Unauthorized
from compass.ids import TenantId
from compass.postgres.pool import Database
from compass.settings import ExternalCertificateSettings, SettingRefused

_SCOPES: Final = "external_certificates.scopes"
_MOST_AUTHORITIES: Final = 16
_NO_TENANT: Final = "global"
"""The access level of those who may call without naming a tenant. The others are types of tenants."""
_OF_AN_OBJECT: Final = frozenset({Consumer.APPLICATION, Consumer.RUNTIME, Consumer.INTEGRATION_SYSTEM})
_EVERY_SCOPE: Final = frozenset[str]().union(*BY_CONSUMER.values())

MAPPED = """
-- external.mapped
SELECT mapping.*, object.id AS object_id, object.tenant_id, object.external_id, object.type, object.status,
    wanted.id AS wanted_id, wanted.type AS wanted_type
FROM (SELECT 1) AS always
LEFT JOIN (
    SELECT id, consumer_type, internal_consumer_id, tenant_access_levels,
        id || ' ' || extract(epoch FROM coalesce(updated_at, created_at)) AS version,
        CASE WHEN internal_consumer_id ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
            THEN internal_consumer_id::uuid END AS named
    FROM certificate_subject_mapping WHERE subject = $1
) AS mapping ON true
LEFT JOIN LATERAL (
    SELECT application.id, application.tenant_id, tenant.external_id, tenant.type,
        application.status_condition AS status
    FROM application JOIN tenant ON tenant.id = application.tenant_id AND tenant.status = 'Active'
    WHERE mapping.consumer_type = 'Application' AND application.id = mapping.named
    UNION ALL
    SELECT runtime.id, runtime.tenant_id, tenant.external_id, tenant.type, runtime.status_condition
    FROM runtime JOIN tenant ON tenant.id = runtime.tenant_id AND tenant.status = 'Active'
    WHERE mapping.consumer_type = 'Runtime' AND runtime.id = mapping.named
    UNION ALL
    SELECT id, NULL, NULL, NULL, 'CONNECTED' FROM integration_system
    WHERE mapping.consumer_type = 'Integration System' AND id = mapping.named
) AS object ON true
LEFT JOIN tenant wanted ON wanted.external_id = $2 AND wanted.status = 'Active'
"""


class Origin:
    """Tells a certificate of the plane's own authority from those of all others."""

    def __init__(self, own_pem: Callable[[], str], foreign: ForeignRevocations | None = None) -> None:
        """`own_pem`: the authorities of the plane that sign for clients, as they are at that moment. `foreign` knows
        what others revoked; None: nobody does.
        """
        self._own_pem = own_pem
        self._foreign = foreign

    def is_ours(self, der: bytes) -> bool:
        """Whether one of the plane's authorities signed it. Raises Unauthorized when it is over, or another authority
        revoked it, and RevocationUnknown when that cannot be known.

        The listener has seen that it was in its time, but only when the connection began.
        """
        if _now() > _end(der):
            raise Unauthorized(reason="the certificate is over")
        if _signed_by(der, self._own_pem()):
            return True
        if self._foreign is not None:
            self._foreign.refuse(der)
        return False

    def mark(self, der: bytes) -> str:
        """By what a certificate of another authority is known on its list. Empty: it has none. Raises Unauthorized."""
        return "" if self._foreign is None else self._foreign.mark(der)


def _now() -> datetime:
    return datetime.now(UTC)


@lru_cache(maxsize=4096)
def _end(der: bytes) -> datetime:
    try:
        return x509.load_der_x509_certificate(der).not_valid_after_utc
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)  # whoever it is, it is nobody of ours, and no mapping fits it


@lru_cache(maxsize=4096)
def _signed_by(der: bytes, authorities_pem: str) -> bool:
    try:
        certificate = x509.load_der_x509_certificate(der)
    except ValueError:
        return False  # the listener's parser is another one, and takes what this one does not; ours are not like that
    for authority in x509.load_pem_x509_certificates(authorities_pem.encode()):
        try:
            certificate.verify_directly_issued_by(authority)
        except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
            continue
        return True
    return False


class External:
    """Finds out for whom a certificate of another authority speaks."""

    def __init__(
        self, database: Database, settings: ExternalCertificateSettings, *, sources: Mapping[str, str] | None = None
    ) -> None:
        """Raises SettingRefused for a type or a scope that does not exist; `sources` says where a setting came from."""
        self._database = database
        source = (sources or {}).get("external_certificates.scopes", "default")
        given = {}
        for kind, scopes in settings.consumer_scopes().items():
            if kind not in set(Consumer):
                raise SettingRefused(setting=_SCOPES, source=source, reason=f"{kind!r} is no type of consumer")
            unknown = frozenset(scopes) - _EVERY_SCOPE
            if unknown:
                raise SettingRefused(setting=_SCOPES, source=source, reason=f"{min(unknown)!r} is no scope")
            given[Consumer(kind)] = frozenset(scopes)
        self._scopes = {**BY_CONSUMER, **given}

    async def caller(
        self, der: bytes, fingerprint: str, wanted: str | None, headers: tuple[tuple[str, str], ...], request_id: str
    ) -> tuple[Caller, str]:
        """The caller and, of an application or a runtime, its status. One statement.

        Raises Unauthorized when there is no mapping or what it names is gone, TenantRequired, and TenantNotFound also
        for a tenant of a type that the mapping does not allow.
        """
        row = await self._database.read(MAPPED, [subject.of_certificate(der), wanted])
        if row["id"] is None:
            raise Unauthorized(reason="the certificate belongs to nobody")
        consumer = Consumer(row["consumer_type"])
        if consumer in _OF_AN_OBJECT and row["object_id"] is None:
            raise Unauthorized(reason="the certificate belongs to nobody")
        tenant, external = _tenant(row, wanted)
        caller = Caller(
            consumer,
            # Without a name of its own it is known by the mapping: a name in the certificate may be anybody's.
            row["object_id"] or row["internal_consumer_id"] or row["id"],
            Flow.CERTIFICATE,
            self._scopes.get(consumer, frozenset()),
            tenant,
            external,
            shown_certificate=fingerprint,
            mapping=row["version"],
            headers=headers,
            request_id=request_id,
        )
        return caller, row["status"] or "CONNECTED"


def _tenant(row: Any, wanted: str | None) -> tuple[TenantId | None, str | None]:
    """The tenant and what it is called. Which tenants exist is not told to who may not work there."""
    levels = row["tenant_access_levels"]
    if row["tenant_id"] is not None:
        if wanted not in (None, row["external_id"]) or row["type"] not in levels:
            raise TenantNotFound(externalTenant=wanted or "")
        return TenantId(row["tenant_id"]), row["external_id"]
    if wanted is None:
        if _NO_TENANT not in levels:
            raise TenantRequired
        return None, None
    if row["wanted_id"] is None or row["wanted_type"] not in levels:
        raise TenantNotFound(externalTenant=wanted)
    return TenantId(row["wanted_id"]), wanted


def authorities(settings: ExternalCertificateSettings, *, sources: Mapping[str, str] | None = None) -> str:
    """The PEM of the authorities that the operator trusts besides the plane's own, or nothing. Reads a file.

    Raises SettingRefused for a file that is none, that holds something else, or that is a bundle of public authorities.
    """
    if settings.ca_file is None:
        return ""
    name = "external_certificates.ca_file"
    source = (sources or {}).get(name, "default")
    try:
        found = x509.load_pem_x509_certificates(settings.ca_file.read_bytes())
    except OSError as problem:
        raise SettingRefused(setting=name, source=source, reason=f"it cannot be read: {problem.strerror}") from None
    except ValueError:
        raise SettingRefused(setting=name, source=source, reason="it holds no certificates in PEM") from None
    if len(found) > _MOST_AUTHORITIES:
        reason = f"it holds {len(found)} authorities, each of which could speak for every subject; name those meant"
        raise SettingRefused(setting=name, source=source, reason=reason)
    if not all(map(_may_sign, found)):
        reason = "it holds a certificate that may not sign others; name the authority that signed it"
        raise SettingRefused(setting=name, source=source, reason=reason)
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in found)


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False
