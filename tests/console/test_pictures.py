"""Every picture of the guides is taken of a page in a real Chromium, and is as old as that page.

As test_browser.py: with COMPASS_PROOF=1 only. With PICTURES=accept, which is `make pictures`, what changed is kept.
What can be said of the pictures without a browser: tests/docs/test_pictures.py.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

import pytest

from compass.agent.pair import pair
from compass.client.graphql import Plane
from compass.client.protocol import ClientCertificate, Endpoint, Trust
from compass.settings import OutboundSettings
from tests.console.browser import Tab, browser
from tests.console.conftest import Site
from tests.console.pictures import FOLDER, MOST_DIFFERENT, PICTURES, different, keep, private, seen, take
from tests.console.test_definitions import UPDATE
from tests.delivery.receiver import Call, answer, receiving
from tests.e2e.plane import ADD_WEBHOOK, ASSIGN, TOKEN_FOR_APPLICATION, TOKEN_FOR_RUNTIME

OUTBOUND: Final = OutboundSettings(allowed_networks=(ip_network("127.0.0.1/32"),))
"""The plane may call a receiver of this machine."""
ACCEPT: Final = os.environ.get("PICTURES") == "accept"
BEAT: Final = {"version": "1.0.0", "revision": 3, "applications": 2, "looksEverySeconds": 10.0}
ADD_BUNDLE: Final = """mutation ($id: ID!, $in: BundleCreateInput!) { result: addBundle(applicationID: $id, in: $in) {
  id apiDefinitions { data { id } } } }"""
UNMAKE: Final = "mutation ($name: String!) { result: deleteFormation(formation: {name: $name}) { id } }"
DELIVERIES: Final = "{ %s }" % " ".join(
    f"{state.lower()}: webhookDeliveries(state: {state}) {{ totalCount }}" for state in ("DELIVERED", "DEAD", "PENDING")
)
REQUEST: Final = """mutation ($bundle: ID!, $in: BundleInstanceAuthRequestInput!) {
  requestBundleInstanceAuthCreation(bundleID: $bundle, in: $in) { id } }"""
SEEN: Final = "{ result: searchApplications(condition: [CONNECTED]) { data { connection { lastSeen } } } }"
ORDER: Final = {
    "type": "object",
    "required": ["id", "placed"],
    "properties": {
        "id": {"type": "string"},
        "placed": {"type": "string", "format": "date-time"},
        "total": {"type": "number", "description": "with taxes"},
    },
}
OK: Final = {"200": {"description": "found", "content": {"application/json": {"schema": ORDER}}}}
BEFORE: Final = {
    "/orders": {"get": {"summary": "List orders", "responses": OK}, "post": {"summary": "Order", "responses": OK}},
    "/orders/{id}": {"get": {"summary": "One order", "responses": OK}},
}
AFTER: Final = {
    "/orders": {
        "get": {
            "summary": "List orders",
            "parameters": [{"name": "since", "in": "query", "schema": {"type": "string", "format": "date"}}],
            "responses": OK,
        },
        "post": {"summary": "Order", "responses": OK},
    }
}
"""What the first one offered, without one of its operations and with one more parameter."""


def orders(paths: Mapping[str, Any]) -> dict[str, Any]:
    """An API of these paths."""
    document = {"openapi": "3.1.0", "info": {"title": "Orders", "version": "1"}, "paths": paths}
    spec = {"type": "OPEN_API", "format": "JSON", "data": json.dumps(document)}
    described = "Orders of all shops, and what became of them"
    return {"name": "orders", "description": described, "targetURL": "https://shop.example/orders", "spec": spec}


def is_settled(told: Mapping[str, Any]) -> bool:
    """Whether one receiver took both of its notifications, the other refused its own, and nothing is on its way."""
    return [told[state]["totalCount"] for state in ("delivered", "dead", "pending")] == [2, 1, 0]


@asynccontextmanager
async def paired(site: Site, token_for: str, identity: str, folder: Path) -> AsyncIterator[Plane]:
    """The other side of a pairing, after its first call."""
    token = (await site.ask(token_for, id=identity))["token"]
    trust = Trust.to(site.started.ca_pem)
    connection = await pair(folder, connector_url=f"{site.origin}/connector/graphql", token=token, trust=trust)
    credentials = ClientCertificate(connection.folder / "chain.crt", connection.folder / "client.key")
    async with Plane(site.started.mtls_url, trust=trust, credentials=credentials) as peer:
        await peer.ask(Endpoint.DIRECTOR, "{ viewer { id } }")
        yield peer


async def groups(site: Site) -> str:
    """The groups retail and field, in the order of their ids, which is that of lists; the id of the first."""
    while True:
        made = [(await site.group(name=name))[0] for name in ("retail", "field")]
        if made == sorted(made):
            return made[0]
        for name in ("retail", "field"):
            await site.ask(UNMAKE, name=name)


async def gone(_call: Call) -> bytes:
    """Wants to hear nothing any more."""
    return answer(410)


async def alive(peer: Plane) -> None:
    """Say so again and again."""
    while True:
        due = await peer.beat({**BEAT, "lookedSecondsAgo": 0.5})
        await asyncio.sleep(due or 1)


@pytest.fixture(scope="module")
async def landscape(site: Site, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, str]]:
    """A shop as the guides tell of it; the ids of what the pages are about."""
    folder = tmp_path_factory.mktemp("peers")
    retail = await groups(site)
    shop, _ = await site.application(
        "shop-crm", description="Customers, and what they ordered", providerName="Shop Ltd", labels={"team": "sales"}
    )
    service, _ = await site.application("order-service", description="Takes orders")
    billing, _ = await site.application("billing", description="Invoices and reminders")
    edge, _ = await site.runtime("edge-01")
    silent, _ = await site.runtime("edge-02")
    schema = {"type": "object", "required": ["plan"], "properties": {"plan": {"enum": ["small", "large"]}}}
    offer = {
        "name": "orders",
        "description": "Sales orders and what happens to them",
        "instanceAuthRequestInputSchema": json.dumps(schema),
        "apiDefinitions": [orders(BEFORE)],
        "eventDefinitions": [{"name": "order-events", "description": "An order was placed or paid"}],
    }
    bundle = await site.ask(ADD_BUNDLE, id=shop, **{"in": offer})
    api = bundle["apiDefinitions"]["data"][0]["id"]
    await site.ask(UPDATE.replace("ForApplication", ""), id=api, **{"in": orders(AFTER)})
    async with AsyncExitStack() as stack:
        taking = await stack.enter_async_context(receiving())
        closed = await stack.enter_async_context(receiving(gone))
        for whose, where in ((shop, taking), (service, closed)):
            given = {"type": "CONFIGURATION_CHANGED", "url": where.url("/compass")}
            await site.ask(ADD_WEBHOOK, id=whose, **{"in": given})
        for number, identity in enumerate((shop, service)):
            await stack.enter_async_context(paired(site, TOKEN_FOR_APPLICATION, identity, folder / f"app-{number}"))
        one = await stack.enter_async_context(paired(site, TOKEN_FOR_RUNTIME, edge, folder / "one"))
        two = await stack.enter_async_context(paired(site, TOKEN_FOR_RUNTIME, silent, folder / "two"))
        await two.beat({**BEAT, "lookedSecondsAgo": 0.5})
        stack.callback(asyncio.create_task(alive(one)).cancel)
        # One notification at a time: of two that are made at once, either may be the newer.
        members = (("APPLICATION", shop, "retail"), ("RUNTIME", edge, "retail"), ("APPLICATION", service, "retail"))
        others = (("APPLICATION", shop, "field"), ("APPLICATION", billing, "field"), ("RUNTIME", silent, "field"))
        for kind, identity, group in (*members, *others):
            await site.ask(ASSIGN, id=identity, type=kind, name=group)
        asked = {"context": '{"shop": "Berlin"}', "inputParams": '{"plan": "small"}'}
        await one.ask(Endpoint.DIRECTOR, REQUEST, {"bundle": bundle["id"], "in": asked})
        async with asyncio.timeout(60):
            # Every notification came to its end, one way or the other.
            while not is_settled(await site.ask_all(DELIVERIES)):
                await asyncio.sleep(0.1)
        async with asyncio.timeout(150):
            # Once a minute it is written who called.
            while not all(one["connection"]["lastSeen"] for one in (await site.ask(SEEN))["data"]):
                await asyncio.sleep(1)
        moved = await site.post(f"/applications/{billing}/pair")
        await site.follow(moved)  # what that page says once is not on the next one
        yield {
            "shop": shop,
            "billing": billing,
            "client": moved.headers["location"].rpartition("/")[2],
            "orders": api,
            "retail": retail,
            "silent": silent,
        }


@pytest.fixture(scope="module")
async def page(site: Site, landscape: dict[str, str]) -> AsyncIterator[Tab]:
    """One browser for all pictures, in the session that made the token."""
    async with browser(site.origin) as tab:
        await tab.send("Network.enable")
        for name, value in site.cookies.items():
            await tab.send("Network.setCookie", name=name, value=value, url=site.origin, secure=True, httpOnly=True)
        yield tab
        tab.watched()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", sorted(PICTURES))
async def test_a_picture_shows_its_page_as_it_is_now(
    site: Site, landscape: dict[str, str], page: Tab, name: str
) -> None:
    page.problems.clear()  # of the picture before this one
    taken = await take(page, site.origin, PICTURES[name], landscape)

    words = "\n".join(taken.words)
    assert list(private(words)) == []
    assert site.started.admin_secret is not None
    assert site.started.admin_secret not in words
    file, before = FOLDER / f"{name}.webp", seen().get(name)
    is_same = before is not None and list(taken.words) == before["words"]
    unlike = await different(page, file.read_bytes(), taken.image) if file.exists() else 1.0
    print(f"{name}: {len(taken.image):,} bytes, {unlike:.2%} of its points differ from the one that is kept")  # noqa: T201  # a figure
    if ACCEPT and not (is_same and unlike <= MOST_DIFFERENT):
        keep(name, taken)
        return
    assert before is not None, "`make pictures` takes it"
    assert list(taken.words) == before["words"], "the page says something else now: `make pictures`"
    # Another browser draws the same letters a little differently.
    assert unlike <= MOST_DIFFERENT or taken.browser != before["browser"], "it looks different now: `make pictures`"
