"""Objects by name or id, and what somebody may have meant who misspelt one."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from cyclopts import Parameter

from compass.cli.failures import CommandFailed, Exit
from compass.cli.speaking import Json, Speaking
from compass.landscape.meant import meant as meant  # noqa: PLC0414  # handed on

_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)

Name = Annotated[str, Parameter(help="Its name or id.")]


@dataclass(frozen=True)
class Kind:
    """A kind of object that has a name."""

    word: str
    names: str
    """The document that lists them, with `id` and `name`."""
    listing: str
    """The command that lists them."""
    key: str = "id"
    """The field that is its id."""


APPLICATION: Final = Kind("application", "ApplicationNames", "compass app list")
RUNTIME: Final = Kind("runtime", "RuntimeNames", "compass runtime list")
GROUP: Final = Kind("group", "Groups", "compass group list")
TEMPLATE: Final = Kind("template", "Templates", "compass template list")
INTEGRATION: Final = Kind("integration system", "IntegrationSystems", "compass integration list")
TENANT: Final = Kind("tenant", "Tenants", "compass tenant list")


def is_id(text: str) -> bool:
    """Whether the text has the form of an id."""
    return _ID.fullmatch(text) is not None


def id_of(plane: Speaking, kind: Kind, name: str) -> str:
    """The id of the object of that name; an id is returned as it is, whether or not there is such an object.

    Raises CommandFailed when nothing has the name, or more than one object has.
    """
    return name if is_id(name) else str(one(plane, kind, name)[kind.key])


def one(plane: Speaking, kind: Kind, name: str) -> Json:
    """The object of that name or id, as its list has it. Raises CommandFailed."""
    if kind is APPLICATION and not is_id(name):
        # The plane keeps a label with the name in its normal form, and finds by labels at once among any number.
        exact = [each for each in plane.all(kind.names, {"filter": _named(name)}) if each["name"] == name]
        if exact:
            return _only(exact, kind, name)
    found = plane.all(kind.names)
    return pick(found, kind, name, field=kind.key if is_id(name) else "name")


def pick(found: Sequence[Json], kind: Kind, name: str, *, field: str = "name") -> Json:
    """The one of these with that name. Raises CommandFailed with what may have been meant."""
    if exact := [each for each in found if each[field] == name]:
        return _only(exact, kind, name)
    if other_case := [each for each in found if str(each[field]).lower() == name.lower()]:
        return _only(other_case, kind, name)
    raise not_found(kind.word, name, [str(each["name"]) for each in found], listing=kind.listing)


def not_found(word: str, name: str, known: Iterable[str], *, listing: str) -> CommandFailed:
    """The failure that says there is no such thing, and what may have been meant."""
    hint = meant(name, known) or f"{listing} shows what there is"
    return CommandFailed(f"there is no {word} {name!r}", exit_code=Exit.NOT_FOUND, hint=hint)


def by_id(every: Iterable[Json], text: str) -> list[Json]:
    """Those whose id begins or ends with the text, which may have been cut to fit a terminal.

    The end tells more: ids made within the same minute begin alike.
    """
    part = text.strip("…")
    return [each for each in every if each["id"].startswith(part) or each["id"].endswith(part)]


def the_one(found: Sequence[Json], text: str, word: str, *, listing: str) -> Json:
    """What `by_id` found, when it is one. Raises CommandFailed."""
    if len(found) == 1:
        return found[0]
    problem = f"{len(found)} {word}s begin or end with" if found else f"there is no {word}"
    code = Exit.CONFLICT if found else Exit.NOT_FOUND
    raise CommandFailed(f"{problem} {text!r}", exit_code=code, hint=f"{listing} shows what there is")


def _only(found: Sequence[Json], kind: Kind, name: str) -> Json:
    if len(found) == 1:
        return found[0]
    ids = ", ".join(str(each[kind.key]) for each in found[:5])
    message = f"{len(found)} {kind.word}s are called {name!r}"
    raise CommandFailed(message, exit_code=Exit.CONFLICT, hint=f"say which by its id: {ids}")


def _named(name: str) -> list[dict[str, Any]]:
    import json

    text = name if re.fullmatch(r"mp-[-a-z0-9]*[a-z0-9]", name) and "--" not in name else f"mp-{name.lower()}"
    normal = re.sub(r"-+", "-", re.sub(r"[^-a-z0-9]", "-", text)).removesuffix("-")
    return [{"key": "name", "query": json.dumps(normal)}]
