"""`compass token`: one-time tokens, and the other ways in which applications and runtimes are known."""

from typing import Any

from cyclopts import App

from compass.cli import find
from compass.cli.completion import Application, Runtime
from compass.cli.confirm import Yes, confirm
from compass.cli.connect import ValidFor, seconds_of
from compass.cli.failures import CommandFailed, Exit
from compass.cli.find import by_id, the_one
from compass.cli.output import Column, Format, Output, detail, done, emit, say, show
from compass.cli.speaking import HERE, DryRun, Json, Speaking, Where, speaking

app = App(name="token", help="One-time tokens, and what became of them.")


def state(row: Any) -> str:
    """Where a way of being known stands, in a word."""
    auth = row["auth"] or {}
    token = auth.get("oneTimeToken")
    if auth.get("certCommonName"):
        return "connected"
    if auth.get("credential"):
        return "secret"
    if token is None:
        return "not connected"  # of a runtime, the plane shows no token
    return "used" if token["used"] else "open"


def _used_at(row: Any) -> object:
    token = (row["auth"] or {}).get("oneTimeToken")
    return token["usedAt"] if token and token["used"] else None  # else the beginning of all times


COLUMNS = (
    Column("of", "of"),
    Column("state", state),
    Column("expires", "auth.oneTimeToken.expiresAt"),
    Column("used", _used_at),
    Column("id", "id"),
)
_MADE = (Column("token", "token"), Column("connector", "connectorURL"), Column("expires", "expiresAt"))


@app.command(name="list", alias="ls")
def list_tokens(
    *,
    app: Application | None = None,
    runtime: Runtime | None = None,
    output: Output = Format.TABLE,
    where: Where = HERE,
) -> None:
    """List the ways in which applications and runtimes are known, and where each one's token stands.

    For example:

        compass token list
        compass token list --app shop-crm

    `open` tokens wait to be used; `used` ones became a certificate that has not called yet; `connected` ones have. A
    `secret` is an OAuth client. Of runtimes the plane only says whether they are connected.

    Exit codes: 0 listed, 4 there is no such application or runtime.

    Parameters
    ----------
    app
        Only those of this application, by name or id.
    runtime
        Only those of this runtime, by name or id.
    """
    with speaking(where) as plane:
        show(ways(plane, app, runtime), output, COLUMNS)


@app.command
def create(
    *,
    app: Application | None = None,
    runtime: Runtime | None = None,
    valid_for: ValidFor = None,
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
    where: Where = HERE,
) -> None:
    """Make a one-time token, and print it alone. `connect` prints the whole command for the other side.

    For example:

        compass token create --app shop-crm > token
        compass token create --runtime edge-02 --valid-for 10m -o json

    Exit codes: 0 made, 2 not exactly one owner, 4 there is no such owner.

    Parameters
    ----------
    app
        The name or id of the application that pairs with it.
    runtime
        The name or id of the runtime that pairs with it.
    """
    if (app is None) == (runtime is None):
        raise CommandFailed("name one owner", exit_code=Exit.USAGE, hint="--app or --runtime")
    with speaking(where, dry_run=dry_run) as plane:
        seconds = seconds_of(valid_for)
        if app is not None:
            identity = find.id_of(plane, find.APPLICATION, app)
            made = plane.change("RequestTokenForApplication", {"id": identity, "seconds": seconds})
        else:
            identity = find.id_of(plane, find.RUNTIME, str(runtime))
            made = plane.change("RequestTokenForRuntime", {"id": identity, "seconds": seconds})
    if output is Format.TABLE:
        emit(made["token"])
        say(f"good for one use until {made['expiresAt']}, at {made['connectorURL']}")
    else:
        detail(made, output, _MADE)


@app.command
def revoke(identity: str, *, yes: Yes = False, dry_run: DryRun = False, where: Where = HERE) -> None:
    """Cut off one way in which an application or runtime is known: its token and its certificates are void.

    For example:

        compass token revoke 5eb4b359 --yes

    Exit codes: 0 cut off, 2 there is no terminal to ask at, 4 there is none, 6 there are several.

    Parameters
    ----------
    identity
        The id as `compass token list` has it, or its beginning or end.
    """
    with speaking(where, dry_run=dry_run) as plane:
        way = the_one(by_id(ways(plane, None, None), identity), identity, "way in", listing="compass token list")
        if not dry_run:
            confirm(f"Cut off {way['of']} as {way['id']}", ["its token and certificates are void"], yes=yes)
        kind = "Application" if way["of"].startswith("application ") else "Runtime"
        plane.change(f"Delete{kind}Auth", {"id": way["id"]})
    done(f"{way['of']} is not known as {way['id']} any more")


def ways(plane: Speaking, application: str | None, runtime: str | None) -> list[Json]:
    """The ways in which an application, a runtime or, when neither is named, all of them are known."""
    found: list[Json] = []
    if application is not None or runtime is None:
        found += _of(plane, "application", find.APPLICATION, "Application", application)
    if runtime is not None or application is None:
        found += _of(plane, "runtime", find.RUNTIME, "Runtime", runtime)
    return found


def _of(plane: Speaking, word: str, kind: find.Kind, document: str, name: str | None) -> list[Json]:
    if name is None:
        owners = plane.all(f"{document}Auths")
    else:
        owners = [plane.ask(document, {"id": find.one(plane, kind, name)["id"]})]
    return [{**auth, "of": f"{word} {owner['name']}"} for owner in owners for auth in owner["auths"] or []]
