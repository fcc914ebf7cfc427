"""`compass template`: forms from which applications are made."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from compass.cli import find
from compass.cli.completion import Template
from compass.cli.confirm import Yes, confirm
from compass.cli.definition import checked
from compass.cli.failures import CommandFailed, Exit
from compass.cli.labels import Selector, filters, shown
from compass.cli.output import Column, Format, Output, detail, done, show, show_made
from compass.cli.secret_input import read_text
from compass.cli.speaking import HERE, DryRun, Json, Where, speaking

app = App(name="template", help="Application templates: forms from which applications are made.")

File = Annotated[Path, Parameter(alias="-f", allow_leading_hyphen=True)]
COLUMNS = (
    Column("name", "name"),
    Column("placeholders", lambda row: [each["name"] for each in row["placeholders"]]),
    Column("description", "description", wide=True),
    Column("labels", shown, wide=True),
    Column("created", "createdAt", wide=True),
    Column("id", "id"),
)
_DETAILS = (*COLUMNS, Column("application", "applicationInput"))


@app.command(name="list", alias="ls")
def list_templates(*, label: Selector = (), output: Output = Format.TABLE, where: Where = HERE) -> None:
    """List the application templates. They belong to no tenant.

    For example:

        compass template list

    Exit codes: 0 listed, 7 not allowed, 8 plane not reached, 9 not the pinned plane.
    """
    with speaking(where) as plane:
        show(plane.all("Templates", {"filter": filters(label)}), output, COLUMNS)


@app.command
def get(name: Template, *, output: Output = Format.TABLE, where: Where = HERE) -> None:
    """Show one template.

    For example:

        compass template get sap-crm -o yaml

    Exit codes: 0 shown, 4 there is none.

    Parameters
    ----------
    name
        The template's name or id.
    """
    with speaking(where) as plane:
        detail(find.one(plane, find.TEMPLATE, name), output, _DETAILS)


@app.command
def create(*, file: File, dry_run: DryRun = False, output: Output = Format.TABLE, where: Where = HERE) -> None:
    """Add a template, and print its id.

    For example:

        compass template create -f template.yaml

    Exit codes: 0 added, 2 the file cannot be read, 6 the name is taken, 1 refused otherwise.

    Parameters
    ----------
    file
        YAML or JSON with the members of the API's `ApplicationTemplateInput`.
    """
    new = {"accessLevel": "GLOBAL", "placeholders": [], **_read(file)}
    with speaking(where, dry_run=dry_run) as plane:
        made = plane.change("CreateTemplate", {"in": new})
    done(f"template {made['name']} added")
    show_made(made, output, COLUMNS[:1] + COLUMNS[-1:])


@app.command
def edit(name: Template, *, file: File, dry_run: DryRun = False, where: Where = HERE) -> None:
    """Replace a template. Applications made from it stay as they are.

    For example:

        compass template edit sap-crm -f template.yaml

    Exit codes: 0 replaced, 2 the file cannot be read, 4 there is none, 1 refused otherwise.

    Parameters
    ----------
    name
        The template's name or id.
    file
        YAML or JSON with the members of the API's `ApplicationTemplateUpdateInput`.
    """
    new = {"accessLevel": "GLOBAL", "placeholders": [], **_read(file)}
    with speaking(where, dry_run=dry_run) as plane:
        plane.change("UpdateTemplate", {"id": find.id_of(plane, find.TEMPLATE, name), "in": new})
    done(f"template {name} replaced")


@app.command
def delete(name: Template, *, yes: Yes = False, dry_run: DryRun = False, where: Where = HERE) -> None:
    """Remove a template. Applications made from it stay, without one.

    For example:

        compass template delete sap-crm --yes

    Exit codes: 0 removed, 2 there is no terminal to ask at, 4 there is none.

    Parameters
    ----------
    name
        The template's name or id.
    """
    with speaking(where, dry_run=dry_run) as plane:
        found = find.one(plane, find.TEMPLATE, name)
        if not dry_run:
            confirm(f"Delete template {found['name']}", ["applications made from it stay"], yes=yes)
        plane.change("DeleteTemplate", {"id": found["id"]})
    done(f"template {found['name']} deleted")


def _read(file: Path) -> Json:
    read = checked(read_text(file), "YAML", str(file))
    if not isinstance(read, dict):
        raise CommandFailed(f"{file} is no object", exit_code=Exit.USAGE)
    return read
