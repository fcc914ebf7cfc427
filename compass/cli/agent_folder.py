"""The folder of an agent: where it is unless said, and whether somebody works in it."""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

Folder = Annotated[Path | None, Parameter(help="The Runtime's folder; `$XDG_DATA_HOME/compass/agent` unless given.")]


def folder_of(given: Path | None) -> Path:
    """The folder that is meant."""
    if given is not None:
        return given
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "compass/agent"


def pid_in(folder: Path) -> int | None:
    """The process that runs the agent of the folder; None when none does. Raises OSError when it cannot be told."""
    import fcntl

    try:
        descriptor = os.open(folder / "lock", os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        # A process that is gone holds no lock, whatever its number is used for today.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        written = os.pread(descriptor, 32, 0)
        return int(written) if written else None  # it holds the folder, and has not said yet who it is
    else:
        return None
    finally:
        os.close(descriptor)
