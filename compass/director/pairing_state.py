"""How far clients are with pairing: token issued, used, certificate signed, first call. For whoever waits for it.

Nothing here tells a token; nothing of this is in the original.
"""

from typing import Final

from compass.reads.plan import Page, Query, Read, timestamp


def _of_token(column: str) -> str:
    """Of the latest token that was handed to the client; the one for its signing request is not shown to anybody."""
    shown = timestamp(column).replace("{t}", "token")
    return (
        f"(SELECT {shown} FROM one_time_token token WHERE token.system_auth_id = {{t}}.id "
        "AND token.purpose IN ('application', 'runtime') ORDER BY token.created_at DESC LIMIT 1)"
    )


def _of_certificate(value: str) -> str:
    return (
        f"(SELECT {value} FROM certificate held WHERE held.system_auth_id = {{t}}.id "
        "AND held.fingerprint IS NOT NULL ORDER BY held.intended_at DESC LIMIT 1)"
    )


PAIRING = Read(
    "Pairing",
    table="system_auth",
    fields={
        "clientID": "id",
        "objectType": "CASE WHEN {t}.application_id IS NOT NULL THEN 'APPLICATION' ELSE 'RUNTIME' END",
        "objectID": "coalesce({t}.application_id, {t}.runtime_id)",
        "tokenIssuedAt": _of_token("created_at"),
        "tokenExpiresAt": _of_token("expires_at"),
        "tokenUsedAt": _of_token("used_at"),
        "signedAt": _of_certificate(timestamp("intended_at").replace("{t}", "held")),
        "serial": _of_certificate("held.serial"),
        "connected": "{t}.cert_common_name <> ''",
    },
)
READS = (PAIRING,)

_WANTED: Final = (
    "{c}.tenant_id = {tenant} AND {c}.integration_system_id IS NULL "
    "AND ({arg:clientID}::uuid IS NULL OR {c}.id = {arg:clientID}::uuid) "
    "AND ({arg:objectID}::uuid IS NULL OR {arg:objectID}::uuid IN ({c}.application_id, {c}.runtime_id)) "
    "AND EXISTS (SELECT FROM one_time_token token WHERE token.system_auth_id = {c}.id "
    "AND token.purpose IN ('application', 'runtime'))"
)
QUERIES = (
    Query(
        "pairings",
        scope="certificate:read",
        read=Page("Pairing", on=_WANTED, order="{c}.created_at DESC, {c}.id"),
    ),
)
