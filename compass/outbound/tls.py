"""TLS towards receivers: always verified, 1.2 or newer, forward-secret and authenticated ciphers only."""

import ssl
from pathlib import Path
from typing import Final

from compass.settings import SettingRefused

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2, here and at the plane's own listeners: forward secret and authenticated, as all suites of TLS 1.3 are."""


def verifying_context(extra_ca: Path | None) -> ssl.SSLContext:
    """A client context that trusts the system's authorities and those in the PEM file `extra_ca`. Reads files."""
    # Not create_default_context(): that one writes session secrets to the file SSLKEYLOGFILE names.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    context.load_default_certs()
    if extra_ca is not None:
        context.load_verify_locations(cafile=extra_ca)
    return context


def showing_context(extra_ca: Path | None, certificate_file: Path, key_file: Path) -> ssl.SSLContext:
    """A context of `verifying_context` that also shows a client certificate to who asks for one. Reads files.

    Raises SettingRefused when a file cannot be read, is no PEM, or holds the key of another certificate.
    """
    context = verifying_context(extra_ca)
    for name, file in (("client_certificate_file", certificate_file), ("client_key_file", key_file)):
        try:
            file.read_bytes()  # only to tell which one: load_cert_chain names neither
        except OSError as problem:
            raise _refused(name, file, f"the file cannot be read: {problem.strerror}") from None
    try:
        # A password, or OpenSSL asks whoever sits at the terminal for that of an encrypted key.
        context.load_cert_chain(certificate_file, key_file, password=b"")
    except (OSError, ValueError):
        reason = f"it is not a PEM chain, leaf first, that the unencrypted PEM key in {key_file} belongs to"
        raise _refused("client_certificate_file", certificate_file, reason) from None
    return context


def _refused(name: str, file: Path, reason: str) -> SettingRefused:
    return SettingRefused(setting=f"outbound.{name}", source=str(file), reason=reason)
