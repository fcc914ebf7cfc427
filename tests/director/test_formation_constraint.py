"""Formation constraints through the Director's API: what is kept of them, and when they are asked."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from compass.director.formation_template import DEFAULT
from tests.director.catalogue import NOT_OWNER, UNKNOWN, counted
from tests.director.groups import (
    ASSIGN,
    CREATE_FORMATION,
    DELETE_FORMATION,
    UNASSIGN,
    Announced,
    application,
    assign,
    group,
    runtime,
    states,
    unassign,
)
from tests.director.test_formation_template import create as create_template
from tests.director.test_formation_template import nobody

FIELDS = """
    id name description constraintType targetOperation operator resourceType resourceSubtype inputTemplate
    constraintScope priority createdAt
"""
CREATE = f"""
mutation ($in: FormationConstraintInput!) {{
  result: createFormationConstraint(formationConstraint: $in) {{ {FIELDS} }}
}}
"""
UPDATE = f"""
mutation ($id: ID!, $in: FormationConstraintUpdateInput!) {{
  result: updateFormationConstraint(id: $id, in: $in) {{ {FIELDS} }}
}}
"""
DELETE = f"mutation ($id: ID!) {{ result: deleteFormationConstraint(id: $id) {{ {FIELDS} }} }}"
ATTACH = """
mutation ($id: ID!, $template: ID!) {
  result: attachConstraintToFormationTemplate(constraintID: $id, formationTemplateID: $template) {
    constraintID formationTemplateID
  }
}
"""
DETACH = ATTACH.replace("attachConstraintTo", "detachConstraintFrom")
ONE = f"query ($id: ID!) {{ result: formationConstraint(id: $id) {{ {FIELDS} }} }}"
ALL = "{ result: formationConstraints { name } }"
OF_TYPE = "query ($id: ID!) { result: formationConstraintsByFormationType(formationTemplateID: $id) { name } }"
OF_TEMPLATE = "query ($id: ID!) { result: formationTemplate(id: $id) { formationConstraints { name } } }"
GIVEN: Mapping[str, Any] = {
    "name": "one at a time",
    "constraintType": "PRE",
    "targetOperation": "ASSIGN_FORMATION",
    "operator": "IsNotAssignedToAnyFormationOfType",
    "resourceType": "APPLICATION",
    "resourceSubtype": "ANY",
    "inputTemplate": '{"formation_template_id": "{{.FormationTemplateID}}"}',
    "constraintScope": "FORMATION_TYPE",
}
NEVER: Mapping[str, Any] = {
    **GIVEN,
    "operator": "ContainsScenarioGroups",
    "inputTemplate": '{"required_scenario_groups": ["none has it"]}',
    "constraintScope": "GLOBAL",
}
"""What no object ever satisfies."""


async def constraint(director: Any, name: str = "rule", given: Mapping[str, Any] = GIVEN, /, **more: Any) -> str:
    made = (await director.data(CREATE, **{"in": {**given, "name": name, **more}}))["result"]
    return str(made["id"])


async def never(director: Any, name: str = "never", /, **more: Any) -> str:
    return await constraint(director, name, NEVER, **more)


async def default_template(director: Any) -> str:
    data = await director.data("{ formationTemplates { data { id name } } }")
    return next(str(one["id"]) for one in data["formationTemplates"]["data"] if one["name"] == DEFAULT)


async def names(director: Any, text: str, **variables: Any) -> list[str]:
    result = (await director.data(text, **variables))["result"]
    return [one["name"] for one in (result if isinstance(result, list) else result["formationConstraints"])]


async def typed_runtime(director: Any, name: str, type_: str) -> str:
    """A runtime of a type, which nobody who registers one may choose."""
    made = await runtime(director, name)
    async with director.database.transaction() as tx:
        await tx.run(
            "-- test.type\nINSERT INTO runtime_label (runtime_id, key, value) VALUES (%(id)s, 'runtimeType', %(type)s)",
            id=made,
            type=type_,
        )
    return made


def not_satisfied(name: str, operator: str) -> str:
    return f'Formation constraint "{name}" is not satisfied due to: Operator "{operator}" is not satisfied'


# What is kept


async def test_a_constraint_answers_with_what_was_given(director: Any, announced: Announced) -> None:
    made = (await director.data(CREATE, **{"in": {**GIVEN, "priority": 7, "description": "why"}}))["result"]

    assert made == {**GIVEN, "priority": 7, "description": "why", "id": made["id"], "createdAt": made["createdAt"]}
    assert (await director.data(ONE, id=made["id"]))["result"] == made
    assert await announced() == ["FormationConstraintsChanged"]


async def test_without_a_priority_and_a_description_it_has_none(director: Any) -> None:
    made = (await director.data(CREATE, **{"in": GIVEN}))["result"]

    assert (made["priority"], made["description"]) == (0, "")


@pytest.mark.parametrize(
    ("wrong", "fact"),
    [
        ({"name": " "}, "name=cannot be blank"),
        ({"name": "n" * 257}, "name=the length must be between 1 and 256"),
        ({"description": "d" * 2001}, "description=the length must be no more than 2000"),
        ({"resourceSubtype": ""}, "resourceSubtype=cannot be blank"),
        ({"operator": "Unheard"}, "operator=must be a valid value"),
        (
            {"operator": "ConfigMutator"},
            "operator=decides about PRE NOTIFICATION_STATUS_RETURNED only",
        ),
        (
            {"constraintType": "POST", "operator": "RedirectNotification", "targetOperation": "SEND_NOTIFICATION"},
            "operator=decides about PRE SEND_NOTIFICATION only",
        ),
        ({"inputTemplate": "{{"}, "inputTemplate=line 1: "),
        ({"inputTemplate": ""}, "inputTemplate=the template renders to nothing, and JSON was expected"),
        ({"inputTemplate": "no JSON"}, "inputTemplate=line 1: the rendered text is not JSON"),
        ({"inputTemplate": "[]"}, "inputTemplate=the template must render a JSON object"),
        ({"inputTemplate": '{"x": "{{.Unheard}}"}'}, "inputTemplate=line 1: "),
        (
            {"inputTemplate": '{"formation_template_id": 7}'},
            "inputTemplate=the template must render formation_template_id as a text",
        ),
        (
            {"inputTemplate": '{"formation_template_id": "\\u0000"}'},
            "inputTemplate=the template must render formation_template_id as a text",
        ),
        (
            {"inputTemplate": '{"exceptSubtypes": "a"}'},
            "inputTemplate=the template must render exceptSubtypes as a list of texts",
        ),
        (
            {
                "operator": "RedirectNotification",
                "targetOperation": "SEND_NOTIFICATION",
                "inputTemplate": '{"should_redirect": "yes"}',
            },
            "inputTemplate=the template must render should_redirect as true or false",
        ),
        ({"inputTemplate": "{}" + " " * 70_000}, "inputTemplate="),
        ({"inputTemplate": '{"x": "{{range until 100000000}}a{{end}}"}'}, "inputTemplate="),
    ],
)
async def test_a_constraint_that_could_not_decide_is_refused(
    director: Any, wrong: Mapping[str, Any], fact: str
) -> None:
    error = await director.refusal(CREATE, **{"in": {**GIVEN, **wrong}})

    assert error["message"].startswith(f"Invalid data FormationConstraintInput [{fact}")
    assert error["extensions"]["error_code"] == 22


async def test_a_constraint_for_user_interfaces_may_have_any_operator_and_a_template_that_parses(
    director: Any,
) -> None:
    shown = {"constraintType": "UI", "targetOperation": "SELECT_SYSTEMS_FOR_FORMATION", "inputTemplate": "{{.Any}}"}
    for number, operator in enumerate(("ConfigMutator", "DoesNotContainResourceOfSubtype")):
        await constraint(director, f"ui {number}", operator=operator, **shown)

    error = await director.refusal(CREATE, **{"in": {**GIVEN, **shown, "inputTemplate": "{{end}}"}})

    assert "[inputTemplate=line 1: " in error["message"]


async def test_the_operator_of_one_vendor_is_not_offered(director: Any) -> None:
    error = await director.refusal(CREATE, **{"in": {**GIVEN, "operator": "DestinationCreator"}})

    assert error["message"] == (
        "The operation is not allowed [reason=createFormationConstraint with DestinationCreator is not offered by this "
        "plane: it needs a destination service]"
    )
    assert error["extensions"]["error_code"] == 27


async def test_a_name_is_taken_once(director: Any) -> None:
    await constraint(director, "rule")

    error = await director.refusal(CREATE, caller=director.other, **{"in": {**GIVEN, "name": "rule"}})

    assert error["message"] == "Object is not unique [object=formationConstraint]"
    assert error["extensions"]["error_code"] == 21


async def test_what_is_not_given_stays_when_a_constraint_is_changed(director: Any, announced: Announced) -> None:
    rule = await constraint(director, priority=7, description="why")
    before = (await director.data(ONE, id=rule))["result"]
    template = '{"except_subtypes": ["shop"]}'

    changed = (await director.data(UPDATE, id=rule, **{"in": {"inputTemplate": template}}))["result"]

    assert changed == {**before, "inputTemplate": template}
    given = {"inputTemplate": template, "priority": 0, "description": ""}
    assert (await director.data(UPDATE, id=rule, **{"in": given}))["result"] == {**changed, **given}
    assert await announced() == ["FormationConstraintsChanged"] * 3


@pytest.mark.parametrize(
    ("wrong", "fact"),
    [
        ({"inputTemplate": "{{"}, "inputTemplate=line 1: "),
        ({"inputTemplate": '{"except_subtypes": 1}'}, "inputTemplate=the template must render except_subtypes"),
        ({"inputTemplate": "{}", "description": "d" * 2001}, "description=the length must be no more than 2000"),
    ],
)
async def test_a_change_after_which_it_could_not_decide_is_refused(
    director: Any, wrong: Mapping[str, Any], fact: str
) -> None:
    rule = await constraint(director)

    error = await director.refusal(UPDATE, id=rule, **{"in": wrong})

    assert error["message"].startswith(f"Invalid data FormationConstraintUpdateInput [{fact}")
    assert error["extensions"]["error_code"] == 22


async def test_a_constraint_that_is_deleted_answers_what_it_was(director: Any, announced: Announced) -> None:
    rule = await constraint(director)
    before = (await director.data(ONE, id=rule))["result"]

    assert (await director.data(DELETE, id=rule))["result"] == before
    assert await names(director, ALL) == []
    assert await announced() == ["FormationConstraintsChanged"] * 2


@pytest.mark.parametrize("id_", [UNKNOWN, "no-uuid"])
async def test_what_is_not_there_is_not_found(director: Any, id_: str) -> None:
    there, template = await constraint(director), await create_template(director)
    calls: list[tuple[str, dict[str, Any]]] = [
        (ONE, {}),
        (UPDATE, {"in": {"inputTemplate": "{}"}}),
        (DELETE, {}),
        (ATTACH, {"template": template}),
        (DETACH, {"template": template}),
    ]
    for text, more in calls:
        error = await director.refusal(text, id=id_, **more)
        assert error["message"] == "Object not found [object=formationConstraint]"
        assert error["extensions"]["error_code"] == 20
    for text in (ATTACH, DETACH):
        error = await director.refusal(text, id=there, template=id_)
        assert error["message"] == "Object not found [object=formationTemplate]"


@pytest.mark.parametrize("text", [CREATE, UPDATE, DELETE, ATTACH, DETACH, ONE, ALL, OF_TYPE])
async def test_the_scope_is_needed(director: Any, text: str) -> None:
    template, rule = await create_template(director), await constraint(director)
    scope = "write" if "mutation" in text else "read"
    without = replace(director.caller, scopes=director.caller.scopes - {f"formation_constraint:{scope}"})
    given = {"in": GIVEN if text == CREATE else {"inputTemplate": "{}"}}
    variables = {"id": rule, "template": template, **given}

    error = await director.refusal(
        text, caller=without, **{name: value for name, value in variables.items() if f"${name}:" in text}
    )

    assert error["extensions"]["error_code"] == 23
    assert error["extensions"]["error"] == "InsufficientScopes"


# Attached


async def test_what_is_attached_and_what_holds_everywhere_is_seen_at_the_template_in_order(director: Any) -> None:
    template, other = await create_template(director), await create_template(director, name="other")
    await never(director, "everywhere", priority=1)
    attached = await constraint(director, "attached", priority=2)
    await constraint(director, "elsewhere", priority=3)
    older = await constraint(director, "older", priority=1)
    # Created in one moment, it would be their ids that decide.
    async with director.database.transaction() as tx:
        await tx.run(
            "-- test.age\nUPDATE formation_constraint SET created_at = now() - interval '1 day' WHERE id = %(id)s",
            id=older,
        )
    for rule in (older, attached):
        reference = (await director.data(ATTACH, id=rule, template=template))["result"]
        assert reference == {"constraintID": rule, "formationTemplateID": template}

    assert await names(director, ALL) == ["elsewhere", "attached", "older", "everywhere"]
    for text in (OF_TYPE, OF_TEMPLATE):
        assert await names(director, text, id=template) == ["attached", "older", "everywhere"]
        assert await names(director, text, id=other) == ["everywhere"]
    assert await names(director, OF_TYPE, id=UNKNOWN) == ["everywhere"]
    assert await names(director, OF_TYPE, caller=director.other, id=template) == ["everywhere"]
    assert await names(director, OF_TYPE, caller=nobody(director), id=template) == ["everywhere"]


async def test_attaching_is_safe_to_repeat_and_ends_with_detaching(director: Any, announced: Announced) -> None:
    template, rule = await create_template(director), await constraint(director)
    before = list(await announced())
    for _ in range(2):
        await director.data(ATTACH, id=rule, template=template)
    assert (await announced())[len(before) :] == ["FormationConstraintsChanged"]

    reference = (await director.data(DETACH, id=rule, template=template))["result"]

    assert reference == {"constraintID": rule, "formationTemplateID": template}
    assert await names(director, OF_TYPE, id=template) == []
    assert (await announced())[len(before) :] == ["FormationConstraintsChanged"] * 2
    error = await director.refusal(DETACH, id=rule, template=template)
    assert error["message"] == "Object not found [object=formationConstraint]"


async def test_only_who_may_change_a_template_attaches_to_it(director: Any) -> None:
    theirs = await create_template(director, caller=director.other)
    common = await create_template(director, caller=nobody(director))
    rule = await constraint(director)

    error = await director.refusal(ATTACH, id=rule, template=theirs)
    assert error["message"] == "Object not found [object=formationTemplate]"
    await director.data(ATTACH, id=rule, template=common)

    below = await subaccount(director)
    own = await create_template(director, name="own")
    for text in (ATTACH, DETACH):
        error = await director.refusal(text, caller=below, id=rule, template=own)
        assert error["message"] == NOT_OWNER


async def subaccount(director: Any) -> Any:
    text = """mutation { writeTenant(in: {
      name: "below", externalTenant: "tenant-below", type: "subaccount", provider: "test", parents: ["tenant-mine"]
    }) }"""
    below = (await director.data(text))["writeTenant"]
    return replace(director.caller, tenant=below, external_tenant="tenant-below")


async def test_an_attached_constraint_is_not_deleted(director: Any) -> None:
    first, second = [await create_template(director, name=name) for name in ("a", "b")]
    rule = await constraint(director)
    for template in (first, second):
        await director.data(ATTACH, id=rule, template=template)

    error = await director.refusal(DELETE, id=rule)

    ids = ", ".join(sorted([first, second]))
    assert error["message"].endswith(
        f'reason: cannot delete Formation Constraint with ID "{rule}" '
        f"because it is used by Formation Templates with IDs [{ids}]]"
    )
    assert error["extensions"]["error_code"] == 10
    error = await director.refusal(DELETE, caller=director.other, id=rule)
    assert error["message"].endswith("with IDs [] and 2 of other tenants]")
    for template in (first, second):
        await director.data(DETACH, id=rule, template=template)
    await director.data(DELETE, id=rule)


async def test_a_template_is_deleted_with_what_is_attached_to_it(director: Any) -> None:
    template, rule = await create_template(director), await constraint(director)
    await director.data(ATTACH, id=rule, template=template)

    await director.data("mutation ($id: ID!) { deleteFormationTemplate(id: $id) { id } }", id=template)
    await director.data(DELETE, id=rule)

    assert await names(director, ALL) == []


# When they are asked


async def test_an_operation_that_is_not_permitted_changes_and_announces_nothing(director: Any) -> None:
    await group(director, "g")
    app = await application(director, "shop")
    await never(director)

    error = await director.refusal(ASSIGN, id=app, type="APPLICATION", group="g")

    sentence = not_satisfied("never", "ContainsScenarioGroups")
    assert error["message"].startswith("Internal Server Error [errorID=")
    assert error["message"].endswith(f"reason: {sentence}]")
    assert error["extensions"]["error_code"] == 10


@pytest.mark.parametrize("when", ["PRE", "POST"])
async def test_every_change_of_a_group_may_be_constrained_before_and_after_it(director: Any, when: str) -> None:
    app, other = await application(director, "in"), await application(director, "out")
    await group(director, "g", applications=[app])
    await group(director, "empty")
    calls: Mapping[str, tuple[str, str, dict[str, Any]]] = {
        "ASSIGN_FORMATION": ("APPLICATION", ASSIGN, {"id": other, "type": "APPLICATION", "group": "g"}),
        "UNASSIGN_FORMATION": ("APPLICATION", UNASSIGN, {"id": app, "type": "APPLICATION", "group": "g"}),
        "CREATE_FORMATION": ("FORMATION", CREATE_FORMATION, {"in": {"name": "new"}}),
        "DELETE_FORMATION": ("FORMATION", DELETE_FORMATION, {"in": {"name": "empty"}}),
    }
    for target, (kind, text, variables) in calls.items():
        rule = await never(director, target, constraintType=when, targetOperation=target, resourceType=kind)

        error = await director.refusal(text, **variables)

        assert error["message"].endswith(f"{not_satisfied(target, 'ContainsScenarioGroups')}]")
        await director.data(DELETE, id=rule)
        await director.data(text, **variables)


@pytest.mark.parametrize(
    "other",
    [
        {"resourceType": "RUNTIME"},
        {"resourceSubtype": "till"},
        {"targetOperation": "UNASSIGN_FORMATION"},
        {"constraintType": "UI"},
        {"constraintScope": "FORMATION_TYPE"},
    ],
)
async def test_a_constraint_about_something_else_is_not_asked(director: Any, other: Mapping[str, Any]) -> None:
    await group(director, "g")
    app = await application(director, "shop", labels={"applicationType": "shop"})
    await never(director, **other)

    await assign(director, "g", application=app)


@pytest.mark.parametrize("subtype", ["shop", "ANY"])
async def test_the_subtype_is_that_of_the_object_or_any(director: Any, subtype: str) -> None:
    await group(director, "g")
    shop = await application(director, "shop", labels={"applicationType": "shop"})
    unlabelled = await application(director, "unlabelled")
    await never(director, resourceSubtype=subtype)

    await director.refusal(ASSIGN, id=shop, type="APPLICATION", group="g")
    if subtype == "ANY":
        await director.refusal(ASSIGN, id=unlabelled, type="APPLICATION", group="g")
    else:
        await assign(director, "g", application=unlabelled)


async def test_the_subtype_of_a_runtime_is_its_type_and_of_a_group_the_name_of_its_template(director: Any) -> None:
    await group(director, "g")
    cluster = await typed_runtime(director, "cluster", "kyma")
    await never(director, "runtimes", resourceType="RUNTIME", resourceSubtype="kyma")
    await never(
        director, "groups", targetOperation="CREATE_FORMATION", resourceType="FORMATION", resourceSubtype=DEFAULT
    )
    await create_template(director, name="other")

    error = await director.refusal(ASSIGN, id=cluster, type="RUNTIME", group="g")
    assert '"runtimes"' in error["message"]
    error = await director.refusal(CREATE_FORMATION, **{"in": {"name": "new"}})
    assert '"groups"' in error["message"]
    await director.data(CREATE_FORMATION, **{"in": {"name": "new", "templateName": "other"}})


async def test_a_constraint_holds_for_the_templates_it_is_attached_to(director: Any) -> None:
    await group(director, "g")
    template = await create_template(director, name="other", applicationTypes=["ANY"])
    await director.data(CREATE_FORMATION, **{"in": {"name": "h", "templateName": "other"}})
    app = await application(director, "shop")
    rule = await never(director, constraintScope="FORMATION_TYPE")
    await director.data(ATTACH, id=rule, template=template)

    await assign(director, "g", application=app)
    await director.refusal(ASSIGN, id=app, type="APPLICATION", group="h")
    await director.data(DETACH, id=rule, template=template)
    await assign(director, "h", application=app)


async def test_the_higher_priority_decides_first_and_of_one_priority_the_older(director: Any) -> None:
    await group(director, "g")
    app = await application(director, "shop")
    rules = {name: await never(director, name, priority=priority) for name, priority in (("b", 1), ("a", 1), ("c", 2))}
    async with director.database.transaction() as tx:
        await tx.run(
            "-- test.age\nUPDATE formation_constraint SET created_at = now() - interval '1 day' WHERE name = 'b'"
        )

    for expected in ("c", "b", "a"):
        error = await director.refusal(ASSIGN, id=app, type="APPLICATION", group="g")
        assert not_satisfied(expected, "ContainsScenarioGroups") in error["message"]
        await director.data(DELETE, id=rules[expected])


async def test_who_is_in_a_group_already_and_who_is_not_is_not_asked_about(director: Any) -> None:
    app, other = await application(director, "in"), await application(director, "out")
    await group(director, "g", applications=[app])
    for target in ("ASSIGN_FORMATION", "UNASSIGN_FORMATION"):
        for when in ("PRE", "POST"):
            await never(director, f"{when} {target}", targetOperation=target, constraintType=when)

    await assign(director, "g", application=app)
    await unassign(director, "g", application=other)

    assert await states(director, "g") == []
    await director.refusal(UNASSIGN, id=app, type="APPLICATION", group="g")


async def test_a_template_that_fails_refuses_and_says_why(director: Any) -> None:
    await group(director, "g")
    app = await application(director, "shop")
    await constraint(
        director,
        constraintScope="GLOBAL",
        inputTemplate='{"formation_template_id": {{if .ResourceID}}7{{else}}""{{end}}}',
    )

    error = await director.refusal(ASSIGN, id=app, type="APPLICATION", group="g")

    assert error["message"].endswith(
        f"{not_satisfied('rule', 'IsNotAssignedToAnyFormationOfType')}: its input cannot be used: "
        "the template must render formation_template_id as a text]"
    )


async def test_what_templates_see_of_an_object_that_joins(director: Any) -> None:
    formation = await group(director, "g")
    app = await application(director, "shop", labels={"applicationType": "till"})
    facts = {
        "Operation": "assign",
        "FormationID": formation,
        "FormationName": "g",
        "FormationTemplateID": await default_template(director),
        "FormationType": DEFAULT,
        "TenantID": director.caller.tenant,
        "ResourceType": "APPLICATION",
        "ResourceSubtype": "till",
        "ResourceID": app,
        "SourceResourceID": "",
        "State": "",
    }
    seen = " ".join(f'(eq .{name} "{value}")' for name, value in facts.items())
    rule = await constraint(
        director,
        constraintScope="GLOBAL",
        # Unusable where it sees something else; over the facts without content it was created.
        inputTemplate='{"except_subtypes": {{if or (eq .ResourceID "") (and SEEN)}}[]{{else}}7{{end}}}'.replace(
            "SEEN", seen
        ),
    )
    await assign(director, "g", application=app)

    await director.data(DELETE, id=rule)


async def test_finding_constraints_costs_one_statement_before_and_one_after_and_each_one_at_most_another(
    director: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    apps = [await application(director, name) for name in ("a", "b")]
    await group(director, "g")
    with counted(monkeypatch) as without:
        await assign(director, "g", application=apps[0])
    for number in range(20):
        await constraint(director, f"rule {number}", NEVER, inputTemplate="{}")
    with counted(monkeypatch) as with_them:
        await assign(director, "g", application=apps[1])

    assert len([text for text in without if "formation_constraint." in text]) == 2
    assert len(with_them) == len(without) + 20


@pytest.mark.parametrize("size", [1, 30])
async def test_a_constraint_costs_one_statement_however_many_join_at_once(
    director: Any, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    inside = await subaccount(director)
    for number in range(size):
        await runtime(director, f"cluster-{number}", caller=inside)
    await group(director, "g")
    for name, operator in (("alone", "IsNotAssignedToAnyFormationOfType"), ("rule", "ContainsScenarioGroups")):
        given = {"operator": operator, "resourceType": "RUNTIME", "constraintScope": "GLOBAL", "inputTemplate": "{}"}
        await constraint(director, name, **given)
    with counted(monkeypatch) as statements:
        await director.data(ASSIGN, id="tenant-below", type="TENANT", group="g")

    asked = [text.strip().splitlines()[0] for text in statements if "constraint" in text.strip().splitlines()[0]]
    assert asked == [
        "-- formation_constraint.of_members",
        "-- formation_constraint.of_members",
        "-- constraint_operators.in_another",
        "-- constraint_operators.has_scenario_group",
        "-- formation_constraint.of_members",
        "-- formation_constraint.of_members",
    ]


@pytest.mark.parametrize("position", [0, 1])
async def test_one_that_must_not_join_keeps_out_all_that_join_with_it(director: Any, position: int) -> None:
    inside = await subaccount(director)
    await group(director, "g")
    for number in range(2):
        made = await runtime(director, f"cluster-{number}", caller=inside)
        if number == position:
            template = f'{{"required_scenario_groups": [{{{{if eq .ResourceID "{made}"}}}}"none"{{{{end}}}}]}}'
            await never(director, resourceType="RUNTIME", inputTemplate=template)

    error = await director.refusal(ASSIGN, id="tenant-below", type="TENANT", group="g")

    assert not_satisfied("never", "ContainsScenarioGroups") in error["message"]
