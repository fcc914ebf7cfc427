"""A support bundle: what helps is in it, and what must not leave the house is not."""

import json
from typing import Any

import pytest

from compass.client.support_bundle import MOST_DELIVERIES, bundle

WHO = {
    "id": "ada@example",
    "consumer": "Static User",
    "flow": "JWT",
    "tenantID": "t",
    "issuer": "i",
    "scopes": ["a:read"],
}


def made(**more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"who": WHO, "system": {}, "failed": {"totalCount": 0, "data": []}}
    return bundle(made_at="2026-11-23T12:00:00+00:00", made_with={"compass": "1"}, **{**given, **more})


def delivery(**more: Any) -> dict[str, Any]:
    attempt = {
        "number": 1,
        "startedAt": "now",
        "elapsedMilliseconds": 3,
        "status": 500,
        "error": "no",
        "response": "s3cr3t",
    }
    whole = {"id": "1", "webhookID": "2", "operation": "x", "state": "DEAD", "error": "no", "createdAt": "now"}
    return {**whole, "url": "https://a.example/s3cr3t", "attempts": [attempt], **more}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (
            "cannot reach https://u:p4ss@a.example:8443/x/s3cr3t?token=t#f, gave up",
            "cannot reach https://a.example:8443/… gave up",
        ),
        ("postgresql://compass:p4ss@db/compass", "postgresql://db/…"),
        ("'HTTPS://a.example/x'", "'HTTPS://a.example/…'"),
        ("no address", "no address"),
    ],
)
def test_of_an_address_the_host_is_kept(text: str, kept: str) -> None:
    assert made(system={"settings": [{"value": text}]})["system"]["settings"][0]["value"] == kept


def test_of_a_delivery_neither_address_nor_answer_is_kept() -> None:
    found = made(failed={"totalCount": 80, "data": [delivery(error="POST https://a.example/s3cr3t: no")] * 60})

    assert found["givenUp"]["total"] == 80
    assert len(found["givenUp"]["newest"]) == MOST_DELIVERIES
    newest = found["givenUp"]["newest"][0]
    assert newest["error"] == "POST https://a.example/… no"
    assert newest["attempts"] == [
        {"number": 1, "startedAt": "now", "elapsedMilliseconds": 3, "status": 500, "error": "no"}
    ]
    assert "s3cr3t" not in json.dumps(found)


def test_of_who_made_it_the_kind_is_kept_and_not_the_name() -> None:
    assert made()["asked"] == {"consumer": "Static User", "flow": "JWT", "tenantID": "t", "scopes": ["a:read"]}
