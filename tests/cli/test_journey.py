"""The first five minutes of each role, in a terminal, with the other side as a process of its own.

Source: the project's experience design, §5.1, §5.2 and §5.3.
"""

import json
import re
import signal
import time
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


def test_a_developer_pairs_with_a_token_that_no_screen_shows_and_offers_an_api_and_events(
    cli: Cli, tenant: str, home: Path
) -> None:
    cli("app", "create", "shop-crm")
    made = cli("app", "connect", "shop-crm", "-o", "json").json
    server = made["connectorURL"].removesuffix("/connector/graphql")
    theirs = home / "theirs"
    theirs.mkdir()

    with terminal(theirs, "pair", "--server", server, "--ca-pin", "sha256:" + "0" * 64) as wrong:
        wrong.until("one-time token: ")
        wrong.type(made["token"] + "\n")
        assert wrong.end() == 9
    assert "nothing was sent" in wrong.shown
    assert list(theirs.iterdir()) == []

    with terminal(theirs, "pair", "--server", server, "--ca-pin", made["pin"]) as pairing:
        pairing.until("one-time token: ")
        pairing.type(made["token"] + "\n")
        assert pairing.end() == 0
    assert made["token"] not in pairing.shown
    assert "you are application" in pairing.shown
    with terminal(home / "theirs", "pair", "--server", server, "--ca-pin", made["pin"], "--folder", "again") as late:
        late.until("one-time token: ")
        late.type(made["token"] + "\n")
        assert late.end() == 10
    assert "expired or already used" in late.shown
    assert "compass app connect NAME" in late.shown

    (home / "openapi.yaml").write_text(
        "openapi: 3.1.0\ninfo: {title: Orders, version: '1'}\npaths:\n  /orders:\n    get: {}\n"
    )
    (home / "asyncapi.json").write_text(json.dumps({"asyncapi": "2.6.0", "channels": {"ordered": {}}}))
    add = ["--app", "shop-crm", "--url", "https://shop.example/orders", "--spec", "openapi.yaml"]
    with terminal(home, "api", "add", "orders", *add) as added:
        assert added.end() == 0
    assert "API orders added (1 operation" in added.shown
    with terminal(home, "event", "add", "order-events", "--app", "shop-crm", "--spec", "asyncapi.json") as told:
        assert told.end() == 0
    assert "event definition order-events added (1 channel" in told.shown


def test_an_operator_installs_an_agent_stops_it_and_is_told_what_to_check(cli: Cli, tenant: str, home: Path) -> None:
    cli("runtime", "register", "edge-01")
    made = cli("runtime", "connect", "edge-01", "-o", "json").json
    server = made["connectorURL"].removesuffix("/connector/graphql")
    tools = home / "tools"
    tools.mkdir()
    (tools / "systemctl").write_text("#!/bin/sh\n")
    (tools / "systemctl").chmod(0o755)
    arguments = ("--user", "--server", server, "--ca-pin", made["pin"], "--token", "-")

    with terminal(home, "agent", "install", *arguments, PATH=f"{tools}:/usr/bin:/bin") as installing:
        installing.until("one-time token: ")
        installing.type(made["token"] + "\n")
        assert installing.end() == 0
    assert made["token"] not in installing.shown
    assert "compass agent status says how it is doing" in installing.shown

    with terminal(home, "agent", "run") as running:
        running.until("its log is")
        deadline = time.monotonic() + 60
        while cli("agent", "status").code != 0:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        with terminal(home, "agent", "stop", "--timeout", "2m") as stopping:
            assert stopping.end() == 0
        assert running.end() == 0
    with terminal(home, "agent", "status") as status:
        assert status.end() == 3
    assert re.search(r"certificate +\S+, in 89 days", status.shown)
    assert "hint: it does not run" in status.shown
