"""Standard Webhooks signatures: the receiver can tell who sent a call, what it said and when.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Final

_PREFIX: Final = "whsec_"
_LEAST_BYTES: Final = 24
_MOST_BYTES: Final = 64


class SecretMalformed(ValueError):
    """Not `whsec_` and the base64 of 24 to 64 bytes. Source: Standard Webhooks, "Symmetric signatures"."""


def new_secret() -> str:
    """A secret for one receiver, 256 random bits, in the form that receivers' libraries read."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def key_of(secret: str) -> bytes:
    """The key inside `whsec_…`. Raises SecretMalformed, which does not quote the secret."""
    if not secret.startswith(_PREFIX):
        raise SecretMalformed(f"the secret does not begin with {_PREFIX}")
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise SecretMalformed("the secret is not base64") from None
    if not _LEAST_BYTES <= len(key) <= _MOST_BYTES:
        raise SecretMalformed(f"the secret has {len(key)} bytes, not {_LEAST_BYTES} to {_MOST_BYTES}")
    return key


def signed_headers(delivery: str, at: datetime, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """`webhook-id`, `webhook-timestamp` and, when there is a key, `webhook-signature`.

    With several keys, as while a secret is rotated, the receiver accepts the call if it knows any of them.
    """
    timestamp = str(int(at.timestamp()))
    headers = {"webhook-id": delivery, "webhook-timestamp": timestamp}
    if keys:
        content = b".".join((delivery.encode(), timestamp.encode(), body))
        headers["webhook-signature"] = " ".join(
            "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode() for key in keys
        )
    return headers
