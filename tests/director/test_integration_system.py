"""Integration systems through the Director's API."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

REGISTER = (
    "mutation ($in: IntegrationSystemInput!) { result: registerIntegrationSystem(in: $in) { id name description } }"
)
UPDATE = """
mutation ($id: ID!, $in: IntegrationSystemInput!) {
  result: updateIntegrationSystem(id: $id, in: $in) { name description }
}
"""
UNREGISTER = "mutation ($id: ID!) { result: unregisterIntegrationSystem(id: $id) { name auths { id } } }"
ONE = "query ($id: ID!) { integrationSystem(id: $id) { id name description auths { id } } }"
ALL = "{ integrationSystems { data { name } totalCount } }"
UNKNOWN = ("8fd7f7f4-3d6c-4a9a-8f3c-000000000000", "no-uuid", "")

Announced = Callable[[], Awaitable[Sequence[str]]]


async def register(director: Any, name: str = "broker") -> str:
    return str((await director.data(REGISTER, **{"in": {"name": name}}))["result"]["id"])


async def test_integration_systems_belong_to_no_tenant_and_may_share_a_name(
    director: Any, announced: Announced
) -> None:
    tenantless = replace(director.caller, tenant=None, external_tenant=None)

    first = (await director.data(REGISTER, caller=tenantless, **{"in": {"name": "a.b-c", "description": "d"}}))[
        "result"
    ]
    await register(director, "a.b-c")

    assert (await director.data(ONE, caller=director.other, id=first["id"]))["integrationSystem"] == {
        "id": first["id"],
        "name": "a.b-c",
        "description": "d",
        "auths": [],
    }
    assert (await director.data(ALL, caller=tenantless))["integrationSystems"] == {
        "data": [{"name": "a.b-c"}, {"name": "a.b-c"}],
        "totalCount": 2,
    }
    assert await announced() == ["IntegrationSystemsChanged"] * 2


@pytest.mark.parametrize(
    ("given", "fact"),
    [
        ({"name": ""}, "name=cannot be blank"),
        ({"name": "a" * 37}, "name=the length must be between 1 and 36"),
        ({"name": "1a"}, "name=must be in a valid format"),
        ({"name": "A"}, "name=must be in a valid format"),
        ({"name": "a_b"}, "name=must be in a valid format"),
        ({"name": "a-"}, "name=must be in a valid format"),
        ({"name": "a..b"}, "name=must be in a valid format"),
        ({"name": "a\n"}, "name=must be in a valid format"),
        ({"name": "a", "description": "d" * 2001}, "description=the length must be no more than 2000"),
    ],
)
async def test_a_name_that_is_no_dns_subdomain_is_refused(director: Any, given: dict[str, str], fact: str) -> None:
    id_ = await register(director)

    registered = await director.refusal(REGISTER, **{"in": given})
    updated = await director.refusal(UPDATE, id=id_, **{"in": given})

    assert registered["message"] == updated["message"] == f"Invalid data IntegrationSystemInput [{fact}]"


async def test_an_update_replaces_name_and_description(director: Any, announced: Announced) -> None:
    id_ = await register(director)

    data = await director.data(UPDATE, id=id_, **{"in": {"name": "other", "description": "d"}})

    assert data["result"] == {"name": "other", "description": "d"}
    assert await announced() == ["IntegrationSystemsChanged"] * 2


async def test_an_unknown_one_is_null_when_read_and_not_found_when_changed(director: Any) -> None:
    for id_ in UNKNOWN:
        assert await director.data(ONE, id=id_) == {"integrationSystem": None}
        for document, more in ((UPDATE, {"in": {"name": "a"}}), (UNREGISTER, {})):
            error = await director.refusal(document, id=id_, **more)
            assert error["message"] == "Object not found [object=integrationSystem]"


async def test_unregistering_answers_what_was_there_and_takes_its_credentials(
    director: Any, announced: Announced
) -> None:
    id_ = await register(director)
    await director.data("mutation ($id: ID!) { requestClientCredentialsForIntegrationSystem(id: $id) { id } }", id=id_)

    data = await director.data(UNREGISTER, id=id_)

    assert data["result"]["name"] == "broker"
    assert len(data["result"]["auths"]) == 1
    assert (await director.data(ALL))["integrationSystems"]["totalCount"] == 0
    assert (await announced())[-1] == "IntegrationSystemsChanged"
    async with director.database.transaction() as tx:
        assert await tx.value("SELECT count(*) FROM system_auth") == 0


async def test_one_that_an_application_refers_to_stays(director: Any) -> None:
    id_ = await register(director)
    await director.data(
        'mutation ($id: ID) { registerApplication(in: {name: "a", integrationSystemID: $id}) { id } }', id=id_
    )

    error = await director.refusal(UNREGISTER, id=id_)

    assert error["message"] == (
        "The operation is not allowed [object=integrationSystem; "
        "reason=The record cannot be deleted because another record refers to it]"
    )
    assert error["extensions"] == {"error": "InvalidOperation", "error_code": 27}


async def test_integration_systems_need_their_scope(director: Any) -> None:
    id_ = await register(director)
    caller = replace(director.caller, scopes=frozenset())
    named = {"in": {"name": "a"}}

    for document, variables, scope in (
        (ALL, {}, "read"),
        (ONE, {"id": id_}, "read"),
        (REGISTER, named, "write"),
        (UPDATE, {"id": id_, **named}, "write"),
        (UNREGISTER, {"id": id_}, "write"),
    ):
        error = await director.refusal(document, caller=caller, **variables)
        assert error["message"] == f"insufficient scopes provided [actual=; required=integration_system:{scope}]"
