"""Announce in the transaction that changes: what commits together cannot be told apart later."""

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


async def append(tx: Tx, event: Event) -> None:
    """Record an event. It is relayed after the transaction commits, and never if it does not. One statement."""
    await tx.run(APPEND, tenant=event.tenant, name=type(event).__name__, facts=event.facts())
