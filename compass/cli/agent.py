"""`compass agent`: the Runtime's side of the plane, in this process, and how it is doing in another."""

import json
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cyclopts import App

from compass.cli.agent_folder import Folder, folder_of, pid_in
from compass.cli.failures import CommandFailed, Exit
from compass.cli.output import Column, Format, Output, count, detail, done, say
from compass.cli.waiting import Timeout, until

app = App(name="agent", help="Run the Runtime Agent, with its gateway and event endpoint.")
app.command("compass.cli.agent_install:install", name="install")
app.command("compass.cli.agent_install:reconfigure", name="reconfigure")

HELP: Final = {
    "unreachable": "look at the network, its address and port 8444; compass doctor finds the fault on this machine",
    "unauthorized": "its certificate was revoked or ended: compass agent reconfigure --token-file - takes a new token",
    "token_refused": "ask for a new token: compass agent reconfigure --token-file - takes it",
    "not_trusted": "somebody else answers, or the plane was set up anew: compass agent reconfigure --server --ca-pin",
    "unreadable": "something between here and the plane, or the plane, is broken",
    "refused": "the plane says no for the reason above",
    "local": "look at the reason above, at the disk and at the rights of the folder",
}
"""What helps against each kind of trouble."""
_HALF_A_MINUTE: Final = timedelta(seconds=30)

_STATUS = (
    Column("state", "state"),
    Column("running", "running"),
    Column("last success", lambda row: ago(row.get("last_success"))),
    Column("heartbeat", lambda row: ago(row.get("last_heartbeat"))),
    Column("applications", "applications"),
    Column("delivered", lambda row: [_delivered(each) for each in row["delivered"]]),
    Column("revision", "revision"),
    Column("certificate", lambda row: _left(row.get("certificate_not_after"))),
    Column("trouble", "trouble"),
    Column("error", "error"),
    Column("gateway", "gateway_url"),
    Column("events", "events_url"),
)


@app.command(name="run")
def run_agent(*, folder: Folder = None) -> None:
    """Run the agent of a folder until it is stopped. It pairs, stays paired, and takes over what the plane says.

    For example:

        compass agent run
        compass agent run --folder edge-02

    An outage of the plane does not end it: the last good configuration stays in use. Its state is `status.json` and
    its log `log.txt`, both in the folder.

    Exit codes: 0 stopped on request, 1 the folder cannot be used, 6 another agent runs in it.
    """
    from compass.runtime.process import run

    place = folder_of(folder)
    say(f"agent of {place}; its log is {place / 'log.txt'}")
    try:
        run(place)
    except OSError as problem:
        hint = "compass agent install makes one"
        raise CommandFailed(f"{place} cannot be used: {problem}", hint=hint) from None


@app.command
def status(*, folder: Folder = None, output: Output = Format.TABLE) -> int:
    """Say how the agent of a folder is doing: when it last heard the plane, what it was told, what troubles it.

    For example:

        compass agent status
        compass agent status --folder edge-02 -o json

    Reads what the agent writes; the plane is not asked.

    Exit codes: 0 it runs and is in step with the plane, 3 it does not run or something troubles it, 4 there is no agent
    in that folder.
    """
    place = folder_of(folder)
    try:
        written: dict[str, Any] = json.loads((place / "status.json").read_bytes())
    except (OSError, ValueError):
        hint = f"compass agent run --folder {place} starts one"
        raise CommandFailed(f"no agent has run in {place}", exit_code=Exit.NOT_FOUND, hint=hint) from None
    runs = written.get("state") != "Stopped" and _is_alive(written.get("pid"))
    found = {**written, "running": runs, "delivered": _applied(place)}
    detail(found, output, _STATUS)
    trouble = found.get("trouble")
    if not runs:
        say(f"hint: it does not run; compass agent run --folder {place} starts it, systemctl the one it installed")
    elif trouble is not None:
        say(f"hint: {HELP.get(str(trouble), 'compass doctor')}")
    well = runs and trouble is None and found.get("last_success") is not None
    return Exit.OK if well else Exit.DEGRADED


@app.command
def stop(*, folder: Folder = None, timeout: Timeout = _HALF_A_MINUTE) -> None:
    """Stop the agent of a folder, and wait until it is gone. The runtime stays registered and paired.

    For example:

        compass agent stop
        compass agent stop --folder edge-02

    What systemd runs stays stopped until the next start of the machine.

    Exit codes: 0 none runs any more, 4 there is no such folder, 7 it is somebody else's, 124 it did not end in time.
    """
    place = folder_of(folder)
    if not place.is_dir():
        raise CommandFailed(f"there is no {place}", exit_code=Exit.NOT_FOUND)
    try:
        pid = pid_in(place)
        if pid is None:
            say(f"no agent runs in {place}")
            return
        os.kill(pid, signal.SIGTERM)
        until(f"process {pid} to end", lambda _: pid_in(place) != pid, timeout=timeout)
    except ProcessLookupError:
        pass  # it went by itself
    except PermissionError:
        message = f"the agent of {place} is not yours to stop"
        raise CommandFailed(message, exit_code=Exit.NOT_ALLOWED) from None
    done(f"the agent of {place} is stopped")


def _applied(folder: Path) -> list[dict[str, Any]]:
    """The applications that were delivered, with how much of each. No secrets, which are in the file, too."""
    try:
        applications = json.loads((folder / "applied.json").read_bytes())["applications"]
        return [
            {
                "name": str(one["name"]),
                "apis": sum(len(service["apis"]) for service in one["services"]),
                "events": sum(len(service["events"]) for service in one["services"]),
            }
            for one in applications
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _delivered(one: dict[str, Any]) -> str:
    return f"{one['name']} ({count(one['apis'], 'API')}, {count(one['events'], 'event')})"


def _left(text: str | None) -> str | None:
    """An end in the future, and how far it is."""
    if text is None:
        return None
    return f"{text}, in {(datetime.fromisoformat(text) - datetime.now(UTC)).days} days"


def _is_alive(pid: object) -> bool:
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # it is somebody else's
    return True


def ago(text: str | None) -> str | None:
    """A time of the past as seconds ago; None when it has not come."""
    if text is None:
        return None
    return f"{(datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds():.0f} s ago"
