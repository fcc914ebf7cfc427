"""The whole log, read once from its beginning: to check it, or to export it and check the copy.

An export is JSON lines: first the public keys, then a note of what retention removed if it did, then every checkpoint,
each followed by the records that it seals. Records that wait to be sealed are not in it.
"""

import base64
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import orjson

from compass.audit.chain import NOBODYS, Batch, Record, digest_of
from compass.audit.check import Checker, Kind, Problem, Sealed, named
from compass.audit.keys import Keys, PublicKey
from compass.audit.seal import record_of
from compass.postgres.pool import Tx

_PAGE: Final = 200
"""Checkpoints that are read at once."""
_RECORDS: Final = 2000
"""Records that are read at once, about."""
FORMAT: Final = "compass audit log 1"

ONE_SNAPSHOT = """
-- audit.one_snapshot
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY
"""
FORGOTTEN = """
-- audit.forgotten
SELECT body, signature FROM audit_forgotten ORDER BY through DESC LIMIT 1
"""
CHECKPOINTS = """
-- audit.checkpoints
SELECT number, body, signature FROM audit_checkpoint WHERE number > %(after)s ORDER BY number LIMIT %(most)s
"""
BATCHES = """
-- audit.batches
SELECT checkpoint, body FROM audit_batch WHERE checkpoint = ANY (%(checkpoints)s::bigint[]) ORDER BY checkpoint, chain
"""
RECORDS = """
-- audit.records
SELECT id, tenant_id, happened_at, body, before, after, mac FROM audit_record WHERE id = ANY (%(ids)s::uuid[])
"""
QUEUED = """
-- audit.queued
SELECT audit_unsealed.record_id, record.*
FROM audit_unsealed LEFT JOIN audit_record record ON record.id = audit_unsealed.record_id
ORDER BY audit_unsealed.record_id
"""
COUNTED = """
-- audit.counted
SELECT (SELECT count(*) FROM audit_record) AS records, (
    SELECT count(*) FROM audit_batch
    WHERE NOT EXISTS (SELECT FROM audit_checkpoint WHERE audit_checkpoint.number = audit_batch.checkpoint)
) AS loose
"""
ALL_BATCHES = """
-- audit.all_batches
SELECT checkpoint, chain, body FROM audit_batch WHERE (checkpoint, chain) > (%(checkpoint)s, %(chain)s::uuid)
ORDER BY checkpoint, chain LIMIT %(most)s
"""
ALL_RECORDS = """
-- audit.all_records
SELECT record.id, tenant_id, happened_at, body, before, after, mac FROM audit_record record
WHERE record.id > %(after)s::uuid
    AND NOT EXISTS (SELECT FROM audit_unsealed WHERE audit_unsealed.record_id = record.id)
ORDER BY record.id LIMIT %(most)s
"""


@dataclass(frozen=True)
class Checked:
    """What a check found."""

    problems: Sequence[Problem]
    """In the order of the log."""
    records: int
    checkpoints: int
    waiting: int = 0
    """Records that are not sealed yet."""


async def sealed_in(tx: Tx, after: int = 0) -> AsyncIterator[Sealed]:
    """The checkpoints after that one, with all they seal."""
    while True:
        page = await tx.rows(CHECKPOINTS, after=after, most=_PAGE)
        if not page:
            return
        after = page[-1]["number"]
        rows = await tx.rows(BATCHES, checkpoints=[row["number"] for row in page])
        batches = {number: [row["body"] for row in of] for number, of in groupby(rows, lambda row: row["checkpoint"])}
        for some in _portions(page, batches):
            ids = sorted({name for row in some for name in _names(batches.get(row["number"], []))})
            records = {row["id"]: record_of(row) for row in await tx.rows(RECORDS, ids=ids)}
            for row in some:
                yield Sealed(
                    row["number"],
                    row["body"],
                    bytes(row["signature"]),
                    batches.get(row["number"], []),
                    records,
                )


def _portions(page: Sequence[Any], batches: Mapping[int, Sequence[str]]) -> Iterator[list[Any]]:
    some: list[Any] = []
    amount = 0
    for row in page:
        some.append(row)
        amount += sum(1 for _ in _names(batches.get(row["number"], [])))
        if amount >= _RECORDS:
            yield some
            some, amount = [], 0
    if some:
        yield some


def _names(batches: Iterable[str]) -> Iterator[str]:
    for text in batches:
        try:
            yield from (name for name, _ in Batch.read(text).records)
        except ValueError:
            continue  # the check says so


async def one_snapshot(tx: Tx) -> None:
    """See the log as it is now until the transaction ends, in which nothing may have been done yet."""
    await tx.run(ONE_SNAPSHOT)


async def check(tx: Tx, keys: Mapping[str, PublicKey], anchors: Mapping[int, str] | None = None) -> Checked:
    """Check the log of a database, in a transaction of `one_snapshot`.

    `anchors`: digests of checkpoints by number, from outside of the database.
    """
    checker = Checker(keys, anchors or {})
    problems: list[Problem] = []
    note = await tx.row(FORGOTTEN)
    if note is not None:
        problems += checker.begins_after(note["body"], bytes(note["signature"]))
    checkpoints = 0
    async for sealed in sealed_in(tx):
        checkpoints += 1
        problems += checker.check(sealed)
    problems += checker.end()
    waiting = 0
    for row in await tx.rows(QUEUED):
        if row["id"] is None:
            problems.append(Problem(Kind.MISSING, f"{row['record_id']}, which waited to be sealed"))
            continue
        waiting += 1
        if problem := checker.problem_of(record_of(row), "which waits to be sealed"):
            problems.append(problem)
    counted = await tx.row(COUNTED)
    if counted is None:
        raise AssertionError("a SELECT without FROM has one row")
    if counted["loose"]:
        problems.append(Problem(Kind.MISSING, f"the checkpoints of {counted['loose']} batches"))
    if counted["records"] != checker.records + waiting:
        problems += [problem async for problem in _loose(tx, checker)]
    return Checked(problems, checker.records, checkpoints, waiting)


async def _loose(tx: Tx, checker: Checker) -> AsyncIterator[Problem]:
    """The records that no checkpoint names and that wait for none."""
    listed: set[str] = set()
    checkpoint, chain = 0, NOBODYS
    while rows := await tx.rows(ALL_BATCHES, checkpoint=checkpoint, chain=chain, most=_PAGE):
        checkpoint, chain = rows[-1]["checkpoint"], rows[-1]["chain"]
        listed.update(_names(row["body"] for row in rows))
    after = NOBODYS  # the smallest UUID
    while rows := await tx.rows(ALL_RECORDS, after=after, most=_RECORDS):
        after = rows[-1]["id"]
        for record in map(record_of, rows):
            if record.id in listed:
                continue
            yield checker.problem_of(record, "in no checkpoint") or Problem(
                Kind.MOVED, f"{named(record)} is in no checkpoint any more"
            )


async def export(tx: Tx, keys: Keys | None, after: int = 0) -> AsyncIterator[bytes]:
    """The log as lines, from after that checkpoint, in a transaction of `one_snapshot`."""
    public = {name: key.text for name, key in (keys or {}).items()}
    yield orjson.dumps({"log": FORMAT, "keys": public, "after": after}) + b"\n"
    note = await tx.row(FORGOTTEN)
    if note is not None and not after:
        yield orjson.dumps({"forgotten": {"body": note["body"], "signature": _base64(note["signature"])}}) + b"\n"
    async for sealed in sealed_in(tx, after):
        yield (
            orjson.dumps(
                {
                    "checkpoint": {
                        "number": sealed.number,
                        "body": sealed.text,
                        "signature": _base64(sealed.signature),
                        "batches": sealed.batches,
                    }
                }
            )
            + b"\n"
        )
        for name in _names(sealed.batches):
            if name in sealed.records:
                yield orjson.dumps({"record": _shown(sealed.records[name])}) + b"\n"


def _shown(record: Record) -> Mapping[str, Any]:
    return {
        "id": record.id,
        "tenant": record.tenant,
        "happenedAt": record.happened_at,
        "body": orjson.loads(record.body),
        "before": None if record.before is None else orjson.loads(record.before),
        "after": None if record.after is None else orjson.loads(record.after),
        "mac": record.mac.hex(),
    }


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


class NotAnExport(ValueError):
    """A line of a file is not what an export has there."""


def _record(given: Mapping[str, Any]) -> Record:
    return Record(
        str(given["id"]),
        None if given["tenant"] is None else str(given["tenant"]),
        str(given["happenedAt"]),
        orjson.dumps(given["body"]),
        None if given["before"] is None else orjson.dumps(given["before"]),
        None if given["after"] is None else orjson.dumps(given["after"]),
        bytes.fromhex(given["mac"]),
    )


@dataclass
class Copy:
    """An exported log, read line by line."""

    keys: Mapping[str, PublicKey]
    """Those that it says it was signed with."""
    after: int
    """The checkpoint that it begins after, when it holds the later part of a log only."""
    _lines: Iterator[bytes]

    @classmethod
    def read(cls, lines: Iterable[bytes]) -> "Copy":
        """Begin to read. Raises NotAnExport."""
        rest = iter(lines)
        try:
            head = orjson.loads(next(rest, b""))
            if head["log"] != FORMAT:
                raise NotAnExport("it has another format")
            keys = {str(name): PublicKey.read(str(name), text) for name, text in head["keys"].items()}
            return cls(keys, int(head["after"]), rest)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NotAnExport(f"its first line is not that of an export: {error}") from error

    def check(self, keys: Mapping[str, PublicKey], anchors: Mapping[int, str] | None = None) -> Checked:
        """Check it against keys that are believed. Raises NotAnExport."""
        checker = Checker(keys, anchors or {})
        if self.after:
            checker.continues_after(self.after)
        problems: list[Problem] = []
        checkpoints = 0
        for entry in self._entries():
            if isinstance(entry, Sealed):
                checkpoints += 1
                problems += checker.check(entry)
            else:
                problems += checker.begins_after(*entry)
        problems += checker.end()
        return Checked(problems, checker.records, checkpoints)

    def anchors(self) -> dict[int, str]:
        """The digests of its checkpoints, by number: what a database must still hold. Raises NotAnExport."""
        return {entry.number: digest_of(entry.text) for entry in self._entries() if isinstance(entry, Sealed)}

    def _entries(self) -> Iterator[Sealed | tuple[str, bytes]]:
        sealed: Sealed | None = None
        records: dict[str, Record] = {}
        for number, line in enumerate(self._lines, start=2):
            try:
                match orjson.loads(line):
                    case {"forgotten": note}:
                        yield str(note["body"]), base64.b64decode(note["signature"], validate=True)
                    case {"checkpoint": given}:
                        if sealed is not None:
                            yield sealed
                        records = {}
                        sealed = _sealed(given, records)
                    case {"record": given}:
                        record = _record(given)
                        records[record.id] = record
                    case _:
                        raise NotAnExport("it is none of an export")
            except (ValueError, KeyError, TypeError) as error:
                raise NotAnExport(f"line {number} cannot be read: {error}") from error
        if sealed is not None:
            yield sealed


def _sealed(head: Mapping[str, Any], records: Mapping[str, Record]) -> Sealed:
    return Sealed(
        int(head["number"]),
        str(head["body"]),
        base64.b64decode(head["signature"], validate=True),
        [str(text) for text in head["batches"]],
        records,
    )
