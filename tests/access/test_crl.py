# ruff: noqa: E501
# Texts and extensions stand on one line, as they are compared.
"""Revocation lists of other authorities: what is read from them, and that each that would pass over something is not.

`COMPASS_PROOF=1` changes a list in 20,000 ways, and otherwise in 300; one that is believed is shown.
"""

import os
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from compass.access import crl
from compass.access.crl import ListUnusable, RevocationList

from .foreign import ForeignAuthority

AUTHORITY = ForeignAuthority()
NOW = datetime.now(UTC).replace(microsecond=0)
CHANGES = 20_000 if os.environ.get("COMPASS_PROOF") else 300
OURS = x509.IssuingDistributionPoint
NAMED = [x509.UniformResourceIdentifier("http://crl.example/1.crl")]
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")


def read(data: bytes, authority: ForeignAuthority = AUTHORITY) -> RevocationList:
    return crl.read(data, authority.certificate, now=NOW)


def problem(data: bytes, authority: ForeignAuthority = AUTHORITY) -> str:
    with pytest.raises(ListUnusable) as refused:
        read(data, authority)
    return str(refused.value)


def test_a_list_says_which_certificates_are_revoked_and_how_long_it_is_good() -> None:
    data = AUTHORITY.revoke(7, 2**150, at=NOW, ends=timedelta(hours=6))

    wanted = RevocationList(NOW, NOW + timedelta(hours=6), frozenset({7, 2**150}))
    assert read(data) == wanted
    pem = x509.load_der_x509_crl(data).public_bytes(Encoding.PEM)
    assert read(b"a comment\n" + pem) == wanted
    assert read(AUTHORITY.revoke(at=NOW)).serials == frozenset()


@pytest.mark.parametrize("reason", list(x509.ReasonFlags))
def test_whatever_the_reason_the_certificate_is_revoked(reason: x509.ReasonFlags) -> None:
    assert read(AUTHORITY.revoke(7, at=NOW, of_entry=x509.CRLReason(reason))).serials == {7}


@pytest.mark.parametrize(
    ("extension", "critical", "wanted"),
    [
        (x509.DeltaCRLIndicator(1), True, "it is a list of changes to another one (delta)"),
        (OURS(None, None, False, False, None, True, False), True, "it is a list for other authorities, too (indirect)"),
        (OURS(None, None, False, True, None, False, False), True, "it is a list for a part of the certificates or of the reasons"),
        (OURS(None, None, False, False, None, False, True), True, "it is a list for a part of the certificates or of the reasons"),
        (OURS(NAMED, None, False, False, None, False, False), True, "it is a list for a part of the certificates or of the reasons"),
        (OURS(None, None, False, False, frozenset({x509.ReasonFlags.key_compromise}), False, False), True, "it is a list for a part of the certificates or of the reasons"),
        (UNKNOWN, True, "it has a critical extension that is not known here"),
    ],
)  # fmt: skip
def test_a_list_that_would_pass_over_something_is_refused(extension: Any, critical: bool, wanted: str) -> None:
    assert problem(AUTHORITY.revoke(7, at=NOW, of_list=(extension, critical))) == wanted


@pytest.mark.parametrize(
    ("extension", "critical"),
    [
        (OURS(None, None, True, False, None, False, False), True), (x509.CRLNumber(3), False), (UNKNOWN, False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(AUTHORITY.key.public_key()), False),
    ],
)  # fmt: skip
def test_what_narrows_nothing_is_taken(extension: Any, critical: bool) -> None:
    assert read(AUTHORITY.revoke(7, at=NOW, of_list=(extension, critical))).serials == {7}


def test_an_entry_that_is_about_more_than_a_serial_number_spoils_the_list() -> None:
    issuer = x509.CertificateIssuer([x509.DirectoryName(ForeignAuthority().name)])

    assert (
        problem(AUTHORITY.revoke(7, at=NOW, of_entry=issuer, critical=True))
        == "it is a list for other authorities, too (indirect)"
    )
    assert (
        problem(AUTHORITY.revoke(7, at=NOW, of_entry=UNKNOWN, critical=True))
        == "an entry has a critical extension that is not known here"
    )
    assert read(AUTHORITY.revoke(7, at=NOW, of_entry=UNKNOWN)).serials == {7}


def test_a_list_is_that_of_its_authority_by_name_and_by_key() -> None:
    namesake, other = ForeignAuthority(), ForeignAuthority((("CN", "other"),))
    data = AUTHORITY.revoke(7, at=NOW)

    assert problem(data, namesake) == "the authority did not sign it"
    assert problem(data, other) == "it is the list of another authority"
    assert problem(AUTHORITY.revoke(7, at=NOW, key=other.key)) == "the authority did not sign it"
    assert problem(data.replace(b"Example Issuing", b"Example issuing")) == "it is the list of another authority"


def test_an_authority_that_may_not_sign_lists_has_none() -> None:
    mute = ForeignAuthority(signs_lists=False)

    assert problem(mute.revoke(7, at=NOW), mute) == "the authority's certificate does not let it sign lists"


def test_weak_signatures_are_refused_and_modern_ones_taken() -> None:
    weak = ForeignAuthority(key=rsa.generate_private_key(65537, 2048))
    modern = ForeignAuthority(key=ed25519.Ed25519PrivateKey.generate())

    short = weak.revoke(7, at=NOW, digest=hashes.SHA224())
    assert problem(short, weak) == "it is signed with a weak algorithm"
    assert read(weak.revoke(7, at=NOW), weak).serials == {7}
    assert read(modern.revoke(7, at=NOW), modern).serials == {7}


def test_a_list_is_good_in_its_time_only() -> None:
    assert problem(AUTHORITY.revoke(7, at=NOW - timedelta(days=2), ends=timedelta(days=2))).startswith(
        "it was good until "
    )
    late = NOW + crl.LEEWAY + timedelta(seconds=1)
    assert problem(AUTHORITY.revoke(7, at=late)) == "it was made in the future; one of the clocks is wrong"
    assert read(AUTHORITY.revoke(7, at=NOW + crl.LEEWAY)).serials == {7}


def test_what_is_no_list_is_refused_whatever_it_is() -> None:
    data = AUTHORITY.revoke(7, at=NOW)
    pem = x509.load_der_x509_crl(data).public_bytes(Encoding.PEM)

    for wrong in (b"", b"x", data[:-1], data + b"\0", AUTHORITY.pem, b"-----BEGIN X509 CRL-----\n", b"<html>"):
        assert problem(wrong) == "it is no revocation list"
    assert problem(pem + pem) == "the file holds several lists; give each authority its own"
    assert problem(bytes(crl.LARGEST_BYTES + 1)) == "it has more than 8,388,608 bytes"


def test_no_list_that_was_changed_is_believed(record_property: Any) -> None:
    chance, sound = random.SystemRandom(), AUTHORITY.revoke(*range(5, 25), at=NOW)
    for _ in range(CHANGES):
        changed = bytearray(sound)
        for _ in range(chance.choice((1, 1, 2, 5))):
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        if bytes(changed) == sound:
            continue
        try:
            found = read(bytes(changed))
        except ListUnusable:
            continue
        # A signature can be written in several ways; what is signed cannot.
        assert found == read(sound), changed.hex()
    record_property("cases", CHANGES)
