"""What tests about groups and webhooks say often: register, group, add a webhook, let the plane work, ask."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest

from compass.delivery.attempt import RetryRules
from compass.delivery.enqueue import Delivery
from compass.delivery.worker import DeliveryWork, Worker
from compass.director.formation_lifecycle import FormationLifecycle
from compass.director.notifications import Notifications
from compass.director.webhook_delivery import Calls
from compass.outbound.door import Door, DoorSettings
from compass.outbox.relay import Relay, reactions
from compass.postgres.pool import Tx
from compass.postgres.queue import WorkSettings

PLANE = "https://plane.test:8443"
QUICK = DeliveryWork(
    attempt_timeout=timedelta(seconds=0.6),
    retry=RetryRules(base=timedelta(milliseconds=40), factor=2, cap=timedelta(milliseconds=300)),
    work=WorkSettings(
        concurrency=64, lease=timedelta(seconds=3), poll=timedelta(seconds=0.2), grace=timedelta(seconds=2)
    ),
)
"""Everything that takes minutes in production, in fractions of a second."""
PATIENT = replace(QUICK, attempt_timeout=timedelta(seconds=30), work=replace(QUICK.work, lease=timedelta(seconds=60)))
"""For what is called once, or calls that are counted: a machine that stalls must not make one fail."""
LOOPBACK = DoorSettings(allowed_networks=(ip_network("127.0.0.1/32"),), failure_step=timedelta(0), max_per_host=1000)


REGISTER_APPLICATION = """
mutation ($in: ApplicationRegisterInput!) { result: registerApplication(in: $in) { id } }
"""
REGISTER_RUNTIME = "mutation ($in: RuntimeRegisterInput!) { result: registerRuntime(in: $in) { id } }"
REGISTER_CONTEXT = """
mutation ($runtime: ID!, $in: RuntimeContextInput!) {
  result: registerRuntimeContext(runtimeID: $runtime, in: $in) { id }
}
"""
CREATE_FORMATION = "mutation ($in: FormationInput!) { result: createFormation(formation: $in) { id } }"
DELETE_FORMATION = "mutation ($in: FormationInput!) { result: deleteFormation(formation: $in) { id name } }"
ASSIGN = """
mutation ($id: ID!, $type: FormationObjectType!, $group: String!, $initial: [InitialConfiguration!]) {
  result: assignFormation(
    objectID: $id, objectType: $type, formation: {name: $group}, initialConfigurations: $initial
  ) { id name state }
}
"""
UNASSIGN = """
mutation ($id: ID!, $type: FormationObjectType!, $group: String!) {
  result: unassignFormation(objectID: $id, objectType: $type, formation: {name: $group}) { id name state }
}
"""
ADD_WEBHOOK = """
mutation ($application: ID, $runtime: ID, $template: ID, $in: WebhookInput!) {
  result: addWebhook(applicationID: $application, runtimeID: $runtime, formationTemplateID: $template, in: $in) {
    id applicationID runtimeID type mode url signingSecret createdAt
  }
}
"""
SET_RUNTIME_LABEL = """
mutation ($id: ID!, $key: String!, $value: Any!) { setRuntimeLabel(runtimeID: $id, key: $key, value: $value) { key } }
"""
STATUS = """
query ($name: String!) {
  formationByName(name: $name) {
    id
    status { condition errors { assignmentID message errorCode } }
    formationAssignments { totalCount data { id source sourceType target targetType state value error configuration } }
  }
}
"""
DELIVERIES = """
query ($webhook: ID, $state: WebhookDeliveryState, $first: Int = 100) {
  webhookDeliveries(webhookID: $webhook, state: $state, first: $first) {
    totalCount
    data {
      id webhookID operation applicationID runtimeID formationID url state error createdAt nextAttemptAt finishedAt
      attempts { number startedAt elapsedMilliseconds status error response }
    }
  }
}
"""

Announced = Callable[[], Awaitable[Sequence[str]]]


async def application(director: Any, name: str, *, caller: Any = None, **more: Any) -> str:
    data = await director.data(REGISTER_APPLICATION, caller=caller, **{"in": {"name": name, **more}})
    return str(data["result"]["id"])


async def runtime(director: Any, name: str, *, caller: Any = None, **more: Any) -> str:
    data = await director.data(REGISTER_RUNTIME, caller=caller, **{"in": {"name": name, **more}})
    return str(data["result"]["id"])


async def context(director: Any, runtime: str, value: str, *, caller: Any = None, key: str = "tenant") -> str:
    """A context of a runtime."""
    data = await director.data(REGISTER_CONTEXT, caller=caller, runtime=runtime, **{"in": {"key": key, "value": value}})
    return str(data["result"]["id"])


async def group(director: Any, name: str, *, applications: Sequence[str] = (), runtimes: Sequence[str] = ()) -> str:
    data = await director.data(CREATE_FORMATION, **{"in": {"name": name}})
    for id_ in applications:
        await assign(director, name, application=id_)
    for id_ in runtimes:
        await assign(director, name, runtime=id_)
    return str(data["result"]["id"])


def _object(application: str | None, runtime: str | None, context: str | None) -> dict[str, str | None]:
    if context:
        return {"id": context, "type": "RUNTIME_CONTEXT"}
    return {"id": application or runtime, "type": "APPLICATION" if application else "RUNTIME"}


async def assign(
    director: Any,
    name: str,
    *,
    application: str | None = None,
    runtime: str | None = None,
    context: str | None = None,
    **more: Any,
) -> Any:
    return (await director.data(ASSIGN, group=name, **_object(application, runtime, context), **more))["result"]


async def unassign(
    director: Any,
    name: str,
    *,
    application: str | None = None,
    runtime: str | None = None,
    context: str | None = None,
) -> Any:
    return (await director.data(UNASSIGN, group=name, **_object(application, runtime, context)))["result"]


async def webhook(
    director: Any, url: str | None, *, application: str | None = None, runtime: str | None = None, **more: Any
) -> Any:
    given = {"type": "CONFIGURATION_CHANGED", **({"url": url} if url else {}), **more}
    data = await director.data(ADD_WEBHOOK, application=application, runtime=runtime, **{"in": given})
    return data["result"]


async def labels(director: Any, application: str) -> Any:
    data = await director.data("query ($id: ID!) { application(id: $id) { labels } }", id=application)
    return data["application"]["labels"]


async def states(director: Any, name: str) -> list[tuple[str, str, str]]:
    """Source, target and state of every assignment, the pairs of an object with itself left out."""
    data = await director.data(STATUS, name=name)
    rows = data["formationByName"]["formationAssignments"]["data"]
    return sorted((row["source"], row["target"], row["state"]) for row in rows if row["source"] != row["target"])


async def condition(director: Any, name: str) -> str:
    return str((await director.data(STATUS, name=name))["formationByName"]["status"]["condition"])


async def deliveries(director: Any, **which: Any) -> list[dict[str, Any]]:
    """Newest first."""
    data: list[dict[str, Any]] = (await director.data(DELIVERIES, **which))["webhookDeliveries"]["data"]
    return data


async def until(condition: Callable[[], Awaitable[bool]], within: float = 20) -> None:
    """Wait for a condition that another task makes true."""
    async with asyncio.timeout(within):
        while not await condition():
            await asyncio.sleep(0.02)


def _relay(director: Any) -> Relay:
    told = (Notifications(PLANE), FormationLifecycle(PLANE))
    return Relay(director.database, reactions(*(pair for who in told for pair in who.reactions())))


async def relayed(director: Any) -> None:
    """Hand every event that waits to those who react to it."""
    relay = _relay(director)
    while await relay.relay_one():
        pass


@asynccontextmanager
async def working(
    director: Any, *, relaying: bool = True, settings: DeliveryWork = QUICK, outbound: DoorSettings = LOOPBACK
) -> AsyncIterator[None]:
    """The plane's relay and delivery worker as tasks, as the plane runs them, while the block runs."""
    async with Door(outbound) as door:
        calls = Calls(director.vault, door)
        worker = Worker(
            director.database,
            door,
            prepare=calls.prepare,
            judge=calls.judge,
            finished=calls.finished,
            settings=settings,
        )
        relay = _relay(director)
        stopping = asyncio.Event()
        tasks = [asyncio.create_task(worker.run(stopping))]
        if relaying:
            tasks.append(asyncio.create_task(relay.run()))
        try:
            yield
        finally:
            stopping.set()
            for task in tasks[1:]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def idle(director: Any) -> None:
    """Wait until no event waits to be relayed and no delivery is on its way."""

    async def nothing_waits() -> bool:
        async with director.database.transaction() as tx:
            waiting = await tx.value(
                "-- test.waiting\nSELECT "
                "(SELECT count(*) FROM outbox_event WHERE relayed_at IS NULL AND parked_at IS NULL)"
                " + (SELECT count(*) FROM delivery WHERE state = 'PENDING')"
            )
        return bool(waiting == 0)

    await until(nothing_waits)


async def all_due(director: Any) -> list[Delivery]:
    """What is on its way, as the worker sees it."""
    async with director.database.transaction() as tx:
        rows = await tx.rows(
            "-- test.due\nSELECT id, sequence, tenant_id AS tenant, receiver, subject, kind, method, url, headers,"
            " body, facts, created_at FROM delivery WHERE state = 'PENDING' ORDER BY sequence"
        )
    return [
        Delivery(**dict(row), attempt=1, failures=0, attempted_at=datetime.now(UTC), since_first=timedelta(0))
        for row in rows
    ]


@asynccontextmanager
async def interrupted(
    director: Any, monkeypatch: pytest.MonkeyPatch, sql: str, happens: Callable[[Tx], Awaitable[None]]
) -> AsyncIterator[None]:
    """Between the answer to this statement and the next one something else is committed, or waits for a lock of ours.

    When this ends, so has that.
    """
    others: list[asyncio.Task[None]] = []
    rows = Tx.rows

    async def meanwhile() -> None:
        async with director.database.transaction() as tx:
            await happens(tx)

    async def came_as_far_as_it_can() -> bool:
        return others[0].done() or await _is_waiting_for_a_lock(director)

    async def read(tx: Tx, asked: str, /, **parameters: Any) -> Any:
        found = await rows(tx, asked, **parameters)
        if asked is sql and not others:
            others.append(asyncio.create_task(meanwhile()))
            await until(came_as_far_as_it_can)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Tx, "rows", read)
        yield
    [other] = others
    await other


async def _is_waiting_for_a_lock(director: Any) -> bool:
    async with director.database.transaction() as tx:
        waiting = await tx.value(
            "-- test.locks\nSELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
    return bool(waiting)
