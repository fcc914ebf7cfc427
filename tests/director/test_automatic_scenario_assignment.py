"""Subaccounts in groups: what they own is in the group because of them."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from compass.director import runtime as director_runtime
from compass.director import tenant
from compass.director.runtime import NewRuntime
from tests.director.catalogue import named
from tests.director.groups import (
    ASSIGN,
    CREATE_FORMATION,
    DELETE_FORMATION,
    REGISTER_RUNTIME,
    UNASSIGN,
    Announced,
    application,
    assign,
    deliveries,
    group,
    relayed,
    runtime,
    states,
    unassign,
    webhook,
)

NOBODY = "8fd7f7f4-3d6c-4a9a-8f3c-000000000000"
URL = "https://receiver.example"
REGISTER_CONTEXT = """
mutation ($id: ID!, $value: String!) {
  result: registerRuntimeContext(runtimeID: $id, in: {key: "tenant", value: $value}) { id }
}
"""
NEVER = {
    "constraintType": "PRE",
    "targetOperation": "ASSIGN_FORMATION",
    "operator": "ContainsScenarioGroups",
    "resourceSubtype": "ANY",
    "inputTemplate": '{"required_scenario_groups": ["none has it"]}',
    "constraintScope": "GLOBAL",
}
"""What no object ever satisfies."""
ALL = "{ automaticScenarioAssignments { data { scenarioName selector { key value } } totalCount } }"
OF_SCENARIO = """
query ($name: String!) {
  automaticScenarioAssignmentForScenario(scenarioName: $name) { scenarioName selector { key value } }
}
"""
OF_SELECTOR = """
query ($selector: LabelSelectorInput!) {
  automaticScenarioAssignmentsForSelector(selector: $selector) { scenarioName selector { key value } }
}
"""
EFFECTS = """
query ($name: String!, $selector: LabelSelectorInput!, $change: AutomaticScenarioAssignmentChange = ASSIGN) {
  result: automaticScenarioAssignmentEffects(scenarioName: $name, selector: $selector, change: $change) {
    totalCount
    data { objectID objectType name }
  }
}
"""


async def subaccount(director: Any, external_id: str, parent: str = "tenant-mine") -> Any:
    """Who acts in a new subaccount."""
    async with director.database.transaction() as tx:
        new = tenant.NewTenant(external_id, external_id, "subaccount", "test", parents=[parent])
        written = await tenant.write(tx, new)
    return replace(director.caller, tenant=written, external_tenant=external_id)


async def assign_subaccount(director: Any, name: str, external_id: str, **more: Any) -> Any:
    return (await director.data(ASSIGN, id=external_id, type="TENANT", group=name, **more))["result"]


async def unassign_subaccount(director: Any, name: str, external_id: str) -> Any:
    return (await director.data(UNASSIGN, id=external_id, type="TENANT", group=name))["result"]


async def context(director: Any, runtime_id: str, value: str = "one") -> str:
    return str((await director.data(REGISTER_CONTEXT, id=runtime_id, value=value))["result"]["id"])


async def members(director: Any, name: str) -> set[str]:
    async with director.database.transaction() as tx:
        found = await tx.rows(
            "-- test.members\nSELECT participant FROM formation_member_v1 JOIN formation ON formation.id = formation_id"
            " WHERE name = %(name)s",
            name=name,
        )
    return {row["participant"] for row in found}


async def pairs(director: Any, name: str) -> int:
    async with director.database.transaction() as tx:
        found = await tx.value(
            "-- test.pairs\nSELECT count(*) FROM formation_assignment JOIN formation ON formation.id = formation_id"
            " WHERE name = %(name)s",
            name=name,
        )
    return int(found)


async def scenarios(director: Any, runtime_id: str) -> Any:
    data = await director.data('query ($id: ID!) { runtime(id: $id) { labels(key: "scenarios") } }', id=runtime_id)
    return data["runtime"]["labels"].get("scenarios")


async def facts(director: Any, event: str) -> list[dict[str, Any]]:
    async with director.database.transaction() as tx:
        found = await tx.rows(
            "-- test.facts\nSELECT tenant_id, facts FROM outbox_event WHERE name = %(event)s ORDER BY id", event=event
        )
    return [{"tenant": row["tenant_id"], **row["facts"]} for row in found]


async def template(director: Any, name: str, runtime_types: list[str]) -> None:
    async with director.database.transaction() as tx:
        await tx.run(
            "-- test.template\nINSERT INTO formation_template (name, application_types, runtime_types)"
            " VALUES (%(name)s, '{ANY}', %(types)s)",
            name=name,
            types=runtime_types,
        )


# Joining


async def test_a_subaccount_brings_the_runtimes_that_it_owns(director: Any, announced: Announced) -> None:
    child = await subaccount(director, "sub")
    below = await subaccount(director, "below", parent="sub")
    first, second = await runtime(director, "one", caller=child), await runtime(director, "two", caller=below)
    above = await runtime(director, "above")
    app = await application(director, "app")
    formation = await group(director, "g", applications=[app])

    answer = await assign_subaccount(director, "g", "sub")

    assert answer == {"id": formation, "name": "g", "state": "READY"}
    assert await members(director, "g") == {app, first, second}
    assert {(source, target) for source, target, _ in await states(director, "g")} == {
        (a, b) for a in (app, first, second) for b in (app, first, second) if a != b
    }
    assert [await scenarios(director, id_) for id_ in (first, second, above)] == [["g"], ["g"], None]
    joined = await facts(director, "FormationAssigned")
    assert joined[0]["participant"] == app
    assert joined[1:] == [
        {
            "tenant": director.caller.tenant,
            "formation": formation,
            "participant": id_,
            "type": "RUNTIME",
            "paired": [],
        }
        for id_ in sorted([first, second])
    ]
    assert (await announced())[-2:] == ["FormationAssigned", "FormationAssigned"]
    # Its events go to the oldest that shares a group with it, as after an assignment by hand.
    assert await default_of(director, app) == first


async def default_of(director: Any, app: str) -> str | None:
    async with director.database.transaction() as tx:
        found = await tx.value(
            "-- test.default\nSELECT runtime_id FROM runtime_label WHERE key = %(key)s", key=f"{app}_defaultEventing"
        )
    return None if found is None else str(found)


async def test_the_callers_own_tenant_can_be_part_of_a_group(director: Any) -> None:
    cluster = await runtime(director, "one")
    await group(director, "g")

    await assign_subaccount(director, "g", "tenant-mine")

    assert await members(director, "g") == {cluster}


async def test_only_runtimes_that_the_template_admits_join(director: Any) -> None:
    child = await subaccount(director, "sub")
    await template(director, "kyma only", ["kyma"])
    await template(director, "applications only", [])
    for name in ("kyma only", "applications only"):
        await director.data(CREATE_FORMATION, **{"in": {"name": name, "templateName": name}})
    kyma, other = await runtime(director, "one", caller=child), await runtime(director, "two", caller=child)
    await runtime(director, "three", caller=child)
    async with director.database.transaction() as tx:
        for id_, kind in ((kyma, "kyma"), (other, "other")):
            await tx.run(
                "-- test.type\nINSERT INTO runtime_label (runtime_id, key, value)"
                " VALUES (%(id)s, 'runtimeType', %(kind)s)",
                id=id_,
                kind=kind,
            )

    shown = [await effects(director, name, "sub") for name in ("kyma only", "applications only")]
    await assign_subaccount(director, "kyma only", "sub")
    await assign_subaccount(director, "applications only", "sub")
    await runtime(director, "four", caller=child)

    assert await members(director, "kyma only") == {kyma}
    assert await members(director, "applications only") == set()
    assert shown == [[("RUNTIME", "one", kyma)], []]


async def test_a_group_has_one_subaccount_at_most(director: Any) -> None:
    child = await subaccount(director, "sub")
    await subaccount(director, "other-sub")
    await runtime(director, "one", caller=child)
    await group(director, "g")
    await assign_subaccount(director, "g", "sub")

    for id_ in ("sub", "other-sub"):
        error = await director.refusal(ASSIGN, id=id_, type="TENANT", group="g")
        assert error["message"] == "The operation is not allowed [reason=a given scenario already has an assignment]"
        assert error["extensions"]["error_code"] == 27


async def test_a_subaccount_may_be_part_of_several_groups(director: Any) -> None:
    child = await subaccount(director, "sub")
    before = await runtime(director, "before", caller=child)
    await group(director, "b")
    await group(director, "a")
    await assign_subaccount(director, "b", "sub")
    await assign_subaccount(director, "a", "sub")

    after = await runtime(director, "after", caller=child)

    for id_ in (before, after):
        assert await scenarios(director, id_) == ["a", "b"]


async def test_a_tenant_that_is_not_the_callers_is_not_there(director: Any) -> None:
    child = await subaccount(director, "sub")
    await subaccount(director, "theirs", parent="tenant-other")
    await subaccount(director, "gone")
    async with director.database.transaction() as tx:
        await tx.run("-- test.inactive\nUPDATE tenant SET status = 'Inactive' WHERE external_id = 'gone'")
    await group(director, "g")
    await director.data(CREATE_FORMATION, caller=child, **{"in": {"name": "below"}})

    for id_ in ("theirs", "tenant-other", "gone", "nobody", "", str(director.caller.tenant)):
        error = await director.refusal(ASSIGN, id=id_, type="TENANT", group="g")
        assert error["message"] == "Object not found [object=tenant]"
    above = await director.refusal(ASSIGN, caller=child, id="tenant-mine", type="TENANT", group="below")
    assert above["message"] == "Object not found [object=tenant]"
    for name in ("nope", "below"):
        error = await director.refusal(ASSIGN, id="sub", type="TENANT", group=name)
        assert error["message"] == "Object not found [object=formations]"


async def test_a_subaccount_is_configured_with_nothing(director: Any) -> None:
    await subaccount(director, "sub")
    await group(director, "g")

    given = [{"sourceID": NOBODY, "targetID": NOBODY, "configuration": "{}"}]
    error = await director.refusal(ASSIGN, id="sub", type="TENANT", group="g", initial=given)

    assert error["message"] == (
        "Invalid data [reason=an initial configuration is between two participants, and a subaccount is none]"
    )


async def test_in_a_draft_nobody_is_told_of_those_that_a_subaccount_brings(director: Any) -> None:
    child = await subaccount(director, "sub")
    app = await application(director, "app")
    await webhook(director, URL, application=app)
    await director.data(CREATE_FORMATION, **{"in": {"name": "g", "state": "DRAFT"}})
    await assign(director, "g", application=app)
    before = await runtime(director, "before", caller=child)

    await assign_subaccount(director, "g", "sub")
    after = await runtime(director, "after", caller=child)

    assert await members(director, "g") == {app, before, after}
    assert {state for _, _, state in await states(director, "g")} == {"INITIAL"}
    assert [entry["paired"] for entry in await facts(director, "FormationAssigned")] == [[], [], []]


async def test_a_subaccount_joins_no_group_that_is_to_go(director: Any) -> None:
    child = await subaccount(director, "sub")
    await runtime(director, "one", caller=child)
    formation = await group(director, "g")
    async with director.database.transaction() as tx:
        await tx.run("-- test.going\nUPDATE formation SET state = 'DELETE_ERROR'")

    error = await director.refusal(ASSIGN, id="sub", type="TENANT", group="g")

    assert f'cannot assign to formation with ID "{formation}", because it is in state DELETE_ERROR' in error["message"]


@pytest.mark.parametrize("resource", ["TENANT", "RUNTIME"])
async def test_a_constraint_holds_for_the_subaccount_and_for_what_it_brings(director: Any, resource: str) -> None:
    child = await subaccount(director, "sub")
    await group(director, "g")
    await director.data(
        "mutation ($in: FormationConstraintInput!) { createFormationConstraint(formationConstraint: $in) { id } }",
        **{"in": NEVER | {"name": f"no {resource}", "resourceType": resource}},
    )

    if resource == "RUNTIME":
        await assign_subaccount(director, "g", "sub")
        own = await director.refusal(REGISTER_RUNTIME, caller=child, **{"in": {"name": "one"}})
        await runtime(director, "above")
        await unassign_subaccount(director, "g", "sub")
        await runtime(director, "one", caller=child)
    else:
        own = await director.refusal(ASSIGN, id="sub", type="TENANT", group="g")
    refused = await director.refusal(ASSIGN, id="sub", type="TENANT", group="g")

    for error in (own, refused):
        assert f'Formation constraint "no {resource}" is not satisfied' in error["message"]
    assert await members(director, "g") == set()


# What is registered later


@pytest.mark.parametrize("how", ["in the subaccount", "moved there", "below it", "by the provisioner"])
async def test_a_runtime_that_is_registered_in_the_subaccount_joins(director: Any, how: str) -> None:
    child = await subaccount(director, "sub")
    below = await subaccount(director, "below", parent="sub")
    formation = await group(director, "g")
    await assign_subaccount(director, "g", "sub")

    match how:
        case "in the subaccount":
            cluster = await runtime(director, "one", caller=child)
        case "moved there":
            cluster = await runtime(director, "one", labels={"global_subaccount_id": "sub"})
        case "below it":
            cluster = await runtime(director, "one", caller=below)
        case _:
            async with director.database.transaction() as tx:
                cluster = await director_runtime.register(tx, child, NewRuntime("one"))

    assert await members(director, "g") == {cluster}
    assert await scenarios(director, cluster) == ["g"]
    assert await facts(director, "FormationAssigned") == [
        {
            "tenant": director.caller.tenant,
            "formation": formation,
            "participant": cluster,
            "type": "RUNTIME",
            "paired": [],
        }
    ]


async def test_a_runtime_beside_or_above_the_subaccount_does_not_join(director: Any) -> None:
    await subaccount(director, "sub")
    beside = await subaccount(director, "beside")
    await group(director, "g")
    await assign_subaccount(director, "g", "sub")

    await runtime(director, "above")
    await runtime(director, "beside", caller=beside)
    await runtime(director, "theirs", caller=director.other)

    assert await members(director, "g") == set()


async def test_a_subaccounts_own_groups_and_those_above_it_are_both_followed(director: Any) -> None:
    child = await subaccount(director, "sub")
    await director.data(CREATE_FORMATION, caller=child, **{"in": {"name": "own"}})
    await group(director, "above")
    await assign_subaccount(director, "above", "sub")
    await director.data(ASSIGN, caller=child, id="sub", type="TENANT", group="own")

    cluster = await runtime(director, "one", caller=child)

    assert await scenarios(director, cluster) == ["above", "own"]
    assert {entry["tenant"] for entry in await facts(director, "FormationAssigned")} == {
        director.caller.tenant,
        child.tenant,
    }


async def test_whoever_joins_with_a_subaccount_is_told_of_as_if_assigned_by_hand(director: Any) -> None:
    child = await subaccount(director, "sub")
    app = await application(director, "app")
    hook = (await webhook(director, URL, application=app))["id"]
    await group(director, "g", applications=[app])
    by_hand, owned = await runtime(director, "hand"), await runtime(director, "owned", caller=child)
    own_hook = {"type": "CONFIGURATION_CHANGED", "url": URL}

    await assign(director, "g", runtime=by_hand)
    await assign_subaccount(director, "g", "sub")
    later = await runtime(director, "later", caller=child, webhooks=[own_hook])
    await relayed(director)

    told = [entry for entry in await deliveries(director, webhook=hook) if entry["webhookID"] == hook]
    assert {(entry["operation"], entry["applicationID"], entry["runtimeID"]) for entry in told} == {
        ("assign", app, id_) for id_ in (by_hand, owned, later)
    }
    assert len(told) == 3
    waiting = {(source, target) for source, target, state in await states(director, "g") if state == "INITIAL"}
    assert waiting == {(by_hand, app), (owned, app), (later, app), (app, later)}

    await unassign(director, "g", runtime=by_hand)
    await unassign_subaccount(director, "g", "sub")
    await relayed(director)

    told = [entry for entry in await deliveries(director, webhook=hook) if entry["operation"] == "unassign"]
    assert {entry["runtimeID"] for entry in told} == {by_hand, owned, later}


# Leaving


async def test_whoever_is_in_a_group_because_of_a_subaccount_is_left_alone(director: Any, announced: Announced) -> None:
    child = await subaccount(director, "sub")
    cluster = await runtime(director, "one", caller=child)
    formation = await group(director, "g")
    await assign_subaccount(director, "g", "sub")
    before = (await director.state(), await announced())

    assert await unassign(director, "g", runtime=cluster) == {"id": formation, "name": "g", "state": "READY"}

    assert (await director.state(), await announced()) == before
    assert await members(director, "g") == {cluster}


async def test_a_subaccount_takes_along_those_that_it_brought(director: Any) -> None:
    child = await subaccount(director, "sub")
    before = await runtime(director, "before", caller=child)
    app, by_hand = await application(director, "app"), await runtime(director, "hand", caller=child)
    formation = await group(director, "g", applications=[app], runtimes=[by_hand])
    await assign_subaccount(director, "g", "sub")
    after = await runtime(director, "after", caller=child)
    other = await group(director, "other", runtimes=[before])

    answer = await unassign_subaccount(director, "g", "sub")

    assert answer == {"id": formation, "name": "g", "state": "READY"}
    assert await members(director, "g") == {app, by_hand}
    assert {(source, target) for source, target, _ in await states(director, "g")} == {(app, by_hand), (by_hand, app)}
    assert [await scenarios(director, id_) for id_ in (before, after, by_hand)] == [["other"], None, ["g"]]
    assert await facts(director, "FormationUnassigned") == [
        {
            "tenant": director.caller.tenant,
            "formation": formation,
            "name": "g",
            "participant": id_,
            "type": "RUNTIME",
            "parted": [],
        }
        for id_ in sorted([before, after])
    ]
    assert (await director.data(ALL))["automaticScenarioAssignments"] == {"data": [], "totalCount": 0}
    assert await members(director, "other") == {before}, other
    await runtime(director, "last", caller=child)
    assert await members(director, "g") == {app, by_hand}


async def test_whoever_is_assigned_by_hand_as_well_stays_without_the_subaccount(director: Any) -> None:
    child = await subaccount(director, "sub")
    cluster = await runtime(director, "one", caller=child)
    await group(director, "g")
    await assign_subaccount(director, "g", "sub")

    await assign(director, "g", runtime=cluster)
    await unassign_subaccount(director, "g", "sub")

    assert await members(director, "g") == {cluster}
    await unassign(director, "g", runtime=cluster)
    assert await members(director, "g") == set()


async def test_whoever_is_not_assigned_by_hand_any_more_goes_with_the_subaccount(director: Any) -> None:
    child = await subaccount(director, "sub")
    cluster = await runtime(director, "one", caller=child)
    await group(director, "g", runtimes=[cluster])
    await assign_subaccount(director, "g", "sub")

    await unassign(director, "g", runtime=cluster)
    assert await members(director, "g") == {cluster}
    await unassign_subaccount(director, "g", "sub")

    assert await members(director, "g") == set()


async def test_a_subaccount_that_is_no_part_of_a_group_cannot_leave_it(director: Any) -> None:
    await subaccount(director, "sub")
    await subaccount(director, "other-sub")
    await group(director, "g")
    await assign_subaccount(director, "g", "sub")

    for id_ in ("other-sub", "nobody", str(director.caller.tenant)):
        error = await director.refusal(UNASSIGN, id=id_, type="TENANT", group="g")
        assert error["message"] == "Object not found [object=automaticScenarioAssigment]"
    await unassign_subaccount(director, "g", "sub")
    error = await director.refusal(UNASSIGN, id="sub", type="TENANT", group="g")
    assert error["extensions"]["error_code"] == 20


async def test_a_subaccount_that_moved_away_can_still_leave(director: Any) -> None:
    child = await subaccount(director, "sub")
    cluster = await runtime(director, "one", caller=child)
    formation = await group(director, "g")
    await assign_subaccount(director, "g", "sub")
    await subaccount(director, "sub", parent="tenant-other")

    caller = replace(director.other, scopes=director.other.scopes | {"formation:global_write"})
    text = """mutation ($id: ID!, $formation: ID!) {
      unassignFormationGlobal(objectID: $id, objectType: TENANT, formation: $formation) { id }
    }"""
    await director.data(text, caller=caller, id="sub", formation=formation)

    assert await members(director, "g") == set()
    data = await director.data("query ($id: ID!) { runtime(id: $id) { labels } }", caller=child, id=cluster)
    assert "scenarios" not in data["runtime"]["labels"]


async def test_a_group_that_a_subaccount_is_part_of_is_not_deleted(director: Any) -> None:
    child = await subaccount(director, "sub")
    formation = await group(director, "g")
    await assign_subaccount(director, "g", "sub")
    sentence = f'cannot delete formation with ID "{formation}", because there is still a subaccount part of it'

    empty = await director.refusal(DELETE_FORMATION, **{"in": {"name": "g"}})
    await runtime(director, "one", caller=child)
    filled = await director.refusal(DELETE_FORMATION, **{"in": {"name": "g"}})
    await unassign_subaccount(director, "g", "sub")
    deleted = await director.data(DELETE_FORMATION, **{"in": {"name": "g"}})

    for error in (empty, filled):
        assert sentence in error["message"]
        assert error["extensions"]["error_code"] == 10
    assert deleted["result"] == {"id": formation, "name": "g"}


async def test_an_unregistered_runtime_is_gone_from_the_groups_of_its_subaccount(director: Any) -> None:
    child = await subaccount(director, "sub")
    cluster, other = await runtime(director, "one", caller=child), await runtime(director, "two", caller=child)
    await group(director, "g")
    await assign_subaccount(director, "g", "sub")

    await director.data("mutation ($id: ID!) { unregisterRuntime(id: $id) { id } }", id=cluster)

    assert await members(director, "g") == {other}
    await unassign_subaccount(director, "g", "sub")
    assert await members(director, "g") == set()


async def test_a_deleted_subaccount_is_no_part_of_a_group_and_who_stays_can_leave_by_hand(director: Any) -> None:
    await subaccount(director, "sub")
    await group(director, "g")
    shared = await runtime(director, "shared")
    async with director.database.transaction() as tx:
        await tx.run(
            "-- test.grant\nINSERT INTO runtime_tenant (tenant_id, runtime_id, owner, granted)"
            " SELECT id, %(runtime)s, true, true FROM tenant WHERE external_id = 'sub'",
            runtime=shared,
        )
    await assign_subaccount(director, "g", "sub")
    assert await members(director, "g") == {shared}

    await director.data('mutation { deleteTenants(in: ["sub"]) }')

    assert (await director.data(ALL))["automaticScenarioAssignments"]["totalCount"] == 0
    assert await members(director, "g") == {shared}
    await unassign(director, "g", runtime=shared)
    await director.data(DELETE_FORMATION, **{"in": {"name": "g"}})


async def test_what_the_subaccount_lost_can_leave_by_hand(director: Any) -> None:
    child = await subaccount(director, "sub")
    await template(director, "kyma only", ["ANY"])
    await director.data(CREATE_FORMATION, **{"in": {"name": "g", "templateName": "kyma only"}})
    cluster = await runtime(director, "one", caller=child)
    await assign_subaccount(director, "g", "sub")
    async with director.database.transaction() as tx:
        await tx.run("-- test.types\nUPDATE formation_template SET runtime_types = '{kyma}' WHERE name = 'kyma only'")

    await unassign(director, "g", runtime=cluster)

    assert await members(director, "g") == set()


# Contexts


async def test_the_contexts_of_a_runtime_join_in_its_place(director: Any) -> None:
    child = await subaccount(director, "sub")
    plain, shared = await runtime(director, "plain", caller=child), await runtime(director, "shared", caller=child)
    contexts = {await context(director, shared, value) for value in ("one", "two")}
    await group(director, "g")

    await assign_subaccount(director, "g", "sub")

    assert await members(director, "g") == {plain, *contexts}
    assert {(entry["participant"], entry["type"]) for entry in await facts(director, "FormationAssigned")} == {
        (plain, "RUNTIME"),
        *((id_, "RUNTIME_CONTEXT") for id_ in contexts),
    }
    await unassign_subaccount(director, "g", "sub")
    assert await members(director, "g") == set()


async def test_a_new_context_takes_the_place_of_its_runtime(director: Any, announced: Announced) -> None:
    child = await subaccount(director, "sub")
    app, cluster = await application(director, "app"), await runtime(director, "one", caller=child)
    await group(director, "g", applications=[app])
    await group(director, "by hand", runtimes=[cluster])
    await assign_subaccount(director, "g", "sub")
    assert await default_of(director, app) == cluster
    seen = len(await announced())

    first = await context(director, cluster)

    assert (await announced())[seen:] == ["RuntimeContextRegistered", "FormationUnassigned", "FormationAssigned"]
    assert await members(director, "g") == {app, first}
    assert await members(director, "by hand") == {cluster}
    assert await scenarios(director, cluster) == ["by hand"]
    assert await default_of(director, app) is None
    second = await context(director, cluster, "two")
    assert await members(director, "g") == {app, first, second}
    await director.data(UNASSIGN, id=first, type="RUNTIME_CONTEXT", group="g")
    assert await members(director, "g") == {app, first, second}
    await unassign_subaccount(director, "g", "sub")
    assert await members(director, "g") == {app}


async def test_a_runtime_with_contexts_is_assigned_and_unassigned_by_hand(director: Any) -> None:
    child = await subaccount(director, "sub")
    cluster = await runtime(director, "one", caller=child)
    inside = await context(director, cluster)
    await group(director, "g")
    await assign_subaccount(director, "g", "sub")

    await assign(director, "g", runtime=cluster)
    assert await members(director, "g") == {cluster, inside}
    await unassign(director, "g", runtime=cluster)

    assert await members(director, "g") == {inside}


async def test_a_context_of_a_runtime_in_no_subaccount_of_a_group_joins_none(director: Any) -> None:
    await subaccount(director, "sub")
    await group(director, "g")
    await assign_subaccount(director, "g", "sub")

    await context(director, await runtime(director, "above"))

    assert await members(director, "g") == set()
    assert await facts(director, "FormationAssigned") == []


# Asking


async def test_a_tenants_automatic_assignments_can_be_asked_for(director: Any) -> None:
    await subaccount(director, "sub")
    await subaccount(director, "other-sub")
    for name, external_id in (("a", "sub"), ("b", "sub"), ("c", "other-sub")):
        await group(director, name)
        await assign_subaccount(director, name, external_id)

    def shown(name: str, value: str) -> dict[str, Any]:
        return {"scenarioName": name, "selector": {"key": "global_subaccount_id", "value": value}}

    page = (await director.data(ALL))["automaticScenarioAssignments"]
    assert page["totalCount"] == 3
    assert sorted(page["data"], key=lambda entry: entry["scenarioName"]) == [
        shown("a", "sub"),
        shown("b", "sub"),
        shown("c", "other-sub"),
    ]
    assert (await director.data(OF_SCENARIO, name="c"))["automaticScenarioAssignmentForScenario"] == shown(
        "c", "other-sub"
    )
    selector = {"key": "global_subaccount_id", "value": "sub"}
    found = (await director.data(OF_SELECTOR, selector=selector))["automaticScenarioAssignmentsForSelector"]
    assert sorted(found, key=lambda entry: entry["scenarioName"]) == [shown("a", "sub"), shown("b", "sub")]
    paged = """query ($after: PageCursor) {
      automaticScenarioAssignments(first: 2, after: $after) { data { scenarioName } pageInfo { endCursor } }
    }"""
    first = await director.data(paged)
    rest = await director.data(paged, after=first["automaticScenarioAssignments"]["pageInfo"]["endCursor"])
    names = [
        entry["scenarioName"] for answer in (first, rest) for entry in answer["automaticScenarioAssignments"]["data"]
    ]
    assert sorted(names) == ["a", "b", "c"]


async def test_automatic_assignments_of_another_tenant_are_not_there(director: Any) -> None:
    child = await subaccount(director, "sub")
    await group(director, "g")
    await assign_subaccount(director, "g", "sub")
    selector = {"key": "global_subaccount_id", "value": "sub"}

    for caller in (director.other, child):
        assert (await director.data(ALL, caller=caller))["automaticScenarioAssignments"]["totalCount"] == 0
        found = await director.data(OF_SELECTOR, caller=caller, selector=selector)
        assert found == {"automaticScenarioAssignmentsForSelector": []}
        error = await director.refusal(OF_SCENARIO, caller=caller, name="g")
        assert error["message"] == "Object not found [object=automaticScenarioAssigment]"
        assert error["extensions"]["error_code"] == 20


async def test_a_scenario_without_a_subaccount_has_no_automatic_assignment(director: Any) -> None:
    await group(director, "g")

    for name in ("g", "nope"):
        error = await director.refusal(OF_SCENARIO, name=name)
        assert error["message"] == "Object not found [object=automaticScenarioAssigment]"


@pytest.mark.parametrize(
    ("selector", "told"),
    [
        ({"key": "region", "value": "sub"}, "key=must be a valid value"),
        ({"key": "", "value": "sub"}, "key=cannot be blank"),
        ({"key": "global_subaccount_id", "value": " "}, "value=cannot be blank"),
        ({"key": "region", "value": ""}, "key=must be a valid value; value=cannot be blank"),
    ],
)
async def test_only_subaccounts_can_be_selected(director: Any, selector: dict[str, str], told: str) -> None:
    error = await director.refusal(OF_SELECTOR, selector=selector)

    assert error["message"] == f"Invalid data LabelSelectorInput [{told}]"
    assert error["extensions"]["error_code"] == 22


@pytest.mark.parametrize(
    ("text", "given"),
    [
        (ALL, {}),
        (OF_SCENARIO, {"name": "g"}),
        (OF_SELECTOR, {"selector": {"key": "global_subaccount_id", "value": "sub"}}),
    ],
)
async def test_automatic_assignments_need_their_scope_and_a_tenant(director: Any, text: str, given: Any) -> None:
    needed = "automatic_scenario_assignment:read"
    poor = replace(director.caller, scopes=director.caller.scopes - {needed})
    nowhere = replace(director.caller, tenant=None, external_tenant=None)

    lacking = await director.refusal(text, caller=poor, **given)
    assert lacking["extensions"]["error_code"] == 23
    assert f"required={needed}" in lacking["message"]
    assert (await director.refusal(text, caller=nowhere, **given))["extensions"]["error_code"] == 24


# At once


async def test_runtimes_that_are_registered_while_their_subaccount_joins_are_all_in(director: Any) -> None:
    child = await subaccount(director, "sub")
    app = await application(director, "app")

    for round_ in range(4):
        name = f"g{round_}"
        await group(director, name, applications=[app])
        answers = await asyncio.gather(
            *(runtime(director, f"r-{round_}-{number}", caller=child) for number in range(5)),
            assign_subaccount(director, name, "sub"),
            *(runtime(director, f"s-{round_}-{number}", caller=child) for number in range(5)),
        )
        assert len(answers) == 11

        everyone = {app} | await owned(director)
        assert await members(director, name) == everyone
        assert await pairs(director, name) == len(everyone) ** 2


async def owned(director: Any) -> set[str]:
    data = await director.data("{ runtimes { data { id } } }")
    return {entry["id"] for entry in data["runtimes"]["data"]}


async def test_contexts_that_are_registered_while_their_subaccount_joins_are_in_without_their_runtime(
    director: Any,
) -> None:
    child = await subaccount(director, "sub")

    for round_ in range(4):
        name = f"g{round_}"
        await group(director, name)
        clusters = [await runtime(director, f"r-{round_}-{number}", caller=child) for number in range(4)]
        *contexts, _ = await asyncio.gather(
            *(context(director, cluster) for cluster in clusters), assign_subaccount(director, name, "sub")
        )

        found = await members(director, name)
        assert found.issuperset(contexts)
        assert not found.intersection(clusters)


async def test_of_two_subaccounts_that_join_at_once_one_is_refused(director: Any) -> None:
    for number in range(4):
        child = await subaccount(director, f"sub-{number}")
        await runtime(director, f"r-{number}", caller=child)
    await group(director, "g")

    answers = await asyncio.gather(
        *(director(ASSIGN, id=f"sub-{number}", type="TENANT", group="g") for number in range(4))
    )

    refused = [answer["errors"][0]["extensions"]["error_code"] for answer in answers if "errors" in answer]
    assert refused == [27, 27, 27]
    assert len(await members(director, "g")) == 1


async def test_runtimes_that_are_registered_while_their_subaccount_leaves_are_not_left_behind(director: Any) -> None:
    child = await subaccount(director, "sub")

    for round_ in range(4):
        name = f"g{round_}"
        await group(director, name)
        await runtime(director, f"first-{round_}", caller=child)
        await assign_subaccount(director, name, "sub")
        await asyncio.gather(
            *(runtime(director, f"r-{round_}-{number}", caller=child) for number in range(5)),
            unassign_subaccount(director, name, "sub"),
        )

        assert await members(director, name) == set()
        await director.data(DELETE_FORMATION, **{"in": {"name": name}})


async def test_applications_that_join_while_a_subaccount_does_are_paired_with_what_it_brings(director: Any) -> None:
    child = await subaccount(director, "sub")
    clusters = {await runtime(director, f"r-{number}", caller=child) for number in range(5)}
    apps = {await application(director, f"app-{number}") for number in range(5)}
    await group(director, "g")

    await asyncio.gather(
        *(assign(director, "g", application=id_) for id_ in apps), assign_subaccount(director, "g", "sub")
    )

    assert await members(director, "g") == apps | clusters
    assert await pairs(director, "g") == 100


async def test_a_runtime_that_is_unregistered_while_its_subaccount_joins_leaves_no_pair_behind(director: Any) -> None:
    child = await subaccount(director, "sub")

    for round_ in range(6):
        name = f"g{round_}"
        stays, goes = [await runtime(director, f"r-{number}", caller=child) for number in range(2)]
        await group(director, name)
        unregister = "mutation ($id: ID!) { unregisterRuntime(id: $id) { id } }"
        await asyncio.gather(assign_subaccount(director, name, "sub"), director.data(unregister, id=goes))

        assert await members(director, name) == {stays}
        assert await pairs(director, name) == 1
        await director.data(unregister, id=stays)


# What it costs


@pytest.mark.parametrize("size", [1, 30])
async def test_the_number_of_statements_does_not_grow_with_the_subaccount(
    director: Any, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = await subaccount(director, "sub")
    for number in range(size):
        await runtime(director, f"r-{number}", caller=child)
        await context(director, await runtime(director, f"c-{number}", caller=child))
    await group(director, "g", applications=[await application(director, "app")])
    counted = named(monkeypatch)

    await assign_subaccount(director, "g", "sub")
    assigning = [*counted]
    counted.clear()
    await unassign_subaccount(director, "g", "sub")

    assert assigning[:-1] == [
        "-- automatic_scenario_assignment.lock_subaccount",
        "-- formation.lock",
        "-- formation_constraint.of_members",
        "-- automatic_scenario_assignment.create",
        "-- automatic_scenario_assignment.lock_covered",
        "-- membership.lock_participants",
        "-- formation_constraint.of_members",
        "-- formation_assignment.join",
        "-- membership.label_runtimes",
        "-- membership.label_runtime_contexts",
        "-- eventing.drop",
        "-- eventing.choose",
        "-- formation_constraint.of_members",
        "-- outbox.append_all",
        "-- formation_constraint.of_members",
    ]
    assert counted[:-1] == [
        "-- formation.lock",
        "-- automatic_scenario_assignment.find",
        "-- formation_constraint.of_members",
        "-- automatic_scenario_assignment.lock_caused",
        "-- membership.lock_participants",
        "-- formation_constraint.of_members",
        "-- formation_assignment.leave",
        "-- membership.label_runtimes",
        "-- membership.label_runtime_contexts",
        "-- eventing.drop",
        "-- eventing.choose",
        "-- formation_constraint.of_members",
        "-- outbox.append_all",
        "-- automatic_scenario_assignment.delete",
        "-- formation_constraint.of_members",
    ]


# Looked at before


def selecting(value: str, key: str = "global_subaccount_id") -> dict[str, str]:
    return {"key": key, "value": value}


async def effects(director: Any, name: str, external_id: str, change: str = "ASSIGN") -> list[tuple[str, str, str]]:
    result = (await director.data(EFFECTS, name=name, selector=selecting(external_id), change=change))["result"]
    assert result["totalCount"] == len(result["data"])
    return [(one["objectType"], one["name"], one["objectID"]) for one in result["data"]]


async def test_what_a_preview_shows_is_what_happens(director: Any, announced: Announced) -> None:
    child = await subaccount(director, "sub")
    below = await subaccount(director, "below", parent="sub")
    first, inside = await runtime(director, "one", caller=child), await runtime(director, "two", caller=below)
    tenants = await runtime(director, "with-tenants", caller=child)
    of_one, of_two = await context(director, tenants, "t1"), await context(director, tenants, "t2")
    by_hand = await runtime(director, "by-hand", caller=child)
    await runtime(director, "above")
    app = await application(director, "app")
    await group(director, "g", applications=[app], runtimes=[by_hand])
    quiet, before = await announced(), await members(director, "g")

    joining = await effects(director, "g", "sub")
    assert (await announced(), await members(director, "g")) == (quiet, before)
    await assign_subaccount(director, "g", "sub")
    after = await members(director, "g")
    leaving = await effects(director, "g", "sub", "UNASSIGN")
    nothing = await effects(director, "g", "sub")
    await unassign_subaccount(director, "g", "sub")

    assert joining == [
        ("RUNTIME", "one", first),
        ("RUNTIME", "two", inside),
        ("RUNTIME_CONTEXT", "t1", of_one),
        ("RUNTIME_CONTEXT", "t2", of_two),
    ]
    assert {one for _, _, one in joining} == after - before
    assert leaving == joining
    assert nothing == []  # a group has one subaccount at most
    assert await members(director, "g") == before


async def test_a_preview_of_what_is_not_there_is_refused(director: Any) -> None:
    await subaccount(director, "sub")
    await subaccount(director, "theirs", parent="tenant-other")
    await group(director, "g")

    for name, external_id, change in (
        ("nobody", "sub", "ASSIGN"),
        ("g", "nobody", "ASSIGN"),
        ("g", "theirs", "ASSIGN"),
        ("g", "sub", "UNASSIGN"),
    ):
        error = await director.refusal(EFFECTS, name=name, selector=selecting(external_id), change=change)
        assert error["message"] == "Object not found [object=formation or tenant]"
    error = await director.refusal(EFFECTS, caller=director.other, name="g", selector=selecting("sub"))
    assert error["message"] == "Object not found [object=formation or tenant]"
    error = await director.refusal(EFFECTS, name="g", selector=selecting("sub", key="region"))
    assert error["message"] == "Invalid data LabelSelectorInput [key=must be a valid value]"
