"""Two records of one system become one."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from tests.director.catalogue import counted, without

CREATE = "mutation ($in: ApplicationTemplateInput!) { r: createApplicationTemplate(in: $in) { id } }"
REGISTER = "mutation ($in: ApplicationFromTemplateInput!) { r: registerApplicationFromTemplate(in: $in) { id } }"
UPDATE = "mutation ($id: ID!, $in: ApplicationUpdateInput!) { r: updateApplication(id: $id, in: $in) { id } }"
MERGE = """
mutation ($destination: ID!, $source: ID!) {
  result: mergeApplications(destinationID: $destination, sourceID: $source) {
    id name providerName description healthCheckURL baseUrl applicationNamespace integrationSystemID localTenantID
    systemNumber systemStatus labels status { condition } bundles { data { name } }
  }
}
"""
APPLICATIONS = "{ applications { data { id } } }"
NOBODY = "8fd7f7f4-3d6c-4a9a-8f3c-000000000000"

Announced = Callable[[], Awaitable[Sequence[str]]]


async def template(director: Any, name: str = "Shop", **more: Any) -> None:
    form = {"name": "{{name}}", "labels": {"given": "by the template"}}
    given = {
        "name": name, "accessLevel": "GLOBAL", "applicationInput": form, "placeholders": [{"name": "name"}], **more,
    }  # fmt: skip
    await director.data(CREATE, **{"in": given})


async def register(
    director: Any,
    name: str,
    *,
    of: str = "Shop",
    labels: dict[str, Any] | None = None,
    caller: Any = None,
    **fields: Any,
) -> str:
    given = {"templateName": of, "values": [{"placeholder": "name", "value": name}], "labels": labels}
    made = (await director.data(REGISTER, caller=caller, **{"in": given}))["r"]["id"]
    fields = {"baseUrl": "https://shop.example", **fields}
    await director.data(UPDATE, caller=caller, id=made, **{"in": fields})
    return str(made)


async def system_number(director: Any, application: str, number: str | None) -> None:
    async with director.database.transaction() as tx:
        await tx.run(
            "-- test\nUPDATE application SET system_number = %(number)s WHERE id = %(id)s",
            id=application,
            number=number,
        )


async def test_the_destination_takes_what_it_lacks_and_the_source_is_gone(director: Any, announced: Announced) -> None:
    await template(director)
    system = (await director.data('mutation { r: registerIntegrationSystem(in: {name: "s"}) { id } }'))["r"]["id"]
    kept = await register(
        director, "kept", labels={"both": "kept", "managed": "false"}, description="kept", providerName="",
        baseUrl="https://shop.example/",
    )  # fmt: skip
    gone = await register(
        director, "gone", labels={"both": "gone", "only": [1], "managed": "true"}, description="gone", providerName="P",
        healthCheckURL="https://health.example", applicationNamespace="ns", integrationSystemID=system,
        localTenantID="t", baseUrl="https://shop.example//",
    )  # fmt: skip
    await system_number(director, gone, "7")
    async with director.database.transaction() as tx:
        await tx.run(
            "-- test\nINSERT INTO application_label VALUES (%(id)s, 'scenarios', %(value)s)",
            id=gone,
            value=["left over"],
        )
    before = len(await announced())

    result = (await director.data(MERGE, destination=kept.upper(), source=gone))["result"]

    assert result == {
        "id": kept, "name": "kept", "providerName": "P", "description": "kept", "healthCheckURL": "https://health.example",
        "baseUrl": "https://shop.example/", "applicationNamespace": "ns", "integrationSystemID": system,
        "localTenantID": "t", "systemNumber": "7", "systemStatus": None, "status": {"condition": "INITIAL"},
        "bundles": {"data": []},
        "labels": {
            "both": "kept", "only": [1], "managed": "true", "given": "by the template", "applicationType": "Shop",
            "name": "mp-kept", "integrationSystemID": system,
        },
    }  # fmt: skip
    assert (await director.data(APPLICATIONS))["applications"]["data"] == [{"id": kept}]
    assert (await announced())[before:] == ["ApplicationUnregistered", "ApplicationUpdated"]


async def test_one_name_in_two_records_is_told_apart_by_the_number_that_the_destination_takes_over(
    director: Any,
) -> None:
    await template(director)
    gone = await register(director, "shop")
    await system_number(director, gone, "7")
    kept = await register(director, "shop")

    result = (await director.data(MERGE, destination=kept, source=gone))["result"]

    assert (result["id"], result["systemNumber"]) == (kept, "7")


async def test_a_name_and_number_that_a_third_one_has_are_refused(director: Any) -> None:
    await template(director)
    third = await register(director, "shop")
    await system_number(director, third, "7")
    kept = await register(director, "shop")
    gone = await register(director, "other")
    await system_number(director, gone, "7")

    error = await director.refusal(MERGE, destination=kept, source=gone)

    assert error["message"] == "Object name is not unique [object=application]"


async def test_a_group_of_the_destination_stays_and_a_source_in_one_is_refused(director: Any) -> None:
    await template(director)
    kept, gone = await register(director, "kept"), await register(director, "gone")
    join = (
        'mutation ($id: ID!) { assignFormation(objectID: $id, objectType: APPLICATION, formation: {name: "g"}) { id } }'
    )
    await director.data('mutation { createFormation(formation: {name: "g"}) { id } }')
    await director.data(join, id=kept)

    error = await director.refusal(MERGE, destination=gone, source=kept)
    result = (await director.data(MERGE, destination=kept, source=gone))["result"]

    assert error["message"] == (
        "The operation is not allowed [reason=System kept is part of the following formations : g]"
    )
    assert result["id"] == kept
    members = '{ formationByName(name: "g") { formationAssignments { data { source } } } }'
    assert (await director.data(members))["formationByName"]["formationAssignments"]["data"] == [{"source": kept}]


@pytest.mark.parametrize(
    ("kept", "gone", "message"),
    [
        ({"baseUrl": ""}, {"baseUrl": ""}, "are not the same, or one has none"),
        ({"baseUrl": ""}, {}, "are not the same, or one has none"),
        ({}, {"baseUrl": ""}, "are not the same, or one has none"),
        ({}, {"baseUrl": "https://other.example"}, "are not the same, or one has none"),
        ({}, {"of": "Market"}, "are not of the same application template"),
        ({"of": "Subscribed"}, {"of": "Subscribed"}, " has label subscriptionProviderId"),
        ({}, {"statusCondition": "CONNECTED"}, "cannot be merged, because its status is CONNECTED and not INITIAL"),
    ],
)
async def test_what_is_not_two_records_of_one_system_is_refused(
    director: Any, kept: dict[str, Any], gone: dict[str, Any], message: str
) -> None:
    await template(director)
    await template(director, "Market")
    await template(director, "Subscribed", labels={"subscriptionProviderId": "x"})
    destination, source = await register(director, "kept", **kept), await register(director, "gone", **gone)

    error = await director.refusal(MERGE, destination=destination, source=source)

    assert message in error["message"]
    assert error["extensions"] == {"error": "InternalError", "error_code": 10}


async def test_applications_without_a_template_are_not_merged(director: Any) -> None:
    document = 'mutation ($n: String!) { r: registerApplication(in: {name: $n, baseUrl: "https://x.example"}) { id } }'
    one, two = [(await director.data(document, n=name))["r"]["id"] for name in ("one", "two")]

    error = await director.refusal(MERGE, destination=one, source=two)

    assert "are not of the same application template" in error["message"]


async def test_an_application_is_not_merged_with_itself(director: Any) -> None:
    await template(director)
    one = await register(director, "one")

    error = await director.refusal(MERGE, destination=one, source=one.upper())

    assert "cannot be merged with itself" in error["message"]


async def test_a_foreign_and_an_unknown_one_are_not_there_and_one_that_is_only_seen_is_not_changed(
    director: Any,
) -> None:
    await template(director)
    mine = await register(director, "mine")
    foreign = await register(director, "theirs", caller=director.other)

    for other in (foreign, NOBODY, "no-uuid", ""):
        for pair in ({"destination": mine, "source": other}, {"destination": other, "source": mine}):
            error = await director.refusal(MERGE, **pair)
            assert error["message"] == "Object not found [object=application]"
    async with director.database.transaction() as tx:
        await tx.run(
            "-- test\nINSERT INTO application_tenant VALUES (%(tenant)s, %(id)s, false)",
            tenant=director.caller.tenant, id=foreign,
        )  # fmt: skip
    error = await director.refusal(MERGE, destination=mine, source=foreign)
    assert error["message"] == "Unauthorized [reason=Owner access is needed for resource modification]"


async def test_an_application_merges_nobody(director: Any) -> None:
    await template(director)
    kept, gone = await register(director, "kept"), await register(director, "gone")

    for caller in (director.application(kept), director.application(gone)):
        error = await director.refusal(MERGE, caller=caller, destination=kept, source=gone)
        assert error["message"] == "Unauthorized [reason=Owner access is needed for resource modification]"
    scope = await director.refusal(
        MERGE, caller=without(director.caller, "application:write"), destination=kept, source=gone
    )
    assert scope["extensions"]["error_code"] == 23


async def test_merging_takes_seven_statements_whatever_the_number_of_labels(
    director: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await template(director)
    kept, gone = (
        await register(director, "kept"),
        await register(director, "gone", labels={f"l{n}": n for n in range(99)}),
    )

    with counted(monkeypatch) as ran:
        await director.data(MERGE, destination=kept, source=gone)

    assert len(ran) == 7  # both, the groups, the source away, the destination with its labels, two events, the reply
