"""`compass app`: applications."""

from pathlib import Path
from shlex import quote
from typing import Annotated

from cyclopts import App, Parameter

from compass.cli import find, labels
from compass.cli import standing as columns
from compass.cli.completion import Application, Groups, Template
from compass.cli.confirm import Yes, confirm
from compass.cli.connect import APPLICATION_SIDE, DEFAULT_TIMEOUT, HowShown, ValidFor, WaitFor, connect, goal
from compass.cli.failures import CommandFailed, Exit
from compass.cli.group import join
from compass.cli.labels import NewLabels, Selector
from compass.cli.output import Column, Format, Output, detail, done, show, show_made
from compass.cli.speaking import HERE, DryRun, Json, Limit, Sorted, Where, given, speaking
from compass.cli.waiting import Timeout, Wait
from compass.client.order import order
from compass.client.recipe import Show

app = App(name="app", help="Applications: systems that offer APIs and events.")

COLUMNS = (
    Column("name", "name"),
    Column("status", "status.condition"),
    *columns.COLUMNS,
    Column("groups", labels.groups),
    Column("provider", "providerName"),
    Column("description", "description", wide=True),
    Column("labels", labels.shown, wide=True),
    Column("since", "status.timestamp", wide=True),
    Column("id", "id"),
)
_DETAILS = (
    *COLUMNS,
    Column("base URL", "baseUrl"),
    Column("health check", "healthCheckURL"),
    Column("system number", "systemNumber"),
    Column("integration system", "integrationSystemID"),
    Column("template", "applicationTemplateID"),
    Column("events to", "eventingConfiguration.defaultURL"),
    Column("bundles", lambda row: _names(row["bundles"])),
    Column("webhooks", lambda row: [f"{each['type']} {each['url'] or 'template'}" for each in row["webhooks"] or []]),
    Column("known as", lambda row: [each["id"] for each in row["auths"] or []]),
    Column("created", "createdAt"),
    Column("updated", "updatedAt"),
)


@app.command(name="list", alias="ls")
def list_applications(
    *,
    label: Selector = (),
    sort: Sorted = None,
    limit: Limit = None,
    output: Output = Format.TABLE,
    where: Where = HERE,
) -> None:
    """List the applications of the tenant.

    For example:

        compass app list
        compass app list -l team=finance -o wide
        compass app list --sort created-desc --limit 10
        compass app list -o jsonpath='[*].id'

    Exit codes: 0 listed, 7 not allowed, 8 plane not reached, 9 not the pinned plane.
    """
    with speaking(where) as plane:
        found = plane.all("Applications", {"filter": labels.filters(label), "orderBy": order(sort)}, limit=limit)
    show(found, output, COLUMNS)


@app.command(name="get")
def get(name: Application, *, output: Output = Format.TABLE, where: Where = HERE) -> None:
    """Show one application.

    For example:

        compass app get shop-crm
        compass app get shop-crm -o yaml

    Exit codes: 0 shown, 4 there is none.

    Parameters
    ----------
    name
        The application's name or id.
    """
    with speaking(where) as plane:
        identity = find.id_of(plane, find.APPLICATION, name)
        found = plane.ask("Application", {"id": identity})
    if found is None:
        raise CommandFailed(
            f"there is no application {name!r}", exit_code=Exit.NOT_FOUND, hint=find.APPLICATION.listing
        )
    detail(found, output, _DETAILS)


@app.command
def create(
    name: str,
    *,
    description: str | None = None,
    provider: str | None = None,
    base_url: str | None = None,
    health_check_url: str | None = None,
    label: NewLabels = (),
    group: Groups = (),
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
    where: Where = HERE,
) -> None:
    """Register an application, and print its id.

    For example:

        compass app create shop-crm --group retail
        compass app create billing --description Invoices -l team=finance

    Groups that are not there yet are created.

    Exit codes: 0 registered, 6 the name is taken, 1 refused otherwise.

    Parameters
    ----------
    name
        Unique in the tenant, whatever its case; it cannot be changed later.
    description
        What people read.
    provider
        Who made the application.
    base_url
        Where its APIs begin.
    health_check_url
        Where somebody may ask whether it is well.
    group
        A group that it joins; may be repeated.
    """
    new = given(
        name=name,
        description=description,
        providerName=provider,
        baseUrl=base_url,
        healthCheckURL=health_check_url,
        labels=labels.new(label),
    )
    with speaking(where, dry_run=dry_run) as plane:
        made: Json = plane.change("RegisterApplication", {"in": new})
        done(f"application {name} created")
        join(plane, group, made["id"], "APPLICATION")
    show_made(made, output, COLUMNS, next_command=f"compass app connect {quote(name)}")


@app.command(name="from-template")
def from_template(
    template: Template,
    *,
    value: tuple[str, ...] = (),
    label: NewLabels = (),
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
    where: Where = HERE,
) -> None:
    """Register an application of a template, and print its id.

    For example:

        compass app from-template sap-crm --value name=crm-1 --value region=eu

    Exit codes: 0 registered, 4 there is no such template, 6 the name is taken, 1 refused otherwise.

    Parameters
    ----------
    template
        The template's name or id.
    value
        The value of a placeholder, as placeholder=value; may be repeated.
    """
    values = []
    for pair in value:
        placeholder, equals, text = pair.partition("=")
        if not equals:
            raise CommandFailed(f"--value {pair!r} is not placeholder=value", exit_code=Exit.USAGE)
        values.append({"placeholder": placeholder, "value": text})
    with speaking(where, dry_run=dry_run) as plane:
        found = find.one(plane, find.TEMPLATE, template)
        new = given(id=found["id"], templateName=found["name"], labels=labels.new(label)) | {"values": values}
        made: Json = plane.change("RegisterApplicationFromTemplate", {"in": new})
    done(f"application {made['name']} created")
    show_made(made, output, COLUMNS, next_command=f"compass app connect {quote(made['name'])}")


@app.command
def edit(
    name: Application,
    *,
    description: str | None = None,
    provider: str | None = None,
    base_url: str | None = None,
    health_check_url: str | None = None,
    file: Annotated[Path | None, Parameter(alias="-f", allow_leading_hyphen=True)] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    where: Where = HERE,
) -> None:
    """Change what is given of an application; the rest stays. With nothing given, it opens in $EDITOR as text.

    For example:

        compass app edit billing --description "Invoices and reminders"
        compass app edit billing

    The text has its fields, labels, groups and webhooks. What is removed from it is asked about first. Where somebody
    else has changed the same meanwhile, nothing is written over: both values are said, and the text is kept.

    Exit codes: 0 changed, 2 nothing was given and there is no terminal, 4 there is none, 6 somebody else changed it.

    Parameters
    ----------
    name
        The application's name or id.
    description
        What people read.
    provider
        Who made the application.
    base_url
        Where its APIs begin.
    health_check_url
        Where somebody may ask whether it is well.
    file
        The whole text, instead of an editor; `-` for standard input.
    """
    changes = {
        member: value
        for member, value in {
            "description": description,
            "providerName": provider,
            "baseUrl": base_url,
            "healthCheckURL": health_check_url,
        }.items()
        if value is not None
    }
    if changes and file is not None:
        raise CommandFailed("--file has the whole text; nothing else is given", exit_code=Exit.USAGE)
    with speaking(where, dry_run=dry_run) as plane:
        identity = find.id_of(plane, find.APPLICATION, name)
        if not changes:
            from compass.cli.editing import edit as edit_text
            from compass.landscape.manifest import Kind

            edit_text(plane, Kind.APPLICATION, identity, file=file, yes=yes, dry_run=dry_run)
            return
        now = plane.ask("Application", {"id": identity})
        # Without it, the plane would set the status back.
        keep = {"statusCondition": now["status"]["condition"]} if now is not None else {}
        plane.change("UpdateApplication", {"id": identity, "in": {**changes, **keep}})
    done(f"application {name} changed")


@app.command
def delete(name: Application, *, yes: Yes = False, dry_run: DryRun = False, where: Where = HERE) -> None:
    """Remove an application with all it offers. Its certificates, tokens and secrets are void.

    For example:

        compass app delete billing
        compass app delete billing --yes

    An application in a group is refused: take it out first, with `compass group remove`.

    Exit codes: 0 removed, 2 there is no terminal to ask at, 4 there is none, 1 refused otherwise.

    Parameters
    ----------
    name
        The application's name or id.
    """
    with speaking(where, dry_run=dry_run) as plane:
        identity = find.id_of(plane, find.APPLICATION, name)
        found = plane.ask("Application", {"id": identity})
        if found is None:
            raise CommandFailed(f"there is no application {name!r}", exit_code=Exit.NOT_FOUND)
        if not dry_run:
            confirm(f"Delete application {found['name']}", _effects(found), yes=yes)
        plane.change("UnregisterApplication", {"id": identity})
    done(f"application {found['name']} deleted")


@app.command
def unpair(name: Application, *, yes: Yes = False, dry_run: DryRun = False, where: Where = HERE) -> None:
    """Make all certificates, tokens and secrets of an application void, at once. The registration stays.

    For example:

        compass app unpair billing

    Exit codes: 0 unpaired, 2 there is no terminal to ask at, 4 there is none, 1 it shares a group with a runtime.

    Parameters
    ----------
    name
        The application's name or id.
    """
    with speaking(where, dry_run=dry_run) as plane:
        identity = find.id_of(plane, find.APPLICATION, name)
        if not dry_run:
            confirm(f"Unpair application {name}", ["its certificates, tokens and secrets end at once"], yes=yes)
        plane.change("UnpairApplication", {"id": identity})
    done(f"application {name} unpaired; compass app connect {quote(name)} pairs it anew")


@app.command
def label(name: Application, *changes: str, dry_run: DryRun = False, where: Where = HERE) -> None:
    """Set labels with key=value, and remove them with key-.

    For example:

        compass app label billing team=finance stage-

    Exit codes: 0 labelled, 2 neither key=value nor key-, 4 there is none.

    Parameters
    ----------
    name
        The application's name or id.
    changes
        key=value or key-; a value is JSON when it reads as JSON.
    """
    with speaking(where, dry_run=dry_run) as plane:
        found = find.one(plane, find.APPLICATION, name)
        now = plane.ask("Application", {"id": found["id"]})
        changed = labels.change(
            plane,
            changes,
            setting="SetApplicationLabel",
            deleting="DeleteApplicationLabel",
            of={"application": found["id"]},
            known=now["labels"],
        )
    done(f"application {name}: {', '.join(changed) or 'nothing to change'}")


@app.command(name="connect")
def connect_application(
    name: Application,
    *,
    valid_for: ValidFor = None,
    wait: Wait = False,
    wait_for: WaitFor = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
    show: HowShown = Show.COMPASS,
    output: Output = Format.TABLE,
    where: Where = HERE,
) -> None:
    """Make a one-time token, and print the command that pairs the application with it.

    For example:

        compass app connect shop-crm
        compass app connect shop-crm --wait --timeout 10m
        compass app connect shop-crm --valid-for 90s
        compass app connect shop-crm --show curl
        compass app connect shop-crm --show kubernetes | sh

    The token is shown only now and is good for one use. With --wait, each step is told as it happens: token used,
    certificate signed, first call with it. An interrupted wait leaves the token as it is.

    Exit codes: 0 the token was made, or with --wait the application is connected, 4 there is none, 124 it did not
    connect in time, 130 interrupted.

    Parameters
    ----------
    name
        The application's name or id.
    """
    with speaking(where) as plane:
        found = find.one(plane, find.APPLICATION, name)
        connect(
            plane,
            APPLICATION_SIDE,
            found,
            how=show,
            life=valid_for,
            wait=goal(wait=wait, wait_for=wait_for),
            timeout=timeout,
            output=output,
        )


def _effects(found: Json) -> list[str]:
    bundles = found["bundles"]["data"]
    counted = {
        "bundles": len(bundles),
        "APIs in them": sum(each["apiDefinitions"]["totalCount"] for each in bundles),
        "events in them": sum(each["eventDefinitions"]["totalCount"] for each in bundles),
        "webhooks": len([each for each in found["webhooks"] or [] if each["applicationID"] == found["id"]]),
        "certificates, tokens and secrets": len(found["auths"] or []),
    }
    gone = [f"{count} {what}" for what, count in counted.items() if count]
    inside = labels.groups(found)
    return [
        f"gone with it: {', '.join(gone) or 'nothing else'}",
        *([f"it is in {', '.join(inside)}, which has to end first"] if inside else []),
    ]


def _names(page: Json | None) -> list[str]:
    return [each["name"] for each in (page or {}).get("data", [])]
