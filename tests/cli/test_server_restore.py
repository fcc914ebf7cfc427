"""`compass server restore` and what it says; what it does is tested in tests/backup."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compass.audit.check import Kind, Problem
from compass.backup import restore as module
from compass.postgres.migrate import pending
from compass.vault import Vault, read
from tests.cli.conftest import InThread
from tests.cli.test_server_backup import plane_folder as plane_folder  # noqa: PLC0414  # a fixture


@pytest.fixture
async def file(plane_folder: Path, home: Path, in_thread: InThread) -> Path:
    """A backup of that plane."""
    assert (await in_thread("server", "backup", "--to", "a.backup")).code == 0
    return home / "a.backup"


@pytest.fixture
def target(empty_dsn: str, file: Path, plane_folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty database that this command line uses, with a data folder that has the keys."""
    assert file.exists()
    (home / "new").mkdir(mode=0o700)
    shutil.copy(plane_folder / "vault.keys", home / "new" / "vault.keys")
    monkeypatch.setenv("COMPASS_DATABASE__DSN", empty_dsn)
    monkeypatch.setenv("COMPASS_DATA_FOLDER", str(home / "new"))
    return empty_dsn


async def test_a_rehearsal_looks_at_everything_and_restores_nothing(target: str, in_thread: InThread) -> None:
    missing = await pending(target)

    ended = await in_thread("server", "restore", "a.backup", "--dry-run")

    assert (ended.code, ended.out) == (0, "")
    assert "a.backup is whole, and could be restored here: as of 20" in ended.err
    assert await pending(target) == missing != []


async def test_it_says_what_was_ended_and_what_cannot_be_known(target: str, in_thread: InThread) -> None:
    ended = await in_thread("server", "restore", "a.backup")

    assert (ended.code, ended.out) == (0, "")
    assert "ended: 0 one-time tokens that were open, and every access token" in ended.err
    assert "the audit log is as it was written" in ended.err
    assert "What cannot be known here is what happened after 20" in ended.err
    assert "0 certificates of clients are in force; revoke again those that were revoked since" in ended.err
    assert await pending(target) == []
    again = await in_thread("server", "restore", "a.backup")
    assert (again.code, again.out) == (1, "")
    assert "the database is not empty" in again.err


async def test_a_log_that_is_not_as_it_was_written_is_told_by_the_exit_code(
    target: str, in_thread: InThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore = module.restore

    async def broken(*given: Any, **named: Any) -> Any:
        done = await restore(*given, **named)
        return replace(done, problems=[Problem(Kind.ALTERED, "record 1 of no tenant")])

    monkeypatch.setattr(module, "restore", broken)

    ended = await in_thread("server", "restore", "a.backup")

    assert (ended.code, ended.out) == (9, "altered: record 1 of no tenant\n")
    assert await pending(target) == []


async def test_other_keys_are_refused_before_anything_is_done(target: str, home: Path, in_thread: InThread) -> None:
    wanted = read(home / "new" / "vault.keys").seals
    (home / "new" / "vault.keys").unlink()
    missing = await pending(target)
    for _ in range(2):
        ended = await in_thread("server", "restore", "a.backup")

        assert (ended.code, ended.out) == (1, "")
        assert f"lacks what opens the secrets in the backup: {wanted}" in ended.err
        Vault.at(home / "new" / "vault.keys")  # another one, the second time
    assert await pending(target) == missing


async def test_keys_come_out_of_the_backup_when_they_are_in_it(
    target: str, plane_folder: Path, dsn: str, home: Path, in_thread: InThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setenv("COMPASS_DATABASE__DSN", dsn)
        before.setenv("COMPASS_DATA_FOLDER", str(plane_folder))
        assert (await in_thread("server", "backup", "--to", "b.backup", "--with-keys")).code == 0
    (home / "new" / "vault.keys").unlink()

    assert (await in_thread("server", "restore", "b.backup", "--dry-run")).code == 0
    assert not (home / "new" / "vault.keys").exists()
    assert (await in_thread("server", "restore", "b.backup")).code == 0
    assert (home / "new" / "vault.keys").read_text() == (plane_folder / "vault.keys").read_text()
    assert await pending(target) == []


async def test_what_is_no_backup_is_refused(target: str, home: Path, in_thread: InThread) -> None:
    (home / "no.backup").write_text("nothing")
    missing = await pending(target)
    for name in ("no.backup", "nowhere.backup"):
        ended = await in_thread("server", "restore", name)

        assert (ended.code, ended.out) == (1, "")
        assert f"{name} cannot be used" in ended.err
    assert await pending(target) == missing
