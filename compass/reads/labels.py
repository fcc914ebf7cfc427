"""Labels: how an object shows them, and the language in which lists are filtered by them.

Source of the language: contract/director.md §5.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from compass.errors import Refused

_MATCHED_BY_NAME: Final = frozenset({"scenarios", "runtimeType", "systemRole"})
"""Keys whose query is the JSONPath subset instead of a JSON literal."""
_ABSENT_ALLOWED: Final = "global_subaccount_id"
_ANY_OF: Final = re.compile(r"""^\$\[\*\]\s*\?\s*\(\s*(@\s*==\s*"[a-zA-Z0-9\-_\s]+"(?:\s*\|\|\s*@\s*==\s*"[a-zA-Z0-9\-_\s]+")*)\s*\)$""")
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


def matching(table: str, owner: str) -> str:
    """The condition that `{c}` carries every label asked for in the argument `filter`; a template for a read plan."""
    return (
        "(jsonb_array_length({arg:filter}::jsonb) = 0 OR {c}.id IN ("
        f"SELECT label.{owner} FROM jsonb_array_elements({{arg:filter}}::jsonb) WITH ORDINALITY AS wanted(rule, number) "
        f"JOIN {table} label ON label.key = wanted.rule ->> 'key' "
        "AND (wanted.rule -> 'contains' IS NULL OR label.value @> (wanted.rule -> 'contains')) "
        "AND (wanted.rule -> 'any' IS NULL "
        # Of an object, `?|` would look at the keys.
        "OR jsonb_typeof(label.value) <> 'object' "
        "AND label.value ?| ARRAY(SELECT jsonb_array_elements_text(wanted.rule -> 'any'))) "
        "GROUP BY 1 HAVING count(DISTINCT wanted.number) = jsonb_array_length({arg:filter}::jsonb)"
        f") AND NOT EXISTS (SELECT 1 FROM {table} label WHERE label.{owner} = {{c}}.id "
        "AND label.key = ANY ({arg:absent}::text[])))"
    )


def rules(filters: Sequence[Mapping[str, Any]] | None) -> tuple[list[dict[str, Any]], list[str]]:
    """The filters as the SQL condition wants them: what must be there, and the keys that must not.

    Raises FilterRefused for a query that is not in the language.
    """
    wanted: list[dict[str, Any]] = []
    absent: list[str] = []
    for entry in filters or ():
        key, query = entry["key"], entry.get("query")
        if query is None:
            wanted.append({"key": key})
        elif key in _MATCHED_BY_NAME:
            match = _ANY_OF.match(query.strip())
            if match is None:
                raise FilterRefused(
                    f'the query of a filter on {key} must look like $[*] ? (@ == "a" || @ == "b"), not {query[:200]}'
                )
            wanted.append({"key": key, "any": _QUOTED.findall(match[1])})
        else:
            try:
                value = orjson.loads(query)
            except orjson.JSONDecodeError:
                raise FilterRefused(
                    f'the query of a filter on {key} must be a JSON literal, for example "\\"text\\"", not {query[:200]}'
                ) from None
            if key == _ABSENT_ALLOWED and value == {"exists": False}:
                absent.append(key)
            else:
                wanted.append({"key": key, "contains": value})
    return wanted, absent
