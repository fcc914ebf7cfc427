"""A backup as a file: an uncompressed ZIP archive, so that any tool can look into it.

    database.dump    the tables, in PostgreSQL's custom format; `pg_restore --list` reads it
    vault.keys       the keys that open the secrets in it; only when they were asked for
    manifest.json    what this is, and a digest of each part above
    manifest.seal    the digest of the manifest, sealed by the vault: nobody without its keys made or changed this

The file has its name when it is whole and on the disk, and not before. Whoever is killed leaves a draft beside it,
whose name begins with a dot; the next backup of that name begins it anew.
"""

import fcntl
import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self
from zipfile import ZipFile

import orjson

from compass.errors import Code, CompassError
from compass.files import sync_folder
from compass.vault import SealBroken, Vault

FORMAT: Final = 1
DUMP: Final = "database.dump"
KEYS: Final = "vault.keys"
_MANIFEST: Final = "manifest.json"
_SEAL: Final = "manifest.seal"
_PLACE: Final = "backup"
"""Where the seal of a manifest opens, and nothing else does."""
_SMALL_BYTES: Final = 1024 * 1024
"""Of every part but the dump."""
_CHUNK_BYTES: Final = 256 * 1024


class ArchiveUnusable(CompassError):
    """The file is no backup, or not as it was written."""

    code = Code.INVALID_DATA
    message = "{path} cannot be used: {why}"


class ArchiveUnwritable(CompassError):
    """There can be no backup at that place."""

    code = Code.INVALID_OPERATION
    message = "{path} cannot be written: {why}"


@dataclass(frozen=True)
class Part:
    """A part of the archive."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What is known of a backup."""

    format: int
    release: str
    """Of the program that made it."""
    made_at: str
    """ISO 8601, UTC, by the database's clock: what happened later is not in it."""
    migration: str
    """The last one that the database had."""
    server: int
    """The major version of PostgreSQL that it was made from."""
    owner: str
    """The plane's role there. The policies of the tables are for it, so it has this name where this is restored."""
    tenants: int
    checkpoint: int
    """The last one of the audit log; 0 when there was none."""
    checkpoint_digest: str
    keys: Mapping[str, str]
    """Those of the vault without which it is of little use: id and fingerprint."""
    parts: Mapping[str, Part]

    @classmethod
    def read(cls, text: bytes) -> Self:
        """From its JSON. Raises ValueError."""
        given = orjson.loads(text)
        try:
            if int(given["format"]) > FORMAT:
                raise ValueError(f"it has the form {given['format']}, which a newer release made")
            parts = {str(name): Part(int(part["bytes"]), str(part["sha256"])) for name, part in given["parts"].items()}
            keys = {str(key): str(fingerprint) for key, fingerprint in given["keys"].items()}
            numbers = {name: int(given[name]) for name in ("format", "server", "tenants", "checkpoint")}
            manifest = cls(**{**given, **numbers, "parts": parts, "keys": keys})
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError("its manifest is incomplete") from error
        if DUMP not in parts:
            raise ValueError("there is no dump in it")
        return manifest

    def text(self) -> bytes:
        """Its JSON, for people too."""
        return orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2) + b"\n"


class Draft:
    """An archive that is being written. The manifest comes last, as it has the digests of the rest."""

    def __init__(self, archive: ZipFile) -> None:
        self._archive = archive
        self.parts: dict[str, Part] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[Callable[[bytes], None]]:
        """What adds the part while the block runs, piece by piece."""
        seen, size = hashlib.sha256(), 0
        with self._archive.open(name, "w", force_zip64=True) as member:

            def write(piece: bytes) -> None:
                nonlocal size
                size += len(piece)
                seen.update(piece)
                member.write(piece)

            yield write
        self.parts[name] = Part(size, seen.hexdigest())

    def close(self, manifest: Manifest, vault: Vault) -> None:
        """Add the manifest and its seal."""
        text = manifest.text()
        with self._archive.open(_MANIFEST, "w") as member:
            member.write(text)
        with self._archive.open(_SEAL, "w") as member:
            member.write(vault.seal(_PLACE, hashlib.sha256(text).digest()).encode())


@contextmanager
def drafted(path: Path) -> Iterator[Draft]:
    """A new archive, which has its name once the block has ended. Mode 0600. Raises ArchiveUnwritable."""
    if path.exists():
        raise ArchiveUnwritable(path=str(path), why="it is there already, and may be a backup that somebody needs")
    draft = path.with_name(f".{path.name}.part")
    try:
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ArchiveUnwritable(path=str(path), why=error.strerror or "unknown") from error
    with os.fdopen(descriptor, "w+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArchiveUnwritable(path=str(path), why="another process is writing it") from None
        try:
            os.fchmod(file.fileno(), 0o600)
            file.truncate()
            with ZipFile(file, "w") as archive:
                yield Draft(archive)
            file.flush()
            os.fsync(file.fileno())
            if path.exists():
                raise ArchiveUnwritable(path=str(path), why="it is there by now")
            draft.rename(path)
            sync_folder(path.parent)
        except OSError as error:
            raise ArchiveUnwritable(path=str(path), why=error.strerror or "unknown") from error
        finally:
            draft.unlink(missing_ok=True)


class Archive:
    """A backup that is read."""

    def __init__(self, path: Path, file: ZipFile) -> None:
        self._path = path
        self._file = file
        with _read_means_usable(path):
            if any(part.compress_type != zipfile.ZIP_STORED for part in file.infolist()):
                raise ValueError("it is compressed, which no backup is")
            self._manifest_text = self._small(_MANIFEST)
            self.manifest = Manifest.read(self._manifest_text)
            if set(file.namelist()) != {*self.manifest.parts, _MANIFEST, _SEAL}:
                raise ValueError("it has other parts than its manifest says")

    @property
    def digest(self) -> str:
        """What tells this backup from others."""
        return hashlib.sha256(self._manifest_text).hexdigest()

    def keys(self) -> bytes | None:
        """The key file of the vault that is in it, if any. Raises ArchiveUnusable."""
        with _read_means_usable(self._path):
            return self._small(KEYS) if KEYS in self.manifest.parts else None

    def require_sealed(self, vault: Vault) -> None:
        """Raises ArchiveUnusable when no plane with these keys made it so."""
        with _read_means_usable(self._path):
            try:
                digest = vault.open(_PLACE, self._small(_SEAL).decode("ascii"))
            except SealBroken as error:
                raise ValueError(f"its manifest is not what was sealed: {error.facts['reason']}") from error
            if digest != hashlib.sha256(self._manifest_text).digest():
                raise ValueError("its manifest is not what was sealed: it was altered")

    def require_whole(self) -> None:
        """Read all of it, and compare. Raises ArchiveUnusable."""
        for name, part in self.manifest.parts.items():
            seen, size = hashlib.sha256(), 0
            for piece in self.pieces(name):
                seen.update(piece)
                size += len(piece)
            if (size, seen.hexdigest()) != (part.bytes, part.sha256):
                raise ArchiveUnusable(path=str(self._path), why=f"{name} in it is not what was written")

    def pieces(self, name: str) -> Iterator[bytes]:
        """A part, piece by piece. Raises ArchiveUnusable."""
        with _read_means_usable(self._path), self._file.open(name) as member:
            while piece := member.read(_CHUNK_BYTES):
                yield piece

    def _small(self, name: str) -> bytes:
        with self._file.open(name) as member:
            text = member.read(_SMALL_BYTES + 1)
        if len(text) > _SMALL_BYTES:
            raise ValueError(f"{name} in it is too large")
        return text


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """A backup to read. Raises ArchiveUnusable."""
    with _read_means_usable(path):
        file = ZipFile(path)
    with file:
        yield Archive(path, file)


@contextmanager
def _read_means_usable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArchiveUnusable(path=str(path), why=error.strerror or "unknown") from error
    # What zipfile raises for files that are cut, damaged or encrypted. NotImplementedError is its word for a way of
    # packing that it does not know.
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, KeyError, ValueError) as error:
        why = "a part of it is missing" if isinstance(error, KeyError) else str(error) or "it is damaged"
        raise ArchiveUnusable(path=str(path), why=why) from error
