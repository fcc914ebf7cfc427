"""`compass runtime provision`, `upgrade`, `hibernate` …: what the Provisioner does to the runtimes that it makes."""

import shlex
from datetime import timedelta
from typing import Any, Final

from compass.cli import find, labels
from compass.cli.completion import Groups, Runtime
from compass.cli.confirm import Yes, confirm
from compass.cli.failures import CommandFailed, Exit
from compass.cli.group import join
from compass.cli.labels import NewLabels
from compass.cli.output import Column, Format, Output, detail, done, emit, say
from compass.cli.speaking import HERE, DryRun, Json, Speaking, Where, given, speaking
from compass.cli.waiting import FIVE_MINUTES, Progress, Timeout, Wait, until

_MADE: Final = (Column("name", "name"), Column("operation", "operation"), Column("id", "id"))
_NEWEST: Final = {
    "kymaConfig": {"version": "-", "components": [{"component": "compass-runtime-agent", "namespace": "-"}]}
}
"""The release that is installed at the plane. What stands as "-" is asked for by the API and not looked at."""
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
    "StartingUpgrade": "replace",
    "WaitingForInstallation": "agent in sync",
    "UpdatingUpgradeState": "agent in sync",
    "WaitForHibernation": "fall asleep",
    "WakeRuntime": "wake up",
    "WaitForAgentToSync": "agent in sync",
}
"""Steps of the Provisioner, in a person's words."""


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
        detail({"id": runtime, "name": name, "operation": operation["id"]}, output, _MADE)


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
            _operated(plane, operation, f"the end of runtime {name}", timeout, again=name)
    done(f"runtime {name} is {'removed' if wait else 'being removed'}")


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
            _operated(plane, operation, f"runtime {name}", timeout, again=name)
    done(f"the agent of {name} {'has' if wait else 'gets'} a new identity")


def upgrade(
    name: Runtime,
    *,
    wait: Wait = False,
    timeout: Timeout = timedelta(minutes=30),
    dry_run: DryRun = False,
    where: Where = HERE,
) -> None:
    """Replace what runs of a runtime by the release that is installed now.

    For example:

        compass runtime upgrade edge-01 --wait

    A runtime on the plane's machine outlives the plane, so it runs the release that started it until then.

    Exit codes: 0 begun, or with --wait the new one is in sync, 4 there is none, 124 it took too long, 1 refused or
    failed.

    Parameters
    ----------
    name
        The runtime's name or id.
    """
    with speaking(where, dry_run=dry_run) as plane:
        identity = find.id_of(plane, find.RUNTIME, name)
        operation = plane.change("UpgradeRuntime", {"id": identity, "config": _NEWEST})
        if wait:
            _operated(plane, operation["id"], f"the upgrade of {name}", timeout, again=name)
    done(f"runtime {name} is {'upgraded' if wait else 'being upgraded'}")


def hibernate(
    name: Runtime,
    *,
    wait: Wait = False,
    timeout: Timeout = FIVE_MINUTES,
    yes: Yes = False,
    dry_run: DryRun = False,
    where: Where = HERE,
) -> None:
    """Put a runtime to sleep: nothing of it runs, and nothing of it is lost, until it is woken up.

    For example:

        compass runtime hibernate edge-01 --wait --yes

    Exit codes: 0 begun, or with --wait it sleeps, 2 there is no terminal to ask at, 4 there is none, 124 it took too
    long, 1 refused or failed.

    Parameters
    ----------
    name
        The runtime's name or id.
    """
    with speaking(where, dry_run=dry_run) as plane:
        identity = find.id_of(plane, find.RUNTIME, name)
        if not dry_run:
            effects = ["its agent and all that runs there stop", "it stays registered and paired, and in its groups"]
            confirm(f"Hibernate runtime {name}", effects, yes=yes)
        operation = plane.change("HibernateRuntime", {"id": identity})
        if wait:
            _operated(plane, operation["id"], f"runtime {name}", timeout, again=name)
    done(f"runtime {name} {'sleeps' if wait else 'is falling asleep'}")


def wake(
    name: Runtime, *, wait: Wait = False, timeout: Timeout = FIVE_MINUTES, dry_run: DryRun = False, where: Where = HERE
) -> None:
    """Wake a runtime up that was put to sleep.

    For example:

        compass runtime wake edge-01 --wait

    Exit codes: 0 begun, or with --wait it is in sync again, 4 there is none, 124 it took too long, 1 refused or failed.

    Parameters
    ----------
    name
        The runtime's name or id.
    """
    with speaking(where, dry_run=dry_run) as plane:
        operation = plane.change("WakeRuntime", {"id": find.id_of(plane, find.RUNTIME, name)})
        if wait:
            _operated(plane, operation["id"], f"runtime {name}", timeout, again=name)
    done(f"runtime {name} is {'awake' if wait else 'waking up'}")


def retry(
    name: Runtime,
    *,
    wait: Wait = False,
    timeout: Timeout = timedelta(minutes=30),
    dry_run: DryRun = False,
    where: Where = HERE,
) -> None:
    """Take up again what the Provisioner did last to a runtime and failed at, at the step that failed.

    For example:

        compass runtime retry edge-01 --wait

    `compass runtime status` shows what failed. What could not be provisioned is removed; provision it anew.

    Exit codes: 0 begun, or with --wait it succeeded, 4 there is none, 124 it took too long, 1 nothing failed, or it
    failed again.

    Parameters
    ----------
    name
        The runtime's name or id.
    """
    with speaking(where, dry_run=dry_run) as plane:
        made = _made(plane, name)
        operation = plane.change("RetryOperation", {"id": made["lastOperationStatus"]["id"]})
        if wait:
            _operated(plane, operation["id"], f"runtime {name}", timeout, again=name)
    what = operation["operation"]
    done(f"{what} of runtime {name} {'succeeded' if wait else 'is tried again'}")


def kubeconfig(name: Runtime, *, where: Where = HERE) -> None:
    """Print the kubeconfig of a runtime that is a cluster. It lets whoever has it in.

    For example:

        compass runtime kubeconfig edge-01 > edge-01.yaml

    Exit codes: 0 printed, 4 there is no such runtime, or it has none.

    Parameters
    ----------
    name
        The runtime's name or id.
    """
    with speaking(where) as plane:
        found = _made(plane, name)["runtimeConfiguration"]
    if not found["kubeconfig"]:
        cluster = found["clusterConfig"] or {}
        hint = "a runtime of the provider local is a process on the plane's machine; its folder holds all of it"
        raise CommandFailed(
            f"runtime {name} has no kubeconfig",
            exit_code=Exit.NOT_FOUND,
            hint=hint if cluster.get("provider") == "local" else f"compass runtime status {name}",
        )
    emit(found["kubeconfig"])


def provisioned(plane: Speaking, runtime: str) -> Json | None:
    """What the Provisioner says of a runtime; None when it did not make it, or does not speak to us."""
    from compass.client.protocol import PlaneRefused

    try:
        found: Json | None = plane.ask("ProvisionedRuntime", {"id": runtime})
    except PlaneRefused:
        return None
    return found


def _made(plane: Speaking, name: str) -> Json:
    """What the Provisioner says of a runtime of that name. Raises CommandFailed."""
    made = provisioned(plane, find.id_of(plane, find.RUNTIME, name))
    if made is None:
        hint = "compass runtime list shows what there is; `provision` makes one"
        raise CommandFailed(f"the Provisioner did not make runtime {name}", exit_code=Exit.NOT_FOUND, hint=hint)
    return made


def _configuration(name: str, provider: str, more: Json) -> Json:
    """What is asked of the Provisioner. What stands as "-" is asked for by the API and not looked at by `local`."""
    nothing = dict.fromkeys(("kubernetesVersion", "targetSecret", "region", "machineType"), "-")
    sizes = {"autoScalerMin": 1, "autoScalerMax": 1, "maxSurge": 1, "maxUnavailable": 0}
    cluster = {"name": name, "provider": provider, "workerCidr": "10.250.0.0/19", "providerSpecificConfig": {}}
    return {
        "runtimeInput": {"name": name, **more},
        "clusterConfig": {"gardenerConfig": {**cluster, **nothing, **sizes}},
    }


def _operated(plane: Speaking, operation: str, what: str, timeout: Any, *, again: str | None = None) -> None:
    """Wait for the end of an operation, and tell its steps. `again` is the runtime on which it can be retried.

    Raises CommandFailed.
    """

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
            raise CommandFailed(
                f"{what}: {why}", hint=f"compass runtime retry {shlex.quote(again)}" if again else "compass doctor"
            )
        return is_over

    until(what, look, timeout=timeout, hint="it goes on; compass runtime status says how far it is")
