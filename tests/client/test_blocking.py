"""The client of commands, over real TLS: it trusts one authority, reads no more than it may, and waits when asked."""

import json
import ssl
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from compass.client import blocking
from compass.client.blocking import BlockingPlane
from compass.client.events import Happened
from compass.client.protocol import (
    Bearer,
    Endpoint,
    PlaneAnswerUnreadable,
    PlaneNotTrusted,
    PlaneRefused,
    PlaneUnreachable,
    Trust,
)
from tests.cli.conftest import _certificates

GOOD: tuple[int, dict[str, str], bytes] = (200, {}, b'{"data": {"viewer": {"id": "a"}}}')


class Server:
    """Answers each request with the next of `answers`, the last one again and again, and remembers what it heard."""

    def __init__(self, folder: Path) -> None:
        self.answers: list[tuple[int, dict[str, str], bytes]] = [GOOD]
        self.heard: list[tuple[str, dict[str, str], bytes]] = []
        self.connections = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                outer.connections += 1
                super().setup()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.heard.append((self.path, {key.lower(): value for key, value in self.headers.items()}, body))
                status, headers, content = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                self.send_response_only(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                if "Content-Type" not in headers:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                self.close_connection = "Content-Type" in headers

            do_GET = do_POST  # noqa: N815  # the name http.server looks for

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.ca, chain = _certificates()
        (folder / "server.pem").write_bytes(chain)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem")
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_port}"

    def plane(self, ca: str | None = None, **more: timedelta) -> BlockingPlane:
        """A client of it."""
        return BlockingPlane(self.url, trust=Trust.to(ca or self.ca), credentials=Bearer("t0k3n"), tenant="t", **more)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    thread = threading.Thread(target=server.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.server.shutdown()
    thread.join()
    server.server.server_close()


def test_calls_share_a_connection_and_say_who_asks_in_which_tenant(server: Server) -> None:
    with server.plane() as plane:
        for _ in range(3):
            assert plane.send("Viewer") == {"viewer": {"id": "a"}}

    assert server.connections == 1
    path, headers, body = server.heard[0]
    assert path == "/director/graphql"
    assert (headers["authorization"], headers["tenant"]) == ("Bearer t0k3n", "t")
    assert json.loads(body)["variables"] == {}


def test_an_idle_connection_is_not_used_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "IDLE_SECONDS", -1.0)
    with server.plane() as plane:
        plane.send("Viewer")
        plane.send("Viewer")

    assert server.connections == 2


def test_a_server_of_another_authority_hears_nothing(server: Server) -> None:
    other, _ = _certificates()

    with pytest.raises(PlaneNotTrusted), server.plane(ca=other) as plane:
        plane.send("Viewer")

    assert server.heard == []


def test_a_refusal_names_its_request(server: Server) -> None:
    server.answers = [(200, {"X-Request-Id": "r-1"}, b'{"errors": [{"message": "no"}]}')]

    with server.plane() as plane, pytest.raises(PlaneRefused) as refused:
        plane.ask(Endpoint.CONNECTOR, "{ a }")

    assert (refused.value.request_id, server.heard[0][0]) == ("r-1", "/connector/graphql")


def test_a_busy_plane_is_asked_again_after_the_time_that_it_says(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    server.answers = [(429, {"Retry-After": "2"}, b"{}"), (429, {"Retry-After": "9999"}, b"{}"), (429, {}, b"{}"), GOOD]

    with server.plane() as plane:
        assert plane.send("Viewer") == {"viewer": {"id": "a"}}

    assert slept == [2.0, 30.0, 1.0]


def test_a_plane_that_stays_busy_is_a_failure(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    server.answers = [(429, {}, b'{"errors": [{"message": "busy"}]}')]

    with server.plane() as plane, pytest.raises(PlaneRefused, match="busy"):
        plane.send("Viewer")

    assert len(server.heard) == 6


def test_an_answer_that_is_too_long_is_not_read_on(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "MAX_ANSWER_BYTES", 10)

    with server.plane() as plane, pytest.raises(PlaneAnswerUnreadable, match="longer than 10 bytes"):
        plane.send("Viewer")


def test_a_plane_that_is_not_there_or_no_address_at_all_cannot_be_reached(server: Server) -> None:
    for url in ("https://127.0.0.1:1", "https://127.0.0.1:99999", "https://no.such.host.invalid"):
        server.url = url
        with server.plane() as plane, pytest.raises(PlaneUnreachable):
            plane.send("Viewer")


def test_a_stream_is_read_event_by_event_from_where_one_was(server: Server) -> None:
    body = b":\n\nid: 7-0\nevent: A\ndata: {}\n\nid: 8-0\nevent: B\nda"
    server.answers = [(200, {"Content-Type": "text/event-stream"}, body)]

    with server.plane() as plane:
        assert list(plane.events("6-0")) == [Happened("", "", ""), Happened("7-0", "A", "{}")]

    path, headers, _ = server.heard[0]
    assert (path, headers["last-event-id"]) == ("/v1/events", "6-0")


def test_what_is_no_stream_is_refused(server: Server) -> None:
    with server.plane() as plane, pytest.raises(PlaneAnswerUnreadable, match="no stream"):
        list(plane.events())
