"""Who holds the key of the issuing authority and signs with it: this process, or a program that keeps it elsewhere.

The program stands for whatever holds keys that nobody can copy: a hardware module, a cloud's key service, another
machine. It is asked for two things and sees nothing of what is signed but its digest:

    <command> public-key <name>     writes the public key, PEM, P-256, to its output
    <command> sign <name>           reads the 32 bytes of a SHA-256 digest, writes the ECDSA signature in DER

It ends with 0 when it did so. Nothing it says is believed: whatever it signs is verified by who asked.
"""

import asyncio
import hashlib
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from compass.errors import Code, CompassError

_MOST_OUTPUT_BYTES: Final = 16 * 1024
"""A key has 200 bytes, a signature 72."""
_AT_ONCE: Final = 4
"""Programs that run at the same time in one process of the plane."""


class SignerFailed(CompassError):
    """The external signer gave no usable signature. Nothing was signed, and the same call may succeed later."""

    code = Code.INTERNAL
    message = "the external signer of the plane's certificate authority failed: {reason}; nothing was signed"
    retryable = True


class Signer(Protocol):
    """Whoever can use the key."""

    async def sign(self, data: bytes) -> bytes:
        """The ECDSA signature over SHA-256 of `data`, DER. Raises SignerFailed."""


@dataclass(frozen=True, repr=False)
class HeldKey:
    """A key in the memory of this process. Signs in well under a millisecond, inline."""

    key: ec.EllipticCurvePrivateKey

    async def sign(self, data: bytes) -> bytes:
        """The signature over SHA-256 of `data`, DER."""
        return self.key.sign(data, ec.ECDSA(hashes.SHA256()))


class Program:
    """A key that an external program holds under a name."""

    def __init__(self, command: Sequence[str], key: str, *, timeout: timedelta) -> None:
        self._command = tuple(command)
        self._key = key
        self._timeout = timeout
        self._seats = asyncio.Semaphore(_AT_ONCE)

    async def public_key(self) -> ec.EllipticCurvePublicKey:
        """The public part of the key. Raises SignerFailed."""
        said = await self._run("public-key", b"")
        try:
            key = serialization.load_pem_public_key(said)
        except Exception as error:  # the parser raises many things about what is no key
            raise SignerFailed(reason="what it gave is no public key in PEM") from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise SignerFailed(reason="its key is not of the curve P-256")
        return key

    async def sign(self, data: bytes) -> bytes:
        """The signature over SHA-256 of `data`, DER, not verified. Raises SignerFailed."""
        return await self._run("sign", hashlib.sha256(data).digest())

    async def _run(self, verb: str, given: bytes) -> bytes:
        async with self._seats:
            return await asyncio.to_thread(
                _answer, (*self._command, verb, self._key), given, self._timeout.total_seconds()
            )


def _answer(command: Sequence[str], given: bytes, timeout_seconds: float) -> bytes:
    """What the program wrote. It, and what it started, does not outlive the call. Raises SignerFailed."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a group of its own, to be ended as a whole
        )
    except OSError as error:
        raise SignerFailed(reason=f"it cannot be started ({error.strerror or 'unknown'})") from error
    late = threading.Event()

    def end() -> None:
        late.set()
        _kill(process)

    clock = threading.Timer(timeout_seconds, end)
    clock.start()
    with process:
        try:
            said = _talk(process, given)
            if len(said) > _MOST_OUTPUT_BYTES:
                _kill(process)
            # Ended, and not yet waited for: until then its number is given to nobody else, who would be killed below.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        finally:
            clock.cancel()
            clock.join()
            _kill(process)
    if late.is_set():
        raise SignerFailed(reason=f"no answer within {timeout_seconds:g} s")
    if len(said) > _MOST_OUTPUT_BYTES:
        raise SignerFailed(reason=f"it wrote more than {_MOST_OUTPUT_BYTES} bytes")
    if process.returncode != 0:
        raise SignerFailed(reason=f"it ended with {process.returncode}")
    return said


def _talk(process: subprocess.Popen[bytes], given: bytes) -> bytes:
    if process.stdin is None or process.stdout is None:
        raise AssertionError("both were asked for")
    with suppress(OSError):  # one that ends without reading is judged by how it ended
        process.stdin.write(given)
        process.stdin.close()
    return process.stdout.read(_MOST_OUTPUT_BYTES + 1)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):  # the group is gone
        os.killpg(process.pid, signal.SIGKILL)
