"""`compass vault` as processes, on a real database."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from compass.connector.authority import Authority
from compass.postgres.pool import Database
from compass.settings import AuthoritySettings
from compass.vault import Vault, add_next, let_next_seal, read


async def vault(dsn: str, folder: Path, *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "compass", "vault", *arguments, "--data-folder", str(folder)),
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "COMPASS_DATABASE__DSN": dsn},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, wrong = await process.communicate()
    return process.returncode or 0, said.decode(), wrong.decode()


@pytest.fixture
async def keys(dsn: str, tmp_path: Path) -> Path:
    """The key file of a plane whose authority has two secrets."""
    path = tmp_path / "vault.keys"
    async with Database.open(dsn, connections=1) as database, database.transaction() as tx:
        await Authority.open(tx, Vault.at(path), AuthoritySettings())
    return path


async def test_a_whole_rotation_by_command(dsn: str, keys: Path) -> None:
    async def states() -> list[tuple[str, str, int]]:
        _, said, _ = await vault(dsn, keys.parent, "status", "-o", "json")
        return [(each["key"], each["state"], each["secrets"]) for each in json.loads(said)]

    old = read(keys).seals
    assert await states() == [(old, "seals", 2)]
    assert await vault(dsn, keys.parent, "retire") == (0, "", "done: there are no former keys\n")

    code, said, told = await vault(dsn, keys.parent, "rotate")
    new = read(keys).seals
    assert (code, said) == (0, "")
    # The third one is the key of the audit log, made to record this.
    assert told == (
        f"done: 2 secrets were sealed anew; {new} seals, 0 replicas serve with it\n"
        "next: back up vault.keys and the database; then compass vault retire\n"
    )
    assert await states() == [(new, "seals", 3), (old, "former", 0)]
    code, said, told = await vault(dsn, keys.parent, "status")
    assert (code, told) == (3, "replicas: 0\nnext: compass vault retire\n")
    assert f"{old}  former  the first start" in said
    assert "audit_key.sealed_key 1, authority.sealed_key 2" in said

    assert await vault(dsn, keys.parent, "retire") == (0, "", f"done: retired {old}\n")
    assert (await vault(dsn, keys.parent, "status"))[0] == 0
    assert await states() == [(new, "seals", 3)]


async def test_a_retirement_too_early_is_refused_with_what_is_left_and_the_way_out(dsn: str, keys: Path) -> None:
    add_next(keys)
    before = let_next_seal(keys)
    code, said, told = await vault(dsn, keys.parent, "retire")
    assert (code, said) == (1, "")
    assert f"2 in authority.sealed_key ({before.former[0]}); first: compass vault rotate" in told
    assert read(keys) == before


async def test_where_no_key_file_is_none_is_made(dsn: str, tmp_path: Path) -> None:
    for command in ("status", "rotate", "retire"):
        code, said, told = await vault(dsn, tmp_path / "elsewhere", command)
        assert (code, said, "vault.keys" in told) == (1, "", True)
    assert not (tmp_path / "elsewhere").exists()
