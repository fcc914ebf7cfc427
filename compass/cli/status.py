"""`compass status`: is all well, and what needs somebody."""

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from compass.cli import speaking as speech
from compass.cli.failures import CommandFailed, Exit
from compass.cli.output import Column, Format, Output, coloured, count, detail, emit, is_living, printable, say
from compass.cli.speaking import HERE, Json, Speaking, Where
from compass.client import standing

_PERIOD_SECONDS = 2.0
_COLOURS = {"WARNING": "yellow", "BAD": "red"}
_COLUMNS = (
    Column("state", "state"),
    Column("applications", "applications.total"),
    Column("runtimes", "runtimes.total"),
    Column("groups", "groups.total"),
    Column("attention", lambda row: len(row["attention"])),
)


def status(*, watch: bool = False, output: Output = Format.TABLE, where: Where = HERE) -> int:
    """Say what is connected, and what needs attention, with what to check and the command that looks closer.

    For example:

        compass status
        compass status --watch
        compass status -o jsonpath='.attention[*].what'

    Of every application and runtime: whether it is paired, its certificate is good, it is in sync, and its agent lives.
    One that was never paired is no trouble; it is counted as waiting.

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
    dead = plane.ask("WebhookDeliveries", {"first": 1, "state": "DEAD", "tests": False})["totalCount"]
    ending = plane.all("Certificates", {"state": ["EXPIRING"]})
    attention = list(_attention(applications, runtimes, groups, dead, ending))
    return {
        "state": "degraded" if attention else "ok",
        "applications": _standing(applications),
        "runtimes": _standing(runtimes),
        "groups": _counted(groups),
        "attention": attention,
    }


def _counted(rows: list[Json]) -> Json:
    return {"total": len(rows), "byStatus": _amounts(row["status"]["condition"] for row in rows)}


def _standing(rows: list[Json]) -> Json:
    # Null for who may not see how others are doing: an application, or a runtime.
    return {**_counted(rows), "byHealth": _amounts(row["connection"]["health"] for row in rows if row["connection"])}


def _amounts(words: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(words).items()))


def _attention(
    applications: list[Json], runtimes: list[Json], groups: list[Json], dead: int, ending: list[Json]
) -> Iterator[Json]:
    for word, command, rows in (("application", "app", applications), ("runtime", "runtime", runtimes)):
        for row in rows:
            what, look = f"{word} {row['name']}", f"compass {command} get {row['id']}"
            condition = row["status"]["condition"]
            if condition.endswith("FAILED"):
                yield _need(what, f"{condition} since {row['status']['timestamp']}", look, health="BAD")
            wrong = standing.troubles(row["connection"])
            if wrong:
                worst = wrong[0]
                why = "; ".join(each.why for each in wrong)
                yield _need(what, why, look, worst.check, health=worst.health) | {
                    "axis": worst.axis,
                    "state": worst.state,
                }
    for group in groups:
        if group["status"]["condition"] == "ERROR":
            said = "; ".join(each["message"] for each in group["status"]["errors"] or []) or "ERROR"
            yield _need(f"group {group['name']}", said, f"compass group pairs {group['name']}", health="BAD")
    if dead:
        yield _need(count(dead, "notification"), "given up", "compass webhook deliveries --state dead", health="BAD")
    told = {row["id"] for row in (*applications, *runtimes)}
    for one in ending:
        # Of what is listed above it is an axis.
        if one["objectID"] not in told:
            why = f"ends {one['expiresAt']} and was not renewed"
            what = f"certificate of client {one['clientID']}"
            yield _need(what, why, "compass cert list --state expiring", health="WARNING")


def _need(what: str, why: str, look: str, check: Sequence[str] = (), *, health: str) -> Json:
    return {"what": what, "health": health, "why": why, "look": look, "check": list(check)}


def _show(found: Json, output: Any) -> None:
    if output is not Format.TABLE:
        detail(found, output, _COLUMNS)
        return
    for what in ("applications", "runtimes", "groups"):
        counted = found[what]
        if "byHealth" in counted:
            by = ", ".join(
                f"{standing.SIGNS[health]} {counted['byHealth'][health]} {word}"
                for health, word in standing.HEALTH.items()
                if health in counted["byHealth"]
            )
        else:
            by = ", ".join(f"{number} {_word(condition)}" for condition, number in counted["byStatus"].items())
        emit(f"{what:<13} {counted['total']:>5}  {by}".rstrip())
    for one in found["attention"]:
        mark = coloured(standing.SIGNS[one["health"]], _COLOURS[one["health"]], sys.stdout)
        emit(f"{mark} {printable(one['what'])}: {printable(one['why'])}")
        for each in one["check"]:
            emit(f"    check {printable(each)}")
        emit(f"    {printable(one['look'])}")
    parts = [f"{count(found[f'{one}s']['total'] - _bad(found, one), one)} ok" for one in ("application", "runtime")]
    number = len(found["attention"])
    mark = coloured("✓ ok", "green", sys.stdout) if not number else coloured("! degraded", "yellow", sys.stdout)
    emit(f"{mark}  {' · '.join(parts)} · {number} need{'s' if number == 1 else ''} attention")


def _bad(found: Json, what: str) -> int:
    return len({one["what"] for one in found["attention"] if one["what"].startswith(what + " ")})


def _word(condition: str) -> str:
    return condition.lower().replace("_", " ")


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
        # How long something has lasted is different each time, and no news.
        news = _essence(now)
        if news != before or is_living(sys.stdout):
            if is_living(sys.stdout):
                sys.stdout.write("\x1b[H\x1b[2J")
            if isinstance(now, dict):
                _show(now, output)
            else:
                say(f"! {now}; trying again")
            sys.stdout.flush()
        before = news
        time.sleep(_PERIOD_SECONDS)


def _essence(found: object) -> object:
    if not isinstance(found, dict):
        return found
    return {**found, "attention": [(one["what"], one["health"], one.get("state")) for one in found["attention"]]}
