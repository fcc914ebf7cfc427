"""The first five minutes of three people, in a real Chromium, by keys alone, with real programs on the other side.

As test_browser.py: with COMPASS_PROOF=1 only. The same in a terminal: tests/cli/test_journey.py.
Source: design/experience.md §5.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_network
from pathlib import Path

import pytest

from compass.client.graphql import Plane
from compass.client.protocol import ClientCertificate, Endpoint, Trust
from compass.settings import OutboundSettings
from tests.console.browser import Tab
from tests.console.conftest import Site
from tests.delivery.receiver import receiving
from tests.e2e.plane import ADD_WEBHOOK

OUTBOUND = OutboundSettings(allowed_networks=(ip_network("127.0.0.1/32"),))
"""The plane may call a receiver of this machine."""
NOWHERE = "https://127.0.0.1:9/hook"
"""The plane calls no such port."""
_PRESSES = 200
"""Of the tabulator, to get from one end of a page to the other."""


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    """Of somebody else, who has the command line and nothing else."""
    programs = Path(sys.executable).parent
    return {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "xdg")}


async def visit(tab: Tab, letter: str, path: str) -> None:
    """Go where `g` and a letter lead."""
    await tab.value("document.activeElement.blur()")
    await tab.key("g")
    await tab.key(letter)
    await tab.until(f"location.pathname === '/console{path}' && document.readyState === 'complete'")


async def reach(tab: Tab, what: str) -> None:
    """Press the tabulator until the focus is on what is called so."""
    called = (
        "((one) => [one?.getAttribute('aria-label'), one?.innerText, one?.value, one?.labels?.[0]?.innerText, one?.id]"
        ".map((name) => (name ?? '').trim()))(document.activeElement)"
    )
    for _ in range(_PRESSES):
        if what in await tab.value(called):
            return
        await tab.key("Tab")
    raise AssertionError(f"no key leads to {what!r} on {await tab.value('location.pathname')}")


async def press(tab: Tab, what: str) -> None:
    """The same, and press it."""
    await reach(tab, what)
    await tab.key("Enter")


async def shell(command: str, folder: Path, environment: Mapping[str, str]) -> tuple[int, str]:
    """Run what a page told to run, as it stands there: its exit code, and what it said."""
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    ended = await asyncio.to_thread(
        subprocess.run,
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout


async def offered(tab: Tab) -> str:
    """The command that the page offers."""
    await tab.until("document.querySelector('#pair-command')")
    return str(await tab.value("document.querySelector('#pair-command').textContent"))


STEPS = "[...document.querySelectorAll('.steps li')].map((one) => one.className).join()"


async def grouped(tab: Tab, name: str) -> None:
    """Make a group."""
    await visit(tab, "g", "/groups")
    await reach(tab, "name")
    await tab.type(name)
    await tab.key("Enter")
    await tab.until(f"document.querySelector('main').innerText.includes('{name}')")


async def begun(tab: Tab, kind: str, letter: str, name: str, group: str) -> None:
    """Register an application or a runtime in a group."""
    await visit(tab, letter, f"/{kind}")
    await tab.value("document.activeElement.blur()")
    await press(tab, {"applications": "Register application", "runtimes": "Add runtime"}[kind])
    await tab.until("document.activeElement.name === 'name'")
    await tab.type(name)
    await reach(tab, "group")
    for letter_of_group in group:
        await tab.key(letter_of_group)
    await tab.until(f"document.querySelector('#group').value === '{group}'")


async def test_an_administrator_pairs_an_application_and_gets_a_runtime(
    site: Site, tab: Tab, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    await grouped(tab, "retail")
    await begun(tab, "applications", "a", "shop-crm", "retail")
    await press(tab, "Register and pair")
    await tab.until("location.pathname.endsWith('/pair')")
    await press(tab, "Make the token")
    command = await offered(tab)
    assert await tab.value(STEPS) == "done,now,next,next"
    await tab.until(r"/^[0-4]:\d\d$/.test(document.querySelector('.countdown').textContent)")

    code, said = await shell(command, tmp_path / "shop", environment)

    assert code == 0, said
    steps = ("server identity matches the pin", "key created", "certificate", "connection")
    assert [line.split("  ")[0] for line in said.splitlines() if line.startswith("✓")] == [f"✓ {one}" for one in steps]
    await tab.until(f"{STEPS} === 'done,done,done,done'")
    assert "shop-crm is connected" in await tab.text()
    again, said = await shell(command, tmp_path / "other", environment)
    assert again == 10, said

    await begun(tab, "runtimes", "r", "edge-01", "retail")
    await reach(tab, "elsewhere")
    await tab.key("ArrowDown")
    await press(tab, "Add it")
    await tab.until("document.querySelector('main h1')?.innerText === 'edge-01'")
    await tab.until("document.querySelector('main .title .badge')?.innerText.includes('connected')")
    await visit(tab, "t", "/topology")
    for name in ("shop-crm", "edge-01"):
        node = f"[...document.querySelectorAll('.picture svg a')].find((one) => one.textContent.includes('{name}'))"
        await tab.until(f"{node}.classList.contains('good')")
    await visit(tab, "o", "/")
    await tab.until("document.querySelector('main').innerText.includes('Nothing needs you')")


async def test_a_developer_pairs_with_the_right_plane_only_and_sees_what_runtimes_see(
    site: Site, tab: Tab, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    application, name = await site.application("shop-api")
    await tab.go(f"{site.origin}/console/applications/{application}/pair")
    await press(tab, "Make the token")
    command = await offered(tab)
    pin = command.split("sha256:")[1].split()[0]

    code, said = await shell(command.replace(pin, "0" * 64), tmp_path / "shop", environment)
    assert code == 9, said
    assert await tab.value(STEPS) == "done,now,next,next"  # nothing was sent: the token is as good as before
    code, said = await shell(command, tmp_path / "shop", environment)
    assert code == 0, said
    await tab.until(f"{STEPS} === 'done,done,done,done'")

    folder = tmp_path / "shop" / "compass"
    credentials = ClientCertificate(folder / "chain.crt", folder / "client.key")
    async with Plane(site.started.mtls_url, trust=Trust.to(site.started.ca_pem), credentials=credentials) as peer:
        found = await peer.ask(
            Endpoint.DIRECTOR, ADD, {"id": application, "in": orders({"/orders": "get", "/orders/{id}": "get"})}
        )
        api = found["result"]["id"]
        await tab.go(f"{site.origin}/console/applications/{application}?tab=offers")
        await press(tab, "orders")
        await tab.until(f"location.pathname.endsWith('{api}')")
        assert "/orders/{id}" in await tab.text()
        await peer.ask(Endpoint.DIRECTOR, UPDATE, {"id": api, "in": orders({"/orders": "get"})})
        await tab.until("!document.querySelector('main').innerText.includes('/orders/{id}')")
        await press(tab, "Differences")
        await tab.until("document.querySelector('main').innerText.includes('removed GET /orders/{id}')")
        assert "! breaking" in " ".join((await tab.text()).split())

        async with receiving() as taking:
            added = await peer.ask(Endpoint.DIRECTOR, ADD_WEBHOOK, webhook_at(application, taking.url()))
            await tab.go(f"{site.origin}/console/webhooks/{added['result']['id']}")
            await press(tab, "Send a test")
            await tab.until("[...document.querySelectorAll('tbody tr')].some((row) => /200.* ms/s.test(row.innerText))")
        refused = await peer.ask(Endpoint.DIRECTOR, ADD_WEBHOOK, webhook_at(application, NOWHERE))
        await tab.go(f"{site.origin}/console/webhooks/{refused['result']['id']}")
        await press(tab, "Send a test")
        await tab.until("document.querySelector('main').innerText.includes('given up')")
        await reach(tab, "Recover")
        await visit(tab, "d", "/deliveries")
        await press(tab, "Resend")
        await tab.until("document.body.innerText.includes('It is on its way again')")
    assert name == "shop-api"


def webhook_at(application: str, url: str) -> dict[str, object]:
    """What adds a webhook of the application."""
    return {"id": application, "in": {"type": "CONFIGURATION_CHANGED", "url": url}}


def orders(paths: Mapping[str, str]) -> dict[str, object]:
    """An API of these paths."""
    described = ",".join(f'"{path}":{{"{verb}":{{"responses":{{}}}}}}' for path, verb in paths.items())
    text = f'{{"openapi":"3.1.0","info":{{"title":"Orders","version":"1"}},"paths":{{{described}}}}}'
    spec = {"data": text, "type": "OPEN_API", "format": "JSON"}
    return {"name": "orders", "targetURL": "https://shop.example/orders", "spec": spec}


ADD = """mutation ($id: ID!, $in: APIDefinitionInput!) {
  result: addAPIDefinitionToApplication(appID: $id, in: $in) { id } }"""
JOIN = """mutation ($id: ID!) {
  result: assignFormation(objectID: $id, objectType: APPLICATION, formation: {name: "field"}) { id } }"""
UPDATE = """mutation ($id: ID!, $in: APIDefinitionInput!) {
  result: updateAPIDefinitionForApplication(id: $id, in: $in) { id } }"""


@asynccontextmanager
async def agent(folder: Path, environment: Mapping[str, str]) -> AsyncIterator[None]:
    """`compass agent run` for as long as the block lasts."""
    process = await asyncio.create_subprocess_exec(
        "compass", "agent", "run", "--folder", str(folder), env=environment,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def test_an_operator_connects_a_runtime_and_finds_out_when_it_stops(
    site: Site, tab: Tab, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    await grouped(tab, "field")
    await begun(tab, "runtimes", "r", "edge-02", "field")
    await press(tab, "Add it")
    await tab.until("location.pathname.endsWith('/pair')")
    await press(tab, "Make the token")
    await offered(tab)
    await press(tab, "As the agent of the runtime, run by systemd")
    install = str(await tab.value("document.querySelector('#pair-agent').textContent"))

    code, said = await shell(install.replace("--user", "--user --folder agent"), tmp_path / "edge", environment)

    assert code in (0, 3), said  # 3: there is no systemd to start it; it runs in the foreground, see below
    folder = tmp_path / "edge" / "agent"
    row = "[...document.querySelectorAll('.needs li')].find((one) => one.innerText.includes('edge-02'))"
    async with agent(folder, environment):
        await tab.until(f"{STEPS} === 'done,done,done,done'")
        await visit(tab, "r", "/runtimes")
        listed = "[...document.querySelectorAll('tbody tr')].find((one) => one.innerText.includes('edge-02'))"
        await tab.until(f"{listed}.querySelector('[data-name=Heartbeat]').innerText.includes('alive')")
        await visit(tab, "t", "/topology")
        lines = "document.querySelectorAll('.picture svg path').length"
        before = int(await tab.value(lines))
        application, _ = await site.application("field-app")
        await site.ask(JOIN, id=application)
        await tab.until(f"{lines} === {before + 1}")  # the line draws itself
        log = folder / "log.txt"
        async with asyncio.timeout(60):
            while "+ mp-field-app" not in await asyncio.to_thread(log.read_text):
                await asyncio.sleep(0.1)
        await visit(tab, "o", "/")
        assert not await tab.value(f"!!{row}")
    await tab.until(f"{row}?.innerText.includes('no heartbeat for')")
    for what in ("What to check", "the clock", "DNS", "8444", "the certificate", "compass doctor"):
        assert await tab.value(f"{row}.textContent.includes('{what}')"), what
    async with agent(folder, environment):
        await tab.until(f"!{row}")
        await visit(tab, "r", "/runtimes")
        await press(tab, "edge-02")
        await tab.until("document.querySelector('main h1')?.innerText === 'edge-02'")
