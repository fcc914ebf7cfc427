"""What an application offers as files: read, compared, made, exported, against a real plane."""

from pathlib import Path

import pytest

from tests.cli.conftest import Cli

pytestmark = pytest.mark.usefixtures("tenant")

FILE = """\
kind: Application
name: crm
bundles:
  - name: orders
    description: Sales orders
    apis:
      - name: orders-v1
        targetURL: https://shop.example/orders
        version: 1.2.0
        group: sales
        spec: openapi.yaml
    events:
      - name: order-events
        spec: {type: ASYNC_API, format: JSON, data: '{"asyncapi": "2.0.0"}'}
  - name: spare
apis:
  - name: ping
    targetURL: https://shop.example/ping
"""
OPEN_API = "openapi: 3.1.0\ninfo:\n  title: Orders\n  version: '1'\npaths: {}\n"
MADE = [
    "+ application crm",
    "+ application crm: API ping",
    "+ application crm: bundle orders",
    "+ application crm: API orders-v1 in bundle orders",
    "+ application crm: event definition order-events in bundle orders",
    "+ application crm: bundle spare",
]


@pytest.fixture
def file(home: Path) -> Path:
    (home / "files").mkdir()
    (home / "files/openapi.yaml").write_text(OPEN_API)
    (home / "files/crm.yaml").write_text(FILE)
    return home / "files/crm.yaml"


def test_what_a_file_offers_is_made_once_and_read_back_as_it_was_written(cli: Cli, file: Path, home: Path) -> None:
    applied = cli("apply", "-f", "files")
    assert (applied.code, applied.out.splitlines()) == (0, MADE)
    again = cli("apply", "-f", "files")
    assert (again.code, again.out) == (0, "")

    assert cli("api", "list", "crm", "-o", "name").out.split() == ["orders-v1", "ping"]
    row = cli("api", "get", "orders-v1", "--app", "crm", "-o", "json").json
    assert (row["targetURL"], row["group"], row["version"]["value"]) == (
        "https://shop.example/orders",
        "sales",
        "1.2.0",
    )

    (home / "copy.yaml").write_text(cli("export", "application").out)
    assert (cli("diff", "-f", "copy.yaml").code, cli("diff", "-f", "copy.yaml").out) == (0, "")
    assert "data: |\n" in (home / "copy.yaml").read_text()


def test_an_export_makes_the_same_landscape_elsewhere(cli: Cli, file: Path, home: Path) -> None:
    """Exported, taken away and applied again: nothing differs."""
    cli("apply", "-f", "files")
    (home / "copy.yaml").write_text(cli("export").out)
    assert cli("app", "delete", "crm", "--yes").code == 0

    applied = cli("apply", "-f", "copy.yaml")

    assert applied.code == 0, applied.err
    assert cli("diff", "-f", "copy.yaml").code == 0
    assert cli("diff", "-f", "files").code == 0
    assert cli("export").out == (home / "copy.yaml").read_text()


def test_each_difference_is_one_step_and_a_specification_that_is_the_same_is_kept(cli: Cli, file: Path) -> None:
    cli("apply", "-f", "files")
    before = cli("api", "get", "orders-v1", "--app", "crm", "-o", "json").json["spec"]["id"]
    changed = FILE.replace("Sales orders", "Orders").replace("1.2.0", "1.3.0").replace('asyncapi": "2', 'asyncapi": "3')
    file.write_text(changed.replace("  - name: spare\n", "").replace("name: ping", "name: pong"))

    differs = cli("diff", "-f", "files")

    assert (differs.code, differs.out.splitlines()) == (
        5,
        [
            "+ application crm: API pong",
            "- application crm: API ping",
            '~ application crm: bundle orders: description "Sales orders" → "Orders" (owned by local)',
            '~ application crm: API orders-v1 in bundle orders: version "1.2.0" → "1.3.0" (owned by local)',
            "~ application crm: event definition order-events in bundle orders: specification changed (owned by local)",
            "- application crm: bundle spare, with what is in it",
        ],
    )
    assert cli("apply", "-f", "files").code == 2  # it removes something, and nobody can be asked
    assert cli("diff", "-f", "files").out == differs.out
    assert cli("apply", "-f", "files", "--yes").code == 0
    assert cli("diff", "-f", "files").code == 0
    row = cli("api", "get", "orders-v1", "--app", "crm", "-o", "json").json
    assert (row["spec"]["id"], row["version"]["value"], row["group"]) == (before, "1.3.0", "sales")


def test_what_is_not_mentioned_stays(cli: Cli, file: Path) -> None:
    cli("apply", "-f", "files")
    other = ("-f", "files/crm.yaml", "--field-manager", "other")
    file.write_text("kind: Application\nname: crm\nbundles: [{name: orders}, {name: spare}]\n")
    assert cli("diff", *other).code == 0

    file.write_text("kind: Application\nname: crm\ndescription: Customers\n")
    assert cli("apply", *other).out.splitlines() == ['~ application crm: description (none) → "Customers"']
    assert cli("api", "list", "crm", "-o", "name").out.split() == ["orders-v1", "ping"]


def test_a_bundle_with_credentials_of_its_own_is_not_changed_at_their_cost(cli: Cli, home: Path) -> None:
    application = cli("app", "create", "crm").out.strip()
    document = """mutation ($app: ID!) { addBundle(applicationID: $app, in: {name: "orders", defaultInstanceAuth:
        {credential: {basic: {username: "u", password: "p"}}}}) { id } }"""
    assert cli("graphql", "-q", document, "--var", f"app={application}").code == 0
    (home / "f.yaml").write_text("kind: Application\nname: crm\nbundles: [{name: orders, description: d}]\n")

    refused = cli("apply", "-f", "f.yaml")

    assert refused.code == 1
    assert "error: bundle orders has credentials of its own, which a change would take away" in refused.err
    assert cli("bundle", "get", "orders", "--app", "crm", "-o", "json").json["description"] is None


@pytest.mark.parametrize(
    ("says", "message"),
    [
        ("apis: [x]", "an entry of `apis` is an object with a `name`"),
        ("apis: [{name: a}]", "API 'a' has no `targetURL`, where it is called"),
        ("apis: [{name: a, targetURL: u, sepc: x}]", "'a' in `apis` has no 'sepc'; did you mean spec?"),
        ("events: [{name: a, targetURL: u}]", "'a' in `events` has no 'targetURL'"),
        ("events: [{name: a}, {name: a}]", "'a' is twice in `events`"),
        ("bundles: [{name: b, apis: {}}]", "`apis` of 'b' is no list"),
        ("bundles: [{name: b, events: [{name: a}, {name: a}]}]", "'a' is twice in `events`"),
        ("events: [{name: a, spec: 5}]", "`spec` is the name of a file, or an object with `url` or `data`"),
        ("events: [{name: a, spec: none.yaml}]", "none.yaml cannot be read"),
        ("bundles: {}", "'bundles' is no list"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_before_anything_is_changed(
    says: str, message: str, cli: Cli, home: Path
) -> None:
    (home / "f.yaml").write_text(f"kind: Group\nname: g\n---\nkind: Application\nname: crm\n{says}\n")

    refused = cli("apply", "-f", "f.yaml")

    assert message in refused.err
    assert refused.code in {1, 2}
    assert cli("group", "list", "-o", "json").json == []
