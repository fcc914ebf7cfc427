"""`compass integration`: programs that manage applications or runtimes."""

from shlex import quote

from cyclopts import App

from compass.cli import find
from compass.cli.completion import Integration
from compass.cli.confirm import Yes, confirm
from compass.cli.key import CREDENTIALS
from compass.cli.output import Column, Format, Output, detail, done, say, show, show_made
from compass.cli.speaking import HERE, DryRun, Where, given, speaking

app = App(name="integration", help="Integration systems: programs that manage applications or runtimes.")

COLUMNS = (
    Column("name", "name"),
    Column("description", "description"),
    Column("credentials", lambda row: len(row.get("auths") or [])),
    Column("id", "id"),
)


@app.command(name="list", alias="ls")
def list_systems(*, output: Output = Format.TABLE, where: Where = HERE) -> None:
    """List the integration systems. They belong to no tenant.

    For example:

        compass integration list

    Exit codes: 0 listed, 7 not allowed, 8 plane not reached, 9 not the pinned plane.
    """
    with speaking(where) as plane:
        show(plane.all("IntegrationSystems"), output, COLUMNS)


@app.command
def get(name: Integration, *, output: Output = Format.TABLE, where: Where = HERE) -> None:
    """Show one integration system.

    For example:

        compass integration get pipeline

    Exit codes: 0 shown, 4 there is none.

    Parameters
    ----------
    name
        Its name or id.
    """
    with speaking(where) as plane:
        detail(find.one(plane, find.INTEGRATION, name), output, COLUMNS)


@app.command
def create(
    name: str,
    *,
    description: str | None = None,
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
    where: Where = HERE,
) -> None:
    """Add an integration system, and print its id.

    For example:

        compass integration create pipeline --description "deploys our shops"

    Exit codes: 0 added, 6 the name is taken, 1 refused otherwise.

    Parameters
    ----------
    name
        A DNS subdomain of at most 36 characters that does not begin with a digit.
    description
        What people read.
    """
    with speaking(where, dry_run=dry_run) as plane:
        made = plane.change("RegisterIntegrationSystem", {"in": given(name=name, description=description)})
    done(f"integration system {name} added")
    show_made(made, output, COLUMNS, next_command=f"compass integration credentials {quote(name)}")


@app.command
def edit(name: Integration, *, description: str, dry_run: DryRun = False, where: Where = HERE) -> None:
    """Change the description of an integration system.

    For example:

        compass integration edit pipeline --description "deploys everything"

    Exit codes: 0 changed, 4 there is none.

    Parameters
    ----------
    name
        Its name or id.
    description
        What people read.
    """
    with speaking(where, dry_run=dry_run) as plane:
        found = find.one(plane, find.INTEGRATION, name)
        new = {"name": found["name"], "description": description}
        plane.change("UpdateIntegrationSystem", {"id": found["id"], "in": new})
    done(f"integration system {found['name']} changed")


@app.command
def credentials(
    name: Integration, *, dry_run: DryRun = False, output: Output = Format.TABLE, where: Where = HERE
) -> None:
    """Make an OAuth client for an integration system, and print it. The secret is shown only now.

    For example:

        compass integration credentials pipeline -o json > credentials.json

    Exit codes: 0 made, 4 there is none.

    Parameters
    ----------
    name
        Its name or id.
    """
    with speaking(where, dry_run=dry_run) as plane:
        identity = find.id_of(plane, find.INTEGRATION, name)
        made = plane.change("RequestCredentialsForIntegrationSystem", {"id": identity})
    detail(made["auth"]["credential"] | {"id": made["id"]}, output, CREDENTIALS)
    say("keep the secret: it is not shown again")


@app.command
def delete(name: Integration, *, yes: Yes = False, dry_run: DryRun = False, where: Where = HERE) -> None:
    """Remove an integration system and its secrets. Refused while an application refers to it.

    For example:

        compass integration delete pipeline --yes

    Exit codes: 0 removed, 2 there is no terminal to ask at, 4 there is none, 1 an application refers to it.

    Parameters
    ----------
    name
        Its name or id.
    """
    with speaking(where, dry_run=dry_run) as plane:
        found = find.one(plane, find.INTEGRATION, name)
        if not dry_run:
            confirm(f"Delete integration system {found['name']}", ["its credentials end at once"], yes=yes)
        plane.change("UnregisterIntegrationSystem", {"id": found["id"]})
    done(f"integration system {found['name']} deleted")
