"""Webhook deliveries: every notification that is owed to a webhook, on its way, arrived or given up, for people to see.

Also what the delivery engine asks of us: with which credentials to call, what an answer means, and what becomes of the
groups' assignments when it is settled. Source: contract/director.md §16; seeing and resending them is ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import orjson

from compass.access import itself
from compass.access.caller import Caller
from compass.commands import command
from compass.delivery.attempt import (
    Answer,
    Dead,
    Delivered,
    Prepared,
    Retry,
    Sender,
    Verdict,
    judged_by_status,
    why_not,
)
from compass.delivery.enqueue import Delivery, DeliveryNotDead, State, resend_several
from compass.delivery.kept import TOLD, shown
from compass.delivery.signature import key_of
from compass.director import (
    formation_assignment,
    formation_lifecycle,
    notification_constraint,
    webhook,
    webhook_template,
)
from compass.director.auth import StoredAuth
from compass.director.formation_assignment import CLIENT, REPORTED, TECHNICAL
from compass.director.formation_assignment import State as Assignment
from compass.director.masked import without_secrets
from compass.director.notification_constraint import Answered
from compass.director.sign_in import AccessTokens, SignInFailed, sign_in
from compass.director.webhook_template import Output
from compass.errors import CompassError, InvalidOperation, NotFound
from compass.ids import WebhookId
from compass.inputs import instant
from compass.outbound.door import Response
from compass.postgres.pool import Tx
from compass.reads.plan import Filling, Hole, Many, Object, Page, Query, Read, timestamp
from compass.vault import Vault

TEST: Final = "TEST"
"""The kind of a delivery that only tries a webhook out: it is called once, and no group changes with the answer."""

# How it is read


def _digits(text: str) -> str:
    """As hexadecimal digits: a hole takes no quotes."""
    return f"encode(convert_to({text}, 'UTF8'), 'hex')"


def _shown_body(_filling: Filling, digits: str) -> str:
    return without_secrets(bytes.fromhex(digits).decode())


def _shown_headers(_filling: Filling, digits: str) -> list[dict[str, str]]:
    return shown(orjson.loads(bytes.fromhex(digits)), TOLD)


def _kept_headers(_filling: Filling, digits: str) -> list[dict[str, str]]:
    kept: list[dict[str, str]] = orjson.loads(bytes.fromhex(digits))
    return kept


WEBHOOK_DELIVERY = Read(
    "WebhookDelivery",
    table="delivery",
    fields={
        "id": "id",
        "webhookID": "receiver",
        "operation": "{t}.facts ->> 'operation'",
        "applicationID": "{t}.facts ->> 'application'",
        "runtimeID": "{t}.facts ->> 'runtime'",
        "formationID": "{t}.facts ->> 'formation'",
        # A query string is a usual place for secrets.
        "url": "split_part({t}.url, '?', 1)",
        "state": "state",
        "error": "last_error",
        "createdAt": timestamp("created_at"),
        "nextAttemptAt": timestamp("next_at"),
        "finishedAt": timestamp("finished_at"),
        "pausedSince": (
            f"(SELECT {timestamp('paused_at').replace('{t}', 'hook')} FROM webhook hook "
            "WHERE hook.id = {t}.receiver AND {t}.state = 'PENDING')"
        ),
        "attempts": Many("WebhookDeliveryAttempt", on="{c}.delivery_id = {t}.id", order="{c}.number"),
        "request": Object(
            {
                "method": "method",
                "headers": Hole(_digits("{t}.headers::text"), _shown_headers),
                "body": Hole(_digits("{t}.body"), _shown_body),
            }
        ),
    },
    # Whoever may change where it is sent could read it all there.
    sanitized={"request": "webhook:write"},
)
WEBHOOK_DELIVERY_ATTEMPT = Read(
    "WebhookDeliveryAttempt",
    table="delivery_attempt",
    fields={
        "number": "number",
        "startedAt": timestamp("started_at"),
        "elapsedMilliseconds": "elapsed_ms",
        "status": "status",
        "error": "error",
        "response": "response_excerpt",
        "url": "url",
        "requestHeaders": Hole(_digits("{t}.request_headers::text"), _kept_headers),
        "responseHeaders": Hole(_digits("{t}.response_headers::text"), _kept_headers),
    },
    sanitized={"requestHeaders": "webhook:write"},
)
READS = (WEBHOOK_DELIVERY, WEBHOOK_DELIVERY_ATTEMPT)

_OWN: Final = """
    ({itself} IS NULL OR {c}.receiver IN (
        SELECT webhook.id FROM webhook WHERE {itself} IN (webhook.application_id, webhook.runtime_id)
    ))
"""
QUERIES = (
    Query(
        "webhookDeliveries",
        scope="application.webhooks:read",
        read=Page(
            "WebhookDelivery",
            on=(
                "{c}.tenant_id = {tenant} AND ({arg:webhookID}::uuid IS NULL OR {c}.receiver = {arg:webhookID}::uuid) "
                "AND ({arg:state}::text IS NULL OR {c}.state = {arg:state}::text) "
                "AND ({arg:id}::uuid IS NULL OR {c}.id = {arg:id}::uuid) "
                "AND ({arg:type}::text IS NULL OR {c}.kind = {arg:type}::text) "
                "AND ({time:since}::timestamptz IS NULL OR {c}.created_at >= {time:since}::timestamptz) "
                "AND ({time:until}::timestamptz IS NULL OR {c}.created_at < {time:until}::timestamptz) "
                f"AND (coalesce({{arg:tests}}::bool, true) OR {{c}}.kind <> '{TEST}') AND " + _OWN
            ),
            order="{c}.sequence DESC",
        ),
    ),
)

# Commands

LOCK = """
-- webhook_delivery.lock
SELECT delivery.state, EXISTS (
        SELECT FROM delivery later WHERE later.receiver = delivery.receiver AND later.subject = delivery.subject
            AND later.sequence > delivery.sequence AND later.state = 'DELIVERED'
    ) AS overtaken
FROM delivery
WHERE delivery.id = %(delivery)s AND delivery.tenant_id = %(tenant)s
    AND (%(itself)s::uuid IS NULL OR delivery.receiver IN (
        SELECT webhook.id FROM webhook WHERE %(itself)s IN (webhook.application_id, webhook.runtime_id)
    ))
FOR NO KEY UPDATE OF delivery
"""
GIVEN_UP = """
-- webhook_delivery.given_up
SELECT delivery.id FROM delivery
WHERE delivery.receiver = %(webhook)s AND delivery.tenant_id = %(tenant)s AND delivery.state = 'DEAD'
    AND delivery.kind <> 'TEST'
    AND delivery.finished_at >= %(since)s
    AND NOT EXISTS (
        SELECT FROM delivery later WHERE later.receiver = delivery.receiver AND later.subject = delivery.subject
            AND later.sequence > delivery.sequence AND later.state = 'DELIVERED'
    )
ORDER BY delivery.sequence
"""


@command("resendWebhookDelivery", scope="webhook:write")
async def resend(tx: Tx, caller: Caller, delivery: str) -> str:
    """Try a delivery that was given up again, under its old id and with the full time.

    Raises NotFound, DeliveryNotDead, InvalidOperation (a later one about the same object arrived: it is outdated).
    """
    row = await tx.row(LOCK, delivery=delivery, tenant=caller.in_tenant(), itself=itself.only(caller))
    if row is None:
        raise NotFound(object="webhookDelivery")
    if row["state"] != State.DEAD:
        raise DeliveryNotDead(delivery=delivery)
    if row["overtaken"]:
        # The receiver would take the old news for the present state.
        raise InvalidOperation(
            reason="a later notification about the same object has arrived; resynchronize the formation instead"
        )
    await resend_several(tx, [delivery])
    return delivery


@command("recoverWebhookDeliveries", scope="webhook:write")
async def recover(tx: Tx, caller: Caller, of: WebhookId, since: str) -> int:
    """Try everything again that was given up for a webhook since then, but tests and what is outdated; how many.

    Raises NotFound (the webhook), Unauthorized, InvalidData (no point in time).
    """
    begin = instant("since", since)
    await webhook.lock(tx, caller, of)
    rows = await tx.rows(GIVEN_UP, webhook=of, tenant=caller.in_tenant(), since=begin)
    return await resend_several(tx, [row["id"] for row in rows]) if rows else 0


# For the delivery engine

PREPARE = """
-- webhook_delivery.prepare
SELECT url, auth_sealed, signing_secret_sealed FROM webhook WHERE id = %(webhook)s
"""
OUTPUT = """
-- webhook_delivery.output
SELECT output_template FROM webhook WHERE id = %(webhook)s
"""


@dataclass(frozen=True)
class _Judged:
    """What an answer means."""

    verdict: Verdict
    problem: str | None = None
    code: int = TECHNICAL
    state: Assignment | None = Assignment.READY
    """What the assignments become when the verdict is Delivered without a problem; None leaves them as they are."""
    configuration: str | None = None


class Calls:
    """`prepare`, `judge` and `finished` of the deliveries to webhooks. One per process."""

    def __init__(self, vault: Vault, door: Sender) -> None:
        self._vault = vault
        self._tokens = AccessTokens(door)

    async def prepare(self, tx: Tx, delivery: Delivery) -> Prepared | None:
        """Where the webhook is now, and how to sign in there. None when it was deleted. One statement.

        Raises SignInFailed for credentials that this plane cannot use; the delivery says so and is tried again.
        """
        row = await tx.row(PREPARE, webhook=delivery.receiver)
        if row is None:
            return None
        if delivery.facts.get("fault"):
            return Prepared()
        try:
            needed = sign_in(StoredAuth.open(self._vault, f"webhook/{delivery.receiver}", row["auth_sealed"]))
        except SignInFailed as failure:
            if delivery.kind != TEST:
                raise
            return Prepared(sign_in=partial(_say, failure))
        secret = webhook.signing_secret(self._vault, delivery.receiver, row["signing_secret_sealed"])
        client = needed.client
        if client is not None and delivery.failures:
            self._tokens.forget(client)
        return Prepared(
            headers=needed.headers,
            signing_keys=(key_of(secret),),
            # A plain URL may have been put right in the meantime; a rendered one belongs to what was rendered with it.
            # So does one that a constraint chose.
            url=needed.url((None if delivery.facts.get("redirected") else row["url"]) or delivery.url),
            sign_in=None if client is None else partial(self._tokens.headers, client),
            shows_certificate=needed.shows_certificate,
        )

    async def judge(self, tx: Tx, delivery: Delivery, answer: Answer) -> Verdict:
        """What an answer means, and what becomes of the assignments or of the group that wait for it.

        Four statements for assignments, and one for each configuration that is new; five for a group.
        """
        judged = _judged(delivery, answer, await tx.value(OUTPUT, webhook=delivery.receiver))
        if delivery.kind == TEST:
            return judged.verdict if judged.problem is None else Dead(judged.problem)
        is_taken = isinstance(judged.verdict, Delivered)
        if is_taken and delivery.facts.get("awaits_report"):
            judged = replace(judged, state=None)
        if _is_about_a_group(delivery):
            if judged.problem is not None:
                await formation_lifecycle.refused(tx, delivery, message=judged.problem, code=judged.code)
            elif is_taken and judged.state is Assignment.READY:
                await formation_lifecycle.taken(tx, delivery)
            elif is_taken:
                await formation_lifecycle.accepted(tx, delivery)
            return judged.verdict
        judged = await _counted(tx, delivery, judged)
        if judged.problem is not None:
            await formation_assignment.refused(
                tx, delivery.id, _concerned(delivery), message=judged.problem, code=judged.code
            )
        elif is_taken and judged.state is not None:
            await formation_assignment.taken(
                tx,
                delivery.id,
                _concerned(delivery),
                receiver=delivery.receiver,
                sequence=delivery.sequence,
                state=judged.state,
                configuration=judged.configuration,
            )
        return judged.verdict

    async def finished(self, tx: Tx, delivery: Delivery, state: State) -> None:
        """Settle what waits for a delivery that ended without an answer of ours to judge."""
        match state:
            case _ if delivery.kind == TEST:
                pass
            case State.CANCELLED if _is_about_a_group(delivery):
                await formation_lifecycle.taken(tx, delivery)
            case State.DEAD if _is_about_a_group(delivery):
                await formation_lifecycle.given_up(tx, delivery)
            case State.CANCELLED:
                # The webhook is gone: there is nobody to wait for.
                await formation_assignment.taken(
                    tx, delivery.id, _concerned(delivery), receiver=delivery.receiver, sequence=delivery.sequence
                )
            case State.DEAD:
                await formation_assignment.given_up(tx, delivery.id, _concerned(delivery))
            case State.DELIVERED | State.PENDING:
                pass


async def _say(failure: SignInFailed) -> Mapping[str, str]:
    """For a call that must not be made, and whose end is not to be put off."""
    raise failure


def _judged(delivery: Delivery, answer: Answer, output_template: str | None) -> _Judged:
    fault = delivery.facts.get("fault")
    if fault:
        return _Judged(Dead(str(fault)), str(fault))
    if output_template is not None and isinstance(answer, Response):
        try:
            output = webhook_template.output(output_template, webhook_template.answer(answer.body, answer.headers))
        except CompassError as error:
            why = f"outputTemplate cannot be used: {error.wire_text()}"
            return _Judged(Retry(why), why)
        return _by_output(delivery, answer, output)
    verdict = judged_by_status(answer)
    if isinstance(verdict, Delivered):
        return _Judged(verdict, state=_taken(delivery))
    return _Judged(verdict, why_not(answer))


def _by_output(delivery: Delivery, answer: Response, output: Output) -> _Judged:
    """Source: contract/director.md §16, "Result"."""
    if answer.status == output.gone:
        why = output.error or f"the receiver answered {answer.status}, which says that it is gone"
        return _Judged(Dead(why), why, CLIENT if output.error else TECHNICAL)
    if answer.status not in (output.success, output.incomplete):
        why = output.error or (
            "response success status code was not met - "
            f"expected success status code '{output.success}', got '{answer.status}'"
        )
        return _Judged(Retry(why), why, CLIENT if output.error else TECHNICAL)
    if output.error:
        return _Judged(Delivered(), output.error, CLIENT)
    if output.state:
        return _explicit(delivery, output)
    if answer.status == output.incomplete:
        state = None if _is_end(delivery) else Assignment.CONFIG_PENDING
        return _Judged(Delivered(), state=state, configuration=output.configuration)
    return _Judged(Delivered(), state=_taken(delivery), configuration=output.configuration)


def _explicit(delivery: Delivery, output: Output) -> _Judged:
    said = formation_lifecycle.REPORTED if _is_about_a_group(delivery) else REPORTED
    state = said.get((_is_end(delivery), output.state))
    if state is None:
        kind = "unassign" if _is_end(delivery) else "assign"
        if _is_about_a_group(delivery):
            kind = delivery.facts["operation"]
        return _Judged(Delivered(), f"Invalid transition from state {kind} to {output.state[:100]}", CLIENT)
    if state in (Assignment.CREATE_ERROR, Assignment.DELETE_ERROR):
        return _Judged(Delivered(), f"the receiver answered with state {state}", CLIENT)
    return _Judged(Delivered(), state=state, configuration=output.configuration)


async def _counted(tx: Tx, delivery: Delivery, judged: _Judged) -> _Judged:
    """What an answer that is no error counts for, by the constraints on it. At most one statement."""
    if not isinstance(judged.verdict, Delivered) or judged.problem is not None or judged.state is None:
        return judged
    counted = await notification_constraint.returned_by_delivery(
        tx,
        delivery.id,
        delivery.facts.get("formation"),
        "unassign" if _is_end(delivery) else "assign",
        Answered(judged.state, judged.configuration),
    )
    if counted.fault is not None:
        return _Judged(judged.verdict, counted.fault)
    state = REPORTED[_is_end(delivery), counted.state]
    if state in (Assignment.CREATE_ERROR, Assignment.DELETE_ERROR):
        return _Judged(judged.verdict, f"a constraint takes the answer for {state}", CLIENT)
    return replace(judged, state=state, configuration=counted.configuration)


def _taken(delivery: Delivery) -> Assignment | None:
    """What success makes of an assignment: a receiver that calls back says so by itself, later."""
    return None if delivery.facts.get("mode") == "ASYNC_CALLBACK" else Assignment.READY


def _concerned(delivery: Delivery) -> Sequence[Assignment]:
    return formation_assignment.ENDING if _is_end(delivery) else formation_assignment.BEGINNING


def _is_end(delivery: Delivery) -> bool:
    return delivery.facts.get("operation") in ("unassign", "unregister", formation_lifecycle.Operation.DELETE)


def _is_about_a_group(delivery: Delivery) -> bool:
    return delivery.kind == webhook.FORMATION_LIFECYCLE
