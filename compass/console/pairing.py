"""The pair wizard, for applications and runtimes: a token, the command for the other side, and what became of it.

The token is in the page only of the session that made it, and only until it is used or ends.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from compass.client.recipe import Offer, Show, recipe
from compass.console.http import Answer
from compass.console.page import Page, instant
from compass.console.plane import Gone
from compass.console.session import FreshToken
from compass.console.visit import View, Visit


@dataclass(frozen=True)
class Kind:
    """What is paired."""

    noun: str
    name: str
    """The document that tells its name."""
    token: str
    """The one that makes a token."""
    void: str
    """The one that takes it back."""


KINDS: Final[Mapping[str, Kind]] = {
    "applications": Kind("application", "ApplicationName", "TokenForApplication", "VoidApplicationClient"),
    "runtimes": Kind("runtime", "RuntimeName", "TokenForRuntime", "VoidRuntimeClient"),
}


@dataclass(frozen=True)
class Step:
    """One of the four steps of pairing."""

    text: str
    state: str
    """`done`, `now`, `next` or `failed`."""
    at: str | None = None
    """When it was done, as the API tells times."""
    why: str = ""


def steps(pairing: Mapping[str, Any]) -> list[Step]:
    """How far a client is. What is done later was done before, whether or not its time is known."""
    expires = instant(pairing["tokenExpiresAt"])
    is_late = expires is not None and expires <= datetime.now(UTC)
    done = [
        True,
        bool(pairing["tokenUsedAt"] or pairing["signedAt"] or pairing["connected"]),
        bool(pairing["signedAt"] or pairing["connected"]),
        bool(pairing["connected"]),
    ]
    texts = ("Token issued", "Token used", "Certificate signed", "First call with the certificate")
    times = (pairing["tokenIssuedAt"], pairing["tokenUsedAt"], pairing["signedAt"], None)
    reached = done.index(False) if False in done else len(done)
    made = []
    for number, (text, is_done, at) in enumerate(zip(texts, done, times, strict=True)):
        if is_done:
            made.append(Step(text, "done", at))
        elif number == reached and number == 1 and is_late:
            made.append(Step(text, "failed", why="it was not used in time: make a new token"))
        else:
            made.append(Step(text, "now" if number == reached else "next"))
    return made


def _kind(visit: Visit) -> Kind:
    kind = KINDS.get(visit["kind"])
    if kind is None:
        raise Gone(what="page")
    return kind


async def _paired(visit: Visit, kind: Kind) -> Mapping[str, Any]:
    found: Mapping[str, Any] | None = (await visit.ask(kind.name, id=visit["id"]))[kind.noun]
    if found is None:
        raise Gone(what=kind.noun)
    return found


@dataclass(frozen=True)
class Way:
    """One of the ways to spend a token."""

    id: str
    text: str
    command: str


def _ways(visit: Visit, name: str, token: str) -> list[Way]:
    """What the other side may run, the shortest first."""
    offer = Offer(
        name,
        f"{visit.facts.token_url}/connector/graphql",
        token,
        visit.facts.ca_fingerprint(),
        visit.facts.anchor(),
    )
    texts = {
        Show.COMPASS: "With the command line of Compass",
        Show.AGENT: "As the agent of the runtime, run by systemd",
        Show.CURL: "With curl and openssl",
        Show.PYTHON: "With Python and openssl",
        Show.DOCKER: "In a container",
        Show.KUBERNETES: "In Kubernetes",
    }
    if visit["kind"] != "runtimes":
        del texts[Show.AGENT]
    return [Way(f"pair-{how}", text, recipe(offer, how)) for how, text in texts.items()]


async def begin(visit: Visit) -> Page:
    """What pairing is, and those that were begun. Raises Gone."""
    kind = _kind(visit)
    one = await _paired(visit, kind)
    found = await visit.ask("Pairings", id=visit["id"], first=5)
    data = {"one": one, "kind": kind, "kinds": visit["kind"], "pairings": found["pairings"]}
    return Page("pair_begin.html", f"Pair {one['name']}", data, live="certificates", section=visit["kind"])


async def make(visit: Visit) -> Answer:
    """Make a token and show it."""
    kind = _kind(visit)
    made = (await visit.ask(kind.token, id=visit["id"]))["made"]
    newest = (await visit.ask("Pairings", id=visit["id"], first=1))["pairings"]["data"][0]
    expires = instant(made["expiresAt"])
    life = (expires - datetime.now(UTC)).total_seconds() if expires is not None else 0.0
    visit.session.keep_token(newest["clientID"], FreshToken(made["token"], visit.now + life))
    return visit.done("The token is ready", f"/{visit['kind']}/{visit['id']}/pair/{newest['clientID']}")


async def follow(visit: Visit) -> Page:
    """One pairing, step by step. Raises Gone."""
    kind = _kind(visit)
    one = await _paired(visit, kind)
    found = (await visit.ask("Pairings", id=visit["id"], client=visit["client"], first=1))["pairings"]["data"]
    if not found:
        raise Gone(what="pairing")
    pairing = found[0]
    shown = steps(pairing)
    is_waiting = shown[1].state == "now"
    token = visit.session.fresh_token(pairing["clientID"], visit.now) if is_waiting else None
    is_over = all(step.state == "done" for step in shown) or shown[1].state == "failed"
    data = {
        "one": one,
        "kind": kind,
        "kinds": visit["kind"],
        "pairing": pairing,
        "steps": shown,
        "ways": [] if token is None else _ways(visit, one["name"], token),
        "is_waiting": is_waiting,
        "is_connected": pairing["connected"],
    }
    # No event tells that a token was used.
    poll = 0 if is_over else 1
    title = f"Pair {one['name']}"
    return Page(
        "pair.html", title, data, live="applications,runtimes,certificates", poll_seconds=poll, section=visit["kind"]
    )


async def void(visit: Visit) -> Answer:
    """Take a token back, with whatever was got for it."""
    await visit.ask(_kind(visit).void, id=visit["client"])
    visit.session.pairings.pop(visit["client"], None)
    return visit.done("The token is void", f"/{visit['kind']}/{visit['id']}/pair")


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/{kind}/{id}/pair"): begin,
    ("POST", "/{kind}/{id}/pair"): make,
    ("GET", "/{kind}/{id}/pair/{client}"): follow,
    ("POST", "/{kind}/{id}/pair/{client}/void"): void,
}
