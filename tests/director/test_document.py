"""Documents through the Director's API."""

from typing import Any

import pytest

from tests.delivery.receiver import answer, receiving
from tests.director import catalogue
from tests.director.catalogue import NOT_OWNER, UNKNOWN

ADD = """mutation ($bundle: ID!, $in: DocumentInput!) { result: addDocumentToBundle(bundleID: $bundle, in: $in) {
  id title displayName description format kind data createdAt updatedAt deletedAt error
  fetchRequest { url mode filter status { condition message } }
} }"""
DELETE = "mutation ($id: ID!) { result: deleteDocument(id: $id) { id title data } }"
DOCUMENT = {"title": "T", "displayName": "D", "description": "d", "format": "MARKDOWN", "kind": "guide"}


async def test_a_document_is_added_and_deleted(director: Any) -> None:
    application = await catalogue.register(director)
    bundle = await catalogue.bundle(director, application)

    result = (await director.data(ADD, bundle=bundle, **{"in": {**DOCUMENT, "data": "# hi"}}))["result"]
    deleted = (await director.data(DELETE, id=result["id"]))["result"]

    assert result.pop("createdAt") == result.pop("updatedAt")
    assert result == {
        **DOCUMENT, "data": "# hi", "id": deleted["id"], "deletedAt": None, "error": None, "fetchRequest": None
    }  # fmt: skip
    assert deleted == {"id": result["id"], "title": "T", "data": "# hi"}
    assert [(fact["object"], fact["change"]) for fact in await catalogue.facts(director)][1:] == [
        ("document", "added"), ("document", "deleted")
    ]  # fmt: skip
    assert (await director.refusal(DELETE, id=result["id"]))["message"] == "Object not found [object=document]"


async def test_a_document_is_fetched(director: Any) -> None:
    bundle = await catalogue.bundle(director, await catalogue.register(director))

    async def prose(_: object) -> bytes:
        return answer(200, "# Grüße".encode())

    async with receiving(prose) as source:
        given = {**DOCUMENT, "fetchRequest": {"url": source.url()}}
        result = (await director.data(ADD, bundle=bundle, **{"in": given}))["result"]

    assert result["data"] == "# Grüße"
    assert result["fetchRequest"]["status"] == {"condition": "SUCCEEDED", "message": None}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"title": ""}, "title=cannot be blank"),
        ({"displayName": "x" * 129}, "displayName=the length must be between 1 and 128"),
        ({"description": "x" * 2001}, "description=the length must be between 1 and 2000"),
        ({"kind": "x" * 257}, "kind=the length must be no more than 256"),
        (
            {"data": "x", "fetchRequest": {"url": "http://127.0.0.1:1/"}},
            "Rule.DataOrFetchRequest=Only one of Data or Fetch Request must be passed",
        ),
        ({"fetchRequest": {"url": "nonsense"}}, "fetchRequest.url=must be a valid URL"),
    ],
)
async def test_a_document_that_breaks_a_rule_is_refused(director: Any, given: dict[str, Any], problem: str) -> None:
    bundle = await catalogue.bundle(director, await catalogue.register(director))

    error = await director.refusal(ADD, bundle=bundle, **{"in": {**DOCUMENT, **given}})

    assert error["message"] == f"Invalid data DocumentInput [{problem}]"


async def test_missing_and_foreign_ones_are_refused(director: Any) -> None:
    application = await catalogue.register(director)
    bundle = await catalogue.bundle(director, application)
    made = (await director.data(ADD, bundle=bundle, **{"in": DOCUMENT}))["result"]["id"]
    neighbour = director.application(await catalogue.register(director, "neighbour"))
    given = {"in": DOCUMENT}

    missing = [await director.refusal(ADD, bundle=UNKNOWN, **given), await director.refusal(ADD, bundle="", **given)]
    missing += [await director.refusal(ADD, bundle=bundle, caller=who, **given) for who in (director.other, neighbour)]
    unseen = [await director.refusal(DELETE, id=made, caller=who) for who in (director.other, neighbour)]
    seer = await catalogue.seen_not_owned(director, application)

    assert {error["message"] for error in missing} == {
        "Invalid data [reason=cannot add Document to not existing Bundle]"
    }
    assert {error["message"] for error in unseen} == {"Object not found [object=document]"}
    assert (await director.refusal(DELETE, id=made, caller=seer))["message"] == NOT_OWNER
    assert (await director.refusal(ADD, bundle=bundle, caller=seer, **given))["message"] == (
        f"Unauthorized [reason=Tenant {director.other.tenant} does not have access to the parent of the currently "
        "created document: it is not there, or another tenant owns it]"
    )
