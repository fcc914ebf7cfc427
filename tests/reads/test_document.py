# ruff: noqa: E501
# Documents and statements stand on one line, as they are sent.
"""Documents: what is refused, what is walked, what is forgiven."""

from typing import Any

import orjson
import pytest

from compass.reads.document import DocumentRefused, Schema
from tests.reads.conftest import SDL, Shop, order_id

CHOICES = "input Deep { in: Deep values: [Int!] flag: Boolean } type Query { a(x: Int = 3, deep: Deep): Int b: Int c: Int } type Mutation { m: Int }"


def walked(text: str, variables: dict[str, Any] | None = None, sdl: str = CHOICES) -> list[tuple[str, str]]:
    operation = Schema(sdl).document(text).operation(None)
    return [(s.key, s.name) for s in operation.walk(operation.variables(variables or {})).roots("Query")]


def test_a_repeated_text_is_looked_up() -> None:
    schema = Schema(CHOICES)
    assert schema.document("{ a }") is schema.document("{ a }")


def test_only_so_many_documents_are_kept() -> None:
    schema = Schema(CHOICES)
    first = schema.document("{ a }")
    for number in range(1_000):
        schema.document(f"{{ a{number}: a }}")
    assert schema.document("{ a }") is not first


def test_a_document_that_carries_its_own_data_is_not_kept() -> None:
    schema = Schema(CHOICES)
    text = "{ a }" + " " * 64_000
    assert schema.document(text) is not schema.document(text)
    assert len(schema._documents) == 0


@pytest.mark.parametrize(
    ("text", "wording"),
    [
        ("{", "Syntax Error"),
        ("", "Syntax Error"),
        ("{ nope }", "Cannot query field 'nope'"),
        ("query A { a } query A { b }", "only one operation"),
        ("{ ...F }", "Unknown fragment"),
        ("{ ...F } fragment F on Query { ...F }", "itself"),
        ("{ a a: b }", "conflict"),
        ("subscription { a }", "subscription"),
        ("fragment F on Query { a }", "never used"),
        ('{ a(x: "1") }', "Int"),
    ],
)
def test_a_document_that_is_not_right_is_refused_with_the_first_problem(text: str, wording: str) -> None:
    with pytest.raises(DocumentRefused, match=wording):
        Schema(CHOICES).document(text).operation(None)


def test_a_refusal_says_where() -> None:
    with pytest.raises(DocumentRefused, match=r"line 2, column 3"):
        Schema(CHOICES).document("{ a\n  nope }")


def test_the_operation_is_named_when_there_are_several() -> None:
    document = Schema(CHOICES).document("query A { a } query B { b }")
    assert document.operation("B").name == "B"
    for wrong in (None, "C"):
        with pytest.raises(DocumentRefused):
            document.operation(wrong)


@pytest.mark.parametrize(
    ("text", "variables", "keys"),
    [
        ("{ a x: b a }", {}, ["a", "x"]),
        ("{ ...F ... { c } } fragment F on Query { b a }", {}, ["b", "a", "c"]),
        ("{ a @skip(if: true) b @include(if: false) c @include(if: true) }", {}, ["c"]),
        ("{ a @include(if: true) @skip(if: true) b }", {}, ["b"]),
        (
            "query ($v: Boolean!) { ... @include(if: $v) { a } ...F @skip(if: $v) } fragment F on Query { b }",
            {"v": True},
            ["a"],
        ),
        ("query ($v: Boolean = false) { a @include(if: $v) b @skip(if: $v) }", {}, ["b"]),
        ("query ($v: Boolean!) { a @skip(if: $v) a }", {"v": True}, ["a"]),
    ],
)
def test_fragments_and_directives_are_applied(text: str, variables: dict[str, Any], keys: list[str]) -> None:
    assert [key for key, _ in walked(text, variables)] == keys


def test_the_variables_that_decide_are_those_of_directives() -> None:
    text = "query ($a: Boolean!, $b: Boolean!, $x: Int) { a(x: $x) @include(if: $a) ...F } fragment F on Query { b @skip(if: $b) }"
    assert Schema(CHOICES).document(text).operation(None).decisive == ("a", "b")


@pytest.mark.parametrize("variables", [{}, {"x": "3"}, {"x": 2**31}, {"x": None}])
def test_a_variable_of_the_wrong_type_is_refused(variables: dict[str, Any]) -> None:
    operation = Schema(CHOICES).document("query ($x: Int!) { a(x: $x) }").operation(None)
    with pytest.raises(DocumentRefused, match=r"\$x"):
        operation.variables(variables)


def test_arguments_are_fixed_unless_a_variable_is_anywhere_in_them() -> None:
    text = "query ($v: Int!, $f: Boolean) { a(x: 1) b: a(x: $v) c: a(deep: {in: {values: [1, $v]}}) d: a(deep: {flag: $f}) e: a }"
    operation = Schema(CHOICES).document(text).operation(None)
    fixed = {s.key: s.fixed for s in operation.walk(operation.variables({"v": 1})).roots("Query")}
    assert fixed == {"a": True, "b": False, "c": False, "d": False, "e": True}


def test_an_argument_is_lacking_only_when_it_has_no_default_either() -> None:
    operation = Schema(CHOICES).document("query ($d: Deep) { a b: a(x: 1, deep: $d) }").operation(None)
    bare, given = operation.walk(operation.variables({})).roots("Query")
    assert [bare.lacks("x"), bare.lacks("deep"), given.lacks("x"), given.lacks("deep")] == [False, True, False, False]
    assert bare.arguments(None) == {"x": 3}


@pytest.mark.parametrize(
    "text", ["{ a() }", "{ a ( ) b }", "query Q { a(\n) }", "{ a() } # b()\n", "{ a() c: a(deep: {}) }"]
)
def test_empty_parentheses_of_old_clients_are_forgiven(text: str) -> None:
    Schema(CHOICES).document(text)


@pytest.mark.parametrize("text", ["{ a(() }", '{ a "()" }', "{ () }"])
def test_other_parentheses_are_not(text: str) -> None:
    with pytest.raises(DocumentRefused, match="Syntax Error"):
        Schema(CHOICES).document(text)


async def test_the_schema_describes_itself_beside_data(shop: Shop) -> None:
    await shop.add(1)

    seen = await shop.data(
        'query ($t: String!, $id: ID!) { kind: __type(name: $t) { ...K } order(id: $id) { title } nothing: __type(name: "X") { name } }'
        " fragment K on __Type { name fields { name } }",
        t="Customer",
        id=order_id(1),
    )

    assert seen == {
        "kind": {"name": "Customer", "fields": [{"name": "name"}]},
        "order": {"title": "order 1"},
        "nothing": None,
    }
    assert len(orjson.dumps(await shop.data("{ __schema { types { name fields { name type { name } } } } }"))) > 1000


@pytest.mark.parametrize("cursor", [1, True, ["a"], {"a": 1}])
async def test_scalars_of_the_schema_are_as_strict_as_the_contract(shop: Shop, cursor: object) -> None:
    answered = await shop.endpoint.answer(
        shop.caller, "query ($c: PageCursor) { orders(after: $c) { totalCount } }", {"c": cursor}
    )

    assert answered.status == 422


def test_the_schema_of_these_tests_is_one() -> None:
    assert Schema(SDL).possible("Line") == {"Goods", "Service"}
    assert Schema(SDL).possible("Order") == {"Order"}


def test_small_variables_are_coerced_once_and_large_or_deep_ones_each_time() -> None:
    schema = Schema("scalar Labels type Query { a(n: Int, l: Labels): Int }")
    operation = schema.document("query ($n: Int, $l: Labels) { a(n: $n, l: $l) }").operation(None)
    deep: dict[str, object] = {}
    for _ in range(400):
        deep = {"a": deep}

    assert operation.variables({"n": 1}) is operation.variables({"n": 1})
    assert operation.variables({"n": 1}) is not operation.variables({"n": 2})
    large = {"n": 1, "l": {"text": "x" * 1000}}
    assert operation.variables(large) is not operation.variables(large)
    assert operation.variables({"n": 1, "undeclared": deep}).coerced == {"n": 1}


def test_no_more_than_some_variables_are_remembered() -> None:
    schema = Schema("type Query { a(n: Int): Int }")
    operation = schema.document("query ($n: Int) { a(n: $n) }").operation(None)
    first = operation.variables({"n": 0})

    for number in range(100):
        operation.variables({"n": number})

    assert operation.variables({"n": 0}) is not first
