"""`compass serve`: the plane, for production. It changes no tables of an external database and prints no secret."""

from typing import TYPE_CHECKING

from compass.cli.failures import CommandFailed
from compass.cli.output import say
from compass.cli.running import until_stopped
from compass.cli.start import NO_FLAGS, PlaneFlags
from compass.settings import Settings

if TYPE_CHECKING:
    from compass.app import Started


def serve(*, flags: PlaneFlags = NO_FLAGS) -> int:
    """Run the plane until it is stopped, on a database that is up to date.

    For example:

        compass serve --config compass.toml

    Exit codes: 0 stopped on request, 1 could not start (a port, the database, missing migrations), 2 a setting was
    refused.
    """
    from compass.log import write_as
    from compass.starting import refuse_unsafe

    settings = flags.settings()
    refuse_unsafe(settings)
    write_as(settings.log)
    return until_stopped(_serve(settings))


async def _serve(settings: Settings) -> None:
    from compass.app import serve as serve_plane
    from compass.postgres.migrate import pending

    if settings.database.dsn is not None and (missing := await pending(settings.database.dsn)):
        # Its operator decides when its tables change; only a database of the plane's own is migrated by its start.
        raise CommandFailed(f"the database misses {len(missing)} migrations", hint="compass migrate applies them")
    await serve_plane(settings, ready=_ready)


def _ready(started: "Started") -> None:
    say(f"ready: {started.token_url} (tokens), {started.mtls_url} (client certificates)")
