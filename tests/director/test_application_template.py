"""Application templates through the Director's API."""

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from importlib import resources
from typing import Any

import pytest

from compass.access.caller import Caller, Consumer, Flow
from compass.api.request import Endpoint
from compass.api.schema import surface
from compass.app import DIRECTOR_NOUNS
from compass.director import application
from compass.director.catalogue import Draft
from compass.errors import NotFound
from compass.ids import ApplicationTemplateId
from compass.outbound.door import Door
from compass.postgres.pool import Database
from compass.settings import LandscapeSettings
from compass.vault import Vault
from tests.director.catalogue import counted, without
from tests.director.conftest import PARTS

CREATE = """
mutation ($in: ApplicationTemplateInput!) {
  result: createApplicationTemplate(in: $in) {
    id name description applicationInput placeholders { name description jsonPath optional } labels accessLevel
    applicationNamespace createdAt updatedAt webhooks { id type url applicationTemplateID applicationID }
  }
}
"""
UPDATE = """
mutation ($id: ID!, $override: Boolean, $in: ApplicationTemplateUpdateInput!) {
  result: updateApplicationTemplate(id: $id, override: $override, in: $in) {
    name description applicationInput placeholders { name } labels applicationNamespace webhooks { type url }
  }
}
"""
DELETE = "mutation ($id: ID!) { result: deleteApplicationTemplate(id: $id) { id name webhooks { type } } }"
ONE = "query ($id: ID!) { result: applicationTemplate(id: $id) { id name applicationInput webhooks { id } } }"
ALL = """
query ($filter: [LabelFilter!], $first: Int = 200) {
  result: applicationTemplates(filter: $filter, first: $first) { data { name } totalCount pageInfo { hasNextPage } }
}
"""
REGISTER = """
mutation ($in: ApplicationFromTemplateInput!) {
  result: registerApplicationFromTemplate(in: $in) {
    id name description baseUrl labels applicationTemplateID status { condition } bundles { data { name } }
    applicationTemplate { id name } webhooks { type url applicationID applicationTemplateID }
  }
}
"""
ADD_WEBHOOK = """
mutation ($template: ID!, $in: WebhookInput!) {
  result: addWebhook(applicationTemplateID: $template, in: $in) { id type url applicationTemplateID applicationID }
}
"""
SHOWN = (
    "query ($id: ID!) { result: application(id: $id) { webhooks { type url applicationID applicationTemplateID } } }"
)
PLAIN: Mapping[str, Any] = {"name": "Orders", "applicationInput": {"name": "orders"}, "accessLevel": "GLOBAL"}
FORM: Mapping[str, Any] = {
    "name": "Shop",
    "description": "all shops",
    "accessLevel": "GLOBAL",
    "applicationNamespace": "example.shop",
    "labels": {"tier": "gold"},
    "applicationInput": {
        "name": "shop-{{name}}",
        "description": "{{name}} of {{region}}, {{note}}",
        "baseUrl": "https://{{name}}.example",
        "labels": {"region": "{{region}}", "note": "{{note}}", "mixed": "is {{note}}"},
        "bundles": [{"name": "of {{name}}"}],
    },
    "placeholders": [
        {"name": "name", "description": "of the shop", "jsonPath": "$.shop['name']"},
        {"name": "region", "jsonPath": "$.regions[0]"},
        {"name": "note", "optional": True},
    ],
}
NOBODY = "8fd7f7f4-3d6c-4a9a-8f3c-000000000000"
UNKNOWN = (NOBODY, "no-uuid", "")
HOOK: Mapping[str, Any] = {"type": "CONFIGURATION_CHANGED", "url": "https://template.example/changed"}

Announced = Callable[[], Awaitable[Sequence[str]]]


async def create(director: Any, given: Mapping[str, Any] = PLAIN, /, **more: Any) -> str:
    return str((await director.data(CREATE, **{"in": {**given, **more}}))["result"]["id"])


async def register(director: Any, template: str = "Shop", /, **more: Any) -> Any:
    return (await director.data(REGISTER, **{"in": {"templateName": template, **more}}))["result"]


def values(**given: str) -> list[dict[str, str]]:
    return [{"placeholder": name, "value": value} for name, value in given.items()]


# Templates


async def test_a_template_answers_with_what_was_given_and_its_applications_are_of_its_type(
    director: Any, announced: Announced
) -> None:
    tenantless = replace(director.caller, tenant=None, external_tenant=None)

    made = (await director.data(CREATE, caller=tenantless, **{"in": {**FORM, "webhooks": [HOOK]}}))["result"]

    stored = json.loads(made.pop("applicationInput"))
    assert stored["labels"].pop("applicationType") == "Shop"
    assert stored == FORM["applicationInput"]
    assert made["createdAt"] == made["updatedAt"]
    assert made["placeholders"] == [
        {"name": "name", "description": "of the shop", "jsonPath": "$.shop['name']", "optional": False},
        {"name": "region", "description": None, "jsonPath": "$.regions[0]", "optional": False},
        {"name": "note", "description": None, "jsonPath": None, "optional": True},
    ]
    assert (made["name"], made["description"], made["labels"]) == ("Shop", "all shops", {"tier": "gold"})
    assert (made["accessLevel"], made["applicationNamespace"]) == ("GLOBAL", "example.shop")
    (hook,) = made["webhooks"]
    assert (hook["url"], hook["applicationTemplateID"], hook["applicationID"]) == (HOOK["url"], made["id"], None)
    assert await announced() == ["ApplicationTemplatesChanged"]
    seen = (await director.data(ONE, caller=director.other, id=made["id"].upper()))["result"]
    assert (seen["id"], seen["webhooks"]) == (made["id"], [{"id": hook["id"]}])


async def test_a_type_that_the_input_names_is_kept(director: Any) -> None:
    given = {**PLAIN, "applicationInput": {"name": "orders", "labels": {"applicationType": "another"}}}

    made = (await director.data(CREATE, **{"in": given}))["result"]

    assert json.loads(made["applicationInput"])["labels"] == {"applicationType": "another"}


async def test_templates_are_listed_by_labels_in_pages(director: Any) -> None:
    await create(director, name="a", labels={"tier": "gold"})
    await create(director, name="b", labels={"tier": "silver"})
    await create(director, name="c")

    everything = (await director.data(ALL))["result"]
    gold = (await director.data(ALL, filter=[{"key": "tier", "query": '"gold"'}]))["result"]
    first = (await director.data(ALL, first=2))["result"]
    wrong = await director.refusal(ALL, filter=[{"key": "tier", "query": "gold"}])
    large = await director.refusal(ALL, first=201)

    assert (sorted(one["name"] for one in everything["data"]), everything["totalCount"]) == (["a", "b", "c"], 3)
    assert (gold["data"], gold["totalCount"]) == ([{"name": "a"}], 1)
    assert (len(first["data"]), first["totalCount"], first["pageInfo"]["hasNextPage"]) == (2, 3, True)
    assert wrong["extensions"]["error_code"] == 10
    assert large["message"] == "Invalid data [reason=page size must be between 1 and 200]"


async def test_an_unknown_template_is_an_error_everywhere(director: Any) -> None:
    for id_ in UNKNOWN:
        for document, more in ((ONE, {}), (DELETE, {}), (UPDATE, {"in": PLAIN})):
            error = await director.refusal(document, id=id_, **more)
            assert error["message"] == "Object not found [object=applicationTemplate]"
            assert error["extensions"] == {"error": "NotFound", "error_code": 20}
        error = await director.refusal(ADD_WEBHOOK, template=id_, **{"in": HOOK})
        assert error["message"] == "Invalid data [reason=cannot add Webhook due to not existing reference entity]"


@pytest.mark.parametrize(
    ("given", "facts"),
    [
        ({"name": ""}, "name=cannot be blank"),
        ({"name": "x" * 101}, "name=the length must be between 1 and 100"),
        ({"name": "ü"}, "name=must be in a valid format"),
        ({"description": "x" * 2001}, "description=the length must be no more than 2000"),
        ({"labels": {"a-b": 1}}, "labels=label key 'a-b' must be in a valid format"),
        ({"applicationInput": {"name": ""}}, "applicationInput.name=cannot be blank"),
        (
            {"applicationInput": {"name": "a", "healthCheckURL": "x", "webhooks": [{"type": "CONFIGURATION_CHANGED"}]}},
            (
                "applicationInput.healthCheckURL=must be a valid URL; "
                "applicationInput.webhooks.0.reason=missing webhook url"
            ),
        ),
        ({"webhooks": [{"type": "CONFIGURATION_CHANGED"}]}, "webhooks.0.reason=missing webhook url"),
        ({"placeholders": [{"name": "1a"}]}, "placeholders.0.name=must be in a valid format"),
        ({"placeholders": [{"name": "a" * 37}]}, "placeholders.0.name=the length must be between 1 and 36"),
        ({"placeholders": [{"name": "a"}]}, "placeholders=placeholder a is not used in applicationInput"),
        (
            {"applicationInput": {"name": "{{a}}"}, "placeholders": [{"name": "a"}, {"name": "a"}]},
            "placeholders=placeholder a is defined twice",
        ),
        (
            {"applicationInput": {"name": "{{a}}", "labels": {"x": ["{{other}}"]}}, "placeholders": [{"name": "a"}]},
            "placeholders=placeholder other is used in applicationInput and not defined",
        ),
        (
            {"applicationInput": {"name": "{{a}}"}, "placeholders": [{"name": "a", "jsonPath": "$..a"}]},
            (
                "placeholders.0.jsonPath=the JSONPath is not supported from '..a' on: "
                "use $, .name, ['name'] and [0] only"
            ),
        ),
    ],
)  # fmt: skip
async def test_input_that_breaks_a_rule_is_refused_on_creation_and_update(
    director: Any, given: dict[str, Any], facts: str
) -> None:
    template = await create(director, name="there")

    for kind, document, more in (("Input", CREATE, {}), ("UpdateInput", UPDATE, {"id": template})):
        error = await director.refusal(document, **more, **{"in": {**PLAIN, **given}})
        assert error["message"] == f"Invalid data ApplicationTemplate{kind} [{facts}]"


async def test_an_input_that_is_nested_without_end_is_refused(director: Any) -> None:
    deep: Any = "x"
    for _ in range(80):
        deep = [deep]

    error = await director.refusal(
        CREATE, **{"in": {**PLAIN, "applicationInput": {"name": "a", "labels": {"x": deep}}}}
    )

    assert "applicationInput=it is nested deeper than 64 levels" in error["message"]


async def test_words_in_braces_of_a_go_template_are_no_placeholders(director: Any) -> None:
    hook = {
        **HOOK,
        "url": None,
        "urlTemplate": '{"method": "POST", "path": "https://x.example/{{if .Operation}}a{{end}}"}',
    }

    await create(director, applicationInput={"name": "a", "webhooks": [hook]})


async def test_a_name_is_taken_once_per_region(director: Any) -> None:
    await create(director)
    await create(director, labels={"region": "eu"})

    plain = await director.refusal(CREATE, **{"in": PLAIN})
    regional = await director.refusal(CREATE, **{"in": {**PLAIN, "labels": {"region": "eu"}}})
    other = await create(director, name="other")
    renamed = await director.refusal(UPDATE, id=other, **{"in": PLAIN})
    moved = await director.refusal(UPDATE, id=other, **{"in": {**PLAIN, "labels": {"region": "eu"}}})

    for error, region in ((plain, "<nil>"), (regional, "eu"), (renamed, "<nil>"), (moved, "eu")):
        assert f'application template with name "Orders" and region {region} already exists' in error["message"]
        assert error["extensions"] == {"error": "InternalError", "error_code": 10}


async def test_templates_of_sap_begin_with_its_name(director: Any) -> None:
    given = {**PLAIN, "applicationInput": {"name": "a", "providerName": "SAP"}}
    template = await create(director, given, name="SAP Orders")

    for document, more in ((CREATE, {}), (UPDATE, {"id": template})):
        error = await director.refusal(document, **more, **{"in": given})
        assert 'name "Orders" does not comply with the following naming convention' in error["message"]
        assert error["extensions"]["error_code"] == 10


async def test_a_system_role_has_one_template_or_regional_ones_that_are_alike(director: Any) -> None:
    regional = {
        **PLAIN,
        "applicationInput": {"name": "{{region}}"},
        "placeholders": [{"name": "region", "jsonPath": "$.region"}],
    }
    odd = {**regional, "placeholders": [{"name": "region", "jsonPath": "$.other"}]}
    await create(director, name="global", labels={"systemRole": "S4"})
    await create(director, regional, labels={"systemRole": ["crm", "erp"], "region": "eu"})
    await create(director, regional, labels={"systemRole": "crm", "region": "us"})

    for given, role, region, message in (
        (PLAIN, "S4", None, 'the system role is taken by the application template with name "global"'),
        (PLAIN, ["x", "S4"], "eu", "the system role is taken"),
        (PLAIN, "erp", None, "the system role is taken"),
        (odd, "crm", "jp", "must have the same placeholder region"),
    ):
        labels = {"systemRole": role} | ({"region": region} if region else {})
        error = await director.refusal(CREATE, **{"in": {**given, "name": "new", "labels": labels}})
        assert message in error["message"]
    template = await create(director, name="late")
    error = await director.refusal(UPDATE, id=template, **{"in": {**PLAIN, "labels": {"systemRole": "S4"}}})
    assert "the system role is taken" in error["message"]


async def test_the_label_of_the_groups_cannot_be_given(director: Any) -> None:
    template = await create(director)
    labels = {"scenarios": ["x"]}

    for document, more in (
        (CREATE, {"in": {**PLAIN, "labels": labels}}),
        (CREATE, {"in": {**PLAIN, "applicationInput": {"name": "a", "labels": labels}}}),
        (UPDATE, {"id": template, "in": {**PLAIN, "labels": labels}}),
        (REGISTER, {"in": {"templateName": "Orders", "values": [], "labels": labels}}),
    ):
        error = await director.refusal(document, **more)
        assert "label with key scenarios cannot be set explicitly" in error["message"]


async def test_an_update_replaces_the_template_and_keeps_labels_and_webhooks_that_are_not_given(
    director: Any, announced: Announced
) -> None:
    template = await create(director, FORM, webhooks=[HOOK])

    first = (await director.data(UPDATE, id=template, **{"in": {**PLAIN, "labels": {"new": 1}}}))["result"]
    other = {"type": "APPLICATION_TENANT_MAPPING", "url": "https://template.example/mapping"}
    second = (await director.data(UPDATE, id=template, **{"in": {**PLAIN, "webhooks": [other]}}))["result"]
    third = (await director.data(UPDATE, id=template.upper(), override=True, **{"in": PLAIN}))["result"]

    assert json.loads(first.pop("applicationInput")) == {"name": "orders", "labels": {"applicationType": "Orders"}}
    assert first == {
        "name": "Orders", "description": None, "placeholders": [], "labels": {"tier": "gold", "new": 1},
        "applicationNamespace": None, "webhooks": [{"type": HOOK["type"], "url": HOOK["url"]}],
    }  # fmt: skip
    assert second["webhooks"] == [other]
    assert third["webhooks"] == []
    assert third["applicationInput"] == second["applicationInput"]
    assert await announced() == ["ApplicationTemplatesChanged"] * 4


async def test_labels_are_changed_with_a_scope_of_their_own(director: Any) -> None:
    template = await create(director)
    caller = without(director.caller, "application_template.labels:write")

    error = await director.refusal(UPDATE, caller=caller, id=template, **{"in": {**PLAIN, "labels": {}}})
    await director.data(UPDATE, caller=caller, id=template, **{"in": PLAIN})

    assert error["extensions"] == {"error": "InsufficientScopes", "error_code": 23}
    assert "required=application_template.labels:write" in error["message"]


async def test_applications_follow_when_their_template_is_renamed_unless_they_are_of_another_type(
    director: Any,
) -> None:
    template = await create(director, FORM)
    follows = await register(director, values=values(name="a", region="eu"))
    differs = await register(director, values=values(name="b", region="eu"), labels={"applicationType": "own"})

    await director.data(UPDATE, id=template, **{"in": {**FORM, "name": "Market"}})

    query = 'query ($id: ID!) { r: application(id: $id) { labels(key: "applicationType") } }'
    types = [(await director.data(query, id=made["id"]))["r"]["labels"] for made in (follows, differs)]
    assert types == [{"applicationType": "Market"}, {"applicationType": "own"}]


async def test_applications_outlive_their_template(director: Any, announced: Announced) -> None:
    template = await create(director, FORM, webhooks=[HOOK])
    made = await register(director, values=values(name="a", region="eu"))

    gone = (await director.data(DELETE, id=template))["result"]

    assert gone == {"id": template, "name": "Shop", "webhooks": [{"type": "CONFIGURATION_CHANGED"}]}
    left = """query ($id: ID!) {
      r: application(id: $id) { applicationTemplateID applicationTemplate { id } webhooks { id } }
    }"""
    assert (await director.data(left, id=made["id"]))["r"] == {
        "applicationTemplateID": None,
        "applicationTemplate": None,
        "webhooks": [],
    }
    assert (await announced())[-1] == "ApplicationTemplatesChanged"


async def test_credentials_in_an_input_are_sealed_and_shown_to_whom_credentials_are_shown(director: Any) -> None:
    auth = {"credential": {"basic": {"username": "u", "password": "secret-word"}}}
    form = {
        "name": "a",
        "labels": {"auth": "a label"},
        "webhooks": [{**HOOK, "auth": auth}],
        "bundles": [{"name": "b", "defaultInstanceAuth": auth}],
    }
    template = await create(director, applicationInput=form)

    full = json.loads((await director.data(ONE, id=template))["result"]["applicationInput"])
    caller = without(director.caller, "webhooks.auth:read")
    less = json.loads((await director.data(ONE, caller=caller, id=template))["result"]["applicationInput"])

    assert full["webhooks"][0]["auth"] == full["bundles"][0]["defaultInstanceAuth"] == auth
    assert less == {
        "name": "a",
        "labels": {"auth": "a label", "applicationType": "Orders"},
        "webhooks": [dict(HOOK)],
        "bundles": [{"name": "b"}],
    }
    async with director.database.transaction() as tx:
        rows = await tx.rows("-- test\nSELECT t::text AS text FROM application_template t")
    assert "secret-word" not in rows[0]["text"]


@pytest.mark.parametrize(
    ("document", "variables", "scope"),
    [
        (CREATE, {"in": PLAIN}, "application_template:write"),
        (UPDATE, {"id": NOBODY, "in": PLAIN}, "application_template:write"),
        (DELETE, {"id": NOBODY}, "application_template:write"),
        (ONE, {"id": NOBODY}, "application_template:read"),
        (ALL, {}, "application_template:read"),
        (REGISTER, {"in": {"templateName": "x", "values": []}}, "application:write"),
        (ADD_WEBHOOK, {"template": NOBODY, "in": HOOK}, "webhook:write"),
        (ADD_WEBHOOK, {"template": NOBODY, "in": HOOK}, "application_template:write"),
    ],
)
async def test_every_operation_needs_its_scope(
    director: Any, document: str, variables: dict[str, Any], scope: str
) -> None:
    error = await director.refusal(document, caller=without(director.caller, scope), **variables)

    assert error["extensions"] == {"error": "InsufficientScopes", "error_code": 23}
    assert f"required={scope}]" in error["message"]


async def test_webhooks_of_a_template_are_hidden_without_their_scope_and_the_template_of_an_application_is_an_error(
    director: Any,
) -> None:
    template = await create(director, FORM, webhooks=[HOOK])
    made = await register(director, values=values(name="a", region="eu"))

    hidden = without(director.caller, "application_template.webhooks:read")
    assert (await director.data(ONE, caller=hidden, id=template))["result"]["webhooks"] is None
    query = "query ($id: ID!) { r: application(id: $id) { name applicationTemplate { id } } }"
    answer = await director(
        query, caller=without(director.caller, "application.application_template:read"), id=made["id"]
    )
    assert answer["errors"][0]["extensions"]["error_code"] == 23
    assert answer["errors"][0]["path"] == ["r", "applicationTemplate"]


async def test_creating_and_changing_takes_as_many_statements_however_much_is_given(
    director: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = {**PLAIN, "labels": {f"l{n}": n for n in range(50)}, "webhooks": [HOOK] * 20}

    with counted(monkeypatch) as ran:
        await create(director, many)
    assert len(ran) == 4  # the template with its labels, the webhooks, the event, the reply
    template = await create(director, name="other")
    with counted(monkeypatch) as ran:
        await director.data(UPDATE, id=template, **{"in": {**many, "name": "third"}})
    assert len(ran) == 7  # the lock, the template with its labels, the type, webhooks away and in, the event, the reply


# Webhooks of templates


async def test_an_application_shows_its_templates_webhooks_of_the_types_it_has_none_of(director: Any) -> None:
    template = await create(director, FORM, webhooks=[HOOK])
    made = await register(director, values=values(name="a", region="eu"))
    mapping = {"type": "APPLICATION_TENANT_MAPPING", "url": "https://template.example/mapping"}
    of_template = {"applicationID": None, "applicationTemplateID": template}
    added = (await director.data(ADD_WEBHOOK, template=template, **{"in": mapping}))["result"]
    assert {**added, "id": ""} == {"id": "", **mapping, **of_template}
    assert made["webhooks"] == [{**HOOK, **of_template}]

    own = {"type": "CONFIGURATION_CHANGED", "url": "https://own.example"}
    add = "mutation ($id: ID!, $in: WebhookInput!) { r: addWebhook(applicationID: $id, in: $in) { id } }"
    await director.data(add, id=made["id"], **{"in": own})

    shown = (await director.data(SHOWN, id=made["id"]))["result"]["webhooks"]
    assert shown == [
        {**mapping, **of_template},
        {**own, "applicationID": made["id"], "applicationTemplateID": None},
    ]
    plain = await director.data('mutation { r: registerApplication(in: {name: "x"}) { webhooks { id } } }')
    assert plain["r"]["webhooks"] == []


async def test_webhooks_of_templates_are_changed_and_removed_by_people_of_any_tenant_and_of_none(
    director: Any, announced: Announced
) -> None:
    template = await create(director)
    tenantless = replace(director.caller, tenant=None, external_tenant=None)
    added = (await director.data(ADD_WEBHOOK, caller=tenantless, template=template, **{"in": HOOK}))["result"]["id"]

    change = "mutation ($id: ID!, $in: WebhookInput!) { r: updateWebhook(webhookID: $id, in: $in) { url } }"
    remove = "mutation ($id: ID!) { r: deleteWebhook(webhookID: $id) { url } }"
    # What all tenants make from the template would be told to it.
    weak = without(director.caller, "application_template:write")
    for document, variables in ((change, {"in": HOOK}), (remove, {})):
        error = await director.refusal(document, caller=weak, id=added, **variables)
        assert "required=application_template:write]" in error["message"]
    changed = await director.data(
        change, caller=director.other, id=added, **{"in": {**HOOK, "url": "https://new.example"}}
    )
    removed = await director.data(remove, caller=tenantless, id=added)

    assert changed == removed == {"r": {"url": "https://new.example"}}
    assert (await announced())[1:] == ["WebhooksChanged"] * 3
    gone = await director.refusal(remove, id=added)
    assert gone["message"] == "Object not found [object=webhook]"
    lost = await director.refusal(remove, caller=tenantless, id=added)
    assert lost["message"] == "Tenant is required"


@pytest.mark.parametrize("consumer", [Consumer.APPLICATION, Consumer.RUNTIME])
async def test_a_program_neither_adds_nor_changes_what_a_template_tells_all_its_applications(
    director: Any, consumer: Consumer
) -> None:
    template = await create(director, webhooks=[HOOK])
    hook = (await director.data(ONE, id=template))["result"]["webhooks"][0]["id"]
    program = replace(director.caller, consumer=consumer, consumer_id=NOBODY, flow=Flow.CERTIFICATE)

    added = await director.refusal(ADD_WEBHOOK, caller=program, template=template, **{"in": HOOK})
    assert added["message"] == "Invalid data [reason=cannot add Webhook due to not existing reference entity]"
    for document in (
        """mutation ($id: ID!) {
          updateWebhook(webhookID: $id, in: {type: CONFIGURATION_CHANGED, url: "https://x.example"}) { id }
        }""",
        "mutation ($id: ID!) { deleteWebhook(webhookID: $id) { id } }",
    ):
        error = await director.refusal(document, caller=program, id=hook)
        assert error["message"] == "Object not found [object=webhook]"


# Applications made from a template


async def test_a_filled_in_template_is_registered(director: Any, announced: Announced) -> None:
    template = await create(director, FORM)

    made = await register(
        director, values=values(name="north", region='e"u', note="", unknown="x"), labels={"tier": 1, "region": "given"}
    )

    assert made["name"] == "shop-north"
    assert made["description"] == 'north of e"u, '
    assert made["baseUrl"] == "https://north.example"
    # A label that is nothing but an optional placeholder without a value is left out.
    assert made["labels"] == {
        "region": "given", "mixed": "is ", "tier": 1, "applicationType": "Shop", "managed": "false",
        "name": "mp-shop-north",
    }  # fmt: skip
    assert made["applicationTemplateID"] == template
    assert made["applicationTemplate"] == {"id": template, "name": "Shop"}
    assert made["status"] == {"condition": "INITIAL"}
    assert made["bundles"] == {"data": [{"name": "of north"}]}
    assert await announced() == ["ApplicationTemplatesChanged", "ApplicationRegistered"]


async def test_values_are_found_in_a_payload(director: Any) -> None:
    await create(director, FORM)
    payload = {"shop": {"name": "south"}, "regions": [7.5, "x"]}

    made = await register(director, placeholdersPayload=json.dumps(payload))

    assert (made["name"], made["description"]) == ("shop-south", "south of 7.5, ")


async def test_a_value_is_put_in_once_whatever_it_looks_like(director: Any) -> None:
    await create(director, FORM)

    made = await register(director, values=values(name="a", region="{{note}}", note='", "name": "{{name}}'))

    assert made["description"] == 'a of {{note}}, ", "name": "{{name}}'
    assert made["labels"]["region"] == "{{note}}"


async def test_managed_is_as_the_template_or_the_caller_says(director: Any) -> None:
    await create(director, applicationInput={"name": "orders", "labels": {"managed": "true"}})

    first = await register(director, "Orders", values=[])
    await director.data("mutation ($id: ID!) { unregisterApplication(id: $id) { id } }", id=first["id"])
    second = await register(director, "Orders", values=[], labels={"managed": "maybe"})

    assert (first["labels"]["managed"], second["labels"]["managed"]) == ("true", "maybe")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "ApplicationFromTemplateInput [reason=exactly one of values and placeholdersPayload has to be specified]"),
        ({"values": [], "placeholdersPayload": "{}"}, "[reason=exactly one of values and placeholdersPayload"),
        ({"placeholdersPayload": "{"}, "[placeholdersPayload=must be valid JSON]"),
        ({"values": values(name="x" * 129)}, "[values.0.value=the length must be no more than 128]"),
        ({"values": [None]}, "[values.0=cannot be blank]"),
        ({"values": [*values(name="a"), *values(name="b")]}, "[values.1.placeholder=is given twice]"),
        ({"values": values(name="a")}, "required placeholder not provided: region"),
        ({"placeholdersPayload": '{"shop": []}'}, "required placeholder not provided: name"),
        ({"placeholdersPayload": '{"shop": {"name": null}}'}, "required placeholder not provided: name"),
        (
            {"placeholdersPayload": '{"shop": {"name": ["a"]}, "regions": ["b"]}'},
            "[reason=$.shop['name'] leads to a list or an object in placeholdersPayload, and a text is needed]",
        ),
        (
            {"values": values(name="x" * 96, region="eu")},
            "Invalid data ApplicationRegisterInput [name=the length must be between 1 and 100]",
        ),
    ],
)
async def test_what_does_not_fill_the_template_is_refused(director: Any, given: dict[str, Any], message: str) -> None:
    await create(director, FORM)

    error = await director.refusal(REGISTER, **{"in": {"templateName": "Shop", **given}})

    assert message in error["message"]


async def test_a_small_form_does_not_become_a_huge_application(director: Any) -> None:
    form = {"name": "a", "labels": {"x": ["{{a}}" * 1000] * 60}}
    await create(director, applicationInput=form, placeholders=[{"name": "a", "jsonPath": "$.a"}])

    error = await director.refusal(
        REGISTER, **{"in": {"templateName": "Orders", "placeholdersPayload": json.dumps({"a": "x" * 100})}}
    )

    assert "adds more than 5242880 characters" in error["message"]


async def test_a_name_that_is_taken_in_the_tenant_is_refused_and_not_in_another(director: Any) -> None:
    await create(director)
    await register(director, "Orders", values=[])

    error = await director.refusal(REGISTER, **{"in": {"templateName": "Orders", "values": []}})
    await director.data(REGISTER, caller=director.other, **{"in": {"templateName": "Orders", "values": []}})

    assert error["message"] == "Object name is not unique [object=application]"
    tenantless = replace(director.caller, tenant=None, external_tenant=None)
    lost = await director.refusal(REGISTER, caller=tenantless, **{"in": {"templateName": "Orders", "values": []}})
    assert lost["message"] == "Tenant is required"


async def test_an_integration_system_that_is_gone_is_refused(director: Any) -> None:
    await create(director, applicationInput={"name": "a", "integrationSystemID": NOBODY})

    error = await director.refusal(REGISTER, **{"in": {"templateName": "Orders", "values": []}})

    assert error["message"] == f"Object not found [ID={NOBODY}; object=integrationSystem]"


async def test_a_template_that_went_while_it_was_filled_in_is_refused(director: Any) -> None:
    gone = ApplicationTemplateId(NOBODY)
    with pytest.raises(NotFound, match="applicationTemplate"):
        async with director.database.transaction() as tx:
            await application.add(
                tx,
                director.caller.tenant,
                application.NewApplication("a"),
                labels={},
                draft=Draft(director.vault),
                vault=director.vault,
                template=gone,
            )


async def test_the_template_is_the_callers_own_before_that_of_all_and_never_another_callers(director: Any) -> None:
    def broker(name: str) -> Caller:
        caller: Caller = director.caller
        return replace(caller, consumer=Consumer.INTEGRATION_SYSTEM, consumer_id=name, flow=Flow.CERTIFICATE)

    for_all = await create(director)
    labels = {"region": "eu", "global_subaccount_id": "forged"}
    own = (await director.data(CREATE, caller=broker("one"), **{"in": {**PLAIN, "labels": labels}}))["result"]
    assert own["labels"] == {"region": "eu", "global_subaccount_id": "one"}
    given = {"in": {"templateName": "Orders", "values": []}}

    first = (await director.data(REGISTER, caller=broker("one"), **given))["result"]
    second = (await director.data(REGISTER, caller=replace(broker("two"), tenant=director.other.tenant), **given))[
        "result"
    ]
    await director.data(DELETE, id=for_all)
    absent = await director.refusal(REGISTER, caller=broker("two"), **given)

    assert (first["applicationTemplateID"], second["applicationTemplateID"]) == (own["id"], for_all)
    digest = hashlib.sha256(b"two").hexdigest()
    assert f'application template with name "Orders" and consumer id REDACTED_{digest} not found' in absent["message"]
    assert absent["extensions"]["error_code"] == 10


async def test_of_several_regions_one_is_named_by_its_id(director: Any) -> None:
    await create(director, labels={"region": "eu"})
    wanted = await create(director, labels={"region": "us"})

    error = await director.refusal(REGISTER, **{"in": {"templateName": "Orders", "values": []}})
    made = await register(director, "Orders", values=[], id=wanted)
    foreign = await director.refusal(REGISTER, **{"in": {"templateName": "Orders", "values": [], "id": NOBODY}})

    assert "is there for several regions; name one by its id" in error["message"]
    assert made["applicationTemplateID"] == wanted
    assert "not found" in foreign["message"]


async def test_registering_from_a_template_takes_the_statements_of_registering_and_one(
    director: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = [{**HOOK, "url": f"https://own.example/{n}"} for n in range(20)]
    bundles = [{"name": f"b{n}"} for n in range(20)]
    await create(director, applicationInput={"name": "a", "webhooks": hooks, "bundles": bundles})

    with counted(monkeypatch) as ran:
        await register(director, "Orders", values=[])

    assert len(ran) == 6  # the template, the application, its bundles, its webhooks, the event, the reply


# Webhooks of a version

MAPPINGS = {
    "SYNC": {
        "1.0": [
            {
                "type": "CONFIGURATION_CHANGED",
                "urlTemplate": '{"method": "PATCH", "path": "%s/v1/{{.Runtime.ID}}"}',
                "inputTemplate": '{"of": "{{.Application.ID}}"}',
                "outputTemplate": '{"success_status_code": 200, "error": "{{.Body.error}}"}',
            },
            {"type": "APPLICATION_TENANT_MAPPING"},
        ],
        "2.0": [{"type": "CONFIGURATION_CHANGED", "urlTemplate": "{{.Nope"}],
    }
}
VERSIONED = {"type": "CONFIGURATION_CHANGED", "url": "https://a.example/map", "mode": "SYNC", "version": "1.0"}


@pytest.fixture
def mapping(director: Any, door: Door) -> Any:
    """The Director with tenant-mapping webhooks for two versions."""
    sdl = resources.files("compass.director").joinpath("schema.graphql").read_text()
    landscape = LandscapeSettings(tenant_mappings=json.dumps(MAPPINGS))
    own = {LandscapeSettings: landscape, Vault: director.vault, Door: door, Database: director.database}
    director.endpoint = Endpoint(surface(sdl, DIRECTOR_NOUNS, PARTS | own), director.database)
    return director


async def test_a_webhook_with_a_version_stands_for_those_that_are_configured(mapping: Any) -> None:
    plain = {"type": "OPEN_RESOURCE_DISCOVERY", "url": "https://a.example/open"}
    auth = {"credential": {"basic": {"username": "u", "password": "p"}}}
    text = """query ($id: ID!) { result: applicationTemplate(id: $id) {
      webhooks { type mode url urlTemplate inputTemplate outputTemplate auth { credential { __typename } } } } }"""

    template = await create(mapping, webhooks=[plain, {**VERSIONED, "auth": auth}])

    shown = (await mapping.data(text, id=template))["result"]["webhooks"]
    signed = {"credential": {"__typename": "BasicCredentialData"}}
    nothing = {"url": None, "urlTemplate": None, "inputTemplate": None, "outputTemplate": None}
    assert sorted(shown, key=lambda one: one["type"]) == [
        {
            **nothing,
            "type": "APPLICATION_TENANT_MAPPING",
            "mode": "SYNC",
            "url": "https://a.example/map",
            "auth": signed,
        },
        {
            **nothing,
            "type": "CONFIGURATION_CHANGED",
            "mode": "SYNC",
            "urlTemplate": '{"method": "PATCH", "path": "https://a.example/map/v1/{{.Runtime.ID}}"}',
            "inputTemplate": '{"of": "{{.Application.ID}}"}',
            "outputTemplate": '{"success_status_code": 200, "error": "{{.Body.error}}"}',
            "auth": signed,
        },
        {**nothing, "type": "OPEN_RESOURCE_DISCOVERY", "mode": None, "url": "https://a.example/open", "auth": None},
    ]
    await mapping.data(UPDATE, id=template, **{"in": {**PLAIN, "webhooks": [plain]}})
    assert len((await mapping.data(text, id=template))["result"]["webhooks"]) == 1
    await mapping.data(UPDATE, id=template, **{"in": {**PLAIN, "webhooks": [VERSIONED]}})
    assert len((await mapping.data(text, id=template))["result"]["webhooks"]) == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"version": "3.0"}, "there are no tenant mapping webhooks of mode SYNC and version 3.0"),
        ({"mode": "ASYNC_CALLBACK"}, "there are no tenant mapping webhooks of mode ASYNC_CALLBACK and version 1.0"),
        ({"mode": None}, "a webhook with a version needs a url and a mode"),
        (
            {"url": None, "urlTemplate": '{"method": "GET", "path": "https://a.example/"}'},
            "a webhook with a version needs a url and a mode",
        ),
        ({"version": "2.0"}, "urlTemplate: line 1: "),
    ],
)
async def test_a_version_that_stands_for_nothing_usable_is_refused(
    mapping: Any, given: dict[str, Any], message: str
) -> None:
    template = await create(mapping)
    wanted = {**PLAIN, "name": "Other", "webhooks": [{**VERSIONED, **given}]}

    errors = [
        await mapping.refusal(CREATE, **{"in": wanted}),
        await mapping.refusal(UPDATE, id=template, **{"in": wanted}),
    ]

    for error in errors:
        assert error["extensions"]["error_code"] == 22
        assert message in error["message"]


async def test_without_a_configuration_no_version_is_known(director: Any) -> None:
    error = await director.refusal(CREATE, **{"in": {**PLAIN, "webhooks": [VERSIONED]}})

    assert "there are no tenant mapping webhooks of mode SYNC and version 1.0" in error["message"]
