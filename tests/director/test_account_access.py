"""What organizations, folders and resource groups register is seen in the accounts of the same customer."""

from dataclasses import replace
from typing import Any

import pytest

from compass.director import tenant
from compass.director.tenant import NewTenant
from tests.director import catalogue

NAMES = "{ applications { data { name } totalCount } }"


async def write(director: Any, name: str, kind: str, *parents: str) -> Any:
    """A caller in a new tenant, or in one that is there already, below these parents."""
    async with director.database.transaction() as tx:
        written = await tenant.write(tx, NewTenant(name, name, kind, "test", parents=parents))
    return replace(director.caller, tenant=written, external_tenant=name)


async def seen(director: Any, caller: Any) -> list[str]:
    page = (await director.data(NAMES, caller=caller))["applications"]
    assert page["totalCount"] == len(page["data"])
    return sorted(entry["name"] for entry in page["data"])


async def changes(director: Any, caller: Any, application: str) -> str | None:
    """The message with which the caller is refused to change the application; None when it may."""
    answer = await director(
        "mutation ($id: ID!) { updateApplication(id: $id, in: {}) { id } }", caller=caller, id=application
    )
    return answer["errors"][0]["message"] if "errors" in answer else None


@pytest.mark.parametrize("root", ["customer", "cost-object"])
@pytest.mark.parametrize("kind", ["organization", "folder", "resource-group"])
async def test_an_application_registered_beside_accounts_is_theirs_too(director: Any, root: str, kind: str) -> None:
    top = await write(director, "top", root)
    organization = await write(director, "organization", "organization", "top")
    beside = await write(director, "beside", kind, "organization")
    accounts = [
        await write(director, name, "account", parent) for name, parent in (("a", "top"), ("b", "organization"))
    ]
    strangers = [
        await write(director, "subaccount", "subaccount", "a"),
        await write(director, "elsewhere", "account"),
        director.caller,
    ]

    application = await catalogue.register(director, "shared", caller=beside)

    for caller in (top, organization, beside, *accounts):
        assert await seen(director, caller) == ["shared"]
        assert await changes(director, caller, application) is None
    for caller in strangers:
        assert await seen(director, caller) == []
        assert await changes(director, caller, application) == "Object not found [object=application]"


@pytest.mark.parametrize("kind", ["account", "subaccount", "customer", "cost-object", "unknown"])
async def test_what_other_tenants_register_is_not_shared(director: Any, kind: str) -> None:
    await write(director, "top", "customer")
    owner = await write(director, "owner", kind, "top")
    account = await write(director, "a", "account", "top")

    await catalogue.register(director, "own", caller=owner)

    assert await seen(director, account) == []


async def test_without_a_customer_above_nothing_is_shared(director: Any) -> None:
    await write(director, "top", "account")
    folder = await write(director, "folder", "folder", "top")
    account = await write(director, "a", "account", "top")

    await catalogue.register(director, "own", caller=folder)

    assert await seen(director, account) == []


async def test_an_account_that_comes_later_sees_what_is_there_and_does_not_own_it(director: Any) -> None:
    await write(director, "top", "customer")
    folder = await write(director, "folder", "folder", "top")
    other = await write(director, "other", "subaccount", "top")
    application = await catalogue.register(director, "shared", caller=folder)
    await catalogue.register(director, "others", caller=other)

    account = await write(director, "late", "account", "top")
    await write(director, "late", "account", "top")

    assert await seen(director, account) == ["shared"]
    assert await changes(director, account, application) == catalogue.NOT_OWNER


async def test_an_account_that_leaves_the_customer_sees_no_more_of_it(director: Any) -> None:
    await write(director, "top", "customer")
    await write(director, "new-top", "customer")
    folder = await write(director, "folder", "folder", "top")
    account = await write(director, "a", "account", "top")
    staying = await write(director, "b", "account", "top")
    await catalogue.register(director, "shared", caller=folder)
    await catalogue.register(director, "own", caller=account)

    await write(director, "a", "account", "new-top")

    assert await seen(director, account) == ["own"]
    assert await seen(director, staying) == ["shared"]


async def test_an_account_that_leaves_with_what_is_above_it_sees_no_more_either(director: Any) -> None:
    await write(director, "top", "customer")
    await write(director, "new-top", "customer")
    folder = await write(director, "folder", "folder", "top")
    organization = await write(director, "organization", "organization", "top")
    account = await write(director, "a", "account", "organization")
    await catalogue.register(director, "shared", caller=folder)

    await write(director, "organization", "organization", "new-top")

    assert await seen(director, account) == await seen(director, organization) == []
    assert await seen(director, folder) == ["shared"]


async def test_a_folder_that_leaves_the_customer_is_seen_no_more(director: Any) -> None:
    await write(director, "top", "customer")
    await write(director, "new-top", "customer")
    folder = await write(director, "folder", "folder", "top")
    account = await write(director, "a", "account", "top")
    await catalogue.register(director, "shared", caller=folder)

    await write(director, "folder", "folder", "new-top")

    assert await seen(director, account) == []
    assert await seen(director, folder) == ["shared"]


async def test_an_account_that_moves_within_the_customer_sees_what_it_saw(director: Any) -> None:
    await write(director, "top", "customer")
    folder = await write(director, "folder", "folder", "top")
    await write(director, "organization", "organization", "top")
    account = await write(director, "a", "account", "top")
    application = await catalogue.register(director, "shared", caller=folder)

    await write(director, "a", "account", "organization")

    assert await seen(director, account) == ["shared"]
    assert await changes(director, account, application) is None


async def test_sharing_costs_one_statement_however_many_accounts_there_are(director: Any, monkeypatch: Any) -> None:
    await write(director, "top", "customer")
    folder = await write(director, "folder", "folder", "top")
    counts = []
    for number in range(3):
        await write(director, f"a{number}", "account", "top")
        with catalogue.counted(monkeypatch) as ran:
            await catalogue.register(director, f"shared-{number}", caller=folder)
        counts.append(len(ran))
    with catalogue.counted(monkeypatch) as ran:
        await catalogue.register(director, "plain")

    assert counts == [len(ran) + 1] * 3
