"""Sealing: records that committed are put into their chains, and each checkpoint is signed.

One replica at a time does it, once a second while there is something to seal. Within a checkpoint the order is that of
the database's clock; a record that commits later than another's checkpoint is in a later one. So the log's order never
contradicts that of the commits, and no writer waits for it.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import orjson

from compass.audit.chain import BEGINNING, Batch, Checkpoint, Forgotten, Record, digest_of
from compass.audit.keys import Keys
from compass.postgres.pool import AWAY, Database, Tx

_log = logging.getLogger(__name__)

_EVERY_SECONDS: Final = 1.0
"""How long a record may wait to be sealed, while the database keeps up."""
_MOST: Final = 1000
"""Records of one checkpoint."""
_FORGOTTEN_AT_ONCE: Final = 50
"""Checkpoints that one transaction removes, with their records."""
ANCHOR: Final = "audit.anchor"
"""In the data folder, outside of the database: the last checkpoint that this plane made."""

WAITING: Final = """
-- audit.waiting
SELECT EXISTS (
    SELECT FROM audit_unsealed
    CROSS JOIN LATERAL (SELECT FROM audit_record WHERE id = audit_unsealed.record_id OFFSET 0) AS record
) AS waiting
"""
ALONE = """
-- audit.alone
SELECT pg_try_advisory_xact_lock(hashtext('compass.audit.seal'))
"""
# Record by record (OFFSET 0): joined in any other way, all that was ever sealed would be read to find what is not.
UNSEALED = """
-- audit.unsealed
SELECT record.*
FROM audit_unsealed CROSS JOIN LATERAL (
    SELECT id, tenant_id, happened_at, body, before, after, mac FROM audit_record
    WHERE id = audit_unsealed.record_id OFFSET 0
) AS record
ORDER BY audit_unsealed.record_id
LIMIT %(most)s
"""
LAST = """
-- audit.last
SELECT (SELECT body FROM audit_checkpoint ORDER BY number DESC LIMIT 1) AS body,
    (SELECT body FROM audit_forgotten ORDER BY through DESC LIMIT 1) AS forgotten, clock_timestamp() AS at
"""
HEADS = """
-- audit.heads
SELECT last.body
FROM unnest(%(chains)s::uuid[]) AS wanted (chain) CROSS JOIN LATERAL (
    SELECT body FROM audit_batch WHERE audit_batch.chain = wanted.chain ORDER BY checkpoint DESC LIMIT 1
) AS last
"""
SEAL = """
-- audit.seal
WITH batches AS (
    INSERT INTO audit_batch (checkpoint, chain, body)
    SELECT %(number)s, batch.chain, batch.body
    FROM unnest(%(chains)s::uuid[], %(bodies)s::text[]) AS batch (chain, body)
), sealed AS (
    DELETE FROM audit_unsealed WHERE record_id = ANY (%(records)s::uuid[])
)
INSERT INTO audit_checkpoint (number, body, signature) VALUES (%(number)s, %(body)s, %(signature)s)
"""
AT_ANCHOR = """
-- audit.at_anchor
SELECT body FROM audit_checkpoint WHERE number = %(number)s
"""


def record_of(row: Any) -> Record:
    """A record from its row."""
    return Record(
        row["id"],
        row["tenant_id"],
        row["happened_at"].isoformat(timespec="microseconds"),
        row["body"],
        row["before"],
        row["after"],
        bytes(row["mac"]),
    )


async def seal(tx: Tx, keys: Keys) -> Checkpoint | None:
    """Seal what waits, at most `_MOST` records. None when there is nothing, or another replica is at it.

    Five statements, whatever the number of records and tenants.
    """
    if not await tx.value(ALONE):
        return None
    # Ids begin with the time of the processes that made them. The database's own decides; sorting all that waits by it,
    # each time, would cost the square of what an outage left behind.
    records = sorted(
        (record_of(row) for row in await tx.rows(UNSEALED, most=_MOST)), key=lambda one: (one.happened_at, one.id)
    )
    if not records:
        return None
    last = await tx.row(LAST)
    if last is None:
        raise AssertionError("a SELECT without FROM has one row")
    number, previous = _end(last["body"], last["forgotten"])
    chains: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        chains[record.chain].append(record)
    heads = {
        batch.chain: (batch, digest_of(row["body"]))
        for row in await tx.rows(HEADS, chains=sorted(chains))
        for batch in [Batch.read(row["body"])]
    }
    batches = [_batch(number, chain, chains[chain], heads.get(chain)) for chain in sorted(chains)]
    bodies = [batch.text() for batch in batches]
    at = last["at"].isoformat(timespec="microseconds")
    checkpoint = Checkpoint(number, previous, at, keys.current.name, [digest_of(body) for body in bodies])
    text = checkpoint.text()
    await tx.run(
        SEAL,
        number=number,
        chains=[batch.chain for batch in batches],
        bodies=bodies,
        records=[record.id for record in records],
        body=text,
        signature=keys.current.sign(text),
    )
    return checkpoint


def _end(last: str | None, forgotten: str | None) -> tuple[int, str]:
    """The number of the next checkpoint, and the digest of the one before."""
    if last is not None:
        return Checkpoint.read(last).number + 1, digest_of(last)
    if forgotten is not None:
        note = Forgotten.read(forgotten)
        return note.through + 1, note.digest
    return 1, BEGINNING


def _batch(checkpoint: int, chain: str, records: Sequence[Record], head: tuple[Batch, str] | None) -> Batch:
    first, previous = (1, BEGINNING) if head is None else (head[0].next, head[1])
    return Batch(chain, checkpoint, first, previous, [(record.id, record.digest()) for record in records])


OLDEST = """
-- audit.oldest
SELECT body, signature FROM audit_checkpoint ORDER BY number LIMIT %(most)s
"""
FORGET = """
-- audit.forget
WITH noted AS (
    INSERT INTO audit_forgotten (through, body, signature) VALUES (%(through)s, %(body)s, %(signature)s)
), notes AS (
    DELETE FROM audit_forgotten
), checkpoints AS (
    DELETE FROM audit_checkpoint WHERE number <= %(through)s
), batches AS (
    DELETE FROM audit_batch WHERE checkpoint <= %(through)s RETURNING body
)
DELETE FROM audit_record WHERE id IN (
    SELECT (record ->> 0)::uuid FROM batches, json_array_elements(batches.body::json -> 'records') AS record
)
"""


async def forget(tx: Tx, keys: Keys, keep_for: timedelta) -> bool:
    """Remove the oldest checkpoints with their records, when they are older than that. Whether there may be more.

    What is left begins with a signed note of what is gone. Four statements. How old a checkpoint is says what was
    signed: with rows that anybody can write to, the plane would cut its log on request.
    """
    if not await tx.value(ALONE):
        return False
    row = await tx.row(LAST)
    if row is None:
        raise AssertionError("a SELECT without FROM has one row")
    texts = []
    for oldest in await tx.rows(OLDEST, most=_FORGOTTEN_AT_ONCE):
        checkpoint = Checkpoint.read(oldest["body"])
        key = keys.get(checkpoint.key)
        is_signed = key is not None and key.signed(oldest["body"], bytes(oldest["signature"]))
        if not is_signed or row["at"] - datetime.fromisoformat(checkpoint.at) <= keep_for:
            break
        texts.append((checkpoint.number, oldest["body"]))
    if not texts:
        return False
    through, removed = texts[-1]
    at = row["at"].isoformat(timespec="microseconds")
    text = Forgotten(through, digest_of(removed), at, keys.current.name).text()
    await tx.run(FORGET, through=through, body=text, signature=keys.current.sign(text))
    return True


class Sealer:
    """Seals for as long as it runs. One per replica; one of them is at work at any time."""

    def __init__(self, database: Database, keys: Keys, folder: Path) -> None:
        self._database = database
        self._keys = keys
        self._anchor = Anchor(folder / ANCHOR)

    async def run(self) -> None:
        """Seal until cancelled."""
        while True:
            try:
                while await self.once():
                    pass
            except AWAY as error:
                _log.warning("audit records wait to be sealed: %s", type(error).__name__)
            except Exception:  # noqa: BLE001  # the edge: what waits stays, and a sealer that ended would not be noticed
                _log.exception("audit records could not be sealed; tried again in a moment")
            await asyncio.sleep(_EVERY_SECONDS)

    async def once(self) -> bool:
        """Make one checkpoint if there is something to seal. Whether it did."""
        if not (await self._database.read(WAITING, []))["waiting"]:
            return False
        checkpoint = await self._database.run(lambda tx: seal(tx, self._keys))
        if checkpoint is None:
            return False
        await self._keep(checkpoint)
        return True

    async def _keep(self, checkpoint: Checkpoint) -> None:
        """Move the anchor on, unless the log does not hold any more what it points to."""
        kept = self._anchor.read()
        if kept is not None and kept != (checkpoint.number - 1, checkpoint.previous):
            number, digest = kept
            async with self._database.transaction() as tx:
                found = await tx.value(AT_ANCHOR, number=number)
                last = await tx.row(LAST)
            note = last and last["forgotten"] and Forgotten.read(last["forgotten"])
            was_forgotten = note and number <= note.through
            if not was_forgotten and (found is None or digest_of(found) != digest):
                _log.error(
                    "the audit log does not hold checkpoint %s any more as this plane made it: it was cut or replaced, "
                    "or an older backup was restored; compass audit verify says more, and %s was left as it is",
                    number,
                    self._anchor.path,
                )
                return
        self._anchor.write(checkpoint.number, digest_of(checkpoint.text()))


class Anchor:
    """The file that says how far the log had come."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> tuple[int, str] | None:
        """Number and digest of the last checkpoint; None when there is no file, or it is not ours."""
        try:
            given = orjson.loads(self.path.read_bytes())
            return int(given["number"]), str(given["digest"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, number: int, digest: str) -> None:
        """Whole or not at all. A disk that is full is no reason to stop sealing: the anchor then lags behind."""
        draft = self.path.with_name(f".{self.path.name}")
        try:
            draft.write_bytes(orjson.dumps({"number": number, "digest": digest}) + b"\n")
            draft.replace(self.path)
        except OSError as error:
            _log.warning("the anchor of the audit log was not written: %s", error.strerror)
