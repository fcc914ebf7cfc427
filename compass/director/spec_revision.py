"""Revisions of a specification: each text it had, newest first, as far back as they are kept.

A trigger adds one in the transaction that changes the text, whoever does; the same text again is none. They go with
their definition. The original kept the last text only. See docs/adr/0023-definitions-are-taken-apart.md.
"""

from compass.postgres.pool import Tx
from compass.reads.plan import One, Page, Read, timestamp
from compass.settings import DefinitionSettings

# How it is read

SPEC_REVISION = Read(
    "SpecRevision",
    table="spec_revision",
    fields={
        "id": "id",
        "number": "number",
        "createdAt": timestamp("created_at"),
        "type": "type",
        "format": "format",
        "size": "size",
        "digest": "'sha256:' || encode({t}.digest, 'hex')",
        "data": "data",
    },
)
READS = (SPEC_REVISION,)


def all_of(definition: str) -> Page:
    """The revisions of a specification; `definition` is the column that names its definition."""
    return Page("SpecRevision", on=f"{{c}}.definition_id = {{t}}.{definition}", order="{c}.number DESC")


def one_of(definition: str) -> One:
    """The revision with the number that is asked for."""
    return One(
        "SpecRevision", on=f"{{c}}.definition_id = {{t}}.{definition} AND {{c}}.number = {{arg:number}}::integer"
    )


# How many there are

FORGET = """
-- spec_revision.forget
DELETE FROM spec_revision WHERE id IN (
    SELECT id FROM (
        SELECT id, row_number() OVER newest AS back, sum(size) OVER newest AS together
        FROM spec_revision WHERE definition_id = %(definition)s
        WINDOW newest AS (ORDER BY number DESC)
    ) AS counted
    WHERE back > 1 AND (back > %(most)s OR together > %(most_bytes)s)
)
"""


async def forget(tx: Tx, definition: str, kept: DefinitionSettings) -> None:
    """Remove what is more than is kept of one definition; the newest always stays."""
    await tx.run(FORGET, definition=definition, most=kept.revisions, most_bytes=kept.revision_bytes)
