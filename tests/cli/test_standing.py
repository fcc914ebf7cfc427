"""How applications and runtimes are doing, in the lists and details of the command line."""

import pytest

from tests.cli.conftest import Cli
from tests.cli.test_status import beaten
from tests.e2e.plane import Plane


@pytest.mark.usefixtures("tenant")
def test_lists_and_details_say_how_something_is_doing(cli: Cli, running_plane: Plane) -> None:
    cli("app", "create", "crm")
    runtime = cli("runtime", "register", "edge").out.strip()
    waits = "· waiting: no one-time token was made for it yet"

    assert waits in cli("app", "list").out
    assert waits in cli("app", "get", "crm").out
    wide = cli("runtime", "list", "-o", "wide").out
    for each in (
        "· not paired (no one-time token was made for it yet)",
        "· none (none was signed for it yet)",
        "· unknown (it is not paired)",
        "✓ none (no agent is paired)",
    ):
        assert each in wide
    waiting = cli("runtime", "status", "edge")
    assert (waiting.code, waiting.out.splitlines()[0].split(None, 1)) == (3, ["connection", waits])

    beaten(running_plane, runtime, "3 hours")

    ended = cli("runtime", "status", "edge")
    assert ended.code == 3
    assert ended.out.splitlines()[0].split(None, 1) == ["connection", "✗ bad: no heartbeat for 3 h"]
    assert "check the clock" in ended.err
    assert cli("runtime", "get", "edge", "-o", "jsonpath=.connection.heartbeat.state").out == "MISSING\n"
    assert cli("runtime", "get", "edge", "-o", "jsonpath=.connection.agent.revision").out == "7\n"
