"""A restored database is the one that was backed up, less what may have been used since; or it is not there at all.

`COMPASS_PROOF=1` kills the restore at every point.
"""

import asyncio
import os
import random
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from compass import vault
from compass.access.tokens import AccessTokens
from compass.app import plane
from compass.audit.check import Kind
from compass.audit.keys import Keys
from compass.audit.log import check
from compass.audit.seal import ANCHOR, Anchor
from compass.backup import restore as module
from compass.backup.archive import DUMP, Archive, opened
from compass.backup.make import make
from compass.backup.restore import (
    BackupFromNewerRelease,
    DatabaseNotEmpty,
    DatabaseUnfit,
    KeysMissing,
    Restored,
    bring_keys,
    keys_for,
    require_fitting,
    require_known,
    restore,
)
from compass.postgres import row_security
from compass.postgres.migrate import RestoreUnfinished, migrate, migrate_restored, pending
from compass.postgres.pool import Database
from compass.postgres.programs import ProgramFailed
from compass.postgres.roles import Server
from compass.settings import DatabaseSettings, ListenSettings, Settings
from compass.vault import Vault
from tests.backup.conftest import content

PROOF = bool(os.environ.get("COMPASS_PROOF"))
ROOT = Path(__file__).parents[2]
SIGKILLED = -9
OPEN = """
-- test.open
SELECT count(*) FROM one_time_token WHERE used_at IS NULL AND replaced_at IS NULL AND expires_at > clock_timestamp()
"""
RESTORED = "-- test.restored\nSELECT body, tenant_id FROM audit_record WHERE operation = 'restoreBackup'"
CHANGED = {"audit_record", "audit_unsealed", "authority_replica", "one_time_token", "signing_key"}
"""Tables that a restore changes."""


async def restored(dsn: str, file: Path, keys: Path) -> Restored:
    with opened(file) as archive:
        to_fill = await require_fitting(dsn, archive)
        return await restore(dsn, archive, keys, told=lambda _: None, to_fill=to_fill)


async def value(dsn: str, query: str) -> object:
    async with Database.open(dsn, connections=1) as database, database.transaction() as tx:
        return await tx.value(query)


async def test_every_row_is_there_again_but_for_what_the_restore_ends(
    source: tuple[str, Path], backup: Path, empty_dsn: str, keys: Path
) -> None:
    before = await content(source[0])

    done = await restored(empty_dsn, backup, keys)

    after = await content(empty_dsn)
    assert {name for name in before if before[name] != after.get(name)} <= CHANGED
    assert before.keys() == after.keys()
    assert sum(map(len, before.values())) > 500
    assert set(before["audit_record"]) < set(after["audit_record"])
    assert len(after["audit_record"]) == len(before["audit_record"]) + 1
    assert (done.migrated, done.problems, done.lost) == ([], [], 0)


async def test_what_is_restored_is_kept_to_its_tenants_as_before(
    source: tuple[str, Path], backup: Path, empty_dsn: str, keys: Path
) -> None:
    await restored(empty_dsn, backup, keys)

    catalogue = """
-- test.catalogue
SELECT string_agg(line, E'\\n' ORDER BY line) FROM (
    SELECT format('%s %s %s %s %s %s', polrelid::regclass, polname, polcmd, polroles::regrole[], pg_get_expr(polqual,
        polrelid), pg_get_expr(polwithcheck, polrelid)) AS line FROM pg_policy
    UNION ALL SELECT format('%s %s %s %s', relname, relrowsecurity, relforcerowsecurity, relacl) FROM pg_class
    WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT format('%s %s %s %s', proname, prosecdef, proconfig, proacl) FROM pg_proc
    WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT format('%s %s', conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint
    UNION ALL SELECT format('%s.%s %s', attrelid::regclass, attname, col_description(attrelid, attnum))
    FROM pg_attribute WHERE attnum > 0 AND attrelid IN (
        SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace
    )
) AS lines
"""
    assert await value(empty_dsn, catalogue) == await value(source[0], catalogue)
    async with Database.open(empty_dsn, connections=1) as database, database.transaction() as tx:
        await row_security.require(tx)


async def test_what_may_have_been_used_since_is_ended_and_the_restore_is_on_record(
    source: tuple[str, Path], backup: Path, empty_dsn: str, keys: Path
) -> None:
    open_then = await value(source[0], OPEN)
    assert isinstance(open_then, int)
    assert open_then > 0
    vault = Vault.at(keys)

    done = await restored(empty_dsn, backup, keys)

    assert (done.tokens, await value(empty_dsn, OPEN)) == (open_then, 0)
    async with Database.open(empty_dsn, connections=1) as database, database.transaction() as tx:
        assert await tx.rows("-- test.keys\nSELECT FROM signing_key WHERE retired_at IS NULL") == []
        (record,) = await tx.rows(RESTORED)
        said = record["body"].decode()
        assert record["tenant_id"] is None
        with opened(backup) as archive:
            assert archive.manifest.made_at in said
        assert f'"tokensEnded":{open_then}' in said.replace(" ", "")
        assert (await check(tx, await Keys.open(tx, vault))).problems == []
        before = await tx.value("-- test.count\nSELECT count(*) FROM signing_key")
        await AccessTokens.open(tx, vault)
        assert await tx.value("-- test.count\nSELECT count(*) FROM signing_key") == before + 1


async def test_a_plane_starts_on_what_was_restored(backup: Path, empty_dsn: str, keys: Path) -> None:
    await restored(empty_dsn, backup, keys)

    settings = Settings(
        data_folder=keys.parent,
        database=DatabaseSettings(dsn=empty_dsn),
        listen=ListenSettings(token_port=0, mtls_port=0),
    )
    async with plane(settings) as started:
        assert started.token_url


# --- what is refused ---


async def test_a_database_with_anything_in_it_is_refused_and_left_alone(
    backup: Path, dsn: str, empty_dsn: str, keys: Path
) -> None:
    async with Database.open(empty_dsn, connections=1) as database:
        await database.run(lambda tx: tx.run("-- test.other\nCREATE TABLE other ()"))
    for target in (dsn, empty_dsn):
        before = await content(target)

        with pytest.raises(DatabaseNotEmpty):
            await restored(target, backup, keys)

        assert await content(target) == before


async def test_a_database_that_is_older_or_somebody_elses_or_a_superusers_is_refused(
    backup: Path, empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(backup) as archive:
        manifest = archive.manifest
        there = Server(manifest.server, "", manifest.owner, False, True, "compass_tenant", True)
        for other, why in (
            (replace(there, major=manifest.server - 1), "use a newer one"),
            (replace(there, owner="mallory"), "the role compass, and the plane's role here is mallory"),
            (replace(there, passes_policies=True), "superuser"),
        ):

            async def server(_: object, other: Server = other) -> Server:
                return other

            monkeypatch.setattr(module, "server", server)
            with pytest.raises(DatabaseUnfit, match=why):
                await require_fitting(empty_dsn, archive)
    assert await content(empty_dsn) == {}


def test_a_backup_of_a_newer_release_is_refused(backup: Path) -> None:
    with opened(backup) as archive:
        require_known(archive.manifest)
        with pytest.raises(BackupFromNewerRelease, match=r"9000_pre_later, of a newer release \(9\.0\)"):
            require_known(replace(archive.manifest, migration="9000_pre_later", release="9.0"))


async def test_the_keys_have_to_be_there_and_to_be_the_same(
    source: tuple[str, Path], backup: Path, tmp_path: Path
) -> None:
    key = vault.read(source[1]).seals
    with opened(backup) as archive:
        assert keys_for(archive, source[1]) is None
        with pytest.raises(KeysMissing, match=key):
            keys_for(archive, tmp_path / "vault.keys")
        assert not (tmp_path / "vault.keys").exists()
        other = Vault.at(tmp_path / "vault.keys").key_ids[0]
        with pytest.raises(KeysMissing, match=key):
            keys_for(archive, tmp_path / "vault.keys")
        same_name = (tmp_path / "vault.keys").read_text().replace(other, key)
        (tmp_path / "vault.keys").write_text(same_name)
        with pytest.raises(KeysMissing, match=key):
            keys_for(archive, tmp_path / "vault.keys")


async def test_a_backup_may_bring_its_keys(source: tuple[str, Path], tmp_path: Path) -> None:
    await make(*source, tmp_path / "a.backup", release="0.1.0", with_keys=True, told=lambda _: None)
    path = tmp_path / "new" / "vault.keys"
    with opened(tmp_path / "a.backup") as archive:
        brought = keys_for(archive, path)
        assert brought is not None
        bring_keys(path, brought)
        assert keys_for(archive, path) is None
    assert path.read_bytes() == source[1].read_bytes()
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


# --- the audit log ---


async def test_what_the_data_folder_knows_of_a_longer_log_is_set_aside_and_told(
    backup: Path, empty_dsn: str, keys: Path
) -> None:
    anchor = Anchor(keys.parent / ANCHOR)
    with opened(backup) as archive:
        last = archive.manifest.checkpoint
    anchor.write(last + 3, "f" * 64)

    done = await restored(empty_dsn, backup, keys)

    assert (done.lost, done.problems, anchor.read()) == (3, [], None)
    assert Anchor(keys.parent / f"{ANCHOR}.before-restore").read() == (last + 3, "f" * 64)


async def test_a_log_that_is_not_the_one_that_was_backed_up_is_named(
    backup: Path, empty_dsn: str, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrated = migrate_restored

    async def tampered(dsn: str) -> list[str]:
        done = await migrated(dsn)
        async with Database.open(dsn, connections=1) as database:
            await database.run(
                lambda tx: tx.run(
                    "-- test.cut\nDELETE FROM audit_checkpoint"
                    " WHERE number = (SELECT max(number) FROM audit_checkpoint)"
                )
            )
        return done

    monkeypatch.setattr(module, "migrate_restored", tampered)

    assert Kind.CUT in [problem.kind for problem in (await restored(empty_dsn, backup, keys)).problems]


# --- interruptions ---


async def test_what_fails_half_way_leaves_a_database_that_no_plane_starts_from_and_that_can_be_repeated(
    backup: Path, empty_dsn: str, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = Archive.pieces

    def cut(archive: Archive, name: str) -> object:
        return iter([b"".join(pieces(archive, name))[:-3000]])  # the rows are at its end, and tables are made by then

    with monkeypatch.context() as broken:
        broken.setattr(Archive, "pieces", cut)
        with pytest.raises(ProgramFailed, match="pg_restore"):
            await restored(empty_dsn, backup, keys)

    assert set(await content(empty_dsn)) == {"restore_unfinished"}
    await refused(empty_dsn)
    await restored(empty_dsn, backup, keys)
    assert await pending(empty_dsn) == []


async def refused(dsn: str) -> None:
    """Whatever a plane, or a command beside it, does first."""
    first: list[Callable[[str], Awaitable[object]]] = [pending, migrate]
    for begin in first:
        with pytest.raises(RestoreUnfinished, match="give the command again with the same file"):
            await begin(dsn)


async def test_what_was_begun_with_one_file_is_not_finished_with_another(
    source: tuple[str, Path], backup: Path, empty_dsn: str, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupted(_: str) -> list[str]:
        raise ZeroDivisionError

    await make(*source, tmp_path / "other.backup", release="0.1.1", with_keys=False, told=lambda _: None)
    with monkeypatch.context() as broken:
        broken.setattr(module, "migrate_restored", interrupted)
        with pytest.raises(ZeroDivisionError):
            await restored(empty_dsn, backup, keys)

    await refused(empty_dsn)
    with pytest.raises(RestoreUnfinished):
        await restored(empty_dsn, tmp_path / "other.backup", keys)
    assert (await restored(empty_dsn, backup, keys)).tokens > 0


async def killed(dsn: str, file: Path, keys: Path, point: int) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.backup.killed_restore", dsn, file, keys, str(point)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


@pytest.mark.timeout(900)
async def test_wherever_it_is_killed_the_database_is_empty_marked_or_done(
    backup: Path, empty_dsn: str, keys: Path, record_property: Callable[[str, object], None]
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")
    dice = random.Random(seed)  # noqa: S311  # which points, not secrets
    code, said = await killed(empty_dsn, backup, keys, 0)
    assert code == 0
    points = int(said)
    assert points > 20
    wanted = await outcome(empty_dsn)
    chosen = range(1, points + 1) if PROOF else sorted(dice.sample(range(1, points + 1), 3))
    record_property("cases", len(chosen))
    for point in chosen:
        await cleared(empty_dsn)
        assert (await killed(empty_dsn, backup, keys, point))[0] == SIGKILLED, (seed, point)

        left = await settled(empty_dsn)
        if left == {} or set(left) == {"restore_unfinished"}:
            pass  # nothing of it is there
        elif "restore_unfinished" in left:
            await refused(empty_dsn)
        else:
            assert await outcome(empty_dsn) == wanted, (seed, point)
            continue
        await restored(empty_dsn, backup, keys)
        assert await outcome(empty_dsn) == wanted, (seed, point)


async def settled(dsn: str) -> dict[str, list[str]]:
    """What is there once the programs of whoever was killed have ended."""
    async with asyncio.timeout(60):
        while await value(dsn, OTHERS):
            await asyncio.sleep(0.05)
    return await content(dsn)


OTHERS = """
-- test.others
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND application_name IN ('pg_restore', 'compass-migrate')
"""


async def outcome(dsn: str) -> tuple[dict[str, int], object, int]:
    rows = await content(dsn)
    async with Database.open(dsn, connections=1) as database, database.transaction() as tx:
        return {name: len(of) for name, of in rows.items()}, await tx.value(OPEN), len(await tx.rows(RESTORED))


async def cleared(dsn: str) -> None:
    async with Database.open(dsn, connections=1) as database:
        await database.run(lambda tx: tx.run("-- test.drop\nDROP SCHEMA public CASCADE"))
        await database.run(lambda tx: tx.run("-- test.make\nCREATE SCHEMA public"))


def test_the_dump_is_what_is_filled_in(backup: Path) -> None:
    with opened(backup) as archive:
        assert next(archive.pieces(DUMP)).startswith(b"PGDMP")
