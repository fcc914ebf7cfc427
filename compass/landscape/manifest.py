"""The landscape as files: what a document may say, and reading it.

A file holds YAML documents, separated by `---`. Each has a `kind` and a `name`. What a document does not mention stays
as it is; a list that it mentions is the whole list. Labels are set one by one. What an application offers, `bundles`,
`apis` and `events`, is read by `offers.py`.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from compass.client.failed import CommandFailed, Exit
from compass.landscape import offers
from compass.landscape.conversation import Json
from compass.landscape.kinds import Kind as DefinitionKind
from compass.landscape.meant import meant

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


Specification = Callable[[DefinitionKind, str], Json]
"""Reads the specification in a file that a document names. Raises CommandFailed."""
_MOST_NODES: Final = 200_000
"""Of one document, with what aliases repeat: a few lines of them may stand for more than any memory holds."""
_OF_OTHERS: Final = frozenset({"openapi", "swagger", "asyncapi"})
"""What a specification says first: it lies beside the document that names it."""


def no_files(_kind: DefinitionKind, name: str) -> Json:
    """For documents that have no folder. Raises ValueError."""
    raise ValueError(f"`spec` names the file {name!r}, which is not here: give `data`, or the `url` it is fetched from")


def documents(
    text: str, place: str, *, specification: Specification = no_files, is_found: bool = False
) -> Iterator[Manifest]:
    """The documents of a text. `place` is what it is called; `is_found`: others' specifications are passed over.

    Raises CommandFailed with the place and line of what is wrong.
    """
    import yaml

    try:
        loader = yaml.SafeLoader(text)
    except yaml.YAMLError as problem:
        raise _wrong(place, " ".join(str(problem).split())) from None
    try:
        while loader.check_node() and (node := loader.get_node()) is not None:
            line = f"{place}:{node.start_mark.line + 1}"
            _check_size(node, line)
            document = loader.construct_document(node)
            is_of_others = isinstance(document, dict) and not _OF_OTHERS.isdisjoint(document)
            if document is not None and not (is_found and is_of_others):
                yield _manifest(document, line, specification)
    except yaml.MarkedYAMLError as problem:
        number = problem.problem_mark.line + 1 if problem.problem_mark is not None else 1
        raise _wrong(f"{place}:{number}", str(problem.problem)) from None
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        raise _wrong(place, " ".join(str(problem).split())) from None
    finally:
        loader.dispose()


def _check_size(node: Any, place: str) -> None:
    waiting, seen = [node], 0
    while waiting:
        seen += 1
        if seen > _MOST_NODES:
            raise _wrong(place, f"it says more than {_MOST_NODES:,} things")
        value = waiting.pop().value
        if isinstance(value, list):
            for each in value:
                waiting.extend(each if isinstance(each, tuple) else (each,))


def in_order(found: Iterable[Manifest]) -> list[Manifest]:
    """Documents in the order in which they can be applied.

    Raises CommandFailed when two of them are about one thing, or there is none.
    """
    by_name: dict[tuple[Kind, str], Manifest] = {}
    for one in found:
        if (before := by_name.setdefault((one.kind, one.name), one)) is not one:
            raise _wrong(one.place, f"{one.kind} {one.name!r} is in {before.place} already")
    if not by_name:
        raise CommandFailed("there is no document in what was given", exit_code=Exit.USAGE)
    order = list(Kind)
    return sorted(by_name.values(), key=lambda one: (order.index(one.kind), one.name))


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
    return _manifest({**document, "kind": str(kind), "name": name}, place, no_files)


def _manifest(document: Any, place: str, specification: Specification) -> Manifest:
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
        json.dumps(says, allow_nan=False)
    except (TypeError, ValueError) as problem:
        raise _wrong(place, f"it says something that JSON cannot: {problem}", hint="put it in quotes") from None
    try:
        says |= offers.checked(says, specification)
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
