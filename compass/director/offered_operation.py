"""Operations that are offered in a landscape, found by words: paths, channels, ids and summaries of all specifications.

They are taken out of specifications after these were changed, seconds later at most: taking a text apart may cost a
second of a processor, which is not to be had within a mutation. Of a text that cannot be read there are none.
See docs/adr/0023-definitions-are-taken-apart.md.
"""

import asyncio
import logging
from typing import Any, Final

from compass.definition.read import read
from compass.definition.text import Unreadable
from compass.director import spec_revision
from compass.postgres.pool import AWAY, Database, Tx
from compass.reads.plan import One, Page, Query, Read
from compass.settings import DefinitionSettings

_log = logging.getLogger(__name__)

MOST_OPERATIONS: Final = 2000
"""Of one specification."""
_LOOK_EVERY_SECONDS: Final = 1.0

# How it is read


def _of_definition(api: str, event: str) -> str:
    return (
        f"coalesce((SELECT {api} FROM api_definition owned WHERE owned.id = {{t}}.definition_id), "
        f"(SELECT {event} FROM event_definition owned WHERE owned.id = {{t}}.definition_id))"
    )


_APPLICATION: Final = "(SELECT application.name FROM application WHERE application.id = owned.application_id)"
OFFERED_OPERATION = Read(
    "OfferedOperation",
    table="spec_operation",
    fields={
        "verb": "verb",
        "path": "path",
        "name": "name",
        "summary": "summary",
        "deprecated": "deprecated",
        "specType": "(SELECT revision.type FROM spec_revision revision WHERE revision.id = {t}.revision_id)",
        "definitionID": "definition_id",
        "definitionName": _of_definition("owned.name", "owned.name"),
        "isEvent": "EXISTS (SELECT FROM event_definition WHERE event_definition.id = {t}.definition_id)",
        "applicationID": _of_definition("owned.application_id", "owned.application_id"),
        "applicationName": _of_definition(_APPLICATION, _APPLICATION),
        "revision": One("SpecRevision", on="{c}.id = {t}.revision_id"),
        # A runtime learns nothing of its neighbours.
        "consumers": (
            "(SELECT count(DISTINCT shared.target) FROM formation_assignment shared "
            f"WHERE shared.source = {_of_definition('owned.application_id', 'owned.application_id')} "
            "AND shared.target_type = 'RUNTIME' AND shared.state NOT IN ('DELETING', 'DELETE_ERROR') "
            "AND ({runtime} IS NULL OR shared.target = {runtime}))"
        ),
    },
    sanitized={"consumers": "runtime:read"},
)
READS = (OFFERED_OPERATION,)

# OFFSET 0: definition by definition, by their index. Who has a thousand operations does not read a million of others.
_OFFERED: Final = """application_tenant access
    CROSS JOIN LATERAL (
        SELECT id FROM api_definition WHERE application_id = access.application_id
        UNION ALL
        SELECT id FROM event_definition WHERE application_id = access.application_id
    ) AS defined
    CROSS JOIN LATERAL (SELECT * FROM spec_operation WHERE definition_id = defined.id OFFSET 0) AS {c}"""
_SEEN: Final = """access.tenant_id = {tenant} AND ({runtime} IS NULL OR EXISTS (
    SELECT FROM formation_assignment shared WHERE shared.source = access.application_id
        AND shared.target = {runtime} AND shared.state NOT IN ('DELETING', 'DELETE_ERROR')
))"""
_MEANT: Final = """NOT EXISTS (
    SELECT FROM unnest(string_to_array(lower(left({arg:search}::text, 200)), ' ')) AS word
    WHERE strpos({c}.words, word) = 0
)"""
QUERIES = (
    Query(
        "offeredOperations",
        scope="application:read",
        read=Page(
            "OfferedOperation",
            source=_OFFERED,
            on=f"{_SEEN} AND {_MEANT}",
            order="{c}.path, {c}.verb, {c}.revision_id, {c}.position",
        ),
    ),
)

# How they come

CLAIM = """
-- offered_operation.claim
UPDATE spec_revision SET index_attempts = index_attempts + 1, index_at = clock_timestamp() + interval '1 minute'
WHERE id = (
    SELECT id FROM spec_revision
    WHERE indexed_at IS NULL AND index_attempts < 5 AND index_at <= clock_timestamp()
    ORDER BY index_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING id, definition_id, data
"""
# A revision that is not the newest any more changes nothing: the newest has its own turn.
WRITE = """
-- offered_operation.write
WITH read AS (
    UPDATE spec_revision SET indexed_at = clock_timestamp(), problem = %(problem)s
    WHERE id = %(revision)s AND indexed_at IS NULL
    RETURNING id, definition_id, number
), newest AS (
    SELECT id, definition_id FROM read
    WHERE NOT EXISTS (
        SELECT FROM spec_revision later WHERE later.definition_id = read.definition_id AND later.number > read.number
    )
), gone AS (
    DELETE FROM spec_operation USING newest WHERE spec_operation.definition_id = newest.definition_id
)
INSERT INTO spec_operation (revision_id, position, definition_id, verb, path, name, summary, deprecated, words)
SELECT newest.id, given.position, newest.definition_id, given.verb, given.path, given.name, given.summary,
    given.deprecated, given.words
FROM newest, jsonb_to_recordset(%(operations)s::jsonb) AS given(
    position integer, verb text, path text, name text, summary text, deprecated boolean, words text
)
"""


class Index:
    """Takes specifications apart as they change. Run it as a task of the process; any number may run on one database.

    Who dies over a text leaves it to the others, a minute later, and none tries it more than five times.
    """

    def __init__(self, database: Database, settings: DefinitionSettings) -> None:
        self._database = database
        self._settings = settings

    async def run(self) -> None:
        """Take apart whatever changed, for ever."""
        while True:
            try:
                while await self.take_one():
                    pass
            except AWAY as error:
                _log.warning("specifications were not taken apart, tried again: %s", type(error).__name__)
            except Exception:  # noqa: BLE001  # the edge: whatever a text makes of us, the plane goes on without it
                _log.exception("a specification could not be taken apart, others are")
            await asyncio.sleep(_LOOK_EVERY_SECONDS)

    async def take_one(self) -> bool:
        """Take one specification apart. False when none waits. Raises what the database raises."""

        async def claim(tx: Tx) -> Any:
            return await tx.row(CLAIM)

        claimed = await self._database.run(claim)
        if claimed is None:
            return False
        # In a thread: others go on being answered meanwhile.
        operations, problem = await asyncio.to_thread(taken_apart, claimed["data"])

        async def write(tx: Tx) -> None:
            await tx.run(WRITE, revision=claimed["id"], problem=problem, operations=operations)
            await spec_revision.forget(tx, claimed["definition_id"], self._settings)

        await self._database.run(write)
        return True


def taken_apart(text: str) -> tuple[list[dict[str, Any]], str | None]:
    """The operations of a specification as rows, or why there are none."""
    try:
        definition = read(text)
    except Unreadable as problem:
        return [], problem.why
    return [
        {
            "position": position,
            "verb": one.verb,
            "path": one.place,
            "name": one.name,
            "summary": one.summary,
            "deprecated": one.is_deprecated,
            "words": " ".join((one.verb, one.place, one.name, one.summary, *one.tags, definition.title)).lower(),
        }
        for position, one in enumerate(definition.operations[:MOST_OPERATIONS])
    ], None
