"""`compass agent run` as a process. The agent's work: tests/agent, tests/runtime and tests/e2e."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compass.cli.main import run

PROGRAM = "from compass.cli.main import main; main()"


def test_a_folder_that_is_not_there_is_a_failure_that_names_it(home: Path) -> None:
    assert run(["agent", "run", "--folder", str(home / "none")]) == 1


def test_it_runs_without_a_plane_keeps_its_status_and_stops_when_told(home: Path) -> None:
    folder = home / "runtime"
    folder.mkdir()
    with subprocess.Popen([sys.executable, "-c", PROGRAM, "agent", "run", "--folder", str(folder)]) as process:
        try:
            deadline = time.monotonic() + 20
            while not (folder / "status.json").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            assert json.loads((folder / "status.json").read_text())["pid"] == process.pid
            assert run(["agent", "run", "--folder", str(folder)]) == 6  # one agent per folder
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0

    assert json.loads((folder / "status.json").read_text())["state"] == "Stopped"


WELL = {"pid": os.getpid(), "state": "Synchronized", "last_success": "2026-11-23T15:51:54+00:00", "trouble": None}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 0),
        ({"trouble": "unauthorized", "error": "no"}, 3),
        ({"state": "Stopped"}, 3),
        ({"pid": 2**22 + 1}, 3),  # above what Linux gives
        ({"last_success": None}, 3),
    ],
)
def test_how_an_agent_is_doing_is_its_exit_code(
    changes: dict[str, object], expected: int, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "status.json").write_text(json.dumps(WELL | changes))

    assert run(["agent", "status", "--folder", str(home)]) == expected

    assert capsys.readouterr().out.split()[:2] == ["state", changes.get("state", "Synchronized")]


def test_a_folder_without_an_agent_is_not_found(home: Path) -> None:
    assert run(["agent", "status", "--folder", str(home)]) == 4
