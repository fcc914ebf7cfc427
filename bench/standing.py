# ruff: noqa: E501
# Statements: wrapping them hides their shape.
"""(h) what it costs to say how runtimes are doing: against the same page without it, and against a statement by hand."""

from collections.abc import Mapping
from typing import Any, Final

from bench.landscape import tenant_id
from bench.lists import everybody
from bench.reads import WANTED_RATIO, _by_hand, _require_equal, asking, endpoint
from bench.table import Line, interleaved, one_core
from compass.postgres.pool import Database

_SEED: Final = (
    "INSERT INTO authority (serial, kind, certificate, sealed_key) VALUES ('ca', 'issuing', 'pem', 'key')",
    "INSERT INTO system_auth (tenant_id, runtime_id, cert_common_name) SELECT tenant_id, id, 'client' FROM runtime",
    # Renewed twice.
    """INSERT INTO certificate (serial, kind, signed_by, system_auth_id, names, key_thumbprint, fingerprint, pem, intended_at, not_before, not_after)
    SELECT md5(id::text || n), 'client', 'ca', id, '{client}', 'k', md5(id::text || n), 'pem', now() - n * interval '60 days', now() - n * interval '60 days', now() - n * interval '60 days' + interval '90 days'
    FROM system_auth, generate_series(0, 2) n WHERE runtime_id IS NOT NULL""",
    """INSERT INTO heartbeat (runtime_id, seen_at, missed_from, version, revision, applications, synced_at, looks_every)
    SELECT id, now(), now() + interval '1 day', '1', 1, 1, now(), '1 hour' FROM runtime""",
    "ANALYZE",
)
_NODE: Final = "id name connection { health heartbeat { state } certificate { state until } }"
# All that has to be looked at to know the health; tokens and texts are not.
_SQL: Final = """
SELECT json_build_object('runtimes', json_build_object('data', json_agg(json_build_object(
    'id', x.id, 'name', x.name, 'connection', json_build_object(
        'health', CASE
            WHEN x.failed > 0 OR x.missed_from <= now() OR x.trouble IS NOT NULL OR x.revoked_at IS NOT NULL OR x.not_after <= now() OR x.trust IN ('retired', 'aborted')
                OR x.known IS NULL AND NOT x.mapped AND x.status_condition = 'CONNECTED' THEN 'BAD'
            WHEN x.looked < now() - 2 * x.looks_every - interval '1 minute' OR x.untaken < now() - x.looks_every - interval '10 seconds' OR x.trust = 'replaced'
                OR x.not_after < now() + interval '14 days' AND x.not_after - now() < (x.not_after - x.not_before) / 5 THEN 'WARNING'
            WHEN x.known IS NULL AND NOT x.mapped OR x.pending > 0 OR x.untaken IS NOT NULL THEN 'WAITING' ELSE 'OK' END,
        'heartbeat', json_build_object('state', CASE WHEN x.missed_from <= now() THEN 'MISSING' WHEN x.missed_from IS NULL THEN 'NONE' ELSE 'ALIVE' END),
        'certificate', json_build_object(
            'state', CASE WHEN x.not_after IS NULL THEN 'NONE' WHEN x.revoked_at IS NOT NULL THEN 'REVOKED' WHEN x.not_after <= now() THEN 'EXPIRED' WHEN x.trust IN ('retired', 'aborted') THEN 'UNTRUSTED'
                WHEN x.trust = 'replaced' THEN 'RETIRING' WHEN x.not_after < now() + interval '14 days' AND x.not_after - now() < (x.not_after - x.not_before) / 5 THEN 'EXPIRING'
                WHEN x.not_after - now() < (x.not_after - x.not_before) / 3 THEN 'RENEWABLE' ELSE 'VALID' END,
            'until', to_char(x.not_after AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
        )
    )
))))::json
FROM (
    SELECT runtime.id, runtime.name, runtime.status_condition, beat.missed_from, beat.trouble, beat.synced_at AS looked, beat.looks_every,
        held.not_before, held.not_after, held.revoked_at, authority.state AS trust, auth.known, told.failed, told.pending,
        CASE WHEN auth.known IS NULL THEN EXISTS (SELECT FROM certificate_subject_mapping WHERE internal_consumer_id = runtime.id::text) END AS mapped,
        CASE WHEN beat.missed_from > now() AND beat.trouble IS NULL AND beat.synced_at < (SELECT newest_event_v1()) THEN untaken_since_v1(runtime.id, beat.synced_at) END AS untaken
    FROM (SELECT runtime_id FROM runtime_tenant WHERE tenant_id = $1::uuid ORDER BY runtime_id LIMIT $2::bigint) page
    JOIN runtime ON runtime.id = page.runtime_id
    LEFT JOIN heartbeat beat ON beat.runtime_id = runtime.id
    LEFT JOIN LATERAL (SELECT min(created_at) AS known FROM system_auth WHERE runtime_id = runtime.id AND (cert_common_name <> '' OR client_secret_digest IS NOT NULL)) auth ON true
    LEFT JOIN LATERAL (
        SELECT every.not_before, every.not_after, every.revoked_at, every.signed_by FROM certificate every JOIN system_auth holder ON holder.id = every.system_auth_id
        WHERE every.owner_id = runtime.id AND every.kind = 'client' AND every.fingerprint IS NOT NULL
        ORDER BY every.revoked_at IS NULL AND every.not_after > now() DESC, every.intended_at DESC LIMIT 1
    ) held ON true
    LEFT JOIN authority ON authority.serial = held.signed_by
    LEFT JOIN LATERAL (
        SELECT count(*) FILTER (WHERE state IN ('CREATE_ERROR', 'DELETE_ERROR')) AS failed, count(*) FILTER (WHERE state <> 'READY') AS pending
        FROM formation_assignment WHERE target = runtime.id AND source <> runtime.id
    ) told ON true
    ORDER BY runtime.id
) x
"""


async def cost(databases: Mapping[str, Database]) -> list[Line]:
    """(h) for a page of 50 runtimes of the smaller landscape, whose rows are made here."""
    database = next(iter(databases.values()))
    for statement in _SEED:
        async with database.transaction() as tx:
            await tx.run(f"-- bench.standing\n{statement}")

    def compiled(node: str) -> Any:
        return asking(endpoint(database), everybody(), f"{{ runtimes(first: 50) {{ data {{ {node} }} }} }}", {})

    variants: dict[str, Any] = {
        "without": compiled("id name"),
        "by hand": _by_hand(database, _SQL, tenant_id(1), 50),
        "compiled": compiled(_NODE),
    }
    _require_equal(await variants["by hand"](), await variants["compiled"]())
    await variants["without"]()
    with one_core():
        taken = await interleaved(variants, seconds=3)
    ratio, each = taken.ratio("by hand", "compiled"), (taken["compiled"].cpu - taken["without"].cpu) / 50 * 1e6
    what = "how 50 runtimes are doing"
    return [Line("h list", what, taken.shown(), f"{ratio:.2f} (wanted ≥ {WANTED_RATIO:.2f}), {each:.0f} µs each")]
