"""`compass ca` as processes, on real databases."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from compass.connector import issuer, rotation
from compass.connector.authority import Authority
from compass.postgres.embedded import running
from compass.postgres.migrate import migrate
from compass.postgres.pool import Database
from compass.settings import AuthoritySettings
from compass.vault import Vault
from tests.e2e.plane import processes_of

PROGRAM = "from compass.cli.main import main; main()"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def ca(tmp_path: Path, dsn: str) -> Run:
    """The command on the test's database and a data folder of its own."""

    def run(*arguments: str, folder: Path = tmp_path, external: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
        if external:
            environment["COMPASS_DATABASE__DSN"] = dsn
        command = [sys.executable, "-c", PROGRAM, "ca", *arguments, "--data-folder", str(folder)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)

    return run


@pytest.fixture
async def authority(dsn: str, tmp_path: Path) -> Authority:
    vault = Vault.at(tmp_path / "vault.keys")
    async with Database.open(dsn, connections=1) as database, database.transaction() as tx:
        return await Authority.open(tx, vault, AuthoritySettings())


def states(ca: Run) -> dict[str, str]:
    return {each["state"]: each["serial"] for each in json.loads(ca("status", "-o", "json").stdout)}


async def test_a_whole_rotation_by_command(ca: Run, authority: Authority, dsn: str) -> None:
    for phase, after in (
        ("prepare", ["active", "prepared"]),
        ("distribute", ["active", "distributed"]),
        ("activate", ["active", "replaced"]),
        ("retire", ["active"]),
    ):
        done = ca("rotate", phase)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert done.stderr.startswith(f"done: {phase}; 0 replicas serve with it\nnext: ")
        async with Database.open(dsn, connections=1) as database, database.transaction() as tx:
            assert [each.state for each in (await rotation.standing(tx)).authorities] == after
    assert states(ca)["active"] != authority.serial
    async with Database.open(dsn, connections=1) as database, database.transaction() as tx:
        recorded = await tx.rows("SELECT body #>> '{arguments,phase}' AS phase FROM audit_record ORDER BY id")
    assert [row["phase"] for row in recorded] == ["prepare", "distribute", "activate", "retire"]


async def test_a_phase_out_of_turn_is_refused_with_the_way_out(ca: Run, authority: Authority) -> None:
    for arguments, code, said in (
        (("rotate", "activate"), 1, "compass ca rotate prepare"),
        (("rotate", "prepare", "--force"), 2, "--force is for retire alone"),
        (("rotate", "nothing"), 2, ""),
    ):
        refused = ca(*arguments)
        assert (refused.returncode, refused.stdout) == (code, "")
        assert said in refused.stderr
    assert states(ca) == {"active": authority.serial}


async def test_another_folders_keys_are_neither_made_nor_used(ca: Run, authority: Authority, tmp_path: Path) -> None:
    refused = ca("rotate", "prepare", folder=tmp_path / "elsewhere")
    assert (refused.returncode, "vault.keys" in refused.stderr) == (1, True)
    assert not (tmp_path / "elsewhere").exists()
    (tmp_path / "other").mkdir()
    Vault.at(tmp_path / "other" / "vault.keys")
    refused = ca("rotate", "prepare", folder=tmp_path / "other")
    assert (refused.returncode, "cannot be opened" in refused.stderr) == (1, True)
    assert states(ca) == {"active": authority.serial}


async def test_an_authority_near_its_end_is_told(
    ca: Run, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_ago = datetime.now(UTC) - issuer.ISSUING_LIFE + timedelta(hours=1)

    class Then(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]  # the real one returns its own class
            return long_ago.astimezone(tz)

    with monkeypatch.context() as then:
        then.setattr(issuer, "datetime", Then)
        async with Database.open(dsn, connections=1) as database, database.transaction() as tx:
            await Authority.open(tx, Vault.at(tmp_path / "vault.keys"), AuthoritySettings())
    told = ca("status")
    assert told.returncode == 3, told.stderr
    assert "compass ca rotate prepare begins its replacement" in told.stderr


async def test_the_planes_own_database_is_reached_while_it_is_up_and_while_it_is_not(ca: Run, tmp_path: Path) -> None:
    there_is_none = ca("status", folder=tmp_path / "none", external=False)
    assert (there_is_none.returncode, "there is no plane in" in there_is_none.stderr) == (1, True)
    folder = tmp_path / "plane"
    folder.mkdir()
    async with running(folder / "postgres", settings={"fsync": "off"}) as dsn:
        await migrate(dsn)
        async with Database.open(dsn, connections=1) as database, database.transaction() as tx:
            await Authority.open(tx, Vault.at(folder / "vault.keys"), AuthoritySettings())
        up = ca("rotate", "prepare", folder=folder, external=False)
        assert up.returncode == 0, up.stderr
    down = ca("status", "-o", "name", folder=folder, external=False)
    assert (down.returncode, down.stdout.split()) == (0, ["active", "prepared"]), down.stderr
    assert processes_of(folder) == []
