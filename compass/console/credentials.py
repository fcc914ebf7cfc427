"""Client secrets: how programs sign in that have no certificate. Each is shown once, when it is made."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from compass.console.http import Answer
from compass.console.page import Page
from compass.console.plane import Gone
from compass.console.session import FreshToken
from compass.console.visit import View, Visit

KEPT_SECONDS: Final = 600.0
"""How long a secret that was made waits for the page that shows it."""


@dataclass(frozen=True)
class Kind:
    """What may have client secrets, and the documents for it."""

    noun: str
    found: str
    made: str
    void: str


KINDS: Final[Mapping[str, Kind]] = {
    "applications": Kind("application", "ApplicationSecrets", "MakeApplicationSecret", "VoidApplicationClient"),
    "runtimes": Kind("runtime", "RuntimeSecrets", "MakeRuntimeSecret", "VoidRuntimeClient"),
    "integrations": Kind(
        "integration system", "IntegrationSystemSecrets", "MakeIntegrationSystemSecret", "VoidIntegrationSystemClient"
    ),
}


def _kind(visit: Visit) -> Kind:
    kind = KINDS.get(visit["kind"])
    if kind is None:
        raise Gone(what="page")
    return kind


def secrets_of(auths: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    """Those of the ways in that are client secrets; None when the person may not see them."""
    if auths is None:
        return None
    return [
        {"id": one["id"], **one["auth"]["credential"]}
        for one in auths
        if one["auth"] and (one["auth"]["credential"] or {}).get("__typename") == "OAuthCredentialData"
    ]


async def index(visit: Visit) -> Page:
    """Those of one object, and the one that was just made. Raises Gone."""
    kind = _kind(visit)
    one = (await visit.ask(kind.found, id=visit["id"]))["one"]
    if one is None:
        raise Gone(what=kind.noun)
    made = visit.query("made")
    data = {
        "one": one,
        "noun": kind.noun,
        "kinds": visit["kind"],
        "secrets": secrets_of(one["auths"]),
        "made": made,
        # What the page asks of itself, to stay current, must not use it up.
        "secret": None if visit.request.is_part else visit.session.once(made, visit.now),
        "token_url": f"{visit.facts.token_url}/oauth2/token",
    }
    title = f"Client secrets of {one['name']}"
    return Page("credentials.html", title, data, live="integrations,certificates", section=visit["kind"])


async def _made(visit: Visit, kind: Kind) -> str:
    made = (await visit.ask(kind.made, id=visit["id"]))["made"]
    visit.session.keep_token(
        made["id"], FreshToken(made["auth"]["credential"]["clientSecret"], visit.now + KEPT_SECONDS)
    )
    return f"/{visit['kind']}/{visit['id']}/credentials?made={made['id']}"


async def make(visit: Visit) -> Answer:
    """Make another one. Raises Gone."""
    return visit.done("A new client secret is made", await _made(visit, _kind(visit)))


async def rotate(visit: Visit) -> Answer:
    """Make another one in place of one that ends at once: access tokens got with it are refused, too. Raises Gone."""
    kind = _kind(visit)
    page = await _made(visit, kind)
    await visit.ask(kind.void, id=visit["client"])
    return visit.done("The secret is replaced; the former one is refused", page)


async def void(visit: Visit) -> Answer:
    """End one. Raises Gone."""
    await visit.ask(_kind(visit).void, id=visit["client"])
    return visit.done("It is refused from now on", f"/{visit['kind']}/{visit['id']}/credentials")


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/{kind}/{id}/credentials"): index,
    ("POST", "/{kind}/{id}/credentials"): make,
    ("POST", "/{kind}/{id}/credentials/{client}/rotate"): rotate,
    ("POST", "/{kind}/{id}/credentials/{client}/void"): void,
}
