"""A receiver that is down, comes back and gets what it missed, seen and mended in a real Chromium.

As test_browser.py: with COMPASS_PROOF=1 only.
"""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import asyncpg
import pytest

from compass.agent.pair import pair, renew
from compass.client.graphql import Plane
from compass.client.protocol import ClientCertificate, Endpoint, Trust
from compass.settings import DeliverySettings, OutboundSettings
from tests.console.browser import Tab, browser
from tests.console.conftest import Site, a_plane, signed_in
from tests.delivery.receiver import Call, answer, receiving

QUICK = DeliverySettings(
    first_retry_after=timedelta(milliseconds=200),
    retry_at_most_every=timedelta(seconds=1),
    give_up_after=timedelta(seconds=8),
    attempt_timeout=timedelta(seconds=60),
)
"""What takes two days otherwise, in seconds."""


@pytest.fixture(scope="module")
async def there(
    cluster: "asyncpg.Connection[asyncpg.Record]", cluster_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """Signed in at a plane that may call this machine and gives up soon."""
    outbound = OutboundSettings(allowed_networks=(ip_network("127.0.0.1/32"),))
    folder: Path = tmp_path_factory.mktemp("receiver")
    async with (
        a_plane(cluster, cluster_dsn, folder, outbound=outbound, delivery=QUICK) as started,
        signed_in(started) as found,
    ):
        yield found


@pytest.fixture
async def seen(there: Site) -> AsyncIterator[Tab]:
    """A page of it in a browser."""
    async with browser(there.origin) as page:
        await page.look(width=1180)
        await page.go(there.started.console_link())
        await page.until("location.pathname === '/console/' && document.querySelector('h1')")
        yield page
        page.watched()


async def test_a_receiver_that_was_down_gets_what_it_missed_and_nothing_twice(there: Site, seen: Tab) -> None:
    is_down = True
    taken: Counter[str] = Counter()

    async def behaviour(call: Call) -> bytes:
        if is_down:
            return answer(503, b'{"why": "closed"}', server="shop")
        taken[call.id] += 1
        return answer(200, b'{"thanks": true}', server="shop")

    application, _ = await there.application("shop-down")
    text = """mutation ($id: ID!, $url: String!) { result: addWebhook(applicationID: $id, in: {
        type: CONFIGURATION_CHANGED, url: $url }) { id } }"""
    async with receiving(behaviour) as receiver:
        webhook = (await there.ask(text, id=application, url=receiver.url()))["id"]
        await seen.go(f"{there.origin}/console/webhooks/{webhook}")
        assert "It was never called" in await seen.text()
        for number in range(3):
            runtime, _ = await there.runtime(f"edge-{number}")
            await there.group(("APPLICATION", application), ("RUNTIME", runtime))

        # Its attempts stream in, with what was answered and when it is tried next.
        await seen.until("document.querySelectorAll('[id^=call-]').length >= 3")
        await seen.until("document.querySelector('main').innerText.includes('the receiver answered 503')")
        await seen.go(f"{there.origin}/console/deliveries?webhook={webhook}")
        dead = "[...document.querySelectorAll('#list .badge')].filter((one) => one.innerText === 'given up').length"
        await seen.until(f"{dead} === 3")
        tried = {call.id for call in receiver.calls}
        assert len(tried) == 3
        assert taken == Counter()
        await seen.go(f"{there.origin}/console/deliveries/{min(tried)}")
        await seen.until("document.querySelector('#differences')")
        assert "closed" in str(await seen.value("document.querySelector('.attempt-list').textContent"))

        is_down = False
        await seen.go(f"{there.origin}/console/deliveries?webhook={webhook}")
        await seen.value("document.querySelector('details.drop summary').click()")
        await seen.value("document.querySelector('form[action$=recover]').requestSubmit()")
        await seen.until("document.querySelector('main').innerText.includes('3 on the way again')")
        good = "[...document.querySelectorAll('#list .badge')].filter((one) => one.innerText === 'delivered').length"
        await seen.until(f"{good} === 3")

        # Every one arrived under its old id, once: an answer that came in time is never asked for again.
        assert taken == Counter(dict.fromkeys(tried, 1))
        await seen.go(f"{there.origin}/console/deliveries/{min(tried)}")
        await seen.until("document.querySelector('#differences')")
        table = str(await seen.value("document.querySelector('#differences table').innerText"))
        assert "503" in table
        assert "200" in table
        assert taken == Counter(dict.fromkeys(tried, 1))


async def test_the_log_stands_still_while_it_is_paused(there: Site, seen: Tab) -> None:
    application, _ = await there.application("shop-paused")
    text = """mutation ($id: ID!, $url: String!) { result: addWebhook(applicationID: $id, in: {
        type: CONFIGURATION_CHANGED, url: $url }) { id } }"""
    async with receiving() as receiver:
        webhook = (await there.ask(text, id=application, url=receiver.url()))["id"]
        log = f"{there.origin}/console/deliveries?webhook={webhook}"
        await seen.go(f"{log}&paused=1")
        await there.post(f"/webhooks/{webhook}/test")
        await receiver.has(1, within=60)
        assert "held still" in await seen.text()
        assert not await seen.value("document.querySelector('main').hasAttribute('hx-get')")
        assert not await seen.value("document.querySelectorAll('#list tr.detail').length")

        await seen.value("[...document.querySelectorAll('main a')].find((one) => one.innerText === 'Go on').click()")

        await seen.until("document.querySelector('#list .badge')?.innerText === 'delivered'")


async def test_a_template_is_faulted_at_its_line_while_it_is_typed(there: Site, seen: Tab) -> None:
    application, _ = await there.application("shop-typed")
    await seen.go(f"{there.origin}/console/webhooks/new?owner=APPLICATION%20{application}")
    await seen.value("document.querySelector('details.more').open = true")
    await seen.value("document.querySelector('#url').focus()")
    await seen.type("https://shop.example")
    await seen.value("document.querySelector('#inputTemplate').focus()")
    await seen.type('{\n"id": "{{.Nobody.ID}}"\n}')

    fault = "document.querySelector('#fault-inputTemplate').innerText"
    await seen.until(f"{fault}.startsWith('Line 2:')")
    assert await seen.value("document.querySelector('#preview mark').innerText.includes('Nobody')")
    assert await seen.value("document.activeElement.id") == "inputTemplate"
    await seen.value("document.querySelector('#inputTemplate').select()")
    await seen.type('{"id": "{{.Application.ID}}"}')

    await seen.until(f"{fault} === ''")
    await seen.until("document.querySelector('#preview').innerText.includes('33333333-0000-4000')")
    assert await seen.value("document.querySelector('#inputTemplate').value") == '{"id": "{{.Application.ID}}"}'


async def test_a_certificate_that_is_revoked_elsewhere_says_so_on_the_page_and_is_refused(
    there: Site, seen: Tab, tmp_path: Path
) -> None:
    application, _ = await there.application("shop-revoked")
    text = "mutation ($id: ID!) { result: requestOneTimeTokenForApplication(id: $id) { token } }"
    token = (await there.ask(text, id=application))["token"]
    trust = Trust.to(there.started.ca_pem)
    connection = await pair(
        tmp_path / "peer", connector_url=f"{there.origin}/connector/graphql", token=token, trust=trust
    )
    await seen.go(f"{there.origin}/console/applications/{application}?tab=connection")
    fingerprint = str(await seen.value("document.querySelector('input[name=fingerprint]').value"))
    assert await seen.value("document.querySelector('[id^=certificate-] .badge').innerText") == "valid"

    await there.post("/certificates/revoke", fingerprint=fingerprint, reason="laptop lost")

    await seen.until("document.querySelector('[id^=certificate-] .badge').innerText === 'revoked'")
    assert not await seen.value("document.querySelector('input[name=fingerprint]')")
    credentials = ClientCertificate(connection.folder / "chain.crt", connection.folder / "client.key")
    async with Plane(there.started.mtls_url, trust=trust, credentials=credentials) as peer:
        with pytest.raises(Exception, match=r"(?i)revoked|unauthorized"):
            await peer.ask(Endpoint.DIRECTOR, "{ viewer { id } }")


async def test_a_certificate_that_is_renewed_is_seen_without_a_touch(there: Site, seen: Tab, tmp_path: Path) -> None:
    application, _ = await there.application("shop-renewed")
    text = "mutation ($id: ID!) { result: requestOneTimeTokenForApplication(id: $id) { token } }"
    token = (await there.ask(text, id=application))["token"]
    trust = Trust.to(there.started.ca_pem)
    connection = await pair(
        tmp_path / "peer", connector_url=f"{there.origin}/connector/graphql", token=token, trust=trust
    )
    await seen.go(f"{there.origin}/console/applications/{application}?tab=connection")
    rows = "document.querySelectorAll('tr[id^=certificate-]:not(.detail)').length"
    assert await seen.value(rows) == 1

    await renew(connection, trust=trust)

    await seen.until(f"{rows} === 2")
    valid = "[...document.querySelectorAll('tr[id^=certificate-]:not(.detail) .badge')].map((one) => one.innerText)"
    assert "valid" in await seen.value(valid)


async def test_a_request_for_credentials_streams_in_and_its_made_password_is_shown_once(there: Site, seen: Tab) -> None:
    application, _ = await there.application("shop-asked")
    text = "mutation ($id: ID!, $in: BundleCreateInput!) { result: addBundle(applicationID: $id, in: $in) { id } }"
    bundle = (await there.ask(text, id=application, **{"in": {"name": "orders"}}))["id"]
    await seen.go(f"{there.origin}/console/access?application={application}")
    assert "Nobody waits" in await seen.text()
    ask = """mutation ($bundle: ID!) { result: requestBundleInstanceAuthCreation(
        bundleID: $bundle, in: {context: "{\\"for\\": \\"tests\\"}"}) { id } }"""

    request = (await there.ask(ask, bundle=bundle))["id"]

    await seen.until(f"document.getElementById('request-{request}')")
    form = "document.querySelector('form[action$=approve]')"
    await seen.value(f"{form}.closest('details').open = true")
    await seen.value(f"{form}.querySelector('select').value = 'made'")
    await seen.value(f"{form}.querySelector('[name=username]').focus()")
    await seen.type("ann")
    await seen.key("Enter")
    await seen.until("document.querySelector('#secret')")
    secret = str(await seen.value("document.querySelector('#secret').textContent"))
    assert len(secret) == 32
    await seen.value("location.reload()")
    await seen.until("document.querySelector('main').innerText.includes('shown already')")
    assert secret not in str(await seen.value("document.documentElement.outerHTML"))


async def test_a_runtime_falls_asleep_and_wakes_up_before_ones_eyes(there: Site, seen: Tab) -> None:
    made = await there.post("/runtimes/new", name="edge-sleepy", how="local")
    await seen.go(f"{there.origin}{made.headers['location']}")
    buttons = "[...document.querySelectorAll('main form button')].map((one) => one.textContent.trim())"
    await seen.until(f"{buttons}.includes('Put it to sleep')")
    press = "[...document.querySelectorAll('main form button')].find((one) => one.textContent.trim() === '%s').click()"

    await seen.value(press % "Put it to sleep")
    await seen.until(f"{buttons}.includes('Wake up') && document.querySelector('main').innerText.includes('asleep')")
    await seen.value(press % "Wake up")

    await seen.until(f"{buttons}.includes('Put it to sleep') && !{buttons}.includes('Wake up')")
    await seen.until("document.querySelector('main').innerText.includes('alive')")
    await there.post(f"{made.headers['location'].removeprefix('/console')}/unregister", name="edge-sleepy")
