"""`compass version`, and the one place where the version is written: pyproject.toml reads it from here."""

import sys
from typing import Final

VERSION: Final = "0.1.0"


def version() -> None:
    """Print the version of this program."""
    # Not by `output.py`: this is the command that loads nothing.
    sys.stdout.write(f"compass {VERSION}\n")
