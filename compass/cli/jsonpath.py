"""`-o jsonpath=…`: values taken out of what a command would print as JSON.

The part of kubectl's language that people use: `.name`, `['name']`, `[0]`, `[-1]`, `[*]`, `.*`, with or without the
braces and the leading `$`.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

from compass.cli.failures import CommandFailed, Exit

_STEP: Final = re.compile(
    r"""\.(?P<name>[^.\[\]'"*]+) | \.?\[(?P<quote>['"])(?P<quoted>.*?)(?P=quote)\] | \.?\[(?P<index>-?\d+)\] |
        (?P<every>\.?\[\*\]|\.\*)""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class JsonPath:
    """A path into JSON: names, positions, and None for everything there."""

    steps: tuple[str | int | None, ...]

    @classmethod
    def of(cls, text: str) -> Self:
        """The path that the text writes. Raises CommandFailed."""
        inside = text.strip().removeprefix("{").removesuffix("}").strip().removeprefix("$")
        if inside == ".":
            return cls(())
        rest = inside if not inside or inside[0] in ".[" else f".{inside}"
        steps: list[str | int | None] = []
        while rest:
            step = _STEP.match(rest)
            if step is None:
                message = f"jsonpath cannot be read from {rest!r} on"
                raise CommandFailed(message, exit_code=Exit.USAGE, hint="-o jsonpath='[*].name', -o jsonpath=.id")
            name = step["name"] if step["name"] is not None else step["quoted"]
            steps.append(None if step["every"] else name if name is not None else int(step["index"]))
            rest = rest[step.end() :]
        return cls(tuple(steps))

    def values(self, document: Any) -> Iterator[Any]:
        """What stands there; nothing where there is no such place."""
        found = [document]
        for step in self.steps:
            found = [inner for outer in found for inner in _inside(outer, step)]
        yield from found


def as_text(value: Any) -> str:
    """A text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _inside(outer: Any, step: str | int | None) -> Iterator[Any]:
    match outer, step:
        case list(), None:
            yield from outer
        case dict(), None:
            yield from outer.values()
        case dict(), str() if step in outer:
            yield outer[step]
        case list(), int() if -len(outer) <= step < len(outer):
            yield outer[step]
        case _:
            return
