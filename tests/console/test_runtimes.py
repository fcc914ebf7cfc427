"""Runtimes in the console: found, added, made by the plane step by step, removed."""

import asyncio

import pytest

from compass.console.runtimes import TABS
from tests.console.conftest import Site


async def test_the_list_is_searched(site: Site) -> None:
    await site.runtime("needle-runtime")
    await site.runtime("hay")

    shown = await site.get("/runtimes?q=Needle")

    assert ("needle-runtime" in shown.words, ">hay<" in shown.text) == (True, False)
    assert "Nothing matches" in (await site.get("/runtimes?q=needle&show=failed")).words


@pytest.mark.parametrize("tab", [*TABS, "nonsense"])
async def test_every_part_of_a_runtime_can_be_seen(tab: str, site: Site) -> None:
    runtime, name = await site.runtime()

    assert (await site.get(f"/runtimes/{runtime}?tab={tab}")).tree.findtext(".//h1") == name


async def test_a_new_one_goes_on_to_pairing(site: Site) -> None:
    moved = await site.post("/runtimes/new", name="edge-77", how="elsewhere", description="far away")

    shown = await site.follow(moved)

    assert moved.headers["location"].endswith("/pair")
    assert "edge-77 is registered" in shown.words


async def test_a_name_that_is_refused_keeps_what_was_typed(site: Site) -> None:
    shown = await site.post("/runtimes/new", name="not a name", how="local", description="kept")

    assert (shown.status, shown.tree.xpath("//textarea")[0].text) == (422, "kept")
    assert shown.tree.xpath("//input[@value='local']/@checked")


async def test_what_the_plane_makes_is_shown_step_by_step_and_removed_with_it(site: Site) -> None:
    moved = await site.post("/runtimes/new", name="made-here", how="local")
    page = moved.headers["location"].removeprefix("/console")
    async with asyncio.timeout(60):
        while "Fetch runtime configuration" not in (shown := await site.get(page)).words:
            await asyncio.sleep(0.1)
    assert shown.tree.xpath("//ol[@class='steps']/li")
    assert (await site.get(page)).tree.xpath("//main/@hx-trigger")[0].startswith("changed")

    async with asyncio.timeout(60):
        while "succeeded" not in (shown := await site.get(page)).words:
            await asyncio.sleep(0.2)
    assert set(shown.tree.xpath("//ol[@class='steps']/li/@class")) == {"done"}
    assert "Wait for agent" in shown.words
    async with asyncio.timeout(60):
        while True:
            removed = await site.post(f"{page}/unregister", name="made-here", back=f"/console{page}")
            if "is being removed" in (await site.follow(removed)).words:
                break
            await asyncio.sleep(0.2)
    async with asyncio.timeout(60):
        while (await site.get(page)).status != 404:
            await asyncio.sleep(0.2)


async def test_a_runtime_lists_the_applications_it_may_use(site: Site) -> None:
    application, name = await site.application()
    runtime, _ = await site.runtime()
    await site.group(("APPLICATION", application), ("RUNTIME", runtime))

    shown = await site.get(f"/runtimes/{runtime}?tab=applications")

    assert f"mp-{name}" in shown.words
    assert f"/console/applications/{application}" in shown.links


async def test_a_runtime_that_the_plane_did_not_make_has_nothing_to_try_again(site: Site) -> None:
    runtime, name = await site.runtime()

    refused = await site.post(f"/runtimes/{runtime}/again")

    assert "nothing was changed" in (await site.follow(refused)).words
    shown = await site.get(f"/runtimes/{runtime}?tab=operations")
    assert ("The plane did nothing to it" in shown.words, name in shown.words) == (True, True)
