"""A client as it is in the field: its documents, its encodings and its ways, none of them made for this plane.

Source: contract/connector-agent-provisioner.md §A.3, §B.4, §C.3, §C.4: arguments inline, `result:` for an alias,
`configuration` with empty parentheses, `variables: null`, subjects split at commas and put in the order Go writes them.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from compass.client.graphql import ClientCertificate
from tests.e2e.plane import CONNECTOR, DIRECTOR, Answer, Plane

CONFIGURATION = """query {
    result: configuration() {
        token { token }
        certificateSigningRequestInfo { subject keyAlgorithm }
        managementPlaneInfo { directorURL certificateSecuredConnectorURL }
    }
}"""
SIGN = """mutation {
    result: signCertificateSigningRequest(csr: "%s") { certificateChain caCertificate clientCertificate }
}"""
JSON_HEADERS: Final = {
    "Content-Type": "application/json; charset=utf-8",
    "Accept": "application/json; charset=utf-8",
}
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

_GO_ORDER: Final = (
    ("C", NameOID.COUNTRY_NAME),
    ("O", NameOID.ORGANIZATION_NAME),
    ("OU", NameOID.ORGANIZATIONAL_UNIT_NAME),
    ("L", NameOID.LOCALITY_NAME),
    ("ST", NameOID.STATE_OR_PROVINCE_NAME),
    ("CN", NameOID.COMMON_NAME),
)


def subject_parts(subject: str) -> dict[str, str]:
    """Split at `,` and then at `=`, as the original's agent does: a value that holds either would break it."""
    return dict(part.split("=") for part in subject.split(","))


def request_pem(key: Key, parts: Mapping[str, str]) -> bytes:
    """A signing request as Go makes it, in PEM."""
    name = x509.Name([x509.NameAttribute(oid, parts[part]) for part, oid in _GO_ORDER if part in parts])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM)


def encoded(pem: bytes) -> str:
    """Base64 of PEM, as it is sent and answered."""
    return base64.b64encode(pem).decode()


def certificates(answered: str) -> list[x509.Certificate]:
    """The certificates in one field of the Connector's answer."""
    return x509.load_pem_x509_certificates(base64.b64decode(answered, validate=True))


@dataclass
class FieldClient:
    """One client: a folder for its files, and no opinion about who answers."""

    plane: Plane
    folder: Path
    key: Key

    async def call(
        self,
        document: str,
        *,
        path: str = CONNECTOR,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        paired: bool = False,
    ) -> Answer:
        """Send the document as `machinebox/graphql` does."""
        sent = {**JSON_HEADERS, **({} if token is None else {"Connector-Token": token}), **(headers or {})}
        body = json.dumps({"query": document, "variables": None})
        return await self.plane.send(path, body, sent, certificate=self.identity if paired else None)

    @property
    def identity(self) -> ClientCertificate:
        """Its certificate and key, once it is paired."""
        return ClientCertificate(self.folder / "crtChain", self.folder / "key")

    async def director(self, document: str, **headers: str) -> Answer:
        """A call at the Director with its certificate."""
        return await self.call(document, path=DIRECTOR, headers=headers, paired=True)

    async def configuration(self, token: str | None) -> Any:
        """The Connector's configuration, with a token or else with the certificate."""
        return (await self.call(CONFIGURATION, token=token, paired=token is None)).data["result"]

    def csr(self, subject: str) -> str:
        """The argument of the signing request."""
        return encoded(request_pem(self.key, subject_parts(subject)))

    async def pair(self, token: str) -> Any:
        """All of the pairing. Returns the Connector's answer to the signing request."""
        configuration = await self.configuration(token)
        csr = self.csr(configuration["certificateSigningRequestInfo"]["subject"])
        signed = (await self.call(SIGN % csr, token=configuration["token"]["token"])).data["result"]
        self.keep(signed)
        return signed

    def keep(self, signed: Mapping[str, str]) -> None:
        """Write what the agent keeps in its secret."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / "crtChain").write_bytes(base64.b64decode(signed["certificateChain"]))
        (self.folder / "key").write_bytes(
            self.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        )
