"""`compass doctor` on the machine of an agent: real agents of a real plane; what is broken on purpose is named."""

import json
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from compass.cli import doctor_agent
from compass.cli.doctor import State
from tests.cli.conftest import Cli
from tests.cli.test_agent_install import agent, offered, systemd, until
from tests.cli.test_doctor import FREE_PORTS

__all__ = ["systemd"]
NOW = datetime(2026, 11, 24, tzinfo=UTC)


def found(cli: Cli, *arguments: str) -> dict[str, Any]:
    """The findings about agents, by what was checked."""
    ended = cli("doctor", *FREE_PORTS, "-o", "json", *arguments)
    rows = {row["check"]: row for row in json.loads(ended.out)}
    assert ended.code == (0 if {row["state"] for row in rows.values()} == {"ok"} else 3)
    return {name: row for name, row in rows.items() if name.startswith("agent")}


@pytest.mark.usefixtures("tenant", "systemd")
def test_an_agent_that_is_stopped_is_named_with_its_fix_until_it_runs_again(cli: Cli, home: Path) -> None:
    folder = home / ".local/share/compass/agent"
    assert found(cli) == {}
    cli("runtime", "register", "edge-01")
    cli("agent", "install", "--user", *offered(cli, home, "runtime", "connect", "edge-01"))

    for _ in range(2):
        stopped = found(cli)["agent"]
        assert (stopped["state"], "it does not run; the plane was" in stopped["detail"]) == ("degraded", True)
        assert stopped["fix"].startswith(f"compass agent run --folder {folder}")
        with agent(home):
            until(cli, lambda ended: ended.code == 0, "agent", "status")
            running = found(cli)
            assert {name: row["state"] for name, row in running.items()} == dict.fromkeys(
                ("agent", "agent's cert", "agent's plane"), "ok"
            )
            assert cli("agent", "stop", "--timeout", "2m").code == 0
    assert set(found(cli, "--folder", str(folder))) == {"agent", "agent's cert", "agent's plane"}


@pytest.mark.usefixtures("tenant", "systemd")
def test_what_stands_between_an_agent_and_its_plane_is_told_apart(cli: Cli, home: Path) -> None:
    folder = home / ".local/share/compass/agent"
    cli("runtime", "register", "edge-01")
    cli("agent", "install", "--user", *offered(cli, home, "runtime", "connect", "edge-01"))
    identity = (folder / "connection.json").resolve()
    kept = json.loads(identity.read_text())

    def moved(url: str) -> Any:
        identity.write_text(json.dumps(kept | {"director_url": url}))
        return found(cli)["agent's plane"]

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        away = moved(f"https://127.0.0.1:{port}/director/graphql")
    assert (away["state"], f"127.0.0.1:{port} does not answer: {os.strerror(111)}" in away["detail"]) == (
        "degraded",
        True,
    )
    assert f"mTLS port {port}" in away["fix"]
    unknown = moved("https://no-such-plane.invalid:8444/director/graphql")
    assert (unknown["state"], "no-such-plane.invalid:8444: DNS: " in unknown["detail"]) == ("degraded", True)

    moved(kept["director_url"])
    other = home / "other.pem"
    other.write_text((folder / "client.crt").read_text())  # a certificate, and not the plane's root
    (folder / "plane_ca.pem").write_text(other.read_text())
    strange = found(cli)["agent's plane"]
    assert (strange["state"], "is not the plane that it trusts" in strange["detail"]) == ("degraded", True)
    assert "--ca-pin" in strange["fix"]

    identity.unlink()
    assert "takes a one-time token" in found(cli)["agent's pair"]["fix"]


def test_a_folder_without_an_agent_is_not_found(cli: Cli, home: Path) -> None:
    ended = cli("doctor", *FREE_PORTS, "--folder", str(home / "none"))

    assert (ended.code, ended.err.partition("\n")[0]) == (4, f"error: there is no agent in {home / 'none'}")


def test_runtimes_that_a_plane_made_here_are_looked_at_and_those_that_sleep_are_well(home: Path) -> None:
    asleep, dead = home / "runtimes/a", home / "runtimes/b"
    for folder in (asleep, dead):
        folder.mkdir(parents=True)
        (folder / "configuration.json").write_text("{}")
        (folder / "provisioner.json").write_text("{}")
    (asleep / "asleep").touch()
    (home / "runtimes/not-an-agent").mkdir()

    first, *_, last, _ = list(doctor_agent.agents(None, home / "runtimes"))

    assert (first.state, "hibernated" in first.detail) == (State.OK, True)
    assert (last.state, last.fix) == (State.DEGRADED, "the plane that made it starts it again: compass up")


@pytest.mark.parametrize(
    ("begins", "ends", "state", "says"),
    [
        (-60, 30, State.OK, "in 30 days"),
        (-80, 10, State.DEGRADED, "was not renewed"),
        (-90, 0, State.DEGRADED, "ended"),
        (1, 90, State.DEGRADED, "begins only"),
    ],
)
def test_a_certificate_is_judged_by_its_life(begins: int, ends: int, state: State, says: str) -> None:
    from_, to = (NOW + timedelta(days=days) for days in (begins, ends))

    check = doctor_agent._certificate(Path("f"), from_, to, NOW)

    assert (check.state, says in check.detail, bool(check.fix)) == (state, True, state is not State.OK)


@pytest.mark.parametrize(
    ("status", "state", "says"),
    [
        ({"last_success": NOW.isoformat()}, State.DEGRADED, "does not get through"),
        ({"trouble": "unauthorized", "error": "no entry"}, State.DEGRADED, "it says: no entry"),
    ],
)
def test_one_that_runs_and_does_not_get_through_says_why(
    home: Path, monkeypatch: pytest.MonkeyPatch, status: dict[str, str], state: State, says: str
) -> None:
    (home / "status.json").write_text(json.dumps(status))
    monkeypatch.setattr(doctor_agent, "pid_in", lambda _: 17)

    checks = list(doctor_agent.agents(home, home / "none"))

    assert any(check.state is state and says in check.detail and check.fix for check in checks)
