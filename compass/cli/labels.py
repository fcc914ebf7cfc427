"""Labels on the command line: `key=value` to set, `key=value` or `key` to select."""

import json
from collections.abc import Iterable
from typing import Annotated, Any

from cyclopts import Parameter

from compass.cli.failures import CommandFailed, Exit
from compass.cli.speaking import Json, Speaking
from compass.landscape.labels import groups as groups  # noqa: PLC0414  # handed on
from compass.landscape.labels import of_people as of_people  # noqa: PLC0414  # handed on

Selector = Annotated[
    tuple[str, ...],
    Parameter(name="--label", alias="-l", help="Only those with this label: key=value, or key alone. All must hold."),
]
NewLabels = Annotated[
    tuple[str, ...], Parameter(name="--label", alias="-l", help="A label as key=value; may be repeated.")
]


def filters(selector: Iterable[str]) -> list[Json] | None:
    """The filters of a list. Raises CommandFailed."""
    made = []
    for text in selector:
        key, equals, value = text.partition("=")
        if not key:
            raise CommandFailed(f"--label {text!r} is not key=value", exit_code=Exit.USAGE)
        made.append({"key": key, "query": json.dumps(value_of(value))} if equals else {"key": key})
    return made or None


def new(pairs: Iterable[str]) -> Json:
    """Labels to set, by key. Raises CommandFailed."""
    made = {}
    for text in pairs:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise CommandFailed(f"--label {text!r} is not key=value", exit_code=Exit.USAGE)
        made[key] = value_of(value)
    return made


def value_of(text: str) -> Any:
    """A value of a label: JSON when it reads as JSON, otherwise the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def shown(row: Any) -> str:
    """The labels of an object that people gave it, as `key=value`, for a column of a table."""
    return ",".join(f"{key}={_short(value)}" for key, value in of_people(row).items())


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def change(
    plane: Speaking, changes: Iterable[str], *, setting: str, deleting: str, of: Json, known: Json | None
) -> list[str]:
    """Set `key=value`, remove `key-`, and return what was done: nothing of what is so already. Raises CommandFailed."""
    done = []
    for text in changes:
        key, equals, value = text.partition("=")
        if equals and key:
            wanted = value_of(value)
            if (known or {}).get(key) != wanted:
                plane.change(setting, {**of, "key": key, "value": wanted})
                done.append(f"{key}={value}")
        elif text.endswith("-") and len(text) > 1:
            if text[:-1] in (known or {}):
                plane.change(deleting, {**of, "key": text[:-1]})
                done.append(text)
        else:
            message = f"{text!r} is neither key=value, which sets a label, nor key-, which removes one"
            raise CommandFailed(message, exit_code=Exit.USAGE)
    return done
