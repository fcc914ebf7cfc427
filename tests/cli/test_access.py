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
    refused = cli("access", "reject", asked[1][-12:], "--reason", "NotContracted")

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


@pytest.mark.usefixtures("tenant")
def test_credentials_that_were_given_are_replaced(cli: Cli, home: Path) -> None:
    cli("app", "create", "shop")
    bundle = cli("bundle", "create", "orders", "--app", "shop").out.strip()
    asked = cli("graphql", "-q", REQUEST, "--var", f"bundle={bundle}").json["requestBundleInstanceAuthCreation"]["id"]
    for name, password in (("old", "geheim"), ("new", "geheimer")):
        (home / f"{name}.yaml").write_text(f"credential: {{basic: {{username: u, password: {password}}}}}\n")

    early = cli("access", "rotate", asked, "-f", "new.yaml")
    cli("access", "approve", asked, "-f", "old.yaml")
    rehearsed = cli("access", "rotate", asked, "-f", "new.yaml", "--dry-run")
    assert password_of(cli, asked) == "geheim"
    rotated = cli("access", "rotate", asked[-12:], "-f", "new.yaml")

    assert (early.code, "there is nothing to replace: the request is pending" in early.err) == (1, True)
    assert (rehearsed.code, rotated.code) == (0, 0)
    assert "geheim" not in rehearsed.err + rotated.out + rotated.err
    assert password_of(cli, asked) == "geheimer"
    [row] = cli("access", "list", "-o", "json").json
    assert (row["application"], row["bundle"], row["status"]["condition"]) == ("shop", "orders", "SUCCEEDED")


def password_of(cli: Cli, request: str) -> str:
    text = """query ($id: ID!) {
      bundleInstanceAuth(id: $id) { auth { credential { ... on BasicCredentialData { password } } } }
    }"""
    found = cli("graphql", "-q", text, "--var", f"id={request}").json["bundleInstanceAuth"]
    return str(found["auth"]["credential"]["password"])


@pytest.mark.usefixtures("tenant")
def test_input_that_does_not_fit_any_more_is_named_in_the_list(cli: Cli, home: Path) -> None:
    cli("app", "create", "shop")
    bundle = cli("bundle", "create", "orders", "--app", "shop").out.strip()
    cli("graphql", "-q", REQUEST, "--var", f"bundle={bundle}")
    update = """mutation ($bundle: ID!) { updateBundle(id: $bundle, in: {
      name: "orders", instanceAuthRequestInputSchema: "{\\"required\\": [\\"plan\\"]}"
    }) { id } }"""
    cli("graphql", "-q", update, "--var", f"bundle={bundle}")

    assert "no input parameters were given" in cli("access", "list", "-o", "wide").out
