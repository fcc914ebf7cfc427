"""`compass server support-bundle`: one JSON document on stdout, without secrets."""

import pytest

from compass.cli.version import VERSION
from tests.cli.conftest import Cli


@pytest.mark.usefixtures("tenant")
def test_how_the_plane_is_is_printed_without_secrets(cli: Cli) -> None:
    answer = cli("server", "support-bundle")

    assert answer.json["madeWith"]["compass"] == VERSION
    assert answer.json["system"]["version"] == VERSION
    assert "audit:read" in answer.json["asked"]["scopes"]
    settings = {one["key"]: one["value"] for one in answer.json["system"]["settings"]}
    assert settings["database.dsn"] == "(redacted)"
    assert answer.json["givenUp"]["total"] >= 0
    assert "read it before you pass it on" in answer.err
