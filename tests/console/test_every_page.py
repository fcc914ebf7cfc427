"""What every page has, whichever links lead to it: its place, its tenant, its commands, and the keys.

As test_browser.py: with COMPASS_PROOF=1 only.
"""

import re
from collections import Counter

import pytest

from tests.console.browser import Tab
from tests.console.conftest import Site
from tests.console.test_accessibility import crawl, landscape

__all__ = ["landscape"]

CONTROL = 2
TITLE = "document.title"
TYPING = "document.activeElement.id === 'palette-typed'"
ROWS = "[...document.querySelectorAll('table.list tbody tr a, .needs a')].some((one) => one.checkVisibility())"
FOUND = "document.querySelectorAll('#palette .hits a').length > 5"
ASKS_NOTHING = re.compile(r"/console/(find|help|explorer|explorer/docs|import)(\?.*)?")
"""Pages that need nothing of the plane, so that there is nothing to be copied."""
TOP = re.compile(r"/console/(find|help)?(\?.*)?")
"""Pages that stand below nothing."""


@pytest.mark.timeout(1200)
async def test_every_page_has_a_name_a_place_its_tenant_and_its_commands(site: Site, tab: Tab, landscape: None) -> None:
    pages = await crawl(site)
    names: Counter[str] = Counter()
    wrong: list[str] = []
    for path in pages.addresses:
        await tab.go(f"{site.origin}{path}")
        names[f"{path.partition('?')[0]} {await tab.value(TITLE)}"] += 1
        for what, is_there in {
            "a title that names it": f"{TITLE}.endsWith(' · Compass') && {TITLE}.length > 10",
            "its tenant": "document.querySelector('.tenant')?.textContent.includes('default')",
            "a way to another tenant": "!!document.querySelector('a[href=\"/console/tenants\"]')",
            "one heading": "document.querySelectorAll('h1').length === 1",
        }.items():
            if not await tab.value(is_there):
                wrong.append(f"{path}: without {what}")
        if not TOP.fullmatch(path) and not await tab.value("document.querySelector('main .crumbs a')?.innerText"):
            wrong.append(f"{path}: it does not say where it stands")
        copied = await tab.value(
            "[...document.querySelectorAll('[id^=commands-s] pre')].map((one) => one.textContent.trim())"
        )
        if not ASKS_NOTHING.fullmatch(path):
            if not any(one.startswith("compass ") for one in copied):
                wrong.append(f"{path}: no command to copy")
            if not any(re.match(r"(query|mutation|\{)", one) for one in copied):
                wrong.append(f"{path}: no GraphQL to copy")
    print(f"cases: {len(pages.addresses)}")  # noqa: T201  # read by whoever runs the proof
    assert wrong == []


@pytest.mark.timeout(1200)
async def test_the_keys_work_on_every_page_and_give_the_focus_back(site: Site, tab: Tab, landscape: None) -> None:
    pages = await crawl(site)
    await tab.look(width=1180)
    wrong: list[str] = []

    async def is_so(path: str, what: str, expression: str) -> None:
        try:
            await tab.until(expression)
        except AssertionError:
            wrong.append(f"{path}: {what}")

    for path in pages.addresses:
        await tab.go(f"{site.origin}{path}")
        await tab.value("document.activeElement.blur()")
        await tab.value("document.querySelector('.skip').focus()")
        await tab.key("Enter")
        await is_so(path, "the skip link does not lead to the page", "document.activeElement.id === 'main'")
        await tab.key("?")
        await is_so(path, "? opens no help", "document.querySelector('#help').open")
        await tab.key("Escape")
        await is_so(path, "Escape leaves the help open", "!document.querySelector('#help').open")
        await is_so(path, "the focus is lost with the help", "document.activeElement.id === 'main'")
        await tab.key("k", modifiers=CONTROL)
        await is_so(path, "Ctrl-K finds nothing", f"{TYPING} && {FOUND}")
        await tab.key("Escape")
        await is_so(path, "Escape leaves the palette open", "!document.querySelector('#palette').open")
        await is_so(path, "the focus is lost with the palette", "document.activeElement.id === 'main'")
        if await tab.value(ROWS):
            await tab.key("j")
            await is_so(path, "j reaches no row", "!!document.activeElement.closest('table.list tbody, .needs')")
            await tab.value("document.querySelector('#main').focus()")
        await tab.key("/")
        searches = f"document.activeElement.closest('main [role=search]') || ({TYPING} && {FOUND})"
        await is_so(path, "/ searches nowhere", searches)
        await tab.key("Escape")
        await tab.value("document.activeElement.blur()")
        await tab.key("g")
        await tab.key("o")
        await is_so(path, "g o does not lead to the overview", "location.pathname === '/console/'")
    assert wrong == []
