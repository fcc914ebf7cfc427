"""The landscape as a file, in the console: what a text would change, doing it, and what is there as such a text.

It plans and applies with what `compass apply` does, in a thread, because that asks the plane one thing after the other.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from typing import Any, Final, TypeVar

from compass.client.failed import CommandFailed
from compass.client.protocol import PlaneRefused, data_of
from compass.client.protocol import document as shared
from compass.console.http import Answer, attachment
from compass.console.page import Page
from compass.console.plane import Plane, told
from compass.console.visit import View, Visit
from compass.errors import CompassError
from compass.landscape.conflicts import brief
from compass.landscape.conversation import PAGE_SIZE, Json
from compass.landscape.manifest import Kind, documents, in_order
from compass.landscape.planned import Planned, planned, written

Result = TypeVar("Result")

MANAGER: Final = "console"
"""As whom the plane remembers what was applied here."""
MOST_BYTES: Final = 1024 * 1024
"""Of a text. Reading one takes seconds of the processor; longer ones are for the command line, on its own machine."""
PLACE: Final = "text"
"""What stands before the number of a line."""
_THREADS: Final = ThreadPoolExecutor(2, thread_name_prefix="landscape")
"""Of its own: in the usual ones the plane would wait for those who wait for the plane."""


class Asking:
    """The plane as the thread asks it: with the rights of whoever is signed in."""

    def __init__(self, plane: Plane) -> None:
        """Made in the loop that serves the console."""
        self._plane = plane
        self._loop = asyncio.get_running_loop()

    def ask(self, name: str, variables: Mapping[str, Any] | None = None) -> Any:
        """The answer to the document of all clients of that name. Raises PlaneRefused, PlaneAnswerUnreadable."""
        asked = shared(name)
        sending = self._plane.send(asked, variables or {})
        status, body, request_id = asyncio.run_coroutine_threadsafe(sending, self._loop).result()
        (answer,) = data_of(body, status=status, url=str(asked.endpoint), request_id=request_id).values()
        return answer

    def all(self, name: str, variables: Mapping[str, Any] | None = None, *, inside: str | None = None) -> list[Json]:
        """The objects of a list, whole; none when the object that would have it is not there."""
        found: list[Json] = []
        after: str | None = None
        while True:
            page = self.ask(name, {**(variables or {}), "first": PAGE_SIZE, "after": after})
            if inside is not None and page is not None:
                page = page[inside]
            if page is None:
                return []
            found += page["data"]
            if not page["pageInfo"]["hasNextPage"]:
                return found
            after = page["pageInfo"]["endCursor"]


@dataclass
class Outcome:
    """What came of a text."""

    todo: Sequence[tuple[str, str]] = ()
    """Sign and text of what would be changed."""
    done: list[tuple[str, str]] = field(default_factory=list)
    """The same of what was."""
    left: Sequence[tuple[str, Sequence[str]]] = ()
    """Objects that are left as they are, and why."""
    problem: str | None = None
    is_applied: bool = False

    @property
    def digest(self) -> str:
        """Of what would be changed: that is done which was seen, and nothing else."""
        return hashlib.sha256(repr([*self.todo, *self.left]).encode()).hexdigest()

    @property
    def removes(self) -> int:
        """How many of the changes remove something."""
        return sum(sign == "-" for sign, _ in self.todo)


async def show(visit: Visit) -> Page:
    """The form; with the sample in it, when that is asked for."""
    text = sample() if visit.query("sample") else ""
    return _page(text, None)


def sample() -> str:
    """A small landscape to look around in."""
    return resources.files("compass.landscape").joinpath("sample.yaml").read_text(encoding="utf-8")


def _page(text: str, outcome: Outcome | None, *, is_other: bool = False) -> Page:
    data = {"text": text, "outcome": outcome, "is_other": is_other, "most_bytes": MOST_BYTES}
    status = 422 if outcome and outcome.problem else 200
    return Page("landscape_file.html", "Import", data, section="applications", status=status)


async def look(visit: Visit) -> Page:
    """What the text would change, or, when that was seen, changing it."""
    try:
        text = _text(visit)
    except UnicodeDecodeError:
        return _page("", Outcome(problem="That file is no text in UTF-8; nothing was changed."))
    if len(text.encode()) > MOST_BYTES:
        why = f"It is longer than {MOST_BYTES // 1024:,} KiB; nothing was changed. compass apply -f takes it."
        return _page("", Outcome(problem=why))
    seen = visit.form("seen") if visit.form("do") == "apply" else None
    outcome = await _in_thread(partial(_outcome, Asking(visit.plane), text, seen=seen))
    is_other = seen is not None and not outcome.is_applied and outcome.problem is None
    return _page(text, outcome, is_other=is_other)


async def _in_thread(work: Callable[[], Result]) -> Result:
    return await asyncio.get_running_loop().run_in_executor(_THREADS, work)


def _text(visit: Visit) -> str:
    """A file goes before what was typed. Raises UnicodeDecodeError."""
    chosen = visit.request.files.get("file")
    text = visit.request.form.get("text", "") if chosen is None else chosen.decode("utf-8-sig")
    # Browsers send the lines of a text with a carriage return each.
    return text.replace("\r\n", "\n")


def _outcome(plane: Asking, text: str, *, seen: str | None) -> Outcome:
    """What the text would change; done, when `seen` is the digest of just that."""
    outcome = Outcome()
    step = ""
    try:
        plans = planned(plane, in_order(documents(text, PLACE)), MANAGER, tell=lambda _: None)
        outcome.todo = [(each.sign, each.text) for each in plans.todo if not each.is_quiet]
        outcome.left = _left(plans)
        outcome.is_applied = seen == outcome.digest
        for each in plans.todo if outcome.is_applied else ():
            step = each.line
            each.act(plane, plans.now)
            if not each.is_quiet:
                outcome.done.append((each.sign, each.text))
    except (CommandFailed, CompassError) as failed:
        why = told(failed) if isinstance(failed, PlaneRefused) else str(failed)
        hint = getattr(failed, "hint", None)
        outcome.problem = f"{f'At {step}: ' if step else ''}{why}{f' ({hint})' if hint else ''}"
    return outcome


def _left(plans: Planned) -> Sequence[tuple[str, Sequence[str]]]:
    return [
        (f"{left.one.kind.lower()} {left.one.name}", [brief(conflict) for conflict in left.conflicts])
        for left in plans.left
    ]


async def export(visit: Visit) -> Answer:
    """What is there, as the file that is taken here and by `compass apply`. It holds no secrets."""
    plane = Asking(visit.plane)
    try:
        text = await _in_thread(lambda: "\n".join(written(plane, tuple(Kind))))
    except CommandFailed as failed:
        return visit.refused(f"{failed}; nothing was written", "/import")
    return attachment(f"{text}\n", "application/yaml; charset=utf-8", "landscape.yaml")


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/import"): show,
    ("POST", "/import"): look,
    ("GET", "/export.yaml"): export,
}
