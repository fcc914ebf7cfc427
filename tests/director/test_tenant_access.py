"""Tenant access through the Director's API: what one tenant is shown that another registered."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from compass.access.caller import Caller
from compass.director import tenant
from compass.director.tenant import NewTenant
from compass.ids import TenantId
from tests.director.catalogue import UNKNOWN, without

ADD = """mutation ($in: TenantAccessInput!) { result: addTenantAccess(in: $in) {
  tenantID resourceType resourceID owner } }"""
REMOVE = """mutation ($tenant: ID!, $id: ID!, $kind: TenantAccessObjectType!) {
  result: removeTenantAccess(tenantID: $tenant, resourceID: $id, resourceType: $kind) {
  tenantID resourceType resourceID owner } }"""
REGISTER = {
    "APPLICATION": 'mutation { result: registerApplication(in: {name: "orders"}) { id } }',
    "RUNTIME": 'mutation { result: registerRuntime(in: {name: "kyma"}) { id } }',
}
COUNT = {"APPLICATION": "{ result: applications { totalCount } }", "RUNTIME": "{ result: runtimes { totalCount } }"}
LOWEST = "query ($id: ID!, $kind: String!) { result: tenantByLowestOwnerForResource(id: $id, resource: $kind) }"
KINDS = pytest.mark.parametrize("kind", list(REGISTER))

Announced = Callable[[], Awaitable[Sequence[str]]]


async def write(director: Any, name: str, *parents: str) -> TenantId:
    async with director.database.transaction() as tx:
        return await tenant.write(tx, NewTenant(name, name, "account", "test", parents=parents))


async def registered(director: Any, kind: str, caller: Caller | None = None) -> str:
    return str((await director.data(REGISTER[kind], caller=caller))["result"]["id"])


def grant(external_tenant: str, kind: str, id_: str, *, owner: bool) -> dict[str, Any]:
    return {"tenantID": external_tenant, "resourceType": kind, "resourceID": id_, "owner": owner}


async def add(director: Any, external_tenant: str, kind: str, id_: str, *, owner: bool = False) -> Any:
    return (await director.data(ADD, **{"in": grant(external_tenant, kind, id_, owner=owner)}))["result"]


async def remove(director: Any, external_tenant: str, kind: str, id_: str) -> Any:
    return (await director.data(REMOVE, tenant=external_tenant, kind=kind, id=id_))["result"]


async def access(director: Any, kind: str, id_: str) -> dict[str, bool]:
    """Who sees it, by external id, and whether as an owner."""
    async with director.database.transaction() as tx:
        rows = await tx.rows(
            f"""SELECT tenant.external_id AS name, access.owner FROM {kind.lower()}_tenant access
            JOIN tenant ON tenant.id = access.tenant_id WHERE access.{kind.lower()}_id = %(id)s""",  # ours
            id=id_,
        )
        return {row["name"]: row["owner"] for row in rows}


@KINDS
async def test_a_grant_reaches_the_tenant_and_its_ancestors_and_ends_for_all_of_them(
    director: Any, announced: Announced, kind: str
) -> None:
    await write(director, "root")
    child = await write(director, "child", "root")
    id_ = await registered(director, kind)
    before = len(await announced())

    given = await add(director, "child", kind, id_)

    assert given == grant("child", kind, id_, owner=False)
    assert await access(director, kind, id_) == {"tenant-mine": True, "child": False, "root": False}
    sees = replace(director.caller, tenant=child, external_tenant="child")
    assert (await director.data(COUNT[kind], caller=sees))["result"]["totalCount"] == 1

    assert await remove(director, "child", kind, id_) == grant("child", kind, id_, owner=False)

    assert await access(director, kind, id_) == {"tenant-mine": True}
    assert (await director.data(COUNT[kind], caller=sees))["result"]["totalCount"] == 0
    assert (await announced())[before:] == ["TenantsChanged"] * 2


@KINDS
async def test_a_grant_with_owner_lets_the_tenant_change_it(director: Any, kind: str) -> None:
    id_ = await registered(director, kind)
    name = kind.capitalize()
    label = f'mutation ($id: ID!) {{ set{name}Label({kind.lower()}ID: $id, key: "k", value: 1) {{ key }} }}'
    await director.refusal(label, id=id_, caller=director.other)

    await add(director, "tenant-other", kind, id_, owner=False)
    await director.refusal(label, id=id_, caller=director.other)
    await add(director, "tenant-other", kind, id_, owner=True)

    await director.data(label, id=id_, caller=director.other)
    assert await add(director, "tenant-other", kind, id_, owner=False) == grant("tenant-other", kind, id_, owner=True)


@KINDS
async def test_what_another_grant_still_gives_stays_and_no_more(director: Any, kind: str) -> None:
    await write(director, "root")
    await write(director, "left", "root")
    await write(director, "right", "root")
    id_ = await registered(director, kind)
    await add(director, "left", kind, id_, owner=False)
    await add(director, "right", kind, id_, owner=True)
    assert await access(director, kind, id_) == {"tenant-mine": True, "left": False, "right": True, "root": True}

    await remove(director, "right", kind, id_)

    assert await access(director, kind, id_) == {"tenant-mine": True, "left": False, "root": False}


@KINDS
async def test_access_that_comes_from_registering_is_not_taken_away(director: Any, kind: str) -> None:
    await write(director, "root")
    child = await write(director, "child", "root")
    id_ = await registered(director, kind, replace(director.caller, tenant=child, external_tenant="child"))

    for holder in ("child", "root"):
        error = await director.refusal(REMOVE, tenant=holder, kind=kind, id=id_)
        assert error["extensions"] == {"error": "InvalidOperation", "error_code": 27}
        assert "the access was not granted" in error["message"]
    # A grant on top of it changes nothing when it ends.
    await add(director, "root", kind, id_, owner=False)
    await remove(director, "root", kind, id_)
    assert await access(director, kind, id_) == {"child": True, "root": True}


@KINDS
async def test_what_is_not_there_is_neither_granted_nor_taken_back(director: Any, kind: str) -> None:
    id_ = await registered(director, kind)

    for unknown in (UNKNOWN, "no-uuid", ""):
        error = await director.refusal(ADD, **{"in": grant("tenant-other", kind, unknown, owner=True)})
        assert error["message"] == (
            "The operation is not allowed [object=tenantAccess; reason=The referenced entity does not exists]"
        )
        error = await director.refusal(REMOVE, tenant="tenant-other", kind=kind, id=unknown)
        assert error["message"] == "Object not found [object=tenantAccess]"
    error = await director.refusal(REMOVE, tenant="tenant-other", kind=kind, id=id_)
    assert error["message"] == "Object not found [object=tenantAccess]"
    # An internal id is no external one.
    for nobody in ("nobody", director.other.tenant):
        error = await director.refusal(ADD, **{"in": grant(nobody, kind, id_, owner=True)})
        assert error["message"] == "Object not found [object=tenant]"
        error = await director.refusal(REMOVE, tenant=nobody, kind=kind, id=id_)
        assert error["message"] == "Object not found [object=tenant]"


async def test_there_are_no_runtime_contexts_to_grant(director: Any) -> None:
    id_ = await registered(director, "RUNTIME")

    error = await director.refusal(ADD, **{"in": grant("tenant-other", "RUNTIME_CONTEXT", id_, owner=True)})
    assert error["extensions"]["error_code"] == 27
    error = await director.refusal(REMOVE, tenant="tenant-other", kind="RUNTIME_CONTEXT", id=id_)
    assert error["extensions"]["error_code"] == 20


@KINDS
async def test_a_grant_moves_with_its_tenant(director: Any, kind: str) -> None:
    await write(director, "first")
    await write(director, "second")
    await write(director, "child", "first")
    id_ = await registered(director, kind)
    await add(director, "child", kind, id_, owner=False)

    await write(director, "child", "second")

    assert await access(director, kind, id_) == {"tenant-mine": True, "child": False, "second": False}


@KINDS
async def test_a_grant_ends_with_its_tenant_for_the_ancestors_too(director: Any, kind: str) -> None:
    await write(director, "root")
    await write(director, "child", "root")
    await write(director, "stays", "root")
    id_ = await registered(director, kind)
    other = await registered(director, kind, director.other)
    await add(director, "child", kind, id_, owner=True)
    await add(director, "stays", kind, id_, owner=False)
    await add(director, "child", kind, other)

    await director.data('mutation { deleteTenants(in: ["child"]) }')

    assert await access(director, kind, id_) == {"tenant-mine": True, "stays": False, "root": False}
    assert await access(director, kind, other) == {"tenant-other": True}


@KINDS
async def test_a_former_ancestor_keeps_what_it_was_granted_and_no_more(director: Any, kind: str) -> None:
    await write(director, "root")
    child = await write(director, "child", "root")
    id_ = await registered(director, kind, replace(director.caller, tenant=child, external_tenant="child"))
    await add(director, "root", kind, id_, owner=False)
    assert await access(director, kind, id_) == {"child": True, "root": True}

    await write(director, "child")

    assert await access(director, kind, id_) == {"child": True, "root": False}


async def test_access_needs_a_scope_of_its_own(director: Any) -> None:
    id_ = await registered(director, "APPLICATION")
    caller = without(director.caller, "tenant_access:write")

    for document, given in (
        (ADD, {"in": grant("tenant-other", "APPLICATION", id_, owner=True)}),
        (REMOVE, {"tenant": "tenant-other", "kind": "APPLICATION", "id": id_}),
    ):
        error = await director.refusal(document, caller=caller, **given)
        assert error["extensions"]["error_code"] == 23
        assert error["message"].endswith("required=tenant_access:write]")


@KINDS
async def test_the_lowest_owner_is_who_registered_and_not_an_ancestor_or_a_guest(director: Any, kind: str) -> None:
    await write(director, "root")
    child = await write(director, "child", "root")
    id_ = await registered(director, kind, replace(director.caller, tenant=child, external_tenant="child"))
    await add(director, "tenant-other", kind, id_, owner=True)
    internal = replace(director.caller, scopes=frozenset({"ory_internal"}), tenant=None, external_tenant=None)

    found = await director.data(LOWEST, id=id_, kind=kind.lower(), caller=internal)

    assert found == {"result": child}
    for unknown in (UNKNOWN, "no-uuid"):
        absent = await director.refusal(LOWEST, id=unknown, kind=kind.lower(), caller=internal)
        assert absent["message"] == f"Object not found [object={kind.lower()}]"
    wrong = await director.refusal(LOWEST, id=id_, kind="bundle", caller=internal)
    assert wrong["message"] == "Invalid data [reason=resource must be one of application, runtime]"
    refused = await director.refusal(LOWEST, id=id_, kind=kind.lower())
    assert refused["extensions"]["error_code"] == 23
