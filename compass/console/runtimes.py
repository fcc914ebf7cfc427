"""Runtimes: the list, one runtime with what was done to make it, and what is done to it."""

from collections.abc import Mapping
from typing import Any, Final

from compass.client import standing
from compass.client.protocol import PlaneRefused
from compass.console.applications import label_value
from compass.console.groups import joining, leaving
from compass.console.http import Answer
from compass.console.page import PAGE_SIZE, Page
from compass.console.plane import Gone, told
from compass.console.visit import View, Visit, together

TABS: Final = ("overview", "connection", "applications", "groups", "labels")
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
        first=PAGE_SIZE,
        after=visit.query("after") or None,
    )
    data = {"found": found["found"], "q": visit.query("q"), "chosen": chosen, "filters": list(FILTERS)}
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
    """One runtime. Raises Gone."""
    tab = visit.query("tab") if visit.query("tab") in TABS else "overview"
    identity = visit["id"]
    found, applications, pairings, certificates, groups, made = await together(
        visit.ask("Runtime", id=identity),
        _unless_refused(visit, "RuntimeApplications", identity),
        visit.see("Pairings", id=identity, first=10),
        visit.see("Certificates", object=identity, first=10),
        visit.see("Groups", first=200),
        _unless_refused(visit, "RuntimeStatus", identity),
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
        "applications": applications and applications["applicationsForRuntime"],
        "pairings": pairings and pairings["pairings"],
        "certificates": certificates and certificates["certificates"],
        "all_groups": [group["name"] for group in groups["formations"]["data"]] if groups else [],
        "labels": [(key, value) for key, value in sorted(runtime["labels"].items()) if key != "scenarios"],
        "provisioned": provisioned,
        "operation": operation,
        "troubles": standing.troubles(runtime["connection"]),
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


async def set_label(visit: Visit) -> Answer:
    """Set one label."""
    await visit.ask("SetRuntimeLabel", id=visit["id"], key=visit.form("key"), value=label_value(visit.form("value")))
    return visit.done(f"Label {visit.form('key')} is set", f"/runtimes/{visit['id']}?tab=labels")


async def delete_label(visit: Visit) -> Answer:
    """Remove one label."""
    await visit.ask("DeleteRuntimeLabel", id=visit["id"], key=visit.form("key"))
    return visit.done(f"Label {visit.form('key')} is gone", f"/runtimes/{visit['id']}?tab=labels")


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/runtimes"): index,
    ("GET", "/runtimes/new"): new,
    ("POST", "/runtimes/new"): register,
    ("GET", "/runtimes/{id}"): show,
    ("POST", "/runtimes/{id}/unregister"): unregister,
    ("POST", "/runtimes/{id}/reconnect"): reconnect,
    ("POST", "/runtimes/{id}/label"): set_label,
    ("POST", "/runtimes/{id}/unlabel"): delete_label,
    ("POST", "/runtimes/{id}/join"): joining("/runtimes", "RUNTIME"),
    ("POST", "/runtimes/{id}/leave"): leaving("/runtimes", "RUNTIME"),
}
