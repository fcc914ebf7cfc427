"""How everything outside the plane speaks to it: one call, typed refusals, and no secret in any text.

Used by the command line, the agent, the demo and the console. Documents are the files of `client/documents/`.
"""

import asyncio
import hmac
import json
import re
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Self

import aiohttp

from compass.client.events import Happened, events
from compass.errors import Code, CompassError

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""The longest answer read. A page of 200 applications with all their APIs is below a tenth of this."""

_IDLE_SECONDS: Final = 4.0
"""An idle connection is not used again after this: servers close theirs after five seconds or more, and a mutation
that met the closing could not simply be sent again."""

_SILENT_SECONDS: Final = 30.0
"""A stream of events on which nothing came for this long is dead: the plane says something every ten seconds."""
_DIRECTOR_PATH: Final = "/director/graphql"
_EVENTS_PATH: Final = "/v1/events"

_MAX_ANCHOR_BYTES: Final = 256 * 1024
_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\s*", re.DOTALL)
_FIRST_LINE: Final = re.compile(r"# (director|connector|provisioner)\b")


class Endpoint(StrEnum):
    """The three GraphQL endpoints of a plane."""

    DIRECTOR = "director"
    CONNECTOR = "connector"
    PROVISIONER = "provisioner"


class PlaneUnreachable(CompassError):
    """No answer: the plane is down, the network is, or the time was not enough. Whether it acted is not known."""

    code = Code.OPERATION_TIMEOUT
    message = "the plane cannot be reached at {url}: {why}"
    retryable = True


class PlaneNotTrusted(CompassError):
    """The server's certificate does not lead to the trust anchor. Nothing was sent."""

    code = Code.UNAUTHORIZED
    message = "the server at {url} is not the plane that was expected: {why}; nothing was sent"


class PlaneAnswerUnreadable(CompassError):
    """Something answered, but not in GraphQL: a proxy's error page, a crash, a cut connection."""

    code = Code.INTERNAL
    message = "the answer from {url} is not a GraphQL answer (HTTP status {status}): {why}"
    retryable = True


class PlaneRefused(CompassError):
    """The plane understood and said no."""

    code = Code.INVALID_OPERATION
    message = "{reason}"

    def __init__(self, errors: list[dict[str, Any]], *, status: int) -> None:
        self.errors = errors
        """The `errors` of the answer, as sent."""
        self.status = status
        extensions = errors[0].get("extensions")
        number = extensions.get("error_code") if isinstance(extensions, dict) else None
        self.error_code: int | None = number if isinstance(number, int) else None
        """The plane's number for the first error (`compass.errors.Code`), when it gave one."""
        super().__init__(reason=str(errors[0].get("message") or "refused without a reason"))

    @property
    def unauthorized(self) -> bool:
        """True when the plane does not accept who is asking: trying again as the same caller is of no use.

        The original Connector gave its errors no code, so its sentence counts too.
        Source: contract/connector-agent-provisioner.md §B.5.
        """
        return (
            self.error_code == Code.UNAUTHORIZED
            or self.status in (401, 403)
            or "Failed to authenticate" in self.facts["reason"]
        )


class CertificateUnusable(CompassError):
    """The client's own certificate or key file cannot be used. Nothing was sent."""

    code = Code.INVALID_DATA
    message = "the client certificate {file} cannot be used: {why}"


class DocumentUnknown(CompassError):
    """No file of that name in `client/documents/`, or one whose first line does not name its endpoint."""

    code = Code.NOT_FOUND
    message = "there is no usable GraphQL document {name!r}"


@dataclass(frozen=True)
class Document:
    """One operation, and where it is sent."""

    endpoint: Endpoint
    text: str


@lru_cache(maxsize=256)
def document(name: str) -> Document:
    """The document of that name. Raises DocumentUnknown."""
    try:
        text = files("compass.client.documents").joinpath(f"{name}.graphql").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DocumentUnknown(name=name) from None
    first_line = _FIRST_LINE.match(text)
    if first_line is None:
        raise DocumentUnknown(name=name)
    return Document(Endpoint(first_line[1]), text)


@dataclass(frozen=True)
class Bearer:
    """An administrator's or a system's access token."""

    token: str = field(repr=False)


@dataclass(frozen=True)
class OneTimeToken:
    """What a client without a certificate pairs with, sent as `Connector-Token`."""

    token: str = field(repr=False)
    key_digest: str = ""
    """SHA-256 of the DER of the key it will have certified, sent as `Connector-Key-Digest`: a call whose answer was
    lost may then be made again."""


@dataclass(frozen=True)
class ClientCertificate:
    """PEM files: the certificate with its chain, and its key."""

    chain: Path
    key: Path


Credentials = Bearer | OneTimeToken | ClientCertificate | None


@dataclass(frozen=True)
class Trust:
    """Which servers are believed to be the plane."""

    anchors: str | None = None
    """PEM certificates; None means those of the operating system."""

    @classmethod
    def to(cls, anchors: str, *, pin: str | None = None) -> Self:
        """Believe servers whose chain ends in one of these PEM certificates.

        With a pin, the SHA-256 of a certificate's DER as hex, only the one certificate that has it.
        Raises PlaneNotTrusted when none has it, or when the text holds no certificate.
        """
        shown = {_fingerprint(pem): pem for pem in _CERTIFICATE.findall(anchors)}
        if not shown:
            raise PlaneNotTrusted(url="the trust anchor", why="it holds no certificate")
        if pin is None:
            return cls(anchors)
        expected = pin.lower().removeprefix("sha256:").replace(":", "")
        for fingerprint, pem in shown.items():
            if hmac.compare_digest(fingerprint.encode(), expected.encode()):
                return cls(pem)
        seen = ", ".join(f"sha256:{fingerprint}" for fingerprint in shown)
        raise PlaneNotTrusted(url="the trust anchor", why=f"it shows {seen}, expected is sha256:{expected}")

    def context(self, certificate: ClientCertificate | None = None) -> ssl.SSLContext:
        """A TLS client context: this trust, names checked, TLS 1.2 or later.

        Raises PlaneNotTrusted, CertificateUnusable.
        """
        try:
            context = ssl.create_default_context(cadata=self.anchors)
        except ssl.SSLError:
            raise PlaneNotTrusted(url="the trust anchor", why="it is not a PEM certificate") from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if certificate is not None:
            try:
                context.load_cert_chain(certificate.chain, certificate.key)
            except OSError as error:
                why = error.strerror or "unreadable"
                raise CertificateUnusable(file=str(certificate.chain), why=why) from error
        return context


def _fingerprint(pem: str) -> str:
    return sha256(ssl.PEM_cert_to_DER_cert(pem.strip())).hexdigest()


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
        """Send any GraphQL text and return `data` of the answer.

        Raises PlaneUnreachable, PlaneNotTrusted, PlaneAnswerUnreadable, PlaneRefused, CertificateUnusable.
        An answer with errors is a refusal, whatever data comes with it.
        """
        url = self._urls[endpoint]
        try:
            session = self._opened()
            async with session.post(
                url, json={"query": text, "variables": dict(variables or {})}, allow_redirects=False
            ) as answer:
                body = await _read(answer, at_most=MAX_ANSWER_BYTES, url=url)
                return _data(body, status=answer.status, url=url)
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
        url = self._urls[Endpoint.DIRECTOR].removesuffix(_DIRECTOR_PATH) + _EVENTS_PATH
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": after} if after else {})}
        timeout = aiohttp.ClientTimeout(total=None, connect=self._timeout.connect, sock_read=_SILENT_SECONDS)
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

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            certificate = self._credentials if isinstance(self._credentials, ClientCertificate) else None
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=self._trust.context(certificate), limit=20, keepalive_timeout=_IDLE_SECONDS
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


def _data(body: bytes, *, status: int, url: str) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        raise PlaneAnswerUnreadable(url=url, status=str(status), why="it is not JSON") from None
    if not isinstance(answer, dict):
        raise PlaneAnswerUnreadable(url=url, status=str(status), why="it is not a JSON object")
    errors = answer.get("errors")
    if isinstance(errors, list) and errors and all(isinstance(error, dict) for error in errors):
        raise PlaneRefused(errors, status=status)
    data = answer.get("data")
    if errors or not isinstance(data, dict):
        raise PlaneAnswerUnreadable(url=url, status=str(status), why="it holds neither data nor errors")
    return data


def _why(error: BaseException) -> str:
    """What went wrong in the operating system's words; aiohttp's repeat the address and the whole context."""
    if isinstance(error, asyncio.TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return str(getattr(error.certificate_error, "verify_message", "") or error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or type(error.os_error).__name__
    return str(error) or type(error).__name__
