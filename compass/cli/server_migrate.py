"""`compass server migrate`: bring the database's tables up to this version."""

import asyncio
from typing import Annotated

from cyclopts import Parameter

from compass.cli.failures import Exit
from compass.cli.output import emit, say
from compass.cli.start import NO_FLAGS, PlaneFlags
from compass.settings import Settings


def migrate(*, flags: PlaneFlags = NO_FLAGS, dry_run: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Apply the migrations that the database does not have yet, and print their names.

    For example:

        compass server migrate --dry-run
        compass server migrate

    Safe while an older plane serves, and safe to run twice or twice at once.

    Exit codes: 0 the database is up to date, 1 a migration failed and was rolled back, 5 --dry-run found some to apply.

    Parameters
    ----------
    dry_run
        Only print what would be applied.
    """
    names = asyncio.run(_migrate(flags.settings(), dry_run=dry_run))
    for name in names:
        emit(name)
    if not names:
        say("the database is up to date")
    return Exit.DIFFERENCES if dry_run and names else Exit.OK


async def _migrate(settings: Settings, *, dry_run: bool) -> list[str]:
    from compass.postgres import embedded
    from compass.postgres.migrate import migrate, pending

    work = pending if dry_run else migrate
    if settings.database.dsn is not None:
        return await work(settings.database.dsn)
    async with embedded.running(settings.data_folder / "postgres") as dsn:
        return await work(dsn)
