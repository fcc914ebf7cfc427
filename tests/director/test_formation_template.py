"""Formation templates through the Director's API."""

from dataclasses import replace
from typing import Any

from compass.director.formation_template import DEFAULT

LIST = (
    "{ formationTemplates { data { id name applicationTypes runtimeTypes supportsReset webhooks { id } } totalCount } }"
)
ONE = "query ($id: ID!) { formationTemplate(id: $id) { name } }"


async def add(director: Any, tenant: str | None, name: str) -> str:
    async with director.database.transaction() as tx:
        return str(
            await tx.value(
                "-- test.add\nINSERT INTO formation_template (tenant_id, name, application_types) "
                "VALUES (%(tenant)s, %(name)s, '{a}') RETURNING id",
                tenant=tenant,
                name=name,
            )
        )


async def test_the_default_template_is_there_and_admits_everything(director: Any) -> None:
    page = (await director.data(LIST))["formationTemplates"]

    assert page["totalCount"] == 1
    del page["data"][0]["id"]
    assert page["data"] == [
        {"name": DEFAULT, "applicationTypes": ["ANY"], "runtimeTypes": ["ANY"], "supportsReset": False, "webhooks": []}
    ]


async def test_a_tenants_own_template_is_seen_by_it_and_not_by_others(director: Any) -> None:
    own = await add(director, director.caller.tenant, "own")

    assert await director.data(ONE, id=own) == {"formationTemplate": {"name": "own"}}
    nobody = replace(director.caller, tenant=None, external_tenant=None)
    for caller in (director.other, nobody):
        error = await director.refusal(ONE, caller=caller, id=own)
        assert error["message"] == "Object not found [object=formationTemplate]"
        assert (await director.data(LIST, caller=caller))["formationTemplates"]["totalCount"] == 1


async def test_the_tenants_own_template_goes_before_one_for_all_of_the_same_name(director: Any) -> None:
    own = await add(director, director.caller.tenant, "twice")
    common = await add(director, None, "twice")
    text = 'mutation { createFormation(formation: {name: "g", templateName: "twice"}) { formationTemplateId } }'

    mine = await director.data(text)
    theirs = await director.data(text, caller=director.other)

    assert mine["createFormation"]["formationTemplateId"] == own
    assert theirs["createFormation"]["formationTemplateId"] == common
