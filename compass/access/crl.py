"""A certificate revocation list, read and checked: the serial numbers that one authority takes back.

Taken is what alone says for every certificate of that authority whether it is good: a complete list that the authority
signed itself and that is in its time. Lists of changes (delta), lists for others (indirect), lists for a part of the
certificates or of the reasons, and whatever has a critical extension that is not known here are refused, as each of
them would pass over something. Source: RFC 5280 §5, §6.3.3.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.x509.oid import SignatureAlgorithmOID

LARGEST_BYTES: Final = 8 * 1024 * 1024
"""Some 200,000 revoked certificates, which are read within seconds, beside the requests."""
LEEWAY: Final = timedelta(minutes=5)
"""How far the authority's clock may be ahead of ours."""
_PEM: Final = b"-----BEGIN X509 CRL-----"
_HASHES: Final = (SHA256, SHA384, SHA512)
_WITHOUT_HASH: Final = (SignatureAlgorithmOID.ED25519, SignatureAlgorithmOID.ED448)


class ListUnusable(Exception):
    """It says nothing. The text says why, and holds nothing of the list."""


@dataclass(frozen=True)
class RevocationList:
    """What a list says."""

    issued_at: datetime
    good_until: datetime
    """When the authority will have made another one, at the latest."""
    serials: frozenset[int]
    """Of the certificates that are revoked or suspended."""


def read(data: bytes, authority: x509.Certificate, *, now: datetime) -> RevocationList:
    """The list of this authority in `data`, DER or PEM. Seconds for a large one: run it in a thread.

    Raises ListUnusable.
    """
    if len(data) > LARGEST_BYTES:
        raise ListUnusable(f"it has more than {LARGEST_BYTES:,} bytes")
    try:
        return _read(data, authority, now)
    except ListUnusable:
        raise
    except Exception:  # noqa: BLE001  # what is malformed has the library raise whatever it likes
        raise ListUnusable("it is no revocation list") from None


def _read(data: bytes, authority: x509.Certificate, now: datetime) -> RevocationList:
    if data.count(_PEM) > 1:
        raise ListUnusable("the file holds several lists; give each authority its own")
    found = x509.load_pem_x509_crl(data) if _PEM in data else x509.load_der_x509_crl(data)
    if found.issuer != authority.subject:
        raise ListUnusable("it is the list of another authority")
    _require_signature(found, authority)
    _require_complete(found)
    if found.last_update_utc > now + LEEWAY:
        raise ListUnusable("it was made in the future; one of the clocks is wrong")
    if found.next_update_utc is None:
        raise ListUnusable("it does not say how long it is good")
    if found.next_update_utc <= now:
        raise ListUnusable(f"it was good until {found.next_update_utc:%Y-%m-%d %H:%M} UTC")
    return RevocationList(found.last_update_utc, found.next_update_utc, frozenset(map(_serial, found)))


def _require_signature(found: x509.CertificateRevocationList, authority: x509.Certificate) -> None:
    try:
        usage = authority.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        pass
    else:
        if not usage.crl_sign:
            raise ListUnusable("the authority's certificate does not let it sign lists")
    if found.signature_algorithm_oid not in _WITHOUT_HASH and not isinstance(found.signature_hash_algorithm, _HASHES):
        raise ListUnusable("it is signed with a weak algorithm")
    key: CertificateIssuerPublicKeyTypes = authority.public_key()  # type: ignore[assignment]  # others do not sign
    if not found.is_signature_valid(key):
        raise ListUnusable("the authority did not sign it")


def _require_complete(found: x509.CertificateRevocationList) -> None:
    for extension in found.extensions:
        match extension.value:
            case x509.DeltaCRLIndicator():
                raise ListUnusable("it is a list of changes to another one (delta)")
            case x509.IssuingDistributionPoint() as scope:
                if scope.indirect_crl:
                    raise ListUnusable("it is a list for other authorities, too (indirect)")
                if any(
                    (
                        *(scope.full_name, scope.relative_name, scope.only_some_reasons),
                        *(scope.only_contains_ca_certs, scope.only_contains_attribute_certs),
                    )
                ):
                    raise ListUnusable("it is a list for a part of the certificates or of the reasons")
            case _:
                if extension.critical:
                    raise ListUnusable("it has a critical extension that is not known here")


def _serial(entry: x509.RevokedCertificate) -> int:
    for extension in entry.extensions:
        if isinstance(extension.value, x509.CertificateIssuer):
            raise ListUnusable("it is a list for other authorities, too (indirect)")
        if extension.critical and not isinstance(extension.value, x509.CRLReason):
            raise ListUnusable("an entry has a critical extension that is not known here")
    return entry.serial_number
