"""`compass events`: what happens, as it happens."""

import json
import random
import sys
import time
from typing import TYPE_CHECKING

from compass.cli.failures import CommandFailed
from compass.cli.output import Format, Output, emit, printable, say
from compass.cli.speaking import HERE, Where, speaking

if TYPE_CHECKING:
    from compass.cli.jsonpath import JsonPath
    from compass.client.events import Happened

_LONGEST_PAUSE_SECONDS = 30.0


def events(
    *,
    follow: bool = False,
    after: str | None = None,
    limit: int | None = None,
    type_: tuple[str, ...] = (),
    output: Output = Format.TABLE,
    where: Where = HERE,
) -> None:
    """Print what changed, one event a line: its time, its type, and the ids that it is about.

    For example:

        compass events --follow
        compass events --follow -o json --type ApplicationConnected
        compass events --after 812-3 -o json

    Without --follow it prints what happened since --after, and ends when there was nothing more for ten seconds. With
    --follow it goes on until Ctrl-C; when the plane is away it comes back, and nothing is lost in between.

    Exit codes: 0 printed, 7 not allowed, 8 plane not reached, 9 not the pinned plane, 130 interrupted.

    Parameters
    ----------
    follow
        Go on until Ctrl-C.
    after
        The id of the last event that you know; from now on unless given.
    limit
        End after so many.
    type_
        Only events of this type; may be repeated.
    output
        json for one object a line; name for the ids alone.
    """
    shown, pause = 0, 1.0
    while True:
        try:
            with speaking(where) as plane:
                is_first = True
                for one in plane.plane.events(after):
                    pause = 1.0
                    if not one.name:
                        # The first of all only says that the plane knows where we were.
                        if not follow and not (is_first and after is not None):
                            return
                        is_first = False
                        continue
                    is_first = False
                    if one.name == "reset" and after is not None:
                        say("! events were missed: what you know may be out of date; read it anew")
                    after = one.id
                    if one.name == "reset" or (type_ and one.name not in type_):
                        continue
                    _print(one, output)
                    shown += 1
                    if shown == limit:
                        return
        except Exception as problem:
            if not follow or not _may_pass(problem):
                raise
            say(f"! {printable(str(problem))}; trying again")
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads clients out, hides nothing
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        if not follow:
            return


def _may_pass(problem: Exception) -> bool:
    """Whether the plane may only be away, so that coming back helps."""
    from compass.client.protocol import PlaneAnswerUnreadable, PlaneUnreachable

    return isinstance(problem, PlaneUnreachable | PlaneAnswerUnreadable) and not isinstance(problem, CommandFailed)


def _print(one: "Happened", output: "Format | JsonPath") -> None:
    try:
        facts = json.loads(one.data)
    except ValueError:
        return  # written by no plane we know
    match output:
        case Format.TABLE | Format.WIDE:
            subjects = " ".join(f"{key}={_value(value)}" for key, value in facts.get("subjects", {}).items())
            when = str(facts.get("time", ""))[:19].replace("T", " ")
            identity = f"{one.id}  " if output is Format.WIDE else ""
            emit(printable(f"{identity}{when}  {one.name:<28} {subjects}"))
        case Format.JSON:
            emit(json.dumps(facts, ensure_ascii=False))
        case Format.NAME:
            emit(printable(one.id))
        case Format.YAML:
            import yaml

            emit(f"---\n{yaml.safe_dump(facts, sort_keys=False, allow_unicode=True).rstrip()}")
        case Format.CSV:
            import csv

            csv.writer(sys.stdout, lineterminator="\n").writerow(
                [one.id, facts.get("time"), one.name, facts.get("tenant"), json.dumps(facts.get("subjects", {}))]
            )
        case _:
            from compass.cli.jsonpath import as_text

            for value in output.values(facts):
                emit(as_text(value))
    sys.stdout.flush()


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
