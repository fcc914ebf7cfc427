"""Pairing: a one-time token becomes a certificate, and the certificate is renewed before it ends.

What is kept in the folder, all of one identity or all of the next, because `current` is switched at once:

    client.key  client.crt  chain.crt  ca.crt  connection.json     links into `current`
    current -> identities/<fingerprint>                            the previous identity is kept beside it
    pairing/                                                       an attempt that has not ended: key, then answers
    renewal/                                                       the same for a renewal

The key reaches the disk before the first request that mentions it and an attempt always uses the same one, so
whatever was interrupted continues: every request names the key, and the plane gives the same answer for the same token
and key. What got no answer is asked again at once, a few times; after that it is for the caller to come back.
"""

import asyncio
import base64
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID, ObjectIdentifier

from compass.client.graphql import (
    ClientCertificate,
    Endpoint,
    OneTimeToken,
    Plane,
    PlaneAnswerUnreadable,
    PlaneRefused,
    PlaneUnreachable,
    Trust,
)
from compass.errors import Code, CompassError
from compass.files import private_folder, sync_folder, write_private, write_private_json

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

RENEW_BELOW: Final = 0.3
"""A certificate is renewed when less than this share of its life is left. Source: contract §C.6."""

_ASK_AGAIN_AFTER: Final = (0.1, 0.5, 2.0)
"""Seconds to wait before a request without an answer is made once more. A token lives for minutes."""
_KEPT: Final = ("client.key", "client.crt", "chain.crt", "ca.crt", "connection.json")
_ATTRIBUTES: Final[dict[str, ObjectIdentifier]] = {
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "L": NameOID.LOCALITY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "C": NameOID.COUNTRY_NAME,
    "CN": NameOID.COMMON_NAME,
}


class KeyAlgorithm(StrEnum):
    """The keys a client may bring; the plane takes both."""

    P256 = "p256"
    RSA2048 = "rsa2048"


class TokenRefused(CompassError):
    """The one-time token is unknown, expired or already used; the plane does not say which. It stays refused."""

    code = Code.UNAUTHORIZED
    message = "the one-time token was refused: it is unknown, expired or already used; ask for a new one"


class ConfigurationIncomplete(CompassError):
    """The Connector's answer lacks something without which pairing cannot go on."""

    code = Code.EMPTY_DATA
    message = "the Connector's answer has no usable {missing}"
    retryable = True


class CertificateNotOurs(CompassError):
    """The certificate that came back is not the one that was asked for. It was not stored."""

    code = Code.INVALID_DATA
    message = "the certificate that came back cannot be used: {why}"


class NotPaired(CompassError):
    """The folder holds no complete identity."""

    code = Code.NOT_FOUND
    message = "{folder} holds no identity; pair first"


@dataclass(frozen=True)
class Connection:
    """An identity on disk, and the addresses it is used at."""

    folder: Path
    director_url: str
    connector_url: str
    subject: str
    client_id: str
    """The certificate's common name: the id of the system auth."""
    token_digest: str
    """SHA-256 of the token it was paired with; tells a new token from the one already spent."""
    not_before: datetime
    not_after: datetime

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The identity in the folder. Raises NotPaired."""
        try:
            stored = json.loads((folder / "connection.json").read_bytes())
            return cls(
                folder=folder,
                not_before=datetime.fromisoformat(stored.pop("not_before")),
                not_after=datetime.fromisoformat(stored.pop("not_after")),
                **stored,
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise NotPaired(folder=str(folder)) from None

    def stored(self) -> dict[str, Any]:
        """What `read` reads."""
        facts = asdict(self) | {"not_before": self.not_before.isoformat(), "not_after": self.not_after.isoformat()}
        del facts["folder"]
        return facts

    def moved(self, *, director_url: str, connector_url: str) -> "Connection":
        """The same identity at other addresses, on disk too. Raises OSError."""
        there = replace(self, director_url=director_url, connector_url=connector_url)
        write_private_json(self.folder.resolve() / "current" / "connection.json", there.stored())
        return there

    def plane(self, trust: Trust, *, tenant: str | None = None) -> Plane:
        """The plane, spoken to with this identity's certificate."""
        return Plane(
            {Endpoint.DIRECTOR: self.director_url, Endpoint.CONNECTOR: self.connector_url},
            trust=trust,
            credentials=ClientCertificate(self.folder / "chain.crt", self.folder / "client.key"),
            tenant=tenant,
        )


@dataclass(frozen=True)
class ManagementPlane:
    """What the Connector says about the subject to ask for and the addresses to use."""

    subject: str
    director_url: str
    connector_url: str
    token: str | None = field(default=None, repr=False)
    """For the signing request; only a caller with a one-time token gets one."""

    def __repr__(self) -> str:
        return f"ManagementPlane({self.subject!r}, {self.director_url!r}, {self.connector_url!r})"

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Self:
        """The Connector's `configuration`, every part of which may be null. Raises ConfigurationIncomplete."""
        configuration = answer.get("configuration") or {}
        return cls(
            subject=_required(configuration, "certificateSigningRequestInfo", "subject"),
            director_url=_required(configuration, "managementPlaneInfo", "directorURL"),
            connector_url=_required(configuration, "managementPlaneInfo", "certificateSecuredConnectorURL"),
            token=(configuration.get("token") or {}).get("token"),
        )


def _required(configuration: dict[str, Any], part: str, name: str) -> str:
    value = (configuration.get(part) or {}).get(name)
    if not isinstance(value, str) or not value:
        raise ConfigurationIncomplete(missing=name)
    return value


def digest(token: str) -> str:
    """What is kept of a token to recognise it."""
    return sha256(token.encode()).hexdigest()


def named(subject: str) -> x509.Name:
    """The subject in the order given: `O=Org,OU=Unit,L=City,ST=State,C=DE,CN=<id>`. Raises ConfigurationIncomplete."""
    attributes = []
    for part in re.split(r"(?<!\\),", subject):
        key, separator, value = part.strip().partition("=")
        if not separator or key.upper() not in _ATTRIBUTES:
            raise ConfigurationIncomplete(missing="subject")
        try:
            attributes.append(x509.NameAttribute(_ATTRIBUTES[key.upper()], re.sub(r"\\(.)", r"\1", value)))
        except ValueError:
            raise ConfigurationIncomplete(missing="subject") from None
    return x509.Name(attributes)


def new_key(algorithm: KeyAlgorithm) -> PrivateKey:
    """A fresh key. RSA takes a tenth of a second of processor time."""
    match algorithm:
        case KeyAlgorithm.P256:
            return ec.generate_private_key(ec.SECP256R1())
        case KeyAlgorithm.RSA2048:
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def key_pem(key: PrivateKey) -> bytes:
    """PKCS#8, not encrypted: the file's mode protects it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def key_digest(key: PrivateKey) -> str:
    """How a key is named in `Connector-Key-Digest`: SHA-256 of its public part's DER, lower-case hex."""
    return sha256(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def signing_request(key: PrivateKey, subject: str) -> str:
    """The argument of `signCertificateSigningRequest`: base64 of a PEM request with exactly this subject."""
    request = x509.CertificateSigningRequestBuilder().subject_name(named(subject)).sign(key, hashes.SHA256())
    return base64.b64encode(request.public_bytes(Encoding.PEM)).decode()


@dataclass(frozen=True)
class Issued:
    """PEM texts of a certificate that passed `issued`, and its validity."""

    client: bytes
    chain: bytes
    authority: bytes
    client_id: str
    not_before: datetime
    not_after: datetime


def issued(answer: dict[str, Any], *, key: PrivateKey, subject: str, now: datetime) -> Issued:
    """What the Connector signed, if it is ours: our key, our common name, valid now, issued by the authority it names.

    Raises CertificateNotOurs.
    """
    result = answer.get("signCertificateSigningRequest") or {}
    client, chain, authority = (
        _pem(result.get(name), name) for name in ("clientCertificate", "certificateChain", "caCertificate")
    )
    leaf, authorities = client[0], authority
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if leaf.public_key().public_bytes(*spki) != key.public_key().public_bytes(*spki):
        raise CertificateNotOurs(why="it carries another key")
    if chain[0] != leaf:
        raise CertificateNotOurs(why="its chain begins with another certificate")
    wanted = _common_names(named(subject))
    if _common_names(leaf.subject) != wanted or len(wanted) != 1:
        raise CertificateNotOurs(why="it carries another name")
    if not any(_signed_by(leaf, candidate) for candidate in authorities):
        raise CertificateNotOurs(why="the authority that came with it did not sign it")
    # Not checked against not_before: clocks of two machines differ by seconds, and the certificate is seconds old.
    if leaf.not_valid_after_utc <= now:
        raise CertificateNotOurs(why=f"it ended at {leaf.not_valid_after_utc.isoformat()}; compare the clocks")
    return Issued(
        client=_text(client[:1]),
        chain=_text(chain),
        authority=_text(authority),
        client_id=wanted[0],
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
    )


def _pem(encoded: Any, name: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(base64.b64decode(encoded, validate=True))
    except (ValueError, TypeError):
        raise CertificateNotOurs(why=f"{name} is not base64 of PEM certificates") from None


def _text(certificates: list[x509.Certificate]) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def _common_names(name: x509.Name) -> list[str]:
    return [str(attribute.value) for attribute in name.get_attributes_for_oid(NameOID.COMMON_NAME)]


def _signed_by(leaf: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def renewal_due(connection: Connection, *, now: datetime, jitter: float = 0.0) -> bool:
    """Whether to renew. `jitter`, 0 to 1, brings it forward by up to a tenth of the remaining share.

    A fleet paired in one minute then does not renew in one minute.
    """
    life = connection.not_after - connection.not_before
    return connection.not_after - now < life * RENEW_BELOW * (1 + jitter / 10)


@dataclass(frozen=True)
class _Attempt:
    """One way to one certificate, on disk from the first step. `folder` is deleted when it ended."""

    folder: Path
    key: PrivateKey

    @classmethod
    def resumed(cls, folder: Path, algorithm: KeyAlgorithm, *, purpose: str) -> Self:
        """The attempt of this purpose that was interrupted, or a new one with a new key."""
        try:
            key = load_pem_private_key((folder / "client.key").read_bytes(), None)
            same = json.loads((folder / "purpose.json").read_bytes()) == {"purpose": purpose, "algorithm": algorithm}
            if same and isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
                return cls(folder, key)
        except (OSError, ValueError):
            # Nothing was sent before both files were complete: starting afresh loses nothing.
            pass
        shutil.rmtree(folder, ignore_errors=True)
        private_folder(folder)
        key = new_key(algorithm)
        write_private(folder / "client.key", key_pem(key))
        write_private_json(folder / "purpose.json", {"purpose": purpose, "algorithm": algorithm})
        return cls(folder, key)

    def answered(self) -> ManagementPlane | None:
        """What `configuration` said before the interruption."""
        try:
            return ManagementPlane(**json.loads((self.folder / "answer.json").read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def keep_answer(self, answer: ManagementPlane) -> None:
        """Written before the signing request: the first token is spent now, only this second one goes on."""
        write_private_json(self.folder / "answer.json", asdict(answer))

    def forget_answer(self) -> None:
        (self.folder / "answer.json").unlink(missing_ok=True)

    def complete(self) -> bool:
        """Whether everything is here and only the switch is missing: `connection.json` is written last."""
        return (self.folder / "connection.json").exists()

    def staged(self, connection: Connection, certificate: Issued) -> Connection:
        """The new identity complete inside the attempt's folder, not yet in use."""
        write_private(self.folder / "client.crt", certificate.client)
        write_private(self.folder / "chain.crt", certificate.chain)
        write_private(self.folder / "ca.crt", certificate.authority)
        write_private_json(self.folder / "connection.json", connection.stored())
        return replace(connection, folder=self.folder)

    def install(self, folder: Path) -> Connection:
        """Make the staged identity the folder's own. The switch is one rename; the previous identity is kept."""
        certificate = x509.load_pem_x509_certificate((self.folder / "client.crt").read_bytes())
        home = folder / "identities" / certificate.fingerprint(hashes.SHA256()).hex()[:32]
        private_folder(home)
        for name in _KEPT:
            write_private(home / name, (self.folder / name).read_bytes())
        for name in _KEPT:
            _link(folder / name, f"current/{name}")
        current = folder / "current"
        kept = {home.name, current.readlink().name if current.is_symlink() else ""}
        _link(current, f"identities/{home.name}")
        sync_folder(folder)
        for other in (folder / "identities").iterdir():
            if other.name not in kept:
                shutil.rmtree(other, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        return Connection.read(folder)


def _link(path: Path, target: str) -> None:
    """A symbolic link, replaced at once when it exists."""
    if path.is_symlink() and str(path.readlink()) == target:
        return
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    beside.symlink_to(target)
    beside.replace(path)


def _now() -> datetime:
    return datetime.now(UTC)


async def pair(
    folder: Path,
    *,
    connector_url: str,
    token: str,
    trust: Trust,
    algorithm: KeyAlgorithm = KeyAlgorithm.P256,
    clock: Callable[[], datetime] = _now,
) -> Connection:
    """Turn a one-time token into an identity in the folder. For applications and runtimes alike.

    Answers that are lost are asked for again. May be repeated after any interruption: it continues, or ends with
    TokenRefused; a plane of the original says so when the answer to the first request was lost. A folder already
    paired with this very token is returned as it is; another token replaces the identity, and only once the new one is
    complete.

    Raises TokenRefused, ConfigurationIncomplete, CertificateNotOurs, OSError, and what `Plane.ask` raises.
    """
    try:
        present = Connection.read(folder)
    except NotPaired:
        pass
    else:
        if present.token_digest == digest(token):
            return present
    attempt = await asyncio.to_thread(_Attempt.resumed, folder / "pairing", algorithm, purpose=digest(token))
    if attempt.complete():
        return await asyncio.to_thread(attempt.install, folder)
    answer = attempt.answered()
    certificate = None
    if answer is not None:
        try:
            certificate = await _signed(connector_url, trust, attempt, answer, clock)
        except TokenRefused:
            # The second token may have ended meanwhile; the first one decides whether there is another.
            attempt.forget_answer()
    if answer is None or certificate is None:
        answer = await _configuration(connector_url, trust, attempt, token)
        attempt.keep_answer(answer)
        certificate = await _signed(connector_url, trust, attempt, answer, clock)
    return await asyncio.to_thread(_installed, attempt, folder, answer, certificate, digest(token))


def _installed(
    attempt: _Attempt, folder: Path, answer: ManagementPlane, certificate: Issued, token_digest: str
) -> Connection:
    attempt.staged(_connection(folder, answer, certificate, token_digest), certificate)
    return attempt.install(folder)


def _connection(folder: Path, answer: ManagementPlane, certificate: Issued, token_digest: str) -> Connection:
    return Connection(
        folder=folder,
        director_url=answer.director_url,
        connector_url=answer.connector_url,
        subject=answer.subject,
        client_id=certificate.client_id,
        token_digest=token_digest,
        not_before=certificate.not_before,
        not_after=certificate.not_after,
    )


async def _configuration(connector_url: str, trust: Trust, attempt: _Attempt, token: str) -> ManagementPlane:
    answer = ManagementPlane.of(await _asked(connector_url, trust, attempt, token, "Configuration"))
    if not answer.token:
        raise ConfigurationIncomplete(missing="token")
    return answer


async def _signed(
    connector_url: str, trust: Trust, attempt: _Attempt, answer: ManagementPlane, clock: Callable[[], datetime]
) -> Issued:
    request = {"csr": signing_request(attempt.key, answer.subject)}
    result = await _asked(connector_url, trust, attempt, answer.token or "", "SignCertificateSigningRequest", request)
    return issued(result, key=attempt.key, subject=answer.subject, now=clock())


async def _asked(
    connector_url: str,
    trust: Trust,
    attempt: _Attempt,
    token: str,
    document: str,
    variables: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Ask with a one-time token, again when no answer came: the key that goes with it makes the two one."""
    credentials = OneTimeToken(token, key_digest(attempt.key))
    for pause in (*_ASK_AGAIN_AFTER, None):
        async with Plane({Endpoint.CONNECTOR: connector_url}, trust=trust, credentials=credentials) as plane:
            try:
                return await plane.send(document, variables)
            except PlaneRefused as refusal:
                if refusal.unauthorized:
                    raise TokenRefused from refusal
                raise
            except (PlaneUnreachable, PlaneAnswerUnreadable):
                if pause is None:
                    raise
        await asyncio.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


async def renew(
    connection: Connection,
    *,
    trust: Trust,
    authorities: str = "",
    algorithm: KeyAlgorithm = KeyAlgorithm.P256,
    clock: Callable[[], datetime] = _now,
) -> Connection:
    """Replace the certificate, with a new key, by one that the plane has been seen to accept.

    The old identity stays in use until then, and stays valid at the plane. May be repeated after any interruption.
    `authorities`, PEM, are kept in `ca.crt` instead of the one that signed: all that the plane trusts.
    Raises as `pair` does, except TokenRefused.
    """
    folder = connection.folder
    serial = x509.load_pem_x509_certificate((folder / "client.crt").read_bytes()).serial_number
    attempt = await asyncio.to_thread(_Attempt.resumed, folder / "renewal", algorithm, purpose=f"after {serial:x}")
    async with connection.plane(trust) as plane:
        answer = ManagementPlane.of(await plane.send("ManagementPlane"))
        request = {"csr": signing_request(attempt.key, answer.subject)}
        result = await plane.send("SignCertificateSigningRequest", request)
    certificate = issued(result, key=attempt.key, subject=answer.subject, now=clock())
    if authorities:
        certificate = replace(certificate, authority=authorities.encode())
    fresh = _connection(folder, answer, certificate, connection.token_digest)
    staged = await asyncio.to_thread(attempt.staged, fresh, certificate)
    async with staged.plane(trust) as plane:
        await plane.send("ManagementPlane")
    return await asyncio.to_thread(attempt.install, folder)
