"""Text that is not shown by accident."""

import hmac
from typing import NoReturn


class Secret:
    """Text that is shown only to who calls `reveal`: not by print, a format, a traceback, json, pickle or a copy."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The text itself. Every call of this is a place where a secret can leak."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        # Constant time: how long a comparison took must not tell how much of a guess was right.
        return isinstance(other, Secret) and hmac.compare_digest(_bytes(self), _bytes(other))

    __hash__ = None  # type: ignore[assignment]  # a secret is no key of anything

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not serialised")


def _bytes(secret: Secret) -> bytes:
    return secret.reveal().encode("utf-8", "surrogatepass")
