"""Calls to webhooks: what a webhook is sent, a CloudEvent or what its templates make of the data.

Source: contract/director.md §16; that a plain `url` gets a CloudEvent by POST is ours.
"""

import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg
import orjson

from compass.delivery.enqueue import NewDelivery
from compass.director import webhook_template
from compass.errors import CompassError
from compass.gotemplate import Record

CLOUD_EVENTS: Final = "application/cloudevents+json"


def cloud_event(source: str, type_: str, *, subject: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """A structured CloudEvent of this moment. Source: CloudEvents 1.0, JSON format §3."""
    return {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": source,
        "type": type_,
        "subject": subject,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": data,
    }


def owed(
    hook: asyncpg.Record,
    *,
    kind: str,
    subject: str,
    tenant: str | None,
    event: Mapping[str, Any],
    rendered: Callable[[Mapping[str, Any]], Record],
    facts: Mapping[str, Any],
) -> NewDelivery:
    """The call to a webhook. `hook` has its id as `webhook`, its columns, and `data` when it has templates.

    `rendered` makes of `data` what the templates are given. A template that cannot be used makes a delivery all the
    same, so that it is seen: `facts` say under `fault` why it is not sent.
    """
    method, url, body = "POST", hook["url"] or "", orjson.dumps(event).decode()
    headers = {"Content-Type": CLOUD_EVENTS}
    fault = {}
    if hook["data"] is not None:
        data = rendered(hook["data"])
        try:
            if hook["url_template"] is not None:
                target = webhook_template.url(hook["url_template"], data)
                method, url = target.method, target.url
            if hook["input_template"] is not None or hook["url_template"] is not None:
                body = webhook_template.body(hook["input_template"] or "{}", data)
                headers = {"Content-Type": "application/json"}
            if hook["header_template"] is not None:
                headers |= webhook_template.headers(hook["header_template"], data)
        except CompassError as error:
            fault = {"fault": f"the webhook's template cannot be used: {error.wire_text()}"}
            url = ""
    if hook["correlation_id_key"]:
        headers[hook["correlation_id_key"]] = event["id"]
    return NewDelivery(
        receiver=hook["webhook"],
        subject=subject,
        kind=kind,
        method=method,
        url=url,
        body=body,
        headers=headers,
        facts={**facts, "mode": hook["mode"], **fault},
        tenant=tenant,
    )
