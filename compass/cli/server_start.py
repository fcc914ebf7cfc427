"""`compass server start`: the plane, for production. It changes no tables of an external database, prints no secret."""

from typing import TYPE_CHECKING

from compass.cli.failures import CommandFailed
from compass.cli.output import say
from compass.cli.running import until_stopped
from compass.cli.start import NO_FLAGS, PlaneFlags
from compass.settings import Settings

if TYPE_CHECKING:
    from compass.app import Started


def start(*, flags: PlaneFlags = NO_FLAGS) -> int:
    """Run the plane until it is stopped, on a database that is up to date.

    For example:

        compass server start --config compass.toml

    Exit codes: 0 stopped on request, 1 could not start (a port, the database, missing migrations), 2 a setting was
    refused.
    """
    from compass.log import write_as
    from compass.starting import refuse_unsafe

    settings = flags.settings()
    refuse_unsafe(settings)
    write_as(settings.log)
    return until_stopped(_start(settings))


async def _start(settings: Settings) -> None:
    from compass.app import serve
    from compass.postgres.migrate import pending

    if settings.database.dsn is not None and (missing := await pending(settings.database.dsn)):
        # Its operator decides when its tables change; only a database of the plane's own is migrated by its start.
        message = f"the database misses {len(missing)} migrations"
        raise CommandFailed(message, hint="compass server migrate applies them")
    await serve(settings, ready=_ready)


def _ready(started: "Started") -> None:
    say(f"ready: {started.token_url} (tokens), {started.mtls_url} (client certificates)")
