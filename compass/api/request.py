"""One GraphQL request from its text to the bytes of its answer.

A query becomes one statement and its bytes are passed on. Each mutation of a document runs in a transaction of its
own, together with the read of its reply; the first that is refused ends the document.
"""

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal

import asyncpg
import orjson

from compass.access import itself
from compass.access.caller import Caller, Flow
from compass.api.audited import Audited
from compass.api.old_names import OldNames
from compass.api.quota import Kind, Quotas, Seats, subject
from compass.api.schema import Surface
from compass.audit.record import Log
from compass.commands import Accepted, Noted, OnRecord, Selection
from compass.errors import (
    Code,
    CompassError,
    EmptyData,
    InconsistentData,
    InvalidData,
    InvalidOperation,
    NotUnique,
    OperationTimedOut,
    TooManyRequests,
    Unavailable,
)
from compass.inputs import camel
from compass.postgres.pool import Database, Tx
from compass.reads.compile import AtPath, Binding, Compiler, Complete, Plan, at, projected
from compass.reads.document import DocumentRefused, Operation, Selected, Variables, introspect
from compass.reads.kept import Kept
from compass.reads.limits import DocumentTooCostly, limit_acts
from compass.reads.plan import Hole, Lent, Query

_log = logging.getLogger(__name__)

_NOT_KEPT: Final = frozenset({"22000", "22021", "22P05"})
"""The database's numbers for values that it has no form for; 22000 is also what its driver says of them."""
_OBJECTS: Final = {
    "api_definition": "api",
    "certificate_subject_mapping": "certSubjectMapping",
    "formation": "formations",
    "spec": "specification",
}
"""The contract's names of objects, where they are not the table's own."""
_NOT_INDEXED: Final = frozenset({"54000", "54001"})
"""A row that is too large for its index, and a value nested deeper than the database's stack."""
_INTROSPECTION: Final = frozenset({"__schema", "__type"})
_COUNTED_CHARACTERS: Final = 64 * 1024
"""A longer text counts as so many requests more: reading it takes as long as answering them."""
_NO_SEAT_NEEDED: Final = nullcontext()


Extensions = Callable[[CompassError], Mapping[str, Any]]
"""What the extensions of an error hold at one endpoint."""


@dataclass(frozen=True)
class Answer:
    """The bytes of a GraphQL answer and the HTTP status they go with."""

    body: bytes = field(repr=False)
    status: int = 200


class Endpoint:
    """Answers the requests of one surface."""

    def __init__(
        self,
        offered: Surface,
        database: Database,
        *,
        extend: Extensions | None = None,
        quotas: Quotas | None = None,
        kind: Kind = Kind.REQUEST,
    ) -> None:
        """`extend` says what the extensions of an error hold here beside, or instead of, what they hold everywhere.

        `quotas` has what callers have left, and `kind` what their requests here are counted as; without, none are.
        """
        self._offered = offered
        self._database = database
        self._extend = extend
        self._quotas = quotas
        self._kind = kind
        self._plans: Kept[object, Plan] = Kept()
        self._old_names = OldNames(offered.schema)
        log = offered.parts.get(Log)
        self._audited = Audited(offered, log) if log is not None else None
        self._acting_queries = offered.commands.keys() & offered.schema.fields("Query").keys()

    async def answer(
        self,
        caller: Caller,
        text: str,
        variables: Mapping[str, Any] | None = None,
        operation_name: str | None = None,
        *,
        queries_only: bool = False,
    ) -> Answer:
        """Run one operation. What the client or the database did wrong is in the answer.

        `queries_only` refuses what acts: a request that a browser may send by itself must change nothing.
        Raises TooManyRequests, which has a status and a header of its own, before anything was done.
        """
        if self._quotas is not None and len(text) >= _COUNTED_CHARACTERS:
            self._quotas.charge(caller, len(text) // _COUNTED_CHARACTERS, self._kind)
        try:
            text, given = self._old_names.rewritten(text, variables or {})
            operation = self._offered.schema.document(text).operation(operation_name)
            values = operation.variables(given)
        except (DocumentRefused, DocumentTooCostly) as refusal:
            return Answer(self._envelope([AtPath((), refusal)]), status=422)
        try:
            if self._acts(operation, values):
                if queries_only:
                    raise DocumentRefused("what changes something must be sent with POST")
                body = await self._act(caller, operation, values, given)
            else:
                body = await self._query(caller, operation, values, given)
        except AtPath as refusal:
            return Answer(self._envelope([refusal]))
        except (DocumentRefused, DocumentTooCostly) as refusal:
            return Answer(self._envelope([AtPath((), refusal)]), status=422)
        except TooManyRequests:
            raise
        except Exception as error:  # noqa: BLE001  # the edge: everything else is a defect of ours or the database's state
            return Answer(self._envelope([AtPath((), translated(error))]))
        return Answer(body)

    def _envelope(self, errors: Sequence[AtPath], data: bytes = b"null") -> bytes:
        return envelope(errors, data, self._extend)

    async def _query(self, caller: Caller, operation: Operation, values: Variables, raw: Mapping[str, Any]) -> bytes:
        plan = self._query_plan(caller, operation, values, raw)
        tenant = caller.tenant
        binding = Binding(tenant, caller.runtime, values, itself=itself.only(caller))
        async with self._seat(caller, "searches" if plan.searches else "reads"):
            row = await self._database.read(plan.sql, plan.bind(binding), searches=plan.searches)
        for (selected, absent), missing in zip(plan.watched, list(row)[1:], strict=True):
            if missing:
                raise AtPath(selected.path, absent(binding.arguments(selected)))
        body = plan.fill(row[0], binding, caller, self._offered.parts)
        if plan.errors:
            return self._envelope(plan.errors, data=body)
        return b'{"data":' + body + b"}"

    def _query_plan(self, caller: Caller, operation: Operation, values: Variables, raw: Mapping[str, Any]) -> Plan:
        key = (
            operation.document.text,
            operation.name,
            _decisions(operation, values),
            caller.scopes,
            caller.runtime is not None,
            caller.tenant is not None,
        )
        known = self._plans.get(key)
        if known is not None:
            return known
        compiler = self._compiler(caller)
        roots = [
            (selected, self._query_for(caller, selected, operation, raw))
            for selected in operation.walk(values).roots("Query")
        ]
        plan = compiler.queries(roots)
        # What the schema says of itself is an answer, to these variables, and may be far larger than the document.
        if not any(selected.name in _INTROSPECTION for selected, _ in roots):
            self._plans.keep(key, plan, len(operation.document.text))
        return plan

    def _compiler(self, caller: Caller) -> Compiler:
        lent = self._offered.parts.get(Lent, Lent())
        return Compiler(self._offered.schema, self._offered.reads, caller.scopes, lent)

    def _query_for(self, caller: Caller, selected: Selected, operation: Operation, raw: Mapping[str, Any]) -> Query:
        if selected.name == "__typename":
            return Query("__typename", scope="", read=Hole("''", lambda _f, _p: "Query"), tenant=False)
        if selected.name in _INTROSPECTION:
            answer = introspect(operation, [selected], raw)[selected.key]
            return Query(
                selected.name, scope="", read=Hole("''", lambda _f, _p: answer and Complete(answer)), tenant=False
            )
        query = self._offered.queries[selected.name]
        with at(selected.path):
            caller.require(query.scope)
            if query.tenant:
                caller.in_tenant()
        if caller.runtime is not None and query.for_runtime is not None:
            return query.for_runtime
        return query

    def _acts(self, operation: Operation, values: Variables) -> bool:
        """Whether it is a mutation, or a query that has a root field that is a command."""
        return operation.kind != "query" or (
            not self._acting_queries.isdisjoint(operation.root_names)
            and any(selected.name in self._acting_queries for selected in operation.walk(values).roots("Query"))
        )

    async def _act(self, caller: Caller, operation: Operation, values: Variables, raw: Mapping[str, Any]) -> bytes:
        members: list[bytes] = []
        locations: list[str] = []
        errors: list[AtPath] = []
        roots = operation.walk(values).roots(operation.root_type)
        limit_acts(len(roots))
        if self._quotas is not None:
            self._quotas.charge(caller, len(roots) - 1, self._kind)  # the request itself was counted when it came
        try:
            for selected in roots:
                if selected.name == "__typename":
                    members.append(_member(selected, b'"' + operation.root_type.encode() + b'"'))
                    continue
                if selected.name in _INTROSPECTION:
                    answer = introspect(operation, [selected], raw)[selected.key]
                    members.append(_member(selected, orjson.dumps(answer)))
                    continue
                with at(selected.path):
                    try:
                        reply = await self._run(caller, operation, selected, values, errors)
                    except (CompassError, AtPath):
                        raise
                    except Exception as error:  # the edge, as in `answer`, with the path of the mutation
                        raise translated(error) from error
                if isinstance(reply, Accepted):
                    locations.append(reply.location)
                else:
                    members.append(_member(selected, reply))
        except AtPath as refusal:
            # What was accepted before goes on all the same, and nothing else says where.
            return _located(self._envelope([refusal]), locations)
        data = b"{" + b",".join(members) + b"}"
        return _located(self._envelope(errors, data=data) if errors else b'{"data":' + data + b"}", locations)

    async def _run(
        self, caller: Caller, operation: Operation, selected: Selected, values: Variables, errors: list[AtPath]
    ) -> bytes | Accepted:
        command = self._offered.commands[selected.name]
        command.allowed(caller)
        given = selected.arguments(values)
        arguments = command.read_arguments(given)
        prepared = await command.prepare(caller, arguments)
        selection = (
            Selection(below.name for below in selected.below(selected.type_name))
            if selected.has_selection
            else Selection()
        )

        async def work(tx: Tx) -> bytes | Accepted:
            noted = Noted()
            found: list[AtPath] = []
            reply: bytes | Accepted = b""
            if command.reply_before:
                reply = await self._reply(tx, caller, operation, selected, values, arguments[0], found)
            result = await command.run(tx, caller, arguments, prepared, selection, noted)
            if isinstance(result, Accepted):
                reply = result
            elif command.reply_before:
                errors.extend(found)
            elif selected.has_selection and isinstance(result, str):
                reply = await self._reply(tx, caller, operation, selected, values, result, errors)
            else:
                reply = orjson.dumps(projected(result, selected))
            if self._audited is not None:
                await self._audited.done(tx, caller, selected.name, given, result, noted)
            return reply

        async def record(tx: Tx, refusal: OnRecord) -> None:
            await refusal.record(tx)
            if self._audited is not None:
                await self._audited.refused(tx, caller, selected.name, given, refusal)

        try:
            async with self._seat(caller, "writes"):
                return await self._database.run(work, confined=command.reach.confines(caller))
        except CompassError as refusal:
            if self._quotas is not None and caller.flow is Flow.ONE_TIME_TOKEN and refusal.code is Code.UNAUTHORIZED:
                self._quotas.failed(caller.address)
            if isinstance(refusal, OnRecord):
                await self._database.run(partial(record, refusal=refusal))
            raise

    def _seat(self, caller: Caller, pool: Literal["reads", "searches", "writes"]) -> AbstractAsyncContextManager[None]:
        """One of the connections that the caller's tenant may have at once."""
        if self._quotas is None or self._kind is Kind.RENEWAL:
            return _NO_SEAT_NEEDED
        seats: Seats = getattr(self._quotas, pool)
        return seats.of(caller.tenant or subject(caller))

    async def _reply(
        self,
        tx: Tx,
        caller: Caller,
        operation: Operation,
        selected: Selected,
        values: Variables,
        subject: str,
        errors: list[AtPath],
    ) -> bytes:
        key = (
            operation.document.text,
            operation.name,
            selected.key,
            _decisions(operation, values),
            caller.scopes,
            caller.runtime is not None,
        )
        plan = self._plans.get(key)
        if plan is None:
            plan = self._compiler(caller).reply(selected)
            self._plans.keep(key, plan, len(operation.document.text))
        binding = Binding(caller.tenant, caller.runtime, values, subject, itself.only(caller))
        row = await tx.read(plan.sql, plan.bind(binding))
        errors.extend(plan.errors)
        return b"null" if row[0] is None else plan.fill(row[0], binding, caller, self._offered.parts)


def _decisions(operation: Operation, values: Variables) -> bytes:
    if not operation.decisive:
        return b""
    return orjson.dumps([values.coerced.get(name) for name in operation.decisive])


def _located(body: bytes, locations: Sequence[str]) -> bytes:
    """The answer, with the places where to ask for what was only accepted. Source: contract/director.md §17."""
    if not locations:
        return body
    return body.removesuffix(b"}") + b',"extensions":' + orjson.dumps({"locations": locations}) + b"}"


def _member(selected: Selected, value: bytes) -> bytes:
    return b'"' + selected.key.encode() + b'":' + value


def translated(error: Exception) -> CompassError:
    """What the caller is told of an error that is not a refusal: nothing internal, and whether to try again."""
    match error:
        case CompassError():
            return error
        case asyncpg.IntegrityConstraintViolationError():
            return _broken_constraint(error)
        case asyncpg.ProgramLimitExceededError() if error.sqlstate in _NOT_INDEXED:
            return InvalidData(reason="a text is too long to be looked up by, or a value is too deep to be kept")
        case asyncpg.DataError() if error.sqlstate in _NOT_KEPT:
            return InvalidData(reason="a text holds a NUL character, or a value is too large or too deep to be kept")
        case asyncpg.QueryCanceledError() | TimeoutError():
            return OperationTimedOut()
        case (
            asyncpg.PostgresConnectionError()
            | asyncpg.CannotConnectNowError()
            | asyncpg.TooManyConnectionsError()
            | asyncpg.AdminShutdownError()
            | asyncpg.CrashShutdownError()
            | asyncpg.InterfaceError()
            | asyncpg.InternalClientError()
            | OSError()
        ):
            _log.warning("the database is away: %s", type(error).__name__)
            return Unavailable()
        case _:
            number = str(uuid.uuid4())
            _log.error("request failed, errorID=%s", number, exc_info=error)
            return InternalFault(errorID=number)


def _broken_constraint(error: asyncpg.IntegrityConstraintViolationError) -> CompassError:
    """What the database says of a constraint that no command foresaw, such as a parent that was just deleted.

    Source: contract/director.md §1.4, "DB mapping".
    """
    what = _OBJECTS.get(error.table_name or "") or camel(error.table_name or "object")
    match error:
        case asyncpg.UniqueViolationError():
            return NotUnique(object=what)
        case asyncpg.NotNullViolationError():
            return EmptyData(object=what)
        case asyncpg.ForeignKeyViolationError() if "is not present" in (error.detail or ""):
            return InvalidOperation(object=what, reason="The referenced entity does not exists")
        case asyncpg.ForeignKeyViolationError() | asyncpg.RestrictViolationError():
            return InvalidOperation(
                object=what, reason="The record cannot be deleted because another record refers to it"
            )
        case _:
            return InconsistentData(object=what)


class InternalFault(CompassError):
    """A defect of the plane. The log has the details under the same number; the caller gets none of them."""

    code = Code.INTERNAL
    message = "Internal Server Error"


def envelope(errors: Sequence[AtPath], data: bytes = b"null", extend: Extensions | None = None) -> bytes:
    """The answer with its errors, in the contract's form. Source: contract/director.md §1.4."""
    shown = []
    for at_path in errors:
        error = at_path.error
        entry: dict[str, Any] = {"message": error.wire_text()}
        if at_path.path:
            entry["path"] = at_path.path
        entry["extensions"] = {
            "error": error.code.wire_name,
            "error_code": int(error.code),
            **(extend(error) if extend is not None else {}),
        }
        shown.append(entry)
    return b'{"errors":' + orjson.dumps(shown) + b',"data":' + data + b"}"
