"""`compass template` against a real plane. Templates belong to no tenant, so each test has names of its own."""

from pathlib import Path

from tests.cli.conftest import Cli


def test_a_template_is_added_replaced_and_deleted(cli: Cli, tenant: str, home: Path) -> None:
    name = f"form-{tenant}"
    (home / "t.yaml").write_text(
        f"name: {name}\napplicationInput: {{name: '{{{{n}}}}'}}\nplaceholders: [{{name: n}}]\n"
    )
    identity = cli("template", "create", "-f", "t.yaml").out.strip()
    (home / "t.yaml").write_text((home / "t.yaml").read_text() + "description: newer\n")

    assert cli("template", "edit", name, "-f", "t.yaml").code == 0

    shown = cli("template", "get", identity, "-o", "json").json
    assert (shown["name"], shown["description"], shown["placeholders"][0]["name"]) == (name, "newer", "n")
    assert name in cli("template", "list", "-o", "name").out.splitlines()
    assert cli("template", "delete", name, "--yes").code == 0
    assert cli("template", "get", name).code == 4


def test_a_file_that_is_no_object_is_a_usage_error(cli: Cli, tenant: str, home: Path) -> None:
    (home / "t.yaml").write_text("- a\n")

    assert cli("template", "create", "-f", "t.yaml").code == 2
    assert cli("template", "create", "-f", "nowhere.yaml").code == 1
