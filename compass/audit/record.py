"""Who changed what: one record per mutation, written in the mutation's own transaction.

A record is there exactly when its mutation is: both commit, or neither. It is sealed into its tenant's chain within a
second, by `seal.py`, so that writers never wait for one another here. See docs/adr/0016.
"""

import hashlib
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from compass.audit.keys import Keys
from compass.postgres.pool import Tx

MOST_BYTES: Final = 16_384
"""Of the arguments, and of an image, as JSON. What is larger is recorded by its size and SHA-256."""
MOST_CHARACTERS: Final = 1024
"""Of one text among the arguments; the same."""


@dataclass(frozen=True)
class Done:
    """What somebody did."""

    operation: str
    who: Mapping[str, Any]
    """Kind and id of the caller, how it signed in, with what, and what it called its tenant."""
    tenant: str | None
    """Whose chain the record belongs to; None: that of `system_auth`, or nobody's."""
    request_id: str
    arguments: Mapping[str, Any]
    """Without secrets."""
    object_type: str | None = None
    object_id: str | None = None
    result: Any = None
    """A plain answer, such as how many."""
    refused: str | None = None
    """The refusal, for a call that was refused and changed something all the same."""
    system_auth: str | None = None
    """Whose token was shown, for a caller that is known by nothing else."""


def recording(image: str, only_if: str = "true") -> str:
    """The statement that writes a record. `image` selects the object's own fields as one row, none when it is gone."""
    return f"""
-- audit.record
WITH image AS (
    SELECT row_to_json(shown)::text AS text FROM ({image}) AS shown
), recorded AS (
    INSERT INTO audit_record (id, tenant_id, body, mac, before, after)
    SELECT %(id)s, coalesce(%(tenant)s, (SELECT tenant_id FROM system_auth WHERE id = %(system_auth)s)),
        %(body)s, %(mac)s,
        audit_before_v1(%(object)s::text, %(tenant)s),
        (
            SELECT CASE WHEN octet_length(text) <= {MOST_BYTES} THEN text::json ELSE json_build_object(
                'bytes', octet_length(text), 'sha256', encode(sha256(convert_to(text, 'UTF8')), 'hex')
            ) END
            FROM image
        )
    WHERE {only_if}
)
INSERT INTO audit_unsealed (record_id) SELECT %(id)s WHERE {only_if}
"""


_NOTHING: Final = "SELECT WHERE %(object)s::text IS NULL AND false"
NO_IMAGE: Final = recording(_NOTHING)
IF_CHANGED: Final = recording(_NOTHING, "pg_current_xact_id_if_assigned() IS NOT NULL")
"""Only when the transaction has written something: whoever is refused again and again must not fill the log."""


class Log:
    """Where records are written. One per process."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys

    async def record(self, tx: Tx, done: Done, *, statement: str = NO_IMAGE) -> None:
        """Record what was done, in the transaction that does it. One statement, made by `recording`."""
        key = self.keys.current
        body = orjson.dumps(
            {
                "key": key.name,
                "operation": done.operation,
                "who": _short(done.who),
                "requestID": _text(done.request_id),
                "objectType": done.object_type,
                "objectID": done.object_id,
                "arguments": _bounded(done.arguments),
                **({} if done.result is None else {"result": _short(done.result)}),
                **({} if done.refused is None else {"refused": done.refused}),
                **({} if done.system_auth is None else {"systemAuth": done.system_auth}),
            }
        )
        record = _new_id()
        await tx.run(
            statement,
            id=record,
            tenant=done.tenant,
            system_auth=done.system_auth,
            object=done.object_id,
            body=body,
            mac=key.mac(record, body),
        )


def _bounded(arguments: Mapping[str, Any]) -> Any:
    short = _short(arguments)
    text = orjson.dumps(short)
    return short if len(text) <= MOST_BYTES else {"bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}


def _short(value: Any) -> Any:
    match value:
        case str() if len(value) > MOST_CHARACTERS:
            raw = value.encode("utf-8", "surrogatepass")
            return {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
        case str():
            return _text(value)
        case Mapping():
            return {_text(name): _short(inner) for name, inner in value.items()}
        case Sequence():
            return [_short(inner) for inner in value]
        case _:
            return value


def _text(value: str) -> str:
    # The database reads no JSON that has a NUL in it.
    return value.replace("\0", "\ufffd")


def _new_id() -> str:
    """A UUID that begins with the time, so that the index grows at its end. Source: RFC 9562 §5.7."""
    milliseconds = time.time_ns() // 1_000_000
    number = milliseconds << 80 | int.from_bytes(os.urandom(10))
    number = number & ~(0xF << 76) | 7 << 76
    return str(uuid.UUID(int=number & ~(0x3 << 62) | 2 << 62))
