"""Who is signed in at the console: one-time links, and the sessions they become.

Both live in the memory of one process, only as digests of what the browser shows, and both end by themselves. A session
holds an access token of the API, which ends within the hour: then a new link is needed, unless a provider gives another
token for the same person (`renewal.py`). Of a session that is over, only what its person was about to do is kept, for
whoever signs in again with the same account in the same browser.
"""

import asyncio
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
RENEWED_LIFE: Final = timedelta(hours=12)
"""Of a session whose token is renewed, from the signing in: a working day. Then its person shows again who it is."""
RENEWED_AHEAD: Final = timedelta(minutes=1)
"""Before the end of a token, or a quarter of its life if that is less: time to try again when the provider is slow."""
FORMER_LIFE: Final = timedelta(hours=1)
"""How long it is kept what somebody was about to do when the session ended; the browser keeps its cookie as long."""
MOST_LINKS: Final = 100
MOST_SESSIONS: Final = 1000
MOST_FORMER: Final = 200
"""Of all of them the oldest gives way: nobody can fill the memory by asking for more."""
MOST_TYPED_CHARACTERS: Final = 100_000
"""Of a form that came too late, to be kept; one with more is not."""
MOST_RECENT: Final = 8
"""Objects of each session that the palette offers again."""
MOST_RAN: Final = 20
"""Documents of each session that the explorer offers again."""
MOST_TENANTS: Final = 5
"""That a session looked at before, to go back to with one press."""
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


@dataclass(frozen=True)
class Ran:
    """A document that was run in the explorer."""

    link: str
    """To the explorer with it, without secrets."""
    what: str
    """Its beginning, to be told from others."""
    when: str
    """RFC 3339."""
    has_errors: bool


@dataclass
class Renewable:
    """What the token of a session is replaced with."""

    signed: Any
    """Of the provider: it alone knows what is in it."""
    due: float
    """From when on another token is asked for."""
    token_until: float
    """When the present one ends."""
    asking: "asyncio.Task[None] | None" = None
    failed: CompassError | None = None
    """Why it was not replaced when that was tried last."""

    @classmethod
    def by(cls, signed: Any, *, seconds: float, now: float) -> "Renewable":
        """For a token that is good for so long, from now on; one that is good for longer is replaced all the same:
        what its person may do now, the provider says with the next one.
        """
        left = min(seconds, SESSION_LIFE.total_seconds())
        return cls(signed, due=now + left - min(RENEWED_AHEAD.total_seconds(), left / 4), token_until=now + left)


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
    account: str = ""
    """As whom the plane knows the same."""
    pairings: OrderedDict[str, FreshToken] = field(default_factory=OrderedDict, repr=False)
    """One-time tokens just made in it, by client id."""
    did: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list, repr=False)
    """What was changed just now: documents and their variables, for the next page to tell."""
    typed: tuple[str, Mapping[str, str]] | None = field(default=None, repr=False)
    """The path of a form that was refused just now, and what was typed into it."""
    under_way: dict[str, Any] = field(default_factory=dict, repr=False)
    """What goes on without a page, by number: `waiting.UnderWay`."""
    seen: list[Seen] = field(default_factory=list)
    """Pages about objects, in whatever tenant, the last seen last."""
    ran: list[Ran] = field(default_factory=list, repr=False)
    """Documents run in the explorer, the last one last."""
    tenants: list[str] = field(default_factory=list)
    """Those that it looked at, the last one last."""
    called: dict[str, str] = field(default_factory=dict)
    """Names of tenants by external id, as far as they were seen."""
    signed: Any = field(default=None, repr=False)
    """What the provider gave, to leave it with; None after a link."""
    renewable: "Renewable | None" = field(default=None, repr=False)
    """With what its token is replaced before it ends; None when it ends with it."""

    def see(self, path: str, title: str, section: str) -> None:
        """Remember a page about an object."""
        now = Seen(self.tenant, path, title, section)
        self.seen = [one for one in self.seen if (one.tenant, one.path) != (now.tenant, path)][1 - MOST_RECENT :]
        self.seen.append(now)

    def run(self, one: Ran) -> None:
        """Remember a document that was run; one that was run before stands at its new place only."""
        self.ran = [*(each for each in self.ran if each.link != one.link), one][-MOST_RAN:]

    def forget(self, path: str) -> None:
        """The object is gone."""
        self.seen = [one for one in self.seen if (one.tenant, one.path) != (self.tenant, path)]

    def look_at(self, tenant: str) -> None:
        """Be in this tenant from now on."""
        self.tenants = [one for one in (*self.tenants, self.tenant) if one != tenant][-MOST_TENANTS:]
        self.tenant = tenant
        self.called = {one: name for one, name in self.called.items() if one in (*self.tenants, tenant)}
        # A token belongs to a client of the former tenant.
        self.pairings.clear()

    def learn(self, tenant: str, name: str | None) -> None:
        """What the tenant is called, when it is one that the session may look at again."""
        if name and tenant in (*self.tenants, self.tenant):
            self.called[tenant] = name

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


@dataclass
class Former:
    """A session that is over, and not because its person left: what is of use to the same person."""

    tenant: str
    account: str
    csrf: str = field(repr=False)
    until: float
    back: str = ""
    """The page that it was at."""
    typed: tuple[str, Mapping[str, str]] | None = field(default=None, repr=False)
    """As `Session.typed`."""

    def keep(self, path: str, form: Mapping[str, str]) -> None:
        """Keep what was typed into a form of that session; not into one of somebody else's, and no book."""
        is_ours = hmac.compare_digest(form.get("csrf", "").encode(), self.csrf.encode())
        if is_ours and sum(map(len, form.values())) <= MOST_TYPED_CHARACTERS:
            self.typed = (path, form)


@dataclass(frozen=True)
class _Link:
    token: str = field(repr=False)
    tenant: str
    account: str
    until: float


class Sessions:
    """All links and sessions of one process."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds that never go back."""
        self.clock = clock
        self._links: OrderedDict[bytes, _Link] = OrderedDict()
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()
        self._begun: OrderedDict[bytes, tuple[Any, float]] = OrderedDict()
        self._former: OrderedDict[bytes, Former] = OrderedDict()

    def link(self, token: str, tenant: str, account: str = "") -> str:
        """A code that is good once, for ten minutes, for a session with this access token."""
        code = secrets.token_urlsafe(32)
        self._links[_digest(code)] = _Link(token, tenant, account, self.clock() + LINK_LIFE.total_seconds())
        while len(self._links) > MOST_LINKS:
            self._links.popitem(last=False)
        return code

    def redeem(self, code: str) -> str:
        """The cookie of a new session for a code. Raises LinkRefused."""
        link = self._links.pop(_digest(code), None)
        if link is None or link.until <= self.clock():
            raise LinkRefused()
        return self.open(link.token, link.tenant, seconds=SESSION_LIFE.total_seconds(), account=link.account)

    def open(
        self,
        token: str,
        tenant: str,
        *,
        seconds: float,
        account: str,
        person: str = "",
        signed: Any = None,
        renewable: Renewable | None = None,
    ) -> str:
        """The cookie of a new session with this access token, which is good for so long."""
        cookie = secrets.token_urlsafe(32)
        life = min(seconds, SESSION_LIFE.total_seconds()) if renewable is None else RENEWED_LIFE.total_seconds()
        until = self.clock() + life
        self._sessions[_digest(cookie)] = Session(
            token, tenant, until, person=person, account=account, signed=signed, renewable=renewable
        )
        while len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return cookie

    def begin(self, begun: Any) -> str:
        """A code for a browser that is sent to a provider: what it needs on its way is kept for ten minutes."""
        cookie = secrets.token_urlsafe(32)
        self._begun[_digest(cookie)] = (begun, self.clock() + LINK_LIFE.total_seconds())
        while len(self._begun) > MOST_LINKS:
            self._begun.popitem(last=False)
        return cookie

    def begun(self, cookie: str) -> Any:
        """What was kept under that code, once; None when there is nothing, or its time is over."""
        begun, until = self._begun.pop(_digest(cookie), (None, 0.0))
        return begun if until > self.clock() else None

    def find(self, cookie: str) -> Session | None:
        """The session of a cookie, while it lasts."""
        session = self._sessions.get(_digest(cookie))
        if session is not None and session.until <= self.clock():
            self.lapse(cookie)
            return None
        return session

    def lapse(self, cookie: str) -> None:
        """The session is over, though nobody left it: of what was in it, neither tokens nor objects are kept."""
        key = _digest(cookie)
        session = self._sessions.pop(key, None)
        if session is None:
            return
        until = self.clock() + FORMER_LIFE.total_seconds()
        self._former[key] = Former(session.tenant, session.account, session.csrf, until, typed=session.typed)
        while len(self._former) > MOST_FORMER:
            self._former.popitem(last=False)

    def former(self, cookie: str) -> Former | None:
        """What is kept of the session that this cookie was of."""
        key = _digest(cookie)
        former = self._former.get(key)
        if former is not None and former.until <= self.clock():
            del self._former[key]
            return None
        return former

    def resume(self, former_cookie: str, cookie: str) -> str:
        """Give a new session what was kept of the former one of the same account in the same tenant; the path of its
        page, empty for none.
        """
        former = self.former(former_cookie)
        self._former.pop(_digest(former_cookie), None)
        session = self._sessions[_digest(cookie)]
        if former is None or (former.account, former.tenant) != (session.account, session.tenant):
            return ""
        session.typed = former.typed
        if former.typed is not None:
            session.said.append(("ok", "You are signed in again. What you typed is still here; nothing was sent."))
        return former.back

    def end(self, cookie: str) -> None:
        """Sign out; twice does no harm."""
        self._sessions.pop(_digest(cookie), None)
        self._former.pop(_digest(cookie), None)


def _digest(secret: str) -> bytes:
    # A fast hash is enough for 256 random bits; found by digest, no comparison takes longer for a better guess.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
