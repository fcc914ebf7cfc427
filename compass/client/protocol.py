"""What speaking to a plane means, whoever does it: endpoints, documents, credentials, trust, and typed refusals.

Without a line of networking, so that a command may use it that has no time to load an HTTP library.
"""

import hmac
import json
import os
import re
import ssl
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Self

from compass.errors import Code, CompassError

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""The longest answer read. A page of 200 applications with all their APIs is below a tenth of this."""
IDLE_SECONDS: Final = 4.0
"""An idle connection is not used again after this: servers close theirs after five seconds or more, and a mutation
that met the closing could not simply be sent again."""
SILENT_SECONDS: Final = 30.0
"""A stream of events on which nothing came for this long is dead: the plane says something every ten seconds."""
EVENTS_PATH: Final = "/v1/events"
HEARTBEAT_PATH: Final = "/v1/heartbeat"

_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\s*", re.DOTALL)
_FIRST_LINE: Final = re.compile(r"# (director|connector|provisioner)\b")
_SPREAD: Final = re.compile(r"\.\.\.\s*([A-Z]\w*)")


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

    def __init__(self, errors: list[dict[str, Any]], *, status: int, request_id: str = "") -> None:
        self.errors = errors
        """The `errors` of the answer, as sent."""
        self.status = status
        self.request_id = request_id
        """Under which the plane's log has it; empty when the plane did not say."""
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
def document(name: str, package: str = "compass.client.documents") -> Document:
    """The document of that name, with the fragments of `client/documents/fragments/` that it spreads.

    Raises DocumentUnknown.
    """
    try:
        text = files(package).joinpath(f"{name}.graphql").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DocumentUnknown(name=name) from None
    first_line = _FIRST_LINE.match(text)
    if first_line is None:
        raise DocumentUnknown(name=name)
    return Document(Endpoint(first_line[1]), _with_fragments(text))


def _with_fragments(text: str) -> str:
    known: set[str] = set()
    while True:
        lacking = sorted(set(_SPREAD.findall(text)) - known)
        if not lacking:
            return text
        for name in lacking:
            known.add(name)
            if f"fragment {name} on " not in text:
                text += files("compass.client.documents").joinpath(f"fragments/{name}.graphql").read_text("utf-8")


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


def why_unreachable(error: OSError) -> str:
    """Why a connection failed, in the operating system's words; a library's repeat the address and its own state."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"TLS failed, {error.reason.replace('_', ' ').lower()}"
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__


def _fingerprint(pem: str) -> str:
    return sha256(ssl.PEM_cert_to_DER_cert(pem.strip())).hexdigest()


def data_of(body: bytes, *, status: int, url: str, request_id: str = "") -> dict[str, Any]:
    """`data` of a GraphQL answer. Raises PlaneRefused, PlaneAnswerUnreadable."""
    try:
        answer = json.loads(body)
    except ValueError:
        raise PlaneAnswerUnreadable(url=url, status=str(status), why="it is not JSON") from None
    if not isinstance(answer, dict):
        raise PlaneAnswerUnreadable(url=url, status=str(status), why="it is not a JSON object")
    errors = answer.get("errors")
    if isinstance(errors, list) and errors and all(isinstance(error, dict) for error in errors):
        raise PlaneRefused(errors, status=status, request_id=request_id)
    data = answer.get("data")
    if errors or not isinstance(data, dict):
        raise PlaneAnswerUnreadable(url=url, status=str(status), why="it holds neither data nor errors")
    return data
