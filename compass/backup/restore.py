"""Making a plane's database from a backup, in an empty database: whole, or not at all.

What a plane must not start from is marked: a table that is made first and removed last, while which is there nobody but
a repetition of this gets in (`postgres/migrate.py`). In between are three steps, each of which may be killed at any
moment: one transaction that fills the database, the migrations of this release, and one transaction that ends what must
not be usable any more because somebody may have used it since the backup was made.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from compass.access.tokens import AccessTokens
from compass.audit.check import Problem
from compass.audit.keys import Keys as AuditKeys
from compass.audit.log import check, one_snapshot
from compass.audit.record import Done, Log
from compass.audit.seal import ANCHOR, Anchor
from compass.backup.archive import DUMP, Archive, Manifest
from compass.connector import one_time_token
from compass.errors import Code, CompassError
from compass.files import write_private
from compass.postgres import programs, row_security
from compass.postgres.migrate import RestoreUnfinished, known, migrate_restored, pending
from compass.postgres.pool import Database, Tx
from compass.postgres.roles import Server, make_tenant_role, server
from compass.vault import Vault, read


class BackupFromNewerRelease(CompassError):
    """The backup has a migration that this release does not know."""

    code = Code.INVALID_OPERATION
    message = "the backup was made with the migration {migration}, of a newer release ({release}); use that release"


class KeysMissing(CompassError):
    """The vault's key file lacks keys without which the secrets in the backup cannot be opened."""

    code = Code.INVALID_OPERATION
    message = (
        "{path} lacks what opens the secrets in the backup: {keys}; put the vault.keys there that belongs to the"
        " backup, mode 0600"
    )


class DatabaseNotEmpty(CompassError):
    """There is something in the database already."""

    code = Code.INVALID_OPERATION
    message = (
        "the database is not empty, and a backup is restored into an empty one only: drop it and create it anew, or use"
        " another one; for a plane's own PostgreSQL another data folder"
    )


class DatabaseUnfit(CompassError):
    """The backup would not work in the database."""

    code = Code.INVALID_OPERATION
    message = "the backup does not fit this database: {why}"


@dataclass(frozen=True)
class Restored:
    """What was done, and what is left to know."""

    migrated: Sequence[str]
    """Migrations that came on top."""
    tokens: int
    """One-time tokens that could have been used, and were ended."""
    certificates: int
    """Of clients, in force by the backup's word."""
    problems: Sequence[Problem]
    """Where the audit log is not as it was written."""
    records: int
    lost: int
    """Checkpoints of the audit log that the data folder knows of and the backup does not."""


def keys_for(archive: Archive, path: Path) -> bytes | None:
    """What has to be written to `path` before the secrets in the backup can be opened; None when it has what it takes.

    Raises KeysMissing, ArchiveUnusable, KeyFileUnusable.
    """
    needed = archive.manifest.keys
    if not path.exists():
        brought = archive.keys()
        if brought is None:
            raise KeysMissing(path=str(path), keys=", ".join(needed) or "all keys")
        return brought
    kept = read(path)
    if lacking := [key for key, is_one in needed.items() if key not in kept.by_id or kept.fingerprint(key) != is_one]:
        raise KeysMissing(path=str(path), keys=", ".join(lacking))
    return None


def require_known(manifest: Manifest) -> None:
    """Raises BackupFromNewerRelease."""
    if manifest.migration not in known():
        raise BackupFromNewerRelease(migration=manifest.migration, release=manifest.release)


async def require_fitting(dsn: str, archive: Archive) -> bool:
    """Whether the dump has to be restored still; False when that was done, and what comes after it was interrupted.

    Changes nothing. Raises DatabaseNotEmpty, DatabaseUnfit, NoPrograms, RestoreUnfinished, and what `pending` raises.
    """
    with suppress(RestoreUnfinished):
        await pending(dsn)
    async with Database.open(dsn, connections=1) as database, database.transaction() as tx:
        _require_same_server(archive.manifest, postgres := await server(tx))
        programs.find(postgres.major)
        began = await tx.value(BEGAN) if await tx.value(IS_MARKED) else None
        if await tx.value(IS_EMPTY):
            return True
        if began is None:
            raise DatabaseNotEmpty
        if began != archive.digest:
            raise RestoreUnfinished
        return False


def _require_same_server(manifest: Manifest, postgres: Server) -> None:
    if postgres.owner != manifest.owner:
        why = (
            f"it belongs to the role {manifest.owner}, and the plane's role here is {postgres.owner}: "
            f"use a role of that name"
        )
        raise DatabaseUnfit(why=why)
    if postgres.major < manifest.server:
        raise DatabaseUnfit(
            why=f"it is from PostgreSQL {manifest.server}, and this is {postgres.major}: use a newer one"
        )
    if postgres.passes_policies:
        raise DatabaseUnfit(why=row_security.SUPERUSER)


async def restore(
    dsn: str, archive: Archive, keys: Path, *, told: Callable[[int], None], to_fill: bool = True
) -> Restored:
    """Fill the database, which `require_fitting` has looked at, and end what must not be usable any more.

    The backup was found whole, and `keys` has what it needs. `told` hears how many bytes went in, again and again.

    Raises ProgramFailed, TenantRoleMissing, Unprotected, SealBroken, and what `migrate` raises; whatever is raised, a
    repetition goes on.
    """
    vault = Vault.at(keys)
    if to_fill:
        await _fill(dsn, archive, told)
    migrated = await migrate_restored(dsn)
    lost = _set_aside(keys.parent, archive.manifest)
    async with Database.open(dsn, connections=1) as database:
        tokens = await database.run(lambda tx: _finish(tx, vault, archive.manifest))
        async with database.transaction() as tx:
            await one_snapshot(tx)
            anchors = _anchors(archive.manifest)
            checked = await check(tx, await AuditKeys.known(tx, vault) or {}, anchors)
            certificates = await tx.value(IN_FORCE)
    return Restored(migrated, tokens, certificates, checked.problems, checked.records, lost)


async def _fill(dsn: str, archive: Archive, told: Callable[[int], None]) -> None:
    async with Database.open(dsn, connections=1) as database, database.transaction() as tx:
        postgres = await server(tx)
        await make_tenant_role(tx, postgres)
        await tx.run(MARK)
        await tx.run(UNMARKED)
        await tx.run(BEGIN, digest=archive.digest)

    def counted() -> Iterator[bytes]:
        sent = 0
        for piece in archive.pieces(DUMP):
            sent += len(piece)
            told(sent)
            yield piece

    await programs.restore(programs.find(postgres.major), dsn, counted())


async def _finish(tx: Tx, vault: Vault, manifest: Manifest) -> int:
    """End what must not be usable, put it on record, and let planes in."""
    await tx.run(HOLD_MARK)  # whoever does the same at the same time finds it gone
    await row_security.require(tx)
    ended = await one_time_token.end_all(tx)
    await AccessTokens.end_all(tx)
    await tx.run(FORGET_REPLICAS)
    done = Done(
        operation="restoreBackup",
        who={"consumer": "Operator", "consumerID": "", "flow": "Local"},
        tenant=None,
        request_id="",
        arguments={"madeAt": manifest.made_at, "release": manifest.release, "migration": manifest.migration},
        result={"tokensEnded": ended},
        object_type="Database",
    )
    await Log(await AuditKeys.open(tx, vault)).record(tx, done)
    await tx.run(UNMARK)
    return ended


def _anchors(manifest: Manifest) -> Mapping[int, str]:
    return {manifest.checkpoint: manifest.checkpoint_digest} if manifest.checkpoint else {}


def _set_aside(folder: Path, manifest: Manifest) -> int:
    """Keep what the folder knows of the log's end under another name. How many checkpoints the backup has not."""
    anchor = Anchor(folder / ANCHOR)
    kept = anchor.read()
    if kept is None or kept == (manifest.checkpoint, manifest.checkpoint_digest):
        return 0
    anchor.path.replace(anchor.path.with_name(f"{ANCHOR}.before-restore"))
    return max(0, kept[0] - manifest.checkpoint)


def bring_keys(path: Path, keys: bytes) -> None:
    """Write the key file that a backup had in it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(path, keys)


IS_MARKED: Final = """
-- restore.is_marked
SELECT to_regclass('restore_unfinished') IS NOT NULL
"""
BEGAN: Final = """
-- restore.began
SELECT digest FROM restore_unfinished
"""
IS_EMPTY: Final = """
-- restore.is_empty
SELECT NOT EXISTS (
    SELECT FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
        AND relname <> 'restore_unfinished'
)
"""
MARK: Final = """
-- restore.mark
CREATE TABLE IF NOT EXISTS restore_unfinished (digest text NOT NULL)
"""
UNMARKED: Final = """
-- restore.unmarked
DELETE FROM restore_unfinished
"""
BEGIN: Final = """
-- restore.begin
INSERT INTO restore_unfinished (digest) VALUES (%(digest)s)
"""
HOLD_MARK: Final = """
-- restore.hold_mark
LOCK TABLE restore_unfinished IN ACCESS EXCLUSIVE MODE
"""
UNMARK: Final = """
-- restore.unmark
DROP TABLE restore_unfinished
"""
FORGET_REPLICAS: Final = """
-- restore.forget_replicas
DELETE FROM authority_replica
"""
IN_FORCE: Final = """
-- restore.in_force
SELECT count(*) FROM certificate
WHERE kind = 'client' AND fingerprint IS NOT NULL AND revoked_at IS NULL AND not_after > now()
"""
