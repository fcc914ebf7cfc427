"""From a selection to one SQL statement.

What the caller selected, the read plans and the caller's scopes become a single statement whose only result is the
JSON of the answer; the bytes go to the socket undecoded. The text of a statement never depends on a value: arguments,
the tenant and page sizes are bound parameters, so one plan serves every request with the same selection.
"""

import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import orjson

from compass import inputs
from compass.access.caller import Caller
from compass.errors import CompassError, InsufficientScopes
from compass.ids import RuntimeId, TenantId
from compass.reads import labels, paging
from compass.reads.document import Schema, Selected, Variables
from compass.reads.plan import Field, Filling, Hole, Interface, Many, Object, One, OneOf, Page, Parts, Query, Read

_TOKEN: Final = re.compile(r"\{(\w+)(?::(\w+))?\}")
_IDENTIFIER: Final = re.compile(r"^[a-z_][a-z0-9_]*$")
_MARK: Final = secrets.token_hex(16)
"""Announces a hole in the database's answer. Random per process: nobody can write it into a name or a document."""
_HOLE: Final = re.compile(rb'"' + _MARK.encode() + rb':(\d+):([^"\\]*)"')
_ARGUMENTS_PER_CALL: Final = 50
"""json_build_object takes at most 100 arguments, a key and a value per field."""


class AtPath(Exception):
    """An error together with the response path of the field it belongs to."""

    def __init__(self, path: tuple[str, ...], error: CompassError) -> None:
        self.path = path
        self.error = error
        super().__init__(error.wire_text())


@dataclass
class Binding:
    """What a plan needs to become a request: everything that its text does not say."""

    tenant: TenantId | None
    runtime: RuntimeId | None
    variables: Variables = field(repr=False)
    subject: str | None = None
    """The object whose reply is read, for the answer of a mutation."""
    itself: str | None = None
    """The application or runtime that asks; None for people and integration systems."""

    def arguments(self, of: Selected) -> Mapping[str, Any]:
        """The arguments of a field."""
        return self.variables.arguments(of)


Parameter = Callable[[Binding], Any]


@dataclass(frozen=True)
class HoleUse:
    """A hole in a plan's answer and the field it stands for."""

    hole: Hole
    selected: Selected
    arguments: Callable[[Binding], Mapping[str, Any]]


@dataclass
class Plan:
    """A compiled selection. Immutable once compiled; shared by all requests with the same key."""

    sql: str
    parameters: Sequence[Parameter]
    holes: Sequence[HoleUse]
    watched: Sequence[tuple[Selected, Callable[[Mapping[str, Any]], CompassError]]]
    """Root fields that are an error when null, in the order of the statement's further columns."""
    errors: Sequence[AtPath]
    """What is refused inside an answer that is otherwise given."""
    searches: bool = False
    """Whether the best way to the rows depends on the values that are looked for."""

    def bind(self, binding: Binding) -> list[Any]:
        """The statement's parameters. Raises AtPath for an argument that breaks a rule."""
        return [parameter(binding) for parameter in self.parameters]

    def fill(self, body: bytes, binding: Binding, caller: Caller, parts: Parts) -> bytes:
        """Put the values that only the process can make into their places."""
        if not self.holes:
            return body

        def made(match: re.Match[bytes]) -> bytes:
            use = self.holes[int(match[1])]
            value = use.hole.fill(Filling(parts, caller, use.arguments(binding)), match[2].decode())
            return orjson.dumps(projected(value, use.selected))

        return _HOLE.sub(made, body)


class Complete(dict[str, Any]):
    """A value that is as the client wants it already and is not to be reduced to a selection."""


def projected(value: Any, selected: Selected) -> Any:
    """A Python value reduced to what was selected of it: dicts by field name, `__typename` where a type is open."""
    if value is None or not selected.has_selection or isinstance(value, Complete):
        return value
    if isinstance(value, list):
        return [projected(item, selected) for item in value]
    type_name = value.get("__typename") or selected.type_name
    return {
        below.key: type_name if below.name == "__typename" else projected(value.get(below.name), below)
        for below in selected.below(type_name)
    }


class Compiler:
    """Compiles selections for callers with one set of scopes. Used once per plan."""

    def __init__(
        self, schema: Schema, reads: Mapping[str, Read | Interface], scopes: frozenset[str], lent: Mapping[str, Any]
    ) -> None:
        self._schema = schema
        self._lent = lent
        self._reads = reads
        self._scopes = scopes
        self._parameters: list[Parameter] = []
        # By the field itself, never by its id(): the next field may be given the id of one that is gone.
        self._numbers: dict[object, int] = {}
        self._holes: list[HoleUse] = []
        self._errors: list[AtPath] = []
        self._aliases = 0
        self._top: Selected | None = None
        self._searches = False

    def queries(self, roots: Sequence[tuple[Selected, Query]]) -> Plan:
        """The plan of a query operation's root fields."""
        watched = [(selected, query.absent) for selected, query in roots if query.absent is not None]
        pairs = [(selected, self._root(selected, query)) for selected, query in roots]
        if not watched:
            return self._plan(f"SELECT {self._build([(s.key, sql) for s, sql in pairs])}", [])
        columns = ", ".join(f"({sql}) AS f{number}" for number, (_, sql) in enumerate(pairs))
        answer = self._build([(selected.key, f"r.f{number}") for number, (selected, _) in enumerate(pairs)])
        absent = [f"r.f{number} IS NULL" for number, (_, query) in enumerate(roots) if query.absent is not None]
        return self._plan(f"SELECT {answer}, {', '.join(absent)} FROM (SELECT {columns} OFFSET 0) r", watched)

    def reply(self, selected: Selected) -> Plan:
        """The plan of a mutation's answer: the object whose id the binding's `subject` is."""
        subject = self._parameter("subject", lambda binding: binding.subject)
        one = One(selected.type_name, on=f"{{c}}.id = {subject}::uuid")
        return self._plan(f"SELECT {self._one(one, selected, '')}", [])

    def _plan(self, sql: str, watched: Sequence[tuple[Selected, Callable[[Mapping[str, Any]], CompassError]]]) -> Plan:
        return Plan(
            sql, tuple(self._parameters), tuple(self._holes), tuple(watched), tuple(self._errors), self._searches
        )

    def _root(self, selected: Selected, query: Query) -> str:
        self._top = selected
        match query.read:
            case One():
                return self._one(query.read, selected, "")
            case Many():
                return self._many(query.read, selected, "")
            case Page():
                return self._page(query.read, selected, "")
            case Hole():
                return self._hole(query.read, selected, "")

    # A field of a row

    def _field(self, how: Field, selected: Selected, alias: str) -> str:
        match how:
            case str():
                return f"{alias}.{how}" if _IDENTIFIER.match(how) else self._text(how, alias, "", selected)
            case Object():
                inner = self._build(
                    [
                        (below.key, self._member(how.fields, below, alias, selected.type_name))
                        for below in selected.below(selected.type_name)
                    ]
                )
                return (
                    inner
                    if how.present == "true"
                    else (f"CASE WHEN {self._text(how.present, alias, '', selected)} THEN {inner} END")
                )
            case One():
                return self._one(how, selected, alias)
            case Many():
                return self._many(how, selected, alias)
            case Page():
                return self._page(how, selected, alias)
            case OneOf():
                which = self._text(how.which, alias, "", selected)
                cases = "".join(
                    f" WHEN '{key}' THEN {self._one(one, selected, alias)}" for key, one in how.cases.items()
                )
                return f"CASE {which}{cases} END"
            case Hole():
                return self._hole(how, selected, alias)

    def _member(self, fields: Mapping[str, Field], selected: Selected, alias: str, type_name: str) -> str:
        if selected.name == "__typename":
            return f"'{type_name}'"
        return self._field(fields[selected.name], selected, alias)

    def _row(self, type_name: str, selected: Selected, alias: str, instead: Mapping[str, Field]) -> str:
        """The JSON of one row, as the type that the read plan of `type_name` says it is."""
        read = self._reads[type_name]
        if isinstance(read, Interface):
            which = self._text(read.which, alias, "", selected)
            cases = "".join(f" WHEN '{m}' THEN {self._row(m, selected, alias, instead)}" for m in read.members)
            return f"CASE {which}{cases} END"
        pairs = []
        for below in selected.below(read.type):
            if self._hidden(read, below):
                pairs.append((below.key, "NULL"))
            else:
                pairs.append((below.key, self._member({**read.fields, **instead}, below, alias, read.type)))
        return self._build(pairs)

    def _hidden(self, read: Read, selected: Selected) -> bool:
        scope = read.scoped.get(selected.name)
        if scope is not None and scope not in self._scopes:
            refusal = InsufficientScopes(self._scopes, scope)
            if selected.required:
                # There is no null to put in its place.
                raise AtPath(selected.path, refusal)
            self._errors.append(AtPath(selected.path, refusal))
            return True
        scope = read.sanitized.get(selected.name)
        return scope is not None and scope not in self._scopes

    # Rows of another type

    def _one(self, one: One, selected: Selected, parent: str) -> str:
        child = self._alias()
        source = self._source(one.type, one.source, parent, child, selected)
        order = f" ORDER BY {self._text(one.order, parent, child, selected)}" if one.order else ""
        row = self._row(one.type, selected, child, one.instead)
        return f"(SELECT {row} FROM {source} WHERE {self._text(one.on, parent, child, selected)}{order} LIMIT 1)"

    def _many(self, many: Many, selected: Selected, parent: str) -> str:
        child = self._alias()
        source = self._source(many.type, many.source, parent, child, selected)
        inner = (
            f"SELECT {child}.* FROM {source} WHERE {self._text(many.on, parent, child, selected)} "
            f"ORDER BY {self._text(many.order, parent, child, selected)}"
        )
        rows = self._row(many.type, selected, child, {})
        answer = f"(SELECT coalesce(json_agg({rows}), '[]'::json) FROM ({inner}) {child})"
        if many.exists == "true":
            return answer
        return f"CASE WHEN {self._text(many.exists, parent, child, selected)} THEN {answer} END"

    def _page(self, page: Page, selected: Selected, parent: str) -> str:
        child = self._alias()
        parts = selected.below(selected.type_name)
        source = self._source(page.type, page.source, parent, child, selected)
        where = self._text(page.on, parent, child, selected)
        filters = self._filters(page, selected)
        where = " AND ".join([where, *(self._text(condition, parent, child, selected) for condition in filters)])
        order = self._text(self._order(page, selected), parent, child, selected)
        first = (
            self._said((selected, "first"), selected, lambda given: paging.size(given.get("first"), page.largest))
            + "::bigint"
        )
        last, offset = first, ""
        if selected.given("after"):
            skip = self._parameter(
                (selected, "offset"), self._checked(selected, lambda given: paging.offset(given.get("after")))
            )
            last, offset = f"{skip}::bigint + {first}", f" OFFSET {skip}::bigint"
        wants_end = any(
            below.name in ("endCursor", "hasNextPage")
            for part in parts
            if part.name == "pageInfo"
            for below in part.below("PageInfo")
        )
        # One row more than asked for tells whether there is a next page; only asked for when somebody wants to know.
        if wants_end:
            rows = (
                f"SELECT {child}.*, row_number() OVER (ORDER BY {order}) AS place FROM {source} WHERE {where} "
                f"ORDER BY {order} LIMIT {first} + 1{offset}"
            )
            keep, more = f" FILTER (WHERE {child}.place <= {last})", f"count(*) > {first}"
        elif any(part.name == "data" for part in parts):
            rows = f"SELECT {child}.* FROM {source} WHERE {where} ORDER BY {order} LIMIT {first}{offset}"
            keep, more = "", "false"
        else:
            # Nobody looks at the rows, so none is read; the arguments are checked all the same, when they are bound.
            none = f"SELECT FROM {source} WHERE {where} ORDER BY {order} LIMIT 0 * {first}{offset}"
            rows = f"SELECT count(*) FROM ({none}) none"
            keep, more = "", "false"
        counted = bool(page.count) and not filters
        total = (
            self._text(page.count, parent, child, selected)
            if counted
            else f"(SELECT count(*) FROM {source} WHERE {where})"
        )
        if not offset and keep:
            # The rows that were read anyway are all there are: most nested lists are short.
            total = f"CASE WHEN {more} THEN {total} ELSE count(*) END"
        pairs = []
        for part in parts:
            match part.name:
                case "data":
                    row = self._row(page.type, part, child, page.instead)
                    pairs.append((part.key, f"coalesce(json_agg({row}){keep}, '[]'::json)"))
                case "pageInfo":
                    pairs.append((part.key, self._page_info(part, selected, more)))
                case "totalCount":
                    pairs.append((part.key, total))
                case _:
                    pairs.append((part.key, f"'{selected.type_name}'"))
        answer = f"(SELECT {self._build(pairs)} FROM ({rows}) {child})"
        if page.exists == "true":
            return answer
        return f"CASE WHEN {self._text(page.exists, parent, child, selected)} THEN {answer} END"

    def _order(self, page: Page, selected: Selected) -> str:
        """What the argument `orderBy` asks for. As with filters, the plan is known by its value."""
        if not page.orders or not selected.given("orderBy"):
            return page.order
        wanted = selected.arguments(selected.walk.variables).get("orderBy")
        return page.order if wanted is None else page.orders[wanted]

    def _filters(self, page: Page, selected: Selected) -> Sequence[str]:
        """The conditions of the argument `filter`. Its value is part of what the plan is known by."""
        if page.filtered is None or not selected.given("filter"):
            return ()
        with at(selected.path):
            filters = labels.wanted(selected.arguments(selected.walk.variables).get("filter"))
        self._searches = self._searches or bool(filters)

        def bind(value: Any) -> str:
            return self._parameter((selected, "filter", len(self._parameters)), lambda _: value)

        return labels.conditions(page.filtered, filters, bind)

    def _page_info(self, part: Selected, page: Selected, more: str) -> str:
        pairs = []
        for below in part.below("PageInfo"):
            match below.name:
                case "startCursor":
                    after = self._argument(page, "after")
                    pairs.append((below.key, "''" if page.lacks("after") else f"coalesce({after}::text, '')"))
                case "endCursor":
                    end = self._said(
                        (page, "end"),
                        page,
                        lambda given: paging.cursor(paging.offset(given.get("after")) + (given.get("first") or 0)),
                    )
                    pairs.append((below.key, f"CASE WHEN {more} THEN {end}::text ELSE '' END"))
                case "hasNextPage":
                    pairs.append((below.key, more))
                case _:
                    pairs.append((below.key, "'PageInfo'"))
        return self._build(pairs)

    def _hole(self, hole: Hole, selected: Selected, alias: str) -> str:
        number = len(self._holes)
        fixed = selected.arguments(None) if selected.fixed else None
        self._holes.append(
            HoleUse(
                hole,
                selected,
                (lambda _: fixed) if fixed is not None else (lambda binding: binding.arguments(selected)),
            )
        )
        return f"'{_MARK}:{number}:' || {self._text(hole.payload, alias, '', selected)}"

    # Texts and parameters

    def _alias(self) -> str:
        self._aliases += 1
        return f"t{self._aliases}"

    def _source(self, type_name: str, source: str, parent: str, child: str, selected: Selected) -> str:
        return self._text(source or f"{self._reads[type_name].table} {{c}}", parent, child, selected)

    def _text(self, template: str, parent: str, child: str, selected: Selected) -> str:
        def replaced(match: re.Match[str]) -> str:
            kind, name = match[1], match[2]
            match kind:
                case "t":
                    return parent
                case "c":
                    return child
                case "tenant":
                    return f"{self._parameter('tenant', lambda binding: binding.tenant)}::uuid"
                case "runtime":
                    return f"{self._parameter('runtime', lambda binding: binding.runtime)}::uuid"
                case "itself":
                    return f"{self._parameter('itself', lambda binding: binding.itself)}::uuid"
                case "arg":
                    return self._argument(selected, name)
                case "time":
                    return self._time(selected, name)
                case "lent":
                    return self._lent_value(name)
                case "top" if self._top is not None:
                    return self._argument(self._top, name)
                case _:
                    raise ValueError(f"unknown placeholder {match[0]} in {template}")

        return _TOKEN.sub(replaced, template)

    def _lent_value(self, name: str) -> str:
        value = self._lent.get(name)
        # Said in the text where there is none, as with arguments.
        return "NULL" if value is None else self._parameter(("lent", name), lambda _: value)

    def _argument(self, selected: Selected, name: str) -> str:
        if selected.lacks(name):
            # Said in the text, so that a condition on it costs nothing.
            return "NULL"
        return self._parameter((selected, "arg", name), self._checked(selected, lambda given: given.get(name)))

    def _time(self, selected: Selected, name: str) -> str:
        if selected.lacks(name):
            return "NULL"

        def made(given: Mapping[str, Any]) -> datetime | None:
            text = given.get(name)
            return None if text is None else inputs.instant(name, str(text))

        return self._parameter((selected, "time", name), self._checked(selected, made))

    def _checked(self, selected: Selected, value: Callable[[Mapping[str, Any]], Any]) -> Parameter:
        """A parameter made of a field's arguments; what breaks a rule is reported at the field's path.

        Arguments without variables are worked out now, once per plan.
        """
        if selected.fixed:
            try:
                made = value(selected.arguments(None))
            except CompassError as error:
                raise AtPath(selected.path, error) from None
            return lambda _: made

        def made_per_request(binding: Binding) -> Any:
            try:
                return value(binding.arguments(selected))
            except CompassError as error:
                raise AtPath(selected.path, error) from None

        return made_per_request

    def _said(self, key: object, page: Selected, value: Callable[[Mapping[str, Any]], int | str]) -> str:
        """What is made of the arguments of a page: in the text of the statement where it is always the same.

        The planner then knows it, and it is not sent each time. Not so for pages further on: clients that write their
        cursors into their documents would have every page planned.
        """
        parameter = self._checked(page, value)
        if not page.fixed or page.given("after"):
            return self._parameter(key, parameter)
        made = value(page.arguments(None))
        return str(made) if isinstance(made, int) else _quoted(made)

    def _parameter(self, key: object, value: Parameter) -> str:
        if key not in self._numbers:
            self._parameters.append(value)
            self._numbers[key] = len(self._parameters)
        return f"${self._numbers[key]}"

    def _build(self, pairs: Sequence[tuple[str, str]]) -> str:
        if len(pairs) <= _ARGUMENTS_PER_CALL:
            return f"json_build_object({', '.join(f'{_quoted(key)}, {sql}' for key, sql in pairs)})"
        # Rare: more than fifty response keys in one object. Several objects, joined as text without their braces.
        chunks = [pairs[start : start + _ARGUMENTS_PER_CALL] for start in range(0, len(pairs), _ARGUMENTS_PER_CALL)]
        members = " || ',' || ".join(f"right(left({self._build(chunk)}::text, -1), -1)" for chunk in chunks)
        return f"('{{' || {members} || '}}')::json"


def _quoted(key: str) -> str:
    # A response key is a GraphQL name, letters, digits and underscores only, so it needs no escaping.
    return f"'{key}'"


@contextmanager
def at(path: tuple[str, ...]) -> Iterator[None]:
    """Give an error raised in the block the response path it belongs to."""
    try:
        yield
    except CompassError as error:
        raise AtPath(path, error) from error
