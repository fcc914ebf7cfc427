"""What every test of the command line needs: a home of its own, and a server that signs people in.

The server stands for any plane, so that a command's own answers to refusals, wrong pins, wrong clocks and silence
can be seen without one. `tenant` is a part of a real one, for the commands that read and change the landscape.
"""

import asyncio
import json
import ssl
import threading
import uuid
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from compass.cli import context as contexts
from compass.cli.context import Context
from compass.cli.main import run
from tests.e2e.plane import DEFAULT_TENANT, Plane

if TYPE_CHECKING:
    import asyncpg


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home and working folder; nothing of this machine's configuration is seen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_COLOR", "1")
    for name in (
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
        "XDG_DATA_HOME",
        "COMPASS_TOKEN",
        "COMPASS_SECRET",
        "COMPASS_CONTEXT",
    ):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@dataclass
class Answering:
    """A server on loopback: what it has heard, and how it answers."""

    url: str = ""
    ca_pem: str = ""
    pin: str = ""
    ahead: timedelta = timedelta(0)
    """How far its clock is ahead of ours."""
    answer: dict[str, Any] = field(default_factory=lambda: {"data": {"viewer": {"id": "admin"}}})
    heard: list[tuple[str, dict[str, str], str]] = field(default_factory=list)
    """Path, headers in lower case, body."""

    def respond(self, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        """The status and body for one request."""
        if path == "/ca.pem":
            return 200, self.ca_pem.encode()
        if path == "/livez":
            return 200, b""
        if path == "/oauth2/token":
            good = b64decode(headers["authorization"].removeprefix("Basic ")) == b"admin:correct"
            return (200, b'{"access_token": "t0k3n", "expires_in": 60}') if good else (401, b"{}")
        return 200, json.dumps(self.answer).encode()


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Answering]:
    """A server with a certificate of an authority of its own."""
    answering = Answering()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {key.lower(): value for key, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0))).decode()
            answering.heard.append((self.path, headers, body))
            status, content = answering.respond(self.path, headers)
            self.send_response_only(status)
            self.send_header("Date", format_datetime(datetime.now(UTC) + answering.ahead, usegmt=True))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815  # the name http.server looks for

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca, chain = _certificates()
    (tmp_path / "server.pem").write_bytes(chain)
    context.load_cert_chain(tmp_path / "server.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    answering.url = f"https://127.0.0.1:{server.server_port}"
    answering.ca_pem = ca
    answering.pin = f"sha256:{sha256(ssl.PEM_cert_to_DER_cert(ca)).hexdigest()}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield answering
    server.shutdown()
    thread.join()
    server.server_close()


def _certificates() -> tuple[str, bytes]:
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    now = datetime.now(UTC)

    def begun(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
        )

    authority = (
        begun(authority_name, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    leaf = (
        begun(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")]), key.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return authority.public_bytes(Encoding.PEM).decode(), leaf.public_bytes(Encoding.PEM) + private


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its data, when it succeeded."""
        assert self.code == 0, self
        return json.loads(self.out)


Cli = Callable[..., Ended]
"""Runs a command in this process: `cli("app", "list")`."""
InThread = Callable[..., Awaitable[Ended]]
"""The same, in a thread."""


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """The command line, as this test's home has it."""

    def call(*arguments: str) -> Ended:
        capsys.readouterr()
        code = run(list(arguments))
        shown = capsys.readouterr()
        return Ended(int(code), shown.out, shown.err)

    return call


@pytest.fixture
def in_thread(cli: Cli) -> InThread:
    """As `cli`, for tests with an event loop and for commands that have one of their own."""
    return lambda *arguments: asyncio.to_thread(cli, *arguments)


@pytest.fixture(scope="session")
async def running_plane(
    cluster: "asyncpg.Connection[asyncpg.Record]", cluster_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Plane]:
    """A real plane as a process, for all tests of the command line in this test process."""
    await cluster.execute("CREATE DATABASE plane_of_cli")
    dsn = urlunsplit(urlsplit(cluster_dsn)._replace(path="/plane_of_cli"))
    async with Plane(tmp_path_factory.mktemp("plane"), settings={"COMPASS_DATABASE__DSN": dsn}) as plane:
        yield plane
    assert "Traceback" not in plane.log, plane.log[-4000:]
    await cluster.execute("DROP DATABASE plane_of_cli WITH (FORCE)")


@pytest.fixture
def tenant(running_plane: Plane, cli: Cli) -> str:
    """A tenant of this test's own in the real plane, in which `cli` is signed in as the administrator."""
    anchor = running_plane.anchor.read_text()
    pin = f"sha256:{sha256(ssl.PEM_cert_to_DER_cert(anchor)).hexdigest()}"
    secret = running_plane.anchor.with_name("local.secret").read_text().strip()
    name = f"tenant-{uuid.uuid4().hex[:12]}"
    local = Context(name="local", url=running_plane.token_url, ca_pin=pin, client_id="admin", tenant=DEFAULT_TENANT)
    contexts.keep(local, secret=secret, anchor=anchor)
    assert cli("tenant", "create", name).code == 0
    contexts.keep(replace(local, tenant=name), secret=secret, anchor=anchor)
    return name
