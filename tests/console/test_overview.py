"""The overview: what needs somebody, and the first steps."""

from compass.console.overview import first_steps
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
