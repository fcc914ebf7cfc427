"""The pair wizard, for applications and runtimes: a token, the command for the other side, and what became of it.

The token is in the page only of the session that made it, and only until it is used or ends.
"""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

import segno

from compass.client.recipe import Offer, Show, recipe
from compass.console.http import Answer, named
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
    another: str
    """The one that makes another in its place."""
    void: str
    """The one that takes it back."""
    longest: str
    """The field that tells how many seconds a token may be good for."""


KINDS: Final[Mapping[str, Kind]] = {
    "applications": Kind(
        "application",
        "ApplicationName",
        "TokenForApplication",
        "AnotherTokenForApplication",
        "VoidApplicationClient",
        "applicationSeconds",
    ),
    "runtimes": Kind(
        "runtime",
        "RuntimeName",
        "TokenForRuntime",
        "AnotherTokenForRuntime",
        "VoidRuntimeClient",
        "runtimeSeconds",
    ),
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


def _offer(visit: Visit, name: str, token: str) -> Offer:
    return Offer(
        name,
        f"{visit.facts.token_url}/connector/graphql",
        token,
        visit.facts.ca_fingerprint(),
        visit.facts.anchor(),
    )


def _ways(visit: Visit, offer: Offer) -> list[Way]:
    """What the other side may run, the shortest first."""
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
    adapted = f"adapter {visit['id']}"
    data = {
        # What the page asks of itself, to stay current, must not use it up.
        "adapted": None if visit.request.is_part else visit.session.once(adapted, visit.now),
        "one": one,
        "kind": kind,
        "kinds": visit["kind"],
        "pairings": found["pairings"],
        "lives": await _lives(visit, kind),
    }
    return Page("pair_begin.html", f"Pair {one['name']}", data, live="certificates", section=visit["kind"])


async def make(visit: Visit) -> Answer:
    """Make a token and show it."""
    kind = _kind(visit)
    seconds = visit.form("seconds")
    wanted = int(seconds) if seconds.isdecimal() else None
    before = {one["clientID"] for one in await _newest(visit)}
    made = (await visit.ask(kind.token, id=visit["id"], seconds=wanted))["made"]
    if not made["connectorURL"]:
        return _adapted(visit, made["token"])
    # The answer does not say whose it is. What others began meanwhile has another time.
    times = (made["createdAt"], made["expiresAt"])
    fitting = [
        one["clientID"]
        for one in await _newest(visit)
        if one["clientID"] not in before and (one["tokenIssuedAt"], one["tokenExpiresAt"]) == times
    ]
    if len(fitting) != 1:
        text = "Somebody else began to pair it in the same second, and the two cannot be told apart: make another token"
        return visit.refused(text, f"/{visit['kind']}/{visit['id']}/pair")
    return _ready(visit, fitting[0], made)


async def _newest(visit: Visit) -> list[Mapping[str, Any]]:
    """Those begun last, among which the one that was just made is looked for."""
    found: list[Mapping[str, Any]] = (await visit.ask("Pairings", id=visit["id"], first=20))["pairings"]["data"]
    return found


_ADAPTED_SECONDS: Final = 600.0
"""How long a pairing adapter's token waits for the page that shows it."""


def _adapted(visit: Visit, token: str) -> Answer:
    """Show a token that is good at the application's integration system and not here, once."""
    visit.session.keep_token(f"adapter {visit['id']}", FreshToken(token, visit.now + _ADAPTED_SECONDS))
    return visit.done("The integration system made a token", f"/{visit['kind']}/{visit['id']}/pair")


async def again(visit: Visit) -> Answer:
    """Make another token for the same client, good for as long: the former one is worth nothing from then on.

    Raises Gone.
    """
    kind = _kind(visit)
    former = await _pairing(visit)
    begun, ends = instant(former["tokenIssuedAt"]), instant(former["tokenExpiresAt"])
    longest = (await _lives(visit, kind))[-1].seconds
    life = longest if begun is None or ends is None else round((ends - begun).total_seconds())
    # The longest is not asked for by its number: it may be another by the time the plane is asked.
    seconds = life if life < longest else None
    made = (await visit.ask(kind.another, id=visit["id"], client=visit["client"], seconds=seconds))["made"]
    if not made["connectorURL"]:
        return _adapted(visit, made["token"])
    return _ready(visit, visit["client"], made)


@dataclass(frozen=True)
class Life:
    """How long a token may be good for."""

    seconds: int
    text: str


_OFFERED_SECONDS: Final = (60, 300, 900, 3600, 4 * 3600, 24 * 3600)


async def _lives(visit: Visit, kind: Kind) -> list[Life]:
    """Lives to choose from, the longest that the plane allows last."""
    allowed = (await visit.ask("TokenLives"))["signedIn"]["oneTimeTokenLives"]
    longest = allowed[kind.longest]
    shorter = [each for each in _OFFERED_SECONDS if allowed["shortestSeconds"] <= each < longest]
    return [Life(seconds, _duration(seconds)) for seconds in (*shorter, longest)]


def _duration(seconds: int) -> str:
    for size, word in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size} {word}{'s' if seconds > size else ''}"
    return f"{seconds} seconds"


def _ready(visit: Visit, client: str, made: Mapping[str, Any]) -> Answer:
    expires = instant(made["expiresAt"])
    life = (expires - datetime.now(UTC)).total_seconds() if expires is not None else 0.0
    visit.session.keep_token(client, FreshToken(made["token"], visit.now + life))
    return visit.done("The token is ready", f"/{visit['kind']}/{visit['id']}/pair/{client}")


async def _pairing(visit: Visit) -> Mapping[str, Any]:
    found = (await visit.ask("Pairings", id=visit["id"], client=visit["client"], first=1))["pairings"]["data"]
    if not found:
        raise Gone(what="pairing")
    one: Mapping[str, Any] = found[0]
    return one


async def follow(visit: Visit) -> Page:
    """One pairing, step by step; what was taken back, also by others, says so. Raises Gone."""
    kind = _kind(visit)
    one = await _paired(visit, kind)
    try:
        pairing = await _pairing(visit)
    except Gone:
        visit.session.pairings.pop(visit["client"], None)
        gone = {"one": one, "kind": kind, "kinds": visit["kind"]}
        return Page("pair_gone.html", f"Pair {one['name']}", gone, section=visit["kind"], status=HTTPStatus.NOT_FOUND)
    shown = steps(pairing)
    is_waiting = shown[1].state == "now"
    token = visit.session.fresh_token(pairing["clientID"], visit.now) if is_waiting else None
    is_over = all(step.state == "done" for step in shown) or shown[1].state == "failed"
    ways = [] if token is None else _ways(visit, _offer(visit, one["name"], token))
    data = {
        "one": one,
        "kind": kind,
        "kinds": visit["kind"],
        "pairing": pairing,
        "steps": shown,
        "ways": ways,
        "qr": _qr(ways[0].command) if ways else None,
        "is_waiting": is_waiting,
        "is_connected": pairing["connected"],
    }
    # No event tells that a token was used.
    poll = 0 if is_over else 1
    title = f"Pair {one['name']}"
    return Page(
        "pair.html", title, data, live="applications,runtimes,certificates", poll_seconds=poll, section=visit["kind"]
    )


@lru_cache(maxsize=64)
def _qr(command: str) -> str:
    """The shortest command as a QR code in SVG, for a machine with a camera and without a way to paste.

    The command and not the bare token: it carries the plane's address and fingerprint, so that whoever scans it is as
    safe as whoever copies. Kept for a while, since the page is drawn anew each second. Black on white in both themes,
    or cameras do not find it; with the quiet zone of four modules. Source: ISO/IEC 18004 §6.3.8.
    """
    code = segno.make_qr(command, error="l")
    drawn: str = code.svg_inline(scale=4, border=4, dark="#000", light="#fff", svgclass="qr", lineclass=None)
    return drawn


async def bundle(visit: Visit) -> Answer:
    """What the other side needs, as one file: the token, whom to believe, and each way to spend it. Raises Gone."""
    one = await _paired(visit, _kind(visit))
    token = visit.session.fresh_token(visit["client"], visit.now)
    if token is None:
        text = "The token is shown only to the session that made it, until it ends"
        return visit.refused(text, f"/{visit['kind']}/{visit['id']}/pair/{visit['client']}")
    offer = _offer(visit, one["name"], token)
    scripts = {f"{way.id}.sh": (f"# {way.text}\n{way.command}\n", 0o700) for way in _ways(visit, offer)}
    ways = "\n".join(f"  {name}: {text.partition(chr(10))[0][2:]}" for name, (text, _) in scripts.items())
    readme = _README.format(name=one["name"], url=offer.connector_url, pin=offer.pin, ways=ways)
    files = {
        "README.txt": (readme, 0o600),
        "token.txt": (f"{token}\n", 0o600),
        "plane_ca.pem": (offer.anchor.strip() + "\n", 0o644),
        **scripts,
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, (text, mode) in files.items():
            entry = zipfile.ZipInfo(f"compass-pairing/{name}", datetime.now(UTC).timetuple()[:6])
            entry.external_attr = (_REGULAR_FILE | mode) << 16
            archive.writestr(entry, text)
    return Answer(packed.getvalue(), content_type="application/zip", headers=named("compass-pairing.zip"))


_REGULAR_FILE: Final = 0o100000
_README: Final = """Pair {name} with Compass.

Run one of these where it lives. Each spends the token, which is good once and not for long, and leaves a key and a
certificate behind:

{ways}

The token, in token.txt and in each of them, is a password until it is used: keep these files to yourself, and delete
them afterwards. plane_ca.pem is the authority of the plane at {url}
({pin}); who has another is not that plane.
"""


async def void(visit: Visit) -> Answer:
    """Take a token back, with whatever was got for it."""
    await visit.ask(_kind(visit).void, id=visit["client"])
    visit.session.pairings.pop(visit["client"], None)
    return visit.done("The token is void", f"/{visit['kind']}/{visit['id']}/pair")


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/{kind}/{id}/pair"): begin,
    ("POST", "/{kind}/{id}/pair"): make,
    ("GET", "/{kind}/{id}/pair/{client}"): follow,
    ("GET", "/{kind}/{id}/pair/{client}/pairing.zip"): bundle,
    ("POST", "/{kind}/{id}/pair/{client}/again"): again,
    ("POST", "/{kind}/{id}/pair/{client}/void"): void,
}
