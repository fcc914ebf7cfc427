"""What `compass doctor` finds about the Runtime Agents of this machine: each check names the fault and what to do.

An agent lives in a folder: the one of this user, the one that the machine's systemd runs, and those of the runtimes
that a plane made here. Their files are read, and the plane of each is contacted with its certificate. Nothing is
changed.
Source: the project's experience design, §5.3.
"""

import json
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from compass.cli.agent import HELP, ago
from compass.cli.agent_folder import folder_of, pid_in
from compass.cli.doctor import Check, State, answered, skew
from compass.cli.failures import CommandFailed, Exit
from compass.cli.pair import ANCHOR
from compass.client.protocol import ClientCertificate, Trust, why_unreachable
from compass.errors import CompassError

OF_THE_MACHINE: Final = Path("/var/lib/compass-agent")
"""Where `compass agent install` without --user puts it."""
SILENT_AFTER: Final = timedelta(minutes=15)
"""An agent looks by itself every five minutes; one that missed three looks does not get through."""
RENEWED_AT: Final = 0.3
"""A client renews when that much of its certificate's life is left."""
_LATE: Final = 0.2


def agents(given: Path | None, runtimes: Path) -> Iterator[Check]:
    """The findings about one folder, or about every agent that lives here; `runtimes` are those that a plane made.

    Raises CommandFailed when there is no agent in the folder that was given.
    """
    if given is not None:
        if not _lives_in(given):
            hint = "compass agent install makes one"
            raise CommandFailed(f"there is no agent in {given}", exit_code=Exit.NOT_FOUND, hint=hint)
        yield from _agent(given)
        return
    try:
        made = sorted(runtimes.iterdir()) if runtimes.is_dir() else []
    except OSError:
        made = []  # a plane's of another user: its own doctor sees them
    for folder in (folder_of(None), OF_THE_MACHINE, *made):
        if _lives_in(folder):
            yield from _agent(folder)


def _lives_in(folder: Path) -> bool:
    try:
        return (folder / "configuration.json").exists() or (folder / "status.json").exists()
    except OSError:
        return False  # nothing of it may be seen


def _agent(folder: Path) -> Iterator[Check]:
    status = _status(folder)
    yield _running(folder, status)
    if status.get("trouble"):
        fix = HELP.get(str(status["trouble"]), "look at the reason above, and at its log.txt")
        yield Check("agent's plane", State.DEGRADED, f"{folder}: it says: {status['error']}", fix)
    from compass.agent.pair import Connection, NotPaired

    try:
        connection = Connection.read(folder)
    except NotPaired:
        fix = f"compass agent reconfigure --folder {folder} --token-file - takes a one-time token"
        yield Check("agent's pair", State.DEGRADED, f"{folder}: it is not paired", fix)
        return
    yield _certificate(folder, connection.not_before, connection.not_after, datetime.now(UTC))
    yield from _reached(folder, connection.director_url)


def _status(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "status.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _running(folder: Path, status: dict[str, Any]) -> Check:
    """Whether a process works in the folder, and gets through to the plane."""
    made_here = (folder / "provisioner.json").exists()
    if made_here and (folder / "asleep").exists():
        return Check("agent", State.OK, f"{folder}: hibernated; compass runtime wake starts it again")
    try:
        pid = pid_in(folder)
    except OSError as problem:
        fix = "ask as root, or as the user that it runs as"
        return Check("agent", State.DEGRADED, f"{folder}: it cannot be told whether it runs: {problem.strerror}", fix)
    heard = ago(status.get("last_success"))
    last = f"the plane was heard {heard}" if heard else "the plane was never heard"
    if pid is None:
        fix = (
            "the plane that made it starts it again: compass up"
            if made_here
            else f"compass agent run --folder {folder}, or systemctl restart compass-agent (--user, if it is yours)"
        )
        return Check("agent", State.DEGRADED, f"{folder}: it does not run; {last}", fix)
    since = status.get("last_success") or status.get("started_at")
    if since is not None and datetime.now(UTC) - datetime.fromisoformat(since) > SILENT_AFTER:
        fix = "its log.txt says what it waits for; compass agent stop and run start it anew"
        return Check("agent", State.DEGRADED, f"{folder}: process {pid} does not get through; {last}", fix)
    return Check("agent", State.OK, f"{folder}: process {pid}; {last}")


def _certificate(folder: Path, begins: datetime, ends: datetime, now: datetime) -> Check:
    """Whether it is good now, and was renewed when it was time."""
    what = "agent's cert"
    if now < begins:
        fix = "set this machine's clock, best by NTP"
        return Check(what, State.DEGRADED, f"{folder}: begins only {begins:%Y-%m-%d %H:%M} UTC", fix)
    if now >= ends:
        fix = f"a new token pairs it anew: compass agent reconfigure --folder {folder} --token-file -"
        return Check(what, State.DEGRADED, f"{folder}: ended {ends:%Y-%m-%d %H:%M} UTC", fix)
    days = f"{folder}: ends {ends:%Y-%m-%d}, in {(ends - now).days} days"
    if (ends - now) < _LATE * (ends - begins):
        fix = f"a running agent renews with {RENEWED_AT:.0%} of the life left: see that it runs, and its log.txt"
        return Check(what, State.DEGRADED, f"{days}, and was not renewed", fix)
    return Check(what, State.OK, days)


def _reached(folder: Path, url: str) -> Iterator[Check]:
    """Whether the plane's mTLS port is reached, shows who it is expected to be, and lives in the same minute."""
    what, target = "agent's plane", urlsplit(url)
    host, port = target.hostname or "", target.port or 443
    where = f"{folder}: {host}:{port}"
    try:
        socket.getaddrinfo(host, port)
    except OSError as problem:
        fix = f"add {host} to DNS or to /etc/hosts"
        yield Check(what, State.DEGRADED, f"{where}: DNS: {problem.strerror}", fix)
        return
    anew = f"compass agent reconfigure --folder {folder} --server … --ca-pin …, with the pin of who runs the plane"
    try:
        anchor = folder / ANCHOR
        trust = Trust.to(anchor.read_text("utf-8")) if anchor.exists() else Trust()
        said, _ = answered(url, "", trust.context(ClientCertificate(folder / "chain.crt", folder / "client.key")))
    except ssl.SSLCertVerificationError as problem:
        detail = f"{where} is not the plane that it trusts: {problem.verify_message}"
        yield Check(what, State.DEGRADED, detail, f"somebody may be in between, or it was set up anew: {anew}")
    except CompassError as problem:
        yield Check(what, State.DEGRADED, f"{folder}: {problem}", anew)
    except HTTPException as problem:
        yield Check(what, State.DEGRADED, f"{where} is no plane: {problem!r}", "check address, firewall and proxy")
    except OSError as problem:
        fix = f"check that the plane is up, and that its mTLS port {port} is let through by firewall and proxy"
        yield Check(what, State.DEGRADED, f"{where} does not answer: {why_unreachable(problem)}", fix)
    else:
        yield Check(what, State.OK, f"{where} answers and is the plane that it trusts")
        yield from skew(said, datetime.now(UTC))
