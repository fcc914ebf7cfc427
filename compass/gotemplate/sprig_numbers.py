"""sprig's functions on numbers. Source: github.com/Masterminds/sprig v3.3, its docs."""

import math
import re

from compass.gotemplate import literals
from compass.gotemplate.functions import text
from compass.gotemplate.run import Run
from compass.gotemplate.values import type_name

_INT_BITS = 64
_WHOLE = re.compile(r"(?P<whole>[+-]?\d\w*)(?:\.0+)?\Z", re.ASCII)
_DIGITS = re.compile(r"[+-]?\d{1,18}\Z", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?\Z", re.ASCII)


def _wrapped(value: int) -> int:
    """The value as Go's int64 holds it after an overflow."""
    half = 1 << (_INT_BITS - 1)
    return (value + half) % (1 << _INT_BITS) - half


def integer(run: Run, value: object) -> int:
    """The value as an int: fractions cut off, texts read as Go writes integers, 0 for what is no number."""
    match value:
        case bool() | int():
            return _wrapped(int(value))
        case float() if math.isfinite(value):
            return _wrapped(int(value))
        case str() if number := _WHOLE.match(value):
            return _integer_or_zero(number["whole"])
        case None | float() | str() | list() | dict():
            return 0
        case _:
            raise run.failure(f"a template cannot work with a value of {type_name(value)}")


def _integer_or_zero(written: str) -> int:
    try:
        return int(literals.number(written))
    except ValueError:
        return 0


def decimal(run: Run, value: object) -> int:
    """The int a text of decimal digits stands for, 0 when it is none."""
    written = text(run, value)
    return int(written) if _DIGITS.match(written) else 0


def floating(run: Run, value: object) -> float:
    """The value as a float64, 0 for what is no number."""
    match value:
        case bool() | float():
            return float(value)
        case int():
            return float(_wrapped(value))
        case str() if len(value) <= _INT_BITS and _NUMBER.match(value):
            return float(value)
        case _:
            return 0.0 if value is None or isinstance(value, str | list | dict) else integer(run, value)


def add(run: Run, *values: object) -> int:
    """The sum."""
    return _wrapped(sum(integer(run, value) for value in values))


def add_one(run: Run, value: object) -> int:
    """One more."""
    return _wrapped(integer(run, value) + 1)


def sub(run: Run, left: object, right: object) -> int:
    """The difference."""
    return _wrapped(integer(run, left) - integer(run, right))


def mul(run: Run, value: object, *others: object) -> int:
    """The product."""
    product = integer(run, value)
    for other in others:
        product = _wrapped(product * integer(run, other))
    return product


def div(run: Run, left: object, right: object) -> int:
    """The quotient without its fraction."""
    dividend, divisor = integer(run, left), integer(run, right)
    if divisor == 0:
        raise run.failure("cannot divide by zero")
    quotient = abs(dividend) // abs(divisor)
    return _wrapped(quotient if (dividend < 0) == (divisor < 0) else -quotient)


def mod(run: Run, left: object, right: object) -> int:
    """What a division leaves, with the sign of the left side."""
    dividend, divisor = integer(run, left), integer(run, right)
    if divisor == 0:
        raise run.failure("cannot divide by zero")
    return int(math.copysign(1, dividend)) * (abs(dividend) % abs(divisor))


def maximum(run: Run, value: object, *others: object) -> int:
    """The largest."""
    return max(integer(run, each) for each in (value, *others))


def minimum(run: Run, value: object, *others: object) -> int:
    """The smallest."""
    return min(integer(run, each) for each in (value, *others))
