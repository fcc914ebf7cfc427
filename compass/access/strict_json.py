"""JSON in which nothing can be said twice, and compact tokens made of it.

Parsers differ in which of two members of one name they believe, so such a document means one thing to whoever checked
it and another to whoever uses it. Source: RFC 8725 §2.5, RFC 7515 §4.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

LARGEST_TOKEN: Final = 16 * 1024
"""Providers list a person's groups in the token, which makes it this large at the most where it still works."""
_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)", re.ASCII)


class NotStrict(Exception):
    """It is not JSON of this kind, or not a compact token. What it holds is not told."""


@dataclass(frozen=True)
class Unverified:
    """What stands in a compact token, of which nothing is true yet."""

    unsafe_header: Mapping[str, Any] = field(repr=False)
    unsafe_claims: Mapping[str, Any] = field(repr=False)


def unverified(text: str) -> Unverified:
    """The two readable parts of a signed token. Raises NotStrict for anything that has not exactly that form."""
    if len(text) > LARGEST_TOKEN:
        raise NotStrict
    parts = _COMPACT.fullmatch(text)
    if parts is None:
        raise NotStrict
    return Unverified(mapping(_decoded(parts[1])), mapping(_decoded(parts[2])))


def mapping(data: bytes) -> Mapping[str, Any]:
    """The JSON object in these bytes. Raises NotStrict, also for members of one name at any depth."""
    try:
        found = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise NotStrict from None
    if not isinstance(found, dict):
        raise NotStrict
    return found


def _decoded(part: str) -> bytes:
    try:
        data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (binascii.Error, ValueError):
        raise NotStrict from None
    # Spare bits at the end would let one token be written in several ways.
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != part:
        raise NotStrict
    return data


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        raise NotStrict
    return found


def _refuse(_: str) -> NoReturn:
    raise NotStrict  # NaN and Infinity, which are no JSON
