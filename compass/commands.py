"""Mutations as functions: `@command("registerApplication", scope="application:write")` on one function per mutation.

A command takes the caller's transaction, then either the tenant or the whole caller, then the mutation's arguments in
the order of the schema, then by keyword whatever it needs from the composition root, by type. It returns the id of the
object that the mutation answers with, or the answer itself when that is no stored object.
"""

import dataclasses
import inspect
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from compass.access.caller import Caller
from compass.access.tenancy import Reach
from compass.ids import TenantId
from compass.inputs import input_from, snake, wire_names
from compass.postgres.pool import Tx
from compass.reads.document import Schema

_Function = TypeVar("_Function", bound=Callable[..., Awaitable[Any]])
_REGISTERED: Final = "compass_command"


class Selection(frozenset[str]):
    """The names of the fields selected of a command's answer, for one that does less when less is asked for."""


@dataclass
class Noted:
    """What a command tells the audit log that cannot be seen from outside."""

    system_auth: str | None = None
    """Whom it was about, for a caller that showed a token. A query that sets this changed something and is recorded."""
    result: Mapping[str, str] | None = None
    """What came of it, for answers that are recorded no otherwise."""


@dataclass(frozen=True)
class Accepted:
    """What a command answers with when its work goes on after the answer: where to ask how far it is.

    The mutation has no member in `data` then. Source: contract/director.md §17.
    """

    location: str


class OnRecord(ABC):
    """Marks a refusal that leaves a trace: what its command did is undone, then `record` runs in a new transaction."""

    @abstractmethod
    async def record(self, tx: Tx) -> None:
        """What is to be kept of it. May run several times, see `Database.run`."""


@dataclass(frozen=True)
class Declared:
    """What the decorator was told."""

    mutation: str
    scope: str
    reach: Reach
    reply_before: bool
    prepare: Callable[..., Awaitable[Any]] | None


def command(
    mutation: str,
    *,
    scope: str,
    reach: Reach = Reach.TENANT,
    reply_before: bool = False,
    prepare: Callable[..., Awaitable[Any]] | None = None,
) -> Callable[[_Function], _Function]:
    """Declare a function to be what a mutation does. An empty scope lets every authenticated caller call it.

    `reach`: how far the database lets it go, and its answer with it. `reply_before`: the answer is read before the
    command runs, for one that removes its object; the object is the first argument. `prepare`: runs before the
    transaction opens, for what must not hold one (calls over the network); it gets the mutation's arguments and parts
    by type, and its result is handed to the command as `prepared`.
    """

    def declared(function: _Function) -> _Function:
        setattr(function, _REGISTERED, Declared(mutation, scope, reach, reply_before, prepare))
        return function

    return declared


def commands_in(*modules: types.ModuleType) -> list[Callable[..., Awaitable[Any]]]:
    """The functions of these modules that are commands."""
    return [
        value
        for module in modules
        for value in vars(module).values()
        if hasattr(value, _REGISTERED) and value.__module__ == module.__name__
    ]


class SchemaMismatch(Exception):  # a mistake of ours, found at start, never sent
    """The schema and the code disagree; the plane refuses to start."""


class Command:
    """A command bound to its mutation in the schema. Raises SchemaMismatch when the two do not fit."""

    def __init__(self, schema: Schema, function: Callable[..., Awaitable[Any]], parts: Mapping[type, Any]) -> None:
        declared: Declared = getattr(function, _REGISTERED)
        self.mutation = declared.mutation
        self.scope = declared.scope
        self.reach = declared.reach
        self.reply_before = declared.reply_before
        self._function = function
        self._prepare = declared.prepare
        # A query may be a command too: the Connector's `configuration` spends a token.
        definition = schema.fields("Mutation").get(self.mutation) or schema.fields("Query").get(self.mutation)
        if definition is None:
            raise SchemaMismatch(f"{function.__module__}.{function.__name__}: the schema has no field {self.mutation}")
        self._arguments = [(name, _named(argument.type)) for name, argument in definition.args.items()]
        hints = typing.get_type_hints(function)
        parameters = list(inspect.signature(function).parameters.values())
        positional = [p for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
        if len(positional) != len(self._arguments) + 2:
            raise SchemaMismatch(
                f"{self.mutation}: the schema has {len(self._arguments)} arguments, "
                f"{function.__module__}.{function.__name__} takes {len(positional) - 2} after transaction and caller"
            )
        self._wants_tenant = hints[positional[1].name] is TenantId
        self._inputs = [
            _input_class(schema, self.mutation, hints[parameter.name], type_name)
            for parameter, (_, type_name) in zip(positional[2:], self._arguments, strict=True)
        ]
        self._selection = next((name for name, hint in hints.items() if hint is Selection), None)
        self._noted = next((name for name, hint in hints.items() if hint is Noted), None)
        self._parts = _wanted_parts(function, parts, skip={"prepared", self._selection or "", self._noted or ""})
        self._prepare_parts = _wanted_parts(self._prepare, parts, skip=set()) if self._prepare else {}

    def allowed(self, caller: Caller) -> None:
        """Raises InsufficientScopes unless the caller may call this mutation."""
        caller.require(self.scope)

    def read_arguments(self, given: Mapping[str, Any]) -> list[Any]:
        """The mutation's arguments as the function takes them. Raises InvalidInput."""
        return [
            _argument(kind, type_name, given.get(name))
            for (name, type_name), kind in zip(self._arguments, self._inputs, strict=True)
        ]

    async def prepare(self, caller: Caller, arguments: Sequence[Any]) -> Mapping[str, Any]:
        """What is done before the transaction opens, as the keyword to call the command with."""
        if self._prepare is None:
            return {}
        return {"prepared": await self._prepare(caller, *arguments, **self._prepare_parts)}

    async def run(
        self,
        tx: Tx,
        caller: Caller,
        arguments: Sequence[Any],
        prepared: Mapping[str, Any],
        selection: Selection,
        noted: Noted,
    ) -> Any:
        """Run the command in the given transaction."""
        who = caller.in_tenant() if self._wants_tenant else caller
        asked: dict[str, Any] = {self._selection: selection} if self._selection else {}
        if self._noted:
            asked[self._noted] = noted
        return await self._function(tx, who, *arguments, **self._parts, **prepared, **asked)


def _argument(kind: type | None, type_name: str, value: Any) -> Any:
    if kind is None or value is None:
        return value
    if isinstance(value, list):
        return [input_from(kind, type_name, entry) for entry in value]
    return input_from(kind, type_name, value)


def _named(kind: Any) -> str:
    while hasattr(kind, "of_type"):
        kind = kind.of_type
    return str(kind.name)


def _input_class(schema: Schema, mutation: str, hint: Any, type_name: str) -> type | None:
    kind = _dataclass_in(hint)
    if kind is not None:
        check_input(schema, kind, type_name, mutation)
    return kind


def _dataclass_in(hint: Any) -> type | None:
    """The dataclass that a hint is about, also behind `| None`, `Sequence[…]` and `Annotated`."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return hint
    return next((kind for kind in map(_dataclass_in, typing.get_args(hint)) if kind is not None), None)


def check_input(schema: Schema, kind: type, type_name: str, where: str) -> None:
    """Raises SchemaMismatch unless the dataclass, and those in it, have exactly their input type's fields."""
    fields = {snake(name): inner for name, inner in schema.input_fields(type_name).items()}
    if wire_names(kind) != fields.keys():
        odd = ", ".join(sorted(wire_names(kind) ^ fields.keys()))
        raise SchemaMismatch(f"{where}: {kind.__name__} and {type_name} do not agree on: {odd}")
    for name, hint in typing.get_type_hints(kind).items():
        inner = _dataclass_in(hint)
        if inner is not None:
            check_input(schema, inner, fields[name], where)


def _wanted_parts(function: Callable[..., Any] | None, parts: Mapping[type, Any], skip: set[str]) -> Mapping[str, Any]:
    if function is None:
        return {}
    hints = typing.get_type_hints(function)
    wanted = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.name not in skip
    ]
    missing = [name for name in wanted if hints[name] not in parts]
    if missing:
        raise SchemaMismatch(f"{function.__module__}.{function.__name__}: nobody provides {', '.join(missing)}")
    return {name: parts[hints[name]] for name in wanted}
