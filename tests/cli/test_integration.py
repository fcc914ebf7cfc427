"""`compass integration` against a real plane."""

import uuid

import pytest

from tests.cli.conftest import Cli


@pytest.mark.usefixtures("tenant")
def test_a_system_gets_credentials_that_are_shown_once(cli: Cli) -> None:
    name = f"s{uuid.uuid4().hex[:10]}"
    identity = cli("integration", "create", name, "--description", "old").out.strip()

    made = cli("integration", "credentials", name, "-o", "json").json
    assert cli("integration", "edit", name, "--description", "new").code == 0

    shown = cli("integration", "get", identity, "-o", "json")
    assert shown.json["description"] == "new"
    assert [auth["id"] for auth in shown.json["auths"]] == [made["id"]]
    assert made["clientSecret"]
    assert made["clientSecret"] not in shown.out
    assert name in cli("integration", "list", "-o", "name").out.split()
    assert cli("integration", "delete", name, "--yes").code == 0
    assert cli("integration", "get", name).code == 4
