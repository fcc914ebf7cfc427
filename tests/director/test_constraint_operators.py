"""What each constraint operator permits, refuses and changes, through the Director's API."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from compass.director.constraint_operators import OPERATORS, Occasion, Outcome, decide
from compass.director.formation_template import DEFAULT
from tests.director.groups import (
    ASSIGN,
    CREATE_FORMATION,
    UNASSIGN,
    application,
    assign,
    context,
    group,
    runtime,
    states,
    unassign,
)
from tests.director.test_automatic_scenario_assignment import assign_subaccount, subaccount, unassign_subaccount
from tests.director.test_formation_constraint import constraint, not_satisfied, typed_runtime
from tests.director.test_formation_template import create as create_template

TOKEN = """
mutation ($id: ID!, $auth: ID) { requestOneTimeTokenForApplication(id: $id, systemAuthID: $auth) { scenarioGroups } }
"""


async def everywhere(director: Any, operator: str, template: str = "{}", /, **more: Any) -> str:
    given = {"operator": operator, "inputTemplate": template, "constraintScope": "GLOBAL", **more}
    return await constraint(director, operator, **given)


async def connected(director: Any, times: int) -> None:
    """Open connections, so that what is begun at once is done at once."""
    async with AsyncExitStack() as stack:
        for _ in range(times):
            await stack.enter_async_context(director.database.transaction())


async def refused(director: Any, operator: str, text: str, /, **variables: Any) -> None:
    error = await director.refusal(text, **variables)
    assert error["message"].endswith(f"{not_satisfied(operator, operator)}]")


def test_every_operator_of_the_contract_is_there_but_the_one_of_a_vendor() -> None:
    assert OPERATORS.keys() == {
        "IsNotAssignedToAnyFormationOfType",
        "DoesNotContainResourceOfSubtype",
        "DoNotGenerateFormationAssignmentNotification",
        "DoNotGenerateFormationAssignmentNotificationForLoops",
        "ConfigMutator",
        "RedirectNotification",
        "ContainsScenarioGroups",
        "AsynchronousFlowControl",
    }


# IsNotAssignedToAnyFormationOfType

ALONE = "IsNotAssignedToAnyFormationOfType"


@pytest.mark.parametrize("when", ["PRE", "POST"])
@pytest.mark.parametrize("template", ["{}", '{"formation_template_id": "{{.FormationTemplateID}}"}'])
async def test_an_object_is_in_one_group_of_a_template(director: Any, template: str, when: str) -> None:
    await create_template(director, name="other", applicationTypes=["ANY"])
    for name in ("g", "h"):
        await group(director, name)
    await director.data(CREATE_FORMATION, **{"in": {"name": "of other", "templateName": "other"}})
    app = await application(director, "shop")
    await everywhere(director, ALONE, template, constraintType=when)

    await assign(director, "g", application=app)
    await refused(director, ALONE, ASSIGN, id=app, type="APPLICATION", group="h")
    await assign(director, "of other", application=app)
    await assign(director, "g", application=app)  # it is in it already
    await unassign(director, "g", application=app)
    await assign(director, "h", application=app)


async def test_an_object_is_in_no_group_of_another_template(director: Any) -> None:
    other = await create_template(director, name="other", applicationTypes=["ANY"])
    for name in ("g", "h"):
        await group(director, name)
    await director.data(CREATE_FORMATION, **{"in": {"name": "of other", "templateName": "other"}})
    app = await application(director, "shop")
    await everywhere(director, ALONE, f'{{"formation_template_id": "{other}"}}')

    for name in ("g", "h", "of other"):
        await assign(director, name, application=app)
    await unassign(director, "h", application=app)
    await refused(director, ALONE, ASSIGN, id=app, type="APPLICATION", group="h")


async def test_objects_of_excepted_subtypes_are_in_any_number_of_groups(director: Any) -> None:
    for name in ("g", "h"):
        await group(director, name)
    shop = await application(director, "shop", labels={"applicationType": "shop"})
    till = await application(director, "till", labels={"applicationType": "till"})
    await everywhere(director, ALONE, '{"except_subtypes": ["till"]}')
    for app in (shop, till):
        await assign(director, "g", application=app)

    await assign(director, "h", application=till)
    await refused(director, ALONE, ASSIGN, id=shop, type="APPLICATION", group="h")


async def test_of_those_that_join_at_once_each_is_decided_about_by_itself(director: Any) -> None:
    inside = await subaccount(director, "below")
    excepted, other = [await runtime(director, name, caller=inside) for name in ("excepted", "other")]
    for name in ("g", "h"):
        await group(director, name)
    await assign(director, "h", runtime=excepted)
    template = f'{{"except_subtypes": [{{{{if eq .ResourceID "{excepted}"}}}}"{{{{.ResourceSubtype}}}}"{{{{end}}}}]}}'
    await everywhere(director, ALONE, template, resourceType="RUNTIME")

    await assign_subaccount(director, "g", "below")

    members = {source for source, _, _ in await states(director, "g")}
    assert members == {excepted, other}


async def test_a_runtime_is_in_one_group_of_a_template(director: Any) -> None:
    for name in ("g", "h"):
        await group(director, name)
    cluster = await runtime(director, "cluster")
    await everywhere(director, ALONE, resourceType="RUNTIME")
    await assign(director, "g", runtime=cluster)

    await refused(director, ALONE, ASSIGN, id=cluster, type="RUNTIME", group="h")


@pytest.mark.parametrize("when", ["PRE", "POST"])
async def test_a_subaccount_is_part_of_one_group_of_a_template(director: Any, when: str) -> None:
    for name in ("g", "h"):
        await group(director, name)
    await subaccount(director, "below")
    await everywhere(director, ALONE, resourceType="TENANT", resourceSubtype="subaccount", constraintType=when)

    await assign_subaccount(director, "g", "below")
    await refused(director, ALONE, ASSIGN, id="below", type="TENANT", group="h")
    await unassign_subaccount(director, "g", "below")
    await assign_subaccount(director, "h", "below")


async def test_of_two_groups_that_an_object_joins_at_once_it_joins_one(director: Any) -> None:
    for name in ("g", "h"):
        await group(director, name)
    app = await application(director, "shop")
    await everywhere(director, ALONE)
    await connected(director, 2)

    answers = await asyncio.gather(*(director(ASSIGN, id=app, type="APPLICATION", group=name) for name in ("g", "h")))

    assert sorted("errors" in answer for answer in answers) == [False, True]


async def test_a_tenant_has_one_group_of_a_template_also_when_two_are_created_at_once(director: Any) -> None:
    await create_template(director, name="other")
    await everywhere(director, ALONE, targetOperation="CREATE_FORMATION", resourceType="FORMATION")
    await connected(director, 3)

    answers = await asyncio.gather(*(director(CREATE_FORMATION, **{"in": {"name": name}}) for name in ("g", "h", "i")))

    assert sorted("errors" in answer for answer in answers) == [False, True, True]
    await director.data(CREATE_FORMATION, caller=director.other, **{"in": {"name": "g"}})
    await director.data(CREATE_FORMATION, **{"in": {"name": "of other", "templateName": "other"}})


# DoesNotContainResourceOfSubtype

WITHOUT = "DoesNotContainResourceOfSubtype"


@pytest.mark.parametrize("when", ["PRE", "POST"])
async def test_a_group_has_one_participant_of_a_subtype(director: Any, when: str) -> None:
    first = await application(director, "first", labels={"applicationType": "shop"})
    second = await application(director, "second", labels={"applicationType": "shop"})
    till = await application(director, "till", labels={"applicationType": "till"})
    unlabelled = [await application(director, name) for name in ("a", "b")]
    cluster = await typed_runtime(director, "cluster", "shop")
    for name in ("g", "h"):
        await group(director, name)
    await everywhere(
        director,
        WITHOUT,
        '{"resource_type": "{{.ResourceType}}", "resource_subtype": "{{.ResourceSubtype}}"}',
        constraintType=when,
    )
    await assign(director, "g", runtime=cluster)
    for app in (first, till, *unlabelled):
        await assign(director, "g", application=app)

    await refused(director, WITHOUT, ASSIGN, id=second, type="APPLICATION", group="g")
    await assign(director, "h", application=second)
    await unassign(director, "g", application=first)
    await assign(director, "g", application=second)
    await assign(director, "g", application=second)


@pytest.mark.parametrize("subtype", ["kyma", "ANY"])
async def test_an_application_does_not_join_where_a_runtime_is(director: Any, subtype: str) -> None:
    app, cluster = await application(director, "shop"), await typed_runtime(director, "c", "kyma")
    for name in ("g", "h"):
        await group(director, name)
    await assign(director, "g", runtime=cluster)
    await everywhere(director, WITHOUT, f'{{"resource_type": "RUNTIME", "resource_subtype": "{subtype}"}}')

    await refused(director, WITHOUT, ASSIGN, id=app, type="APPLICATION", group="g")
    await assign(director, "h", application=app)


async def test_contexts_of_one_runtime_are_of_its_subtype(director: Any) -> None:
    cluster = await typed_runtime(director, "cluster", "kyma")
    other = await runtime(director, "untyped")
    first, second = [await context(director, cluster, value) for value in ("blue", "green")]
    untyped = await context(director, other, "red")
    await group(director, "g")
    await everywhere(director, WITHOUT, resourceType="RUNTIME_CONTEXT", resourceSubtype="kyma")
    for one in (untyped, first):
        await assign(director, "g", context=one)

    await refused(director, WITHOUT, ASSIGN, id=second, type="RUNTIME_CONTEXT", group="g")


async def test_an_application_does_not_leave_while_a_runtime_is_there(director: Any) -> None:
    app, cluster = await application(director, "shop"), await runtime(director, "cluster")
    await group(director, "g", applications=[app], runtimes=[cluster])
    template = '{"resource_type": "RUNTIME", "resource_subtype": "ANY"}'
    await everywhere(director, WITHOUT, template, targetOperation="UNASSIGN_FORMATION")

    await refused(director, WITHOUT, UNASSIGN, id=app, type="APPLICATION", group="g")
    await unassign(director, "g", runtime=cluster)
    await unassign(director, "g", application=app)


async def test_of_two_of_a_subtype_that_join_at_once_one_joins(director: Any) -> None:
    apps = [await application(director, name, labels={"applicationType": "shop"}) for name in ("a", "b")]
    await group(director, "g")
    await everywhere(director, WITHOUT)
    await connected(director, 2)

    answers = await asyncio.gather(*(director(ASSIGN, id=app, type="APPLICATION", group="g") for app in apps))

    assert sorted("errors" in answer for answer in answers) == [False, True]


# ContainsScenarioGroups

GROUPS = "ContainsScenarioGroups"


async def test_an_application_joins_that_was_asked_a_token_for_in_the_name_of_a_scenario_group(director: Any) -> None:
    app, other = await application(director, "shop"), await application(director, "other")
    await group(director, "g")
    await everywhere(director, GROUPS, '{"requiredScenarioGroups": ["retail", "billing"]}')
    in_the_name_of = replace(director.caller, headers=(("scenario_groups", "sales, retail"),))

    await refused(director, GROUPS, ASSIGN, id=app, type="APPLICATION", group="g")
    data = await director.data(TOKEN, caller=in_the_name_of, id=app)
    assert data["requestOneTimeTokenForApplication"]["scenarioGroups"] == ["sales", "retail"]

    await assign(director, "g", application=app)
    await refused(director, GROUPS, ASSIGN, id=other, type="APPLICATION", group="g")


async def test_the_newest_token_of_a_way_in_says_the_scenario_groups(director: Any) -> None:
    app = await application(director, "shop")
    await group(director, "g")
    await everywhere(director, GROUPS, '{"required_scenario_groups": ["retail"]}')
    in_the_name_of = replace(director.caller, headers=(("scenario_groups", "retail"),))
    await director.data(TOKEN, caller=in_the_name_of, id=app)
    data = await director.data("query ($id: ID!) { application(id: $id) { auths { id } } }", id=app)

    await director.data(TOKEN, id=app, auth=data["application"]["auths"][0]["id"])

    await refused(director, GROUPS, ASSIGN, id=app, type="APPLICATION", group="g")


async def test_without_required_scenario_groups_everybody_joins_and_with_them_no_runtime(director: Any) -> None:
    cluster = await runtime(director, "cluster")
    await group(director, "g")
    await everywhere(director, GROUPS, '{"required_scenario_groups": ["retail"]}', resourceType="RUNTIME")
    await everywhere_named(director, "second", GROUPS, resourceType="RUNTIME", priority=1)

    await refused(director, GROUPS, ASSIGN, id=cluster, type="RUNTIME", group="g")


async def everywhere_named(director: Any, name: str, operator: str, template: str = "{}", /, **more: Any) -> str:
    given = {"operator": operator, "inputTemplate": template, "constraintScope": "GLOBAL", **more}
    return await constraint(director, name, **given)


# Those about notifications, by themselves

TOLD: Mapping[str, Any] = {
    "operation": "assign",
    "formation_type": DEFAULT,
    "resource_type": "APPLICATION",
    "resource_id": "a",
    "source_resource_type": "RUNTIME",
    "source_resource_subtype": "kyma",
    "source_resource_id": "b",
    "webhook_mode": "SYNC",
    "url": "https://shop.example.com",
}
SATISFIED, NOT_SATISFIED = Outcome(), Outcome(satisfied=False)
ELSEWHERE = "https://elsewhere.example.com"


@pytest.mark.parametrize(
    ("operator", "template", "occasion", "outcome"),
    [
        ("DoNotGenerateFormationAssignmentNotification", "{}", {}, NOT_SATISFIED),
        (
            "DoNotGenerateFormationAssignmentNotification",
            '{"except_formation_types": ["x", "{{.FormationType}}"]}',
            {},
            SATISFIED,
        ),
        ("DoNotGenerateFormationAssignmentNotification", '{"except_formation_types": ["x"]}', {}, NOT_SATISFIED),
        ("DoNotGenerateFormationAssignmentNotification", '{"except_subtypes": ["kyma"]}', {}, SATISFIED),
        ("DoNotGenerateFormationAssignmentNotification", '{"source_resource_type": "APPLICATION"}', {}, SATISFIED),
        ("DoNotGenerateFormationAssignmentNotification", '{"source_resource_type": "RUNTIME"}', {}, NOT_SATISFIED),
        ("DoNotGenerateFormationAssignmentNotificationForLoops", "{}", {}, SATISFIED),
        ("DoNotGenerateFormationAssignmentNotificationForLoops", "{}", {"source_resource_id": "a"}, NOT_SATISFIED),
        (
            "DoNotGenerateFormationAssignmentNotificationForLoops",
            '{"except_subtypes": ["kyma"]}',
            {"source_resource_id": "a"},
            SATISFIED,
        ),
        ("RedirectNotification", f'{{"url": "{ELSEWHERE}"}}', {}, Outcome(url=ELSEWHERE)),
        ("RedirectNotification", '{"url": "{{.URL}}"}', {}, SATISFIED),
        ("RedirectNotification", f'{{"url": "{ELSEWHERE}", "should_redirect": false}}', {}, SATISFIED),
        ("RedirectNotification", '{"url": "x"}', {}, Outcome(satisfied=False, why="url must be a valid URL", url="x")),
        ("RedirectNotification", "{}", {}, Outcome(satisfied=False, why="url must be a valid URL", url="")),
        ("AsynchronousFlowControl", "{}", {}, Outcome(awaits_report=True)),
        ("AsynchronousFlowControl", f'{{"url": "{ELSEWHERE}"}}', {}, Outcome(url=ELSEWHERE, awaits_report=True)),
        (
            "AsynchronousFlowControl",
            f'{{"url": "{ELSEWHERE}", "should_redirect": false}}',
            {},
            Outcome(awaits_report=True),
        ),
        (
            "AsynchronousFlowControl",
            '{"fail_on_sync_participants": true}',
            {},
            Outcome(satisfied=False, why="the webhook's mode is not ASYNC_CALLBACK"),
        ),
        (
            "AsynchronousFlowControl",
            '{"fail_on_sync_participants": true}',
            {"webhook_mode": "ASYNC_CALLBACK"},
            Outcome(awaits_report=True),
        ),
        ("ConfigMutator", "{}", {}, SATISFIED),
        ("ConfigMutator", '{"state": "CONFIG_PENDING"}', {}, Outcome(state="CONFIG_PENDING")),
        ("ConfigMutator", '{"state": "READY", "operation": "unassign"}', {}, SATISFIED),
        ("ConfigMutator", '{"state": "READY", "only_for_source_subtypes": ["till"]}', {}, SATISFIED),
        ("ConfigMutator", '{"state": "READY", "only_for_source_subtypes": ["kyma"]}', {}, Outcome(state="READY")),
        (
            "ConfigMutator",
            '{"state": "DELETE_READY"}',
            {},
            Outcome(satisfied=False, why="a participant cannot report 'DELETE_READY'"),
        ),
        ("ConfigMutator", '{"state": "DELETE_READY"}', {"operation": "unassign"}, Outcome(state="DELETE_READY")),
        ("ConfigMutator", '{"modified_configuration": {"a": 1}}', {}, Outcome(configuration='{"a":1}')),
        (
            "ConfigMutator",
            '{"modified_configuration": {{updateAndCopy .Configuration "a" "2" | toJson}}}',
            {"configuration": '{"a":1,"b":3}'},
            Outcome(configuration='{"a":"2","b":3}'),
        ),
        ("ConfigMutator", '{"modified_configuration": "{}"}', {}, SATISFIED),
        ("ConfigMutator", '{"modified_configuration": []}', {}, SATISFIED),
        (
            "ConfigMutator",
            '{"modified_configuration": "{"}',
            {},
            Outcome(satisfied=False, why="modified_configuration is no JSON"),
        ),
    ],
)
async def test_what_an_operator_makes_of_a_notification(
    director: Any, operator: str, template: str, occasion: Mapping[str, Any], outcome: Outcome
) -> None:
    async with director.database.transaction() as tx:
        assert await decide(tx, operator, template, Occasion(**{**TOLD, **occasion})) == outcome
