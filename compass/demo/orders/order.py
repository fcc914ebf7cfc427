"""An order, and the event that tells the world about it: both are stored together, or neither."""

import json
import sqlite3
import uuid
from dataclasses import dataclass
from typing import Any

from compass.demo.orders.store import Store, now

LONGEST_TEXT = 200
"""Characters of a customer or an item."""
LARGEST_QUANTITY = 1_000_000

CREATED = "sales.order.created.v1"
"""The type of the event; it is part of the AsyncAPI document."""


@dataclass(frozen=True)
class NewOrder:
    """What a caller says about an order."""

    customer: str
    item: str
    quantity: int


class OrderRefused(ValueError):
    """The order breaks a rule of the service; the text says which."""


def read_order(body: object) -> NewOrder:
    """The order in a request's JSON. Raises OrderRefused."""
    if not isinstance(body, dict):
        raise OrderRefused("an order is a JSON object")
    customer, item, quantity = body.get("customer"), body.get("item"), body.get("quantity", 1)
    for name, text in (("customer", customer), ("item", item)):
        if not isinstance(text, str) or not 1 <= len(text) <= LONGEST_TEXT:
            raise OrderRefused(f"{name} is a text of 1 to {LONGEST_TEXT} characters")
    if isinstance(quantity, bool) or not isinstance(quantity, int) or not 1 <= quantity <= LARGEST_QUANTITY:
        raise OrderRefused(f"quantity is a whole number from 1 to {LARGEST_QUANTITY}")
    return NewOrder(str(customer), str(item), quantity)


async def place(store: Store, new: NewOrder, *, by: str, at_path: str, source: str) -> dict[str, Any]:
    """Store the order with the name of the credential that brought it, and its event for sending.

    `source` is the service's own address, which names the origin inside the event.
    """
    order = {
        "id": str(uuid.uuid4()),
        "customer": new.customer,
        "item": new.item,
        "quantity": new.quantity,
        "createdAt": now(),
        "createdBy": by,
    }
    event = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": source,
        "type": CREATED,
        "subject": order["id"],
        "time": order["createdAt"],
        "datacontenttype": "application/json",
        "data": {key: order[key] for key in ("id", "customer", "item", "quantity", "createdAt")},
    }

    def work(tx: sqlite3.Connection) -> None:
        tx.execute(PLACE, {**order, "received_at": at_path})
        tx.execute(ANNOUNCE, {"id": event["id"], "order_id": order["id"], "body": json.dumps(event)})

    await store.transaction(work)
    return order


async def newest(store: Store, *, limit: int) -> list[dict[str, Any]]:
    """The newest orders, newest first."""
    return await store.rows(NEWEST, limit=limit)


async def one(store: Store, order_id: str) -> dict[str, Any] | None:
    """The order of that id, or nothing."""
    return await store.row(ONE, id=order_id)


async def event_of(store: Store, order_id: str) -> dict[str, Any]:
    """The event of an order and how its sending went. Raises LookupError when there is no such order."""
    row = await store.row(EVENT_OF, id=order_id)
    if row is None:
        raise LookupError(order_id)
    return row


PLACE = """
-- order.place
INSERT INTO sales_order (id, customer, item, quantity, created_at, created_by, received_at)
VALUES (:id, :customer, :item, :quantity, :createdAt, :createdBy, :received_at)
"""
ANNOUNCE = """
-- event.add
INSERT INTO event (id, order_id, body) VALUES (:id, :order_id, :body)
"""
NEWEST = """
-- order.newest
SELECT id, customer, item, quantity, created_at AS createdAt, created_by AS createdBy
FROM sales_order ORDER BY rowid DESC LIMIT :limit
"""
ONE = """
-- order.one
SELECT id, customer, item, quantity, created_at AS createdAt, created_by AS createdBy FROM sales_order WHERE id = :id
"""
EVENT_OF = """
-- event.of_order
SELECT id, order_id AS orderID, attempts, target_url AS targetURL, status, answer, sent_at AS sentAt, body
FROM event WHERE order_id = :id
"""
