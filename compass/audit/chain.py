"""The form of the log: records in batches, one per tenant, batches in checkpoints, and each linked to the one before.

A batch names the SHA-256 of every record in it and of the batch before it in the same chain; a checkpoint names the
SHA-256 of its batches and of the checkpoint before it, and is signed. So the last signature vouches for everything
before it, in its order, and one tenant's batches can be followed without the others'.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

NOBODYS: Final = "00000000-0000-0000-0000-000000000000"
"""The chain of what was done in no tenant."""
BEGINNING: Final = "0" * 64
"""The digest of what is before the first batch or checkpoint."""


@dataclass(frozen=True)
class Record:
    """One record as it is kept."""

    id: str
    tenant: str | None
    happened_at: str
    """ISO 8601 with the database's microseconds, in UTC."""
    body: bytes
    """JSON, as are the next two."""
    before: bytes | None
    after: bytes | None
    mac: bytes

    @property
    def chain(self) -> str:
        """Which chain it belongs to."""
        return self.tenant or NOBODYS

    def digest(self) -> str:
        """SHA-256 of all of it; of what the JSON says, however it is written."""
        parts = [self.id, self.tenant, self.happened_at, _value(self.body), _value(self.before), _value(self.after)]
        return hashlib.sha256(orjson.dumps([*parts, self.mac.hex()])).hexdigest()

    def said(self) -> Mapping[str, Any]:
        """What the body says; nothing when it is no object any more."""
        value = _value(self.body)
        return value if isinstance(value, dict) else {}


def _value(text: bytes | None) -> Any:
    if text is None:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text.decode("utf-8", "replace")


@dataclass(frozen=True)
class Batch:
    """The records of one chain that one checkpoint seals."""

    chain: str
    checkpoint: int
    first: int
    """The number of its first record in the chain; the first of all is 1."""
    previous: str
    """The digest of the chain's batch before."""
    records: Sequence[tuple[str, str]]
    """Ids and digests, in order."""

    @property
    def next(self) -> int:
        """The number of the record after it."""
        return self.first + len(self.records)

    def text(self) -> str:
        """As it is kept."""
        return orjson.dumps(
            {
                "chain": self.chain,
                "checkpoint": self.checkpoint,
                "first": self.first,
                "previous": self.previous,
                "records": self.records,
            }
        ).decode()

    @classmethod
    def read(cls, text: str) -> "Batch":
        """Raises ValueError for what is no batch."""
        try:
            given = orjson.loads(text)
            records = [(str(record), str(digest)) for record, digest in given["records"]]
            return cls(
                str(given["chain"]), int(given["checkpoint"]), int(given["first"]), str(given["previous"]), records
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError("not a batch") from error


@dataclass(frozen=True)
class Checkpoint:
    """What is signed."""

    number: int
    previous: str
    """The digest of the checkpoint before."""
    at: str
    key: str
    batches: Sequence[str]
    """Digests, in the order of the chains' ids."""

    def text(self) -> str:
        """As it is signed and kept."""
        return orjson.dumps(
            {
                "number": self.number,
                "previous": self.previous,
                "at": self.at,
                "key": self.key,
                "batches": self.batches,
            }
        ).decode()

    @classmethod
    def read(cls, text: str) -> "Checkpoint":
        """Raises ValueError for what is no checkpoint."""
        try:
            given = orjson.loads(text)
            return cls(
                int(given["number"]),
                str(given["previous"]),
                str(given["at"]),
                str(given["key"]),
                [str(digest) for digest in given["batches"]],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError("not a checkpoint") from error


@dataclass(frozen=True)
class Forgotten:
    """What retention leaves of the beginning of a log, signed."""

    through: int
    """The last checkpoint that was removed."""
    digest: str
    """Its digest."""
    at: str
    key: str

    def text(self) -> str:
        """As it is signed and kept."""
        return orjson.dumps({"through": self.through, "digest": self.digest, "at": self.at, "key": self.key}).decode()

    @classmethod
    def read(cls, text: str) -> "Forgotten":
        """Raises ValueError for what is none."""
        try:
            given = orjson.loads(text)
            return cls(int(given["through"]), str(given["digest"]), str(given["at"]), str(given["key"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError("not a note of what was forgotten") from error


def digest_of(text: str) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(text.encode()).hexdigest()
