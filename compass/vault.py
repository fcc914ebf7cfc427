"""The one door that seals and opens secrets at rest.

AES-256-GCM under keys that never enter the database. Every sealed text names the key it was sealed with and is
bound to the place it is kept at, so that a text copied into another row does not open there.

Keys live in a file of their own, one per line as `<key id> <base64url of 32 bytes>`. The first line seals; all of
them open. Replicas of one plane share the file, or have copies of it. A key that is marked `next` was added to take
over (`vault_rotation.py`): it opens, and seals nothing before everybody has it.
"""

import base64
import fcntl
import hashlib
import logging
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from compass.errors import Code, CompassError
from compass.files import sync_folder
from compass.secret import Secret

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_KEY_ID: Final = re.compile(r"[0-9a-z]{1,32}")
_NEXT: Final = "next"

log = logging.getLogger(__name__)


class SealBroken(CompassError):
    """What is kept at `place` does not open: altered, moved there from elsewhere, or sealed under a key we lack."""

    code = Code.INTERNAL
    message = "the secret kept at {place} cannot be opened with the keys of this plane: {reason}"


class KeyFileUnusable(CompassError):
    """The vault's key file cannot be read, written or trusted; `fix` says what to do."""

    code = Code.INTERNAL
    message = "the key file {path} cannot be used: {reason}; {fix}"


@dataclass(frozen=True)
class Keys:
    """The keys of a vault by id, the one that seals first."""

    by_id: Mapping[str, Secret]
    """The base64url of each."""
    next: str | None = None
    """The one that is to take over."""

    @property
    def seals(self) -> str:
        """The id of the one that seals."""
        return next(iter(self.by_id))

    def fingerprint(self, key: str) -> str:
        """What tells whether another file has the same key under this id. Nothing of it follows: it is random."""
        return hashlib.sha256(b"compass vault key\0" + _raw(self.by_id[key].reveal())).hexdigest()[:32]

    @property
    def former(self) -> Sequence[str]:
        """Those that sealed before."""
        return [key for key in self.by_id if key not in (self.seals, self.next)]


class Vault:
    """Seals with its first key, opens with any of them. Follows its key file, if it has one."""

    def __init__(self, keys: Keys) -> None:
        self._path: Path | None = None
        self._seen: tuple[int, ...] = ()
        self._unusable = ""
        self._use(keys)

    def __repr__(self) -> str:
        return f"Vault({', '.join(self._ciphers)})"

    @classmethod
    def at(cls, path: Path) -> Self:
        """The vault whose keys are in the file at `path`, which is created with a first key when it is missing.

        Several processes may start at once: one file comes out of it. Raises KeyFileUnusable, also when the file
        can be read by others than its owner.
        """
        with _told(path):
            if not path.exists():
                _create(path)
            seen = _signature(path)
            keys = read(path)
        vault = cls(keys)
        vault._path, vault._seen = path, seen
        return vault

    @property
    def key_ids(self) -> Sequence[str]:
        """The ids of all keys, the one that seals first."""
        return list(self._ciphers)

    def look(self) -> None:
        """Take over what the key file says now. While it cannot be used, what it said before stays in force."""
        if self._path is None:
            return
        try:
            with _told(self._path):
                seen = _signature(self._path)
                if seen == self._seen:
                    return
                self._use(read(self._path))
        except KeyFileUnusable as error:
            if str(error) != self._unusable:
                log.warning("the keys that were read before stay in use: %s", error)
            self._unusable = str(error)
        else:
            self._seen, self._unusable = seen, ""

    def _use(self, keys: Keys) -> None:
        self._ciphers = {key_id: AESGCM(_raw(key.reveal())) for key_id, key in keys.by_id.items()}
        self._current = keys.seals

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
        if key_id not in self._ciphers:
            self.look()  # another process may seal under a new key already
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise SealBroken(place=place, reason="it was sealed under a key that is not in the key file")
        try:
            raw = _raw(body)
        except ValueError as error:
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


# The key file


def read(path: Path) -> Keys:
    """The keys in the file. Raises KeyFileUnusable."""
    with _told(path):
        return parsed(path, _read_private(path))


def text(keys: Keys) -> str:
    """The content of a file with these keys."""
    marks = {keys.next: _NEXT}
    return "".join(_line(key_id, key, marks.get(key_id, "")) for key_id, key in keys.by_id.items())


def add_next(path: Path) -> Keys:
    """Add a key that is to take over, unless there is one, or one that sealed before is still kept.

    The file is there in its old or in its new form whenever the process ends. Raises KeyFileUnusable.
    """
    with _alone(path) as kept:
        if kept.next is not None or kept.former:
            return kept
        added = _new_id()
        return _replace(path, Keys({**kept.by_id, added: _new_key()}, next=added))


def let_next_seal(path: Path) -> Keys:
    """Have the key that is to take over seal, if there is one. Raises KeyFileUnusable."""
    with _alone(path) as kept:
        if kept.next is None:
            return kept
        return _replace(path, Keys({kept.next: kept.by_id[kept.next], **kept.by_id}))


def forget(path: Path, former: Sequence[str]) -> Keys:
    """Take keys that seal no more out of the file. What is sealed under them cannot be opened from then on.

    Raises KeyFileUnusable.
    """
    with _alone(path) as kept:
        gone = set(former) & set(kept.former)
        if not gone:
            return kept
        return _replace(
            path, Keys({key_id: kept.by_id[key_id] for key_id in kept.by_id if key_id not in gone}, kept.next)
        )


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise KeyFileUnusable(
            path=str(path), reason=error.strerror or "unknown", fix="check the folder and its permissions"
        ) from error


@contextmanager
def _alone(path: Path) -> Iterator[Keys]:
    """The keys in the file, while nobody else changes it."""
    with _told(path):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield read(path)
        finally:
            os.close(folder)


def _signature(path: Path) -> tuple[int, ...]:
    """Differs when the file was changed or replaced."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode


def _new_id() -> str:
    return secrets.token_hex(4)


def _new_key() -> Secret:
    return Secret(base64.urlsafe_b64encode(secrets.token_bytes(_KEY_BYTES)).decode())


def _raw(key: str) -> bytes:
    """Raises ValueError."""
    return base64.b64decode(key.encode("ascii"), altchars=b"-_", validate=True)


def _line(key_id: str, key: Secret, mark: str = "") -> str:
    return f"{key_id} {key.reveal()}{mark and ' '}{mark}\n"


def _create(path: Path) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _write(draft, _line(_new_id(), _new_key()))
        try:
            # Appears whole or not at all, and never replaces the file of a process that was faster.
            os.link(draft, path)
        except FileExistsError:
            return
        sync_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def _replace(path: Path, keys: Keys) -> Keys:
    # One name for all drafts: what a process left that was killed is overwritten. Nobody else writes it, see `_alone`.
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    _write(draft, text(keys))
    owner = path.stat()
    if os.geteuid() == 0:
        os.chown(draft, owner.st_uid, owner.st_gid)  # the plane's user reads it, not the administrator who did this
    draft.replace(path)
    sync_folder(path.parent)
    return keys


def _write(draft: Path, text: str) -> None:
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        # A key that is lost with a power cut would take everything sealed under it along.
        os.fsync(file.fileno())


def _read_private(path: Path) -> str:
    with path.open() as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise KeyFileUnusable(path=str(path), reason="others than its owner can read it", fix=f"chmod 600 {path}")
        try:
            return file.read()
        except UnicodeDecodeError as error:
            raise _not_keys(path) from error


def parsed(path: Path, text: str) -> Keys:
    """The keys in such a text, which is or was to be at `path`. Raises KeyFileUnusable."""
    keys: dict[str, Secret] = {}
    marked: list[str] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        key_id, encoded, mark, *more = *line.split(" "), "", ""
        try:
            length = len(_raw(encoded))
        except ValueError as error:
            raise _not_keys(path) from error
        if length != _KEY_BYTES or not _KEY_ID.fullmatch(key_id) or key_id in keys:
            raise _not_keys(path)
        if any(more) or mark not in ("", _NEXT):
            raise _not_keys(path)
        keys[key_id] = Secret(encoded)
        marked += [key_id] if mark else []
    # The one that is to take over does not seal yet, so it is neither the only one nor the first.
    if not keys or len(marked) > 1 or marked == [next(iter(keys))]:
        raise _not_keys(path)
    return Keys(keys, next(iter(marked), None))


def _not_keys(path: Path) -> KeyFileUnusable:
    # Neither the line nor its length is shown: it may be a key with a typing error.
    return KeyFileUnusable(
        path=str(path),
        reason="it does not consist of lines `<key id> <base64url of 32 bytes>` with distinct key ids",
        fix="restore it from your backup; without it nothing sealed can be opened",
    )
