"""What the functions answer is in facts.json (test_template.py); here is what they refuse, and why."""

import pytest

from compass.gotemplate import TemplateFailed, parse
from compass.gotemplate.functions import BUILT_IN

DATA = {"l": [1, 2], "m": {"a": 1}, "s": "text"}


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ('eq 1 "a"', "eq: incompatible types for comparison: int and string"),
        ("eq .l .l", "eq: cannot compare []interface {}"),
        ("eq 1 true", "eq: incompatible types for comparison: int and bool"),
        ("lt true false", "lt: cannot order bool and bool"),
        ("lt .no 1", "lt: cannot order nil and int"),
        ("len 3", "len: int has no length"),
        ("index .l 2", "index: the position 2 is out of range: expected 0 to 1"),
        ("index .l true", "index: expected an int, not bool"),
        ("index .m 1", "index: the key of a map is a string, not int"),
        ("index .no 1", "index: nil has no elements to index"),
        ("slice .s 3 2", "slice: the position 3 is out of range: expected 0 to 2"),
        ("slice 3", "slice: int cannot be sliced"),
        ("printf 3", "printf: expected a string, not int"),
    ],
)
def test_a_function_refuses_what_it_cannot_work_with(call: str, reason: str) -> None:
    with pytest.raises(TemplateFailed) as refused:
        parse("\n{{" + call + "}}").render(DATA)

    assert refused.value.reason == f"line 2: {reason}"


def test_texts_are_counted_and_cut_in_bytes() -> None:
    assert parse('{{len "é"}} {{slice "aéb" 1 3}} {{index "é" 0}} {{slice "é" 1}}').render({}) == "2 é 195 \ufffd"


def test_nil_equals_nil_and_nothing_else() -> None:
    assert parse('{{eq .no nil}} {{eq .no ""}} {{ne .no 0}}').render({}) == "true false true"


def test_all_of_gos_functions_are_there_except_call() -> None:
    assert sorted(BUILT_IN) == [
        "and", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or", "print", "printf",
        "println", "slice", "urlquery",
    ]  # fmt: skip
