"""What a refusal says, in the form that clients match on."""

import re

import pytest

from compass import errors
from compass.errors import Code, CompassError, InvalidInput, NotFound, Refused, presentable


class Quoted(CompassError):
    """A refusal whose sentence shows a fact in quotation marks."""

    code = Code.NOT_UNIQUE
    message = "an application named {name!r} already exists"


def test_facts_follow_the_sentence_in_brackets_sorted_by_key() -> None:
    assert str(NotFound(object="application", ID="7")) == "Object not found [ID=7; object=application]"
    assert str(NotFound()) == "Object not found"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (Quoted(name="billing"), "an application named 'billing' already exists"),
        (InvalidInput(input_type="A", name="cannot be blank"), "Invalid data A [name=cannot be blank]"),
    ],
)
def test_a_fact_that_the_sentence_tells_is_not_told_again(error: CompassError, sentence: str) -> None:
    assert str(error) == sentence


def test_a_refusal_without_a_code_of_its_own_has_the_originals_envelope() -> None:
    refusal = Refused("label with key x cannot be set")

    assert refusal.code is Code.INTERNAL
    assert re.fullmatch(
        r"Internal Server Error \[errorID=[0-9a-f-]{36}, reason: label with key x cannot be set\]", str(refusal)
    )


def test_percent_and_braces_in_facts_are_shown_as_they_are() -> None:
    assert str(NotFound(object="100% {braces}")) == "Object not found [object=100% {braces}]"


def test_the_numbers_and_names_are_the_contracts() -> None:
    named = {int(code): code.wire_name for code in Code}

    assert {number: named[number] for number in (10, 20, 21, 22, 23, 24, 25, 26, 27, 31)} == {
        10: "InternalError",
        20: "NotFound",
        21: "NotUnique",
        22: "InvalidData",
        23: "InsufficientScopes",
        24: "TenantRequired",
        25: "TenantNotFound",
        26: "Unauthorized",
        27: "InvalidOperation",
        31: "NotUniqueName",
    }


def test_every_refusal_of_the_plane_says_what_a_caller_can_do_about_it() -> None:
    undescribed = [kind.__name__ for kind in vars(errors).values() if _is_refusal(kind) and not kind.__doc__]

    assert undescribed == []


def _is_refusal(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, CompassError)


def test_of_errors_that_are_not_ours_only_the_class_is_shown() -> None:
    assert presentable(NotFound(object="runtime")) == "Object not found [object=runtime]"
    assert presentable(ValueError("hunter2")) == "ValueError"
