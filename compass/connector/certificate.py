"""Signing requests and the certificates they become.

Whatever a request asks for, its certificate carries the subject the server built, the constant profile of
`issuer.py`, and the request's public key. The intent is recorded before a key is signed and the result after, in
the transaction that redeems the token: no certificate leaves the plane without its record, and a refused request
leaves the token usable. Certificates that were renewed from one another are one line, and end together.
Source of the checks and texts: contract/connector-agent-provisioner.md §B.5.
"""

import base64
import binascii
import hashlib
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import asyncpg
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from compass.connector import one_time_token
from compass.connector.authority import Authority
from compass.connector.issuer import Issuer, PublicKey, new_serial, pem, serial_text
from compass.connector.one_time_token import TokenRefused
from compass.errors import Code, CompassError, NotFound, Unauthorized
from compass.ids import SystemAuthId
from compass.postgres.pool import Tx

MAX_CSR_BYTES: Final = 16 * 1024
"""Of the PEM text. A request for RSA-4096 has under 2 kB."""

_RSA_BITS: Final = range(2048, 4097)
_RSA_EXPONENT: Final = 65537
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1)
_DIGESTS: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_PEM_BLOCK: Final = re.compile(
    r"-----BEGIN (?P<label>(?:NEW )?CERTIFICATE REQUEST)-----\s(?P<body>[A-Za-z0-9+/=\s]*)-----END (?P=label)-----"
)
_WIRE_NAMES: Final = {
    NameOID.COUNTRY_NAME: "country",
    NameOID.ORGANIZATION_NAME: "organization",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "organizational unit",
    NameOID.LOCALITY_NAME: "locality",
    NameOID.STATE_OR_PROVINCE_NAME: "province",
}


class CsrRefused(CompassError):
    """The signing request breaks a rule. The token it came with stays usable."""

    code = Code.INVALID_DATA
    message = "Error while signing Certificate Signing Request: {reason}"


class CsrUndecodable(CsrRefused):
    """What was sent is not base64, or too large to be looked at."""

    message = "Error while decoding Certificate Signing Request: {reason}"


class LineEnded(Unauthorized):
    """The certificate that a further one was asked for with is revoked."""

    def __init__(self) -> None:
        super().__init__(reason="the certificate was revoked")


class AuthorityReplaced(CompassError):
    """The authority that was about to sign is trusted no more; this replica follows within a second."""

    code = Code.CONCURRENT_UPDATE
    message = "the plane's certificate authority was just replaced; nothing was signed, send the request again"
    retryable = True


@dataclass(frozen=True)
class SigningRequest:
    """The only thing taken from a request that passed all checks."""

    public_key: PublicKey
    key_thumbprint: str
    """SHA-256 of the key's DER, lower-case hex."""


@dataclass(frozen=True)
class Issued:
    """A certificate as its holder gets it."""

    serial: str
    fingerprint: str
    not_before: datetime
    not_after: datetime
    pem: str
    ca_pem: str
    """The certificate that issued it."""

    @property
    def chain_pem(self) -> str:
        """The leaf followed by the issuing certificate."""
        return self.pem + self.ca_pem

    @property
    def client_certificate(self) -> str:
        """The leaf, as it is sent: base64 of PEM."""
        return _wire(self.pem)

    @property
    def ca_certificate(self) -> str:
        """The issuing certificate, as it is sent: base64 of PEM."""
        return _wire(self.ca_pem)

    @property
    def certificate_chain(self) -> str:
        """Leaf and issuing certificate, as they are sent: base64 of PEM."""
        return _wire(self.chain_pem)


@dataclass(frozen=True)
class ServerIdentity:
    """A key and its certificate, for a listener."""

    key_pem: str = field(repr=False)
    issued: Issued
    signed_by: str
    """Serial of the issuing certificate."""
    cross_pem: str
    """While two roots are trusted: what leads from the issuer's root to the other one; empty otherwise."""

    @property
    def chain_pem(self) -> str:
        """What the listener shows: leaf, issuing certificate, and what leads to every root that is trusted."""
        return self.issued.chain_pem + self.cross_pem

    @property
    def renew_at(self) -> datetime:
        """When two thirds of its life have passed: time enough for an operator to notice that renewal fails."""
        return self.issued.not_before + (self.issued.not_after - self.issued.not_before) * 2 / 3


def fingerprint(der: bytes) -> str:
    """SHA-256 of a certificate's DER, lower-case hex: how a certificate is named in revocations."""
    return hashlib.sha256(der).hexdigest()


def common_name(der: bytes) -> SystemAuthId | None:
    """Whom a verified client certificate speaks for, or None when it is none of ours to tell."""
    names = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return SystemAuthId(str(names[0].value)) if len(names) == 1 else None


async def pair(tx: Tx, authority: Authority, token: str, csr: str, *, announced: str | None = None) -> Issued:
    """Redeem the token for a certificate: both happen, or neither.

    A refused request leaves the token usable. The same token with the same key, within the token's life, gives
    the very same certificate, so a lost reply strands nobody; with another key it is refused, and that is announced.
    `announced` is the thumbprint of the key that the client says it uses. Raises TokenRefused, CsrRefused.
    """
    try:
        holder = await one_time_token.holder(tx, token)
    except TokenRefused:
        await one_time_token.refuse_other_key(tx, token, _key_in(csr))
        raise
    try:
        request = read(authority, holder.system_auth, csr)
        if announced not in (None, request.key_thumbprint):
            raise CsrRefused(reason="CSR: Connector-Key-Digest is not the SHA-256 of its public key.")
    except CsrRefused:
        if holder.used:
            raise TokenRefused from None  # a used token tells nothing, not even what is wrong with a request
        raise
    system_auth = await one_time_token.redeem(tx, token, key_thumbprint=request.key_thumbprint)
    digest = one_time_token.digest(token)
    earlier = await tx.row(ISSUED_FOR_TOKEN, token=digest)
    if earlier is not None:
        return _issued(earlier)
    try:
        return await _issue_client(
            tx, authority, system_auth, request, token_digest=digest, renewal_of=holder.asked_with
        )
    except LineEnded:
        raise TokenRefused from None


def _key_in(csr: str) -> str | None:
    try:
        return _thumbprint(_allowed_key(_parsed(_der(csr))[0]))
    except CsrRefused:
        return None


ISSUED_FOR_TOKEN = """
-- certificate.issued_for_token
SELECT issued.serial, issued.fingerprint, issued.not_before, issued.not_after, issued.pem, issuer.certificate AS ca_pem
FROM certificate issued JOIN authority issuer ON issuer.serial = issued.signed_by
WHERE issued.token_digest = %(token)s
"""


async def issue(
    tx: Tx, authority: Authority, system_auth: SystemAuthId, csr: str, *, renewal_of: str | None = None
) -> Issued:
    """Sign a request of a client that is authenticated already.

    `renewal_of` is the fingerprint of the certificate it authenticated with, which stays valid and has to be still.
    Raises CsrRefused, LineEnded, NotFound when the system auth is gone.
    """
    request = read(authority, system_auth, csr)
    return await _issue_client(tx, authority, system_auth, request, token_digest=None, renewal_of=renewal_of)


async def issue_server(tx: Tx, authority: Authority, *, names: Sequence[str]) -> ServerIdentity:
    """A new key and a certificate for a listener that is reached by `names`, host names and IP addresses.

    The key is in the result and nowhere else. Raises ServerNameRefused, AuthorityReplaced, and what signing raises.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    issuer = authority.issuer
    issued = await _issue_server(tx, issuer, key.public_key(), names=names)
    return ServerIdentity(key_pem.decode(), issued, issuer.serial, issuer.cross_pem)


async def issue_server_for(tx: Tx, authority: Authority, public_key: PublicKey, *, names: Sequence[str]) -> Issued:
    """The certificate of a listener that keeps its key to itself. Raises as `issue_server`."""
    return await _issue_server(tx, authority.issuer, public_key, names=names)


async def _issue_server(tx: Tx, issuer: Issuer, public_key: PublicKey, *, names: Sequence[str]) -> Issued:
    serial = new_serial()
    intended = await tx.run(
        INTEND_SERVER,
        serial=serial_text(serial),
        signed_by=issuer.serial,
        names=list(names),
        key_thumbprint=_thumbprint(public_key),
    )
    if not intended:
        raise AuthorityReplaced
    return await _record(tx, issuer, await issuer.sign_server(public_key, names=names, serial=serial))


# The lock, here and below: the end of an authority waits for whom it is about to sign for, and then counts that too; or
# this waits for the end, and then signs nothing.
INTEND_SERVER = """
-- certificate.intend_server
INSERT INTO certificate (serial, kind, signed_by, names, key_thumbprint)
SELECT %(serial)s, 'server', authority.serial, %(names)s, %(key_thumbprint)s
FROM authority WHERE authority.serial = %(signed_by)s AND authority.retired_at IS NULL FOR KEY SHARE
"""


async def _issue_client(
    tx: Tx,
    authority: Authority,
    system_auth: SystemAuthId,
    request: SigningRequest,
    *,
    token_digest: bytes | None,
    renewal_of: str | None,
) -> Issued:
    if renewal_of is not None:
        await tx.run(HOLD_LINE, fingerprint=renewal_of)
    serial, issuer = new_serial(), authority.issuer
    intended = await tx.run(
        INTEND_CLIENT,
        serial=serial_text(serial),
        signed_by=issuer.serial,
        system_auth=system_auth,
        key_thumbprint=request.key_thumbprint,
        token_digest=token_digest,
        renewal_of=renewal_of,
    )
    if not intended:
        if await tx.value(IS_REPLACED, serial=issuer.serial):
            raise AuthorityReplaced
        raise LineEnded() if renewal_of is not None else NotFound(object="systemAuth")
    return await _record(
        tx, issuer, await issuer.sign_client(request.public_key, common_name=system_auth, serial=serial)
    )


# A revocation of the line waits, so that it also sees, and ends, this certificate; or this waits for the revocation,
# and the statement that follows sees that.
HOLD_LINE = """
-- certificate.hold_line
SELECT FROM certificate
WHERE serial = (SELECT earlier.lineage FROM certificate earlier WHERE earlier.fingerprint = %(fingerprint)s)
FOR SHARE
"""
# The lock makes a deletion of the system auth wait, so that its trigger also sees, and ends, this certificate.
INTEND_CLIENT = """
-- certificate.intend_client
INSERT INTO certificate (serial, kind, signed_by, system_auth_id, names, key_thumbprint, token_digest, renewal_of)
SELECT %(serial)s, 'client', authority.serial, system_auth.id, ARRAY[system_auth.id::text], %(key_thumbprint)s,
    %(token_digest)s, %(renewal_of)s
FROM system_auth JOIN authority ON authority.serial = %(signed_by)s AND authority.retired_at IS NULL
WHERE system_auth.id = %(system_auth)s AND (%(renewal_of)s::text IS NULL OR EXISTS (
    SELECT FROM certificate earlier WHERE earlier.fingerprint = %(renewal_of)s AND earlier.revoked_at IS NULL
)) FOR KEY SHARE
"""
IS_REPLACED = """
-- certificate.is_replaced
SELECT retired_at IS NOT NULL FROM authority WHERE serial = %(serial)s
"""


async def _record(tx: Tx, issuer: Issuer, certificate: x509.Certificate) -> Issued:
    row = await tx.row(
        RECORD,
        ca_pem=issuer.ca_pem,
        serial=serial_text(certificate.serial_number),
        fingerprint=fingerprint(certificate.public_bytes(serialization.Encoding.DER)),
        pem=pem(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )
    if row is None:
        raise AssertionError("the intent was written a moment ago, in this transaction")
    return _issued(row)


RECORD = """
-- certificate.record
UPDATE certificate
SET fingerprint = %(fingerprint)s, pem = %(pem)s, not_before = %(not_before)s, not_after = %(not_after)s
WHERE serial = %(serial)s
RETURNING serial, fingerprint, not_before, not_after, pem, %(ca_pem)s::text AS ca_pem
"""


def _issued(row: asyncpg.Record) -> Issued:
    return Issued(
        serial=row["serial"],
        fingerprint=row["fingerprint"],
        not_before=row["not_before"],
        not_after=row["not_after"],
        pem=row["pem"],
        ca_pem=row["ca_pem"],
    )


def read(authority: Authority, system_auth: SystemAuthId, csr: str) -> SigningRequest:
    """Check a signing request, base64 of PEM, that should be the system auth's. Raises CsrRefused, nothing else.

    Only the first value of each part of its subject is compared; the rest of it, and every extension it asks for,
    is ignored, since nothing of it reaches the certificate.
    """
    request, subject = _parsed(_der(csr))
    public_key = _allowed_key(request)
    _check_signature(request)
    _check_subject(subject, authority, system_auth)
    return SigningRequest(public_key, _thumbprint(public_key))


def _der(csr: str) -> bytes:
    # Four characters carry three bytes; clients may wrap their lines.
    if len(csr) > MAX_CSR_BYTES * 3 // 2:
        raise CsrUndecodable(reason=f"it is larger than {MAX_CSR_BYTES} bytes.")
    try:
        text = base64.b64decode(csr.replace("\r", "").replace("\n", ""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise CsrUndecodable(reason="Error while parsing base64 content. Incorrect value provided.") from error
    if len(text) > MAX_CSR_BYTES:
        raise CsrUndecodable(reason=f"it is larger than {MAX_CSR_BYTES} bytes.")
    lines = text.decode("latin-1")
    block = _PEM_BLOCK.search(lines)
    # Two blocks are two requests, and which of them was meant is not ours to guess.
    if block is None or lines.count("-----BEGIN ") != 1:
        raise CsrRefused(reason="Error while decoding pem block.")
    try:
        return base64.b64decode("".join(block["body"].split()), validate=True)
    except binascii.Error as error:
        raise CsrRefused(reason="Error while decoding pem block.") from error


def _parsed(der: bytes) -> tuple[x509.CertificateSigningRequest, list[x509.NameAttribute[str | bytes]]]:
    """The request and its subject, which is read here once: most of what can be wrong with it shows only then."""
    try:
        # The parser warns of values of unusual length; they are compared with ours, so they need no warning.
        with warnings.catch_warnings(action="ignore"):
            request = x509.load_der_x509_csr(der)
            return request, list(request.subject)
    except Exception as error:  # the parser raises KeyError, UnsupportedAlgorithm, InvalidVersion and more
        raise CsrRefused(reason="Error while parsing CSR: it is not a PKCS#10 certification request.") from error


def _allowed_key(request: x509.CertificateSigningRequest) -> PublicKey:
    """The public key, checked before anything is computed with it: verifying under a hostile key is slow."""
    try:
        key = request.public_key()
    except Exception as error:  # as above: an unknown curve, a point off it, an even modulus…
        raise _key_refused() from error
    match key:
        case ec.EllipticCurvePublicKey() if isinstance(key.curve, _CURVES):
            return key
        case rsa.RSAPublicKey() if key.key_size in _RSA_BITS:
            numbers = key.public_numbers()
            if numbers.e == _RSA_EXPONENT and not _breakable(numbers.n):
                return key
    raise _key_refused()


def _key_refused() -> CsrRefused:
    return CsrRefused(
        reason="CSR: Invalid key provided. Use RSA of 2048 to 4096 bits with exponent 65537, or P-256, or P-384."
    )


def _small_primes(below: int) -> list[int]:
    return [n for n in range(2, below) if all(n % p for p in range(2, math.isqrt(n) + 1))]


_SMALL_FACTORS: Final = math.prod(_small_primes(10_000))
# Keys of the faulty Infineon library are powers of 65537 modulo every small prime; of a sound key this is true with
# a chance of 2^-27. Source: Nemec et al., "The Return of Coppersmith's Attack" (CVE-2017-15361), §5.
_ROCA_RESIDUES: Final = {
    prime: frozenset(pow(65537, power, prime) for power in range(prime)) for prime in _small_primes(168)[1:]
}
_FERMAT_STEPS: Final = 100


def _breakable(modulus: int) -> bool:
    """Whether a modulus of good length can still be factored by anyone."""
    if math.gcd(modulus, _SMALL_FACTORS) != 1:
        return True
    if all(modulus % prime in residues for prime, residues in _ROCA_RESIDUES.items()):
        return True
    # Fermat: two prime factors that lie close together are found from the square root, at once.
    root = math.isqrt(modulus)
    if root * root == modulus:
        return True
    for middle in range(root + 1, root + 1 + _FERMAT_STEPS):
        square = middle * middle - modulus
        if math.isqrt(square) ** 2 == square:
            return True
    return False


def _check_signature(request: x509.CertificateSigningRequest) -> None:
    try:
        sound = isinstance(request.signature_hash_algorithm, _DIGESTS) and request.is_signature_valid
    except Exception as error:  # as above
        raise _signature_refused() from error
    if not sound:
        raise _signature_refused()


def _signature_refused() -> CsrRefused:
    return CsrRefused(
        reason="CSR signature invalid: it was not made with the key of the request and SHA-256, SHA-384 or SHA-512."
    )


def _check_subject(
    subject: list[x509.NameAttribute[str | bytes]], authority: Authority, system_auth: SystemAuthId
) -> None:
    first: dict[x509.ObjectIdentifier, str | bytes] = {}
    for attribute in subject:
        first.setdefault(attribute.oid, attribute.value)
    if first.get(NameOID.COMMON_NAME) != system_auth:
        raise CsrRefused(reason="CSR: Invalid common name provided.")
    for oid, expected in authority.subject_parts().items():
        if oid not in first:
            raise CsrRefused(reason=f"CSR: No {_WIRE_NAMES[oid]} provided.")
        if first[oid] != expected:
            raise CsrRefused(reason=f"CSR: Invalid {_WIRE_NAMES[oid]} provided.")


def _thumbprint(public_key: PublicKey) -> str:
    der = public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def _wire(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
