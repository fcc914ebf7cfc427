"""`compass ca`: the plane's certificate authority, from a machine that has its database and its `vault.keys`."""

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter

from compass.cli import plane_database
from compass.cli.failures import CommandFailed, Exit
from compass.cli.output import Format, Output, say, show
from compass.cli.start import NO_FLAGS, PlaneFlags
from compass.settings import Settings

if TYPE_CHECKING:
    from compass.connector.rotation import Standing
    from compass.postgres.pool import Database

app = App(name="ca", help="Show and replace the certificate authority of a plane, while it is up.")

_FOLLOW_SECONDS: Final = 30.0
"""For the replicas to take over a phase. They need one or two seconds."""
_LOOK_AGAIN_SECONDS: Final = 0.2


class Phase(StrEnum):
    """What can be done next."""

    PREPARE = "prepare"
    DISTRIBUTE = "distribute"
    ACTIVATE = "activate"
    RETIRE = "retire"
    ABORT = "abort"


_NEXT: Final = {
    Phase.PREPARE: "compass ca rotate distribute",
    Phase.DISTRIBUTE: "compass ca rotate activate",
    Phase.ACTIVATE: "compass ca status, until no client uses the replaced one; then compass ca rotate retire",
    Phase.RETIRE: "back up; who pinned the plane pins it anew: compass login with the pin of compass ca status",
    Phase.ABORT: "compass ca status; when one is replaced: compass ca rotate retire",
}


@app.command
def rotate(
    phase: Phase, *, force: Annotated[bool, Parameter(negative="")] = False, flags: PlaneFlags = NO_FLAGS
) -> None:
    """Take the replacement of the authority one phase further, and wait until every replica has followed.

    In this order: prepare makes a new authority, distribute has everybody trust it, activate has it sign, retire ends
    the former one. abort gives up what was begun. Each may be repeated, and nothing is lost when it is interrupted. Use
    the settings of the plane; its own PostgreSQL may be up or not.

    Exit codes: 0 reached, 1 refused or the database cannot be used, 2 a setting was refused, 6 a replica is behind.

    Parameters
    ----------
    phase
        prepare, distribute, activate, retire or abort.
    force
        With retire: also while clients hang on the former authority. They have to pair again.
    """
    if force and phase is not Phase.RETIRE:
        raise CommandFailed("--force is for retire alone", exit_code=Exit.USAGE)
    now = asyncio.run(_rotate(flags.settings(), phase, force=force))
    say(f"done: {phase}; {len(now.replicas)} replicas serve with it")
    say(f"next: {_NEXT[phase]}")


@app.command
def status(*, flags: PlaneFlags = NO_FLAGS, output: Output = Format.TABLE) -> int:
    """Show the authorities of the plane, how many clients use each, and who follows a replacement.

    For example:

        compass ca status

    Exit codes: 0 all is well, 1 the database cannot be used, 2 a setting was refused, 3 less than a fifth of the
    authority's life is left, or a replica is behind.
    """
    now = asyncio.run(_status(flags.settings()))
    show(
        [
            {
                "state": each.state.value,
                "serial": each.serial,
                "pin": each.pin,
                "ends": f"{each.ends:%Y-%m-%d}",
                "clients": each.clients,
                "key": each.key,
            }
            for each in now.authorities
        ],
        output,
    )
    behind = [place for place, follows in now.replicas if not follows]
    say(f"replicas: {len(now.replicas)}" + (f", behind: {', '.join(behind)}" if behind else ""))
    say(f"clients that follow the trusted authorities: {now.following}, behind: {now.behind}")
    ending = [each for each in now.authorities if each.is_ending and each.state.value == "active"]
    if ending:
        say("less than a fifth of the authority's life is left: compass ca rotate prepare begins its replacement")
    return Exit.DEGRADED if ending or behind else Exit.OK


async def _status(settings: Settings) -> "Standing":
    async with plane_database.opened(settings) as database:
        return await _standing(database)


async def _rotate(settings: Settings, phase: Phase, *, force: bool) -> "Standing":
    from compass.audit.keys import Keys
    from compass.audit.record import IF_CHANGED, Log
    from compass.connector import rotation

    vault = plane_database.vault(settings)

    async def change(tx: Any) -> None:
        match phase:
            case Phase.PREPARE:
                await rotation.prepare(tx, vault, settings.authority)
            case Phase.DISTRIBUTE:
                await rotation.distribute(tx)
            case Phase.ACTIVATE:
                await rotation.activate(tx)
            case Phase.RETIRE:
                await rotation.retire(tx, force=force)
            case Phase.ABORT:
                await rotation.abort(tx)
        log = Log(await Keys.open(tx, vault))
        await log.record(tx, rotation.made(phase.value, force=force), statement=IF_CHANGED)

    async with plane_database.opened(settings) as database:
        await _followed(database, change)
        return await _all_following(database)


async def _followed(database: "Database", change: Callable[[Any], Awaitable[None]]) -> None:
    """Make the change, again while a replica has not followed the phase before."""
    from compass.connector.rotation import ReplicasBehind

    for remaining in range(int(_FOLLOW_SECONDS / _LOOK_AGAIN_SECONDS), -1, -1):
        try:
            return await database.run(change)
        except ReplicasBehind:
            if not remaining:
                raise
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
    raise AssertionError("the last attempt returns or raises")


async def _all_following(database: "Database") -> "Standing":
    """How far it is, once all replicas have followed."""
    from compass.connector.rotation import ReplicasBehind

    for remaining in range(int(_FOLLOW_SECONDS / _LOOK_AGAIN_SECONDS), -1, -1):
        now = await _standing(database)
        behind = [place for place, follows in now.replicas if not follows]
        if not behind:
            return now
        if not remaining:
            raise ReplicasBehind(count=str(len(behind)), places=", ".join(behind))
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
    raise AssertionError("the last look returns or raises")


async def _standing(database: "Database") -> "Standing":
    from compass.connector.rotation import standing

    return await database.run(standing)
