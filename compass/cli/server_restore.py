"""`compass server restore`: a plane's database from a backup, whole or not at all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from compass.cli.failures import Exit
from compass.cli.output import done, emit, say
from compass.cli.start import NO_FLAGS, PlaneFlags
from compass.cli.waiting import amount
from compass.settings import Settings

if TYPE_CHECKING:
    from compass.backup.archive import Archive
    from compass.backup.restore import Restored


def restore(
    file: Path,
    *,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    flags: PlaneFlags = NO_FLAGS,
) -> int:
    """Restore a backup into an empty database, and end what must not be usable any more.

    For example:

        compass server restore compass-2027-03-01.backup --dry-run
        compass server restore compass-2027-03-01.backup --data-folder /srv/compass

    `vault.keys` with the keys that the backup needs has to be in the data folder, unless it is in the backup. The
    backup is read and checked first; one of an older release gets the migrations of this one, one of a newer release is
    refused. Whoever interrupts it leaves an empty database, or one in which no plane starts until the same command was
    given again.

    A backup is older than what was in force. So one-time tokens that were open end, and all access tokens. Certificates
    that were revoked since are in force again, which cannot be known here: revoke them again. The restore is put into
    the audit log, which is checked.

    Exit codes: 0 restored, 1 refused or failed (the message says what to do), 2 a setting was refused, 9 restored, but
    the audit log in it is not as it was written.

    Parameters
    ----------
    file
        What `compass server backup` wrote.
    dry_run
        Only check the backup, the keys and the database.
    """
    from compass.backup.archive import opened

    settings = flags.settings()
    with opened(file) as archive:
        restored = asyncio.run(_restore(settings, archive, dry_run=dry_run))
        if restored is None:
            done(f"{file} is whole, and could be restored here: as of {archive.manifest.made_at}")
            return Exit.OK
        return _report(archive, restored)


def _report(archive: "Archive", restored: "Restored") -> int:
    made_at = archive.manifest.made_at
    done(f"restored as of {made_at}, with {archive.manifest.tenants} tenants")
    if restored.migrated:
        done(f"migrated: {len(restored.migrated)}, up to {restored.migrated[-1]}")
    done(f"ended: {restored.tokens} one-time tokens that were open, and every access token")
    for problem in restored.problems:
        emit(str(problem))
    if not restored.problems:
        done(f"the audit log is as it was written, {restored.records} records; the restore is in it")
    if restored.lost:
        say(f"the audit log had {restored.lost} checkpoints more: what they sealed is lost")
    say(f"What cannot be known here is what happened after {made_at}:")
    say(f"  - {restored.certificates} certificates of clients are in force; revoke again those that were revoked since")
    say("  - certificates that were issued since are in no list, and are good while their client is there")
    say("  - unpair again whoever was unpaired since, and delete again what was deleted")
    say("  - what was to be sent at that moment will be sent, perhaps a second time")
    say("  - the administrator's secret is that of then: compass account reset makes a new one")
    return Exit.NOT_TRUSTED if restored.problems else Exit.OK


async def _restore(settings: Settings, archive: "Archive", *, dry_run: bool) -> "Restored | None":
    from compass.backup.restore import bring_keys, keys_for, require_fitting, require_known
    from compass.backup.restore import restore as restored
    from compass.vault import Vault, parsed

    path = settings.data_folder / "vault.keys"
    require_known(archive.manifest)
    brought = keys_for(archive, path)
    archive.require_sealed(Vault.at(path) if brought is None else Vault(parsed(path, brought.decode())))
    archive.require_whole()
    if dry_run and settings.database.dsn is None and not (settings.data_folder / "postgres" / "data").exists():
        return None  # a database of its own is empty when it is made
    async with _database(settings) as dsn:
        to_fill = await require_fitting(dsn, archive)
        if dry_run:
            return None
        if brought is not None:
            bring_keys(path, brought)
        with amount("the backup") as told:
            return await restored(dsn, archive, path, told=told, to_fill=to_fill)


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[str]:
    """The database, made when it is the plane's own and not there. Raises CommandFailed when a plane has it."""
    from compass.postgres import embedded

    if settings.database.dsn is not None:
        yield settings.database.dsn
        return
    if not settings.data_folder.exists():
        settings.data_folder.mkdir(mode=0o700, parents=True)
    async with embedded.running(settings.data_folder / "postgres") as dsn:
        yield dsn
