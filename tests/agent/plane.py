"""A small plane over real TLS and real mutual TLS that answers as the contract says, and misbehaves on request.

It stands in for the Director and the Connector where only their behaviour on the wire matters. Documents are checked
against the contract's own types, so a query that the real plane would refuse is refused here.
"""

import asyncio
import base64
import secrets
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from graphql import GraphQLError, GraphQLSchema, build_schema, graphql

CONNECTOR = build_schema("""
type Token { token: String! }
type CertificateSigningRequestInfo { subject: String! keyAlgorithm: String! }
type ManagementPlaneInfo { directorURL: String certificateSecuredConnectorURL: String }
type Configuration {
  token: Token
  certificateSigningRequestInfo: CertificateSigningRequestInfo
  managementPlaneInfo: ManagementPlaneInfo
}
type CertificationResult { certificateChain: String! caCertificate: String! clientCertificate: String! }
type Query { configuration: Configuration! }
type Mutation {
  signCertificateSigningRequest(csr: String!): CertificationResult!
  revokeCertificate: Boolean!
}
""")

DIRECTOR = build_schema("""
scalar Any
scalar PageCursor
scalar Labels
scalar HttpHeaders
scalar QueryParams
scalar JSONSchema
type PageInfo { startCursor: PageCursor! endCursor: PageCursor! hasNextPage: Boolean! }
type Label { key: String! value: Any! }
type Runtime { id: ID! name: String! labels(key: String): Labels }
type BasicCredentialData { username: String! password: String! }
type OAuthCredentialData { clientId: ID! clientSecret: String! url: String! }
type CertificateOAuthCredentialData { clientId: ID! certificate: String! url: String! }
union CredentialData = BasicCredentialData | OAuthCredentialData | CertificateOAuthCredentialData
type CSRFTokenCredentialRequestAuth {
  tokenEndpointURL: String!
  credential: CredentialData
  additionalHeaders: HttpHeaders
  additionalQueryParams: QueryParams
}
type CredentialRequestAuth { csrf: CSRFTokenCredentialRequestAuth }
type Auth {
  credential: CredentialData
  additionalHeaders: HttpHeaders
  additionalQueryParams: QueryParams
  requestAuth: CredentialRequestAuth
}
type AppSystemAuth { id: ID! }
type APIDefinition { id: ID! name: String! description: String targetURL: String! }
type APIDefinitionPage { data: [APIDefinition!]! pageInfo: PageInfo! totalCount: Int! }
type EventDefinition { id: ID! name: String! description: String }
type EventDefinitionPage { data: [EventDefinition!]! pageInfo: PageInfo! totalCount: Int! }
type Bundle {
  id: ID!
  name: String!
  description: String
  instanceAuthRequestInputSchema: JSONSchema
  defaultInstanceAuth: Auth
  apiDefinitions(first: Int = 200, after: PageCursor): APIDefinitionPage
  eventDefinitions(first: Int = 200, after: PageCursor): EventDefinitionPage
}
type BundlePage { data: [Bundle!]! pageInfo: PageInfo! totalCount: Int! }
type Application {
  id: ID!
  name: String!
  providerName: String
  description: String
  auths: [AppSystemAuth!]
  bundles(first: Int = 200, after: PageCursor): BundlePage
  bundle(id: ID!): Bundle
}
type ApplicationPage { data: [Application!]! pageInfo: PageInfo! totalCount: Int! }
type Query {
  runtime(id: ID!): Runtime
  application(id: ID!): Application
  applicationsForRuntime(runtimeID: ID!, first: Int = 200, after: PageCursor): ApplicationPage!
}
type Mutation { setRuntimeLabel(runtimeID: ID!, key: String!, value: Any!): Label! }
""")

SUBJECT = "O=Org,OU=OrgUnit,L=Locality,ST=State,C=DE,CN="
RUNTIME = "2c6c5a1e-5a0e-4f0a-8d0a-0d6a7b1f9c11"
TENANT = "external-tenant-1"


@dataclass
class Authority:
    """A certificate authority for tests."""

    name: str = "Test Authority"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        now = datetime.now(UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        self.pem = self.certificate.public_bytes(Encoding.PEM).decode()

    def client(self, public_key: Any, subject: x509.Name, life: timedelta) -> x509.Certificate:
        """A client certificate, as the Connector issues it."""
        now = datetime.now(UTC)
        return self._signed(subject, public_key, ExtendedKeyUsageOID.CLIENT_AUTH, now, now + life)

    def _signed(
        self,
        subject: x509.Name,
        public_key: Any,
        use: x509.ObjectIdentifier,
        start: datetime,
        end: datetime,
        names: x509.SubjectAlternativeName | None = None,
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def write_server(self, certificate: Path, key_file: Path) -> None:
        """A server certificate for localhost and 127.0.0.1, as files."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
        now = datetime.now(UTC)
        signed = self._signed(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]), key.public_key(),
            ExtendedKeyUsageOID.SERVER_AUTH, now - timedelta(minutes=1), now + timedelta(days=1), names,
        )  # fmt: skip
        certificate.write_bytes(signed.public_bytes(Encoding.PEM))
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    def write_client(self, folder: Path, common_name: str, life: timedelta = timedelta(days=1)) -> tuple[Path, Path]:
        """A client certificate of that common name with its key, as files."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        files = folder / f"{common_name}.crt", folder / f"{common_name}.key"
        files[0].write_bytes(self.client(key.public_key(), subject, life).public_bytes(Encoding.PEM))
        files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return files


@dataclass
class Spendable:
    """A one-time token and what became of it."""

    client_id: str
    used: bool = False
    key: bytes | None = None
    certificate: x509.Certificate | None = None
    announced: str | None = None
    following: str | None = None


def basic(username: str = "shop", password: str = "s3cret") -> dict[str, Any]:
    """An `Auth` with Basic credentials."""
    return {"credential": {"__typename": "BasicCredentialData", "username": username, "password": password}}


def bundle(
    id_: str,
    name: str,
    auth: dict[str, Any] | None = None,
    apis: list[dict[str, Any]] | None = None,
    events: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """A `Bundle`."""
    return {"id": id_, "name": name, "defaultInstanceAuth": auth, "apiDefinitions": apis or [],
            "eventDefinitions": events or []}  # fmt: skip


def api(id_: str, name: str, url: str) -> dict[str, Any]:
    """An `APIDefinition`."""
    return {"id": id_, "name": name, "targetURL": url}


def application(id_: str, name: str, *bundles: dict[str, Any], clients: tuple[str, ...] = ()) -> dict[str, Any]:
    """An `Application`."""
    return {"id": id_, "name": name, "auths": [{"id": client} for client in clients], "bundles": list(bundles)}


class FakePlane:
    """Director and Connector on a token port and an mTLS port of 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority()
        self.folder = folder
        self.life = timedelta(days=90)
        self.tokens: dict[str, Spendable] = {}
        self.revoked: set[str] = set()
        """Client ids whose certificates TLS takes and the plane does not."""
        self.labels: dict[str, Any] = {"isNormalized": "true"}
        self.applications: list[dict[str, Any]] = []
        self.calls: list[str] = []
        """Operation names in the order they arrived."""
        self.seen: list[dict[str, Any]] = []
        """Per call: headers and the client id of the certificate."""
        self.keys_signed: list[bytes] = []
        self.fault: str | None = None
        """`500`, `garbage`, `errors`, `slow`, `redirect`, `nothing`, `busy`."""
        self.busy_for = 0
        """While `busy`: how many calls are still to be refused."""
        self.lose_answer_of: str | None = None
        """The operation whose next answer is computed and then lost."""
        self.on_page: Callable[[], None] = lambda: None
        """Called after each page of applications was answered."""
        self.override: dict[str, Any] = {}
        """Replaces parts of the answer to `configuration`."""
        self.sign_with: Authority | None = None
        self.burns_at_configuration = True
        """As the original; our own plane gives the same token again to the key that was announced."""
        self.tells = False
        """Whether it has a change feed; the original has none."""
        self.followed: list[str | None] = []
        """`Last-Event-ID` of every stream that was opened."""
        self.beat_every: float | None = None
        """What it answers a heartbeat with; the original takes none."""
        self.beats: list[dict[str, Any]] = []
        """What was said by them."""
        self._streams: list[web.StreamResponse] = []
        self._ports: dict[str, int] = {}
        self._runner: web.AppRunner | None = None

    @property
    def token_url(self) -> str:
        """Of the listener without client certificates."""
        return f"https://localhost:{self._ports['token']}"

    @property
    def connector_url(self) -> str:
        """Where a token is used."""
        return f"{self.token_url}/connector/graphql"

    @property
    def mtls_url(self) -> str:
        """Of the listener that requires one."""
        return f"https://localhost:{self._ports['mtls']}"

    def new_token(self, client_id: str) -> str:
        """A one-time token for that system auth."""
        token = base64.urlsafe_b64encode(secrets.token_bytes(64)).decode()
        self.tokens[token] = Spendable(client_id)
        return token

    async def start(self) -> None:
        """Listen; after a stop, where it listened before."""
        served = web.Application()
        served.router.add_post("/{endpoint}/graphql", self._graphql)
        served.router.add_get("/ca.pem", self._ca)
        served.router.add_get("/v1/events", self._events)
        served.router.add_post("/v1/heartbeat", self._heartbeat)
        self._runner = web.AppRunner(served, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        certificate, key = self.folder / "plane.crt", self.folder / "plane.key"
        self.authority.write_server(certificate, key)
        for name in ("token", "mtls"):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            if name == "mtls":
                context.load_verify_locations(cadata=self.authority.pem)
                context.verify_mode = ssl.CERT_REQUIRED
            site = web.TCPSite(
                self._runner, "127.0.0.1", self._ports.get(name, 0), ssl_context=context, reuse_address=True
            )
            await site.start()
            self._ports[name] = int(site.name.rsplit(":", 1)[1]) or self._runner.addresses[-1][1]

    async def stop(self) -> None:
        """Gone: connections are refused."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _ca(self, _: web.Request) -> web.Response:
        return web.Response(text=self.authority.pem)

    async def _heartbeat(self, request: web.Request) -> web.Response:
        if self.beat_every is None:
            raise web.HTTPNotFound
        if self.fault == "500":
            return web.Response(status=500, text="<html>oops</html>")
        self.beats.append(await request.json())
        return web.json_response({"nextSeconds": self.beat_every})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if not self.tells:
            raise web.HTTPNotFound
        after = request.headers.get("Last-Event-ID")
        self.followed.append(after)
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(b"id: 1-0\nevent: reset\ndata: {}\n\n" if after is None else b":\n\n")
        self._streams.append(stream)
        try:
            await asyncio.sleep(60)
        finally:
            self._streams.remove(stream)
        return stream

    async def tell(self, id_: str) -> None:
        """Say on every stream that something happened."""
        for stream in self._streams:
            with suppress(ConnectionError):  # nobody is there any more
                await stream.write(f"id: {id_}\nevent: ApplicationUpdated\ndata: {{}}\n\n".encode())

    async def _graphql(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        operation = body["query"].split("{")[0].split("(")[0].split()[-1]
        self.calls.append(operation)
        certificate = request.get_extra_info("peercert")
        client_id = common_name(certificate) if certificate else None
        self.seen.append({"operation": operation, "headers": dict(request.headers), "client_id": client_id})
        match self.fault:
            case "500":
                return web.Response(status=500, text="<html>oops</html>")
            case "garbage":
                return web.Response(text="{not json", content_type="application/json")
            case "busy" if self.busy_for > 0:
                self.busy_for -= 1
                said = {"errors": [{"message": "too many", "extensions": {"error_code": 28}}], "data": None}
                return web.json_response(said, status=429, headers={"Retry-After": "1"})
            case "errors":
                return self._refused("Internal Server Error [errorID=1, reason: no]", 10)
            case "slow":
                await asyncio.sleep(30)
            case "redirect":
                raise web.HTTPFound("https://127.0.0.1:1/")
            case "nothing":
                return web.json_response({"data": None})
        if client_id in self.revoked:
            return self._refused("Unauthorized [reason=certificate revoked]", 26, status=401)
        schema, root = self._root(request, client_id)
        result = await graphql(schema, body["query"], root, variable_values=body.get("variables"))
        if operation == self.lose_answer_of and request.transport is not None:
            self.lose_answer_of = None
            request.transport.abort()
        return web.json_response(result.formatted)

    def _refused(self, message: str, code: int, status: int = 200) -> web.Response:
        error = {"message": message, "path": ["result"], "extensions": {"error": "E", "error_code": code}}
        return web.json_response({"errors": [error], "data": None}, status=status)

    def _root(self, request: web.Request, client_id: str | None) -> tuple[GraphQLSchema, dict[str, Any]]:
        if request.match_info["endpoint"] == "connector":
            token, announced = request.headers.get("Connector-Token"), request.headers.get("Connector-Key-Digest")
            return CONNECTOR, {
                "configuration": lambda _: self._configuration(token, announced, client_id),
                "signCertificateSigningRequest": lambda _, csr: self._sign(token, client_id, csr),
            }
        if client_id is None:
            raise web.HTTPUnauthorized
        return DIRECTOR, {
            "runtime": lambda _, **asked: self._runtime(asked["id"]),
            "application": lambda _, **asked: self._application(asked["id"]),
            "applicationsForRuntime": self._applications_for_runtime,
            "setRuntimeLabel": self._set_label,
        }

    def _configuration(self, token: str | None, announced: str | None, client_id: str | None) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        if client_id is None:
            spendable = self.tokens.get(token or "")
            if spendable is None:
                raise unauthorized()
            if spendable.used and (
                self.burns_at_configuration or announced is None or spendable.announced != announced
            ):
                raise unauthorized()
            client_id = spendable.client_id
            if not spendable.used:
                spendable.used, spendable.announced = True, announced
                spendable.following = self.new_token(client_id)
            answer["token"] = {"token": spendable.following}
        return (
            answer
            | {
                "certificateSigningRequestInfo": {"subject": SUBJECT + client_id, "keyAlgorithm": "rsa2048"},
                "managementPlaneInfo": {
                    "directorURL": f"{self.mtls_url}/director/graphql",
                    "certificateSecuredConnectorURL": f"{self.mtls_url}/connector/graphql",
                },
            }
            | self.override
        )

    def _sign(self, token: str | None, client_id: str | None, csr: str) -> dict[str, str]:
        request = x509.load_pem_x509_csr(base64.b64decode(csr, validate=True))
        key = request.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        spendable = self.tokens.get(token or "")
        if client_id is None:
            if spendable is None or (spendable.used and spendable.key != key):
                raise unauthorized()
            client_id = spendable.client_id
        given = ",".join(attribute.rfc4514_string() for attribute in request.subject)
        if not request.is_signature_valid or given != SUBJECT + client_id:
            raise GraphQLError("CSR: Invalid common name provided.")
        self.keys_signed.append(key)
        certificate = spendable.certificate if spendable is not None else None
        authority = self.sign_with or self.authority
        if certificate is None:
            certificate = authority.client(request.public_key(), request.subject, self.life)
        if spendable is not None:
            spendable.used, spendable.key, spendable.certificate = True, key, certificate
        leaf = certificate.public_bytes(Encoding.PEM)
        authority_pem = self.authority.pem.encode()
        texts = {"clientCertificate": leaf, "caCertificate": authority_pem, "certificateChain": leaf + authority_pem}
        return {name: base64.b64encode(text).decode() for name, text in texts.items()}

    def _runtime(self, id_: str) -> dict[str, Any] | None:
        return {"id": RUNTIME, "name": "edge", "labels": lambda _: self.labels} if id_ == RUNTIME else None

    def _set_label(self, _: Any, **asked: Any) -> dict[str, Any]:
        self.labels[asked["key"]] = asked["value"]
        return {"key": asked["key"], "value": asked["value"]}

    def _application(self, id_: str) -> dict[str, Any] | None:
        found = [one for one in self.applications if one["id"] == id_]
        return paged(found[0]) if found else None

    def _applications_for_runtime(self, _: Any, **asked: Any) -> dict[str, Any]:
        page = cut([paged(one) for one in self.applications], asked.get("first", 200), asked.get("after"))
        self.on_page()
        return page


def common_name(certificate: dict[str, Any]) -> str | None:
    """Of a certificate as the ssl module shows it."""
    names = [value for part in certificate["subject"] for key, value in part if key == "commonName"]
    return names[0] if names else None


def unauthorized() -> GraphQLError:
    """How a token that is not taken is answered, whatever is wrong with it."""
    return GraphQLError("Unauthorized [reason=the token is not valid]", extensions={"error": "E", "error_code": 26})


def cut(items: list[Any], first: int, after: str | None) -> dict[str, Any]:
    """One page. Source: director.md §4."""
    start = int(base64.b64decode(after).decode().removeprefix("DpKtJ4j9jDq")) if after else 0
    more = start + first < len(items)
    end = base64.b64encode(f"DpKtJ4j9jDq{start + first}".encode()).decode() if more else ""
    return {
        "data": items[start : start + first],
        "pageInfo": {"startCursor": after or "", "endCursor": end, "hasNextPage": more},
        "totalCount": len(items),
    }


def paged(found: dict[str, Any]) -> dict[str, Any]:
    """An application whose lists answer in pages."""

    def pages(items: list[Any]) -> Callable[..., dict[str, Any]]:
        return lambda _, **asked: cut(items, asked.get("first", 200), asked.get("after"))

    def single(_: Any, **asked: Any) -> dict[str, Any] | None:
        return next((one for one in bundles if one["id"] == asked["id"]), None)

    bundles = [
        one | {name: pages(one[name]) for name in ("apiDefinitions", "eventDefinitions")} for one in found["bundles"]
    ]
    return found | {"bundles": pages(bundles), "bundle": single}


@asynccontextmanager
async def fake_plane(folder: Path) -> AsyncIterator[FakePlane]:
    """A plane that is up, and gone afterwards."""
    plane = FakePlane(folder)
    await plane.start()
    try:
        yield plane
    finally:
        await plane.stop()


async def free_port_url() -> str:
    """An https address nobody listens at."""
    server = await asyncio.start_server(lambda _, __: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return f"https://127.0.0.1:{port}"
