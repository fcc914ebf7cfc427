"""`compass vault`: the keys that seal a plane's secrets, from a machine that has its database and its `vault.keys`."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from compass.cli import plane_database
from compass.cli.failures import Exit
from compass.cli.output import Format, Output, say, show
from compass.cli.start import NO_FLAGS, PlaneFlags
from compass.settings import Settings

if TYPE_CHECKING:
    from compass.postgres.pool import Database
    from compass.vault_rotation import Standing

app = App(name="vault", help="Show and replace the keys that seal the secrets of a plane, while it is up.")


@app.command
def rotate(*, flags: PlaneFlags = NO_FLAGS) -> None:
    """Have a new key seal secrets, and seal all that there are anew under it.

    It may be repeated, and nothing is lost when it is interrupted: it goes on where it was. The former key stays in
    `vault.keys`, and opens, until compass vault retire. Where replicas have copies of that file, copy it to them when
    the command asks for it. Use the settings of the plane; its own PostgreSQL may be up or not.

    Exit codes: 0 everything is sealed under the new key, 1 a secret does not open or the database cannot be used, 2 a
    setting was refused, 6 a replica does not have the keys.
    """
    count, now = asyncio.run(_rotate(flags.settings()))
    say(f"done: {count} secrets were sealed anew; {now.seals} seals, {len(now.replicas)} replicas serve with it")
    say("next: back up vault.keys and the database; then compass vault retire")


@app.command
def retire(*, flags: PlaneFlags = NO_FLAGS) -> None:
    """Take the former keys out of `vault.keys`. Refused while anything is sealed under one of them.

    Backups of the database that were made before the rotation open with the former keys only: keep the `vault.keys`
    that belongs to them for as long as you keep them.

    Exit codes: 0 retired, 1 refused or the database cannot be used, 2 a setting was refused, 6 a replica does not have
    the keys, or a transaction is in the way: again later.
    """
    gone = asyncio.run(_retire(flags.settings()))
    say(f"done: retired {', '.join(gone)}" if gone else "done: there are no former keys")


@app.command
def status(*, flags: PlaneFlags = NO_FLAGS, output: Output = Format.TABLE) -> int:
    """Show the keys of the vault, how many secrets each seals, and which replicas have them.

    Exit codes: 0 all is well, 1 the database cannot be used, 2 a setting was refused, 3 a rotation is not finished, a
    replica is behind, or secrets are sealed under a key that is not there.
    """
    now = asyncio.run(_status(flags.settings()))
    show(
        [
            {
                "key": each.key,
                "state": each.state.value,
                "since": f"{each.since:%Y-%m-%d}" if each.since else "the first start",
                "secrets": sum(each.secrets.values()),
                "in": ", ".join(f"{column} {count}" for column, count in sorted(each.secrets.items())),
            }
            for each in now.keys
        ],
        output,
    )
    behind = [place for place, follows in now.replicas if not follows]
    say(f"replicas: {len(now.replicas)}" + (f", behind: {', '.join(behind)}" if behind else ""))
    if now.next_step:
        say(f"next: {now.next_step}")
    return Exit.DEGRADED if behind or now.next_step else Exit.OK


async def _rotate(settings: Settings) -> "tuple[int, Standing]":
    from compass.vault_rotation import rotate as rotated

    path = plane_database.vault_keys(settings)
    async with plane_database.opened(settings) as database:
        return await rotated(database, path), await _standing(database, path)


async def _retire(settings: Settings) -> "list[str]":
    from compass.vault_rotation import retire as retired

    path = plane_database.vault_keys(settings)
    async with plane_database.opened(settings) as database:
        return list(await retired(database, path))


async def _status(settings: Settings) -> "Standing":
    path = plane_database.vault_keys(settings)
    async with plane_database.opened(settings) as database:
        return await _standing(database, path)


async def _standing(database: "Database", path: Path) -> "Standing":
    from compass.vault import read
    from compass.vault_rotation import standing

    keys = read(path)
    return await database.run(lambda tx: standing(tx, keys))
