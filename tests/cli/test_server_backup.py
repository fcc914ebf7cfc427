"""`compass server backup` and what it says; what is in the file is tested in tests/backup."""

import json
import zipfile
from pathlib import Path

import pytest

from compass.connector.authority import Authority
from compass.postgres.pool import Database
from compass.settings import AuthoritySettings
from compass.vault import Vault, read
from tests.cli.conftest import InThread


@pytest.fixture
async def plane_folder(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a plane whose database this command line uses."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    async with Database.open(dsn, connections=1) as database, database.transaction() as tx:
        await Authority.open(tx, Vault.at(folder / "vault.keys"), AuthoritySettings())
    monkeypatch.setenv("COMPASS_DATABASE__DSN", dsn)
    monkeypatch.setenv("COMPASS_DATA_FOLDER", str(folder))
    return folder


async def test_the_file_is_on_stdout_and_the_keys_that_it_needs_are_told(
    plane_folder: Path, home: Path, in_thread: InThread
) -> None:
    ended = await in_thread("server", "backup", "--to", "a.backup")

    key = read(plane_folder / "vault.keys").seals
    assert (ended.code, ended.out) == (0, "a.backup\n")
    assert f"to restore it you need vault.keys with {key}, which is not in it" in ended.err
    assert described(home / "a.backup")["keys"] == {key: read(plane_folder / "vault.keys").fingerprint(key)}


async def test_keys_in_it_are_said_to_be(plane_folder: Path, home: Path, in_thread: InThread) -> None:
    ended = await in_thread("server", "backup", "--to", "a.backup", "--with-keys")

    assert ended.code == 0
    assert "whoever reads this file can open every secret" in ended.err
    assert set(described(home / "a.backup")["parts"]) == {"database.dump", "vault.keys"}
    assert read(plane_folder / "vault.keys").by_id.keys() == described(home / "a.backup")["keys"].keys()


@pytest.mark.usefixtures("plane_folder")
async def test_what_is_there_already_is_left(home: Path, in_thread: InThread) -> None:
    (home / "a.backup").write_text("mine")

    ended = await in_thread("server", "backup", "--to", "a.backup")

    assert (ended.code, ended.out) == (1, "")
    assert "it is there already" in ended.err
    assert (home / "a.backup").read_text() == "mine"


async def test_without_a_plane_there_is_no_backup(
    empty_dsn: str, plane_folder: Path, home: Path, in_thread: InThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPASS_DATABASE__DSN", empty_dsn)
    assert (await in_thread("server", "backup", "--to", "a.backup")).code == 4
    (plane_folder / "vault.keys").unlink()
    ended = await in_thread("server", "backup", "--to", "a.backup")
    assert (ended.code, "there is no" in ended.err) == (1, True)
    monkeypatch.delenv("COMPASS_DATABASE__DSN")
    assert (await in_thread("server", "backup", "--to", "a.backup")).code == 1

    assert not (home / "a.backup").exists()
    assert not (plane_folder / "vault.keys").exists()


def described(file: Path) -> dict[str, dict[str, str]]:
    with zipfile.ZipFile(file) as archive:
        found: dict[str, dict[str, str]] = json.loads(archive.read("manifest.json"))
        return found
