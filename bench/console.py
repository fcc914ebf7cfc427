"""(n) the console's pages over TLS on loopback: what a browser is sent for them, and how long until it has it."""

import re
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Final

import aiohttp

from bench.table import Line, shown
from tests.e2e.plane import DEFAULT_TENANT, Plane

APPLICATIONS: Final = 60
TURNS: Final = 15
PAGES: Final = {
    "overview": "/",
    "topology": "/topology",
    "applications": "/applications",
    "runtimes": "/runtimes",
    "groups": "/groups",
    "certificates": "/certificates",
    "deliveries": "/deliveries",
}
FIRST_PAGE_AIM: Final = "aim 120 KB, 300 ms"
_ASSET: Final = re.compile(r'(?:src|href)="(/console/static/[^"#]+)')


async def pages(folder: Path) -> list[Line]:
    """(n)"""
    async with Plane(folder) as plane:
        for number in range(APPLICATIONS):
            await plane.application(f"application-{number}")
        headers = {**await plane.bearer(), "tenant": DEFAULT_TENANT}
        # As a browser asks: compressed, if there is a compressed form.
        connector = aiohttp.TCPConnector(ssl=plane.trust.context())
        origin = plane.token_url
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
            async with session.post(f"{origin}/console/links", headers=headers) as answer:
                code = (await answer.json())["path"].partition("code=")[2]
            form = {"code": code}
            async with session.post(f"{origin}/console/sign-in", data=form, headers={"origin": origin}) as answer:
                if answer.status >= 400:  # noqa: PLR2004  # an error of HTTP
                    raise AssertionError(await answer.text())
            return [await _first(session, origin), *[await _page(session, origin, name) for name in PAGES]]


async def _sent(session: aiohttp.ClientSession, url: str) -> bytes:
    async with session.get(url) as answer:
        body = await answer.read()
        if answer.status != 200:  # noqa: PLR2004  # OK
            raise AssertionError(f"{url}: {answer.status}")
        return body


async def _first(session: aiohttp.ClientSession, origin: str) -> Line:
    """The overview with everything it needs, one after the other, as if nothing were kept."""
    took = []
    weight = 0
    assets: list[str] = []
    for _ in range(TURNS):
        began = time.perf_counter()
        page = await _sent(session, f"{origin}/console/")
        assets = sorted(set(_ASSET.findall(page.decode())))
        weight = len(page) + sum([len(await _sent(session, origin + asset)) for asset in assets])
        took.append(time.perf_counter() - began)
    values = {"bytes": f"{weight:,}", "files": str(1 + len(assets)), "median": shown(median(took))}
    return Line("n console", "first page with all it needs", values, FIRST_PAGE_AIM)


async def _page(session: aiohttp.ClientSession, origin: str, name: str) -> Line:
    took = []
    weight = 0
    for _ in range(TURNS):
        began = time.perf_counter()
        weight = len(await _sent(session, f"{origin}/console{PAGES[name]}"))
        took.append(time.perf_counter() - began)
    return Line("n console", name, {"bytes": f"{weight:,}", "median": shown(median(took)), "slowest": shown(max(took))})


SECTIONS: Final[Sequence[tuple[str, Callable[[Path], Awaitable[list[Line]]]]]] = (("n", pages),)
