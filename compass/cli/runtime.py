"""`compass runtime`: runtimes, whoever made them. What the Provisioner does to its own is in provisioned.py."""

from cyclopts import App

from compass.cli import find, labels
from compass.cli import standing as columns
from compass.cli.completion import Groups, Runtime
from compass.cli.confirm import Yes, confirm
from compass.cli.connect import RUNTIME_SIDE, HowShown, ValidFor, WaitFor, connect, goal
from compass.cli.failures import CommandFailed, Exit
from compass.cli.group import join
from compass.cli.labels import NewLabels, Selector
from compass.cli.output import Column, Format, Output, detail, done, say, show, show_made
from compass.cli.provisioned import provisioned
from compass.cli.speaking import HERE, DryRun, Json, Limit, Sorted, Speaking, Where, given, speaking
from compass.cli.waiting import FIVE_MINUTES, Timeout, Wait
from compass.client import standing
from compass.client.order import order
from compass.client.recipe import Show

app = App(name="runtime", help="Runtimes: where work runs that uses applications.")
for verb in ("provision", "deprovision", "reconnect", "upgrade", "hibernate", "wake", "retry", "kubeconfig"):
    app.command(f"compass.cli.provisioned:{verb}", name=verb)

COLUMNS = (
    Column("name", "name"),
    Column("status", "status.condition"),
    *columns.COLUMNS,
    columns.AGENT,
    Column("groups", labels.groups),
    Column("description", "description", wide=True),
    Column("labels", labels.shown, wide=True),
    Column("since", "status.timestamp", wide=True),
    Column("id", "id"),
)
_DETAILS = (
    *COLUMNS,
    Column("events to", "eventingConfiguration.defaultURL"),
    Column("webhooks", lambda row: [f"{each['type']} {each['url'] or 'template'}" for each in row["webhooks"] or []]),
    Column("known as", lambda row: [each["id"] for each in row["auths"] or []]),
    Column("agent", "provisioner.runtimeConnectionStatus.status"),
    Column("operation", "provisioner.lastOperationStatus.message"),
    Column("created", "metadata.creationTimestamp"),
)
_STATUS = (
    *columns.COLUMNS,
    columns.AGENT,
    Column("agent version", "connection.agent.version"),
    Column("operation", "lastOperationStatus.operation"),
    Column("state", "lastOperationStatus.state"),
    Column("message", "lastOperationStatus.message"),
    Column("error", "lastOperationStatus.lastError.errMessage"),
    Column("agent", "runtimeConnectionStatus.status"),
    Column(
        "trouble",
        lambda row: [one["message"] for one in (row.get("runtimeConnectionStatus") or {}).get("errors") or []],
    ),
)


@app.command(name="list", alias="ls")
def list_runtimes(
    *,
    label: Selector = (),
    sort: Sorted = None,
    limit: Limit = None,
    output: Output = Format.TABLE,
    where: Where = HERE,
) -> None:
    """List the runtimes of the tenant.

    For example:

        compass runtime list
        compass runtime list -l region=eu -o wide
        compass runtime list --sort created-desc --limit 10

    Exit codes: 0 listed, 7 not allowed, 8 plane not reached, 9 not the pinned plane.
    """
    with speaking(where) as plane:
        found = plane.all("Runtimes", {"filter": labels.filters(label), "orderBy": order(sort)}, limit=limit)
    show(found, output, COLUMNS)


@app.command
def get(name: Runtime, *, output: Output = Format.TABLE, where: Where = HERE) -> None:
    """Show one runtime.

    For example:

        compass runtime get edge-01
        compass runtime get edge-01 -o json

    Exit codes: 0 shown, 4 there is none.

    Parameters
    ----------
    name
        The runtime's name or id.
    """
    with speaking(where) as plane:
        found = _found(plane, name)
        found["provisioner"] = provisioned(plane, found["id"])
    detail(found, output, _DETAILS)


@app.command
def register(
    name: str,
    *,
    description: str | None = None,
    label: NewLabels = (),
    group: Groups = (),
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
    where: Where = HERE,
) -> None:
    """Register a runtime that you run yourself, and print its id.

    For example:

        compass runtime register edge-02 --group retail -l region=eu

    Groups that are not there yet are created.

    Exit codes: 0 registered, 1 refused.

    Parameters
    ----------
    name
        Need not be unique.
    description
        What people read.
    group
        A group that it joins; may be repeated.
    """
    new = given(name=name, description=description, labels=labels.new(label))
    with speaking(where, dry_run=dry_run) as plane:
        made = plane.change("RegisterRuntime", {"in": new})
        done(f"runtime {name} registered")
        join(plane, group, made["id"], "RUNTIME")
    show_made(made, output, COLUMNS, next_command=f"compass runtime connect {name}")


@app.command(name="connect")
def connect_runtime(
    name: Runtime,
    *,
    valid_for: ValidFor = None,
    wait: Wait = False,
    wait_for: WaitFor = None,
    timeout: Timeout = FIVE_MINUTES,
    show: HowShown = Show.COMPASS,
    output: Output = Format.TABLE,
    where: Where = HERE,
) -> None:
    """Make a one-time token, and print the command that pairs the runtime with it.

    For example:

        compass runtime connect edge-02 --wait

    The token is shown only now and is good for one use. With --wait, each step is told as it happens.

    Exit codes: 0 the token was made, or with --wait the runtime is connected, 4 there is none, 124 it did not connect
    in time, 130 interrupted.

    Parameters
    ----------
    name
        The runtime's name or id.
    """
    with speaking(where) as plane:
        found = find.one(plane, find.RUNTIME, name)
        connect(
            plane,
            RUNTIME_SIDE,
            found,
            how=show,
            life=valid_for,
            wait=goal(wait=wait, wait_for=wait_for),
            timeout=timeout,
            output=output,
        )


@app.command
def status(name: Runtime, *, output: Output = Format.TABLE, where: Where = HERE) -> int:
    """Say how a runtime is doing: paired, certificate, in sync, heartbeat; and how far the Provisioner is with it.

    For example:

        compass runtime status edge-01

    Exit codes: 0 all is well, 3 it is not paired, needs attention, or the Provisioner failed, 4 there is none.

    Parameters
    ----------
    name
        The runtime's name or id.
    """
    with speaking(where) as plane:
        found = _found(plane, name)
        made = provisioned(plane, found["id"])
    # Null for who may not see how others are doing.
    connection = found["connection"] or {"paired": {"state": "UNPAIRED"}}
    detail(
        {**(made or {}), "id": found["id"], "name": found["name"], "connection": found["connection"]}, output, _STATUS
    )
    for trouble in standing.troubles(found["connection"]):
        for each in trouble.check:
            say(f"check {each}")
    well = connection["paired"]["state"] == "PAIRED" and not standing.troubles(found["connection"])
    if made is not None:
        well = well and made["lastOperationStatus"]["state"] != "Failed"
        well = well and (made["runtimeConnectionStatus"] or {}).get("status") == "Connected"
    return Exit.OK if well else Exit.DEGRADED


@app.command
def delete(name: Runtime, *, yes: Yes = False, dry_run: DryRun = False, where: Where = HERE) -> None:
    """Unregister a runtime: it leaves its groups, and its certificates, tokens and secrets are void.

    For example:

        compass runtime delete edge-02 --yes

    One that the Provisioner made is removed with `compass runtime deprovision`.

    Exit codes: 0 removed, 2 there is no terminal to ask at, 4 there is none, 1 the Provisioner made it.

    Parameters
    ----------
    name
        The runtime's name or id.
    """
    with speaking(where, dry_run=dry_run) as plane:
        found = _found(plane, name)
        if provisioned(plane, found["id"]) is not None:
            hint = f"compass runtime deprovision {name}"
            raise CommandFailed(f"the Provisioner made runtime {name}", hint=hint)
        if not dry_run:
            inside = labels.groups(found)
            effects = ["its certificates, tokens and secrets end"] + (
                [f"it leaves {', '.join(inside)}"] if inside else []
            )
            confirm(f"Delete runtime {found['name']}", effects, yes=yes)
        plane.change("UnregisterRuntime", {"id": found["id"]})
    done(f"runtime {found['name']} deleted")


@app.command
def label(name: Runtime, *changes: str, dry_run: DryRun = False, where: Where = HERE) -> None:
    """Set labels with key=value, and remove them with key-.

    For example:

        compass runtime label edge-01 region=eu stage-

    Exit codes: 0 labelled, 2 neither key=value nor key-, 4 there is none.

    Parameters
    ----------
    name
        The runtime's name or id.
    changes
        key=value or key-; a value is JSON when it reads as JSON.
    """
    with speaking(where, dry_run=dry_run) as plane:
        found = _found(plane, name)
        changed = labels.change(
            plane,
            changes,
            setting="SetRuntimeLabel",
            deleting="DeleteRuntimeLabel",
            of={"runtime": found["id"]},
            known=found["labels"],
        )
    done(f"runtime {name}: {', '.join(changed) or 'nothing to change'}")


def _found(plane: Speaking, name: str) -> Json:
    found: Json | None = plane.ask("Runtime", {"id": find.id_of(plane, find.RUNTIME, name)})
    if found is None:
        hint = f"{find.RUNTIME.listing} shows what there is"
        raise CommandFailed(f"there is no runtime {name!r}", exit_code=Exit.NOT_FOUND, hint=hint)
    return found
