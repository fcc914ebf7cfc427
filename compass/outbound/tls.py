"""TLS towards receivers: always verified, 1.2 or newer, forward-secret and authenticated ciphers only."""

import secrets
import ssl
import tempfile
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from compass.outbound.errors import RequestRefused

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


def with_client_certificate(extra_ca: Path | None, certificate_pem: bytes, key_pem: bytes) -> ssl.SSLContext:
    """A context of `verifying_context` that also presents a client certificate. Reads files, derives a key.

    Raises RequestRefused when certificate and key are malformed or do not belong together.
    """
    context = verifying_context(extra_ca)
    # OpenSSL takes the chain from a file only, so the key lies there encrypted under a password nobody keeps.
    password = secrets.token_bytes(32)
    try:
        key = load_pem_private_key(key_pem, None)
        sealed = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password))
        with tempfile.NamedTemporaryFile(suffix=".pem") as chain:
            chain.write(certificate_pem + b"\n" + sealed)
            chain.flush()
            context.load_cert_chain(chain.name, password=password)
    except (ValueError, TypeError, UnsupportedAlgorithm, ssl.SSLError):  # TypeError: the key is encrypted
        raise RequestRefused(rule="the client certificate and its key cannot be used") from None
    return context
