"""The sprig functions that templates for the contract commonly use, and those that are left out, with the reason.

Source: github.com/Masterminds/sprig v3.3, its docs.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping

import orjson

from compass.gotemplate import sprig_collections as collections
from compass.gotemplate import sprig_numbers as numbers
from compass.gotemplate import sprig_texts as texts
from compass.gotemplate.formatting import json_text, printed, utf8
from compass.gotemplate.functions import described, text
from compass.gotemplate.nodes import Function
from compass.gotemplate.run import Run
from compass.gotemplate.values import is_true, kind_name, type_name


def is_empty(_run: Run, value: object) -> bool:
    """Whether the value counts as absent: nil, zero, false or without elements."""
    return not is_true(value)


def default(_run: Run, replacement: object, *given: object) -> object:
    """The given value, unless it is empty."""
    return given[0] if given and is_true(given[0]) else replacement


def coalesce(_run: Run, *values: object) -> object:
    """The first value that is not empty."""
    return next(filter(is_true, values), None)


def all_true(_run: Run, *values: object) -> bool:
    """Whether no value is empty."""
    return all(map(is_true, values))


def any_true(_run: Run, *values: object) -> bool:
    """Whether some value is not empty."""
    return any(map(is_true, values))


def ternary(run: Run, when_true: object, when_false: object, condition: object) -> object:
    """One of two values."""
    if not isinstance(condition, bool):
        raise run.failure(f"expected a bool as the condition, not {described(condition)}")
    return when_true if condition else when_false


def fail(run: Run, why: object) -> object:
    """End the rendering with the template's own words."""
    raise run.failure(text(run, why))


def to_json(run: Run, value: object) -> str:
    """As JSON; `<`, `>` and `&` escaped as Go does."""
    return json_text(run, value)


def to_raw_json(run: Run, value: object) -> str:
    """As JSON, with `<`, `>` and `&` as they are."""
    return json_text(run, value, escape_html=False)


def to_pretty_json(run: Run, value: object) -> str:
    """As JSON with line breaks, indented by two spaces."""
    return json_text(run, value, indent="  ")


def from_json(run: Run, value: object) -> object:
    """The value a JSON text stands for, numbers as float64; nil when it is not JSON."""
    try:
        return _floats(run, orjson.loads(utf8(text(run, value))), 0)
    except orjson.JSONDecodeError:
        return None


def from_json_or_fail(run: Run, value: object) -> object:
    """The value a JSON text stands for. Raises TemplateFailed when it is not JSON."""
    try:
        return _floats(run, orjson.loads(utf8(text(run, value))), 0)
    except orjson.JSONDecodeError as wrong:
        raise run.failure(f"the text is not JSON: {wrong}") from None


def _floats(run: Run, value: object, depth: int) -> object:
    run.check_value_depth(depth)
    match value:
        case dict():
            run.spend_on(value)
            return {key: _floats(run, item, depth + 1) for key, item in value.items()}
        case list():
            run.spend_on(value)
            return [_floats(run, item, depth + 1) for item in value]
        case int() if not isinstance(value, bool):
            return float(value)
        case _:
            return value


def base64_encoded(run: Run, value: object) -> str:
    """In base64."""
    return base64.b64encode(utf8(text(run, value))).decode()


def base64_decoded(run: Run, value: object) -> str:
    """From base64; bytes that are not UTF-8 become the replacement character. Raises TemplateFailed."""
    try:
        return base64.b64decode(utf8(text(run, value)), validate=True).decode("utf-8", "replace")
    except binascii.Error:
        raise run.failure("the text is not base64") from None


def sha256(run: Run, value: object) -> str:
    """The SHA-256 of the text in hexadecimal."""
    return hashlib.sha256(utf8(text(run, value))).hexdigest()


def kind_of(_run: Run, value: object) -> str:
    """The kind: string, int, float64, bool, slice, map, struct or invalid."""
    return kind_name(value)


def kind_is(run: Run, kind: object, value: object) -> bool:
    """Whether the value is of the kind."""
    return kind_name(value) == text(run, kind)


def type_of(_run: Run, value: object) -> str:
    """The name of the type in Go."""
    return type_name(value)


def _entries(*entries: tuple[str, Callable[..., object], int, int | None]) -> Mapping[str, Function]:
    return {name: Function(call, least, most) for name, call, least, most in entries}


SPRIG: Mapping[str, Function] = _entries(
    ("trim", texts.trim, 1, 1),
    ("trimAll", texts.trim_all, 2, 2),
    ("trimSuffix", texts.trim_suffix, 2, 2),
    ("trimPrefix", texts.trim_prefix, 2, 2),
    ("upper", texts.upper, 1, 1),
    ("lower", texts.lower, 1, 1),
    ("title", texts.title, 1, 1),
    ("untitle", texts.untitle, 1, 1),
    ("replace", texts.replace, 3, 3),
    ("hasPrefix", texts.has_prefix, 2, 2),
    ("hasSuffix", texts.has_suffix, 2, 2),
    ("quote", texts.quote, 0, None),
    ("squote", texts.single_quote, 0, None),
    ("cat", texts.concatenated, 0, None),
    ("join", texts.join, 2, 2),
    ("split", texts.split_map, 2, 2),
    ("splitList", texts.split_list, 2, 2),
    ("trunc", texts.truncated, 2, 2),
    ("repeat", texts.repeat, 2, 2),
    ("indent", texts.indent, 2, 2),
    ("nindent", texts.indent_after_line_break, 2, 2),
    ("nospace", texts.without_blanks, 1, 1),
    ("substr", texts.substring, 3, 3),
    ("toString", printed, 1, 1),
    ("toStrings", texts.texts_of, 1, 1),
    ("empty", is_empty, 1, 1),
    ("default", default, 1, None),
    ("coalesce", coalesce, 0, None),
    ("all", all_true, 0, None),
    ("any", any_true, 0, None),
    ("ternary", ternary, 3, 3),
    ("fail", fail, 1, 1),
    ("toJson", to_json, 1, 1),
    ("mustToJson", to_json, 1, 1),
    ("toRawJson", to_raw_json, 1, 1),
    ("toPrettyJson", to_pretty_json, 1, 1),
    ("fromJson", from_json, 1, 1),
    ("mustFromJson", from_json_or_fail, 1, 1),
    ("b64enc", base64_encoded, 1, 1),
    ("b64dec", base64_decoded, 1, 1),
    ("sha256sum", sha256, 1, 1),
    ("list", collections.list_of, 0, None),
    ("tuple", collections.list_of, 0, None),
    ("first", collections.first, 1, 1),
    ("last", collections.last, 1, 1),
    ("rest", collections.rest, 1, 1),
    ("initial", collections.initial, 1, 1),
    ("append", collections.append, 2, 2),
    ("push", collections.append, 2, 2),
    ("prepend", collections.prepend, 2, 2),
    ("concat", collections.concat, 0, None),
    ("reverse", collections.reverse, 1, 1),
    ("has", collections.has, 2, 2),
    ("without", collections.without, 1, None),
    ("uniq", collections.uniq, 1, 1),
    ("compact", collections.compact, 1, 1),
    ("sortAlpha", collections.sorted_texts, 1, 1),
    ("until", collections.until, 1, 1),
    ("deepEqual", collections.same, 2, 2),
    ("dict", collections.dict_of, 0, None),
    ("get", collections.get, 2, 2),
    ("hasKey", collections.has_key, 2, 2),
    ("keys", collections.keys, 0, None),
    ("values", collections.values_of, 1, 1),
    ("pick", collections.pick, 1, None),
    ("omit", collections.omit, 1, None),
    ("dig", collections.dig, 3, None),
    ("int", numbers.integer, 1, 1),
    ("int64", numbers.integer, 1, 1),
    ("atoi", numbers.decimal, 1, 1),
    ("float64", numbers.floating, 1, 1),
    ("add", numbers.add, 0, None),
    ("add1", numbers.add_one, 1, 1),
    ("sub", numbers.sub, 2, 2),
    ("mul", numbers.mul, 1, None),
    ("div", numbers.div, 2, 2),
    ("mod", numbers.mod, 2, 2),
    ("max", numbers.maximum, 1, None),
    ("min", numbers.minimum, 1, None),
    ("kindOf", kind_of, 1, 1),
    ("kindIs", kind_is, 2, 2),
    ("typeOf", type_of, 1, 1),
)

_OUTSIDE = "a template reads nothing but the data it is given"
_SAME = "the same data must always give the same text"
_UNCHANGED = "a template does not change the data it is given; build a new map with dict, pick or omit"
_REGEX = "its running time cannot be bounded; use contains, hasPrefix, hasSuffix or splitList"

REFUSED: Mapping[str, str] = {
    name: why
    for names, why in (
        ("call", "the data holds no functions"),
        ("env expandenv getHostByName", _OUTSIDE),
        ("now date dateInZone ago unixEpoch htmlDate uuidv4", _SAME),
        ("randAlpha randAlphaNum randAscii randNumeric randBytes randInt shuffle", _SAME),
        ("set unset merge mergeOverwrite mustMerge mustMergeOverwrite", _UNCHANGED),
        ("regexMatch mustRegexMatch regexFind regexFindAll regexReplaceAll regexReplaceAllLiteral regexSplit", _REGEX),
    )
    for name in names.split()
}
"""Functions of Go or sprig that are left out on purpose, and why."""
