"""Inputs: dataclasses made of GraphQL values, and the contract's wording of what is wrong."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import pytest

from compass.errors import InvalidInput
from compass.inputs import (
    PRINTABLE,
    Length,
    Matches,
    OneOfValues,
    input_from,
    json_text,
    label_keys,
    snake,
    web_address,
    wire_names,
)


class Colour(StrEnum):
    RED = "RED"


@dataclass(frozen=True)
class Part:
    name: Annotated[str, Length(1, 5)]
    size: int | None = None


@dataclass(frozen=True)
class Whole:
    title: Annotated[str, Length(1, 5), Matches("[a-z]+")]
    part: Part | None = None
    parts: tuple[Part, ...] | None = None
    colour: Colour | None = None
    texts: tuple[str, ...] | None = None
    correlation_ids: tuple[str, ...] | None = None
    labels: Annotated[dict[str, Any] | None, label_keys] = None

    def problems(self) -> dict[str, str]:
        return {"title": "must not be forty"} if self.title == "forty" else {}


def made(**given: Any) -> Any:
    return input_from(Whole, "WholeInput", given)


def problems(**given: Any) -> dict[str, str]:
    with pytest.raises(InvalidInput) as refused:
        made(**given)
    return {key: value for key, value in refused.value.facts.items() if key != "input_type"}


def test_a_value_becomes_its_dataclass_with_what_is_in_it() -> None:
    assert made(
        title="abc", part={"name": "p"}, parts=[{"name": "a", "size": 1}, {"name": "b"}], colour="RED", texts=["x"],
        correlationIDs=["1"], labels={"k": 1},
    ) == Whole("abc", Part("p"), (Part("a", 1), Part("b")), Colour.RED, ("x",), ("1",), {"k": 1})  # fmt: skip


def test_null_is_the_same_as_absent() -> None:
    assert made(title="abc", part=None, parts=None, colour=None, labels=None) == Whole("abc")


def test_every_problem_is_told_at_its_place() -> None:
    assert problems(
        title="ABC", part={"name": ""}, parts=[{"name": "fine"}, {"name": "too long"}], labels={"a b": 1}
    ) == {
        "title": "must be in a valid format",
        "part.name": "cannot be blank",
        "parts.1.name": "the length must be between 1 and 5",
        "labels": "label key 'a b' must be in a valid format",
    }


def test_the_refusal_is_worded_as_the_contract_has_it() -> None:
    with pytest.raises(InvalidInput, match=r"^Invalid data WholeInput \[title=cannot be blank\]$"):
        made(title="  ")


def test_a_rule_between_fields_is_asked_last() -> None:
    assert problems(title="forty") == {"title": "must not be forty"}


def test_lengths_are_of_characters() -> None:
    assert Length(1, 2)("é☃") is None
    assert Length(1, 2)("abc") == "the length must be between 1 and 2"
    assert Length(0, 2)("abc") == "the length must be no more than 2"
    assert Length(0, 2)("") is None
    assert Length(1, 2)("\t") == "cannot be blank"


@pytest.mark.parametrize("value", ["http://a", "https://a.example:8443/x?y=1", "https://[::1]/"])
def test_web_addresses(value: str) -> None:
    assert web_address(value) is None


@pytest.mark.parametrize(
    "value",
    ["", "a.example", "ftp://a", "http://", "http:///x", "http://a b", "http://[", "javascript:x", "http://a\n"],
)
def test_what_is_no_web_address(value: str) -> None:
    assert web_address(value) == "must be a valid URL"


def test_the_other_rules() -> None:
    assert OneOfValues(frozenset({1}))(2) == "must be a valid value"
    assert OneOfValues(frozenset({1}))(1) is None
    assert json_text('{"a": 1}') is None
    assert json_text("{") == "must be valid JSON"
    assert PRINTABLE("é") == "must be in a valid format"
    assert PRINTABLE("a b~") is None
    assert Matches("[a-z]+")("a\n") == "must be in a valid format"
    assert Matches("[a-z]+")("") is None
    assert label_keys({"a_1": None}) is None


@pytest.mark.parametrize(
    ("wire", "ours"),
    [
        ("name", "name"), ("healthCheckURL", "health_check_url"), ("correlationIDs", "correlation_ids"),
        ("integrationSystemID", "integration_system_id"), ("targetURL", "target_url"),
        ("certCommonName", "cert_common_name"),
        ("tokenEndpointURL", "token_endpoint_url"), ("leadingProductIDs", "leading_product_ids"),
        ("certificateOAuth", "certificate_oauth"), ("clientId", "client_id"), ("APIDefinition", "api_definition"),
    ],
)  # fmt: skip
def test_names_of_the_wire_and_ours(wire: str, ours: str) -> None:
    assert snake(wire) == ours


def test_the_names_of_an_input_are_its_fields() -> None:
    assert wire_names(Part) == {"name", "size"}
