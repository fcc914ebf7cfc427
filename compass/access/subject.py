"""The subject of a client certificate as one text, the same for the certificate and for the mapping it should fit.

CN, the OUs sorted, O, L and C, and nothing else. Values may hold any character; a comma and a backslash in them are
written with a backslash before, so no value can look like two parts. Source: contract/director.md §18, RFC 4514 §2.4.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

_ONCE: Final = ("CN", "O", "L", "C")
_ORDER: Final = ("CN", "OU", "O", "L", "C")
_NAMES: Final = {
    NameOID.COMMON_NAME: "CN",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.LOCALITY_NAME: "L",
    NameOID.COUNTRY_NAME: "C",
}
_ESCAPED: Final = re.compile(r"\\([0-9a-fA-F]{2}(?:\\[0-9a-fA-F]{2})*|.)", re.DOTALL)
_TO_ESCAPE: Final = re.compile(r"[\\,]")


def of_text(subject: str) -> str | None:
    """The subject that somebody wrote, in any order. None when it has not exactly these parts, each with a value.

    Other attributes are refused and not dropped: a mapping would otherwise fit more certificates than it says.
    """
    parts: dict[str, list[str]] = {}
    for part in _split(subject):
        attribute, _, value = part.partition("=")
        try:
            parts.setdefault(attribute.strip().upper(), []).append(_unescaped(value.strip()))
        except UnicodeDecodeError:
            return None
    return _written(parts)


def of_certificate(der: bytes) -> str | None:
    """The subject of a verified certificate. None when no mapping can fit it."""
    parts: dict[str, list[str]] = {}
    try:
        for attribute in x509.load_der_x509_certificate(der).subject:
            name = _NAMES.get(attribute.oid)
            if name is None or not isinstance(attribute.value, str):
                return None
            parts.setdefault(name, []).append(attribute.value)
    except Exception:  # noqa: BLE001  # the parser raises more than ValueError on a name that breaks the rules
        return None
    return _written(parts)


def _split(subject: str) -> Sequence[str]:
    parts = [""]
    characters = iter(subject)
    for character in characters:
        if character == ",":
            parts.append("")
        else:
            parts[-1] += character + (next(characters, "") if character == "\\" else "")
    return parts


def _unescaped(value: str) -> str:
    """Raises UnicodeDecodeError for bytes that are no text."""

    def plain(match: re.Match[str]) -> str:
        if len(match[1]) == 1:
            return match[1]
        return bytes.fromhex(match[1].replace("\\", "")).decode()

    return _ESCAPED.sub(plain, value)


def _written(parts: Mapping[str, Sequence[str]]) -> str | None:
    if parts.keys() != set(_ORDER) or any(len(parts[attribute]) != 1 for attribute in _ONCE):
        return None
    values = [value for several in parts.values() for value in several]
    # A blank at an end could not be told from one that a person wrote for looks.
    if not all(value and value.isprintable() and value == value.strip() for value in values):
        return None
    return ", ".join(
        f"{attribute}={_TO_ESCAPE.sub(lambda found: chr(92) + found[0], value)}"
        for attribute in _ORDER
        for value in sorted(parts[attribute])
    )
