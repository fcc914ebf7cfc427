"""Operations as commands that a person can run: with a value for whatever is needed, to be replaced by real ones.

Whatever a specification says, no shell runs any of it, and what would not be part of a request is left out.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote, urlencode

from compass.client.curl import curl
from compass.definition.model import ANYTHING, Content, Definition, Operation, Parameter, Schema
from compass.definition.openapi import METHODS

_VERBS: Final = frozenset(method.upper() for method in METHODS)
_READ: Final = frozenset({"entity set", "singleton"})
"""Of OData, what is read by its name."""
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_MEDIA: Final = re.compile(r"[\w.+-]{1,60}/[\w.+*-]{1,60}")
_GAP: Final = re.compile(r"\{([^{}]*)\}")
_MOST_VALUES: Final = 60
"""In one body."""
_DEEPEST: Final = 5
_TEXTS: Final = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "email": "somebody@example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "https://example.com",
    "byte": "AA==",
}


def call(one: Operation, definition: Definition, called_at: str) -> str:
    """The command that calls it; empty for what nobody calls over HTTP, or nobody knows where."""
    if not called_at or (one.verb not in _VERBS and one.verb not in _READ):
        return ""
    made = _Sample(definition)
    path = _GAP.sub(lambda gap: _plain(made.parameter(one, gap[1], "path")), one.place)
    url = f"{called_at.rstrip('/')}/{quote(path.lstrip('/'), safe=_PATH)}"
    url = url.replace("{", "%7B").replace("}", "%7D").replace("[", "%5B").replace("]", "%5D")
    needed = [each for each in one.parameters if each.is_required]
    asked = [(each.name, _plain(made.value(each.schema, each.name))) for each in needed if each.place == "query"]
    if one.verb == "entity set":
        asked.append(("$top", "5"))
    if asked:
        url += f"{'&' if '?' in url else '?'}{urlencode(asked, safe='$')}"
    headers = list(_headers(one, needed, made))
    body = ""
    media = _media(one.takes)
    if one.takes is not None and media:
        headers.append(("Content-Type", media))
        if "json" in media:
            body = json.dumps(made.value(one.takes.types[media], "body"), ensure_ascii=True)
    return curl(one.verb if one.verb in _VERBS else "GET", url, headers, body)


_PATH: Final = "/:@!$&'()*+,;=~-._%"


def _headers(one: Operation, needed: list[Parameter], made: "_Sample") -> Iterator[tuple[str, str]]:
    answer = next((content for content in one.gives if content.name.startswith("2")), None)
    media = _media(answer)
    if media:
        yield "Accept", media
    for each in needed:
        if each.place == "header" and _HEADER.fullmatch(each.name):
            value = _plain(made.value(each.schema, each.name))
            yield each.name, "".join(sign for sign in value if sign.isprintable())


def _media(content: Content | None) -> str:
    """The media type of a body, JSON before others."""
    known = [media for media in (content.types if content is not None else ()) if _MEDIA.fullmatch(media)]
    return next((media for media in known if "json" in media), known[0] if known else "")


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


class _Sample:
    """Values that fit to schemas, as far as these say anything."""

    def __init__(self, definition: Definition) -> None:
        self._definition = definition
        self._left = _MOST_VALUES

    def parameter(self, one: Operation, name: str, place: str) -> Any:
        """The value of a parameter of an operation."""
        known = (each.schema for each in one.parameters if (each.place, each.name) == (place, name))
        return self.value(next(known, ANYTHING), name)

    def value(self, schema: Schema, name: str, depth: int = 0) -> Any:
        """A value that is called like this."""
        self._left -= 1
        found = self._definition.found(schema)
        if self._left < 0 or depth > _DEEPEST:
            return None
        if found.enum:
            return _decoded(found.enum[0])
        for inner in found.choices[:1]:
            return self.value(inner, name, depth + 1)
        if found.items is not None or "array" in found.type:
            return [self.value(found.items or ANYTHING, name, depth + 1)]
        if found.properties or found.parts or found.type.startswith("object"):
            return self._object(found, depth)
        kind = found.type.split("|")[0]
        if kind in ("integer", "number"):
            return 1
        if kind == "boolean":
            return True
        return _TEXTS.get(found.format) or name[:60].upper() or "TEXT"

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for part in schema.parts:
            value = self.value(part, "", depth + 1)
            if isinstance(value, dict):
                made |= value
        for name, inner in schema.properties.items():
            if self._left <= 0:
                break
            made[name] = self.value(inner, name, depth + 1)
        return made


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
