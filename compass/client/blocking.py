"""One call after another to a plane, for commands: loaded in a third of the time that `client/graphql.py` takes.

The same documents, trust and refusals. A call waits for its answer; its connection is used again while it is warm.
"""

import json
import ssl
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Final, Self
from urllib.parse import urlsplit

from compass.client.events import Happened, Reader
from compass.client.protocol import (
    EVENTS_PATH,
    IDLE_SECONDS,
    MAX_ANSWER_BYTES,
    SILENT_SECONDS,
    Bearer,
    Endpoint,
    PlaneAnswerUnreadable,
    PlaneNotTrusted,
    PlaneUnreachable,
    Trust,
    data_of,
    document,
    why_unreachable,
)

_MAX_PAUSE_SECONDS: Final = 30.0
"""What a plane that is busy may ask us to wait before we ask again."""
_ASKED_AGAIN: Final = 5
"""Times. A plane that is busy for longer is a failure to whoever waits at a terminal."""
_MAX_LINE_BYTES: Final = 1024 * 1024


class BlockingPlane:
    """A connection to one plane as one caller. Close it, or use it as a context manager."""

    def __init__(
        self,
        base_url: str,
        *,
        trust: Trust,
        credentials: Bearer,
        tenant: str | None = None,
        timeout: timedelta = timedelta(seconds=30),
    ) -> None:
        """`base_url` is the token port, `tenant` the tenant's external id. `timeout` covers each step of a call."""
        self._base = base_url.rstrip("/")
        self._trust = trust
        self._headers = {"Accept": "application/json", "Authorization": f"Bearer {credentials.token}"}
        if tenant is not None:
            self._headers["Tenant"] = tenant
        self._timeout = timeout.total_seconds()
        self._connection: HTTPSConnection | None = None
        self._used_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. The next call opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def send(self, name: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send the document of that name and return `data` of the answer. Raises as `ask` does, DocumentUnknown."""
        found = document(name)
        return self.ask(found.endpoint, found.text, variables)

    def ask(self, endpoint: Endpoint, text: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send any GraphQL text and return `data` of the answer. A plane that asks for patience is asked again.

        Raises PlaneUnreachable, PlaneNotTrusted, PlaneAnswerUnreadable, PlaneRefused.
        """
        url = f"{self._base}/{endpoint}/graphql"
        body = json.dumps({"query": text, "variables": dict(variables or {})}).encode()
        headers = {**self._headers, "Content-Type": "application/json"}
        answer, content = self._posted(url, body, headers)
        for _ in range(_ASKED_AGAIN):
            if answer.status != HTTPStatus.TOO_MANY_REQUESTS:
                break
            time.sleep(_pause(answer))
            answer, content = self._posted(url, body, headers)
        request_id = answer.headers.get("X-Request-Id", "")
        return data_of(content, status=answer.status, url=url, request_id=request_id)

    def events(self, after: str | None = None) -> Iterator[Happened]:
        """What happens that this caller may know of; see `client.graphql.Plane.events`."""
        url = f"{self._base}{EVENTS_PATH}"
        headers = {**self._headers, "Accept": "text/event-stream", **({"Last-Event-ID": after} if after else {})}
        self.close()
        answer = self._requested("GET", url, None, headers)
        if answer.status != HTTPStatus.OK or answer.headers.get_content_type() != "text/event-stream":
            raise PlaneAnswerUnreadable(url=url, status=str(answer.status), why="it is no stream of events")
        if self._connection is not None and self._connection.sock is not None:
            self._connection.sock.settimeout(SILENT_SECONDS)
        reader = Reader()
        try:
            while line := answer.readline(_MAX_LINE_BYTES):
                if (happened := reader.take(line)) is not None:
                    yield happened
        except (OSError, HTTPException) as error:
            raise PlaneUnreachable(url=url, why=_why(error)) from error
        finally:
            self.close()

    def _posted(self, url: str, body: bytes, headers: dict[str, str]) -> tuple[HTTPResponse, bytes]:
        answer = self._requested("POST", url, body, headers)
        content = self._read(answer, url)
        self._used_at = time.monotonic()
        return answer, content

    def _requested(self, method: str, url: str, body: bytes | None, headers: dict[str, str]) -> HTTPResponse:
        try:
            connection = self._open()
            connection.request(method, urlsplit(url).path, body, headers)
            return connection.getresponse()
        except ssl.SSLCertVerificationError as error:
            self.close()
            raise PlaneNotTrusted(url=url, why=error.verify_message) from error
        except (OSError, HTTPException, ValueError) as error:
            self.close()
            raise PlaneUnreachable(url=url, why=_why(error)) from error

    def _read(self, answer: HTTPResponse, url: str) -> bytes:
        try:
            content = answer.read(MAX_ANSWER_BYTES + 1)
        except (OSError, HTTPException) as error:
            self.close()
            raise PlaneUnreachable(url=url, why=_why(error)) from error
        if len(content) > MAX_ANSWER_BYTES:
            self.close()
            why = f"it is longer than {MAX_ANSWER_BYTES} bytes"
            raise PlaneAnswerUnreadable(url=url, status=str(answer.status), why=why)
        return content

    def _open(self) -> HTTPSConnection:
        if self._connection is None or time.monotonic() - self._used_at > IDLE_SECONDS:
            self.close()
            target = urlsplit(self._base)
            context = self._trust.context()
            self._connection = HTTPSConnection(
                target.hostname or "", target.port, timeout=self._timeout, context=context
            )
        return self._connection


def _pause(answer: HTTPResponse) -> float:
    """Seconds that the plane asks us to wait."""
    asked = answer.headers.get("Retry-After", "")
    return min(float(asked), _MAX_PAUSE_SECONDS) if asked.isdigit() else 1.0


def _why(error: BaseException) -> str:
    return why_unreachable(error) if isinstance(error, OSError) else str(error) or type(error).__name__
