"""What was made of texts that callers sent, kept so that a text that comes again costs a look-up.

What is kept is some hundred times as large as its text, and anybody can send texts. So the texts' characters are
bounded, not only their number.
"""

from collections import OrderedDict
from typing import Final, Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")

_LEAST: Final = 500
"""Characters that a shorter text counts as: what is made of `{ a }` is not as small as the text is."""


class Kept(Generic[Key, Value]):
    """Values by key; what was not looked up for longest is forgotten first."""

    def __init__(self, *, characters: int = 500_000, longest: int = 64_000) -> None:
        """Keep what was made of at most so many characters.

        A text of more than `longest` is not kept: it carries data of its own and does not come twice.
        """
        self._characters = characters
        self._longest = longest
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._lengths: dict[Key, int] = {}
        self._total = 0

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Key) -> Value | None:
        """The value, or None when it is not kept or was forgotten."""
        known = self._values.get(key)
        if known is not None:
            self._values.move_to_end(key)
        return known

    def keep(self, key: Key, value: Value, length: int) -> None:
        """Keep a value that was made of a text of so many characters."""
        if length > self._longest:
            return
        self._total += max(length, _LEAST) - self._lengths.pop(key, 0)
        self._lengths[key] = max(length, _LEAST)
        self._values[key] = value
        self._values.move_to_end(key)
        while self._total > self._characters:
            forgotten, _ = self._values.popitem(last=False)
            self._total -= self._lengths.pop(forgotten)
