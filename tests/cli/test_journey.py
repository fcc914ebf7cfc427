"""An administrator's first five minutes, in a terminal, with the other side as a process of its own.

Source: the project's experience design, §5.1 and §5.2.
"""

import re
import signal
from pathlib import Path

from tests.cli.conftest import Cli
from tests.cli.terminal import terminal
from tests.cli.test_connect import bash


def test_an_application_is_registered_connected_and_seen_and_a_runtime_is_made_beside_it(
    cli: Cli, tenant: str, home: Path
) -> None:
    with terminal(home, "app", "create", "shop-crm", "--group", "retail") as first:
        assert first.end() == 0
    assert "application shop-crm created" in first.shown
    assert "→ compass app connect shop-crm" in first.shown

    with terminal(home, "app", "connect", "shop-crm", "--wait", "--timeout", "2m") as waiting:
        shown = waiting.until("waiting for shop-crm to connect")
        command = re.search(r"^compass pair --server .*?'$", shown.replace("\r", ""), re.MULTILINE)
        assert command is not None, shown
        assert bash(command[0], home / "theirs").returncode == 0
        shown = waiting.until("is connected")
        assert waiting.end() == 0
    plain = re.sub(r"\x1b\[[0-9;]*[mK]", "", shown)
    steps = [
        "✓ token used",
        "✓ certificate signed (serial ",
        "✓ first call with the certificate",
        "✓ shop-crm is connected",
    ]
    assert [plain.index(step) for step in steps] == sorted(plain.index(step) for step in steps)
    assert re.search(r"waiting for shop-crm to connect … [12]:\d\d left", plain)

    with terminal(home, "runtime", "provision", "edge-01", "--group", "retail", "--wait") as making:
        assert making.end() == 0
    assert "runtime edge-01 is connected" in making.shown

    with terminal(home, "status") as status:
        assert status.end() == 0
    assert "ok\x1b[0m  1 applications ok · 1 runtimes ok · 0 need attention" in status.shown
    assert cli("group", "get", "retail", "-o", "jsonpath=.status.condition").out == "READY\n"
    assert cli("runtime", "deprovision", "edge-01", "--wait", "--yes").code == 0


def test_a_terminal_is_asked_before_something_is_lost_and_a_no_changes_nothing(
    cli: Cli, tenant: str, home: Path
) -> None:
    cli("app", "create", "shop-crm")
    cli("bundle", "create", "orders", "--app", "shop-crm")

    with terminal(home, "app", "delete", "shop-crm") as asked:
        shown = asked.until("[y/N] ")
        asked.type("n\n")
        assert asked.end() == 1

    assert "gone with it: 1 bundles" in shown
    assert cli("app", "list", "-o", "name").out == "shop-crm\n"


def test_an_interrupted_wait_ends_with_130_and_leaves_the_token_good(cli: Cli, tenant: str, home: Path) -> None:
    cli("app", "create", "shop-crm")

    with terminal(home, "app", "connect", "shop-crm", "--wait") as waiting:
        shown = waiting.until("waiting for shop-crm to connect")
        waiting.process.send_signal(signal.SIGINT)
        assert waiting.end() == 130

    assert "Traceback" not in waiting.shown
    command = re.search(r"^compass pair --server .*?'$", shown.replace("\r", ""), re.MULTILINE)
    assert command is not None
    assert bash(command[0], home / "theirs").returncode == 0
