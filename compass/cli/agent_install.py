"""`compass agent install` and `reconfigure`: an agent that systemd keeps running, and what it is told."""

import asyncio
import json
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from compass.cli.agent_folder import Folder, folder_of
from compass.cli.agent_unit import Unit
from compass.cli.failures import CommandFailed, Exit
from compass.cli.output import done, emit, say
from compass.cli.pair import called, connector_of, keep_trust, pinned, redeemed, seen
from compass.cli.secret_input import secret

_NAME: Final = "compass-agent"
_SYNC_SECONDS: Final = 10
"""What the Provisioner tells its agents; the plane tells of changes at once, so this is for what was not told."""
_TOLD: Final = "configuration.json"

Pin = Annotated[str | None, Parameter(help="The fingerprint of the plane's authority, sha256:…, as you were given it.")]
Server = Annotated[str | None, Parameter(help="The token port, such as https://localhost:8443.")]
ConnectorUrl = Annotated[
    str | None, Parameter(help="The Connector's own address, when you were given that instead of a server.")
]
Token = Annotated[
    str | None, Parameter(allow_leading_hyphen=True, help="Only `-`: read the token from standard input.")
]
TokenFile = Annotated[Path | None, Parameter(allow_leading_hyphen=True, help="Read the token from this file.")]


def install(
    *,
    server: Server = None,
    connector_url: ConnectorUrl = None,
    ca_pin: Pin = None,
    token: Token = None,
    token_file: TokenFile = None,
    folder: Folder = None,
    user: bool = False,
    print_: Annotated[bool, Parameter(name="--print")] = False,
) -> int:
    """Pair a runtime here, and have systemd run its agent from now on.

    For example:

        compass agent install --user --server https://localhost:8443 --ca-pin sha256:0d7d… --token-file -
        compass agent install --user --print

    With --user, your own systemd runs it, and no root is needed; it runs while you are signed in, and always after
    `loginctl enable-linger`. Otherwise the machine's does, under an account of its own, with its files below
    /var/lib; `compass` has to be installed where every account may read it. With --print, the unit is printed and
    nothing else is done.

    Exit codes: 0 installed and started, 3 paired, and systemd could not start it, 2 something is missing, 8 plane not
    reached, 9 it is not the plane with that pin (nothing was sent), 10 the token is unknown, expired or used.

    Parameters
    ----------
    user
        Have your own systemd run it.
    print_
        Only print the unit.
    """
    place = folder_of(folder) if user or folder is not None else Path("/var/lib") / _NAME
    unit = Unit(_NAME, sys.executable, place.absolute(), is_of_user=user)
    if not user and unit.folder.parent != Path("/var/lib"):
        message = f"{unit.folder} is not below /var/lib, where the machine's systemd keeps what its services write"
        raise CommandFailed(message, exit_code=Exit.USAGE, hint="--user runs it from any folder of yours")
    if print_:
        emit(unit.text.rstrip())
        return Exit.OK
    if ca_pin is None:
        raise CommandFailed("there is no pin to know the plane by", exit_code=Exit.USAGE, hint="--ca-pin sha256:…")
    address = connector_of(server, connector_url)
    value = secret("one-time token", flag="--token", typed=token, file=token_file, variable="COMPASS_TOKEN")
    asyncio.run(_paired(address, ca_pin, value, unit.folder))
    return _started(unit)


async def _paired(address: str, pin: str, token: str, folder: Path) -> None:
    from compass.files import write_private_json

    trust, connection = await redeemed(address, pin, token, folder)
    viewer = await seen(connection, trust)
    if viewer["type"] != "RUNTIME":
        message = f"the token was for {viewer['type'].lower()} {viewer['id']}, and an agent is a runtime's"
        raise CommandFailed(message, hint="compass runtime connect NAME makes one for a runtime")
    told = {
        "connector_url": address,
        "runtime_id": viewer["id"],
        "tenant": "",  # the certificate says it
        "sync_period_seconds": _SYNC_SECONDS,
    }
    write_private_json(folder / _TOLD, told)
    done(f"connection   {connection.director_url}  you are {called(viewer)}")


def _started(unit: Unit) -> Exit:
    """Write the unit and start it. What is already so stays."""
    try:
        unit.file.parent.mkdir(parents=True, exist_ok=True)
        unit.file.write_text(unit.text, encoding="utf-8")
    except OSError as problem:
        raise CommandFailed(f"{unit.file} cannot be written: {problem}", hint="--user needs no root") from None
    done(f"unit         {unit.file}")
    whose = ["--user"] if unit.is_of_user else []
    for arguments in (["daemon-reload"], ["enable", unit.file.name], ["restart", unit.file.name]):
        if wrong := _systemctl(*whose, *arguments):
            say(f"! systemctl {' '.join([*whose, *arguments])}: {wrong}")
            say(f"hint: compass agent run --folder {unit.folder} runs it in the foreground")
            return Exit.DEGRADED
    done("started      compass agent status says how it is doing")
    return Exit.OK


def _systemctl(*arguments: str) -> str:
    """What went wrong; empty when nothing did."""
    program = shutil.which("systemctl")
    if program is None:
        return "there is no systemd here"
    ended = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    return "" if ended.returncode == 0 else " ".join(ended.stderr.split()) or f"ended with {ended.returncode}"


def reconfigure(
    *,
    server: Server = None,
    connector_url: ConnectorUrl = None,
    ca_pin: Pin = None,
    token: Token = None,
    token_file: TokenFile = None,
    sync_period: timedelta | None = None,
    folder: Folder = None,
) -> None:
    """Tell an agent something else: a new token to pair with, where the plane is now, how often to look by itself.

    For example:

        compass agent reconfigure --token-file -
        compass agent reconfigure --server https://plane.example:8443 --ca-pin sha256:0d7d…
        compass agent reconfigure --sync-period 30s

    An agent that runs takes it over by itself, within its period. Its identity stays until a new token has replaced it.

    Exit codes: 0 told, 2 nothing was given, 4 there is no agent in that folder, 8 plane not reached, 9 it is not the
    plane with that pin (nothing was changed).

    Parameters
    ----------
    sync_period
        How long it waits before it looks for changes by itself, such as 30s.
    """
    place = folder_of(folder)
    told = _told(place)
    changes: dict[str, Any] = {}
    trust = None
    if server is not None or connector_url is not None:
        if ca_pin is None:
            raise CommandFailed("there is no pin to know the plane by", exit_code=Exit.USAGE, hint="--ca-pin sha256:…")
        changes["connector_url"] = connector_of(server, connector_url)
        trust = asyncio.run(pinned(changes["connector_url"], ca_pin))
    elif ca_pin is not None:
        raise CommandFailed("--ca-pin says who is at --server", exit_code=Exit.USAGE, hint="--server https://…")
    if token is not None or token_file is not None:
        changes["token"] = secret(
            "one-time token", flag="--token", typed=token, file=token_file, variable="COMPASS_TOKEN"
        )
    if sync_period is not None:
        changes["sync_period_seconds"] = sync_period.total_seconds()
    if not changes:
        raise CommandFailed("nothing to tell was given", exit_code=Exit.USAGE, hint="compass agent reconfigure --help")
    from compass.files import write_private_json

    try:
        if trust is not None:
            keep_trust(place, trust)
        write_private_json(place / _TOLD, told | changes)
    except OSError as problem:
        raise CommandFailed(f"{place} cannot be written: {problem}") from None
    done(f"{', '.join(changes)} told to the agent of {place}")


def _told(folder: Path) -> dict[str, Any]:
    try:
        told = json.loads((folder / _TOLD).read_bytes())
        if isinstance(told, dict):
            return told
        why = "it is no object"
    except FileNotFoundError:
        message = f"there is no agent in {folder}"
        raise CommandFailed(message, exit_code=Exit.NOT_FOUND, hint="compass agent install makes one") from None
    except (OSError, ValueError) as problem:
        why = str(problem)
    raise CommandFailed(f"{folder / _TOLD} cannot be read: {why}")
