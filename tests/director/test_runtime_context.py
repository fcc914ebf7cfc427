"""Runtime contexts through the Director's API, and their places in groups."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from compass.director import tenant
from tests.director import catalogue
from tests.director.groups import (
    ASSIGN,
    CREATE_FORMATION,
    STATUS,
    application,
    assign,
    context,
    group,
    runtime,
    unassign,
)

FIELDS = "{ id key value labels }"
REGISTER = (
    "mutation ($runtime: ID!, $in: RuntimeContextInput!) "
    "{ result: registerRuntimeContext(runtimeID: $runtime, in: $in) %s }" % FIELDS
)
UPDATE = "mutation ($id: ID!, $in: RuntimeContextInput!) { result: updateRuntimeContext(id: $id, in: $in) %s }" % FIELDS
UNREGISTER = "mutation ($id: ID!) { result: unregisterRuntimeContext(id: $id) %s }" % FIELDS
OF_RUNTIME = """
query ($id: ID!, $context: ID!, $first: Int, $after: PageCursor, $key: String) {
  runtime(id: $id) {
    runtimeContext(id: $context) { id key value labels(key: $key) }
    runtimeContexts(first: $first, after: $after) {
      data { id value } totalCount pageInfo { startCursor endCursor hasNextPage }
    }
  }
}
"""
PAIRS = """
query ($name: String!) { formationByName(name: $name) { formationAssignments { data {
  source sourceType target targetType state
  sourceEntity { __typename ... on RuntimeContext { id key value } ... on Application { id } ... on Runtime { id } }
  targetEntity { __typename ... on RuntimeContext { id } ... on Application { id } ... on Runtime { id } }
} } } }
"""
INPUT = {"key": "tenant", "value": "blue"}
UNKNOWN = "8fd7f7f4-3d6c-4a9a-8f3c-000000000000"
NOT_OWNER = "Unauthorized [reason=Owner access is needed for resource modification]"


async def shown(director: Any, runtime_id: str, context_id: str = UNKNOWN, **more: Any) -> Any:
    given = {"first": 200, **more}
    return (await director.data(OF_RUNTIME, id=runtime_id, context=context_id, **given))["runtime"]


async def facts(director: Any, event: str) -> list[Any]:
    return await catalogue.facts(director, event)


# The noun


async def test_a_context_is_registered_changed_and_gone(director: Any, announced: Any) -> None:
    cluster = await runtime(director, "cluster")

    made = (await director.data(REGISTER, runtime=cluster, **{"in": INPUT}))["result"]
    assert made == {"id": made["id"], "key": "tenant", "value": "blue", "labels": {}}
    changed = (await director.data(UPDATE, id=made["id"], **{"in": {"key": "account", "value": "green"}}))["result"]
    assert changed == {"id": made["id"], "key": "account", "value": "green", "labels": {}}
    assert (await shown(director, cluster, made["id"]))["runtimeContext"] == changed
    assert (await director.data(UNREGISTER, id=made["id"]))["result"] == changed

    assert (await shown(director, cluster, made["id"]))["runtimeContext"] is None
    assert await announced() == [
        "RuntimeRegistered",
        "RuntimeContextRegistered",
        "RuntimeContextUpdated",
        "RuntimeContextUnregistered",
    ]
    expected = {"runtime": cluster, "runtime_context": made["id"]}
    assert await facts(director, "RuntimeContextRegistered") == [expected]
    assert await facts(director, "RuntimeContextUpdated") == [expected]


async def test_contexts_are_listed_page_by_page_each_at_its_own_runtime(director: Any) -> None:
    cluster, other = await runtime(director, "cluster"), await runtime(director, "other")
    ids = sorted([await context(director, cluster, f"t{number}") for number in range(3)])
    elsewhere = await context(director, other, "elsewhere")

    first = (await shown(director, cluster, first=2))["runtimeContexts"]
    assert [entry["id"] for entry in first["data"]] == ids[:2]
    assert (first["totalCount"], first["pageInfo"]["hasNextPage"]) == (3, True)
    after = first["pageInfo"]["endCursor"]
    rest = (await shown(director, cluster, first=2, after=after))["runtimeContexts"]
    assert [entry["id"] for entry in rest["data"]] == ids[2:]
    assert rest["pageInfo"] == {"startCursor": after, "endCursor": "", "hasNextPage": False}
    assert (await shown(director, cluster, elsewhere))["runtimeContext"] is None
    assert (await shown(director, cluster, "no-uuid"))["runtimeContext"] is None
    assert (await director.refusal(OF_RUNTIME, id=cluster, context=UNKNOWN, first=201))["message"] == (
        "Invalid data [reason=page size must be between 1 and 200]"
    )


async def test_two_contexts_of_one_runtime_may_say_the_same(director: Any) -> None:
    cluster = await runtime(director, "cluster")

    assert await context(director, cluster, "blue") != await context(director, cluster, "blue")


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("", "cannot be blank"),
        (" ", "cannot be blank"),
        ("a-b", "must be in a valid format"),
        ("ä", "must be in a valid format"),
        ("a\n", "must be in a valid format"),
        ("a" * 513, "the length must be between 1 and 512"),
    ],
)
@pytest.mark.parametrize("verb", ["register", "update"])
async def test_a_key_that_is_none_is_refused(director: Any, verb: str, key: str, problem: str) -> None:
    cluster = await runtime(director, "cluster")
    given: dict[str, Any] = {"in": {"key": key, "value": "v"}}

    if verb == "register":
        error = await director.refusal(REGISTER, runtime=cluster, **given)
    else:
        error = await director.refusal(UPDATE, id=await context(director, cluster, "blue"), **given)

    assert error["message"] == f"Invalid data RuntimeContextInput [key={problem}]"


async def test_the_longest_key_and_any_value_are_taken(director: Any) -> None:
    cluster = await runtime(director, "cluster")
    given = {"key": "k" * 512, "value": "any: ä {} \n"}

    made = (await director.data(REGISTER, runtime=cluster, **{"in": given}))["result"]

    assert (made["key"], made["value"]) == (given["key"], given["value"])


@pytest.mark.parametrize("id_", [UNKNOWN, "no-uuid", ""])
async def test_what_is_not_there_is_refused(director: Any, id_: str) -> None:
    registering = await director.refusal(REGISTER, runtime=id_, **{"in": INPUT})
    changing = await director.refusal(UPDATE, id=id_, **{"in": INPUT})
    removing = await director.refusal(UNREGISTER, id=id_)

    assert registering["message"] == "Object not found [object=runtime]"
    assert changing["message"] == removing["message"] == "Object not found [object=runtimeContext]"


async def test_another_tenants_contexts_are_not_there(director: Any) -> None:
    cluster = await runtime(director, "cluster")
    blue = await context(director, cluster, "blue")

    assert (await director.data(OF_RUNTIME, id=cluster, context=blue, first=1, caller=director.other)) == {
        "runtime": None
    }
    for text, given in ((UPDATE, {"id": blue, "in": INPUT}), (UNREGISTER, {"id": blue})):
        assert (await director.refusal(text, caller=director.other, **given))["message"] == (
            "Object not found [object=runtimeContext]"
        )
    error = await director.refusal(REGISTER, runtime=cluster, caller=director.other, **{"in": INPUT})
    assert error["message"] == "Object not found [object=runtime]"


async def test_who_sees_a_runtime_and_does_not_own_it_sees_its_contexts_and_changes_none(director: Any) -> None:
    cluster = await runtime(director, "cluster")
    blue = await context(director, cluster, "blue")
    async with director.database.transaction() as tx:
        await tx.run(
            "INSERT INTO runtime_tenant (tenant_id, runtime_id, owner) VALUES (%(t)s, %(r)s, false)",
            t=director.other.tenant,
            r=cluster,
        )

    seen = await director.data(OF_RUNTIME, id=cluster, context=blue, first=1, caller=director.other)
    assert seen["runtime"]["runtimeContext"]["id"] == blue
    for text, given in (
        (UPDATE, {"id": blue, "in": INPUT}),
        (UNREGISTER, {"id": blue}),
        (REGISTER, {"runtime": cluster, "in": INPUT}),
    ):
        assert (await director.refusal(text, caller=director.other, **given))["message"] == NOT_OWNER


async def test_a_runtime_keeps_its_own_contexts_and_touches_no_others(director: Any) -> None:
    cluster, other = await runtime(director, "cluster"), await runtime(director, "other")
    theirs = await context(director, other, "theirs")
    itself = director.runtime(cluster)

    own = await context(director, cluster, "own", caller=itself)
    await director.data(UPDATE, id=own, caller=itself, **{"in": INPUT})
    await director.data(UNREGISTER, id=own, caller=itself)

    for text, given in (
        (UPDATE, {"id": theirs, "in": INPUT}),
        (UPDATE, {"id": UNKNOWN, "in": INPUT}),
        (UNREGISTER, {"id": theirs}),
        (REGISTER, {"runtime": other, "in": INPUT}),
    ):
        assert (await director.refusal(text, caller=itself, **given))["message"] == NOT_OWNER


@pytest.mark.parametrize(
    ("text", "given"), [(REGISTER, {"runtime": UNKNOWN, "in": INPUT}), (UPDATE, {"id": UNKNOWN, "in": INPUT}),
                        (UNREGISTER, {"id": UNKNOWN})],
)  # fmt: skip
async def test_each_operation_needs_the_scope(director: Any, text: str, given: dict[str, Any]) -> None:
    without = replace(director.caller, scopes=director.caller.scopes - {"runtime:write"})

    error = await director.refusal(text, caller=without, **given)

    assert error["message"].startswith("insufficient scopes provided")
    assert "required=runtime:write" in error["message"]


# With its runtime


async def test_unregistering_a_runtime_removes_its_contexts_from_everywhere(director: Any) -> None:
    app, cluster = await application(director, "app"), await runtime(director, "cluster")
    blue = await context(director, cluster, "blue")
    await group(director, "g", applications=[app])
    await assign(director, "g", context=blue)

    await director.data("mutation ($id: ID!) { unregisterRuntime(id: $id) { id } }", id=cluster)

    rows = (await director.data(STATUS, name="g"))["formationByName"]["formationAssignments"]["data"]
    assert [(row["source"], row["target"]) for row in rows] == [(app, app)]
    [told] = await facts(director, "RuntimeUnregistered")
    assert told["applications"] == {}
    formation = (await director.data(STATUS, name="g"))["formationByName"]["id"]
    assert told["contexts"] == {
        blue: {
            "context": blue,
            "key": "tenant",
            "value": "blue",
            "labels": {"scenarios": ["g"]},
            "applications": {app: formation},
        }
    }
    assert (await director.refusal(UNREGISTER, id=blue))["message"] == "Object not found [object=runtimeContext]"


async def test_credentials_are_given_to_a_context_and_left_unused_when_it_goes(director: Any) -> None:
    app = await catalogue.register(director)
    bundle = await catalogue.bundle(director, app)
    cluster = await runtime(director, "cluster")
    contexts = [await context(director, cluster, value) for value in ("one", "two")]
    create = """mutation ($b: ID!, $c: ID!) { result: createBundleInstanceAuth(bundleID: $b, in: {
      runtimeContextID: $c, auth: {credential: {basic: {username: "u", password: "p"}}} }) {
      id runtimeID runtimeContextID status { condition } } }"""
    read = "query ($id: ID!) { bundleInstanceAuth(id: $id) { runtimeID runtimeContextID status { condition } } }"
    given = [(await director.data(create, b=bundle, c=entry))["result"] for entry in contexts]
    assert [(entry["runtimeID"], entry["runtimeContextID"]) for entry in given] == [
        (None, contexts[0]),
        (None, contexts[1]),
    ]
    assert given[0]["status"]["condition"] == "SUCCEEDED"

    await director.data(UNREGISTER, id=contexts[0])
    unused = {"runtimeID": None, "runtimeContextID": None, "status": {"condition": "UNUSED"}}
    assert (await director.data(read, id=given[0]["id"]))["bundleInstanceAuth"] == unused
    assert (await director.data(read, id=given[1]["id"]))["bundleInstanceAuth"]["runtimeContextID"] == contexts[1]
    await director.data("mutation ($id: ID!) { unregisterRuntime(id: $id) { id } }", id=cluster)
    assert (await director.data(read, id=given[1]["id"]))["bundleInstanceAuth"] == unused
    error = await director.refusal(create, b=bundle, c=contexts[1])
    assert error["message"] == "Object not found [object=runtimeContext]"
    theirs = await context(
        director, await runtime(director, "theirs", caller=director.other), "x", caller=director.other
    )
    error = await director.refusal(create, b=bundle, c=theirs)
    assert error["message"] == "Object not found [object=runtimeContext]"


async def test_a_tenant_that_is_deleted_takes_its_contexts_out_of_other_tenants_groups(director: Any) -> None:
    owner = tenant.NewTenant("owner", "tenant-owner", "account", "test")
    async with director.database.transaction() as tx:
        below = replace(director.caller, tenant=await tenant.write(tx, owner), external_tenant="tenant-owner")
    cluster = await runtime(director, "cluster", caller=below)
    blue = await context(director, cluster, "blue", caller=below)
    async with director.database.transaction() as tx:
        await tx.run(
            "INSERT INTO runtime_tenant (tenant_id, runtime_id, owner) VALUES (%(t)s, %(r)s, true)",
            t=director.caller.tenant,
            r=cluster,
        )
    app = await application(director, "app")
    await group(director, "g", applications=[app])
    await assign(director, "g", context=blue)

    delete = 'mutation { deleteTenants(in: ["tenant-owner"]) }'
    assert await director.data(delete) == {"deleteTenants": 1}

    rows = (await director.data(STATUS, name="g"))["formationByName"]["formationAssignments"]["data"]
    assert [(row["source"], row["target"]) for row in rows] == [(app, app)]


# In groups


async def test_a_context_is_paired_with_everybody_but_its_own_runtime(director: Any) -> None:
    app, cluster = await application(director, "app"), await runtime(director, "cluster")
    other = await runtime(director, "other")
    blue, green = await context(director, cluster, "blue"), await context(director, cluster, "green")
    await group(director, "g", applications=[app], runtimes=[cluster, other])
    await assign(director, "g", context=blue)
    await assign(director, "g", context=blue)
    await assign(director, "g", context=green)

    rows = (await director.data(PAIRS, name="g"))["formationByName"]["formationAssignments"]["data"]

    everybody = [app, cluster, other, blue, green]
    apart = {(cluster, blue), (blue, cluster), (cluster, green), (green, cluster)}
    assert sorted((row["source"], row["target"]) for row in rows) == sorted(
        {(one, two) for one in everybody for two in everybody} - apart
    )
    assert {row["state"] for row in rows} == {"READY"}
    [pair] = [row for row in rows if (row["source"], row["target"]) == (blue, app)]
    assert pair == {
        "source": blue,
        "sourceType": "RUNTIME_CONTEXT",
        "target": app,
        "targetType": "APPLICATION",
        "state": "READY",
        "sourceEntity": {"__typename": "RuntimeContext", "id": blue, "key": "tenant", "value": "blue"},
        "targetEntity": {"__typename": "Application", "id": app},
    }


async def test_a_runtime_that_joins_after_its_context_is_not_paired_with_it_either(director: Any) -> None:
    cluster = await runtime(director, "cluster")
    blue = await context(director, cluster, "blue")
    await group(director, "g")
    await assign(director, "g", context=blue)
    await assign(director, "g", runtime=cluster)

    rows = (await director.data(PAIRS, name="g"))["formationByName"]["formationAssignments"]["data"]

    assert sorted((row["source"], row["target"]) for row in rows) == sorted([(blue, blue), (cluster, cluster)])


async def test_the_groups_of_a_context_stand_in_its_label_and_not_in_its_runtimes(director: Any) -> None:
    cluster = await runtime(director, "cluster")
    blue = await context(director, cluster, "blue")
    for name in ("one", "two"):
        await group(director, name)
        await assign(director, name, context=blue)
    assert (await shown(director, cluster, blue))["runtimeContext"]["labels"] == {"scenarios": ["one", "two"]}
    assert (await shown(director, cluster, blue, key="other"))["runtimeContext"]["labels"] == {}
    ofone = await director.data("query ($id: ID!) { runtime(id: $id) { labels } }", id=cluster)
    assert "scenarios" not in ofone["runtime"]["labels"]
    asked = "query ($id: String!) { formationsForObject(objectID: $id) { name } }"
    assert sorted(entry["name"] for entry in (await director.data(asked, id=blue))["formationsForObject"]) == [
        "one",
        "two",
    ]

    await unassign(director, "one", context=blue)
    await unassign(director, "two", context=blue)

    assert (await shown(director, cluster, blue))["runtimeContext"]["labels"] == {}


async def test_a_runtime_does_not_see_the_applications_of_its_contexts_groups(director: Any) -> None:
    app, cluster = await application(director, "app"), await runtime(director, "cluster")
    await group(director, "g", applications=[app])
    await assign(director, "g", context=await context(director, cluster, "blue"))

    asked = "query ($id: ID!) { applicationsForRuntime(runtimeID: $id) { totalCount } }"

    assert (await director.data(asked, id=cluster))["applicationsForRuntime"]["totalCount"] == 0


async def test_an_unregistered_context_leaves_its_groups(director: Any) -> None:
    app, cluster = await application(director, "app"), await runtime(director, "cluster")
    blue = await context(director, cluster, "blue")
    formation = await group(director, "g", applications=[app])
    await assign(director, "g", context=blue)

    await director.data(UNREGISTER, id=blue)

    rows = (await director.data(PAIRS, name="g"))["formationByName"]["formationAssignments"]["data"]
    assert [(row["source"], row["target"]) for row in rows] == [(app, app)]
    assert await facts(director, "RuntimeContextUnregistered") == [
        {
            "runtime": cluster,
            "runtime_context": blue,
            "key": "tenant",
            "value": "blue",
            "labels": {"scenarios": ["g"]},
            "applications": {app: formation},
            "runtime_name": "cluster",
            "runtime_labels": {"isNormalized": "true"},
        }
    ]


async def test_a_template_admits_a_context_by_the_type_of_its_runtime(director: Any) -> None:
    cluster, odd = await runtime(director, "cluster"), await runtime(director, "odd")
    untyped = await context(director, await runtime(director, "untyped"), "x")
    async with director.database.transaction() as tx:
        for id_, type_ in ((cluster, "kyma"), (odd, "odd")):
            await tx.run(
                "INSERT INTO runtime_label (runtime_id, key, value) VALUES (%(id)s, 'runtimeType', %(type)s)",
                id=id_,
                type=type_,
            )
        for name, types in (("typed", ["kyma"]), ("applications-only", None)):
            await tx.run(
                "INSERT INTO formation_template (name, application_types, runtime_types) "
                "VALUES (%(name)s, '{ANY}', %(types)s)",
                name=name,
                types=types,
            )
    for name, template in (("g", "typed"), ("h", "applications-only")):
        await director.data(CREATE_FORMATION, **{"in": {"name": name, "templateName": template}})
    blue = await context(director, cluster, "blue")
    wanted: dict[str, Any] = {"type": "RUNTIME_CONTEXT", "group": "g"}

    await assign(director, "g", context=blue)

    error = await director.refusal(ASSIGN, id=await context(director, odd, "x"), **wanted)
    assert error["message"] == (
        'The operation is not allowed [reason=unsupported runtimeType "odd" for formation template "typed", '
        'allowing only ["kyma"]]'
    )
    error = await director.refusal(ASSIGN, id=untyped, **wanted)
    assert error["message"] == "Object not found [object=label]"
    error = await director.refusal(ASSIGN, id=blue, **{**wanted, "group": "h"})
    assert 'does not support resources of type "RUNTIME_CONTEXT"' in error["message"]


async def test_assigning_and_unregistering_the_runtime_at_once_leaves_no_half_pair(director: Any) -> None:
    """Whichever is first, there is no pair of a context that is gone."""
    app = await application(director, "app")
    await group(director, "g", applications=[app])
    for number in range(8):
        cluster = await runtime(director, f"cluster-{number}")
        blue = await context(director, cluster, "blue")
        outcomes = await asyncio.gather(
            director("mutation ($id: ID!) { unregisterRuntime(id: $id) { id } }", id=cluster),
            director(ASSIGN, id=blue, type="RUNTIME_CONTEXT", group="g"),
        )
        assert "errors" not in outcomes[0]

    rows = (await director.data(PAIRS, name="g"))["formationByName"]["formationAssignments"]["data"]
    assert [(row["source"], row["target"]) for row in rows] == [(app, app)]
