"""`compass agent install` and `reconfigure`: a runtime operator's first minutes, against a real plane.

Source: the project's experience design, §5.3. `systemctl` is a stand-in that keeps what it was told.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import Answering, Cli, Ended
from tests.cli.test_connect import ENVIRONMENT

PROGRAM = "from compass.cli.main import main; main()"


@pytest.fixture
def systemd(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl on the path; the file holds how it was called."""
    tools = home / "tools"
    tools.mkdir()
    (tools / "systemctl").write_text(f'#!/bin/sh\necho "$@" >> {home}/systemctl.txt\n')
    (tools / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return home / "systemctl.txt"


def offered(cli: Cli, home: Path, *whose: str) -> list[str]:
    """The flags that a token comes with; the token is in a file."""
    made = cli(*whose, "-o", "json").json
    (home / "token").write_text(made["token"])
    server = made["connectorURL"].removesuffix("/connector/graphql")
    return ["--server", server, "--ca-pin", made["pin"], "--token-file", str(home / "token")]


@contextmanager
def agent(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The agent as a process, as systemd would start it."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "agent", "run"],
        env={**ENVIRONMENT, "HOME": str(home)},
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until(cli: Cli, true: Callable[[Ended], bool], *arguments: str) -> Ended:
    """Ask again and again until that is true of the answer."""
    deadline = time.monotonic() + 60
    while not true(ended := cli(*arguments)):
        assert time.monotonic() < deadline, ended
        time.sleep(0.1)
    return ended


def test_an_installed_agent_pairs_is_delivered_to_and_is_stopped(
    cli: Cli, home: Path, systemd: Path, tenant: str
) -> None:
    cli("app", "create", "billing")
    cli("bundle", "create", "all", "--app", "billing")
    cli("api", "add", "invoices", "--app", "billing", "--bundle", "all", "--url", "https://billing.example/v1")
    identity = cli("runtime", "register", "edge-01", "--group", "retail").out.strip()
    flags = offered(cli, home, "runtime", "connect", "edge-01")

    installed = cli("agent", "install", "--user", *flags)

    assert installed.code == 0, installed.err
    assert f"you are runtime edge-01, tenant {tenant} (id {identity})" in installed.err
    folder = home / ".local/share/compass/agent"
    told = json.loads((folder / "configuration.json").read_text())
    assert (told["runtime_id"], "token" in told) == (identity, False)
    unit = home / ".config/systemd/user/compass-agent.service"
    assert f'-m compass agent run --folder "{folder}"' in unit.read_text()
    assert systemd.read_text().splitlines() == [
        "--user daemon-reload",
        "--user enable compass-agent.service",
        "--user restart compass-agent.service",
    ]

    assert cli("agent", "status").code == 4  # it has not run yet
    with agent(home) as process:
        until(cli, lambda ended: ended.code == 0, "agent", "status")
        cli("group", "add", "retail", "--app", "billing")
        delivered = until(cli, lambda ended: "billing" in ended.out, "agent", "status")
        assert "\ndelivered     mp-billing (1 API, 0 events)\n" in delivered.out
        assert cli("agent", "status", "-o", "jsonpath=.pid").out == f"{process.pid}\n"

        stopped = cli("agent", "stop", "--timeout", "2m")
        assert (stopped.code, stopped.err.splitlines()[-1]) == (0, f"✓ the agent of {folder} is stopped")
        assert process.wait(timeout=60) == 0
    status = cli("agent", "status")
    assert (status.code, status.err.partition(";")[0]) == (3, "hint: it does not run")
    assert cli("agent", "stop").err == f"no agent runs in {folder}\n"


@pytest.mark.usefixtures("tenant")
def test_a_new_token_gives_a_running_agent_another_identity(cli: Cli, home: Path, systemd: Path) -> None:
    cli("runtime", "register", "edge-01")
    cli("agent", "install", "--user", *offered(cli, home, "runtime", "connect", "edge-01"))
    folder = home / ".local/share/compass/agent"
    before = (folder / "client.crt").read_text()
    assert cli("agent", "reconfigure", "--sync-period", "1s").code == 0
    with agent(home):
        until(cli, lambda ended: ended.code == 0, "agent", "status")
        flags = offered(cli, home, "runtime", "connect", "edge-01")

        assert cli("agent", "reconfigure", *flags[4:]).code == 0

        deadline = time.monotonic() + 60
        while (folder / "client.crt").read_text() == before:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        until(cli, lambda ended: ended.code == 0, "agent", "status")
        cli("agent", "stop", "--timeout", "2m")
    told = json.loads((folder / "configuration.json").read_text())
    assert (told["sync_period_seconds"], "token" in told) == (1.0, False)
    assert systemd.exists()


@pytest.mark.usefixtures("tenant")
def test_the_token_of_an_application_makes_no_agent(cli: Cli, home: Path, systemd: Path) -> None:
    cli("app", "create", "crm")

    ended = cli("agent", "install", "--user", *offered(cli, home, "app", "connect", "crm"))

    assert ended.code == 1
    assert "the token was for application" in ended.err
    assert not (home / ".config/systemd").exists()
    assert not systemd.exists()


@pytest.mark.usefixtures("tenant")
def test_without_systemd_it_is_paired_and_says_how_it_is_run(
    cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("runtime", "register", "edge-01")
    flags = offered(cli, home, "runtime", "connect", "edge-01")
    monkeypatch.setenv("PATH", str(home))

    ended = cli("agent", "install", "--user", *flags)

    assert ended.code == 3
    assert "there is no systemd here" in ended.err
    assert ended.err.endswith(
        f"hint: compass agent run --folder {home}/.local/share/compass/agent runs it in the foreground\n"
    )


def test_a_wrong_pin_ends_it_before_the_token_is_sent(cli: Cli, plane: Answering, home: Path, systemd: Path) -> None:
    (home / "token").write_text("one-time\n")
    flags = ["--server", plane.url, "--ca-pin", "sha256:" + "0" * 64, "--token-file", str(home / "token")]

    assert cli("agent", "install", "--user", *flags).code == 9

    assert [path for path, _, _ in plane.heard] == ["/ca.pem"]
    assert not (home / ".local").exists()
    assert not systemd.exists()


def test_a_wrong_pin_changes_nothing_of_what_an_agent_was_told(cli: Cli, plane: Answering, home: Path) -> None:
    (home / "configuration.json").write_text('{"connector_url": "https://old.example"}')
    flags = ["--server", plane.url, "--folder", str(home)]

    assert cli("agent", "reconfigure", *flags, "--ca-pin", "sha256:" + "0" * 64).code == 9
    assert (home / "configuration.json").read_text() == '{"connector_url": "https://old.example"}'

    assert cli("agent", "reconfigure", *flags, "--ca-pin", plane.pin).code == 0
    told = json.loads((home / "configuration.json").read_text())
    assert told == {"connector_url": f"{plane.url}/connector/graphql"}
    assert (home / "plane_ca.pem").read_text() == plane.ca_pem


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["reconfigure"], 4),
        (["reconfigure", "--folder", "."], 2),
        (["reconfigure", "--folder", ".", "--server", "https://x"], 2),
        (["reconfigure", "--folder", ".", "--ca-pin", "sha256:0"], 2),
        (["install", "--user"], 2),
        (["install", "--folder", "here"], 2),
        (["install", "--user", "--server", "http://x", "--ca-pin", "0", "--token", "-"], 2),
        (["stop"], 4),
    ],
)
def test_what_is_missing_is_said_before_anything_is_done(
    arguments: list[str], expected: int, cli: Cli, home: Path
) -> None:
    (home / "configuration.json").write_text("{}")

    assert cli("agent", *arguments).code == expected

    assert [path.name for path in home.iterdir()] == ["configuration.json"]


def test_the_unit_is_printed_and_nothing_is_done(cli: Cli, home: Path, systemd: Path) -> None:
    of_user = cli("agent", "install", "--user", "--folder", "has % and space", "--print").out
    of_machine = cli("agent", "install", "--print").out

    assert f'--folder "{home}/has %% and space"' in of_user
    assert "WantedBy=default.target" in of_user
    assert "NoNewPrivileges=yes" in of_user
    assert '--folder "/var/lib/compass-agent"' in of_machine
    assert "\nDynamicUser=yes\nStateDirectory=compass-agent\n" in of_machine
    assert [path.name for path in home.iterdir()] == ["tools"]
    assert not systemd.exists()
