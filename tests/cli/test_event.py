"""`compass event` against a real plane."""

from pathlib import Path

import pytest

from tests.cli.conftest import Cli


@pytest.mark.usefixtures("tenant")
def test_an_event_definition_is_added_changed_and_deleted(cli: Cli, home: Path) -> None:
    cli("app", "create", "shop")
    (home / "asyncapi.json").write_text('{"asyncapi": "2.0.0", "channels": {"a": {}, "b": {}}}')

    added = cli("event", "add", "orders", "--app", "shop", "--spec", "asyncapi.json", "--group", "sales")
    assert (
        added.err.splitlines()[0]
        == "✓ event definition orders added (2 channels, 1 to look at: compass event validate asyncapi.json)"
    )

    assert cli("event", "update", "orders", "--app", "shop", "--version", "1.2.3").code == 0
    row = cli("event", "get", "orders", "--app", "shop", "-o", "json").json
    assert (row["group"], row["version"]["value"], row["spec"]["type"]) == ("sales", "1.2.3", "ASYNC_API")
    assert "TARGET" not in cli("event", "list", "shop").out

    (home / "less.json").write_text('{"asyncapi": "2.0.0", "channels": {"a": {}}}')
    differs = cli("event", "diff", "orders", "--app", "shop", "--spec", "less.json")
    assert (differs.code, differs.out) == (5, "! breaking: removed channel b\n")
    assert cli("event", "update", "orders", "--app", "shop", "--spec", "less.json").code == 2
    assert cli("event", "update", "orders", "--app", "shop", "--spec", "less.json", "--yes").code == 0
    assert cli("event", "revisions", "orders", "--app", "shop", "-o", "name").out == "2\n1\n"
    assert cli("event", "render", "orders", "--app", "shop").out.splitlines()[1] == "AsyncAPI 2.0.0, 1 channel"
    assert cli("event", "validate", "less.json").out == "less.json:1: error: info is missing\n"

    assert cli("event", "delete", "orders", "--app", "shop", "--yes").code == 0
    assert cli("event", "list", "shop", "-o", "json").json == []


@pytest.mark.usefixtures("tenant")
@pytest.mark.parametrize(
    ("noun", "spec", "why", "hint"),
    [
        ("event", "openapi: 3.1.0", "is OpenAPI 3.1.0, which describes no event definition", "compass api takes it"),
        ("api", "asyncapi: 2.6.0", "is AsyncAPI 2.6.0, which describes no API", "compass event takes it"),
    ],
)
def test_a_specification_of_the_other_kind_is_refused_with_the_command_that_takes_it(
    noun: str, spec: str, why: str, hint: str, cli: Cli, home: Path
) -> None:
    cli("app", "create", "shop")
    (home / "spec.yaml").write_text(f"{spec}\ninfo: {{title: t, version: '1'}}\npaths: {{}}\nchannels: {{}}\n")

    url = ["--url", "https://shop.test"] if noun == "api" else []
    ended = cli(noun, "add", "orders", "--app", "shop", *url, "--spec", "spec.yaml")

    assert (ended.code, ended.out, ended.err) == (2, "", f"error: spec.yaml {why}\nhint: {hint}\n")
    assert cli(noun, "list", "shop", "-o", "json").json == []
