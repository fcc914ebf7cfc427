"""Applications through the Director's API."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

REGISTER = """
mutation ($in: ApplicationRegisterInput!) {
  result: registerApplication(in: $in) { id name providerName description labels status { condition timestamp } createdAt }
}
"""
NAMES = "{ applications { data { name } totalCount pageInfo { startCursor endCursor hasNextPage } } }"

Announced = Callable[[], Awaitable[Sequence[str]]]


async def register(director: Any, name: str, **more: Any) -> str:
    registered = await director.data(REGISTER, **{"in": {"name": name, **more}})
    return str(registered["result"]["id"])


async def test_a_registered_application_answers_with_what_was_given_and_the_planes_own_labels(
    director: Any, announced: Announced
) -> None:
    data = await director.data(
        REGISTER,
        **{"in": {"name": "Billing System", "providerName": "ACME", "labels": {"tier": ["gold", 1], "managed": "true"}}},
    )

    result = data["result"]
    assert result["name"] == "Billing System"
    assert result["providerName"] == "ACME"
    assert result["description"] is None
    assert result["labels"] == {"managed": "false", "name": "mp-billing-system", "tier": ["gold", 1]}
    assert result["status"]["condition"] == "INITIAL"
    assert result["createdAt"].endswith("Z")
    assert len(result["createdAt"]) == len("2026-11-23T08:04:54Z")
    assert await announced() == ["ApplicationRegistered"]


async def test_a_name_that_normalizes_to_a_taken_one_is_refused(director: Any) -> None:
    await register(director, "billing")

    error = await director.refusal(REGISTER, **{"in": {"name": "Billing"}})

    assert error == {
        "message": "Object name is not unique [object=application]",
        "path": ["result"],
        "extensions": {"error": "NotUniqueName", "error_code": 31},
    }


async def test_the_same_name_may_be_used_in_another_tenant(director: Any) -> None:
    await register(director, "billing")
    await director.data(REGISTER, caller=director.other, **{"in": {"name": "billing"}})

    mine = await director.data(NAMES)
    assert mine["applications"]["totalCount"] == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": ""}, "Invalid data ApplicationRegisterInput [name=cannot be blank]"),
        ({"name": "x" * 101}, "Invalid data ApplicationRegisterInput [name=the length must be between 1 and 100]"),
        (
            {"name": "a", "healthCheckURL": "nonsense", "labels": {"a-b": 1}},
            "Invalid data ApplicationRegisterInput [healthCheckURL=must be a valid URL; "
            "labels=label key 'a-b' must be in a valid format]",
        ),
        (
            {"name": "a", "integrationSystemID": "8fd7f7f4-3d6c-4a9a-8f3c-000000000000"},
            "Object not found [ID=8fd7f7f4-3d6c-4a9a-8f3c-000000000000; object=integrationSystem]",
        ),
    ],
)
async def test_input_that_breaks_a_rule_is_refused_with_the_contracts_words(
    director: Any, given: dict[str, Any], message: str
) -> None:
    error = await director.refusal(REGISTER, **{"in": given})

    assert error["message"] == message


async def test_the_label_of_the_groups_cannot_be_given(director: Any) -> None:
    error = await director.refusal(REGISTER, **{"in": {"name": "a", "labels": {"scenarios": ["x"]}}})

    assert "label with key scenarios cannot be set explicitly" in error["message"]
    assert error["extensions"]["error_code"] == 10


async def test_a_foreign_a_random_and_a_malformed_id_get_the_same_answer(director: Any) -> None:
    foreign = await director.data(REGISTER, caller=director.other, **{"in": {"name": "theirs"}})
    ids = [foreign["result"]["id"], "8fd7f7f4-3d6c-4a9a-8f3c-000000000000", "no-uuid", ""]
    query = "query ($id: ID!) { application(id: $id) { id } }"
    update = 'mutation ($id: ID!) { updateApplication(id: $id, in: {description: "x"}) { id } }'

    assert [await director.data(query, id=id_) for id_ in ids] == [{"application": None}] * 4
    refusals = [await director.refusal(update, id=id_) for id_ in ids]

    assert {error["message"] for error in refusals} == {"Object not found [object=application]"}


async def test_pages_follow_each_other_by_cursor_and_end(director: Any) -> None:
    for number in range(5):
        await register(director, f"app-{number}")
    query = """
    query ($after: PageCursor) {
      applications(first: 2, after: $after) { data { id } totalCount pageInfo { startCursor endCursor hasNextPage } }
    }"""

    first = (await director.data(query))["applications"]
    second = (await director.data(query, after=first["pageInfo"]["endCursor"]))["applications"]
    third = (await director.data(query, after=second["pageInfo"]["endCursor"]))["applications"]

    assert [len(page["data"]) for page in (first, second, third)] == [2, 2, 1]
    assert [page["totalCount"] for page in (first, second, third)] == [5, 5, 5]
    assert first["pageInfo"] == {"startCursor": "", "endCursor": "RHBLdEo0ajlqRHEy", "hasNextPage": True}
    assert third["pageInfo"] == {"startCursor": "RHBLdEo0ajlqRHE0", "endCursor": "", "hasNextPage": False}
    ids = [entry["id"] for page in (first, second, third) for entry in page["data"]]
    assert ids == sorted(ids)
    assert len(set(ids)) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("first: 0", "Invalid data [reason=page size must be between 1 and 200]"),
        ("first: 201", "Invalid data [reason=page size must be between 1 and 200]"),
        ("first: null", "Invalid data [reason=missing required parameter 'first']"),
        ('after: "%%%"', "cursor is not correct"),
    ],
)
async def test_a_page_that_cannot_be_is_refused(director: Any, arguments: str, message: str) -> None:
    error = await director.refusal("{ applications(%s) { totalCount } }" % arguments)

    assert message in error["message"]
    assert error["path"] == ["applications"]


async def test_filters_must_all_match_and_an_unparsable_query_is_refused(director: Any) -> None:
    await register(director, "one", labels={"tier": "gold", "regions": ["eu", "us"]})
    await register(director, "two", labels={"tier": "gold", "regions": ["us"]})
    await register(director, "three", labels={"regions": ["eu"]})
    query = "query ($filter: [LabelFilter!]) { applications(filter: $filter) { data { name } totalCount } }"

    async def found(*filters: dict[str, str]) -> list[str]:
        page = (await director.data(query, filter=list(filters)))["applications"]
        assert page["totalCount"] == len(page["data"])
        return sorted(entry["name"] for entry in page["data"])

    assert await found() == ["one", "three", "two"]
    assert await found({"key": "tier"}) == ["one", "two"]
    assert await found({"key": "tier", "query": '"gold"'}, {"key": "regions", "query": '["eu"]'}) == ["one"]
    assert await found({"key": "tier", "query": '"silver"'}) == []
    error = await director.refusal(query, filter=[{"key": "tier", "query": "gold"}])
    assert error["extensions"]["error_code"] == 10


async def test_an_update_without_status_returns_to_initial_and_keeps_what_is_not_given(
    director: Any, announced: Announced
) -> None:
    application = await register(director, "a", description="before", statusCondition="CONNECTED")

    data = await director.data(
        """mutation ($id: ID!) {
          updateApplication(id: $id, in: {providerName: "P"}) { description providerName status { condition } }
        }""",
        id=application,
    )

    assert data["updateApplication"] == {"description": "before", "providerName": "P", "status": {"condition": "INITIAL"}}
    assert await announced() == ["ApplicationRegistered", "ApplicationUpdated"]


async def test_unregistering_answers_what_was_there_and_leaves_nothing(director: Any, announced: Announced) -> None:
    application = await register(director, "gone")

    data = await director.data("mutation ($id: ID!) { unregisterApplication(id: $id) { name } }", id=application)

    assert data == {"unregisterApplication": {"name": "gone"}}
    assert (await director.data(NAMES))["applications"]["totalCount"] == 0
    assert await announced() == ["ApplicationRegistered", "ApplicationUnregistered"]


async def test_a_parent_tenant_sees_and_a_child_does_not(director: Any) -> None:
    await director.data(
        """mutation { writeTenants(in: [
          {name: "child", externalTenant: "tenant-child", type: "subaccount", provider: "test", parents: ["tenant-mine"]}
        ]) }"""
    )
    child = (await director.data('{ tenantByExternalID(id: "tenant-child") { internalID } }'))["tenantByExternalID"]
    in_child = replace(director.caller, tenant=child["internalID"])
    await register(director, "parents")
    await director.data(REGISTER, caller=in_child, **{"in": {"name": "childs"}})

    mine = (await director.data(NAMES))["applications"]
    childs = (await director.data(NAMES, caller=in_child))["applications"]

    assert sorted(entry["name"] for entry in mine["data"]) == ["childs", "parents"]
    assert mine["totalCount"] == 2
    assert [entry["name"] for entry in childs["data"]] == ["childs"]


async def test_a_missing_scope_is_named(director: Any) -> None:
    caller = replace(director.caller, scopes=frozenset({"runtime:read"}))

    error = await director.refusal(NAMES, caller=caller)

    assert error["message"] == "insufficient scopes provided [actual=runtime:read; required=application:read]"
    assert error["extensions"] == {"error": "InsufficientScopes", "error_code": 23}


async def test_without_a_tenant_nothing_is_answered(director: Any) -> None:
    nameless = replace(director.caller, tenant=None, external_tenant=None)
    unknown = replace(director.caller, tenant=None, external_tenant="nobody")

    assert (await director.refusal(NAMES, caller=nameless))["message"] == "Tenant is required"
    assert (await director.refusal(NAMES, caller=unknown))["message"] == "Tenant not found [externalTenant=nobody]"
