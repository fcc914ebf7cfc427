"""`compass agent`: the Runtime's side of the plane, in this process, and how it is doing in another."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cyclopts import App

from compass.cli.failures import CommandFailed, Exit
from compass.cli.output import Column, Format, Output, detail, say

app = App(name="agent", help="Run the Runtime Agent, with its gateway and event endpoint.")

_STATUS = (
    Column("state", "state"),
    Column("running", "running"),
    Column("last success", lambda row: _ago(row.get("last_success"))),
    Column("applications", "applications"),
    Column("revision", "revision"),
    Column("certificate until", "certificate_not_after"),
    Column("trouble", "trouble"),
    Column("error", "error"),
    Column("gateway", "gateway_url"),
    Column("events", "events_url"),
)


@app.command(name="run")
def run_agent(*, folder: Path) -> None:
    """Run the agent of a folder until it is stopped. It pairs, stays paired, and takes over what the plane says.

    For example:

        compass agent run --folder edge-02

    An outage of the plane does not end it: the last good configuration stays in use. Its state is `status.json` and
    its log `log.txt`, both in the folder.

    Exit codes: 0 stopped on request, 1 the folder cannot be used, 6 another agent runs in it.

    Parameters
    ----------
    folder
        The Runtime's folder, with its `configuration.json`.
    """
    from compass.runtime.process import run

    say(f"agent of {folder}; its log is {folder / 'log.txt'}")
    try:
        run(folder)
    except OSError as problem:
        raise CommandFailed(f"{folder} cannot be used: {problem}") from None


@app.command
def status(*, folder: Path, output: Output = Format.TABLE) -> int:
    """Say how the agent of a folder is doing: when it last heard the plane, what it was told, what troubles it.

    For example:

        compass agent status --folder edge-02

    Reads what the agent writes; the plane is not asked.

    Exit codes: 0 it runs and is in step with the plane, 3 it does not run or something troubles it, 4 there is no agent
    in that folder.

    Parameters
    ----------
    folder
        The Runtime's folder.
    """
    try:
        written: dict[str, Any] = json.loads((folder / "status.json").read_bytes())
    except (OSError, ValueError):
        hint = f"compass agent run --folder {folder} starts one"
        raise CommandFailed(f"no agent has run in {folder}", exit_code=Exit.NOT_FOUND, hint=hint) from None
    found = {**written, "running": written.get("state") != "Stopped" and _is_alive(written.get("pid"))}
    detail(found, output, _STATUS)
    well = found["running"] and found.get("trouble") is None and found.get("last_success") is not None
    return Exit.OK if well else Exit.DEGRADED


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


def _ago(text: str | None) -> str | None:
    """A time of the past as seconds ago."""
    if text is None:
        return None
    return f"{(datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds():.0f} s ago"
