"""Signing in, with a link that works once or at an OpenID provider, and out again.

The browser goes to the provider and comes back with a code. What it comes back to is a page with one button, as for a
link: so the cookies can stay `SameSite=Strict`, which a browser on its way from another site does not show, and
whatever merely looks at addresses spends no code. The provider's tokens stay on this side. Whoever was sent here from a
page goes on there afterwards.

Who signs out is sent to the provider from a page, not by the answer to the form: browsers hold `form-action` of the
content security policy against what a form is led on to, too.
Source: RFC 9700 §2.1 and §4.7, OpenID Connect Core 1.0 §3.1, OpenID Connect RP-Initiated Logout 1.0 §3.
"""

from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any, Final, Protocol
from urllib.parse import quote, urlencode

from compass.console.http import Answer, Request, moved
from compass.console.page import PREFIX, Page, Pages
from compass.console.session import FORMER_LIFE, LINK_LIFE, RENEWED_LIFE, SESSION_LIFE, Renewable, Session, Sessions
from compass.errors import Code, CompassError

COOKIE: Final = "__Host-compass"
"""The prefix makes browsers refuse it without TLS, for other hosts and below other paths."""
BEGUN_COOKIE: Final = "__Host-compass-sign-in"
"""Of a browser that is at the provider: nobody else can go on with what it began."""
_ANSWER: Final = ("code", "state", "iss", "error")
"""What a provider may say in an address. Source: RFC 6749 §4.1.2, RFC 9207 §2."""


class Begun(Protocol):
    """A sign-in under way."""

    @property
    def url(self) -> str:
        """Where the person goes."""


class Person(Protocol):
    """Somebody whom a provider vouches for."""

    @property
    def id(self) -> str:
        """`<issuer>#<user>`."""

    @property
    def scopes(self) -> Collection[str]:
        """What the person may do."""

    @property
    def tenants(self) -> Collection[str] | None:
        """External ids of the tenants where; None for all."""

    @property
    def groups(self) -> Collection[str]:
        """Those that the provider told."""


class Signed(Protocol):
    """Somebody who signed in."""

    @property
    def token(self) -> str:
        """With which the plane is asked as this person."""

    @property
    def seconds_left(self) -> float:
        """Of its life."""

    @property
    def person(self) -> Person:
        """Who it is."""

    @property
    def is_renewable(self) -> bool:
        """Whether the provider can be asked for another token in place of this one."""


class Provider(Protocol):
    """An OpenID provider, as the plane knows it."""

    @property
    def name(self) -> str:
        """As people know it."""

    async def begin(self) -> Begun:
        """A new sign-in."""

    async def finish(self, begun: Any, answer: Mapping[str, str]) -> Signed:
        """Whom the answer that a browser brought speaks for. Raises CompassError."""

    async def renew(self, signed: Any) -> Signed:
        """The same person with another token, if it is renewable. Raises CompassError."""

    async def leave(self, signed: Any) -> str | None:
        """Make the tokens void; where the browser leaves the provider, if it may. It raises nothing."""


def may_enter(person: Person, tenant: str) -> bool:
    """Whether somebody has a right to anything there."""
    return bool(person.scopes) and (person.tenants is None or tenant in person.tenants)


class SignInLost(CompassError):
    """The browser came back with nothing that it began here, or too late, or for the second time."""

    code = Code.UNAUTHORIZED
    message = "this sign-in was not begun in this browser within the last ten minutes, or was finished already"


class SignIn:
    """What is below `/sign-in`."""

    def __init__(self, sessions: Sessions, pages: Pages, provider: Provider | None, *, tenant: str) -> None:
        """`tenant` is where those begin who may work in all."""
        self._sessions = sessions
        self._pages = pages
        self._provider = provider
        self._tenant = tenant

    async def answer(self, request: Request) -> Answer | None:
        """The answer, or None for a path that is none of these. A POST was seen to come from our own page."""
        match request.method, request.path:
            case "GET" | "HEAD", "/sign-in":
                leaving = self._sessions.begun(request.query.get("left", ""))
                return self._led_on(request, leaving) if isinstance(leaving, str) else self._page(request)
            case "POST", "/sign-in":
                return await self._explained(request, self._by_link)
            case "GET", "/sign-in/begin" if self._provider is not None:
                return await self._explained(request, self._begin)
            case "GET", "/sign-in/callback" if self._provider is not None:
                answer = {name: request.query[name] for name in _ANSWER if name in request.query}
                if not answer.keys() & {"code", "error"}:
                    # Who was signed out there comes back here.
                    return moved(f"{PREFIX}/sign-in?gone=1")
                return self._page(request, answer=answer)
            case "POST", "/sign-in/callback" if self._provider is not None:
                return await self._explained(request, self._finish)
            case _:
                return None

    async def leave(self, session: Session) -> Answer:
        """Sign out of the provider, too, whoever signed in with it. The session is over already."""
        if self._provider is None or session.signed is None:
            return moved(f"{PREFIX}/sign-in", ended())
        address = await self._provider.leave(session.signed)
        return moved(f"{PREFIX}/sign-in?left={'1' if address is None else self._sessions.begin(address)}", ended())

    def _led_on(self, request: Request, address: str) -> Answer:
        page = self._page(request, leaving=address)
        return Answer(page.body, page.status, headers={"refresh": f"0; url={address}"})

    def _page(self, request: Request, *, status: int = HTTPStatus.OK, **more: Any) -> Answer:
        former = self._sessions.former(request.cookie(COOKIE))
        back = ours(request.query.get("back") or request.form.get("back", ""))
        query = f"?{urlencode({'back': back})}" if back else ""
        data = {
            "provider": self._provider.name if self._provider is not None else "",
            "begin": f"{PREFIX}/sign-in/begin{query}",
            "keeps": former is not None and former.typed is not None,
        }
        page = Page("sign_in.html", "Sign in", data, status=status)
        return self._pages.answer(page, request, None, **more)

    async def _explained(self, request: Request, view: Any) -> Answer:
        """The answer of a view; what it refuses is told on the page where one may begin anew."""
        try:
            answer: Answer = await view(request)
        except CompassError as refused:
            is_away = refused.code == Code.OPERATION_TIMEOUT
            status = HTTPStatus.SERVICE_UNAVAILABLE if is_away else HTTPStatus.FORBIDDEN
            return self._page(request, status=status, problem=str(refused))
        return answer

    async def _by_link(self, request: Request) -> Answer:
        """Raises LinkRefused."""
        cookie = self._sessions.redeem(request.form.get("code", ""))
        return self._let_in(request, cookie, SESSION_LIFE.total_seconds())

    async def _begin(self, request: Request) -> Answer:
        assert self._provider is not None  # noqa: S101  # the routes above
        begun = await self._provider.begin()
        cookie = self._sessions.begin((begun, ours(request.query.get("back", ""))))
        return moved(begun.url, {"set-cookie": _cookie(BEGUN_COOKIE, cookie, int(LINK_LIFE.total_seconds()))})

    async def _finish(self, request: Request) -> Answer:
        assert self._provider is not None  # noqa: S101  # the routes above
        kept = self._sessions.begun(request.cookie(BEGUN_COOKIE))
        if kept is None:
            raise SignInLost()
        begun, back = kept
        signed = await self._provider.finish(begun, request.form)
        person = signed.person
        if not person.scopes or (person.tenants is not None and not person.tenants):
            data = {"person": person, "provider": self._provider.name}
            page = Page("no_permission.html", "No permission yet", data, status=HTTPStatus.FORBIDDEN)
            return self._pages.answer(page, request, None)
        former = self._sessions.former(request.cookie(COOKIE))
        wanted = former.tenant if former is not None and former.account == person.id else self._tenant
        tenant = wanted if may_enter(person, wanted) else min(person.tenants or ())
        left = signed.seconds_left
        life = RENEWED_LIFE.total_seconds() if signed.is_renewable else min(left, SESSION_LIFE.total_seconds())
        cookie = self._sessions.open(
            signed.token,
            tenant,
            seconds=left,
            account=person.id,
            person=person.id,
            signed=signed,
            renewable=Renewable.by(signed, seconds=left, now=self._sessions.clock()) if signed.is_renewable else None,
        )
        return self._let_in(request, cookie, life, back)

    def _let_in(self, request: Request, cookie: str, seconds: float, back: str = "") -> Answer:
        """Go on where somebody was before, if that is known."""
        where = self._sessions.resume(request.cookie(COOKIE), cookie) or back or f"{PREFIX}/"
        # Shown for longer than the session lasts: by it is found what was typed when it had just ended.
        shown = int(seconds + FORMER_LIFE.total_seconds())
        return moved(where, {"set-cookie": _cookie(COOKIE, cookie, shown)})


def ours(path: str) -> str:
    """The path of a page of the console, to be led to; empty for anything else."""
    is_ours = path.startswith(f"{PREFIX}/") and path.isprintable() and "\\" not in path
    return quote(path, safe="/?&=%+,:-._~") if is_ours and not path.startswith(f"{PREFIX}/sign-") else ""


def ended() -> Mapping[str, str]:
    """What makes the browser forget its session."""
    return {"set-cookie": _cookie(COOKIE, "", 0)}


def _cookie(name: str, value: str, seconds: int) -> str:
    return f"{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; Secure; SameSite=Strict"
