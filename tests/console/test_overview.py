"""The overview: what needs somebody, and the first steps."""

from compass.console.overview import FILTERS, first_steps
from tests.console.conftest import Site


async def test_what_is_not_connected_is_listed_with_the_way_to_pair_it(site: Site) -> None:
    application, name = await site.application("0-first-of-all")
    for number in range(4):
        await site.application(f"zz-waits-{number}")

    shown = await site.get("/")

    assert name in shown.words
    assert f"/console/applications/{application}/pair" in shown.links
    assert "application not connected yet, registered" in shown.words
    assert "/console/applications?show=waiting" in shown.links
    assert "more applications" in shown.words


async def test_the_list_is_narrowed_down_to_what_is_broken_or_waits(site: Site) -> None:
    _, name = await site.application("0-waits")

    shown = {name: (await site.get(f"/?show={name}")) for name in FILTERS}

    rows = {
        which: page.tree.xpath("//ul[@class='needs']/li[a[@aria-label]]//b/text()") for which, page in shown.items()
    }
    assert [which for which, names in rows.items() if name in names] == ["all", "waiting"]
    assert len(rows["all"]) == sum(len(rows[which]) for which in FILTERS if which != "all")
    assert "Nothing is broken now." in shown["broken"].words


async def test_what_was_done_last_is_told_to_whoever_may_see_it(site: Site) -> None:
    application, name = await site.application()

    (card,) = (await site.get("/")).tree.xpath("//section[@aria-label='Activity']")
    assert f"/console/applications/{application}" in card.xpath(".//a/@href")
    assert (name in card.text_content(), "Register application" in card.text_content()) == (True, True)
    async with site.another() as browser:
        await browser.limit("application:read", "runtime:read", "formation:read")
        assert not (await browser.get("/")).tree.xpath("//section[@aria-label='Activity']")


def found(amount: int) -> dict[str, dict[str, int]]:
    return {"all": {"totalCount": amount}, "connected": {"totalCount": amount}}


def test_the_first_steps_tick_themselves() -> None:
    groups = {"formations": {"data": [{"formationAssignments": {"totalCount": 4}}]}}

    assert [step.is_done for step in first_steps(found(0), None, None)] == [False] * 5
    assert [step.is_done for step in first_steps(found(1), found(0), {"formations": {"data": []}})] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert all(step.is_done for step in first_steps(found(1), found(1), groups))
