"""Bundles through the Director's API."""

from typing import Any

import pytest

from compass.access.caller import Caller
from compass.app import DIRECTOR_NOUNS
from compass.commands import check_input
from compass.director import (
    api_definition,
    bundle,
    bundle_instance_auth,
    document,
    event_definition,
    fetch_request,
    spec,
)
from tests.director import catalogue
from tests.director.catalogue import ADD_BUNDLE, BASIC, NOT_OWNER, OPEN_API, UNKNOWN

UPDATE = """mutation ($id: ID!, $in: BundleUpdateInput!) { result: updateBundle(id: $id, in: $in) {
  id name description instanceAuthRequestInputSchema
  defaultInstanceAuth { credential { ... on BasicCredentialData { password } } }
} }"""
DELETE = "mutation ($id: ID!) { result: deleteBundle(id: $id) { id name apiDefinitions { data { name } } } }"
FULL: dict[str, Any] = {
    "name": "main",
    "description": "all of it",
    "instanceAuthRequestInputSchema": '{"type": "object"}',
    "correlationIDs": ["sap.x:1"],
    "defaultInstanceAuth": BASIC,
    "apiDefinitions": [
        {"name": "orders", "targetURL": "https://u:p@orders.example.com:8443/v1", "spec": OPEN_API},
        {"name": "stock", "targetURL": "https://stock.example.com"},
    ],
    "eventDefinitions": [{"name": "sold", "spec": {"type": "ASYNC_API", "format": "YAML", "data": "asyncapi: 3.0.0"}}],
    "documents": [{"title": "T", "displayName": "D", "description": "d", "format": "MARKDOWN", "data": "# hi"}],
}


async def base_url(director: Any, application: str) -> str | None:
    data = await director.data("query ($id: ID!) { application(id: $id) { baseUrl } }", id=application)
    url: str | None = data["application"]["baseUrl"]
    return url


def test_the_inputs_have_the_fields_of_the_schema(director: Any) -> None:
    pairs = {
        "BundleCreateInput": bundle.NewBundle,
        "BundleUpdateInput": bundle.BundleChanges,
        "APIDefinitionInput": api_definition.NewApiDefinition,
        "EventDefinitionInput": event_definition.NewEventDefinition,
        "DocumentInput": document.NewDocument,
        "APISpecInput": spec.NewSpec,
        "EventSpecInput": spec.NewSpec,
        "VersionInput": spec.NewVersion,
        "FetchRequestInput": fetch_request.NewFetchRequest,
        "BundleInstanceAuthStatusInput": bundle_instance_auth.GivenStatus,
    }
    for name, kind in pairs.items():
        check_input(director.endpoint._offered.schema, kind, name, "test")
    assert bundle in DIRECTOR_NOUNS


async def test_a_bundle_is_added_with_everything_in_it(director: Any) -> None:
    application = await catalogue.register(director)

    result = (await director.data(ADD_BUNDLE, app=application, **{"in": FULL}))["result"]

    made = result.pop("createdAt"), result.pop("updatedAt")
    assert made[0] == made[1]
    assert made[0].endswith("Z")
    apis = result.pop("apiDefinitions")
    assert sorted((api["name"], api["targetURL"], api["spec"]) for api in apis["data"]) == [
        ("orders", "https://u:p@orders.example.com:8443/v1", {"data": '{"openapi": "3.1.0"}'}),
        ("stock", "https://stock.example.com", None),
    ]
    assert apis["totalCount"] == 2
    events = result.pop("eventDefinitions")
    assert [(event["name"], event["spec"]["data"]) for event in events["data"]] == [("sold", "asyncapi: 3.0.0")]
    assert [(prose["title"], prose["data"]) for prose in result.pop("documents")["data"]] == [("T", "# hi")]
    identity = result.pop("id")
    assert result == {
        "name": "main",
        "description": "all of it",
        "instanceAuthRequestInputSchema": '{"type": "object"}',
        "correlationIDs": ["sap.x:1"],
        "deletedAt": None,
        "error": None,
        "defaultInstanceAuth": {"credential": {"username": "ann", "password": "planted-secret-1"}},
    }
    assert await catalogue.facts(director) == [
        {"application": application, "object": "bundle", "id": identity, "change": "added"}
    ]
    assert await base_url(director, application) == "https://orders.example.com:8443"


async def test_an_application_registered_with_bundles_has_them(director: Any, announced: Any) -> None:
    application = await catalogue.register(director, bundles=[FULL, {"name": "second"}])

    query = """query ($id: ID!) { application(id: $id) {
      bundles { data { name apiDefinitions { totalCount } } totalCount } } }"""
    bundles = (await director.data(query, id=application))["application"]["bundles"]

    assert sorted((entry["name"], entry["apiDefinitions"]["totalCount"]) for entry in bundles["data"]) == [
        ("main", 2),
        ("second", 0),
    ]
    assert bundles["totalCount"] == 2
    assert await announced() == ["ApplicationRegistered"]
    assert await base_url(director, application) == "https://orders.example.com:8443"


async def test_an_application_whose_name_is_taken_leaves_no_bundle_behind(director: Any) -> None:
    await catalogue.register(director, "orders")

    error = await director.refusal(
        "mutation ($in: ApplicationRegisterInput!) { registerApplication(in: $in) { id } }",
        **{"in": {"name": "orders", "bundles": [FULL]}},
    )

    assert error["message"] == "Object name is not unique [object=application]"


async def test_a_base_url_that_is_there_stays(director: Any) -> None:
    application = await catalogue.register(director, baseUrl="https://mine.example.com")

    await catalogue.bundle(director, application, apiDefinitions=FULL["apiDefinitions"])

    assert await base_url(director, application) == "https://mine.example.com"


async def test_no_secret_is_in_the_database_in_clear(director: Any) -> None:
    application = await catalogue.register(director)
    secret = {
        "credential": {"oauth": {"clientId": "c", "clientSecret": "planted-secret-2", "url": "http://127.0.0.1:1/"}}
    }
    spec_input = {**OPEN_API, "data": None, "fetchRequest": {"url": "http://127.0.0.1:1/", "auth": secret}}
    made = await catalogue.bundle(
        director,
        application,
        **{**FULL, "apiDefinitions": [{"name": "a", "targetURL": "http://a", "spec": spec_input}]},
    )
    await director.data(UPDATE, id=made, **{"in": {"name": "x", "defaultInstanceAuth": secret}})

    text = await catalogue.everything(director)

    assert "planted-secret" not in text
    assert "http://127.0.0.1:1/" in text  # the scan sees what is not sealed


@pytest.mark.parametrize("nested", [1, 40])
async def test_adding_a_bundle_takes_four_statements_whatever_is_in_it(
    director: Any, monkeypatch: pytest.MonkeyPatch, nested: int
) -> None:
    application = await catalogue.register(director)
    apis = [
        {"name": f"api-{number}", "targetURL": "https://a.example.com", "spec": OPEN_API} for number in range(nested)
    ]

    with catalogue.counted(monkeypatch) as ran:
        await catalogue.bundle(director, application, apiDefinitions=apis, documents=FULL["documents"] * nested)

    assert len(ran) == 4, ran


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"name": ""}, "name=cannot be blank"),
        ({"name": "x" * 101}, "name=the length must be between 1 and 100"),
        ({"name": "Grüße"}, "name=must be in a valid format"),
        ({"name": "a", "description": "x" * 2001}, "description=the length must be no more than 2000"),
        (
            {"name": "a", "apiDefinitions": [{"name": "a", "targetURL": "nonsense"}]},
            "apiDefinitions.0.targetURL=must be a valid URL",
        ),
        (
            {"name": "a", "defaultInstanceAuth": {"credential": {}}},
            "defaultInstanceAuth.credential.credential=exactly one credential input has to be specified",
        ),
        (
            {"name": "a", "instanceAuthRequestInputSchema": '{"$ref": "http://127.0.0.1:1/x"}'},
            (
                "instanceAuthRequestInputSchema=must be a valid JSON Schema: the reference http://127.0.0.1:1/x "
                "is not a JSON pointer into the schema itself"
            ),
        ),
    ],
)
async def test_a_bundle_that_breaks_a_rule_is_refused(director: Any, given: dict[str, Any], problem: str) -> None:
    application = await catalogue.register(director)

    error = await director.refusal(ADD_BUNDLE, app=application, **{"in": given})

    assert error["message"] == f"Invalid data BundleCreateInput [{problem}]"
    assert error["extensions"] == {"error": "InvalidData", "error_code": 22}


async def test_adding_under_an_application_that_is_not_the_tenants_own_gets_one_answer(director: Any) -> None:
    application = await catalogue.register(director)
    foreign = await catalogue.register(director, caller=director.other)
    seer = await catalogue.seen_not_owned(director, application)
    neighbour = director.application(await catalogue.register(director, "neighbour"))

    async def refused(app: str, caller: Caller | None = None) -> str:
        message: str = (await director.refusal(ADD_BUNDLE, app=app, caller=caller, **{"in": {"name": "a"}}))["message"]
        return message

    wording = (
        "Unauthorized [reason=Tenant {} does not have access to the parent of the currently created bundle: "
        "it is not there, or another tenant owns it]"
    )
    mine = {await refused(id_) for id_ in (foreign, UNKNOWN, "no-uuid")} | {await refused(application, neighbour)}
    assert mine == {wording.format(director.caller.tenant)}
    assert await refused(application, seer) == wording.format(director.other.tenant)
    # An application is at home in its own catalogue.
    await catalogue.bundle(director, application, caller=director.application(application))


async def test_an_update_replaces_all_of_a_bundles_own_fields(director: Any) -> None:
    application = await catalogue.register(director)
    made = await catalogue.bundle(director, application, **FULL)

    # Spelled otherwise, as a client may: the sealed credentials must open all the same.
    first = await director.data(UPDATE, id=made.upper(), **{"in": {"name": "new", "defaultInstanceAuth": BASIC}})
    second = await director.data(UPDATE, id=made, **{"in": {"name": "newer"}})

    empty = {"description": None, "instanceAuthRequestInputSchema": None}
    assert first["result"] == {
        "id": made, "name": "new", **empty, "defaultInstanceAuth": {"credential": {"password": "planted-secret-1"}}
    }  # fmt: skip
    assert second["result"] == {"id": made, "name": "newer", **empty, "defaultInstanceAuth": None}
    assert [(fact["change"], fact["id"]) for fact in await catalogue.facts(director)] == [
        ("added", made), ("updated", made), ("updated", made)
    ]  # fmt: skip


async def test_deleting_answers_what_was_there_and_takes_everything_along(director: Any) -> None:
    application = await catalogue.register(director)
    made = await catalogue.bundle(director, application, **FULL)

    result = (await director.data(DELETE, id=made))["result"]

    assert (result["id"], result["name"]) == (made, "main")
    assert sorted(api["name"] for api in result["apiDefinitions"]["data"]) == ["orders", "stock"]
    async with director.database.transaction() as tx:
        for table in ("bundle", "api_definition", "event_definition", "document", "spec", "fetch_request"):
            assert await tx.value(f"SELECT count(*) FROM {table}") == 0, table  # names above
    assert (await catalogue.facts(director))[-1]["change"] == "deleted"


@pytest.mark.parametrize(
    "text", [UPDATE.replace("$in: BundleUpdateInput!", '$in: BundleUpdateInput = {name: "x"}'), DELETE]
)
async def test_what_is_not_ones_own_cannot_be_changed(director: Any, text: str) -> None:
    application = await catalogue.register(director)
    made = await catalogue.bundle(director, application)
    foreign = await catalogue.bundle(
        director, await catalogue.register(director, caller=director.other), caller=director.other
    )
    neighbour = director.application(await catalogue.register(director, "neighbour"))
    seer = await catalogue.seen_not_owned(director, application)

    unseen = {(await director.refusal(text, id=id_))["message"] for id_ in (foreign, UNKNOWN, "no-uuid")}
    unseen.add((await director.refusal(text, id=made, caller=neighbour))["message"])

    assert unseen == {"Object not found [object=bundle]"}
    assert (await director.refusal(text, id=made, caller=seer))["message"] == NOT_OWNER


async def test_without_the_scope_credentials_are_null_and_nothing_is_written(director: Any) -> None:
    application = await catalogue.register(director)
    made = await catalogue.bundle(director, application, **FULL)
    query = """query ($app: ID!, $id: ID!) { application(id: $app) { bundle(id: $id) {
      name defaultInstanceAuth { accessStrategy } instanceAuths { id } instanceAuth(id: $id) { id }
    } } }"""

    caller = catalogue.without(director.caller, "bundle.instance_auths:read")
    read = (await director.data(query, caller=caller, app=application, id=made))["application"]["bundle"]
    error = await director.refusal(DELETE, id=made, caller=catalogue.without(director.caller, "application:write"))

    assert read == {"name": "main", "defaultInstanceAuth": None, "instanceAuths": None, "instanceAuth": None}
    assert error["extensions"] == {"error": "InsufficientScopes", "error_code": 23}


async def test_the_nested_singular_reads_find_their_own_and_nothing_else(director: Any) -> None:
    application = await catalogue.register(director)
    other_bundle = await catalogue.bundle(director, application)
    made = await catalogue.bundle(director, application, **FULL)
    query = """query ($app: ID!, $bundle: ID!, $api: ID!, $event: ID!, $prose: ID!) { application(id: $app) {
      apiDefinition(id: $api) { name } eventDefinition(id: $event) { name }
      bundle(id: $bundle) {
        apiDefinition(id: $api) { name } eventDefinition(id: $event) { name } document(id: $prose) { title } }
    } }"""
    async with director.database.transaction() as tx:
        api = await tx.value("SELECT id FROM api_definition WHERE name = 'orders'")
        event = await tx.value("SELECT id FROM event_definition")
        prose = await tx.value("SELECT id FROM document")

    async def read(bundle_id: str) -> Any:
        ids = {"app": application, "bundle": bundle_id, "api": api, "event": event, "prose": prose}
        return (await director.data(query, **ids))["application"]

    outer = {"apiDefinition": {"name": "orders"}, "eventDefinition": {"name": "sold"}}
    assert await read(made) == {**outer, "bundle": {**outer, "document": {"title": "T"}}}
    nothing = {"apiDefinition": None, "eventDefinition": None, "document": None}
    assert await read(other_bundle) == {**outer, "bundle": nothing}
    assert await read(UNKNOWN) == {**outer, "bundle": None}


async def test_a_client_that_says_package_is_answered_in_its_own_words(director: Any) -> None:
    application = await catalogue.register(director)
    added = await director.data(
        """mutation ($app: ID!, $in: PackageCreateInput!) { addPackage(applicationID: $app, in: $in) { id name } }""",
        app=application,
        **{"in": {"name": "packages"}},
    )
    asked = """query ($id: ID!, $package: ID!) { application(id: $id) {
      packages { data { id name } totalCount } package(id: $package) { name } } }"""

    shown = await director.data(asked, id=application, package=added["addPackage"]["id"])
    error = await director.refusal('mutation { deletePackage(id: "no-uuid") { id } }')

    assert added["addPackage"]["name"] == "packages"
    assert shown["application"] == {
        "packages": {"data": [added["addPackage"]], "totalCount": 1},
        "package": {"name": "packages"},
    }
    assert error["path"] == ["deletePackage"]
    assert error["extensions"]["error_code"] == 20
