"""The one module that signs: a root, its issuing certificate, and the constant profile of what that one signs.

What a certificate says is decided here: a client's request contributes its public key and nothing more. Everything is
first signed with a key that nobody trusts and held against the profile; only then is the authority's key used, on the
very same bytes, and its signature verified.
"""

import asyncio
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID, ObjectIdentifier

from compass.connector.signer import Signer, SignerFailed
from compass.errors import Code, CompassError
from compass.settings import AuthoritySettings

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

ROOT_LIFE: Final = timedelta(days=20 * 365)
ISSUING_LIFE: Final = timedelta(days=10 * 365)
SERVER_LIFE: Final = timedelta(days=397)
"""The longest that clients accept of a server. Source: CA/Browser Forum Baseline Requirements §6.3.2."""
CLOCK_SKEW: Final = timedelta(minutes=5)
"""A certificate is valid this long before it was signed: the clock of the one who receives it may be behind."""
WARN_BELOW: Final = 0.2
"""Of an authority's life. Of ten years two are left then; replacing it takes as long as clients' certificates live."""

_DNS_NAME: Final = re.compile(
    r"(?=.{1,253}\Z)(\*\.)?([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*"
)
_LONGEST_COMMON_NAME: Final = 64
"""Source: RFC 5280, appendix A.1, ub-common-name."""
_LEAST_SERIAL_BITS: Final = 65
_DRAFT_KEY: Final = ec.generate_private_key(ec.SECP256R1())
"""Trusted by nobody."""
_ECDSA_WITH_SHA256: Final = bytes.fromhex("300a06082a8648ce3d040302")
"""Source: RFC 5758 §3.2."""
_PROFILE: Final = (
    (ExtensionOID.BASIC_CONSTRAINTS, True),
    (ExtensionOID.KEY_USAGE, True),
    (ExtensionOID.SUBJECT_KEY_IDENTIFIER, False),
    (ExtensionOID.AUTHORITY_KEY_IDENTIFIER, False),
    (ExtensionOID.EXTENDED_KEY_USAGE, False),
)
"""The extensions of every certificate, in order, and whether each is critical; a server's has its names besides."""


class AuthorityExpired(CompassError):
    """The issuing certificate has ended, so nothing it signs would be valid."""

    code = Code.INTERNAL
    message = "the plane's certificate authority expired at {expired_at}; nothing can be signed until it is replaced"


class AuthorityKeyMissing(CompassError):
    """The key of the issuing certificate is with an external signer, and none is configured here."""

    code = Code.INTERNAL
    message = (
        "the plane has no access to the key {key!r} of its certificate authority; set authority.signer_command to the "
        "program that holds it, as on the other replicas"
    )


class ServerNameRefused(CompassError):
    """A server certificate was asked for something that is neither a host name nor an address."""

    code = Code.INVALID_DATA
    message = "{name!r} is neither a host name nor an IP address"


@dataclass(frozen=True)
class Generation:
    """A root with its issuing certificate, as they are made: together, and never to be changed."""

    root: x509.Certificate
    root_key: ec.EllipticCurvePrivateKey
    issuing: x509.Certificate


@dataclass(frozen=True, repr=False)
class Issuer:
    """An issuing certificate with whoever holds its key. `certificate.py` calls `sign_…`: it keeps the record."""

    settings: AuthoritySettings
    root: x509.Certificate
    certificate: x509.Certificate
    signer: Signer | None
    """None when it is external and not configured here."""
    signer_key: str
    cross: x509.Certificate | None = None
    """The root as the other trusted root signed it, so that who trusts either believes in what is signed here."""

    @property
    def serial(self) -> str:
        """Names the issuing certificate in the record of what it signed."""
        return serial_text(self.certificate.serial_number)

    @property
    def ca_pem(self) -> str:
        """The issuing certificate: what a client gets as `caCertificate`."""
        return pem(self.certificate)

    @property
    def root_pem(self) -> str:
        """The root."""
        return pem(self.root)

    @property
    def cross_pem(self) -> str:
        """What a server shows after the issuing certificate while two roots are trusted; empty otherwise."""
        return "" if self.cross is None else pem(self.cross)

    @property
    def not_after(self) -> datetime:
        """Nothing signed here is valid for longer."""
        return self.certificate.not_valid_after_utc

    def subject_parts(self) -> dict[ObjectIdentifier, str]:
        """What all clients' subjects share, in the order of the original's certificates."""
        return {
            NameOID.COUNTRY_NAME: self.settings.country,
            NameOID.ORGANIZATION_NAME: self.settings.organization,
            NameOID.ORGANIZATIONAL_UNIT_NAME: self.settings.organizational_unit,
            NameOID.LOCALITY_NAME: self.settings.locality,
            NameOID.STATE_OR_PROVINCE_NAME: self.settings.province,
        }

    async def sign_client(self, public_key: PublicKey, *, common_name: str, serial: int) -> x509.Certificate:
        """A certificate that authenticates a client as `common_name` and is good for nothing else.

        Raises AuthorityExpired, AuthorityKeyMissing, SignerFailed.
        """
        parts = {**self.subject_parts(), NameOID.COMMON_NAME: common_name}
        subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in parts.items()])
        builder = self._profile(public_key, subject, serial, self.settings.client_validity)
        return await self._signed(_for(builder, ExtendedKeyUsageOID.CLIENT_AUTH), _PROFILE)

    async def sign_server(self, public_key: PublicKey, *, names: Sequence[str], serial: int) -> x509.Certificate:
        """A certificate for a listener that is reached by `names`, host names and IP addresses.

        Raises ServerNameRefused, AuthorityExpired, AuthorityKeyMissing, SignerFailed.
        """
        alternatives = [_alternative(name) for name in names]
        subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, self.settings.organization)]
        if names and len(names[0]) <= _LONGEST_COMMON_NAME:
            subject.append(x509.NameAttribute(NameOID.COMMON_NAME, names[0]))
        builder = self._profile(public_key, x509.Name(subject), serial, SERVER_LIFE - CLOCK_SKEW)
        builder = _for(builder, ExtendedKeyUsageOID.SERVER_AUTH).add_extension(
            x509.SubjectAlternativeName(alternatives), critical=False
        )
        return await self._signed(builder, (*_PROFILE, (ExtensionOID.SUBJECT_ALTERNATIVE_NAME, False)))

    async def sign_revocations(
        self, revoked: Sequence[tuple[str, datetime]], *, number: int, at: datetime, life: timedelta
    ) -> x509.CertificateRevocationList:
        """The list of revoked certificates, by serial and when, that is good for `life`.

        Takes about ten seconds of processor time for a million, in a thread. `number` has to be greater than that of
        every earlier list of this authority. Raises AuthorityExpired, AuthorityKeyMissing, SignerFailed.
        Source: RFC 5280 §5.2.3.
        """
        signer = self._able(at)
        # In a thread: a long list takes seconds, and everybody else would wait.
        draft = await asyncio.to_thread(self._draft_revocations, revoked, number, at, life)
        signature = await signer.sign(draft.tbs_certlist_bytes)
        made = await asyncio.to_thread(x509.load_der_x509_crl, _assembled(draft.tbs_certlist_bytes, signature))
        if not made.is_signature_valid(self._public_key()):
            raise _not_its_signature()
        return made

    def _draft_revocations(
        self, revoked: Sequence[tuple[str, datetime]], number: int, at: datetime, life: timedelta
    ) -> x509.CertificateRevocationList:
        entries = [
            x509.RevokedCertificateBuilder().serial_number(int(serial, 16)).revocation_date(when).build()
            for serial, when in revoked
        ]
        return (
            x509.CertificateRevocationListBuilder(revoked_certificates=entries)
            .issuer_name(self.certificate.subject)
            .last_update(max(at - CLOCK_SKEW, self.certificate.not_valid_before_utc))
            .next_update(min(at + life, self.not_after))
            .add_extension(self._key_identifier(), critical=False)
            .add_extension(x509.CRLNumber(number), critical=False)
            .sign(_DRAFT_KEY, hashes.SHA256())
        )

    def _profile(
        self, public_key: PublicKey, subject: x509.Name, serial: int, life: timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.certificate.subject)
            .public_key(public_key)
            .serial_number(serial)
            .not_valid_before(max(now - CLOCK_SKEW, self.certificate.not_valid_before_utc))
            .not_valid_after(max(min(now + life, self.not_after), self.certificate.not_valid_before_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(self._key_identifier(), critical=False)
        )

    def _key_identifier(self) -> x509.AuthorityKeyIdentifier:
        key = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key)

    async def _signed(
        self, builder: x509.CertificateBuilder, profile: Sequence[tuple[ObjectIdentifier, bool]]
    ) -> x509.Certificate:
        signer = self._able(datetime.now(UTC))
        draft = builder.sign(_DRAFT_KEY, hashes.SHA256())
        self._require_profile(draft, profile)
        signature = await signer.sign(draft.tbs_certificate_bytes)
        certificate = x509.load_der_x509_certificate(_assembled(draft.tbs_certificate_bytes, signature))
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except InvalidSignature as error:
            raise _not_its_signature() from error
        return certificate

    def _able(self, now: datetime) -> Signer:
        if now >= self.not_after:
            raise AuthorityExpired(expired_at=self.not_after.isoformat())
        if self.signer is None:
            raise AuthorityKeyMissing(key=self.signer_key)
        return self.signer

    def _require_profile(self, draft: x509.Certificate, profile: Sequence[tuple[ObjectIdentifier, bool]]) -> None:
        """The last look before the key is used. Whatever fails here is a mistake of ours."""
        constraints = draft.extensions.get_extension_for_class(x509.BasicConstraints).value
        if not (
            [(each.oid, each.critical) for each in draft.extensions] == list(profile)
            and not constraints.ca
            and draft.not_valid_after_utc <= self.not_after
            and draft.serial_number.bit_length() >= _LEAST_SERIAL_BITS
            and len(draft.subject.get_attributes_for_oid(NameOID.COMMON_NAME)) <= 1
        ):
            raise AssertionError("a certificate outside the profile was about to be signed")

    def _public_key(self) -> ec.EllipticCurvePublicKey:
        key = self.certificate.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise TypeError("the authority signs with an elliptic curve")
        return key


def new_serial() -> int:
    """159 random bits: two authorities never meet, and nobody can predict the bytes that will be signed."""
    return x509.random_serial_number()


def serial_text(serial: int) -> str:
    """How a serial number is written in the database."""
    return f"{serial:x}"


def pem(certificate: x509.Certificate) -> str:
    """The certificate as text."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def is_ending(certificate: x509.Certificate, now: datetime) -> bool:
    """Whether so little of an authority's life is left that it has to be replaced."""
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return certificate.not_valid_after_utc - now < life * WARN_BELOW


def new_generation(settings: AuthoritySettings, issuing_key: ec.EllipticCurvePublicKey) -> Generation:
    """A new root, and the issuing certificate of that key, signed by it.

    The root's key has signed for the last time, but for the certificates that lead from one root to the next.
    """
    root_key = ec.generate_private_key(ec.SECP256R1())
    name = _authority_name(settings, "Compass Root CA")
    # Two below it: its successor's root when that takes over, and what that signs.
    root = _authority_certificate(name, root_key.public_key(), name, root_key, ends=_in(ROOT_LIFE), path_length=2)
    issuing = _authority_certificate(
        _authority_name(settings, "Compass Issuing CA"),
        issuing_key,
        name,
        root_key,
        ends=min(_in(ISSUING_LIFE), root.not_valid_after_utc),
        path_length=0,
    )
    return Generation(root, root_key, issuing)


def cross_signed(root: x509.Certificate, *, by: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """The root once more, signed by another: who trusts that one believes in what this one signed.

    Both have the same name as long as its parts are not changed in the settings, so that the certificate counts as
    self-issued and lengthens no path. Source: RFC 4210 §4.4, "old with new" and "new with old"; RFC 5280 §6.1.
    """
    root_key = root.public_key()
    if not isinstance(root_key, ec.EllipticCurvePublicKey):
        raise TypeError("the authority signs with an elliptic curve")
    ends = min(root.not_valid_after_utc, by.not_valid_after_utc)
    return _authority_certificate(root.subject, root_key, by.subject, key, ends=ends, path_length=1)


def _in(life: timedelta) -> datetime:
    return datetime.now(UTC) + life


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
    ends: datetime,
    path_length: int,
) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(new_serial())
        .not_valid_before(datetime.now(UTC) - CLOCK_SKEW)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _for(builder: x509.CertificateBuilder, purpose: ObjectIdentifier) -> x509.CertificateBuilder:
    return builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)


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


def _assembled(signed: bytes, signature: bytes) -> bytes:
    """What was signed, how, and the signature, as certificates and lists have it. Source: RFC 5280 §4.1, §5.1."""
    return _tlv(0x30, signed + _ECDSA_WITH_SHA256 + _tlv(0x03, b"\x00" + signature))


def _tlv(tag: int, content: bytes) -> bytes:
    if len(content) < 0x80:  # noqa: PLR2004  # from here on the length has a length
        return bytes((tag, len(content))) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _not_its_signature() -> SignerFailed:
    return SignerFailed(reason="its signature is not one of the authority's key")
