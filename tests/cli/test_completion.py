"""Completion: scripts that a shell takes, and live names."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Answering, Cli

SHELLS = ["bash", "zsh", "fish"] if os.environ.get("COMPASS_PROOF") else ["bash"]
"""Writing each script takes a second or two."""


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_names_commands_and_is_accepted_by_the_shell(shell: str, cli: Cli, home: Path) -> None:
    script = cli("completion", shell).out

    assert "from-template" in script
    if shell == "bash":
        assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def test_names_of_objects_are_suggested_and_kept_for_a_moment(cli: Cli, tenant: str, home: Path) -> None:
    cli("app", "create", "shop-crm")
    cli("app", "create", "billing")

    assert cli("__complete", "app", "get", "s").out.split()[1:] == ["shop-crm"]

    (kept,) = (home / ".cache/compass").glob("*.json")
    assert kept.stat().st_mode & 0o77 == 0
    before = time.time()
    cli("app", "create", "sales")
    if time.time() - before < 4:  # the first answer is still kept
        assert cli("__complete", "app", "get", "s").out.split()[1:] == ["shop-crm"]
    kept.unlink()
    assert sorted(cli("__complete", "app", "get", "s").out.split()[1:]) == ["sales", "shop-crm"]


def test_flags_that_name_objects_are_completed_with_their_names_too(cli: Cli, tenant: str) -> None:
    cli("app", "create", "shop-crm", "--group", "retail")
    cli("runtime", "register", "edge-01")

    assert cli("__complete", "app", "create", "x", "--group", "re").out.split()[1:] == ["retail"]
    assert cli("__complete", "key", "create", "--app", "sh").out.split()[1:] == ["shop-crm"]
    assert cli("__complete", "key", "create", "--runtime", "ed").out.split()[1:] == ["edge-01"]
    assert cli("__complete", "group", "add", "retail", "--app", "sh").out.split()[1:] == ["shop-crm"]
    assert cli("__complete", "group", "remove", "retail", "--runtime", "ed").out.split()[1:] == ["edge-01"]


@pytest.mark.usefixtures("tenant")
def test_contexts_and_codes_are_completed(cli: Cli) -> None:
    known = sorted(cli("context", "list", "-o", "name").out.split())
    assert sorted(cli("__complete", "context", "use", "").out.split()[1:]) == known != []
    assert cli("__complete", "explain", "2").out.split()[1:] == [str(code) for code in range(20, 30)]


def test_a_plane_that_does_not_answer_suggests_nothing_and_says_nothing(cli: Cli, plane: Answering) -> None:
    ended = cli("__complete", "app", "get", "")

    assert (ended.code, ended.out.split(), ended.err) == (0, ["begin"], "")
