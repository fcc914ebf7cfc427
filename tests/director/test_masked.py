"""Documents as people see them who need not know the secrets in them."""

import json
from typing import Any

import pytest

from compass.director.masked import without_secrets


@pytest.mark.parametrize(
    ("document", "shown"),
    [
        ({"name": "shop", "url": "https://a"}, {"name": "shop", "url": "https://a"}),
        ({"password": "p", "apiKey": 1}, {"password": "***", "apiKey": "***"}),
        ({"client_secret": "c"}, {"client_secret": "***"}),
        ({"tokenUrl": "u", "token": "t", "expires_in": 5}, {"tokenUrl": "u", "token": "***", "expires_in": 5}),
        (
            {"credentials": {"a": {"username": "u", "pwd": "p"}}},
            {"credentials": {"a": {"username": "u", "pwd": "***"}}},
        ),
        ({"secrets": ["a", {"value": 4711}]}, {"secrets": ["***", {"value": "***"}]}),
        ({"Password": "", "secret": None, "hasToken": True}, {"Password": "", "secret": None, "hasToken": True}),
        ([{"authorization": "Bearer x"}], [{"authorization": "***"}]),
        ({"text": "{not json"}, {"text": "{not json"}),
        ({"secret": "{not json"}, {"secret": "***"}),
        ("plain", "plain"),
    ],
)
def test_values_that_are_called_like_secrets_are_masked(document: Any, shown: Any) -> None:
    assert json.loads(without_secrets(json.dumps(document))) == shown


def test_a_document_inside_of_a_text_is_masked_too() -> None:
    inside = json.dumps({"credentials": {"password": "s3cr3t"}})

    shown = without_secrets(json.dumps({"configuration": inside}))

    assert "s3cr3t" not in shown
    assert json.loads(json.loads(shown)["configuration"]) == {"credentials": {"password": "***"}}


def test_what_is_no_json_is_masked_whole() -> None:
    assert [without_secrets(text) for text in ("password=1", " ", "")] == ["***", "", ""]


def test_what_is_nested_very_deeply_is_masked() -> None:
    text = "[" * 200 + '"s3cr3t"' + "]" * 200

    assert "s3cr3t" not in without_secrets(text)
    assert "s3cr3t" not in without_secrets(json.dumps({"a": text}))
