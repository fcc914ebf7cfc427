"""`compass access` against a real plane."""

from pathlib import Path

import pytest

from tests.cli.conftest import Cli

REQUEST = """
mutation ($bundle: ID!) { requestBundleInstanceAuthCreation(bundleID: $bundle, in: {context: "{}"}) { id } }
"""


@pytest.mark.usefixtures("tenant")
def test_requests_are_listed_given_refused_and_taken_away(cli: Cli, home: Path) -> None:
    cli("app", "create", "shop")
    bundle = cli("bundle", "create", "orders", "--app", "shop").out.strip()
    asked = [
        cli("graphql", "-q", REQUEST, "--var", f"bundle={bundle}").json["requestBundleInstanceAuthCreation"]["id"]
        for _ in range(2)
    ]
    (home / "auth.yaml").write_text("credential: {basic: {username: u, password: geheim}}\n")

    assert {row["id"] for row in cli("access", "list", "--pending", "-o", "json").json} == set(asked)
    given = cli("access", "approve", asked[0], "-f", "auth.yaml")
    refused = cli("access", "reject", asked[1][:13], "--reason", "NotContracted")

    assert (given.code, refused.code) == (0, 0)
    assert "geheim" not in given.out + given.err
    states = {
        row["id"]: row["status"]["condition"] for row in cli("access", "list", "--app", "shop", "-o", "json").json
    }
    assert states == {asked[0]: "SUCCEEDED", asked[1]: "FAILED"}
    assert cli("access", "list", "--pending", "-o", "json").json == []
    assert cli("access", "approve", asked[0], "-f", "auth.yaml").code == 1  # it was answered already

    assert cli("access", "revoke", asked[0], "--yes").code == 0
    assert [row["id"] for row in cli("access", "list", "-o", "json").json] == [asked[1]]
