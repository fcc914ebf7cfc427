"""The console in a real Chromium: nothing is evaluated or fetched from elsewhere, pages stay current, keys suffice.

Chromium is a program of the operating system, which our requirements cannot bring: these run with COMPASS_PROOF=1,
where its absence is a failure. What can be checked of the same pages without it is checked in the other files here.
"""

import asyncio
import json
import time
from pathlib import Path
from statistics import median
from typing import Final
from urllib.parse import urlencode

import pytest

from compass.agent.pair import pair
from compass.client.graphql import Plane
from compass.client.protocol import ClientCertificate, Endpoint, Trust
from compass.console.definitions import TABS
from compass.console.places import NAVIGATION
from compass.console.specification import MOST_BYTES
from tests.console.browser import Tab
from tests.console.conftest import HOSTILE, Site
from tests.console.test_definitions import hostile, offered
from tests.definition.samples import OPENAPI_3
from tests.director.groups import until
from tests.e2e.plane import ASSIGN

PUSHES = 100
PAINTED_SECONDS = 0.25
FIRST_PAGE_SECONDS = 0.3
GET: Final = {"get": {"responses": {"200": {"description": "ok"}}}}


async def test_every_page_in_every_size_and_theme_is_whole(site: Site, tab: Tab) -> None:
    application, _ = await site.application(HOSTILE[:90], description=HOSTILE * 3)
    runtime, _ = await site.runtime("r" * 120)
    group, _ = await site.group(("APPLICATION", application), ("RUNTIME", runtime))
    paths = ["/", "/topology", f"/topology?focus={group}", "/applications", "/applications/new", "/runtimes", "/groups"]
    paths += ["/runtimes/new", f"/groups/{group}", "/certificates", "/deliveries", "/tenants", f"/runtimes/{runtime}"]
    paths += [f"/applications/{application}{part}" for part in ("", "?tab=connection", "?tab=labels", "/pair")]
    paths += [place.path for area in NAVIGATION for place in area.places if place.path not in paths]
    paths += ["/templates/new", "/tenants/new", f"/tenants/{site.started.tenant}", "/label-definitions/scenarios"]
    paths += [f"/applications/{application}/credentials"]
    _, _, definition = await offered(site, json.dumps(OPENAPI_3), json.dumps(hostile()))
    paths += [f"{definition}?tab={name}" for name in TABS]
    paths += [
        "/import?sample=1",
        f"{definition}/edit",
        f"{definition}/remove",
        "/catalogue/new",
        f"/applications/{application}/apis/new",
    ]
    cases = 0
    for width in (360, 1180, 2560):
        for dark in (False, True):
            await tab.look(width=width, dark=dark)
            for path in paths:
                await tab.go(f"{site.origin}/console{path}")
                cases += 1
                assert await tab.value("document.documentElement.scrollWidth") <= width, (path, width)
    print(f"cases: {cases}")  # noqa: T201  # read by whoever runs the proof


@pytest.mark.parametrize("dark", [False, True])
async def test_words_can_be_read_on_what_is_behind_them(site: Site, tab: Tab, dark: bool) -> None:
    application, _ = await site.application()
    await tab.look(width=1180, dark=dark)
    paths = [place.path for area in NAVIGATION for place in area.places]
    paths += [f"/applications/{application}", "/applications/new", "/templates/new", "/tenants/new"]
    _, _, definition = await offered(site, json.dumps(hostile()), json.dumps(OPENAPI_3))
    paths += [f"{definition}?tab={name}" for name in TABS]
    paths += [
        "/import?sample=1",
        f"{definition}/edit",
        f"{definition}/remove",
        "/catalogue/new",
        f"/applications/{application}/apis/new",
    ]
    for path in paths:
        await tab.go(f"{site.origin}/console{path}")
        assert await tab.value(CONTRAST) == [], path


CONTRAST = """(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (color) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => { for (; node; node = node.parentElement) {
    const found = rgb(getComputedStyle(node).backgroundColor); if (found[3] > 250) return found; }
    return [255, 255, 255]; };
  const bad = [];
  for (const node of document.querySelectorAll("body *")) {
    const text = [...node.childNodes].some((one) => one.nodeType === 3 && one.data.trim());
    const box = node.getBoundingClientRect();
    if (!text || !box.width || node.closest("svg, dialog, .visually-hidden, .skip, kbd, [disabled], time")) continue;
    const [one, two] = [light(rgb(getComputedStyle(node).color)), light(ground(node))];
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    if (ratio < 4.5) bad.push(`${ratio.toFixed(2)} ${node.className} ${node.textContent.trim().slice(0, 30)}`);
  }
  return bad;
})()"""


async def test_pairing_is_followed_by_keys_alone_until_the_first_call(site: Site, tab: Tab, tmp_path: Path) -> None:
    await tab.go(f"{site.origin}/console/applications/new")
    await tab.until("document.activeElement.name === 'name'")
    await tab.type("keyboard-made")
    await tab.key("Enter")
    await tab.until("location.pathname.endsWith('/pair') && document.querySelector('main form button')")
    await tab.value("document.querySelector('main').focus()")
    for _ in range(10):
        await tab.key("Tab")
        if await tab.value("document.activeElement.textContent") == "Make the token":
            break
    await tab.key("Enter")
    await tab.until("document.querySelector('#pair-command')")
    command = str(await tab.value("document.querySelector('#pair-command').textContent"))
    token = command.split("'")[1]
    states = "[...document.querySelectorAll('.steps li')].map((one) => one.className).join()"
    assert await tab.value(states) == "done,now,next,next"

    trust = Trust.to(site.started.ca_pem)
    url = f"{site.origin}/connector/graphql"
    connection = await pair(tmp_path / "peer", connector_url=url, token=token, trust=trust)
    await tab.until(f"{states} === 'done,done,done,now'")
    assert token not in str(await tab.value("document.documentElement.outerHTML"))
    credentials = ClientCertificate(connection.folder / "chain.crt", connection.folder / "client.key")
    async with Plane(site.started.mtls_url, trust=trust, credentials=credentials) as peer:
        await peer.ask(Endpoint.DIRECTOR, "{ viewer { id } }")
    await tab.until(f"{states} === 'done,done,done,done'")
    assert "is connected" in await tab.text()


async def test_what_is_typed_focused_and_open_survives_a_change(site: Site, tab: Tab) -> None:
    group, _ = await site.group()
    await tab.go(f"{site.origin}/console/groups")
    await tab.value("document.querySelector('#name').focus()")
    await tab.type("half a na")
    await tab.value("document.querySelector('#name').setSelectionRange(2, 6)")
    await asyncio.sleep(0.5)

    _, name = await site.group()
    await tab.until(f"document.querySelector('main').innerText.includes('{name}')")

    state = "[document.activeElement.id, document.activeElement.value, document.activeElement.selectionStart].join('|')"
    assert await tab.value(state) == "name|half a na|2"
    await tab.go(f"{site.origin}/console/topology")
    node = f"document.getElementById('node-{group}')"
    await tab.value(f"{node}.focus()")
    _, other = await site.group()
    await tab.until(f"document.querySelector('main').textContent.includes('{other}')")
    assert await tab.value(f"document.activeElement === {node}")


async def test_what_was_typed_and_left_survives_a_change(site: Site, tab: Tab) -> None:
    await tab.go(f"{site.origin}/console/groups")
    await tab.value("document.querySelector('#name').focus()")
    await tab.type("half a na")
    await tab.value("document.activeElement.blur()")

    _, name = await site.group()
    await tab.until(f"document.querySelector('main').innerText.includes('{name}')")

    assert await tab.value("document.querySelector('#name').value") == "half a na"


async def test_what_is_chosen_from_a_list_stays_chosen_while_others_come_and_go(site: Site, tab: Tab) -> None:
    first, _ = await site.application()
    wanted, _ = await site.application()
    group, name = await site.group(("APPLICATION", first))
    await tab.go(f"{site.origin}/console/groups/{group}")
    await tab.value(
        f"""(() => {{ const list = document.querySelector('#member'); list.focus();
        list.value = 'APPLICATION {wanted}'; list.dispatchEvent(new Event('change', {{ bubbles: true }})); }})()"""
    )

    await site.application()
    other, called = await site.runtime()
    await site.ask(ASSIGN, id=other, type="RUNTIME", name=name)
    await tab.until(f"document.querySelector('main ul.needs').innerText.includes('{called}')")

    chosen = "[document.activeElement.id, document.querySelector('#member').value].join('|')"
    assert await tab.value(chosen) == f"member|APPLICATION {wanted}"


async def test_an_edit_conflict_shows_both_versions_and_the_second_saving_wins(site: Site, tab: Tab) -> None:
    application, _ = await site.application(description="before")
    await tab.go(f"{site.origin}/console/applications/{application}/edit")
    await tab.value("document.querySelector('[name=description]').select()")
    await tab.type("mine")
    text = "mutation ($id: ID!, $in: ApplicationUpdateInput!) { result: updateApplication(id: $id, in: $in) { id } }"
    await site.ask(text, id=application, **{"in": {"description": "theirs"}})

    await tab.value("document.querySelector('main form button.main').click()")

    await tab.until("document.querySelector('main table')?.innerText.includes('theirs')")
    assert "mine" in str(await tab.value("document.querySelector('main table').innerText"))
    assert await tab.value("document.querySelector('[name=description]').value") == "mine"
    tab.problems = [one for one in tab.problems if "status of 409" not in one]
    await tab.value("document.querySelector('main form button.main').click()")
    await tab.until("location.pathname.endsWith('/edit') === false && document.querySelector('.notice.ok')")
    asked = "query ($id: ID!) { result: application(id: $id) { description } }"
    assert await site.ask(asked, id=application) == {"description": "mine"}


async def test_the_first_page_is_there_in_three_tenths_of_a_second(site: Site, tab: Tab) -> None:
    await tab.send("Network.setCacheDisabled", cacheDisabled=True)
    took = []
    for _ in range(15):
        await tab.go(f"{site.origin}/console/")
        await tab.until("performance.getEntriesByType('navigation')[0].loadEventEnd > 0")
        took.append(float(await tab.value("performance.getEntriesByType('navigation')[0].loadEventEnd")) / 1000)
    print(f"cases: {len(took)}; loaded with all it needs after {median(took):.3f} s (median), most {max(took):.3f} s")  # noqa: T201  # read by whoever runs the proof
    assert median(took) < FIRST_PAGE_SECONDS


@pytest.mark.timeout(600)
async def test_a_change_is_painted_within_a_quarter_of_a_second(site: Site, tab: Tab) -> None:
    """From the answer to who changed it, to the frame in which it stands."""
    application, _ = await site.application("to be painted")
    text = "mutation ($id: ID!, $in: ApplicationUpdateInput!) { result: updateApplication(id: $id, in: $in) { id } }"
    await tab.go(f"{site.origin}/console/applications?q=to+be+painted")
    took = []
    for number in range(PUSHES + 1):
        await tab.value(PAINTED % f"painted {number:03}")
        await site.ask(text, id=application, **{"in": {"description": f"painted {number:03}"}})
        answered = time.time()
        took.append(float(await tab.value("window.painted")) / 1000 - answered)
        await asyncio.sleep(0.4)  # what comes faster is told together
    del took[0]  # the page may have begun with it
    took.sort()
    p95 = took[int(0.95 * PUSHES)]
    print(f"cases: {PUSHES}; answer to paint: median {took[PUSHES // 2]:.3f} s, p95 {p95:.3f} s, most {took[-1]:.3f} s")  # noqa: T201  # read by whoever runs the proof
    assert p95 < PAINTED_SECONDS


PAINTED = """window.painted = new Promise((done) => {
  const seen = () => document.querySelector("main").textContent.includes("%s");
  const look = () => seen() ? done(performance.timeOrigin + performance.now()) : requestAnimationFrame(look);
  requestAnimationFrame(look);
}); 0"""
"""In each frame it is looked whether that stands on the page."""


async def test_searching_narrows_the_list_while_typing_and_the_address_says_so(site: Site, tab: Tab) -> None:
    await site.application("typed-needle")
    await tab.go(f"{site.origin}/console/applications")
    await tab.key("/")
    await tab.until("document.activeElement.id === 'q'")
    await tab.type("typed-nee")
    await tab.until("document.querySelectorAll('#list tbody tr').length === 1")

    await tab.until("location.search === '?q=typed-nee'")
    assert await tab.value("document.activeElement.value") == "typed-nee"


async def test_keys_lead_everywhere(site: Site, tab: Tab) -> None:
    await site.application()
    for key, path in (
        ("a", "applications"),
        ("r", "runtimes"),
        ("g", "groups"),
        ("c", "certificates"),
        ("t", "topology"),
    ):
        await tab.key("g")
        await tab.key(key)
        await tab.until(f"location.pathname === '/console/{path}' && document.readyState === 'complete'")
    await tab.key("g")
    await tab.key("a")
    await tab.until("location.pathname === '/console/applications' && document.readyState === 'complete'")
    await tab.key("j")
    await tab.key("j")
    await tab.key("k")
    first = str(await tab.value("document.querySelector('table.list tbody a').getAttribute('href')"))
    assert await tab.value("document.activeElement.getAttribute('href')") == first
    await tab.key("Enter")
    await tab.until(f"location.pathname === '{first}' && document.readyState === 'complete'")
    await tab.key("?")
    await tab.until("document.querySelector('dialog').open")
    await tab.key("Escape")
    await tab.until("!document.querySelector('dialog').open")


async def test_on_a_phone_the_navigation_opens_and_leads_on(site: Site, tab: Tab) -> None:
    await tab.look(width=360)
    await tab.go(f"{site.origin}/console/groups")
    shown = "document.getElementById('places').getBoundingClientRect().height > 0"
    assert not await tab.value(shown)
    await tab.value("document.querySelector('.menu').focus()")

    await tab.key("Enter")

    await tab.until(shown)
    for place in (place for area in NAVIGATION for place in area.places):
        assert await tab.value(
            f"document.querySelector('.nav a[data-key={place.key}]').getBoundingClientRect().right < 360"
        )
    await tab.key("Escape")
    await tab.until(f"!({shown})")
    await tab.key("g")
    await tab.key("y")
    await tab.until("location.pathname === '/console/activity' && document.readyState === 'complete'")


async def test_a_change_appears_in_the_activity_and_what_was_opened_stays_open(site: Site, tab: Tab) -> None:
    application, _ = await site.application()
    await tab.go(f"{site.origin}/console/activity?object={application}")
    await tab.value("document.querySelector('tr.detail details').open = true")
    opened = str(await tab.value("document.querySelector('tr.detail details').id"))
    text = 'mutation ($id: ID!) { result: updateApplication(id: $id, in: {description: "seen live"}) { id } }'

    await site.ask(text, id=application)

    await tab.until("document.querySelector('main').textContent.includes('seen live')")
    assert await tab.value(f"document.getElementById('{opened}').open")
    assert await tab.value("document.querySelectorAll('tr.detail details[open]').length") == 1


async def test_the_end_of_a_session_leads_to_signing_in(site: Site, tab: Tab) -> None:
    await tab.go(f"{site.origin}/console/applications")
    await tab.value(
        "fetch('/console/sign-out', {method: 'POST', redirect: 'manual', "
        "body: new URLSearchParams({csrf: document.querySelector('[name=csrf]').value})}).then(() => 0)"
    )
    await tab.value("htmx.trigger('main', 'changed')")

    await tab.until("location.pathname === '/console/sign-in'")
    assert await tab.value("location.search") == "?back=%2Fconsole%2Fapplications"


async def test_a_session_that_ends_while_one_looks_leads_away_and_back_without_a_touch(site: Site, tab: Tab) -> None:
    await tab.go(f"{site.origin}/console/groups?x=1")
    # The stream begins anew, as it does now and then.
    site.sessions[-1].until = 0
    await tab.value("document.dispatchEvent(new Event('visibilitychange')); dispatchEvent(new Event('pagehide'))")
    await tab.value("dispatchEvent(new Event('pageshow'))")

    await tab.until("location.pathname === '/console/sign-in'")
    assert "Your session is over" in await tab.text()
    await tab.go(site.started.console_link())

    await tab.until("location.pathname === '/console/groups' && location.search === '?x=1'")


async def test_who_types_when_the_session_ends_stays_and_loses_nothing(site: Site, tab: Tab) -> None:
    await tab.go(f"{site.origin}/console/groups")
    await tab.value("document.querySelector('main form[method=post] input[name=name]').focus()")
    await tab.type("half typed")
    site.sessions[-1].until = 0

    await tab.value("htmx.trigger('main', 'changed')")

    await tab.until("document.getElementById('banner').textContent.includes('Your session is over')")
    assert await tab.value("location.pathname") == "/console/groups"
    assert await tab.value("document.activeElement.value") == "half typed"
    await tab.value("document.activeElement.form.requestSubmit()")
    await tab.until("location.pathname === '/console/sign-in'")
    assert "What you typed was not sent" in await tab.text()
    await tab.go(site.started.console_link())
    await tab.until("location.pathname === '/console/groups'")
    assert await tab.value("document.querySelector('main form[data-touched] input[name=name]').value") == "half typed"


async def test_documents_of_the_explorer_are_kept_by_the_browser_without_secrets(site: Site, tab: Tab) -> None:
    asked = urlencode({"query": "{ viewer { id } }", "variables": '{"token": "s3"}'})
    page = f"{site.origin}/console/explorer?{asked}"
    await tab.go(page)
    await tab.value("document.getElementById('save-as').focus()")
    await tab.type("Who I am <b>")
    await tab.key("Enter")
    await tab.until("document.querySelectorAll('#saved-list li').length === 1")

    await tab.go(f"{site.origin}/console/explorer")

    assert await tab.value("document.querySelector('#saved-list a').textContent") == "Who I am <b>"
    assert "s3" not in str(await tab.value("JSON.stringify(localStorage)"))
    await tab.value("document.querySelector('#saved-list a').click()")
    await tab.until("document.getElementById('query')?.value === '{ viewer { id } }'")
    planted = '[{"name": "evil", "link": "https://evil.example/console/explorer?"}, 5, {"name": 5}]'
    await tab.value(f"localStorage.setItem('compass.explorer.saved', {planted!r})")
    await tab.go(page)
    assert await tab.value("document.querySelectorAll('#saved-list li').length") == 0
    await tab.value(
        "document.getElementById('save-as').value = 'again'; document.getElementById('save').requestSubmit()"
    )
    await tab.until("document.querySelectorAll('#saved-list li').length === 1")
    await tab.value("document.querySelector('#saved-list button').click()")
    await tab.until("document.querySelectorAll('#saved-list li').length === 0")


async def test_a_plane_that_is_away_is_told_and_its_return_heals_the_page(site: Site, tab: Tab) -> None:
    await tab.go(f"{site.origin}/console/groups")
    await asyncio.sleep(1)
    conditions = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    await tab.send("Network.emulateNetworkConditions", offline=True, **conditions)
    _, name = await site.group()
    await tab.value("htmx.trigger('main', 'changed')")
    await tab.until("!document.getElementById('banner').hidden")
    assert "The plane cannot be reached" in str(await tab.value("document.getElementById('banner').textContent"))
    assert name not in await tab.text()

    await tab.send("Network.emulateNetworkConditions", offline=False, **conditions)

    await tab.until("document.getElementById('banner').hidden")
    assert name in await tab.text()
    tab.problems = [one for one in tab.problems if "ERR_INTERNET_DISCONNECTED" not in one and "htmx" not in one]


async def test_a_definition_is_added_replaced_and_found_by_keys_alone(site: Site, tab: Tab) -> None:
    application, _ = await site.application()
    await tab.go(f"{site.origin}/console/applications/{application}/apis/new")
    await tab.until("document.activeElement.name === 'name'")
    await tab.type("keys")
    await tab.key("Tab")
    await tab.type("https://keys.example")
    await tab_to(tab, "document.activeElement.name === 'data'")
    # Only the fields of the way that is chosen are shown, and reached.
    assert await tab.value("document.querySelector('#url').checkVisibility()") is False
    await tab.type("openapi: 3.0.0\npaths: [")
    await tab_to(tab, "document.activeElement.value === 'save'")
    await tab.key("Enter")
    await tab.until("document.querySelector('.lines mark')")
    assert "(line 2)" in await tab.text()
    # The browser itself logs every answer that is a refusal.
    tab.problems[:] = [one for one in tab.problems if "status of 422" not in one]

    await tab.value("document.querySelector('#data').focus(); document.querySelector('#data').select()")
    await tab.type(json.dumps({**OPENAPI_3, "paths": {"/by-keys": GET, "/also": GET}}))
    await tab_to(tab, "document.activeElement.value === 'save'")
    await tab.key("Enter")
    await tab.until("document.querySelector('h1')?.textContent === 'keys' && !location.pathname.endsWith('/new')")
    assert "2 operations" in await tab.text()

    await tab.value("document.querySelector('main').focus()")
    await tab_to(tab, "document.activeElement.textContent === 'Edit'")
    await tab.key("Enter")
    await tab.until("document.querySelector('[name=how]:checked')?.value === 'keep'")
    await tab.value("document.querySelector('[name=how]:checked').focus()")
    await tab.key("ArrowDown")
    await tab.until("document.querySelector('#data').checkVisibility()")
    await tab.value("document.querySelector('#data').focus(); document.querySelector('#data').select()")
    await tab.type(json.dumps({**OPENAPI_3, "paths": {"/by-keys": GET}}))
    await tab_to(tab, "document.activeElement.value === 'save'")
    await tab.key("Enter")
    await tab.until("document.querySelector('[name=reviewed]')")
    assert "This breaks 1 of what others may use" in await tab.text()
    await tab.value("document.querySelector('main').focus()")
    await tab_to(tab, "document.activeElement.name === 'reviewed'")
    await tab.key("Enter")
    await tab.until("document.querySelector('main').innerText.includes('removed GET /also')")

    async def is_taken_apart() -> bool:
        return "#operation-" in (await site.get("/find?q=get+by-keys")).text

    await until(is_taken_apart, within=60)
    await tab.until("document.readyState === 'complete'")
    await tab.key("k", modifiers=2)
    await tab.until("document.querySelector('#palette').open")
    await tab.type("get by-keys")
    await tab.until("document.querySelector('#palette .hits[data-typed=\"get by-keys\"] a')?.hash")
    await tab.key("Enter")
    # It is open, and in sight.
    await tab.until("location.hash && document.querySelector('details:target')?.open")
    assert "GET" in str(await tab.value("document.querySelector('details:target summary').textContent"))


async def test_a_form_shows_the_fields_of_what_is_chosen(site: Site, tab: Tab) -> None:
    application, _ = await site.application()
    await tab.go(f"{site.origin}/console/applications/{application}/apis/new")
    await tab.value("document.querySelector('[name=how][value=url]').click()")
    await tab.value("document.querySelector('.by-url details').open = true")
    shown = (
        "['data', 'url', 'username', 'clientId'].filter((id) => document.getElementById(id).checkVisibility()).join()"
    )
    for kind, fields in (("", "url"), ("basic", "url,username"), ("oauth", "url,clientId")):
        await tab.value(f"document.querySelector('#signs_in').value = '{kind}'; 0")
        assert await tab.value(shown) == fields
        assert await tab.axe() == []


async def test_a_file_that_is_too_long_is_not_even_sent(site: Site, tab: Tab, tmp_path: Path) -> None:
    application, _ = await site.application()
    await tab.go(f"{site.origin}/console/applications/{application}/apis/new")
    for size, is_fine in ((MOST_BYTES + 1, False), (10, True)):
        file = tmp_path / f"{size}.yaml"
        file.write_bytes(b" " * size)
        field = await tab.send("Runtime.evaluate", expression="document.querySelector('#file')")
        await tab.send("DOM.setFileInputFiles", files=[str(file)], objectId=field["result"]["objectId"])
        await tab.until(f"document.querySelector('#file').validity.valid === {str(is_fine).lower()}")
        told = await tab.value("document.querySelector('#file').validationMessage")
        assert told == ("" if is_fine else "The file is longer than 5 MiB")


async def tab_to(tab: Tab, wanted: str) -> None:
    """Press Tab until the focus is where it is wanted."""
    for _ in range(60):
        if await tab.value(wanted):
            return
        await tab.key("Tab")
    raise AssertionError(wanted)
