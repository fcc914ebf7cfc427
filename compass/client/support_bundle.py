"""A support bundle: how a plane is, for whoever helps, with nothing in it that must not leave the house.

Of addresses only the host is kept, of callers only what kind they are; answers of receivers are left out altogether.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

MOST_DELIVERIES: Final = 50
"""The newest that were given up."""
_URL: Final = re.compile(r"\b([a-z][a-z0-9+.-]*)://(?:[^\s/@\"']*@)?([^\s/?#\"']*)[^\s\"']*", re.IGNORECASE)
_ABOUT_DELIVERY: Final = ("id", "webhookID", "operation", "state", "error", "createdAt")
_ABOUT_ATTEMPT: Final = ("number", "startedAt", "elapsedMilliseconds", "status", "error")
_ABOUT_CALLER: Final = ("consumer", "flow", "tenantID", "scopes")


def bundle(
    *,
    made_at: str,
    made_with: Mapping[str, str],
    who: Mapping[str, Any],
    system: Mapping[str, Any],
    failed: Mapping[str, Any],
) -> dict[str, Any]:
    """What goes into it: the answers to `SignedIn`, `System`, and `WebhookDeliveries` that are DEAD."""
    found = {
        "madeAt": made_at,
        "madeWith": dict(made_with),
        "asked": {name: who[name] for name in _ABOUT_CALLER},
        "system": dict(system),
        "givenUp": {
            "total": failed["totalCount"],
            "newest": [_delivery(one) for one in failed["data"][:MOST_DELIVERIES]],
        },
    }
    redacted: dict[str, Any] = _redacted(found)
    return redacted


def _delivery(one: Mapping[str, Any]) -> dict[str, Any]:
    attempts = [{name: attempt[name] for name in _ABOUT_ATTEMPT} for attempt in one["attempts"]]
    return {**{name: one[name] for name in _ABOUT_DELIVERY}, "attempts": attempts}


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return _URL.sub(r"\1://\2/…", value)
    if isinstance(value, Mapping):
        return {key: _redacted(part) for key, part in value.items()}
    if isinstance(value, Sequence):
        return [_redacted(part) for part in value]
    return value
