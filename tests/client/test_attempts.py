"""What two attempts of a notification had in different ways."""

from typing import Any

from compass.client.attempts import Difference, differences, facts


def attempt(**changes: Any) -> dict[str, Any]:
    return {
        "url": "https://shop.example/hook",
        "requestHeaders": [
            {"name": "Authorization", "value": "***"},
            {"name": "webhook-timestamp", "value": "1"},
        ],
        "status": 503,
        "error": "the receiver answered 503",
        "elapsedMilliseconds": 12,
        "responseHeaders": [{"name": "date", "value": "now"}, {"name": "retry-after", "value": "7"}],
        "response": "later",
        **changes,
    }


def test_an_attempt_is_told_without_the_time_of_day() -> None:
    assert facts(attempt()) == {
        "sent to": "https://shop.example/hook",
        "sent authorization": "***",
        "status": "503",
        "trouble": "the receiver answered 503",
        "took": "12 ms",
        "answered retry-after": "7",
        "answer": "later",
    }


def test_only_what_differs_is_told_in_the_order_of_an_attempt() -> None:
    later = attempt(
        url="https://shop.example/v2",
        requestHeaders=[{"name": "X-Key", "value": "***"}],
        status=200,
        error=None,
        responseHeaders=[],
        response="",
    )

    assert differences(attempt(), attempt()) == []
    assert differences(attempt(), later) == [
        Difference("sent to", "https://shop.example/hook", "https://shop.example/v2"),
        Difference("sent x-key", None, "***"),
        Difference("status", "503", "200"),
        Difference("answer", "later", ""),
        Difference("sent authorization", "***", None),
        Difference("trouble", "the receiver answered 503", None),
        Difference("answered retry-after", "7", None),
    ]


def test_an_attempt_that_called_nobody_has_little_to_tell() -> None:
    nothing = dict.fromkeys(attempt()) | {"elapsedMilliseconds": 0, "error": "it could not be prepared"}

    assert facts(nothing) == {"trouble": "it could not be prepared", "took": "0 ms"}
