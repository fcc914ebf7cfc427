"""Integration dependencies through the Director's API."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from tests.director.catalogue import NOT_OWNER, UNKNOWN, counted, facts, register, seen_not_owned, without

FIELDS = """
  id name description ordID partOfPackage visibility releaseStatus mandatory labels
  version { value deprecated deprecatedSince forRemoval }
  aspects { id name description mandatory created_at updated_at deleted_at error
    apiResources { ordID } eventResources { ordID subset { eventType } created_at updated_at deleted_at error } }
  created_at updated_at deleted_at error
"""
ADD = f"""mutation ($app: ID!, $in: IntegrationDependencyInput!) {{
  result: addIntegrationDependencyToApplication(appID: $app, in: $in) {{ {FIELDS} }} }}"""
DELETE = f"mutation ($id: ID!) {{ result: deleteIntegrationDependency(id: $id) {{ {FIELDS} }} }}"
LIST = f"""query ($id: ID!, $first: Int, $after: PageCursor) {{ application(id: $id) {{
  integrationDependencies(first: $first, after: $after) {{
    data {{ {FIELDS} }} pageInfo {{ endCursor hasNextPage }} totalCount }} }} }}"""
PLAIN = {"name": "orders", "ordID": "ns:integrationDependency:orders:v1"}

Announced = Callable[[], Awaitable[Sequence[str]]]


async def add(director: Any, application: str, **more: Any) -> Any:
    return (await director.data(ADD, app=application, **{"in": {**PLAIN, **more}}))["result"]


async def listed(director: Any, application: str, *, first: int = 200, after: str | None = None, **more: Any) -> Any:
    data = await director.data(LIST, id=application, first=first, after=after, **more)
    return data["application"]["integrationDependencies"]


async def test_a_dependency_is_shown_as_it_was_given_with_its_aspects_in_order(
    director: Any, announced: Announced
) -> None:
    application = await register(director)
    aspect = {"name": "read", "description": "d", "mandatory": True}
    apis = [{"ordId": "b"}, {"ordId": "a"}]
    events = [{"ordId": "e", "subset": [{"eventType": "y"}, {"eventType": None}, {"eventType": "x"}]}, {"ordId": "d"}]

    made = await add(
        director,
        application,
        description="what it needs",
        partOfPackage="ns:package:p:v1",
        visibility="public",
        releaseStatus="active",
        mandatory=False,
        labels={"team": ["one", {"two": 2}]},
        version={"value": "1.2.3", "deprecatedSince": "1.0.0"},
        aspects=[{**aspect, "apiResources": apis, "eventResources": events}, {"name": "another"}],
    )

    moment = {name: made[name] for name in ("created_at", "updated_at", "deleted_at", "error")}
    assert moment["created_at"] == moment["updated_at"]
    assert (moment["deleted_at"], moment["error"]) == (None, None)
    first, second = made["aspects"]
    assert first.pop("id") != second.pop("id")
    assert made == {
        "id": made["id"],
        "name": "orders",
        "description": "what it needs",
        "ordID": PLAIN["ordID"],
        "partOfPackage": "ns:package:p:v1",
        "visibility": "public",
        "releaseStatus": "active",
        "mandatory": False,
        "labels": {"team": ["one", {"two": 2}]},
        "version": {"value": "1.2.3", "deprecated": False, "deprecatedSince": "1.0.0", "forRemoval": False},
        "aspects": [
            {
                **aspect,
                "apiResources": [{"ordID": "b"}, {"ordID": "a"}],
                "eventResources": [
                    {"ordID": "e", "subset": [{"eventType": "y"}, {"eventType": None}, {"eventType": "x"}], **moment},
                    {"ordID": "d", "subset": [], **moment},
                ],
                **moment,
            },
            {"name": "another", "description": None, "mandatory": None, "apiResources": [], "eventResources": []}
            | moment,
        ],
        **moment,
    }
    assert (await announced())[-1] == "ApplicationCatalogueChanged"
    assert (await facts(director))[-1] == {
        "application": application,
        "object": "integrationDependency",
        "id": made["id"],
        "change": "added",
    }


async def test_dependencies_come_a_page_at_a_time(director: Any) -> None:
    application = await register(director)
    ids = sorted([(await add(director, application, name=f"n{number}"))["id"] for number in range(3)])

    page = await listed(director, application, first=2)
    rest = await listed(director, application, first=2, after=page["pageInfo"]["endCursor"])

    assert [one["id"] for one in page["data"]] + [one["id"] for one in rest["data"]] == ids
    assert (page["totalCount"], page["pageInfo"]["hasNextPage"], rest["pageInfo"]["hasNextPage"]) == (3, True, False)
    plain = page["data"][0]
    assert (plain["labels"], plain["aspects"], plain["version"], plain["mandatory"]) == ({}, [], None, None)


async def test_a_deleted_dependency_is_answered_once_more_and_gone(director: Any) -> None:
    application = await register(director)
    made = await add(director, application, aspects=[{"name": "read"}])

    deleted = (await director.data(DELETE, id=made["id"].upper()))["result"]

    assert deleted == made
    assert (await listed(director, application))["data"] == []
    assert (await facts(director))[-1]["change"] == "deleted"
    assert (await facts(director))[-1]["id"] == made["id"]
    again = await director.refusal(DELETE, id=made["id"])
    assert again["message"] == "Object not found [object=integrationDependency]"
    assert again["extensions"]["error_code"] == 20


async def test_dependencies_go_with_their_application(director: Any) -> None:
    application = await register(director)
    await add(director, application, aspects=[{"name": "read"}])

    await director.data("mutation ($id: ID!) { unregisterApplication(id: $id) { id } }", id=application)

    async with director.database.transaction() as tx:
        assert await tx.value("SELECT count(*) FROM integration_dependency") == 0
        assert await tx.value("SELECT count(*) FROM aspect") == 0


async def test_nothing_is_added_to_an_application_of_somebody_else(director: Any) -> None:
    application = await register(director)
    neighbour = await register(director, "neighbour")
    given = {"in": PLAIN}

    for caller in (director.other, director.application(neighbour)):
        error = await director.refusal(ADD, app=application, caller=caller, **given)
        assert error["extensions"]["error_code"] == 26
        assert "does not have access to the parent of the currently created integrationDependency" in error["message"]
    for unknown in (UNKNOWN, "no-uuid"):
        assert (await director.refusal(ADD, app=unknown, **given))["extensions"]["error_code"] == 26
    seeing = await seen_not_owned(director, application)
    assert (await director.refusal(ADD, app=application, caller=seeing, **given))["extensions"]["error_code"] == 26


async def test_a_dependency_of_somebody_else_is_not_deleted(director: Any) -> None:
    application = await register(director)
    neighbour = await register(director, "neighbour")
    made = await add(director, application)

    for caller in (director.other, director.application(neighbour)):
        error = await director.refusal(DELETE, id=made["id"], caller=caller)
        assert error["message"] == "Object not found [object=integrationDependency]"
    assert (await director.refusal(DELETE, id="no-uuid"))["extensions"]["error_code"] == 20
    seeing = await seen_not_owned(director, application)
    assert (await director.refusal(DELETE, id=made["id"], caller=seeing))["message"] == NOT_OWNER
    assert [one["id"] for one in (await listed(director, application, caller=seeing))["data"]] == [made["id"]]


async def test_an_application_says_itself_what_it_needs(director: Any) -> None:
    application = await register(director)
    itself = director.application(application)

    made = (await director.data(ADD, app=application, caller=itself, **{"in": PLAIN}))["result"]

    assert (await director.data(DELETE, id=made["id"], caller=itself))["result"]["name"] == "orders"


@pytest.mark.parametrize(
    ("given", "fact"),
    [
        ({"name": " "}, "name=cannot be blank"),
        ({"name": "x" * 257}, "name=the length must be between 1 and 256"),
        ({"ordID": ""}, "ordID=cannot be blank"),
        ({"ordID": "x" * 257}, "ordID=the length must be between 1 and 256"),
        ({"description": "x" * 2001}, "description=the length must be no more than 2000"),
        ({"partOfPackage": "x" * 257}, "partOfPackage=the length must be no more than 256"),
        ({"labels": {"no key": 1}}, "labels=label key 'no key' must be in a valid format"),
        ({"version": {"value": "one"}}, "version.value=must be in a valid format"),
        ({"aspects": [{"name": ""}]}, "aspects.0.name=cannot be blank"),
        (
            {"aspects": [{"name": "a", "apiResources": [{"ordId": ""}]}]},
            "aspects.0.apiResources.0.ordId=cannot be blank",
        ),
        (
            {"aspects": [{"name": "a", "eventResources": [{"ordId": "e", "subset": [{"eventType": "x" * 257}]}]}]},
            "aspects.0.eventResources.0.subset.0.eventType=the length must be no more than 256",
        ),
    ],
)
async def test_a_dependency_that_breaks_a_rule_is_refused(director: Any, given: dict[str, Any], fact: str) -> None:
    application = await register(director)

    error = await director.refusal(ADD, app=application, **{"in": {**PLAIN, **given}})

    assert error["message"] == f"Invalid data IntegrationDependencyInput [{fact}]"
    assert error["extensions"] == {"error": "InvalidData", "error_code": 22}


async def test_adding_takes_as_many_statements_however_much_there_is(
    director: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    application = await register(director)
    many = [{"name": f"a{number}", "apiResources": [{"ordId": "x"}] * 20} for number in range(50)]

    for aspects in ([], many):
        with counted(monkeypatch) as ran:
            await add(director, application, aspects=aspects)
        assert len(ran) == 4


async def test_dependencies_need_the_scope_of_applications(director: Any) -> None:
    application = await register(director)
    made = await add(director, application)
    caller = without(director.caller, "application:write")

    for document, given in ((ADD, {"app": application, "in": PLAIN}), (DELETE, {"id": made["id"]})):
        error = await director.refusal(document, caller=caller, **given)
        assert error["extensions"]["error_code"] == 23
        assert error["message"].endswith("required=application:write]")
