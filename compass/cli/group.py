"""`compass group`: groups of applications and runtimes, which the API calls formations."""

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from shlex import quote
from typing import Any

from cyclopts import App

from compass.cli import find
from compass.cli.completion import Applications, Group, Runtimes
from compass.cli.confirm import Yes, confirm
from compass.cli.failures import CommandFailed, Exit, exit_of
from compass.cli.find import by_id, the_one
from compass.cli.output import Column, Format, Output, detail, done, printable, say, show, show_made
from compass.cli.speaking import HERE, DryRun, Json, Limit, Sorted, Speaking, Where, given, speaking
from compass.cli.waiting import FIVE_MINUTES, Progress, Timeout, Wait, until
from compass.client.order import order

app = App(name="group", help="Groups: the applications and runtimes in one know of each other.")

COLUMNS = (
    Column("name", "name"),
    Column("status", "status.condition"),
    Column("state", "state", wide=True),
    Column("error", "error.message", wide=True),
    Column("since", "lastStateChangeTimestamp", wide=True),
    Column("id", "id"),
)
_PAIRS = (
    Column("source", lambda row: row["sourceName"]),
    Column("target", lambda row: row["targetName"]),
    Column("state", "state"),
    Column("error", "error"),
    Column("id", "id", wide=True),
)
_RULES = (Column("group", "group"), Column("subaccount", "subaccount"))
_EFFECTS = (Column("type", "objectType"), Column("name", "name"), Column("id", "objectID"))


@app.command(name="list", alias="ls")
def list_groups(
    *, sort: Sorted = None, limit: Limit = None, output: Output = Format.TABLE, where: Where = HERE
) -> None:
    """List the groups of the tenant.

    For example:

        compass group list
        compass group list --sort created-desc --limit 10
        compass group list -o name

    Exit codes: 0 listed, 7 not allowed, 8 plane not reached, 9 not the pinned plane.
    """
    with speaking(where) as plane:
        found = plane.all("Groups", {"orderBy": order(sort)}, limit=limit)
    show(found, output, COLUMNS)


@app.command
def get(name: Group, *, output: Output = Format.TABLE, where: Where = HERE) -> None:
    """Show one group: who is in it, and who was not yet told of whom.

    For example:

        compass group get retail
        compass group get retail -o json

    Exit codes: 0 shown, 4 there is none.

    Parameters
    ----------
    name
        The group's name or id.
    """
    with speaking(where) as plane:
        found = find.one(plane, find.GROUP, name)
        pairs = plane.all("GroupPairs", {"id": found["id"]}, inside="formationAssignments")
    members = [pair for pair in pairs if pair["source"] == pair["target"]]
    others = [pair for pair in pairs if pair["source"] != pair["target"]]
    whole = {
        **found,
        "members": [{"type": pair["sourceType"], "name": participant(pair), "id": pair["source"]} for pair in members],
        "pairs": others,
    }
    counted = Counter(pair["state"] for pair in others)
    columns = (
        *COLUMNS,
        Column("members", lambda row: [f"{each['type'].lower()} {each['name']}" for each in row["members"]]),
        Column("pairs", lambda _: [f"{count} {state}" for state, count in sorted(counted.items())]),
    )
    detail(whole, output, columns)


@app.command
def pairs(name: Group, *, output: Output = Format.TABLE, where: Where = HERE) -> None:
    """List who of a group is told of whom, and how far that is.

    For example:

        compass group pairs retail
        compass group pairs retail -o csv

    Exit codes: 0 listed, 4 there is no such group.

    Parameters
    ----------
    name
        The group's name or id.
    """
    with speaking(where) as plane:
        found = find.one(plane, find.GROUP, name)
        every = plane.all("GroupPairs", {"id": found["id"]}, inside="formationAssignments")
    names = {pair["source"]: participant(pair) for pair in every}
    rows = [
        {**pair, "sourceName": names[pair["source"]], "targetName": names.get(pair["target"], pair["target"])}
        for pair in every
        if pair["source"] != pair["target"]
    ]
    show(rows, output, _PAIRS)


@app.command
def create(
    name: str,
    *,
    template: str | None = None,
    draft: bool = False,
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
    where: Where = HERE,
) -> None:
    """Create a group, and print its id.

    For example:

        compass group create retail

    Exit codes: 0 created, 6 there is one of that name.

    Parameters
    ----------
    name
        Unique in the tenant.
    template
        The name of a formation template, instead of the default one.
    draft
        Gather participants first: nobody is told before `compass group finalize`.
    """
    new = given(name=name, templateName=template, state="DRAFT" if draft else None)
    with speaking(where, dry_run=dry_run) as plane:
        made = plane.change("CreateGroup", {"in": new})
    done(f"group {name} created")
    show_made(made, output, COLUMNS)


@app.command
def delete(name: Group, *, yes: Yes = False, dry_run: DryRun = False, where: Where = HERE) -> None:
    """Remove a group that nobody is in.

    For example:

        compass group delete retail --yes

    Exit codes: 0 removed, 2 there is no terminal to ask at, 4 there is none, 1 somebody is in it.

    Parameters
    ----------
    name
        The group's name or id.
    """
    with speaking(where, dry_run=dry_run) as plane:
        found = find.one(plane, find.GROUP, name)
        if not dry_run:
            confirm(f"Delete group {found['name']}", yes=yes)
        plane.change("DeleteGroup", {"name": found["name"]})
    done(f"group {found['name']} deleted")


@app.command
def add(
    name: Group,
    *,
    app: Applications = (),
    runtime: Runtimes = (),
    tenant_member: tuple[str, ...] = (),
    wait: Wait = False,
    timeout: Timeout = FIVE_MINUTES,
    dry_run: DryRun = False,
    where: Where = HERE,
) -> None:
    """Add applications and runtimes to a group. Whoever shares it with them sees them at once.

    For example:

        compass group add retail --app billing --runtime edge-01
        compass group add retail --app billing --wait

    Exit codes: 0 added, and with --wait everybody was told, 4 the group or one of them is not there, 124 not everybody
    was told in time, 1 refused otherwise.

    Parameters
    ----------
    name
        The group's name or id.
    app
        The name or id of an application; may be repeated.
    runtime
        The name or id of a runtime; may be repeated.
    tenant_member
        The external id of a subaccount, whose runtimes are in the group from now on; may be repeated.
    """
    with speaking(where, dry_run=dry_run) as plane:
        found = find.one(plane, find.GROUP, name)
        for kind, members in _members(plane, app, runtime, tenant_member):
            for member, called in members:
                plane.change("AssignToGroup", {"object": member, "type": kind, "name": found["name"]})
                done(f"{kind.lower()} {called} is in group {found['name']}")
        if wait:
            told(plane, found["name"], timeout)


@app.command
def remove(
    name: Group,
    *,
    app: Applications = (),
    runtime: Runtimes = (),
    tenant_member: tuple[str, ...] = (),
    yes: Yes = False,
    dry_run: DryRun = False,
    where: Where = HERE,
) -> None:
    """Take applications and runtimes out of a group. The others stop seeing them at once.

    For example:

        compass group remove retail --app billing --yes

    Exit codes: 0 taken out, 2 there is no terminal to ask at, 4 the group or one of them is not there.

    Parameters
    ----------
    name
        The group's name or id.
    app
        The name or id of an application; may be repeated.
    runtime
        The name or id of a runtime; may be repeated.
    tenant_member
        The external id of a subaccount; may be repeated.
    """
    with speaking(where, dry_run=dry_run) as plane:
        found = find.one(plane, find.GROUP, name)
        leaving = _members(plane, app, runtime, tenant_member)
        if not dry_run:
            who = [f"{kind.lower()} {called}" for kind, members in leaving for _, called in members]
            question = f"Take {', '.join(who)} out of group {found['name']}"
            confirm(question, ["the others stop seeing them at once"], yes=yes)
        for kind, members in leaving:
            for member, called in members:
                plane.change("UnassignFromGroup", {"object": member, "type": kind, "name": found["name"]})
                done(f"{kind.lower()} {called} is not in group {found['name']}")


@app.command
def resync(
    name: Group,
    *,
    pair: str | None = None,
    reset: bool = False,
    wait: Wait = False,
    timeout: Timeout = FIVE_MINUTES,
    dry_run: DryRun = False,
    where: Where = HERE,
) -> None:
    """Tell now whoever of the group does not know yet, or failed to take it.

    For example:

        compass group resync retail --wait
        compass group resync retail --pair 5b0d1a9e…

    Exit codes: 0 begun, and with --wait everybody was told, 2 --pair and --reset together, 4 there is no such group or
    pair, 1 the pair knows already, 124 not everybody was told in time.

    Parameters
    ----------
    name
        The group's name or id.
    pair
        Only the target of this pair; its id, or its beginning or end, from `compass group pairs -o wide`.
    reset
        Tell everybody anew, where the group's template supports that.
    """
    if pair is not None and reset:
        raise CommandFailed("--pair and --reset exclude each other", exit_code=Exit.USAGE)
    with speaking(where, dry_run=dry_run) as plane:
        found = find.one(plane, find.GROUP, name)
        if pair is not None:
            chosen = _pair(plane, found, pair)
            plane.change("ResynchronizePair", {"id": chosen["id"]})
            done(f"pair {chosen['id']} of group {found['name']} is told anew")
        else:
            plane.change("ResynchronizeGroup", {"id": found["id"], "reset": reset})
            done(f"group {found['name']} is told anew")
        if wait:
            told(plane, found["name"], timeout)


@app.command
def finalize(name: Group, *, dry_run: DryRun = False, where: Where = HERE) -> None:
    """Let a group begin that was created as a draft: those in it are told now.

    For example:

        compass group finalize retail

    Exit codes: 0 begun, 4 there is none, 1 it is no draft.

    Parameters
    ----------
    name
        The group's name or id.
    """
    with speaking(where, dry_run=dry_run) as plane:
        found = find.one(plane, find.GROUP, name)
        plane.change("FinalizeGroup", {"id": found["id"]})
    done(f"group {found['name']} has begun")


rule = App(name="rule", help="Rules of groups: subaccounts whose runtimes are in a group because of it.")
app.command(rule)


@rule.command(name="list", alias="ls")
def list_rules(name: Group | None = None, *, output: Output = Format.TABLE, where: Where = HERE) -> None:
    """List which subaccounts are part of which groups.

    For example:

        compass group rule list
        compass group rule list retail

    Exit codes: 0 listed, 7 not allowed.

    Parameters
    ----------
    name
        Only that of this group, by its name or id.
    """
    with speaking(where) as plane:
        wanted = find.one(plane, find.GROUP, name)["name"] if name is not None else None
        found = plane.all("GroupRules")
    rows = [
        {"group": each["scenarioName"], "subaccount": each["selector"]["value"]}
        for each in found
        if wanted in (None, each["scenarioName"])
    ]
    show(rows, output, _RULES)


@rule.command(name="add")
def add_rule(name: Group, subaccount: str, *, yes: Yes = False, dry_run: DryRun = False, where: Where = HERE) -> None:
    """Make a subaccount part of a group: its runtimes join, and later ones as they are registered.

    For example:

        compass group rule add retail 5984a414-1eed-4972-af2c-b2b6a415c7d7

    Who joins is said before; `compass group preview` only says it. A group has one rule at most.

    Exit codes: 0 it is one, 2 there is no terminal to ask at, 4 there is no such group or subaccount, 1 refused
    otherwise.

    Parameters
    ----------
    name
        The group's name or id.
    subaccount
        Its external id.
    """
    _rule(where, name, subaccount, "ASSIGN", yes=yes, dry_run=dry_run)


@rule.command(name="remove", alias="rm")
def remove_rule(
    name: Group, subaccount: str, *, yes: Yes = False, dry_run: DryRun = False, where: Where = HERE
) -> None:
    """Make a subaccount no part of a group any more: who is in it only because of that leaves.

    For example:

        compass group rule remove retail 5984a414-1eed-4972-af2c-b2b6a415c7d7 --yes

    Exit codes: 0 it is none, 2 there is no terminal to ask at, 4 there is no such group, or no such rule of it.

    Parameters
    ----------
    name
        The group's name or id.
    subaccount
        Its external id.
    """
    _rule(where, name, subaccount, "UNASSIGN", yes=yes, dry_run=dry_run)


@app.command
def preview(
    name: Group, subaccount: str, *, remove: bool = False, output: Output = Format.TABLE, where: Where = HERE
) -> None:
    """Show who would join a group if a subaccount became part of it. Nothing is changed.

    For example:

        compass group preview retail 5984a414-1eed-4972-af2c-b2b6a415c7d7
        compass group preview retail 5984a414-1eed-4972-af2c-b2b6a415c7d7 --remove

    Constraints of the group are not asked; they may refuse what is shown here.

    Exit codes: 0 shown, 4 there is no such group or subaccount, or nothing to remove.

    Parameters
    ----------
    name
        The group's name or id.
    subaccount
        Its external id.
    remove
        Who would leave if it ceased to be part of it.
    """
    with speaking(where) as plane:
        group = find.one(plane, find.GROUP, name)["name"]
        show(_effects(plane, group, subaccount, "UNASSIGN" if remove else "ASSIGN"), output, _EFFECTS)


def _rule(where: Where, name: str, subaccount: str, change: str, *, yes: bool, dry_run: bool) -> None:
    joins = change == "ASSIGN"
    with speaking(where, dry_run=dry_run) as plane:
        group = find.one(plane, find.GROUP, name)["name"]
        effects = _effects(plane, group, subaccount, change)
        said = [f"{each['objectType'].lower()} {each['name']} {'joins' if joins else 'leaves'}" for each in effects]
        if dry_run:
            for line in said:
                say(printable(line))
        else:
            question = f"Make {subaccount} {'part' if joins else 'no part any more'} of group {group}"
            confirm(question, said or ["nobody joins now" if joins else "nobody leaves"], yes=yes)
        document = "AssignToGroup" if joins else "UnassignFromGroup"
        plane.change(document, {"object": subaccount, "type": "TENANT", "name": group})
    done(
        f"{subaccount} is {'' if joins else 'no '}part of group {group}; {len(effects)} {'joined' if joins else 'left'}"
    )


def _effects(plane: Speaking, group: str, subaccount: str, change: str) -> list[Json]:
    selector = {"key": "global_subaccount_id", "value": subaccount}
    return plane.all("GroupRuleEffects", {"group": group, "selector": selector, "change": change})


def join(plane: Speaking, groups: Iterable[str], member: str, kind: str) -> None:
    """Add a participant to groups, creating those that are not there. `kind` is a FormationObjectType."""
    from compass.client.protocol import PlaneRefused

    for name in groups:
        try:
            plane.change("CreateGroup", {"in": {"name": name}})
            done(f"group {name} created")
        except PlaneRefused as refused:
            if exit_of(refused) is not Exit.CONFLICT:
                raise
        plane.change("AssignToGroup", {"object": member, "type": kind, "name": name})
        done(f"in group {name}")


def participant(pair: Json) -> str:
    """The name of a pair's source, or its id when the caller does not see it."""
    entity: Any = pair["sourceEntity"] or {}
    if "key" in entity:
        return f"{entity['key']}={entity['value']}"
    return str(entity.get("name") or pair["source"])


def _pair(plane: Speaking, group: Json, part: str) -> Json:
    every = plane.all("GroupPairs", {"id": group["id"]}, inside="formationAssignments")
    return the_one(by_id(every, part), part, "pair", listing=f"compass group pairs {quote(group['name'])} -o wide")


def _members(
    plane: Speaking, applications: Iterable[str], runtimes: Iterable[str], tenants: Iterable[str]
) -> list[tuple[str, list[tuple[str, str]]]]:
    """Of each type, the id of everybody who was named, and what they were called."""
    found = [
        ("APPLICATION", [(find.id_of(plane, find.APPLICATION, name), name) for name in applications]),
        ("RUNTIME", [(find.id_of(plane, find.RUNTIME, name), name) for name in runtimes]),
        ("TENANT", [(name, name) for name in tenants]),
    ]
    if not any(members for _, members in found):
        raise CommandFailed("nobody was named", exit_code=Exit.USAGE, hint="--app NAME, --runtime NAME")
    return found


def told(plane: Speaking, name: str, timeout: timedelta) -> None:
    """Wait until everybody in a group knows of everybody. Raises CommandFailed."""

    def look(shown: Progress) -> bool:
        group = plane.ask("GroupByName", {"name": name})
        condition = group["status"]["condition"]
        shown.note = condition
        if condition == "ERROR":
            said = "; ".join(each["message"] for each in group["status"]["errors"] or [])
            raise CommandFailed(f"group {name} has failed: {said}", hint=f"compass group pairs {quote(name)}")
        return bool(condition == "READY")

    until(f"group {name}", look, timeout=timeout, hint=f"compass group pairs {quote(name)}")
    done(f"group {name} is ready")
