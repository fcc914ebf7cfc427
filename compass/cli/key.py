"""`compass key`: client credentials, with which programs get access tokens."""

from typing import Any

from cyclopts import App

from compass.cli import find
from compass.cli.completion import Application, Integration, Runtime
from compass.cli.confirm import Yes, confirm
from compass.cli.failures import CommandFailed, Exit
from compass.cli.find import by_id, the_one
from compass.cli.output import Column, Format, Output, detail, done, say, show
from compass.cli.speaking import HERE, DryRun, Json, Speaking, Where, speaking
from compass.cli.token import state, ways

app = App(name="key", help="Client credentials of applications, runtimes and integration systems.")

COLUMNS = (Column("of", "of"), Column("client id", "id"))
CREDENTIALS = (
    Column("client id", "clientId"),
    Column("client secret", "clientSecret"),
    Column("token endpoint", "url"),
)
_REQUEST = {
    "application": "RequestCredentialsForApplication",
    "runtime": "RequestCredentialsForRuntime",
    "integration": "RequestCredentialsForIntegrationSystem",
}
_DELETE = {
    "application": "DeleteApplicationAuth",
    "runtime": "DeleteRuntimeAuth",
    "integration": "DeleteIntegrationSystemAuth",
}


@app.command(name="list", alias="ls")
def list_keys(
    *,
    app: Application | None = None,
    runtime: Runtime | None = None,
    integration: Integration | None = None,
    output: Output = Format.TABLE,
    where: Where = HERE,
) -> None:
    """List who has client credentials. Secrets are shown when they are made, and never again.

    For example:

        compass key list
        compass key list --integration pipeline

    Exit codes: 0 listed, 2 more than one owner, 4 there is no such owner.

    Parameters
    ----------
    app
        Only those of this application, by name or id.
    runtime
        Only those of this runtime, by name or id.
    integration
        Only those of this integration system, by name or id.
    """
    if sum(one is not None for one in (app, runtime, integration)) > 1:
        raise CommandFailed("name one owner, or none", exit_code=Exit.USAGE)
    with speaking(where) as plane:
        show(_keys(plane, app, runtime, integration), output, COLUMNS)


@app.command
def create(
    *,
    app: Application | None = None,
    runtime: Runtime | None = None,
    integration: Integration | None = None,
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
    where: Where = HERE,
) -> None:
    """Make client credentials, and print them. The secret is shown only now.

    For example:

        compass key create --integration pipeline -o json > credentials.json
        compass key create --app shop-crm

    Exit codes: 0 made, 2 not exactly one owner, 4 there is no such owner.

    Parameters
    ----------
    app
        The application that is to have them, by name or id.
    runtime
        The runtime that is to have them, by name or id.
    integration
        The integration system that is to have them, by name or id.
    """
    owners = [
        ("application", find.APPLICATION, app),
        ("runtime", find.RUNTIME, runtime),
        ("integration", find.INTEGRATION, integration),
    ]
    named = [(word, kind, name) for word, kind, name in owners if name is not None]
    if len(named) != 1:
        raise CommandFailed("name one owner", exit_code=Exit.USAGE, hint="--app, --runtime or --integration")
    ((word, kind, name),) = named
    with speaking(where, dry_run=dry_run) as plane:
        made = _made(plane, word, find.id_of(plane, kind, name))
    detail(made, output, CREDENTIALS)
    say("keep the secret: it is not shown again")


@app.command
def rotate(
    client_id: str,
    *,
    yes: Yes = False,
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
    where: Where = HERE,
) -> None:
    """Make new client credentials in place of others, and print them. The others end at once.

    For example:

        compass key rotate 5eb4b359 --yes -o json > credentials.json

    Where both have to work for a while: `compass key create`, and `compass key delete` later.

    Exit codes: 0 made, 2 there is no terminal to ask at, 4 there are none, 6 there are several.

    Parameters
    ----------
    client_id
        As `compass key list` has it, or its beginning or end.
    """
    with speaking(where, dry_run=dry_run) as plane:
        old = _one(plane, client_id)
        if not dry_run:
            confirm(f"Rotate {old['id']} of {old['of']}", ["the old secret ends at once"], yes=yes)
        made = _made(plane, old["kind"], old["owner"])
        # Shown before the old one ends: whatever happens in between, there is one that works.
        detail(made, output, CREDENTIALS)
        plane.change(_DELETE[old["kind"]], {"id": old["id"]})
    say("keep the secret: it is not shown again")
    done(f"{old['id']} of {old['of']} has ended")


@app.command
def delete(client_id: str, *, yes: Yes = False, dry_run: DryRun = False, where: Where = HERE) -> None:
    """Take client credentials away. Access tokens that were got with them end with them.

    For example:

        compass key delete 5eb4b359 --yes

    Exit codes: 0 taken away, 2 there is no terminal to ask at, 4 there are none, 6 there are several.

    Parameters
    ----------
    client_id
        As `compass key list` has it, or its beginning or end.
    """
    with speaking(where, dry_run=dry_run) as plane:
        found = _one(plane, client_id)
        if not dry_run:
            confirm(f"Delete {found['id']} of {found['of']}", ["its secret ends at once"], yes=yes)
        plane.change(_DELETE[found["kind"]], {"id": found["id"]})
    done(f"{found['id']} of {found['of']} has ended")


def _made(plane: Speaking, kind: str, owner: str) -> Json:
    made: Any = plane.change(_REQUEST[kind], {"id": owner})
    return {**made["auth"]["credential"], "id": made["id"]}


def _keys(plane: Speaking, application: str | None, runtime: str | None, integration: str | None) -> list[Json]:
    found: list[Json] = []
    if integration is None:
        found += [
            {"of": each["of"], "id": each["id"], "kind": each["of"].split()[0], "owner": each["referenceObjectId"]}
            for each in ways(plane, application, runtime)
            if state(each) == "secret"
        ]
    if application is None and runtime is None:
        if integration is None:
            systems = plane.all("IntegrationSystems")
        else:
            systems = [find.one(plane, find.INTEGRATION, integration)]
        found += [
            {
                "of": f"integration system {system['name']}",
                "id": auth["id"],
                "kind": "integration",
                "owner": system["id"],
            }
            for system in systems
            for auth in system["auths"] or []
        ]
    return found


def _one(plane: Speaking, part: str) -> Json:
    return the_one(by_id(_keys(plane, None, None, None), part), part, "client id", listing="compass key list")
