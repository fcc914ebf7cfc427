"""`compass audit` on real databases, from the plane's data folder."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from compass.audit.keys import Keys
from compass.audit.record import Done, Log
from compass.audit.seal import Sealer
from compass.postgres.pool import Database
from compass.vault import Vault

PROGRAM = "from compass.cli.main import main; main()"


def audit(folder: Path, dsn: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, "audit", *arguments]
    if arguments[0] in ("verify", "export"):
        command += ["--data-folder", str(folder)]
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "COMPASS_DATABASE__DSN": dsn}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


@pytest.fixture
async def folder(database: Database, tmp_path: Path) -> Path:
    """The data folder of a plane with three records, each sealed by itself."""
    folder = tmp_path / "plane"
    folder.mkdir()
    async with database.transaction() as tx:
        keys = await Keys.open(tx, Vault.at(folder / "vault.keys"))
    for name in ("a", "b", "c"):
        async with database.transaction() as tx:
            await Log(keys).record(tx, Done("registerApplication", {}, None, "", {"name": name}))
        assert await Sealer(database, keys, folder).once()
    return folder


async def change(database: Database, sql: str) -> None:
    async with database.transaction() as tx:
        assert await tx.run(sql) > 0


async def test_a_log_is_checked_exported_and_its_copy_checked(folder: Path, dsn: str, tmp_path: Path) -> None:
    whole = audit(folder, dsn, "verify")
    copy = audit(folder, dsn, "export")
    later = audit(folder, dsn, "export", "--after", "2")
    file = tmp_path / "copy.jsonl"
    file.write_text(copy.stdout)
    public = json.loads(copy.stdout.splitlines()[0])["keys"]
    ((name, text),) = public.items()
    believed = audit(folder, dsn, "verify", str(file), "--key", text)
    foreign = audit(folder, dsn, "verify", str(file), "--key", "00" * 32)
    asked = audit(folder, dsn, "verify", str(file))

    said = f"checked 3 records in 3 checkpoints\nwith the key {name}: {text}\n"
    assert (whole.returncode, whole.stdout, whole.stderr) == (0, "", said)
    assert (copy.returncode, copy.stderr, len(copy.stdout.splitlines())) == (0, "", 7)
    assert len(later.stdout.splitlines()) == 3
    assert (believed.returncode, believed.stdout, believed.stderr) == (0, "", said)
    assert (foreign.returncode, foreign.stdout.splitlines()[0]) == (9, "altered: checkpoint 1")
    assert (asked.returncode, asked.stderr.splitlines()[2]) == (
        0,
        "which is the copy's own word: compare it with what compass audit verify prints on the plane",
    )


async def test_what_was_changed_is_printed_and_the_exit_code_says_so(
    folder: Path, dsn: str, database: Database
) -> None:
    await change(
        database,
        "UPDATE audit_record SET happened_at = happened_at + interval '1 day' "
        "WHERE body -> 'arguments' ->> 'name' = 'b'",
    )
    async with database.transaction() as tx:
        changed = await tx.value("SELECT id FROM audit_record WHERE body -> 'arguments' ->> 'name' = 'b'")

    ended = audit(folder, dsn, "verify")

    assert ended.returncode == 9
    assert ended.stdout.startswith(f"altered: record 2 of no tenant, {changed} ('registerApplication' at ")
    assert ended.stdout.endswith(", in checkpoint 2\n")


async def test_an_end_that_was_cut_is_seen_by_the_anchor_in_the_data_folder_and_by_an_earlier_export(
    folder: Path, dsn: str, database: Database, tmp_path: Path
) -> None:
    file = tmp_path / "copy.jsonl"
    file.write_text(audit(folder, dsn, "export").stdout)
    for sql in (
        "DELETE FROM audit_record WHERE body -> 'arguments' ->> 'name' = 'c'",
        "DELETE FROM audit_batch WHERE checkpoint = 3",
        "DELETE FROM audit_checkpoint WHERE number = 3",
    ):
        await change(database, sql)

    by_anchor = audit(folder, dsn, "verify")
    (folder / "audit.anchor").unlink()
    by_nothing = audit(folder, dsn, "verify")
    by_export = audit(folder, dsn, "verify", "--anchor", str(file))

    cut = "cut: the log ends at checkpoint 2, and had reached checkpoint 3 before\n"
    assert [ended.stdout for ended in (by_anchor, by_nothing, by_export)] == [cut, "", cut]
    assert [ended.returncode for ended in (by_anchor, by_nothing, by_export)] == [9, 0, 9]


async def test_what_cannot_be_read_is_no_verdict(folder: Path, dsn: str, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("nothing\n")

    ended = [
        audit(folder, dsn, "verify", str(text)),
        audit(folder, dsn, "verify", str(tmp_path / "missing")),
        audit(folder, dsn, "verify", "--anchor", str(text)),
        audit(tmp_path, dsn, "verify"),
        audit(folder, dsn, "verify", "--key", "00" * 32),
    ]

    assert [(one.returncode, one.stdout) for one in ended] == [(1, "")] * 4 + [(2, "")]
    assert ended[3].stderr == (
        f"error: there is no {tmp_path / 'vault.keys'}\nhint: use the plane's own settings and data folder\n"
    )
    assert not (tmp_path / "vault.keys").exists()
