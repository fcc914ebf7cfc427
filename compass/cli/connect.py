"""Handing out a one-time token, and watching it become a connection: what `app connect` and `runtime connect` share."""

import sys
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Final

from cyclopts import Parameter

from compass.cli.failures import CommandFailed, Exit
from compass.cli.jsonpath import JsonPath
from compass.cli.output import Column, Format, detail, done, emit, say
from compass.cli.speaking import Json, Speaking
from compass.cli.waiting import Progress, until
from compass.client.recipe import Offer, Show, recipe

DEFAULT_TIMEOUT: Final = timedelta(minutes=5)
"""As long as an application's token is good for, unless the plane is configured otherwise."""


class Condition(StrEnum):
    """How far the other side has come."""

    USED = "used"
    SIGNED = "signed"
    CONNECTED = "connected"


WaitFor = Annotated[
    Condition | None,
    Parameter(
        name="--wait-for",
        help="As --wait, and only until the token is used, a certificate is signed, or it is connected. Also --wait=….",
    ),
]
"""The flag of the commands that hand out a token, for how long they wait."""


HowShown = Annotated[
    Show,
    Parameter(
        name="--show",
        help="What runs there: compass, agent (for runtimes), curl or python (with openssl), docker, or kubernetes.",
    ),
]
"""The flag of the commands that hand out a token."""


ValidFor = Annotated[
    timedelta | None,
    Parameter(name="--valid-for", help="How long the token is good for: 90s, 10m. Unless given, as long as may be."),
]
"""The flag of the commands that make a token."""


def seconds_of(life: timedelta | None) -> int | None:
    """What the plane is asked for; a part of a second is none."""
    return None if life is None else int(life.total_seconds())


def goal(*, wait: bool, wait_for: Condition | None) -> Condition | None:
    """What the two flags ask for; None when nothing is waited for."""
    return wait_for or (Condition.CONNECTED if wait else None)


@dataclass(frozen=True)
class Side:
    """One of the two kinds of clients that pair."""

    word: str
    request: str
    """The document that makes a token."""
    look: str
    """The document that shows the object."""
    command: str


APPLICATION_SIDE: Final = Side("application", "RequestTokenForApplication", "Application", "compass app")
RUNTIME_SIDE: Final = Side("runtime", "RequestTokenForRuntime", "Runtime", "compass runtime")

_COLUMNS: Final = (
    Column("command", "command"),
    Column("token", "token"),
    Column("connector", "connectorURL"),
    Column("expires", "expiresAt"),
)


def connect(
    plane: Speaking,
    side: Side,
    found: Json,
    *,
    how: Show,
    life: timedelta | None,
    wait: Condition | None,
    timeout: timedelta,
    output: Format | JsonPath,
) -> None:
    """Make a token, print what the other side runs, and with `wait` watch until it has come so far.

    `life` is how long the token is good for; None is as long as the plane allows.
    Raises CommandFailed when that takes too long, and for an agent of an application.
    """
    if how is Show.AGENT and side is APPLICATION_SIDE:
        hint = f"{side.command} connect NAME --show compass"
        raise CommandFailed("an agent is a runtime's; applications pair without one", exit_code=Exit.USAGE, hint=hint)
    identity, name = found["id"], found["name"]
    before = {auth["id"] for auth in _object(plane, side, identity)["auths"] or []}
    token = plane.ask(side.request, {"id": identity, "seconds": seconds_of(life)})
    anchor = plane.context.anchor_file.read_text(encoding="utf-8")
    command = recipe(Offer(name, token["connectorURL"], token["token"], plane.context.ca_pin, anchor), how)
    if output is Format.TABLE:
        say(f"Run this where {name} lives. The token is good for one use, until {token['expiresAt']}:")
        say()
        emit(command)
        say()
        if how is Show.COMPASS:
            own = {Show.COMPASS, Show.AGENT}
            others = ", ".join(each for each in Show if each not in own)
            say(f"Without our command line there: {side.command} connect {name} --show {others}")
    else:
        detail({**token, "command": command, "pin": plane.context.ca_pin}, output, _COLUMNS)
    if wait is not None:
        sys.stdout.flush()  # whoever reads the command from a pipe runs it while we wait
        _watch(plane, side, identity, name, before=before, wanted=wait, timeout=timeout)
    elif output is Format.TABLE:
        say(f"→ {side.command} connect {name} --wait makes one and watches; {side.command} get {name} looks")


def _watch(
    plane: Speaking, side: Side, identity: str, name: str, *, before: set[str], wanted: Condition, timeout: timedelta
) -> None:
    def look(shown: Progress) -> bool:
        now = _object(plane, side, identity)
        ours = next((auth for auth in now["auths"] or [] if auth["id"] not in before), None)
        if ours is None:
            message = f"the token for {name} was withdrawn"
            raise CommandFailed(message, exit_code=Exit.TOKEN_REFUSED, hint=f"{side.command} connect {name}")
        auth = ours["auth"] or {}
        token, called = auth.get("oneTimeToken") or {}, bool(auth.get("certCommonName"))
        # Of a runtime's token the plane shows nothing, but what became of it.
        signed = plane.all("Certificates", {"client": ours["id"]})
        used = bool(token.get("used") or signed)
        if used:
            shown.step("token used")
        if signed:
            shown.step(f"certificate signed (serial {signed[0]['serial']}), valid until {signed[0]['expiresAt']}")
        if called:
            shown.step("first call with the certificate")
        return {Condition.USED: used, Condition.SIGNED: bool(signed), Condition.CONNECTED: called}[wanted]

    again = f"the token stays good until it expires; {side.command} get {name} says how far it is"
    until(f"{name} to {_VERBS[wanted]}", look, timeout=timeout, hint=again)
    if wanted is Condition.CONNECTED:
        done(f"{name} is connected")


_VERBS: Final = {
    Condition.USED: "use its token",
    Condition.SIGNED: "get its certificate",
    Condition.CONNECTED: "connect",
}


def _object(plane: Speaking, side: Side, identity: str) -> Json:
    found: Json | None = plane.ask(side.look, {"id": identity})
    if found is None:
        raise CommandFailed(f"the {side.word} is gone", exit_code=Exit.NOT_FOUND)
    return found
