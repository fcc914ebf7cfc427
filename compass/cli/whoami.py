"""`compass whoami` and `compass logout`."""

from compass.cli import context as contexts
from compass.cli.failures import CommandFailed
from compass.cli.output import Column, Format, Output, detail, say
from compass.cli.speaking import HERE, Where, speaking

_COLUMNS = (
    Column("id", "id"),
    Column("type", "type"),
    Column("tenant", "tenant"),
    Column("plane", "url"),
    Column("pin", "pin"),
    Column("context", "context"),
)


def whoami(*, output: Output = Format.TABLE, where: Where = HERE) -> None:
    """Say whom the plane takes you for, in which tenant, and which plane that is.

    For example:

        compass whoami
        compass whoami -o jsonpath=.tenant

    Exit codes: 0 said, 1 there is no context, 7 credentials refused, 8 plane not reached, 9 not the pinned plane.
    """
    with speaking(where) as plane:
        viewer = plane.ask("Viewer")
        context = plane.context
    facts = {"tenant": where.tenant or context.tenant, "url": context.url, "pin": context.ca_pin}
    detail({**viewer, **facts, "context": context.name}, output, _COLUMNS)


def logout(*, context: str | None = None) -> None:
    """Forget the client secret of a context; its address and pin stay, so that `compass login` finds them.

    For example:

        compass logout

    Exit codes: 0 forgotten, 1 nothing was kept, 4 there is no such context.

    Parameters
    ----------
    context
        The context to sign out of, instead of the current one.
    """
    chosen = contexts.chosen(context)
    if not chosen.secret_file.exists():
        raise CommandFailed(f"context {chosen.name} is signed out already", hint="compass context list")
    chosen.secret_file.unlink()
    say(f"signed out of {chosen.url}")
    say(f"→ {chosen.login}")
