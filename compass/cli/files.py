"""The landscape as files of this machine: finding them, and reading what they say."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from compass.cli.definition import specification_of
from compass.cli.secret_input import read_text
from compass.landscape.conversation import Json
from compass.landscape.kinds import Kind
from compass.landscape.manifest import Manifest, documents, in_order


def read(paths: Iterable[Path]) -> list[Manifest]:
    """The documents of files, of all YAML files of folders, or of standard input for `-`.

    Raises CommandFailed with the file and line of what is wrong, also when two documents are about one thing.
    """
    return in_order(one for path, is_found in _files(paths) for one in _documents(path, is_found=is_found))


def _files(paths: Iterable[Path]) -> Iterator[tuple[Path, bool]]:
    """Each file, and whether it was found in a folder instead of named."""
    for path in paths:
        if path.is_dir():
            found = (each for each in path.rglob("*") if each.suffix in {".yaml", ".yml", ".json"})
            yield from ((each, True) for each in sorted(found))
        else:
            yield path, False


def _documents(path: Path, *, is_found: bool) -> Iterator[Manifest]:
    folder = Path() if path == Path("-") else path.parent

    def specification(kind: Kind, name: str) -> Json:
        return specification_of(kind, folder / name)[0]

    return documents(read_text(path), str(path), specification=specification, is_found=is_found)
