"""`compass up`: the whole plane on this machine, with nothing to configure."""

import sys
from typing import TYPE_CHECKING, Final

from compass.cli import context
from compass.cli.failures import CommandFailed
from compass.cli.output import coloured, say
from compass.cli.running import until_stopped
from compass.cli.start import NO_FLAGS, PlaneFlags
from compass.settings import Settings

if TYPE_CHECKING:
    from compass.app import Started

LOCAL: Final = "local"
"""The context that `compass up` writes, so that the other commands find the plane."""


def up(*, flags: PlaneFlags = NO_FLAGS) -> int:
    """Start the plane on this machine and keep it up until Ctrl-C. The next start finds all data again.

    For example:

        compass up
        compass up --data-folder ~/plane --token-port 9443

    The database and the authority are made at the first start; other commands speak to the plane at once.

    Exit codes: 0 stopped on request, 1 could not start, 2 a setting was refused.
    """
    from compass.log import write_as
    from compass.starting import refuse_unsafe

    settings = flags.settings()
    refuse_unsafe(settings)
    write_as(settings.log)
    return until_stopped(_up(settings))


async def _up(settings: Settings) -> None:
    from compass.app import serve
    from compass.postgres.migrate import migrate

    if settings.database.dsn is not None:
        # `serve` leaves the tables of an external database as they are; whoever says `up` wants a plane that works.
        await migrate(settings.database.dsn)
    await serve(settings, ready=lambda started: report(started, settings))


def report(started: "Started", settings: Settings) -> None:
    """Say where the plane is and what to do next; sign its owner in when this was the very first start."""
    tick = coloured("✓", "green", sys.stderr)
    say(f"  {tick} database   {started.database}, data in {settings.data_folder}")
    say(f"  {tick} authority  {started.ca_fingerprint}")
    say(f"  {tick} plane      {started.token_url}   client certificates on {started.mtls_url}")
    if started.admin_secret is not None:
        _sign_in(started, started.admin_secret)
    else:
        _stay_signed_in(started)
    say(f"  {tick} console    {started.console_link()}   (signs in once, within 10 minutes)")
    say()
    say("  Next   compass app create shop-crm --group retail")
    say("         compass app connect shop-crm --wait     pairs it, and shows each step")
    say("         compass tour                            the first steps, which of them are taken, and the next one")
    say(f"  Stop with Ctrl-C. Ready in {started.elapsed_seconds:.1f} s")


def _sign_in(started: "Started", secret: str) -> None:
    """Keep the administrator's secret where only this user reads it; terminals have a memory."""
    local = context.Context(
        name=LOCAL,
        url=started.token_url,
        ca_pin=started.ca_fingerprint,
        client_id=started.admin_client_id,
        tenant=started.tenant,
    )
    try:
        context.keep(local, secret=secret, anchor=started.ca_pem)
    except CommandFailed as failed:
        # The plane keeps only a digest: what is not shown now is lost.
        say(f"  {coloured('!', 'yellow', sys.stderr)} signed in  no: {failed}")
        say(f"    Keep this; it is shown only once: client {local.client_id}, secret {secret}")
    else:
        tick = coloured("✓", "green", sys.stderr)
        say(f"  {tick} signed in  as the administrator; the secret is in {local.secret_file}")


def _stay_signed_in(started: "Started") -> None:
    known = context.find(LOCAL)
    if known is None or known.ca_pin != started.ca_fingerprint:
        hint = (
            f"compass login {started.token_url} --ca-pin {started.ca_fingerprint} --client-id {started.admin_client_id}"
        )
        say(f"  {coloured('!', 'yellow', sys.stderr)} signed in  no: only the first start knew the secret")
        say(f"    With it: {hint}")
        return
    if known.url != started.token_url:
        context.move(known, started.token_url)
    say(f"  {coloured('✓', 'green', sys.stderr)} signed in  as the administrator (context {LOCAL})")
