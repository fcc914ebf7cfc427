"""An application edited as YAML: only what was compared is saved, and what was compared is exactly what changes."""

import json
from typing import Any

import pytest
import yaml

from compass.console.yaml_edit import Difference, TypedWrong, differences, read
from tests.console.conftest import HOSTILE, Shown, Site
from tests.console.test_edit import APPLICATION

LABELS = "query ($id: ID!) { result: application(id: $id) { labels } }"
WHOLE = {"kind": "Application", "name": "a", "description": "", "providerName": "", "baseUrl": "", "healthCheckURL": ""}


def fields(shown: Shown) -> dict[str, str]:
    """What a browser would send, but for the button."""
    (form,) = shown.tree.xpath("//main//form[@method='post']")
    return {name: value or "" for name, value in form.fields.items() if name}


def rows(shown: Shown) -> list[list[str]]:
    return [[cell.text_content() for cell in row.xpath("td")] for row in shown.tree.xpath("//main//tr[td]")]


async def edited(site: Site, application: str, **changes: Any) -> dict[str, str]:
    """The form of an application with its text changed; None takes a line away."""
    form = fields(await site.get(f"/applications/{application}/yaml"))
    said = {**yaml.safe_load(form["text"]), **changes}
    return {**form, "text": yaml.safe_dump({key: value for key, value in said.items() if value is not None})}


async def test_what_was_compared_is_saved(site: Site) -> None:
    application, name = await site.application(
        description="before", providerName="P", labels={"team": "a", "gone": "x"}
    )
    _, group = await site.group()
    path = f"/applications/{application}/yaml"
    form = await edited(
        site, application, description=HOSTILE, providerName=None, labels={"team": ["b"]}, groups=[group]
    )

    compared = await site.send(path, {**form, "do": "compare"})

    assert (compared.status, rows(compared)) == (
        200,
        [
            ["description", "before", HOSTILE],
            ["providerName", "P", "nothing"],
            ["label gone", '"x"', "nothing"],
            ["label team", '"a"', '["b"]'],
            [f"group {group}", "nothing", "member"],
        ],
    )
    assert (await site.ask(APPLICATION, id=application))["description"] == "before"  # nothing was saved yet
    done = await site.send(path, {**fields(compared), "do": "save"})
    assert f"{name} is changed" in (await site.follow(done)).words
    found = await site.ask(APPLICATION, id=application)
    assert (found["description"], found["providerName"], found["status"]) == (HOSTILE, "", {"condition": "INITIAL"})
    labels = (await site.ask(LABELS, id=application))["labels"]
    assert (labels["team"], "gone" in labels, labels["scenarios"]) == (["b"], False, [group])


async def test_a_text_that_was_not_compared_is_not_saved(site: Site) -> None:
    application, _ = await site.application(description="before")
    path = f"/applications/{application}/yaml"
    form = await edited(site, application, description="after")
    compared = fields(await site.send(path, {**form, "do": "compare"}))

    for sent in (
        {**form, "do": "save"},
        {**compared, "do": "save", "text": compared["text"].replace("after", "other")},
        {**compared, "do": "save", "compared": ""},
        {**compared, "do": "save", "now": ""},
    ):
        shown = await site.send(path, sent)
        assert (shown.status, "What saving changes" in shown.words) in ((200, True), (409, True))
    assert (await site.ask(APPLICATION, id=application))["description"] == "before"


async def test_a_change_meanwhile_is_told_and_compared_anew(site: Site) -> None:
    application, _ = await site.application(description="before")
    path = f"/applications/{application}/yaml"
    form = await edited(site, application, description="mine")
    compared = fields(await site.send(path, {**form, "do": "compare"}))
    theirs = fields(await site.get(f"/applications/{application}/edit"))
    await site.send(f"/applications/{application}/edit", {**theirs, "description": "theirs"})

    shown = await site.send(path, {**compared, "do": "save"})

    assert (shown.status, "Somebody else changed it meanwhile" in shown.words) == (409, True)
    assert rows(shown) == [["description", "theirs", "mine"]]
    assert (await site.ask(APPLICATION, id=application))["description"] == "theirs"
    await site.send(path, {**fields(shown), "do": "save"})
    assert (await site.ask(APPLICATION, id=application))["description"] == "mine"


async def test_what_the_plane_refuses_is_told_with_what_is_left(site: Site) -> None:
    application, _ = await site.application(description="before")
    path = f"/applications/{application}/yaml"
    form = await edited(site, application, description="after", groups=["nobody made this"])
    compared = fields(await site.send(path, {**form, "do": "compare"}))

    shown = await site.send(path, {**compared, "do": "save"})

    assert (shown.status, "1 of 2 changes are made" in shown.words) == (422, True)
    assert rows(shown) == [["group nobody made this", "nothing", "member"]]
    assert "COMPASS-" in shown.words


async def test_what_is_no_document_is_kept_as_it_was_typed(site: Site) -> None:
    application, _ = await site.application(description="before")
    path = f"/applications/{application}/yaml"

    shown = await site.post(path, text=f"\n\ndescription: [{HOSTILE}", do="save")

    assert (shown.status, "This is no document of an application: line " in shown.words) == (422, True)
    assert fields(shown)["text"] == f"description: [{HOSTILE}"
    assert (await site.ask(APPLICATION, id=application))["description"] == "before"


BOMB = "labels:\n  a: &a [x, x, x, x]\n  b: &b [*a, *a, *a, *a]\n  c: [*b, *b, *b, *b]\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is no object"),
        ("- a", "it is no object"),
        ("kind: Runtime", "about something else"),
        ("name: b", "about something else"),
        ("bundles: []", "'bundles' cannot be changed here"),
        ("description: 5", "`description` is text"),
        ("groups: a", "`groups` is a list"),
        ("groups: [1]", "are text"),
        ("labels: {1: a}", "are text"),
        ("labels: {a: 2026-01-01}", "put it in quotes"),
        ("labels: {a: .nan}", "put it in quotes"),
        (BOMB, "refers to another part"),
        ("[" * 9_000, ""),
        ("a: " * 9_000, ""),
        ("x" * 20_001, "longer than 20000"),
        ("!!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("description: \x00", ""),
    ],
)
def test_what_is_wrong_is_said(text: str, why: str) -> None:
    with pytest.raises(TypedWrong) as told:
        read(text, name="a")
    assert why in str(told.value)


def test_what_is_not_said_is_nothing() -> None:
    assert read("kind: Application", name="a") == {**WHOLE, "labels": {}, "groups": []}
    assert read("description:\nlabels:\ngroups: [b, a, b]", name="a") == {**WHOLE, "labels": {}, "groups": ["a", "b"]}


def test_no_difference_is_none() -> None:
    one = {**WHOLE, "labels": {"a": {"x": 1, "y": [2]}}, "groups": ["g"]}
    assert list(differences(one, read(json.dumps(one), name="a"))) == []
    assert list(differences({**one, "groups": []}, one)) == [Difference("group g", "", "member")]


async def test_what_is_not_there_is_not_found(site: Site) -> None:
    unknown = "00000000-0000-4000-8000-000000000000"
    for path in (
        f"/applications/{unknown}/yaml",
        f"/applications/{unknown}/compass.yaml",
        f"/runtimes/{unknown}/compass.yaml",
    ):
        assert (await site.get(path)).status == 404, path
    assert (await site.post(f"/applications/{unknown}/yaml", text="kind: Application", do="save")).status == 404
