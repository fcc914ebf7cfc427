"""Tenants through the Director's API, and what a change of the tree does to who sees what."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from compass.director import tenant
from tests.director import catalogue

WRITE = "mutation ($in: BusinessTenantMappingInput!) { writeTenant(in: $in) }"
WRITE_SEVERAL = "mutation ($in: [BusinessTenantMappingInput!]) { writeTenants(in: $in) }"
UPDATE = """
mutation ($id: ID!, $in: BusinessTenantMappingInput!) {
  updateTenant(id: $id, in: $in) { id internalID name type provider parents labels }
}
"""
ONE = """
query ($id: ID!) { tenantByExternalID(id: $id) { id internalID name type parents initialized labels provider } }
"""
SEARCH = "query ($term: String) { tenants(searchTerm: $term) { data { id } totalCount } }"
REGISTER = 'mutation { registerApplication(in: {name: "orders"}) { id } }'
REGISTER_RUNTIME = 'mutation { registerRuntime(in: {name: "kyma"}) { id } }'
SEEN = "{ applications { data { id } totalCount } runtimes { data { id } totalCount } }"

Announced = Callable[[], Awaitable[Sequence[str]]]


def entry(external: str, **more: Any) -> dict[str, Any]:
    return {"name": external, "externalTenant": external, "type": "account", "provider": "test", **more}


async def write(director: Any, external: str, **more: Any) -> str:
    return str((await director.data(WRITE, **{"in": entry(external, **more)}))["writeTenant"])


def inside(director: Any, internal: str) -> Any:
    return replace(director.caller, tenant=internal, external_tenant=None)


async def seen(director: Any, internal: str) -> tuple[int, int]:
    data = await director.data(SEEN, caller=inside(director, internal))
    for page in data.values():
        assert page["totalCount"] == len(page["data"])
    return data["applications"]["totalCount"], data["runtimes"]["totalCount"]


async def test_a_written_tenant_is_shown_by_its_external_id_with_its_labels(
    director: Any, announced: Announced
) -> None:
    parent = await write(director, "parent", type="customer")
    written = await write(
        director,
        "child",
        name="Child",
        type="subaccount",
        parents=["parent"],
        subdomain="sub",
        region="eu",
        licenseType="TRIAL",
        customerId="c1",
        costObjectId="co1",
        costObjectType="cost",
    )

    shown = (await director.data(ONE, id="child"))["tenantByExternalID"]

    assert shown == {
        "id": "child",
        "internalID": written,
        "name": "Child",
        "type": "subaccount",
        "parents": [parent],
        "initialized": False,
        "labels": {
            "subdomain": "sub",
            "region": "eu",
            "licensetype": "TRIAL",
            "customerId": "c1",
            "costObjectId": "co1",
            "costObjectType": "cost",
        },
        "provider": "test",
    }
    assert await announced() == ["TenantsChanged", "TenantsChanged"]


async def test_writing_a_known_tenant_changes_its_name_and_keeps_its_internal_id(director: Any) -> None:
    first = await write(director, "t", name="before", provider="one")
    second = await write(director, "t", name="after", provider="two")

    shown = (await director.data(ONE, id="t"))["tenantByExternalID"]

    assert first == second == shown["internalID"]
    assert (shown["name"], shown["provider"]) == ("after", "one")


async def test_a_customers_leading_zeros_are_cut_also_where_it_is_a_parent(director: Any) -> None:
    customer = await write(director, "000471", type="customer")
    await write(director, "zeros", type="customer", externalTenant="000")
    await write(director, "00815", type="account")
    await write(director, "child", parents=["000471"])
    await write(director, "815", type="folder")
    await write(director, "other-child", parents=["000815"])

    assert (await director.data(ONE, id="471"))["tenantByExternalID"]["internalID"] == customer
    assert (await director.data(ONE, id="0"))["tenantByExternalID"]["name"] == "zeros"
    assert (await director.data(ONE, id="00815"))["tenantByExternalID"]["id"] == "00815"
    assert (await director.data(ONE, id="child"))["tenantByExternalID"]["parents"] == [customer]
    assert (await director.data(ONE, id="other-child"))["tenantByExternalID"]["parents"] == []


async def test_several_tenants_may_name_each_other_as_parents_in_any_order(director: Any) -> None:
    data = await director.data(
        WRITE_SEVERAL,
        **{"in": [entry("leaf", parents=["middle"]), entry("middle", parents=["root"]), entry("root")]},
    )

    leaf, middle, root = data["writeTenants"]
    assert (await director.data(ONE, id="leaf"))["tenantByExternalID"]["parents"] == [middle]
    assert (await director.data(ONE, id="middle"))["tenantByExternalID"]["parents"] == [root]
    assert (await director.data(ONE, id="leaf"))["tenantByExternalID"]["internalID"] == leaf


async def test_an_absent_list_of_tenants_is_an_empty_one(director: Any) -> None:
    assert await director.data("mutation { writeTenants deleteTenants }") == {"writeTenants": [], "deleteTenants": 0}


@pytest.mark.parametrize("document", [WRITE, WRITE_SEVERAL, UPDATE])
async def test_an_unknown_type_is_refused(director: Any, document: str) -> None:
    bad = entry("x", type="planet")
    given = [bad] if document is WRITE_SEVERAL else bad

    error = await director.refusal(document, **{"in": given, **({"id": "x"} if document is UPDATE else {})})

    assert error["extensions"]["error_code"] == 22
    assert "tenant type planet is not one of account, cost-object, customer" in error["message"]


@pytest.mark.parametrize(
    "entries",
    [
        [entry("a", parents=["a"])],
        [entry("a", parents=["b"]), entry("b", parents=["a"])],
        [entry("a", parents=["b"]), entry("b", parents=["c"]), entry("c", parents=["a"])],
    ],
)
async def test_a_tenant_cannot_be_its_own_ancestor(director: Any, entries: list[dict[str, Any]]) -> None:
    error = await director.refusal(WRITE_SEVERAL, **{"in": entries})

    assert error["extensions"]["error_code"] == 22
    assert "cannot be its own ancestor]" in error["message"]


async def test_what_a_tenant_has_becomes_visible_to_new_ancestors_and_invisible_to_former_ones(director: Any) -> None:
    grand, left = await write(director, "grand"), await write(director, "left", parents=["grand"])
    right = await write(director, "right")
    child = await write(director, "child", parents=["left"])
    leaf = await write(director, "leaf", parents=["child"])
    for owner in (leaf, child, left):
        await director.data(REGISTER, caller=inside(director, owner))
        await director.data(REGISTER_RUNTIME, caller=inside(director, owner))
    assert await seen(director, grand) == await seen(director, left) == (3, 3)

    await write(director, "child", parents=["right"])

    assert await seen(director, grand) == await seen(director, left) == (1, 1)
    assert await seen(director, right) == await seen(director, child) == (2, 2)
    assert await seen(director, leaf) == (1, 1)


async def test_an_ancestor_by_two_ways_still_sees_when_one_way_ends(director: Any) -> None:
    grand = await write(director, "grand")
    await write(director, "left", parents=["grand"])
    await write(director, "right", parents=["grand"])
    child = await write(director, "child", parents=["left", "right"])
    await director.data(REGISTER, caller=inside(director, child))

    await write(director, "child", parents=["right"])

    assert await seen(director, grand) == (1, 0)


async def test_an_update_by_internal_id_changes_everything_and_moves_what_is_seen(
    director: Any, announced: Announced
) -> None:
    above = await write(director, "above")
    child = await write(director, "child")
    await director.data(REGISTER, caller=inside(director, child))

    changes = entry("renamed", name="N", type="folder", provider="p", parents=["above"], region="us")
    data = await director.data(UPDATE, id=child, **{"in": changes})

    assert data["updateTenant"] == {
        "id": "renamed",
        "internalID": child,
        "name": "N",
        "type": "folder",
        "provider": "p",
        "parents": [above],
        "labels": {"region": "us"},
    }
    assert await seen(director, above) == (1, 0)
    assert (await announced())[-1] == "TenantsChanged"


async def test_an_update_of_an_unknown_tenant_or_to_a_taken_id_is_refused(director: Any) -> None:
    await write(director, "taken")
    child = await write(director, "child")

    unknown = await director.refusal(UPDATE, id="8fd7f7f4-3d6c-4a9a-8f3c-000000000000", **{"in": entry("x")})
    taken = await director.refusal(UPDATE, id=child, **{"in": entry("taken")})

    assert unknown["message"] == "Object not found [object=tenant]"
    assert taken["message"] == "Object is not unique [object=tenant]"
    assert taken["extensions"] == {"error": "NotUnique", "error_code": 21}


async def test_a_search_finds_parts_of_name_external_and_internal_id_and_takes_no_wildcards(director: Any) -> None:
    internal = await write(director, "Ext-1", name="Alpha_One")
    await write(director, "ext-2", name="AlphaXOne")

    async def found(term: str | None) -> list[str]:
        page = (await director.data(SEARCH, term=term))["tenants"]
        assert page["totalCount"] == len(page["data"])
        return sorted(one["id"] for one in page["data"])

    assert await found("alpha_") == ["Ext-1"]
    assert await found("EXT-") == ["Ext-1", "ext-2"]
    assert await found(internal.upper()[4:20]) == ["Ext-1"]
    assert await found("%") == []
    assert await found(None) == ["Ext-1", "ext-2", "tenant-mine", "tenant-other"]


async def test_tenants_are_listed_by_name(director: Any) -> None:
    await write(director, "1", name="zebra")
    await write(director, "2", name="ant")

    page = (await director.data("{ tenants { data { name } } }"))["tenants"]

    assert [one["name"] for one in page["data"]] == ["ant", "mine", "other", "zebra"]


async def test_pages_of_tenants_have_no_upper_limit_and_a_lower_one(director: Any) -> None:
    page = (await director.data("{ tenants(first: 100000) { totalCount } }"))["tenants"]
    error = await director.refusal("{ tenants(first: 0) { totalCount } }")

    assert page == {"totalCount": 2}
    assert error["message"] == "Invalid data [reason=page size cannot be smaller than 1]"


async def test_an_unknown_or_inactive_tenant_is_not_found(director: Any) -> None:
    await write(director, "sleeping")
    async with director.database.transaction() as tx:
        await tx.run("UPDATE tenant SET status = 'Inactive' WHERE external_id = 'sleeping'")

    errors = [await director.refusal(ONE, id=external) for external in ("sleeping", "nobody", "")]

    assert {error["message"] for error in errors} == {"Object not found [object=tenant]"}
    assert (await director.data(SEARCH, term="sleep"))["tenants"]["totalCount"] == 0
    await write(director, "sleeping")
    assert (await director.data(ONE, id="sleeping"))["tenantByExternalID"]["id"] == "sleeping"


async def test_deleting_tenants_takes_children_and_what_they_registered_and_counts_the_ids_given(
    director: Any, announced: Announced
) -> None:
    await write(director, "top", parents=["tenant-mine"])
    child = await write(director, "child", parents=["top"])
    await director.data(REGISTER, caller=inside(director, child))
    await director.data(REGISTER_RUNTIME, caller=inside(director, child))
    assert await seen(director, director.caller.tenant) == (1, 1)

    data = await director.data('mutation { deleteTenants(in: ["top", "unknown"]) }')

    assert data == {"deleteTenants": 2}
    assert await seen(director, director.caller.tenant) == (0, 0)
    assert (await director.data(SEARCH))["tenants"]["totalCount"] == 2
    assert (await announced())[-1] == "TenantsChanged"


async def test_the_children_of_a_deleted_cost_object_stay(director: Any) -> None:
    await write(director, "cost", type="cost-object")
    await write(director, "child", parents=["cost"])

    await director.data('mutation { deleteTenants(in: ["cost"]) }')

    assert (await director.data(ONE, id="child"))["tenantByExternalID"]["parents"] == []


async def test_whoever_saw_something_through_a_deleted_cost_object_sees_it_no_more(director: Any) -> None:
    top = await write(director, "top", type="customer")
    await write(director, "cost", type="cost-object", parents=["top"])
    child = await write(director, "child", parents=["cost"])
    await director.data(REGISTER, caller=inside(director, child))
    await director.data(REGISTER_RUNTIME, caller=inside(director, child))
    assert await seen(director, top) == (1, 1)

    await director.data('mutation { deleteTenants(in: ["cost"]) }')

    assert await seen(director, top) == (0, 0)
    assert await seen(director, child) == (1, 1)


async def test_the_groups_of_a_deleted_tenant_stand_no_more_in_the_label_of_who_was_in_them(director: Any) -> None:
    theirs = inside(director, await write(director, "theirs"))
    application = (await director.data(REGISTER))["registerApplication"]["id"]
    access = {"tenantID": "theirs", "resourceType": "APPLICATION", "resourceID": application, "owner": True}
    await director.data("mutation ($in: TenantAccessInput!) { addTenantAccess(in: $in) { owner } }", **{"in": access})
    await director.data('mutation { createFormation(formation: {name: "group"}) { id } }', caller=theirs)
    await director.data(
        'mutation ($id: ID!) { assignFormation(objectID: $id, objectType: APPLICATION, formation: {name: "group"}) '
        "{ id } }",
        caller=theirs,
        id=application,
    )

    await director.data('mutation { deleteTenants(in: ["theirs"]) }')

    labels = (await director.data("{ applications { data { labels } } }"))["applications"]["data"][0]["labels"]
    assert labels == {"managed": "false", "name": "mp-orders"}


async def test_a_deleted_tenant_leaves_the_groups_of_others_and_takes_its_own(director: Any) -> None:
    child = await write(director, "child", parents=["tenant-mine"])
    registered = await director.data(REGISTER, caller=inside(director, child))
    application = registered["registerApplication"]["id"]
    async with director.database.transaction() as tx:
        await tx.run(
            """
            WITH own AS (
                INSERT INTO formation_template (tenant_id, name, application_types)
                VALUES (%(child)s, 'own', '{ANY}') RETURNING id
            ), theirs AS (
                INSERT INTO formation (tenant_id, formation_template_id, name, state)
                SELECT %(child)s, id, 'theirs', 'READY' FROM own
            ), ours AS (
                INSERT INTO formation (tenant_id, formation_template_id, name, state)
                SELECT %(mine)s, id, 'ours', 'READY' FROM formation_template WHERE tenant_id IS NULL RETURNING id
            )
            INSERT INTO formation_assignment (formation_id, source, source_type, target, target_type, state)
            SELECT id, %(application)s, 'APPLICATION', %(application)s, 'APPLICATION', 'READY' FROM ours
            """,
            child=child,
            mine=director.caller.tenant,
            application=application,
        )

    await director.data('mutation { deleteTenants(in: ["child"]) }')

    async with director.database.transaction() as tx:
        assert await tx.value("SELECT count(*) FROM formation_assignment") == 0
        assert [row["name"] for row in await tx.rows("SELECT name FROM formation")] == ["ours"]


async def test_deleting_a_tenant_ends_the_certificates_of_its_applications(director: Any) -> None:
    child = await write(director, "child")
    registered = await director.data(REGISTER, caller=inside(director, child))
    token = await director.data(
        "mutation ($id: ID!) { requestOneTimeTokenForApplication(id: $id) { token } }",
        caller=inside(director, child),
        id=registered["registerApplication"]["id"],
    )
    assert token["requestOneTimeTokenForApplication"]["token"]

    await director.data('mutation { deleteTenants(in: ["child"]) }')

    async with director.database.transaction() as tx:
        assert await tx.value("SELECT count(*) FROM system_auth") == 0
        assert await tx.value("SELECT count(*) FROM one_time_token") == 0


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("{ tenants { totalCount } }", "tenant:read"),
        ('{ tenantByExternalID(id: "x") { id } }', "tenant:read"),
        ('mutation { deleteTenants(in: ["tenant-other"]) }', "tenant:write"),
        ("mutation { writeTenants(in: []) }", "tenant:write"),
    ],
)
async def test_tenants_need_their_scope(director: Any, text: str, scope: str) -> None:
    error = await director.refusal(text, caller=replace(director.caller, scopes=frozenset({"application:read"})))

    assert error["message"] == f"insufficient scopes provided [actual=application:read; required={scope}]"


async def test_the_seed_is_written_once_and_leaves_what_its_owner_changed(director: Any) -> None:
    async with director.database.transaction() as tx:
        await tenant.seed(tx)
    await write(director, tenant.DEFAULT_EXTERNAL_ID, name="ours now", parents=["tenant-mine"])
    before = await director.state()

    async with director.database.transaction() as tx:
        await tenant.seed(tx)

    assert await director.state() == before
    shown = (await director.data(ONE, id="3e64ebae-38b5-46a0-b1ed-9ccee153a0ae"))["tenantByExternalID"]
    assert (shown["name"], shown["type"], shown["provider"]) == ("ours now", "account", "Compass")


BY_INTERNAL_ID = "query ($id: ID!) { result: tenantByInternalID(id: $id) { id internalID name } }"
ROOTS = "query ($id: String!) { result: rootTenants(externalTenant: $id) { id } }"
SET_LABEL = """mutation ($id: ID!, $k: String!, $v: Any!) {
  result: setTenantLabel(tenantID: $id, key: $k, value: $v) { key value } }"""


async def test_a_tenant_by_its_internal_id_is_for_the_planes_own_components(director: Any) -> None:
    internal = replace(director.caller, scopes=frozenset({"ory_internal"}), tenant=None, external_tenant=None)

    found = await director.data(BY_INTERNAL_ID, id=director.other.tenant, caller=internal)

    assert found["result"] == {"id": "tenant-other", "internalID": director.other.tenant, "name": "other"}
    for unknown in ("tenant-other", "8fd7f7f4-3d6c-4a9a-8f3c-000000000000", ""):
        error = await director.refusal(BY_INTERNAL_ID, id=unknown, caller=internal)
        assert error["message"] == "Object not found [object=tenant]"
    assert (await director.refusal(BY_INTERNAL_ID, id=director.other.tenant))["extensions"]["error_code"] == 23


async def test_root_tenants_are_the_ancestors_without_parents(director: Any) -> None:
    async with director.database.transaction() as tx:
        for name, parents in (("z", ()), ("a", ()), ("middle", ("a",)), ("low", ("middle", "z"))):
            await tenant.write(tx, tenant.NewTenant(name, name, "account", "test", parents=parents))

    for asked, roots in (("low", ["a", "z"]), ("middle", ["a"]), ("a", ["a"])):
        found = (await director.data(ROOTS, id=asked))["result"]
        assert [one["id"] for one in found] == roots
    for unknown in ("nobody", "", director.caller.tenant):
        error = await director.refusal(ROOTS, id=unknown)
        assert error["message"] == "Object not found [object=tenant]"
        assert error["extensions"] == {"error": "NotFound", "error_code": 20}
    without = replace(director.caller, scopes=director.caller.scopes - {"tenant:read"})
    assert (await director.refusal(ROOTS, id="low", caller=without))["extensions"]["error_code"] == 23


async def test_a_tenant_is_labelled_by_either_of_its_ids(
    director: Any, announced: Callable[[], Awaitable[Sequence[str]]]
) -> None:
    both = director.caller.tenant
    async with director.database.transaction() as tx:
        # Its external id is another tenant's internal one, which counts.
        await tenant.write(tx, tenant.NewTenant("double", both, "account", "test"))

    for id_, value in (("tenant-mine", "external"), (both, {"a": [1]})):
        set_ = (await director.data(SET_LABEL, id=id_, k="k", v=value))["result"]
        assert set_ == {"key": "k", "value": value}

    shown = "query ($id: ID!) { tenantByExternalID(id: $id) { labels } }"
    assert (await director.data(shown, id="tenant-mine"))["tenantByExternalID"]["labels"] == {"k": {"a": [1]}}
    assert (await director.data(shown, id=both))["tenantByExternalID"]["labels"] == {}
    assert (await announced())[-2:] == ["TenantsChanged"] * 2


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        ({"id": "nobody"}, 20, "Object not found [object=tenant]"),
        ({"id": ""}, 20, "Object not found [object=tenant]"),
        ({"k": ""}, 22, "Invalid data LabelInput [key=cannot be blank]"),
        ({"k": "a b"}, 22, "Invalid data LabelInput [key=must be in a valid format]"),
        ({"v": ""}, 22, "Invalid data LabelInput [value=cannot be blank]"),
    ],
)
async def test_a_tenants_label_that_breaks_a_rule_is_refused(
    director: Any, given: dict[str, Any], code: int, message: str
) -> None:
    error = await director.refusal(SET_LABEL, **{"id": "tenant-mine", "k": "k", "v": 1, **given})

    assert error["message"] == message
    assert error["extensions"]["error_code"] == code
    without = replace(director.caller, scopes=director.caller.scopes - {"tenant:write"})
    refused = await director.refusal(SET_LABEL, id="tenant-mine", k="k", v=1, caller=without)
    assert refused["extensions"]["error_code"] == 23


async def test_a_cost_object_whose_template_a_child_still_uses_is_not_deleted(director: Any) -> None:
    above = await write(director, "costs", type="cost-object")
    child = await write(director, "child", parents=["costs"])
    template = await director.data(
        """mutation { createFormationTemplate(in: {name: "own", applicationTypes: ["ANY"], runtimeTypes: ["ANY"],
          runtimeTypeDisplayName: "Runtime", runtimeArtifactKind: ENVIRONMENT_INSTANCE}) { id } }""",
        caller=inside(director, above),
    )
    async with director.database.transaction() as tx:
        await tx.run(
            "INSERT INTO formation (tenant_id, formation_template_id, name, state) "
            "VALUES (%(tenant)s, %(template)s, 'kept', 'READY')",
            tenant=child,
            template=template["createFormationTemplate"]["id"],
        )

    error = await director.refusal('mutation { deleteTenants(in: ["costs"]) }')

    assert error["extensions"]["error_code"] == 27
    assert "another record refers to it" in error["message"]


async def test_writing_tenants_costs_a_few_statements_however_many_there_are(director: Any, monkeypatch: Any) -> None:
    async def statements(number: int) -> int:
        entries = [entry(f"t{index}", parents=["top"] if index else [], region="eu") for index in range(number)]
        with catalogue.counted(monkeypatch) as ran:
            await director.data(WRITE_SEVERAL, **{"in": [entry("top"), *entries]})
        return len(ran)

    counts = [await statements(number) for number in (2, 50, 400)]

    assert counts == [counts[0]] * 3
    assert counts[0] <= 10
    assert (await director.data(SEARCH, term="t3"))["tenants"]["totalCount"] == 1 + 10 + 100


async def test_of_two_entries_for_one_tenant_the_last_counts(director: Any) -> None:
    top = await write(director, "top")
    data = await director.data(
        WRITE_SEVERAL, **{"in": [entry("t", name="first"), entry("t", name="second", parents=[top])]}
    )

    first, second = data["writeTenants"]
    shown = (await director.data(ONE, id="t"))["tenantByExternalID"]
    assert first == second == shown["internalID"]
    assert (shown["name"], shown["parents"]) == ("second", [top])
