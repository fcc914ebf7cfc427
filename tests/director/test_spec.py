"""Specifications: which formats go with which types, and that there is one way to the data."""

from typing import Any

import pytest

from compass.director.spec import NewSpec
from compass.errors import InvalidInput
from compass.inputs import input_from
from tests.director import catalogue
from tests.director.catalogue import ADD_API

FITTING = {
    ("OPEN_API", "JSON"),
    ("OPEN_API", "YAML"),
    ("ODATA", "XML"),
    ("ODATA", "JSON"),
    ("ASYNC_API", "JSON"),
    ("ASYNC_API", "YAML"),
}


@pytest.mark.parametrize("kind", ["OPEN_API", "ODATA", "ASYNC_API"])
@pytest.mark.parametrize("form", ["JSON", "YAML", "XML"])
def test_a_format_fits_its_type_or_is_refused(kind: str, form: str) -> None:
    given = {"type": kind, "format": form, "data": "x"}
    if (kind, form) in FITTING:
        assert input_from(NewSpec, "APISpecInput", given) == NewSpec(kind, form, "x")
        return
    with pytest.raises(InvalidInput) as refused:
        input_from(NewSpec, "APISpecInput", given)
    assert refused.value.wire_text() == (
        f"Invalid data APISpecInput [Rule.MatchingTypeAndFormat={form} is not a valid spec format for spec type {kind}]"
    )


async def test_a_mismatch_is_refused_and_nothing_changes(director: Any) -> None:
    bundle = await catalogue.bundle(director, await catalogue.register(director))
    spec = {"type": "OPEN_API", "format": "XML", "data": "x"}

    error = await director.refusal(
        ADD_API, bundle=bundle, **{"in": {"name": "a", "targetURL": "http://a", "spec": spec}}
    )

    assert error["message"] == (
        "Invalid data APIDefinitionInput [spec.Rule.MatchingTypeAndFormat="
        "XML is not a valid spec format for spec type OPEN_API]"
    )


@pytest.mark.parametrize("given", [{}, {"data": "x", "fetchRequest": {"url": "http://127.0.0.1:1/"}}])
async def test_data_and_fetch_request_are_given_one_at_a_time(director: Any, given: dict[str, Any]) -> None:
    bundle = await catalogue.bundle(director, await catalogue.register(director))
    spec = {"type": "OPEN_API", "format": "JSON", **given}

    error = await director.refusal(
        ADD_API, bundle=bundle, **{"in": {"name": "a", "targetURL": "http://a", "spec": spec}}
    )

    assert error["message"] == (
        "Invalid data APIDefinitionInput "
        "[spec.Rule.DataOrFetchRequest=Only one of Data or Fetch Request must be passed]"
    )


def test_inline_data_has_a_limit_in_bytes() -> None:
    fits = {"type": "OPEN_API", "format": "JSON", "data": "é" * (5 * 1024 * 1024 // 2)}
    assert len(input_from(NewSpec, "APISpecInput", fits).data) == 5 * 1024 * 1024 // 2

    with pytest.raises(InvalidInput, match=r"\[data=must be no larger than 5242880 bytes\]"):
        input_from(NewSpec, "APISpecInput", {**fits, "data": fits["data"] + "x"})
