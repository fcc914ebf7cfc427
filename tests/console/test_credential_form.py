"""Credentials that are typed into a form."""

from typing import Any, cast

import pytest

from compass.console.credential_form import faults, typed
from compass.console.http import Request
from compass.console.visit import Visit


def visit(**form: str) -> Visit:
    """A visit that sent these fields; the form looks at nothing else."""
    unseen = cast("Any", None)
    request = Request("POST", "/", {}, "", {}, form)
    return Visit(request, unseen, unseen, unseen, {}, 0.0)


def test_a_password_is_taken_as_it_was_typed() -> None:
    given = visit(signs_in="basic", username=" ann ", password=" p ", clientId="not meant")

    assert typed(given) == {"credential": {"basic": {"username": "ann", "password": " p "}}}
    assert faults(given) == {}


@pytest.mark.parametrize("kind", ["", "keep", "made-up"])
def test_no_kind_is_no_credential(kind: str) -> None:
    given = visit(signs_in=kind, username="ann", password="p")

    assert (typed(given), faults(given)) == (None, {})


@pytest.mark.parametrize(
    ("form", "wrong"),
    [
        ({"signs_in": "basic"}, ["username", "password"]),
        ({"signs_in": "oauth"}, ["clientId", "clientSecret", "tokenURL"]),
        ({"signs_in": "oauth", "clientId": "c", "clientSecret": "s", "tokenURL": "no address"}, ["tokenURL"]),
        ({"signs_in": "oauth", "clientId": "c", "clientSecret": "s", "tokenURL": "https://[a"}, ["tokenURL"]),
        ({"signs_in": "oauth", "clientId": "c", "clientSecret": "s", "tokenURL": "ftp://a.example"}, ["tokenURL"]),
        ({"signs_in": "oauth", "clientId": "c", "clientSecret": "s", "tokenURL": "https://a.example"}, []),
    ],
)
def test_what_could_not_be_used_is_told_field_by_field(form: dict[str, str], wrong: list[str]) -> None:
    assert list(faults(visit(**form))) == wrong
