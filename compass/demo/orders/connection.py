"""The trusted relation with the plane: made by pairing, used for every call, and its present state for people."""

import json
import ssl
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from cryptography import x509

from compass.agent import pair as pairing
from compass.client.graphql import ClientCertificate, Endpoint, Plane, PlaneRefused, Trust, document
from compass.demo.orders import queries
from compass.demo.orders.store import Store, now
from compass.errors import Code, CompassError
from compass.files import write_private


class ConnectionState(StrEnum):
    """What the last call to the plane came to."""

    NOT_PAIRED = "NOT_PAIRED"
    CONNECTED = "CONNECTED"
    REFUSED = "REFUSED"
    """The plane answers, but knows us no longer: the certificate is revoked, over, or its owner is gone."""
    UNREACHABLE = "UNREACHABLE"


class ApplicationGone(CompassError):
    """The Director does not know us any longer: somebody unregistered the Application."""

    code = Code.NOT_FOUND
    message = "the Director knows no application {id}"


class NotAnApplication(CompassError):
    """The plane takes the certificate for something else, so nothing here can work with it."""

    code = Code.INVALID_OPERATION
    message = "the certificate belongs to a {type}, not to an application"


class PlaneConnection:
    """Calls the plane in the name of the Application. The identity survives restarts in `identity` of the folder."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._identity = folder / "identity"
        self._anchor = folder / "plane_ca.pem"
        self._plane: Plane | None = None

    async def pair(self, *, connector_url: str, token: str, trust_anchor: str) -> None:
        """Spend a one-time token for a certificate; a refusal keeps what was there before.

        `trust_anchor` is the plane's authority in PEM: nothing is sent to a server it does not vouch for.
        Repeating it after an interruption, with the same token, continues. Raises CompassError.
        """
        await pairing.pair(self._identity, connector_url=connector_url, token=token, trust=Trust.to(trust_anchor))
        write_private(self._anchor, trust_anchor.encode())
        await self.close()
        # the first call with the certificate is also what makes us CONNECTED at the Director
        viewer = (await self.ask(queries.VIEWER))["viewer"]
        if viewer["type"] != "APPLICATION":
            raise NotAnApplication(type=viewer["type"])
        await self._store.remember(application_id=viewer["id"])

    async def ask(self, text: str, **variables: object) -> dict[str, Any]:
        """The Director's answer. What the call came to is remembered for `state`.

        Raises NotPaired and what `Plane.ask` raises.
        """
        return await self._ask(Endpoint.DIRECTOR, text, variables)

    async def ask_about_ourselves(self, text: str) -> dict[str, Any]:
        """The `application` of a query about our own one. Raises ApplicationGone, and as `ask` does."""
        own = await self.application()
        found = (await self.ask(text, application=own))["application"]
        if found is None:
            raise ApplicationGone(id=own)
        return dict(found)

    async def revoke(self) -> None:
        """Have the Connector end our own certificate. Raises as `ask` does."""
        await self._ask(Endpoint.CONNECTOR, document("RevokeCertificate").text, {})

    async def renew_in_time(self) -> None:
        """Replace the certificate when less than a third of its life is left. Raises as `ask` does."""
        connection = self._connection()
        if pairing.renewal_due(connection, now=datetime.now(UTC)):
            await pairing.renew(connection, trust=self._trust())
            await self.close()

    async def application(self) -> str:
        """Our id at the Director, as it named us when we paired. Raises NotPaired."""
        known = await self._store.setting("application_id")
        if known is None:
            raise pairing.NotPaired(folder=str(self._identity))
        return known

    def client_context(self) -> ssl.SSLContext:
        """How we show our certificate, and whom we trust: only the plane's authority. Raises NotPaired."""
        folder = self._connection().folder
        return self._trust().context(ClientCertificate(folder / "chain.crt", folder / "client.key"))

    async def told(self) -> dict[str, Any]:
        """State of the connection and facts of the certificate, as `state` shows them."""
        last = json.loads(await self._store.setting("connection") or "{}")
        try:
            connection = self._connection()
        except pairing.NotPaired:
            return {"state": ConnectionState.NOT_PAIRED, "reason": None, "certificate": None}
        certificate = x509.load_pem_x509_certificate((connection.folder / "client.crt").read_bytes())
        return {
            **last,
            "application": await self._store.setting("application_id"),
            "directorURL": connection.director_url,
            "connectorURL": connection.connector_url,
            "certificate": {
                "commonName": connection.client_id,
                "subject": certificate.subject.rfc4514_string(),
                "issuer": certificate.issuer.rfc4514_string(),
                "serialNumber": f"{certificate.serial_number:x}",
                "notBefore": certificate.not_valid_before_utc.isoformat(),
                "notAfter": certificate.not_valid_after_utc.isoformat(),
            },
        }

    async def close(self) -> None:
        """Close the connections; the next call opens new ones with the identity of that moment."""
        plane, self._plane = self._plane, None
        if plane is not None:
            await plane.close()

    async def _ask(self, endpoint: Endpoint, text: str, variables: dict[str, object]) -> dict[str, Any]:
        if self._plane is None:
            self._plane = self._connection().plane(self._trust())
        try:
            answer = await self._plane.ask(endpoint, text, variables)
        except PlaneRefused as refusal:
            state = ConnectionState.REFUSED if refusal.unauthorized else ConnectionState.CONNECTED
            await self._note(state, str(refusal) if refusal.unauthorized else None)
            raise
        except CompassError as problem:
            await self._note(ConnectionState.UNREACHABLE, str(problem))
            raise
        await self._note(ConnectionState.CONNECTED, None)
        return answer

    async def _note(self, state: ConnectionState, reason: str | None) -> None:
        before = json.loads(await self._store.setting("connection") or "{}")
        if (before.get("state"), before.get("reason")) != (state, reason):
            await self._store.remember(connection=json.dumps({"state": state, "reason": reason, "since": now()}))

    def _connection(self) -> pairing.Connection:
        if not self._anchor.exists():
            raise pairing.NotPaired(folder=str(self._identity))
        return pairing.Connection.read(self._identity)

    def _trust(self) -> Trust:
        return Trust.to(self._anchor.read_text())
