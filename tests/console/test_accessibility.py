"""Every page, found by following links, in both themes: axe finds nothing, and the page does nothing that none may.

Chromium and axe are none of our requirements: with COMPASS_PROOF=1 only, where their absence is a failure.
"""

import json
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import pytest

from compass.console.app import ROUTES
from tests.console.browser import Tab
from tests.console.conftest import Shown, Site

SPEC = json.dumps(
    {
        "openapi": "3.0.3",
        "info": {"title": "Orders", "version": "1"},
        "paths": {"/orders": {"get": {"summary": "List", "responses": {"200": {"description": "ok"}}}}},
    }
)
EVENTS = json.dumps(
    {
        "asyncapi": "2.0.0",
        "info": {"title": "Order events", "version": "1"},
        "channels": {"ordered": {"subscribe": {"summary": "Told", "message": {"payload": {"type": "object"}}}}},
    }
)
FILES = re.compile(r".*(\.\w+|/raw)")
"""What is no page."""
PATTERNS = {
    path: re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path))) for method, path in ROUTES if method == "GET"
}


@dataclass
class Pages:
    """One address of each kind of page, and of each of its tabs."""

    addresses: list[str] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)

    def wanted(self, link: str) -> bool:
        """Whether a link leads to a kind of page that was not seen yet."""
        parts = urlsplit(link)
        path = parts.path.removeprefix("/console")
        if not parts.path.startswith("/console/") or FILES.fullmatch(path) or parts.netloc:
            return False
        fitting = [pattern for pattern, expression in PATTERNS.items() if expression.fullmatch(path)]
        # As the console finds it: a name goes before a pattern that fits to all.
        kind = min(fitting, key=lambda one: one.count("{"), default=None)
        asked = parse_qs(parts.query)
        key = f"{path.split('/')[1]} {kind} {asked.get('tab')} {asked.get('state')} {asked.get('show')}"
        if kind is None or key in self.seen:
            return False
        self.seen.add(key)
        self.kinds.add(kind)
        return True


async def crawl(site: Site) -> Pages:
    """All kinds of pages that links lead to."""
    found = Pages()
    waiting = ["/console/"]
    while waiting:
        link = waiting.pop(0)
        shown = await site.get(link.removeprefix("/console"))
        assert shown.status == 200, link
        found.addresses.append(link)
        waiting += [one for one in all_links(shown) if found.wanted(one)]
    return found


def all_links(shown: Shown) -> list[str]:
    """Where a page leads, the navigation included."""
    return [str(one).partition("#")[0] for one in shown.tree.xpath("//a/@href")]


@pytest.fixture(scope="module")
async def landscape(site: Site) -> None:
    """Something for every kind of page to show."""
    application, _ = await site.application("orders", description="Takes orders", providerName="ACME")
    runtime, _ = await site.runtime("edge")
    add = """mutation ($id: ID!, $api: APIDefinitionInput!, $event: EventDefinitionInput!) {
      result: addBundle(applicationID: $id, in: {
        name: "main" apiDefinitions: [$api] eventDefinitions: [$event] }) { id } }"""
    api = {
        "name": "orders",
        "targetURL": "https://o.example",
        "spec": {"type": "OPEN_API", "format": "JSON", "data": SPEC},
    }
    event = {"name": "ordered", "spec": {"type": "ASYNC_API", "format": "JSON", "data": EVENTS}}
    bundle = await site.ask(add, id=application, api=api, event=event)
    request = """mutation ($id: ID!) { result: requestBundleInstanceAuthCreation(bundleID: $id, in: {
      context: "{}" inputParams: "{\\"plan\\": \\"small\\"}" }) { id } }"""
    await site.ask(request, id=bundle["id"])
    hook = """mutation ($id: ID!) { result: addWebhook(applicationID: $id, in: {
      type: CONFIGURATION_CHANGED, url: "https://192.0.2.1/hook" }) { id } }"""
    await site.ask(hook, id=application)
    # After the webhook, which is then owed a notification.
    await site.group(("APPLICATION", application), ("RUNTIME", runtime))
    await site.post(f"/applications/{application}/label", key="team", value="shop")
    await site.post(f"/applications/{application}/pair")
    await site.post(f"/runtimes/{runtime}/pair")
    system = 'mutation { result: registerIntegrationSystem(in: {name: "automation"}) { id } }'
    await site.ask(system)
    template = """mutation { result: createApplicationTemplate(in: {
      name: "a kind of shop" applicationInput: {name: "{{name}}"} placeholders: [{name: "name"}] accessLevel: GLOBAL
    }) { id } }"""
    await site.ask(template)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("dark", "width"), [(False, 1180), (True, 1180), (False, 360), (True, 360), (False, 2560), (True, 2560)]
)
async def test_axe_finds_nothing_on_any_page_and_none_scrolls_sideways(
    site: Site, tab: Tab, landscape: None, dark: bool, width: int
) -> None:
    pages = await crawl(site)
    await tab.look(width=width, dark=dark)
    wrong: list[str] = []
    for path in pages.addresses:
        await tab.go(f"{site.origin}{path}")
        if (wide := await tab.value("document.documentElement.scrollWidth")) > width:
            wrong.append(f"{path}: it is {wide} points wide on a screen of {width}")
        wrong += [f"{path}: {one}" for one in await tab.axe()]
    print(f"cases: {len(pages.addresses)}")  # noqa: T201  # read by whoever runs the proof
    assert wrong == []


async def test_every_kind_of_page_is_found_by_links(site: Site, landscape: None) -> None:
    pages = await crawl(site)

    unseen = {pattern for pattern in PATTERNS if not FILES.fullmatch(pattern)} - pages.kinds
    assert unseen == set()


@pytest.mark.parametrize("dark", [False, True])
async def test_what_opens_above_a_page_is_accessible_too(site: Site, tab: Tab, landscape: None, dark: bool) -> None:
    await tab.look(width=1180, dark=dark)
    await tab.go(f"{site.origin}/console/applications")
    await tab.key("k", modifiers=2)
    await tab.until("document.querySelectorAll('#palette .hits a').length > 5")
    assert await tab.axe() == []
    await tab.key("Escape")
    await tab.until("!document.querySelector('#palette').open")
    await tab.key("?")
    await tab.until("document.querySelector('#help').open")
    assert await tab.axe() == []
    await tab.key("Escape")
    await tab.until("!document.querySelector('#help').open")
    await tab.value("document.querySelectorAll('details').forEach((one) => one.open = true)")
    assert await tab.axe() == []
    await tab.go(f"{site.origin}/console/sign-in")
    assert await tab.axe() == []
