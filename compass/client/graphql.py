"""How everything outside the plane speaks to it: one call, typed refusals, and no secret in any text.

Used by the command line, the agent, the demo and the console. Documents are the files of `client/documents/`.
"""

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final, Self

import aiohttp

from compass.client.events import Happened, events
from compass.client.protocol import (
    EVENTS_PATH,
    HEARTBEAT_PATH,
    IDLE_SECONDS,
    MAX_ANSWER_BYTES,
    SILENT_SECONDS,
    Bearer,
    CertificateUnusable,
    ClientCertificate,
    Credentials,
    Document,
    DocumentUnknown,
    Endpoint,
    OneTimeToken,
    PlaneAnswerUnreadable,
    PlaneNotTrusted,
    PlaneRefused,
    PlaneUnreachable,
    Trust,
    data_of,
    document,
    why_unreachable,
)
from compass.client.trusted import MOST_TRUSTED_BYTES, TRUST_PATH, Trusted

__all__ = [
    "MAX_ANSWER_BYTES",
    "Bearer",
    "CertificateUnusable",
    "ClientCertificate",
    "Credentials",
    "Document",
    "DocumentUnknown",
    "Endpoint",
    "OneTimeToken",
    "Plane",
    "PlaneAnswerUnreadable",
    "PlaneNotTrusted",
    "PlaneRefused",
    "PlaneUnreachable",
    "Trust",
    "document",
    "fetch_anchor",
]

_DIRECTOR_PATH: Final = "/director/graphql"
_MAX_ANCHOR_BYTES: Final = 256 * 1024


async def fetch_anchor(base_url: str, pin: str) -> Trust:
    """Take the plane's trust anchor from the plane itself (`/ca.pem`) and believe it only for its fingerprint.

    For people who were given an address and a pin. Nothing but this request is sent before the pin matched.
    Raises PlaneUnreachable, PlaneNotTrusted, PlaneAnswerUnreadable.
    """
    url = f"{base_url.rstrip('/')}/ca.pem"
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        try:
            # Not verified here: the answer is public, and is worth nothing until its fingerprint is the expected one.
            async with session.get(url, ssl=False, allow_redirects=False) as answer:
                body = await _read(answer, at_most=_MAX_ANCHOR_BYTES, url=url)
                status = answer.status
        except (aiohttp.ClientError, OSError) as error:
            raise PlaneUnreachable(url=url, why=_why(error)) from error
    if status != HTTPStatus.OK:
        raise PlaneAnswerUnreadable(url=url, status=str(status), why="no trust anchor is published here")
    try:
        return Trust.to(body.decode("ascii", "replace"), pin=pin)
    except PlaneNotTrusted as error:
        raise PlaneNotTrusted(url=base_url, why=error.facts["why"]) from None


class Plane:
    """A connection to one plane as one caller. Close it, or use it as an async context manager."""

    def __init__(
        self,
        address: str | Mapping[Endpoint, str],
        *,
        trust: Trust,
        credentials: Credentials = None,
        tenant: str | None = None,
        timeout: timedelta = timedelta(seconds=30),
    ) -> None:
        """`address` is the base URL of one listener, or the full URL of each endpoint that will be used.

        `tenant` is the tenant's external id. `timeout` covers one call as a whole.
        """
        if isinstance(address, str):
            base = address.rstrip("/")
            address = {endpoint: f"{base}/{endpoint}/graphql" for endpoint in Endpoint}
        self._urls = dict(address)
        self._trust = trust
        self._credentials = credentials
        self._headers = {"Accept": "application/json"}
        if tenant is not None:
            self._headers["Tenant"] = tenant
        match credentials:
            case Bearer(token):
                self._headers["Authorization"] = f"Bearer {token}"
            case OneTimeToken(token, key_digest):
                self._headers["Connector-Token"] = token
                if key_digest:
                    self._headers["Connector-Key-Digest"] = key_digest
        self._timeout = aiohttp.ClientTimeout(total=timeout.total_seconds(), connect=min(10.0, timeout.total_seconds()))
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"Plane({', '.join(sorted(self._urls.values()))})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. The next call opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def send(self, name: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send the document of that name and return `data` of the answer. Raises as `ask` does, DocumentUnknown."""
        found = document(name)
        return await self.ask(found.endpoint, found.text, variables)

    async def ask(self, endpoint: Endpoint, text: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send any GraphQL text and return `data` of the answer. A plane that asks for patience is asked again.

        Raises PlaneUnreachable, PlaneNotTrusted, PlaneAnswerUnreadable, PlaneRefused, CertificateUnusable.
        An answer with errors is a refusal, whatever data comes with it.
        """
        url = self._urls[endpoint]
        given_up_at = asyncio.get_running_loop().time() + (self._timeout.total or 0)
        try:
            session = self._opened()
            while True:
                async with session.post(
                    url, json={"query": text, "variables": dict(variables or {})}, allow_redirects=False
                ) as answer:
                    body = await _read(answer, at_most=MAX_ANSWER_BYTES, url=url)
                pause = _pause(answer)
                if pause is None or asyncio.get_running_loop().time() + pause >= given_up_at:
                    request_id = answer.headers.get("X-Request-Id", "")
                    return data_of(body, status=answer.status, url=url, request_id=request_id)
                # Not all at once: others were told the same.
                await asyncio.sleep(pause * (1 + random.random() / 4))  # noqa: S311  # no secret
        except aiohttp.ClientConnectorCertificateError as error:
            raise PlaneNotTrusted(url=url, why=_why(error)) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # ValueError: an address that is none. OSError includes the time-out.
            raise PlaneUnreachable(url=url, why=_why(error)) from error

    async def events(self, after: str | None = None) -> AsyncGenerator[Happened, None]:
        """What happens that this caller may know of, after the event of that id or from now on, until it is cut off.

        Without `after`, and with one that the plane knows no more, the first is a `reset`. The plane ends it now and
        then: come back with the last id. Raises PlaneUnreachable, also when nothing is heard any more, PlaneNotTrusted,
        PlaneAnswerUnreadable for everything that is no stream, CertificateUnusable.
        """
        url = self._urls[Endpoint.DIRECTOR].removesuffix(_DIRECTOR_PATH) + EVENTS_PATH
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": after} if after else {})}
        timeout = aiohttp.ClientTimeout(total=None, connect=self._timeout.connect, sock_read=SILENT_SECONDS)
        try:
            async with self._opened().get(url, headers=headers, timeout=timeout, allow_redirects=False) as answer:
                if answer.status != HTTPStatus.OK or answer.content_type != "text/event-stream":
                    raise PlaneAnswerUnreadable(url=url, status=str(answer.status), why="it is no stream of events")
                async with aclosing(events(answer.content)) as stream:
                    async for one in stream:
                        yield one
        except aiohttp.ClientConnectorCertificateError as error:
            raise PlaneNotTrusted(url=url, why=_why(error)) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise PlaneUnreachable(url=url, why=_why(error)) from error

    async def trusted(self, version: str = "") -> Trusted | None:
        """The authorities that the plane trusts; None when they are those of `version`, or it does not publish them.

        Raises PlaneUnreachable, PlaneNotTrusted, PlaneAnswerUnreadable, CertificateUnusable.
        """
        url = self._urls[Endpoint.DIRECTOR].removesuffix(_DIRECTOR_PATH) + TRUST_PATH
        headers = {"If-None-Match": f'"{version}"'} if version else {}
        try:
            async with self._opened().get(url, headers=headers, allow_redirects=False) as answer:
                body = await _read(answer, at_most=MOST_TRUSTED_BYTES, url=url)
                return Trusted.of(body) if answer.status == HTTPStatus.OK else None
        except aiohttp.ClientConnectorCertificateError as error:
            raise PlaneNotTrusted(url=url, why=_why(error)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise PlaneUnreachable(url=url, why=_why(error)) from error
        except (ValueError, KeyError, TypeError):
            raise PlaneAnswerUnreadable(url=url, status="200", why="it names no authorities") from None

    async def beat(self, report: Mapping[str, Any]) -> float | None:
        """Tell the plane that this caller lives. Seconds until the next is due; None when the plane takes none.

        Raises PlaneUnreachable, PlaneNotTrusted, PlaneAnswerUnreadable, CertificateUnusable.
        """
        url = self._urls[Endpoint.DIRECTOR].removesuffix(_DIRECTOR_PATH) + HEARTBEAT_PATH
        try:
            async with self._opened().post(url, json=dict(report), allow_redirects=False) as answer:
                body = await _read(answer, at_most=MAX_ANSWER_BYTES, url=url)
                status = answer.status
        except aiohttp.ClientConnectorCertificateError as error:
            raise PlaneNotTrusted(url=url, why=_why(error)) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise PlaneUnreachable(url=url, why=_why(error)) from error
        if status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
            return None
        try:
            return max(1.0, float(json.loads(body)["nextSeconds"]))
        except (ValueError, KeyError, TypeError):
            raise PlaneAnswerUnreadable(url=url, status=str(status), why="it is no answer to a heartbeat") from None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            certificate = self._credentials if isinstance(self._credentials, ClientCertificate) else None
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=self._trust.context(certificate), limit=20, keepalive_timeout=IDLE_SECONDS
                ),
                headers=self._headers,
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


async def _read(answer: aiohttp.ClientResponse, *, at_most: int, url: str) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_chunked(256 * 1024):
        body += chunk
        if len(body) > at_most:
            raise PlaneAnswerUnreadable(url=url, status=str(answer.status), why=f"it is longer than {at_most} bytes")
    return bytes(body)


def _pause(answer: aiohttp.ClientResponse) -> float | None:
    """Seconds after which the plane wants to be asked again, as it did nothing; None when it answered."""
    if answer.status != HTTPStatus.TOO_MANY_REQUESTS:
        return None
    asked = answer.headers.get("Retry-After", "")
    return float(asked) if asked.isdigit() else 1.0


def _why(error: BaseException) -> str:
    """What went wrong in the operating system's words; aiohttp's repeat the address and the whole context."""
    if isinstance(error, asyncio.TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return str(getattr(error.certificate_error, "verify_message", "") or error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorError):
        return why_unreachable(error.os_error)
    return str(error) or type(error).__name__
