"""Masked: a document as people may see it who need not know the secrets in it.

What was sent to a webhook may hold credentials, such as the configuration that two participants of a group exchange.
Which values are secret is told by what they are called: that hides some that are none, rather than to show one that is.
"""

import re
from typing import Any, Final

import orjson

MASK: Final = "***"
_SECRET: Final = re.compile(
    r"pass(word|wd|phrase|code)|secret|token|credential|private_?-?key|api_?-?key|access_?-?key|authorization|cookie"
    r"|signature|assertion|bearer",
    re.IGNORECASE,
)
_NAMED: Final = re.compile(r"(url|uri|endpoint|type|id|name|expires_?(in|at)?)$", re.IGNORECASE)
"""How names end that speak of a secret and are none: `tokenUrl`, `credentialType`."""
_DEEPEST: Final = 50
"""What is nested deeper is masked as a whole."""


def without_secrets(text: str) -> str:
    """A JSON text with `***` in place of each value that is called like a secret. What is no JSON is masked whole."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return MASK if text.strip() else ""
    return orjson.dumps(_masked(document, is_secret=False, depth=0)).decode()


def _masked(value: Any, *, is_secret: bool, depth: int) -> Any:
    if depth > _DEEPEST:
        return MASK
    match value:
        case dict():
            return {
                key: _masked(below, is_secret=_is_secret(key, is_secret), depth=depth + 1)
                for key, below in value.items()
            }
        case list():
            return [_masked(below, is_secret=is_secret, depth=depth + 1) for below in value]
        case str() if value[:1] in ("{", "["):
            # A configuration is often a text inside of the document.
            inside = without_secrets(value)
            return MASK if is_secret else value if inside == MASK else inside
        case None | bool() | "":
            return value
        case _:
            return MASK if is_secret else value


def _is_secret(key: str, inside_of_one: bool) -> bool:  # noqa: FBT001  a state of the walk, not a choice of behaviour
    """Whether the values below a key are. `credentials` of several kinds have names inside that tell them apart."""
    if _NAMED.search(key):
        return False
    return inside_of_one or bool(_SECRET.search(key))
