"""The processes that work in a folder, found by what the operating system says, never by a number kept in a file.

A process is the one of a folder when its arguments end with `--folder` and that folder. It is named by its number and
its start together: a number alone may belong to somebody else a moment later.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_POLL_SECONDS: Final = 0.02
_PASSED_ON: Final = frozenset(
    ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "VIRTUAL_ENV", "PYTHONPATH"]
)


@dataclass(frozen=True)
class Process:
    """One process, for as long as it lives."""

    pid: int
    started: str
    """When it started, in the system's own form; only compared."""


def working_in(folder: Path) -> list[Process]:
    """The processes of this folder. A zombie works in no folder."""
    return working().get(folder, [])


def working() -> Mapping[Path, list[Process]]:
    """The processes of all folders, by folder: one look at all processes of the machine."""
    found: dict[Path, list[Process]] = {}
    for process, arguments in _listed_by_proc() if _PROC.joinpath("self/stat").exists() else _listed_by_ps():
        if len(arguments) > 2 and arguments[-2] == "--folder":  # noqa: PLR2004  # a program, --folder, a folder
            found.setdefault(Path(arguments[-1]), []).append(process)
    return found


def _listed_by_proc() -> Iterator[tuple[Process, Sequence[str]]]:
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            # Whatever cannot be read ended meanwhile, or belongs to another user and is none of ours.
            with suppress(OSError):
                arguments = entry.joinpath("cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
                if arguments:
                    yield Process(int(entry.name), _started(entry)), arguments


def _started(entry: Path) -> str:
    # Field 22; counted after the name, which may hold spaces and parentheses. Source: proc(5).
    return entry.joinpath("stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]


def _listed_by_ps() -> Iterator[tuple[Process, Sequence[str]]]:
    """Where there is no /proc. Arguments with spaces are cut: a folder is found if its path has none."""
    listed = subprocess.run(
        ["ps", "-axww", "-o", "pid=,lstart=,command="],  # noqa: S607  # where `ps` is differs by system
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    for line in listed.stdout.splitlines():
        pid, *words = line.split()
        yield Process(int(pid), " ".join(words[:5])), words[5:]


def start(arguments: Sequence[str], folder: Path, *, output: Path) -> int:
    """Start a process of its own session that outlives us; its number. It is found from when this returns.

    It inherits no secret: of the environment only what a program needs to run at all. What it prints replaces
    `output`. Raises OSError.
    """
    environment = {name: value for name, value in os.environ.items() if name in _PASSED_ON}
    # The code that started it, wherever the caller's folder and installation are.
    here = str(Path(__file__).parents[3])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [here, environment.get("PYTHONPATH")]))
    nowhere = os.open(os.devnull, os.O_RDONLY)
    printed = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        # No Popen: its object complains when it goes before its process, which is what is wanted here.
        pid = os.posix_spawn(
            arguments[0],
            [*arguments, "--folder", str(folder)],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, nowhere, 0),
                (os.POSIX_SPAWN_DUP2, printed, 1),
                (os.POSIX_SPAWN_DUP2, printed, 2),
                *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inheritable()),
            ],
            setsid=True,
            setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP],
            setsigmask=[],
        )
    finally:
        os.close(nowhere)
        os.close(printed)
    # The system shows the arguments some microseconds after the start: until then somebody else would start a second.
    while all(process.pid != pid for process in working_in(folder)) and not reap(pid):
        time.sleep(_POLL_SECONDS / 20)
    return pid


def _inheritable() -> list[int]:
    """What we were started with and would pass on: a shell's lock or pipe must not live as long as a runtime."""
    found = []
    for entry in Path("/dev/fd").iterdir():
        number = int(entry.name)
        with suppress(OSError):  # the listing's own descriptor is closed by now
            if number > 2 and os.get_inheritable(number):  # noqa: PLR2004  # the standard ones are replaced
                found.append(number)
    return found


def end(folder: Path, *, grace: timedelta) -> None:
    """End the processes of the folder: told to stop, and killed when they do not within `grace`.

    None is left when this returns. Raises TimeoutError when one survives even that, OSError.
    """
    told = _tell(folder, signal.SIGTERM)
    if not _gone(folder, told, within=grace):
        told |= _tell(folder, signal.SIGKILL)
        if not _gone(folder, told, within=timedelta(seconds=10)):
            raise TimeoutError(f"a process in {folder} cannot be ended")


def _tell(folder: Path, number: signal.Signals) -> set[int]:
    told = set()
    for process in working_in(folder):
        with suppress(ProcessLookupError):
            # Looked at again: since the first look it may have ended and its number been given away.
            if process in working_in(folder):
                os.kill(process.pid, number)
                told.add(process.pid)
    return told


def _gone(folder: Path, told: set[int], *, within: timedelta) -> bool:
    """Wait until no process works in the folder and those of them that were our children are reaped."""
    until = time.monotonic() + within.total_seconds()
    unreaped = set(told)
    while True:
        unreaped = {pid for pid in unreaped if not reap(pid)}
        if not unreaped and not working_in(folder):
            return True
        if time.monotonic() > until:
            return False
        time.sleep(_POLL_SECONDS)


def reap(pid: int) -> bool:
    """Take note of the end of a child of ours, without which its number stays in use. False while it lives."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True
