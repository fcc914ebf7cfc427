"""API definitions through the Director's API."""

from typing import Any

import pytest

from tests.delivery.receiver import answer, receiving
from tests.director import catalogue
from tests.director.catalogue import ADD_API, NOT_OWNER, OPEN_API, UNKNOWN

FIELDS = """{
  id name description targetURL group version { value deprecated deprecatedSince forRemoval } created_at updated_at
  spec { data type format fetchRequest { status { condition } } }
}"""
ADD_TO_APPLICATION = (
    "mutation ($app: ID!, $in: APIDefinitionInput!) { result: addAPIDefinitionToApplication(appID: $app, in: $in) %s }"
) % FIELDS
UPDATE = "mutation ($id: ID!, $in: APIDefinitionInput!) { result: updateAPIDefinition(id: $id, in: $in) %s }" % FIELDS
UPDATE_FOR_APPLICATION = UPDATE.replace("updateAPIDefinition", "updateAPIDefinitionForApplication")
DELETE = "mutation ($id: ID!) { result: deleteAPIDefinition(id: $id) { id name spec { data } } }"
REFETCH = """mutation ($id: ID!) { result: refetchAPISpec(apiID: $id) {
  id data fetchRequest { status { condition message } } } }"""
API = {"name": "orders", "targetURL": "https://orders.example.com/v1"}
VERSION = {"value": "1.2.3-rc.1+b", "deprecated": True, "deprecatedSince": "1.2.0"}
LIST = """query ($app: ID!, $first: Int, $after: PageCursor) {
  apisForApplication(appID: $app, first: $first, after: $after) {
  data { name } totalCount pageInfo { endCursor hasNextPage } } }"""


async def added(director: Any, **more: Any) -> tuple[str, str, Any]:
    """An application, its bundle, and an API in it."""
    application = await catalogue.register(director)
    bundle = await catalogue.bundle(director, application)
    data = await director.data(ADD_API, bundle=bundle, **{"in": {**API, **more}})
    return application, bundle, data["result"]


async def test_an_api_is_added_to_a_bundle_with_its_spec_and_version(director: Any) -> None:
    application, _, result = await added(director, description="d", group="g", spec=OPEN_API, version=VERSION)

    spec = result.pop("spec")
    assert spec.pop("id")
    assert spec == {"data": '{"openapi": "3.1.0"}', "type": "OPEN_API", "format": "JSON", "fetchRequest": None}
    assert result.pop("created_at") == result.pop("updated_at")
    assert result == {
        "id": result["id"],
        "name": "orders",
        "description": "d",
        "targetURL": "https://orders.example.com/v1",
        "group": "g",
        "version": {"value": "1.2.3-rc.1+b", "deprecated": True, "deprecatedSince": "1.2.0", "forRemoval": False},
    }
    assert (await catalogue.facts(director))[-1] == {
        "application": application, "object": "api", "id": result["id"], "change": "added"
    }  # fmt: skip
    read = await director.data("query ($id: ID!) { application(id: $id) { baseUrl } }", id=application)
    assert read["application"]["baseUrl"] == "https://orders.example.com"


async def test_an_api_of_the_application_itself_is_in_no_bundle_and_gives_no_base_url(director: Any) -> None:
    application = await catalogue.register(director)

    result = (await director.data(ADD_TO_APPLICATION, app=application, **{"in": API}))["result"]

    assert (result["name"], result["spec"], result["version"]) == ("orders", None, None)
    query = """query ($id: ID!, $api: ID!) { application(id: $id) {
      baseUrl bundles { totalCount } apiDefinition(id: $api) { name } } }"""
    read = (await director.data(query, id=application, api=result["id"]))["application"]
    assert read == {"baseUrl": None, "bundles": {"totalCount": 0}, "apiDefinition": {"name": "orders"}}


async def test_an_update_replaces_the_fields_and_keeps_the_spec_unless_it_brings_one(director: Any) -> None:
    _, _, first = await added(director, description="d", group="g", spec=OPEN_API, version=VERSION)
    changed = {"name": "renamed", "targetURL": "http://new.example.com"}
    new_spec = {"type": "ODATA", "format": "XML", "data": "<edmx/>"}

    kept = (await director.data(UPDATE, id=first["id"], **{"in": changed}))["result"]
    # Another spelling of the same id is the same API.
    replaced = (await director.data(UPDATE, id=first["id"].upper(), **{"in": {**changed, "spec": new_spec}}))["result"]

    assert kept["spec"] == {"data": '{"openapi": "3.1.0"}', "type": "OPEN_API", "format": "JSON", "fetchRequest": None}
    for result in (kept, replaced):
        assert (result["id"], result["name"], result["targetURL"]) == (first["id"], "renamed", "http://new.example.com")
        assert (result["description"], result["group"], result["version"]) == (None, None, None)
    assert replaced["spec"] == {"data": "<edmx/>", "type": "ODATA", "format": "XML", "fetchRequest": None}
    assert [fact["id"] for fact in await catalogue.facts(director)][1:] == [first["id"]] * 3


async def test_an_update_with_a_spec_drops_the_fetch_request_of_the_old_one(director: Any) -> None:
    async with receiving(lambda _: _answered(answer(200, b"old"))) as source:
        fetched = {"type": "OPEN_API", "format": "YAML", "fetchRequest": {"url": source.url()}}
        _, _, first = await added(director, spec=fetched)
    assert first["spec"]["data"] == "old"

    result = (await director.data(UPDATE, id=first["id"], **{"in": {**API, "spec": OPEN_API}}))["result"]

    assert result["spec"]["fetchRequest"] is None
    async with director.database.transaction() as tx:
        assert await tx.value("SELECT count(*) FROM fetch_request") == 0
        assert await tx.value("SELECT count(*) FROM spec") == 1


async def test_each_update_is_for_its_own_kind_of_api(director: Any) -> None:
    application, _, in_bundle = await added(director)
    loose = (await director.data(ADD_TO_APPLICATION, app=application, **{"in": API}))["result"]
    renamed = {**API, "name": "renamed"}

    good = (await director.data(UPDATE_FOR_APPLICATION, id=loose["id"], **{"in": {**renamed, "spec": OPEN_API}}))[
        "result"
    ]

    assert (good["name"], good["spec"]["data"]) == ("renamed", '{"openapi": "3.1.0"}')
    for text, id_ in ((UPDATE, loose["id"]), (UPDATE_FOR_APPLICATION, in_bundle["id"])):
        error = await director.refusal(text, id=id_, **{"in": renamed})
        assert (error["message"], error["path"]) == ("Object not found [object=api]", ["result"])


async def test_deleting_answers_what_was_there(director: Any) -> None:
    _, _, result = await added(director, spec=OPEN_API)

    data = await director.data(DELETE, id=result["id"])

    assert data["result"] == {"id": result["id"], "name": "orders", "spec": {"data": '{"openapi": "3.1.0"}'}}
    assert (await director.refusal(DELETE, id=result["id"]))["message"] == "Object not found [object=api]"
    assert (await catalogue.facts(director))[-1]["change"] == "deleted"


async def test_a_missing_bundle_has_its_own_answer(director: Any) -> None:
    _, bundle, _ = await added(director)
    foreign = await catalogue.bundle(
        director, await catalogue.register(director, caller=director.other), caller=director.other
    )
    neighbour = director.application(await catalogue.register(director, "neighbour"))

    errors = [await director.refusal(ADD_API, bundle=id_, **{"in": API}) for id_ in (foreign, UNKNOWN, "no-uuid", "")]
    errors.append(await director.refusal(ADD_API, bundle=bundle, caller=neighbour, **{"in": API}))

    assert {error["message"] for error in errors} == {"Invalid data [reason=cannot add API to not existing bundle]"}
    assert errors[0]["extensions"] == {"error": "InvalidData", "error_code": 22}


async def test_the_parent_of_another_owner_is_refused(director: Any) -> None:
    application, bundle, _ = await added(director)
    seer = await catalogue.seen_not_owned(director, application)
    wording = (
        f"Unauthorized [reason=Tenant {director.other.tenant} does not have access to the parent of the currently "
        "created api: it is not there, or another tenant owns it]"
    )

    assert (await director.refusal(ADD_API, bundle=bundle, caller=seer, **{"in": API}))["message"] == wording
    refused = await director.refusal(ADD_TO_APPLICATION, app=application, caller=seer, **{"in": API})
    assert (refused["message"], refused["extensions"]["error_code"]) == (wording, 26)
    assert (await director.refusal(ADD_TO_APPLICATION, app=UNKNOWN, caller=seer, **{"in": API}))["message"] == wording


@pytest.mark.parametrize(
    ("text", "absent"),
    [
        (UPDATE, "Object not found [object=api]"),
        (DELETE, "Object not found [object=api]"),
        (REFETCH, 'reason: spec for API with id "{id}" not found]'),
    ],
)
async def test_what_is_not_ones_own_cannot_be_changed(director: Any, text: str, absent: str) -> None:
    application, _, result = await added(director, spec=OPEN_API)
    neighbour = director.application(await catalogue.register(director, "neighbour"))
    given = {"in": API} if text is UPDATE else {}

    unseen = [(id_, await director.refusal(text, id=id_, **given)) for id_ in (UNKNOWN, "no-uuid", "")]
    unseen.append((result["id"], await director.refusal(text, id=result["id"], caller=director.other, **given)))
    unseen.append((result["id"], await director.refusal(text, id=result["id"], caller=neighbour, **given)))
    seer = await catalogue.seen_not_owned(director, application)

    for id_, error in unseen:
        assert error["message"].endswith(absent.format(id=id_))
    assert (await director.refusal(text, id=result["id"], caller=seer, **given))["message"] == NOT_OWNER
    await director.data(text, id=result["id"], caller=director.application(application), **given)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"name": " "}, "name=cannot be blank"),
        ({"targetURL": "ftp://a.example.com"}, "targetURL=must be a valid URL"),
        ({"targetURL": "https://a/" + "x" * 250}, "targetURL=the length must be between 1 and 256"),
        ({"group": "x" * 101}, "group=the length must be no more than 100"),
        ({"version": {"value": "1.2"}}, "version.value=must be in a valid format"),
        ({"version": {"value": "01.2.3"}}, "version.value=must be in a valid format"),
        ({"version": {"value": ""}}, "version.value=cannot be blank"),
        ({"version": {"value": "1.2.3", "deprecated": None}}, "version.deprecated=is required"),
        ({"version": {"value": "1.2.3", "forRemoval": None}}, "version.forRemoval=is required"),
    ],
)
async def test_an_api_that_breaks_a_rule_is_refused(director: Any, given: dict[str, Any], problem: str) -> None:
    _, bundle, result = await added(director)

    for text, ids in ((ADD_API, {"bundle": bundle}), (UPDATE, {"id": result["id"]})):
        error = await director.refusal(text, **ids, **{"in": {**API, **given}})
        assert error["message"] == f"Invalid data APIDefinitionInput [{problem}]"


async def test_a_list_of_apis_is_paged_and_shows_nothing_of_others(director: Any) -> None:
    application, bundle, _ = await added(director, group="one")
    await director.data(ADD_TO_APPLICATION, app=application, **{"in": {**API, "name": "loose"}})
    await director.data(ADD_API, bundle=bundle, **{"in": {**API, "name": "grouped", "group": "two"}})

    first = (await director.data(LIST, app=application, first=2))["apisForApplication"]
    rest = (await director.data(LIST, app=application, first=2, after=first["pageInfo"]["endCursor"]))[
        "apisForApplication"
    ]

    assert {api["name"] for api in first["data"] + rest["data"]} == {"orders", "loose", "grouped"}
    assert (first["totalCount"], len(first["data"]), rest["pageInfo"]["hasNextPage"]) == (3, 2, False)
    nothing = {"data": [], "totalCount": 0, "pageInfo": {"endCursor": "", "hasNextPage": False}}
    assert (await director.data(LIST, app=application, caller=director.other, first=2))["apisForApplication"] == nothing
    assert (await director.data(LIST, app="no-uuid", first=2))["apisForApplication"] == nothing
    refused = await director.refusal(LIST, app=application, first=201)
    assert refused["message"] == "Invalid data [reason=page size must be between 1 and 200]"
    query = """query ($app: ID!, $bundle: ID!) { application(id: $app) { bundle(id: $bundle) {
      apiDefinitions(group: "two") { data { name } totalCount } } } }"""
    of_group = (await director.data(query, app=application, bundle=bundle))["application"]["bundle"]["apiDefinitions"]
    assert of_group == {"data": [{"name": "grouped"}], "totalCount": 1}


async def test_a_runtime_lists_the_apis_of_its_groups_alone(director: Any) -> None:
    application, _, _ = await added(director)
    runtime = await catalogue.runtime(director)
    as_runtime = director.runtime(runtime)

    before = (await director.data(LIST, app=application, caller=as_runtime, first=2))["apisForApplication"]
    await catalogue.group(director, application, runtime)
    after = (await director.data(LIST, app=application, caller=as_runtime, first=2))["apisForApplication"]

    assert (before["totalCount"], after["totalCount"]) == (0, 1)


async def test_an_update_takes_six_statements_at_most(director: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, result = await added(director, spec=OPEN_API)

    with catalogue.counted(monkeypatch) as ran:
        await director.data(UPDATE, id=result["id"], **{"in": {**API, "spec": OPEN_API}})

    assert len(ran) == 6, ran


async def test_refetching_brings_the_present_document(director: Any) -> None:
    answers = [answer(200, b"first"), answer(200, b"second")]
    async with receiving(lambda _: _answered(answers.pop(0))) as source:
        fetched = {"type": "OPEN_API", "format": "YAML", "fetchRequest": {"url": source.url(), "auth": catalogue.BASIC}}
        _, _, result = await added(director, spec=fetched)

        again = (await director.data(REFETCH, id=result["id"]))["result"]

        assert result["spec"]["data"] == "first"
        assert again == {
            "id": result["spec"]["id"],
            "data": "second",
            "fetchRequest": {"status": {"condition": "SUCCEEDED", "message": None}},
        }
        # The stored credentials were opened and used the second time too.
        assert [call.headers["authorization"] for call in source.calls] == ["Basic YW5uOnBsYW50ZWQtc2VjcmV0LTE="] * 2
    assert (await catalogue.facts(director))[-1]["change"] == "updated"


async def test_a_refetch_that_fails_says_so_and_keeps_the_last_good_document(director: Any) -> None:
    answers = [answer(200, b"good"), answer(503, b"away")]
    async with receiving(lambda _: _answered(answers.pop(0))) as source:
        fetched = {"type": "OPEN_API", "format": "YAML", "fetchRequest": {"url": source.url()}}
        _, _, result = await added(director, spec=fetched)

        again = (await director.data(REFETCH, id=result["id"]))["result"]

    assert again["data"] == "good"
    assert again["fetchRequest"]["status"] == {"condition": "FAILED", "message": "While fetching Spec status code: 503"}


async def test_refetching_what_was_sent_inline_changes_nothing(director: Any, announced: Any) -> None:
    _, _, result = await added(director, spec=OPEN_API)
    before = await director.state()

    again = (await director.data(REFETCH, id=result["id"]))["result"]

    assert again == {"id": result["spec"]["id"], "data": '{"openapi": "3.1.0"}', "fetchRequest": None}
    assert await director.state() == before


async def test_refetching_an_api_without_a_spec_is_refused(director: Any) -> None:
    _, _, result = await added(director)

    error = await director.refusal(REFETCH, id=result["id"])

    assert error["message"].endswith(f'reason: spec for API with id "{result["id"]}" not found]')
    assert error["extensions"] == {"error": "InternalError", "error_code": 10}


async def test_nothing_is_fetched_for_a_caller_who_may_not_write(director: Any) -> None:
    application, bundle, result = await added(director)
    seer = await catalogue.seen_not_owned(director, application)
    async with receiving(lambda _: _answered(answer(200, b"x"))) as source:
        spec = {"type": "OPEN_API", "format": "YAML", "fetchRequest": {"url": source.url()}}
        given = {"in": {**API, "spec": spec}}

        await director.refusal(ADD_API, bundle=UNKNOWN, **given)
        await director.refusal(ADD_API, bundle=bundle, caller=seer, **given)
        await director.refusal(UPDATE, id=result["id"], caller=seer, **given)
        await director.refusal(UPDATE_FOR_APPLICATION, id=result["id"], **given)
        await director.refusal(ADD_TO_APPLICATION, app=application, caller=seer, **given)
        document = {
            "title": "t",
            "displayName": "d",
            "description": "d",
            "format": "MARKDOWN",
            "fetchRequest": spec["fetchRequest"],
        }
        add_document = "mutation ($b: ID!, $in: DocumentInput!) { addDocumentToBundle(bundleID: $b, in: $in) { id } }"
        await director.refusal(add_document, b=bundle, caller=seer, **{"in": document})
        bundled = {"name": "b", "apiDefinitions": [given["in"]]}
        await director.refusal(catalogue.ADD_BUNDLE, app=application, caller=seer, **{"in": bundled})

        assert source.calls == []


async def _answered(raw: bytes) -> bytes:
    return raw
