"""Making a backup, while the plane serves: one moment of the database, seen by `pg_dump` and by us alike."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from compass import vault as key_file
from compass.audit.chain import BEGINNING, Checkpoint, digest_of
from compass.audit.log import one_snapshot
from compass.backup.archive import DUMP, FORMAT, KEYS, Manifest, drafted
from compass.errors import Code, CompassError
from compass.postgres import programs
from compass.postgres.migrate import pending
from compass.postgres.pool import Database
from compass.postgres.roles import server
from compass.vault import Vault
from compass.vault_rotation import held


class NothingThere(CompassError):
    """The database has none of a plane's tables."""

    code = Code.NOT_FOUND
    message = "there is no plane in this database: it has no tables"


async def make(
    dsn: str, keys: Path, path: Path, *, release: str, with_keys: bool, told: Callable[[int], None]
) -> Manifest:
    """Write a backup of the database to `path`, which must not be there. The plane may be up, and of an older release.

    `keys` is the key file of its vault. `told` hears how many bytes of the dump there are, again and again.

    Raises NothingThere, ArchiveUnwritable, NoPrograms, ProgramFailed, KeyFileUnusable, and what `pending` raises; then
    there is no such file.
    """
    await pending(dsn)
    async with Database.open(dsn, connections=1) as database, database.transaction() as tx:
        await one_snapshot(tx)
        await tx.run(HOLD)  # the dump takes as long as it takes
        if not await tx.value(IS_THERE):
            raise NothingThere
        kept = key_file.read(keys)
        about, postgres = await tx.row(ABOUT), await server(tx)
        if about is None:
            raise AssertionError("a SELECT without FROM has one row")
        last: str | None = about["checkpoint"]
        # What is sealed under a key that is lost cannot be opened with this backup, nor without it.
        needed = sorted({kept.seals, *(each.key for each in await held(tx))} & kept.by_id.keys())
        chosen = programs.find(postgres.major)
        with drafted(path) as draft:
            with draft.part(DUMP) as write:
                written = 0

                def counting(piece: bytes) -> None:
                    nonlocal written
                    write(piece)
                    written += len(piece)
                    told(written)

                await programs.dump(chosen, dsn, snapshot=about["snapshot"], write=counting)
            if with_keys:
                with draft.part(KEYS) as write:
                    write(key_file.text(kept).encode())
            manifest = Manifest(
                format=FORMAT,
                release=release,
                made_at=about["at"].isoformat(timespec="seconds"),
                migration=about["migration"],
                server=postgres.major,
                owner=postgres.owner,
                tenants=about["tenants"],
                checkpoint=Checkpoint.read(last).number if last else 0,
                checkpoint_digest=digest_of(last) if last else BEGINNING,
                keys={key: kept.fingerprint(key) for key in needed},
                parts=draft.parts,
            )
            draft.close(manifest, Vault(kept))
    return manifest


HOLD: Final = """
-- backup.hold
SET LOCAL idle_in_transaction_session_timeout = 0
"""
IS_THERE: Final = """
-- backup.is_there
SELECT to_regclass('migration') IS NOT NULL AND to_regclass('tenant') IS NOT NULL
"""
ABOUT: Final = """
-- backup.about
SELECT pg_export_snapshot() AS snapshot, clock_timestamp() AS at,
    (SELECT name FROM migration ORDER BY number DESC LIMIT 1) AS migration,
    (SELECT count(*) FROM tenant) AS tenants,
    (SELECT body FROM audit_checkpoint ORDER BY number DESC LIMIT 1) AS checkpoint
"""
