"""Who is told of what happens, and how much."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

import compass.app  # noqa: F401  # so that every noun, and with it every event, is declared
from compass.access.caller import Caller, Consumer, Flow
from compass.access.scopes import BY_CONSUMER
from compass.director import change
from compass.director.change import SHOWN, Changes
from compass.errors import InsufficientScopes, TenantRequired
from compass.ids import TenantId
from compass.outbox.events import Event
from compass.outbox.feed import Change, Position, Told
from compass.postgres.pool import Database

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
APPLICATION, OTHER, RUNTIME, NEIGHBOUR = (f"00000000-0000-4000-9000-00000000000{n}" for n in (1, 2, 3, 4))
FORMATION, TENANT, PARENT, FOREIGN = (f"00000000-0000-4000-a000-00000000000{n}" for n in (1, 2, 3, 4))


@pytest.fixture
async def changes(database: Database) -> Changes:
    """A tenant and its parent see one application and one runtime, which share a group; another runtime does not."""
    async with database.transaction() as tx:
        for tenant in (TENANT, PARENT, FOREIGN):
            await tx.run(
                "-- test\nINSERT INTO tenant (id, external_id, name, type, provider) "
                "VALUES (%(id)s, %(name)s, %(name)s, 'account', 'test')",
                id=tenant,
                name=tenant,
            )
        for noun, objects in (("application", (APPLICATION, OTHER)), ("runtime", (RUNTIME, NEIGHBOUR))):
            for one in objects:
                await tx.run(
                    f"-- test\nINSERT INTO {noun} (id, tenant_id, name) VALUES (%(id)s, %(t)s, %(name)s)",
                    id=one,
                    name=one,
                    t=TENANT,
                )
                for tenant in (TENANT, PARENT):
                    await tx.run(
                        f"-- test\nINSERT INTO {noun}_tenant (tenant_id, {noun}_id, owner) VALUES (%(t)s, %(o)s, true)",
                        o=one,
                        t=tenant,
                    )
        await tx.run(
            "-- test\nINSERT INTO formation (id, tenant_id, formation_template_id, name, state) "
            "SELECT %(id)s, %(t)s, id, 'g', 'READY' FROM formation_template LIMIT 1",
            id=FORMATION,
            t=TENANT,
        )
        for source, source_type in ((APPLICATION, "APPLICATION"), (RUNTIME, "RUNTIME")):
            for target, target_type in ((APPLICATION, "APPLICATION"), (RUNTIME, "RUNTIME")):
                await tx.run(
                    "-- test\nINSERT INTO formation_assignment "
                    "(formation_id, source, source_type, target, target_type, state) "
                    "VALUES (%(f)s, %(source)s, %(source_type)s, %(target)s, %(target_type)s, 'READY')",
                    f=FORMATION,
                    source=source,
                    source_type=source_type,
                    target=target,
                    target_type=target_type,
                )
    return Changes(database)


def happened(name: str, tenant: str | None = TENANT, /, **facts: Any) -> Change:
    return Change(Position(7, 1), tenant, name, facts, NOW)


async def one(changes: Changes, change: Change) -> Told:
    (told,) = await changes.address([change])
    return told


def caller(consumer: Consumer, consumer_id: str = "me", *scopes: str, tenant: str | None = TENANT) -> Caller:
    allowed = frozenset(scopes) or BY_CONSUMER[consumer]
    return Caller(consumer, consumer_id, Flow.JWT, allowed, TenantId(tenant) if tenant else None)


def knows(told: Told, *callers: Caller) -> list[bool]:
    return [change.follower(who).may_know(told) for who in callers]


PEOPLE = [caller(Consumer.STATIC_USER, tenant=tenant) for tenant in (TENANT, PARENT, FOREIGN)]
APPLICATIONS = [caller(Consumer.APPLICATION, one) for one in (APPLICATION, OTHER)]
RUNTIMES = [caller(Consumer.RUNTIME, one) for one in (RUNTIME, NEIGHBOUR)]


def test_of_every_kind_of_event_it_is_decided_who_is_told() -> None:
    ours = {kind for kind in Event.known.values() if kind.__module__.startswith("compass.")}
    assert ours - set(SHOWN) == set()


def test_what_is_told_are_facts_of_the_event_and_the_right_is_one_that_somebody_has() -> None:
    everybody = BY_CONSUMER[Consumer.STATIC_USER] | BY_CONSUMER[Consumer.INTEGRATION_SYSTEM]
    for kind, shown in SHOWN.items():
        assert set(shown.subjects) <= set(kind.__dataclass_fields__) - {"tenant"}, kind
        assert shown.scope in everybody, kind
        # Names, labels and reasons may say more than who is told may read.
        assert not {"name", "labels", "key", "value", "by", "condition"} & set(shown.subjects), kind


async def test_of_an_application_its_tenants_itself_and_the_runtimes_of_its_groups_are_told(changes: Changes) -> None:
    told = await one(changes, happened("ApplicationLabelled", application=APPLICATION, key="secret key"))
    assert knows(told, *PEOPLE) == [True, True, False]
    assert knows(told, *APPLICATIONS) == [True, False]
    assert knows(told, *RUNTIMES) == [True, False]
    assert json.loads(told.data) == {
        "id": "7-1",
        "type": "ApplicationLabelled",
        "tenant": TENANT,
        "time": "2026-01-02T03:04:05+00:00",
        "subjects": {"application": APPLICATION},
    }


async def test_of_an_object_that_is_gone_the_tenant_of_the_event_is_told(changes: Changes) -> None:
    told = await one(changes, happened("ApplicationUnregistered", application=FORMATION))
    assert knows(told, *PEOPLE, *APPLICATIONS, *RUNTIMES) == [True, False, False, False, False, False, False]


async def test_of_a_runtime_its_tenants_and_itself_are_told(changes: Changes) -> None:
    told = await one(changes, happened("RuntimeLabelled", runtime=RUNTIME, key="k"))
    assert knows(told, *PEOPLE, *APPLICATIONS, *RUNTIMES) == [True, True, False, False, False, True, False]


async def test_of_credentials_no_neighbour_is_told(changes: Changes) -> None:
    facts = {"application": APPLICATION, "bundle": "b", "bundle_instance_auth": "c", "condition": "SUCCEEDED"}
    told = await one(changes, happened("BundleInstanceAuthChanged", runtime=NEIGHBOUR, **facts))
    assert knows(told, *APPLICATIONS, *RUNTIMES) == [True, False, False, True]


@pytest.mark.parametrize("name", ["FormationAssigned", "FormationUnassigned"])
async def test_of_who_joins_and_leaves_the_participant_and_the_runtimes_of_the_group_are_told(
    changes: Changes, name: str
) -> None:
    facts: dict[str, Any] = {"formation": FORMATION, "name": "g", "paired": [], "parted": [["x"]]}
    told = await one(changes, happened(name, participant=OTHER, type="APPLICATION", **facts))
    assert knows(told, *PEOPLE, *APPLICATIONS, *RUNTIMES) == [True, False, False, False, True, True, False]
    assert json.loads(told.data)["subjects"] == {"formation": FORMATION, "participant": OTHER, "type": "APPLICATION"}


async def test_what_belongs_to_no_tenant_is_told_to_people_with_the_right(changes: Changes) -> None:
    told = await one(changes, happened("IntegrationSystemsChanged", None, integration_system="s"))
    assert knows(told, *PEOPLE, *APPLICATIONS, *RUNTIMES) == [True, True, True, False, False, False, False]
    assert knows(told, caller(Consumer.STATIC_USER, "me", "application:read")) == [False]
    assert json.loads(told.data)["tenant"] is None


async def test_of_a_delivery_its_tenant_and_the_application_of_the_webhook_are_told(
    changes: Changes, database: Database
) -> None:
    hook = "00000000-0000-4000-b000-000000000001"
    async with database.transaction() as tx:
        await tx.run(
            "-- test\nINSERT INTO webhook (id, application_id, type, url, signing_secret_sealed) "
            "VALUES (%(id)s, %(application)s, 'CONFIGURATION_CHANGED', 'https://one.example/', '')",
            id=hook,
            application=APPLICATION,
        )
    told = await one(changes, happened("DeliveryChanged", delivery=OTHER, receiver=hook, state="DEAD"))

    # Who merely sees the application does not see what it was told.
    assert knows(told, *PEOPLE, *APPLICATIONS, *RUNTIMES) == [True, False, False, True, False, False, False]
    assert knows(told, caller(Consumer.STATIC_USER, "me", "application:read")) == [False]
    assert json.loads(told.data)["subjects"] == {"delivery": OTHER, "receiver": hook, "state": "DEAD"}


async def test_an_event_of_a_newer_release_is_told_to_nobody(changes: Changes) -> None:
    later = happened("ApplicationLabelled", application=APPLICATION)
    assert [told.name for told in await changes.address([happened("FromTheFuture"), later])] == ["ApplicationLabelled"]
    assert await changes.address([happened("FromTheFuture")]) == []


async def test_whoever_is_no_program_of_the_tenant_is_told_by_tenant_and_scopes(changes: Changes) -> None:
    told = await one(changes, happened("ApplicationLabelled", application=APPLICATION))

    kinds = (Consumer.SUPER_ADMIN, Consumer.EXTERNAL_CERTIFICATE)
    assert knows(told, *(caller(kind, "x") for kind in kinds)) == [True, True]
    assert knows(told, *(caller(kind, "x", tenant=FOREIGN) for kind in kinds)) == [False, False]
    assert knows(told, caller(Consumer.TECHNICAL_CLIENT, "x")) == [False]


def test_who_asks_for_nothing_it_may_know_is_refused() -> None:
    with pytest.raises(TenantRequired):
        change.follower(caller(Consumer.STATIC_USER, tenant=None))
    with pytest.raises(InsufficientScopes):
        change.follower(caller(Consumer.RUNTIME, RUNTIME, "application:read"))
    with pytest.raises(InsufficientScopes):
        change.follower(caller(Consumer.APPLICATION, APPLICATION, "webhook:write"))
