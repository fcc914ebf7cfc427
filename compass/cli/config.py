"""`compass config`: what the plane would run with, and where each value comes from."""

from pathlib import Path

from cyclopts import App

from compass.cli.output import Format, Output, emit, show
from compass.settings import describe, load

app = App(name="config", help="Show and check the settings of the plane.")


@app.command(name="show")
def show_settings(*, config: Path | None = None, output: Output = Format.TABLE) -> None:
    """Print every setting with its value and its source. Secrets are not shown.

    For example:

        compass config show
        compass config show -o json

    Parameters
    ----------
    config
        The file to read instead of the usual `compass.toml`.
    """
    show([one._asdict() for one in describe(load(file=config))], output)


@app.command
def check(*, config: Path | None = None) -> None:
    """Read and check the settings without starting anything.

    For example:

        compass config check --config compass.toml

    Exit codes: 0 usable, 2 refused (the message names the setting, its place and what was expected).

    Parameters
    ----------
    config
        The file to read instead of the usual `compass.toml`.
    """
    changed = len(load(file=config).sources)
    emit(f"ok: {changed} {'setting differs' if changed == 1 else 'settings differ'} from the defaults")
