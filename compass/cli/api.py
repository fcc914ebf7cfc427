"""`compass api`: APIs of applications."""

from typing import Annotated, Final

from cyclopts import App, Parameter

from compass.cli import definition, specification
from compass.cli.completion import Application, Owner
from compass.cli.confirm import Yes
from compass.cli.definition import (
    API,
    DETAILS,
    REVISIONS,
    AsText,
    Bundle,
    Description,
    Group,
    Named,
    OfApplication,
    OnlyBreaking,
    Revision,
    SpecFile,
    Version,
    members,
)
from compass.cli.find import Name
from compass.cli.output import Column, Format, Output, detail, emit, show, show_made
from compass.cli.speaking import HERE, DryRun, Limit, Where, speaking

app = App(name="api", help="APIs that applications offer.")

FOUND: Final = (
    Column("operation", lambda row: f"{row['verb']} {row['path']}"),
    Column("summary", "summary"),
    Column("definition", "definitionName"),
    Column("application", "applicationName"),
    Column("runtimes", "consumers"),
    Column("id", "operationID", wide=True),
    Column("definition id", "definitionID", wide=True),
)


@app.command(name="list", alias="ls")
def list_apis(app: Application, *, output: Output = Format.TABLE, where: Where = HERE) -> None:
    """List the APIs of an application, in bundles or not.

    For example:

        compass api list shop-crm

    Exit codes: 0 listed, 4 there is no such application.

    Parameters
    ----------
    app
        The application's name or id.
    """
    with speaking(where) as plane:
        show(definition.listed(plane, API, app), output, definition.COLUMNS)


@app.command
def get(name: Name, *, app: Owner, spec: bool = False, output: Output = Format.TABLE, where: Where = HERE) -> None:
    """Show one API, or its specification as it is.

    For example:

        compass api get orders --app shop-crm
        compass api get orders --app shop-crm --spec > openapi.yaml

    Exit codes: 0 shown, 4 there is none, or it has no specification.

    Parameters
    ----------
    spec
        Print the specification alone.
    """
    with speaking(where) as plane:
        if spec:
            emit(definition.specification_text(plane, API, app, name))
        else:
            detail(definition.with_specification(plane, API, app, name), output, DETAILS)


@app.command
def add(
    name: str,
    *,
    app: Owner,
    url: str,
    spec: SpecFile = None,
    spec_url: str | None = None,
    bundle: Bundle = None,
    description: Description = None,
    version: Version = None,
    group: Group = None,
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
    where: Where = HERE,
) -> None:
    """Add an API to an application, and print its id.

    For example:

        compass api add orders --app shop-crm --url https://shop.example/orders --spec openapi.yaml

    Exit codes: 0 added, 2 the specification cannot be read (the message names its line), 4 there is no such
    application or bundle, 1 refused otherwise, or the specification could not be fetched.

    Parameters
    ----------
    name
        1 to 100 printable ASCII characters.
    url
        Where a runtime calls; http or https.
    spec
        A file with the specification; `-` reads standard input.
    spec_url
        From where the plane fetches the specification.
    """
    new = members(name=name, description=description, group=group, version=version, url=url)
    with speaking(where, dry_run=dry_run) as plane:
        made = definition.add(plane, API, app, new, bundle=bundle, file=spec, url=spec_url)
    show_made(made, output, DETAILS)


@app.command
def update(
    name: Name,
    *,
    app: Owner,
    url: str | None = None,
    spec: SpecFile = None,
    spec_url: str | None = None,
    description: Description = None,
    version: Version = None,
    group: Group = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    where: Where = HERE,
) -> None:
    """Change what is given of an API; the rest stays. Asks before a new specification breaks others.

    For example:

        compass api update orders --app shop-crm --spec openapi.yaml

    Exit codes: 0 changed, 2 nothing was given, the file cannot be read or there is no terminal to ask at, 4 there is
    none, 1 refused otherwise.

    Parameters
    ----------
    url
        Where a runtime calls; http or https.
    spec
        A file with the new specification; `-` reads standard input.
    spec_url
        From where the plane fetches the new specification.
    """
    changes = members(description=description, group=group, version=version, url=url)
    definition.require_changes(API, changes, file=spec, url=spec_url)
    with speaking(where, dry_run=dry_run) as plane:
        definition.update(plane, API, app, name, changes, file=spec, url=spec_url, yes=yes or dry_run)


@app.command
def delete(name: Name, *, app: Owner, yes: Yes = False, dry_run: DryRun = False, where: Where = HERE) -> None:
    """Remove an API. Runtimes see it no more.

    For example:

        compass api delete orders --app shop-crm --yes

    Exit codes: 0 removed, 2 there is no terminal to ask at, 4 there is none.
    """
    with speaking(where, dry_run=dry_run) as plane:
        definition.delete(plane, API, app, name, yes=yes or dry_run)


@app.command
def refetch(name: Name, *, app: Owner, dry_run: DryRun = False, where: Where = HERE) -> None:
    """Have the plane fetch the specification again. When that fails, the last good one stays.

    For example:

        compass api refetch orders --app shop-crm

    Exit codes: 0 fetched, 4 there is none, 1 it could not be fetched.
    """
    with speaking(where, dry_run=dry_run) as plane:
        definition.refetch(plane, API, app, name)


@app.command
def diff(
    name: Name,
    *,
    app: Owner,
    spec: SpecFile = None,
    revision: Revision = None,
    text: AsText = False,
    breaking: OnlyBreaking = False,
    where: Where = HERE,
) -> int:
    """Print how a file differs from the specification that is there. What breaks those who use it is marked `!`.

    For example:

        compass api diff orders --app shop-crm --spec openapi.yaml
        compass api diff orders --app shop-crm --revision 3
        compass api diff orders --app shop-crm --spec openapi.yaml --breaking

    Exit codes: 0 they are equal, or nothing breaks with --breaking, 4 there is none, 5 they differ.

    Parameters
    ----------
    spec
        A file with a specification; `-` reads standard input. Without it, what is there is compared.
    """
    with speaking(where) as plane:
        return definition.differences(
            plane, API, app, name, file=spec, revision=revision, as_text=text, only_breaking=breaking
        )


@app.command
def revisions(name: Name, *, app: Owner, output: Output = Format.TABLE, where: Where = HERE) -> None:
    """List the texts that the specification of an API had, newest first, as far back as they are kept.

    For example:

        compass api revisions orders --app shop-crm

    Exit codes: 0 listed, 4 there is none.
    """
    with speaking(where) as plane:
        show(definition.revisions(plane, API, app, name), output, REVISIONS)


@app.command
def render(name: Named, *, app: OfApplication = None, where: Where = HERE) -> None:
    """Show a specification for people: what it offers, what that takes and gives.

    For example:

        compass api render openapi.yaml
        compass api render orders --app shop-crm

    Exit codes: 0 shown, 2 it cannot be read (the message names its line), 4 there is none.
    """
    specification.render(*definition.text_of(where, API, name, app))


@app.command
def validate(name: Named, *, app: OfApplication = None, where: Where = HERE) -> int:
    """Print what is wrong with a specification, each with its line.

    For example:

        compass api validate openapi.yaml

    Exit codes: 0 nothing is, or only warnings, 1 something is, 4 there is none.
    """
    return specification.validate(*definition.text_of(where, API, name, app))


@app.command
def search(
    *text: Annotated[str, Parameter(help="Words; each has to occur in verb, path, id, summary, tags or title.")],
    limit: Limit = None,
    output: Output = Format.TABLE,
    where: Where = HERE,
) -> None:
    """Find operations, channels and entity sets in the specifications of all applications.

    For example:

        compass api search GET /orders
        compass api search invoice -o wide

    Exit codes: 0 searched, also when nothing was found.
    """
    with speaking(where) as plane:
        show(plane.all("OfferedOperations", {"search": " ".join(text) or None}, limit=limit), output, FOUND)
