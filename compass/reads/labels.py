"""Labels: how an object shows them, and the language in which lists are filtered by them.

Source of the language: contract/director.md §5.
"""

import re
from collections.abc import Mapping, Sequence
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


class FilterRefused(Refused):
    """A label filter's query is neither a JSON literal nor, for the keys that want it, the JSONPath subset."""


def shown(table: str, owner: str, *, hidden: str | None = None) -> str:
    """The object's labels as one JSON object, or only the one under the argument `key`; a template for a read plan.

    Keys that end as `hidden` does are left out.
    """
    kept = f"AND label.key NOT LIKE '%{hidden}' " if hidden else ""
    return (
        "(SELECT coalesce(json_object_agg(label.key, label.value), '{}'::json) "
        f"FROM {table} label WHERE label.{owner} = {{t}}.id {kept}"
        "AND ({arg:key}::text IS NULL OR label.key = {arg:key}::text))"
    )


def matching(table: str, owner: str, subject: str = "{c}.id") -> str:
    """The condition that `subject` carries every label asked for in the argument `filter`; a template for a read plan.

    Name as `subject` the column that is found first, such as that of an access row: the others are then left unread.
    Values are looked for in the index over values, once; keys alone are looked up object by object.
    """
    return (
        f"(({{arg:wanted}}::int = 0 OR {subject} IN ("
        f"SELECT label.{owner} FROM jsonb_array_elements({{arg:filter}}::jsonb) AS wanted(value), "
        # OFFSET 0: value by value through the index, never a join with all labels there are.
        f"LATERAL (SELECT label.{owner} FROM {table} label WHERE label.key = wanted.value ->> 'key' "
        "AND label.value @> (wanted.value -> 'contains') OFFSET 0) AS label "
        "GROUP BY 1 HAVING count(DISTINCT wanted.value ->> 'number') = {arg:wanted}::int"
        ")) AND NOT EXISTS (SELECT 1 FROM unnest({arg:present}::text[]) AS wanted(key) WHERE NOT EXISTS ("
        f"SELECT 1 FROM {table} label WHERE label.{owner} = {subject} AND label.key = wanted.key"
        f")) AND NOT EXISTS (SELECT 1 FROM {table} label WHERE label.{owner} = {subject} "
        "AND label.key = ANY ({arg:absent}::text[])))"
    )


@dataclass(frozen=True)
class Rules:
    """Filters as the SQL condition wants them."""

    values: Sequence[Mapping[str, Any]]
    """Labels and what they contain. Of several with the same number one is enough."""
    wanted: int
    """How many different numbers there are."""
    present: Sequence[str]
    absent: Sequence[str]


def rules(filters: Sequence[Mapping[str, Any] | None] | None) -> Rules:
    """What the filters ask for.

    Raises FilterRefused for a query that is not in the language.
    """
    values: list[dict[str, Any]] = []
    present: list[str] = []
    absent: list[str] = []
    wanted = 0
    for entry in filters or ():
        if entry is None:  # `applicationsByLocalTenantID` has a list of filters that may be null
            continue
        key, query = entry["key"], entry.get("query")
        if query is None:
            present.append(key)
            continue
        alternatives = _alternatives(key, query)
        if key == _ABSENT_ALLOWED and alternatives == [{"exists": False}]:
            absent.append(key)
            continue
        values += [{"number": wanted, "key": key, "contains": value} for value in alternatives]
        wanted += 1
    return Rules(values, wanted, present, absent)


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
        return [orjson.loads(query)]
    except orjson.JSONDecodeError:
        raise FilterRefused(
            f'the query of a filter on {key} must be a JSON literal, for example "\\"text\\"", not {query[:200]}'
        ) from None
