"""Notifications: who is told of what happens to groups and runtimes, decided from the events the relay hands over.

    cause                                                  what receivers read   who hears of it
    a runtime is CONNECTED                                 ready                 every application that shares a group
    its event or console URL changes                       changed               the same
    an application or a runtime joins a group              assign                every counterpart in that group
    it leaves a group, and they share no other             unassign              every counterpart it had in that group
    a runtime is unregistered                              unregister            every application that shared a group
    one side answers or reports a new configuration        assign                the other side of that pair

Each cause makes one delivery per webhook and runtime. While two still share another group nobody is told that they left
one: receivers take `unassign` for the end of all access. The present state decides, not the event: what began and ended
before the relay came is told as it is now. Templates read `assign` for everything that is no end, as the contract's do.
"""

import uuid
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import asyncpg
import orjson

from compass.delivery.enqueue import NewDelivery, enqueue, hurry
from compass.director import formation_assignment, webhook_template
from compass.director.formation import FormationAssigned, FormationResynchronized, FormationUnassigned
from compass.director.formation_assignment import ConfigurationReceived
from compass.director.label import RuntimeLabelled
from compass.director.runtime import ANNOUNCED_LABELS, RuntimeConnected, RuntimeUnregistered, RuntimeUpdated
from compass.director.webhook import CONFIGURATION_CHANGED
from compass.errors import CompassError
from compass.gotemplate import Record
from compass.outbox.events import Event
from compass.postgres.pool import Tx

CLOUD_EVENTS: Final = "application/cloudevents+json"


class Operation(StrEnum):
    """What a receiver reads in `data.operation`."""

    ASSIGN = "assign"
    READY = "ready"
    CHANGED = "changed"
    UNASSIGN = "unassign"
    UNREGISTER = "unregister"

    @property
    def for_templates(self) -> str:
        """The one of two words that templates know."""
        return "unassign" if self in (Operation.UNASSIGN, Operation.UNREGISTER) else "assign"


@dataclass(frozen=True)
class Pair:
    """An application and a runtime of which one, the holder, is to be told about the other."""

    application: str
    runtime: str
    holder: str
    """`APPLICATION` or `RUNTIME`."""
    formation: str | None
    assignments: tuple[str, ...] = ()
    """Of which the delivery speaks."""
    awaited: bool = False
    """Whether the state of those assignments waits for the outcome."""
    depth: int = 0
    """How many configurations, each the answer to the one before, led to it."""

    @property
    def about(self) -> str:
        """The one that the holder is told about."""
        return self.runtime if self.holder == "APPLICATION" else self.application


@dataclass(frozen=True)
class Remembered:
    """What an event says of objects that may be gone by now."""

    formation_name: str | None = None
    runtime_name: str | None = None
    runtime_labels: Mapping[str, Any] | None = None


SHARING = """
-- notifications.sharing
SELECT target AS application,
    (array_agg(formation_id ORDER BY created_at, id))[1] AS formation,
    array_agg(id ORDER BY created_at, id) FILTER (WHERE state = 'CREATE_ERROR') AS failed
FROM formation_assignment pair
WHERE source = %(runtime)s AND target_type = 'APPLICATION' AND state NOT IN ('DELETING', 'DELETE_ERROR')
    -- Of a draft nobody is told yet.
    AND NOT EXISTS (SELECT FROM formation WHERE formation.id = pair.formation_id AND formation.state = 'DRAFT')
GROUP BY target
ORDER BY target
"""
ASSIGNED = """
-- notifications.assigned
SELECT pair.id, pair.source, pair.source_type, pair.target, pair.target_type, pair.state
FROM jsonb_to_recordset(%(paired)s) AS told (application uuid, runtime uuid)
JOIN formation_assignment pair ON pair.formation_id = %(formation)s
    AND (pair.source, pair.target) IN ((told.application, told.runtime), (told.runtime, told.application))
WHERE pair.state NOT IN ('DELETING', 'DELETE_ERROR')
ORDER BY pair.id
"""
PARTED = """
-- notifications.parted
WITH pair AS (
    SELECT application, runtime FROM jsonb_to_recordset(%(parted)s) AS (application uuid, runtime uuid)
)
SELECT pair.application, pair.runtime,
    NOT EXISTS (
        SELECT FROM formation_assignment shared WHERE shared.source = pair.application AND shared.target = pair.runtime
            AND shared.state NOT IN ('DELETING', 'DELETE_ERROR')
    ) AS parted,
    (SELECT ending.id FROM formation_assignment ending WHERE ending.formation_id = %(formation)s
        AND ending.source = pair.runtime AND ending.target = pair.application
        AND ending.state IN ('DELETING', 'DELETE_ERROR')) AS of_application,
    (SELECT ending.id FROM formation_assignment ending WHERE ending.formation_id = %(formation)s
        AND ending.source = pair.application AND ending.target = pair.runtime
        AND ending.state IN ('DELETING', 'DELETE_ERROR')) AS of_runtime
FROM pair
ORDER BY pair.application, pair.runtime
"""
UNSETTLED = """
-- notifications.unsettled
SELECT pair.id, pair.source, pair.source_type, pair.target, pair.target_type, pair.state,
    (SELECT array_agg(delivery.receiver) FROM formation_assignment_delivery link
     JOIN delivery ON delivery.id = link.delivery_id AND delivery.state = 'PENDING'
     WHERE link.formation_assignment_id = pair.id) AS under_way
FROM formation_assignment pair
WHERE pair.formation_id = %(formation)s AND pair.state IN ('INITIAL', 'CREATE_ERROR', 'DELETING', 'DELETE_ERROR')
ORDER BY pair.id
"""
REVERSE = """
-- notifications.reverse
SELECT reverse.id, reverse.source, reverse.source_type, reverse.target, reverse.target_type, reverse.formation_id
FROM formation_assignment pair
JOIN formation_assignment reverse ON reverse.formation_id = pair.formation_id
    AND reverse.source = pair.target AND reverse.target = pair.source
JOIN formation ON formation.id = pair.formation_id
WHERE pair.id = %(assignment)s AND formation.state = 'READY'
    AND pair.state NOT IN ('DELETING', 'DELETE_ERROR') AND reverse.state NOT IN ('DELETING', 'DELETE_ERROR')
"""
AUDIENCE = """
-- notifications.audience
WITH pair AS (
    SELECT * FROM ROWS FROM (jsonb_to_recordset(%(pairs)s) AS (
        application uuid, runtime uuid, holder text, formation uuid
    )) WITH ORDINALITY
), told AS (
    SELECT pair.*, webhook.id AS webhook_id FROM pair JOIN webhook ON webhook.application_id = pair.application
    WHERE pair.holder = 'APPLICATION' AND webhook.type = %(type)s
    UNION ALL
    -- An application without one of its own is reached by its template's.
    SELECT pair.*, webhook.id FROM pair
    JOIN application lent ON lent.id = pair.application
    JOIN webhook ON webhook.application_template_id = lent.application_template_id
    WHERE pair.holder = 'APPLICATION' AND webhook.type = %(type)s AND NOT EXISTS (
        SELECT FROM webhook own WHERE own.application_id = pair.application AND own.type = webhook.type
    )
    UNION ALL
    SELECT pair.*, webhook.id FROM pair JOIN webhook ON webhook.runtime_id = pair.runtime
    WHERE pair.holder = 'RUNTIME' AND webhook.type = %(type)s
)
SELECT told.ordinality, webhook.id AS webhook, webhook.mode, webhook.url, webhook.correlation_id_key,
    webhook.url_template, webhook.input_template, webhook.header_template,
    CASE told.holder WHEN 'APPLICATION' THEN application.tenant_id ELSE runtime.tenant_id END AS tenant,
    application.name AS application_name, runtime.name AS runtime_name, formation.name AS formation_name,
    assignment.id AS assignment,
    CASE WHEN num_nonnulls(webhook.url_template, webhook.input_template, webhook.header_template) > 0 THEN
        jsonb_build_object(
            'application', to_jsonb(application.*),
            'application_labels', (SELECT jsonb_object_agg(key, value) FROM application_label
                                   WHERE application_id = application.id),
            'application_template', to_jsonb(template.*) - 'application_input_sealed',
            'application_template_labels', (SELECT jsonb_object_agg(key, value) FROM application_template_label
                                            WHERE application_template_id = template.id),
            'runtime', to_jsonb(runtime.*),
            'runtime_labels', (SELECT jsonb_object_agg(key, value) FROM runtime_label WHERE runtime_id = runtime.id),
            'tenant', to_jsonb(tenant.*),
            'tenant_labels', (SELECT jsonb_object_agg(key, value) FROM tenant_label WHERE tenant_id = tenant.id),
            'ancestors', (SELECT jsonb_object_agg(above.type, above.external_id)
                          FROM tenant_and_ancestors_v1(tenant.id) AS up JOIN tenant above ON above.id = up),
            'formation', to_jsonb(formation.*),
            'assignment', to_jsonb(assignment.*),
            'reverse', to_jsonb(reverse.*)
        )
    END AS data
FROM told
JOIN webhook ON webhook.id = told.webhook_id
LEFT JOIN application ON application.id = told.application
LEFT JOIN application_template template ON template.id = application.application_template_id
LEFT JOIN runtime ON runtime.id = told.runtime
LEFT JOIN formation ON formation.id = told.formation
LEFT JOIN tenant
    ON tenant.id = CASE told.holder WHEN 'APPLICATION' THEN application.tenant_id ELSE runtime.tenant_id END
LEFT JOIN formation_assignment assignment ON assignment.formation_id = told.formation
    AND assignment.source = CASE told.holder WHEN 'APPLICATION' THEN told.runtime ELSE told.application END
    AND assignment.target = CASE told.holder WHEN 'APPLICATION' THEN told.application ELSE told.runtime END
LEFT JOIN formation_assignment reverse ON reverse.formation_id = told.formation
    AND reverse.source = assignment.target AND reverse.target = assignment.source
ORDER BY told.ordinality, webhook.created_at, webhook.id
"""

Reaction = Callable[[Tx, Any], Coroutine[Any, Any, None]]


class Notifications:
    """Reacts to events by owing deliveries. `source` is the plane's URL, for who receives from several planes."""

    def __init__(self, source: str) -> None:
        self._source = source

    def reactions(self) -> list[tuple[type[Event], Reaction]]:
        """What reacts to what, for the relay."""
        return [
            (RuntimeConnected, self.connected),
            (RuntimeUpdated, self.updated),
            (RuntimeLabelled, self.labelled),
            (RuntimeUnregistered, self.unregistered),
            (FormationAssigned, self.assigned),
            (FormationUnassigned, self.unassigned),
            (FormationResynchronized, self.resynchronized),
            (ConfigurationReceived, self.configured),
        ]

    async def connected(self, tx: Tx, event: RuntimeConnected) -> None:
        """A runtime is ready."""
        await self._tell_sharing(tx, Operation.READY, event.runtime)

    async def updated(self, tx: Tx, event: RuntimeUpdated) -> None:
        """A runtime was changed; only where it is reached concerns others."""
        if event.moved:
            await self._tell_sharing(tx, Operation.CHANGED, event.runtime)

    async def labelled(self, tx: Tx, event: RuntimeLabelled) -> None:
        """One of a runtime's labels was changed; only those that say where it is reached concern others."""
        if event.key in ANNOUNCED_LABELS:
            await self._tell_sharing(tx, Operation.CHANGED, event.runtime)

    async def unregistered(self, tx: Tx, event: RuntimeUnregistered) -> None:
        """A runtime is gone."""
        pairs = [
            Pair(application, event.runtime, "APPLICATION", formation)
            for application, formation in sorted(event.applications.items())
        ]
        await self._tell(
            tx,
            Operation.UNREGISTER,
            pairs,
            Remembered(runtime_name=event.name, runtime_labels=event.labels),
        )

    async def assigned(self, tx: Tx, event: FormationAssigned) -> None:
        """Somebody joined a group."""
        rows = await tx.rows(ASSIGNED, formation=event.formation, paired=_recordset(event.paired))
        await self._tell(tx, Operation.ASSIGN, [_pair(row, event.formation) for row in rows])

    async def unassigned(self, tx: Tx, event: FormationUnassigned) -> None:
        """Somebody left a group."""
        await self._part(tx, event.formation, event.parted, event.name)

    async def resynchronized(self, tx: Tx, event: FormationResynchronized) -> None:
        """Whoever does not know yet is told: what is on its way at once, everything else anew, as it is now."""
        rows = await tx.rows(UNSETTLED, formation=event.formation)
        await hurry(tx, sorted({receiver for row in rows for receiver in row["under_way"] or ()}))
        still = [row for row in rows if not row["under_way"]]
        mixed = [row for row in still if row["source_type"] != row["target_type"]]
        beginning = [_pair(row, event.formation) for row in mixed if row["state"] in ("INITIAL", "CREATE_ERROR")]
        ending = [_pair(row, event.formation) for row in mixed if row["state"] in ("DELETING", "DELETE_ERROR")]
        await self._tell(tx, Operation.ASSIGN, beginning)
        await self._part(tx, event.formation, [(pair.application, pair.runtime) for pair in ending], None)
        await formation_assignment.untold(tx, [row["id"] for row in still if row["source_type"] == row["target_type"]])

    async def configured(self, tx: Tx, event: ConfigurationReceived) -> None:
        """One side of a pair has a new configuration for the other, which is told of it."""
        row = await tx.row(REVERSE, assignment=event.assignment)
        if row is None:
            return  # one of them left in the meantime
        if row["source_type"] == row["target_type"]:
            await formation_assignment.untold(tx, [row["id"]])
            return
        application, runtime = _sides(row)
        pair = Pair(
            application, runtime, row["target_type"], row["formation_id"], (row["id"],), awaited=True, depth=event.depth
        )
        await self._tell(tx, Operation.ASSIGN, [pair])

    async def _tell_sharing(self, tx: Tx, operation: Operation, runtime: str) -> None:
        """Tell every application that shares a group with the runtime, once however many groups they share."""
        rows = await tx.rows(SHARING, runtime=runtime)
        pairs = [
            # Where joining could not be told, this repairs it.
            Pair(
                row["application"],
                runtime,
                "APPLICATION",
                row["formation"],
                tuple(row["failed"] or ()),
                bool(row["failed"]),
            )
            for row in rows
        ]
        await self._tell(tx, operation, pairs)

    async def _part(self, tx: Tx, formation: str, parted: Sequence[Sequence[str]], formation_name: str | None) -> None:
        """Tell of the end those who share no group any more; for the others nothing changes."""
        rows = await tx.rows(PARTED, formation=formation, parted=_recordset({tuple(pair) for pair in parted}))
        pairs, silent = [], []
        for row in rows:
            for holder, ending in (("APPLICATION", row["of_application"]), ("RUNTIME", row["of_runtime"])):
                if row["parted"]:
                    ended = () if ending is None else (ending,)
                    pairs.append(Pair(row["application"], row["runtime"], holder, formation, ended, bool(ended)))
                elif ending is not None:
                    silent.append(ending)
        await self._tell(tx, Operation.UNASSIGN, pairs, Remembered(formation_name=formation_name))
        await formation_assignment.untold(tx, silent)

    async def _tell(
        self, tx: Tx, operation: Operation, pairs: Sequence[Pair], remembered: Remembered | None = None
    ) -> None:
        """Owe a delivery to every webhook of every holder. Four statements, whatever their number.

        Assignments whose target has no webhook settle at once.
        """
        if not pairs:
            return
        audience = await tx.rows(
            AUDIENCE,
            type=CONFIGURATION_CHANGED,
            pairs=[
                {"application": p.application, "runtime": p.runtime, "holder": p.holder, "formation": p.formation}
                for p in pairs
            ],
        )
        told = [pairs[row["ordinality"] - 1] for row in audience]
        ids = await enqueue(
            tx,
            [
                self._delivery(operation, pair, row, remembered or Remembered())
                for pair, row in zip(told, audience, strict=True)
            ],
        )
        links = [
            {"delivery": delivery, "assignment": assignment, "awaited": pair.awaited, "depth": pair.depth}
            for delivery, pair in zip(ids, told, strict=True)
            for assignment in pair.assignments
        ]
        await formation_assignment.told(tx, links)
        knowing = {assignment for pair in told for assignment in pair.assignments}
        await formation_assignment.untold(
            tx, [assignment for pair in pairs for assignment in pair.assignments if assignment not in knowing]
        )

    def _delivery(self, operation: Operation, pair: Pair, row: asyncpg.Record, remembered: Remembered) -> NewDelivery:
        event = self._cloud_event(operation, pair, row, remembered)
        method, url, body = "POST", row["url"] or "", orjson.dumps(event).decode()
        headers = {"Content-Type": CLOUD_EVENTS}
        facts: dict[str, Any] = {
            "operation": operation,
            "application": pair.application,
            "runtime": pair.runtime,
            "formation": pair.formation,
            "mode": row["mode"],
        }
        if row["data"] is not None:
            data = _template_data(operation, pair, row["data"], remembered)
            try:
                if row["url_template"] is not None:
                    target = webhook_template.url(row["url_template"], data)
                    method, url = target.method, target.url
                if row["input_template"] is not None or row["url_template"] is not None:
                    body = webhook_template.body(row["input_template"] or "{}", data)
                    headers = {"Content-Type": "application/json"}
                if row["header_template"] is not None:
                    headers |= webhook_template.headers(row["header_template"], data)
            except CompassError as error:
                # Owed all the same, so that it is seen: it will not be sent, and says why.
                facts["fault"] = f"the webhook's template cannot be used: {error.wire_text()}"
                url = ""
        if row["correlation_id_key"]:
            headers[row["correlation_id_key"]] = event["id"]
        return NewDelivery(
            receiver=row["webhook"],
            subject=pair.about,
            kind=CONFIGURATION_CHANGED,
            method=method,
            url=url,
            body=body,
            headers=headers,
            facts=facts,
            tenant=row["tenant"],
        )

    def _cloud_event(
        self, operation: Operation, pair: Pair, row: asyncpg.Record, remembered: Remembered
    ) -> dict[str, Any]:
        """A structured CloudEvent: what happened and to whom; what it means is for the receiver to ask for.

        Source: CloudEvents 1.0, JSON format §3.
        """
        data: dict[str, Any] = {
            "operation": operation,
            "applicationID": pair.application,
            "runtimeID": pair.runtime,
            "application": {"id": pair.application, "name": row["application_name"]},
            "runtime": {"id": pair.runtime, "name": row["runtime_name"] or remembered.runtime_name},
        }
        name = row["formation_name"] or remembered.formation_name
        if pair.formation is not None and name is not None:
            data["formation"] = {"id": pair.formation, "name": name}
        if row["mode"] == "ASYNC_CALLBACK" and row["assignment"] is not None:
            # What it reports about, see director/assignment_status.py.
            data["formationAssignment"] = {"id": row["assignment"]}
        return {
            "specversion": "1.0",
            "id": str(uuid.uuid4()),
            "source": self._source,
            "type": f"io.compass.runtime.{operation}.v1",
            "subject": pair.about,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "datacontenttype": "application/json",
            "data": data,
        }


def _recordset(pairs: Iterable[Sequence[str]]) -> list[dict[str, str]]:
    return [{"application": application, "runtime": runtime} for application, runtime in pairs]


def _pair(row: asyncpg.Record, formation: str) -> Pair:
    """The pair that one direction of an assignment tells its target about."""
    application, runtime = _sides(row)
    return Pair(application, runtime, row["target_type"], formation, (row["id"],), row["state"] != "READY")


def _sides(row: asyncpg.Record) -> tuple[str, str]:
    """The application and the runtime of a row with a source and a target."""
    source, target = row["source"], row["target"]
    return (target, source) if row["source_type"] == "RUNTIME" else (source, target)


def _template_data(operation: Operation, pair: Pair, data: Mapping[str, Any], remembered: Remembered) -> Record:
    tenant = webhook_template.tenant(data["tenant"] or {}, data["tenant_labels"] or {})
    gone = {"id": pair.runtime, "name": remembered.runtime_name}
    ended = {"id": pair.formation, "name": remembered.formation_name}
    return webhook_template.configuration_changed(
        operation.for_templates,
        application_template=webhook_template.application_template(
            data["application_template"] or {}, data["application_template_labels"] or {}
        ),
        application=webhook_template.application(
            data["application"] or {"id": pair.application}, data["application_labels"] or {}, tenant
        ),
        runtime=webhook_template.runtime(
            data["runtime"] or gone, data["runtime_labels"] or remembered.runtime_labels or {}, tenant
        ),
        formation=webhook_template.formation(data["formation"] or ended),
        assignment=webhook_template.assignment(data["assignment"] or {}),
        reverse=webhook_template.assignment(data["reverse"] or {}),
        customer=webhook_template.customer(data["ancestors"] or {}, ""),
    )
