"""Connection status: how an application or runtime is doing, on three axes, as things stand when it is read.

`paired`: the plane knows it by something. `certificate`: what it shows is good, and for how long. `inSync`: it has been
told of, or has taken over, everything that it is to know. Of a runtime whose agent reports also the `heartbeat`. Each
axis has a state, how bad that is, a sentence that says why, and since when.

Nothing is written when a state changes by itself: that a certificate ends, or an agent is silent, is seen by looking.
Every fact but the heartbeat is there for another purpose. Nothing of this is in the original. See docs/adr/0022.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from compass.access import itself
from compass.connector.inventory import EXPIRING
from compass.reads.plan import Field, Object, One, Read


class Health(IntEnum):
    """How bad a state is."""

    OK = 0
    WAITING = 1
    """Nothing is wrong; something has not happened yet."""
    WARNING = 2
    """It works, and will not for long, or not wholly."""
    BAD = 3


class Case(NamedTuple):
    """A state of an axis, and when it is the one: the first whose condition holds. All but the two names is SQL."""

    when: str
    health: Health
    state: str
    reason: str = "NULL"
    since: str = "NULL"
    until: str = "NULL"


_PAIRED: Final = (
    Case("facts.known_since IS NOT NULL", Health.OK, "PAIRED", since="facts.known_since"),
    Case("facts.is_mapped", Health.OK, "PAIRED", "'by a certificate of another authority'"),
    Case(
        "facts.status = 'CONNECTED'",
        Health.BAD,
        "UNPAIRED",
        "'it was connected, and is known by nothing any more'",
        "facts.status_since",
    ),
    Case(
        "facts.token_used_at > now() - interval '1 hour'",
        Health.WAITING,
        "PAIRING",
        "'its one-time token was used; its first call has not come yet'",
        "facts.token_used_at",
    ),
    Case(
        "facts.token_used_at IS NOT NULL",
        Health.WAITING,
        "UNPAIRED",
        "'its one-time token is spent, and it never called'",
        "facts.token_used_at",
    ),
    Case(
        "facts.token_ends > now()",
        Health.WAITING,
        "PAIRING",
        "'its one-time token was not used yet'",
        "facts.token_made_at",
        "facts.token_ends",
    ),
    Case(
        "facts.token_ends IS NOT NULL",
        Health.WAITING,
        "UNPAIRED",
        "'its one-time token was not used in time'",
        "facts.token_ends",
    ),
    Case("true", Health.WAITING, "UNPAIRED", "'no one-time token was made for it yet'"),
)
_CERTIFICATE: Final = (
    Case("held.serial IS NULL AND facts.known_since IS NOT NULL", Health.OK, "NONE", "'it shows a secret instead'"),
    Case("held.serial IS NULL AND facts.is_mapped", Health.OK, "NONE", "'it shows one of another authority'"),
    Case("held.serial IS NULL", Health.WAITING, "NONE", "'none was signed for it yet'"),
    Case(
        "held.revoked_at IS NOT NULL",
        Health.BAD,
        "REVOKED",
        "'revoked: ' || held.revocation_reason",
        "held.revoked_at",
        "held.not_after",
    ),
    Case(
        "held.not_after <= now()",
        Health.BAD,
        "EXPIRED",
        "'it ended ' || span_v1(now() - held.not_after) || ' ago and was not renewed'",
        "held.not_after",
        "held.not_after",
    ),
    Case(
        "held.trust IN ('retired', 'aborted')",
        Health.BAD,
        "UNTRUSTED",
        "'the authority that signed it was retired'",
        until="held.not_after",
    ),
    Case(
        "held.trust = 'replaced'",
        Health.WARNING,
        "RETIRING",
        "'another authority signs now; it has to be renewed before the former is retired'",
        until="held.not_after",
    ),
    Case(
        EXPIRING.replace("{row}", "held"),
        Health.WARNING,
        "EXPIRING",
        "'it ends in ' || span_v1(held.not_after - now()) || ' and was not renewed'",
        until="held.not_after",
    ),
    # From here on a client renews; ours do with three tenths of the life left.
    Case(
        "held.not_after - now() < (held.not_after - held.not_before) / 3",
        Health.OK,
        "RENEWABLE",
        "'ends in ' || span_v1(held.not_after - now()) || '; due for renewal'",
        "held.not_before + (held.not_after - held.not_before) * 2 / 3",
        "held.not_after",
    ),
    Case(
        "true",
        Health.OK,
        "VALID",
        "'ends in ' || span_v1(held.not_after - now())",
        "held.intended_at",
        "held.not_after",
    ),
)
_NOT_TOLD: Final = (
    Case(
        "told.failed > 0",
        Health.BAD,
        "FAILED",
        "'telling it of ' || told.failed || ' of ' || told.partners || ' in its groups failed: ' "
        "|| coalesce(left(told.error, 200), 'no reason was given')",
        "told.open_since",
    ),
    Case(
        "told.pending > 0",
        Health.WAITING,
        "PENDING",
        "'news of ' || told.pending || ' of ' || told.partners || ' in its groups is on its way'",
        "told.open_since",
    ),
    Case(
        "told.waiting > 0",
        Health.WAITING,
        "PENDING",
        "'waits for the configuration of ' || told.waiting || ' of ' || told.partners || ' in its groups'",
        "told.open_since",
    ),
)
_KNOWN: Final = "(facts.known_since IS NOT NULL OR facts.is_mapped)"
_UNKNOWN: Final = Case(f"NOT {_KNOWN}", Health.WAITING, "UNKNOWN", "'it is not paired'")
_APPLICATION_IN_SYNC: Final = (*_NOT_TOLD, _UNKNOWN, Case("true", Health.OK, "IN_SYNC", since="told.changed_at"))
_TAKEN: Final = "'revision ' || beat.revision"
_RUNTIME_IN_SYNC: Final = (
    *_NOT_TOLD,
    _UNKNOWN,
    Case(
        "{t}.asleep_since IS NOT NULL",
        Health.WAITING,
        "UNKNOWN",
        f"coalesce('it is hibernated; it had ' || {_TAKEN}, 'it is hibernated')",
    ),
    Case("beat.seen_at IS NULL", Health.OK, "UNKNOWN", "'its agent does not report what it has taken over'"),
    Case(
        "beat.missed_from <= now()",
        Health.WARNING,
        "UNKNOWN",
        f"'its agent is silent; it had ' || {_TAKEN}",
        "beat.synced_at",
    ),
    Case("beat.trouble IS NOT NULL", Health.BAD, "FAILED", "'its agent says: ' || beat.error", "beat.synced_at"),
    Case(
        "beat.synced_at IS NULL OR beat.synced_at < now() - 2 * beat.looks_every - interval '1 minute'",
        Health.WARNING,
        "BEHIND",
        "'it has not looked for ' || coalesce(span_v1(now() - beat.synced_at), 'as long as it runs')",
        "beat.synced_at",
    ),
    Case(
        "untaken.since < now() - beat.looks_every - interval '10 seconds'",
        Health.WARNING,
        "BEHIND",
        "'a change of ' || span_v1(now() - untaken.since) || ' ago is not taken over'",
        "untaken.since",
    ),
    Case(
        "untaken.since IS NOT NULL",
        Health.WAITING,
        "BEHIND",
        "'a change of ' || span_v1(now() - untaken.since) || ' ago is being taken over'",
        "untaken.since",
    ),
    Case(
        "true",
        Health.OK,
        "IN_SYNC",
        f"{_TAKEN} || ', ' || beat.applications || CASE beat.applications WHEN 1 THEN ' application' "
        "ELSE ' applications' END",
        "beat.synced_at",
    ),
)
_HEARTBEAT: Final = (
    Case("beat.seen_at IS NULL AND facts.known_since IS NULL", Health.OK, "NONE", "'no agent is paired'"),
    Case(
        "{t}.asleep_since IS NOT NULL",
        Health.WAITING,
        "HIBERNATED",
        "'hibernated for ' || span_v1(now() - {t}.asleep_since)",
        "{t}.asleep_since",
    ),
    Case("beat.seen_at IS NULL", Health.OK, "NONE", "'its agent sends none'"),
    Case(
        "beat.missed_from <= now()",
        Health.BAD,
        "MISSING",
        "'no heartbeat for ' || span_v1(now() - beat.seen_at)",
        "beat.seen_at",
    ),
    Case("true", Health.OK, "ALIVE", "span_v1(now() - beat.seen_at) || ' ago'", "beat.seen_at"),
)

_KNOWN_BY: Final = "(auth.cert_common_name <> '' OR auth.client_secret_digest IS NOT NULL)"
# The first call with a certificate, or a secret, is what makes a client known. A token in force is the latest.
_FACTS: Final = f"""
    SELECT {{t}}.status_condition AS status, {{t}}.status_timestamp AS status_since,
        min(auth.created_at) FILTER (WHERE {_KNOWN_BY}) AS known_since,
        max(token.created_at) AS token_made_at, max(token.used_at) AS token_used_at,
        max(token.expires_at) AS token_ends,
        CASE WHEN bool_or({_KNOWN_BY}) THEN false ELSE EXISTS (
            SELECT FROM certificate_subject_mapping mapping WHERE mapping.internal_consumer_id = {{t}}.id::text
        ) END AS is_mapped
    FROM system_auth auth
    LEFT JOIN LATERAL (
        SELECT latest.created_at, latest.used_at, latest.expires_at FROM one_time_token latest
        WHERE latest.system_auth_id = auth.id AND latest.purpose IN ('application', 'runtime') AND NOT {_KNOWN_BY}
        ORDER BY latest.created_at DESC LIMIT 1
    ) token ON true
    WHERE auth.{{kind}}_id = {{t}}.id
"""
_TRUST: Final = "(SELECT former_authorities_v1()) ->> {row}.signed_by"
_USABLE: Final = "{row}.revoked_at IS NULL AND {row}.not_after > now()"
_GOOD: Final = f"{_USABLE} AND {_TRUST} IS NULL AND NOT ({EXPIRING})"
# Of several the one that is in use, as far as that can be told: the youngest that is good. Those of an identity that
# was taken away do not count.
_HELD: Final = f"""
    SELECT every.serial, every.intended_at, every.not_before, every.not_after, every.revoked_at,
        every.revocation_reason, {_TRUST} AS trust
    FROM certificate every JOIN system_auth holder ON holder.id = every.system_auth_id
    WHERE every.owner_id = {{t}}.id AND every.kind = 'client' AND every.fingerprint IS NOT NULL
    ORDER BY {_GOOD} DESC, {_USABLE} DESC, every.intended_at DESC LIMIT 1
""".replace("{row}", "every")
_USED: Final = (
    "(SELECT max(used.last_used_at) FROM certificate used WHERE used.owner_id = {t}.id AND used.kind = 'client')"
)
_TOLD: Final = r"""
    SELECT count(*) AS partners, max(coalesce(pair.last_state_change_timestamp, pair.created_at)) AS changed_at,
        min(coalesce(pair.last_state_change_timestamp, pair.created_at)) FILTER (
            WHERE pair.state <> 'READY'
        ) AS open_since,
        count(*) FILTER (WHERE pair.state IN ('CREATE_ERROR', 'DELETE_ERROR')) AS failed,
        count(*) FILTER (WHERE pair.state IN ('INITIAL', 'DELETING')) AS pending,
        count(*) FILTER (WHERE pair.state = 'CONFIG_PENDING') AS waiting,
        min(substring(pair.error FROM '"message": ?"(([^"\\]|\\.)*)"')) FILTER (
            WHERE pair.state IN ('CREATE_ERROR', 'DELETE_ERROR')
        ) AS error
    FROM formation_assignment pair WHERE pair.target = {t}.id AND pair.source <> {t}.id
"""
_UNTAKEN: Final = """
    LEFT JOIN heartbeat beat ON beat.runtime_id = {t}.id
    LEFT JOIN LATERAL (
        SELECT untaken_since_v1(beat.runtime_id, beat.synced_at) AS since
        WHERE beat.missed_from > now() AND beat.trouble IS NULL AND beat.synced_at < (SELECT newest_event_v1()) OFFSET 0
    ) untaken ON true
"""


def _instant(moment: str) -> str:
    return f"to_char(({moment}) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"


def _axis(name: str, cases: Sequence[Case]) -> str:
    """An axis as columns: how bad it is, the state, why, since when, until when. Those not asked for cost nothing."""
    columns: Mapping[str, Callable[[Case], str]] = {
        "health": lambda case: f"{case.health:d}",
        "state": lambda case: f"'{case.state}'",
        "reason": lambda case: case.reason,
        "since": lambda case: case.since if case.since == "NULL" else _instant(case.since),
        "until": lambda case: case.until if case.until == "NULL" else _instant(case.until),
    }
    made = []
    for column, value in columns.items():
        whens = " ".join(f"WHEN {case.when} THEN {value(case)}" for case in cases)
        made.append(f"CASE {whens} END AS {name}_{column}")
    return ", ".join(made)


_NO_HEARTBEAT: Final = (Case("true", Health.OK, "NONE"),)


def _source(kind: str) -> str:
    """The row of facts that a status is read from; `{t}` is the row of the application or runtime."""
    is_runtime = kind == "runtime"
    axes = ", ".join(
        (
            _axis("paired", _PAIRED),
            _axis("certificate", _CERTIFICATE),
            _axis("in_sync", _RUNTIME_IN_SYNC if is_runtime else _APPLICATION_IN_SYNC),
            _axis("heartbeat", _HEARTBEAT if is_runtime else _NO_HEARTBEAT),
        )
    )
    seen = f"greatest({_USED}, beat.seen_at)" if is_runtime else _USED
    said = {"version": "text", "revision": "bigint", "applications": "integer", "trouble": "text", "error": "text"}
    agent = ", ".join(f"beat.{name}" if is_runtime else f"NULL::{of} AS {name}" for name, of in said.items())
    return (
        f"(SELECT {axes}, {_instant(seen)} AS last_seen, {agent}, {'true' if is_runtime else 'false'} AS has_heart "
        f"FROM ({_FACTS.replace('{kind}', kind)}) facts LEFT JOIN ({_HELD}) held ON true CROSS JOIN ({_TOLD}) told"
        f"{_UNTAKEN if is_runtime else ''})"
    )


_WORST: Final = "greatest({t}.paired_health, {t}.certificate_health, {t}.in_sync_health, {t}.heartbeat_health)"


def _named(health: str) -> str:
    return f"(ARRAY[{', '.join(repr(each.name) for each in Health)}])[1 + {health}]"


def _shown(axis: str) -> Object:
    fields: dict[str, Field] = {"health": _named(f"{{t}}.{axis}_health")}
    fields |= {name: f"{axis}_{name}" for name in ("state", "reason", "since", "until")}
    return Object(fields, present="{t}.has_heart" if axis == "heartbeat" else "true")


CONNECTION_STATUS = Read(
    "ConnectionStatus",
    table="heartbeat",
    fields={
        "health": _named(_WORST),
        "paired": _shown("paired"),
        "certificate": _shown("certificate"),
        "inSync": _shown("in_sync"),
        "heartbeat": _shown("heartbeat"),
        "lastSeen": "last_seen",
        "agent": Object(
            {
                "version": "version",
                "revision": "revision",
                "applications": "applications",
                "trouble": "trouble",
                "error": "error",
            },
            present="{t}.version IS NOT NULL",
        ),
    },
)
READS = (CONNECTION_STATUS,)


def of(kind: str) -> One:
    """The field of an application or runtime; null when another application or runtime asks."""
    return One("ConnectionStatus", source=f"{_source(kind)} {{c}}", on=itself.alone("{t}.id"))


# Whatever may need attention, found by what is wrong in place of by working out how everything is: all of it for
# `{kind}`s that the tenant sees. Whether it does is then looked at one by one.
_SUSPECT: Final = f"""
    SELECT seen.{{kind}}_id FROM {{kind}}_tenant seen JOIN certificate held ON held.owner_id = seen.{{kind}}_id
    WHERE seen.tenant_id = {{tenant}} AND held.kind = 'client' AND held.fingerprint IS NOT NULL
    GROUP BY seen.{{kind}}_id HAVING NOT bool_or({_GOOD.replace("{row}", "held")})
    UNION ALL
    SELECT pair.target FROM formation_assignment pair JOIN {{kind}}_tenant seen ON seen.{{kind}}_id = pair.target
    WHERE seen.tenant_id = {{tenant}} AND pair.state IN ('CREATE_ERROR', 'DELETE_ERROR')
    UNION ALL
    SELECT one.id FROM {{kind}}_tenant seen JOIN {{kind}} one ON one.id = seen.{{kind}}_id
    WHERE seen.tenant_id = {{tenant}} AND one.status_condition = 'CONNECTED' AND NOT EXISTS (
        SELECT FROM system_auth auth WHERE auth.{{kind}}_id = one.id AND {_KNOWN_BY}
    )
"""
# One that is not looked after for as long as this may be behind.
_SUSPECT_BEAT: Final = """
    UNION ALL
    SELECT beat.runtime_id FROM runtime_tenant seen JOIN heartbeat beat ON beat.runtime_id = seen.runtime_id
    WHERE seen.tenant_id = {tenant} AND (
        beat.missed_from <= now() OR beat.trouble IS NOT NULL OR beat.synced_at IS NULL
        OR beat.synced_at < now() - beat.looks_every - interval '10 seconds'
    )
"""


def wanted(kind: str) -> str:
    """SQL for a search: true unless only what needs attention is asked for and `{c}` does not."""
    standing = _source(kind).replace("{t}", "{c}")
    needs = _WORST.replace("{t}", "standing")
    suspect = _SUSPECT.replace("{kind}", kind) + (_SUSPECT_BEAT if kind == "runtime" else "")
    return (
        f"({{arg:attention}}::boolean IS NOT TRUE OR ({{c}}.id IN ({suspect}) "
        f"AND (SELECT {needs} >= {Health.WARNING:d} FROM {standing} standing)))"
    )
