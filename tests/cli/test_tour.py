"""`compass tour`: the steps tick themselves, and each names a command that there is."""

import json
import shlex

import pytest

from compass.cli.main import app
from tests.cli.conftest import Cli

CONNECTED = "mutation ($id: ID!) { updateApplication(id: $id, in: {statusCondition: CONNECTED}) { id } }"


def commands(cli: Cli) -> list[str]:
    """Of the steps that are not taken."""
    return [one["command"] for one in json.loads(cli("tour", "-o", "json").out) if not one["done"]]


@pytest.mark.usefixtures("tenant")
def test_each_step_ticks_when_it_is_taken(cli: Cli) -> None:
    fresh = cli("tour")
    assert fresh.code == 3
    assert fresh.out.splitlines()[0] == ("→ 1  register an application  compass app create shop-crm --group retail")
    assert len(commands(cli)) == 5

    identity = cli("app", "create", "my-shop", "--group", "field").out.strip()
    assert commands(cli) == [
        "compass app connect my-shop --wait",
        "compass api add orders --app my-shop --spec FILE --url https://…",
        "compass runtime provision edge-01 --group field --wait",
        "compass group add field --app my-shop",
    ]
    cli("graphql", "-q", CONNECTED, "--var", f"id={identity}")
    cli("api", "add", "orders", "--app", "my-shop", "--url", "https://shop.example")
    cli("runtime", "register", "edge")
    assert commands(cli) == ["compass group add field --runtime edge"]
    cli("group", "add", "field", "--runtime", "edge")

    over = cli("tour")
    assert over.code == 0
    assert "All steps are taken" in over.out
    assert cli("tour", "--watch").code == 0


@pytest.mark.usefixtures("tenant")
def test_every_command_is_one_of_the_command_line(cli: Cli) -> None:
    for command in commands(cli):
        app.parse_args(shlex.split(command)[1:], print_error=False, exit_on_error=False)
