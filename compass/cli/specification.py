"""What commands do with the text of a specification: show it, check it, say how it differs from another.

It is read here, within the limits of `compass.definition`; nothing that it refers to is fetched.
"""

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from compass.cli.failures import CommandFailed, Exit
from compass.cli.output import done, emit, printable, say

if TYPE_CHECKING:
    from compass.definition.changes import Change
    from compass.definition.model import Definition
    from compass.definition.text import Unreadable

BREAKING: Final = "! breaking:"


def understood(text: str, where: str) -> "Definition":
    """What a specification says. Raises CommandFailed with the line that cannot be read."""
    from compass.definition.read import read
    from compass.definition.text import Unreadable

    try:
        return read(text)
    except Unreadable as problem:
        raise CommandFailed(f"{placed(where, problem)}: {problem.why}", exit_code=Exit.USAGE) from None


def standard_of(text: str) -> str | None:
    """What it is written in, such as `AsyncAPI 2.6.0`; None when that cannot be told."""
    from compass.definition.read import read
    from compass.definition.text import Unreadable

    try:
        return read(text).standard
    except Unreadable:
        return None


def placed(where: str, problem: "Unreadable") -> str:
    """The file, with line and column as far as they are known."""
    return f"{where}:{problem.line}:{problem.column}" if problem.line else where


def render(text: str, where: str) -> None:
    """Print a specification for people. Raises CommandFailed."""
    from compass.definition import show

    for line in show.lines(understood(text, where)):
        emit(printable(line))


def validate(text: str, where: str) -> Exit:
    """Print what is wrong with a specification, a line each; the exit code says whether anything is."""
    from compass.definition import show
    from compass.definition.problems import problems
    from compass.definition.text import Unreadable

    try:
        found = problems(text)
    except Unreadable as problem:
        emit(printable(f"{placed(where, problem)}: error: {problem.why}"))
        return Exit.FAILURE
    for one in found:
        place = f"{where}:{one.line}" if one.line else where
        emit(printable(f"{place}: {'error' if one.is_error else 'warning'}: {one.sentence}"))
    wrong = sum(one.is_error for one in found)
    if wrong:
        say(f"{wrong} {'error' if wrong == 1 else 'errors'}, {_warnings(len(found) - wrong)}")
        return Exit.FAILURE
    definition = understood(text, where)
    done(f"{definition.standard}, {show.count(definition)}, {_warnings(len(found))}")
    return Exit.OK


def summary(text: str, command: str) -> str:
    """What a specification offers, in a few words, and the command that says what is wrong with it, if something is.

    Empty for one that is not taken apart.
    """
    from compass.definition import show
    from compass.definition.problems import problems
    from compass.definition.read import read
    from compass.definition.text import Unreadable

    try:
        definition, wrong = read(text), problems(text)
    except Unreadable:
        return ""
    counted = show.count(definition)
    return f"{counted}, {len(wrong)} to look at: {command}" if wrong else counted


def _warnings(number: int) -> str:
    return f"{number} {'warning' if number == 1 else 'warnings'}"


def compared(before: str, after: str) -> "list[Change] | None":
    """How the second text differs from the first in what it means; None when one of them cannot be read."""
    from compass.definition.changes import changes
    from compass.definition.read import read
    from compass.definition.text import Unreadable

    try:
        return changes(read(before), read(after))
    except Unreadable:
        return None


def told(changes: "Iterable[Change]") -> list[str]:
    """The differences, a line each; those that break are marked."""
    return [printable(f"{BREAKING if one.is_breaking else ' '} {one.sentence}") for one in changes]


def differences(
    before: tuple[str, str], after: tuple[str, str], *, as_text: bool = False, only_breaking: bool = False
) -> Exit:
    """Print how two texts differ, in what they mean or line by line; the exit code says whether they do.

    Each comes with what it is called.
    """
    (old, old_name), (new, new_name) = before, after
    found = None if as_text else compared(old, new)
    if found is None:
        lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), old_name, new_name, lineterm=""))
        if lines and not as_text:
            say("one of the two cannot be taken apart, so this is line by line")
    else:
        lines = told(one for one in found if one.is_breaking or not only_breaking)
        if not lines and old != new and not only_breaking:
            lines = ["  the same, written otherwise"]
    for line in lines:
        emit(line)
    return Exit.DIFFERENCES if lines else Exit.OK
