"""What is kept of a call for people to see: where it went, with which headers, and with which headers it was answered.

Secrets are left out before anything is stored, so that none has to be looked after: the query of the address, and the
value of every header that is not known to hold none. What was sent is in the delivery, the same with every attempt.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from compass.delivery.attempt import Exchange, storable
from compass.outbound.door import Response

KEPT_ATTEMPTS: Final = 200
"""The last of a delivery. In the two days until it is given up, there are about a hundred and ten; sent again and again
it would have any number, and all of them are shown at once."""
MASK: Final = "***"
TOLD: Final = frozenset({"content-type", "compass-test", "webhook-id", "webhook-timestamp"})
"""Headers of a call that are shown. One that a template makes, or that signs in, is a usual place for secrets."""
ANSWERED: Final = frozenset(
    {"allow", "content-encoding", "content-length", "content-type", "date", "retry-after", "server", "x-request-id"}
)
"""Headers of an answer that are shown, to tell which machine said it, and what it wants."""
_MOST_HEADERS: Final = 40
_LONGEST: Final = 256
_USER: Final = re.compile(r"(?<=//)[^/@]*@")


def columns(exchange: Exchange | None) -> dict[str, Any]:
    """A call by the names of the columns it is kept in; None for an attempt that called nobody."""
    request, answer = (exchange.request, exchange.answer) if exchange else (None, None)
    return {
        "url": _address(request.url) if request else None,
        "request_headers": shown(request.headers, TOLD) if request else None,
        "response_headers": shown(answer.headers, ANSWERED) if isinstance(answer, Response) else None,
    }


def _address(url: str) -> str | None:
    where = _USER.sub("", re.split("[?#]", url, maxsplit=1)[0])
    return storable(where, 8 * _LONGEST) or None


def shown(headers: Mapping[str, str], readable: frozenset[str]) -> list[dict[str, str]]:
    """Headers by their names, without the values that nobody may see."""
    ordered = sorted(headers.items(), key=lambda one: one[0].lower())[:_MOST_HEADERS]
    return [
        {
            "name": storable(name, _LONGEST),
            "value": storable(value, _LONGEST) if name.lower() in readable else MASK,
        }
        for name, value in ordered
    ]
