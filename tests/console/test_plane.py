"""How the console asks the plane: as whom, and what it makes of the answers."""

import json
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

import pytest
from graphql import GraphQLSchema, build_schema, parse, validate

from compass.app import _sdl
from compass.client.protocol import DocumentUnknown, PlaneAnswerUnreadable, PlaneRefused
from compass.console.http import Message, Receive, Send
from compass.console.plane import NotAllowed, Plane, SignedOut, document

NAMES = sorted(
    one.name.removesuffix(".graphql")
    for one in files("compass.console.documents").iterdir()
    if one.name.endswith(".graphql")
)


@cache
def schema_of(endpoint: str) -> GraphQLSchema:
    return build_schema(_sdl(endpoint))


def answering(status: int, body: object, seen: list[Any] | None = None) -> Callable[..., Any]:
    async def api(scope: Any, receive: Receive, send: Send) -> None:
        message = await receive()
        if seen is not None:
            seen.append((scope, json.loads(message["body"]) if message["body"] else None))
        await send({"type": "http.response.start", "status": status, "headers": []})
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        await send({"type": "http.response.body", "body": text[:5], "more_body": True})
        await send({"type": "http.response.body", "body": text[5:]})

    return api


def plane(api: Callable[..., Any], tenant: str = "t1") -> Plane:
    return Plane(api, token="secret", tenant=tenant, client=("10.0.0.9", 1))


@pytest.mark.parametrize("name", NAMES)
def test_every_document_fits_the_schema_of_its_endpoint(name: str) -> None:
    found = document(name)

    assert validate(schema_of(found.endpoint), parse(found.text)) == []


async def test_it_asks_with_the_rights_of_the_session_and_from_its_address() -> None:
    seen: list[Any] = []

    assert await plane(answering(200, {"data": {"viewer": 1}}, seen)).ask("Viewer") == {"viewer": 1}

    scope, body = seen[0]
    headers = dict(scope["headers"])
    assert (headers[b"authorization"], headers[b"tenant"]) == (b"Bearer secret", b"t1")
    assert (scope["path"], scope["client"]) == ("/director/graphql", ("10.0.0.9", 1))
    assert body == {"query": document("Viewer").text, "variables": {}}


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, {"errors": [{"message": "no", "extensions": {"error_code": 23}}], "data": None}, NotAllowed),
        (401, {"errors": [{"message": "no", "extensions": {"error_code": 26}}], "data": None}, SignedOut),
        # Inside an answer it is about the object, not about who asks.
        (200, {"errors": [{"message": "no", "extensions": {"error_code": 26}}], "data": None}, PlaneRefused),
        (200, {"errors": [{"message": "no"}], "data": {"a": 1}}, PlaneRefused),
        (502, b"<html>", PlaneAnswerUnreadable),
        (200, [], PlaneAnswerUnreadable),
        (200, {"data": None}, PlaneAnswerUnreadable),
    ],
)
async def test_an_answer_that_is_none_is_told_apart(status: int, body: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        await plane(answering(status, body)).ask("Viewer")


async def test_a_document_that_is_not_there_is_a_mistake_of_ours() -> None:
    with pytest.raises(DocumentUnknown):
        await plane(answering(200, {})).ask("Nothing")


async def test_the_feed_is_read_line_by_line_until_it_ends() -> None:
    sent = b"id: 1-0\nevent: reset\ndata: {}\n\n:\n\nid: 2-1\nevent: ApplicationRegistered\ndata: {}\n\n"

    stream = plane(answering(200, sent)).events()

    assert [(one.id, one.name) async for one in stream] == [
        ("1-0", "reset"),
        ("", ""),
        ("2-1", "ApplicationRegistered"),
    ]


@pytest.mark.parametrize(
    ("status", "error"), [(401, SignedOut), (403, PlaneAnswerUnreadable), (503, PlaneAnswerUnreadable)]
)
async def test_a_feed_that_is_refused_says_so(status: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        async for _ in plane(answering(status, {"error": "no"})).events():
            pass


async def test_leaving_the_feed_ends_it_at_the_plane() -> None:
    ended: list[Message] = []

    async def api(_scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"event: reset\ndata: {}\n\n", "more_body": True})
        try:
            ended.append(await receive())
        except BaseException:
            ended.append({"type": "cancelled"})
            raise

    stream = plane(api).events()
    async for one in stream:
        assert one.name == "reset"
        break
    await stream.aclose()

    assert len(ended) == 1


async def test_the_same_caller_asks_about_another_tenant() -> None:
    seen: list[Any] = []

    await plane(answering(200, {"data": {}}, seen)).within("t2").ask("Viewer")

    headers = dict(seen[0][0]["headers"])
    assert (headers[b"authorization"], headers[b"tenant"]) == (b"Bearer secret", b"t2")
    assert seen[0][0]["client"] == ("10.0.0.9", 1)


async def test_what_anybody_may_ask_is_told_with_its_status() -> None:
    seen: list[Any] = []

    assert await plane(answering(503, b"not ready", seen)).probe("/readyz") == (503, "not ready")
    assert (seen[0][0]["method"], seen[0][0]["path"], seen[0][1]) == ("GET", "/readyz", None)
