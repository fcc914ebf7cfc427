"""Event definitions through the Director's API. What they share with APIs is tested there."""

from typing import Any

import pytest

from tests.delivery.receiver import answer, receiving
from tests.director import catalogue
from tests.director.catalogue import NOT_OWNER, UNKNOWN

FIELDS = """{
  id name description group version { value deprecated deprecatedSince forRemoval } createdAt updatedAt deletedAt error
  spec { id data type format fetchRequest { status { condition message } } }
}"""
ADD = (
    "mutation ($bundle: ID!, $in: EventDefinitionInput!) "
    "{ result: addEventDefinitionToBundle(bundleID: $bundle, in: $in) %s }" % FIELDS
)
ADD_TO_APPLICATION = (
    "mutation ($app: ID!, $in: EventDefinitionInput!) "
    "{ result: addEventDefinitionToApplication(appID: $app, in: $in) %s }"
) % FIELDS
UPDATE = (
    "mutation ($id: ID!, $in: EventDefinitionInput!) { result: updateEventDefinition(id: $id, in: $in) %s }" % FIELDS
)
UPDATE_FOR_APPLICATION = UPDATE.replace("updateEventDefinition", "updateEventDefinitionForApplication")
DELETE = "mutation ($id: ID!) { result: deleteEventDefinition(id: $id) { id name } }"
REFETCH = """mutation ($id: ID!) { result: refetchEventDefinitionSpec(eventID: $id) {
  id data fetchRequest { status { condition } } } }"""
ASYNC_API = {"type": "ASYNC_API", "format": "YAML", "data": "asyncapi: 3.0.0"}
LIST = "query ($app: ID!) { eventsForApplication(appID: $app) { data { name } totalCount } }"


async def added(director: Any, **more: Any) -> tuple[str, str, Any]:
    """An application, its bundle, and an event definition in it."""
    application = await catalogue.register(director)
    bundle = await catalogue.bundle(director, application)
    data = await director.data(ADD, bundle=bundle, **{"in": {"name": "sold", **more}})
    return application, bundle, data["result"]


async def test_an_event_definition_lives_from_adding_to_deleting(director: Any) -> None:
    application, _, first = await added(
        director, description="d", group="g", spec=ASYNC_API, version={"value": "1.0.0"}
    )
    updated = (await director.data(UPDATE, id=first["id"], **{"in": {"name": "sold out"}}))["result"]
    listed = (await director.data(LIST, app=application))["eventsForApplication"]
    deleted = (await director.data(DELETE, id=first["id"]))["result"]

    assert first["createdAt"] == first["updatedAt"]
    assert {name: first[name] for name in ("name", "description", "group", "version", "deletedAt", "error")} == {
        "name": "sold",
        "description": "d",
        "group": "g",
        "version": {"value": "1.0.0", "deprecated": False, "deprecatedSince": None, "forRemoval": False},
        "deletedAt": None,
        "error": None,
    }
    assert {**first["spec"], "id": ""} == {**ASYNC_API, "id": "", "fetchRequest": None}
    assert (updated["name"], updated["version"], updated["spec"]) == ("sold out", None, first["spec"])
    assert listed == {"data": [{"name": "sold out"}], "totalCount": 1}
    assert deleted == {"id": first["id"], "name": "sold out"}
    assert [(fact["object"], fact["change"]) for fact in await catalogue.facts(director)] == [
        ("bundle", "added"),
        ("eventDefinition", "added"),
        ("eventDefinition", "updated"),
        ("eventDefinition", "deleted"),
    ]


async def test_an_event_definition_of_the_application_itself_has_its_own_update(director: Any) -> None:
    application, _, in_bundle = await added(director)
    loose = (await director.data(ADD_TO_APPLICATION, app=application, **{"in": {"name": "loose"}}))["result"]
    changed = {"name": "renamed", "spec": ASYNC_API}

    result = (await director.data(UPDATE_FOR_APPLICATION, id=loose["id"], **{"in": changed}))["result"]

    assert (result["name"], result["spec"]["data"]) == ("renamed", "asyncapi: 3.0.0")
    for text, id_ in ((UPDATE, loose["id"]), (UPDATE_FOR_APPLICATION, in_bundle["id"])):
        assert (await director.refusal(text, id=id_, **{"in": changed}))["message"] == (
            "Object not found [object=eventDefinition]"
        )


async def test_a_spec_is_fetched_and_fetched_again(director: Any) -> None:
    answers = [answer(200, b"first"), answer(200, b"second")]

    async def next_answer(_: object) -> bytes:
        return answers.pop(0)

    async with receiving(next_answer) as source:
        fetched = {"type": "ASYNC_API", "format": "JSON", "fetchRequest": {"url": source.url()}}
        _, _, first = await added(director, spec=fetched)
        again = (await director.data(REFETCH, id=first["id"]))["result"]

    assert first["spec"]["data"] == "first"
    expected = {"id": first["spec"]["id"], "data": "second", "fetchRequest": {"status": {"condition": "SUCCEEDED"}}}
    assert again == expected


async def test_missing_parents_and_foreign_ones_are_refused(director: Any) -> None:
    application, bundle, _ = await added(director)
    neighbour = director.application(await catalogue.register(director, "neighbour"))
    given = {"in": {"name": "x"}}

    missing = [await director.refusal(ADD, bundle=id_, **given) for id_ in (UNKNOWN, "no-uuid")]
    missing.append(await director.refusal(ADD, bundle=bundle, caller=director.other, **given))
    missing.append(await director.refusal(ADD, bundle=bundle, caller=neighbour, **given))
    seer = await catalogue.seen_not_owned(director, application)

    assert {error["message"] for error in missing} == {
        "Invalid data [reason=cannot add Event Definition to not existing Bundle]"
    }
    wording = (
        f"Unauthorized [reason=Tenant {director.other.tenant} does not have access to the parent of the currently "
        "created eventDefinition: it is not there, or another tenant owns it]"
    )
    assert (await director.refusal(ADD, bundle=bundle, caller=seer, **given))["message"] == wording
    assert (await director.refusal(ADD_TO_APPLICATION, app=application, caller=seer, **given))["message"] == wording


@pytest.mark.parametrize(
    ("text", "absent"),
    [
        (UPDATE, "Object not found [object=eventDefinition]"),
        (DELETE, "Object not found [object=eventDefinition]"),
        (REFETCH, 'reason: spec for Event with id "{id}" not found]'),
    ],
)
async def test_what_is_not_ones_own_cannot_be_changed(director: Any, text: str, absent: str) -> None:
    application, _, result = await added(director, spec=ASYNC_API)
    given = {"in": {"name": "x"}} if text is UPDATE else {}

    for id_, caller in ((UNKNOWN, None), ("no-uuid", None), (result["id"], director.other)):
        error = await director.refusal(text, id=id_, caller=caller, **given)
        assert error["message"].endswith(absent.format(id=id_))
    seer = await catalogue.seen_not_owned(director, application)
    assert (await director.refusal(text, id=result["id"], caller=seer, **given))["message"] == NOT_OWNER


async def test_an_event_definition_that_breaks_a_rule_is_refused(director: Any) -> None:
    _, bundle, _ = await added(director)
    given = {"name": "Grüße", "version": {"value": "one"}}

    error = await director.refusal(ADD, bundle=bundle, **{"in": given})

    assert error["message"] == (
        "Invalid data EventDefinitionInput [name=must be in a valid format; version.value=must be in a valid format]"
    )
