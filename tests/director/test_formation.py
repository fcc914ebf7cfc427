"""Groups through the Director's API."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from compass.director.formation_template import DEFAULT
from tests.director.catalogue import named
from tests.director.groups import (
    ASSIGN,
    CREATE_FORMATION,
    DELETE_FORMATION,
    STATUS,
    UNASSIGN,
    Announced,
    application,
    assign,
    group,
    labels,
    runtime,
    states,
    unassign,
)

NOBODY = "8fd7f7f4-3d6c-4a9a-8f3c-000000000000"


async def seen_by(director: Any, runtime_id: str) -> list[str]:
    data = await director.data(
        "query ($id: ID!) { applicationsForRuntime(runtimeID: $id) { data { id } } }", id=runtime_id
    )
    return sorted(entry["id"] for entry in data["applicationsForRuntime"]["data"])


async def sql(director: Any, text: str, **parameters: Any) -> None:
    async with director.database.transaction() as tx:
        await tx.run(f"-- test.change\n{text}", **parameters)


async def test_a_new_group_is_ready_empty_and_of_the_default_template(director: Any, announced: Announced) -> None:
    data = await director.data(
        """mutation { createFormation(formation: {name: "orders team"}) {
          id name formationTemplateId tenantID state error { message errorCode }
          status { condition errors { message } } formationAssignments { totalCount } lastStateChangeTimestamp
        } }"""
    )

    created = data["createFormation"]
    template = await director.data(
        "query ($id: ID!) { formationTemplate(id: $id) { name } }", id=created["formationTemplateId"]
    )
    assert template == {"formationTemplate": {"name": DEFAULT}}
    assert created["tenantID"] == director.caller.tenant
    assert {key: created[key] for key in ("name", "state", "error", "status", "formationAssignments")} == {
        "name": "orders team",
        "state": "READY",
        "error": {"message": "", "errorCode": 0},
        "status": {"condition": "READY", "errors": []},
        "formationAssignments": {"totalCount": 0},
    }
    assert await announced() == ["FormationCreated"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": ""}, "Invalid data FormationInput [name=cannot be blank]"),
        ({"name": "x" * 129}, "Invalid data FormationInput [name=the length must be between 1 and 128]"),
        ({"name": 'a"b'}, "Invalid data FormationInput [name=must be in a valid format]"),
        ({"name": "a", "templateName": "nope"}, "Object not found [object=formationTemplate]"),
        ({"name": "taken"}, "Object is not unique [object=formations]"),
        (
            {"name": "a", "state": "DELETING"},
            (
                "The operation is not allowed "
                "[reason=a formation cannot be created in state DELETING, only in READY or DRAFT]"
            ),
        ),
    ],
)
async def test_a_group_that_cannot_be_is_refused(director: Any, given: dict[str, Any], message: str) -> None:
    await group(director, "taken")

    error = await director.refusal(CREATE_FORMATION, **{"in": given})

    assert error["message"] == message


async def test_a_state_may_only_be_given_with_its_scope(director: Any) -> None:
    caller = replace(director.caller, scopes=director.caller.scopes - {"formation.state:write"})

    error = await director.refusal(CREATE_FORMATION, caller=caller, **{"in": {"name": "a", "state": "READY"}})

    assert error["extensions"]["error_code"] == 23


async def test_two_tenants_may_use_one_name_and_never_see_each_others_group(director: Any) -> None:
    mine = await group(director, "a")
    theirs = await director.data(CREATE_FORMATION, caller=director.other, **{"in": {"name": "a"}})

    assert theirs["result"]["id"] != mine
    for id_ in (theirs["result"]["id"], NOBODY, "no-uuid"):
        error = await director.refusal("query ($id: ID!) { formation(id: $id) { id } }", id=id_)
        assert error["message"] == "Object not found [object=formations]"
    page = await director.data("{ formations { data { id } totalCount } }")
    assert page["formations"] == {"data": [{"id": mine}], "totalCount": 1}


async def test_participants_are_paired_both_ways_and_with_themselves(director: Any, announced: Announced) -> None:
    first, second = await application(director, "one"), await application(director, "two")
    cluster = await runtime(director, "cluster")

    await group(director, "g", applications=[first, second], runtimes=[cluster])

    data = await director.data(STATUS, name="g")
    pairs = {
        (row["source"], row["sourceType"], row["target"], row["targetType"], row["state"])
        for row in data["formationByName"]["formationAssignments"]["data"]
    }
    kinds = {first: "APPLICATION", second: "APPLICATION", cluster: "RUNTIME"}
    assert pairs == {(a, kinds[a], b, kinds[b], "READY") for a in kinds for b in kinds}
    assert data["formationByName"]["formationAssignments"]["totalCount"] == 9
    assert await seen_by(director, cluster) == sorted([first, second])
    assert (await announced()).count("FormationAssigned") == 3


async def test_an_assignment_shows_its_entities_and_one_can_be_asked_for_by_its_id(director: Any) -> None:
    app, cluster = await application(director, "one"), await runtime(director, "cluster")
    await group(director, "g", applications=[app], runtimes=[cluster])
    rows = (await director.data(STATUS, name="g"))["formationByName"]["formationAssignments"]["data"]
    wanted = next(row for row in rows if row["source"] == cluster and row["target"] == app)

    data = await director.data(
        """query ($id: ID!) { formationByName(name: "g") { formationAssignment(id: $id) {
          sourceEntity { __typename ... on Runtime { name } ... on Application { id } }
          targetEntity { __typename ... on Application { id } }
        } } }""",
        id=wanted["id"],
    )

    assert data["formationByName"]["formationAssignment"] == {
        "sourceEntity": {"__typename": "Runtime", "name": "cluster"},
        "targetEntity": {"__typename": "Application", "id": app},
    }


async def test_assigning_twice_changes_nothing_more(director: Any, announced: Announced) -> None:
    app = await application(director, "one")
    await group(director, "g", applications=[app], runtimes=[await runtime(director, "cluster")])
    before = (await director.state(), await announced())

    again = await assign(director, "g", application=app)

    assert again["name"] == "g"
    assert (await director.state(), await announced()) == before


async def test_the_names_of_its_groups_are_a_label_that_goes_with_the_last(director: Any) -> None:
    app = await application(director, "one")
    await group(director, "b", applications=[app])
    await group(director, "a", applications=[app])
    assert (await labels(director, app))["scenarios"] == ["a", "b"]

    await unassign(director, "b", application=app)
    assert (await labels(director, app))["scenarios"] == ["a"]

    await unassign(director, "a", application=app)
    assert await labels(director, app) == {"managed": "false", "name": "mp-one"}


async def test_lists_can_be_filtered_by_group(director: Any) -> None:
    app, cluster = await application(director, "one"), await runtime(director, "cluster")
    await application(director, "two")
    await group(director, "team a", applications=[app], runtimes=[cluster])
    query = (
        "query ($f: [LabelFilter!]) { applications(filter: $f) { data { id } } runtimes(filter: $f) { data { id } } }"
    )

    data = await director.data(query, f=[{"key": "scenarios", "query": '$[*] ? (@ == "team a" || @ == "x")'}])

    assert data == {"applications": {"data": [{"id": app}]}, "runtimes": {"data": [{"id": cluster}]}}


async def test_one_that_leaves_is_gone_for_the_others_at_once(director: Any, announced: Announced) -> None:
    app, cluster = await application(director, "one"), await runtime(director, "cluster")
    await group(director, "g", applications=[app], runtimes=[cluster])

    await unassign(director, "g", application=app)

    assert await seen_by(director, cluster) == []
    assert await states(director, "g") == []
    assert (await announced())[-1] == "FormationUnassigned"
    before = (await director.state(), await announced())
    await unassign(director, "g", application=app)
    assert (await director.state(), await announced()) == before


@pytest.mark.parametrize("mutation", [ASSIGN, UNASSIGN])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("APPLICATION", "Object not found [object=application]"),
        ("RUNTIME", "Object not found [object=runtime]"),
        (
            "RUNTIME_CONTEXT",
            "Object not found [object=runtimeContext]",
        ),
    ],
)
async def test_an_object_that_is_not_there_is_refused(director: Any, mutation: str, kind: str, message: str) -> None:
    await group(director, "g")
    foreign = {
        "APPLICATION": await application(director, "theirs", caller=director.other),
        "RUNTIME": await runtime(director, "theirs", caller=director.other),
    }.get(kind, NOBODY)

    for id_ in (foreign, NOBODY, "no-uuid"):
        error = await director.refusal(mutation, id=id_, type=kind, group="g")
        assert error["message"] == message


@pytest.mark.parametrize("mutation", [ASSIGN, UNASSIGN])
async def test_a_group_of_another_tenant_is_not_there(director: Any, mutation: str) -> None:
    await director.data(CREATE_FORMATION, caller=director.other, **{"in": {"name": "theirs"}})
    app = await application(director, "one")

    error = await director.refusal(mutation, id=app, type="APPLICATION", group="theirs")

    assert error["message"] == "Object not found [object=formations]"


async def test_a_tenant_that_sees_and_does_not_own_cannot_assign(director: Any) -> None:
    app = await application(director, "theirs", caller=director.other)
    await sql(
        director,
        "INSERT INTO application_tenant (tenant_id, application_id, owner) VALUES (%(tenant)s, %(app)s, false)",
        tenant=director.caller.tenant,
        app=app,
    )
    await group(director, "g")

    error = await director.refusal(ASSIGN, id=app, type="APPLICATION", group="g")

    assert error["message"] == "Unauthorized [reason=Owner access is needed for resource modification]"


async def test_a_template_admits_by_the_type_label(director: Any) -> None:
    await sql(
        director,
        "INSERT INTO formation_template (name, application_types, runtime_types) VALUES ('strict', '{crm,shop}', '{}')",
    )
    await director.data(CREATE_FORMATION, **{"in": {"name": "g", "templateName": "strict"}})
    crm = await application(director, "one", labels={"applicationType": "crm"})
    erp = await application(director, "two", labels={"applicationType": "erp"})
    plain, cluster = await application(director, "three"), await runtime(director, "cluster")

    await assign(director, "g", application=crm)
    refusals = [
        (await director.refusal(ASSIGN, id=id_, type=kind, group="g"))["message"]
        for id_, kind in ((erp, "APPLICATION"), (plain, "APPLICATION"), (cluster, "RUNTIME"))
    ]

    assert refusals[0] == (
        'The operation is not allowed [reason=unsupported applicationType "erp" for formation template "strict", '
        'allowing only ["crm","shop"]]'
    )
    assert refusals[1] == "Object not found [object=label]"
    assert 'Formation g of type strict does not support resources of type "RUNTIME"' in refusals[2]


async def test_configurations_given_at_assignment_are_those_of_the_pairs(director: Any) -> None:
    app, cluster = await application(director, "one"), await runtime(director, "cluster")
    await group(director, "g", runtimes=[cluster])
    good = {"sourceID": cluster, "targetID": app, "configuration": '{"k": 1}'}

    for bad in ({**good, "sourceID": NOBODY}, {**good, "targetID": cluster}, {**good, "configuration": "{"}):
        await director.refusal(ASSIGN, id=app, type="APPLICATION", group="g", initial=[bad])
    await assign(director, "g", application=app, initial=[good])

    rows = (await director.data(STATUS, name="g"))["formationByName"]["formationAssignments"]["data"]
    assert {(row["source"], row["target"]): row["configuration"] for row in rows if row["value"]} == {
        (cluster, app): '{"k": 1}'
    }


async def test_a_group_is_deleted_when_it_is_empty_and_not_before(director: Any, announced: Announced) -> None:
    app = await application(director, "one")
    formation = await group(director, "g", applications=[app])

    error = await director.refusal(DELETE_FORMATION, **{"in": {"name": "g"}})
    await unassign(director, "g", application=app)
    deleted = await director.data(
        """mutation { deleteFormation(formation: {name: "g"}) {
          id name state status { condition } formationAssignments { data { id } totalCount }
        } }"""
    )

    assert f'cannot delete formation with ID "{formation}", because it is not empty' in error["message"]
    assert deleted["deleteFormation"] == {
        "id": formation,
        "name": "g",
        "state": "READY",
        "status": {"condition": "READY"},
        "formationAssignments": {"data": [], "totalCount": 0},
    }
    assert (await director.refusal(DELETE_FORMATION, **{"in": {"name": "g"}}))["extensions"]["error_code"] == 20
    assert (await announced())[-1] == "FormationDeleted"


async def test_whoever_is_in_a_group_can_be_found_without_knowing_the_tenant(director: Any) -> None:
    app = await application(director, "one")
    formation = await group(director, "g", applications=[app])
    query = "query ($id: String!) { formationsForObject(objectID: $id) { id name } }"

    assert await director.data(query, caller=director.other, id=app) == {
        "formationsForObject": [{"id": formation, "name": "g"}]
    }
    assert await director.data(query, id="no-uuid") == {"formationsForObject": []}
    poor = replace(director.caller, scopes=director.caller.scopes - {"formation:global_read"})
    assert (await director.refusal(query, caller=poor, id=app))["extensions"]["error_code"] == 23
    hidden = 'mutation { createFormation(formation: {name: "h"}) { id } }'
    await director.data(hidden, caller=poor)
    error = await director.refusal('mutation { deleteFormation(formation: {name: "h"}) { id tenantID } }', caller=poor)
    assert error["extensions"]["error_code"] == 23


async def test_resetting_needs_a_template_that_supports_it(director: Any, announced: Announced) -> None:
    formation = await group(director, "g")
    text = """mutation ($id: ID!, $reset: Boolean) {
      resynchronizeFormationNotifications(formationID: $id, reset: $reset) { id }
    }"""

    error = await director.refusal(text, id=formation, reset=True)
    missing = await director.refusal(text, id=NOBODY)
    await director.data(text, id=formation)

    assert error["message"] == (
        f'The operation is not allowed [reason=formation template "{DEFAULT}" does not support resetting]'
    )
    assert missing["message"] == "Object not found [object=formations]"
    assert (await announced())[-1] == "FormationResynchronized"


async def test_an_unregistered_runtime_leaves_no_pair_behind(director: Any) -> None:
    app, cluster = await application(director, "one"), await runtime(director, "cluster")
    await group(director, "g", applications=[app], runtimes=[cluster])

    await director.data("mutation ($id: ID!) { unregisterRuntime(id: $id) { id } }", id=cluster)

    rows = (await director.data(STATUS, name="g"))["formationByName"]["formationAssignments"]["data"]
    assert [(row["source"], row["target"]) for row in rows] == [(app, app)]


async def test_objects_that_join_a_group_at_once_are_paired_with_each_other(director: Any) -> None:
    ids = [await application(director, f"app-{number}") for number in range(6)]
    clusters = [await runtime(director, f"cluster-{number}") for number in range(6)]
    await group(director, "g")

    await asyncio.gather(
        *(assign(director, "g", application=id_) for id_ in ids),
        *(assign(director, "g", runtime=id_) for id_ in clusters),
    )

    assert len(await states(director, "g")) == 12 * 11


async def test_an_object_that_joins_two_groups_at_once_has_both_in_its_label(director: Any) -> None:
    app = await application(director, "one")
    names = [f"g{number}" for number in range(6)]
    for name in names:
        await group(director, name)

    await asyncio.gather(*(assign(director, name, application=app) for name in names))

    assert (await labels(director, app))["scenarios"] == names


async def test_unregistering_and_assigning_at_once_leave_no_half_pair(director: Any) -> None:
    app = await application(director, "one")
    unregister = "mutation ($id: ID!) { unregisterRuntime(id: $id) { id } }"
    for round_ in range(10):
        cluster = await runtime(director, f"cluster-{round_}")
        name = f"g{round_}"
        await group(director, name, runtimes=[cluster])
        answers = await asyncio.gather(
            director(ASSIGN, id=app, type="APPLICATION", group=name), director(unregister, id=cluster)
        )
        assert [answer.get("errors") for answer in answers] == [None, None]

        assert await states(director, name) == []
        assert await seen_by_rows(director, cluster) == 0


async def seen_by_rows(director: Any, runtime_id: str) -> int:
    async with director.database.transaction() as tx:
        found = await tx.value(
            "-- test.left\nSELECT count(*) FROM formation_assignment WHERE source = %(id)s OR target = %(id)s",
            id=runtime_id,
        )
    return int(found)


@pytest.mark.parametrize("size", [1, 40])
async def test_the_number_of_statements_does_not_grow_with_the_group(
    director: Any, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = await application(director, "one")
    clusters = [await runtime(director, f"cluster-{number}") for number in range(size)]
    await group(director, "g", runtimes=clusters)
    counted = named(monkeypatch)

    await assign(director, "g", application=app)
    assigning = [*counted]
    counted.clear()
    await unassign(director, "g", application=app)

    assert assigning[:-1] == [
        "-- formation.lock",
        "-- formation.lock_application",
        "-- membership.lock_participants",
        "-- formation_constraint.of_members",
        "-- formation_assignment.join",
        "-- membership.label_applications",
        "-- eventing.drop",
        "-- eventing.choose",
        "-- formation_constraint.of_members",
        "-- outbox.append_all",
    ]
    assert counted[:-1] == [
        "-- formation.lock",
        "-- formation.lock_application",
        "-- membership.lock_participants",
        "-- formation_constraint.of_members",
        "-- formation_assignment.leave",
        "-- membership.label_applications",
        "-- eventing.drop",
        "-- eventing.choose",
        "-- formation_constraint.of_members",
        "-- outbox.append_all",
    ]
