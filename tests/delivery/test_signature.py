import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from compass.delivery.signature import SecretMalformed, key_of, new_secret, signed_headers


@given(st.text(), st.uuids())
def test_any_body_verifies_with_an_independent_library(text: str, delivery: object) -> None:
    secret = new_secret()
    body = json.dumps({"text": text}).encode()
    headers = signed_headers(str(delivery), datetime.now(UTC), body, [key_of(secret)])
    assert Webhook(secret).verify(body, headers) == {"text": text}


def test_a_known_signature_is_reproduced() -> None:
    """The example of the specification's reference libraries."""
    headers = signed_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        datetime.fromtimestamp(1614265330, UTC),
        b'{"test": 2432232314}',
        [key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")],
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_during_a_rotation_either_secret_verifies_and_a_third_does_not() -> None:
    old, new, other = new_secret(), new_secret(), new_secret()
    headers = signed_headers("id", datetime.now(UTC), b"{}", [key_of(new), key_of(old)])
    assert Webhook(old).verify(b"{}", headers) == {}
    assert Webhook(new).verify(b"{}", headers) == {}
    with pytest.raises(WebhookVerificationError):
        Webhook(other).verify(b"{}", headers)


@pytest.mark.parametrize("part", ["id", "time", "body"])
def test_a_change_of_any_signed_part_is_noticed(part: str) -> None:
    secret = new_secret()
    headers = signed_headers("id", datetime.now(UTC), b'{"a":1}', [key_of(secret)])
    body = b'{"a":2}' if part == "body" else b'{"a":1}'
    if part == "id":
        headers["webhook-id"] = "ie"
    if part == "time":
        headers["webhook-timestamp"] = str(int((datetime.now(UTC) - timedelta(seconds=9)).timestamp()))
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, headers)


def test_without_a_key_a_call_is_numbered_and_not_signed() -> None:
    headers = signed_headers("id", datetime.fromtimestamp(7, UTC), b"", [])
    assert headers == {"webhook-id": "id", "webhook-timestamp": "7"}


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "whsec_!",
        base64.b64encode(b"x" * 32).decode(),
        "whsec_" + base64.b64encode(b"x" * 23).decode(),
        "whsec_" + base64.b64encode(b"x" * 65).decode(),
    ],
)
def test_a_malformed_secret_is_refused_without_being_quoted(secret: str) -> None:
    with pytest.raises(SecretMalformed) as refused:
        key_of(secret)
    assert not secret.removeprefix("whsec_") or secret not in str(refused.value)
