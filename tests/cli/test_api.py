"""`compass api` against a real plane."""

from pathlib import Path

import pytest

from tests.cli.conftest import Cli

pytestmark = pytest.mark.usefixtures("tenant")

SPEC = """\
openapi: 3.0.0
info: {title: o, version: '1'}
paths:
  /orders: {get: {}, post: {}}
  /orders/{id}: {get: {}}
"""


def test_an_api_is_added_changed_compared_and_deleted(cli: Cli, home: Path) -> None:
    cli("app", "create", "shop")
    cli("bundle", "create", "all", "--app", "shop")
    (home / "openapi.yaml").write_text(SPEC)
    url = ("--url", "https://shop.example/orders")

    alone = cli("api", "add", "orders", "--app", "shop", *url, "--spec", "openapi.yaml", "--version", "1.0.0")
    assert alone.err == "✓ API orders added (3 operations)\n"
    inside = cli("api", "add", "prices", "--app", "shop", *url, "--bundle", "all", "-o", "json").json
    assert cli("api", "list", "shop", "-o", "name").out.split() == ["orders", "prices"]
    assert cli("api", "get", "orders", "--app", "shop", "--spec").out == SPEC

    for name in ("orders", "prices"):
        assert cli("api", "update", name, "--app", "shop", "--description", "all of them").code == 0
    row = cli("api", "get", "orders", "--app", "shop", "-o", "json").json
    assert (row["description"], row["version"]["value"], row["spec"]["data"]) == ("all of them", "1.0.0", SPEC)

    (home / "new.yaml").write_text(SPEC.replace("post: {}", "put: {}"))
    assert cli("api", "diff", "orders", "--app", "shop", "--spec", "openapi.yaml").code == 0
    differs = cli("api", "diff", "orders", "--app", "shop", "--spec", "new.yaml")
    assert (differs.code, differs.out.splitlines()[-2]) == (5, "+  /orders: {get: {}, put: {}}")

    assert cli("api", "delete", inside["id"], "--app", "shop", "--yes").code == 0
    assert cli("api", "list", "shop", "-o", "name").out.split() == ["orders"]
    assert cli("api", "get", "prices", "--app", "shop").code == 4


def test_a_specification_that_cannot_be_read_is_refused_with_its_line_and_nothing_is_added(
    cli: Cli, home: Path
) -> None:
    cli("app", "create", "shop")
    (home / "openapi.yaml").write_text("openapi: 3.0.0\npaths:\n  - [\n")

    ended = cli("api", "add", "orders", "--app", "shop", "--url", "https://a.example", "--spec", "openapi.yaml")

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: openapi.yaml:4:1: ")
    assert cli("api", "list", "shop", "-o", "json").json == []


def test_a_specification_that_cannot_be_fetched_is_a_failure_that_leaves_the_api(cli: Cli) -> None:
    cli("app", "create", "shop")

    ended = cli("api", "add", "o", "--app", "shop", "--url", "https://a.example", "--spec-url", "https://127.0.0.1:1/o")

    assert ended.code == 1
    assert "https://127.0.0.1:1/o could not be fetched" in ended.err
    assert cli("api", "list", "shop", "-o", "jsonpath=[*].spec.fetchRequest.status.condition").out == "FAILED\n"
    assert cli("api", "refetch", "o", "--app", "shop").code == 1
