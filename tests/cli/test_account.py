"""`compass account reset` on real databases."""

import subprocess
import sys
from pathlib import Path

import pytest

from compass.access import account
from compass.access.tokens import digest
from compass.audit.keys import Keys
from compass.audit.log import check
from compass.postgres.embedded import running
from compass.postgres.migrate import migrate
from compass.postgres.pool import Database
from compass.vault import Vault

PROGRAM = "from compass.cli.main import main; main()"
WHERE = "not in the audit log: there is no {}\n"
SAID = "client admin has a new secret, which is not kept anywhere and not shown again:\n"


def reset(*arguments: str, dsn: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, "account", "reset", *arguments]
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **({"COMPASS_DATABASE__DSN": dsn} if dsn else {})}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


async def kept(dsn: str) -> list[tuple[str, bytes]]:
    async with Database.open(dsn, connections=1) as database, database.transaction() as tx:
        return [tuple(row) for row in await tx.rows("SELECT name, secret_digest FROM account")]


async def test_a_new_secret_is_printed_alone_on_stdout_and_replaces_the_old_one(dsn: str) -> None:
    async with Database.open(dsn, connections=1) as database, database.transaction() as tx:
        old = await account.first(tx)

    first, second = reset(dsn=dsn), reset(dsn=dsn)

    said = WHERE.format("/nonexistent/.local/share/compass/vault.keys") + SAID
    for ended in (first, second):
        assert (ended.returncode, ended.stderr) == (0, said)
        assert len(ended.stdout) == 44
    assert len({old, first.stdout.strip(), second.stdout.strip()}) == 3
    assert await kept(dsn) == [("admin", digest(second.stdout.strip()))]


async def test_a_plane_that_never_showed_a_secret_gets_its_first(dsn: str) -> None:
    ended = reset(dsn=dsn)

    assert ended.returncode == 0
    assert await kept(dsn) == [("admin", digest(ended.stdout.strip()))]
    async with Database.open(dsn, connections=1) as database, database.transaction() as tx:
        assert await account.first(tx) is None


async def test_the_planes_own_database_is_started_for_it_and_refused_while_a_plane_runs(tmp_path: Path) -> None:
    folder = tmp_path / "postgres"
    async with running(folder, settings={"fsync": "off"}) as dsn:
        await migrate(dsn)
        refused = reset("--data-folder", str(tmp_path))
        assert await kept(dsn) == []

    ended = reset("--data-folder", str(tmp_path))

    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"the folder {folder} is in use by process" in refused.stderr
    assert (ended.returncode, ended.stderr) == (0, WHERE.format(tmp_path / "vault.keys") + SAID)
    async with running(folder, settings={"fsync": "off"}) as dsn:
        assert await kept(dsn) == [("admin", digest(ended.stdout.strip()))]


def test_a_folder_without_a_plane_is_left_as_it_is(tmp_path: Path) -> None:
    ended = reset("--data-folder", str(tmp_path / "nothing"))

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"error: there is no plane in {tmp_path / 'nothing'}\nhint: ")
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_misses_migrations_is_left_as_it_is(empty_dsn: str) -> None:
    ended = reset(dsn=empty_dsn)

    assert (ended.returncode, ended.stdout) == (1, "")
    assert "migrations\nhint: compass server migrate applies them\n" in ended.stderr


@pytest.mark.parametrize("dsn", ["postgresql://u:geheim@127.0.0.1:1/c"])
def test_a_database_that_is_away_is_a_failure_that_says_so(dsn: str) -> None:
    ended = reset(dsn=dsn)

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("error[COMPASS-28]: ")
    assert "geheim" not in ended.stderr


async def test_a_new_secret_is_in_the_audit_log_of_the_plane(dsn: str, tmp_path: Path) -> None:
    vault = Vault.at(tmp_path / "vault.keys")

    ended = reset("--data-folder", str(tmp_path), dsn=dsn)

    assert (ended.returncode, ended.stderr) == (0, SAID)
    async with Database.open(dsn, connections=1) as database, database.transaction() as tx:
        record = await tx.row("SELECT operation, object_id, tenant_id, body FROM audit_record")
        assert record is not None
        assert tuple(record)[:3] == ("replaceAccountSecret", "admin", None)
        assert ended.stdout.strip() not in record["body"].decode()
        assert (await check(tx, await Keys.open(tx, vault))).problems == []
