"""What a document may cost."""

import time

import graphql
import pytest

from compass.reads.limits import DocumentLimits, DocumentTooCostly, check, check_text
from tests.reads.conftest import Shop

LIMITS = DocumentLimits(depth=4, fields=10, directives=3, root_mutations=2)


def parsed(text: str) -> graphql.DocumentNode:
    return graphql.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "{ a { b { c { d } } } }",
        "{ a b c d e f g h i j }",
        "{ ...F ...F } fragment F on Q { a b c d e }",
        "{ a @x b @x c @x }",
        "mutation { a b }",
        "{ ... { ... { ... { ... { ... { a } } } } } }",
        "{ a { ...F } } fragment F on Q { b { c { d } } }",
    ],
)
def test_what_lies_within_the_limits_is_let_through(text: str) -> None:
    check(parsed(text), LIMITS)


@pytest.mark.parametrize(
    ("text", "wording"),
    [
        ("{ a { b { c { d { e } } } } }", "5 levels of nesting, at most 4"),
        ("{ a b c d e f g h i j k }", "11 fields, at most 10"),
        ("{ ...F ...F ...F } fragment F on Q { a b c d }", "12 fields, at most 10"),
        ("{ a { ...F } } fragment F on Q { b { c { d { e } } } }", "5 levels of nesting, at most 4"),
        ("{ a @x @x b { c @x ... @x { d } } }", "4 directives, at most 3"),
        ("{ a ...F } fragment F on Q { a @x @x @x @x }", "4 directives, at most 3"),
        ("mutation { a b c }", "3 mutations, at most 2"),
        ("query A { a } query B { a b c d e f g h i j k }", "11 fields, at most 10"),
        ("{ a { a { a { a } } } ...F } fragment F on Q { a @x a @x ... on Q @x { a @x } }", "directives"),
    ],
)
def test_what_costs_more_is_refused_and_told_why(text: str, wording: str) -> None:
    with pytest.raises(DocumentTooCostly, match=wording):
        check(parsed(text), LIMITS)


def test_fragments_that_multiply_are_counted_without_being_multiplied() -> None:
    chain = "".join(f"fragment F{n} on Q {{ a {{ ...F{n + 1} }} b {{ ...F{n + 1} }} }} " for n in range(2_000))
    began = time.process_time()
    with pytest.raises(DocumentTooCostly):
        check(parsed("{ ...F0 } " + chain + "fragment F2000 on Q { a }"), DocumentLimits())
    assert time.process_time() - began < 5


def test_a_cycle_of_fragments_is_left_to_validation() -> None:
    check(parsed("{ ...A } fragment A on Q { ...B } fragment B on Q { ...A }"), LIMITS)


async def test_a_costly_document_is_answered_with_a_refusal_and_no_statement(shop: Shop) -> None:
    text = "{ orders { data { " + "title " * 1_999 + " } } }"

    answered = await shop.endpoint.answer(shop.caller, text)

    assert answered.status == 422
    assert b"2001 fields, at most 2000" in answered.body
    assert shop.database.statements == []


async def test_a_document_nested_ten_thousand_deep_is_refused(shop: Shop) -> None:
    for text in (
        "{ a " * 9_000 + "}" * 9_000,
        "{ orders(filter: " + "[" * 15_000 + "]" * 15_000 + ") { totalCount } }",
    ):
        answered = await shop.endpoint.answer(shop.caller, text)
        assert answered.status == 422
        assert shop.database.statements == []


async def test_a_document_of_too_many_tokens_is_not_read_to_its_end(shop: Shop) -> None:
    for count, wording in ((9_980, b"Unknown argument"), (10_001, b"more than 10000 tokens")):
        answered = await shop.endpoint.answer(shop.caller, "{ orders(a: [" + "1 " * count + "]) { totalCount } }")
        assert answered.status == 422
        assert wording in answered.body
    assert shop.database.statements == []


@pytest.mark.parametrize(
    ("text", "wording"),
    [
        ("{ a(b: %s) }" % ('"' + "x" * 3_000_000 + '"'), "3000012 characters, at most 2097152"),
        ("{ a } " + "," * 200_000, "200006 characters besides its literal texts, at most 131072"),
        ("{ a } #" + '"' * 200_000, "characters besides its literal texts"),
        ("{ a(b: %s) }" % ('"" ' * 100_000), "10001 tokens, at most 10000"),
    ],
    ids=["a long text", "commas", "a comment", "many texts"],
)
def test_a_text_is_judged_before_it_is_read(text: str, wording: str) -> None:
    with pytest.raises(DocumentTooCostly, match=wording):
        check_text(text)


@pytest.mark.parametrize("text", ['"%s"', '"""%s"""', '"\\"%s"', '"""\\"""%s"""'])
def test_a_long_text_inside_a_short_document_is_let_through(text: str) -> None:
    check_text("{ a(b: " + text % ("x" * 2_000_000) + ") } # " + '"')
