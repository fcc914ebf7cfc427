"""The landscape as files: what a document may say, and reading it.

A file holds YAML documents, separated by `---`. Each has a `kind` and a `name`. What a document does not mention stays
as it is; a list that it mentions is the whole list. Labels are set one by one. What an application offers, `bundles`,
`apis` and `events`, is read by `offers.py`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from compass.cli import offers
from compass.cli.failures import CommandFailed, Exit
from compass.cli.find import meant
from compass.cli.secret_input import read_text
from compass.cli.speaking import Json

VERSION: Final = "compass/v1"
"""Of the files. Another one will have another name, and this one will still be read."""


class Kind(StrEnum):
    """What a document is about, in the order in which they are applied."""

    INTEGRATION_SYSTEM = "IntegrationSystem"
    GROUP = "Group"
    APPLICATION = "Application"
    RUNTIME = "Runtime"


FIELDS: Final[Mapping[Kind, Mapping[str, type]]] = {
    Kind.INTEGRATION_SYSTEM: {"description": str},
    Kind.GROUP: {"template": str},
    Kind.APPLICATION: {
        "description": str,
        "providerName": str,
        "baseUrl": str,
        "healthCheckURL": str,
        "labels": dict,
        "groups": list,
        "webhooks": list,
        "bundles": list,
        "apis": list,
        "events": list,
    },
    Kind.RUNTIME: {"description": str, "labels": dict, "groups": list, "webhooks": list},
}
"""What a document of each kind may say, and as what."""

WEBHOOK_FIELDS: Final = frozenset({
    "type", "url", "auth", "mode", "version", "correlationIdKey", "retryInterval", "timeout", "urlTemplate",
    "inputTemplate", "headerTemplate", "outputTemplate", "statusTemplate",
})  # fmt: skip
"""What an entry of `webhooks` may say: the members of the API's `WebhookInput`."""


@dataclass(frozen=True)
class Manifest:
    """One document."""

    kind: Kind
    name: str
    says: Json
    place: str
    """The file and the line that it begins in."""


def read(paths: Iterable[Path]) -> list[Manifest]:
    """The documents of files, of all YAML files of folders, or of standard input for `-`.

    Raises CommandFailed with the file and line of what is wrong, also when two documents are about one thing.
    """
    found: dict[tuple[Kind, str], Manifest] = {}
    for path, is_found in _files(paths):
        for one in _documents(path, is_found=is_found):
            if (before := found.setdefault((one.kind, one.name), one)) is not one:
                raise _wrong(one.place, f"{one.kind} {one.name!r} is in {before.place} already")
    if not found:
        raise CommandFailed("there is no document in what -f names", exit_code=Exit.USAGE)
    order = list(Kind)
    return sorted(found.values(), key=lambda one: (order.index(one.kind), one.name))


def _files(paths: Iterable[Path]) -> Iterator[tuple[Path, bool]]:
    """Each file, and whether it was found in a folder instead of named."""
    for path in paths:
        if path.is_dir():
            found = (each for each in path.rglob("*") if each.suffix in {".yaml", ".yml", ".json"})
            yield from ((each, True) for each in sorted(found))
        else:
            yield path, False


_OF_OTHERS: Final = frozenset({"openapi", "swagger", "asyncapi"})
"""What a specification says first: it lies beside the document that names it."""


def _documents(path: Path, *, is_found: bool) -> Iterator[Manifest]:
    import yaml

    loader = yaml.SafeLoader(read_text(path))
    try:
        while loader.check_node() and (node := loader.get_node()) is not None:
            place = f"{path}:{node.start_mark.line + 1}"
            document = loader.construct_document(node)
            is_of_others = isinstance(document, dict) and not _OF_OTHERS.isdisjoint(document)
            if document is not None and not (is_found and is_of_others):
                yield _manifest(document, place, folder=Path() if path == Path("-") else path.parent)
    except yaml.MarkedYAMLError as problem:
        line = problem.problem_mark.line + 1 if problem.problem_mark is not None else 1
        raise _wrong(f"{path}:{line}", str(problem.problem)) from None
    except yaml.YAMLError as problem:
        raise _wrong(str(path), " ".join(str(problem).split())) from None
    finally:
        loader.dispose()


def of_text(kind: Kind, name: str, text: str, *, place: str) -> Manifest:
    """What a text says that is about this one object, whose kind and name it does not say. Raises CommandFailed."""
    import yaml

    try:
        document = yaml.safe_load(text) or {}
    except yaml.MarkedYAMLError as problem:
        line = problem.problem_mark.line + 1 if problem.problem_mark is not None else 1
        raise _wrong(f"{place}:{line}", str(problem.problem)) from None
    except yaml.YAMLError as problem:
        raise _wrong(place, " ".join(str(problem).split())) from None
    if not isinstance(document, dict):
        raise _wrong(place, "it is no object")
    return _manifest({**document, "kind": str(kind), "name": name}, place, folder=Path())


def _manifest(document: Any, place: str, *, folder: Path) -> Manifest:
    if not isinstance(document, dict):
        raise _wrong(place, "a document is an object with `kind` and `name`")
    says = dict(document)
    version = says.pop("apiVersion", VERSION)
    if version != VERSION:
        raise _wrong(place, f"apiVersion {version!r} is not known, expected {VERSION}")
    kind, name = says.pop("kind", None), says.pop("name", None)
    if kind is None:
        raise _wrong(place, f"`kind` is missing: one of {', '.join(Kind)}")
    if kind not in list(Kind):
        raise _wrong(place, f"kind {kind!r} is none of {', '.join(Kind)}", hint=meant(str(kind), Kind))
    if not isinstance(name, str) or not name:
        raise _wrong(place, "`name` is missing, or no text")
    fields = FIELDS[Kind(kind)]
    for key, value in says.items():
        if key not in fields:
            raise _wrong(place, f"{kind} has no {key!r}", hint=meant(str(key), fields) or ", ".join(fields))
        if not isinstance(value, fields[key]):
            raise _wrong(place, f"{key!r} is no {_WORDS[fields[key]]}")
    for name_of_group in says.get("groups", ()):
        if not isinstance(name_of_group, str):
            raise _wrong(place, f"{name_of_group!r} in `groups` is no name")
    for webhook in says.get("webhooks", ()):
        _check_webhook(webhook, place)
    try:
        says |= offers.checked(says, folder=folder)
    except ValueError as problem:
        raise _wrong(place, str(problem)) from None
    return Manifest(Kind(kind), name, says, place)


def _check_webhook(webhook: Any, place: str) -> None:
    if not isinstance(webhook, dict) or "type" not in webhook:
        raise _wrong(place, "an entry of `webhooks` is an object with a `type`")
    for key in webhook:
        if key not in WEBHOOK_FIELDS:
            raise _wrong(place, f"a webhook has no {key!r}", hint=meant(str(key), WEBHOOK_FIELDS))


_WORDS: Final[Mapping[type, str]] = {str: "text", list: "list", dict: "object"}


def _wrong(place: str, what: str, *, hint: str | None = None) -> CommandFailed:
    return CommandFailed(f"{place}: {what}", exit_code=Exit.USAGE, hint=hint)
