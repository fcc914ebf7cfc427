"""Looking for applications and runtimes by a part of a name."""

from dataclasses import replace
from typing import Any

import pytest

from compass.access.caller import Consumer

APPLICATIONS = """query ($term: String, $condition: [ApplicationStatusCondition!], $first: Int, $after: PageCursor) {
  found: searchApplications(term: $term, condition: $condition, first: $first, after: $after) {
    totalCount pageInfo { endCursor hasNextPage } data { id name } } }"""
RUNTIMES = """query ($term: String, $condition: [RuntimeStatusCondition!]) {
  found: searchRuntimes(term: $term, condition: $condition) { totalCount data { id name } } }"""


async def registered(director: Any, kind: str, name: str, **more: Any) -> str:
    text = f"mutation ($in: {kind}RegisterInput!) {{ r: register{kind}(in: $in) {{ id }} }}"
    return str((await director.data(text, **{"in": {"name": name, **more}}))["r"]["id"])


def names(data: Any) -> list[str]:
    return [one["name"] for one in data["found"]["data"]]


async def test_applications_are_found_in_the_order_of_their_names(director: Any) -> None:
    for name, more in (
        ("Zebra", {}),
        ("alpha", {"description": "of the zebra kind"}),
        ("Beta", {"providerName": "ZEBRA Inc"}),
        ("gamma", {}),
    ):
        await registered(director, "Application", name, **more)

    assert names(await director.data(APPLICATIONS, term="zebra")) == ["alpha", "Beta", "Zebra"]
    assert names(await director.data(APPLICATIONS)) == ["alpha", "Beta", "gamma", "Zebra"]
    first = await director.data(APPLICATIONS, first=3)
    assert (first["found"]["totalCount"], first["found"]["pageInfo"]["hasNextPage"]) == (4, True)
    rest = await director.data(APPLICATIONS, first=3, after=first["found"]["pageInfo"]["endCursor"])
    assert names(rest) == ["Zebra"]


@pytest.mark.parametrize("term", ["%", "_", "\\", "'", "0f", "nothing"])
async def test_a_term_has_no_signs_with_a_meaning(director: Any, term: str) -> None:
    await registered(director, "Application", "plain")
    await registered(director, "Runtime", "plain")

    assert names(await director.data(APPLICATIONS, term=term)) == []
    assert names(await director.data(RUNTIMES, term=term)) == []


async def test_an_id_finds_its_object(director: Any) -> None:
    application = await registered(director, "Application", "one")
    runtime = await registered(director, "Runtime", "two")

    assert names(await director.data(APPLICATIONS, term=application)) == ["one"]
    assert names(await director.data(RUNTIMES, term=runtime)) == ["two"]


async def test_states_narrow_it_down(director: Any) -> None:
    await registered(director, "Application", "one", statusCondition="CONNECTED")
    await registered(director, "Application", "two")
    await registered(director, "Runtime", "three", statusCondition="FAILED")
    await registered(director, "Runtime", "four")

    assert names(await director.data(APPLICATIONS, condition=["CONNECTED", "FAILED"])) == ["one"]
    assert names(await director.data(RUNTIMES, condition=["FAILED"])) == ["three"]
    assert names(await director.data(RUNTIMES, condition=[])) == []


async def test_another_tenant_finds_nothing(director: Any) -> None:
    await registered(director, "Application", "one")
    await registered(director, "Runtime", "one")
    elsewhere = replace(director.caller, tenant=director.other.tenant)

    assert names(await director.data(APPLICATIONS, caller=elsewhere)) == []
    assert names(await director.data(RUNTIMES, caller=elsewhere)) == []


async def test_a_runtime_finds_the_applications_of_its_groups_under_the_names_it_knows(director: Any) -> None:
    shared = await registered(director, "Application", "Shared One")
    await registered(director, "Application", "Other One")
    runtime = await registered(director, "Runtime", "edge")
    await director.data('mutation { createFormation(formation: {name: "g"}) { id } }')
    text = """mutation ($id: ID!, $type: FormationObjectType!) {
      assignFormation(objectID: $id, objectType: $type, formation: {name: "g"}) { id } }"""
    await director.data(text, id=shared, type="APPLICATION")
    await director.data(text, id=runtime, type="RUNTIME")
    asking = replace(director.caller, consumer=Consumer.RUNTIME, consumer_id=runtime)

    assert names(await director.data(APPLICATIONS, term="one", caller=asking)) == ["mp-shared-one"]


SORTED = {
    "applications": "applications(orderBy: $order, first: $first, after: $after)",
    "searchApplications": "searchApplications(orderBy: $order, first: $first, after: $after)",
    "runtimes": "runtimes(orderBy: $order, first: $first, after: $after)",
    "searchRuntimes": "searchRuntimes(orderBy: $order, first: $first, after: $after)",
    "formations": "formations(orderBy: $order, first: $first, after: $after)",
}


@pytest.fixture
async def several(director: Any) -> None:
    """Objects whose names come in another order than they were made."""
    for name in ("gamma", "Alpha", "beta", "Delta"):
        await registered(director, "Application", name)
        await registered(director, "Runtime", name)
        await director.data("mutation ($n: String!) { createFormation(formation: {name: $n}) { id } }", n=name)


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize("asked", SORTED.values(), ids=SORTED)
@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("NAME", ["Alpha", "beta", "Delta", "gamma"]),
        ("NAME_DESC", ["gamma", "Delta", "beta", "Alpha"]),
        ("CREATED", ["gamma", "Alpha", "beta", "Delta"]),
        ("CREATED_DESC", ["Delta", "beta", "Alpha", "gamma"]),
    ],
)
async def test_a_list_comes_as_it_is_asked_for_over_all_its_pages(
    director: Any, asked: str, order: str, expected: list[str]
) -> None:
    text = f"""query ($order: ListOrder, $first: Int, $after: PageCursor) {{
      found: {asked} {{ data {{ name }} pageInfo {{ endCursor }} totalCount }} }}"""
    first = await director.data(text, order=order, first=3)
    rest = await director.data(text, order=order, first=3, after=first["found"]["pageInfo"]["endCursor"])
    written = await director.data(text.replace("$order,", f"{order},").replace("$order: ListOrder, ", ""), first=9)

    assert [*names(first), *names(rest)] == names(written) == expected
    assert first["found"]["totalCount"] == 4


async def test_the_same_document_asks_for_one_order_and_then_for_another(director: Any, several: None) -> None:
    text = "query ($order: ListOrder) { found: formations(orderBy: $order) { data { name } } }"

    assert names(await director.data(text, order="NAME")) == ["Alpha", "beta", "Delta", "gamma"]
    assert names(await director.data(text, order="NAME_DESC")) == ["gamma", "Delta", "beta", "Alpha"]
    assert sorted(names(await director.data(text))) == sorted(["Alpha", "beta", "Delta", "gamma"])


async def test_applications_are_sorted_among_those_with_a_label(director: Any) -> None:
    for name, labels in (("b", {"t": "x"}), ("c", {}), ("a", {"t": "x"})):
        await registered(director, "Application", name, labels=labels)
    text = """query ($o: ListOrder) { found: applications(filter: [{key: "t"}], orderBy: $o) { data { name } } }"""

    assert names(await director.data(text, o="NAME_DESC")) == ["b", "a"]
