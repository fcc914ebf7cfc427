"""Runtimes: the list, one runtime with what was done to make it, and what is done to it."""

from collections.abc import Mapping
from typing import Any, Final

from compass.client import standing
from compass.client.order import order
from compass.client.protocol import PlaneRefused
from compass.console import yaml_view
from compass.console.application import all_groups, history, labelling, shown_labels, unlabelling, ways_in
from compass.console.credentials import secrets_of
from compass.console.groups import joining, leaving
from compass.console.http import Answer
from compass.console.page import PAGE_SIZE, Page
from compass.console.plane import Gone, told
from compass.console.visit import View, Visit, together

TABS: Final[Mapping[str, str]] = {
    "overview": "Status",
    "operations": "Operations",
    "connection": "Connection",
    "agent": "Agent",
    "applications": "Applications",
    "groups": "Groups",
    "credentials": "Credentials",
    "labels": "Labels",
    "activity": "Activity",
    "yaml": "YAML",
}
NEWEST: Final[Mapping[str, Any]] = {
    "kymaConfig": {"version": "-", "components": [{"component": "compass-runtime-agent", "namespace": "-"}]}
}
"""The release that is installed at the plane. What stands as "-" is asked for by the API and not looked at."""
FILTERS: Final[Mapping[str, list[str] | None]] = {
    "all": None,
    "attention": None,
    "connected": ["CONNECTED"],
    "waiting": ["INITIAL", "PROVISIONING"],
    "failed": ["FAILED"],
}


async def index(visit: Visit) -> Page:
    """A page of the runtimes that match."""
    chosen = visit.query("show") if visit.query("show") in FILTERS else "all"
    found = await visit.ask(
        "Runtimes",
        term=visit.query("q") or None,
        condition=FILTERS[chosen],
        attention=chosen == "attention" or None,
        orderBy=order(visit.query("sort")),
        first=PAGE_SIZE,
        after=visit.query("after") or None,
    )
    data = {
        "found": found["found"],
        "q": visit.query("q"),
        "chosen": chosen,
        "filters": list(FILTERS),
        "sort": visit.query("sort"),
    }
    topics = "runtimes,groups,certificates"
    return Page("runtimes.html", "Runtimes", data, live=topics, poll_seconds=5, section="runtimes")


async def new(visit: Visit) -> Page:
    """The form for a new one."""
    return _form(visit, await visit.see("Groups", first=200), problem=None)


def _form(visit: Visit, groups: Mapping[str, Any] | None, *, problem: str | None) -> Page:
    data = {
        "typed": {name: visit.form(name) for name in ("name", "description", "group", "how")},
        "groups": groups["formations"]["data"] if groups else [],
        "problem": problem,
    }
    return Page("runtime_new.html", "Add a runtime", data, section="runtimes", status=422 if problem else 200)


async def register(visit: Visit) -> Page | Answer:
    """Register it for an agent elsewhere, or have the plane make one on its own machine."""
    name, is_local = visit.form("name"), visit.form("how") == "local"
    given = {"name": name, **({"description": visit.form("description")} if visit.form("description") else {})}
    try:
        if is_local:
            made = await visit.ask("ProvisionRuntime", config=_local(given))
            runtime = made["provisionRuntime"]["runtimeID"]
        else:
            runtime = (await visit.ask("RegisterRuntime", **{"in": given}))["registerRuntime"]["id"]
    except PlaneRefused as refused:
        return _form(visit, await visit.see("Groups", first=200), problem=told(refused))
    group = visit.form("group")
    if group:
        try:
            await visit.ask("Assign", id=runtime, type="RUNTIME", group=group)
        except PlaneRefused as refused:
            visit.session.said.append(("bad", f"It is not in {group}: {refused.facts['reason']}"))
    if is_local:
        return visit.done(f"{name} is being made", f"/runtimes/{runtime}")
    return visit.done(f"{name} is registered", f"/runtimes/{runtime}/pair")


def _local(runtime: Mapping[str, str]) -> dict[str, Any]:
    """What the Provisioner is asked for a process on the plane's machine; what has no meaning there is empty."""
    cluster = {
        "name": runtime["name"],
        "provider": "local",
        "kubernetesVersion": "",
        "targetSecret": "",
        "region": "local",
        "machineType": "",
        "workerCidr": "",
        "autoScalerMin": 1,
        "autoScalerMax": 1,
        "maxSurge": 1,
        "maxUnavailable": 0,
        "providerSpecificConfig": {},
    }
    return {"runtimeInput": dict(runtime), "clusterConfig": {"gardenerConfig": cluster}}


async def show(visit: Visit) -> Page:
    """One runtime, and of its parts the one that is asked for. Raises Gone."""
    tab = visit.query("tab") if visit.query("tab") in TABS else "overview"
    found, made, more = await together(
        visit.ask("Runtime", id=visit["id"]), _unless_refused(visit, "RuntimeStatus", visit["id"]), _part(visit, tab)
    )
    if found is None or found["runtime"] is None:
        raise Gone(what="runtime")
    runtime = found["runtime"]
    provisioned = made["runtimeStatus"] if made else None
    operation = provisioned["lastOperationStatus"] if provisioned else None
    is_busy = operation is not None and operation["state"] in ("InProgress", "Pending")
    data = {
        "one": runtime,
        "tab": tab,
        "tabs": TABS,
        "labels": shown_labels(runtime["labels"]),
        "provisioned": provisioned,
        "operation": operation,
        "sleep": provisioned["hibernationStatus"] if provisioned else None,
        "is_busy": is_busy,
        "troubles": standing.troubles(runtime["connection"]),
        **(more or {}),
    }
    return Page(
        "runtime.html",
        runtime["name"],
        data,
        live="runtimes,groups,applications,certificates",
        # That an agent is silent is told by nobody.
        poll_seconds=2 if is_busy else 5,
        section="runtimes",
    )


async def _part(visit: Visit, tab: str) -> dict[str, Any]:
    """What only this part of the page shows."""
    match tab:
        case "connection":
            return await ways_in(visit)
        case "applications":
            found = await _unless_refused(visit, "RuntimeApplications", visit["id"])
            return {"applications": found and found["applicationsForRuntime"]}
        case "groups":
            return {"all_groups": await all_groups(visit)}
        case "credentials":
            found = await visit.see("RuntimeSecrets", id=visit["id"])
            return {"secrets": secrets_of(found["one"]["auths"]) if found and found["one"] else None}
        case "activity":
            return {"records": await history(visit)}
        case "yaml":
            return yaml_view.shown(await yaml_view.runtime(visit))
        case _:
            return {}


async def _unless_refused(visit: Visit, name: str, identity: str) -> dict[str, Any] | None:
    """What a runtime may have or not: one that was not made by the plane has no cluster."""
    try:
        return await visit.see(name, id=identity)
    except PlaneRefused:
        return None


async def unregister(visit: Visit) -> Answer:
    """Remove it, when its name was typed; with its cluster, when the plane made it."""
    found = await visit.ask("RuntimeName", id=visit["id"])
    if found["runtime"] is None:
        raise Gone(what="runtime")
    name = found["runtime"]["name"]
    if visit.form("name") != name:
        return visit.refused(f"Type {name} to remove it; nothing was changed", f"/runtimes/{visit['id']}")
    if await _unless_refused(visit, "RuntimeStatus", visit["id"]) is not None:
        await visit.ask("DeprovisionRuntime", id=visit["id"])
        return visit.done(f"{name} is being removed", f"/runtimes/{visit['id']}")
    await visit.ask("UnregisterRuntime", id=visit["id"])
    return visit.done(f"{name} is gone", "/runtimes")


async def reconnect(visit: Visit) -> Answer:
    """Pair the agent of a runtime that the plane made anew."""
    await visit.ask("ReconnectRuntime", id=visit["id"])
    return visit.done("Its agent is being paired anew", f"/runtimes/{visit['id']}")


async def upgrade(visit: Visit) -> Answer:
    """Replace what runs of a runtime that the plane made by the release that is installed."""
    await visit.ask("UpgradeRuntime", id=visit["id"], config=NEWEST)
    return visit.done("It is being upgraded", f"/runtimes/{visit['id']}")


async def hibernate(visit: Visit) -> Answer:
    """Put a runtime that the plane made to sleep."""
    await visit.ask("HibernateRuntime", id=visit["id"])
    return visit.done("It is falling asleep", f"/runtimes/{visit['id']}")


async def wake(visit: Visit) -> Answer:
    """Wake a runtime up that was put to sleep."""
    await visit.ask("WakeRuntime", id=visit["id"])
    return visit.done("It is waking up", f"/runtimes/{visit['id']}")


async def again(visit: Visit) -> Answer:
    """Take the last operation up again, at the step that failed."""
    made = await _unless_refused(visit, "RuntimeStatus", visit["id"])
    operation = made["runtimeStatus"]["lastOperationStatus"] if made else None
    path = f"/runtimes/{visit['id']}"
    if operation is None:
        return visit.refused("There is nothing that failed and can be tried again; nothing was changed", path)
    await visit.ask("RetryOperation", id=operation["id"])
    return visit.done("It is being tried again", path)


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/runtimes"): index,
    ("GET", "/runtimes/new"): new,
    ("POST", "/runtimes/new"): register,
    ("GET", "/runtimes/{id}"): show,
    ("POST", "/runtimes/{id}/unregister"): unregister,
    ("POST", "/runtimes/{id}/reconnect"): reconnect,
    ("POST", "/runtimes/{id}/again"): again,
    ("POST", "/runtimes/{id}/upgrade"): upgrade,
    ("POST", "/runtimes/{id}/hibernate"): hibernate,
    ("POST", "/runtimes/{id}/wake"): wake,
    ("POST", "/runtimes/{id}/label"): labelling("/runtimes", "SetRuntimeLabel"),
    ("POST", "/runtimes/{id}/unlabel"): unlabelling("/runtimes", "DeleteRuntimeLabel"),
    ("POST", "/runtimes/{id}/join"): joining("/runtimes", "RUNTIME"),
    ("POST", "/runtimes/{id}/leave"): leaving("/runtimes", "RUNTIME"),
}
