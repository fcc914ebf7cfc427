"""JSONPath, as far as placeholders of application templates need it: the way to one value.

`$`, then any of `.name`, `['name']`, `["name"]` and `[0]`. Wildcards, filters, slices and `..` select several values
and are refused. Source of the notation: RFC 9535, singular queries; contract/director.md §12 for what it is used for.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from compass.errors import Code, CompassError

_LONGEST: Final = 512
"""In characters, which also bounds the steps."""
_STEP: Final = re.compile(
    r"\.(?P<name>[^\W\d][\w-]*)|\[(?P<index>0|[1-9][0-9]{0,6})\]|\['(?P<single>[^'\\]+)'\]|\[\"(?P<double>[^\"\\]+)\"\]"
)

Path = Sequence[str | int]
"""Member names and positions, from the root down."""


class JsonPathRefused(CompassError):
    """A path that is none, or that may lead to several values."""

    code = Code.INVALID_DATA
    message = "{why}"


def parse(text: str) -> Path:
    """The steps of a path. Raises JsonPathRefused. Time is linear in the text."""
    if len(text) > _LONGEST:
        raise JsonPathRefused(why=f"a JSONPath has at most {_LONGEST} characters")
    if not text.startswith("$"):
        raise JsonPathRefused(why="a JSONPath must begin with $")
    steps: list[str | int] = []
    at = 1
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None:
            raise JsonPathRefused(
                why=f"the JSONPath is not supported from {text[at : at + 20]!r} on: use $, .name, ['name'] and [0] only"
            )
        steps.append(int(match["index"]) if match["index"] is not None else match[match.lastgroup or "name"])
        at = match.end()
    return steps


def find(path: Path, document: Any) -> Any:
    """What the path leads to in a decoded JSON document; None when there is nothing, or null."""
    found = document
    for step in path:
        if isinstance(step, str) and isinstance(found, dict):
            found = found.get(step)
        elif isinstance(step, int) and isinstance(found, list) and step < len(found):
            found = found[step]
        else:
            return None
    return found
