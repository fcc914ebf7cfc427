"""What a webhook is sent: an event, or what its templates make of the data."""

from typing import Any, cast

import asyncpg
import orjson
import pytest

from compass.director.webhook_call import cloud_event, owed
from compass.gotemplate import Record

DATA = {"name": "orders"}
EVENT = cloud_event("https://plane.test", "io.compass.x.v1", subject="s", data={"a": 1})
PLAIN = {
    "webhook": "w",
    "mode": "SYNC",
    "url": "https://receiver.example/plain",
    "correlation_id_key": None,
    "url_template": None,
    "input_template": None,
    "header_template": None,
    "data": None,
}


def made(**hook: Any) -> dict[str, Any]:
    """The call to a webhook with these columns."""
    row = cast("asyncpg.Record", {**PLAIN, **hook})  # anything that is asked by name
    new = owed(
        row,
        kind="K",
        subject="s",
        tenant="t",
        event=EVENT,
        rendered=lambda data: Record(Name=data["name"]),
        facts={"operation": "o"},
    )
    return vars(new)


def test_a_plain_url_gets_the_event_by_post() -> None:
    assert made() == {
        "receiver": "w",
        "subject": "s",
        "kind": "K",
        "method": "POST",
        "url": "https://receiver.example/plain",
        "body": orjson.dumps(EVENT).decode(),
        "headers": {"Content-Type": "application/cloudevents+json"},
        "facts": {"operation": "o", "mode": "SYNC"},
        "tenant": "t",
    }
    assert (EVENT["specversion"], EVENT["type"], EVENT["subject"], EVENT["data"]) == (
        "1.0",
        "io.compass.x.v1",
        "s",
        {"a": 1},
    )


@pytest.mark.parametrize(
    ("hook", "expected"),
    [
        (
            {"url": None, "url_template": '{"method": "put", "path": "https://r.example/{{.Name}}"}'},
            {"method": "PUT", "url": "https://r.example/orders", "body": "{}"},
        ),
        ({"input_template": '{"n": "{{.Name}}"}'}, {"method": "POST", "url": PLAIN["url"], "body": '{"n":"orders"}'}),
        (
            {"header_template": '{"X-A": ["{{.Name}}", "b"]}'},
            {
                "body": orjson.dumps(EVENT).decode(),
                "headers": {"Content-Type": "application/cloudevents+json", "X-A": "orders, b"},
            },
        ),
        (
            {"input_template": "{}", "header_template": '{"Content-Type": ["text/x"]}'},
            {"headers": {"Content-Type": "text/x"}},
        ),
    ],
)
def test_templates_replace_what_they_are_for(hook: dict[str, Any], expected: dict[str, Any]) -> None:
    call = made(**hook, data=DATA)

    assert {key: call[key] for key in expected} == expected


def test_the_correlation_header_carries_the_id_of_the_event() -> None:
    assert made(correlation_id_key="X-Correlation")["headers"]["X-Correlation"] == EVENT["id"]


@pytest.mark.parametrize("kind", ["url_template", "input_template", "header_template"])
def test_a_template_that_cannot_be_used_makes_a_call_that_says_why(kind: str) -> None:
    call = made(**{kind: "{{.Nope}}"}, data=DATA)

    assert call["url"] == ""
    assert call["facts"]["fault"].startswith("the webhook's template cannot be used: ")
