"""Whether a log is as it was written: what was altered, is missing, was put in, moved or cut, by name.

The same check for a database and for an exported copy. It needs the public keys; with the plane's own keys it also sees
records that were written past the plane.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from compass.audit.chain import BEGINNING, NOBODYS, Batch, Checkpoint, Forgotten, Record, digest_of
from compass.audit.keys import Key, PublicKey


class Kind(StrEnum):
    """What is wrong."""

    ALTERED = "altered"
    MISSING = "missing"
    MOVED = "moved"
    """It is there, and not in its place."""
    INSERTED = "inserted"
    """No plane wrote it."""
    FORKED = "forked"
    """It follows something else than what is there."""
    CUT = "cut"
    """The end is gone."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and with what."""

    kind: Kind
    what: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.kind}: {self.what}"


@dataclass(frozen=True)
class Sealed:
    """A checkpoint as it is kept, with all it seals."""

    number: int
    text: str
    signature: bytes
    batches: Sequence[str]
    """In the order of the chains' ids."""
    records: Mapping[str, Record]
    """By id; those that are gone are not there."""


@dataclass
class Checker:
    """Follows a log from its beginning. Hand it the checkpoints in the order of their numbers, then `end`."""

    keys: Mapping[str, PublicKey]
    anchors: Mapping[int, str] = field(default_factory=dict)
    """Digests of checkpoints by number, as they were kept elsewhere."""
    records: int = 0
    """How many were found that checkpoints name."""
    last: int = 0
    """The number of the last checkpoint."""
    _previous: str | None = BEGINNING
    """The digest of the last checkpoint; None when it cannot be known."""
    _chains: dict[str, tuple[int, str]] = field(default_factory=dict)
    """By chain: the number of its next record, and the digest of its last batch."""
    _is_whole: bool = True
    """Whether everything before is there, so that a chain that is new must begin at its beginning."""

    def begins_after(self, text: str, signature: bytes) -> Iterator[Problem]:
        """Take note of what retention removed."""
        try:
            note = Forgotten.read(text)
        except ValueError:
            yield Problem(Kind.ALTERED, "the note of what retention removed")
            return
        key = self.keys.get(note.key)
        if key is None or not key.signed(text, signature):
            yield Problem(Kind.ALTERED, f"the note that retention removed everything up to checkpoint {note.through}")
            return
        self.last, self._previous, self._is_whole = note.through, note.digest, False
        yield from self._anchored(note.through, note.digest)

    def continues_after(self, number: int) -> None:
        """Begin with the checkpoint after that one, for who has only the later part of a log."""
        self.last, self._previous, self._is_whole = number, None, False

    def check(self, sealed: Sealed) -> Iterator[Problem]:
        """Everything that is wrong with the next checkpoint and what it seals."""
        if sealed.number <= self.last:
            yield Problem(Kind.FORKED, f"checkpoint {sealed.number} comes again, after checkpoint {self.last}")
        elif sealed.number > self.last + 1:
            yield Problem(
                Kind.MISSING, f"{_range('checkpoint', self.last + 1, sealed.number - 1)}, with the records in it"
            )
            self._previous, self._is_whole = None, False
            self._chains.clear()
        yield from self._anchored(sealed.number, digest_of(sealed.text))
        wrong, checkpoint = self._signed(sealed)
        if wrong is not None:
            yield wrong
        yield from self._batches(sealed, checkpoint)
        self.last, self._previous = max(self.last, sealed.number), digest_of(sealed.text)

    def end(self) -> Iterator[Problem]:
        """What is wrong with where the log ends."""
        beyond = [number for number in self.anchors if number > self.last]
        if beyond:
            yield Problem(
                Kind.CUT, f"the log ends at checkpoint {self.last}, and had reached checkpoint {max(beyond)} before"
            )

    def problem_of(self, record: Record, place: str) -> Problem | None:
        """Whether the record was written past the plane. Nothing is known of that without the plane's own keys."""
        key = self.keys.get(str(record.said().get("key")))
        if key is None or (isinstance(key, Key) and key.mac(record.id, record.body) != record.mac):
            return Problem(Kind.INSERTED, f"{named(record)}, {place}: no plane wrote it so")
        return None

    def _anchored(self, number: int, digest: str) -> Iterator[Problem]:
        if self.anchors.get(number, digest) != digest:
            yield Problem(Kind.FORKED, f"checkpoint {number} is not the one that was there before")

    def _signed(self, sealed: Sealed) -> tuple[Problem | None, Checkpoint | None]:
        """What is wrong with a checkpoint itself, and the checkpoint when it can be believed."""
        try:
            checkpoint = Checkpoint.read(sealed.text)
        except ValueError:
            return Problem(Kind.ALTERED, f"checkpoint {sealed.number}"), None
        key = self.keys.get(checkpoint.key)
        if key is None or not key.signed(sealed.text, sealed.signature):
            return Problem(Kind.ALTERED, f"checkpoint {sealed.number}"), None
        if checkpoint.number != sealed.number:
            return Problem(Kind.MOVED, f"checkpoint {checkpoint.number} is in the place of {sealed.number}"), None
        if self._previous not in (None, checkpoint.previous):
            return Problem(
                Kind.FORKED, f"checkpoint {sealed.number} does not follow checkpoint {self.last}"
            ), checkpoint
        return None, checkpoint

    def _batches(self, sealed: Sealed, checkpoint: Checkpoint | None) -> Iterator[Problem]:
        found = [digest_of(text) for text in sealed.batches]
        # One that cannot be believed vouches for nothing, and is told already.
        wanted = found if checkpoint is None else checkpoint.batches
        for text, digest in zip(sealed.batches, found, strict=True):
            try:
                batch = Batch.read(text)
            except ValueError:
                yield Problem(Kind.ALTERED, f"a batch of checkpoint {sealed.number}, with the records in it")
                continue
            if digest not in wanted:
                kind = Kind.ALTERED if len(found) <= len(wanted) else Kind.INSERTED
                yield Problem(kind, f"{_of(batch)} in checkpoint {sealed.number}")
            yield from self._batch(sealed, batch, digest)
        gone = len(wanted) - len(found)
        if gone > 0:
            yield Problem(Kind.MISSING, f"{gone} of {len(wanted)} batches of checkpoint {sealed.number}")

    def _batch(self, sealed: Sealed, batch: Batch, digest: str) -> Iterator[Problem]:
        known = self._chains.get(batch.chain)
        if known is None and self._is_whole:
            known = (1, BEGINNING)
        if batch.checkpoint != sealed.number:
            yield Problem(Kind.MOVED, f"{_of(batch)} is in checkpoint {sealed.number}, not in {batch.checkpoint}")
        elif known is not None and known != (batch.first, batch.previous):
            is_gap = batch.first > known[0]
            what = f"{_range('record', known[0], batch.first - 1)} of {_chain(batch.chain)}" if is_gap else _of(batch)
            yield Problem(Kind.MISSING if is_gap else Kind.FORKED, what)
        self._chains[batch.chain] = (batch.next, digest)
        for number, (name, wanted) in enumerate(batch.records, start=batch.first):
            place = f"record {number} of {_chain(batch.chain)}"
            record = sealed.records.get(name)
            if record is None:
                yield Problem(Kind.MISSING, f"{place}, {name}, in checkpoint {sealed.number}")
                continue
            self.records += 1
            if record.digest() != wanted:
                yield Problem(Kind.ALTERED, f"{place}, {named(record)}, in checkpoint {sealed.number}")
            elif problem := self.problem_of(record, place):
                yield problem


def named(record: Record) -> str:
    """A record, for people."""
    return f"{record.id} ({str(record.said().get('operation'))[:100]!r} at {record.happened_at})"


def _chain(chain: str) -> str:
    return "no tenant" if chain == NOBODYS else f"tenant {chain}"


def _of(batch: Batch) -> str:
    return f"{_range('record', batch.first, batch.next - 1)} of {_chain(batch.chain)}"


def _range(what: str, first: int, last: int) -> str:
    return f"{what} {first}" if first == last else f"{what}s {first} to {last}"
