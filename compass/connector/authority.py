"""The plane's own certificate authority: the one module that signs.

A root signs one issuing certificate, which signs everything else. Both are created once, in the database, by
whichever process starts first, and shared by all replicas; their private keys are sealed by the vault, and the
root's is not opened again. What a certificate says is a constant here: a client's request contributes its public
key and nothing more. Elliptic curves sign in well under a millisecond, so signing runs inline.
"""

import ipaddress
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from compass.errors import Code, CompassError
from compass.ids import SystemAuthId
from compass.postgres.pool import Tx
from compass.settings import AuthoritySettings
from compass.vault import Vault

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

ROOT_LIFE: Final = timedelta(days=20 * 365)
ISSUING_LIFE: Final = timedelta(days=10 * 365)
SERVER_LIFE: Final = timedelta(days=397)
"""The longest that clients accept of a server. Source: CA/Browser Forum Baseline Requirements §6.3.2."""
CLOCK_SKEW: Final = timedelta(minutes=5)
"""A certificate is valid this long before it was signed: the clock of the one who receives it may be behind."""

_DNS_NAME: Final = re.compile(
    r"(?=.{1,253}\Z)(\*\.)?([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*"
)
_LONGEST_COMMON_NAME: Final = 64
"""Source: RFC 5280, appendix A.1, ub-common-name."""


class AuthorityExpired(CompassError):
    """The issuing certificate has ended, so nothing it signs would be valid."""

    code = Code.INTERNAL
    message = "the plane's certificate authority expired at {expired_at}; nothing can be signed until it is replaced"


class ServerNameRefused(CompassError):
    """A server certificate was asked for something that is neither a host name nor an address."""

    code = Code.INVALID_DATA
    message = "{name!r} is neither a host name nor an IP address"


class Authority:
    """The issuing certificate and its key. `certificate.py` is who calls `sign_…`, because it keeps the record."""

    def __init__(
        self,
        settings: AuthoritySettings,
        root: x509.Certificate,
        issuing: x509.Certificate,
        key: ec.EllipticCurvePrivateKey,
    ) -> None:
        self._settings = settings
        self._root = root
        self._issuing = issuing
        self._key = key

    @classmethod
    async def open(cls, tx: Tx, vault: Vault, settings: AuthoritySettings) -> Self:
        """The plane's authority, created on the first start.

        Processes that start at the same time on an empty database end up with the same one. Raises SealBroken
        when the vault's keys are not those it was sealed with.
        """
        rows = {row["kind"]: row for row in await tx.rows(IN_FORCE)}
        if "issuing" not in rows:
            await _create(tx, vault, settings)
            rows = {row["kind"]: row for row in await tx.rows(IN_FORCE)}
        issuing = x509.load_pem_x509_certificate(rows["issuing"]["certificate"].encode())
        opened = vault.open(_place(issuing), rows["issuing"]["sealed_key"])
        key = serialization.load_der_private_key(opened, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("the authority signs with an elliptic curve")
        root = x509.load_pem_x509_certificate(rows["root"]["certificate"].encode())
        return cls(settings, root, issuing, key)

    @property
    def serial(self) -> str:
        """Names the issuing certificate in the record of what it signed."""
        return serial_text(self._issuing.serial_number)

    @property
    def ca_pem(self) -> str:
        """The issuing certificate: what a client gets as `caCertificate`."""
        return pem(self._issuing)

    @property
    def root_pem(self) -> str:
        """The root: what a client that checks a whole chain trusts."""
        return pem(self._root)

    @property
    def not_after(self) -> datetime:
        """Nothing signed here is valid for longer."""
        return self._issuing.not_valid_after_utc

    def subject_for(self, system_auth: SystemAuthId) -> str:
        """`O=…,OU=…,L=…,ST=…,C=…,CN=…`: what a client must put into its request, as `configuration` tells it.

        Exactly this order, without spaces: clients split it at commas. Source: contract §B.4.
        """
        parts = self._settings
        return (
            f"O={parts.organization},OU={parts.organizational_unit},L={parts.locality},"
            f"ST={parts.province},C={parts.country},CN={system_auth}"
        )

    def subject_parts(self) -> dict[x509.ObjectIdentifier, str]:
        """What all clients' subjects share, in the order of the original's certificates: not that of `subject_for`."""
        return {
            NameOID.COUNTRY_NAME: self._settings.country,
            NameOID.ORGANIZATION_NAME: self._settings.organization,
            NameOID.ORGANIZATIONAL_UNIT_NAME: self._settings.organizational_unit,
            NameOID.LOCALITY_NAME: self._settings.locality,
            NameOID.STATE_OR_PROVINCE_NAME: self._settings.province,
        }

    def chain(self, leaf_pem: str) -> str:
        """The certificate followed by the issuing one: exactly two, the leaf first."""
        return leaf_pem + self.ca_pem

    def sign_client(self, public_key: PublicKey, *, common_name: str, serial: int) -> x509.Certificate:
        """A certificate that authenticates a client as `common_name` and is good for nothing else.

        Raises AuthorityExpired.
        """
        parts = {**self.subject_parts(), NameOID.COMMON_NAME: common_name}
        subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in parts.items()])
        return self._sign(
            self._profile(public_key, subject, serial, self._settings.client_validity).add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
            )
        )

    def sign_server(self, public_key: PublicKey, *, names: Sequence[str], serial: int) -> x509.Certificate:
        """A certificate for a listener that is reached by `names`, host names and IP addresses.

        Raises ServerNameRefused, AuthorityExpired.
        """
        alternatives = [_alternative(name) for name in names]
        subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, self._settings.organization)]
        if names and len(names[0]) <= _LONGEST_COMMON_NAME:
            subject.append(x509.NameAttribute(NameOID.COMMON_NAME, names[0]))
        return self._sign(
            self._profile(public_key, x509.Name(subject), serial, SERVER_LIFE - CLOCK_SKEW)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        )

    def sign_revocations(
        self, revoked: Sequence[tuple[str, datetime]], *, at: datetime, life: timedelta
    ) -> x509.CertificateRevocationList:
        """The list of revoked certificates, by serial and when, that is good for `life`.

        Takes about ten seconds of processor time for a million. Its number is the time in milliseconds, so that a later
        list has a greater one, whichever replica made it. Raises AuthorityExpired.
        """
        if at >= self.not_after:
            raise AuthorityExpired(expired_at=self.not_after.isoformat())
        issuer_key = self._issuing.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        entries = [
            x509.RevokedCertificateBuilder().serial_number(int(serial, 16)).revocation_date(when).build()
            for serial, when in revoked
        ]
        return (
            x509.CertificateRevocationListBuilder(revoked_certificates=entries)
            .issuer_name(self._issuing.subject)
            .last_update(max(at - CLOCK_SKEW, self._issuing.not_valid_before_utc))
            .next_update(min(at + life, self.not_after))
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key), critical=False)
            .add_extension(x509.CRLNumber(int(at.timestamp() * 1000)), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _profile(
        self, public_key: PublicKey, subject: x509.Name, serial: int, life: timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        if now >= self.not_after:
            raise AuthorityExpired(expired_at=self.not_after.isoformat())
        issuer_key = self._issuing.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._issuing.subject)
            .public_key(public_key)
            .serial_number(serial)
            .not_valid_before(max(now - CLOCK_SKEW, self._issuing.not_valid_before_utc))
            .not_valid_after(min(now + life, self.not_after))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key), critical=False)
        )

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        return builder.sign(self._key, hashes.SHA256())


def new_serial() -> int:
    """159 random bits: two authorities never meet, and nobody can predict the bytes that will be signed."""
    return x509.random_serial_number()


def serial_text(serial: int) -> str:
    """How a serial number is written in the database."""
    return f"{serial:x}"


def pem(certificate: x509.Certificate) -> str:
    """The certificate as text."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


async def _create(tx: Tx, vault: Vault, settings: AuthoritySettings) -> None:
    root_key = ec.generate_private_key(ec.SECP256R1())
    root_name = _authority_name(settings, "Compass Root CA")
    root = _authority_certificate(root_name, root_key.public_key(), root_name, root_key, life=ROOT_LIFE, path_length=1)
    created = await tx.value(CREATE, **_row(vault, "root", root, root_key, signed_by=None))
    if created is None:
        return  # another process was faster, and has committed both by the time our insert gave way
    key = ec.generate_private_key(ec.SECP256R1())
    name = _authority_name(settings, "Compass Issuing CA")
    issuing = _authority_certificate(name, key.public_key(), root_name, root_key, life=ISSUING_LIFE, path_length=0)
    await tx.value(CREATE, **_row(vault, "issuing", issuing, key, signed_by=serial_text(root.serial_number)))


IN_FORCE = """
-- authority.in_force
SELECT kind, certificate, sealed_key FROM authority WHERE retired_at IS NULL
"""

CREATE = """
-- authority.create
INSERT INTO authority (serial, kind, certificate, sealed_key, signed_by)
VALUES (%(serial)s, %(kind)s, %(certificate)s, %(sealed_key)s, %(signed_by)s)
ON CONFLICT (kind) WHERE retired_at IS NULL DO NOTHING
RETURNING serial
"""


def _row(
    vault: Vault, kind: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, *, signed_by: str | None
) -> dict[str, str | None]:
    der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {
        "serial": serial_text(certificate.serial_number),
        "kind": kind,
        "certificate": pem(certificate),
        "sealed_key": vault.seal(_place(certificate), der),
        "signed_by": signed_by,
    }


def _place(certificate: x509.Certificate) -> str:
    return f"authority.sealed_key.{serial_text(certificate.serial_number)}"


def _authority_name(settings: AuthoritySettings, common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, settings.country),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, settings.organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _authority_certificate(
    name: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    life: timedelta,
    path_length: int,
) -> x509.Certificate:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(new_serial())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        if not _DNS_NAME.fullmatch(name.lower()):
            raise ServerNameRefused(name=name) from None
        return x509.DNSName(name.lower())
