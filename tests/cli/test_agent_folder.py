"""Who works in an agent's folder: told by its lock, not by a number that somebody else may have today."""

import os
from pathlib import Path

from compass.cli.agent_folder import folder_of, pid_in
from compass.runtime.process import alone


def test_the_process_that_holds_the_folder_is_named_and_one_that_is_gone_is_not(home: Path) -> None:
    assert pid_in(home) is None
    with alone(home):
        assert pid_in(home) == os.getpid()
    assert (home / "lock").read_text() == str(os.getpid())
    assert pid_in(home) is None


def test_one_folder_is_meant_unless_another_is_said(home: Path) -> None:
    assert folder_of(None) == home / ".local/share/compass/agent"
    assert folder_of(Path("x")) == Path("x")
