"""`compass events` against a real plane's change feed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.test_connect import ENVIRONMENT

PROGRAM = "from compass.cli.main import main; main()"


@pytest.mark.usefixtures("tenant")
def test_what_happens_is_printed_as_it_happens_and_can_be_read_again_from_an_id(cli: Cli, home: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, "events", "--follow", "--limit", "2", "-o", "json"]
    environment = {**ENVIRONMENT, "HOME": str(home)}
    with subprocess.Popen(
        [*command, "--type", "ApplicationRegistered", "--type", "ApplicationLabelled"],
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as following:
        assert following.stdout is not None
        line = ""
        for number in range(1000):  # until it listened, and has seen two
            cli("app", "create", f"crm-{number}")
            if following.poll() is not None:
                break
        line = following.stdout.readline()
        assert following.wait(timeout=30) == 0

    first = json.loads(line)
    assert first["type"] == "ApplicationRegistered"
    again = cli("events", "--after", first["id"], "-o", "json", "--limit", "1")
    assert again.code == 0
    second = json.loads(again.out)
    assert second["id"] != first["id"]
    table = cli("events", "--after", first["id"], "--limit", "1").out
    assert table.startswith(second["time"][:19].replace("T", " "))
    assert table.rstrip().endswith(f"application={second['subjects']['application']}")
    assert cli("events", "--after", first["id"], "-o", "name", "--limit", "1").out == f"{second['id']}\n"


def test_a_plane_that_is_away_ends_it_unless_it_follows(cli: Cli, tenant: str, running_plane: object) -> None:
    from compass.cli import context

    context.move(context.chosen(), "https://localhost:1")

    assert cli("events").code == 8
