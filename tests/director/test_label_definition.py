"""Label definitions through the Director's API."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from compass.director import label_definition
from compass.director.formation_template import DEFAULT
from tests.director.catalogue import counted
from tests.director.groups import Announced, application, group

ALL = "{ result: labelDefinitions { key schema } }"
ONE = "query ($key: String!) { result: labelDefinition(key: $key) { key schema } }"
CREATE = "mutation ($in: LabelDefinitionInput!) { result: createLabelDefinition(in: $in) { key schema } }"
UPDATE = "mutation ($in: LabelDefinitionInput!) { result: updateLabelDefinition(in: $in) { key schema } }"
GROUPS = "{ formations { data { name state formationTemplateId } } }"
TEMPLATE = "query ($name: String!) { formationTemplatesByName(name: $name) { data { id } } }"
BOTH = pytest.mark.parametrize("mutation", [CREATE, UPDATE])


def schema(*names: Any, items: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    pattern = "^[A-Za-z0-9]([-_A-Za-z0-9\\s]*[A-Za-z0-9])$"
    inner = {"type": "string", "pattern": pattern, "maxLength": 128, "enum": list(names), **(items or {})}
    return {"type": "array", "minItems": 1, "uniqueItems": True, "items": inner, **more}


def given(*names: Any, **more: Any) -> dict[str, Any]:
    return {"key": "scenarios", "schema": json.dumps(schema(*names, **more))}


async def groups(director: Any, caller: Any = None) -> list[str]:
    data = await director.data(GROUPS, caller=caller)
    return sorted(row["name"] for row in data["formations"]["data"])


def shown(answer: Any) -> Any:
    return json.loads(answer["result"]["schema"])


async def test_creating_the_definition_creates_a_group_of_the_default_template_for_each_name(
    director: Any, announced: Announced
) -> None:
    made = await director.data(CREATE, **{"in": given("two", "one")})

    assert made["result"]["key"] == "scenarios"
    assert shown(made) == schema("one", "two")
    (default,) = (await director.data(TEMPLATE, name=DEFAULT))["formationTemplatesByName"]["data"]
    data = (await director.data(GROUPS))["formations"]["data"]
    assert sorted(data, key=lambda row: str(row["name"])) == [
        {"name": name, "state": "READY", "formationTemplateId": default["id"]} for name in ("one", "two")
    ]
    assert await announced() == ["FormationCreated", "FormationCreated"]
    assert await groups(director, director.other) == []


async def test_the_definition_is_the_tenants_groups_however_they_were_created(director: Any) -> None:
    assert (await director.data(ALL))["result"] == []
    assert (await director.data(ONE, key="scenarios"))["result"] is None
    await group(director, "b-1")
    await group(director, "a")

    (listed,) = (await director.data(ALL))["result"]

    assert json.loads(listed["schema"]) == schema("a", "b-1")
    assert (await director.data(ONE, key="scenarios"))["result"] == listed
    assert (await director.data(ONE, key="tier"))["result"] is None
    assert (await director.data(ALL, caller=director.other))["result"] == []
    # What is read can be sent back as it is, a name of one letter too.
    same = await director.data(UPDATE, **{"in": {"key": "scenarios", "schema": listed["schema"]}})
    assert same["result"] == listed


async def test_a_tenant_with_groups_has_the_definition_already(director: Any) -> None:
    await group(director, "there")

    error = await director.refusal(CREATE, **{"in": given("more")})

    assert error["message"] == "Object is not unique [object=labelDefinition]"
    assert error["extensions"]["error_code"] == 21
    await director.data(CREATE, caller=director.other, **{"in": given("there")})


async def test_of_several_definitions_created_at_once_one_is(director: Any, announced: Announced) -> None:
    answers = await asyncio.gather(*(director(CREATE, **{"in": given(f"g{number}")}) for number in range(8)))

    refused = [answer["errors"][0]["extensions"]["error_code"] for answer in answers if "errors" in answer]
    assert refused == [21] * 7
    assert len(await groups(director)) == 1
    assert await announced() == ["FormationCreated"]


async def test_an_update_creates_what_is_new_and_removes_what_is_not_named(director: Any, announced: Announced) -> None:
    await director.data(CREATE, **{"in": given("kept", "gone")})
    await director.data(CREATE, caller=director.other, **{"in": given("gone")})
    orders = await application(director, "orders")
    await director.data(
        "mutation ($id: ID!) { assignFormation(objectID: $id, objectType: APPLICATION, formation: {name: "
        '"kept"}) { id } }',
        id=orders,
    )
    before = len(await announced())

    changed = await director.data(UPDATE, **{"in": given("kept", "new")})

    assert shown(changed) == schema("kept", "new")
    assert await groups(director) == ["kept", "new"]
    assert await groups(director, director.other) == ["gone"]
    assert (await announced())[before:] == ["FormationDeleted", "FormationCreated"]


async def test_an_update_that_would_remove_a_group_with_somebody_in_it_changes_nothing(director: Any) -> None:
    orders = await application(director, "orders")
    full = await group(director, "full", applications=[orders])
    await group(director, "empty")

    error = await director.refusal(UPDATE, **{"in": given("new")})

    assert f'cannot delete formation with ID "{full}", because it is not empty' in error["message"]
    assert error["extensions"]["error_code"] == 10


async def test_an_update_without_a_definition_is_refused(director: Any) -> None:
    await group(director, "theirs")

    error = await director.refusal(UPDATE, caller=director.other, **{"in": given("one")})

    assert error["message"] == "Object not found [object=labelDefinition]"
    assert error["extensions"]["error_code"] == 20


@BOTH
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({**given("a"), "key": "tier"}, "key=must be a valid value"),
        ({"key": "scenarios"}, "schema=cannot be blank"),
        ({"key": "scenarios", "schema": ""}, "schema=cannot be blank"),
        ({"key": "scenarios", "schema": "{"}, "schema=must be valid JSON"),
        ({"key": "scenarios", "schema": "[" * 5000}, "schema=must be valid JSON"),
        ({"key": "scenarios", "schema": "[]"}, "schema=only the enum of the items may differ from"),
        ({"key": "scenarios", "schema": '{"items": []}'}, "schema=only the enum of the items may differ from"),
        (given("a", minItems=0), "schema=only the enum of the items may differ from"),
        (given("a", minItems=True), "schema=only the enum of the items may differ from"),
        (given("a", title="t"), "schema=only the enum of the items may differ from"),
        (given("a", items={"pattern": ".*"}), "schema=only the enum of the items may differ from"),
        (given("a", items={"description": "d"}), "schema=only the enum of the items may differ from"),
        (given(), "schema=the enum of the items must be a list of at least one name"),
        (given("a", items={"enum": "a"}), "schema=the enum of the items must be a list of at least one name"),
        (given("a", 1), "schema=the enum of the items must have texts only"),
        (given("a", "b", "a"), "schema=a name is in the enum of the items twice"),
        (given("a-"), "schema='a-' in the enum of the items: must be in a valid format"),
        (given("a" * 129), "in the enum of the items: the length must be between 1 and 128"),
        (given(""), "schema='' in the enum of the items: cannot be blank"),
        (given(*map(str, range(10001))), "schema=the enum of the items must have no more than 10000 names"),
    ],
)
async def test_any_other_key_or_schema_is_refused(
    director: Any, mutation: str, wrong: Mapping[str, Any], message: str
) -> None:
    if mutation == UPDATE:
        await group(director, "there")

    error = await director.refusal(mutation, **{"in": wrong})

    assert error["message"].startswith("Invalid data LabelDefinitionInput [")
    assert message in error["message"]
    assert error["extensions"]["error_code"] == 22


async def test_one_call_changes_no_more_than_five_hundred_groups_and_there_may_be_more(director: Any) -> None:
    names = [f"group {number}" for number in range(501)]
    reason = "Invalid data [reason=one call creates and removes no more than 500 formations, and this is 501]"

    error = await director.refusal(CREATE, **{"in": given(*names)})
    assert (error["message"], error["extensions"]["error_code"]) == (reason, 22)
    async with director.database.transaction() as tx:
        await tx.run(
            "-- test.many\nINSERT INTO formation (tenant_id, formation_template_id, name, state) "
            "SELECT %(tenant)s, template.id, 'group ' || number, 'READY' "
            "FROM formation_template template, generate_series(0, 500) number",
            tenant=director.caller.tenant,
        )
    error = await director.refusal(UPDATE, **{"in": given(names[0], "new")})
    assert error["message"] == reason
    same = await director.data(UPDATE, **{"in": given(*names, "new")})
    assert shown(same) == schema(*sorted([*names, "new"]))


@pytest.mark.parametrize("text", [ALL, ONE, CREATE, UPDATE])
async def test_scopes_and_a_tenant_are_needed(director: Any, text: str) -> None:
    variables = {"key": "scenarios"} if text == ONE else {"in": given("a")} if text in (CREATE, UPDATE) else {}
    scope = f"label_definition:{'write' if text in (CREATE, UPDATE) else 'read'}"
    without = replace(director.caller, scopes=director.caller.scopes - {scope})
    nobody = replace(director.caller, tenant=None, external_tenant=None)

    assert (await director.refusal(text, caller=without, **variables))["extensions"]["error_code"] == 23
    assert (await director.refusal(text, caller=nobody, **variables))["extensions"]["error_code"] == 24


async def test_each_group_costs_a_few_statements_and_the_rest_does_not_grow(
    director: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"group {number}" for number in range(20)]
    with counted(monkeypatch) as one:
        text = 'mutation { createFormation(formation: {name: "alone"}) { id } }'
        await director.data(text, caller=director.other)
    with counted(monkeypatch) as creating:
        await director.data(CREATE, **{"in": given(*names)})
    with counted(monkeypatch) as same:
        await director.data(UPDATE, **{"in": given(*names)})

    each = len(one) - 1  # the answer of one by itself is read, too
    assert each <= 6
    assert len(creating) == 3 + each * 20
    assert len(same) == 3
    assert same[0] == label_definition.ALONE
