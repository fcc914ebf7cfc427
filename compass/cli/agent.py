"""`compass agent`: the Runtime's side of the plane, in this process."""

from pathlib import Path

from cyclopts import App

from compass.cli.failures import CommandFailed
from compass.cli.output import say

app = App(name="agent", help="Run the Runtime Agent, with its gateway and event endpoint.")


@app.command(name="run")
def run_agent(*, folder: Path) -> None:
    """Run the agent of a folder until it is stopped. It pairs, stays paired, and takes over what the plane says.

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
