"""`compass tour`: the first steps, from an empty tenant to an application and a runtime that know of each other."""

import sys
import time
from collections.abc import Sequence
from shlex import quote
from typing import Any, Final

from compass.cli import labels
from compass.cli import speaking as speech
from compass.cli.failures import Exit
from compass.cli.output import Column, Format, Output, coloured, emit, is_living, printable, show
from compass.cli.speaking import HERE, Json, Speaking, Where

_PERIOD_SECONDS: Final = 2.0
_COLUMNS = (Column("step", "step"), Column("done", "done"), Column("command", "command"))
_AFTERWARDS: Final = (
    ("compass topology", "who talks to whom"),
    ("compass status", "whether all is well"),
    ("compass console", "the same in a browser"),
)


def tour(*, watch: bool = False, output: Output = Format.TABLE, where: Where = HERE) -> int:
    """Show the first steps, which of them are taken, and the command that takes the next one. Changes nothing.

    For example:

        compass tour
        compass tour --watch

    A step is taken whoever took it, in a terminal or in the console.

    Exit codes: 0 all are taken, 3 some are not, 7 not allowed, 8 plane not reached, 9 not the pinned plane.

    Parameters
    ----------
    watch
        Look every two seconds until all steps are taken, or Ctrl-C.
    """
    before: Sequence[Json] = ()
    while True:
        with speech.speaking(where) as plane:
            now = steps(plane)
        is_over = all(one["done"] for one in now)
        if now != before:
            if watch and is_living(sys.stdout):
                sys.stdout.write("\x1b[H\x1b[2J")
            _show(now, output)
            sys.stdout.flush()
        if is_over or not watch:
            return Exit.OK if is_over else Exit.DEGRADED
        before = now
        time.sleep(_PERIOD_SECONDS)


def steps(plane: Speaking) -> list[Json]:
    """The steps in their order, each with what takes it. As many calls as there are pages."""
    applications, runtimes = plane.all("Applications"), plane.all("Runtimes")
    paired = [row for row in applications if row["status"]["condition"] != "INITIAL"]
    application: Json = next(iter(paired or applications), {"name": "shop-crm", "labels": {}})
    offers = bool(applications) and bool(plane.all("Apis", {"application": application["id"]}))
    inside = labels.groups(application)
    group = next(iter(inside), "retail")
    together = any(set(inside) & set(labels.groups(row)) for row in runtimes)
    app = quote(application["name"])
    return [
        _step("register an application", "compass app create shop-crm --group retail", bool(applications)),
        _step("pair it", f"compass app connect {app} --wait", bool(paired)),
        _step("say what it offers", f"compass api add orders --app {app} --spec FILE --url https://…", offers),
        _step("make a runtime", f"compass runtime provision edge-01 --group {quote(group)} --wait", bool(runtimes)),
        _step("have both in one group", _joining(quote(group), app, runtimes, is_inside=bool(inside)), together),
    ]


def _joining(group: str, app: str, runtimes: Sequence[Json], *, is_inside: bool) -> str:
    """What is missing for the two to share the group: the application, or a runtime."""
    if is_inside and runtimes:
        return f"compass group add {group} --runtime {quote(runtimes[0]['name'])}"
    return f"compass group add {group} --app {app}"


def _step(text: str, command: str, is_done: bool) -> Json:  # noqa: FBT001  # a row of a table
    return {"step": text, "done": is_done, "command": command}


def _show(now: Sequence[Json], output: Any) -> None:
    if output is not Format.TABLE:
        show(list(now), output, _COLUMNS)
        return
    first = next((one for one in now if not one["done"]), None)
    for number, one in enumerate(now, 1):
        sign = coloured("✓", "green", sys.stdout) if one["done"] else "→" if one is first else " "
        emit(f"{sign} {number}  {one['step']:<24} {'' if one['done'] else printable(one['command'])}".rstrip())
    if first is None:
        emit("All steps are taken. From here:")
        for command, text in _AFTERWARDS:
            emit(f"     {command:<24} {text}")
