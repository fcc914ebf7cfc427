"""Constants as Go writes them. Source: The Go Programming Language Specification, "Lexical elements"."""

import re

_ESCAPE = re.compile(
    r"\\(?:(?P<simple>[abfnrtv\\'\"])|(?P<octal>[0-3][0-7]{2})|x(?P<byte>[0-9a-fA-F]{2})"
    r"|u(?P<short>[0-9a-fA-F]{4})|U(?P<long>[0-9a-fA-F]{8})|(?P<bad>[\s\S]?))"
)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_INTEGER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]+|0[oO]?[0-7]+|0[bB][01]+|0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][+-]?[0-9]+)?\Z")
_LAST_POINT, _SURROGATES = 0x10FFFF, range(0xD800, 0xE000)
_MAX_DIGITS = 40
_MAX_INT, _MIN_INT = 2**63 - 1, -(2**63)


def string(token: str) -> str:
    """The text of `"…"` or of a raw string in back quotes. Raises ValueError for an escape Go does not know."""
    if token.startswith("`"):
        return token[1:-1].replace("\r", "")
    if "\\" not in token:
        return token[1:-1]
    return _unescape(token[1:-1], quote='"')


def character(token: str) -> int:
    """The code point of `'…'`. Raises ValueError unless it is exactly one character."""
    text = _unescape(token[1:-1], quote="'")
    if len(text) != 1:
        raise ValueError("expected exactly one character between the quotes")
    return ord(text)


def number(token: str) -> int | float:
    """The value of an integer or floating-point constant. Raises ValueError when it is neither or too large."""
    digits = token.replace("_", "")
    if len(digits) > _MAX_DIGITS:
        raise ValueError("expected a shorter number")
    if _INTEGER.match(digits):
        value = _integer(digits)
        if not _MIN_INT <= value <= _MAX_INT:
            raise ValueError("expected an integer of at most 64 bits")
        return value
    if _FLOAT.match(digits):
        fraction = float(digits)
        if fraction in (float("inf"), float("-inf")):
            raise ValueError("expected a number a float64 can hold")
        return fraction
    raise ValueError("expected a number")


def _integer(digits: str) -> int:
    body = digits.lstrip("+-")
    if len(body) > 1 and body[0] == "0" and body[1].isdigit():
        return int(digits, 8)
    return int(digits, 0)


def _unescape(text: str, *, quote: str) -> str:
    # Bytes given as \x or octal are UTF-8 together with their neighbours, so the pieces are joined as bytes.
    pieces: list[bytes] = []
    at = 0
    for match in _ESCAPE.finditer(text):
        pieces.append(text[at : match.start()].encode("utf-8", "replace"))
        pieces.append(_escaped(match, quote))
        at = match.end()
    pieces.append(text[at:].encode("utf-8", "replace"))
    return b"".join(pieces).decode("utf-8", "replace")


def _escaped(match: re.Match[str], quote: str) -> bytes:
    simple, octal, byte = match["simple"], match["octal"], match["byte"]
    point = match["short"] or match["long"]
    if octal:
        return bytes([int(octal, 8)])
    if byte:
        return bytes([int(byte, 16)])
    if point:
        code = int(point, 16)
        if code > _LAST_POINT or code in _SURROGATES:
            raise ValueError(f"expected a code point after {match.group()[:2]!r}")
        return chr(code).encode()
    if simple and (simple == quote or simple not in "'\""):
        return _SIMPLE.get(simple, simple).encode()
    raise ValueError(f"expected an escape that Go knows, not {match.group()!r}")
