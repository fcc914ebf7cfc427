"""Announce in the transaction that changes: what commits together cannot be told apart later."""

from collections.abc import Sequence

from compass.outbox.events import Event
from compass.postgres.pool import Tx

CHANNEL = "outbox"
"""The notification that something waits. A hint only: the relay also looks by itself."""
FEED_CHANNEL = "feed"
"""The notification that there is something to tell followers, and nothing for the relay. A hint only, as well."""
TELL = """
    -- Nobody in the plane reacts to it, so it is as good as relayed.
    INSERT INTO outbox_event (relayed_at, tenant_id, name, facts) SELECT clock_timestamp(),
"""
"""How a statement announces with what it changes, without one more: goes on with a tenant, a name and facts.

For events that followers of the feed alone are told of. The relay never sees them, which costs it more than all else.
"""

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
