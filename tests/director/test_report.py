"""How reports are read, and which of them are the same. That each counts once: see the tests of the two status APIs."""

import pytest

from compass.director.report import fields, text
from compass.errors import InvalidData

KNOWN = frozenset({"state", "error"})


def test_the_fields_of_a_report_are_those_of_one_object() -> None:
    assert fields(b'{"state": "READY", "error": null}', KNOWN) == {"state": "READY", "error": None}
    assert fields(b"{}", KNOWN) == {}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body is not JSON"),
        (b'{"state": READY}', "the body is not JSON"),
        (b"[]", "the body must be one JSON object"),
        (b'"READY"', "the body must be one JSON object"),
        (b'{"state": "READY", "b": 1, "a": 1}', "the body has the unknown field 'a'"),
        (b'{"' + b"x" * 1000 + b'": 1}', f"the body has the unknown field '{'x' * 100}'"),
    ],
)
def test_anything_else_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidData, match=f".*{reason}.*"):
        fields(body, KNOWN)


def test_an_empty_text_and_none_are_nothing_said() -> None:
    assert [text(given, "state") for given in ({"state": "READY"}, {"state": ""}, {"state": None}, {})] == [
        "READY",
        None,
        None,
        None,
    ]
    with pytest.raises(InvalidData, match="state must be a text"):
        text({"state": 1}, "state")
