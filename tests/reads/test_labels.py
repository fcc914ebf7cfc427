# ruff: noqa: E501
# Documents and statements stand on one line, as they are sent.
"""Labels as objects show them, and lists filtered by them."""

from typing import Any

import pytest

from compass.reads.labels import FilterRefused, wanted
from tests.reads.conftest import Shop

TEXT = "query ($f: [LabelFilter!]) { orders(filter: $f) { data { title } totalCount } }"


async def matched(shop: Shop, *filters: dict[str, Any]) -> list[str]:
    page = (await shop.data(TEXT, f=list(filters)))["orders"]
    assert page["totalCount"] == len(page["data"])
    return [entry["title"] for entry in page["data"]]


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        (None, ["1", "2", "3", "4", "5", "6"]),
        ('"gold"', ["1", "2"]),
        ('["gold"]', ["2"]),
        ("{}", ["3", "4"]),
        ('{"a": 1}', ["3"]),
        ("1", ["5"]),
        ("1.0", ["5"]),
        ("true", ["6"]),
        ("null", []),
        (' "gold" ', ["1", "2"]),
    ],
)
async def test_a_query_is_a_json_literal_that_the_value_contains(
    shop: Shop, query: str | None, titles: list[str]
) -> None:
    values: list[Any] = ["gold", ["gold", "x"], {"a": 1, "b": 2}, {"c": {"a": 1}}, 1, True]
    for number, value in enumerate(values, start=1):
        await shop.add(number, title=str(number), labels={"k": value, "other": "gold"})
    await shop.add(9, title="9", labels={"other": "gold"})

    assert await matched(shop, {"key": "k"} | ({"query": query} if query else {})) == titles


async def test_several_filters_are_all_met(shop: Shop) -> None:
    await shop.add(1, title="both", labels={"a": 1, "b": 2})
    await shop.add(2, title="one", labels={"a": 1})

    assert await matched(shop, {"key": "a"}, {"key": "b", "query": "2"}) == ["both"]
    assert await matched(shop, {"key": "a"}, {"key": "a", "query": "1"}) == ["both", "one"]
    assert await matched(shop, {"key": "a"}, {"key": "b", "query": "3"}) == []
    assert await matched(shop, {"key": "a", "query": "1"}, {"key": "b", "query": "2"}) == ["both"]
    assert await matched(shop, {"key": "a", "query": "1"}, {"key": "a", "query": "2"}) == []


async def test_no_filters_match_everything(shop: Shop) -> None:
    await shop.add(1, title="bare")

    assert await matched(shop) == ["bare"]
    assert (await shop.data(TEXT, f=None))["orders"]["totalCount"] == 1


async def test_names_are_matched_by_any_of_them(shop: Shop) -> None:
    await shop.add(1, title="list", labels={"scenarios": ["one", "two"]})
    await shop.add(2, title="text", labels={"scenarios": "two"})
    await shop.add(3, title="object", labels={"scenarios": {"two": 1}})  # its keys are no names
    await shop.add(4, title="none", labels={"scenarios": ["three"]})

    assert await matched(shop, {"key": "scenarios", "query": '$[*] ? (@ == "two" || @ == "nine")'}) == ["list", "text"]
    assert await matched(shop, {"key": "scenarios", "query": '$[*]?(@=="one")'}) == ["list"]


async def test_one_key_can_be_asked_to_be_absent(shop: Shop) -> None:
    await shop.add(1, title="without", labels={"a": 1})
    await shop.add(2, title="with", labels={"a": 1, "global_subaccount_id": "s"})

    assert await matched(shop, {"key": "global_subaccount_id", "query": '{"exists": false}'}) == ["without"]
    assert await matched(shop, {"key": "a"}, {"key": "global_subaccount_id", "query": '{"exists": false}'}) == [
        "without"
    ]
    # Of other keys this is a literal like any other.
    assert await matched(shop, {"key": "a", "query": '{"exists": false}'}) == []


@pytest.mark.parametrize(
    ("key", "query"),
    [
        ("tier", "gold"), ("tier", ""), ("tier", "{"), ("scenarios", '"one"'), ("scenarios", ""), ("runtimeType", "$[*]"),
        ("systemRole", '$[*] ? (@ == "a" && @ == "b")'), ("scenarios", '$[*] ? (@ == "a") ? (@ == "b")'),
        ("scenarios", '$[*] ? (@ == "a\'b")'), ("scenarios", '$[*] ? (@ == "' + "a" * 50_000),
    ],
)  # fmt: skip
async def test_a_query_in_another_language_is_refused(shop: Shop, key: str, query: str) -> None:
    with pytest.raises(FilterRefused):
        wanted([{"key": key, "query": query}])
    path, code, message = await shop.refusal(TEXT, f=[{"key": key, "query": query}])
    assert (path, code) == (["orders"], 10)
    assert f"the query of a filter on {key} must" in message
    assert len(message) < 500


@pytest.mark.parametrize("count", [5, 50])
async def test_many_filters_are_all_met(shop: Shop, count: int) -> None:
    await shop.add(1, title="all", labels={f"k{number}": number for number in range(count)})
    await shop.add(2, title="all but the last", labels={f"k{number}": number for number in range(count - 1)})

    filters = [{"key": f"k{number}", "query": str(number)} for number in range(count)]
    assert await matched(shop, *filters) == ["all"]
    assert await matched(shop, *filters[:-1]) == ["all", "all but the last"]


async def test_one_of_many_names_is_enough(shop: Shop) -> None:
    await shop.add(1, title="third", labels={"scenarios": ["n3"]})
    await shop.add(2, title="none", labels={"scenarios": ["n99"]})

    query = "$[*] ? (" + " || ".join(f'@ == "n{number}"' for number in range(20)) + ")"
    assert await matched(shop, {"key": "scenarios", "query": query}) == ["third"]


async def test_more_filters_than_anybody_needs_are_refused(shop: Shop) -> None:
    path, code, message = await shop.refusal(TEXT, f=[{"key": f"k{number}"} for number in range(51)])

    assert (path, code) == (["orders"], 10)
    assert "there are 51 filters; at most 50 are taken at once" in message


async def test_a_variable_of_a_filter_may_stand_anywhere_in_it(shop: Shop) -> None:
    await shop.add(1, title="a", labels={"k": "a"})
    await shop.add(2, title="b", labels={"k": "b"})

    text = "query ($q: String, $k: String!) { orders(filter: [{key: $k, query: $q}]) { data { title } } }"
    seen = [(await shop.data(text, k="k", q=query))["orders"]["data"] for query in ('"a"', '"b"', None)]
    assert seen == [[{"title": "a"}], [{"title": "b"}], [{"title": "a"}, {"title": "b"}]]


def test_a_long_hostile_query_is_refused_at_once() -> None:
    hostile = '$[*] ? (@ == "' + " " * 5_000 + '" || ' * 3_000
    with pytest.raises(FilterRefused):
        wanted([{"key": "scenarios", "query": hostile}])


async def test_labels_are_one_object_of_any_json(shop: Shop) -> None:
    labels = {"text": 'a"b\\', "list": [1, 2.5, None], "nested": {"x": {"y": True}}, "null": None}
    await shop.add(1, labels=labels)
    await shop.add(2)

    seen = await shop.data('{ orders { data { labels one: labels(key: "list") none: labels(key: "nobody") } } }')

    assert seen["orders"]["data"] == [
        {"labels": labels, "one": {"list": [1, 2.5, None]}, "none": {}},
        {"labels": {}, "one": {}, "none": {}},
    ]
