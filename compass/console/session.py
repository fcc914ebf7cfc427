"""Who is signed in at the console: one-time links, and the sessions they become.

Both live in the memory of one process, only as digests of what the browser shows, and both end by themselves. A session
holds an access token of the API, which ends within the hour: then a new link is needed.
"""

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from compass.errors import Code, CompassError

LINK_LIFE: Final = timedelta(minutes=10)
"""From the terminal to the browser; long enough to find the window."""
SESSION_LIFE: Final = timedelta(hours=1)
"""That of the access token in it."""
MOST_LINKS: Final = 100
MOST_SESSIONS: Final = 1000
"""Of both the oldest gives way: nobody can fill the memory by asking for more."""
MOST_RECENT: Final = 8
"""Objects of each session that the palette offers again."""
MOST_PAIRINGS: Final = 20
"""Fresh one-time tokens that a session may show again while they are good."""


class LinkRefused(CompassError):
    """The link was used, is too old or was never given: which of them is not told."""

    code = Code.UNAUTHORIZED
    message = "this sign-in link does not work any more: `compass console` makes a new one"


class FormRefused(CompassError):
    """A form that no page of this session made: somebody else's, or one from before the last sign-in."""

    code = Code.UNAUTHORIZED
    message = "the form does not belong to this session; go back, load the page again and repeat it"


@dataclass(frozen=True)
class FreshToken:
    """A one-time token that was just made, for as long as it can be used."""

    text: str = field(repr=False)
    until: float


@dataclass(frozen=True)
class Seen:
    """A page about one object, as it was last seen."""

    tenant: str
    path: str
    title: str
    section: str


@dataclass
class Session:
    """One browser, signed in."""

    token: str = field(repr=False)
    """The access token with which it asks the API."""
    tenant: str
    """The external id of the tenant it looks at."""
    until: float
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    """Shown in every form of the session."""
    said: list[tuple[str, str]] = field(default_factory=list)
    """What the next page says first: kind (`ok`, `bad`) and text."""
    person: str = ""
    """As whom an OpenID provider knows who is signed in; empty after a link."""
    pairings: OrderedDict[str, FreshToken] = field(default_factory=OrderedDict, repr=False)
    """One-time tokens just made in it, by client id."""
    did: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list, repr=False)
    """What was changed just now: documents and their variables, for the next page to tell."""
    typed: tuple[str, Mapping[str, str]] | None = field(default=None, repr=False)
    """The path of a form that was refused just now, and what was typed into it."""
    seen: list[Seen] = field(default_factory=list)
    """Pages about objects, in whatever tenant, the last seen last."""

    def see(self, path: str, title: str, section: str) -> None:
        """Remember a page about an object."""
        now = Seen(self.tenant, path, title, section)
        self.seen = [one for one in self.seen if (one.tenant, one.path) != (now.tenant, path)][1 - MOST_RECENT :]
        self.seen.append(now)

    def forget(self, path: str) -> None:
        """The object is gone."""
        self.seen = [one for one in self.seen if (one.tenant, one.path) != (self.tenant, path)]

    def recent(self) -> list[Seen]:
        """The pages about objects of the tenant that it looks at, the last seen first."""
        return [one for one in reversed(self.seen) if one.tenant == self.tenant]

    def require(self, form: Mapping[str, str]) -> None:
        """Raises FormRefused unless the form was made for this session."""
        if not hmac.compare_digest(form.get("csrf", "").encode(), self.csrf.encode()):
            raise FormRefused()

    def keep_token(self, client: str, fresh: FreshToken) -> None:
        """Show a fresh token again when its page is loaded anew."""
        self.pairings[client] = fresh
        while len(self.pairings) > MOST_PAIRINGS:
            self.pairings.popitem(last=False)

    def fresh_token(self, client: str, now: float) -> str | None:
        """The token that was made for this client, while it may still be spent."""
        known = self.pairings.get(client)
        if known is not None and known.until <= now:
            del self.pairings[client]
            known = None
        return known.text if known is not None else None

    def once(self, client: str, now: float) -> str | None:
        """The same for a secret that is shown once: it is forgotten with it."""
        text = self.fresh_token(client, now)
        self.pairings.pop(client, None)
        return text


@dataclass(frozen=True)
class _Link:
    token: str = field(repr=False)
    tenant: str
    until: float


class Sessions:
    """All links and sessions of one process."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds that never go back."""
        self.clock = clock
        self._links: OrderedDict[bytes, _Link] = OrderedDict()
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()
        self._begun: OrderedDict[bytes, tuple[Any, float]] = OrderedDict()

    def link(self, token: str, tenant: str) -> str:
        """A code that is good once, for ten minutes, for a session with this access token."""
        code = secrets.token_urlsafe(32)
        self._links[_digest(code)] = _Link(token, tenant, self.clock() + LINK_LIFE.total_seconds())
        while len(self._links) > MOST_LINKS:
            self._links.popitem(last=False)
        return code

    def redeem(self, code: str) -> str:
        """The cookie of a new session for a code. Raises LinkRefused."""
        link = self._links.pop(_digest(code), None)
        if link is None or link.until <= self.clock():
            raise LinkRefused()
        return self.open(link.token, link.tenant, seconds=SESSION_LIFE.total_seconds())

    def open(self, token: str, tenant: str, *, seconds: float, person: str = "") -> str:
        """The cookie of a new session with this access token, which is good for so long."""
        cookie = secrets.token_urlsafe(32)
        until = self.clock() + min(seconds, SESSION_LIFE.total_seconds())
        self._sessions[_digest(cookie)] = Session(token, tenant, until, person=person)
        while len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return cookie

    def begin(self, begun: Any) -> str:
        """The cookie of a browser that is sent to a provider: what it has to come back with is kept for ten minutes."""
        cookie = secrets.token_urlsafe(32)
        self._begun[_digest(cookie)] = (begun, self.clock() + LINK_LIFE.total_seconds())
        while len(self._begun) > MOST_LINKS:
            self._begun.popitem(last=False)
        return cookie

    def begun(self, cookie: str) -> Any:
        """What was kept for that browser, once; None when there is nothing, or its time is over."""
        begun, until = self._begun.pop(_digest(cookie), (None, 0.0))
        return begun if until > self.clock() else None

    def find(self, cookie: str) -> Session | None:
        """The session of a cookie, while it lasts."""
        key = _digest(cookie)
        session = self._sessions.get(key)
        if session is not None and session.until <= self.clock():
            del self._sessions[key]
            return None
        return session

    def end(self, cookie: str) -> None:
        """Sign out; twice does no harm."""
        self._sessions.pop(_digest(cookie), None)


def _digest(secret: str) -> bytes:
    # A fast hash is enough for 256 random bits; found by digest, no comparison takes longer for a better guess.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
