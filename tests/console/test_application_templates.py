"""Application templates in the console: made, changed, tried out, filled in, removed."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from compass.console.application_templates import filled, gaps
from tests.console.conftest import HOSTILE, Shown, Site

INPUT = {"name": "{{name}}", "providerName": "acme", "description": "of {{region}}", "labels": {"area": ["{{region}}"]}}


async def make(site: Site, name: str, given: Mapping[str, Any] | None = None, **more: str) -> tuple[str, Shown]:
    """A template by its form: its page, and the answer to the form."""
    form = {"name": name, "description": "for tests", "applicationInput": json.dumps(given or INPUT), **more}
    made = await site.send("/templates/new", form)
    return made.headers.get("location", "").removeprefix("/console"), made


def test_gaps_are_found_but_those_of_webhooks() -> None:
    given = {"name": "{{name}}", "x": ["{{a.b}} {{name}}", 1], "webhooks": [{"inputTemplate": "{{end}}"}]}
    assert list(gaps(given)) == ["name", "a.b", "name"]


def test_a_value_is_put_in_once() -> None:
    assert filled({"a": ["{{x}}{{y}}"], "b": 1, "c": "{{z}}"}, {"x": "{{y}}", "y": "2"}) == {
        "a": ["{{y}}2"],
        "b": 1,
        "c": "{{z}}",
    }


async def test_a_template_is_made_with_the_placeholders_that_its_input_names(site: Site) -> None:
    path, made = await make(site, "round-trip")

    page = await site.follow(made)

    assert "round-trip is there" in page.words
    fields = page.tree.xpath("//input[starts-with(@name, 'value-')]/@name")
    assert fields == ["value-name", "value-region"]
    assert "round-trip" in (await site.get("/templates")).words
    assert path in str((await site.get("/templates")).links)


async def test_what_is_tried_out_is_what_is_registered_then(site: Site) -> None:
    path, _ = await make(site, "try-out")
    values = {"value-name": "filled-in", "value-region": 'eu "1"'}

    tried = await site.send(path, {"do": "try", **values})

    assert tried.status == 200
    assert not tried.tree.xpath("//main/@hx-get")  # a change elsewhere must not take the result away
    result = json.loads(tried.tree.xpath("string(//pre[@id='result'])"))
    assert tried.tree.xpath("//input[@name='value-region']/@value") == ['eu "1"']
    found = await site.ask('{ result: searchApplications(term: "filled-in") { totalCount } }')
    assert found == {"totalCount": 0}
    registered = await site.send(path, {"do": "register", **values})
    pairing = await site.follow(registered)
    assert "filled-in is registered" in pairing.words
    identity = registered.headers["location"].split("/")[3]
    text = "query ($id: ID!) { result: application(id: $id) { name providerName description labels } }"
    shown = await site.ask(text, id=identity)
    kept = {name: shown[name] for name in ("name", "providerName", "description")}
    assert kept == {name: result[name] for name in kept}
    assert shown["labels"]["area"] == result["labels"]["area"] == ['eu "1"']
    assert "filled-in" in (await site.get(path)).words  # what was made from it


async def test_a_missing_value_is_told_and_nothing_is_registered(site: Site) -> None:
    path, _ = await make(site, "missing")

    tried = await site.send(path, {"do": "try", "value-name": "half"})
    refused = await site.send(path, {"do": "register", "value-name": "half"})

    assert (tried.status, refused.status) == (422, 422)
    assert "There is no value for region" in tried.words
    assert "required placeholder not provided: region" in refused.words
    assert refused.tree.xpath("//input[@name='value-name']/@value") == ["half"]
    assert await site.ask('{ result: searchApplications(term: "half") { totalCount } }') == {"totalCount": 0}


async def test_a_template_is_changed_and_its_placeholders_are_described(site: Site) -> None:
    path, _ = await make(site, "changed")
    form = await site.get(f"{path}/edit")
    (was,) = form.tree.xpath("//input[@name='was']/@value")
    typed = {"name": "changed", "applicationInput": form.tree.xpath("string(//textarea)"), "was": was}

    described = {"description-region": "where it runs", "path-region": "$.r", "optional-region": "yes"}
    saved = await site.send(f"{path}/edit", {**typed, **described})

    page = await site.follow(saved)
    assert "where it runs" in page.words
    assert "(may stay empty)" in page.words
    again = await site.send(f"{path}/edit", typed)  # made from what is no longer there
    assert again.status == 422
    assert "Somebody else changed it meanwhile" in again.words
    text = """query ($id: ID!) {
      result: applicationTemplate(id: $id) { placeholders { name description jsonPath optional } } }"""
    kept = (await site.ask(text, id=path.rpartition("/")[2]))["placeholders"]
    assert kept[1] == {"name": "region", "description": "where it runs", "jsonPath": "$.r", "optional": True}


@pytest.mark.parametrize(
    ("name", "given"), [("broken", "{"), ("nameless", "{}"), ("a" * 101, json.dumps(INPUT)), ("no-object", "[]")]
)
async def test_what_is_refused_stays_as_it_was_typed(site: Site, name: str, given: str) -> None:
    refused = await site.post("/templates/new", name=name, applicationInput=given)

    assert refused.status == 422
    assert refused.tree.xpath("string(//p[@role='alert'])").strip()
    assert refused.tree.xpath("string(//textarea)") == given
    assert refused.tree.xpath("//input[@name='name']/@value") == [name]
    assert name not in (await site.get("/templates")).words


async def test_a_template_is_removed_when_its_name_is_typed(site: Site) -> None:
    path, _ = await make(site, "removed", {**INPUT, "description": HOSTILE + "{{region}}"})
    assert "<script>alert" not in (await site.get(path)).text

    kept = await site.follow(await site.post(f"{path}/unregister", name="other"))
    gone = await site.follow(await site.post(f"{path}/unregister", name="removed"))

    assert "Type removed to remove it; nothing was changed" in kept.words
    assert "removed is gone" in gone.words
    assert (await site.get(path)).status == 404
