"""sprig's functions on lists and maps. Source: github.com/Masterminds/sprig v3.3, its docs."""

from compass.gotemplate.formatting import printed, sorted_items
from compass.gotemplate.functions import described, text, whole
from compass.gotemplate.run import Run
from compass.gotemplate.sprig_texts import texts_of
from compass.gotemplate.values import is_true, type_name


def items_of(run: Run, value: object) -> list[object]:
    """The argument, which must be a list. Raises TemplateFailed."""
    if not isinstance(value, list):
        raise run.failure(f"expected a list, not {described(value)}")
    return value


def map_of(run: Run, value: object) -> dict[str, object]:
    """The argument, which must be a map or nil. Raises TemplateFailed."""
    if value is None:
        return {}  # an absent map has no keys, as in Go
    if not isinstance(value, dict):
        raise run.failure(f"expected a map, not {described(value)}")
    return value


def list_of(_run: Run, *values: object) -> list[object]:
    """A list of the values."""
    return [*values]


def first(run: Run, values: object) -> object:
    """The first element, nil when there is none."""
    return next(iter(items_of(run, values)), None)


def last(run: Run, values: object) -> object:
    """The last element, nil when there is none."""
    return next(reversed(items_of(run, values)), None)


def rest(run: Run, values: object) -> list[object]:
    """All elements but the first."""
    return items_of(run, values)[1:]


def initial(run: Run, values: object) -> list[object]:
    """All elements but the last."""
    return items_of(run, values)[:-1]


def append(run: Run, values: object, value: object) -> list[object]:
    """A new list with the value at the end."""
    return [*items_of(run, values), value]


def prepend(run: Run, values: object, value: object) -> list[object]:
    """A new list with the value at the beginning."""
    return [value, *items_of(run, values)]


def concat(run: Run, *lists: object) -> list[object]:
    """The elements of all lists."""
    return [value for values in lists for value in items_of(run, values)]


def reverse(run: Run, values: object) -> list[object]:
    """The elements in opposite order."""
    return items_of(run, values)[::-1]


def has(run: Run, value: object, values: object) -> bool:
    """Whether the list has an element deeply equal to the value; nil has none."""
    return values is not None and any(same(run, value, item) for item in items_of(run, values))


def without(run: Run, values: object, *unwanted: object) -> list[object]:
    """The elements equal to none of the unwanted."""
    return [item for item in items_of(run, values) if not any(same(run, item, other) for other in unwanted)]


def uniq(run: Run, values: object) -> list[object]:
    """The elements without repetitions."""
    kept: list[object] = []
    for item in items_of(run, values):
        if not any(same(run, item, other) for other in kept):
            kept.append(item)
    return kept


def compact(run: Run, values: object) -> list[object]:
    """The elements that are not empty."""
    return [item for item in items_of(run, values) if is_true(item)]


def sorted_texts(run: Run, values: object) -> list[object]:
    """The elements as texts in alphabetical order."""
    texts = [str(value) for value in texts_of(run, values)] if isinstance(values, list) else [printed(run, values)]
    return [*sorted(texts)]


def until(run: Run, count: object) -> list[object]:
    """The numbers from 0 up to count, or down to it when it is negative."""
    end = whole(run, count)
    run.spend(abs(end))
    return [*range(0, end, -1 if end < 0 else 1)]


def same(run: Run, left: object, right: object, depth: int = 0) -> bool:
    """Whether two values are equal in type and, element by element, in content."""
    run.spend()
    run.check_value_depth(depth)
    if type_name(left) != type_name(right):
        return False
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(same(run, a, b, depth + 1) for a, b in zip(left, right, strict=True))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(run, left[key], right[key], depth + 1) for key in left)
    return left == right


def dict_of(run: Run, *pairs: object) -> dict[str, object]:
    """A map of keys and values given in turn; a last key without a value gets the empty text."""
    values = [*pairs[1::2], ""]
    return {printed(run, key): value for key, value in zip(pairs[::2], values, strict=False)}


def get(run: Run, values: object, key: object) -> object:
    """The value at the key, the empty text when there is none."""
    return map_of(run, values).get(text(run, key), "")


def has_key(run: Run, values: object, key: object) -> bool:
    """Whether the map has the key."""
    return text(run, key) in map_of(run, values)


def keys(run: Run, *maps: object) -> list[object]:
    """The keys of the maps. Sorted within each map, where sprig leaves them in random order."""
    return [key for values in maps for key, _ in sorted_items(run, map_of(run, values))]


def values_of(run: Run, values: object) -> list[object]:
    """The values of the map in the order of their keys, where sprig leaves them in random order."""
    return [value for _, value in sorted_items(run, map_of(run, values))]


def pick(run: Run, values: object, *wanted: object) -> dict[str, object]:
    """A new map with the wanted keys only."""
    present = map_of(run, values)
    return {key: present[key] for key in (text(run, name) for name in wanted) if key in present}


def omit(run: Run, values: object, *unwanted: object) -> dict[str, object]:
    """A new map without the unwanted keys."""
    names = {text(run, name) for name in unwanted}
    return {key: value for key, value in map_of(run, values).items() if key not in names}


def dig(run: Run, *path_default_map: object) -> object:
    """The value at a path of keys, or the default when a key is missing: `dig "a" "b" default map`."""
    *path, otherwise, value = path_default_map
    for key in path:
        present = map_of(run, value)
        if text(run, key) not in present:
            return otherwise
        value = present[text(run, key)]
    return value
