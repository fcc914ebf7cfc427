"""Announce in the transaction that changes: what commits together cannot be told apart later."""

from collections.abc import Sequence

from compass.outbox.events import Event
from compass.postgres.pool import Tx

CHANNEL = "outbox"
"""The notification that something waits. A hint only: the relay also looks by itself."""

APPEND = """
-- outbox.append
WITH appended AS (
    INSERT INTO outbox_event (tenant_id, name, facts) VALUES (%(tenant)s, %(name)s, %(facts)s)
)
SELECT pg_notify('outbox', '')
"""
APPEND_ALL = """
-- outbox.append_all
WITH appended AS (
    INSERT INTO outbox_event (tenant_id, name, facts)
    SELECT event.tenant, event.name, event.facts
    FROM ROWS FROM (jsonb_to_recordset(%(events)s) AS (tenant uuid, name text, facts jsonb)) WITH ORDINALITY
        AS event (tenant, name, facts, number)
    ORDER BY event.number
)
SELECT pg_notify('outbox', '')
"""


async def append(tx: Tx, event: Event) -> None:
    """Record an event. It is relayed after the transaction commits, and never if it does not. One statement."""
    await tx.run(APPEND, tenant=event.tenant, name=type(event).__name__, facts=event.facts())


async def append_all(tx: Tx, events: Sequence[Event]) -> None:
    """Record several events as `append` does, in their order. One statement, and none when there are none."""
    if events:
        await tx.run(
            APPEND_ALL,
            events=[{"tenant": event.tenant, "name": type(event).__name__, "facts": event.facts()} for event in events],
        )
