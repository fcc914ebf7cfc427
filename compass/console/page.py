"""Pages: templates, what all of them show, and how values look in them.

Every value is escaped unless a template is asked otherwise, and none asks. Times are written for people by the browser,
which knows their clock and their language; without it they are read as UTC.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined

from compass.client import standing
from compass.console.assets import Assets
from compass.console.commands import copies
from compass.console.http import Answer, Request
from compass.console.layers import short
from compass.console.places import NAVIGATION, place_of
from compass.console.refill import refill
from compass.console.session import Session

PREFIX: Final = "/console"
"""Where the console is served."""
PAGE_SIZE: Final = 50
MOST_TOLD: Final = 20
"""Changes of one action that the next page tells the commands of."""
THEMES: Final = ("auto", "light", "dark")
THEME_COOKIE: Final = "compass_theme"

GOOD: Final = frozenset(
    {
        "CONNECTED",
        "READY",
        "VALID",
        "DELIVERED",
        "SUCCEEDED",
        "CREATE_SUCCEEDED",
        "Connected",
        "Succeeded",
        "PAIRED",
        "RENEWABLE",
        "IN_SYNC",
        "ALIVE",
    }
)
BAD: Final = frozenset(
    {
        "FAILED",
        "ERROR",
        "REVOKED",
        "EXPIRED",
        "DEAD",
        "CREATE_ERROR",
        "DELETE_ERROR",
        "Failed",
        "Disconnected",
        "MISSING",
        "UNTRUSTED",
        "UNPAIRED",
    }
)
BUSY: Final = frozenset(
    {
        "PROVISIONING",
        "IN_PROGRESS",
        "INITIAL_PENDING",
        "CREATING",
        "DELETING",
        "UNPAIRING",
        "UPDATING",
        "PENDING",
        "CONFIG_PENDING",
        "HIBERNATED",
        "InProgress",
        "Pending",
    }
)
WARNING: Final = frozenset({"EXPIRING", "UNUSED", "DRAFT", "RETIRING", "BEHIND"})
WORDS: Final = {
    **standing.WORDS,
    "INITIAL": "not connected yet",
    "CONNECTED": "connected",
    "IN_PROGRESS": "in progress",
    "CONFIG_PENDING": "waits for configuration",
    "CREATE_ERROR": "failed",
    "DELETE_ERROR": "failed to leave",
    "InProgress": "in progress",
    "DEAD": "given up",
    "PENDING": "on its way",
}
"""Where the plane's own word would puzzle a person."""


@dataclass(frozen=True)
class Page:
    """A template and what it shows."""

    template: str
    title: str
    data: Mapping[str, Any] = field(default_factory=dict)
    live: str = ""
    """Topics of `live.TOPICS`, separated by commas: the page is asked anew when one of them changes."""
    poll_seconds: int = 0
    """How often it is asked anew besides, for what no event tells."""
    section: str = ""
    """The entry of the navigation it belongs to."""
    status: int = HTTPStatus.OK


def tone(word: str | None) -> str:
    """The colour of a state; never told by colour alone, the word stands beside it."""
    if word is not None and word.endswith("_FAILED"):
        return "bad"
    for found, words in (("good", GOOD), ("bad", BAD), ("busy", BUSY), ("warn", WARNING)):
        if word in words:
            return found
    return "idle"


def light(axis: Mapping[str, Any]) -> str:
    """The colour of an axis of a connection status, or of a whole one."""
    if axis.get("state") in _NOTHING_TO_SAY and axis["health"] in ("OK", "WAITING"):
        return "idle"
    return _LIGHTS[axis["health"]]


_LIGHTS: Final = {"OK": "good", "WAITING": "busy", "WARNING": "warn", "BAD": "bad"}
_NOTHING_TO_SAY: Final = frozenset({"NONE", "UNKNOWN", "UNPAIRED"})


def word(state: str | None) -> str:
    """A state as people say it."""
    return WORDS.get(state or "", (state or "unknown").replace("_", " ").lower())


def stage(name: str) -> str:
    """The name of a step, `WaitForClusterCreation`, as people say it."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return words[:1].upper() + words[1:].lower()


def instant(text: str | None) -> datetime | None:
    """A time of the API; None for one that has not come."""
    if not text or text.startswith("0001-"):
        return None
    return datetime.fromisoformat(text)


def remaining(text: str | None) -> str:
    """How long until then, or since then, in the largest unit that says something."""
    then = instant(text)
    if then is None:
        return "never"
    seconds = (then - datetime.now(UTC)).total_seconds()
    size = abs(seconds)
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if size >= length:
            amount = int(size // length)
            span = f"{amount} {unit}{'s' if amount > 1 else ''}"
            return f"in {span}" if seconds > 0 else f"{span} ago"
    return "in a moment" if seconds > 0 else "just now"


def left_permille(begin: str, end: str) -> int:
    """How much of a life is left, in thousandths."""
    first, last = instant(begin), instant(end)
    if first is None or last is None or last <= first:
        return 0
    return max(0, min(1000, round(1000 * (last - datetime.now(UTC)) / (last - first))))


def host(url: str | None) -> str:
    """Where a URL leads, without what a table has no room for."""
    return urlsplit(url or "").netloc or (url or "")


def query(asked: Mapping[str, Any]) -> str:
    """A query of a URL, of what is given at all."""
    return urlencode({name: value for name, value in asked.items() if value})


def groups_of(labels: Mapping[str, Any] | None) -> Sequence[str]:
    """The groups that the label of the groups names."""
    value = (labels or {}).get("scenarios")
    return [str(name) for name in value] if isinstance(value, list) else []


def _trail(page: Page, path: str, session: Session | None) -> Sequence[tuple[str, str]]:
    """Where a list stands, and what could not be shown; other pages say it themselves, beside their name."""
    place = place_of(path)
    if session is None or place is None or place.path == "/":
        return ()
    top = (session.called.get(session.tenant, "Overview"), "/")
    if page.template == "problem.html":
        return (top, (place.text, place.path))
    return (top,) if path == place.path else ()


class Pages:
    """Renders pages."""

    def __init__(self, assets: Assets) -> None:
        self._templates = Environment(
            loader=PackageLoader("compass.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.globals |= {
            "root": PREFIX,
            "asset": lambda name: PREFIX + assets.address(name),
            "themes": THEMES,
            "navigation": NAVIGATION,
        }
        self._templates.filters |= {
            "tone": tone,
            "word": word,
            "remaining": remaining,
            "left": left_permille,
            "host": host,
            "stage": stage,
            "short": short,
            "groups": groups_of,
            "light": light,
            "health": lambda name: f"{standing.SIGNS[name]} {standing.HEALTH[name]}",
            "query": query,
        }

    def answer(self, page: Page, request: Request, session: Session | None, **more: Any) -> Answer:
        """The page as it is sent."""
        if request.method == "POST":
            # It answers what was typed: asked anew, it would be another page.
            page = replace(page, live="")
        theme = request.cookie(THEME_COOKIE)
        said, did, typed = [], [], None
        if session is not None and not request.is_part:
            said, session.said = session.said, []
            did, session.did = session.did, []
            if page.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                # A page about a plane that cannot answer has no form to put it into; the next one has.
                typed, session.typed = session.typed, None
        query = {name: value for name, value in request.query.items() if name != "after"}
        text = self._templates.get_template(page.template).render(
            page=page,
            title=page.title,
            session=session,
            said=said,
            did=copies(did[:MOST_TOLD]),
            theme=theme if theme in THEMES else "auto",
            here=PREFIX + request.path + (f"?{request.query_text}" if request.query_text else ""),
            path=PREFIX + request.path,
            trail=_trail(page, request.path, session),
            query=request.query,
            query_but_page=urlencode(query),
            **{"copies": (), **page.data, **more},
        )
        if typed is not None:
            text = refill(text, *typed)
        return Answer(text.encode(), page.status)
