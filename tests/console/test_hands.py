"""The console by hand, in a real Chromium: the palette, the explorer, many at once, copying, and signing in elsewhere.

As test_browser.py: with COMPASS_PROOF=1 only.
"""

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from compass.settings import OidcSettings, OutboundSettings
from tests.access.fake_provider import AUDIENCE, FakeProvider, fake_provider
from tests.console.browser import Tab, browser
from tests.console.conftest import Site, a_plane

CONTROL = 2


async def test_an_object_is_found_and_opened_by_keys_alone(site: Site, tab: Tab) -> None:
    application, _ = await site.application("by-keys-alone")
    await tab.go(f"{site.origin}/console/groups")
    await tab.value("document.querySelector('#name').focus()")

    await tab.key("k", modifiers=CONTROL)
    await tab.until("document.activeElement.id === 'palette-typed'")
    await tab.until("document.querySelectorAll('#palette .hits a').length > 5")
    await tab.type("keys-alone")
    # Enter comes before what was found: it is opened when it is there.
    await tab.key("Enter")

    await tab.until(f"location.pathname === '/console/applications/{application}'")


async def test_arrows_walk_through_what_was_found_and_escape_gives_the_focus_back(site: Site, tab: Tab) -> None:
    await tab.go(f"{site.origin}/console/groups")
    await tab.value("document.querySelector('#name').focus()")
    await tab.key("k", modifiers=CONTROL)
    await tab.until("document.querySelectorAll('#palette .hits a').length > 5")

    await tab.key("ArrowDown")
    await tab.key("ArrowDown")
    assert await tab.value("document.activeElement === document.querySelectorAll('#palette .hits a')[1]")
    await tab.key("ArrowUp")
    await tab.key("ArrowUp")
    assert await tab.value("document.activeElement.id") == "palette-typed"
    await tab.key("Escape")

    await tab.until("!document.querySelector('#palette').open")
    assert await tab.value("document.activeElement.id") == "name"


async def test_keys_of_the_page_are_quiet_under_a_dialog(site: Site, tab: Tab) -> None:
    await tab.go(f"{site.origin}/console/groups")
    await tab.key("?")
    await tab.until("document.querySelector('#help').open")
    await tab.key("g")
    await tab.key("a")
    await asyncio.sleep(0.3)
    assert await tab.value("location.pathname") == "/console/groups"
    await tab.key("Escape")
    await tab.until("!document.querySelector('#help').open")
    await tab.key("/")
    await tab.until("document.querySelector('#palette').open")  # this page has no list to search


async def test_a_document_is_run_and_a_change_confirmed_by_keys_alone(site: Site, tab: Tab) -> None:
    await tab.go(f"{site.origin}/console/explorer")
    await tab.value("document.querySelector('#query').focus(); document.querySelector('#query').select()")
    await tab.type('mutation {\n  createFormation(formation: {name: "explored by keys"}) { name }\n}')
    await tab.key("Enter", modifiers=CONTROL)
    await tab.until("document.activeElement.textContent.includes('Run it, and change this')")
    assert "Nothing was sent yet" in await tab.text()

    await tab.key("Enter")

    await tab.until("document.querySelector('#result')?.textContent.includes('explored by keys')")


async def test_what_was_chosen_stays_chosen_while_the_list_changes(site: Site, tab: Tab) -> None:
    for number in range(3):
        await site.application(f"many-{number}")
    await tab.go(f"{site.origin}/console/applications?q=many-")
    await tab.until("document.querySelectorAll('[data-pick]').length === 3")
    await tab.value("document.querySelector('[data-pick]').click()")

    await site.application("many-3")

    await tab.until("document.querySelectorAll('[data-pick]').length === 4")
    assert await tab.value("[...document.querySelectorAll('[data-pick]')].filter((one) => one.checked).length") == 1
    await tab.value("document.querySelector('[data-pick-all]').click()")
    await tab.value("document.querySelector('#bulk button[value=delete]').click()")
    await tab.until("document.activeElement.id === 'count'")
    await tab.type("4")
    await tab.key("Enter")
    await tab.until("document.body.textContent.includes('Done to 4 applications')")


async def test_a_command_is_copied(site: Site, tab: Tab) -> None:
    application, _ = await site.application()
    await tab.send(
        "Browser.grantPermissions", origin=site.origin, permissions=["clipboardReadWrite", "clipboardSanitizedWrite"]
    )
    await tab.go(f"{site.origin}/console/applications/{application}")
    await tab.value("document.querySelector('#commands-shown').open = true")
    row = "[...document.querySelectorAll('#commands-shown .command')].find((one) => one.innerText.includes('app get'))"
    await tab.value(f"{row}.querySelector('button').focus()")
    await tab.key("Enter")

    await tab.until(f"{row}.querySelector('button').textContent === 'Copied'")
    assert await tab.value("navigator.clipboard.readText()") == f"compass app get {application}"


async def test_a_refused_form_keeps_what_was_typed_also_when_the_page_changes(site: Site, tab: Tab) -> None:
    application, _ = await site.application()
    await tab.go(f"{site.origin}/console/applications/{application}?tab=labels")
    await tab.value("document.querySelector('#label-key').value = 'scenarios'")
    await tab.value("document.querySelector('#label-value').focus()")
    await tab.type("typed <text>")
    await tab.key("Enter")
    await tab.until("document.querySelector('.notice.bad')")
    assert await tab.value("document.querySelector('#label-value').value") == "typed <text>"

    text = 'mutation ($id: ID!) { result: setApplicationLabel(applicationID: $id, key: "seen", value: "yes") { key } }'
    await site.ask(text, id=application)

    await tab.until("document.querySelector('main').textContent.includes('seen')")
    assert await tab.value("document.querySelector('#label-value').value") == "typed <text>"
    tab.problems = [one for one in tab.problems if "status of 4" not in one]


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[FakeProvider]:
    async with fake_provider(tmp_path / "provider") as fake:
        yield fake


async def test_a_browser_signs_in_at_a_provider_on_another_site(
    cluster: "asyncpg.Connection[asyncpg.Record]", cluster_dsn: str, provider: FakeProvider, tmp_path: Path
) -> None:
    provider.bends = {"groups": ["chiefs"]}
    provider.may_be_left()
    oidc = OidcSettings(
        issuers=(provider.issuer,),
        audience=AUDIENCE,
        client_id=AUDIENCE,
        scopes=("chiefs=admin",),
        tenants=("chiefs=*",),
    )
    outbound = OutboundSettings(allowed_networks=(ip_network("127.0.0.1/32"),), ca_file=provider.ca_file)
    async with a_plane(cluster, cluster_dsn, tmp_path, oidc=oidc, outbound=outbound) as started:
        # The provider is 127.0.0.1, the plane localhost: a browser takes them for two sites.
        assert urlsplit(started.token_url).hostname == "localhost"
        async with browser(started.token_url) as page:
            page.also.add(urlsplit(provider.issuer).netloc)
            await page.look(width=1180)
            await page.go(f"{started.token_url}/console/sign-in")
            await page.value("document.querySelector('a.button.main').focus()")
            await page.key("Enter")
            await page.until("location.pathname === '/console/' && document.querySelector('.tiles')")
            cookies = (await page.send("Network.getCookies", urls=[started.token_url]))["cookies"]
            (kept,) = [one for one in cookies if one["name"] == "__Host-compass"]
            assert (kept["httpOnly"], kept["secure"], kept["sameSite"]) == (True, True, "Strict")
            await page.value("document.querySelector('form[action*=sign-out] button').focus()")
            await page.key("Enter")
            # By way of the provider, which sends the browser back.
            await page.until("document.querySelector('.notice.ok')?.textContent.includes('here and at')")
            assert len(provider.left) == 1
            page.watched()
