"""A token handed out, and the other side that uses it: with our command line, and with curl and openssl."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

pytestmark = pytest.mark.usefixtures("tenant")

ROOT = Path(__file__).parent.parent.parent
ENVIRONMENT = {
    "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
    "PYTHONPATH": str(ROOT),  # this checkout's code, also where another one is installed
    "NO_COLOR": "1",
}


def bash(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The other side: another folder, without any context."""
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=folder,
        env={**ENVIRONMENT, "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_printed_command_pairs_and_says_who_one_is(cli: Cli, home: Path) -> None:
    identity = cli("app", "create", "crm").out.strip()
    made = cli("app", "connect", "crm", "-o", "json").json
    assert made["command"].startswith("compass pair --server https://localhost:")
    assert made["command"].endswith(f" --token - <<< '{made['token']}'")

    ended = bash(made["command"], home / "there")

    assert ended.returncode == 0, ended.stderr
    said = ended.stderr.splitlines()
    assert said[0] == "✓ server identity matches the pin"
    assert said[-1].endswith(f"(id {identity})")
    assert cli("app", "list", "-o", "jsonpath=[0].status.condition").out == "CONNECTED\n"
    assert [line.split(",")[1] for line in cli("token", "list", "-o", "csv").out.splitlines()[1:]] == ["connected"]


def test_whoever_waits_is_told_each_step(cli: Cli, home: Path) -> None:
    """The command appears on a pipe, as in a script that reads it while the first one waits."""
    cli("app", "create", "crm")
    with subprocess.Popen(
        ["compass", "app", "connect", "crm", "--wait", "--timeout", "60s"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**ENVIRONMENT, "HOME": str(home)},
    ) as waiting:
        assert waiting.stdout is not None
        assert waiting.stderr is not None
        command = waiting.stdout.readline()
        assert bash(command, home / "there").returncode == 0
        said = waiting.stderr.read().splitlines()
        assert waiting.wait(timeout=60) == 0

    assert [line.partition(" (serial")[0] for line in said if line.startswith("✓")] == [
        "✓ token used",
        "✓ certificate signed",
        "✓ first call with the certificate",
        "✓ crm is connected",
    ]


def test_a_wait_in_vain_has_its_exit_code_and_leaves_the_token_good(cli: Cli, home: Path) -> None:
    cli("runtime", "register", "edge")

    waited = cli("runtime", "connect", "edge", "--wait", "--timeout", "1s")

    assert waited.code == 124
    assert waited.err.splitlines()[-2:] == [
        "error: waited 1 s for edge to connect in vain",
        "hint: the token stays good until it expires; compass runtime get edge says how far it is",
    ]
    assert bash(waited.out, home / "there").returncode == 0


def test_a_used_token_ends_with_the_exit_code_for_tokens(cli: Cli, home: Path) -> None:
    cli("app", "create", "crm")
    command = cli("app", "connect", "crm").out
    assert bash(command, home / "first").returncode == 0

    again = bash(command, home / "second")

    assert again.returncode == 10
    assert not (home / "second/compass/client.crt").exists()


def test_a_wait_may_end_before_the_first_call(cli: Cli, home: Path) -> None:
    """There is none with curl, so a wait for the connection would be in vain."""
    cli("app", "create", "crm")
    with subprocess.Popen(
        ["compass", "app", "connect", "crm", "--show", "curl", "--wait=signed", "--timeout", "60s"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**ENVIRONMENT, "HOME": str(home)},
    ) as waiting:
        assert waiting.stdout is not None
        assert waiting.stderr is not None
        script = ""
        while not script.endswith("answer.json client.csr\n"):  # its last line
            line = waiting.stdout.readline()
            assert line, script
            script += line
        assert bash(script, home / "there").returncode == 0
        said = waiting.stderr.read()
        assert waiting.wait(timeout=60) == 0

    assert "✓ certificate signed" in said
    assert "connected" not in said


def test_a_condition_that_is_none_is_a_usage_error(cli: Cli) -> None:
    cli("app", "create", "crm")

    assert cli("app", "connect", "crm", "--wait=tomorrow").code == 2
    assert cli("token", "list", "-o", "json").json == []


@pytest.mark.parametrize(
    ("asking", "seconds"), [("app connect crm --valid-for 90s", 90), ("token create --app crm --valid-for 1m", 60)]
)
def test_a_token_lives_as_long_as_is_asked_for_and_no_longer_than_it_may(cli: Cli, asking: str, seconds: int) -> None:
    cli("app", "create", "crm")
    before = datetime.now(UTC).replace(microsecond=0)

    made = cli(*asking.split(), "-o", "json")

    life = timedelta(seconds=seconds)
    assert before + life <= datetime.fromisoformat(json.loads(made.out)["expiresAt"]) <= datetime.now(UTC) + life
    refused = cli(*asking.split()[:-1], "1h")
    assert refused.code == 1
    assert "validForSeconds must be between 30 and 300" in refused.err
