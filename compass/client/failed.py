"""How work of a client ends that does not succeed, and what a script may rely on."""

from enum import IntEnum


class Exit(IntEnum):
    """What a script may rely on."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    DEGRADED = 3
    NOT_FOUND = 4
    DIFFERENCES = 5
    CONFLICT = 6
    NOT_ALLOWED = 7
    CANNOT_REACH = 8
    NOT_TRUSTED = 9
    TOKEN_REFUSED = 10
    WAITED_TOO_LONG = 124
    INTERRUPTED = 130


class CommandFailed(Exception):
    """A failure of the client itself, not an answer of the plane. `hint` is the next thing to do."""

    def __init__(self, message: str, *, exit_code: Exit = Exit.FAILURE, hint: str | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.hint = hint
