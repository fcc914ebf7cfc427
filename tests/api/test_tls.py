import asyncio
import hashlib
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from compass.api.tls import CannotListen, Door, Identity, MutualDoor, PortTaken, TokenDoor, serve

DAY = timedelta(days=1)
BOTH_VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


# --- an authority of the test's own: this module knows no domain ---


def name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


@dataclass
class Signer:
    common_name: str
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


@dataclass
class Leaf:
    certificate: x509.Certificate
    identity: Identity

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)


def sign(
    common_name: str,
    issuer: Signer | None,
    *,
    usage: x509.ObjectIdentifier | None,
    not_after: timedelta = DAY,
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer_key = issuer.key if issuer else key
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(common_name))
        .issuer_name(name(issuer.common_name if issuer else common_name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 2 * DAY)
        .not_valid_after(now + not_after)
        .add_extension(x509.BasicConstraints(ca=usage is None, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(usage is not None, False, False, False, False, usage is None, False, False, False),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False).add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False
        )
    return key, builder.sign(issuer_key, hashes.SHA256())


def signer(common_name: str, issuer: Signer | None = None) -> Signer:
    return Signer(common_name, *sign(common_name, issuer, usage=None))


def leaf(common_name: str, issuer: Signer, usage: x509.ObjectIdentifier, not_after: timedelta = DAY) -> Leaf:
    key, certificate = sign(common_name, issuer, usage=usage, not_after=not_after)
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    chain = certificate.public_bytes(serialization.Encoding.PEM).decode() + issuer.pem
    return Leaf(certificate, Identity(chain, key_pem))


def client_leaf(common_name: str, issuer: Signer, not_after: timedelta = DAY) -> Leaf:
    return leaf(common_name, issuer, ExtendedKeyUsageOID.CLIENT_AUTH, not_after)


def server_leaf(issuer: Signer) -> Leaf:
    return leaf("localhost", issuer, ExtendedKeyUsageOID.SERVER_AUTH)


ROOT = signer("root")
ISSUING = signer("issuing", ROOT)
SIBLING = signer("sibling", ROOT)
FOREIGN = signer("issuing")
SERVER = server_leaf(ISSUING)
CLIENT = client_leaf("client", ISSUING)


# --- an application, and a client that shows every byte ---


@dataclass
class App:
    seen: list[dict[str, Any]] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    hold: asyncio.Event | None = None

    async def __call__(self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        self.seen.append({**scope, "body": body})
        self.asked.set()
        if self.hold is not None:
            await self.hold.wait()
        peer = scope["state"]["peer_der"]
        answer = b"nobody" if peer is None else hashlib.sha256(peer).hexdigest().encode()
        headers = [(b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


def client_context(
    tmp_path: Path, shown: Leaf | None = None, *, version: ssl.TLSVersion | None = None, anchor: Signer = ROOT
) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=anchor.pem)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if shown is not None:
        path = tmp_path / "client.pem"
        path.write_text(shown.identity.chain_pem + shown.identity.key_pem)
        context.load_cert_chain(path)
    return context


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, raw: bytes = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n") -> tuple[int, bytes]:
        self.writer.write(raw)
        await self.writer.drain()
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(head.split()[1]), await self.reader.readexactly(length)

    @property
    def shown(self) -> bytes:
        der: bytes = self.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return der


@asynccontextmanager
async def connected(port: int, context: ssl.SSLContext) -> Any:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    try:
        yield Connection(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


def mutual() -> MutualDoor:
    return MutualDoor(SERVER.identity, authorities_pem=ISSUING.pem)


async def refused(port: int, context: ssl.SSLContext) -> None:
    """The listener hangs up on such a client; in TLS 1.3 the client learns of it only when it reads."""
    with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
        async with connected(port, context) as connection:
            await connection.ask()


@BOTH_VERSIONS
async def test_the_token_port_asks_for_no_certificate(tmp_path: Path, version: ssl.TLSVersion) -> None:
    app = App()
    async with serve(app, host="127.0.0.1", port=0, context=TokenDoor(SERVER.identity)) as listener:
        for shown in (None, CLIENT, client_leaf("x", FOREIGN)):
            async with connected(listener.port, client_context(tmp_path, shown, version=version)) as connection:
                assert await connection.ask() == (200, b"nobody")
                assert connection.shown == SERVER.der
    assert [seen["state"]["peer_der"] for seen in app.seen] == [None, None, None]
    assert app.seen[0]["scheme"] == "https"


@BOTH_VERSIONS
async def test_the_mtls_port_shows_the_clients_certificate_on_every_request_of_a_connection(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    app = App()
    other = client_leaf("other", ISSUING)
    async with serve(app, host="127.0.0.1", port=0, context=mutual()) as listener, AsyncExitStack() as stack:
        connections = [
            (
                who,
                await stack.enter_async_context(
                    connected(listener.port, client_context(tmp_path, who, version=version))
                ),
            )
            for who in (CLIENT, other, CLIENT)
        ]
        for _ in range(3):
            for who, connection in connections:
                assert await connection.ask() == (200, hashlib.sha256(who.der).hexdigest().encode())
    assert len(app.seen) == 9
    assert {seen["state"]["peer_der"] for seen in app.seen} == {CLIENT.der, other.der}


def handshake(
    server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """A finished handshake in memory, with the first bytes exchanged and an orderly end: (client side, server side)."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_side = server.wrap_bio(to_server, to_client, server_side=True)
    client_side = client.wrap_bio(to_client, to_server, server_hostname="localhost", session=session)
    unfinished = [client_side, server_side]
    while unfinished:
        for side in list(unfinished):
            try:
                side.do_handshake()
                unfinished.remove(side)
            except ssl.SSLWantReadError:
                pass
    server_side.write(b"x")
    assert client_side.read(1) == b"x"
    for side in (client_side, server_side, client_side):
        with suppress(ssl.SSLWantReadError):
            side.unwrap()
    return client_side, server_side


@BOTH_VERSIONS
@pytest.mark.parametrize(
    ("shown", "why"),
    [
        (None, "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
        (client_leaf("client", FOREIGN), "certificate verify failed: self-signed certificate in certificate chain"),
        (client_leaf("client", signer("elsewhere")), "certificate verify failed: (unable to get|self-signed)"),
        (client_leaf("client", SIBLING), "certificate verify failed: unable to get"),
        (client_leaf("client", ROOT), "certificate verify failed: (unable to get|self-signed)"),
        (SERVER, "certificate verify failed: unsuitable certificate purpose"),
        (client_leaf("client", ISSUING, not_after=-timedelta(minutes=1)), "certificate has expired"),
    ],
    ids=["none", "same name, foreign key", "foreign", "sibling authority", "the root", "a server's", "expired"],
)
async def test_the_mtls_port_ends_the_handshake_of_whoever_has_no_good_certificate(
    tmp_path: Path, version: ssl.TLSVersion, shown: Leaf | None, why: str
) -> None:
    app = App()
    context = client_context(tmp_path, shown, version=version)
    with pytest.raises(ssl.SSLError, match=why):
        handshake(mutual(), context)
    async with serve(app, host="127.0.0.1", port=0, context=mutual()) as listener:
        await refused(listener.port, context)
        async with connected(listener.port, client_context(tmp_path, CLIENT, version=version)) as connection:
            assert (await connection.ask())[0] == 200
    assert len(app.seen) == 1


@BOTH_VERSIONS
def test_no_session_is_ever_resumed_on_the_mtls_port(tmp_path: Path, version: ssl.TLSVersion) -> None:
    door = mutual()
    client = client_context(tmp_path, CLIENT, version=version)
    for _ in range(5):
        first, _server = handshake(door, client)
        second, server_side = handshake(door, client, first.session)
        assert not second.session_reused
        assert server_side.getpeercert(binary_form=True) == CLIENT.der


def test_one_shared_context_would_resume_sessions_without_tickets(tmp_path: Path) -> None:
    """Why each connection has a context of its own. When this fails, Python has got a switch: use it."""
    shared = mutual()._context()
    client = client_context(tmp_path, CLIENT, version=ssl.TLSVersion.TLSv1_2)
    first, _server = handshake(shared, client)
    second, _server = handshake(shared, client, first.session)
    assert second.session_reused


@pytest.mark.parametrize("door", [TokenDoor(SERVER.identity), mutual()])
def test_old_versions_and_weak_suites_find_no_common_ground(tmp_path: Path, door: Door) -> None:
    def attempt(**settings: Any) -> str:
        client = client_context(tmp_path, CLIENT)
        for key, value in settings.items():
            if key == "ciphers":
                client.set_ciphers(f"{value}:@SECLEVEL=0")
            else:
                setattr(client, key, value)
        side, _server = handshake(door, client)
        cipher = side.cipher()
        assert cipher is not None
        return cipher[0]

    assert attempt() == "TLS_AES_256_GCM_SHA384"
    old = ssl.TLSVersion.TLSv1_2
    assert attempt(maximum_version=old, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256") == "ECDHE-ECDSA-AES128-GCM-SHA256"
    assert attempt(maximum_version=old, ciphers="ECDHE-ECDSA-CHACHA20-POLY1305") == "ECDHE-ECDSA-CHACHA20-POLY1305"
    for weak in ("ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384", "AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-CCM"):
        with pytest.raises(ssl.SSLError, match="NO_SHARED_CIPHER"):
            attempt(maximum_version=old, ciphers=weak)
    client = client_context(tmp_path, CLIENT)
    client.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        handshake(door, client)


async def test_an_exchanged_identity_shows_on_new_connections_and_leaves_open_ones_alone(tmp_path: Path) -> None:
    renewed = server_leaf(ISSUING)
    for door, shown in ((TokenDoor(SERVER.identity), None), (mutual(), CLIENT)):
        context = client_context(tmp_path, shown)
        async with (
            serve(App(), host="127.0.0.1", port=0, context=door) as listener,
            connected(listener.port, context) as before,
        ):
            assert (await before.ask())[0] == 200
            if isinstance(door, MutualDoor):
                door.exchange(renewed.identity, authorities_pem=ISSUING.pem)
            else:
                assert isinstance(door, TokenDoor)
                door.exchange(renewed.identity)
            async with connected(listener.port, context) as after:
                assert (await after.ask())[0] == 200
                assert after.shown == renewed.der
            assert (await before.ask())[0] == 200
            assert before.shown == SERVER.der


async def test_exchanged_authorities_decide_on_new_connections(tmp_path: Path) -> None:
    door = mutual()
    siblings_client = client_leaf("client", SIBLING)
    async with serve(App(), host="127.0.0.1", port=0, context=door) as listener:
        await refused(listener.port, client_context(tmp_path, siblings_client))
        door.exchange(SERVER.identity, authorities_pem=ISSUING.pem + SIBLING.pem)
        for who in (CLIENT, siblings_client):
            async with connected(listener.port, client_context(tmp_path, who)) as connection:
                assert (await connection.ask())[0] == 200
        door.exchange(SERVER.identity, authorities_pem=SIBLING.pem)
        await refused(listener.port, client_context(tmp_path, CLIENT))


def test_an_identity_that_does_not_load_is_refused_at_once_and_the_old_one_stays(tmp_path: Path) -> None:
    other = server_leaf(ISSUING)
    for door in (TokenDoor(SERVER.identity), mutual()):
        more = {"authorities_pem": ISSUING.pem} if isinstance(door, MutualDoor) else {}
        for bad in (Identity(SERVER.identity.chain_pem, other.identity.key_pem), Identity("", ""), Identity("x", "y")):
            with pytest.raises(ssl.SSLError):
                door.exchange(bad, **more)
        client, _server = handshake(door, client_context(tmp_path, CLIENT))
        assert client.getpeercert(binary_form=True) == SERVER.der
    assert SERVER.identity.key_pem not in repr(SERVER.identity)


def test_a_mutual_door_without_an_authority_is_refused() -> None:
    with pytest.raises((ssl.SSLError, ValueError)):
        MutualDoor(SERVER.identity, authorities_pem="")


async def test_a_taken_port_is_named_with_what_to_do(tmp_path: Path) -> None:
    app = App()
    async with serve(app, host="127.0.0.1", port=0, context=TokenDoor(SERVER.identity)) as listener:
        with pytest.raises(PortTaken) as refusal:
            async with serve(App(), host="127.0.0.1", port=listener.port, context=TokenDoor(SERVER.identity)):
                pytest.fail("served")
        assert str(refusal.value) == (
            f"port {listener.port} on 127.0.0.1 is taken by another process: "
            "stop that one, or choose another port (0 for any)"
        )
        async with connected(listener.port, client_context(tmp_path)) as connection:
            assert (await connection.ask())[0] == 200
    # and once it is free, it can be had again at once
    async with serve(app, host="127.0.0.1", port=listener.port, context=TokenDoor(SERVER.identity)) as again:
        assert again.port == listener.port


async def test_an_address_that_is_not_this_machines_is_refused_with_the_systems_reason() -> None:
    with pytest.raises(CannotListen, match=r"port 0 of 192\.0\.2\.1: Cannot assign requested address"):
        async with serve(App(), host="192.0.2.1", port=0, context=TokenDoor(SERVER.identity)):
            pytest.fail("served")


async def test_ipv6_is_served() -> None:
    async with serve(App(), host="::1", port=0, context=TokenDoor(SERVER.identity)) as listener:
        with socket.create_connection(("::1", listener.port), timeout=5):
            pass


async def test_signals_stay_the_processs_own_business() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with serve(App(), host="127.0.0.1", port=0, context=TokenDoor(SERVER.identity)):
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_what_is_being_answered_is_finished_before_the_block_ends(tmp_path: Path) -> None:
    app = App(hold=asyncio.Event())
    async with AsyncExitStack() as stack:
        listener = await stack.enter_async_context(
            serve(app, host="127.0.0.1", port=0, context=TokenDoor(SERVER.identity))
        )
        async with connected(listener.port, client_context(tmp_path)) as busy:
            answer = asyncio.create_task(busy.ask())
            await app.asked.wait()
            stopping = asyncio.create_task(stack.aclose())
            await asyncio.sleep(0.3)
            assert not stopping.done()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", listener.port)
            assert app.hold is not None
            app.hold.set()
            assert await answer == (200, b"nobody")
            await stopping


async def test_an_idle_connection_does_not_hold_up_the_end(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        listener = await stack.enter_async_context(serve(App(), host="127.0.0.1", port=0, context=mutual()))
        async with connected(listener.port, client_context(tmp_path, CLIENT)) as idle:
            await idle.ask()
            began = asyncio.get_running_loop().time()
            await stack.aclose()
            assert asyncio.get_running_loop().time() - began < 2


async def test_a_head_without_end_is_refused_and_the_application_not_asked(tmp_path: Path) -> None:
    app = App()
    async with serve(app, host="127.0.0.1", port=0, context=TokenDoor(SERVER.identity)) as listener:
        for endless in (
            b"GET /" + b"a" * 100_000,
            b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * 100_000,
            b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000,
        ):
            async with connected(listener.port, client_context(tmp_path)) as connection:
                assert (await connection.ask(endless))[0] == 431
                assert await connection.reader.read() == b""
        # A large head is fine, a larger body too, and the count starts anew with each request.
        async with connected(listener.port, client_context(tmp_path)) as connection:
            for _ in range(5):
                fine = (
                    b"POST / HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * 30_000 + b"\r\ncontent-length: 200000\r\n\r\n"
                )
                assert await connection.ask(fine + b"b" * 200_000) == (200, b"nobody")
    assert [len(seen["body"]) for seen in app.seen] == [200_000] * 5


async def test_who_is_connected_cannot_be_said_in_a_header(tmp_path: Path) -> None:
    app = App()
    claims = b"".join(
        b"%s: %s\r\n" % (header, hashlib.sha256(CLIENT.der).hexdigest().encode())
        for header in (b"peer_der", b"Peer-Der", b"X-Forwarded-Client-Cert", b"Certificate-Data", b"x-forwarded-for")
    )
    async with (
        serve(app, host="127.0.0.1", port=0, context=TokenDoor(SERVER.identity)) as listener,
        connected(listener.port, client_context(tmp_path)) as connection,
    ):
        assert await connection.ask(b"GET / HTTP/1.1\r\nhost: localhost\r\n" + claims + b"\r\n") == (200, b"nobody")
        assert app.seen[0]["client"] == ("127.0.0.1", connection.writer.get_extra_info("sockname")[1])
        head = b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
        trailing = head + b"1\r\nx\r\n0\r\nConnector-Token: t\r\n\r\n"
        assert await connection.ask(trailing) == (200, b"nobody")
        assert b"connector-token" not in dict(app.seen[1]["headers"])
        assert app.seen[1]["body"] == b"x"


async def test_plain_http_is_not_answered() -> None:
    app = App()
    async with serve(app, host="127.0.0.1", port=0, context=TokenDoor(SERVER.identity)) as listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert b"HTTP" not in await reader.read()
        writer.close()
    assert app.seen == []


async def test_it_is_the_same_on_uvloop(tmp_path: Path) -> None:
    """The plane runs on uvloop, whose TLS is an implementation of its own; the tests' event loop is asyncio's."""

    async def scenario() -> None:
        assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
        app = App()
        door = mutual()
        async with serve(app, host="127.0.0.1", port=0, context=door) as listener:
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                await refused(listener.port, client_context(tmp_path, None, version=version))
                await refused(listener.port, client_context(tmp_path, client_leaf("x", FOREIGN), version=version))
                async with connected(listener.port, client_context(tmp_path, CLIENT, version=version)) as connection:
                    for _ in range(2):
                        assert await connection.ask() == (200, hashlib.sha256(CLIENT.der).hexdigest().encode())
            renewed = server_leaf(ISSUING)
            door.exchange(renewed.identity, authorities_pem=ISSUING.pem)
            async with connected(listener.port, client_context(tmp_path, CLIENT)) as connection:
                assert connection.shown == renewed.der
            async with connected(listener.port, client_context(tmp_path, CLIENT)) as connection:
                assert (await connection.ask(b"GET /" + b"a" * 400_000))[0] == 431
        assert len(app.seen) == 4

    await asyncio.to_thread(lambda: uvloop.run(scenario()))
