"""`compass account`: the administrator of the plane, from the machine that has its database."""

import asyncio
from pathlib import Path

from cyclopts import App

from compass.cli.failures import CommandFailed
from compass.cli.output import emit, say
from compass.cli.start import NO_FLAGS, PlaneFlags
from compass.settings import Settings

app = App(name="account", help="Give the administrator of a plane a new secret.")


@app.command
def reset(*, flags: PlaneFlags = NO_FLAGS) -> None:
    """Give the administrator a new secret and print it, once. The old secret stops working.

    For example:

        compass account reset

    For a plane whose secret is lost, or that was first started by `compass server start`, which shows none. Access
    tokens that were got with the old secret end within the hour. With a database of its own, the plane must be stopped.

    Exit codes: 0 the new secret is on stdout, 1 the database cannot be used (another plane runs on it, it is away, or
    it misses migrations), 2 a setting was refused.
    """
    settings = flags.settings()
    name, secret = asyncio.run(_reset(settings))
    if not _keys(settings).exists():
        say(f"not in the audit log: there is no {_keys(settings)}")
    say(f"client {name} has a new secret, which is not kept anywhere and not shown again:")
    emit(secret)


async def _reset(settings: Settings) -> tuple[str, str]:
    from compass.postgres import embedded

    if settings.database.dsn is not None:
        return await _replaced(settings, settings.database.dsn)
    folder = settings.data_folder / "postgres"
    if not (folder / "data").exists():
        raise CommandFailed(
            f"there is no plane in {settings.data_folder}",
            hint="--data-folder names another folder; COMPASS_DATABASE__DSN names a database",
        )
    async with embedded.running(folder) as dsn:
        return await _replaced(settings, dsn)


async def _replaced(settings: Settings, dsn: str) -> tuple[str, str]:
    from compass.access import account
    from compass.audit.keys import Keys
    from compass.audit.record import Log
    from compass.postgres.migrate import pending
    from compass.postgres.pool import Database
    from compass.vault import Vault

    if missing := await pending(dsn):
        raise CommandFailed(
            f"the database misses {len(missing)} migrations", hint="compass server migrate applies them"
        )
    async with Database.open(dsn, connections=1) as database, database.transaction() as tx:
        secret = await account.replaced(tx)
        if _keys(settings).exists():
            log = Log(await Keys.open(tx, Vault.at(_keys(settings))))
            await log.record(tx, account.made())
        return account.ADMINISTRATOR, secret


def _keys(settings: Settings) -> Path:
    return settings.data_folder / "vault.keys"
