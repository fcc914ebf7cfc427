"""How a command ends when it does not succeed: the exit codes of the plane's refusals, and what to do about them."""

from typing import Final

from compass.client.failed import CommandFailed as CommandFailed  # noqa: PLC0414  # handed on
from compass.client.failed import Exit as Exit  # noqa: PLC0414  # handed on
from compass.errors import Code, CompassError


class Rehearsed(Exception):
    """A command with `--dry-run` has come to its first change and said it: done, and nothing was changed."""


_EXITS: Final = {
    Code.NOT_FOUND: Exit.NOT_FOUND,
    Code.TENANT_NOT_FOUND: Exit.NOT_FOUND,
    Code.NOT_UNIQUE: Exit.CONFLICT,
    Code.NOT_UNIQUE_NAME: Exit.CONFLICT,
    Code.CONCURRENT_OPERATION: Exit.CONFLICT,
    Code.CONCURRENT_UPDATE: Exit.CONFLICT,
    Code.UNAUTHORIZED: Exit.NOT_ALLOWED,
    Code.INSUFFICIENT_SCOPES: Exit.NOT_ALLOWED,
    Code.TENANT_REQUIRED: Exit.USAGE,
}


def exit_for(code: Code) -> Exit:
    """The exit code of a refusal by the plane."""
    return _EXITS.get(code, Exit.FAILURE)


def number_of(error: CompassError) -> int:
    """The number to print and to explain: the plane's own when the plane refused."""
    from compass.client.protocol import PlaneRefused

    if isinstance(error, PlaneRefused) and error.error_code is not None:
        return error.error_code
    return error.code.value


def hint_of(error: CompassError) -> str:
    """What to do about a refusal."""
    from compass.agent.pair import TokenRefused
    from compass.client.protocol import PlaneNotTrusted, PlaneUnreachable

    match error:
        case TokenRefused():
            return (
                "whoever administers the plane makes a new one: compass app connect NAME, compass runtime connect NAME"
            )
        case PlaneNotTrusted():
            return "somebody may be in between, or the plane was set up anew: ask who runs it for its address and pin"
        case PlaneUnreachable():
            return "start it (compass up), or check address, port, firewall and proxy; compass doctor looks at each"
        case _ if number_of(error) == Code.TENANT_REQUIRED:
            return "--tenant says which, compass tenant list shows them; compass login --tenant keeps one"
        case _:
            return f"compass explain {number_of(error)}"


def exit_of(error: CompassError) -> Exit:
    """The exit code of a refusal, ours or the plane's."""
    # Here, not above: together these take longer than the whole of `compass version`.
    from compass.agent.pair import TokenRefused
    from compass.client.protocol import PlaneNotTrusted, PlaneRefused, PlaneUnreachable
    from compass.settings import SettingRefused

    match error:
        case SettingRefused():
            return Exit.USAGE
        case PlaneUnreachable():
            return Exit.CANNOT_REACH
        case PlaneNotTrusted():
            return Exit.NOT_TRUSTED
        case TokenRefused():
            return Exit.TOKEN_REFUSED
        case PlaneRefused(error_code=int(number)) if number in set(Code):
            return exit_for(Code(number))
        case PlaneRefused(unauthorized=True):
            return Exit.NOT_ALLOWED
        case _:
            return exit_for(error.code)
