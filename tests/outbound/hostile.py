"""Receivers that misbehave, on real loopback sockets, and the witness of every connect this process makes."""

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from compass.outbound.addresses import Address

CONNECTS: list[str] = []
"""The address of every `socket.connect` since the last `CONNECTS.clear()`. A hook cannot be removed, so it is one."""


def _witness(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        CONNECTS.append(str(arguments[1][0]))


sys.addaudithook(_witness)

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""What a receiver does once it has read the head of a request and its body."""


@dataclass
class Receiver:
    """A receiver under way, and what it saw."""

    port: int = 0
    connections: int = 0
    open_now: int = 0
    open_most: int = 0
    requests: list[bytes] = field(default_factory=list)
    """Head and body of each, as they came over the wire."""
    peers: list[str | None] = field(default_factory=list)
    """Per request the common name of the client certificate."""


@asynccontextmanager
async def receiver(
    behaviour: Behaviour, *, tls: ssl.SSLContext | None = None, address: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Receiver]:
    """A server that reads one request after another and answers each with `behaviour`."""
    seen = Receiver()
    busy: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        busy.add(task)
        seen.connections += 1
        seen.open_now += 1
        seen.open_most = max(seen.open_most, seen.open_now)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                    body = await reader.readexactly(int(length[0][15:])) if length else b""
                    seen.requests.append(head + body)
                    seen.peers.append(_peer(writer))
                    await behaviour(reader, writer)
                    await writer.drain()
                    if writer.is_closing():
                        break
        finally:
            busy.discard(task)
            seen.open_now -= 1
            writer.transport.abort()

    server = await asyncio.start_server(serve, address, port, ssl=tls)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        server.close()
        for task in list(busy):
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
        await asyncio.sleep(0)


def _peer(writer: asyncio.StreamWriter) -> str | None:
    certificate = writer.get_extra_info("peercert")
    if not certificate:
        return None
    return str(dict(pair for names in certificate["subject"] for pair in names)["commonName"])


def answers(response: bytes, *, then_closes: bool = False) -> Behaviour:
    """Sends exactly these bytes."""

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(response)
        if then_closes:
            await writer.drain()
            writer.close()

    return behave


def ok(body: bytes, *headers: str, length: int | None = None) -> bytes:
    """A response of status 200, whose Content-Length may lie."""
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def hangs(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accepts and never answers."""
    await asyncio.sleep(3600)


def drips(start: bytes, drop: bytes, every: timedelta = timedelta(milliseconds=20)) -> Behaviour:
    """Sends the start, then a drop at a time without end: no single read ever waits long."""

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(every.total_seconds())

    return behave


def floods(start: bytes, piece: bytes) -> Behaviour:
    """Sends the start, then the piece without end as fast as it is read."""

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    return behave


class Names:
    """A name server under the attacker's control: each name has a script of answers, the last one stays."""

    def __init__(self, **scripts: Sequence[Sequence[str]]) -> None:
        self.scripts = {name.replace("_", "."): list(script) for name, script in scripts.items()}
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int) -> Sequence[Address]:  # noqa: ARG002  # a name has all ports
        """The next answer of the script; a name without one does not exist."""
        self.asked.append(host)
        script = self.scripts.get(host)
        if script is None:
            raise OSError(-2, "Name or service not known")
        answer = script.pop(0) if len(script) > 1 else script[0]
        return [ip_address(address) for address in answer]


class HangingNames:
    """A name server that never answers."""

    async def resolve(self, host: str, port: int) -> Sequence[Address]:  # noqa: ARG002  # none is answered
        """Never returns."""
        await asyncio.sleep(3600)
        raise AssertionError


@dataclass(frozen=True)
class Leaf:
    """A certificate and its key, as PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """A certificate authority for tests."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        usage = x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        certificate = (
            x509.CertificateBuilder(self._name, self._name, self._key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=400))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        name: str,
        *,
        valid_from: timedelta = timedelta(days=-1),
        valid_to: timedelta = timedelta(days=1),
        client: bool = False,
        self_signed: bool = False,
    ) -> Leaf:
        """A leaf for a host name or IPv4 address, or for a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        signer = key if self_signed else self._key
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        alternative = x509.IPAddress(IPv4Address(name)) if name[0].isdigit() else x509.DNSName(name)
        purpose = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        certificate = (
            x509.CertificateBuilder(
                subject if self_signed else self._name, subject, key.public_key(), x509.random_serial_number()
            )
            .not_valid_before(now + valid_from)
            .not_valid_after(now + valid_to)
            .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
            .sign(signer, hashes.SHA256())
        )
        return Leaf(
            certificate.public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )


def shown(leaf: Leaf, folder: Path, *hosts: str) -> dict[str, Any]:
    """Settings of a door that shows this certificate, to this machine when nobody else is named."""
    certificate, key = folder / "shown.pem", folder / "shown.key"
    certificate.write_bytes(leaf.certificate)
    key.write_bytes(leaf.key)
    return {
        "client_certificate_file": certificate,
        "client_key_file": key,
        "client_certificate_hosts": hosts or ("127.0.0.1",),
    }


def server_context(leaf: Leaf, folder: Path, *, clients_of: Authority | None = None) -> ssl.SSLContext:
    """What a TLS receiver with this certificate uses; `clients_of` makes it require a client certificate."""
    chain = folder / "chain.pem"
    chain.write_bytes(leaf.certificate + leaf.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    if clients_of is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients_of.pem.decode())
    return context


def mutual_tls(folder: Path) -> tuple[dict[str, Any], ssl.SSLContext]:
    """Settings of a door with a certificate, and what a receiver on this machine uses that demands it."""
    authority = Authority("of both")
    (folder / "ca.pem").write_bytes(authority.pem)
    settings = {"ca_file": folder / "ca.pem", **shown(authority.issue("plane.example", client=True), folder)}
    return settings, server_context(authority.issue("127.0.0.1"), folder, clients_of=authority)
