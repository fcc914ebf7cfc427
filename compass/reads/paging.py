"""Pages: how large they may be and what a cursor says.

A cursor is the Base64 of a fixed prefix and the number of rows before the page. Source: contract/director.md §4.
"""

import base64
import binascii
import re
from typing import Any, Final

from compass.errors import InvalidData, Refused

_PREFIX: Final = "DpKtJ4j9jDq"
_LARGEST_OFFSET: Final = 2**62
_NUMBER: Final = re.compile("[-+]?[0-9]+")


def size(first: Any, largest: int | None) -> int:
    """The page size asked for. Raises InvalidData outside 1…`largest`."""
    if first is None:
        raise InvalidData(reason="missing required parameter 'first'")
    if largest is None:
        if first < 1:
            raise InvalidData(reason="page size cannot be smaller than 1")
    elif not 1 <= first <= largest:
        raise InvalidData(reason=f"page size must be between 1 and {largest}")
    return int(first)


def offset(cursor: str | None) -> int:
    """How many rows precede the page. An empty or missing cursor is the beginning; the prefix may be missing."""
    if not cursor:
        return 0
    try:
        text = base64.b64decode(cursor, validate=True).decode("ascii").removeprefix(_PREFIX)
        # Python's int() also takes spaces and underscores.
        number = int(text if _NUMBER.fullmatch(text) else "")
    except (ValueError, binascii.Error, UnicodeDecodeError):
        raise Refused("cursor is not correct") from None
    if not 0 <= number <= _LARGEST_OFFSET:
        raise InvalidData(reason="cursor is not correct")
    return number


def cursor(rows_before: int) -> str:
    """The cursor of the page that begins after that many rows."""
    return base64.b64encode(f"{_PREFIX}{rows_before}".encode()).decode()
