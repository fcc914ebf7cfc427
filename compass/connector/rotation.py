"""Replacing the authority while clients are connected, in phases that an operator begins: `compass ca rotate …`.

    prepare      a new root and issuing certificate are made, in the database; nobody trusts them yet
    distribute   every replica trusts them, and clients that ask for the trusted authorities get both
    activate     the new one signs; the former is still trusted, and listeners show a chain that leads to either root
    retire       the former is trusted no more, once nothing that is in use hangs on it
    abort        what was prepared is given up; what was activated is undone, and the new one is retired in its stead

The phase is a column of `authority`, and each change is one transaction: a process that is killed has changed all or
nothing, and a phase that was reached already is reached again by doing nothing. One at a time changes the phase.
Replicas follow within a second, see `authority.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from compass.audit.record import Done
from compass.connector import authority
from compass.connector.authority import State
from compass.connector.issuer import is_ending
from compass.errors import Code, CompassError
from compass.ids import TenantId
from compass.outbox.append import append
from compass.outbox.events import Event
from compass.postgres.pool import Tx
from compass.settings import AuthoritySettings
from compass.vault import Vault

REPLICA_LIVES_SECONDS: Final = 10.0
"""A replica that did not say for this long that it serves is taken for gone: it says so every three seconds."""
_MOST_NAMED: Final = 10
"""Clients that are named one by one."""

# Errors


class NothingPrepared(CompassError):
    """The phase needs a new authority, and none was prepared."""

    code = Code.INVALID_OPERATION
    message = "no new authority was prepared; begin with: compass ca rotate prepare"


class NotDistributed(CompassError):
    """The new authority is not trusted yet, so what it signs would be refused."""

    code = Code.INVALID_OPERATION
    message = "the new authority is not trusted by anybody yet; first: compass ca rotate distribute"


class RotationUnfinished(CompassError):
    """A former authority is still trusted; a third one would have no chain to it."""

    code = Code.INVALID_OPERATION
    message = "the authority {serial} of the rotation before is still trusted; first: compass ca rotate retire"


class ReplicasBehind(CompassError):
    """Replicas serve that have not taken over the phase before. They do within seconds, unless they are in trouble."""

    code = Code.CONCURRENT_OPERATION
    message = "{count} of the replicas that serve have not taken over the authorities yet: {places}; wait, or stop them"
    retryable = True


class StillInUse(CompassError):
    """Clients would be locked out."""

    code = Code.INVALID_OPERATION
    message = (
        "{count} clients have no certificate of the new authority that was seen in use: {clients}; wait for their "
        "renewal, revoke what is not used any more, or lock them out with --force"
    )


# Events


@dataclass(frozen=True)
class AuthorityRotated(Event):
    """The certificate authority entered a phase of its replacement. `serial` is of the new issuing certificate."""

    tenant: TenantId | None
    phase: str
    serial: str
    forced: bool


def made(phase: str, *, force: bool) -> Done:
    """What is recorded of a phase in the audit log."""
    return Done(
        operation="rotateAuthority",
        who={"consumer": "Operator", "consumerID": "", "flow": "Local"},
        tenant=None,
        request_id="",
        arguments={"phase": phase, "force": force},
        object_type="Authority",
    )


# Commands


async def prepare(tx: Tx, vault: Vault, settings: AuthoritySettings) -> None:
    """Make a new root and issuing certificate, unless they are prepared already. Six statements.

    Raises RotationUnfinished, SignerFailed, SealBroken. Emits AuthorityRotated.
    """
    now = await _held(tx)
    if State.REPLACED in now:
        raise RotationUnfinished(serial=now[State.REPLACED])
    if State.PREPARED in now or State.DISTRIBUTED in now:
        return
    serial = await authority.add(tx, vault, settings, state=State.PREPARED)
    if serial is None:
        raise AssertionError("only an active one gives way")
    await _announce(tx, "prepared", serial)


async def distribute(tx: Tx) -> None:
    """Have every replica trust what was prepared, and hand it out. Four statements.

    Raises NothingPrepared. Emits AuthorityRotated.
    """
    now = await _held(tx)
    if State.DISTRIBUTED in now or State.REPLACED in now:
        return
    if State.PREPARED not in now:
        raise NothingPrepared
    await _move(tx, now[State.PREPARED], State.DISTRIBUTED)
    await _announce(tx, "distributed", now[State.PREPARED])


async def activate(tx: Tx) -> None:
    """Have the new authority sign from now on. Six statements.

    Raises NothingPrepared, NotDistributed, and ReplicasBehind while one would refuse what it signs. Emits
    AuthorityRotated.
    """
    now = await _held(tx)
    if State.REPLACED in now:
        return
    if State.PREPARED in now:
        raise NotDistributed
    if State.DISTRIBUTED not in now:
        raise NothingPrepared
    await _require_replicas(tx)
    await _move(tx, now[State.ACTIVE], State.REPLACED)
    await _move(tx, now[State.DISTRIBUTED], State.ACTIVE)
    await _announce(tx, "activated", now[State.DISTRIBUTED])


async def retire(tx: Tx, *, force: bool) -> None:
    """Trust the former authority no more. Six statements; with `force`, whoever hangs on it has to pair again.

    Raises StillInUse, ReplicasBehind. Emits AuthorityRotated.
    """
    now = await _held(tx)
    if State.REPLACED not in now:
        return
    former = now[State.REPLACED]
    # Whoever was about to sign with it has committed when this returns, and is counted; or waits, and then does not.
    await tx.run(HOLD_ISSUING, serial=former)
    if not force:
        await _require_replicas(tx)
        hanging = await tx.rows(HANGING, former=former, most=_MOST_NAMED)
        if hanging:
            raise StillInUse(count=str(hanging[0]["all"]), clients=_named(hanging))
    await _move(tx, former, State.RETIRED)
    await _announce(tx, "retired", now[State.ACTIVE], forced=force)


async def abort(tx: Tx) -> None:
    """Give up what was prepared or distributed; have the former authority sign again, if it was activated already.

    The new one is then trusted like a former one, until `retire`. Six statements. Emits AuthorityRotated.
    """
    now = await _held(tx)
    begun = now.get(State.PREPARED) or now.get(State.DISTRIBUTED)
    if begun is not None:
        await _move(tx, begun, State.ABORTED)
        await _announce(tx, "aborted", begun)
    elif State.REPLACED in now:
        await _require_replicas(tx)
        await _move(tx, now[State.ACTIVE], State.REPLACED)
        await _move(tx, now[State.REPLACED], State.ACTIVE)
        await _announce(tx, "aborted", now[State.ACTIVE])


async def _held(tx: Tx) -> dict[State, str]:
    """The serials of the issuing certificates by state, while nobody else can change one."""
    await tx.value(HOLD)
    return {State(row["state"]): row["serial"] for row in await tx.rows(STATES)}


async def _require_replicas(tx: Tx) -> None:
    behind = [row["place"] for row in await tx.rows(BEHIND, lives=REPLICA_LIVES_SECONDS)]
    if behind:
        raise ReplicasBehind(count=str(len(behind)), places=", ".join(behind))


async def _move(tx: Tx, issuing: str, state: State) -> None:
    await tx.run(MOVE, serial=issuing, state=state.value, ends=state in (State.RETIRED, State.ABORTED))


async def _announce(tx: Tx, phase: str, serial: str, *, forced: bool = False) -> None:
    await tx.value(TELL)
    await append(tx, AuthorityRotated(None, phase, serial, forced))


def _named(hanging: Sequence[Any]) -> str:
    named = [f"{row['owner_kind']} {row['owner_id']} (client {row['client']}, until {row['ends']})" for row in hanging]
    return "; ".join(named) + ("; …" if hanging[0]["all"] > len(hanging) else "")


HOLD = """
-- rotation.hold
SELECT pg_advisory_xact_lock(hashtextextended('compass rotation of the authority', 0))
"""
STATES = """
-- rotation.states
SELECT serial, state FROM authority
WHERE kind = 'issuing' AND state IN ('prepared', 'distributed', 'active', 'replaced')
"""
HOLD_ISSUING = """
-- rotation.hold_issuing
SELECT FROM authority WHERE serial = %(serial)s FOR UPDATE
"""
MOVE = """
-- rotation.move
UPDATE authority
SET state = %(state)s, changed_at = clock_timestamp(),
    retired_at = CASE WHEN %(ends)s THEN clock_timestamp() END
WHERE serial = %(serial)s
   OR serial = (SELECT issuing.signed_by FROM authority issuing WHERE issuing.serial = %(serial)s)
"""
TELL = """
-- rotation.tell
SELECT pg_notify('access', 'authority')
"""
BEHIND = """
-- rotation.behind
SELECT place FROM authority_replica
WHERE seen_at > clock_timestamp() - make_interval(secs => %(lives)s) AND knows <> (
    SELECT coalesce(string_agg(serial || ':' || state, ',' ORDER BY (serial || ':' || state) COLLATE "C"), '')
    FROM authority WHERE kind = 'issuing' AND state IN ('distributed', 'active', 'replaced')
)
ORDER BY place
"""
# In use: the certificate may still be shown, and no later one of its line was, that another authority signed. A client
# that renewed has shown the new one; what it has of the former is of no interest any more.
IN_USE: Final = """
held.kind = 'client' AND held.fingerprint IS NOT NULL AND held.revoked_at IS NULL AND held.not_after > now()
    AND NOT EXISTS (
        SELECT FROM certificate later
        WHERE later.lineage = held.lineage AND later.signed_by <> held.signed_by AND later.revoked_at IS NULL
          AND later.intended_at > held.intended_at
          AND (later.last_used_at IS NOT NULL OR later.knows_authorities IS NOT NULL)
    )
"""
HANGING = f"""
-- rotation.hanging
SELECT held.owner_kind, held.owner_id, held.system_auth_id AS client, max(held.not_after)::date AS ends,
    count(*) OVER () AS all
FROM certificate held WHERE held.signed_by = %(former)s AND {IN_USE}
GROUP BY held.owner_kind, held.owner_id, held.system_auth_id
ORDER BY held.system_auth_id LIMIT %(most)s
"""

# How far it is


@dataclass(frozen=True)
class Known:
    """One authority that was not given up."""

    state: State
    serial: str
    pin: str
    """`sha256:…` of the root."""
    ends: datetime
    """Of the issuing certificate."""
    is_ending: bool
    """Less than a fifth of its life is left: time for a rotation."""
    key: str
    """Who holds the issuing key."""
    clients: int
    """Clients whose certificate in use it signed."""


@dataclass(frozen=True)
class Standing:
    """How far a rotation is, and who follows."""

    authorities: Sequence[Known]
    replicas: Sequence[tuple[str, bool]]
    """Those that serve, and whether they have taken over what is trusted now."""
    following: int
    """Clients that ask for the trusted authorities, by what they said last."""
    behind: int
    """Those of them that do not have the present ones yet."""


async def standing(tx: Tx) -> Standing:
    """How far it is. Four statements."""
    rows = await tx.rows(AUTHORITIES)
    replicas = {row["place"]: True for row in await tx.rows(LIVING, lives=REPLICA_LIVES_SECONDS)}
    replicas |= {row["place"]: False for row in await tx.rows(BEHIND, lives=REPLICA_LIVES_SECONDS)}
    trusted = [row for row in rows if row["state"] != State.PREPARED]
    version = authority.version_of([row["root"] for row in trusted], [row["certificate"] for row in trusted])
    clients = await tx.row(FOLLOWING, version=version)
    if clients is None:
        raise AssertionError("an aggregate always has one row")
    return Standing([_described(row) for row in rows], sorted(replicas.items()), clients["all"], clients["behind"])


def _described(row: Any) -> Known:
    issuing = x509.load_pem_x509_certificate(row["certificate"].encode())
    root = x509.load_pem_x509_certificate(row["root"].encode())
    return Known(
        state=State(row["state"]),
        serial=row["serial"],
        pin=f"sha256:{root.fingerprint(hashes.SHA256()).hex()}",
        ends=issuing.not_valid_after_utc,
        is_ending=is_ending(issuing, datetime.now(UTC)),
        key="sealed in the database" if row["signer_key"] is None else f"external signer: {row['signer_key']}",
        clients=row["clients"],
    )


# Those that are trusted as `authority.trusted` has them.
AUTHORITIES = f"""
-- rotation.authorities
SELECT issuing.serial, issuing.state, issuing.certificate, issuing.signer_key, root.certificate AS root,
    (
        SELECT count(DISTINCT held.system_auth_id) FROM certificate held
        WHERE held.signed_by = issuing.serial AND {IN_USE}
    ) AS clients
FROM authority issuing JOIN authority root ON root.serial = issuing.signed_by
WHERE issuing.kind = 'issuing' AND issuing.state IN ('prepared', 'distributed', 'active', 'replaced')
ORDER BY issuing.state = 'active' DESC, issuing.created_at DESC
"""
LIVING = """
-- rotation.living
SELECT place FROM authority_replica
WHERE seen_at > clock_timestamp() - make_interval(secs => %(lives)s)
"""
FOLLOWING = f"""
-- rotation.following
SELECT count(DISTINCT held.system_auth_id) AS all,
    count(DISTINCT held.system_auth_id) FILTER (WHERE held.knows_authorities <> %(version)s) AS behind
FROM certificate held WHERE held.knows_authorities IS NOT NULL AND {IN_USE}
"""
