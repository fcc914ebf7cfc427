"""`compass runtime`: runtimes, those that the Provisioner makes and others."""

from datetime import timedelta
from typing import Any, Final

from cyclopts import App

from compass.cli import find, labels
from compass.cli import standing as columns
from compass.cli.completion import Groups, Runtime
from compass.cli.confirm import Yes, confirm
from compass.cli.connect import RUNTIME_SIDE, HowShown, ValidFor, WaitFor, connect, goal
from compass.cli.failures import CommandFailed, Exit
from compass.cli.group import join
from compass.cli.labels import NewLabels, Selector
from compass.cli.output import Column, Format, Output, detail, done, emit, say, show, show_made
from compass.cli.speaking import HERE, DryRun, Json, Limit, Speaking, Where, given, speaking
from compass.cli.waiting import FIVE_MINUTES, Progress, Timeout, Wait, until
from compass.client import standing
from compass.client.recipe import Show

app = App(name="runtime", help="Runtimes: where work runs that uses applications.")

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
_STEPS: Final = {
    "FetchRuntimeConfiguration": "configuration read",
    "CreateCluster": "create",
    "WaitForClusterCreation": "create",
    "IssueCertificate": "install agent",
    "ConnectRuntimeAgent": "install agent",
    "WaitForAgentToConnect": "agent paired",
    "DeprovisionCluster": "remove",
    "WaitForClusterDeletion": "remove",
    "UnregisterRuntime": "unregister",
}
"""Steps of the Provisioner, in a person's words."""


@app.command(name="list", alias="ls")
def list_runtimes(
    *, label: Selector = (), limit: Limit = None, output: Output = Format.TABLE, where: Where = HERE
) -> None:
    """List the runtimes of the tenant.

    For example:

        compass runtime list
        compass runtime list -l region=eu -o wide

    Exit codes: 0 listed, 7 not allowed, 8 plane not reached, 9 not the pinned plane.
    """
    with speaking(where) as plane:
        found = plane.all("Runtimes", {"filter": labels.filters(label)}, limit=limit)
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
        found["provisioner"] = _provisioned(plane, found["id"])
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
def provision(
    name: str,
    *,
    provider: str = "local",
    description: str | None = None,
    label: NewLabels = (),
    group: Groups = (),
    wait: Wait = False,
    timeout: Timeout = timedelta(minutes=30),
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
    where: Where = HERE,
) -> None:
    """Have the Provisioner make a runtime with its agent, and print its id.

    For example:

        compass runtime provision edge-01 --group retail --wait

    Asked again for the same, it makes no second one.

    Exit codes: 0 begun, or with --wait the runtime is connected, 1 refused or failed, 124 it took too long.

    Parameters
    ----------
    name
        Unique among the clusters of the tenant.
    provider
        Who makes it; `local` is a process on the machine of the plane.
    description
        What people read.
    group
        A group that it joins; may be repeated.
    """
    config = _configuration(name, provider, given(description=description, labels=labels.new(label)))
    with speaking(where, dry_run=dry_run) as plane:
        operation = plane.change("ProvisionRuntime", {"config": config})
        runtime = operation["runtimeID"]
        done(f"runtime {name} registered")
        join(plane, group, runtime, "RUNTIME")
        if wait:
            _operated(plane, operation["id"], f"runtime {name}", timeout)
            done(f"runtime {name} is connected")
    if output is Format.TABLE:
        emit(runtime)
        if not wait:
            say(f"→ compass runtime status {name}")
    else:
        detail({"id": runtime, "name": name, "operation": operation["id"]}, output, COLUMNS)


@app.command
def deprovision(
    name: Runtime,
    *,
    wait: Wait = False,
    timeout: Timeout = timedelta(minutes=30),
    yes: Yes = False,
    dry_run: DryRun = False,
    where: Where = HERE,
) -> None:
    """Remove a runtime that the Provisioner made, with all that runs in it.

    For example:

        compass runtime deprovision edge-01 --wait --yes

    Exit codes: 0 begun, or with --wait nothing is left, 2 there is no terminal to ask at, 4 there is none, 124 it took
    too long, 1 refused or failed.

    Parameters
    ----------
    name
        The runtime's name or id.
    """
    with speaking(where, dry_run=dry_run) as plane:
        identity = find.id_of(plane, find.RUNTIME, name)
        if not dry_run:
            effects = ["its agent stops, its certificate ends, its data is removed", "it leaves its groups"]
            confirm(f"Deprovision runtime {name}", effects, yes=yes)
        operation = plane.change("DeprovisionRuntime", {"id": identity})
        if wait:
            _operated(plane, operation, f"the end of runtime {name}", timeout)
    done(f"runtime {name} is {'removed' if wait else 'being removed'}")


@app.command
def reconnect(
    name: Runtime,
    *,
    wait: Wait = False,
    timeout: Timeout = FIVE_MINUTES,
    dry_run: DryRun = False,
    where: Where = HERE,
) -> None:
    """Pair the agent of a runtime that the Provisioner made anew. Its former identity ends when the new one works.

    For example:

        compass runtime reconnect edge-01 --wait

    Exit codes: 0 begun, or with --wait it is connected, 4 there is none, 124 it took too long, 1 refused or failed.

    Parameters
    ----------
    name
        The runtime's name or id.
    """
    with speaking(where, dry_run=dry_run) as plane:
        operation = plane.change("ReconnectRuntimeAgent", {"id": find.id_of(plane, find.RUNTIME, name)})
        if wait:
            _operated(plane, operation, f"runtime {name}", timeout)
    done(f"the agent of {name} {'has' if wait else 'gets'} a new identity")


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
        made = _provisioned(plane, found["id"])
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
        if _provisioned(plane, found["id"]) is not None:
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


def _provisioned(plane: Speaking, runtime: str) -> Json | None:
    """What the Provisioner says of a runtime; None when it did not make it, or does not speak to us."""
    from compass.client.protocol import PlaneRefused

    try:
        found: Json | None = plane.ask("ProvisionedRuntime", {"id": runtime})
    except PlaneRefused:
        return None
    return found


def _configuration(name: str, provider: str, more: Json) -> Json:
    """What is asked of the Provisioner. What stands as "-" is asked for by the API and not looked at by `local`."""
    nothing = dict.fromkeys(("kubernetesVersion", "targetSecret", "region", "machineType"), "-")
    sizes = {"autoScalerMin": 1, "autoScalerMax": 1, "maxSurge": 1, "maxUnavailable": 0}
    cluster = {"name": name, "provider": provider, "workerCidr": "10.250.0.0/19", "providerSpecificConfig": {}}
    return {
        "runtimeInput": {"name": name, **more},
        "clusterConfig": {"gardenerConfig": {**cluster, **nothing, **sizes}},
    }


def _operated(plane: Speaking, operation: str, what: str, timeout: Any) -> None:
    """Wait for the end of an operation, and tell its steps. Raises CommandFailed."""

    def look(shown: Progress) -> bool:
        now = plane.ask("RuntimeOperation", {"id": operation})
        # Several of the Provisioner's steps are one to a person, which is over when the next begins.
        steps = list(dict.fromkeys(_STEPS[one["name"]] for one in now["steps"] or [] if one["name"] in _STEPS))
        is_over = bool(now["state"] == "Succeeded")
        for step in steps if is_over else steps[:-1]:
            shown.step(step)
        shown.note = steps[-1] if steps else ""
        if now["state"] == "Failed":
            why = now["lastError"]["errMessage"] or now["message"]
            raise CommandFailed(f"{what}: {why}", hint="compass doctor")
        return is_over

    until(what, look, timeout=timeout, hint="it goes on; compass runtime status says how far it is")
