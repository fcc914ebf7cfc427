"""Operations on applications: registering, unpairing and unregistering in the background (`mode: ASYNC`).

The mutation answers at once, and the application says in its status what is under way. Where a webhook of the fitting
type belongs to the application, or to its template, its receiver decides how the operation ends: in its answer (mode
SYNC), or later, where that answer said (mode ASYNC). One operation at a time works on an application: its column
`under_way` is set and cleared in the transactions that begin and end the operation. Source: contract/director.md §16,
§17.
"""

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from http import HTTPStatus
from typing import Any, Final, TypeVar
from urllib.parse import urljoin

import asyncpg

from compass.access import itself
from compass.access.caller import Caller, Flow
from compass.commands import Accepted
from compass.connector.urls import PublicUrls
from compass.delivery.attempt import EXCERPT_BYTES, Sender, merged, storable
from compass.delivery.enqueue import NewDelivery
from compass.delivery.signature import key_of, signed_headers
from compass.director import webhook, webhook_call, webhook_template
from compass.director.auth import StoredAuth
from compass.director.catalogue import canonical
from compass.director.sign_in import AccessTokens, sign_in
from compass.errors import Code, CompassError, InvalidData, InvalidOperation, NotFound, Refused
from compass.gotemplate import Record
from compass.ids import ApplicationId, TenantId
from compass.operations.operation import (
    Again,
    Done,
    Go,
    Kind,
    Operation,
    OperationInProgress,
    Outcome,
    State,
    StepFailed,
    start,
    step,
)
from compass.outbound.door import Request, Response
from compass.outbound.errors import UrlRefused
from compass.outbound.url import parse as parse_url
from compass.outbox.append import append
from compass.outbox.events import Event
from compass.postgres.pool import Database, Tx
from compass.settings import ApplicationSettings
from compass.vault import Vault

PATH: Final = "/last_operation/{resource_type}/{resource_id}"
_RESOURCE: Final = "application"
_LONGEST: Final = timedelta(days=1)
"""However long a webhook wants to be waited for."""
_LEAST_CALL: Final = timedelta(seconds=1)
"""A receiver gets this long to answer, also when the time of the operation is up."""
_MOST_ANSWER_BYTES: Final = 256 * 1024
_NOT_HANDLED: Final = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""By these nobody says how it ended, only that it should be tried later."""


_Made = TypeVar("_Made")


class ConcurrentOperation(CompassError):
    """An operation on the application is not finished; `reason` says which. Wait for it."""

    code = Code.CONCURRENT_OPERATION
    message = "Concurrent operation"
    retryable = True


@dataclass(frozen=True)
class ApplicationStatusChanged(Event):
    """An operation on an application began or ended, and the condition of its status says so."""

    application: ApplicationId
    condition: str


# What there is to do


@dataclass(frozen=True)
class Nature:
    """What is particular to one kind of operation. Source: contract/director.md §17."""

    type: str
    """As `last_operation` names it."""
    webhook: str
    """The type of webhook that is called."""
    under_way: str
    succeeded: str
    failed: str
    refusal: str
    """Why nothing else may begin."""


REGISTER: Final = "register_application"
UNPAIR: Final = "unpair_application"
UNREGISTER: Final = "unregister_application"
NATURES: Final[Mapping[str, Nature]] = {
    REGISTER: Nature(
        "Create",
        "REGISTER_APPLICATION",
        "CREATING",
        "CREATE_SUCCEEDED",
        "CREATE_FAILED",
        "create operation is in progress",
    ),
    UNPAIR: Nature(
        "Update",
        "UNREGISTER_APPLICATION",
        "UNPAIRING",
        "INITIAL",
        "UNPAIR_FAILED",
        "another operation is in progress",
    ),
    # When it succeeded there is no application left to have a status.
    UNREGISTER: Nature(
        "Delete",
        "UNREGISTER_APPLICATION",
        "DELETING",
        "DELETE_SUCCEEDED",
        "DELETE_FAILED",
        "delete operation is in progress",
    ),
}


# How they begin

BEGIN = """
-- application_operation.begin
UPDATE application SET under_way = %(kind)s, status_condition = %(condition)s, status_timestamp = now(), error = NULL,
    deleted_at = CASE WHEN %(kind)s = 'unregister_application' THEN now() END
WHERE id = %(application)s AND under_way IS NULL
RETURNING ARRAY(
    SELECT own.id FROM webhook own WHERE own.application_id = application.id AND own.type = %(type)s
    UNION ALL
    -- A template's stands in where the application has none of that type.
    SELECT lent.id FROM webhook lent
    WHERE lent.application_template_id = application.application_template_id AND lent.type = %(type)s AND NOT EXISTS (
        SELECT FROM webhook own WHERE own.application_id = application.id AND own.type = lent.type
    )
) AS webhooks
"""


def is_asynchronous(mode: str | None, settings: ApplicationSettings) -> bool:
    """Whether the mode is the asynchronous one. Raises InvalidOperation where that is switched off."""
    if mode == "ASYNC" and not settings.async_mode:
        raise InvalidOperation(reason="mode ASYNC is switched off at this plane; send the mutation without a mode")
    return mode == "ASYNC"


def require_none(under_way: str | None) -> None:
    """Raises ConcurrentOperation when something is under way on an application."""
    if under_way is not None:
        nature = NATURES.get(under_way)
        raise ConcurrentOperation(reason=nature.refusal if nature else "another operation is in progress")


async def begin(tx: Tx, kind: Kind, caller: Caller, application: ApplicationId, *, urls: PublicUrls) -> Accepted:
    """Begin an operation on an application when the transaction commits; where to ask how far it is.

    Three statements. Raises ConcurrentOperation, Refused (several webhooks fit). Emits ApplicationStatusChanged.
    """
    nature = NATURES[kind.name]
    tenant = caller.in_tenant()
    row = await tx.row(BEGIN, application=application, kind=kind.name, condition=nature.under_way, type=nature.webhook)
    if row is None:
        raise ConcurrentOperation(reason="another operation is in progress")
    if len(row["webhooks"]) > 1:
        raise Refused("multiple webhooks per operation are not supported")
    data = {
        "webhook": row["webhooks"][0] if row["webhooks"] else None,
        "headers": {**dict(caller.headers), "x-request-id": caller.request_id},
    }
    try:
        await start(tx, kind, application, tenant=tenant, data=data)
    except OperationInProgress:
        raise ConcurrentOperation(reason="another operation is in progress") from None
    await append(tx, ApplicationStatusChanged(tenant, application, nature.under_way))
    # Where the caller can ask: a certificate is of no use at the other port.
    port = urls.mtls_port if caller.flow is Flow.CERTIFICATE else urls.token_port
    return Accepted(f"{port}/director/last_operation/{_RESOURCE}/{canonical(application)}")


# Who is called

WEBHOOK = """
-- application_operation.webhook
SELECT webhook.id AS webhook, webhook.mode, webhook.url, webhook.url_template, webhook.input_template,
    webhook.header_template, webhook.output_template, webhook.status_template, webhook.retry_interval, webhook.timeout,
    webhook.correlation_id_key, webhook.auth_sealed, webhook.signing_secret_sealed, application.name,
    clock_timestamp() AS now,
    jsonb_build_object(
        'application', to_jsonb(application.*),
        'labels', (SELECT jsonb_object_agg(key, value) FROM application_label WHERE application_id = application.id),
        'tenant', to_jsonb(tenant.*),
        'tenant_labels', (SELECT jsonb_object_agg(key, value) FROM tenant_label WHERE tenant_id = tenant.id)
    ) AS data
FROM application
JOIN tenant ON tenant.id = application.tenant_id
JOIN webhook ON webhook.id = %(webhook)s AND webhook.type = %(type)s
WHERE application.id = %(application)s
"""


@dataclass(frozen=True)
class Receiver:
    """Who is called about an operation, as its webhook is at this moment, and how long it is waited for."""

    op: Operation
    row: asyncpg.Record
    told: NewDelivery
    """What it is told of the operation."""
    pause: timedelta
    patience: timedelta
    """From the beginning of the operation."""
    since: float
    """When it was asked, by this process's clock."""

    @property
    def left(self) -> timedelta:
        """How long it may still take."""
        return self.patience - self.op.age - timedelta(seconds=time.monotonic() - self.since)

    def again(self, why: str) -> Again:
        """Ask it again later. Raises StepFailed when its time is up."""
        left = self.left
        if left <= timedelta(0):
            seconds = int(self.patience.total_seconds())
            raise _failed(f"the receiver was not done within {seconds} seconds; at last: {why}")
        return Again(min(self.pause, left))

    def refused(self, failure: CompassError) -> Again:
        """Ask it again where that may help. Raises StepFailed otherwise."""
        if failure.retryable:
            return self.again(failure.wire_text())
        raise _failed(failure.wire_text())


class Receivers:
    """Calls the receivers of operations. One per process."""

    def __init__(self, vault: Vault, door: Sender, *, source: str, settings: ApplicationSettings) -> None:
        """`source` is the plane's URL, for who receives from several planes."""
        self._vault = vault
        self._door = door
        self._tokens = AccessTokens(door)
        self._source = source
        self._settings = settings

    async def find(self, tx: Tx, op: Operation) -> Receiver | None:
        """Who is to be called. None when nobody is, or the webhook or the application is gone.

        One statement. Raises StepFailed for a template that cannot be used.
        """
        if op.data["webhook"] is None:
            return None
        since = time.monotonic()
        row = await tx.row(
            WEBHOOK, webhook=op.data["webhook"], type=NATURES[op.kind].webhook, application=ApplicationId(op.subject)
        )
        if row is None:
            return None
        # Not given and 0 are the same: clients of the original send one or the other.
        pause = timedelta(seconds=row["retry_interval"]) if row["retry_interval"] else self._settings.retry_after
        patience = timedelta(seconds=row["timeout"]) if row["timeout"] else self._settings.give_up_after
        told = self._told(op, row)
        if "fault" in told.facts:
            raise _failed(told.facts["fault"])
        return Receiver(op, row, told, pause, min(patience, _LONGEST), since)

    def _told(self, op: Operation, row: asyncpg.Record) -> NewDelivery:
        operation = NATURES[op.kind].type.lower()
        event = webhook_call.cloud_event(
            self._source,
            f"io.compass.application.{operation}.v1",
            subject=op.subject,
            data={
                "operation": operation,
                "applicationID": op.subject,
                "application": {"id": op.subject, "name": row["name"]},
            },
        )
        return webhook_call.owed(
            row,
            kind=NATURES[op.kind].webhook,
            subject=op.subject,
            tenant=op.tenant,
            # Of the operation, not of the call: by it a receiver knows what it was told before.
            event={**event, "id": op.id},
            rendered=lambda data: _template_data(op, data),
            facts={},
        )

    async def call(self, receiver: Receiver) -> Response:
        """Tell a receiver of the operation. Raises CompassError."""
        told = receiver.told
        return await self._send(receiver, told.method, told.url, told.headers, told.body.encode())

    async def ask(self, receiver: Receiver, location: str) -> Response:
        """Ask where its first answer said. Raises CompassError.

        What the webhook has to sign in with goes to the origin that was called, and to no other.
        """
        if parse_url(location).origin == parse_url(receiver.told.url).origin:
            return await self._send(receiver, "GET", location, receiver.told.headers, None)
        return await self._sent(receiver, Request("GET", location))

    async def _send(
        self, receiver: Receiver, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> Response:
        row, op = receiver.row, receiver.op
        parse_url(url)
        needed = sign_in(StoredAuth.open(self._vault, f"webhook/{row['webhook']}", row["auth_sealed"]))
        key = key_of(webhook.signing_secret(self._vault, row["webhook"], row["signing_secret_sealed"]))
        signed = signed_headers(op.id, row["now"], body or b"", (key,))
        shown_to = merged(headers, needed.headers, signed)
        request = Request(method, needed.url(url), shown_to, body, shows_certificate=needed.shows_certificate)
        if needed.client is None:
            return await self._sent(receiver, request)
        shown = replace(request, headers=merged(request.headers, await self._tokens.headers(needed.client)))
        answer = await self._sent(receiver, shown)
        if answer.status != HTTPStatus.UNAUTHORIZED:
            return answer
        self._tokens.forget(needed.client)  # it may have been withdrawn since it was fetched
        shown = replace(request, headers=merged(request.headers, await self._tokens.headers(needed.client)))
        return await self._sent(receiver, shown)

    async def _sent(self, receiver: Receiver, request: Request) -> Response:
        within = min(self._settings.attempt_timeout, max(receiver.left, _LEAST_CALL))
        return await self._door.send(request, total_timeout=within, max_body_bytes=_MOST_ANSWER_BYTES)


def _template_data(op: Operation, data: Mapping[str, Any]) -> Record:
    tenant = webhook_template.tenant(data["tenant"], data["tenant_labels"] or {})
    application = webhook_template.application(data["application"], data["labels"] or {}, tenant)
    return webhook_template.of_application(application, op.tenant or "", op.data["headers"])


def _failed(why: str) -> StepFailed:
    # Receivers write it: it must be kept whatever they write.
    return StepFailed("ReceiverFailed", storable(why, EXCERPT_BYTES), component="webhook")


# Steps, the last of them first


@step("ask_receiver", timeout=_LONGEST + _LEAST_CALL)
async def ask_receiver(op: Operation, database: Database, receivers: Receivers) -> Outcome:
    """Ask once how far the receiver is. Safe to repeat: it only reads."""
    receiver = await database.run(lambda tx: receivers.find(tx, op))
    if receiver is None:
        return Done()
    try:
        answer = await receivers.ask(receiver, op.data["location"])
    except CompassError as failure:
        return receiver.refused(failure)
    progress = _read("statusTemplate", webhook_template.progress, receiver.row["status_template"], answer)
    if answer.status != progress.success_code or progress.error:
        return _not_taken(receiver, answer, progress.success_code, progress.error)
    match progress.status:
        case "":  # also where the identifiers are empty: silence is no success
            raise _failed("the receiver does not say how far it is")
        case progress.succeeded:
            return Done()
        case progress.in_progress:
            return receiver.again(f"it is {progress.status}")
        case progress.failed:
            raise _failed(f"the receiver says {progress.status}")
        case unknown:
            raise _failed(f"the receiver says {unknown}, which is none of the identifiers of statusTemplate")


@step("call_receiver", timeout=_LONGEST + _LEAST_CALL)
async def call_receiver(op: Operation, database: Database, receivers: Receivers) -> Outcome:
    """Tell the receiver of the operation, if there is one. When it is told again, it is by the same `webhook-id`."""
    receiver = await database.run(lambda tx: receivers.find(tx, op))
    if receiver is None:
        return Done()
    try:
        answer = await receivers.call(receiver)
    except CompassError as failure:
        return receiver.refused(failure)
    output = _read("outputTemplate", webhook_template.output, receiver.row["output_template"], answer)
    if answer.status == output.gone:
        return _gone(op, answer, output.error)
    if answer.status not in (output.success, output.incomplete) or output.error:
        return _not_taken(receiver, answer, output.success, output.error)
    if receiver.row["mode"] == "ASYNC":
        return Go(ask_receiver, location=_location(receiver.told.url, output.location))
    if answer.status == output.success:
        return Done()
    return receiver.again(f"it answered {answer.status}, which says that it is not done yet")


def _read(kind: str, made: Callable[[str, Record], _Made], template: str, answer: Response) -> _Made:
    """What a template makes of an answer. Raises StepFailed."""
    try:
        return made(template, webhook_template.answer(answer.body, answer.headers))
    except CompassError as error:
        raise _failed(f"{kind} cannot be used: {error.wire_text()}") from None


def _gone(op: Operation, answer: Response, error: str) -> Done:
    """Where nothing is left at the receiver, there is nothing to remove."""
    if op.kind != REGISTER and not error:
        return Done()
    raise _failed(error or f"the receiver answered {answer.status}, which says that it is gone")


def _not_taken(receiver: Receiver, answer: Response, expected: int, error: str) -> Again:
    """Source: contract/director.md §16, "Result"."""
    why = error or (
        f"response success status code was not met - expected success status code '{expected}', got '{answer.status}'"
    )
    if answer.status in _NOT_HANDLED and not error:
        return receiver.again(why)
    raise _failed(why)


def _location(called: str, said: str) -> str:
    """Where to ask, as an absolute URL. Raises StepFailed."""
    if not said:
        raise _failed("the receiver did not say where to ask how far it is")
    try:
        location = urljoin(called, said)
        parse_url(location)
    except (ValueError, UrlRefused):
        raise _failed("the receiver says to ask at what is no URL") from None
    return location


STEPS: Final = (call_receiver, ask_receiver)


# How they end

END = """
-- application_operation.end
UPDATE application SET under_way = NULL, status_condition = %(condition)s, status_timestamp = now(), error = %(error)s,
    deleted_at = NULL
WHERE id = %(application)s AND under_way = %(kind)s
"""


async def ended(tx: Tx, op: Operation) -> None:
    """Say in the application's status how an operation on it ended. Emits ApplicationStatusChanged."""
    nature = NATURES[op.kind]
    condition = nature.succeeded if op.state is State.SUCCEEDED else nature.failed
    error = op.error["err_message"] if op.error else None
    application = ApplicationId(op.subject)
    if await tx.run(END, application=application, kind=op.kind, condition=condition, error=error):
        tenant = None if op.tenant is None else TenantId(op.tenant)
        await append(tx, ApplicationStatusChanged(tenant, application, condition))


# How they are looked at

LAST = """
-- application_operation.last
SELECT coalesce(last.kind, %(register)s) AS kind, coalesce(last.created_at, application.created_at) AS created_at,
    coalesce(last.state, 'SUCCEEDED') AS state, last.error ->> 'err_message' AS error
FROM application_tenant access
JOIN application ON application.id = access.application_id
LEFT JOIN LATERAL (
    SELECT kind, created_at, state, error FROM operation
    WHERE operation.subject = application.id AND operation.kind = ANY(%(kinds)s::text[])
    ORDER BY operation.created_at DESC LIMIT 1
) AS last ON true
WHERE access.application_id = %(application)s AND access.tenant_id = %(tenant)s
"""
_STATUSES: Final = {State.SUCCEEDED: "SUCCEEDED", State.FAILED: "FAILED"}


class LastOperations:
    """Answers how far the last operation on an application is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def look_up(self, caller: Caller, parts: Mapping[str, str]) -> Mapping[str, Any]:
        """The last operation on the object that the parts of the path name.

        An application that never had one was registered at once. One statement. Raises InsufficientScopes, InvalidData
        (another type, no id), NotFound, which is also the answer when an operation ended with the application.
        """
        caller.require("application:read")
        tenant = caller.in_tenant()
        if parts["resource_type"] != _RESOURCE:
            raise InvalidData(reason=f"the type of resource must be {_RESOURCE}")
        try:
            application = str(uuid.UUID(parts["resource_id"]))
        except ValueError:
            raise InvalidData(reason="the id of the resource must be a UUID") from None
        if itself.only(caller) not in (None, application):
            raise NotFound(object=_RESOURCE)

        async def last(tx: Tx) -> asyncpg.Record | None:
            return await tx.row(LAST, application=application, tenant=tenant, register=REGISTER, kinds=list(NATURES))

        row = await self._database.run(last)
        if row is None:
            raise NotFound(object=_RESOURCE)
        return {
            "operation_type": NATURES[row["kind"]].type,
            "resource_id": application,
            "resource_type": _RESOURCE,
            "creation_time": row["created_at"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "status": _STATUSES.get(row["state"], "IN_PROGRESS"),
            "error": row["error"],
        }
