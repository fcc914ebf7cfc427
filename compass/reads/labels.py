"""Labels: how an object shows them, and the language in which lists are filtered by them.

Source of the language: contract/director.md §5.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from compass.errors import Refused

_MATCHED_BY_NAME: Final = frozenset({"scenarios", "runtimeType", "systemRole"})
"""Keys whose query is the JSONPath subset instead of a JSON literal."""
_ABSENT_ALLOWED: Final = "global_subaccount_id"
_ANY_OF: Final = re.compile(
    r"""^\$\[\*\]\s*\?\s*\(\s*(@\s*==\s*"[a-zA-Z0-9\-_\s]+"(?:\s*\|\|\s*@\s*==\s*"[a-zA-Z0-9\-_\s]+")*)\s*\)$"""
)
_QUOTED: Final = re.compile(r'"([^"]*)"')
_MOST: Final = 50
"""Filters of one list."""
_SEARCHED: Final = 4
"""Filters with a value with which a search may begin."""
_SPELLED: Final = 8
"""Alternatives of a filter that are written one by one, so that the database can tell rare from common ones."""


class FilterRefused(Refused):
    """There are too many filters, or a query is neither a JSON literal nor, for some keys, the JSONPath subset."""


def shown(table: str, owner: str, *, hidden: str | None = None) -> str:
    """The object's labels as one JSON object, or only the one under the argument `key`; a template for a read plan.

    Keys that end as `hidden` does are left out.
    """
    kept = f"AND right(label.key, {len(hidden)}) <> '{hidden}' " if hidden else ""
    return (
        "(SELECT coalesce(json_object_agg(label.key, label.value), '{}'::json) "
        f"FROM {table} label WHERE label.{owner} = {{t}}.id {kept}"
        "AND ({arg:key}::text IS NULL OR label.key = {arg:key}::text))"
    )


@dataclass(frozen=True)
class Matching:
    """Where the labels of a list's objects are. `table` holds them, its column `owner` names the object.

    `subject` is the object in the list's own condition. Name the column that is found first, such as that of an access
    row: the others are then left unread.
    """

    table: str
    owner: str
    subject: str = "{c}.id"


@dataclass(frozen=True)
class Filter:
    """One filter of a list; an object has to meet all of them."""

    key: str
    contains: Sequence[Any] | None = None
    """The label must contain one of these; None when any value will do."""
    absent: bool = False
    """There must be no such label."""


def conditions(matching: Matching, filters: Sequence[Filter], bind: Callable[[Any], str]) -> list[str]:
    """Templates of conditions that an object meets all filters. `bind` makes a value a parameter of the statement.

    Each has a condition of its own, so that the database, which is told the values when it plans, begins with the one
    that fewest meet, or walks the list when most meet them.
    """
    made = []
    searched = 0
    for wanted in filters:
        label = f"SELECT label.{matching.owner} FROM {matching.table} label WHERE label.key = {bind(wanted.key)}::text"
        of_subject = f"{label} AND label.{matching.owner} = {matching.subject}"
        if wanted.contains is None:
            made.append(f"{'NOT ' if wanted.absent else ''}EXISTS ({of_subject})")
            continue
        searched += 1
        contained = _contained(wanted.contains, bind)
        if searched <= _SEARCHED:
            made.append(f"{matching.subject} IN ({label} AND {contained})")
        else:
            # OFFSET 0: looked up object by object. A plan that weighs all orders of many tables takes seconds to make.
            made.append(f"EXISTS ({of_subject} AND {contained} OFFSET 0)")
    return made


def _contained(values: Sequence[Any], bind: Callable[[Any], str]) -> str:
    # As JSON text: null is a value, not the absence of one.
    texts = [orjson.dumps(value) for value in values]
    if len(texts) > _SPELLED:
        return f"label.value @> ANY ({bind(texts)}::jsonb[])"
    return f"({' OR '.join(f'label.value @> {bind(text)}::jsonb' for text in texts)})"


def wanted(filters: Sequence[Mapping[str, Any] | None] | None) -> list[Filter]:
    """What the argument `filter` asks for.

    Raises FilterRefused for a query that is not in the language, and for more filters than anybody needs.
    """
    # `applicationsByLocalTenantID` has a list of filters that may be null.
    given = [entry for entry in filters or () if entry is not None]
    if len(given) > _MOST:
        raise FilterRefused(f"there are {len(given)} filters; at most {_MOST} are taken at once")
    found = []
    for entry in given:
        key, query = entry["key"], entry.get("query")
        if query is None:
            found.append(Filter(key))
            continue
        alternatives = _alternatives(key, query)
        if key == _ABSENT_ALLOWED and alternatives == [{"exists": False}]:
            found.append(Filter(key, absent=True))
        else:
            found.append(Filter(key, alternatives))
    return found


def _alternatives(key: str, query: str) -> list[Any]:
    """The values one of which the label must contain. A name is contained in itself and in a list of names."""
    if key in _MATCHED_BY_NAME:
        match = _ANY_OF.match(query.strip())
        if match is None:
            raise FilterRefused(
                f'the query of a filter on {key} must look like $[*] ? (@ == "a" || @ == "b"), not {query[:200]}'
            )
        return _QUOTED.findall(match[1])
    try:
        literal = orjson.loads(query)
        orjson.dumps(literal)  # deeper than can be written, it is in no label
        return [literal]
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        raise FilterRefused(
            f'the query of a filter on {key} must be a JSON literal, for example "\\"text\\"", not {query[:200]}'
        ) from None
