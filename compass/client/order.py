"""In which order a list is wanted, in the words that the command line and the console's addresses have for it."""

from typing import Final, Literal, get_args

Sort = Literal["name", "name-desc", "created", "created-desc"]
_WORDS: Final = frozenset(get_args(Sort))


def order(word: str | None) -> str | None:
    """What the plane calls it, a ListOrder of its schema; None for no word and for one that is none of these."""
    return word.upper().replace("-", "_") if word in _WORDS and word else None
