"""The one door that seals and opens secrets at rest, and a secret that does not show itself.

AES-256-GCM under keys that never enter the database. Every sealed text names the key it was sealed with and is
bound to the place it is kept at, so that a text copied into another row does not open there.

Keys live in a file of their own, one per line as `<key id> <base64url of 32 bytes>`. The first line seals; all of
them open. Replicas of one plane share the file.
"""

import base64
import binascii
import hmac
import os
import re
import secrets
from pathlib import Path
from typing import Final, NoReturn, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from compass.errors import Code, CompassError

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_KEY_ID: Final = re.compile(r"[0-9a-z]{1,32}")


class SealBroken(CompassError):
    """What is kept at `place` does not open: altered, moved there from elsewhere, or sealed under a key we lack."""

    code = Code.INTERNAL
    message = "the secret kept at {place} cannot be opened with the keys of this plane: {reason}"


class KeyFileUnusable(CompassError):
    """The vault's key file cannot be read, written or trusted; `fix` says what to do."""

    code = Code.INTERNAL
    message = "the key file {path} cannot be used: {reason}; {fix}"


class Secret:
    """Text that is shown only to who calls `reveal`: not by print, a format, a traceback, json or pickle."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The text itself. Every call of this is a place where a secret can leak."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        # Constant time: how long a comparison took must not tell how much of a guess was right.
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    __hash__ = None  # type: ignore[assignment]  # a secret is no key of anything

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not serialised")


class Vault:
    """Seals with its first key, opens with any of them."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._current = next(iter(keys))

    def __repr__(self) -> str:
        return f"Vault({', '.join(self._ciphers)})"

    @classmethod
    def at(cls, path: Path) -> Self:
        """The vault whose keys are in the file at `path`, which is created with a first key when it is missing.

        Several processes may start at once: one file comes out of it. Raises KeyFileUnusable, also when the file
        can be read by others than its owner.
        """
        try:
            if not path.exists():
                _create(path)
            text = _read_private(path)
        except OSError as error:
            raise KeyFileUnusable(
                path=str(path), reason=error.strerror or "unknown", fix="check the folder and its permissions"
            ) from error
        return cls(_keys(path, text))

    def seal(self, place: str, secret: bytes) -> str:
        """Text that opens only at `place`: `v1.<key id>.<base64url>`. The same secret never seals to the same text."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        ciphertext = self._ciphers[self._current].encrypt(nonce, secret, _bound(self._current, place))
        return f"v1.{self._current}.{base64.urlsafe_b64encode(nonce + ciphertext).decode()}"

    def open(self, place: str, sealed: str) -> bytes:
        """The secret that was sealed for `place`. Raises SealBroken."""
        version, _, rest = sealed.partition(".")
        key_id, _, body = rest.partition(".")
        if version != "v1":
            raise SealBroken(place=place, reason="it is not in a form this release knows")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise SealBroken(place=place, reason="it was sealed under a key that is not in the key file")
        try:
            raw = base64.b64decode(body.encode("ascii"), altchars=b"-_", validate=True)
        except (binascii.Error, UnicodeEncodeError) as error:
            raise SealBroken(place=place, reason="it was altered") from error
        # A base64 text has several spellings of its last bits; only the one we wrote is ours.
        if len(raw) < _NONCE_BYTES + _TAG_BYTES or base64.urlsafe_b64encode(raw).decode() != body:
            raise SealBroken(place=place, reason="it was altered")
        try:
            return cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _bound(key_id, place))
        except InvalidTag as error:
            raise SealBroken(place=place, reason="it was altered, or it was sealed for another place") from error


def _bound(key_id: str, place: str) -> bytes:
    return f"compass v1\0{key_id}\0{place}".encode()


def _create(path: Path) -> None:
    line = f"{secrets.token_hex(4)} {base64.urlsafe_b64encode(secrets.token_bytes(_KEY_BYTES)).decode()}\n"
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(line)
            file.flush()
            # A key that is lost with a power cut would take everything sealed under it along.
            os.fsync(file.fileno())
        try:
            # Appears whole or not at all, and never replaces the file of a process that was faster.
            os.link(draft, path)
        except FileExistsError:
            return
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        draft.unlink()


def _read_private(path: Path) -> str:
    with path.open() as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise KeyFileUnusable(path=str(path), reason="others than its owner can read it", fix=f"chmod 600 {path}")
        try:
            return file.read()
        except UnicodeDecodeError as error:
            raise _not_keys(path) from error


def _keys(path: Path, text: str) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        key_id, _, encoded = line.partition(" ")
        try:
            key = base64.b64decode(encoded.encode("ascii"), altchars=b"-_", validate=True)
        except (binascii.Error, UnicodeEncodeError) as error:
            raise _not_keys(path) from error
        if len(key) != _KEY_BYTES or not _KEY_ID.fullmatch(key_id) or key_id in keys:
            raise _not_keys(path)
        keys[key_id] = key
    if not keys:
        raise _not_keys(path)
    return keys


def _not_keys(path: Path) -> KeyFileUnusable:
    # Neither the line nor its length is shown: it may be a key with a typing error.
    return KeyFileUnusable(
        path=str(path),
        reason="it does not consist of lines `<key id> <base64url of 32 bytes>` with distinct key ids",
        fix="restore it from your backup; without it nothing sealed can be opened",
    )
