"""How much one caller, one tenant and one network address may ask for, and that no tenant takes what all need.

Counted per process and in memory: a request waits for no other replica, and a restart forgets. What is counted is
bounded in number; who is forgotten when there are too many is who asked longest ago, and starts with a full bucket.
Why it is so: docs/adr/0019.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from ipaddress import IPv6Network, ip_address
from typing import Final

from compass.access.caller import Caller, Flow
from compass.errors import TooManyRequests
from compass.settings import LimitSettings

_MOST_KEYS: Final = 20_000
"""Callers, tenants or addresses that one table remembers; a hundred bytes each."""
_SEARCHES: Final = 4
"""Connections for reads that look for values, as `postgres/pool.py` has them."""
_RENEWALS_PER_SECOND: Final = 5
_RENEWALS_BURST: Final = 100
_RENEWALS_AT_ONCE: Final = 8
"""For one client: an agent looks at its configuration at every round, and renews or revokes now and then."""
_AGAIN_SOON_SECONDS: Final = 1.0
"""When to come back if it is not the rate that is too high: a request is over in less."""
_CALLER: Final = "this caller"
_TENANT: Final = "this tenant"
_ADDRESS: Final = "this address"


class Kind(StrEnum):
    """What a request is counted as."""

    REQUEST = "request"
    RENEWAL = "renewal"
    """To the Connector with a certificate: never refused because of what else the caller or its tenant asks for."""
    STREAM = "stream"
    """Open for hours, and costs little while it is."""


class Buckets:
    """A token bucket per key: `burst` at once, `per_second` in the long run."""

    def __init__(self, *, per_second: float, burst: int, most_keys: int = _MOST_KEYS) -> None:
        self._interval = 1 / per_second
        self._depth = burst / per_second
        self._most_keys = most_keys
        self._full_at: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    def wait(self, key: str, cost: int, now: float) -> float:
        """Seconds until `cost` can be taken; nothing or less when it can be now."""
        # Rounded: a burst that was added up one by one is off by a billionth of a second.
        return round(max(self._full_at.get(key, now), now) + cost * self._interval - now - self._depth, 6)

    def take(self, key: str, cost: int, now: float) -> None:
        """Take `cost`, which has to be there."""
        if len(self._full_at) >= self._most_keys and key not in self._full_at:
            self._forget(now)
        # As of now last in the order of the table, so that what is forgotten is what was not used for longest.
        self._full_at[key] = max(self._full_at.pop(key, now), now) + cost * self._interval

    def _forget(self, now: float) -> None:
        """Drop the buckets that are full again, which costs nobody anything, and then the older half."""
        self._full_at = {key: at for key, at in self._full_at.items() if at > now}
        if len(self._full_at) >= self._most_keys:
            self._full_at = dict(list(self._full_at.items())[len(self._full_at) // 2 :])


class Seats:
    """The database's connections, of which no tenant has more than its share at once. Others of its own wait in turn.

    Without contention a seat costs two look-ups.
    """

    def __init__(self, connections: int) -> None:
        self._most = max(1, connections - max(1, connections // 4))
        self._taken: dict[str, int] = {}
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    def of(self, key: str) -> "Seat":
        """A seat for as long as it is used as a context."""
        return Seat(self, key)

    async def take(self, key: str) -> None:
        """Wait for a seat."""
        taken = self._taken.get(key, 0)
        if taken < self._most:
            self._taken[key] = taken + 1
            return
        turn = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(key, deque())
        waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                waiting.remove(turn)
            else:
                self.leave(key)  # it had been given to us a moment before
            raise

    def leave(self, key: str) -> None:
        """Give the seat to who waits longest, if anybody does."""
        waiting = self._waiting.get(key)
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._waiting.pop(key, None)
        if self._taken[key] == 1:
            del self._taken[key]
        else:
            self._taken[key] -= 1


class Seat:
    """One seat."""

    __slots__ = ("_key", "_seats")

    def __init__(self, seats: Seats, key: str) -> None:
        self._seats, self._key = seats, key

    async def __aenter__(self) -> None:
        await self._seats.take(self._key)

    async def __aexit__(self, *_: object) -> None:
        self._seats.leave(self._key)


class Quotas:
    """What is left for whom, in this process."""

    def __init__(self, limits: LimitSettings, *, connections: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`connections` is `database.connections`."""
        self._limits = limits
        self._clock = clock
        self._callers = Buckets(per_second=limits.caller_requests_per_second, burst=limits.caller_burst)
        self._tenants = Buckets(per_second=limits.tenant_requests_per_second, burst=limits.tenant_burst)
        self._renewals = Buckets(per_second=_RENEWALS_PER_SECOND, burst=_RENEWALS_BURST)
        self._failures = Buckets(
            per_second=limits.address_failures_per_minute / 60, burst=limits.address_failures_burst
        )
        self._under_way: dict[tuple[Kind, str], int] = {}
        self._over: dict[object, float] = {}
        self.reads, self.searches, self.writes = Seats(connections), Seats(_SEARCHES), Seats(connections)

    def refuse_known(self, shown: object) -> None:
        """Refuse, before anybody is looked up, what was refused a moment ago and cannot be granted yet.

        `shown` is the credential and the tenant of the request, as they came; None for a request without a credential.
        Raises TooManyRequests.
        """
        until = self._over.get(shown) if self._over else None
        if until is None:
            return
        left = until - self._clock()
        if left > 0:
            raise TooManyRequests("this caller or its tenant", after_seconds=left)
        del self._over[shown]

    def admit(self, caller: Caller, kind: Kind = Kind.REQUEST, *, shown: object = None) -> Callable[[], None]:
        """Count a request of the caller, and one that is under way until what is returned is called.

        Raises TooManyRequests, and remembers what was `shown` if the rate is too high.
        """
        try:
            self._take(caller, 1, kind)
        except TooManyRequests as refusal:
            if shown is not None and kind is not Kind.RENEWAL:
                if len(self._over) >= _MOST_KEYS:
                    self._over.clear()
                self._over[shown] = self._clock() + refusal.after_seconds
            raise
        bounds = self._bounds(caller, kind)
        for name, whom, most in bounds:
            if self._under_way.get(name, 0) >= most:
                raise TooManyRequests(f"{whom}, with {most} under way", after_seconds=_AGAIN_SOON_SECONDS)
        for name, _, _ in bounds:
            self._under_way[name] = self._under_way.get(name, 0) + 1

        def over() -> None:
            for name, _, _ in bounds:
                if self._under_way[name] == 1:
                    del self._under_way[name]
                else:
                    self._under_way[name] -= 1

        return over

    def charge(self, caller: Caller, more: int, kind: Kind = Kind.REQUEST) -> None:
        """Count what one request asks for beside the first thing. Raises TooManyRequests, and then counts nothing."""
        if more > 0:
            self._take(caller, more, kind)

    def _take(self, caller: Caller, cost: int, kind: Kind) -> None:
        now = self._clock()
        taken = self._buckets(caller, kind)
        for buckets, key, whom in taken:
            _refuse_after(buckets.wait(key, cost, now), whom)
        for buckets, key, _ in taken:
            buckets.take(key, cost, now)

    def _buckets(self, caller: Caller, kind: Kind) -> list[tuple[Buckets, str, str]]:
        key = subject(caller)
        if kind is Kind.RENEWAL:
            return [(self._renewals, key, _CALLER)]
        if caller.flow is Flow.ONE_TIME_TOKEN:
            return [(self._tenants, key, _ADDRESS)]
        if caller.tenant is None:
            return [(self._callers, key, _CALLER)]
        return [(self._callers, key, _CALLER), (self._tenants, caller.tenant, _TENANT)]

    def _bounds(self, caller: Caller, kind: Kind) -> list[tuple[tuple[Kind, str], str, int]]:
        """What is counted while it is under way, and how many there may be."""
        key = subject(caller)
        limits = self._limits
        match kind:
            case Kind.RENEWAL:
                return [((kind, key), _CALLER, _RENEWALS_AT_ONCE)]
            case Kind.STREAM:
                return [((kind, key), _CALLER, limits.caller_streams)]
            case Kind.REQUEST if caller.flow is Flow.ONE_TIME_TOKEN:
                return [((kind, key), _ADDRESS, limits.tenant_requests_at_once)]
            case Kind.REQUEST if caller.tenant is None:
                return [((kind, key), _CALLER, limits.caller_requests_at_once)]
            case Kind.REQUEST:
                return [
                    ((kind, key), _CALLER, limits.caller_requests_at_once),
                    ((kind, caller.tenant), _TENANT, limits.tenant_requests_at_once),
                ]

    def failed(self, address: str) -> None:
        """Count a credential that was wrong. Raises nothing: the answer to it has to be like any other."""
        now, key = self._clock(), network(address)
        if self._failures.wait(key, 1, now) <= 0:
            self._failures.take(key, 1, now)

    def refuse_guessing(self, address: str) -> None:
        """Refuse to look at a secret from an address from which too many wrong ones came. Raises TooManyRequests."""
        _refuse_after(self._failures.wait(network(address), 1, self._clock()), "this address, with wrong credentials")


def subject(caller: Caller) -> str:
    """Who is counted: a paired client or an account by what it is known by, anybody else by the address."""
    if caller.flow is Flow.ONE_TIME_TOKEN:
        return f"address {network(caller.address)}"
    return caller.system_auth or f"{caller.consumer} {caller.consumer_id}"


def network(address: str) -> str:
    """What one party can be thought to hold: an IPv4 address, and a /64 of IPv6."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return address if found.version == 4 else str(IPv6Network((int(found) >> 64 << 64, 64)))  # noqa: PLR2004  # a version


def _refuse_after(seconds: float, who: str) -> None:
    if seconds > 0:
        raise TooManyRequests(who, after_seconds=seconds)
