"""`compass api` against a real plane."""

import re
import time
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
    said = "✓ API orders added (3 operations, 4 to look at: compass api validate openapi.yaml)"
    assert alone.err.splitlines()[0] == said
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
    assert (differs.code, differs.out) == (5, "! breaking: removed POST /orders\n  added PUT /orders\n")
    as_text = cli("api", "diff", "orders", "--app", "shop", "--spec", "new.yaml", "--text")
    assert (as_text.code, as_text.out.splitlines()[-2]) == (5, "+  /orders: {get: {}, put: {}}")

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


def test_an_update_says_what_it_breaks_and_asks_before_it_does(cli: Cli, home: Path) -> None:
    cli("app", "create", "shop")
    (home / "openapi.yaml").write_text(SPEC)
    (home / "more.yaml").write_text(SPEC.replace("post: {}", "post: {}, put: {}"))
    (home / "less.yaml").write_text(SPEC.replace("  /orders/{id}: {get: {}}\n", ""))
    cli("api", "add", "orders", "--app", "shop", "--url", "https://shop.example", "--spec", "openapi.yaml")
    update = ("api", "update", "orders", "--app", "shop", "--spec")

    more = cli(*update, "more.yaml")
    assert (more.code, "  added PUT /orders\n" in more.err) == (0, True)
    refused = cli(*update, "less.yaml")
    assert refused.code == 2
    assert "! breaking: removed GET /orders/{id}\n" in refused.err
    assert "! breaking: removed PUT /orders\n" in refused.err
    assert "--yes does it without asking" in refused.err
    assert cli("api", "get", "orders", "--app", "shop", "--spec").out == (home / "more.yaml").read_text()
    rehearsed = cli(*update, "less.yaml", "--dry-run")
    assert (rehearsed.code, "! breaking: removed PUT /orders\n" in rehearsed.err) == (0, True)
    assert cli("api", "get", "orders", "--app", "shop", "--spec").out == (home / "more.yaml").read_text()
    (home / "note.txt").write_text("{}")
    unknown = cli(*update, "note.txt", "--dry-run")
    assert "nobody knows what that breaks" in unknown.err

    done = cli(*update, "less.yaml", "--yes")

    assert (done.code, done.err.splitlines()[-1].startswith("✓ API orders changed (2 operations")) == (0, True)
    kept = cli("api", "revisions", "orders", "--app", "shop", "-o", "json").json
    assert [(one["number"], one["size"]) for one in kept] == [
        (3, len((home / "less.yaml").read_text())),
        (2, len((home / "more.yaml").read_text())),
        (1, len(SPEC)),
    ]
    once = cli("api", "diff", "orders", "--app", "shop", "--revision", "1")
    assert (once.code, once.out) == (5, "! breaking: removed GET /orders/{id}\n")
    assert cli("api", "diff", "orders", "--app", "shop", "--revision", "2", "--spec", "more.yaml").code == 0
    assert cli("api", "diff", "orders", "--app", "shop", "--spec", "more.yaml", "--breaking").code == 0
    assert cli("api", "diff", "orders", "--app", "shop", "--revision", "9").code == 4
    assert cli("api", "diff", "orders", "--app", "shop").code == 2


def test_whoever_adds_an_api_is_told_which_runtimes_see_it(cli: Cli) -> None:
    cli("app", "create", "shop")
    for name in ("edge-01", "edge-02"):
        cli("runtime", "register", name)
    cli("group", "create", "retail")
    cli("group", "add", "retail", "--app", "shop", "--runtime", "edge-01")

    cli("bundle", "create", "all", "--app", "shop")

    beside = cli("api", "add", "inner", "--app", "shop", "--url", "https://shop.example")
    added = cli("api", "add", "orders", "--app", "shop", "--bundle", "all", "--url", "https://shop.example")

    assert "in no bundle, so agents of runtimes do not get it" in beside.err
    assert "visible to" not in beside.err
    *said, page = added.err.splitlines()
    assert said == ["✓ API orders added", "  visible to edge-01"]
    assert re.fullmatch(rf"→ https://localhost:\d+/console/applications/[0-9a-f-]{{36}}/apis/{added.out.strip()}", page)


def test_operations_are_found_in_the_landscape(cli: Cli, home: Path) -> None:
    cli("app", "create", "shop")
    (home / "openapi.yaml").write_text(SPEC)
    cli("api", "add", "orders", "--app", "shop", "--url", "https://shop.example", "--spec", "openapi.yaml")
    begun = time.monotonic()
    while cli("api", "search", "get", "orders/{id}", "-o", "name").out != "GET /orders/{id}\n":
        assert time.monotonic() - begun < 60
        time.sleep(0.2)

    [found] = cli("api", "search", "GET /orders/{id}", "-o", "json").json
    assert (found["definitionName"], found["applicationName"]) == ("orders", "shop")
    assert cli("api", "search", "no-such-thing", "-o", "json").json == []
    assert len(cli("api", "search", "-o", "json").json) == 3


def test_a_specification_is_shown_and_checked_without_a_plane_or_as_it_is_there(cli: Cli, home: Path) -> None:
    (home / "openapi.yaml").write_text(SPEC)

    local = cli("api", "render", "openapi.yaml", "--context", "none-such")
    assert (local.code, local.out.splitlines()[:2]) == (0, ["o 1", "OpenAPI 3.0.0, 3 operations"])
    wrong = cli("api", "validate", "openapi.yaml")
    assert wrong.code == 1
    assert wrong.out.splitlines() == [
        "openapi.yaml:4: error: GET /orders has no responses",
        "openapi.yaml:4: error: POST /orders has no responses",
        "openapi.yaml:5: error: GET /orders/{id} has no responses",
        "openapi.yaml:5: error: GET /orders/{id} does not describe its path parameter id",
    ]
    cli("app", "create", "shop")
    cli("api", "add", "orders", "--app", "shop", "--url", "https://shop.example", "--spec", "openapi.yaml")
    assert cli("api", "render", "orders", "--app", "shop").out == local.out
    assert cli("api", "validate", "orders", "--app", "shop").out == wrong.out.replace("openapi.yaml", "orders")
    assert cli("api", "render", "prices", "--app", "shop").code == 4
    assert cli("api", "render", "missing.yaml").code == 1
