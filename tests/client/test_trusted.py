import json

import pytest

from compass.client.trusted import Trusted

TOLD = {"version": "1", "roots": "PEM of roots", "issuing": "PEM of others"}


def test_what_a_plane_publishes_is_read() -> None:
    assert Trusted.of(json.dumps(TOLD).encode()) == Trusted("1", "PEM of roots", "PEM of others")


@pytest.mark.parametrize("name", TOLD)
@pytest.mark.parametrize("value", [None, 7, "", "é", ["x"]])
def test_what_names_no_authorities_is_refused(name: str, value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        Trusted.of(json.dumps({**TOLD, name: value}).encode())


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b"null"])
def test_another_answer_is_refused(body: bytes) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        Trusted.of(body)
