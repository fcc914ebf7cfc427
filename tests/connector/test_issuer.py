"""What is signed, seen by a second parser, and what is refused before the key is used."""

import asyncio
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from compass.connector import certificate, issuer
from compass.connector.authority import Authority
from compass.connector.issuer import AuthorityExpired, is_ending, new_serial
from compass.connector.signer import HeldKey
from compass.ids import SystemAuthId
from compass.postgres.pool import Tx
from compass.settings import AuthoritySettings
from compass.vault import Vault

OPENSSL = shutil.which("openssl") or ""
KEYS: dict[str, Callable[[], Any]] = {
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "rsa2048": lambda: rsa.generate_private_key(65537, 2048),
}


def openssl(folder: Path, *arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([OPENSSL, *arguments], cwd=folder, input=given, capture_output=True, check=False)


def described(folder: Path, pem: str) -> list[str]:
    """The certificate as OpenSSL reads it, without what differs from one to the next."""
    said = openssl(folder, "x509", "-noout", "-text", "-nameopt", "sep_multiline,utf8", given=pem.encode())
    return [line.strip() for line in said.stdout.decode().splitlines()]


@pytest.mark.parametrize("kind", KEYS)
async def test_openssl_finds_the_profile_and_nothing_else(
    tx: Tx, authority: Authority, system_auth: SystemAuthId, request_for: Any, tmp_path: Path, kind: str
) -> None:
    extensions = [
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (x509.SubjectAlternativeName([x509.DNSName("victim.example")]), False),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True),
    ]
    csr = request_for(system_auth, key=KEYS[kind](), extensions=extensions)
    issued = await certificate.issue(tx, authority, system_auth, csr)
    lines = await asyncio.to_thread(described, tmp_path, issued.pem)
    begin = lines.index("X509v3 extensions:")
    end = next(n for n, line in enumerate(lines) if n > begin and line.startswith("Signature Algorithm"))
    found = [line for line in lines[begin + 1 : end] if not any(c in line for c in ("DirName", "serial"))]
    identifiers = [n for n, line in enumerate(found) if "Key Identifier" in line]
    for n in reversed(identifiers):
        assert len(found.pop(n + 1).replace(":", "").replace("keyid", "")) == 40
    assert found == [
        "X509v3 Basic Constraints: critical",
        "CA:FALSE",
        "X509v3 Key Usage: critical",
        "Digital Signature",
        "X509v3 Subject Key Identifier:",
        "X509v3 Authority Key Identifier:",
        "X509v3 Extended Key Usage:",
        "TLS Web Client Authentication",
    ]
    subject = lines[lines.index("Subject:") + 1 : lines.index("Subject Public Key Info:")]
    assert subject == ["C=DE", "O=Org", "OU=OrgUnit", "L=locality", "ST=province", f"CN={system_auth}"]
    (tmp_path / "root.pem").write_text(authority.root_pem)
    (tmp_path / "issuing.pem").write_text(authority.ca_pem)
    for purpose, accepted in (("sslclient", True), ("sslserver", False)):
        checked = await asyncio.to_thread(
            openssl,
            tmp_path,
            *("verify", "-x509_strict", "-purpose", purpose, "-CAfile", "root.pem", "-untrusted", "issuing.pem"),
            given=issued.pem.encode(),
        )
        assert (checked.returncode == 0) is accepted, checked.stderr


async def test_every_certificate_on_record_is_what_its_record_says(
    tx: Tx, authority: Authority, system_auth: SystemAuthId, request_for: Any, tmp_path: Path
) -> None:
    for _ in range(20):
        await certificate.issue(tx, authority, system_auth, request_for(system_auth))
    await certificate.issue_server(tx, authority, names=["localhost", "::1"])
    rows = await tx.rows("SELECT * FROM certificate ORDER BY intended_at")
    serials = set()
    for row in rows:
        said = await asyncio.to_thread(
            openssl, tmp_path, "x509", "-noout", "-serial", "-fingerprint", "-sha256", given=row["pem"].encode()
        )
        lines = dict(line.split("=", 1) for line in said.stdout.decode().splitlines())
        serial = lines["serial"].lower().lstrip("0")
        serials.add(serial)
        assert serial == row["serial"]
        assert lines["sha256 Fingerprint"].replace(":", "").lower() == row["fingerprint"]
        leaf = x509.load_pem_x509_certificate(row["pem"].encode())
        assert row["intended_at"].replace(microsecond=0) >= leaf.not_valid_before_utc
        assert row["signed_by"] == authority.serial
    assert len(serials) == len(rows) == 21


async def test_the_bytes_that_are_signed_were_looked_at_before_the_key_was_used(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[bytes] = []
    sign = HeldKey.sign

    async def watched(self: HeldKey, data: bytes) -> bytes:
        used.append(data)
        return await sign(self, data)

    monkeypatch.setattr(HeldKey, "sign", watched)
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    good = await authority.issuer.sign_client(key, common_name="me", serial=new_serial())
    assert used == [good.tbs_certificate_bytes]

    # A mistake of ours, each of a kind: none of them reaches the key.
    profile = issuer.Issuer._profile
    many = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in ("me", "victim")])

    def longer(self: issuer.Issuer, *arguments: Any) -> x509.CertificateBuilder:
        made = profile(self, *arguments)
        made._not_valid_after = (self.not_after + timedelta(seconds=1)).replace(tzinfo=None)
        return made

    def small(self: issuer.Issuer, public_key: Any, subject: Any, _: int, life: Any) -> x509.CertificateBuilder:
        return profile(self, public_key, subject, 2, life)

    def double(self: issuer.Issuer, public_key: Any, _: Any, serial: int, life: Any) -> x509.CertificateBuilder:
        return profile(self, public_key, many, serial, life)

    def more(self: issuer.Issuer, *arguments: Any) -> x509.CertificateBuilder:
        return profile(self, *arguments).add_extension(
            x509.SubjectAlternativeName([x509.DNSName("victim.example")]), critical=False
        )

    for mistake in (longer, small, double, more):
        with monkeypatch.context() as broken:
            broken.setattr(issuer.Issuer, "_profile", mistake)
            with pytest.raises(AssertionError, match="outside the profile"):
                await authority.issuer.sign_client(key, common_name="me", serial=new_serial())
        assert len(used) == 1, mistake.__name__


async def test_after_its_end_an_authority_refuses_every_signature(
    tx: Tx, vault: Vault, system_auth: SystemAuthId, request_for: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock is moved past the end: 100 of 100 are refused, and nothing is recorded of them."""
    authority = await Authority.open(tx, vault, AuthoritySettings())
    end = authority.not_after

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]  # the real one returns its own class
            return (end + timedelta(seconds=1)).astimezone(tz)

    monkeypatch.setattr(issuer, "datetime", Later)
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    for number in range(100):
        with pytest.raises(AuthorityExpired, match=str(end.year)):
            if number % 2:
                await authority.issuer.sign_client(key, common_name="me", serial=new_serial())
            else:
                await authority.issuer.sign_server(key, names=["localhost"], serial=new_serial())
    with pytest.raises(AuthorityExpired):
        await certificate.issue(tx, authority, system_auth, request_for(system_auth))


async def test_an_authority_with_less_than_a_fifth_of_its_life_is_ending(authority: Authority) -> None:
    made = authority.issuer.certificate
    life = made.not_valid_after_utc - made.not_valid_before_utc
    assert not is_ending(made, datetime.now(UTC))
    assert not is_ending(made, made.not_valid_after_utc - life * 0.21)
    assert is_ending(made, made.not_valid_after_utc - life * 0.19)
    assert is_ending(made, made.not_valid_after_utc + life)


def test_serial_numbers_are_random_in_every_bit() -> None:
    serials = [new_serial() for _ in range(2000)]
    assert len(set(serials)) == 2000
    for bit in range(155):
        ones = sum(serial >> bit & 1 for serial in serials)
        assert 800 < ones < 1200, bit  # nine standard deviations


async def test_the_fingerprint_is_that_of_the_whole_certificate(tx: Tx, authority: Authority) -> None:
    identity = await certificate.issue_server(tx, authority, names=["localhost"])
    der = x509.load_pem_x509_certificate(identity.issued.pem.encode()).public_bytes(Encoding.DER)
    assert identity.issued.fingerprint == hashlib.sha256(der).hexdigest()


def test_openssl_is_here() -> None:
    assert os.access(OPENSSL, os.X_OK), "openssl is a prerequisite of the guides, too"
