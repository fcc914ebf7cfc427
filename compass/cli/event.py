"""`compass event`: event definitions of applications."""

from cyclopts import App

from compass.cli import definition, specification
from compass.cli.completion import Application, Owner
from compass.cli.confirm import Yes
from compass.cli.definition import (
    DETAILS,
    EVENT,
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
from compass.cli.output import Format, Output, detail, emit, show, show_made
from compass.cli.speaking import HERE, DryRun, Where, speaking

app = App(name="event", help="Event definitions: what applications tell of.")


@app.command(name="list", alias="ls")
def list_events(app: Application, *, output: Output = Format.TABLE, where: Where = HERE) -> None:
    """List the event definitions of an application, in bundles or not.

    For example:

        compass event list shop-crm

    Exit codes: 0 listed, 4 there is no such application.

    Parameters
    ----------
    app
        The application's name or id.
    """
    with speaking(where) as plane:
        show(definition.listed(plane, EVENT, app), output, definition.EVENT_COLUMNS)


@app.command
def get(name: Name, *, app: Owner, spec: bool = False, output: Output = Format.TABLE, where: Where = HERE) -> None:
    """Show one event definition, or its specification as it is.

    For example:

        compass event get order-events --app shop-crm
        compass event get order-events --app shop-crm --spec > asyncapi.yaml

    Exit codes: 0 shown, 4 there is none, or it has no specification.

    Parameters
    ----------
    spec
        Print the specification alone.
    """
    with speaking(where) as plane:
        if spec:
            emit(definition.specification_text(plane, EVENT, app, name))
        else:
            detail(definition.with_specification(plane, EVENT, app, name), output, DETAILS)


@app.command
def add(
    name: str,
    *,
    app: Owner,
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
    """Add an event definition to an application, and print its id.

    For example:

        compass event add order-events --app shop-crm --spec asyncapi.yaml

    Exit codes: 0 added, 2 the specification cannot be read (the message names its line), 4 there is no such
    application or bundle, 1 refused otherwise, or the specification could not be fetched.

    Parameters
    ----------
    name
        1 to 100 printable ASCII characters.
    spec
        A file with the specification; `-` reads standard input.
    spec_url
        From where the plane fetches the specification.
    """
    new = members(name=name, description=description, group=group, version=version)
    with speaking(where, dry_run=dry_run) as plane:
        made = definition.add(plane, EVENT, app, new, bundle=bundle, file=spec, url=spec_url)
    show_made(made, output, DETAILS)


@app.command
def update(
    name: Name,
    *,
    app: Owner,
    spec: SpecFile = None,
    spec_url: str | None = None,
    description: Description = None,
    version: Version = None,
    group: Group = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    where: Where = HERE,
) -> None:
    """Change what is given of an event definition; the rest stays. Asks before a new specification breaks others.

    For example:

        compass event update order-events --app shop-crm --spec asyncapi.yaml

    Exit codes: 0 changed, 2 nothing was given, the file cannot be read or there is no terminal to ask at, 4 there is
    none, 1 refused otherwise.

    Parameters
    ----------
    spec
        A file with the new specification; `-` reads standard input.
    spec_url
        From where the plane fetches the new specification.
    """
    changes = members(description=description, group=group, version=version)
    definition.require_changes(EVENT, changes, file=spec, url=spec_url)
    with speaking(where, dry_run=dry_run) as plane:
        definition.update(plane, EVENT, app, name, changes, file=spec, url=spec_url, yes=yes or dry_run)


@app.command
def delete(name: Name, *, app: Owner, yes: Yes = False, dry_run: DryRun = False, where: Where = HERE) -> None:
    """Remove an event definition. Runtimes see it no more.

    For example:

        compass event delete order-events --app shop-crm --yes

    Exit codes: 0 removed, 2 there is no terminal to ask at, 4 there is none.
    """
    with speaking(where, dry_run=dry_run) as plane:
        definition.delete(plane, EVENT, app, name, yes=yes or dry_run)


@app.command
def refetch(name: Name, *, app: Owner, dry_run: DryRun = False, where: Where = HERE) -> None:
    """Have the plane fetch the specification again. When that fails, the last good one stays.

    For example:

        compass event refetch order-events --app shop-crm

    Exit codes: 0 fetched, 4 there is none, 1 it could not be fetched.
    """
    with speaking(where, dry_run=dry_run) as plane:
        definition.refetch(plane, EVENT, app, name)


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

        compass event diff order-events --app shop-crm --spec asyncapi.yaml
        compass event diff order-events --app shop-crm --revision 3
        compass event diff order-events --app shop-crm --spec asyncapi.yaml --breaking

    Exit codes: 0 they are equal, or nothing breaks with --breaking, 4 there is none, 5 they differ.

    Parameters
    ----------
    spec
        A file with a specification; `-` reads standard input. Without it, what is there is compared.
    """
    with speaking(where) as plane:
        return definition.differences(
            plane, EVENT, app, name, file=spec, revision=revision, as_text=text, only_breaking=breaking
        )


@app.command
def revisions(name: Name, *, app: Owner, output: Output = Format.TABLE, where: Where = HERE) -> None:
    """List the texts that the specification of an event definition had, newest first, as far back as they are kept.

    For example:

        compass event revisions order-events --app shop-crm

    Exit codes: 0 listed, 4 there is none.
    """
    with speaking(where) as plane:
        show(definition.revisions(plane, EVENT, app, name), output, REVISIONS)


@app.command
def render(name: Named, *, app: OfApplication = None, where: Where = HERE) -> None:
    """Show a specification for people: what it offers, what that takes and gives.

    For example:

        compass event render asyncapi.yaml
        compass event render order-events --app shop-crm

    Exit codes: 0 shown, 2 it cannot be read (the message names its line), 4 there is none.
    """
    specification.render(*definition.text_of(where, EVENT, name, app))


@app.command
def validate(name: Named, *, app: OfApplication = None, where: Where = HERE) -> int:
    """Print what is wrong with a specification, each with its line.

    For example:

        compass event validate asyncapi.yaml

    Exit codes: 0 nothing is, or only warnings, 1 something is, 4 there is none.
    """
    return specification.validate(*definition.text_of(where, EVENT, name, app))
