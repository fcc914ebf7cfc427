"""Asking before something is lost."""

import sys
from collections.abc import Iterable
from typing import Annotated

from cyclopts import Parameter

from compass.cli.failures import CommandFailed, Exit
from compass.cli.output import printable, say

Yes = Annotated[bool, Parameter(name="--yes", alias="-y", help="Do not ask.")]


def confirm(question: str, effects: Iterable[str] = (), *, yes: bool) -> None:
    """Ask whoever sits at the terminal, after saying what happens. Raises CommandFailed when the answer is not yes.

    Without a terminal nobody is asked: then `--yes` has to be there.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        message = f"{question}: not done, because there is no terminal to ask at"
        raise CommandFailed(message, exit_code=Exit.USAGE, hint="--yes does it without asking")
    for effect in effects:
        say(f"  {printable(effect)}")
    sys.stderr.write(f"{printable(question)}? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise CommandFailed("not done", exit_code=Exit.FAILURE)
