"""`compass bundle` against a real plane."""

import pytest

from tests.cli.conftest import Cli


@pytest.mark.usefixtures("tenant")
def test_a_bundle_is_added_listed_and_deleted_with_what_is_in_it(cli: Cli) -> None:
    cli("app", "create", "shop")
    cli("bundle", "create", "orders", "--app", "shop", "--description", "all of it")
    cli("api", "add", "v1", "--app", "shop", "--bundle", "orders", "--url", "https://a.example")

    header, line = cli("bundle", "list", "shop").out.splitlines()
    assert header.split() == ["NAME", "APIS", "EVENTS", "DOCUMENTS", "ID"]
    assert line.split()[:4] == ["orders", "1", "0", "0"]
    assert cli("bundle", "get", "orders", "--app", "shop", "-o", "jsonpath=.description").out == "all of it\n"
    assert cli("bundle", "list", "00000000-0000-4000-8000-000000000000").code == 4

    assert cli("bundle", "delete", "orders", "--app", "shop").code == 2
    assert cli("bundle", "delete", "orders", "--app", "shop", "--yes").code == 0
    assert cli("api", "list", "shop", "-o", "json").json == []


@pytest.mark.usefixtures("tenant")
def test_a_described_bundle_keeps_its_schema_and_one_with_credentials_is_left_alone(cli: Cli) -> None:
    shop = cli("app", "create", "shop").out.strip()
    add = """mutation ($app: ID!, $name: String!, $auth: AuthInput) { addBundle(applicationID: $app, in: {name: $name,
        instanceAuthRequestInputSchema: "{\\"type\\": \\"object\\"}", defaultInstanceAuth: $auth}) { id } }"""
    auth = 'auth={"credential": {"basic": {"username": "u", "password": "p"}}}'
    assert cli("graphql", "-q", add, "--var", f"app={shop}", "--var", "name=open").code == 0
    assert cli("graphql", "-q", add, "--var", f"app={shop}", "--var", "name=guarded", "--var", auth).code == 0
    before = cli("bundle", "get", "open", "--app", "shop", "-o", "json").json

    assert cli("bundle", "edit", "open", "--app", "shop", "--description", "d").code == 0
    refused = cli("bundle", "edit", "guarded", "--app", "shop", "--description", "d")

    after = cli("bundle", "get", "open", "--app", "shop", "-o", "json").json
    assert after["description"] == "d"
    assert after["instanceAuthRequestInputSchema"] == before["instanceAuthRequestInputSchema"] != ""
    assert (refused.code, "credentials of its own" in refused.err) == (1, True)
    kept = cli("bundle", "get", "guarded", "--app", "shop", "-o", "json").json
    assert (kept["description"], kept["defaultInstanceAuth"]["credential"]["__typename"]) == (
        None,
        "BasicCredentialData",
    )
