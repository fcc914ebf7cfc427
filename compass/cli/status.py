"""`compass status`: is all well, and what needs somebody."""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from compass.cli import speaking as speech
from compass.cli.failures import CommandFailed, Exit
from compass.cli.output import Column, Format, Output, coloured, detail, emit, printable, say
from compass.cli.speaking import HERE, Json, Speaking, Where

_PERIOD_SECONDS = 2.0
_COLUMNS = (
    Column("state", "state"),
    Column("applications", "applications.total"),
    Column("runtimes", "runtimes.total"),
    Column("groups", "groups.total"),
    Column("attention", lambda row: len(row["attention"])),
)


def status(*, watch: bool = False, output: Output = Format.TABLE, where: Where = HERE) -> int:
    """Say what is connected, and what needs attention, with the command that looks closer.

    For example:

        compass status
        compass status --watch
        compass status -o jsonpath='.attention[*].what'

    An application or runtime that was never paired is no trouble; it is counted as waiting.

    Exit codes: 0 all is well, 3 something needs attention, 7 not allowed, 8 plane not reached, 9 not the pinned plane.

    Parameters
    ----------
    watch
        Look every two seconds until Ctrl-C: on a terminal in one place, elsewhere whenever something changed.
    """
    if watch:
        _watch(where, output)
    with speech.speaking(where) as plane:
        found = gathered(plane)
    _show(found, output)
    return Exit.OK if found["state"] == "ok" else Exit.DEGRADED


def gathered(plane: Speaking) -> Json:
    """What is there, counted by its status, and what of it needs attention. As many calls as there are pages."""
    applications, runtimes = plane.all("Applications"), plane.all("Runtimes")
    groups = plane.all("Groups")
    dead = plane.ask("WebhookDeliveries", {"first": 1, "state": "DEAD"})["totalCount"]
    ending = plane.all("Certificates", {"state": ["EXPIRING"]})
    attention = list(_attention(applications, runtimes, groups, dead, ending))
    return {
        "state": "degraded" if attention else "ok",
        "applications": _counted(applications),
        "runtimes": _counted(runtimes),
        "groups": _counted(groups),
        "attention": attention,
    }


def _counted(rows: list[Json]) -> Json:
    conditions = Counter(row["status"]["condition"] for row in rows)
    return {"total": len(rows), "byStatus": dict(sorted(conditions.items()))}


def _attention(
    applications: list[Json], runtimes: list[Json], groups: list[Json], dead: int, ending: list[Json]
) -> Iterator[Json]:
    for word, command, rows in (("application", "app", applications), ("runtime", "runtime", runtimes)):
        for row in rows:
            condition = row["status"]["condition"]
            if condition.endswith("FAILED"):
                since = f"{condition} since {row['status']['timestamp']}"
                yield {"what": f"{word} {row['name']}", "why": since, "look": f"compass {command} get {row['id']}"}
    for group in groups:
        if group["status"]["condition"] == "ERROR":
            said = "; ".join(each["message"] for each in group["status"]["errors"] or []) or "ERROR"
            yield {"what": f"group {group['name']}", "why": said, "look": f"compass group pairs {group['name']}"}
    if dead:
        what = f"{dead} notification{'s' if dead > 1 else ''}"
        yield {"what": what, "why": "given up", "look": "compass webhook deliveries --state dead"}
    names = {row["id"]: f"application {row['name']}" for row in applications}
    names |= {row["id"]: f"runtime {row['name']}" for row in runtimes}
    for one in ending:
        holder = names.get(one["objectID"], f"client {one['clientID']}")
        why = f"ends {one['expiresAt']} and was not renewed"
        yield {"what": f"certificate of {holder}", "why": why, "look": "compass cert list --state expiring"}


def _show(found: Json, output: Any) -> None:
    if output is not Format.TABLE:
        detail(found, output, _COLUMNS)
        return
    for what in ("applications", "runtimes", "groups"):
        count = found[what]
        by = ", ".join(f"{number} {_word(condition)}" for condition, number in count["byStatus"].items())
        emit(f"{what:<13} {count['total']:>5}  {by}".rstrip())
    for one in found["attention"]:
        mark = coloured("!", "yellow", sys.stdout)
        emit(f"{mark} {printable(one['what'])}: {printable(one['why'])}")
        emit(f"    {printable(one['look'])}")
    parts = [f"{found[what]['total'] - _bad(found, what)} {what} ok" for what in ("applications", "runtimes")]
    number = len(found["attention"])
    mark = coloured("✓ ok", "green", sys.stdout) if not number else coloured("! degraded", "yellow", sys.stdout)
    emit(f"{mark}  {' · '.join(parts)} · {number} need{'s' if number == 1 else ''} attention")


def _bad(found: Json, what: str) -> int:
    return sum(one["what"].startswith(what[:-1] + " ") for one in found["attention"])


def _word(condition: str) -> str:
    return {"INITIAL": "waiting to be paired"}.get(condition, condition.lower().replace("_", " "))


def _watch(where: Where, output: Any) -> None:
    """Until Ctrl-C. Signs in anew each time, so that it may last longer than an access token."""
    from compass.client.protocol import PlaneUnreachable

    before: object = None
    while True:
        try:
            with speech.speaking(where) as plane:
                now: object = gathered(plane)
        except (PlaneUnreachable, CommandFailed) as problem:
            now = str(problem)
        if now != before:
            if sys.stdout.isatty():
                sys.stdout.write("\x1b[H\x1b[2J")
            if isinstance(now, dict):
                _show(now, output)
            else:
                say(f"! {now}; trying again")
            sys.stdout.flush()
        before = now
        time.sleep(_PERIOD_SECONDS)
