"""`compass tenant` against a real plane."""

from tests.cli.conftest import Cli


def test_a_tenant_is_written_found_and_deleted_with_what_is_in_it(cli: Cli, tenant: str) -> None:
    other = f"{tenant}-b"
    internal = cli("tenant", "create", other, "--name", "Other", "--parent", tenant).out.strip()
    cli("app", "create", "theirs", "--tenant", other)

    (row,) = cli("tenant", "list", other, "-o", "json").json
    assert (row["id"], row["internalID"], row["name"], row["type"]) == (other, internal, "Other", "account")
    assert cli("app", "list", "-o", "name").out.split() == ["theirs"]  # a parent sees what its child has

    assert cli("tenant", "delete", other).code == 2
    assert cli("tenant", "delete", other, "--yes").code == 0

    assert cli("app", "list", "-o", "json").json == []
    ended = cli("tenant", "get", other)
    assert ended.code == 4


def test_a_misspelt_tenant_is_asked_about(cli: Cli, tenant: str) -> None:
    assert cli("tenant", "get", tenant[:-1]).err.splitlines()[1] == f"hint: did you mean {tenant}?"
