"""Requests for credentials in the console: seen with what it takes to decide, approved, rejected, rotated."""

import json
from typing import Any

import pytest

from compass.console.access import input_of, wanted
from tests.console.conftest import Site

SCHEMA = {"type": "object", "properties": {"plan": {"enum": ["small", "large"]}}, "required": ["plan"]}
ASK = """mutation ($bundle: ID!, $in: BundleInstanceAuthRequestInput!) {
  result: requestBundleInstanceAuthCreation(bundleID: $bundle, in: $in) { id } }"""
GIVEN = """query ($id: ID!) { result: bundleInstanceAuth(id: $id) { status { condition reason message }
  auth { credential { ... on BasicCredentialData { username password }
    ... on OAuthCredentialData { clientId clientSecret url } } } } }"""


async def asked(site: Site, **more: Any) -> tuple[str, str]:
    """A request for a bundle of a new application, and the page of its requests."""
    application, _ = await site.application()
    text = "mutation ($id: ID!, $in: BundleCreateInput!) { result: addBundle(applicationID: $id, in: $in) { id } }"
    bundle = {"name": "orders", "instanceAuthRequestInputSchema": json.dumps(SCHEMA)}
    made = (await site.ask(text, id=application, **{"in": bundle}))["id"]
    request = {"context": '{"for": "tests"}', "inputParams": '{"plan": "small", "note": "soon"}', **more}
    found = (await site.ask(ASK, bundle=made, **{"in": request}))["id"]
    return found, f"/access?application={application}"


async def given(site: Site, request: str) -> Any:
    return await site.ask(GIVEN, id=request)


async def test_a_request_is_shown_with_its_context_and_its_input_beside_the_schema(site: Site) -> None:
    _, page = await asked(site)

    shown = await site.get(page)

    [context] = shown.tree.xpath("//pre[starts-with(@id, 'context-')]/text()")
    assert json.loads(context) == {"for": "tests"}
    rows = [[cell.text_content().strip() for cell in row] for row in shown.tree.xpath("//tbody/tr")]
    assert rows == [["plan *", '"small"', "one of small, large", "yes"], ["note", '"soon"', "", "yes"]]


async def test_credentials_are_given_and_replaced(site: Site) -> None:
    request, page = await asked(site)

    approved = await site.post(f"/access/{request}/approve", signs_in="basic", username="ann", password="geheim")

    assert "The credentials are given" in (await site.follow(approved)).words
    assert (await given(site, request))["auth"]["credential"] == {"username": "ann", "password": "geheim"}
    assert "Nobody waits" in (await site.get(page)).words
    shown = await site.get(f"{page}&state=SUCCEEDED")
    assert "geheim" not in shown.text
    client = {"clientId": "c", "clientSecret": "s", "tokenURL": "https://token.example"}
    rotated = await site.post(f"/access/{request}/rotate", signs_in="oauth", **client)
    assert "gets the new credentials" in (await site.follow(rotated)).words
    now = await given(site, request)
    assert now["auth"]["credential"] == {"clientId": "c", "clientSecret": "s", "url": "https://token.example"}
    again = await site.post(f"/access/{request}/approve", signs_in="basic", username="u", password="p")
    assert again.status == 422
    assert "auth can be set only on BundleInstanceAuths in PENDING state" in again.words


async def test_a_password_that_was_made_is_shown_once_to_whoever_had_it_made(site: Site) -> None:
    request, _ = await asked(site)
    blank = await site.post(f"/access/{request}/approve", signs_in="made")
    assert blank.tree.xpath("//*[@aria-invalid='true']/@name") == ["username"]
    assert (await given(site, request))["status"]["condition"] == "PENDING"

    approved = await site.post(f"/access/{request}/approve", signs_in="made", username="ann")

    page = approved.headers["location"].removeprefix("/console")
    password = (await given(site, request))["auth"]["credential"]["password"]
    assert len(password) == 32
    assert password not in (await site.get(page, **{"hx-request": "true"})).text
    async with site.another() as other:
        assert password not in (await other.get(page)).text
    shown = await site.get(page)
    assert shown.tree.xpath("//pre[@id='secret']/text()") == [password]
    again = await site.get(page)
    assert password not in again.text
    assert "shown already" in again.words
    rotated = await site.post(f"/access/{request}/rotate", signs_in="made", username="ann")
    now = (await given(site, request))["auth"]["credential"]["password"]
    assert now != password
    assert (await site.follow(rotated)).tree.xpath("//pre[@id='secret']/text()") == [now]


async def test_a_request_is_rejected_with_a_reason(site: Site) -> None:
    request, page = await asked(site)

    rejected = await site.post(f"/access/{request}/reject", message="ask your account team")

    assert "The request is refused" in (await site.follow(rejected)).words
    assert (await given(site, request))["status"] == {
        "condition": "FAILED", "reason": "NotGranted", "message": "ask your account team"
    }  # fmt: skip
    assert "ask your account team" in (await site.get(f"{page}&state=FAILED")).words


async def test_a_refusal_is_pointed_at_the_field_that_it_is_about(site: Site) -> None:
    request, _ = await asked(site)

    client = {"clientId": "c", "clientSecret": "geheim", "tokenURL": "no address"}
    refused = await site.post(f"/access/{request}/approve", signs_in="oauth", **client)

    assert refused.status == 422
    assert "Type where tokens are to be had" in refused.words
    assert refused.tree.xpath("//*[@aria-invalid='true']/@name") == ["tokenURL"]
    assert refused.tree.xpath("//*[@aria-invalid='true']/@value") == ["no address"]
    assert "geheim" not in refused.text
    assert (await given(site, request))["status"]["condition"] == "PENDING"
    blank = await site.post(f"/access/{request}/approve", signs_in="basic", username="ann")
    assert blank.tree.xpath("//*[@aria-invalid='true']/@name") == ["password"]
    assert (await given(site, request))["status"]["condition"] == "PENDING"


async def test_nothing_typed_replaces_nothing(site: Site) -> None:
    request, _ = await asked(site)
    await site.post(f"/access/{request}/approve", signs_in="basic", username="ann", password="geheim")

    moved = await site.post(f"/access/{request}/rotate")

    assert "No credentials were typed" in (await site.follow(moved)).words
    assert (await given(site, request))["auth"]["credential"]["password"] == "geheim"
    assert (await site.post("/access/00000000-0000-4000-8000-000000000000/rotate", signs_in="basic")).status == 404


@pytest.mark.parametrize(
    ("schema", "parameters", "problems", "rows"),
    [
        (None, None, [], []),
        ("{", "[1]", [], []),
        ('{"properties": 1, "required": 2}', '{"a": 1}', [], [("a", "1", [])]),
        (
            '{"properties": {"a/b": {"type": "string"}}}',
            '{"a/b": 1}',
            [{"path": "/a~1b", "message": "no"}, {"path": "", "message": "never"}],
            [("a/b", "1", ["no"]), ("", None, ["never"])],
        ),
    ],
)
def test_input_is_put_beside_whatever_the_schema_is(
    schema: str | None, parameters: str | None, problems: list[dict[str, str]], rows: list[Any]
) -> None:
    request = {"inputSchema": schema, "instanceAuth": {"inputParams": parameters}, "inputProblems": problems}

    found = [(row["name"], row.get("value"), row["problems"]) for row in input_of(request)]

    assert found == rows


def test_what_is_wanted_is_said_for_people() -> None:
    assert wanted({"title": "Plan", "type": "string", "enum": ["a", 1], "description": "How large"}) == (
        "Plan; string; one of a, 1; How large"
    )
    assert wanted({}) == ""
