"""Import and export in the console: planned as the command line does, done when that was seen, safe to repeat."""

import asyncio

import pytest
import yaml

from compass.console.landscape_file import MOST_BYTES
from tests.console.conftest import HOSTILE, Shown, Site
from tests.landscape.test_manifest import BOMB

BOM = b"\xef\xbb\xbf"
TEXT = """\
kind: Application
name: {name}
description: d
groups: [{name}-group]
apis: [{{name: api, targetURL: "https://a.example"}}]
"""


def lines(shown: Shown, where: str) -> list[str]:
    """What a card of changes says."""
    return [" ".join(one.text_content().split()) for one in shown.tree.xpath(f"//section[@aria-label='{where}']//li")]


async def registered(site: Site, name: str) -> list[str]:
    found = await site.ask("query ($t: String) { result: searchApplications(term: $t) { data { name } } }", t=name)
    return [one["name"] for one in found["data"]]


async def applied(site: Site, text: str) -> Shown:
    """What came of it when it was looked at and done, or why it was not done."""
    looked = await site.post("/import", text=text, do="look")
    seen = looked.tree.xpath("string(//input[@name='seen']/@value)")
    return await site.post("/import", text=text, do="apply", seen=str(seen)) if seen else looked


async def test_what_a_text_would_change_is_shown_before_it_is_done_once(site: Site) -> None:
    text = TEXT.format(name="imported")
    expected = [
        "+ group imported-group",
        "+ application imported",
        "+ application imported: API api",
        "+ application imported in group imported-group",
    ]

    planned = await site.post("/import", text=text.replace("\n", "\r\n"), do="look")

    assert (planned.status, lines(planned, "What it would change")) == (200, expected)
    assert await registered(site, "imported") == []
    assert planned.tree.xpath("string(//textarea[@name='text'])").strip() == text.strip()
    done = await applied(site, text)
    assert lines(done, "Done") == expected
    assert await registered(site, "imported") == ["imported"]
    again = await site.post("/import", text=text, do="look")
    assert "All is as the text says" in again.words
    assert "All is as the text says" in (await applied(site, text)).words


async def test_a_file_goes_before_what_is_typed(site: Site) -> None:
    shown = await site.upload(
        "/import", b"\xef\xbb\xbfkind: Group\nname: from-a-file\n", text="kind: nonsense", do="look"
    )

    assert lines(shown, "What it would change") == ["+ group from-a-file"]
    refused = await site.upload("/import", b"\xff\xfe\x00", text="", do="look")
    assert (refused.status, "no text in UTF-8" in refused.words) == (422, True)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("kind: Grup\nname: a", "text:1: kind 'Grup' is none of"),
        ("kind: Group\nname: a\n---\nkind: Group\nname: a", "text:4: Group 'a' is in text:1 already"),
        ("kind: [", "text:1: expected the node content"),
        ("", "there is no document"),
        ("a: !!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("kind: Application\nname: a\napis: [{name: b, targetURL: u, spec: /etc/passwd}]", "which is not here"),
        (BOMB, "says more than 200,000 things"),
        ("a: &a [*a]", "text:1"),
        ("[" * 5000, "text"),
        ("x: \x01", "text"),
    ],
)  # fmt: skip
async def test_what_is_wrong_with_a_text_is_said_with_its_line_and_nothing_changes(
    site: Site, text: str, why: str
) -> None:
    async with asyncio.timeout(60):
        shown = await applied(site, text)

    assert shown.status == 422
    assert why in shown.tree.xpath("string(//p[@role='alert'])")
    assert lines(shown, "Done") == []


async def test_a_text_that_is_too_long_is_for_the_command_line(site: Site) -> None:
    shown = await site.upload("/import", b"#" * (MOST_BYTES + 1), text="", do="look")

    assert (shown.status, "compass apply -f takes it" in shown.words) == (422, True)


async def test_a_refusal_half_way_is_told_with_what_was_done_and_a_second_time_does_the_rest(site: Site) -> None:
    text = "kind: Application\nname: half-a\n---\nkind: Application\nname: half-b\ngroups: ['no/such name']\n"

    shown = await applied(site, text)

    assert shown.status == 422
    assert "COMPASS-" in shown.tree.xpath("string(//p[@role='alert'])")
    before = await registered(site, "half-")
    right = text.replace("no/such name", "half")
    await applied(site, right)
    assert await registered(site, "half-") == ["half-a", "half-b"]
    assert set(before) <= {"half-a", "half-b"}
    assert "All is as the text says" in (await site.post("/import", text=right, do="look")).words


async def test_what_somebody_else_changed_is_left_and_told(site: Site) -> None:
    text = "kind: Application\nname: {}\ndescription: {}\n"
    await applied(site, text.format("disputed", "mine"))
    found = await site.ask('{ result: searchApplications(term: "disputed") { data { id } } }')
    change = """mutation ($id: ID!) { result: updateApplication(id: $id, in: {description: "theirs"}) { id } }"""
    await site.ask(change, id=found["data"][0]["id"])

    shown = await applied(site, text.format("disputed", "mine again"))

    assert "application disputed" in shown.words
    assert any("theirs" in line for line in lines(shown, "Left as it is"))
    now = await site.ask('{ result: searchApplications(term: "disputed") { data { description } } }')
    assert now["data"] == [{"description": "theirs"}]


async def test_names_are_text_whatever_they_hold(site: Site) -> None:
    shown = await site.post("/import", text=yaml.safe_dump({"kind": "Application", "name": HOSTILE[:90]}), do="look")

    assert HOSTILE[:20] in shown.words
    assert "<img" not in shown.text


async def test_what_is_there_is_exported_as_a_file_that_changes_nothing(site: Site) -> None:
    await applied(site, TEXT.format(name="exported"))

    exported = await site.get("/export.yaml")

    assert exported.headers["content-disposition"] == 'attachment; filename="landscape.yaml"'
    told = {(one["kind"], one["name"]): one for one in yaml.safe_load_all(exported.text)}
    assert told["Application", "exported"]["apis"] == [{"name": "api", "targetURL": "https://a.example"}]
    one = yaml.safe_dump(told["Application", "exported"])
    assert "All is as the text says" in (await site.post("/import", text=one, do="look")).words


async def test_sample_data_is_looked_at_and_loaded(site: Site) -> None:
    shown = await site.get("/import?sample=1")
    text = str(shown.tree.xpath("string(//textarea[@name='text'])"))

    done = await applied(site, text)

    assert (done.status, "runtime sample-edge in group sample-retail" in done.words) == (200, True)
    assert await registered(site, "sample-") == ["sample-shop", "sample-till"]
    assert "/console/import" in (await site.get("/applications")).links


async def test_who_may_not_change_anything_is_told_and_nothing_changes(site: Site) -> None:
    async with site.another(signed_in=False) as looking:
        await looking.limit("application:read formation:read runtime:read")
        refused = await applied(looking, TEXT.format(name="forbidden"))

    assert (refused.status, "insufficient scopes" in refused.words) == (422, True)
    assert await registered(site, "forbidden") == []


async def test_only_what_was_seen_is_done(site: Site) -> None:
    text = TEXT.format(name="seen-first")
    looked = await site.post("/import", text=text, do="look")
    seen = str(looked.tree.xpath("string(//input[@name='seen']/@value)"))
    await site.ask('mutation { result: createFormation(formation: {name: "seen-first-group"}) { id } }')

    shown = await site.post("/import", text=text, do="apply", seen=seen)

    assert "Nothing was done" in shown.words
    assert lines(shown, "What it would change")[0] == "+ application seen-first"
    assert await registered(site, "seen-first") == []
    for unseen in ("", "0" * 64):
        assert "Nothing was done" in (await site.post("/import", text=text, do="apply", seen=unseen)).words
    assert await registered(site, "seen-first") == []
