"""Backups are one moment of the database, of nothing but it, and leave nothing where they fail."""

import json
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from compass.backup.archive import DUMP, KEYS, ArchiveUnwritable, opened
from compass.backup.make import NothingThere, make
from compass.postgres import programs
from compass.postgres.migrate import RestoreUnfinished, known
from compass.postgres.pool import Database
from compass.postgres.programs import NoPrograms, ProgramFailed, Programs
from compass.vault import KeyFileUnusable, Vault, add_next, let_next_seal, read
from tests.backup.conftest import content

NOBODY = "-- test.nobody\nDELETE FROM one_time_token"


async def made(dsn: str, keys: Path, path: Path, *, with_keys: bool = False) -> Path:
    await make(dsn, keys, path, release="0.1.0", with_keys=with_keys, told=lambda _: None)
    return path


async def test_a_backup_says_what_it_is(source: tuple[str, Path], backup: Path) -> None:
    rows = await content(source[0])
    key = read(source[1]).seals
    with opened(backup) as archive:
        archive.require_sealed(Vault.at(source[1]))
        archive.require_whole()
        found = archive.manifest
        assert (found.release, found.migration, found.owner) == ("0.1.0", known()[-1], "compass")
        assert (found.tenants, found.checkpoint) == (len(rows["tenant"]), len(rows["audit_checkpoint"]))
        assert found.keys == {key: read(source[1]).fingerprint(key)}
        assert set(found.parts) == {DUMP}
        assert archive.keys() is None


async def test_it_changes_nothing_in_the_database(source: tuple[str, Path], tmp_path: Path) -> None:
    before = await content(source[0])

    await made(*source, tmp_path / "a.backup")

    assert await content(source[0]) == before


async def test_how_much_there_is_is_told_while_it_is_written(source: tuple[str, Path], tmp_path: Path) -> None:
    told: list[int] = []
    manifest = await make(*source, tmp_path / "a.backup", release="0.1.0", with_keys=False, told=told.append)

    assert told == sorted(told)
    assert told[-1] == manifest.parts[DUMP].bytes > 0


async def test_the_keys_are_in_it_only_when_they_were_asked_for(source: tuple[str, Path], tmp_path: Path) -> None:
    without, with_them = tmp_path / "without.backup", tmp_path / "with.backup"
    await made(*source, without)
    await made(*source, with_them, with_keys=True)

    key = read(source[1])
    secret = key.by_id[key.seals].reveal().encode()
    assert secret not in b"".join(parts(without))
    with opened(with_them) as archive:
        archive.require_whole()
        assert archive.keys() == source[1].read_bytes()
        assert set(archive.manifest.parts) == {DUMP, KEYS}


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def parts(path: Path) -> list[bytes]:
    with zipfile.ZipFile(path) as archive:
        return [archive.read(name) for name in archive.namelist()]


async def test_what_is_changed_while_it_is_written_is_not_in_it(
    source: tuple[str, Path], dsn: str, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in the dump nor in what is said of it: both are of the moment at which it began."""
    dump, add = programs.dump, "-- test.add\nINSERT INTO account (name, secret_digest) VALUES (%(name)s, %(digest)s)"
    async with Database.open(dsn, connections=1) as database:
        await database.run(lambda tx: tx.run(add, name="before", digest=b"\0" * 32))

        async def changed(programs_: Programs, dsn: str, **given: object) -> None:
            await database.run(lambda tx: tx.run(add, name="meanwhile", digest=b"\0" * 32))
            await dump(programs_, dsn, **given)  # type: ignore[arg-type]

        monkeypatch.setattr(programs, "dump", changed)
        path = await made(dsn, keys, tmp_path / "a.backup")

    assert (path.stat().st_size > 0, len((await content(dsn))["account"])) == (True, 2)
    assert accounts(path) == ["before"]


def accounts(path: Path) -> list[str]:
    """The names of the accounts in the dump."""
    with opened(path) as archive:
        shown = subprocess.run(
            [
                programs.find(archive.manifest.server).folder / "pg_restore",
                "--data-only",
                "--table=account",
                "--file=-",
            ],
            input=b"".join(archive.pieces(DUMP)),
            capture_output=True,
            check=True,
        ).stdout.decode()
    return [line.split("\t")[0] for line in shown.splitlines() if "\t" in line]


async def test_a_rotation_that_is_under_way_names_all_keys_that_are_needed(
    source: tuple[str, Path], keys: Path, tmp_path: Path
) -> None:
    add_next(keys)
    kept = let_next_seal(keys)

    with opened(await made(source[0], keys, tmp_path / "a.backup")) as archive:
        assert archive.manifest.keys == {key: kept.fingerprint(key) for key in sorted(kept.by_id)}


async def test_a_database_without_a_plane_is_refused(empty_dsn: str, keys: Path, tmp_path: Path) -> None:
    with pytest.raises(NothingThere):
        await made(empty_dsn, keys, tmp_path / "a.backup")

    assert names(tmp_path) == ["data"]


async def test_a_database_that_is_half_restored_is_no_source(dsn: str, keys: Path, tmp_path: Path) -> None:
    async with Database.open(dsn, connections=1) as database:
        await database.run(lambda tx: tx.run("-- test.mark\nCREATE TABLE restore_unfinished (digest text)"))

    with pytest.raises(RestoreUnfinished):
        await made(dsn, keys, tmp_path / "a.backup")


async def test_what_fails_leaves_no_file(
    source: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.backup"
    with pytest.raises(KeyFileUnusable):
        await made(source[0], tmp_path / "no.keys", path)
    with pytest.raises(ArchiveUnwritable):
        await made(*source, tmp_path / "no folder" / "a.backup")
    with monkeypatch.context() as away:
        away.setenv("PGBIN", str(tmp_path))
        with pytest.raises(NoPrograms):
            await made(*source, path)
    broken = replace(programs.find(15), folder=tmp_path / "bin")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pg_dump").write_text("#!/bin/sh\necho half\necho pg_dump: error: no space >&2\nexit 1\n")
    (tmp_path / "bin" / "pg_dump").chmod(0o755)
    monkeypatch.setattr(programs, "find", lambda _: broken)
    with pytest.raises(ProgramFailed, match="no space"):
        await made(*source, path)

    assert names(tmp_path) == ["bin"]


async def test_a_manifest_is_json_that_people_can_read(backup: Path) -> None:
    with zipfile.ZipFile(backup) as archive:
        assert json.loads(archive.read("manifest.json"))["format"] == 1
