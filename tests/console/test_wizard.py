"""The pair wizard in a real Chromium when things go otherwise: too late, taken back, used twice; and the QR code.

As test_browser.py: with COMPASS_PROOF=1 only.
"""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.console.browser import Tab
from tests.console.conftest import Site
from tests.console.test_journeys import STEPS, environment, offered, press, reach, shell

__all__ = ["environment"]


async def begun(site: Site, tab: Tab, kind: str = "applications") -> str:
    """A token that was made by keys alone on the wizard's page; the page that follows it."""
    identity, _ = await (site.application() if kind == "applications" else site.runtime())
    await tab.go(f"{site.origin}/console/{kind}/{identity}/pair")
    await press(tab, "Make the token")
    await offered(tab)
    return str(await tab.value("location.pathname")).removeprefix("/console")


async def test_a_token_that_was_not_used_in_time_is_told_and_another_takes_its_place(
    site: Site, tab: Tab, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    application, _ = await site.application()
    wizard = f"{site.origin}/console/applications/{application}/pair"
    await tab.go(wizard)
    await reach(tab, "seconds")
    # Shorter than those to choose from, and allowed.
    await tab.value("document.querySelector('#seconds').options[0].value = '30'")
    await tab.value("document.querySelector('#seconds').selectedIndex = 0")
    await press(tab, "Make the token")
    command = await offered(tab)
    assert str(await tab.value("document.querySelector('.countdown').textContent")).startswith("0:")

    await tab.until(f"{STEPS} === 'done,failed,next,next'")

    assert "it was not used in time: make a new token" in await tab.text()
    assert not await tab.value("document.querySelector('#pair-command, .countdown, [role=img]')")
    code, said = await shell(command, tmp_path / "late", environment)
    assert code != 0
    assert "token" in said
    await tab.value("document.querySelector('main').focus()")
    await press(tab, "Make another token")
    another = await offered(tab)
    assert another != command
    assert await tab.value(STEPS) == "done,now,next,next"
    code, said = await shell(another, tmp_path / "peer", environment)
    assert code == 0, said
    await tab.until(f"{STEPS}.startsWith('done,done,done')")


async def test_a_token_that_a_colleague_takes_back_says_so_without_a_touch(
    site: Site, tab: Tab, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    path = await begun(site, tab)
    command = await offered(tab)
    token = command.split("'")[1]

    async with site.another() as colleague:
        await colleague.post(f"{path}/void")

    await tab.until("document.querySelector('main').innerText.includes('This token was taken back')")
    assert token not in str(await tab.value("document.documentElement.outerHTML"))
    code, said = await shell(command, tmp_path / "peer", environment)
    assert code != 0
    assert "token" in said
    assert await tab.axe() == []
    await tab.value("document.querySelector('main').focus()")
    await press(tab, "Make a new token")
    await tab.until(f"location.pathname === '/console{path.rpartition('/')[0]}'")
    # The browser itself logs every answer that is a refusal.
    tab.problems = [one for one in tab.problems if "404" not in one]


async def test_a_token_is_good_once_and_who_comes_second_changes_nothing(
    site: Site, tab: Tab, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    await begun(site, tab, "runtimes")
    command = await offered(tab)
    code, said = await shell(command, tmp_path / "first", environment)
    assert code == 0, said
    await tab.until(f"{STEPS}.startsWith('done,done,done')")
    serial = "document.querySelector('main .mono.break').textContent"
    first = await tab.value(serial)

    code, said = await shell(command, tmp_path / "second", environment)

    assert code != 0
    assert "token" in said
    assert not (tmp_path / "second/compass/client.key").exists()
    await tab.value("location.reload()")
    await tab.until(f"{STEPS}.startsWith('done,done,done')")
    assert await tab.value(serial) == first


@pytest.mark.parametrize(("width", "dark"), [(360, True), (1180, False)])
async def test_the_qr_code_is_opened_by_keys_and_can_be_photographed_in_both_themes(
    site: Site, tab: Tab, width: int, dark: bool
) -> None:
    await tab.look(width=width, dark=dark)
    await begun(site, tab)
    await tab.value("document.querySelector('main').focus()")
    await press(tab, "As a QR code")

    await tab.until("document.querySelector('[role=img] svg').checkVisibility()")

    box = await tab.value("document.querySelector('[role=img] svg').getBoundingClientRect().toJSON()")
    # Square, all of it on the screen, and each module more than two points wide, or a camera does not tell them apart.
    assert box["width"] == pytest.approx(box["height"], abs=1)
    assert box["left"] >= 0
    assert box["right"] <= width
    modules = "Number(document.querySelector('[role=img] svg').getAttribute('width')) / 4"
    assert box["width"] / float(await tab.value(modules)) > 2
    assert await tab.axe() == []
