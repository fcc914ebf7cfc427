"""One attempt of a delivery: send it, and decide from the answer what becomes of it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final, Protocol, assert_never

from compass.delivery.enqueue import Delivery, State
from compass.delivery.signature import signed_headers
from compass.errors import CompassError
from compass.outbound.door import Request, Response
from compass.outbound.errors import OutboundTimedOut, RequestRefused
from compass.postgres.queue import backoff
from compass.settings import DeliverySettings

EXCERPT_BYTES: Final = 2048
"""How much of an answer is kept for whoever looks for the reason of a failure."""
_MOST_RESPONSE_BYTES: Final = 256 * 1024
"""An answer to a notification is short. Output templates read it, so it is not cut off, but refused."""

_SUCCESS: Final = 2
"""The hundreds of a status that says the call was taken."""


class Sender(Protocol):
    """What a delivery needs of `outbound.door.Door`."""

    async def send(
        self, request: Request, *, total_timeout: timedelta | None = None, max_body_bytes: int | None = None
    ) -> Response:
        """Send one request and read the answer. Raises subclasses of CompassError."""
        ...


@dataclass(frozen=True)
class Prepared:
    """What is asked for at attempt time, because it may have changed since the delivery was enqueued, or is secret."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Credentials and the like; they replace the delivery's own headers of the same name."""
    signing_keys: Sequence[bytes] = field(default=(), repr=False)
    """Every key the receiver may know at the moment: two while its secret is rotated."""
    shows_certificate: bool = False
    """Whether the receiver may see the plane's client certificate."""
    url: str | None = field(default=None, repr=False)
    """Where the receiver is now, when that is not where it was as the delivery was enqueued."""
    sign_in: Callable[[], Awaitable[Mapping[str, str]]] | None = None
    """Further headers that cost a call over the network; asked for when no transaction is open. Raises CompassError."""


@dataclass(frozen=True)
class Delivered:
    """The receiver took it."""


@dataclass(frozen=True)
class Retry:
    """Not taken; try again later."""

    why: str


@dataclass(frozen=True)
class Dead:
    """Not taken, and trying again is useless."""

    why: str


@dataclass(frozen=True)
class Cancelled:
    """Nobody is to be told any more."""

    why: str


Verdict = Delivered | Retry | Dead | Cancelled
Answer = Response | CompassError


@dataclass(frozen=True)
class Exchange:
    """One call: what was asked, as far as it came to that, and what came back."""

    request: Request | None
    """None when signing in failed, so that there was nothing to send with."""
    answer: Answer


@dataclass(frozen=True)
class RetryRules:
    """When a delivery that failed is tried again, and for how long."""

    base: timedelta = DeliverySettings.first_retry_after
    """The longest pause after the first failure."""
    factor: float = 3.0
    """2 s, 6 s, 18 s, 54 s, 2.7 min, 8 min, 24 min, then the cap."""
    cap: timedelta = DeliverySettings.retry_at_most_every
    """The longest pause, also when the receiver itself asks for a longer one."""
    give_up_after: timedelta = DeliverySettings.give_up_after
    """From the first attempt; then the delivery is dead."""


@dataclass(frozen=True)
class Settled:
    """What becomes of a delivery after an attempt."""

    state: State
    why: str | None
    after: timedelta | None = None
    """Until the next attempt. None: there is none."""


async def send(door: Sender, delivery: Delivery, prepared: Prepared, *, within: timedelta) -> Exchange:
    """Make the call; what came back, or why nothing did.

    No database connection is held meanwhile. `within` is for the whole call, whatever the receiver does.
    """
    body = delivery.body.encode()
    request = None
    try:
        # The door keeps to the time-out by itself; the second watch is for a door that does not, and for signing in.
        async with asyncio.timeout(within.total_seconds() + 1):
            request = Request(
                method=delivery.method,
                url=prepared.url or delivery.url,
                headers=merged(
                    delivery.headers,
                    prepared.headers,
                    await prepared.sign_in() if prepared.sign_in else {},
                    # Last: nobody but us says which delivery this is and that it is ours.
                    signed_headers(delivery.id, delivery.attempted_at, body, prepared.signing_keys),
                ),
                body=body,
                shows_certificate=prepared.shows_certificate,
            )
            answer = await door.send(request, total_timeout=within, max_body_bytes=_MOST_RESPONSE_BYTES)
            return Exchange(request, answer)
    except CompassError as failure:
        return Exchange(request, failure)
    except TimeoutError:
        return Exchange(request, OutboundTimedOut())


def merged(*layers: Mapping[str, str]) -> dict[str, str]:
    """One header per name, whatever its case; later layers win."""
    headers: dict[str, tuple[str, str]] = {}
    for layer in layers:
        for name, value in layer.items():
            headers[name.lower()] = (name, value)
    return dict(headers.values())


def judged_by_status(answer: Answer) -> Verdict:
    """The verdict without any knowledge of the receiver: 2xx is taken, 410 is gone for good, all else is tried again.

    A request that the door will never send is dead at once. Source: Standard Webhooks, "Deliverability and
    reliability".
    """
    match answer:
        case RequestRefused():
            return Dead(why_not(answer))
        case CompassError():
            return Retry(why_not(answer))
        case Response(status=status) if status // 100 == _SUCCESS:
            return Delivered()
        case Response(status=HTTPStatus.GONE):
            return Dead(why_not(answer))
        case Response():
            return Retry(why_not(answer))
        case _:
            assert_never(answer)


def why_not(answer: Answer) -> str:
    """The sentence that is recorded for an answer that was not good enough."""
    return f"the receiver answered {answer.status}" if isinstance(answer, Response) else answer.wire_text()


def settle(
    verdict: Verdict,
    answer: Answer | None,
    *,
    failures: int,
    since_first: timedelta,
    rules: RetryRules,
    now: datetime,
    chance: float,
) -> Settled:
    """What becomes of a delivery, given the verdict. Pure.

    `failures` counts this one, `since_first` is the time since the first attempt, `chance` in [0, 1) the randomness.
    The last attempt is made when the time is up, not before, however long the pauses are by then.
    """
    match verdict:
        case Delivered():
            return Settled(State.DELIVERED, None)
        case Dead(why):
            return Settled(State.DEAD, why)
        case Cancelled(why):
            return Settled(State.CANCELLED, why)
        case Retry(why):
            left = rules.give_up_after - since_first
            if left <= timedelta(0):
                return Settled(State.DEAD, f"{why}; given up after {since_first}")
            pause = backoff(failures, base=rules.base, factor=rules.factor, cap=rules.cap, chance=chance)
            asked = retry_after(answer.headers, now) if isinstance(answer, Response) else None
            if asked is not None:
                pause = max(pause, min(asked, rules.cap))
            return Settled(State.PENDING, why, min(pause, left))
        case _:
            assert_never(verdict)


def retry_after(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """The pause a receiver asks for, as seconds or as a date; None if it does not, or not intelligibly.

    Source: RFC 9110 §10.2.3.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        # More digits than any sensible pause has; the caller caps it anyway.
        return timedelta(seconds=int(value[:9]))
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    if at.tzinfo is None:
        return None  # "-0000": no zone, so no instant
    return max(timedelta(0), at - now)


def excerpt(response: Response) -> str:
    """The beginning of an answer as text that the database accepts."""
    return storable(response.body[:EXCERPT_BYTES].decode(errors="replace"), EXCERPT_BYTES)


def storable(text: str, most_bytes: int) -> str:
    """Cut to so many bytes of UTF-8. PostgreSQL refuses NUL, and UTF-8 refuses lone surrogates."""
    clean = text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace")
    return clean[:most_bytes].decode(errors="ignore")
