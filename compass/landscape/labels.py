"""Labels of an object, as people know them."""

from typing import Any, Final

from compass.landscape.conversation import Json

_OF_THE_PLANE: Final = {"scenarios", "name", "managed", "isNormalized"}
"""Labels that nobody gave by hand; `-o json` has them."""


def of_people(row: Any) -> Json:
    """The labels of an object that somebody gave it."""
    every = row.get("labels") or {}
    return {key: value for key, value in sorted(every.items()) if key not in _OF_THE_PLANE}


def groups(row: Any) -> list[str]:
    """The groups that an object is in."""
    return list((row.get("labels") or {}).get("scenarios") or [])
