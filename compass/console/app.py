"""The console as an ASGI application: who is signed in, which view answers, and what a page says when none can.

Served by the plane's token listener below `/console`. It asks the plane what everybody may ask it, with the access
token of whoever is signed in, and keeps nothing but that.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from compass.client.protocol import PlaneRefused
from compass.console import (
    access,
    activity,
    application,
    application_templates,
    applications,
    bulk,
    certificates,
    credentials,
    definition_form,
    definitions,
    deliveries,
    edit,
    explorer,
    groups,
    integrations,
    kept,
    label_definitions,
    landscape_file,
    overview,
    pairing,
    palette,
    replay,
    runtimes,
    system,
    tenants,
    topology,
    webhooks,
    yaml_edit,
    yaml_view,
)
from compass.console.assets import Assets
from compass.console.commands import copies, is_secret, once, without_secrets
from compass.console.http import Answer, Asgi, FormTooLarge, Receive, Request, Send, Stream, moved, read
from compass.console.http import answer as send_answer
from compass.console.http import stream as send_stream
from compass.console.live import changes, names, over
from compass.console.page import PREFIX, THEME_COOKIE, THEMES, Page, Pages
from compass.console.plane import Gone, NotAllowed, Plane, SignedOut, is_mutation, told
from compass.console.renewal import Renewals
from compass.console.session import FormRefused, Session, Sessions
from compass.console.sign_in import COOKIE, SignIn, ours
from compass.console.visit import Facts, View, Visit
from compass.errors import Code, CompassError

_log = logging.getLogger(__name__)

_YEAR_SECONDS: Final = 365 * 24 * 3600
_SAME_SITE: Final = frozenset({"", "same-origin", "none"})
ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/"): overview.show,
    **applications.ROUTES,
    **application.ROUTES,
    **kept.ROUTES,
    **landscape_file.ROUTES,
    **yaml_view.ROUTES,
    **yaml_edit.ROUTES,
    **runtimes.ROUTES,
    **pairing.ROUTES,
    **groups.ROUTES,
    **topology.ROUTES,
    **certificates.ROUTES,
    **deliveries.ROUTES,
    **webhooks.ROUTES,
    **replay.ROUTES,
    **access.ROUTES,
    **definition_form.ROUTES,  # before what a definition's id may be
    **definitions.ROUTES,
    **tenants.ROUTES,
    **palette.ROUTES,
    **edit.ROUTES,
    **explorer.ROUTES,
    **bulk.ROUTES,
    **activity.ROUTES,
    **label_definitions.ROUTES,
    **integrations.ROUTES,
    **credentials.ROUTES,
    **application_templates.ROUTES,
    **system.ROUTES,
}


class Console:
    """The console of one plane."""

    def __init__(self, plane: Asgi, facts: Facts, *, sessions: Sessions | None = None) -> None:
        """`plane` is what the token port serves. Raises AssetRefused when a file is not what was reviewed."""
        self._plane = plane
        self._facts = facts
        self._assets = Assets.load()
        self._pages = Pages(self._assets)
        self.sessions = sessions or Sessions()
        self._sign_in = SignIn(self.sessions, self._pages, facts.provider, tenant=facts.tenant)
        self._renewals = Renewals(self.sessions, facts.provider)
        self._routes: Sequence[tuple[str, list[str], View]] = [
            (method, path.split("/"), view) for (method, path), view in ROUTES.items()
        ]

    def link(self, token: str, tenant: str, account: str = "") -> str:
        """The path of a one-time sign-in link for a session with this access token, which is this account's."""
        return f"{PREFIX}/sign-in?code={self.sessions.link(token, tenant, account)}"

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            request = await read(scope, receive, prefix=PREFIX, is_known=self._is_known)
        except FormTooLarge as error:
            await send_answer(send, Answer(str(error).encode(), HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "text/plain"))
            return
        answered = await self._respond(request)
        if isinstance(answered, Stream):
            await send_stream(receive, send, answered)
        else:
            if request.method == "HEAD":
                answered = Answer(b"", answered.status, answered.content_type, answered.headers)
            await send_answer(send, answered)

    def _is_known(self, request: Request) -> bool:
        return self.sessions.find(request.cookie(COOKIE)) is not None

    async def _respond(self, request: Request) -> Answer | Stream:
        session = self.sessions.find(request.cookie(COOKIE))
        try:
            return await self._public(request) or await self._private(request, session)
        except CompassError as error:
            return self._refused(request, session, error)
        except Exception:  # noqa: BLE001  # the edge: a defect of ours must not break the connection
            _log.exception("the console could not answer %s %s", request.method, request.path)
            return self._problem(request, session, HTTPStatus.INTERNAL_SERVER_ERROR, "Something broke on our side", "")

    async def _public(self, request: Request) -> Answer | None:
        """What needs nobody to be signed in."""
        if request.path.startswith("/static/"):
            return self._static(request)
        match request.method, request.path:
            case "POST", "/links":
                return await self._make_link(request)
            case "POST", "/theme":
                self._require_own(request)
                theme = request.form.get("theme", "")
                cookie = (
                    f"{THEME_COOKIE}={theme if theme in THEMES else 'auto'}; Path={PREFIX}; Max-Age={_YEAR_SECONDS}"
                )
                return moved(_back(request), {"set-cookie": f"{cookie}; SameSite=Strict; Secure"})
            case _ if request.path.startswith("/sign-in"):
                if request.method == "POST":
                    self._require_own(request)
                return await self._sign_in.answer(request)
            case _:
                return None

    def _static(self, request: Request) -> Answer:
        asset = self._assets.get(request.path.removeprefix("/static/"))
        if asset is None:
            return Answer(b"there is no such file", HTTPStatus.NOT_FOUND, "text/plain")
        # Its address has its version in it, so it never changes.
        keep = {"cache-control": f"public, max-age={_YEAR_SECONDS}, immutable", "vary": "accept-encoding"}
        if "gzip" in [one.strip() for one in request.headers.get("accept-encoding", "").split(",")]:
            return Answer(asset.packed, content_type=asset.content_type, headers={**keep, "content-encoding": "gzip"})
        return Answer(asset.body, content_type=asset.content_type, headers=keep)

    async def _make_link(self, request: Request) -> Answer:
        """A link for whoever has an access token: `compass console`. The token is tried out before."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        tenant = request.headers.get("tenant", "")
        try:
            if scheme.lower() != "bearer" or not token:
                raise SignedOut()
            who = await Plane(self._plane, token=token, tenant=tenant, client=request.client).ask("SignedIn")
        except CompassError as refused:
            # Whatever session the same browser has is none of its business.
            return Answer(str(refused).encode(), HTTPStatus.UNAUTHORIZED, "text/plain; charset=utf-8")
        body = json.dumps({"path": self.link(token, tenant, who["signedIn"]["id"])}).encode()
        return Answer(body, content_type="application/json")

    async def _private(self, request: Request, session: Session | None) -> Answer | Stream:
        if session is None:
            raise SignedOut()
        if request.method == "POST":
            self._require_own(request)
            session.require(request.form)
        if (request.method, request.path) == ("POST", "/sign-out"):
            # Before a token is renewed: whoever leaves needs none, and may leave while the provider is away.
            self.sessions.end(request.cookie(COOKIE))
            return await self._sign_in.leave(session)
        try:
            await self._renewals.keep(session)
        except SignedOut:
            raise
        except CompassError as away:
            if request.method != "POST":
                raise
            return _typed_again(request, session, str(away))
        plane = Plane(self._plane, token=session.token, tenant=session.tenant, client=request.client)
        if request.path == "/live":
            return Stream(changes(plane, names(request.query.get("topics", ""))))
        view, parts = self._find(request)
        if request.method == "GET" and session.tenant not in session.called:
            await _learn_the_tenant(session, plane)
        visit = Visit(request, session, plane, self._facts, parts, self.sessions.clock())
        try:
            made = await view(visit)
        except PlaneRefused as refused:
            if request.method != "POST":
                raise
            return _typed_again(request, session, told(refused))
        session.did += [(name, without_secrets(given)) for name, given in visit.asked if is_mutation(name)]
        if isinstance(made, Answer | Stream):
            return made
        is_form = request.path.rpartition("/")[2] in ("new", "edit", "remove")
        if parts and not is_form and not request.is_part and request.method == "GET" and made.status == HTTPStatus.OK:
            session.see(request.path, made.title, made.section)
        tenant = "" if session.tenant == self._facts.tenant else session.tenant
        asked = [one for one in visit.asked if not is_mutation(one[0])]
        return self._pages.answer(made, request, session, copies=copies(once(asked), tenant=tenant))

    def _find(self, request: Request) -> tuple[View, Mapping[str, str]]:
        asked = request.path.split("/")
        method = "GET" if request.method == "HEAD" else request.method
        for wanted, route, view in self._routes:
            if wanted == method and len(route) == len(asked):
                pairs = list(zip(route, asked, strict=True))
                if all(name == part or (name.startswith("{") and part) for name, part in pairs):
                    return view, {name[1:-1]: part for name, part in pairs if name.startswith("{")}
        raise Gone(what="page")

    def _require_own(self, request: Request) -> None:
        """Raises FormRefused for what another site made the browser send."""
        origin = request.headers.get("origin", "")
        is_ours = not origin or urlsplit(origin).netloc == request.headers.get("host", "")
        if not is_ours or request.headers.get("sec-fetch-site", "") not in _SAME_SITE:
            raise FormRefused()

    def _refused(self, request: Request, session: Session | None, error: CompassError) -> Answer | Stream:
        why = told(error) if isinstance(error, PlaneRefused) else str(error)
        if not isinstance(error, PlaneRefused | NotAllowed | SignedOut):
            why += f" (COMPASS-{error.code})"  # no request of the plane's was refused
        match error:
            case SignedOut():
                return self._signed_out(request, why)
            case FormRefused():
                return self._problem(request, session, HTTPStatus.FORBIDDEN, "This form was not accepted", why)
            case NotAllowed():
                return self._problem(request, session, HTTPStatus.FORBIDDEN, "You may not see this", why)
            case CompassError(code=Code.NOT_FOUND) | PlaneRefused(error_code=Code.NOT_FOUND):
                if session is not None:
                    session.forget(request.path)
                return self._problem(request, session, HTTPStatus.NOT_FOUND, "Nothing here", why)
            case CompassError(code=Code.OPERATION_TIMEOUT) | PlaneRefused(error_code=Code.OPERATION_TIMEOUT):
                return self._problem(
                    request, session, HTTPStatus.SERVICE_UNAVAILABLE, "The plane cannot answer now", why
                )
            case _:
                return self._problem(request, session, HTTPStatus.BAD_REQUEST, "That did not work", why)

    def _signed_out(self, request: Request, why: str) -> Answer | Stream:
        """To where one signs in, and back afterwards; what was typed into a form of that session is kept."""
        cookie = request.cookie(COOKIE)
        self.sessions.lapse(cookie)
        former = self.sessions.former(cookie)
        if request.path == "/live" and former is not None:
            return Stream(over())
        if former is None and (request.path == "/live" or request.method == "POST"):
            return Answer(why.encode(), HTTPStatus.UNAUTHORIZED, "text/plain; charset=utf-8")
        page = _page_of(request)
        if former is not None:
            former.back = page
            if request.method == "POST":
                former.keep(PREFIX + request.path, _typed(request))
        query = {**({"ended": "1"} if former is not None else {}), **({"back": page} if page != f"{PREFIX}/" else {})}
        where = f"{PREFIX}/sign-in{f'?{urlencode(query)}' if query else ''}"
        # Not 401 for a part: the page's own script goes where this header says.
        return Answer(b"", headers={"hx-redirect": where}) if request.is_part else moved(where)

    def _problem(self, request: Request, session: Session | None, status: HTTPStatus, heading: str, why: str) -> Answer:
        page = Page("problem.html", heading, {"why": why, "number": int(status)}, status=status)
        return self._pages.answer(page, request, session)


async def _learn_the_tenant(session: Session, plane: Plane) -> None:
    """What the tenant is called that every page names: asked once in a session. Its id where that is not to be had."""
    try:
        found = (await plane.ask("Tenant", id=session.tenant))["tenantByExternalID"]
    except NotAllowed:
        found = None
    except PlaneRefused:
        return  # the next page asks again
    session.learn(session.tenant, (found or {}).get("name") or session.tenant)


def _back(request: Request) -> str:
    """The page that a form was on, as far as it is one of ours."""
    return ours(request.form.get("back", "")) or f"{PREFIX}/"


def _page_of(request: Request) -> str:
    """The page that a person sees when this is asked."""
    if request.method == "POST":
        return _back(request)
    if request.is_part:
        parts = urlsplit(request.headers.get("hx-current-url", ""))
        return ours(f"{parts.path}?{parts.query}" if parts.query else parts.path) or f"{PREFIX}/"
    asked = f"{request.path}?{request.query_text}" if request.query_text else request.path
    return ours(PREFIX + asked) or f"{PREFIX}/"


def _typed(request: Request) -> dict[str, str]:
    """What was typed into a form, to be shown in it again."""
    return {name: text for name, text in request.form.items() if not is_secret(name)}


def _typed_again(request: Request, session: Session, why: str) -> Answer:
    """Back to the page of a form that was refused, which says why and has what was typed."""
    session.said.append(("bad", why))
    session.typed = (PREFIX + request.path, _typed(request))
    return moved(_back(request))
