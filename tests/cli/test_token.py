"""`compass token` against a real plane."""

import pytest

from compass.cli.token import state
from tests.cli.conftest import Cli


@pytest.mark.usefixtures("tenant")
def test_a_token_is_printed_alone_listed_without_itself_and_revoked(cli: Cli) -> None:
    cli("app", "create", "crm")
    cli("runtime", "register", "edge")
    token = cli("token", "create", "--app", "crm").out
    cli("token", "create", "--runtime", "edge")
    assert len(token.splitlines()) == 1

    listed = cli("token", "list", "-o", "json")
    assert token.strip() not in listed.out
    assert [(row["of"], state(row)) for row in listed.json] == [
        ("application crm", "open"),
        ("runtime edge", "not connected"),
    ]
    assert len(cli("token", "list", "--runtime", "edge", "-o", "json").json) == 1

    for row in listed.json:
        assert cli("token", "revoke", row["id"][-12:], "--yes").code == 0
    assert cli("token", "list", "-o", "json").json == []
    assert cli("token", "revoke", "0000").code == 4
    assert cli("token", "create").code == 2


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ({"certCommonName": "x", "oneTimeToken": None, "credential": None}, "connected"),
        ({"certCommonName": "", "oneTimeToken": {"used": True}, "credential": None}, "used"),
        ({"certCommonName": "", "oneTimeToken": None, "credential": {"__typename": "OAuth"}}, "secret"),
    ],
)
def test_each_state_has_its_word(auth: dict[str, object], expected: str) -> None:
    assert state({"auth": auth}) == expected
