"""A plane to test the order service against, over real TLS: the contract's answers, and its ways to go wrong."""

import asyncio
import base64
import ipaddress
import json
import re
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from standardwebhooks.webhooks import Webhook

from compass.demo.orders_process import OrdersProcess

SECRET = "whsec_" + base64.b64encode(b"the secret of the order service!").decode()
ORGANISATION = "O=Org,OU=OrgUnit,L=Locality,ST=State,C=DE"


class Authority:
    """A certificate authority, and what it signs."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        extensions: list[tuple[x509.ExtensionType, bool]] = [(x509.BasicConstraints(ca=True, path_length=0), True)]
        self.pem = self._sign(self._name, self._key.public_key(), extensions)

    def server(self, folder: Path) -> ssl.SSLContext:
        """The TLS side of a server on 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "plane")])
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        pem = self._sign(subject, key.public_key(), [(names, False), (usage, False)])
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = folder / f"{uuid.uuid4()}.pem"
        file.write_bytes(pem + private)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def demanding(self, folder: Path) -> ssl.SSLContext:
        """The same, for callers with one of our client certificates only."""
        context = self.server(folder)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=self.pem.decode())
        return context

    def client(self, request: x509.CertificateSigningRequest, *, used: timedelta) -> bytes:
        """A client certificate."""
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        return self._sign(request.subject, request.public_key(), [(usage, False)], used=used)

    def _sign(
        self,
        subject: x509.Name,
        key: Any,
        extensions: list[tuple[x509.ExtensionType, bool]],
        *,
        used: timedelta = timedelta(minutes=1),
    ) -> bytes:
        begin = datetime.now(UTC) - used
        builder = x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number())
        builder = builder.not_valid_before(begin).not_valid_after(begin + timedelta(days=90))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class Refused(Exception):
    """The answer is an error with this code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Plane:
    """What the plane knows about one application, and how it behaves. Started by `running`."""

    folder: Path
    application: str = field(default_factory=lambda: str(uuid.uuid4()))
    token: str = "one-time-token"
    viewer_type: str = "APPLICATION"
    default_url: str = ""
    scopes: set[str] = field(default_factory=lambda: {"bundle_instance_auth:write"})
    revoked: bool = False
    certificate_used: timedelta = timedelta(minutes=1)
    """How much of its 90 days a new client certificate has behind it."""
    losing_replies_of: set[str] = field(default_factory=set)
    """Operations that are carried out, once each, while the connection breaks before the answer."""
    bundles: list[dict[str, Any]] = field(default_factory=list)
    webhooks: list[dict[str, Any]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    fetched: list[dict[str, Any]] = field(default_factory=list)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Common name of the sender's certificate, and the CloudEvent."""
    event_statuses: list[int] = field(default_factory=list)
    """What a Runtime answers to the next events; 202 when the list is empty."""
    held: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is not set, no operation is carried out."""
    waiting_for_release: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when an operation has waited for that."""
    company_ca: Path | None = None
    authority: Authority = field(default_factory=lambda: Authority("Plane CA"))
    connector_url: str = ""
    secured_url: str = ""
    events_url: str = ""
    client_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    _second_token: str = ""

    @property
    def trust_anchor(self) -> Path:
        """The file people give to those who pair."""
        file = self.folder / "plane-ca.pem"
        file.write_bytes(self.authority.pem)
        return file

    @property
    def instance_auths(self) -> list[dict[str, Any]]:
        """Of the one bundle."""
        return list(self.bundles[0]["instanceAuths"])

    async def graphql(self, request: web.Request) -> web.Response:
        """Both endpoints: one operation by its name."""
        given = json.loads(await request.read())
        named = re.search(r"(?:query|mutation)\s+(\w+)", given["query"])
        assert named is not None
        operation = named[1]
        self.calls.append(operation)
        if request.transport is not None and request.transport.get_extra_info("peercert") and self.revoked:
            return _error(26, "Unauthorized [reason=the certificate is revoked]")
        handler: Callable[[dict[str, Any]], Any] = getattr(self, operation)
        if not self.held.is_set():
            self.waiting_for_release.set()
            await self.held.wait()
        self._shown = request.headers.get("Connector-Token")
        try:
            answer = handler(given["variables"])
            data = await answer if hasattr(answer, "__await__") else answer
        except Refused as refusal:
            return _error(refusal.code, str(refusal))
        if operation in self.losing_replies_of:
            self.losing_replies_of.discard(operation)
            assert request.transport is not None
            request.transport.close()
        return web.json_response({"data": data})

    async def event(self, request: web.Request) -> web.Response:
        """A Runtime's event endpoint."""
        assert request.transport is not None
        subject = request.transport.get_extra_info("peercert")["subject"]
        names = [value for relative in subject for key, value in relative if key == "commonName"]
        assert request.content_type == "application/cloudevents+json"
        self.events.append((names[0], json.loads(await request.read())))
        if self.event_statuses:
            return web.Response(status=self.event_statuses.pop(0), text="not today")
        return web.json_response({"id": str(uuid.uuid4())}, status=202)

    # Connector

    def Configuration(self, _given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - the operation's name
        if self._shown != self.token:
            raise Refused(26, "Unauthorized [reason=token]")
        self.token, self._second_token = "", str(uuid.uuid4())
        return {"configuration": {"token": {"token": self._second_token}, **self._management()}}

    def SignCertificateSigningRequest(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        if self._shown is not None and self._shown != self._second_token:
            raise Refused(26, "Unauthorized [reason=token]")
        self._second_token = ""
        leaf = self.authority.client(x509.load_pem_x509_csr(base64.b64decode(given["csr"])), used=self.certificate_used)
        parts = {
            "clientCertificate": leaf,
            "caCertificate": self.authority.pem,
            "certificateChain": leaf + self.authority.pem,
        }
        encoded = {name: base64.b64encode(pem).decode() for name, pem in parts.items()}
        return {"signCertificateSigningRequest": encoded}

    def ManagementPlane(self, _given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"configuration": self._management()}

    def RevokeCertificate(self, _given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.revoked = True
        return {"revokeCertificate": True}

    def _management(self) -> dict[str, Any]:
        urls = {
            "directorURL": f"{self.secured_url}/director/graphql",
            "certificateSecuredConnectorURL": f"{self.secured_url}/connector/graphql",
        }
        subject = f"{ORGANISATION},CN={self.client_id}"
        request = {"subject": subject, "keyAlgorithm": "rsa2048"}
        return {"certificateSigningRequestInfo": request, "managementPlaneInfo": urls}

    # Director

    def OrdersViewer(self, _given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"viewer": {"id": self.application, "type": self.viewer_type}}

    def OrdersEventing(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        own = given["application"] == self.application
        return {"application": {"eventingConfiguration": {"defaultURL": self.default_url}} if own else None}

    def OrdersRegistered(self, _given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"application": {"bundles": {"data": self.bundles}, "webhooks": self.webhooks}}

    OrdersInstanceAuths = OrdersRegistered

    def OrdersAddBundle(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        empty: dict[str, Any] = {key: {"data": []} for key in ("apiDefinitions", "eventDefinitions", "documents")}
        self.bundles.append({"id": str(uuid.uuid4()), **given["in"], **empty, "instanceAuths": []})
        return {"addBundle": self.bundles[-1]}

    async def OrdersAddApi(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        api = given["in"]
        spec = api["spec"]
        self._bundle(given["bundle"], "cannot add API to not existing bundle")
        if not api["targetURL"].startswith("https://"):
            raise Refused(22, "Invalid data APIDefinitionInput [targetURL=must be a valid URL]")
        if spec["format"] == "XML":
            raise Refused(22, "Invalid data APIDefinitionInput [spec=(Rule.MatchingTypeAndFormat=…)]")
        if "data" in spec:
            raise Refused(22, "Only one of Data or Fetch Request must be passed")
        url = spec["fetchRequest"]["url"]
        context = ssl.create_default_context(cafile=str(self.company_ca))
        async with aiohttp.ClientSession() as session, session.get(url, ssl=context) as answer:
            self.fetched.append(await answer.json())
        status = {"condition": "SUCCEEDED", "message": None}
        made = {
            **api,
            "id": str(uuid.uuid4()),
            "spec": {**spec, "id": "s1", "fetchRequest": {"url": url, "status": status}},
        }
        self.bundles[0]["apiDefinitions"]["data"].append(made)
        return {"addAPIDefinitionToBundle": made}

    def OrdersAddEvents(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        if given["in"]["spec"]["format"] == "XML":
            raise Refused(22, "Invalid data EventDefinitionInput [spec=(Rule.MatchingTypeAndFormat=…)]")
        made = {**given["in"], "id": str(uuid.uuid4())}
        self.bundles[0]["eventDefinitions"]["data"].append(made)
        return {"addEventDefinitionToBundle": made}

    def OrdersAddDocument(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        made = {**given["in"], "id": str(uuid.uuid4())}
        self.bundles[0]["documents"]["data"].append(made)
        return {"addDocumentToBundle": made}

    def OrdersAddWebhook(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.webhooks.append({**given["in"], "id": str(uuid.uuid4())})
        return {"addWebhook": self.webhooks[-1]}

    def OrdersUpdateApi(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        api = next(api for api in self.bundles[0]["apiDefinitions"]["data"] if api["id"] == given["api"])
        api |= given["in"]
        return {"updateAPIDefinition": api}

    def OrdersCreateInstanceAuth(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        if "bundle_instance_auth:write" not in self.scopes:
            raise Refused(23, "insufficient scopes provided")
        made = self.instance_auth(given["in"]["runtimeID"], "SUCCEEDED", given["in"]["auth"]["credential"]["basic"])
        return {"createBundleInstanceAuth": made}

    def OrdersSetInstanceAuth(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        auth = next(auth for auth in self.bundles[0]["instanceAuths"] if auth["id"] == given["auth"])
        if auth["status"]["condition"] != "PENDING":
            raise Refused(27, "auth can be set only on BundleInstanceAuths in PENDING state")
        auth |= {
            "status": {"condition": "SUCCEEDED"},
            "auth": {"credential": given["in"]["auth"]["credential"]["basic"]},
        }
        return {"setBundleInstanceAuth": auth}

    def OrdersDeleteInstanceAuth(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        kept = [auth for auth in self.bundles[0]["instanceAuths"] if auth["id"] != given["auth"]]
        if len(kept) == len(self.bundles[0]["instanceAuths"]):
            raise Refused(20, "Object not found [object=bundleInstanceAuth]")
        self.bundles[0]["instanceAuths"] = kept
        return {"deleteBundleInstanceAuth": {"id": given["auth"]}}

    def instance_auth(self, runtime: str, condition: str, credential: dict[str, str] | None) -> dict[str, Any]:
        """Add an auth of the one bundle, as a Runtime's request or the Application makes it."""
        auth = None if credential is None else {"credential": credential}
        made = {"id": str(uuid.uuid4()), "runtimeID": runtime, "status": {"condition": condition}, "auth": auth}
        self.bundles[0]["instanceAuths"].append(made)
        return made

    def _bundle(self, bundle: str, otherwise: str) -> None:
        if bundle not in [one["id"] for one in self.bundles]:
            raise Refused(22, otherwise)

    # Notifications

    def signed(
        self, runtime: str, operation: str, *, message: str | None = None, age: int = 0, secret: str = SECRET
    ) -> tuple[dict[str, str], bytes]:
        """Headers and body of a notification, signed by the library of the Standard Webhooks authors."""
        message = message or f"msg_{uuid.uuid4()}"
        at = datetime.fromtimestamp(int(time.time()) - age, UTC)
        body = json.dumps(
            {
                "specversion": "1.0",
                "id": message,
                "source": "/director",
                "type": "compass.runtime.changed.v1",
                "subject": runtime,
                "data": {"operation": operation, "runtimeID": runtime, "applicationID": self.application},
            }
        )
        headers = {
            "webhook-id": message,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Webhook(secret).sign(message, at, body),
            "Content-Type": "application/cloudevents+json",
        }
        return headers, body.encode()

    async def deliver(self, orders: OrdersProcess, headers: dict[str, str], body: bytes) -> int:
        """One attempt; the status the application answered."""
        context = ssl.create_default_context(cafile=str(orders.company_ca))
        url = f"{orders.service_url}/compass/notifications"
        timeout = aiohttp.ClientTimeout(total=2)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, data=body, headers=headers, ssl=context) as answer,
        ):
            return answer.status


def _error(code: int, message: str) -> web.Response:
    return web.json_response({"data": None, "errors": [{"message": message, "extensions": {"error_code": code}}]})


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Plane]:
    """A plane with a token port and an mTLS port; the latter is a Runtime's event endpoint as well."""
    plane = Plane(folder)
    plane.held.set()
    app = web.Application()
    app.router.add_post("/director/graphql", plane.graphql)
    app.router.add_post("/connector/graphql", plane.graphql)
    app.router.add_post("/mp-orders/v1/events", plane.event)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=plane.authority.server(folder)).start()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=plane.authority.demanding(folder)).start()
    token_port, secured_port = (address[1] for address in runner.addresses)
    plane.connector_url = f"https://127.0.0.1:{token_port}/connector/graphql"
    plane.secured_url = f"https://127.0.0.1:{secured_port}"
    plane.events_url = f"{plane.secured_url}/mp-orders/v1/events"
    try:
        yield plane
    finally:
        await runner.cleanup()
