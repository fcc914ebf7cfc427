"""The functions Go's text/template brings along, except `call`. Source: Go 1.26, package text/template, "Functions".

`and` and `or` are here for their names and numbers of arguments only: the renderer evaluates them, because
they leave arguments unevaluated.
"""

from collections.abc import Callable, Mapping
from urllib.parse import quote_plus

from compass.gotemplate.formatting import printed, spaced_out, sprintf, utf8
from compass.gotemplate.nodes import Function
from compass.gotemplate.run import Run
from compass.gotemplate.values import NO_VALUE, Record, TextMap, is_true, type_name

_HTML = str.maketrans({"\0": "\ufffd", '"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;"})
_JS = {"\\": r"\\", "'": r"\'", '"': r"\"", "<": r"\u003C", ">": r"\u003E", "&": r"\u0026", "=": r"\u003D"}


def text(run: Run, value: object) -> str:
    """The argument, which must be a text. Raises TemplateFailed."""
    if not isinstance(value, str):
        raise run.failure(f"expected a string, not {described(value)}")
    return value


def whole(run: Run, value: object) -> int:
    """The argument, which must be an int. Raises TemplateFailed."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise run.failure(f"expected an int, not {described(value)}")
    return value


def described(value: object) -> str:
    """The value's type in a sentence."""
    return "nil" if value is None else type_name(value)


def negated(_run: Run, value: object) -> bool:
    """`not`."""
    return not is_true(value)


def equal(run: Run, left: object, *rights: object) -> bool:
    """`eq`: whether the first equals any of the others. Only nil can be compared with values of other types."""
    return any(_same(run, left, right) for right in rights)


def unequal(run: Run, left: object, right: object) -> bool:
    """`ne`."""
    return not _same(run, left, right)


def _same(run: Run, left: object, right: object) -> bool:
    if left is None or right is None:
        return left is right
    _comparable(run, left, right)
    return left == right


def _comparable(run: Run, left: object, right: object) -> None:
    for value in (left, right):
        if not isinstance(value, bool | int | float | str):
            raise run.failure(f"cannot compare {described(value)}")
    if type_name(left) != type_name(right):
        raise run.failure(f"incompatible types for comparison: {described(left)} and {described(right)}")


def _ordered(run: Run, left: object, right: object) -> int:
    """-1, 0 or 1 as left is less than, equal to or greater than right."""
    if left is None or right is None or isinstance(left, bool):
        raise run.failure(f"cannot order {described(left)} and {described(right)}")
    _comparable(run, left, right)
    if isinstance(left, str) and isinstance(right, str):
        return (left > right) - (left < right)
    if isinstance(left, int | float) and isinstance(right, int | float):
        return (left > right) - (left < right)
    raise run.failure(f"cannot order {described(left)} and {described(right)}")


def less(run: Run, left: object, right: object) -> bool:
    """`lt`."""
    return _ordered(run, left, right) < 0


def less_or_equal(run: Run, left: object, right: object) -> bool:
    """`le`."""
    return _ordered(run, left, right) <= 0


def greater(run: Run, left: object, right: object) -> bool:
    """`gt`."""
    return _ordered(run, left, right) > 0


def greater_or_equal(run: Run, left: object, right: object) -> bool:
    """`ge`."""
    return _ordered(run, left, right) >= 0


def length(run: Run, value: object) -> int:
    """`len`: bytes of a text, elements of a list or map."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(utf8(value))
    if isinstance(value, list | dict) and not isinstance(value, Record):
        return len(value)
    raise run.failure(f"{described(value)} has no length")


def indexed(run: Run, value: object, *path: object) -> object:
    """`index`: the element at a position or key, one step per argument; a byte of a text as its number."""
    if value is None:
        raise run.failure("nil has no elements to index")
    for step in path:
        value = _element(run, value, step)
    return value


def _element(run: Run, value: object, step: object) -> object:
    if isinstance(value, dict) and not isinstance(value, Record):
        if not isinstance(step, str):
            raise run.failure(f"the key of a map is a string, not {described(step)}")
        return value.get(step, "" if isinstance(value, TextMap) else None)
    if isinstance(value, str):
        octets = utf8(value)
        return octets[_position(run, step, len(octets) - 1)]
    if isinstance(value, list):
        return value[_position(run, step, len(value) - 1)]
    raise run.failure(f"{described(value)} has no elements to index")


def _position(run: Run, value: object, last: int) -> int:
    position = whole(run, value)
    if not 0 <= position <= last:
        raise run.failure(f"the position {position} is out of range: expected 0 to {last}")
    return position


def sliced(run: Run, value: object, *bounds: object) -> object:
    """`slice`: part of a text, counted in bytes, or of a list.

    Go takes a third bound for the capacity, which nothing here can observe; sprig, whose `slice` is the one the
    contract's templates get, knows lists only.
    """
    if isinstance(value, str):
        octets = utf8(value)
        start, end = _bounds(run, bounds, len(octets))
        return octets[start:end].decode("utf-8", "replace")
    if isinstance(value, list):
        start, end = _bounds(run, bounds, len(value))
        return value[start:end]
    raise run.failure(f"{described(value)} cannot be sliced")


def _bounds(run: Run, bounds: tuple[object, ...], size: int) -> tuple[int, int]:
    end = _position(run, bounds[1], size) if len(bounds) > 1 else size
    return (_position(run, bounds[0], end) if bounds else 0), end


def print_(run: Run, *values: object) -> str:
    """`print`."""
    return spaced_out(run, values)


def print_line(run: Run, *values: object) -> str:
    """`println`: always spaces between, and a line break at the end."""
    return " ".join(printed(run, value) for value in values) + "\n"


def print_format(run: Run, template: object, *values: object) -> str:
    """`printf`."""
    return sprintf(run, text(run, template), values)


def _one_text(run: Run, values: tuple[object, ...]) -> str:
    return spaced_out(run, tuple(NO_VALUE if value is None else value for value in values))


def html_escaped(run: Run, *values: object) -> str:
    """`html`."""
    return _one_text(run, values).translate(_HTML)


def js_escaped(run: Run, *values: object) -> str:
    """`js`: for the inside of a JavaScript string."""
    return "".join(_js_character(character) for character in _one_text(run, values))


def _js_character(character: str) -> str:
    if character in _JS:
        return _JS[character]
    return character if character.isprintable() else f"\\u{ord(character):04X}"


def query_escaped(run: Run, *values: object) -> str:
    """`urlquery`: for a value inside the query of a URL."""
    return quote_plus(utf8(_one_text(run, values)))


def _decided_by_the_renderer(run: Run, *_values: object) -> object:
    raise run.failure("and/or cannot be called here")


AND = Function(_decided_by_the_renderer, 1, None)
OR = Function(_decided_by_the_renderer, 1, None)


def _table(*entries: tuple[str, Callable[..., object], int, int | None]) -> Mapping[str, Function]:
    return {name: Function(call, least, most) for name, call, least, most in entries}


BUILT_IN: Mapping[str, Function] = {
    "and": AND,
    "or": OR,
    **_table(
        ("not", negated, 1, 1),
        ("eq", equal, 2, None),
        ("ne", unequal, 2, 2),
        ("lt", less, 2, 2),
        ("le", less_or_equal, 2, 2),
        ("gt", greater, 2, 2),
        ("ge", greater_or_equal, 2, 2),
        ("len", length, 1, 1),
        ("index", indexed, 1, None),
        ("slice", sliced, 1, 4),
        ("print", print_, 0, None),
        ("println", print_line, 0, None),
        ("printf", print_format, 1, None),
        ("html", html_escaped, 0, None),
        ("js", js_escaped, 0, None),
        ("urlquery", query_escaped, 0, None),
    ),
}
