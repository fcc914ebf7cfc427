"""The first five minutes of each role, in a terminal, with the other side as a process of its own.

Source: the project's experience design, §5.1, §5.2 and §5.3.
"""

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Cli
from tests.cli.terminal import terminal
from tests.cli.test_connect import bash

PROOF = bool(os.environ.get("COMPASS_PROOF"))
PROVISIONING = ["configuration read", "create", "install agent", "agent paired"]
SPEC = """openapi: 3.1.0
info: {title: Orders, version: '1'}
paths:
  /orders:
    get: {}
"""
SECOND = "  /orders/{id}:\n    get: {}\n"


def plain_text(shown: str) -> str:
    """What a terminal showed, without its colours."""
    return re.sub(r"\x1b\[[0-9;]*[mK]", "", shown)


def until(is_so: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_application_is_registered_connected_and_seen_and_a_runtime_is_made_beside_it(
    cli: Cli, tenant: str, home: Path
) -> None:
    with terminal(home, "app", "create", "shop-crm", "--group", "retail") as first:
        assert first.end() == 0
    assert "application shop-crm created" in first.shown
    assert "group retail created" in first.shown
    assert "→ compass app connect shop-crm" in first.shown

    with terminal(home, "app", "connect", "shop-crm", "--wait", "--timeout", "2m") as waiting:
        shown = waiting.until("waiting for shop-crm to connect")
        command = re.search(r"^compass pair --server .*?'$", shown.replace("\r", ""), re.MULTILINE)
        assert command is not None, shown
        assert bash(command[0], home / "theirs").returncode == 0
        shown = waiting.until("is connected")
        assert waiting.end() == 0
    plain = plain_text(shown)
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
    told = [plain_text(making.shown).index(f"✓ {step}") for step in PROVISIONING]
    assert told == sorted(told)

    with terminal(home, "status") as status:
        assert status.end() == 0
    assert "ok\x1b[0m  1 application ok · 1 runtime ok · 0 need attention" in status.shown
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
    assert "you are application shop-crm, tenant " in pairing.shown
    with terminal(home / "theirs", "pair", "--server", server, "--ca-pin", made["pin"], "--folder", "again") as late:
        late.until("one-time token: ")
        late.type(made["token"] + "\n")
        assert late.end() == 10
    assert "expired or already used" in late.shown
    assert "compass app connect NAME" in late.shown

    (home / "openapi.yaml").write_text(SPEC + SECOND)
    (home / "asyncapi.json").write_text(json.dumps({"asyncapi": "2.6.0", "channels": {"ordered": {}}}))
    add = ["--app", "shop-crm", "--url", "https://shop.example/orders", "--spec", "openapi.yaml"]
    with terminal(home, "api", "add", "orders", *add) as added:
        assert added.end() == 0
    assert "API orders added (2 operations" in added.shown
    assert re.search(rf"→ {server}/console/applications/[0-9a-f-]{{36}}/apis/[0-9a-f-]{{36}}", added.shown)
    with terminal(home, "event", "add", "order-events", "--app", "shop-crm", "--spec", "asyncapi.json") as told:
        assert told.end() == 0
    assert "event definition order-events added (1 channel" in told.shown

    (home / "openapi.yaml").write_text(SPEC)
    update = ["api", "update", "orders", "--app", "shop-crm", "--spec", "openapi.yaml"]
    for answer, code in (("n", 1), ("y", 0)):
        with terminal(home, *update) as asked:
            shown = asked.until("[y/N] ")
            asked.type(f"{answer}\n")
            assert asked.end() == code
        assert "! breaking: removed GET /orders/{id}" in plain_text(shown)
        kept = cli("api", "get", "orders", "--app", "shop-crm", "--spec").out
        assert ("/orders/{id}" in kept) is (answer == "n")

    cli("webhook", "create", "https://127.0.0.1:9/hook", "--app", "shop-crm")
    with terminal(home, "webhook", "test", "config-changed", "--wait", "--timeout", "1m") as tried:
        assert tried.end() == 1
    assert "the webhook did not take it: The URL cannot be used" in plain_text(tried.shown)
    assert re.search(r"\d+ ms", plain_text(tried.shown))


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

    cli("app", "create", "billing")
    cli("bundle", "create", "all", "--app", "billing")
    cli("api", "add", "invoices", "--app", "billing", "--bundle", "all", "--url", "https://billing.example/v1")
    cli("group", "create", "retail")
    cli("group", "add", "retail", "--runtime", "edge-01")
    with terminal(home, "agent", "run") as running:
        running.until("its log is")
        until(lambda: cli("agent", "status").code == 0)
        cli("group", "add", "retail", "--app", "billing")
        log = home / ".local/share/compass/agent/log.txt"
        until(lambda: "+ mp-billing (1 API)" in log.read_text())
        until(lambda: cli("runtime", "get", "edge-01", "-o", "jsonpath=.connection.heartbeat.state").out == "ALIVE\n")
        with terminal(home, "agent", "status") as status:
            assert status.end() == 0
        assert re.search(r"heartbeat +\d+ s ago", plain_text(status.shown))
        assert "mp-billing (1 API, 0 events)" in plain_text(status.shown)
        with terminal(home, "agent", "stop", "--timeout", "2m") as stopping:
            assert stopping.end() == 0
        assert running.end() == 0
    with terminal(home, "agent", "status") as status:
        assert status.end() == 3
    assert re.search(r"certificate +\S+, in 89 days", status.shown)
    assert "hint: it does not run" in status.shown
    if PROOF:
        # It takes twelve seconds until it is missed; how that is told without waiting: tests/cli/test_status.py.
        until(lambda: "edge-01: no heartbeat for" in " ".join(cli("status").out.split()))
        assert cli("status").code == 3
        with terminal(home, "agent", "run") as running:
            until(lambda: cli("status").code == 0)
            running.process.terminate()
            assert running.end() == 0
