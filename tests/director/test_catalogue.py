"""The catalogue as a Runtime Agent fetches it, and what all its nouns share."""

from typing import Any

import pytest

from compass.director.catalogue import canonical
from tests.director import catalogue
from tests.director.catalogue import BASIC, OPEN_API
from tests.director.test_bundle import FULL

# Source of the shape: contract/connector-agent-provisioner.md §C.4.
PAGE = "pageInfo { startCursor endCursor hasNextPage } totalCount"
VERSION = "version { value deprecated deprecatedSince forRemoval }"
AGENT = f"""query ($id: ID!) {{
  runtime(id: $id) {{ labels }}
  applicationsForRuntime(runtimeID: $id) {{
    data {{ id name providerName description labels auths {{ id }}
      bundles {{
        data {{ id name description instanceAuthRequestInputSchema
          apiDefinitions {{ data {{ id name description targetURL group {VERSION} }} {PAGE} }}
          eventDefinitions {{ data {{ id name description group {VERSION} }} {PAGE} }}
          defaultInstanceAuth {{
            credential {{
              ... on BasicCredentialData {{ username password }}
              ... on OAuthCredentialData {{ clientId clientSecret url }}
            }}
            additionalHeaders additionalQueryParams requestAuth {{ csrf {{ tokenEndpointURL }} }}
          }} }}
        {PAGE}
      }} }}
    {PAGE}
  }}
}}"""
WHOLE = {"pageInfo": {"startCursor": "", "endCursor": "", "hasNextPage": False}}


async def test_an_agent_gets_all_it_needs_in_one_query_with_its_own_credentials(director: Any) -> None:
    auth = {
        "credential": {"oauth": {"clientId": "c", "clientSecret": "s", "url": "https://id.example.com/token"}},
        "additionalHeaders": {"X-One": ["a", "b"]},
        "additionalQueryParamsSerialized": '{"q": ["1"]}',
        "requestAuth": {"csrf": {"tokenEndpointURL": "https://orders.example.com/csrf"}},
    }
    application = await catalogue.register(director, "Orders", description="d", providerName="P")
    bundle = await catalogue.bundle(director, application, **{**FULL, "defaultInstanceAuth": auth})
    await catalogue.bundle(director, application, name="bare")
    runtime = await catalogue.runtime(director)
    await catalogue.group(director, application, runtime)
    caller = director.runtime(runtime)

    data = await director.data(AGENT, caller=caller, id=runtime)

    assert data["runtime"]["labels"] == {"isNormalized": "true"}
    page = data["applicationsForRuntime"]
    assert (page["totalCount"], page["pageInfo"]) == (1, WHOLE["pageInfo"])
    (shown,) = page["data"]
    assert (shown["id"], shown["name"], shown["auths"]) == (application, "mp-orders", [])
    bundles = {entry["name"]: entry for entry in shown["bundles"]["data"]}
    assert shown["bundles"]["totalCount"] == 2
    assert bundles["bare"]["apiDefinitions"] == {"data": [], "totalCount": 0, **WHOLE}
    assert bundles["bare"]["defaultInstanceAuth"] is None
    assert bundles["main"]["apiDefinitions"]["totalCount"] == 2
    assert [event["name"] for event in bundles["main"]["eventDefinitions"]["data"]] == ["sold"]
    assert bundles["main"]["defaultInstanceAuth"] == {
        "credential": {"clientId": "c", "clientSecret": "s", "url": "https://id.example.com/token"},
        "additionalHeaders": {"X-One": ["a", "b"]},
        "additionalQueryParams": {"q": ["1"]},
        "requestAuth": {"csrf": {"tokenEndpointURL": "https://orders.example.com/csrf"}},
    }

    create = """mutation ($b: ID!, $in: BundleInstanceAuthCreateInput!) {
      createBundleInstanceAuth(bundleID: $b, in: $in) { id } }"""
    await director.data(create, b=bundle, **{"in": {"auth": BASIC, "runtimeID": runtime}})

    again = (await director.data(AGENT, caller=caller, id=runtime))["applicationsForRuntime"]["data"][0]
    own = next(entry for entry in again["bundles"]["data"] if entry["id"] == bundle)["defaultInstanceAuth"]
    assert own == {
        "credential": {"username": "ann", "password": "planted-secret-1"},
        "additionalHeaders": None,
        "additionalQueryParams": None,
        "requestAuth": None,
    }


@pytest.mark.parametrize("nested", ["apiDefinitions", "eventDefinitions", "documents"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("first: 0", "Invalid data [reason=page size must be between 1 and 200]"),
        ("first: 201", "Invalid data [reason=page size must be between 1 and 200]"),
        ("first: null", "Invalid data [reason=missing required parameter 'first']"),
        ('after: "RHBLdEo0ajlqRHEtMQ=="', "Invalid data [reason=cursor is not correct]"),
        ('after: "mangled"', "reason: cursor is not correct]"),
        ('after: "MV8w"', "reason: cursor is not correct]"),
    ],
)
async def test_a_malformed_page_of_a_nested_list_is_refused(
    director: Any, nested: str, arguments: str, message: str
) -> None:
    application = await catalogue.register(director)
    await catalogue.bundle(
        director, application, apiDefinitions=[{"name": "a", "targetURL": "http://a", "spec": OPEN_API}]
    )
    inner = f"{{ application(id: $id) {{ bundles {{ data {{ {nested}({arguments}) {{ totalCount }} }} }} }} }}"
    outer = f"{{ application(id: $id) {{ bundles({arguments}) {{ totalCount }} }} }}"

    for document in (inner, outer):
        error = await director.refusal(f"query ($id: ID!) {document}", id=application)
        assert error["message"].endswith(message)


async def test_pages_of_nested_lists_follow_each_other_for_each_parent_and_groups_select(director: Any) -> None:
    application = await catalogue.register(director)
    for names in ("abc", "d"):
        apis = [{"name": name, "targetURL": "http://a", "group": name} for name in names]
        await catalogue.bundle(director, application, apiDefinitions=apis)
    query = """query ($id: ID!, $after: PageCursor, $group: String) { application(id: $id) { bundles { data {
      apiDefinitions(first: 2, after: $after, group: $group) {
        data { name } totalCount pageInfo { startCursor endCursor hasNextPage }
    } } } } }"""

    async def pages(**given: Any) -> list[Any]:
        data = await director.data(query, id=application, **given)
        found = [bundle["apiDefinitions"] for bundle in data["application"]["bundles"]["data"]]
        return sorted(found, key=lambda page: -page["totalCount"])

    long, short = await pages()
    cursor = long["pageInfo"]["endCursor"]
    rest, beyond = await pages(after=cursor)

    assert sorted(entry["name"] for page in (long, rest) for entry in page["data"]) == ["a", "b", "c"]
    assert long["pageInfo"] == {"startCursor": "", "endCursor": cursor, "hasNextPage": True}
    assert rest["pageInfo"] == {"startCursor": cursor, "endCursor": "", "hasNextPage": False}
    assert ([entry["name"] for entry in short["data"]], short["pageInfo"]["hasNextPage"]) == (["d"], False)
    assert (beyond["data"], beyond["totalCount"]) == ([], 1)
    assert [page["totalCount"] for page in await pages(group="b")] == [1, 0]
    assert [page["totalCount"] for page in await pages(group="none")] == [0, 0]


def test_an_id_has_one_spelling() -> None:
    spelled = "8fd7f7f4-3d6c-4a9a-8f3c-00000000000a"

    assert {canonical(text) for text in (spelled, spelled.upper(), spelled.replace("-", ""), f"{{{spelled}}}")} == {
        spelled
    }
    assert canonical("no-uuid") == "no-uuid"
