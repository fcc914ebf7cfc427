"""The files that browsers get: ours, and others' with known digests. With a changed one the plane does not start."""

import gzip
import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

from compass.errors import Code, CompassError

_TYPES: Final = {
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
LISTED_APART: Final = frozenset({"vendor.toml"})


class AssetRefused(CompassError):
    """A file that the console sends to browsers is missing or is not the one that was reviewed."""

    code = Code.INTERNAL
    message = "{file} of the console {why}: install the package anew"


@dataclass(frozen=True)
class Asset:
    """One file, as it is sent."""

    body: bytes
    packed: bytes
    """The same in gzip, a third of it. Pages are not packed: their length would tell of secrets in them (BREACH)."""
    content_type: str
    version: str
    """Changes with its content: part of its address, so that browsers may keep it for ever."""


class Assets:
    """All of them, in memory: a hundred kilobytes."""

    def __init__(self, found: Mapping[str, Asset]) -> None:
        self._found = dict(found)

    @classmethod
    def load(cls, console: Traversable | None = None) -> "Assets":
        """Read and check all files. Raises AssetRefused."""
        folder = files("compass.console") if console is None else console
        checked = _vendored(folder / "vendor")
        own = {entry.name: entry.read_bytes() for entry in (folder / "static").iterdir() if entry.is_file()}
        return cls({name: _asset(name, body) for name, body in {**own, **checked}.items() if _kind(name) in _TYPES})

    def get(self, name: str) -> Asset | None:
        """The file of that name."""
        return self._found.get(name)

    def address(self, name: str) -> str:
        """Where a page finds it, relative to the console."""
        return f"/static/{name}?v={self._found[name].version}"


def _vendored(folder: Traversable) -> dict[str, bytes]:
    """Those of others, each compared with its digest. Raises AssetRefused."""
    try:
        listed: dict[str, Any] = tomllib.loads((folder / "vendor.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise AssetRefused(file="vendor/vendor.toml", why="cannot be read") from None
    found: dict[str, bytes] = {}
    for package in listed.values():
        for name, digest in package["files"].items():
            try:
                body = (folder / name).read_bytes()
            except OSError:
                raise AssetRefused(file=f"vendor/{name}", why="is missing") from None
            if hashlib.sha256(body).hexdigest() != digest:
                raise AssetRefused(file=f"vendor/{name}", why="is not the one that was reviewed")
            found[name] = body
    unlisted = {entry.name for entry in folder.iterdir() if entry.is_file()} - found.keys() - LISTED_APART
    if unlisted:
        raise AssetRefused(file=f"vendor/{min(unlisted)}", why="is not listed in vendor.toml")
    return found


def _asset(name: str, body: bytes) -> Asset:
    return Asset(body, gzip.compress(body, mtime=0), _TYPES[_kind(name)], hashlib.sha256(body).hexdigest()[:12])


def _kind(name: str) -> str:
    return name.rpartition(".")[2]
