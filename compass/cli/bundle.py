"""`compass bundle`: what an application offers together, under one set of credentials."""

from cyclopts import App

from compass.cli import find
from compass.cli.completion import Application, Owner
from compass.cli.confirm import Yes, confirm
from compass.cli.failures import CommandFailed, Exit
from compass.cli.find import Name
from compass.cli.output import Column, Format, Output, detail, done, show, show_made
from compass.cli.speaking import HERE, DryRun, Json, Speaking, Where, given, speaking
from compass.landscape.offers import bundle_changes

app = App(name="bundle", help="Bundles: APIs and events that are offered together.")

COLUMNS = (
    Column("name", "name"),
    Column("APIs", "apiDefinitions.totalCount"),
    Column("events", "eventDefinitions.totalCount"),
    Column("documents", "documents.totalCount"),
    Column("description", "description", wide=True),
    Column("id", "id"),
)


@app.command(name="list", alias="ls")
def list_bundles(app: Application, *, output: Output = Format.TABLE, where: Where = HERE) -> None:
    """List the bundles of an application.

    For example:

        compass bundle list shop-crm

    Exit codes: 0 listed, 4 there is no such application.

    Parameters
    ----------
    app
        The application's name or id.
    """
    with speaking(where) as plane:
        show(listed(plane, app), output, COLUMNS)


@app.command
def get(name: Name, *, app: Owner, output: Output = Format.TABLE, where: Where = HERE) -> None:
    """Show one bundle.

    For example:

        compass bundle get orders --app shop-crm

    Exit codes: 0 shown, 4 there is none.
    """
    with speaking(where) as plane:
        detail(_one(plane, app, name), output, COLUMNS)


@app.command
def create(
    name: str,
    *,
    app: Owner,
    description: str | None = None,
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
    where: Where = HERE,
) -> None:
    """Add an empty bundle to an application, and print its id.

    For example:

        compass bundle create orders --app shop-crm
        compass api add orders-v1 --app shop-crm --bundle orders --url https://shop.example/v1

    Exit codes: 0 added, 4 there is no such application, 1 refused.

    Parameters
    ----------
    name
        1 to 100 printable ASCII characters.
    description
        What people read.
    """
    with speaking(where, dry_run=dry_run) as plane:
        owner = find.id_of(plane, find.APPLICATION, app)
        made = plane.change("AddBundle", {"application": owner, "in": given(name=name, description=description)})
    done(f"bundle {name} added to {app}")
    show_made(made, output, COLUMNS)


@app.command
def edit(name: Name, *, app: Owner, description: str, dry_run: DryRun = False, where: Where = HERE) -> None:
    """Change the description of a bundle; the rest stays.

    For example:

        compass bundle edit orders --app shop-crm --description "Sales orders"

    Exit codes: 0 changed, 4 there is none, 1 it has credentials of its own, which only the API changes.

    Parameters
    ----------
    description
        What people read.
    """
    with speaking(where, dry_run=dry_run) as plane:
        found = _one(plane, app, name)
        plane.change("UpdateBundle", {"id": found["id"], "in": bundle_changes(found, {"description": description})})
    done(f"bundle {found['name']} changed")


@app.command
def delete(name: Name, *, app: Owner, yes: Yes = False, dry_run: DryRun = False, where: Where = HERE) -> None:
    """Remove a bundle with everything in it.

    For example:

        compass bundle delete orders --app shop-crm --yes

    Exit codes: 0 removed, 2 there is no terminal to ask at, 4 there is none.
    """
    with speaking(where, dry_run=dry_run) as plane:
        found = _one(plane, app, name)
        if not dry_run:
            inside = [f"{column.of(found)} {column.title}" for column in COLUMNS[1:4] if column.of(found)]
            confirm(
                f"Delete bundle {found['name']} of {app}", [f"gone with it: {', '.join(inside) or 'nothing'}"], yes=yes
            )
        plane.change("DeleteBundle", {"id": found["id"]})
    done(f"bundle {found['name']} deleted")


def listed(plane: Speaking, application: str) -> list[Json]:
    """The bundles of an application. Raises CommandFailed."""
    identity = find.id_of(plane, find.APPLICATION, application)
    found = plane.all("Bundles", {"application": identity}, inside="bundles")
    if not found and plane.ask("Application", {"id": identity}) is None:
        message = f"there is no application {application!r}"
        raise CommandFailed(message, exit_code=Exit.NOT_FOUND, hint=find.APPLICATION.listing)
    return found


def _one(plane: Speaking, application: str, name: str) -> Json:
    named = find.Kind("bundle", "Bundles", f"compass bundle list {application}")
    return find.pick(listed(plane, application), named, name, field="id" if find.is_id(name) else "name")
