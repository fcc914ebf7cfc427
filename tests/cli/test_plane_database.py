"""The plane's own database, whether the plane is up or not."""

from dataclasses import replace
from pathlib import Path

import pytest

from compass.cli.failures import CommandFailed
from compass.cli.plane_database import opened, vault
from compass.postgres.embedded import running
from compass.postgres.migrate import migrate
from compass.settings import DatabaseSettings, Settings
from compass.vault import Vault


async def count(settings: Settings) -> int:
    async with opened(settings) as database, database.transaction() as tx:
        return int(await tx.value("SELECT count(*) FROM tenant"))


async def test_a_database_of_its_own_is_reached_while_it_runs_and_while_it_does_not(tmp_path: Path) -> None:
    settings = Settings(data_folder=tmp_path)
    async with running(tmp_path / "postgres", settings={"fsync": "off"}) as dsn:
        await migrate(dsn)
        while_up = await count(settings)

    assert (while_up, await count(settings)) == (0, 0)


async def test_a_database_elsewhere_is_reached_by_its_dsn(dsn: str, tmp_path: Path) -> None:
    assert await count(Settings(data_folder=tmp_path, database=DatabaseSettings(dsn=dsn))) == 0


async def test_what_is_not_there_is_not_made(tmp_path: Path, empty_dsn: str) -> None:
    settings = Settings(data_folder=tmp_path)

    with pytest.raises(CommandFailed, match="there is no plane in"):
        await count(settings)
    with pytest.raises(CommandFailed, match="misses"):
        await count(replace(settings, database=DatabaseSettings(dsn=empty_dsn)))
    with pytest.raises(CommandFailed, match=r"there is no .*vault\.keys"):
        vault(settings)
    assert not (tmp_path / "vault.keys").exists()


def test_the_planes_vault_is_used_when_it_is_there(tmp_path: Path) -> None:
    sealed = Vault.at(tmp_path / "vault.keys").seal("place", b"secret")

    assert vault(Settings(data_folder=tmp_path)).open("place", sealed) == b"secret"
