"""Pairing: from a one-time token to a client certificate, and from one certificate to the next.

Two calls, as clients in the field make them: `configuration` spends the first token and hands out the second, and
`signCertificateSigningRequest` spends that one. Each spends in the transaction that does the work, so a refused or
interrupted call leaves the token usable. A client that says with both which key it will have certified may repeat
either when the answer was lost.
Source: contract/connector-agent-provisioner.md §B.3 to §B.8; the announced key is ours.
"""

import re
import ssl
from datetime import timedelta
from typing import Any, Final

from compass.access import itself
from compass.access.caller import Caller, Consumer, Flow
from compass.access.tenancy import Reach, application_refusal, runtime_refusal
from compass.commands import Noted, Selection, command
from compass.connector import certificate, one_time_token, revocation
from compass.connector.authority import Authority
from compass.connector.one_time_token import Purpose, TokenRefused
from compass.connector.urls import PublicUrls
from compass.errors import Code, CompassError, InvalidData
from compass.ids import ApplicationId, RuntimeId, SystemAuthId, TenantId
from compass.postgres.pool import Tx
from compass.settings import TokenSettings

TOKEN_HEADER: Final = "connector-token"
KEY_HEADER: Final = "connector-key-digest"
"""SHA-256 of the public key's DER (SubjectPublicKeyInfo), lower-case hex."""
_KEY_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
KEY_ALGORITHM: Final = "rsa2048"
"""What the original has always advertised; clients read it and do as they like."""

# Errors


class NotPaired(CompassError):
    """The call shows neither a one-time token nor a client certificate that would do."""

    code = Code.UNAUTHORIZED
    message = (
        "Failed to authenticate with token: Failed to authenticate request. Token authentication error: "
        "Failed to authenticate with one time token. Certificate authentication error: "
        "Failed to authenticate with Certificate. Invalid subject."
    )


class NoCertificate(CompassError):
    """The call has to be made with the client certificate it is about."""

    code = Code.UNAUTHORIZED
    message = "Failed to authenticate with certificate: Failed to authenticate with Certificate. Invalid subject."


class CannotPair(CompassError):
    """Only applications and runtimes pair."""

    code = Code.INVALID_OPERATION
    message = (
        "Failed to get one-time token during fetching configuration process: could not get one time token: "
        "No token generation for consumer type {consumer}"
    )


# Commands

PAIR_APPLICATION = """
-- pairing.pair_application
INSERT INTO system_auth (tenant_id, application_id)
SELECT tenant_id, application_id FROM application_tenant
WHERE tenant_id = %(tenant)s AND application_id = %(application)s AND owner
RETURNING id
"""
PAIR_RUNTIME = """
-- pairing.pair_runtime
INSERT INTO system_auth (tenant_id, runtime_id)
SELECT tenant_id, runtime_id FROM runtime_tenant
WHERE tenant_id = %(tenant)s AND runtime_id = %(runtime)s AND owner
RETURNING id
"""


async def begin_for_application(
    tx: Tx, tenant: TenantId, application: ApplicationId, *, life: timedelta, asked_with: str | None
) -> tuple[SystemAuthId, str]:
    """A new way for the application to be known, and the token it pairs with. Raises NotFound, Unauthorized.

    `asked_with` is the certificate of whoever asks, if it has one: the token ends with it.
    """
    system_auth = await tx.value(PAIR_APPLICATION, tenant=tenant, application=application)
    if system_auth is None:
        raise await application_refusal(tx, tenant, application)
    return system_auth, await one_time_token.issue(
        tx, system_auth, purpose=Purpose.APPLICATION, life=life, asked_with=asked_with
    )


async def begin_for_runtime(
    tx: Tx, tenant: TenantId, runtime: RuntimeId, *, life: timedelta, asked_with: str | None
) -> tuple[SystemAuthId, str]:
    """The same for a runtime."""
    system_auth = await tx.value(PAIR_RUNTIME, tenant=tenant, runtime=runtime)
    if system_auth is None:
        raise await runtime_refusal(tx, tenant, runtime)
    return system_auth, await one_time_token.issue(
        tx, system_auth, purpose=Purpose.RUNTIME, life=life, asked_with=asked_with
    )


@command("requestTokenForApplication", scope="application:write")
async def request_for_application(
    tx: Tx, caller: Caller, application: ApplicationId, *, settings: TokenSettings
) -> dict[str, Any]:
    """A one-time token for an application. Raises NotFound, Unauthorized."""
    tenant = caller.in_tenant()
    itself.require(caller, application)
    life, asked_with = Purpose.APPLICATION.life(settings), caller.certificate or None
    _, token = await begin_for_application(tx, tenant, application, life=life, asked_with=asked_with)
    return {"token": token}


@command("requestTokenForRuntime", scope="runtime:write")
async def request_for_runtime(tx: Tx, caller: Caller, runtime: RuntimeId, *, settings: TokenSettings) -> dict[str, Any]:
    """A one-time token for a runtime. Raises NotFound, Unauthorized."""
    tenant = caller.in_tenant()
    itself.require(caller, runtime)
    life, asked_with = Purpose.RUNTIME.life(settings), caller.certificate or None
    _, token = await begin_for_runtime(tx, tenant, runtime, life=life, asked_with=asked_with)
    return {"token": token}


@command("configuration", scope="", reach=Reach.PLANE)
async def configuration(
    tx: Tx,
    caller: Caller,
    *,
    authority: Authority,
    urls: PublicUrls,
    settings: TokenSettings,
    selected: Selection,
    noted: Noted,
) -> dict[str, Any]:
    """What a client needs for its signing request.

    A caller with a one-time token has it spent and gets the next; one that announces its key gets the same again when
    it asks again. One with a certificate gets a token only if it asks for one, so that an agent that looks here at
    every round writes nothing. Raises NotPaired, TokenRefused, TokenMisused, InvalidData.
    """
    token = caller.header(TOKEN_HEADER)
    next_token: str | None
    if token:
        system_auth, next_token = await _exchanged(tx, token, _announced(caller), settings)
    elif caller.flow is Flow.CERTIFICATE and caller.system_auth is not None:
        system_auth = caller.system_auth
        next_token = await _another(tx, caller, system_auth, settings) if "token" in selected else None
    else:
        raise NotPaired()
    if next_token is not None:
        noted.system_auth = system_auth
    return {
        "token": next_token and {"token": next_token},
        "certificateSigningRequestInfo": {
            "subject": authority.subject_for(system_auth),
            "keyAlgorithm": KEY_ALGORITHM,
        },
        "managementPlaneInfo": {
            "directorURL": urls.director,
            "certificateSecuredConnectorURL": urls.secured_connector,
        },
    }


async def _exchanged(tx: Tx, token: str, key: str | None, settings: TokenSettings) -> tuple[SystemAuthId, str]:
    try:
        spent = await one_time_token.spend(tx, token, key=key)
    except TokenRefused:
        if key is None:
            raise
        return await one_time_token.repeated(tx, token, key)
    return spent.system_auth, await one_time_token.issue_next(tx, spent, token, key=key, life=settings.csr_validity)


def _announced(caller: Caller) -> str | None:
    key = caller.header(KEY_HEADER)
    if key and not _KEY_DIGEST.fullmatch(key):
        raise InvalidData(
            reason="Connector-Key-Digest has to be the SHA-256 of the public key's SubjectPublicKeyInfo in DER, "
            "as 64 lower-case hexadecimal digits"
        )
    return key or None


async def _another(tx: Tx, caller: Caller, system_auth: SystemAuthId, settings: TokenSettings) -> str:
    if caller.consumer not in (Consumer.APPLICATION, Consumer.RUNTIME):
        raise CannotPair(consumer=caller.consumer.value)
    return await one_time_token.issue(
        tx, system_auth, purpose=Purpose.CSR, life=settings.csr_validity, asked_with=caller.certificate
    )


@command("signCertificateSigningRequest", scope="", reach=Reach.PLANE)
async def sign(tx: Tx, caller: Caller, csr: str, *, authority: Authority, noted: Noted) -> dict[str, Any]:
    """A certificate for the key in the request: the first with a one-time token, a further one with a certificate.

    Raises CsrRefused, which leaves the token usable, TokenRefused, TokenMisused, NotPaired, LineEnded, InvalidData.
    """
    token = caller.header(TOKEN_HEADER)
    if token:
        issued = await certificate.pair(tx, authority, token, csr, announced=_announced(caller))
    elif caller.flow is Flow.CERTIFICATE and caller.system_auth is not None:
        issued = await certificate.issue(tx, authority, caller.system_auth, csr, renewal_of=caller.certificate)
    else:
        raise NotPaired()
    noted.system_auth = certificate.common_name(ssl.PEM_cert_to_DER_cert(issued.pem))
    noted.result = {"serial": issued.serial, "fingerprint": issued.fingerprint}
    return {
        "certificateChain": issued.certificate_chain,
        "caCertificate": issued.ca_certificate,
        "clientCertificate": issued.client_certificate,
    }


@command("revokeCertificate", scope="", reach=Reach.PLANE)
async def revoke(tx: Tx, caller: Caller) -> bool:
    """Revoke the certificate of this very call and its line; they are refused from now on, everywhere.

    Raises NoCertificate. Emits CertificatesRevoked.
    """
    if caller.flow is not Flow.CERTIFICATE:
        raise NoCertificate()
    await revocation.revoke(tx, caller.certificate, reason="revoked by its holder", by=caller.consumer_id)
    return True
