"""Deliveries: HTTP calls that are owed, written down in the transaction that owes them.

A delivery belongs to a *lane*, its (receiver, subject). Within a lane calls happen strictly in the order of their
sequence numbers, which is the order of commit: the first one blocks those behind it until it is delivered, dead
or cancelled. Lanes never wait for each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from compass.errors import Code, CompassError
from compass.ids import TenantId
from compass.outbox.append import FEED_CHANNEL, TELL
from compass.outbox.events import Event
from compass.postgres.pool import Tx

CHANNEL: Final = "delivery"
"""Notified when something was enqueued. A hint: workers also look by themselves."""


class State(StrEnum):
    """Where a delivery stands. All but PENDING are final, and only DEAD can be put back."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    DEAD = "DEAD"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True)
class DeliveryChanged(Event):
    """A call is owed, an attempt at it ended, or it is sent again. `receiver` is the webhook, `state` where it stands.

    Told to followers of the change feed alone, by the statement that changes it.
    """

    tenant: TenantId | None
    delivery: str
    receiver: str
    state: str


TELL_CHANGED: Final = f"""
    {TELL} tenant_id, '{DeliveryChanged.__name__}',
        jsonb_build_object('delivery', id, 'receiver', receiver, 'state', state)
    FROM changed WHERE tenant_id IS NOT NULL
"""
"""The part of a statement that announces the deliveries that it has in `changed`. Without a tenant nobody sees them."""


class DeliveryNotDead(CompassError):
    """Only a delivery that was given up can be sent again; others are on their way, arrived, or moot."""

    code = Code.INVALID_OPERATION
    message = "delivery {delivery} is not dead, there is nothing to send again"


@dataclass(frozen=True)
class NewDelivery:
    """A call to make. Credentials and signatures are not part of it: they are asked for at every attempt."""

    receiver: str
    """A UUID: who is called. Its concurrent calls are limited, and it never delays others."""
    subject: str
    """What the call is about. Calls about one subject reach a receiver in order."""
    kind: str
    method: str
    url: str
    body: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    facts: Mapping[str, Any]
    """The domain's own, handed back at attempt and verdict."""
    tenant: str | None = None


@dataclass(frozen=True)
class Delivery:
    """A call that is due, as `prepare` and `judge` see it."""

    id: str
    """Sent as `webhook-id`: the same on every attempt."""
    sequence: int
    tenant: str | None
    receiver: str
    subject: str
    kind: str
    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: str = field(repr=False)
    facts: Mapping[str, Any]
    attempt: int
    """The number of this attempt, 1 for the first. Counted before the call, so a crash leaves a gap."""
    failures: int
    """Failed attempts since it was enqueued or resent."""
    attempted_at: datetime
    """By the database's clock."""
    since_first: timedelta
    """From the first attempt to this one."""
    created_at: datetime


_ENQUEUE: Final = f"""
-- delivery.enqueue
WITH wanted AS MATERIALIZED (
    SELECT * FROM ROWS FROM (jsonb_to_recordset(%(deliveries)s) AS (
        tenant uuid, receiver uuid, subject text, kind text,
        method text, url text, headers jsonb, body text, facts jsonb
    )) WITH ORDINALITY
), lane AS (
    -- Locks the lane even when it exists. Sorted, so that two that enqueue into the same lanes cannot deadlock.
    INSERT INTO delivery_lane (receiver, subject)
    SELECT DISTINCT receiver, subject FROM wanted ORDER BY receiver, subject
    ON CONFLICT (receiver, subject) DO UPDATE SET subject = excluded.subject
    RETURNING receiver, subject
), changed AS (
    -- The count waits for every lane's lock: only then are sequence numbers drawn.
    INSERT INTO delivery (tenant_id, receiver, subject, kind, method, url, headers, body, facts)
    SELECT tenant, receiver, subject, kind, method, url, headers, body, facts
    FROM wanted
    WHERE (SELECT count(*) FROM lane) > 0
    ORDER BY ordinality
    RETURNING id, tenant_id, receiver, state, sequence
), told AS ({TELL_CHANGED}), heard AS (
    SELECT pg_notify(%(channel)s, ''), pg_notify('{FEED_CHANNEL}', '')
)
SELECT changed.id FROM changed, heard ORDER BY changed.sequence
"""


async def enqueue(tx: Tx, deliveries: Sequence[NewDelivery]) -> list[str]:
    """Owe these calls from the moment the transaction commits; their ids, in the order given.

    One statement, whatever their number. Until the transaction ends, others that enqueue into the same lanes wait.
    """
    if not deliveries:
        return []
    rows = await tx.rows(
        _ENQUEUE,
        channel=CHANNEL,
        deliveries=[vars(new) | {"headers": dict(new.headers), "facts": dict(new.facts)} for new in deliveries],
    )
    return [row["id"] for row in rows]


_RESEND: Final = f"""
-- delivery.resend
WITH dead AS MATERIALIZED (
    SELECT id, receiver, subject FROM delivery WHERE {{which}} AND state = 'DEAD'
), lane AS (
    -- A lane that waits for a retry is looked at now; one that is leased, when its lease ends.
    INSERT INTO delivery_lane AS old (receiver, subject)
    SELECT DISTINCT receiver, subject FROM dead ORDER BY receiver, subject
    ON CONFLICT (receiver, subject) DO UPDATE
    SET next_at = CASE WHEN old.holder IS NULL THEN least(old.next_at, now()) ELSE old.next_at END
    RETURNING receiver
), changed AS (
    UPDATE delivery
    SET state = 'PENDING', failures = 0, first_attempt_at = NULL, next_at = now(), finished_at = NULL
    FROM dead
    WHERE delivery.id = dead.id AND delivery.state = 'DEAD' AND (SELECT count(*) FROM lane) > 0
    RETURNING delivery.id, delivery.tenant_id, delivery.receiver, delivery.state
), told AS ({TELL_CHANGED}), heard AS (
    SELECT pg_notify(%(channel)s, ''), pg_notify('{FEED_CHANNEL}', '')
)
SELECT count(changed.id) FROM heard LEFT JOIN changed ON true
"""
_RESEND_ONE: Final = _RESEND.format(which="id = %(delivery)s")
_RECOVER: Final = _RESEND.format(which="receiver = %(receiver)s AND finished_at >= %(since)s")


async def resend(tx: Tx, delivery: str) -> None:
    """Put a dead delivery back, ahead of what is pending behind it, under its old id. It gets the full time again.

    Raises DeliveryNotDead, also for an unknown id.
    """
    if not await tx.value(_RESEND_ONE, delivery=delivery, channel=CHANNEL):
        raise DeliveryNotDead(delivery=delivery)


async def recover(tx: Tx, receiver: str, since: datetime) -> int:
    """Put back everything that was given up for a receiver since then, in its old order; how many."""
    recovered: int = await tx.value(_RECOVER, receiver=receiver, since=since, channel=CHANNEL)
    return recovered


_RESEND_SEVERAL: Final = _RESEND.format(which="id = ANY (%(deliveries)s::uuid[])")
_HURRY: Final = """
-- delivery_lane.hurry
WITH hurried AS (
    UPDATE delivery_lane SET next_at = now()
    WHERE receiver = ANY (%(receivers)s::uuid[]) AND holder IS NULL AND next_at > now()
)
SELECT pg_notify(%(channel)s, '')
"""


async def resend_several(tx: Tx, deliveries: Sequence[str]) -> int:
    """Put those of the deliveries that are dead back, in their old order; how many. One statement."""
    resent: int = await tx.value(_RESEND_SEVERAL, deliveries=list(deliveries), channel=CHANNEL)
    return resent


async def hurry(tx: Tx, receivers: Sequence[str]) -> None:
    """Try what waits for these receivers at once instead of after its pause: something about them changed."""
    await tx.run(_HURRY, receivers=list(receivers), channel=CHANNEL)


KEPT_DAYS: Final = 30
"""How long a finished delivery can be looked at, and a dead one be sent again."""
_PURGE: Final = """
-- delivery.purge
DELETE FROM delivery WHERE id IN (
    SELECT id FROM delivery
    WHERE finished_at < clock_timestamp() - make_interval(days => %(days)s) AND state <> 'PENDING'
    LIMIT %(most)s
    FOR UPDATE SKIP LOCKED
)
"""


async def purge(tx: Tx, *, most: int = 1000) -> int:
    """Forget deliveries, with their attempts, that ended `KEPT_DAYS` ago; how many. At most `most` at a time."""
    return await tx.run(_PURGE, days=KEPT_DAYS, most=most)
