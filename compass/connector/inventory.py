"""The certificates of a tenant's applications and runtimes, as its administrators see and end them.

A certificate stays in the inventory when its holder is deleted, and belongs to the tenant it was issued in. Nothing of
this is in the original.
"""

import base64
from collections.abc import Mapping
from typing import Final

from cryptography import x509

from compass.access.caller import Caller
from compass.commands import command
from compass.connector import revocation
from compass.errors import InvalidData, NotFound
from compass.ids import SystemAuthId
from compass.postgres.pool import Tx
from compass.reads.plan import Filling, Hole, Page, Query, Read, timestamp

MOST_REASON: Final = 256
"""Characters that are kept of why a certificate was revoked."""

# How it is read

EXPIRING: Final = (
    "{row}.not_after < now() + interval '14 days' "
    "AND {row}.not_after - now() < ({row}.not_after - {row}.not_before) / 5"
)
"""A client that renews in time, with three tenths of the life left, has only certificates here that it uses no more."""
_STATES: Final[Mapping[str, str]] = {
    "VALID": f"{{row}}.revoked_at IS NULL AND {{row}}.not_after > now() AND NOT ({EXPIRING})",
    "EXPIRING": f"{{row}}.revoked_at IS NULL AND {{row}}.not_after > now() AND {EXPIRING}",
    "REVOKED": "{row}.revoked_at IS NOT NULL",
    "EXPIRED": "{row}.revoked_at IS NULL AND {row}.not_after <= now()",
}


def _state(row: str) -> str:
    cases = " ".join(f"WHEN {condition.replace('{row}', row)} THEN '{state}'" for state, condition in _STATES.items())
    return f"CASE {cases} END"


def _subject(_: Filling, encoded: str) -> str:
    return x509.load_der_x509_certificate(base64.b64decode(encoded)).subject.rfc4514_string()


def _wanted(state: str) -> str:
    return f"({{arg:state}}::text[] IS NULL OR {state} = ANY({{arg:state}}::text[]))"


def _source() -> str:
    # One part for each way of asking: a statement is planned without its values, and each part has an index of its own.
    # Those that were not asked for are not run.
    ours = "held.kind = 'client' AND held.tenant_id = {tenant} AND held.fingerprint IS NOT NULL"
    everybodys = "{arg:clientID}::uuid IS NULL AND {arg:objectID}::uuid IS NULL"
    parts = [
        f"{ours} AND {everybodys} AND {_wanted(repr(state))} AND {condition.replace('{row}', 'held')}"
        for state, condition in _STATES.items()
    ]
    found = f"{ours} AND {_wanted(_state('held'))}"
    parts.append(
        f"{found} AND held.system_auth_id = {{arg:clientID}}::uuid "
        "AND ({arg:objectID}::uuid IS NULL OR held.owner_id = {arg:objectID}::uuid)"
    )
    parts.append(f"{found} AND {{arg:clientID}}::uuid IS NULL AND held.owner_id = {{arg:objectID}}::uuid")
    return f"({' UNION ALL '.join(f'SELECT held.* FROM certificate held WHERE {part}' for part in parts)}) {{c}}"


CERTIFICATE = Read(
    "Certificate",
    table="certificate",
    fields={
        "serial": "serial",
        "fingerprint": "fingerprint",
        "subject": Hole(r"translate(split_part({t}.pem, '-----', 3), E'\n', '')", _subject),
        "state": _state("{t}"),
        "clientID": "system_auth_id",
        "objectType": "upper({t}.owner_kind)",
        "objectID": "owner_id",
        "tenant": "(SELECT tenant.external_id FROM tenant WHERE tenant.id = {t}.tenant_id)",
        "lineage": "lineage",
        "issuedAt": timestamp("intended_at"),
        "expiresAt": timestamp("not_after"),
        "lastUsedAt": timestamp("last_used_at"),
        "revokedAt": timestamp("revoked_at"),
        "revokedBy": "revoked_by",
        "revocationReason": "revocation_reason",
        "chain": "{t}.pem || (SELECT issuer.certificate FROM authority issuer WHERE issuer.serial = {t}.signed_by)",
    },
)
READS = (CERTIFICATE,)
QUERIES = (
    Query(
        "certificates",
        scope="certificate:read",
        read=Page("Certificate", on="true", order="{c}.not_after DESC, {c}.serial", source=_source()),
    ),
)

# Commands


@command("revokeCertificates", scope="certificate:write")
async def revoke(
    tx: Tx,
    caller: Caller,
    client: SystemAuthId | None,
    object_id: str | None,
    fingerprint: str | None,
    serial: str | None,
    reason: str | None,
) -> int:
    """End a certificate, or all of a client, or all of an application or runtime, each with its line.

    How many were in force; asked for once more, none is. Four statements, however many there are.

    Raises InvalidData unless exactly one of the four is given, NotFound when the tenant has no such certificate. Emits
    CertificatesRevoked.
    """
    tenant = caller.in_tenant()
    named: dict[str, str | None] = {
        "clientID": client,
        "objectID": object_id,
        "fingerprint": None if fingerprint is None else _hex(fingerprint).removeprefix("sha256"),
        "serial": None if serial is None else _hex(serial).removeprefix("0x").lstrip("0"),
    }
    if sum(value is not None for value in named.values()) != 1:
        raise InvalidData(reason=f"exactly one of {', '.join(named)} has to be given")
    why = reason or "revoked by an administrator"
    if len(why) > MOST_REASON:
        raise InvalidData(reason=f"the reason may have {MOST_REASON} characters")
    lines = [row["lineage"] for row in await tx.rows(LINES, tenant=tenant, **named)]
    if not lines:
        raise NotFound(object="certificate")
    return await revocation.revoke_lines(tx, lines, reason=why, by=caller.consumer_id)


def _hex(text: str) -> str:
    """As it is kept, from any of the spellings in which tools show it."""
    return text.lower().replace(":", "").replace(" ", "")


# Null, for the three that were not given, equals nothing.
LINES = """
-- inventory.lines
SELECT DISTINCT lineage
FROM (
    SELECT * FROM certificate WHERE kind = 'client' AND system_auth_id = %(clientID)s::uuid
    UNION ALL SELECT * FROM certificate WHERE kind = 'client' AND owner_id = %(objectID)s::uuid
    UNION ALL SELECT * FROM certificate WHERE kind = 'client' AND fingerprint = %(fingerprint)s
    UNION ALL SELECT * FROM certificate WHERE kind = 'client' AND serial = %(serial)s
) AS named
WHERE tenant_id = %(tenant)s
"""
