"""The undo window and the outlines of what is on its way, in a real Chromium.

As test_browser.py: with COMPASS_PROOF=1 only.
"""

import pytest

from tests.console.browser import Tab
from tests.console.conftest import Site

NAME = "query ($id: ID!) { result: application(id: $id) { name } }"
EVENTS = (
    """query ($id: ID) { result: auditRecords(objectID: $id, operation: "unregisterApplication") { totalCount } }"""
)
BAR = "document.querySelector('.undo')"
SPOKEN = "document.querySelector('#undo-spoken').textContent"


async def asked(site: Site, tab: Tab, application: str, name: str) -> None:
    """Type the name of an application on its page and confirm that it is to go."""
    await tab.go(f"{site.origin}/console/applications/{application}")
    await tab.value("document.querySelector('details:has(#typed-name)').open = true")
    await tab.value("document.querySelector('#typed-name').focus()")
    await tab.type(name)
    await tab.key("Enter")
    await tab.until(BAR)


async def is_kept(site: Site, application: str, name: str) -> bool:
    """Whether it is there, and nobody was told that it is to go."""
    told = await site.ask(EVENTS, id=application)
    return bool(await site.ask(NAME, id=application) == {"name": name} and told == {"totalCount": 0})


async def test_what_is_removed_waits_ten_seconds_in_view_and_then_goes(site: Site, tab: Tab) -> None:
    application, name = await site.application()
    await asked(site, tab, application, name)

    assert f"Removing {name} in " in await tab.value(f"{BAR}.innerText")
    assert await tab.value("document.activeElement.textContent") == "Undo"
    assert f"{name} will be removed in 10 seconds" in await tab.value(SPOKEN)
    assert await tab.axe() == []
    # Kept by the page itself, which is gone when the application is.
    await tab.value(f"""new MutationObserver(() => (sessionStorage.last = {BAR}?.innerText ?? sessionStorage.last))
      .observe({BAR}, {{ childList: true, subtree: true }}); 0""")
    assert await is_kept(site, application, name)

    await tab.until("location.pathname === '/console/applications' && document.body.innerText.includes('is gone')")
    assert await site.ask(NAME, id=application) is None
    assert "in 1 s." in await tab.value("sessionStorage.last")


@pytest.mark.parametrize("how", ["Enter", "Escape"])
async def test_one_press_takes_it_back(site: Site, tab: Tab, how: str) -> None:
    application, name = await site.application()
    await asked(site, tab, application, name)
    await tab.key(how)

    await tab.until(f"!{BAR} && {SPOKEN}.includes('Nothing was removed')")
    assert "Remove the application" in await tab.value("document.activeElement.textContent")
    assert await tab.value("document.querySelector('#typed-name').value") == name
    # Longer than it would have waited, by the page's own clock.
    await tab.value("new Promise((done) => setTimeout(done, 11000))")
    assert await is_kept(site, application, name)
    assert await tab.value("location.pathname") == f"/console/applications/{application}"


async def test_leaving_the_page_removes_nothing_also_when_it_is_come_back_to(site: Site, tab: Tab) -> None:
    application, name = await site.application()
    await asked(site, tab, application, name)

    await tab.go(f"{site.origin}/console/groups")
    await tab.value("history.back()")

    await tab.until(f"location.pathname === '/console/applications/{application}' && document.querySelector('h1')")
    await tab.until(f"!{BAR}")
    await tab.value("new Promise((done) => setTimeout(done, 11000))")
    assert await is_kept(site, application, name)


async def test_closing_the_page_removes_nothing(site: Site, tab: Tab) -> None:
    application, name = await site.application()
    await asked(site, tab, application, name)

    await tab.send("Page.navigate", url="about:blank")

    await tab.value("new Promise((done) => setTimeout(done, 11000))")
    assert await is_kept(site, application, name)


async def test_many_are_removed_at_once_or_none(site: Site, tab: Tab) -> None:
    several = [await site.application(f"undone-{number}") for number in range(3)]
    for press in ("Undo", "Remove now"):
        await tab.go(f"{site.origin}/console/applications?q=undone-")
        await tab.value("document.querySelector('[data-pick-all]').click()")
        await tab.value("document.querySelector('#bulk button[value=delete]').click()")
        await tab.until("document.activeElement.id === 'count'")
        await tab.type("3")
        await tab.key("Enter")
        await tab.until(BAR)
        assert "Removing 3 applications in" in await tab.value(f"{BAR}.innerText")
        assert all([await is_kept(site, *one) for one in several])
        await tab.value(f"[...{BAR}.querySelectorAll('button')].find((one) => one.textContent === '{press}').click()")

    await tab.until("document.body.innerText.includes('Done to 3 applications')")
    assert [await site.ask(NAME, id=identity) for identity, _ in several] == [None] * 3


async def test_what_went_meanwhile_is_not_asked_for(site: Site, tab: Tab) -> None:
    application, name = await site.application()
    await asked(site, tab, application, name)

    await site.ask("mutation ($id: ID!) { result: unregisterApplication(id: $id) { id } }", id=application)

    await tab.until(f"!{BAR} && {SPOKEN}.includes('the page changed meanwhile')")
    await tab.until("document.querySelector('h1').textContent === 'Nothing here'")
    tab.problems = [one for one in tab.problems if "404" not in one]


async def delayed(tab: Tab, milliseconds: int) -> None:
    """Have each answer come so much later."""
    rest = {"offline": False, "downloadThroughput": -1, "uploadThroughput": -1}
    await tab.send("Network.emulateNetworkConditions", latency=milliseconds, **rest)


async def test_a_page_that_takes_long_shows_its_outline_until_it_is_there(site: Site, tab: Tab) -> None:
    # Kept by the page itself, which is gone when the next one is there.
    watch = """new MutationObserver(() => {
      const main = document.querySelector("main"), shown = main.querySelector(".outline");
      sessionStorage.seen = [main.getAttribute("aria-busy"), shown.getAttribute("role"), shown.innerText.trim(),
        shown.getBoundingClientRect().height > 100].join();
    }).observe(document.querySelector("main"), { attributes: true, attributeFilter: ["aria-busy"] }); 0"""
    await tab.go(f"{site.origin}/console/groups")
    await tab.value(watch)
    await delayed(tab, 4000)

    await tab.value("setTimeout(() => document.querySelector('a[data-key=r]').click()); 0")

    await tab.until("location.pathname === '/console/runtimes' && document.readyState === 'complete'")
    await delayed(tab, 0)
    assert await tab.value("sessionStorage.seen") == "true,status,Loading,true"
    assert not await tab.value("document.querySelector('.outline, main[data-loading]')")


async def test_a_link_to_a_file_or_to_the_same_page_shows_no_outline(site: Site, tab: Tab) -> None:
    await site.application()
    await tab.go(f"{site.origin}/console/topology")
    await tab.value("document.addEventListener('click', (event) => event.preventDefault(), { once: false })")
    await tab.value('document.querySelector(\'a[href$="topology.svg"], a[href*="topology.svg"]\').click()')
    await tab.value("document.querySelector('.skip').click()")
    await tab.value("new Promise((done) => setTimeout(done, 600))")

    assert not await tab.value("document.querySelector('.outline')")


async def test_a_search_that_takes_long_shows_the_outline_of_its_list(site: Site, tab: Tab) -> None:
    await site.application("searched-slowly")
    await site.application("not-searched")
    await tab.go(f"{site.origin}/console/applications")
    await tab.value("""new MutationObserver(([one]) => { window.seen ??= [one.target.getAttribute("aria-busy"),
      "waiting" in one.target.dataset, document.activeElement.id].join() })
      .observe(document.querySelector("#list"), { attributes: true, attributeFilter: ["aria-busy"] }); 0""")
    await delayed(tab, 4000)
    await tab.value("document.querySelector('#q').focus()")
    await tab.type("searched-slowly")

    await tab.until("document.querySelectorAll('#list tbody tr').length === 1")

    await delayed(tab, 0)
    assert await tab.value("window.seen") == "true,true,q"
    await tab.until("!document.querySelector('[data-waiting], [aria-busy]')")
    assert await tab.value("document.querySelector('#q').value") == "searched-slowly"


async def test_a_search_stays_while_the_list_changes(site: Site, tab: Tab) -> None:
    await site.application("stays-one")
    await site.application("goes-when-searched")
    await tab.go(f"{site.origin}/console/applications")
    await tab.value("document.querySelector('#q').focus()")
    await tab.type("stays-")
    await tab.until("document.querySelectorAll('#list tbody tr').length === 1")
    await tab.value("document.activeElement.blur()")

    await site.application("stays-two")

    await tab.until("document.querySelectorAll('#list tbody tr').length === 2")
    assert await tab.value("document.querySelector('#q').value") == "stays-"
    assert await tab.value("location.search") == "?q=stays-"
