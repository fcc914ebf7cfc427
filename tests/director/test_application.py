"""Applications through the Director's API."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from compass.director import application
from compass.ids import ApplicationId
from compass.reads.plan import Lent
from compass.settings import LandscapeSettings

REGISTER = """
mutation ($in: ApplicationRegisterInput!) {
  result: registerApplication(in: $in) {
    id name providerName description labels status { condition timestamp } createdAt
  }
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
        **{
            "in": {"name": "Billing System", "providerName": "ACME", "labels": {"tier": ["gold", 1], "managed": "true"}}
        },
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
            (
                "Invalid data ApplicationRegisterInput [healthCheckURL=must be a valid URL; "
                "labels=label key 'a-b' must be in a valid format]"
            ),
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

    assert data["updateApplication"] == {
        "description": "before",
        "providerName": "P",
        "status": {"condition": "INITIAL"},
    }
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
          {name: "child", externalTenant: "tenant-child", type: "subaccount", provider: "test",
           parents: ["tenant-mine"]}
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


# --- groups: who shares one with whom decides what a runtime sees and what may be removed ---

FOR_RUNTIME = """
query ($id: ID!, $first: Int, $after: PageCursor) {
  result: applicationsForRuntime(runtimeID: $id, first: $first, after: $after) {
    data { id name } totalCount pageInfo { startCursor endCursor hasNextPage } }
}
"""
UNPAIR = "mutation ($id: ID!) { result: unpairApplication(id: $id) { id status { condition } auths { id } } }"
NOBODY = "8fd7f7f4-3d6c-4a9a-8f3c-000000000000"


async def add_runtime(director: Any, name: str = "kyma", **more: Any) -> str:
    document = "mutation ($in: RuntimeRegisterInput!) { result: registerRuntime(in: $in) { id } }"
    return str((await director.data(document, **{"in": {"name": name, **more}}))["result"]["id"])


async def group(director: Any, name: str, applications: Sequence[str], runtimes: Sequence[str] = ()) -> None:
    """A group of these participants: a row for every ordered pair, and one for each with itself."""
    members = [(id_, "APPLICATION") for id_ in applications] + [(id_, "RUNTIME") for id_ in runtimes]
    async with director.database.transaction() as tx:
        await tx.run(
            """
            WITH made AS (
                INSERT INTO formation (tenant_id, formation_template_id, name, state)
                SELECT %(tenant)s, id, %(name)s, 'READY' FROM formation_template WHERE tenant_id IS NULL RETURNING id
            ), member AS (
                SELECT entry ->> 0 AS id, entry ->> 1 AS type FROM jsonb_array_elements(%(members)s::jsonb) AS entry
            )
            INSERT INTO formation_assignment (formation_id, source, source_type, target, target_type, state)
            SELECT made.id, a.id::uuid, a.type, b.id::uuid, b.type, 'READY' FROM made, member a, member b
            """,
            tenant=director.caller.tenant,
            name=name,
            members=members,
        )


async def set_state(director: Any, state: str) -> None:
    async with director.database.transaction() as tx:
        await tx.run("UPDATE formation_assignment SET state = %(state)s", state=state)


async def names_for(director: Any, runtime: str) -> list[str]:
    page = (await director.data(FOR_RUNTIME, id=runtime))["result"]
    assert page["totalCount"] == len(page["data"])
    return sorted(entry["name"] for entry in page["data"])


async def test_a_runtime_is_told_of_the_applications_it_shares_a_group_with(director: Any) -> None:
    ours, twice, theirs = [await register(director, name) for name in ("Our App", "Twice", "theirs")]
    await register(director, "alone")
    runtime, other = await add_runtime(director), await add_runtime(director)
    await group(director, "one", [ours, twice], [runtime])
    await group(director, "two", [twice], [runtime])
    await group(director, "three", [theirs], [other])

    assert await names_for(director, runtime) == ["mp-our-app", "mp-twice"]
    assert await names_for(director, other) == ["mp-theirs"]
    assert await names_for(director, await add_runtime(director)) == []


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (None, ["mp-our-app"]),
        ({"isNormalized": "true"}, ["mp-our-app"]),
        ({"isNormalized": "false"}, ["Our App"]),
        ({"isNormalized": True}, ["Our App"]),
    ],
)
async def test_names_are_normalized_unless_the_runtime_says_otherwise(
    director: Any, labels: Any, expected: list[str]
) -> None:
    application = await register(director, "Our App")
    runtime = await add_runtime(director, labels=labels)
    await group(director, "one", [application], [runtime])

    assert await names_for(director, runtime) == expected


async def test_a_runtime_without_the_label_gets_normalized_names(director: Any) -> None:
    application, runtime = await register(director, "Our App"), await add_runtime(director)
    await group(director, "one", [application], [runtime])
    await director.data(
        'mutation ($id: ID!) { deleteRuntimeLabel(runtimeID: $id, key: "isNormalized") { key } }', id=runtime
    )

    assert await names_for(director, runtime) == ["mp-our-app"]


@pytest.mark.parametrize(("normalized", "expected"), [("true", ["mp-our-app-42"]), ("false", ["Our App-42"])])
async def test_a_system_number_is_added_to_the_name(director: Any, normalized: str, expected: list[str]) -> None:
    application = await register(director, "Our App")
    runtime = await add_runtime(director, labels={"isNormalized": normalized})
    await group(director, "one", [application], [runtime])
    async with director.database.transaction() as tx:
        await tx.run("UPDATE application SET system_number = '42'")

    assert await names_for(director, runtime) == expected
    plain = (await director.data("{ applications { data { name systemNumber } } }"))["applications"]["data"]
    assert plain == [{"name": "Our App", "systemNumber": "42"}]


@pytest.mark.parametrize(("state", "seen"), [("CREATE_ERROR", 1), ("INITIAL", 1), ("DELETING", 0), ("DELETE_ERROR", 0)])
async def test_an_application_that_leaves_the_group_is_gone_at_once(director: Any, state: str, seen: int) -> None:
    application, runtime = await register(director, "a"), await add_runtime(director)
    await group(director, "one", [application], [runtime])
    await set_state(director, state)

    assert len(await names_for(director, runtime)) == seen


async def test_applications_with_a_hidden_label_are_kept_from_runtimes_and_from_nobody_else(director: Any) -> None:
    hidden = {"secret": "s", "listed": ["s"], "sorted": "t"}
    chosen = LandscapeSettings(hidden_applications=("secret=r", "secret = s", "listed=s"))
    hiding = director.lent({Lent: Lent(hidden_applications=chosen.hidden_labels())})
    applications = [await register(director, key, labels={key: value}) for key, value in hidden.items()]
    shown = await register(director, "shown", labels={"secret": "other", "listed": ["s", "other"]})
    runtime = await add_runtime(director)
    await group(director, "one", [*applications, shown], [runtime])
    query = "{ applications { data { name } totalCount } }"

    assert await names_for(director, runtime) == ["mp-listed", "mp-secret", "mp-shown", "mp-sorted"]
    assert await names_for(hiding, runtime) == ["mp-shown", "mp-sorted"]
    own = (await hiding.data(query, caller=director.runtime(runtime)))["applications"]
    assert (sorted(entry["name"] for entry in own["data"]), own["totalCount"]) == (["mp-shown", "mp-sorted"], 2)
    assert (await hiding.data(query))["applications"]["totalCount"] == 4


async def test_a_page_for_a_runtime_may_be_larger_than_others_and_pages_follow_each_other(director: Any) -> None:
    runtime = await add_runtime(director)
    async with director.database.transaction() as tx:
        rows = await tx.rows(
            """
            WITH made AS (
                INSERT INTO application (tenant_id, name)
                SELECT %(tenant)s, 'app-' || number FROM generate_series(1, 250) AS number RETURNING id, tenant_id
            ), visible AS (
                INSERT INTO application_tenant (tenant_id, application_id, owner) SELECT tenant_id, id, true FROM made
            )
            SELECT id FROM made
            """,
            tenant=director.caller.tenant,
        )
    await group(director, "one", [row["id"] for row in rows], [runtime])

    whole = (await director.data(FOR_RUNTIME, id=runtime, first=1000))["result"]
    first = (await director.data(FOR_RUNTIME, id=runtime, first=200))["result"]
    rest = (await director.data(FOR_RUNTIME, id=runtime, first=200, after=first["pageInfo"]["endCursor"]))["result"]
    error = await director.refusal(FOR_RUNTIME, id=runtime, first=0)

    assert (len(whole["data"]), whole["totalCount"], whole["pageInfo"]["hasNextPage"]) == (250, 250, False)
    assert whole["data"] == first["data"] + rest["data"] == sorted(whole["data"], key=lambda entry: entry["id"])
    assert (len(first["data"]), first["pageInfo"]["hasNextPage"]) == (200, True)
    assert (len(rest["data"]), rest["pageInfo"]["hasNextPage"], rest["pageInfo"]["endCursor"]) == (50, False, "")
    assert error["message"] == "Invalid data [reason=page size cannot be smaller than 1]"


async def test_a_runtime_that_the_tenant_does_not_see_does_not_exist(director: Any) -> None:
    foreign = (await director.data('mutation { r: registerRuntime(in: {name: "k"}) { id } }', caller=director.other))[
        "r"
    ]["id"]

    errors = [await director.refusal(FOR_RUNTIME, id=id_) for id_ in (foreign, NOBODY, "no-uuid", "")]

    assert {error["message"] for error in errors} == {"Invalid data [reason=runtime does not exist]"}
    assert {error["path"][0] for error in errors} == {"result"}


async def test_a_runtime_lists_what_applications_for_runtime_has_and_sees_no_others(director: Any) -> None:
    ours, theirs = await register(director, "Our App"), await register(director, "theirs")
    runtime = await add_runtime(director)
    await group(director, "one", [ours], [runtime])
    await group(director, "two", [theirs], [await add_runtime(director)])
    itself = director.runtime(runtime)

    text = '{ applications(first: 1000, filter: [{key: "none"}]) { data { id name } totalCount } }'
    page = (await director.data(text, caller=itself))["applications"]
    one = "query ($id: ID!) { application(id: $id) { name } }"
    shown = await director.data(one, id=ours, caller=itself)
    errors = [await director.refusal(one, id=id_, caller=itself) for id_ in (theirs, NOBODY, "no-uuid")]

    assert page == {"data": [{"id": ours, "name": "mp-our-app"}], "totalCount": 1}
    assert shown == {"application": {"name": "Our App"}}
    assert {error["message"] for error in errors} == {
        (
            "The operation is not allowed [reason=requesting runtime should be in same scenario as the requested "
            "application resource]"
        )
    }


async def test_an_application_in_a_group_is_not_unregistered(director: Any) -> None:
    application = await register(director, "Orders")
    await group(director, "one", [application])
    await group(director, "another", [application])

    error = await director.refusal("mutation ($id: ID!) { unregisterApplication(id: $id) { id } }", id=application)

    assert error["message"] == (
        "The operation is not allowed [reason=System Orders is part of the following formations : another, one]"
    )
    assert error["extensions"] == {"error": "InvalidOperation", "error_code": 27}


async def test_unpairing_cuts_every_way_in_and_leaves_the_catalogue(director: Any, announced: Announced) -> None:
    application = await register(director, "orders", statusCondition="CONNECTED")
    await group(director, "alone", [application])
    await director.data("mutation ($id: ID!) { requestOneTimeTokenForApplication(id: $id) { token } }", id=application)
    await director.data(
        "mutation ($id: ID!) { requestClientCredentialsForApplication(id: $id) { id } }", id=application
    )

    data = await director.data(UNPAIR, id=application)

    assert data["result"] == {"id": application, "status": {"condition": "INITIAL"}, "auths": []}
    assert (await announced())[-1] == "ApplicationUnpaired"
    async with director.database.transaction() as tx:
        assert await tx.value("SELECT count(*) FROM system_auth") == 0
        assert await tx.value("SELECT count(*) FROM one_time_token") == 0


async def test_an_application_that_a_runtime_uses_is_not_unpaired(director: Any) -> None:
    application = await register(director, "Orders")
    await group(director, "two", [application], [await add_runtime(director, "b"), await add_runtime(director, "a")])
    await group(director, "one", [application], [await add_runtime(director, "a")])
    await group(director, "alone", [application])

    error = await director.refusal(UNPAIR, id=application)

    assert error["message"] == (
        "The operation is not allowed [reason=System Orders is still used and cannot be deleted. Unassign the system "
        "from the following formations first: one, two. Then, unassign the system from the following runtimes, too: "
        "a, b]"
    )


async def test_a_foreign_or_unknown_application_is_neither_unpaired_nor_unregistered(director: Any) -> None:
    foreign = (await director.data(REGISTER, caller=director.other, **{"in": {"name": "theirs"}}))["result"]["id"]

    for document in (UNPAIR, "mutation ($id: ID!) { unregisterApplication(id: $id) { id } }"):
        errors = [await director.refusal(document, id=id_) for id_ in (foreign, NOBODY, "no-uuid", "")]
        assert {error["message"] for error in errors} == {"Object not found [object=application]"}


async def test_an_application_changes_itself_and_no_other_of_its_tenant(director: Any) -> None:
    application = await register(director, "orders")
    other, itself = director.application(NOBODY), director.application(application)
    update = 'mutation ($id: ID!) { result: updateApplication(id: $id, in: {description: "x"}) { description } }'

    for document in (update, UNPAIR, "mutation ($id: ID!) { unregisterApplication(id: $id) { id } }"):
        error = await director.refusal(document, id=application, caller=other)
        assert error["message"] == "Unauthorized [reason=Owner access is needed for resource modification]"
    assert (await director.data(update, id=application, caller=itself))["result"] == {"description": "x"}


async def test_the_label_of_the_integration_system_follows_an_update(director: Any) -> None:
    register_system = 'mutation { r: registerIntegrationSystem(in: {name: "broker"}) { id } }'
    first = (await director.data(register_system))["r"]["id"]
    second = (await director.data(register_system))["r"]["id"]
    application = await register(director, "a")
    update = """
    mutation ($id: ID!, $is: ID) {
      result: updateApplication(id: $id, in: {integrationSystemID: $is}) { integrationSystemID labels }
    }"""

    for system in (first, second, None):
        result = (await director.data(update, id=application, **{"is": system}))["result"]
        kept = system or second
        assert result["integrationSystemID"] == result["labels"]["integrationSystemID"] == kept
    for unknown in (NOBODY, "no-uuid", ""):
        refused = await director.refusal(update, id=application, **{"is": unknown})
        registered = await director.refusal(REGISTER, **{"in": {"name": "b", "integrationSystemID": unknown}})
        assert (
            refused["message"] == registered["message"] == f"Object not found [ID={unknown}; object=integrationSystem]"
        )


async def test_the_label_of_the_name_comes_back_with_an_update(director: Any) -> None:
    application = await register(director, "Our App")
    set_label = """mutation ($id: ID!) {
      setApplicationLabel(applicationID: $id, key: "name", value: "other") { key }
    }"""
    await director.data(set_label, id=application)

    update = "mutation ($id: ID!) { result: updateApplication(id: $id, in: {}) { labels } }"
    result = (await director.data(update, id=application))["result"]

    assert result["labels"] == {"managed": "false", "name": "mp-our-app"}


@pytest.mark.parametrize(
    ("base_url", "entry", "url"),
    [
        ("https://erp.example.com/", "SAP Order=-api/ord/v1", "https://erp-api.example.com/ord/v1"),
        ("https://erp.example.com:8443/base", "SAP Order=/ord/v1", "https://erp.example.com:8443/base/ord/v1"),
        ("http://u:p@erp:80", "SAP Order=-api/", "http://erp-api:80/"),
        ("no address", "SAP Order=/ord/v1", None),
        ("https://[erp", "SAP Order=/ord/v1", None),
        ("", "SAP Order=/ord/v1", None),
        ("https://erp.example.com/", "Another=/ord/v1", None),
    ],
)
async def test_an_update_adds_the_discovery_webhook_of_a_known_type_once(
    director: Any, base_url: str, entry: str, url: str | None
) -> None:
    discovering = director.lent({LandscapeSettings: LandscapeSettings(discovery_webhooks=(entry,))})
    application = await register(director, "orders", labels={"applicationType": "SAP Order"}, baseUrl=base_url)
    update = """mutation ($id: ID!) { result: updateApplication(id: $id, in: {}) {
      webhooks { type url mode auth { accessStrategy } }
    } }"""

    shown = [(await discovering.data(update, id=application))["result"]["webhooks"] for _ in range(2)]

    expected = [
        {"type": "OPEN_RESOURCE_DISCOVERY", "url": url, "mode": None, "auth": {"accessStrategy": "sap:cmp-mtls:v1"}}
    ]
    assert shown == [expected if url else []] * 2


async def test_without_the_setting_an_update_adds_no_webhook(director: Any) -> None:
    application = await register(
        director, "orders", labels={"applicationType": "SAP Order"}, baseUrl="https://erp.example.com"
    )

    update = "mutation ($id: ID!) { result: updateApplication(id: $id, in: {}) { webhooks { id } } }"
    assert (await director.data(update, id=application))["result"] == {"webhooks": []}


async def test_the_first_own_call_connects_and_further_ones_are_no_news(director: Any, announced: Announced) -> None:
    application_id = await register(director, "a")

    for _ in range(2):
        async with director.database.transaction() as tx:
            await application.connect(tx, ApplicationId(application_id))

    status = await director.data(
        "query ($id: ID!) { application(id: $id) { status { condition } } }", id=application_id
    )
    assert status == {"application": {"status": {"condition": "CONNECTED"}}}
    assert await announced() == ["ApplicationRegistered", "ApplicationConnected"]


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "given",
    [
        {"name": "a\0b"},
        {"name": "a", "description": "\0"},
        {"name": "a", "labels": {"k": ["\0"]}},
        {"name": "a", "labels": {"k": nested(300)}},
    ],
)
async def test_what_the_database_has_no_form_for_is_refused_and_is_no_defect(
    director: Any, given: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    error = await director.refusal(REGISTER, **{"in": given})

    assert error["message"] == (
        "Invalid data [reason=a text holds a NUL character, or a value is too large or too deep to be kept]"
    )
    assert caplog.records == []


async def test_a_number_that_no_json_of_ours_can_hold_is_refused(director: Any) -> None:
    text = 'mutation { registerApplication(in: {name: "a", labels: {k: 123456789012345678901234567890}}) { id } }'

    assert (await director.refusal(text))["extensions"] == {"error": "InvalidData", "error_code": 22}


async def test_a_search_for_what_no_text_can_hold_is_refused(director: Any) -> None:
    error = await director.refusal('{ applications(filter: [{key: "a\\u0000"}]) { totalCount } }')

    assert error["extensions"] == {"error": "InvalidData", "error_code": 22}


# By what others call them

BY_NUMBER = "query ($n: String!) { r: applicationBySystemNumber(systemNumber: $n) { id } }"
BY_TENANT = """
query ($n: String!, $filter: [LabelFilter], $first: Int = 200, $after: PageCursor) {
  r: applicationsByLocalTenantID(localTenantID: $n, filter: $filter, first: $first, after: $after) {
    data { id } totalCount pageInfo { hasNextPage endCursor }
  }
}
"""
BY_TENANT_AND_TEMPLATE = """
query ($n: String!, $template: ID!) {
  r: applicationByLocalTenantIDAndAppTemplateID(localTenantID: $n, applicationTemplateID: $template) { id }
}
"""
GLOBAL = """
query ($filter: [LabelFilter!], $first: Int = 200, $after: PageCursor) {
  r: applicationsGlobal(filter: $filter, first: $first, after: $after) {
    data { application { id name } tenants { id } } totalCount pageInfo { hasNextPage endCursor }
  }
}
"""


async def numbered(director: Any, name: str, number: str, caller: Any = None) -> str:
    made = await director.data(REGISTER, caller=caller, **{"in": {"name": name}})
    async with director.database.transaction() as tx:
        await tx.run(
            "-- test\nUPDATE application SET system_number = %(n)s WHERE id = %(id)s", id=made["result"]["id"], n=number
        )
    return str(made["result"]["id"])


async def test_an_application_is_found_by_its_system_number_in_its_own_tenant_only(director: Any) -> None:
    mine = await numbered(director, "mine", "7")
    await numbered(director, "theirs", "8", director.other)

    assert await director.data(BY_NUMBER, n="7") == {"r": {"id": mine}}
    for caller, number in ((director.caller, "8"), (director.other, "7"), (director.caller, "")):
        assert await director.data(BY_NUMBER, caller=caller, n=number) == {"r": None}


async def test_of_several_with_one_system_number_the_oldest_is_found(director: Any) -> None:
    oldest = await numbered(director, "first", "7")
    await numbered(director, "second", "7")

    assert await director.data(BY_NUMBER, n="7") == {"r": {"id": oldest}}


async def test_applications_are_found_by_their_local_tenant_in_pages_of_any_size_and_by_labels(director: Any) -> None:
    gold = await register(director, "a", localTenantID="x", labels={"tier": "gold"})
    other = await register(director, "b", localTenantID="x")
    await register(director, "c", localTenantID="y")
    await director.data(REGISTER, caller=director.other, **{"in": {"name": "a", "localTenantID": "x"}})
    both = sorted([gold, other])

    whole = (await director.data(BY_TENANT, n="x", first=1000))["r"]
    first = (await director.data(BY_TENANT, n="x", first=1))["r"]
    second = (await director.data(BY_TENANT, n="x", first=1, after=first["pageInfo"]["endCursor"]))["r"]
    labelled = (await director.data(BY_TENANT, n="x", filter=[None, {"key": "tier", "query": '"gold"'}, None]))["r"]

    assert ([one["id"] for one in whole["data"]], whole["totalCount"]) == (both, 2)
    assert [one["id"] for page in (first, second) for one in page["data"]] == both
    assert (first["pageInfo"]["hasNextPage"], second["pageInfo"]["hasNextPage"]) == (True, False)
    assert (labelled["data"], labelled["totalCount"]) == ([{"id": gold}], 1)
    assert (await director.data(BY_TENANT, n="nobody"))["r"]["totalCount"] == 0
    assert (await director.data(BY_TENANT, n="x", filter=[None]))["r"]["totalCount"] == 2
    small = await director.refusal(BY_TENANT, n="x", first=0)
    assert small["message"] == "Invalid data [reason=page size cannot be smaller than 1]"
    wrong = await director.refusal(BY_TENANT, n="x", filter=[{"key": "tier", "query": "gold"}])
    assert wrong["extensions"]["error_code"] == 10


async def test_an_application_is_found_by_local_tenant_and_template(director: Any) -> None:
    made = await director.data(
        """mutation { r: createApplicationTemplate(in: {
          name: "t", accessLevel: GLOBAL, applicationInput: {name: "a", localTenantID: "x"}
        }) { id } }"""
    )
    template = made["r"]["id"]
    from_template = 'mutation { r: registerApplicationFromTemplate(in: {templateName: "t", values: []}) { id } }'
    wanted = (await director.data(from_template))["r"]["id"]
    await director.data(from_template, caller=director.other)
    await register(director, "b", localTenantID="x")

    assert await director.data(BY_TENANT_AND_TEMPLATE, n="x", template=template) == {"r": {"id": wanted}}
    for number, id_ in (("y", template), ("x", NOBODY), ("x", "no-uuid")):
        assert await director.data(BY_TENANT_AND_TEMPLATE, n=number, template=id_) == {"r": None}


async def test_a_runtime_finds_applications_of_its_groups_only_whatever_it_asks_by(director: Any) -> None:
    shared, hidden = await register(director, "a", localTenantID="x"), await register(director, "b", localTenantID="x")
    async with director.database.transaction() as tx:
        await tx.run("-- test\nUPDATE application SET system_number = name")
    runtime = await add_runtime(director)
    await group(director, "one", [shared], [runtime])
    caller = director.runtime(runtime)

    page = (await director.data(BY_TENANT, caller=caller, n="x"))["r"]

    assert (page["data"], page["totalCount"]) == ([{"id": shared}], 1)
    assert await director.data(BY_NUMBER, caller=caller, n="a") == {"r": {"id": shared}}
    assert await director.data(BY_NUMBER, caller=caller, n="b") == {"r": None}
    assert (await director.data(BY_NUMBER, n="b"))["r"]["id"] == hidden


async def test_all_applications_are_listed_with_the_tenants_that_see_them(director: Any) -> None:
    child = """mutation { writeTenant(in: {
      name: "c", externalTenant: "below", type: "subaccount", provider: "t", parents: ["tenant-mine"]
    }) }"""
    below = replace(director.caller, tenant=(await director.data(child))["writeTenant"], external_tenant="below")
    theirs = (await director.data(REGISTER, caller=director.other, **{"in": {"name": "theirs", "labels": {"a": 1}}}))[
        "result"
    ]
    ours = (await director.data(REGISTER, caller=below, **{"in": {"name": "ours"}}))["result"]
    tenantless = replace(director.caller, tenant=None, external_tenant=None)
    expected = {theirs["id"]: ["tenant-other"], ours["id"]: ["below", "tenant-mine"]}

    everything = (await director.data(GLOBAL, caller=tenantless))["r"]
    labelled = (await director.data(GLOBAL, filter=[{"key": "a", "query": "1"}]))["r"]
    first = (await director.data(GLOBAL, first=1))["r"]
    rest = (await director.data(GLOBAL, first=1, after=first["pageInfo"]["endCursor"]))["r"]

    found = {one["application"]["id"]: [tenant["id"] for tenant in one["tenants"]] for one in everything["data"]}
    assert (found, everything["totalCount"]) == (expected, 2)
    assert [one["application"]["name"] for one in labelled["data"]] == ["theirs"]
    assert [*first["data"], *rest["data"]] == everything["data"]
    assert (first["totalCount"], first["pageInfo"]["hasNextPage"], rest["pageInfo"]["hasNextPage"]) == (2, True, False)
    large = await director.refusal(GLOBAL, first=201)
    assert large["message"] == "Invalid data [reason=page size must be between 1 and 200]"


@pytest.mark.parametrize(
    ("document", "variables", "scope"),
    [
        (BY_NUMBER, {"n": "1"}, "application:read"),
        (BY_TENANT, {"n": "1"}, "application:read"),
        (BY_TENANT_AND_TEMPLATE, {"n": "1", "template": NOBODY}, "application:read"),
        (GLOBAL, {}, "application_global:read"),
    ],
)
async def test_finding_needs_its_scope_and_a_tenant_where_it_is_the_tenants(
    director: Any, document: str, variables: dict[str, Any], scope: str
) -> None:
    error = await director.refusal(
        document, caller=replace(director.caller, scopes=director.caller.scopes - {scope}), **variables
    )
    tenantless = replace(director.caller, tenant=None, external_tenant=None)
    without_tenant = await director(document, caller=tenantless, **variables)

    assert error["extensions"]["error_code"] == 23
    if document is not GLOBAL:
        assert without_tenant["errors"][0]["message"] == "Tenant is required"


async def test_each_of_these_is_one_statement(director: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await register(director, "a", localTenantID="x")
    ran: list[str] = []
    read = director.database.read

    async def counting(sql: str, parameters: Any, **how: Any) -> Any:
        ran.append(sql)
        return await read(sql, parameters, **how)

    monkeypatch.setattr(director.database, "read", counting)
    templates = """{ applicationTemplates {
      data { name applicationInput placeholders { name } webhooks { id } labels } totalCount
    } }"""

    for document, variables in (
        (BY_NUMBER, {"n": "1"}), (BY_TENANT, {"n": "x"}), (BY_TENANT_AND_TEMPLATE, {"n": "x", "template": NOBODY}),
        (GLOBAL, {}), (templates, {}),
    ):  # fmt: skip
        await director.data(document, **variables)

    assert len(ran) == 5


async def test_the_tenant_inside_the_application_needs_a_scope_of_its_own_when_it_is_sent(director: Any) -> None:
    register = "mutation ($in: ApplicationRegisterInput!) { result: registerApplication(in: $in) { id localTenantID } }"
    update = """mutation ($id: ID!, $in: ApplicationUpdateInput!) {
      result: updateApplication(id: $id, in: $in) { localTenantID description } }"""
    without = replace(director.caller, scopes=director.caller.scopes - {"application.local_tenant_id:write"})
    made = (await director.data(register, caller=without, **{"in": {"name": "a"}}))["result"]

    errors = [
        await director.refusal(register, caller=without, **{"in": {"name": "b", "localTenantID": "x"}}),
        await director.refusal(update, caller=without, id=made["id"], **{"in": {"localTenantID": "x"}}),
    ]

    for error in errors:
        assert error["extensions"] == {"error": "InsufficientScopes", "error_code": 23}
        assert error["message"].endswith("required=application.local_tenant_id:write]")
    changed = await director.data(update, caller=without, id=made["id"], **{"in": {"description": "d"}})
    assert changed["result"] == {"localTenantID": None, "description": "d"}
    allowed = await director.data(update, id=made["id"], **{"in": {"localTenantID": "x"}})
    assert allowed["result"]["localTenantID"] == "x"
