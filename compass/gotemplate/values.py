"""The values a template works with: None, bool, int, float, str, list and dict, and nothing else.

A value of any other type is refused when a template touches it, so no template ever reaches an attribute or a
method of a Python object.
"""

NO_VALUE = "<no value>"
"""What an action writes for nil. Source: Go, text/template."""


class Record(dict[str, object]):
    """A structure with a fixed set of fields: asking for any other is an error, and it always counts as true.

    A plain dict is a map instead: a key it lacks is nil, and an empty one counts as false.
    """


class Absent(Record):
    """A structure that is not there: `if` takes it for false, and whoever reads its fields all the same finds them."""


class TextMap(dict[str, str]):
    """A map of texts: a key it lacks is the empty text instead of nil, as in Go's `map[string]string`."""


def type_name(value: object) -> str:
    """The name Go gives the type, for messages and for `%T`."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "float64"
        case str():
            return "string"
        case list():
            return "[]interface {}"
        case Record():
            return "structure"
        case TextMap():
            return "map[string]string"
        case dict():
            return "map[string]interface {}"
        case _:
            return f"unusable type {type(value).__name__}"


def kind_name(value: object) -> str:
    """The kind of a value as sprig's `kindOf` names it."""
    match value:
        case None:
            return "invalid"
        case list():
            return "slice"
        case Record():
            return "struct"
        case dict():
            return "map"
        case _:
            return type_name(value)


def is_true(value: object) -> bool:
    """Whether `if` takes the value for true: not false, zero, nil or empty."""
    if isinstance(value, Record):
        return not isinstance(value, Absent)
    return bool(value)
