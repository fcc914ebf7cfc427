"""The picture of the landscape by hand, in a real Chromium: walked through by arrows, and taken away as PNG.

As test_browser.py: with COMPASS_PROOF=1 only.
"""

import base64

from tests.console.browser import Tab
from tests.console.conftest import Site

FOCUSED = "document.activeElement.id.replace('node-', '')"


async def test_arrows_walk_along_the_lines_and_enter_looks_closer(site: Site, tab: Tab) -> None:
    first, _ = await site.application("walk-a")
    second, _ = await site.application("walk-b")
    runtime, _ = await site.runtime("walk-r")
    group, _ = await site.group(("APPLICATION", first), ("APPLICATION", second), ("RUNTIME", runtime))
    await site.application("joined-to-nobody")
    await tab.go(f"{site.origin}/console/topology?focus={group}")
    await tab.value(f"document.getElementById('node-{runtime}').focus()")

    walked = []
    for key in ("ArrowLeft", "ArrowLeft", "ArrowDown", "ArrowDown", "ArrowRight", "ArrowRight", "ArrowRight", "Home"):
        await tab.key(key)
        walked.append(await tab.value(FOCUSED))

    apps = [first, second]
    assert walked[:4] == [group, walked[1], apps[1], apps[1]]
    assert walked[1] in apps
    assert walked[4:] == [group, runtime, runtime, first]
    # A link still: it leads to what is around it, and from there to its page.
    await tab.key("Enter")
    await tab.until(f"location.search === '?focus={first}'")
    await tab.value(f"document.getElementById('node-{first}').focus()")
    await tab.key("Enter")
    await tab.until(f"location.pathname === '/console/applications/{first}'")


async def test_where_one_is_stays_while_the_picture_changes(site: Site, tab: Tab) -> None:
    application, _ = await site.application("stays-focused")
    group, _ = await site.group(("APPLICATION", application))
    await tab.go(f"{site.origin}/console/topology?focus={group}")
    await tab.value(f"document.getElementById('node-{application}').focus()")

    late, _ = await site.application("comes-late")
    text = """mutation ($id: ID!, $name: String!) {
      result: assignFormation(objectID: $id, objectType: APPLICATION, formation: {name: $name}) { id } }"""
    name = (await site.ask("query ($id: ID!) { result: formation(id: $id) { name } }", id=group))["name"]
    await site.ask(text, id=late, name=name)

    await tab.until(f"document.getElementById('node-{late}')")
    assert await tab.value(FOCUSED) == application


async def test_the_picture_is_taken_away_as_png(site: Site, tab: Tab) -> None:
    application, _ = await site.application("in-the-png")
    group, _ = await site.group(("APPLICATION", application))
    await tab.go(f"{site.origin}/console/topology?focus={group}")
    # What the browser would save is kept by the page instead.
    await tab.value("""HTMLAnchorElement.prototype.click = function () {
      window.saved = { name: this.download }; }; 0""")
    await tab.value("""(() => { const real = URL.createObjectURL; URL.createObjectURL = (blob) => {
      const reader = new FileReader();
      reader.onload = () => (window.png = reader.result);
      reader.readAsDataURL(blob);
      return real.call(URL, blob); }; })()""")
    await tab.value("document.querySelector('details:has([data-png])').open = true")

    await tab.value("document.querySelector('[data-png]').click()")

    await tab.until("window.png && window.saved")
    assert await tab.value("window.saved.name") == "topology.png"
    data = base64.b64decode(str(await tab.value("window.png")).partition(",")[2])
    width, height = (int.from_bytes(data[at : at + 4]) for at in (16, 20))
    box = str(await tab.value("document.querySelector('.picture svg').getAttribute('viewBox')")).split()
    assert (data[:8], width) == (b"\x89PNG\r\n\x1a\n", 2 * round(float(box[2])))
    assert height > 100
