"""What somebody may have meant who misspelt a name."""

from collections.abc import Iterable
from typing import Final

_ENOUGH: Final = 5000
"""Names that are looked through for what was meant."""


def meant(name: str, known: Iterable[str]) -> str | None:
    """A question that names what is spelt alike, if anything is."""
    import difflib

    several = list(known)[:_ENOUGH]
    lower = {each.lower(): each for each in several}
    close = [lower[each] for each in difflib.get_close_matches(name.lower(), lower, n=3)]
    return f"did you mean {' or '.join(close)}?" if close else None
