"""`compass key` against a real plane: credentials that work, once shown, and end."""

import uuid
from hashlib import sha256

import pytest

from compass.cli.context import chosen
from compass.cli.failures import CommandFailed
from compass.cli.sign_in import bearer, trust_of
from tests.cli.conftest import Cli

pytestmark = pytest.mark.usefixtures("tenant")


def lets_in(made: dict[str, str]) -> bool:
    """Whether the plane gives an access token for it."""
    here = chosen()
    try:
        return bool(bearer(here.url, trust_of(here), client_id=made["clientId"], secret=made["clientSecret"]))
    except CommandFailed:
        return False


@pytest.mark.parametrize("kind", ["app", "runtime", "integration"])
def test_credentials_are_shown_once_let_in_are_rotated_and_end(kind: str, cli: Cli) -> None:
    name = f"owner-{sha256(uuid.uuid4().bytes).hexdigest()[:12]}"  # integration systems belong to no tenant
    cli(kind, "register" if kind == "runtime" else "create", name)

    made = cli("key", "create", f"--{kind}", name, "-o", "json").json

    assert lets_in(made)
    listed = cli("key", "list", f"--{kind}", name, "-o", "json")
    assert [row["id"] for row in listed.json] == [made["clientId"]]
    assert made["clientSecret"] not in listed.out

    refused = cli("key", "rotate", made["clientId"][-12:])
    assert refused.code == 2  # nobody can be asked
    assert lets_in(made)

    rotated = cli("key", "rotate", made["clientId"], "--yes", "-o", "json").json
    assert (lets_in(rotated), lets_in(made)) == (True, False)
    assert [row["id"] for row in cli("key", "list", f"--{kind}", name, "-o", "json").json] == [rotated["clientId"]]

    assert cli("key", "delete", rotated["clientId"], "--yes").code == 0
    assert not lets_in(rotated)
    assert cli("key", "list", f"--{kind}", name, "-o", "json").json == []


def test_a_rehearsal_makes_and_ends_nothing(cli: Cli) -> None:
    cli("app", "create", "crm")
    said = cli("key", "create", "--app", "crm", "--dry-run")
    assert (said.code, said.out) == (0, "")
    assert cli("key", "list", "--app", "crm", "-o", "json").json == []

    made = cli("key", "create", "--app", "crm", "-o", "json").json
    assert cli("key", "rotate", made["clientId"], "--dry-run").err.startswith("would send RequestCredentials")
    assert cli("key", "delete", made["clientId"], "--dry-run").err.startswith("would send DeleteApplicationAuth")
    assert lets_in(made)


def test_certificates_and_tokens_are_no_keys(cli: Cli) -> None:
    cli("app", "create", "crm")
    cli("token", "create", "--app", "crm")

    assert cli("key", "list", "--app", "crm", "-o", "json").json == []


def test_one_owner_and_one_client_are_named(cli: Cli) -> None:
    assert cli("key", "create").code == 2
    assert cli("key", "create", "--app", "a", "--runtime", "b").code == 2
    assert cli("key", "list", "--app", "a", "--integration", "b").code == 2
    assert cli("key", "create", "--app", "nobody").code == 4
    assert cli("key", "delete", "0000", "--yes").code == 4
