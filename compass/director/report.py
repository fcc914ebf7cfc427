"""Reports of the status API: how one is read as it was sent, and how it is kept so that it counts once.

A report is about one attempt, from one notification to the next: the same one again in that attempt changes nothing.
Source: contract/director.md §14.1; guarantees F17.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg
import orjson

from compass.access.caller import Caller
from compass.audit.record import Done, Log
from compass.errors import InvalidData
from compass.postgres.pool import Tx

_MOST_KEPT: Final = 100
"""How many reports about one group or assignment are kept; nobody has that many to make about one notification."""


def fields(body: bytes, known: frozenset[str]) -> dict[str, Any]:
    """The fields of a report as it was sent. Raises InvalidData for anything but one object of known fields."""
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise InvalidData(reason="the body is not JSON") from None
    if not isinstance(given, dict):
        raise InvalidData(reason="the body must be one JSON object")
    unknown = sorted(given.keys() - known)
    if unknown:
        raise InvalidData(reason=f"the body has the unknown field {unknown[0][:100]!r}")
    return given


def text(given: Mapping[str, Any], name: str) -> str | None:
    """A field that is a text, None when it is empty or not there. Raises InvalidData."""
    value = given.get(name)
    if not isinstance(value, str | None):
        raise InvalidData(reason=f"{name} must be a text")
    return value or None


_RECORD: Final = """
-- report.record
WITH recorded AS (
    INSERT INTO {table} ({about}, attempt, digest, state, applied)
    VALUES (%(about)s, %(attempt)s, %(digest)s, %(state)s, %(applied)s)
    ON CONFLICT ON CONSTRAINT {table}_once DO NOTHING
    RETURNING id
), forgotten AS (
    DELETE FROM {table} WHERE {about} = %(about)s AND id <= (
        SELECT id FROM {table} WHERE {about} = %(about)s ORDER BY id DESC OFFSET %(most)s - 1 LIMIT 1
    )
)
SELECT EXISTS (SELECT FROM recorded)
"""
RECORD_OF_FORMATION: Final = _RECORD.format(table="formation_report", about="formation_id")
RECORD_OF_ASSIGNMENT: Final = _RECORD.format(table="assignment_report", about="formation_assignment_id")


async def about_formation(tx: Tx, formation: asyncpg.Record, state: str, error: str | None, *, applied: bool) -> bool:
    """Keep a report about a group, and say whether the same was not made in this attempt before. One statement.

    `applied`: whether it decides anything.
    """
    is_new: bool = await tx.value(RECORD_OF_FORMATION, **_kept(formation, [state, error], applied=applied))
    return is_new


async def about_assignment(
    tx: Tx, assignment: asyncpg.Record, state: str, configuration: str | None, error: str | None, *, applied: bool
) -> bool:
    """Keep a report about an assignment, and say whether the same was not made in this attempt before. One statement.

    `applied`: whether it decides anything.
    """
    is_new: bool = await tx.value(
        RECORD_OF_ASSIGNMENT, **_kept(assignment, [state, configuration, error], applied=applied)
    )
    return is_new


def _kept(about: asyncpg.Record, said: Sequence[str | None], *, applied: bool) -> dict[str, Any]:
    return {
        "about": about["id"],
        "attempt": about["attempt"],
        "digest": hashlib.sha256(orjson.dumps(said)).digest(),
        "state": said[0],
        "applied": applied,
        "most": _MOST_KEPT,
    }


async def record(
    tx: Tx, log: Log | None, caller: Caller, operation: str, about: tuple[str, str], said: Mapping[str, str | None]
) -> None:
    """Record for the audit log what was reported about an object, named by type and id. One statement.

    Configurations are between those who exchange them, so of one only that it was given is `said`.
    """
    if log is None:
        return
    await log.record(
        tx,
        Done(
            operation=operation,
            who=caller.as_recorded(),
            tenant=caller.tenant,
            request_id=caller.request_id,
            arguments={name: value for name, value in said.items() if value is not None},
            object_type=about[0],
            object_id=about[1],
        ),
    )
