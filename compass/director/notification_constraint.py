"""Constraints on notifications: whether a participant is told of another, where that goes, and what its answer is.

Those of `formation_constraint` whose target operation is one of notifications. They are asked while a notification is
made and while its answer is taken, and refuse nobody: what they keep back is as if the participant had no webhook, and
what they cannot decide is shown as an error. Source: contract/director.md §15.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import asyncpg

from compass.delivery.enqueue import NewDelivery
from compass.director import constraint_operators
from compass.director.constraint_operators import SUBTYPE, Occasion, Outcome, Target, When
from compass.director.formation_constraint import IN_ORDER, OF_GROUP, RULES, about_group, violated
from compass.postgres.pool import Tx

_PAIRS: Final = """
WITH pair AS ({pairs}), subject AS (
    SELECT pair.*, target_type AS type, {target} AS subtype, coalesce({source}, known_subtype) AS source_subtype
    FROM pair
    -- As long as there is no such constraint, nothing is looked up.
    WHERE EXISTS (
        SELECT FROM formation_constraint WHERE type = %(when)s AND target_operation = ANY (%(targets)s::text[])
    )
)
SELECT subject.ordinality, rule.target_operation, rule.name, rule.operator, rule.input_template,
    template.id AS template_id, template.name AS template, formation.id AS formation_id,
    formation.name AS formation_name, formation.tenant_id,
    subject.source, subject.source_type, subject.source_subtype, subject.target, subject.target_type, subject.subtype,
    assignment.id AS assignment, assignment.state, assignment.configuration,
    reverse.configuration AS reverse_configuration
FROM subject
LEFT JOIN formation ON formation.id = subject.formation
LEFT JOIN formation_template template ON template.id = formation.formation_template_id {rules}
LEFT JOIN formation_assignment assignment ON assignment.formation_id = subject.formation
    AND assignment.source = subject.source AND assignment.target = subject.target
LEFT JOIN formation_assignment reverse ON reverse.formation_id = subject.formation
    AND reverse.source = subject.target AND reverse.target = subject.source
ORDER BY subject.ordinality, {order}
"""


def _of_pairs(pairs: str) -> str:
    target, source = (SUBTYPE.format(type=f"pair.{side}_type", id=f"pair.{side}") for side in ("target", "source"))
    return _PAIRS.format(pairs=pairs, target=target, source=source, rules=RULES, order=IN_ORDER)


OF_NOTIFICATIONS = """
-- notification_constraint.of_notifications
""" + _of_pairs("""
    SELECT * FROM ROWS FROM (jsonb_to_recordset(%(pairs)s) AS (
        source uuid, source_type text, known_subtype text, target uuid, target_type text, formation uuid
    )) WITH ORDINALITY
""")
OF_ANSWER = """
-- notification_constraint.of_answer
""" + _of_pairs("""
    SELECT answered.source, answered.source_type, NULL AS known_subtype, answered.target, answered.target_type,
        answered.formation_id AS formation, 1 AS ordinality
    FROM formation_assignment answered
    WHERE answered.id = %(assignment)s OR answered.formation_id = %(formation)s AND answered.id IN (
        SELECT link.formation_assignment_id FROM formation_assignment_delivery link
        WHERE link.delivery_id = %(delivery)s
    )
""")


@dataclass(frozen=True)
class Constrained:
    """What constraints say of a notification, whoever gets it."""

    is_kept_back: bool = False
    fault: str | None = None
    """Why it cannot be said: shown, and not sent."""
    sent: tuple[tuple[asyncpg.Record, Occasion], ...] = ()
    """The constraints on where it is sent, and what they are asked about."""


@dataclass(frozen=True)
class Sending:
    """How a notification goes to one webhook."""

    fault: str | None = None
    url: str | None = None
    """Where it goes instead."""
    awaits_report: bool = False
    """Whether the answer decides nothing yet."""

    def of(self, delivery: NewDelivery) -> NewDelivery:
        """The delivery so changed. Its `facts` say what `webhook_delivery` has to know."""
        facts = dict(delivery.facts)
        if "fault" in facts:
            return delivery  # its webhook's template made nothing that could go anywhere
        if self.fault is not None:
            return replace(delivery, url="", facts={**facts, "fault": self.fault})
        if self.url is not None:
            facts["redirected"] = True
        if self.awaits_report:
            facts["awaits_report"] = True
        return replace(delivery, url=delivery.url if self.url is None else self.url, facts=facts)


async def of(tx: Tx, operation: str, pairs: Sequence[Mapping[str, Any]]) -> list[Constrained]:
    """What constraints say of telling the targets of pairs, in their order. One statement, whatever their number.

    A pair has `source`, `source_type`, `target`, `target_type`, `formation`, and in `known_subtype` what is remembered
    of a source that is gone. `operation`: `assign` or `unassign`. A constraint that cannot decide keeps nothing back:
    it makes a notification that says why it is not sent.
    """
    found = await tx.rows(
        OF_NOTIFICATIONS,
        when=When.PRE,
        pairs=pairs,
        targets=[Target.GENERATE_FORMATION_ASSIGNMENT_NOTIFICATION, Target.SEND_NOTIFICATION],
    )
    rules: dict[int, list[asyncpg.Record]] = {}
    for row in found:
        rules.setdefault(row["ordinality"], []).append(row)
    return [await _constrained(tx, operation, rules.get(number, [])) for number in range(1, len(pairs) + 1)]


async def _constrained(tx: Tx, operation: str, rules: Sequence[asyncpg.Record]) -> Constrained:
    fault = None
    for rule in rules:
        if rule["target_operation"] != Target.GENERATE_FORMATION_ASSIGNMENT_NOTIFICATION:
            continue
        outcome = await _decided(tx, rule, _notified(rule, operation))
        if not outcome.satisfied and not outcome.why:
            return Constrained(is_kept_back=True)
        if not outcome.satisfied:
            fault = fault or violated(rule["name"], rule["operator"], outcome.why).why
    sent = (rule for rule in rules if rule["target_operation"] == Target.SEND_NOTIFICATION)
    return Constrained(fault=fault, sent=tuple((rule, _notified(rule, operation)) for rule in sent))


async def of_group(tx: Tx, operation: str, group: asyncpg.Record | Mapping[str, Any]) -> Constrained:
    """What constraints say of telling that a group begins or ends, the `group` of `enforce_on_group`. One statement."""
    rules = await tx.rows(
        OF_GROUP, when=When.PRE, targets=[Target.SEND_NOTIFICATION], template=group["formation_template_id"]
    )
    return Constrained(sent=tuple((rule, about_group(rule, operation, group)) for rule in rules))


async def before_sending(tx: Tx, constrained: Constrained, hook: asyncpg.Record) -> Sending:
    """What constraints make of a notification to a webhook: its `webhook` id, `mode` and `url`.

    Of several that redirect it the last one counts. No statement.
    """
    sending = Sending(fault=constrained.fault)
    for rule, about in constrained.sent:
        occasion = replace(
            about,
            webhook_id=hook["webhook"],
            webhook_mode=hook["mode"] or "",
            url=sending.url or hook["url"] or "",
        )
        outcome = await _decided(tx, rule, occasion)
        if not outcome.satisfied:
            return Sending(fault=violated(rule["name"], rule["operator"], outcome.why).why)
        sending = Sending(
            sending.fault,
            sending.url if outcome.url is None else outcome.url,
            sending.awaits_report or outcome.awaits_report,
        )
    return sending


@dataclass(frozen=True)
class Answered:
    """What a participant answers or reports about an assignment, when it is no error."""

    state: str
    configuration: str | None
    fault: str | None = None
    """Why it cannot count: a constraint is not satisfied."""


async def returned_by_delivery(
    tx: Tx, delivery: str, formation: str | None, operation: str, answered: Answered
) -> Answered:
    """What counts of an answer to a notification, by the constraints of the group that it named. One statement."""
    return await _returned(tx, operation, answered, assignment=None, delivery=delivery, formation=formation)


async def returned_by_report(tx: Tx, assignment: str, operation: str, answered: Answered) -> Answered:
    """What counts of a report about an assignment. One statement."""
    return await _returned(tx, operation, answered, assignment=assignment, delivery=None, formation=None)


async def _returned(tx: Tx, operation: str, answered: Answered, **named: str | None) -> Answered:
    for rule in await tx.rows(OF_ANSWER, when=When.PRE, targets=[Target.NOTIFICATION_STATUS_RETURNED], **named):
        occasion = replace(_notified(rule, operation), state=answered.state, configuration=answered.configuration or "")
        outcome = await _decided(tx, rule, occasion)
        if not outcome.satisfied:
            return replace(answered, fault=violated(rule["name"], rule["operator"], outcome.why).why)
        answered = Answered(outcome.state or answered.state, outcome.configuration or answered.configuration)
    return answered


async def _decided(tx: Tx, rule: asyncpg.Record, occasion: Occasion) -> Outcome:
    return await constraint_operators.decide(tx, rule["operator"], rule["input_template"], occasion)


def _notified(rule: asyncpg.Record, operation: str) -> Occasion:
    """What a participant is told of another, or says about it."""
    return Occasion(
        operation=operation,
        formation_id=rule["formation_id"] or "",
        formation_name=rule["formation_name"] or "",
        formation_template_id=rule["template_id"] or "",
        formation_type=rule["template"] or "",
        tenant_id=rule["tenant_id"] or "",
        resource_type=rule["target_type"],
        resource_subtype=rule["subtype"] or "",
        resource_id=rule["target"],
        source_resource_type=rule["source_type"],
        source_resource_subtype=rule["source_subtype"] or "",
        source_resource_id=rule["source"],
        formation_assignment_id=rule["assignment"] or "",
        configuration=rule["configuration"] or "",
        reverse_configuration=rule["reverse_configuration"] or "",
        state=rule["state"] or "",
    )
