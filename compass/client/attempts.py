"""How two attempts of a notification differ: the same in the console and on the command line.

An attempt is a `WebhookDeliveryAttempt` of the API with all its fields.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

ALWAYS_ANOTHER: Final = frozenset({"webhook-timestamp", "date"})
"""Headers that say when it was."""


@dataclass(frozen=True)
class Difference:
    """One thing that an attempt had otherwise than another; None where it had no such thing."""

    what: str
    before: str | None
    after: str | None


def facts(attempt: Mapping[str, Any]) -> dict[str, str]:
    """What there is to say of an attempt, by what it is called, but when it was."""
    told = {
        "sent to": attempt["url"],
        **{f"sent {name}": value for name, value in _headers(attempt["requestHeaders"])},
        "status": attempt["status"],
        "trouble": attempt["error"],
        "took": f"{attempt['elapsedMilliseconds']} ms",
        **{f"answered {name}": value for name, value in _headers(attempt["responseHeaders"])},
        "answer": attempt["response"],
    }
    return {what: str(value) for what, value in told.items() if value is not None}


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """Whatever two attempts had in different ways, but when they were; what only the first had comes last."""
    one, other = facts(before), facts(after)
    return [
        Difference(what, one.get(what), other.get(what))
        for what in {**other, **one}
        if one.get(what) != other.get(what)
    ]


def _headers(headers: list[dict[str, str]] | None) -> list[tuple[str, str]]:
    found = [(one["name"].lower(), one["value"]) for one in headers or ()]
    return [(name, value) for name, value in found if name not in ALWAYS_ANOTHER]
