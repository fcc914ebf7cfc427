"""Writes values the way Go's fmt, strconv and encoding/json do. Source: Go 1.26, those packages' documentation."""

import json
import math
import re
from collections.abc import Iterator

from compass.gotemplate.run import Run
from compass.gotemplate.values import Record, type_name

_DIRECTIVE = re.compile(r"%(?P<flags>[-+# 0]*)(?P<width>[0-9]*)(?:\.(?P<precision>[0-9]*))?(?P<verb>.?)", re.DOTALL)
_MAX_WIDTH_DIGITS = 7
_INT_BITS = 64
_LAST_ASCII, _LAST_SHORT, _LAST_POINT = 0x7F, 0xFFFF, 0x10FFFF
_EXPONENT_BELOW = -4  # the power of ten below which %g and %v write an exponent
_FLOAT_VERBS = "eEfFgG"
_EXPONENT_LETTER = {"g": "e", "G": "E"}
_EXPONENT_FROM = 6  # the power of ten from which %g and %v write an exponent
_INTEGER_BASES = {"d": "d", "b": "b", "o": "o", "x": "x", "X": "X"}
_GO_ESCAPES = {
    "\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v", '"': r"\"", "\\": r"\\",
}  # fmt: skip
_JSON_PLAIN_FROM, _JSON_PLAIN_BELOW = 1e-6, 1e21  # between them JSON numbers have no exponent
_JSON_HTML = str.maketrans({"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"})
_JSON_LINES = str.maketrans({"\u2028": r"\u2028", "\u2029": r"\u2029"})


def utf8(text: str) -> bytes:
    """The bytes Go would hold; a lone surrogate, which Go cannot hold, becomes the replacement character."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def sorted_items(run: Run, value: dict[str, object]) -> list[tuple[str, object]]:
    """The entries of a map in the order of its keys. Raises TemplateFailed when a key is no text."""
    for key in value:
        if not isinstance(key, str):
            raise run.failure(f"a template cannot work with a map that has a key of {type_name(key)}")
    return sorted(value.items(), key=_key)


def _key(item: tuple[str, object]) -> str:
    return item[0]


def printed(run: Run, value: object) -> str:
    """The value as `print` and a list or map around it write it: `%v`."""
    return value if isinstance(value, str) else formatted(run, value, "v")


def spaced_out(run: Run, values: tuple[object, ...]) -> str:
    """The values as Go's Sprint joins them: a space between two neighbours of which neither is a text."""
    pieces: list[str] = []
    for position, value in enumerate(values):
        if position and not isinstance(value, str) and not isinstance(values[position - 1], str):
            pieces.append(" ")
        pieces.append(printed(run, value))
    return "".join(pieces)


def quoted(text: str) -> str:
    """The text in double quotes with Go's escapes: `%q`."""
    return '"' + "".join(_GO_ESCAPES.get(character) or _visible(character) for character in text) + '"'


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    point = ord(character)
    if point <= _LAST_ASCII:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point <= _LAST_SHORT else f"\\U{point:08x}"


def _character(point: int) -> str:
    return chr(point) if 0 <= point <= _LAST_POINT else "\ufffd"


def float_text(value: float, verb: str = "g", precision: int | None = None) -> str:
    """A float64 with Go's digits and exponents; without precision, as few digits as tell it from its neighbours."""
    if math.isnan(value) or math.isinf(value):
        return "NaN" if math.isnan(value) else ("+Inf" if value > 0 else "-Inf")
    if verb in "fF":
        return f"{value:.{6 if precision is None else precision}f}"
    if verb in "eE":
        return f"{value:.{6 if precision is None else precision}{verb}}"
    if precision is not None:
        return f"{value:.{precision or 1}{verb}}"
    mantissa, exponent = shortest(value)
    return (
        plain(value)
        if _EXPONENT_BELOW <= exponent < _EXPONENT_FROM
        else f"{mantissa}{_EXPONENT_LETTER[verb]}{exponent:+03d}"
    )


def shortest(value: float) -> tuple[str, int]:
    """The shortest decimal digits of the value as `d.ddd`, and their power of ten."""
    sign, digits, exponent = _decimal(value)
    point = len(digits) - 1 + exponent
    return sign + digits[0] + ("." + digits[1:] if len(digits) > 1 else ""), point


def plain(value: float) -> str:
    """The shortest decimal digits of the value, without an exponent."""
    sign, digits, exponent = _decimal(value)
    if exponent >= 0:
        return sign + digits + "0" * exponent
    whole = len(digits) + exponent
    return sign + (digits[:whole] + "." + digits[whole:] if whole > 0 else "0." + "0" * -whole + digits)


def _decimal(value: float) -> tuple[str, str, int]:
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = fraction.rstrip("0")
    digits = (whole + fraction).lstrip("0")
    power = int(exponent or 0) - len(fraction)
    stripped = digits.rstrip("0")
    sign = "-" if math.copysign(1, value) < 0 else ""
    return sign, stripped or "0", power + len(digits) - len(stripped) if stripped else 0


def sprintf(run: Run, template: str, values: tuple[object, ...]) -> str:
    """Go's Sprintf with flags, width and precision; without `*` and `[n]`, which are refused."""
    pieces: list[str] = []
    used = at = size = 0
    for directive in _DIRECTIVE.finditer(template):
        verb = directive["verb"]
        if verb in ("*", "["):
            raise run.failure(f"printf does not support '{verb}' in {directive.group()!r}")
        text = template[at : directive.start()]
        at = directive.end()
        if verb == "%":
            piece = "%"
        elif not verb:
            piece = "%!(NOVERB)"
        elif used >= len(values):
            piece = f"%!{verb}(MISSING)"
        else:
            piece = _directed(run, directive, values[used])
            used += 1
        pieces += (text, piece)
        size += len(text) + len(piece)
        run.check_size(size)
    pieces.append(template[at:])
    if used < len(values):
        extra = ", ".join(_described(run, value) for value in values[used:])
        pieces.append(f"%!(EXTRA {extra})")
    return "".join(pieces)


def _directed(run: Run, directive: re.Match[str], value: object) -> str:
    flags, width_text, precision_text = directive["flags"], directive["width"], directive["precision"]
    if max(len(width_text), len(precision_text or "")) > _MAX_WIDTH_DIGITS:
        raise run.failure(f"the width in {directive.group()[:40]!r} is too large")
    if "#" in flags and directive["verb"] in "vqs":
        raise run.failure(f"printf does not support '#' in {directive.group()!r}")
    width = int(width_text or 0)
    precision = None if precision_text is None else int(precision_text or 0)
    run.check_size(max(width, precision or 0))
    return formatted(run, value, directive["verb"], flags=flags, width=width, precision=precision)


def formatted(
    run: Run, value: object, verb: str, *, flags: str = "", width: int = 0, precision: int | None = None, depth: int = 0
) -> str:
    """One value under one verb; in a list or map, verb, width and precision go to each element, as in Go."""
    run.check_value_depth(depth)
    if isinstance(value, Record):
        raise run.failure("a structure cannot be written: name one of its fields, or use toJson")
    if isinstance(value, list | dict) and verb not in "Tp":
        return _collected(run, value, verb, flags, width, precision, depth)
    text = _scalar(run, value, verb, flags, precision)
    if text is None:
        shown = formatted(run, value, "v", flags=flags, width=width, precision=precision)
        return f"%!{verb}(<nil>)" if value is None else f"%!{verb}({type_name(value)}={shown})"
    missing = width - len(text)
    if missing <= 0:
        return text
    if "-" in flags:
        return text + " " * missing
    if "0" in flags:
        signed = text[:1] in ("+", "-") and not isinstance(value, str)
        return text[:1] + "0" * missing + text[1:] if signed else "0" * missing + text
    return " " * missing + text


def _collected(run: Run, value: object, verb: str, flags: str, width: int, precision: int | None, depth: int) -> str:
    def parts() -> Iterator[str]:
        if isinstance(value, dict):
            for key, item in sorted_items(run, value):
                name = formatted(run, key, verb, flags=flags, width=width, precision=precision)
                yield name + ":" + element(item)
        elif isinstance(value, list):
            yield from map(element, value)

    def element(item: object) -> str:
        if item is None:
            return "<nil>"
        return formatted(run, item, verb, flags=flags, width=width, precision=precision, depth=depth + 1)

    pieces: list[str] = []
    size = 0
    for part in parts():
        run.spend()
        size += len(part) + 1
        run.check_size(size)
        pieces.append(part)
    joined = " ".join(pieces)
    return f"map[{joined}]" if isinstance(value, dict) else f"[{joined}]"


def _scalar(run: Run, value: object, verb: str, flags: str, precision: int | None) -> str | None:
    """The value under the verb without padding, or None when the verb does not fit its type."""
    if verb == "T":
        return type_name(value)
    plus = "+" if "+" in flags else (" " if " " in flags else "")
    match value:
        case None if verb == "v":
            return "<nil>"
        case bool() if verb in "vt":
            return "true" if value else "false"
        case bool():
            pass
        case int() if verb in "vd" or verb in _INTEGER_BASES:
            return _integer(run, value, "d" if verb == "v" else verb, plus, flags, precision)
        case int() if verb == "c":
            return _character(value)
        case int() if verb == "q":
            return "'" + quoted(_character(value))[1:-1].replace(r"\"", '"').replace("'", r"\'") + "'"
        case int() if verb == "U":
            return f"U+{value:04X}"
        case float() if verb == "v" or verb in _FLOAT_VERBS:
            text = float_text(value, "g" if verb == "v" else verb, precision)
            return text if text[0] in "+-" else plus + text
        case str() if verb in "vs":
            return value if precision is None else value[:precision]
        case str() if verb == "q":
            return quoted(value if precision is None else value[:precision])
        case str() if verb in "xX":
            digits = utf8(value).hex()
            return digits if verb == "x" else digits.upper()
        case int() | float() | str() | None:
            pass
        case _:
            raise run.failure(f"a template cannot work with a value of {type_name(value)}")
    return None


def _described(run: Run, value: object) -> str:
    return "<nil>" if value is None else f"{type_name(value)}={formatted(run, value, 'v')}"


def integer_text(run: Run, value: int) -> str:
    """The int in decimal. Raises TemplateFailed beyond 64 bits, where Go has no int."""
    if value.bit_length() > _INT_BITS:
        raise run.failure("an int is longer than 64 bits")
    return str(value)


def _integer(run: Run, value: int, verb: str, plus: str, flags: str, precision: int | None) -> str:
    integer_text(run, value)
    digits = f"{abs(value):{_INTEGER_BASES[verb]}}"
    if precision is not None:
        digits = digits.rjust(precision, "0")
    prefix = {"x": "0x", "X": "0X", "o": "0", "b": "0b"}.get(verb, "") if "#" in flags else ""
    return ("-" if value < 0 else plus) + prefix + digits


def json_text(run: Run, value: object, *, escape_html: bool = True, indent: str = "") -> str:
    """The value as Go's encoding/json writes it: keys sorted, except those of a Record, and no blanks."""
    pieces = _JsonWriter(run, escape_html=escape_html, indent=indent)
    pieces.write(value, 0)
    return "".join(pieces.found)


class _JsonWriter:
    def __init__(self, run: Run, *, escape_html: bool, indent: str) -> None:
        self.run = run
        self.escape_html = escape_html
        self.indent = indent
        self.found: list[str] = []
        self.size = 0

    def add(self, text: str) -> None:
        self.size += len(text)
        self.run.check_size(self.size)
        self.found.append(text)

    def write(self, value: object, depth: int) -> None:
        self.run.spend()
        self.run.check_value_depth(depth)
        match value:
            case None:
                self.add("null")
            case bool():
                self.add("true" if value else "false")
            case int():
                self.add(integer_text(self.run, value))
            case float():
                self.add(self.number(value))
            case str():
                self.add(self.string(value))
            case list():
                self.items("[", "]", (("", item) for item in value), depth)
            case dict():
                separator = ": " if self.indent else ":"
                items = list(value.items()) if isinstance(value, Record) else sorted_items(self.run, value)
                self.items("{", "}", ((self.string(key) + separator, item) for key, item in items), depth)
            case _:
                raise self.run.failure(f"a template cannot work with a value of {type_name(value)}")

    def items(self, opening: str, closing: str, items: Iterator[tuple[str, object]], depth: int) -> None:
        self.add(opening)
        any_item = False
        for lead, item in items:
            self.add(("," if any_item else "") + self.line_break(depth + 1) + lead)
            self.write(item, depth + 1)
            any_item = True
        self.add((self.line_break(depth) if any_item else "") + closing)

    def line_break(self, depth: int) -> str:
        return "\n" + self.indent * depth if self.indent else ""

    def number(self, value: float) -> str:
        if math.isnan(value) or math.isinf(value):
            raise self.run.failure(f"JSON has no number {float_text(value)}")
        if value != 0 and not _JSON_PLAIN_FROM <= abs(value) < _JSON_PLAIN_BELOW:
            mantissa, exponent = shortest(value)
            return f"{mantissa}e{exponent:+03d}" if exponent >= 0 else f"{mantissa}e{exponent}"
        return plain(value)

    def string(self, text: str) -> str:
        written = json.dumps(utf8(text).decode(), ensure_ascii=False).translate(_JSON_LINES)
        return written.translate(_JSON_HTML) if self.escape_html else written
