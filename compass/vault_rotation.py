"""Replacing the key that seals secrets, while the plane is up: `compass vault rotate`, then `compass vault retire`.

    rotate   adds a key to the key file, has it seal once every replica has it, and seals every secret anew under it
    retire   ends the former keys, once nothing is sealed under them any more

Which key does what stands in the key file, so a process that is killed has changed it or not; what is sealed under
which key stands in the secrets themselves. Either command goes on where it was interrupted, and does nothing when there
is nothing left to do. Secrets are replaced only where they are still the ones that were read, so callers may change
them meanwhile. See docs/adr/0021.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import asyncpg

from compass import vault as key_file
from compass.audit.keys import Keys as AuditKeys
from compass.audit.record import Done, Log
from compass.connector.rotation import REPLICA_LIVES_SECONDS
from compass.director.system_status import VaultRotated
from compass.errors import Code, CompassError
from compass.outbox.append import append
from compass.postgres.pool import Database, Tx
from compass.vault import Keys, SealBroken, Vault

BATCH: Final = 200
"""Secrets that are sealed anew in one transaction. Small: whoever changes one of them waits for the rest."""
FOLLOW_SECONDS: Final = 30.0
"""For replicas to take over what the key file says, and for transactions to end. The former need a second or two."""
_LOOK_AGAIN_SECONDS: Final = 0.2


@dataclass(frozen=True)
class Sealed:
    """A column that holds what the vault sealed, and the place that a row's secret is bound to."""

    table: str
    column: str
    place: str
    key: str = "id"
    """The primary key."""
    type: str = "uuid"
    """Of the primary key."""

    def __str__(self) -> str:
        return f"{self.table}.{self.column}"


# A new sealed column belongs here, and gets a trigger as in migration 0058: tests/test_vault_rotation.py looks for it.
SEALED: Final = (
    Sealed("application_template", "application_input_sealed", "application_template/{}"),
    Sealed("audit_key", "sealed_key", "audit_key/{}", type="text"),
    Sealed("authority", "sealed_key", "authority.sealed_key.{}", key="serial", type="text"),
    Sealed("bundle", "default_instance_auth_sealed", "bundle/{}"),
    Sealed("bundle_instance_auth", "auth_sealed", "bundle_instance_auth/{}"),
    Sealed("fetch_request", "auth_sealed", "fetch_request/{}"),
    Sealed("signing_key", "sealed_key", "signing_key/{}", type="text"),
    Sealed("system_auth", "auth_sealed", "system_auth/{}"),
    Sealed("webhook", "auth_sealed", "webhook/{}"),
    Sealed("webhook", "signing_secret_sealed", "webhook-signing/{}"),
)

# Errors


class KeysBehind(CompassError):
    """Replicas serve that do not have the keys of the key file. They look every second, each at its own file."""

    code = Code.CONCURRENT_OPERATION
    message = (
        "{count} of the replicas that serve do not use the key file as it is now: {places}; if they have copies of it,"
        " copy {path} to them; if they are of an older release or in trouble, stop them; then do this again"
    )
    retryable = True


class StillSealed(CompassError):
    """Secrets are sealed under a key that was to be retired."""

    code = Code.INVALID_OPERATION
    message = "under former keys are still sealed: {found}; first: compass vault rotate"


class RotationUnfinished(CompassError):
    """A key was added that does not seal yet."""

    code = Code.INVALID_OPERATION
    message = "the key {key} was added and does not seal yet; first: compass vault rotate"


class WritersUnfinished(CompassError):
    """Transactions that have written a secret are open, and what they wrote may be sealed under a former key."""

    code = Code.CONCURRENT_OPERATION
    message = "transactions that write secrets have been open for long; wait until they end, then do this again"
    retryable = True


# Commands


def made(phase: str, key: str) -> Done:
    """What is recorded of a phase in the audit log."""
    return Done(
        operation="rotateVaultKey",
        who={"consumer": "Operator", "consumerID": "", "flow": "Local"},
        tenant=None,
        request_id="",
        arguments={"phase": phase, "key": key},
        object_type="VaultKey",
    )


async def rotate(database: Database, path: Path) -> int:
    """Have a new key seal, and seal everything anew under it. How many secrets that were.

    While former keys are kept it adds none, and seals anew what is left. A transaction of three statements per `BATCH`
    secrets. Raises KeysBehind, KeyFileUnusable, and at the end SealBroken for a secret that does not open, which stays.
    Emits VaultRotated.
    """
    keys = key_file.add_next(path)
    await _until_replicas_have(database, path, keys)
    keys = key_file.let_next_seal(path)
    await _until_replicas_have(database, path, keys)
    vault = Vault(keys)
    await database.run(
        lambda tx: _told(tx, vault, SEALS, made("seal", keys.seals), VaultRotated(None, "sealing", keys.seals))
    )
    again, broken = 0, dict[str, SealBroken]()
    # Whoever was slow may have written something behind us, and is done by the time of another look.
    while changed := sum([await _seal_anew(database, vault, column, broken) for column in SEALED]):
        again += changed
    for problem in broken.values():
        raise problem
    return again


async def retire(database: Database, path: Path) -> Sequence[str]:
    """End the former keys: take them out of the key file. Which those were.

    From the moment that it is decided the database takes nothing that is sealed under them. Whoever writes a secret at
    that moment waits for one look through the sealed columns. Raises StillSealed, RotationUnfinished, KeysBehind,
    WritersUnfinished, KeyFileUnusable. Emits VaultRotated.
    """
    keys = key_file.read(path)
    if keys.next is not None:
        raise RotationUnfinished(key=keys.next)
    if not keys.former:
        return ()
    await database.run(lambda tx: _require_unused(tx, keys.former))  # before anybody has to wait
    await _until_replicas_have(database, path, keys)
    vault = Vault(keys)

    async def decide(tx: Tx) -> None:
        await tx.run(WAIT_AT_MOST)
        await tx.value(ALONE)
        await _require_unused(tx, keys.former)
        for key in keys.former:
            await _told(tx, vault, RETIRE, made("retire", key), VaultRotated(None, "retired", key))

    await _when_writers_let(database, decide)
    key_file.forget(path, keys.former)
    return keys.former


async def _told(tx: Tx, vault: Vault, statement: str, done: Done, event: VaultRotated) -> None:
    """Write down what became of a key, record it and announce it; nothing of that when it is written down already."""
    if await tx.run(statement, key=event.vault_key):
        await Log(await AuditKeys.open(tx, vault)).record(tx, done)
        await append(tx, event)


async def _seal_anew(database: Database, vault: Vault, column: Sealed, broken: dict[str, SealBroken]) -> int:
    """Once through the table. How many were sealed anew; those that do not open are put into `broken`."""

    def fresh(row: Any) -> str | None:
        place = column.place.format(row["id"])
        try:
            return vault.seal(place, vault.open(place, row["sealed"]))
        except SealBroken as problem:
            broken[place] = problem
            return None

    after, count = "", 0
    while True:

        async def batch(tx: Tx, after: str = after) -> tuple[str, int]:
            rows = await tx.rows(OTHERS[column], key=vault.key_ids[0], after=after, most=BATCH)
            if not rows:
                return "", 0
            changes = {
                "ids": [row["id"] for row in rows],
                "former": [row["sealed"] for row in rows],
                "fresh": [fresh(row) for row in rows],
            }
            return rows[-1]["id"], await tx.run(SEAL_ANEW[column], **changes)

        after, changed = await database.run(batch)
        if not after:
            return count
        count += changed


async def _require_unused(tx: Tx, former: Sequence[str]) -> None:
    found = await counted(tx)
    held = [f"{count} in {column} ({key})" for key in former for column, count in found.get(key, {}).items()]
    if held:
        raise StillSealed(found=", ".join(held))


async def _until_replicas_have(database: Database, path: Path, keys: Keys) -> None:
    until = time.monotonic() + FOLLOW_SECONDS
    while behind := [place for place, follows in await database.run(lambda tx: replicas(tx, keys)) if not follows]:
        if time.monotonic() > until:
            raise KeysBehind(count=str(len(behind)), places=", ".join(behind), path=str(path))
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _when_writers_let(database: Database, decide: Callable[[Tx], Awaitable[None]]) -> None:
    until = time.monotonic() + FOLLOW_SECONDS
    while True:
        try:
            return await database.run(decide)
        except asyncpg.LockNotAvailableError:
            if time.monotonic() > until:
                raise WritersUnfinished from None
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


SEALS: Final = """
-- vault.seals
INSERT INTO vault_key (id, sealing_since) VALUES (%(key)s, clock_timestamp()) ON CONFLICT (id) DO NOTHING
"""
# Nothing at all where it is retired already: also a row that is only held counts as a change, which would be recorded.
RETIRE: Final = """
-- vault.retire
INSERT INTO vault_key (id, retired_at) SELECT %(key)s, clock_timestamp()
WHERE NOT EXISTS (SELECT FROM vault_key WHERE id = %(key)s AND retired_at IS NOT NULL)
ON CONFLICT (id) DO UPDATE SET retired_at = excluded.retired_at
"""
# Whoever wants to write a secret meanwhile waits behind us, so we do not wait for long.
WAIT_AT_MOST: Final = """
-- vault.wait_at_most
SET LOCAL lock_timeout = '500ms'
"""
ALONE: Final = """
-- vault.alone
SELECT pg_advisory_xact_lock(hashtextextended('compass keys of the vault', 0))
"""
OTHERS: Final[Mapping[Sealed, str]] = {
    each: f"""
-- vault.others {each}
SELECT {each.key} AS id, {each.column} AS sealed FROM {each.table}
WHERE {each.column} IS NOT NULL AND split_part({each.column}, '.', 2) <> %(key)s AND {each.key} > %(after)s::{each.type}
ORDER BY {each.key} LIMIT %(most)s
"""
    for each in SEALED
}
SEAL_ANEW: Final[Mapping[Sealed, str]] = {
    each: f"""
-- vault.seal_anew {each}
UPDATE {each.table} AS kept SET {each.column} = given.fresh
FROM unnest(%(ids)s::{each.type}[], %(former)s::text[], %(fresh)s::text[]) AS given (id, former, fresh)
WHERE kept.{each.key} = given.id AND kept.{each.column} = given.former AND given.fresh IS NOT NULL
"""
    for each in SEALED
}

# How far it is


class State(StrEnum):
    """What a key does."""

    SEALS = "seals"
    NEXT = "next"
    """Was added, and does not seal yet."""
    FORMER = "former"
    """Opens what it sealed before."""
    RETIRED = "retired"
    """The database takes nothing any more that is sealed under it, and it is still in the key file."""
    MISSING = "missing"
    """Not in the key file: what is sealed under it cannot be opened."""


@dataclass(frozen=True)
class Known:
    """One key that is in the key file, or seals something."""

    key: str
    state: State
    secrets: Mapping[str, int]
    """How many it seals, by column."""
    since: datetime | None
    """When it took over; None for the first key of a plane."""


@dataclass(frozen=True)
class Standing:
    """How far a rotation is, and who follows."""

    keys: Sequence[Known]
    """The one that seals first."""
    replicas: Sequence[tuple[str, bool]]
    """Those that serve, and whether they have exactly the keys of the key file, and seal with the same."""

    @property
    def seals(self) -> str:
        """The key that seals."""
        return self.keys[0].key

    @property
    def next_step(self) -> str:
        """What an operator has to do; empty when nothing is."""
        states = {known.state for known in self.keys}
        if State.MISSING in states:
            return "put the missing keys back into vault.keys, from the backup that has them, below the first line"
        if State.NEXT in states or any(known.secrets for known in self.keys[1:]):
            return "compass vault rotate"
        return "compass vault retire" if len(self.keys) > 1 else ""


async def standing(tx: Tx, keys: Keys) -> Standing:
    """How far it is. Three statements."""
    secrets = await counted(tx)
    told = {row["id"]: row for row in await tx.rows(TOLD)}
    retired = {key for key, row in told.items() if row["retired_at"] is not None}
    since = {key: row["sealing_since"] for key, row in told.items()}

    def state(key: str) -> State:
        if key not in keys.by_id:
            return State.MISSING
        if key in retired:
            return State.RETIRED
        return {keys.seals: State.SEALS, keys.next: State.NEXT}.get(key, State.FORMER)

    every = (*keys.by_id, *sorted(secrets.keys() - keys.by_id))
    known = [Known(key, state(key), secrets.get(key, {}), since.get(key)) for key in every]
    return Standing(known, await replicas(tx, keys))


async def counted(tx: Tx) -> Mapping[str, Mapping[str, int]]:
    """How many secrets each key seals, by column. One statement, which reads all of them."""
    found: dict[str, dict[str, int]] = {}
    for row in await tx.rows(COUNTED):
        found.setdefault(row["key"], {})[row["place"]] = row["count"]
    return found


@dataclass(frozen=True)
class Held:
    """What one key seals in one column."""

    key: str
    count: int
    place: str
    """Of one of them."""
    sealed: str


async def held(tx: Tx) -> Sequence[Held]:
    """What seals what, with an example to open, also of a database that misses migrations.

    A statement per sealed column that there is, which reads all of it, and one more.
    """
    there = {row["place"] for row in await tx.rows(THERE)}
    return [
        Held(row["key"], row["count"], column.place.format(row["id"]), row["sealed"])
        for column in SEALED
        if str(column) in there
        for row in await tx.rows(EXAMPLES[column])
    ]


async def replicas(tx: Tx, keys: Keys) -> Sequence[tuple[str, bool]]:
    """Those that serve, and whether they have exactly these keys, and seal with the same. One statement."""
    rows = await tx.rows(REPLICAS, lives=REPLICA_LIVES_SECONDS)
    told = [(row["place"], (row["vault_keys"] or "").split()) for row in rows]
    return [(place, known[:1] == [keys.seals] and set(known) == set(keys.by_id)) for place, known in told]


COUNTED: Final = "-- vault.counted\n" + "\nUNION ALL ".join(
    f"SELECT '{each}' AS place, split_part({each.column}, '.', 2) AS key, count(*) FROM {each.table}"
    f" WHERE {each.column} IS NOT NULL GROUP BY 2"
    for each in SEALED
)
THERE: Final = """
-- vault.there
SELECT attrelid::regclass || '.' || attname AS place FROM pg_attribute
WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r')
    AND attname LIKE '%sealed%' AND NOT attisdropped
"""
EXAMPLES: Final[Mapping[Sealed, str]] = {
    each: f"""
-- vault.examples {each}
SELECT DISTINCT ON (key) split_part({each.column}, '.', 2) AS key, {each.key}::text AS id, {each.column} AS sealed,
    count(*) OVER (PARTITION BY split_part({each.column}, '.', 2)) AS count
FROM {each.table} WHERE {each.column} IS NOT NULL ORDER BY key, id
"""
    for each in SEALED
}
TOLD: Final = """
-- vault.told
SELECT id, sealing_since, retired_at FROM vault_key
"""
REPLICAS: Final = """
-- vault.replicas
SELECT place, vault_keys FROM authority_replica
WHERE seen_at > clock_timestamp() - make_interval(secs => %(lives)s) ORDER BY place
"""
