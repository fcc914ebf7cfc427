"""Credential requests as one list, for those who answer them."""

import json
from typing import Any

from tests.director import catalogue
from tests.director.test_bundle_instance_auth import OWN, SET, made, requested

LIST = """
query ($app: ID, $condition: BundleInstanceAuthStatusCondition, $first: Int = 100, $after: PageCursor) {
  result: credentialRequests(applicationID: $app, condition: $condition, first: $first, after: $after) {
    totalCount
    pageInfo { endCursor hasNextPage }
    data {
      id applicationID applicationName bundleID bundleName inputSchema inputProblems { path message } runtimeName
      instanceAuth { id context inputParams runtimeID status { condition } auth { credential { __typename } } }
    }
  }
}
"""
SCHEMA = {"type": "object", "properties": {"plan": {"enum": ["small", "large"]}}, "required": ["plan"]}
UPDATE_BUNDLE = "mutation ($id: ID!, $in: BundleUpdateInput!) { updateBundle(id: $id, in: $in) { id } }"


async def listed(director: Any, **which: Any) -> Any:
    return (await director.data(LIST, **which))["result"]


async def test_a_request_is_listed_with_what_it_takes_to_decide(director: Any) -> None:
    application, bundle, runtime, caller = await made(director, instanceAuthRequestInputSchema=json.dumps(SCHEMA))
    asked = await requested(director, bundle, caller, context='{"for": "x"}', inputParams='{"plan": "small"}')

    [one] = (await listed(director))["data"]

    assert one == {
        "id": asked["id"],
        "applicationID": application,
        "applicationName": "orders",
        "bundleID": bundle,
        "bundleName": "main",
        "inputSchema": json.dumps(SCHEMA),
        "inputProblems": [],
        "runtimeName": "kyma",
        "instanceAuth": {
            "id": asked["id"],
            "context": '{"for": "x"}',
            "inputParams": '{"plan": "small"}',
            "runtimeID": runtime,
            "status": {"condition": "PENDING"},
            "auth": None,
        },
    }


async def test_input_that_does_not_fit_the_schema_any_more_is_pointed_at(director: Any) -> None:
    _, bundle, _, caller = await made(director, instanceAuthRequestInputSchema=json.dumps(SCHEMA))
    await requested(director, bundle, caller, inputParams='{"plan": "small"}')
    stricter = {**SCHEMA, "properties": {"plan": {"enum": ["large"]}}, "required": ["plan", "owner"]}
    given = {"name": "orders", "instanceAuthRequestInputSchema": json.dumps(stricter)}
    await director.data(UPDATE_BUNDLE, id=bundle, **{"in": given})

    [one] = (await listed(director))["data"]

    assert sorted((problem["path"], problem["message"]) for problem in one["inputProblems"]) == [
        ("", '"owner" is a required property'),
        ("/plan", '"small" is not one of "large"'),
    ]


async def test_requests_are_asked_for_by_application_and_condition_newest_first(director: Any) -> None:
    application, bundle, _, caller = await made(director)
    first = await requested(director, bundle, caller)
    second = await requested(director, bundle, caller)
    await director.data(SET, id=first["id"], **{"in": {"auth": OWN}})

    async def ids(**which: Any) -> list[str]:
        return [one["id"] for one in (await listed(director, **which))["data"]]

    assert await ids() == [second["id"], first["id"]]
    assert await ids(condition="PENDING") == [second["id"]]
    assert await ids(condition="SUCCEEDED", app=application) == [first["id"]]
    assert await ids(app=bundle) == []
    page = await listed(director, first=1)
    assert (page["totalCount"], page["pageInfo"]["hasNextPage"]) == (2, True)
    assert await ids(first=1, after=page["pageInfo"]["endCursor"]) == [first["id"]]


async def test_everybody_sees_their_own_only(director: Any) -> None:
    application, bundle, _, caller = await made(director)
    other_runtime = await catalogue.runtime(director, "other")
    other_application = await catalogue.register(director, "other")
    await requested(director, bundle, caller)

    async def seen(who: Any) -> int:
        return int((await listed(director, caller=who))["totalCount"])

    assert await seen(director.application(application)) == 1
    assert await seen(caller) == 1
    assert await seen(director.application(other_application)) == 0
    assert await seen(director.runtime(other_runtime)) == 0
    assert await seen(director.other) == 0
    error = await director.refusal(LIST, caller=catalogue.without(director.caller, "bundle.instance_auths:read"))
    assert "bundle.instance_auths:read" in error["message"]
