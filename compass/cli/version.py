"""`compass version`, and the one place where the version is written: pyproject.toml reads it from here."""

from typing import Final

from compass.cli.output import emit

VERSION: Final = "0.1.0"


def version() -> None:
    """Print the version of this program."""
    emit(f"compass {VERSION}")
