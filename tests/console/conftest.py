"""A whole plane over real TLS, looked at as a browser would; started once for all tests of the console.

`site` a browser that is signed in as the administrator. Whatever page it opens is checked for what every page must be.
"""

import os
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import aiohttp
import asyncpg
import pytest
from lxml import html
from yarl import URL

from compass.app import Started, plane
from compass.client.graphql import Plane
from compass.client.protocol import Bearer, Endpoint, Trust
from compass.console.app import Console
from compass.console.http import POLICY
from compass.console.page import PREFIX
from compass.console.session import Session
from compass.settings import DatabaseSettings, ListenSettings, OutboundSettings, Settings
from tests.conftest import _on
from tests.console.browser import Tab, browser

_LONG = (
    "accessibility",
    "browser",
    "every_page",
    "hands",
    "journeys",
    "landscape",
    "pictures",
    "receiver",
    "wheel",
    "undo",
    "walk",
    "wizard",
)
collect_ignore = [] if os.environ.get("COMPASS_PROOF") == "1" else [f"test_{name}.py" for name in _LONG]
"""The operating system's browser is not among what our requirements bring; building a wheel takes long."""
_names = count(1)
HOSTILE: Final = "</title><script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
"""As an application is called by somebody who means it."""


@dataclass(frozen=True)
class Shown:
    """A page as it came."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def tree(self) -> html.HtmlElement:
        """Its elements."""
        return html.fromstring(self.text)

    @property
    def words(self) -> str:
        """What a person reads in its main part, with single spaces."""
        return " ".join(self.tree.find(".//main").text_content().split())

    @property
    def links(self) -> list[str]:
        """Where its main part leads."""
        return [str(one.get("href")) for one in self.tree.iterfind(".//main//a")]


def faults(page: Shown) -> Iterator[str]:
    """What no page may have: anything inline, and whatever keeps a person from using it."""
    tree = page.tree
    for element in tree.iter():
        if not isinstance(element.tag, str):
            continue
        inline = [name for name in element.attrib if name.startswith("on") or name in ("style", "hx-on", "srcdoc")]
        yield from (f"<{element.tag}> has {name}" for name in inline)
        if element.tag == "script" and not element.get("src", "").startswith(f"{PREFIX}/static/"):
            yield "a script that is not ours"
        if element.tag in ("style", "iframe", "object", "embed", "base"):
            yield f"<{element.tag}>"
        if element.tag in ("input", "select", "textarea") and element.get("type") != "hidden":
            labelled = element.get("aria-label") or any(True for _ in element.iterancestors("label"))
            if not labelled and not tree.xpath("//label[@for=$id]", id=element.get("id") or "-"):
                yield f"a field without a label: {element.get('name')}"
        is_control = element.tag in ("a", "button", "summary")
        if is_control and not (element.text_content().strip() or element.get("aria-label")):
            yield f"<{element.tag}> without a word"
        if element.tag == "form" and element.get("method") == "post" and PREFIX in (element.get("action") or ""):
            # Before there is a session, `state` and a cookie say whose form it is.
            is_public = element.get("action") in [f"{PREFIX}/{one}" for one in ("sign-in", "sign-in/callback", "theme")]
            if not is_public and not element.xpath(".//input[@name='csrf']"):
                yield f"a form without its token: {element.get('action')}"
    ids = [str(one) for one in tree.xpath("//@id")]
    yield from (f"the id {one} twice" for one in {one for one in ids if ids.count(one) > 1})
    if len(tree.xpath("//h1")) != 1:
        yield f"{len(tree.xpath('//h1'))} headings of the page"
    if tree.get("lang") != "en" or len(tree.xpath("//main")) != 1 or not tree.findtext(".//title"):
        yield "no language, no main part, or no title"


class Site:
    """The console, and the plane behind it."""

    def __init__(self, started: Started, session: aiohttp.ClientSession, admin: Plane) -> None:
        self.started = started
        self.origin = started.token_url
        self._session = session
        self._admin = admin

    async def get(self, path: str, **headers: str) -> Shown:
        """Open a page; a page of HTML is checked."""
        async with self._session.get(f"{self.origin}{PREFIX}{path}", headers=headers, allow_redirects=False) as answer:
            shown = Shown(answer.status, answer.headers, await answer.text())
        assert shown.headers["content-security-policy"] == POLICY
        if shown.headers["content-type"].startswith("text/html") and shown.text:
            assert list(faults(shown)) == [], path
        return shown

    async def csrf(self) -> str:
        """What every form of this session carries."""
        return str((await self.get("/groups")).tree.xpath("//input[@name='csrf']/@value")[0])

    async def post(self, path: str, /, **form: str) -> Shown:
        """Send a form as the page itself would; redirects are not followed."""
        return await self.send(path, form)

    async def send(self, path: str, form: Mapping[str, str]) -> Shown:
        """The same for fields whose names are none of Python's."""
        form = {"csrf": await self.csrf(), **form} if "csrf" not in form else form
        return await self.bare_post(path, form, {"origin": self.origin, "sec-fetch-site": "same-origin"})

    async def upload(self, path: str, file: bytes, /, **form: str) -> Shown:
        """The same for a form with a file, whose field is called `file`."""
        data = aiohttp.FormData({"csrf": await self.csrf(), **form})
        data.add_field("file", BytesIO(file), filename="specification", content_type="application/octet-stream")
        return await self.bare_post(path, data, {"origin": self.origin, "sec-fetch-site": "same-origin"})

    async def bare_post(
        self,
        path: str,
        form: Mapping[str, str] | list[tuple[str, str]] | aiohttp.FormData | BytesIO,
        headers: Mapping[str, str],
    ) -> Shown:
        """Send a form with exactly this."""
        async with self._session.post(
            f"{self.origin}{PREFIX}{path}", data=form, headers=headers, allow_redirects=False
        ) as answer:
            return Shown(answer.status, answer.headers, await answer.text())

    async def follow(self, moved: Shown) -> Shown:
        """The page that an answer leads to."""
        assert moved.status == 303, moved.text
        target = moved.headers["location"]
        assert target.startswith(PREFIX), target
        return await self.get(target.removeprefix(PREFIX))

    async def ask(self, text: str, **variables: Any) -> Any:
        """What the Director answers the administrator, under `result`."""
        return (await self._admin.ask(Endpoint.DIRECTOR, text, variables))["result"]

    async def ask_all(self, text: str) -> dict[str, Any]:
        """The same for a document of several roots: all of `data`."""
        return await self._admin.ask(Endpoint.DIRECTOR, text, {})

    async def application(self, name: str | None = None, **more: Any) -> tuple[str, str]:
        """A new application: its id and its name."""
        name = name or f"app-{next(_names)}"
        text = "mutation ($in: ApplicationRegisterInput!) { result: registerApplication(in: $in) { id } }"
        return (await self.ask(text, **{"in": {"name": name, **more}}))["id"], name

    async def register_application(self, name: str | None = None) -> tuple[str, str]:
        """The same by the form of this browser, so in the tenant that it looks at."""
        name = name or f"app-{next(_names)}"
        moved = await self.post("/applications/new", name=name)
        assert moved.status == 303, moved.text
        return moved.headers["location"].split("/")[3], name

    async def tenant(self, name: str | None = None) -> str:
        """A new tenant: its external id."""
        name = name or f"tenant-{next(_names)}"
        text = "mutation ($in: BusinessTenantMappingInput!) { result: writeTenant(in: $in) }"
        await self.ask(text, **{"in": {"name": name, "externalTenant": name, "type": "account", "provider": "test"}})
        return name

    async def runtime(self, name: str | None = None) -> tuple[str, str]:
        """A new runtime: its id and its name."""
        name = name or f"runtime-{next(_names)}"
        text = "mutation ($in: RuntimeRegisterInput!) { result: registerRuntime(in: $in) { id } }"
        return (await self.ask(text, **{"in": {"name": name}}))["id"], name

    async def group(self, *members: tuple[str, str], name: str | None = None) -> tuple[str, str]:
        """A new group with members, each a type and an id: its id and its name."""
        name = name or f"group-{next(_names)}"
        text = "mutation ($name: String!) { result: createFormation(formation: {name: $name}) { id } }"
        made = (await self.ask(text, name=name))["id"]
        text = """mutation ($id: ID!, $type: FormationObjectType!, $name: String!) {
          result: assignFormation(objectID: $id, objectType: $type, formation: {name: $name}) { id } }"""
        for kind, identity in members:
            await self.ask(text, id=identity, type=kind, name=name)
        return made, name

    @asynccontextmanager
    async def another(self, *, signed_in: bool = True) -> "AsyncIterator[Site]":
        """Another browser."""
        async with _browser(self.started) as session:
            other = Site(self.started, session, self._admin)
            if signed_in:
                await other.sign_in(self.started.console_link())
            yield other

    async def limit(self, *scopes: str) -> None:
        """Sign in anew, as the administrator with no more rights than these."""
        form = {
            "grant_type": "client_credentials",
            "client_id": "admin",
            "client_secret": self.started.admin_secret or "",
            "scope": " ".join(scopes),
        }
        async with self._session.post(f"{self.origin}/oauth2/token", data=form) as answer:
            token = (await answer.json())["access_token"]
        headers = {"authorization": f"Bearer {token}", "tenant": self.started.tenant}
        async with self._session.post(f"{self.origin}{PREFIX}/links", headers=headers) as answer:
            await self.sign_in(self.origin + (await answer.json())["path"])

    @property
    def cookies(self) -> Mapping[str, str]:
        """What makes another browser this one."""
        return {name: one.value for name, one in self._session.cookie_jar.filter_cookies(URL(self.origin)).items()}

    @property
    def sessions(self) -> list[Session]:
        """Those of the plane, the newest last."""
        cells = [cell.cell_contents for cell in self.started.console_link.__closure__ or ()]
        (console,) = (one for one in cells if isinstance(one, Console))
        return list(console.sessions._sessions.values())

    def steal(self, other: "Site") -> None:
        """Have the cookies of another browser."""
        origin = URL(self.origin)
        self._session.cookie_jar.update_cookies(other._session.cookie_jar.filter_cookies(origin), origin)

    async def sign_in(self, link: str) -> Shown:
        """Open a link and press its button."""
        path = link.removeprefix(self.origin).removeprefix(PREFIX)
        page = await self.get(path)
        assert page.status == 200
        code = parse_qs(urlsplit(link).query)["code"][0]
        return await self.bare_post("/sign-in", {"code": code}, {"origin": self.origin})


@asynccontextmanager
async def _browser(started: Started) -> AsyncIterator[aiohttp.ClientSession]:
    context = ssl.create_default_context(cadata=started.ca_pem)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context), timeout=aiohttp.ClientTimeout(total=60)
    ) as session:
        yield session


@pytest.fixture(scope="module")
async def running_plane(
    request: pytest.FixtureRequest,
    cluster: "asyncpg.Connection[asyncpg.Record]",
    cluster_dsn: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Started]:
    """A plane on a database of its own. In this process, so not longer than these tests: others count statements.

    `OUTBOUND` of the module says whom it may call; without it, public addresses only.
    """
    outbound = getattr(request.module, "OUTBOUND", OutboundSettings())
    async with a_plane(cluster, cluster_dsn, tmp_path_factory.mktemp("console"), outbound=outbound) as started:
        yield started


@asynccontextmanager
async def a_plane(
    cluster: "asyncpg.Connection[asyncpg.Record]", cluster_dsn: str, folder: Path, **settings: Any
) -> AsyncIterator[Started]:
    """A plane with these settings, on a database of its own."""
    name = f"console_{next(_names)}"
    await cluster.execute(f"CREATE DATABASE {name} TEMPLATE template STRATEGY file_copy")
    usual = Settings(
        data_folder=folder / "data",
        database=DatabaseSettings(dsn=_on(cluster_dsn, name)),
        listen=ListenSettings(token_port=0, mtls_port=0),
        **settings,
    )
    async with plane(usual) as started:
        yield started
    await cluster.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
async def site(running_plane: Started) -> AsyncIterator[Site]:
    """A browser that is signed in."""
    async with signed_in(running_plane) as found:
        yield found


@asynccontextmanager
async def signed_in(started: Started) -> AsyncIterator[Site]:
    """A browser that is signed in as the administrator of this plane."""
    async with _browser(started) as session:
        form = {"grant_type": "client_credentials", "client_id": "admin", "client_secret": started.admin_secret}
        async with session.post(f"{started.token_url}/oauth2/token", data=form) as answer:
            token = (await answer.json())["access_token"]
        trust = Trust.to(started.ca_pem)
        async with Plane(started.token_url, trust=trust, credentials=Bearer(token), tenant=started.tenant) as admin:
            signed = Site(started, session, admin)
            answered = await signed.sign_in(started.console_link())
            assert (answered.status, answered.headers["location"]) == (303, f"{PREFIX}/")
            yield signed


@pytest.fixture
async def tab(site: Site) -> AsyncIterator[Tab]:
    """A page in a real browser that is signed in by its link, as a person would; what it did wrong fails the test."""
    async with browser(site.origin) as page:
        await page.look(width=1180)
        await page.go(site.started.console_link())
        await page.until("location.pathname === '/console/' && document.querySelector('h1')")
        yield page
        page.watched()
