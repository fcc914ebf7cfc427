"""Editing: what is saved, what stays, and what happens when two edit at once."""

import json

from tests.console.conftest import Shown, Site

APPLICATION = """query ($id: ID!) {
  result: application(id: $id) { providerName description baseUrl healthCheckURL status { condition } } }"""
RUNTIME = "query ($id: ID!) { result: runtime(id: $id) { name description labels status { condition } } }"


def fields(shown: Shown) -> dict[str, str]:
    """What a browser would send of the form."""
    (form,) = shown.tree.xpath("//main//form[@method='post']")
    return {name: value or "" for name, value in form.fields.items() if name}


async def test_what_was_changed_is_saved_and_the_rest_stays(site: Site) -> None:
    text = 'ACME "& sons"'
    identity, name = await site.application(providerName=text, description="one\ntwo", baseUrl="https://a.example")
    form = fields(await site.get(f"/applications/{identity}/edit"))
    assert (form["providerName"], form["description"]) == (text, "one\ntwo")

    done = await site.send(f"/applications/{identity}/edit", {**form, "description": "one\r\nthree"})

    assert f"{name} is changed" in (await site.follow(done)).words
    assert await site.ask(APPLICATION, id=identity) == {
        "providerName": text,
        "description": "one\nthree",
        "baseUrl": "https://a.example",
        "healthCheckURL": None,
        "status": {"condition": "INITIAL"},
    }


async def test_a_runtime_keeps_its_labels_and_groups(site: Site) -> None:
    identity, _ = await site.runtime()
    _, group = await site.group(("RUNTIME", identity))
    await site.post(f"/runtimes/{identity}/label", key="team", value='["a"]')
    form = fields(await site.get(f"/runtimes/{identity}/edit"))

    await site.send(f"/runtimes/{identity}/edit", {**form, "name": "renamed", "description": "d"})

    found = await site.ask(RUNTIME, id=identity)
    assert (found["name"], found["description"], found["status"]) == ("renamed", "d", {"condition": "INITIAL"})
    assert (found["labels"]["team"], found["labels"]["scenarios"]) == (["a"], [group])


async def test_a_change_meanwhile_shows_both_versions_and_keeps_what_was_typed(site: Site) -> None:
    identity, _ = await site.application(description="before", providerName="P")
    mine, theirs = [fields(await site.get(f"/applications/{identity}/edit")) for _ in range(2)]
    await site.send(f"/applications/{identity}/edit", {**theirs, "description": "theirs"})

    shown = await site.send(
        f"/applications/{identity}/edit", {**mine, "description": "mine", "baseUrl": "https://m.io"}
    )

    assert shown.status == 409
    cells = [cell.text_content() for cell in shown.tree.xpath("//main//table//td")]
    assert cells == ["Description", "before", "theirs", "mine"]
    again = fields(shown)
    assert (again["description"], again["baseUrl"]) == ("mine", "https://m.io")
    assert json.loads(again["base"])["description"] == "theirs"
    assert (await site.ask(APPLICATION, id=identity))["description"] == "theirs"  # nothing was saved

    await site.send(f"/applications/{identity}/edit", again)
    found = await site.ask(APPLICATION, id=identity)
    assert (found["description"], found["baseUrl"]) == ("mine", "https://m.io")


async def test_changes_of_different_things_are_both_kept(site: Site) -> None:
    identity, _ = await site.application(description="before", providerName="P")
    mine, theirs = [fields(await site.get(f"/applications/{identity}/edit")) for _ in range(2)]
    await site.send(f"/applications/{identity}/edit", {**theirs, "description": "theirs"})

    done = await site.send(f"/applications/{identity}/edit", {**mine, "providerName": "Q"})

    assert done.status == 303
    found = await site.ask(APPLICATION, id=identity)
    assert (found["description"], found["providerName"]) == ("theirs", "Q")


async def test_two_who_say_the_same_do_not_conflict(site: Site) -> None:
    identity, _ = await site.application(description="before")
    mine, theirs = [fields(await site.get(f"/applications/{identity}/edit")) for _ in range(2)]
    await site.send(f"/applications/{identity}/edit", {**theirs, "description": "same"})

    done = await site.send(f"/applications/{identity}/edit", {**mine, "description": "same"})

    assert "Nothing was changed" in (await site.follow(done)).words


async def test_a_form_that_does_not_say_what_it_was_made_from_changes_nothing_unseen(site: Site) -> None:
    identity, _ = await site.application(description="before")
    for base in ("", "[]", "{", '"x"', '{"description": 5}'):
        shown = await site.post(f"/applications/{identity}/edit", base=base, description="mine")
        assert shown.status == 409, base
    assert (await site.ask(APPLICATION, id=identity))["description"] == "before"


async def test_a_refused_edit_keeps_what_was_typed_and_says_why_in_the_terminals_words(site: Site) -> None:
    identity, _ = await site.application(description="before")
    form = fields(await site.get(f"/applications/{identity}/edit"))
    long = "x" * 2001

    shown = await site.send(f"/applications/{identity}/edit", {**form, "description": long, "baseUrl": "<b>"})

    assert shown.status == 422
    again = fields(shown)
    assert (again["description"], again["baseUrl"]) == (long, "<b>")
    (notice,) = shown.tree.xpath("//p[contains(@class, 'bad')]")
    assert "COMPASS-22, request " in notice.text_content()
    assert (await site.ask(APPLICATION, id=identity))["description"] == "before"


async def test_what_is_not_there_cannot_be_edited(site: Site) -> None:
    unknown = "00000000-0000-4000-8000-000000000000"
    for path in (f"/applications/{unknown}/edit", f"/runtimes/{unknown}/edit", f"/tenants/{unknown}/edit"):
        assert (await site.get(path)).status == 404, path
        assert (await site.post(path, name="x", base="{}")).status == 404, path
