"""`compass demo`: every flow of the plane, on this machine, with its evidence."""

import asyncio
from pathlib import Path

from compass.cli.failures import CommandFailed, Exit


def demo(*, folder: Path | None = None, keep: bool = False) -> int:
    """Run every flow with real processes on this machine and print each step, its evidence and its time.

    For example:

        compass demo

    Exit codes: 0 every step was verified from the other side, 1 one was not.

    Parameters
    ----------
    folder
        Where the parts keep their data, instead of a temporary folder.
    keep
        Leave the data behind for a look.
    """
    from compass.demo.script import run

    if folder is not None and folder.exists() and any(folder.iterdir()):
        message = f"{folder} is not empty; the demo begins from nothing"
        raise CommandFailed(message, exit_code=Exit.USAGE, hint="name a new folder")
    return asyncio.run(run(folder=folder, keep=keep))
