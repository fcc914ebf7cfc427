"""Formation templates through the Director's API."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from compass.director import tenant
from compass.director.formation_template import DEFAULT
from tests.director.catalogue import NOT_OWNER, UNKNOWN, counted
from tests.director.groups import Announced, application, runtime

LIST = (
    "{ formationTemplates { data { id name applicationTypes runtimeTypes supportsReset webhooks { id } } totalCount } }"
)
ONE = "query ($id: ID!) { formationTemplate(id: $id) { name } }"
FIELDS = """
    id name applicationTypes runtimeTypes runtimeTypeDisplayName runtimeArtifactKind leadingProductIDs supportsReset
    discoveryConsumers labels webhooks { id } createdAt updatedAt
"""
FULL = f"query ($id: ID!) {{ result: formationTemplate(id: $id) {{ {FIELDS} }} }}"
NAMED = """
query ($name: String!, $first: Int = 200) {
  result: formationTemplatesByName(name: $name, first: $first) { data { id } totalCount pageInfo { hasNextPage } }
}
"""
CREATE = f"""
mutation ($in: FormationTemplateRegisterInput!) {{ result: createFormationTemplate(in: $in) {{ {FIELDS} }} }}
"""
UPDATE = f"""
mutation ($id: ID!, $in: FormationTemplateUpdateInput!) {{
  result: updateFormationTemplate(id: $id, in: $in) {{ {FIELDS} }}
}}
"""
DELETE = "mutation ($id: ID!) { result: deleteFormationTemplate(id: $id) { id name labels } }"
SET_LABEL = """
mutation ($id: ID!, $in: LabelInput!) {
  result: setFormationTemplateLabel(formationTemplateID: $id, in: $in) { key value }
}
"""
DELETE_LABEL = """
mutation ($id: ID!, $key: String!) {
  result: deleteFormationTemplateLabel(formationTemplateID: $id, key: $key) { key value }
}
"""
PLAIN: Mapping[str, Any] = {"name": "shops", "applicationTypes": ["shop"]}
WHOLE: Mapping[str, Any] = {
    "name": "shops",
    "applicationTypes": ["shop", "till"],
    "runtimeTypes": ["kyma"],
    "runtimeTypeDisplayName": "Kyma",
    "runtimeArtifactKind": "ENVIRONMENT_INSTANCE",
    "leadingProductIDs": ["SHOP"],
    "supportsReset": True,
    "discoveryConsumers": ["kyma", "till"],
}
CHANGES: Mapping[str, Mapping[str, Any]] = {
    UPDATE: {"in": PLAIN},
    DELETE: {},
    SET_LABEL: {"in": {"key": "tier", "value": 1}},
    DELETE_LABEL: {"key": "tier"},
}
EACH_CHANGE = pytest.mark.parametrize("text", list(CHANGES))


def nobody(director: Any) -> Any:
    return replace(director.caller, tenant=None, external_tenant=None)


async def create(director: Any, given: Mapping[str, Any] = PLAIN, /, *, caller: Any = None, **more: Any) -> str:
    return str((await director.data(CREATE, caller=caller, **{"in": {**given, **more}}))["result"]["id"])


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


# Commands


async def test_a_template_answers_with_what_was_given(director: Any, announced: Announced) -> None:
    made = (await director.data(CREATE, **{"in": {**WHOLE, "labels": {"tier": ["gold"]}, "webhooks": []}}))["result"]

    assert {name: made[name] for name in WHOLE} == WHOLE
    assert (made["labels"], made["webhooks"], made["updatedAt"]) == ({"tier": ["gold"]}, [], None)
    assert (await director.data(FULL, id=made["id"]))["result"] == made
    assert await announced() == ["FormationTemplatesChanged"]


async def test_a_template_is_the_tenants_own_and_everybodys_when_no_tenant_is_named(director: Any) -> None:
    own = await create(director)
    common = await create(director, caller=nobody(director))
    theirs = await create(director, caller=director.other)

    async def named(caller: Any) -> set[str]:
        page = (await director.data(NAMED, caller=caller, name="shops"))["result"]
        assert page["totalCount"] == len(page["data"])
        return {row["id"] for row in page["data"]}

    assert await named(director.caller) == {own, common}
    assert await named(director.other) == {theirs, common}
    assert await named(nobody(director)) == {common}
    first = (await director.data(NAMED, name="shops", first=1))["result"]
    assert first == {"data": [{"id": min(own, common)}], "totalCount": 2, "pageInfo": {"hasNextPage": True}}
    assert (await director.data(NAMED, name="no such"))["result"]["totalCount"] == 0


async def test_a_tenant_that_is_named_and_not_there_gets_no_template_for_everybody(director: Any) -> None:
    mistaken = replace(director.caller, tenant=None, external_tenant="tenant-mien")

    error = await director.refusal(CREATE, caller=mistaken, **{"in": PLAIN})

    assert error["extensions"]["error_code"] == 25


async def test_a_name_is_taken_once_in_a_tenant_and_once_for_everybody(director: Any) -> None:
    other = await create(director, name="other")
    for caller in (director.caller, nobody(director)):
        await create(director, caller=caller)

        error = await director.refusal(CREATE, caller=caller, **{"in": PLAIN})

        assert error["message"] == "Object is not unique [object=formationTemplate]"
        assert error["extensions"]["error_code"] == 21
    error = await director.refusal(UPDATE, id=other, **{"in": PLAIN})
    assert error["message"] == "Object is not unique [object=formationTemplate]"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": " "}, "[name=cannot be blank]"),
        ({"name": "n" * 257}, "[name=the length must be between 1 and 256]"),
        ({"applicationTypes": []}, "[applicationTypes=cannot be blank]"),
        ({"applicationTypes": ["a", ""]}, "[applicationTypes=cannot be blank]"),
        ({"applicationTypes": ["a"] * 1001}, "[applicationTypes=the length must be no more than 1000]"),
        ({"discoveryConsumers": ["nobody"]}, "[discoveryConsumers=must be among applicationTypes and runtimeTypes]"),
        ({"leadingProductIDs": [""]}, "[leadingProductIDs=cannot be blank]"),
        ({"runtimeTypes": None}, "either all of them or none]"),
        ({"runtimeTypes": []}, "either all of them or none]"),
        ({"runtimeTypeDisplayName": None}, "either all of them or none]"),
        ({"runtimeArtifactKind": None}, "either all of them or none]"),
        ({"runtimeTypes": None, "runtimeTypeDisplayName": None}, "either all of them or none]"),
    ],
)
async def test_a_template_that_breaks_a_rule_is_refused(director: Any, wrong: Mapping[str, Any], message: str) -> None:
    there = await create(director, name="there")
    without_runtimes = {**WHOLE, "discoveryConsumers": ["till"], **wrong}

    for kind, text in (("Register", CREATE), ("Update", UPDATE)):
        error = await director.refusal(text, **({"id": there} if text == UPDATE else {}), **{"in": without_runtimes})

        assert error["message"].startswith(f"Invalid data FormationTemplate{kind}Input [")
        assert error["message"].endswith(message)
        assert error["extensions"]["error_code"] == 22


async def test_a_template_is_created_with_its_webhooks_and_removed_with_them(
    director: Any, announced: Announced
) -> None:
    hooks = [{"type": "FORMATION_LIFECYCLE", "url": f"https://receiver.example/{name}"} for name in "ab"]
    made = await create(director, webhooks=hooks)
    query = "query ($id: ID!) { formationTemplate(id: $id) { webhooks { type url mode formationTemplateID } } }"

    shown = (await director.data(query, id=made))["formationTemplate"]["webhooks"]

    assert sorted(shown, key=lambda hook: str(hook["url"])) == [
        {**hook, "mode": None, "formationTemplateID": made} for hook in hooks
    ]
    await director.data(DELETE, id=made)
    async with director.database.transaction() as tx:
        assert await tx.value("-- test.left\nSELECT count(*) FROM webhook") == 0
    assert await announced() == ["FormationTemplatesChanged"] * 2


async def test_bad_webhooks_and_reserved_labels_are_refused(director: Any) -> None:
    error = await director.refusal(CREATE, **{"in": {**PLAIN, "webhooks": [{"type": "FORMATION_LIFECYCLE"}]}})
    assert "missing webhook url" in error["message"]
    assert error["extensions"]["error_code"] == 22
    error = await director.refusal(CREATE, **{"in": {**PLAIN, "labels": {"scenarios": ["a"]}}})
    assert "label with key scenarios cannot be set explicitly" in error["message"]
    error = await director.refusal(CREATE, **{"in": {**PLAIN, "labels": {"a b": 1}}})
    assert error["extensions"]["error_code"] == 22


async def test_an_update_replaces_everything_but_labels(director: Any, announced: Announced) -> None:
    template = await create(director, WHOLE, labels={"tier": "gold"})

    changed = (await director.data(UPDATE, id=template.upper(), **{"in": {**PLAIN, "name": "tills"}}))["result"]

    assert changed["updatedAt"] is not None
    assert {name: changed[name] for name in (*WHOLE, "labels")} == {
        **dict.fromkeys(WHOLE),
        "name": "tills",
        "applicationTypes": ["shop"],
        "supportsReset": False,
        "labels": {"tier": "gold"},
    }
    assert await announced() == ["FormationTemplatesChanged"] * 2


async def test_a_group_admits_whom_its_template_admits_now(director: Any) -> None:
    template = await create(director)
    text = 'mutation { createFormation(formation: {name: "g", templateName: "shops"}) { formationTemplateId } }'
    assert (await director.data(text))["createFormation"]["formationTemplateId"] == template
    till = await application(director, "till", labels={"applicationType": "till"})
    kyma = await runtime(director, "kyma")
    assign = """
    mutation ($id: ID!, $type: FormationObjectType!) {
      assignFormation(objectID: $id, objectType: $type, formation: {name: "g"}) { id }
    }
    """

    error = await director.refusal(assign, id=till, type="APPLICATION")
    assert error["extensions"]["error_code"] == 27
    assert (
        'unsupported applicationType "till" for formation template "shops", allowing only ["shop"]' in error["message"]
    )
    error = await director.refusal(assign, id=kyma, type="RUNTIME")
    assert 'Formation g of type shops does not support resources of type "RUNTIME"' in error["message"]

    await director.data(UPDATE, id=template, **{"in": WHOLE})
    await director.data(assign, id=till, type="APPLICATION")


async def test_a_template_is_deleted_with_its_labels_and_not_while_it_has_groups(
    director: Any, announced: Announced
) -> None:
    template = await create(director, labels={"tier": "gold"})
    await director.data('mutation { createFormation(formation: {name: "g", templateName: "shops"}) { id } }')

    error = await director.refusal(DELETE, id=template)
    assert error["message"].endswith("reason=The record cannot be deleted because another record refers to it]")
    assert error["extensions"]["error_code"] == 27

    await director.data('mutation { deleteFormation(formation: {name: "g"}) { id } }')
    deleted = (await director.data(DELETE, id=template))["result"]
    assert deleted == {"id": template, "name": "shops", "labels": {"tier": "gold"}}
    assert (await director.data(LIST))["formationTemplates"]["totalCount"] == 1
    assert (await announced())[-1] == "FormationTemplatesChanged"


async def test_a_tenants_templates_and_their_groups_go_with_the_tenant(director: Any) -> None:
    await create(director, labels={"tier": "gold"})
    await director.data('mutation { createFormation(formation: {name: "g", templateName: "shops"}) { id } }')

    await director.data('mutation { deleteTenants(in: ["tenant-mine"]) }')

    async with director.database.transaction() as tx:
        left = await tx.row(
            "-- test.left\nSELECT (SELECT count(*) FROM formation_template) AS templates, "
            "(SELECT count(*) FROM formation_template_label) AS labels, (SELECT count(*) FROM formation) AS groups"
        )
    assert dict(left) == {"templates": 1, "labels": 0, "groups": 0}


async def test_the_default_template_may_be_narrowed_and_stays(director: Any) -> None:
    (default,) = (await director.data(NAMED, name=DEFAULT))["result"]["data"]

    for text, variables in ((DELETE, {}), (UPDATE, {"in": PLAIN})):
        error = await director.refusal(text, caller=nobody(director), id=default["id"], **variables)
        assert "the default template can be neither renamed nor deleted" in error["message"]
        assert error["extensions"]["error_code"] == 27
    await director.data(UPDATE, caller=nobody(director), id=default["id"], **{"in": {**WHOLE, "name": DEFAULT}})
    # A tenant's own of that name is like any other.
    own = await create(director, name=DEFAULT)
    await director.data(DELETE, id=own)


@pytest.mark.parametrize("value", ["text", 1, True, ["a", {"b": None}], {"deep": [0]}])
async def test_a_label_is_set_changed_found_and_removed(director: Any, announced: Announced, value: Any) -> None:
    template = await create(director, labels={"tier": "old"})

    assert await director.data(SET_LABEL, id=template, **{"in": {"key": "tier", "value": value}}) == {
        "result": {"key": "tier", "value": value}
    }
    assert (await director.data(FULL, id=template))["result"]["labels"] == {"tier": value}
    found = "query ($filter: [LabelFilter!]) { formationTemplates(filter: $filter) { data { id } } }"
    assert (await director.data(found, filter=[{"key": "tier"}]))["formationTemplates"]["data"] == [{"id": template}]
    removed = await director.data(DELETE_LABEL, id=template, key="tier")
    assert removed == {"result": {"key": "tier", "value": value}}
    assert (await director.data(FULL, id=template))["result"]["labels"] == {}
    error = await director.refusal(DELETE_LABEL, id=template, key="tier")
    assert error["message"] == "Object not found [object=label]"
    assert await announced() == ["FormationTemplatesChanged"] * 3


async def test_labels_that_break_a_rule_are_refused(director: Any) -> None:
    template = await create(director)

    for wrong, message in (
        ({"key": "a b", "value": 1}, "Invalid data LabelInput [key=must be in a valid format]"),
        ({"key": "", "value": 1}, "Invalid data LabelInput [key=cannot be blank]"),
        ({"key": "tier", "value": ""}, "Invalid data LabelInput [value=cannot be blank]"),
    ):
        assert (await director.refusal(SET_LABEL, id=template, **{"in": wrong}))["message"] == message
    error = await director.refusal(SET_LABEL, id=template, **{"in": {"key": "scenarios", "value": ["a"]}})
    assert "label with key scenarios cannot be set explicitly" in error["message"]
    error = await director.refusal(DELETE_LABEL, id=template, key="scenarios")
    assert "label with key scenarios cannot be deleted explicitly" in error["message"]


@EACH_CHANGE
async def test_the_template_of_another_tenant_is_not_there(director: Any, text: str) -> None:
    own = await create(director, labels={"tier": 1})

    for caller, id_ in (
        (director.other, own),
        (nobody(director), own),
        (director.caller, UNKNOWN),
        (director.caller, "no-uuid"),
        (director.caller, ""),
    ):
        error = await director.refusal(text, caller=caller, id=id_, **CHANGES[text])
        assert error["message"] == "Object not found [object=formationTemplate]"
        assert error["extensions"]["error_code"] == 20


@EACH_CHANGE
async def test_the_template_of_an_ancestor_is_used_and_not_changed(director: Any, text: str) -> None:
    own = await create(director, labels={"tier": 1})
    async with director.database.transaction() as tx:
        child = await tenant.write(
            tx, tenant.NewTenant("child", "tenant-child", "subaccount", "test", parents=("tenant-mine",))
        )
    below = replace(director.caller, tenant=child, external_tenant="tenant-child")

    assert (await director.data(FULL, caller=below, id=own))["result"]["name"] == "shops"
    error = await director.refusal(text, caller=below, id=own, **CHANGES[text])
    assert error["message"] == NOT_OWNER


@EACH_CHANGE
async def test_a_template_for_everybody_is_changed_from_any_tenant_and_from_none(director: Any, text: str) -> None:
    for caller in (director.other, nobody(director)):
        common = await create(director, caller=nobody(director), labels={"tier": 1})
        await director.data(text, caller=caller, id=common, **CHANGES[text])
        if text != DELETE:
            await director.data(DELETE, caller=caller, id=common)


@pytest.mark.parametrize("text", [CREATE, *CHANGES])
async def test_the_scope_is_needed(director: Any, text: str) -> None:
    own = await create(director, name="there")
    without = replace(director.caller, scopes=director.caller.scopes - {"formation_template:write"})
    variables = {"in": PLAIN} if text == CREATE else {"id": own, **CHANGES[text]}

    error = await director.refusal(text, caller=without, **variables)

    assert error["extensions"]["error_code"] == 23


async def test_a_change_is_a_few_statements_whatever_the_number_of_labels(
    director: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with counted(monkeypatch) as creating:
        template = await create(director, labels={f"key{number}": number for number in range(50)})
    with counted(monkeypatch) as updating:
        await director.data(UPDATE, id=template, **{"in": PLAIN})

    assert (len(creating), len(updating)) == (3, 4)  # one of them reads the answer
