# ruff: noqa: E501
# Documents and statements stand on one line, as they are sent.
"""Selections become one statement, and its answer is what GraphQL says."""

from dataclasses import replace

import pytest

from compass.reads.paging import cursor
from tests.reads.conftest import OTHER, SCOPES, Shop, line_id, order_id

NOBODY = "00000000-0000-0000-0000-0000000000ff"


async def test_a_document_is_one_statement_whatever_it_selects(shop: Shop) -> None:
    for number in range(3):
        await shop.add(number, lines=4, customer="ann", secret="s", labels={"a": 1})

    await shop.data(
        """
        query ($id: ID!) {
          orders(filter: [{key: "a"}]) {
            data { id labels secret { word } lines(first: 2) { data { id } totalCount } allLines { __typename id } }
            pageInfo { endCursor } totalCount
          }
          order(id: $id) { line(id: $id) { id } }
          present(id: $id) { customer { name } }
          __typename
          __schema { queryType { name } }
        }
        """,
        id=order_id(1),
    )

    assert len(shop.database.statements) == 1


async def test_the_statement_does_not_depend_on_the_values_of_variables(shop: Shop) -> None:
    text = "query ($f: [LabelFilter!], $n: Int, $a: PageCursor) { orders(filter: $f, first: $n, after: $a) { totalCount data { id } } }"
    await shop.data(text, f=[{"key": "x"}, {"key": "y", "query": "{}"}], n=1)
    await shop.data(text, f=[{"key": "a"}, {"key": "b", "query": "1"}], n=7, a="MQ==")

    assert len(set(shop.database.statements)) == 1


async def test_how_many_filters_there_are_and_of_which_kinds_is_all_that_a_statement_says_of_them(shop: Shop) -> None:
    text = "query ($f: [LabelFilter!]) { orders(filter: $f) { totalCount } }"
    for filters in ([], [{"key": "k'k"}], [{"key": "k'k", "query": '"v\'v"'}]):
        await shop.data(text, f=filters)

    assert len(set(shop.database.statements)) == 3
    assert not [statement for statement in shop.database.statements if "k'k" in statement or "v'v" in statement]


async def test_another_tenants_rows_never_appear(shop: Shop) -> None:
    await shop.add(1)
    await shop.add(2, tenant=OTHER)
    text = "query ($id: ID!) { orders { data { title } totalCount } order(id: $id) { title } }"

    seen = await shop.data(text, id=order_id(2))
    assert seen == {"orders": {"data": [{"title": "order 1"}], "totalCount": 1}, "order": None}

    seen = await shop.data(text, id=order_id(2), caller=replace(shop.caller, tenant=OTHER))
    assert seen == {"orders": {"data": [{"title": "order 2"}], "totalCount": 1}, "order": {"title": "order 2"}}


async def test_aliases_merge_and_tell_arguments_apart(shop: Shop) -> None:
    await shop.add(1, lines=3, labels={"a": 1, "b": [2]})

    seen = await shop.data(
        """
        query ($one: ID!) {
          order(id: $one) { id ...More one: lines(first: 1) { data { id } } two: lines(first: 2) { totalCount data { text } } }
          order(id: $one) { title labels(key: "b") }
        }
        fragment More on Order { id customer { name } all: labels }
        """,
        one=order_id(1),
    )

    assert seen == {
        "order": {
            "id": order_id(1),
            "customer": None,
            "all": {"a": 1, "b": [2]},
            "one": {"data": [{"id": line_id(1, 0)}]},
            "two": {"totalCount": 3, "data": [{"text": "line 0"}, {"text": "line 1"}]},
            "title": "order 1",
            "labels": {"b": [2]},
        }
    }
    assert list(seen["order"]) == ["id", "customer", "all", "one", "two", "title", "labels"]


async def test_members_of_an_interface_are_shown_with_their_own_fields(shop: Shop) -> None:
    await shop.add(1, lines=2)

    seen = await shop.data(
        """
        query ($id: ID!, $line: ID!) { order(id: $id) {
          allLines { __typename text ... on Goods { weight } ... on Service { hours } ... on Line { kind: __typename } }
          line(id: $line) { ... on Goods { weight } }
        } }
        """,
        id=order_id(1),
        line=line_id(1, 1),
    )

    assert seen["order"] == {
        "allLines": [
            {"__typename": "Goods", "text": "line 0", "weight": 0, "kind": "Goods"},
            {"__typename": "Service", "text": "line 1", "hours": 1, "kind": "Service"},
        ],
        "line": {},
    }


@pytest.mark.parametrize("keys", [50, 51, 62, 130])
async def test_an_object_may_have_any_number_of_keys(shop: Shop, keys: int) -> None:
    await shop.add(1, labels={"a": 1}, secret="s")
    kinds = ("id", "title", "__typename", "price", "labels", "customer { name }", "placedAt", "secret { word }")
    chosen = [f"k{number}: {kinds[number % len(kinds)]}" for number in range(keys)]
    caller = replace(shop.caller, scopes=SCOPES - {"price:read"})

    seen = await shop.data(f'{{ order(id: "{order_id(1)}") {{ {" ".join(chosen)} }} }}', caller=caller)

    values = (
        order_id(1), "order 1", "Order", None, {"a": 1}, None, "2026-01-02T01:04:05Z", {"word": "snone"},
    )  # fmt: skip
    assert list(seen["order"].items()) == [(f"k{number}", values[number % len(values)]) for number in range(keys)]


@pytest.mark.parametrize(
    "selection", ["totalCount", "pageInfo { startCursor }", "__typename", "n: totalCount t: __typename"]
)
@pytest.mark.parametrize("orders", [0, 1, 3])
async def test_a_page_of_which_no_row_is_selected_is_one_page(shop: Shop, orders: int, selection: str) -> None:
    for number in range(orders):
        await shop.add(number, lines=number)

    seen = await shop.data(f"{{ orders {{ {selection} }} }}")

    whole = {
        "totalCount": orders,
        "pageInfo": {"startCursor": ""},
        "__typename": "OrderPage",
        "n": orders,
        "t": "OrderPage",
    }
    assert seen["orders"] == {key: whole[key] for key in seen["orders"]}
    assert seen["orders"]


async def test_a_page_of_which_no_row_is_selected_still_checks_its_arguments(shop: Shop) -> None:
    path, code, _ = await shop.refusal("query ($n: Int) { orders(first: $n) { totalCount } }", n=201)

    assert (path, code) == (["orders"], 22)


@pytest.mark.parametrize("first", ["1", "2", "3", "4", "$n"])
@pytest.mark.parametrize(
    "after", ["", ', after: ""', f', after: "{cursor(1)}"', f', after: "{cursor(9)}"', ", after: $a"]
)
async def test_a_total_is_of_all_pages_whichever_is_read(shop: Shop, first: str, after: str) -> None:
    for lines in (0, 2, 3):
        await shop.add(lines, lines=lines)
    text = f"""
    query ($n: Int = 2, $a: PageCursor) {{
      ignored: order(id: "") {{ lines(first: $n, after: $a) {{ totalCount }} }}
      orders {{ data {{ title lines(first: {first}{after}) {{ data {{ id }} pageInfo {{ hasNextPage }} totalCount }} }} }}
    }}"""

    for given in ({}, {"n": 3}, {"n": 1, "a": cursor(1)}):
        seen = await shop.data(text, **given)

        totals = {order["title"]: order["lines"]["totalCount"] for order in seen["orders"]["data"]}
        assert totals == {"order 0": 0, "order 2": 2, "order 3": 3}


async def test_pages_lead_from_one_to_the_next_and_end(shop: Shop) -> None:
    for number in range(5):
        await shop.add(number)
    text = """
    query ($after: PageCursor) {
      orders(first: 2, after: $after) { data { title } pageInfo { startCursor endCursor hasNextPage } totalCount }
    }"""

    titles, cursors, after = [], [], ""
    while True:
        page = (await shop.data(text, after=after))["orders"]
        assert page["totalCount"] == 5
        assert page["pageInfo"]["startCursor"] == after
        titles += [entry["title"] for entry in page["data"]]
        after = page["pageInfo"]["endCursor"]
        cursors.append(after)
        if not page["pageInfo"]["hasNextPage"]:
            break

    assert titles == [f"order {number}" for number in range(5)]
    assert cursors == ["RHBLdEo0ajlqRHEy", "RHBLdEo0ajlqRHE0", ""]


async def test_a_page_that_ends_with_the_list_has_no_next_one(shop: Shop) -> None:
    for number in range(4):
        await shop.add(number)

    page = (
        await shop.data('{ orders(first: 2, after: "Mg==") { data { title } pageInfo { endCursor hasNextPage } } }')
    )["orders"]

    assert page == {
        "data": [{"title": "order 2"}, {"title": "order 3"}],
        "pageInfo": {"endCursor": "", "hasNextPage": False},
    }


async def test_a_page_beyond_the_end_is_empty(shop: Shop) -> None:
    await shop.add(1)

    page = (
        await shop.data('{ orders(after: "OQ==") { data { id } totalCount pageInfo { startCursor hasNextPage } } }')
    )["orders"]

    assert page == {"data": [], "totalCount": 1, "pageInfo": {"startCursor": "OQ==", "hasNextPage": False}}


async def test_a_sanitized_field_is_null_without_the_scope_and_no_error(shop: Shop) -> None:
    await shop.add(1)
    text = "{ orders { data { price } } }"

    assert (await shop.data(text))["orders"]["data"] == [{"price": "9.99"}]
    caller = replace(shop.caller, scopes=SCOPES - {"price:read"})
    assert (await shop.data(text, caller=caller))["orders"]["data"] == [{"price": None}]


async def test_a_scoped_field_that_may_be_null_is_null_with_one_error(shop: Shop) -> None:
    await shop.add(1)
    await shop.add(2)

    answered = await shop(
        "{ orders { data { title margin } } }", caller=replace(shop.caller, scopes=SCOPES - {"margin:read"})
    )

    assert answered["data"]["orders"]["data"] == [
        {"title": "order 1", "margin": None},
        {"title": "order 2", "margin": None},
    ]
    (error,) = answered["errors"]
    assert error["path"] == ["orders", "data", "margin"]
    assert error["extensions"] == {"error": "InsufficientScopes", "error_code": 23}


async def test_a_scoped_field_that_is_never_null_refuses_the_answer(shop: Shop) -> None:
    await shop.add(1)

    caller = replace(shop.caller, scopes=SCOPES - {"owner:read"})
    path, code, message = await shop.refusal("{ orders { data { who: owner } } }", caller=caller)

    assert (path, code) == (["orders", "data", "who"], 23)
    assert message.endswith("required=owner:read]")


async def test_a_root_field_needs_its_scope_and_a_tenant(shop: Shop) -> None:
    path, code, _ = await shop.refusal(
        "{ mine: orders { totalCount } }", caller=replace(shop.caller, scopes=frozenset())
    )
    assert (path, code) == (["mine"], 23)

    path, code, _ = await shop.refusal("{ orders { totalCount } }", caller=replace(shop.caller, tenant=None))
    assert (path, code) == (["orders"], 24)

    unknown = replace(shop.caller, tenant=None, external_tenant="nowhere")
    path, code, message = await shop.refusal("{ orders { totalCount } }", caller=unknown)
    assert (path, code, message) == (["orders"], 25, "Tenant not found [externalTenant=nowhere]")
    assert shop.database.statements == []


async def test_what_must_be_there_is_an_error_at_its_alias_when_it_is_not(shop: Shop) -> None:
    await shop.add(1)

    path, code, message = await shop.refusal(
        "query ($a: ID!, $b: ID!) { one: present(id: $a) { id } two: present(id: $b) { id } }", a=order_id(1), b=NOBODY
    )

    assert (path, code, message) == (["two"], 20, f"Object not found [ID={NOBODY}; object=order]")


async def test_an_id_that_is_no_uuid_is_not_found(shop: Shop) -> None:
    await shop.add(1)

    assert await shop.data('{ order(id: "x\' OR true --") { id } }') == {"order": None}


@pytest.mark.parametrize(
    ("document", "path", "code"),
    [
        ("{ orders(first: 201) { totalCount } }", ["orders"], 22),
        ("{ orders(first: 0) { totalCount } }", ["orders"], 22),
        ("{ orders(first: null) { totalCount } }", ["orders"], 22),
        ('{ a: orders(after: "!") { data { id } } }', ["a"], 10),
        ('{ orders { data { l: lines(after: "eA==") { totalCount } } } }', ["orders", "data", "l"], 10),
        ('{ orders(filter: [{key: "a", query: "{"}]) { data { id } } }', ["orders"], 10),
    ],
)
async def test_a_wrong_argument_is_refused_at_its_fields_path_without_a_statement(
    shop: Shop, document: str, path: list[str], code: int
) -> None:
    refused = await shop.refusal(document)

    assert refused[:2] == (path, code)
    assert shop.database.statements == []


async def test_a_wrong_argument_in_a_variable_is_refused_each_time(shop: Shop) -> None:
    text = "query ($n: Int!) { orders { data { many: lines(first: $n) { totalCount } } } }"

    await shop.data(text, n=1)
    for _ in range(2):
        assert (await shop.refusal(text, n=0))[:2] == (["orders", "data", "many"], 22)
    await shop.data(text, n=200)


async def test_booleans_in_directives_choose_the_plan(shop: Shop) -> None:
    await shop.add(1)
    text = "query ($t: Boolean!, $id: ID!) { order(id: $id) { id @skip(if: $t) title @include(if: $t) } }"

    for _ in range(2):
        assert await shop.data(text, t=True, id=order_id(1)) == {"order": {"title": "order 1"}}
        assert await shop.data(text, t=False, id=order_id(1)) == {"order": {"id": order_id(1)}}


async def test_plans_of_callers_with_other_scopes_are_kept_apart(shop: Shop) -> None:
    await shop.add(1)
    poor = replace(shop.caller, scopes=frozenset({"order:read"}))

    for _ in range(2):
        assert (await shop.data("{ orders { data { price } } }"))["orders"]["data"] == [{"price": "9.99"}]
        assert (await shop.data("{ orders { data { price } } }", caller=poor))["orders"]["data"] == [{"price": None}]


async def test_a_hole_is_filled_with_its_own_arguments_and_selection(shop: Shop) -> None:
    await shop.add(1, secret="bread")
    await shop.add(2)

    seen = await shop.data(
        """
        query ($salt: String) { orders { data {
          secret { word __typename } plain: secret(salt: "") { length } salted: secret(salt: $salt) { w: word }
        } } }
        """,
        salt="!",
    )

    assert seen["orders"]["data"] == [
        {"secret": {"word": "breadnone", "__typename": "Secret"}, "plain": {"length": 5}, "salted": {"w": "bread!"}},
        {"secret": None, "plain": None, "salted": None},
    ]


async def test_text_that_looks_like_a_hole_stays_text(shop: Shop) -> None:
    await shop.add(1, title='{"0123456789abcdef0123456789abcdef:0:x"} \\ "', secret="s")

    seen = await shop.data("{ orders { data { title secret { word } } } }")

    assert seen["orders"]["data"] == [
        {"title": '{"0123456789abcdef0123456789abcdef:0:x"} \\ "', "secret": {"word": "snone"}}
    ]


async def test_a_time_is_shown_in_utc_to_the_second(shop: Shop) -> None:
    await shop.add(1)

    assert (await shop.data("{ orders { data { placedAt } } }"))["orders"]["data"] == [
        {"placedAt": "2026-01-02T01:04:05Z"}
    ]


async def test_a_response_key_longer_than_an_identifier_of_the_database_is_kept(shop: Shop) -> None:
    await shop.add(1)
    key = "a" * 200

    assert await shop.data(f"{{ orders {{ data {{ {key}: title }} }} }}") == {"orders": {"data": [{key: "order 1"}]}}


async def test_every_field_has_its_own_arguments_wherever_it_stands(shop: Shop) -> None:
    await shop.add(1, lines=9)
    numbers = range(1, 40)
    page = 'data {{ pages: lines(first: {}, after: "MA==") {{ data {{ id }} pageInfo {{ endCursor }} }} }}'
    roots = [f"o{n}: orders {{ {page.format('$n' if n % 5 == 0 else n % 9 + 1)} }}" for n in numbers]

    seen = await shop.data(f"query ($n: Int) {{ {' '.join(roots)} }}", n=3)

    sizes = {key: len(orders["data"][0]["pages"]["data"]) for key, orders in seen.items()}
    assert sizes == {f"o{n}": 3 if n % 5 == 0 else n % 9 + 1 for n in numbers}
    cursors = {
        len(orders["data"][0]["pages"]["data"]): orders["data"][0]["pages"]["pageInfo"]["endCursor"]
        for orders in seen.values()
    }
    assert cursors[2] == "RHBLdEo0ajlqRHEy"
    assert cursors[9] == ""
