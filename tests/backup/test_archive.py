"""A backup as a file: there when it is whole, and refused when it is not what was written."""

import hashlib
import json
import os
import stat
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from compass.backup.archive import (
    DUMP,
    FORMAT,
    KEYS,
    Archive,
    ArchiveUnusable,
    ArchiveUnwritable,
    Manifest,
    drafted,
    opened,
)
from compass.vault import Vault, add_next, let_next_seal

MANIFEST = Manifest(
    format=FORMAT,
    release="0.1.0",
    made_at="2027-03-01T12:00:00+00:00",
    migration="0061_pre_lists_in_order",
    server=15,
    owner="compass",
    tenants=2,
    checkpoint=7,
    checkpoint_digest="ab" * 32,
    keys={"k1": "f1"},
    parts={},
)
CONTENT = b"tables " * 100_000


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault.at(tmp_path / "vault.keys")


@pytest.fixture
def path(tmp_path: Path, vault: Vault) -> Path:
    path = tmp_path / "a.backup"
    write(path, vault)
    return path


def write(path: Path, vault: Vault, **changed: object) -> None:
    with drafted(path) as draft:
        with draft.part(DUMP) as add:
            add(CONTENT[:1000])
            add(CONTENT[1000:])
        with draft.part(KEYS) as add:
            add(b"k1 key\n")
        draft.close(replace(MANIFEST, **{"parts": draft.parts, **changed}), vault)  # type: ignore[arg-type]


def checked(path: Path, vault: Vault) -> None:
    with opened(path) as archive:
        archive.require_sealed(vault)
        archive.require_whole()


def test_what_was_written_is_what_is_read(path: Path, vault: Vault) -> None:
    checked(path, vault)
    with opened(path) as archive:
        assert replace(archive.manifest, parts={}) == MANIFEST
        assert {name: part.bytes for name, part in archive.manifest.parts.items()} == {DUMP: len(CONTENT), KEYS: 7}
        assert b"".join(archive.pieces(DUMP)) == CONTENT
        assert archive.keys() == b"k1 key\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_has_the_name_before_all_is_there_nor_after_a_failure(tmp_path: Path, vault: Vault) -> None:
    path = tmp_path / "b.backup"
    with pytest.raises(ZeroDivisionError), drafted(path) as draft, draft.part(DUMP) as add:
        add(CONTENT)
        assert not path.exists()
        raise ZeroDivisionError
    assert sorted(each.name for each in tmp_path.iterdir()) == ["vault.keys"]

    (tmp_path / ".b.backup.part").write_bytes(CONTENT * 2)  # what somebody left who was killed
    write(path, vault)
    checked(path, vault)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["b.backup", "vault.keys"]


def test_a_file_that_is_there_is_never_replaced(path: Path, vault: Vault) -> None:
    before = path.read_bytes()
    with pytest.raises(ArchiveUnwritable, match="it is there already"):
        write(path, vault)
    assert path.read_bytes() == before


def test_one_process_at_a_time_writes_a_backup_of_a_name(tmp_path: Path, vault: Vault) -> None:
    path = tmp_path / "b.backup"
    with drafted(path) as draft:
        with pytest.raises(ArchiveUnwritable, match="another process"), drafted(path):
            pass
        with draft.part(DUMP) as add:
            add(CONTENT)
        draft.close(replace(MANIFEST, parts=draft.parts), vault)
    checked(path, vault)


def test_no_link_is_followed_to_where_somebody_else_wants_it(tmp_path: Path, vault: Vault) -> None:
    (tmp_path / ".b.backup.part").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArchiveUnwritable):
        write(tmp_path / "b.backup", vault)
    assert not (tmp_path / "elsewhere").exists()


def damage_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def rewrite(path: Path, change: Callable[[dict[str, bytes]], object], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    change(parts)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def change_dump(parts: dict[str, bytes]) -> None:
    parts[DUMP] = parts[DUMP].replace(b"tables", b"tablet", 1)


def change_manifest(parts: dict[str, bytes]) -> None:
    parts["manifest.json"] = parts["manifest.json"].replace(b'"tenants": 2', b'"tenants": 3')


def change_both(parts: dict[str, bytes]) -> None:
    change_dump(parts)
    told = json.loads(parts["manifest.json"])
    told["parts"][DUMP]["sha256"] = hashlib.sha256(parts[DUMP]).hexdigest()
    parts["manifest.json"] = json.dumps(told).encode()


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def without(name: str) -> Callable[[dict[str, bytes]], object]:
    return lambda parts: parts.pop(name)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a byte of the dump": damage_a_byte,
    "the end is cut": cut,
    "no archive at all": lambda path: path.write_bytes(b"PGDMP"),
    "a folder": make_folder,
    "nothing there": lambda path: path.unlink(),
    "another dump": lambda path: rewrite(path, change_dump),
    "another manifest": lambda path: rewrite(path, change_manifest),
    "another dump with its digest": lambda path: rewrite(path, change_both),
    "no dump": lambda path: rewrite(path, without(DUMP)),
    "no seal": lambda path: rewrite(path, without("manifest.seal")),
    "a part more": lambda path: rewrite(path, lambda parts: parts.update(more=b"")),
    "a manifest of nothing": lambda path: rewrite(path, lambda parts: parts.update({"manifest.json": b"[]"})),
    "a manifest too large": lambda path: rewrite(
        path, lambda parts: parts.update({"manifest.json": b" " * 2_000_000 + parts["manifest.json"]})
    ),
    "compressed": lambda path: rewrite(path, lambda _: None, zipfile.ZIP_DEFLATED),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_not_as_it_was_written_is_refused_by_name(path: Path, vault: Vault, damage: str) -> None:
    DAMAGES[damage](path)

    with pytest.raises(ArchiveUnusable, match=r"a\.backup cannot be used: \w"):
        checked(path, vault)


def test_a_backup_of_another_plane_is_not_taken_for_this_ones(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ArchiveUnusable, match="key that is not in the key file"):
        checked(path, Vault.at(tmp_path / "other.keys"))


def test_a_seal_of_anything_else_is_none(path: Path, vault: Vault) -> None:
    rewrite(path, lambda parts: parts.update({"manifest.seal": vault.seal("webhook/1", b"x" * 32).encode()}))

    with pytest.raises(ArchiveUnusable, match="not what was sealed"):
        checked(path, vault)


def test_a_backup_from_before_a_rotation_is_known_while_the_former_key_is_kept(path: Path, tmp_path: Path) -> None:
    add_next(tmp_path / "vault.keys")
    let_next_seal(tmp_path / "vault.keys")

    checked(path, Vault.at(tmp_path / "vault.keys"))


def test_a_form_of_a_newer_release_is_named(tmp_path: Path, vault: Vault) -> None:
    write(tmp_path / "b.backup", vault, format=FORMAT + 1)

    with pytest.raises(ArchiveUnusable, match=f"the form {FORMAT + 1}, which a newer release made"):
        checked(tmp_path / "b.backup", vault)


def test_a_backup_without_keys_says_so(tmp_path: Path, vault: Vault) -> None:
    with drafted(tmp_path / "b.backup") as draft:
        with draft.part(DUMP) as add:
            add(b"")
        draft.close(replace(MANIFEST, parts=draft.parts), vault)
    with opened(tmp_path / "b.backup") as archive:
        assert isinstance(archive, Archive)
        assert archive.keys() is None
