"""Authorities that the plane does not own, and certificates for clients that they issue."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

OIDS = {
    "CN": NameOID.COMMON_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "L": NameOID.LOCALITY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "C": NameOID.COUNTRY_NAME,
}
Parts = Sequence[tuple[str, str]]
BROKER: Parts = (
    ("C", "DE"),
    ("O", "Example, Inc."),
    ("OU", "zone"),
    ("OU", "area"),
    ("L", "Walldorf"),
    ("CN", "broker"),
)
BROKER_TEXT = r"CN=broker, OU=area, OU=zone, O=Example\, Inc., L=Walldorf, C=DE"


def name(parts: Parts) -> x509.Name:
    return x509.Name([x509.NameAttribute(OIDS[attribute], value) for attribute, value in parts])


@dataclass(frozen=True)
class Leaf:
    """A client's certificate and key."""

    der: bytes
    pem: str
    key_pem: str


class ForeignAuthority:
    """An authority for clients; `parts` is its name, which may be anybody's."""

    def __init__(
        self,
        parts: Parts = (("O", "Example"), ("CN", "Example Issuing")),
        *,
        key: Any = None,
        signs_lists: bool = True,
        path_length: int = 0,
    ) -> None:
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self.name = name(parts)
        now = datetime.now(UTC)
        usage = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=signs_lists, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        self.certificate = (
            x509.CertificateBuilder(self.name, self.name, self.key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .sign(self.key, self._hash)
        )
        self.pin = self.certificate.fingerprint(hashes.SHA256()).hex()
        self.pem = self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        parts: Parts = BROKER,
        *,
        ends: timedelta = timedelta(days=1),
        purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
    ) -> Leaf:
        """A certificate for a client of that subject."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder(self.name, name(parts), key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=2))
            .not_valid_after(now + ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .sign(self.key, self._hash)
        )
        key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Leaf(
            certificate.public_bytes(Encoding.DER), certificate.public_bytes(Encoding.PEM).decode(), key_pem.decode()
        )

    def revoke(
        self,
        *serials: int,
        at: datetime | None = None,
        ends: timedelta = timedelta(days=1),
        of_list: tuple[Any, bool] | None = None,
        of_entry: Any = None,
        critical: bool = False,
        key: Any = None,
        digest: Any = None,
    ) -> bytes:
        """A list of these certificates, DER, made at `at` and good until `ends` after it.

        `of_list` is an extension, and whether it is critical; `of_entry` one of each entry. `key` and `digest`
        sign it instead of the authority's.
        """
        at = at or datetime.now(UTC)
        made = x509.CertificateRevocationListBuilder(self.name, at, at + ends)
        if of_list is not None:
            made = made.add_extension(of_list[0], critical=of_list[1])
        for serial in serials:
            entry = x509.RevokedCertificateBuilder(serial, at)
            if of_entry is not None:
                entry = entry.add_extension(of_entry, critical=critical)
            made = made.add_revoked_certificate(entry.build())
        return made.sign(key or self.key, digest or self._hash).public_bytes(Encoding.DER)

    @property
    def _hash(self) -> hashes.SHA256 | None:
        return None if isinstance(self.key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
