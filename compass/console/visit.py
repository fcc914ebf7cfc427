"""One visit of a page: who looks, what was asked, and the plane to ask in turn."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from compass.console.http import Answer, Request, Stream, moved
from compass.console.page import PREFIX, Page
from compass.console.plane import NotAllowed, Plane
from compass.console.session import Session
from compass.console.sign_in import Provider


@dataclass(frozen=True)
class Facts:
    """What the console knows of the plane that no query tells."""

    token_url: str
    """Where clients pair."""
    ca_fingerprint: Callable[[], str]
    """`sha256:…` of the root certificate, which may be replaced while the plane runs."""
    anchor: Callable[[], str] = str
    """That certificate as PEM."""
    tenant: str = ""
    """The external id of the tenant that every plane has."""
    provider: Provider | None = None
    """Where people sign in who have no link."""


@dataclass(frozen=True)
class Visit:
    """Everything that a view is given."""

    request: Request
    session: Session
    plane: Plane
    facts: Facts
    parts: Mapping[str, str]
    """What stands in the path where the route has a name in braces."""
    now: float
    """By the sessions' clock."""
    asked: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list, repr=False)
    """What the plane answered in this visit: documents and their variables."""

    async def ask(self, name: str, /, **variables: Any) -> dict[str, Any]:
        """As `Plane.ask`."""
        answer = await self.plane.ask(name, **variables)
        self.asked.append((name, variables))
        return answer

    async def see(self, name: str, /, **variables: Any) -> dict[str, Any] | None:
        """The same for a part of a page: None when the person lacks the right to it."""
        try:
            return await self.ask(name, **variables)
        except NotAllowed:
            return None

    def within(self, tenant: str) -> "Visit":
        """The same visit, asking about another tenant."""
        return replace(self, plane=self.plane.within(tenant), asked=[])

    def __getitem__(self, part: str) -> str:
        return self.parts[part]

    def form(self, name: str) -> str:
        """What was typed into a field, without the spaces around it."""
        return self.request.form.get(name, "").strip()

    def query(self, name: str) -> str:
        """What stands in the query, without the spaces around it."""
        return self.request.query.get(name, "").strip()

    def done(self, text: str, path: str) -> Answer:
        """Go on at another page of the console, which says what was done."""
        self.session.said.append(("ok", text))
        return moved(PREFIX + path)

    def refused(self, text: str, path: str) -> Answer:
        """The same when it was not."""
        self.session.said.append(("bad", text))
        return moved(PREFIX + path)


async def together(*asked: Awaitable[dict[str, Any] | None]) -> list[dict[str, Any] | None]:
    """Several questions at once."""
    return list(await asyncio.gather(*asked))


View = Callable[[Visit], Awaitable[Page | Answer | Stream]]
