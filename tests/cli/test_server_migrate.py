"""`compass server migrate` on a real database."""

import subprocess
import sys

import pytest

from compass.postgres.migrate import pending

PROGRAM = "from compass.cli.main import main; main()"


def migrate(dsn: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, "server", "migrate", *arguments]
    environment = {"COMPASS_DATABASE__DSN": dsn, "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


async def test_a_dry_run_names_what_is_missing_and_changes_nothing(empty_dsn: str) -> None:
    missing = await pending(empty_dsn)

    ended = migrate(empty_dsn, "--dry-run")

    assert (ended.returncode, ended.stdout.splitlines()) == (5, missing)
    assert await pending(empty_dsn) == missing


async def test_what_was_missing_is_applied_once(empty_dsn: str) -> None:
    missing = await pending(empty_dsn)

    first, second = migrate(empty_dsn), migrate(empty_dsn)

    assert (first.returncode, first.stdout.splitlines()) == (0, missing)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "the database is up to date\n")


@pytest.mark.parametrize("arguments", [[], ["--dry-run"]])
def test_a_database_that_is_away_is_a_failure_that_says_so(arguments: list[str]) -> None:
    ended = migrate("postgresql://u:geheim@127.0.0.1:1/c", *arguments)

    assert ended.returncode == 1
    assert ended.stderr.startswith("error[COMPASS-28]: ")
    assert "geheim" not in ended.stderr
