"""`compass api`: APIs of applications."""

from typing import Annotated, Any

from cyclopts import App, Parameter

from compass.cli import definition
from compass.cli.completion import Application
from compass.cli.confirm import Yes, confirm
from compass.cli.definition import API, DETAILS, SpecFile
from compass.cli.failures import CommandFailed, Exit
from compass.cli.output import Format, Output, detail, done, emit, show
from compass.cli.speaking import HERE, DryRun, Where, given, speaking

app = App(name="api", help="APIs that applications offer.")

Owner = Annotated[Application, Parameter(name="--app")]


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
        show(definition.listed(plane, API, app), output, definition.columns(API))


@app.command
def get(name: str, *, app: Owner, spec: bool = False, output: Output = Format.TABLE, where: Where = HERE) -> None:
    """Show one API, or its specification as it is.

    For example:

        compass api get orders --app shop-crm
        compass api get orders --app shop-crm --spec > openapi.yaml

    Exit codes: 0 shown, 4 there is none, or it has no specification.

    Parameters
    ----------
    name
        Its name or id.
    app
        The application's name or id.
    spec
        Print the specification alone.
    """
    with speaking(where) as plane:
        found = definition.with_specification(plane, API, app, name)
    if not spec:
        detail(found, output, DETAILS)
        return
    text = (found["spec"] or {}).get("data")
    if text is None:
        message = f"{name} has no specification"
        raise CommandFailed(
            message, exit_code=Exit.NOT_FOUND, hint=f"compass api update {name} --app {app} --spec FILE"
        )
    emit(text.removesuffix("\n"))


@app.command
def add(
    name: str,
    *,
    app: Owner,
    url: str,
    spec: SpecFile = None,
    spec_url: str | None = None,
    bundle: str | None = None,
    description: str | None = None,
    version: str | None = None,
    group: str | None = None,
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
    app
        The application's name or id.
    url
        Where a runtime calls; http or https.
    spec
        A file with the specification; `-` reads standard input.
    spec_url
        From where the plane fetches the specification.
    bundle
        A bundle of the application, by name or id; in no bundle unless given.
    description
        What people read.
    version
        A semantic version, such as 1.2.3.
    group
        What it is sorted by.
    """
    new = given(name=name, description=description, group=group, version=version and {"value": version}, targetURL=url)
    with speaking(where, dry_run=dry_run) as plane:
        made = definition.add(plane, API, app, new, bundle=bundle, file=spec, url=spec_url)
    if output is Format.TABLE:
        emit(made["id"])
    else:
        detail(made, output, DETAILS)


@app.command
def update(
    name: str,
    *,
    app: Owner,
    url: str | None = None,
    spec: SpecFile = None,
    spec_url: str | None = None,
    description: str | None = None,
    version: str | None = None,
    group: str | None = None,
    dry_run: DryRun = False,
    where: Where = HERE,
) -> None:
    """Change what is given of an API; the rest stays.

    For example:

        compass api update orders --app shop-crm --spec openapi.yaml

    Exit codes: 0 changed, 2 nothing was given or the file cannot be read, 4 there is none, 1 refused otherwise.

    Parameters
    ----------
    name
        Its name or id.
    app
        The application's name or id.
    url
        Where a runtime calls; http or https.
    spec
        A file with the new specification; `-` reads standard input.
    spec_url
        From where the plane fetches the new specification.
    description
        What people read.
    version
        A semantic version, such as 1.2.3.
    group
        What it is sorted by.
    """
    changes: dict[str, Any] = given(
        description=description, group=group, version=version and {"value": version}, targetURL=url
    )
    if not changes and spec is None and spec_url is None:
        raise CommandFailed("nothing to change was given", exit_code=Exit.USAGE, hint="compass api update --help")
    with speaking(where, dry_run=dry_run) as plane:
        definition.update(plane, API, app, name, changes, file=spec, url=spec_url)


@app.command
def delete(name: str, *, app: Owner, yes: Yes = False, dry_run: DryRun = False, where: Where = HERE) -> None:
    """Remove an API. Runtimes see it no more.

    For example:

        compass api delete orders --app shop-crm --yes

    Exit codes: 0 removed, 2 there is no terminal to ask at, 4 there is none.

    Parameters
    ----------
    name
        Its name or id.
    app
        The application's name or id.
    """
    with speaking(where, dry_run=dry_run) as plane:
        found = definition.one(plane, API, app, name)
        if not dry_run:
            confirm(f"Delete {found['name']} of {app}", ["runtimes see it no more"], yes=yes)
        plane.change("DeleteApi", {"id": found["id"]})
    done(f"API {found['name']} deleted")


@app.command
def refetch(name: str, *, app: Owner, dry_run: DryRun = False, where: Where = HERE) -> None:
    """Have the plane fetch the specification again. When that fails, the last good one stays.

    For example:

        compass api refetch orders --app shop-crm

    Exit codes: 0 fetched, 4 there is none, 1 it could not be fetched.

    Parameters
    ----------
    name
        Its name or id.
    app
        The application's name or id.
    """
    with speaking(where, dry_run=dry_run) as plane:
        definition.refetch(plane, API, app, name)


@app.command
def diff(name: str, *, app: Owner, spec: SpecFile, where: Where = HERE) -> int:
    """Print how a file differs from the specification that is there.

    For example:

        compass api diff orders --app shop-crm --spec openapi.yaml

    Exit codes: 0 they are equal, 4 there is none, 5 they differ.

    Parameters
    ----------
    name
        Its name or id.
    app
        The application's name or id.
    spec
        A file with a specification; `-` reads standard input.
    """
    if spec is None:
        raise CommandFailed("there is no file to compare with", exit_code=Exit.USAGE, hint="--spec FILE")
    with speaking(where) as plane:
        return definition.differences(plane, API, app, name, spec)
