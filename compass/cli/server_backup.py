"""`compass server backup`: everything a plane must not forget, as one file."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from compass.cli import plane_database
from compass.cli.output import done, emit, say
from compass.cli.start import NO_FLAGS, PlaneFlags
from compass.cli.version import VERSION
from compass.cli.waiting import amount
from compass.settings import Settings

if TYPE_CHECKING:
    from compass.backup.archive import Manifest


def backup(
    *,
    to: Path,
    with_keys: Annotated[bool, Parameter(negative="")] = False,
    flags: PlaneFlags = NO_FLAGS,
) -> None:
    """Write a backup of the plane's database into a new file, and print its name. The plane may be up.

    For example:

        compass server backup --to compass-2027-03-01.backup

    It is one moment of the database, whatever is changed meanwhile. The file is there when it is whole, and only its
    owner can read it. `pg_dump` of the database's version is needed, and with a database of its own comes along. Where
    it lies elsewhere, PGBIN says in which folder.

    The vault's keys are not in it unless you say so: the secrets in the database are sealed, and who has both has them
    all. Keep `vault.keys` as well, in another place. The backup says which keys it needs.

    Exit codes: 0 the file is there, 1 it is not (the database cannot be used, the file exists already or cannot be
    written), 2 a setting was refused, 4 there is no plane in the database.

    Parameters
    ----------
    to
        The file to write. It must not be there yet.
    with_keys
        Put `vault.keys` into it, too: then this one file is enough, and whoever reads it has every secret.
    """
    manifest = asyncio.run(_backup(flags.settings(), to, with_keys=with_keys))
    done(
        f"{manifest.tenants} {'tenant' if manifest.tenants == 1 else 'tenants'}, as of {manifest.made_at}, with the"
        f" migration {manifest.migration}"
    )
    if with_keys:
        say("the keys of the vault are in it: whoever reads this file can open every secret")
    else:
        keys = ", ".join(manifest.keys)
        say(f"to restore it you need vault.keys with {keys}, which is not in it: keep that elsewhere")
    emit(str(to))


async def _backup(settings: Settings, to: Path, *, with_keys: bool) -> "Manifest":
    from compass.backup.make import make

    keys = plane_database.vault_keys(settings)
    async with plane_database.reached(settings) as dsn:
        with amount("the database") as told:
            return await make(dsn, keys, to, release=VERSION, with_keys=with_keys, told=told)
