import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from compass.outbound.tls import showing_context, verifying_context
from compass.settings import SettingRefused

from .hostile import Authority, shown


def test_a_context_verifies_and_speaks_only_modern_tls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    context = verifying_context(None)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.keylog_filename is None
    assert {cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] == "TLSv1.2"} == {
        f"ECDHE-{key}-{cipher}"
        for key in ("ECDSA", "RSA")
        for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    }


def test_the_extra_authority_is_trusted_beside_the_others(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    plain, extra = verifying_context(None), verifying_context(tmp_path / "ca.pem")
    assert extra.cert_store_stats()["x509"] == plain.cert_store_stats()["x509"] + 1


def test_a_chain_and_its_key_are_read_from_two_files_or_from_one(authority: Authority, tmp_path: Path) -> None:
    files = shown(authority.issue("one.example", client=True), tmp_path)
    certificate, key = files["client_certificate_file"], files["client_key_file"]
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + authority.pem + key.read_bytes())

    for pair in ((certificate, key), (both, both)):
        context = showing_context(None, *pair)
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize(
    ("case", "setting", "reason"),
    [
        ("no certificate", "client_certificate_file", "the file cannot be read: No such file or directory"),
        ("no key", "client_key_file", "the file cannot be read: No such file or directory"),
        ("a folder", "client_key_file", "the file cannot be read: Is a directory"),
        ("another key", "client_certificate_file", "it is not a PEM chain"),
        ("exchanged", "client_certificate_file", "it is not a PEM chain"),
        ("empty", "client_certificate_file", "it is not a PEM chain"),
        ("nonsense", "client_certificate_file", "it is not a PEM chain"),
        ("a key with a password", "client_certificate_file", "it is not a PEM chain"),
    ],
)
def test_a_client_certificate_that_cannot_be_used_is_refused_with_its_setting(
    authority: Authority, tmp_path: Path, case: str, setting: str, reason: str
) -> None:
    leaf, other = (authority.issue(name, client=True) for name in ("one.example", "two.example"))
    files = shown(leaf, tmp_path)
    certificate, key = files["client_certificate_file"], files["client_key_file"]
    match case:
        case "no certificate":
            certificate.unlink()
        case "no key":
            key.unlink()
        case "a folder":
            key = tmp_path
        case "another key":
            key.write_bytes(other.key)
        case "exchanged":
            certificate, key = key, certificate
        case "empty":
            certificate.write_bytes(b"")
        case "nonsense":
            key.write_bytes(b"\xffnonsense")
        case _:
            sealing = BestAvailableEncryption(b"unknown")
            key.write_bytes(
                load_pem_private_key(leaf.key, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealing)
            )

    with pytest.raises(SettingRefused) as refused:
        showing_context(None, certificate, key)

    assert refused.value.facts["setting"] == f"outbound.{setting}"
    assert refused.value.facts["source"] == str(certificate if setting == "client_certificate_file" else key)
    assert refused.value.facts["reason"].startswith(reason)
