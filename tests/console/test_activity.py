"""Who changed what, in the console: with differences, narrowed down, and taken away."""

import csv
import io
import json
from typing import Any

import aiohttp
import pytest

from compass.client.protocol import PlaneAnswerUnreadable
from compass.console.activity import COLUMNS, cell, differences
from compass.console.plane import Plane
from tests.console.conftest import HOSTILE, Site

UPDATE = "mutation ($id: ID!, $to: String) { result: updateApplication(id: $id, in: {description: $to}) { id } }"


def test_what_is_not_as_before_is_told_field_by_field() -> None:
    before, after = '{"name": "a", "labels": {"x": [1]}, "same": 1}', '{"name": "b", "same": 1}'

    assert [(one.field, one.before, one.after) for one in differences(before, after)] == [
        ("labels", '{"x": [1]}', ""),
        ("name", "a", "b"),
    ]
    assert [(one.field, one.before, one.after) for one in differences(None, '{"a": true, "b": null}')] == [
        ("a", "", "true")
    ]
    assert differences(None, None) == []
    assert [one.after for one in differences(None, "[1]")] == ["[1]"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_of_a_table_is_a_formula(text: str) -> None:
    assert cell(text) == f"'{text}"
    assert (cell("a=1"), cell(None), cell(True)) == ("a=1", "", "True")


async def test_a_change_is_shown_with_who_did_it_and_what_became_different(site: Site) -> None:
    application, name = await site.application(description="as it was")
    await site.ask(UPDATE, id=application, to="as it is")

    page = await site.get(f"/activity?object={application}")

    rows = page.tree.xpath("//section[@id='list']/div/table/tbody/tr[not(@class)]")
    assert [" ".join(row.xpath("td[3]")[0].text_content().split()) for row in rows] == [
        "Update application",
        "Register application",
    ]
    newest = page.tree.xpath("//tr[@class='detail']")[0]
    assert newest.xpath(".//del/text()") == ["as it was"]
    assert newest.xpath(".//ins/text()") == ["as it is"]
    assert "admin" in rows[0].text_content()
    assert f"/console/applications/{application}" in page.links
    assert name in page.words


async def test_records_are_narrowed_down_to_a_verb_an_actor_and_an_object(site: Site) -> None:
    application, _ = await site.application()
    await site.ask(UPDATE, id=application, to="x")

    assert "Update application" in (await site.get(f"/activity?object={application}&operation=updateApplication")).words
    for nothing in (f"object={application}&operation=deleteBundle", f"object={application}&actor=nobody"):
        page = await site.get(f"/activity?{nothing}")
        assert "Nothing like that" in page.words
        assert "/console/activity" in page.links
    assert "Update application" in (await site.get(f"/activity?object={application}&actor=admin")).words


async def test_records_are_shown_a_page_at_a_time(site: Site) -> None:
    application, _ = await site.application()
    for number in range(51):
        await site.ask(UPDATE, id=application, to=f"change {number}")

    first = await site.get(f"/activity?object={application}")
    (following,) = first.tree.xpath("//a[@rel='next']/@href")
    second = await site.get(following.removeprefix("/console"))

    rows = "count(//section[@id='list']/div/table/tbody/tr[not(@class)])"
    assert (first.tree.xpath(rows), second.tree.xpath(rows)) == (50, 2)
    assert "52 in all" in first.words


async def test_what_is_taken_away_is_whole_and_in_the_form_that_was_asked_for(site: Site) -> None:
    application, _ = await site.application(description="=cmd|' /C calc'!A0")
    for number in range(3):
        await site.ask(UPDATE, id=application, to=f"-{number}")

    table = await site.get(f"/activity.csv?object={application}")
    told = await site.get(f"/activity.json?object={application}&operation=updateApplication")

    rows = list(csv.reader(io.StringIO(table.text)))
    assert rows[0] == list(COLUMNS)
    assert [row[1] for row in rows[1:]] == ["updateApplication"] * 3 + ["registerApplication"]
    assert not [one for row in rows for one in row if one.startswith(("=", "+", "-", "@"))]
    records = json.loads(told.text)
    assert [one["after"]["description"] for one in records] == ["-2", "-1", "-0"]
    assert table.headers["content-disposition"] == 'attachment; filename="activity.csv"'
    assert told.headers["content-disposition"] == 'attachment; filename="activity.json"'


async def test_records_are_narrowed_down_to_a_time(site: Site) -> None:
    application, _ = await site.application()
    narrowed = f"/activity?object={application}"

    assert "Register application" in (await site.get(f"{narrowed}&since=2026-01-01T00:00&until=2999-01-01T00:00")).words
    for nothing in ("since=2999-01-01T00:00", "until=2026-01-01T00:00"):
        page = await site.get(f"{narrowed}&{nothing}")
        assert "Nothing like that" in page.words
        name, _, shown = nothing.partition("=")
        assert page.tree.xpath(f"//input[@name='{name}']/@value") == [shown]
        (file,) = page.tree.xpath("//a[text()='JSON']/@href")
        assert (await site.get(file.removeprefix("/console"))).text == "[]"
    # What is no time narrows nothing down, and the page says so by its empty field.
    page = await site.get(f"{narrowed}&since=yesterday")
    assert "Register application" in page.words
    assert page.tree.xpath("//input[@name='since']/@value") == [""]


async def test_a_file_is_made_while_it_is_sent_and_holds_so_many_records_each_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    application, _ = await site.application()
    for number in range(6):
        await site.ask(UPDATE, id=application, to=f"change {number}")
    monkeypatch.setattr("compass.console.activity._AT_ONCE", 2)
    monkeypatch.setattr("compass.console.activity.MOST_EXPORTED", 5)

    table = await site.get(f"/activity.csv?object={application}")
    told = await site.get(f"/activity.json?object={application}")

    for one in (table, told):
        assert "content-length" not in one.headers
    changes = [one["after"]["description"] for one in json.loads(told.text)]
    assert changes == [f"change {number}" for number in (5, 4, 3, 2, 1)]
    assert len(list(csv.reader(io.StringIO(table.text)))) == 6


async def test_a_file_that_breaks_off_is_not_taken_for_a_whole_one(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    application, _ = await site.application()
    await site.ask(UPDATE, id=application, to="x")
    monkeypatch.setattr("compass.console.activity._AT_ONCE", 1)
    ask, asked = Plane.ask, 0

    async def once(self: Plane, name: str, /, **variables: Any) -> dict[str, Any]:
        nonlocal asked
        asked += name == "Activity"
        if asked > 1:
            raise PlaneAnswerUnreadable(url="/director/graphql", status="503", why="away")
        return await ask(self, name, **variables)

    monkeypatch.setattr(Plane, "ask", once)

    with pytest.raises(aiohttp.ClientPayloadError):
        await site.get(f"/activity.json?object={application}")


async def test_who_may_not_see_records_gets_a_page_and_no_file(site: Site) -> None:
    async with site.another() as browser:
        await browser.limit("application:read")

        for path in ("/activity.csv", "/activity.json"):
            refused = await browser.get(path)
            assert (refused.status, "You may not see this" in refused.words) == (403, True)


async def test_hostile_values_are_text(site: Site) -> None:
    application, _ = await site.application(description=HOSTILE)

    page = await site.get(f"/activity?object={application}&operation={HOSTILE[:30]}")
    shown = await site.get(f"/activity?object={application}")

    for one in (page, shown):
        assert "<script>alert" not in one.text
        assert "<img" not in one.text
    assert "alert(1)" in shown.text


async def test_another_tenants_records_are_not_there(site: Site) -> None:
    application, name = await site.application()
    await site.tenant("activity-other")
    async with site.another() as browser:
        await browser.post("/tenants", tenant="activity-other")

        assert name not in (await browser.get("/activity")).text
        assert "Nothing like that" in (await browser.get(f"/activity?object={application}")).words
        assert (await browser.get(f"/activity.json?object={application}")).text == "[]"
