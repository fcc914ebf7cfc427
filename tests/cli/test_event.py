"""`compass event` against a real plane."""

from pathlib import Path

import pytest

from tests.cli.conftest import Cli


@pytest.mark.usefixtures("tenant")
def test_an_event_definition_is_added_changed_and_deleted(cli: Cli, home: Path) -> None:
    cli("app", "create", "shop")
    (home / "asyncapi.json").write_text('{"asyncapi": "2.0.0", "channels": {"a": {}, "b": {}}}')

    added = cli("event", "add", "orders", "--app", "shop", "--spec", "asyncapi.json", "--group", "sales")
    assert added.err == "✓ event definition orders added (2 channels)\n"

    assert cli("event", "update", "orders", "--app", "shop", "--version", "1.2.3").code == 0
    row = cli("event", "get", "orders", "--app", "shop", "-o", "json").json
    assert (row["group"], row["version"]["value"], row["spec"]["type"]) == ("sales", "1.2.3", "ASYNC_API")
    assert "TARGET" not in cli("event", "list", "shop").out

    assert cli("event", "delete", "orders", "--app", "shop", "--yes").code == 0
    assert cli("event", "list", "shop", "-o", "json").json == []
