"""What is kept of a call: enough to tell two attempts apart, and no secret."""

from datetime import timedelta

from compass.delivery.attempt import Exchange
from compass.delivery.kept import ANSWERED, MASK, TOLD, columns, shown
from compass.outbound.door import Request, Response
from compass.outbound.errors import OutboundTimedOut


def test_of_a_call_its_address_and_the_headers_that_hold_no_secret_are_kept() -> None:
    sent = Request(
        "POST",
        "https://ann:geheim@shop.example:8443/hook?token=s3cret#part",
        {"Content-Type": "application/json", "Authorization": "Bearer s3cret", "webhook-signature": "v1,s3cret"},
    )
    answered = Response(
        503, {"server": "nginx", "set-cookie": "s3cret", "retry-after": "7"}, b"later", timedelta(seconds=1)
    )

    kept = columns(Exchange(sent, answered))

    assert kept == {
        "url": "https://shop.example:8443/hook",
        "request_headers": [
            {"name": "Authorization", "value": MASK},
            {"name": "Content-Type", "value": "application/json"},
            {"name": "webhook-signature", "value": MASK},
        ],
        "response_headers": [
            {"name": "retry-after", "value": "7"},
            {"name": "server", "value": "nginx"},
            {"name": "set-cookie", "value": MASK},
        ],
    }


def test_of_a_call_that_was_not_answered_or_not_made_only_that_is_kept() -> None:
    unanswered = columns(Exchange(Request("POST", "https://shop.example/"), OutboundTimedOut()))
    assert unanswered == {"url": "https://shop.example/", "request_headers": [], "response_headers": None}

    nothing = {"url": None, "request_headers": None, "response_headers": None}
    assert columns(Exchange(None, OutboundTimedOut())) == nothing
    assert columns(None) == nothing
    assert columns(Exchange(Request("POST", ""), OutboundTimedOut()))["url"] is None


def test_what_a_receiver_says_is_kept_within_bounds_and_in_a_form_the_database_takes() -> None:
    many = {f"x-{number:03}": "v" for number in range(500)}

    kept = shown({"server": "a\0b\ud800" + "x" * 9999, "n" * 9999: "v", **many}, ANSWERED)

    assert len(kept) == 40
    assert kept[0]["name"] == "n" * 256
    assert kept[1] == {"name": "server", "value": "a\ufffdb?" + "x" * 250}


def test_a_header_is_shown_whatever_case_it_has() -> None:
    assert shown({"WEBHOOK-ID": "7"}, TOLD) == [{"name": "WEBHOOK-ID", "value": "7"}]
