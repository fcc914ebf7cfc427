"""How a connection status reads for people: the same words in the console and on the command line.

A `connection` is a `ConnectionStatus` of the API with all its axes, or None for who may not see it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

AXES: Final[Mapping[str, str]] = {
    "paired": "paired",
    "certificate": "certificate",
    "inSync": "in sync",
    "heartbeat": "heartbeat",
}
"""The axes, and what they are called."""
WORDS: Final[Mapping[str, str]] = {
    "UNPAIRED": "not paired",
    "RENEWABLE": "due for renewal",
    "RETIRING": "to be renewed",
    "UNTRUSTED": "not trusted any more",
    "IN_SYNC": "in sync",
    "PENDING": "on its way",
    "MISSING": "missing",
}
"""Where the plane's own word would puzzle a person."""
HEALTH: Final[Mapping[str, str]] = {"OK": "ok", "WAITING": "waiting", "WARNING": "warning", "BAD": "bad"}
"""How bad it is, from nothing to the worst."""
SIGNS: Final[Mapping[str, str]] = {"OK": "✓", "WAITING": "·", "WARNING": "!", "BAD": "✗"}
_WORST_FIRST: Final = tuple(HEALTH)[::-1]
_ITS_SIDE: Final = (
    "that it runs there: compass agent status",
    "the clock: one that is wrong makes good certificates look bad",
    "DNS: the plane's name leads to the plane",
    "the port: the plane's mTLS port, 8444 unless it was changed, is reached from there",
)
_ITS_WEBHOOK: Final = (
    "its receiver: that it runs, and answers at the address of the webhook",
    "what was sent and answered: compass webhook deliveries; compass webhook resend tries one again",
)
_ITS_CERTIFICATE: Final = "the certificate: {certificate}"
_THE_REST: Final = "compass doctor, on its machine, names the one that fails and what to do"
_PAIR_ANEW: Final = "a new one-time token pairs it anew"


@dataclass(frozen=True)
class Trouble:
    """An axis that somebody should look at."""

    axis: str
    """As the API names it."""
    state: str
    health: str
    why: str
    """A sentence, without who it is about."""
    since: str | None
    check: tuple[str, ...]
    """What to look at, in the order in which it pays."""


def word(state: str) -> str:
    """A state as people say it."""
    return WORDS.get(state, state.replace("_", " ").lower())


def troubles(connection: Mapping[str, Any] | None) -> list[Trouble]:
    """The axes that need attention, the worst first; of equals the one that explains the others."""
    if connection is None:
        return []
    found = [
        Trouble(
            name,
            axis["state"],
            axis["health"],
            _why(name, axis),
            axis["since"],
            _check(connection, name, axis["state"]),
        )
        # An agent without an identity is silent, too.
        for name in ("paired", "certificate", "heartbeat", "inSync")
        if (axis := connection.get(name)) is not None
        and axis["health"] in ("WARNING", "BAD")
        # What one that is silent has taken over is not known: that is said by its silence.
        and (name, axis["state"]) != ("inSync", "UNKNOWN")
    ]
    return sorted(found, key=lambda trouble: _WORST_FIRST.index(trouble.health))


def sentence(connection: Mapping[str, Any] | None) -> str:
    """All of it in one line, for a table: a sign, a word, and the reason when there is something to say."""
    if connection is None:
        return ""
    health = connection["health"]
    wrong = troubles(connection)
    if wrong:
        why = wrong[0].why
    elif health == "WAITING":
        waits = next(
            axis for name in AXES if (axis := connection.get(name)) is not None and axis["health"] == "WAITING"
        )
        why = waits["reason"] or word(waits["state"])
    else:
        why = ""
    return f"{SIGNS[health]} {HEALTH[health]}{f': {why}' if why else ''}"


def shown(axis: Mapping[str, Any] | None) -> str:
    """One axis in one line."""
    if axis is None:
        return ""
    reason = f" ({axis['reason']})" if axis["reason"] else ""
    return f"{SIGNS[axis['health']]} {word(axis['state'])}{reason}"


def _why(name: str, axis: Mapping[str, Any]) -> str:
    reason = str(axis["reason"] or word(axis["state"]))
    return f"certificate: {reason}" if name == "certificate" else reason


def _check(connection: Mapping[str, Any], name: str, state: str) -> tuple[str, ...]:
    certificate = connection["certificate"]
    match name, state:
        case "heartbeat", _:
            its = _ITS_CERTIFICATE.format(certificate=certificate["reason"] or word(certificate["state"]))
            return (*_ITS_SIDE, its, _THE_REST)
        case "inSync", _ if connection.get("heartbeat") is None:
            return _ITS_WEBHOOK  # an application, which has no agent
        case "inSync", _:
            return ("what it says itself: compass agent status, or its log", _THE_REST)
        case "paired", _:
            return (_PAIR_ANEW,)
        case "certificate", "EXPIRING" | "RETIRING":
            return ("that it runs there: a client renews by itself", _PAIR_ANEW)
        case _:
            return (_PAIR_ANEW,)
