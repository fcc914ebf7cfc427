"""The plane itself, as its administrators see it: its version, database, queues, authorities, replicas and settings.

Ours; the original has nothing of this. What is asked for is read in one statement, and nothing of it is a tenant's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, Final

from cryptography import x509

from compass.access.foreign_revocation import ForeignRevocations
from compass.connector.issuer import is_ending
from compass.connector.rotation import IN_USE, REPLICA_LIVES_SECONDS
from compass.ids import TenantId
from compass.outbox.events import Event
from compass.reads.plan import Filling, Hole, Many, Object, One, Query, Read, timestamp
from compass.settings import Settings, describe

# Events


@dataclass(frozen=True)
class VaultRotated(Event):
    """A key of the vault seals from now on (`phase` is `sealing`) or was ended (`retired`); `vault_key` is its name."""

    tenant: TenantId | None
    phase: str
    vault_key: str


# How it is read

# Late is what could be done: not what waits for its next try, nor what follows that in the order of its receiver.
_QUEUES: Final = """(
    SELECT 1 AS place, 'EVENTS' AS name,
        (SELECT count(*) FROM outbox_event WHERE relayed_at IS NULL AND parked_at IS NULL) AS waiting,
        (SELECT min(next_at) FROM outbox_event
            WHERE relayed_at IS NULL AND parked_at IS NULL AND next_at <= clock_timestamp()) AS due_since,
        (SELECT count(*) FROM outbox_event WHERE parked_at IS NOT NULL AND relayed_at IS NULL) AS failed
    UNION ALL
    SELECT 2, 'DELIVERIES', (SELECT count(*) FROM delivery WHERE state = 'PENDING'),
        (SELECT min(next_at) FROM delivery_lane WHERE next_at <= clock_timestamp()),
        (SELECT count(*) FROM delivery WHERE state = 'DEAD')
    UNION ALL
    SELECT 3, 'OPERATIONS', (SELECT count(*) FROM operation WHERE finished_at IS NULL),
        (SELECT min(next_at) FROM operation WHERE finished_at IS NULL AND next_at <= clock_timestamp()),
        (SELECT count(*) FROM operation WHERE state = 'FAILED')
    UNION ALL
    SELECT 4, 'AUDIT', (SELECT count(*) FROM audit_unsealed),
        (SELECT min(record.happened_at) FROM audit_unsealed JOIN audit_record record ON record.id = record_id), 0
) {c}"""
_FOLLOWS: Final = """{t}.knows = (
    SELECT coalesce(string_agg(serial || ':' || state, ',' ORDER BY (serial || ':' || state) COLLATE "C"), '')
    FROM authority WHERE kind = 'issuing' AND state IN ('distributed', 'active', 'replaced')
)"""
_CERTIFICATE: Final = "encode(convert_to({t}.certificate, 'UTF8'), 'hex')"


_OF_THE_MACHINE: Final = frozenset({"authority.signer_command"})
"""Settings that are for who operates the machine alone: arguments of a program may open a key."""


def _certificate(payload: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(bytes.fromhex(payload))


def _ends(_filling: Filling, payload: str) -> str:
    return str(_moment(_certificate(payload).not_valid_after_utc))


def _is_ending(_filling: Filling, payload: str) -> bool:
    return is_ending(_certificate(payload), datetime.now(UTC))


def _version(_filling: Filling, _payload: str) -> str:
    return metadata.version("compass-plane")


def _lists(filling: Filling, _payload: str) -> list[Mapping[str, Any]]:
    return [
        {
            "authority": one.authority,
            "source": one.source,
            "issuedAt": _moment(one.issued_at),
            "goodUntil": _moment(one.good_until),
            "revoked": one.revoked,
            "isGood": one.is_good,
            "problem": one.problem,
        }
        for one in filling.parts[ForeignRevocations].standing
    ]


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _settings(filling: Filling, _payload: str) -> list[Mapping[str, Any]]:
    return [
        {**one._asdict(), "value": "(given)"}
        if one.key in _OF_THE_MACHINE and one.source != "default"
        else one._asdict()
        for one in describe(filling.parts[Settings])
    ]


def _number(name: str) -> str:
    return f"({{t}}.gauges ->> '{name}')::int"


def _share(name: str) -> Object:
    part = f"({{t}}.gauges -> '{name}' ->> "
    return Object({"used": f"{part}'used')::int", "of": f"{part}'of')::int"})


# As `gauges.py` names them.
_GAUGES: Final = Object(
    {
        "release": "{t}.gauges ->> 'release'",
        "startedAt": "{t}.gauges ->> 'started_at'",
        "memoryMegabytes": _number("memory_megabytes"),
        "cpuPercent": _number("cpu_percent"),
        "requestsPerMinute": _number("requests_per_minute"),
        "requestMicroseconds": _number("request_microseconds"),
        "slowestMicroseconds": _number("slowest_microseconds"),
        "followers": _number("followers"),
        "feedBehindMilliseconds": _number("feed_behind_milliseconds"),
        "errors": _number("errors"),
        "lastErrorAt": "{t}.gauges ->> 'last_error_at'",
        **{name: _share(name) for name in ("connections", "deliveries", "operations", "reads", "searches", "writes")},
    },
    present="{t}.gauges IS NOT NULL",
)
SYSTEM = Read(
    "SystemStatus",
    table="migration",
    fields={
        "version": Hole("''", _version),
        "database": "current_setting('server_version')",
        "databaseMegabytes": "(pg_database_size(current_database()) / 1048576)::int",
        "migration": "{t}.name",
        "migratedAt": timestamp("applied_at"),
        "queues": Many("SystemQueue", source=_QUEUES, on="true", order="{c}.place"),
        "authorities": Many(
            "SystemAuthority",
            source="authority {c}",
            on="{c}.kind = 'issuing' AND {c}.state IN ('prepared', 'distributed', 'active', 'replaced')",
            order="{c}.state = 'active' DESC, {c}.created_at DESC, {c}.serial",
        ),
        "replicas": Many(
            "SystemReplica",
            source="authority_replica {c}",
            on=f"{{c}}.seen_at > clock_timestamp() - make_interval(secs => {REPLICA_LIVES_SECONDS})",
            order="{c}.place, {c}.replica",
        ),
        "revocationLists": Hole("''", _lists),
        "settings": Hole("''", _settings),
    },
)
QUEUE = Read(
    "SystemQueue",
    table="outbox_event",  # and others; the field above says how
    fields={
        "name": "name",
        "waiting": "{t}.waiting::int",
        "dueSince": timestamp("due_since"),
        "failed": "{t}.failed::int",
    },
)
AUTHORITY = Read(
    "SystemAuthority",
    table="authority",
    fields={
        "serial": "serial",
        "state": "upper({t}.state)",
        "since": timestamp("changed_at"),
        "endsAt": Hole(_CERTIFICATE, _ends),
        "isEnding": Hole(_CERTIFICATE, _is_ending),
        "clients": (
            "(SELECT count(DISTINCT held.system_auth_id)::int FROM certificate held "
            f"WHERE held.signed_by = {{t}}.serial AND {IN_USE})"
        ),
    },
)
REPLICA = Read(
    "SystemReplica",
    table="authority_replica",
    fields={"place": "place", "seenAt": timestamp("seen_at"), "follows": _FOLLOWS, "gauges": _GAUGES},
)
READS = (SYSTEM, QUEUE, AUTHORITY, REPLICA)
QUERIES = (
    Query(
        "system",
        scope="system:read",
        tenant=False,
        read=One("SystemStatus", on="true", order="{c}.number DESC"),
    ),
)
