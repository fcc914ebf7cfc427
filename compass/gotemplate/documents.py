"""Functions for JSON documents that the contract adds to Go's and sprig's.

The contract names them and no more; what they do here is derived from the names and their use, and each docstring
says what was decided. Source: contract/director.md §16 (the names).
"""

from collections.abc import Mapping

import orjson

from compass.gotemplate.formatting import json_text, printed, utf8
from compass.gotemplate.functions import described, text
from compass.gotemplate.nodes import Function
from compass.gotemplate.run import Run
from compass.gotemplate.sprig_collections import same
from compass.gotemplate.sprig_texts import join


def contains(run: Run, left: object, right: object) -> bool:
    """Whether a document contains a piece, or a text a text.

    Derived: nil, an empty text, a list, a map or the text of a JSON object or array on the left is the document that
    is searched, for an element, a key or a piece of its text. Otherwise sprig's order holds: `contains piece text`.
    """
    match left:
        case None | "":
            return False
        case list():
            return any(same(run, item, right) for item in left)
        case dict():
            return text(run, right) in left
        case str() if _is_json_document(left):
            return text(run, right) in left
        case _:
            return text(run, left) in ("" if right is None else text(run, right))


def join_(run: Run, left: object, right: object) -> str:
    """The elements of a list as one text. Derived: list first as in Go's strings.Join; sprig's order works too."""
    return join(run, left, right) if isinstance(right, list) else join(run, right, left)


def copy(run: Run, document: object, *path: object) -> str:
    """The JSON text of a document, or of the part of it at a dotted path; `null` when there is no such part.

    Derived: the document is a value or its JSON text, the path keys and positions joined by dots.
    """
    value = _document(run, document)
    for step in _steps(run, path):
        value = _part(value, step)
    return json_text(run, value, escape_html=False)


def update_and_copy(run: Run, document: object, path: object, value: object) -> str:
    """The JSON text of a document in which the part at a dotted path is replaced by the value.

    Derived: maps missing on the way are added; the document given stays as it was; a list grows by one at most.
    Raises TemplateFailed when the path leads through something that is neither map nor list.
    """
    return json_text(run, _updated(run, _document(run, document), _steps(run, (path,)), value), escape_html=False)


def list_of(_run: Run, *values: object) -> list[object]:
    """`mkslice`: a list of the values."""
    return [*values]


def stringify(run: Run, value: object) -> str:
    """The JSON text of a value. Derived: like JSON.stringify, so a text comes out quoted and escaped."""
    return json_text(run, value, escape_html=False)


def _is_json_document(written: str) -> bool:
    if written.lstrip()[:1] not in ("{", "["):
        return False
    try:
        orjson.loads(utf8(written))
    except orjson.JSONDecodeError:
        return False
    return True


def _document(run: Run, document: object) -> object:
    if not isinstance(document, str) or not document:
        return document or None
    try:
        value: object = orjson.loads(utf8(document))
    except orjson.JSONDecodeError as wrong:
        raise run.failure(f"the document is not JSON: {wrong}") from None
    return value


def _steps(run: Run, path: tuple[object, ...]) -> list[str]:
    steps = [step for part in path for step in printed(run, part).split(".") if step]
    run.check_value_depth(len(steps))
    return steps


def _part(value: object, step: str) -> object:
    if isinstance(value, dict):
        return value.get(step)
    if isinstance(value, list) and _is_position(step) and int(step) < len(value):
        return value[int(step)]
    return None


def _is_position(step: str) -> bool:
    return step.isascii() and step.isdigit() and len(step) < len("1000000")


def _updated(run: Run, value: object, steps: list[str], new: object) -> object:
    if not steps:
        return new
    step, *further = steps
    if value is None:
        value = {}
    if isinstance(value, dict):
        run.spend_on(value)
        return type(value)({**value, step: _updated(run, value.get(step), further, new)})
    if isinstance(value, list) and _is_position(step) and int(step) <= len(value):
        run.spend_on(value)
        position = int(step)
        return [*value[:position], _updated(run, _part(value, step), further, new), *value[position + 1 :]]
    raise run.failure(f"the path step {step!r} does not lead into {described(value)}")


DOCUMENTS: Mapping[str, Function] = {
    "contains": Function(contains, 2, 2),
    "Join": Function(join_, 2, 2),
    "copy": Function(copy, 1, None),
    "updateAndCopy": Function(update_and_copy, 3, 3),
    "mkslice": Function(list_of, 0, None),
    "stringify": Function(stringify, 1, 1),
}
