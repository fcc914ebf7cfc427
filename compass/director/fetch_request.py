"""Fetch requests: a specification or document that is fetched from a URL instead of being sent.

Fetched by GET, before the transaction of the mutation that asks for it. A fetch that fails is a status of the request,
never an error of the mutation. Redirects are not followed. Source: contract/director.md §8.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Final

from compass.director import auth
from compass.director.auth import NewAuth, StoredAuth
from compass.director.sign_in import AccessTokens, SignInFailed, sign_in
from compass.errors import InvalidData
from compass.inputs import Length, web_address
from compass.outbound.door import Door, Request
from compass.outbound.errors import OutboundError
from compass.reads.plan import Object, Read, timestamp

CONCURRENT: Final = 4
"""Fetches of one mutation that are under way at a time."""
BUDGET: Final = timedelta(seconds=60)
"""For all fetches of one mutation together; a client waits for its answer that long at most."""
_OK: Final = 200

# Inputs


@dataclass(frozen=True)
class NewFetchRequest:
    """From where to fetch, and how to sign in there."""

    url: Annotated[str, Length(1, 2000), web_address]
    auth: NewAuth | None = None
    mode: str = "SINGLE"
    filter: Annotated[str | None, Length(0, 256)] = None

    def source(self) -> "Source":
        """What there is to fetch."""
        return Source(self.url, self.mode, self.filter, StoredAuth(self.auth.stored()) if self.auth else None)


# How it is read

FETCH_REQUEST = Read(
    "FetchRequest",
    table="fetch_request",
    fields={
        "url": "url",
        "auth": auth.shown("fetch_request", "auth_sealed"),
        "mode": "mode",
        "filter": "filter",
        "status": Object(
            {"condition": "status_condition", "message": "status_message", "timestamp": timestamp("status_timestamp")}
        ),
    },
    sanitized={"auth": "fetch-request.auth:read"},
)
READS = (FETCH_REQUEST,)

# Fetching


@dataclass(frozen=True)
class Source:
    """What there is to fetch."""

    url: str = field(repr=False)
    mode: str = "SINGLE"
    filter: str | None = None
    auth: StoredAuth | None = None


@dataclass(frozen=True)
class Fetched:
    """How a fetch ended: with data, or with a message that says why not."""

    data: str | None = None
    message: str | None = None

    @property
    def condition(self) -> str:
        """The status condition of the fetch request."""
        return "SUCCEEDED" if self.message is None else "FAILED"


async def fetch_all(door: Door, sources: Sequence[Source], *, request_id: str = "") -> list[Fetched]:
    """Fetch from every source, at most `CONCURRENT` at a time and within `BUDGET`; the outcomes in the same order.

    Sources are told the id of the request that they are fetched for. Never raises for what a source does.
    """
    tokens = AccessTokens(door)
    deadline = asyncio.get_running_loop().time() + BUDGET.total_seconds()
    seats = asyncio.Semaphore(CONCURRENT)

    async def one(source: Source) -> Fetched:
        try:
            async with asyncio.timeout_at(deadline), seats:
                return await _fetch(door, tokens, source, request_id)
        except TimeoutError:
            return Fetched(message="While fetching Spec: the time for all fetches of one request was used up")

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(source)) for source in sources]
    return [task.result() for task in tasks]


async def _fetch(door: Door, tokens: AccessTokens, source: Source, request_id: str) -> Fetched:
    if source.mode != "SINGLE":
        return Fetched(message=InvalidData(reason=f"Unsupported fetch mode: {source.mode}").wire_text())
    if source.filter:
        reason = "Filter for Fetch Request was provided, currently it's unsupported"
        return Fetched(message=InvalidData(reason=reason).wire_text())
    try:
        needed = sign_in(source.auth)
        headers = {"X-Request-Id": request_id} if request_id else {}
        headers |= needed.headers
        if needed.client is not None:
            headers |= await tokens.headers(needed.client)
        response = await door.send(
            Request("GET", needed.url(source.url), headers, shows_certificate=needed.shows_certificate)
        )
    except OutboundError as error:
        return Fetched(message=f"While fetching Spec: {error.reason}")
    except SignInFailed as failure:
        return Fetched(message=f"While fetching Spec: {failure.facts['why']}")
    if response.status != _OK:
        return Fetched(message=f"While fetching Spec status code: {response.status}")
    try:
        data = response.body.decode("utf-8-sig")
    except UnicodeDecodeError:
        data = "\0"
    if "\0" in data:
        return Fetched(message="While fetching Spec: the answer is not UTF-8 text")
    return Fetched(data=data)
