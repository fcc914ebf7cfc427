"""Revisions: each text that a specification had, kept with the change that made it."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from compass.director.spec_revision import forget
from compass.settings import DefinitionSettings
from tests.delivery.receiver import answer, receiving
from tests.director.test_definition import API, BOTH, Definitions, added

READ = """query ($app: ID!, $id: ID!, $first: Int, $after: PageCursor) { application(id: $app) {
  apiDefinition(id: $id) { spec { ...revised } } eventDefinition(id: $id) { spec { ...events } } } }
fragment revised on APISpec { revisions(first: $first, after: $after) { ...page } }
fragment events on EventSpec { revisions(first: $first, after: $after) { ...page } }
fragment page on SpecRevisionPage {
  totalCount pageInfo { hasNextPage endCursor } data { id number createdAt type format size digest data } }"""


async def revisions(director: Any, application: str, definition: str, **asked: Any) -> Any:
    found = (await director.data(READ, app=application, id=definition, **asked))["application"]
    return (found["apiDefinition"] or found["eventDefinition"])["spec"]["revisions"]


def spec(kind: Definitions, text: str) -> dict[str, Any]:
    return {"spec": {**kind.spec, "data": text}}


@BOTH
async def test_each_text_is_kept_newest_first_and_the_same_again_is_none(director: Any, kind: Definitions) -> None:
    application, _, definition = await added(director, kind, **spec(kind, "é1"))
    for text in ("2", "2", "3"):
        await director.data(kind.update(), id=definition, **kind.given(**spec(kind, text)))
    await director.data(kind.update(), id=definition, **kind.given("renamed"))

    page = await revisions(director, application, definition, first=2)

    assert (page["totalCount"], page["pageInfo"]["hasNextPage"]) == (3, True)
    assert [(one["number"], one["data"], one["size"]) for one in page["data"]] == [(3, "3", 1), (2, "2", 1)]
    rest = await revisions(director, application, definition, first=2, after=page["pageInfo"]["endCursor"])
    [first] = rest["data"]
    assert {name: first[name] for name in ("number", "type", "format", "size", "digest", "data")} == {
        "number": 1,
        **kind.spec,
        "size": 3,
        "digest": f"sha256:{hashlib.sha256('é1'.encode()).hexdigest()}",
        "data": "é1",
    }


@BOTH
async def test_a_text_that_is_fetched_again_is_a_revision_when_it_is_another(director: Any, kind: Definitions) -> None:
    texts = iter([b"one", b"one", b"two", None])

    async def source(_: object) -> bytes:
        text = next(texts)
        return answer(500, b"") if text is None else answer(200, text)

    async with receiving(source) as server:
        given = {"spec": {**kind.spec, "fetchRequest": {"url": server.url()}}}
        application, _, definition = await added(director, kind, **given)
        for _ in range(3):
            await director.data(kind.refetched(), id=definition)

    page = await revisions(director, application, definition)
    assert [(one["number"], one["data"]) for one in page["data"]] == [(2, "two"), (1, "one")]


@BOTH
async def test_revisions_go_with_their_definition_and_a_refused_change_makes_none(
    director: Any, kind: Definitions
) -> None:
    application, _, definition = await added(director, kind, **spec(kind, "1"))

    await director.refusal(kind.update(), id=definition, **kind.given("n" * 101, **spec(kind, "2")))
    await director.refusal(kind.update(), caller=director.other, id=definition, **kind.given(**spec(kind, "2")))
    page = await revisions(director, application, definition)
    assert [one["data"] for one in page["data"]] == ["1"]

    await director.data(kind.delete(), id=definition)
    async with director.database.transaction() as tx:
        assert await tx.value("SELECT count(*) FROM spec_revision") == 0


async def test_another_tenant_sees_no_revision(director: Any) -> None:
    application, _, definition = await added(director, API, **spec(API, "1"))

    found = await director.data(READ, caller=director.other, app=application, id=definition)

    assert found == {"application": None}


async def test_a_mutation_answers_with_the_revision_it_made(director: Any) -> None:
    _, _, definition = await added(director, API, **spec(API, "1"))
    text = """mutation ($id: ID!, $in: APIDefinitionInput!) { result: updateAPIDefinition(id: $id, in: $in) {
      spec { revisions { totalCount data { data } } } } }"""

    made = (await director.data(text, id=definition, **API.given(**spec(API, "2"))))["result"]["spec"]["revisions"]

    assert made == {"totalCount": 2, "data": [{"data": "2"}, {"data": "1"}]}


async def test_changes_at_the_same_time_are_numbered_one_after_the_other(director: Any) -> None:
    application, _, definition = await added(director, API, **spec(API, "0"))
    changes: list[Awaitable[Any]] = [
        director.data(API.update(), id=definition, **API.given(**spec(API, str(number)))) for number in range(1, 9)
    ]

    await asyncio.gather(*changes)

    page = await revisions(director, application, definition)
    assert [one["number"] for one in page["data"]] == [9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert {one["data"] for one in page["data"]} == {str(number) for number in range(9)}


@pytest.mark.parametrize(
    ("kept", "left"),
    [
        (DefinitionSettings(), ["4444", "333", "22", "1"]),
        (DefinitionSettings(revisions=2), ["4444", "333"]),
        (DefinitionSettings(revision_bytes=8), ["4444", "333"]),
        (DefinitionSettings(revisions=0, revision_bytes=0), ["4444"]),
    ],
)
async def test_as_many_are_kept_as_the_settings_say_and_the_newest_always(
    director: Any, kept: DefinitionSettings, left: list[str], announced: Callable[[], Awaitable[list[str]]]
) -> None:
    application, _, definition = await added(director, API, **spec(API, "1"))
    for text in ("22", "333", "4444"):
        await director.data(API.update(), id=definition, **API.given(**spec(API, text)))
    beside = await director.data(API.add_to_application(), id=application, **API.given("more", **spec(API, "other")))
    other = beside["result"]["id"]
    before = await announced()

    async with director.database.transaction() as tx:
        await forget(tx, definition, kept)

    page = await revisions(director, application, definition)
    assert [one["data"] for one in page["data"]] == left
    async with director.database.transaction() as tx:
        assert await tx.value("SELECT count(*) FROM spec_revision WHERE definition_id = %(id)s", id=other) == 1
    assert await announced() == before


async def test_applications_that_bring_their_definitions_have_revisions_of_them(director: Any) -> None:
    text = """mutation { registerApplication(in: {name: "whole", bundles: [{name: "b", apiDefinitions: [
      {name: "a", targetURL: "https://a.example", spec: {type: OPEN_API, format: JSON, data: "{}"}}]}]}) { bundles {
        data { apiDefinitions { data { spec { revisions { data { number data } } } } } } } } }"""

    made = (await director.data(text))["registerApplication"]["bundles"]["data"][0]["apiDefinitions"]["data"][0]

    assert made["spec"]["revisions"]["data"] == [{"number": 1, "data": "{}"}]
