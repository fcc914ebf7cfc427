import ssl
import tempfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from compass.outbound.errors import RequestRefused
from compass.outbound.tls import verifying_context, with_client_certificate

from .hostile import Authority


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


def test_a_client_key_never_lies_on_disk_in_the_clear(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    leaf = authority.issue("one.example", client=True)
    written: list[bytes] = []
    load = ssl.SSLContext.load_cert_chain

    def witness(context: ssl.SSLContext, certfile: str, password: bytes) -> None:
        written.append(Path(certfile).read_bytes())
        load(context, certfile, password=password)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", witness)
    with_client_certificate(None, leaf.certificate, leaf.key)
    assert len(written) == 1
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in written[0]
    assert leaf.key.splitlines()[1] not in written[0]
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_is_encrypted_is_refused(authority: Authority) -> None:
    leaf = authority.issue("one.example", client=True)
    sealed = load_pem_private_key(leaf.key, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"unknown")
    )
    with pytest.raises(RequestRefused, match="client certificate"):
        with_client_certificate(None, leaf.certificate, sealed)
