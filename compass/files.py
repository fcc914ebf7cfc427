"""Files that hold secrets or state: readable by their owner only, and never seen half written."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_private(path: Path, content: bytes) -> None:
    """Replace a file at once: a reader, or a crash, sees the old content or the new, never a part. Mode 0600.

    On the disk when this returns, folder entry included. Raises OSError; the old file is then untouched.
    """
    _replace(path, content, os.fsync)
    sync_folder(path.parent)


def replace_private(path: Path, content: bytes) -> None:
    """As `write_private`, for what is worth nothing after a power cut and is written often."""
    _replace(path, content, lambda _: None)


def _replace(path: Path, content: bytes, flushed: Callable[[int], None]) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            flushed(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def write_private_json(path: Path, content: Any) -> None:
    """`write_private` of a JSON document people can read."""
    write_private(path, json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n")


def sync_folder(folder: Path) -> None:
    """Make renames and new names inside the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def private_folder(folder: Path) -> None:
    """Create the folder, and those above it that are missing, for their owner only. Raises OSError."""
    if not folder.is_dir():
        private_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
