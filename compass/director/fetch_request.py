"""Fetch requests: a specification or document that is fetched from a URL instead of being sent.

Fetched by GET, before the transaction of the mutation that asks for it. A fetch that fails is a status of the request,
never an error of the mutation. Redirects are not followed. Source: contract/director.md §8.
"""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

import orjson

from compass.director import auth
from compass.director.auth import NewAuth, StoredAuth
from compass.errors import InvalidData
from compass.inputs import Length, web_address
from compass.outbound.door import Door, Request
from compass.outbound.errors import OutboundError
from compass.reads.plan import Object, Read, timestamp

CONCURRENT: Final = 4
"""Fetches of one mutation that are under way at a time."""
BUDGET: Final = timedelta(seconds=60)
"""For all fetches of one mutation together; a client waits for its answer that long at most."""
LARGEST_BYTES: Final = 5 * 1024 * 1024
"""Of a fetched document."""
_LARGEST_TOKEN_BYTES: Final = 64 * 1024
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

_APPLICATION = """coalesce(
    (SELECT coalesce(api.application_id, event.application_id) FROM spec
     LEFT JOIN api_definition api ON api.id = spec.api_definition_id
     LEFT JOIN event_definition event ON event.id = spec.event_definition_id WHERE spec.id = {t}.spec_id),
    (SELECT document.application_id FROM document WHERE document.id = {t}.document_id)
)"""
FETCH_REQUEST = Read(
    "FetchRequest",
    table="fetch_request",
    fields={
        "url": "url",
        "auth": auth.shown_from(
            f"CASE WHEN {auth.kept_from_neighbours(_APPLICATION)} "
            f"THEN {auth.sealed_in('fetch_request', '{t}', 'auth_sealed')} END"
        ),
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


class _Unfetchable(Exception):  # ends one fetch with a sentence for its status, and is never seen outside
    pass


async def fetch_all(door: Door, sources: Sequence[Source]) -> list[Fetched]:
    """Fetch from every source, at most `CONCURRENT` at a time and within `BUDGET`; the outcomes in the same order.

    Never raises for what a source does.
    """
    deadline = asyncio.get_running_loop().time() + BUDGET.total_seconds()
    seats = asyncio.Semaphore(CONCURRENT)

    async def one(source: Source) -> Fetched:
        try:
            async with asyncio.timeout_at(deadline), seats:
                return await _fetch(door, source)
        except TimeoutError:
            return Fetched(message="While fetching Spec: the time for all fetches of one request was used up")

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(source)) for source in sources]
    return [task.result() for task in tasks]


async def _fetch(door: Door, source: Source) -> Fetched:
    if source.mode != "SINGLE":
        return Fetched(message=InvalidData(reason=f"Unsupported fetch mode: {source.mode}").wire_text())
    if source.filter:
        reason = "Filter for Fetch Request was provided, currently it's unsupported"
        return Fetched(message=InvalidData(reason=reason).wire_text())
    try:
        signed = await _signed(door, source)
        response = await door.send(signed, max_body_bytes=LARGEST_BYTES)
    except OutboundError as error:
        return Fetched(message=f"While fetching Spec: {error.reason}")
    except _Unfetchable as reason:
        return Fetched(message=f"While fetching Spec: {reason}")
    if response.status != _OK:
        return Fetched(message=f"While fetching Spec status code: {response.status}")
    try:
        data = response.body.decode("utf-8-sig")
    except UnicodeDecodeError:
        data = "\0"
    if "\0" in data:
        return Fetched(message="While fetching Spec: the answer is not UTF-8 text")
    return Fetched(data=data)


async def _signed(door: Door, source: Source) -> Request:
    """The request with what the source's auth adds to it. Raises _Unfetchable, OutboundError."""
    if source.auth is None:
        return Request("GET", source.url)
    how = source.auth.value
    match how.get("accessStrategy"):
        case None | "":
            credential = how.get("credential")
        case "open":
            credential = None
        case "sap:cmp-mtls:v1":
            raise _Unfetchable(
                "access strategy sap:cmp-mtls:v1 needs a client certificate that this plane does not have"
            )
        case strategy:
            raise _Unfetchable(f"access strategy {strategy:.100} is not supported")
    if (how.get("requestAuth") or {}).get("csrf"):
        raise _Unfetchable("a CSRF token cannot be obtained for a fetch")
    headers = {name: ", ".join(values) for name, values in (how.get("additionalHeaders") or {}).items()}
    if credential:
        headers["Authorization"] = await _authorization(door, credential)
    return Request("GET", _with_parameters(source.url, how.get("additionalQueryParams") or {}), headers)


async def _authorization(door: Door, credential: Mapping[str, Any]) -> str:
    match credential["__typename"]:
        case "BasicCredentialData":
            return _basic(credential["username"], credential["password"])
        case "OAuthCredentialData":
            return f"Bearer {await _access_token(door, credential)}"
        case _:
            raise _Unfetchable("a credential with a certificate is not supported for a fetch")


def _basic(name: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


async def _access_token(door: Door, credential: Mapping[str, Any]) -> str:
    """Source: RFC 6749 §4.4, with the client's credentials encoded as §2.3.1 wants it."""
    headers = {
        "Authorization": _basic(quote_plus(credential["clientId"]), quote_plus(credential["clientSecret"])),
        "Content-Type": "application/x-www-form-urlencoded",
        "Accept": "application/json",
    }
    request = Request("POST", credential["url"], headers, b"grant_type=client_credentials")
    response = await door.send(request, max_body_bytes=_LARGEST_TOKEN_BYTES)
    if response.status != _OK:
        raise _Unfetchable(f"the token endpoint answered with status code {response.status}")
    try:
        token = orjson.loads(response.body)["access_token"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        token = None
    if not isinstance(token, str) or not token:
        raise _Unfetchable("the token endpoint gave no access token")
    return token


def _with_parameters(url: str, parameters: Mapping[str, Sequence[str]]) -> str:
    if not parameters:
        return url
    parts = urlsplit(url)
    query = "&".join(filter(None, [parts.query, urlencode(parameters, doseq=True)]))
    return parts._replace(query=query).geturl()
