"""What the console reads of a request and says with every answer."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from compass.console.http import (
    MOST_FORM_BYTES,
    POLICY,
    Answer,
    FormTooLarge,
    Message,
    Receive,
    Stream,
    answer,
    attachment,
    moved,
    read,
    stream,
)


def scope(method: str = "GET", path: str = "/console/x", query: bytes = b"", **headers: str) -> dict[str, Any]:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": method, "path": path, "query_string": query, "headers": raw}


def body(*parts: bytes) -> Receive:
    waiting = [
        {"type": "http.request", "body": part, "more_body": number < len(parts)} for number, part in enumerate(parts, 1)
    ]

    async def receive() -> Message:
        return waiting.pop(0)

    return receive


class Sent:
    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def __call__(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.messages[0]["headers"])


async def test_a_form_is_read_in_parts() -> None:
    request = await read(scope("POST"), body(b"name=a%20", b"b&name=c&empty="), prefix="/console")

    assert (request.path, request.form) == ("/x", {"name": "c", "empty": ""})


async def test_nobody_sends_more_than_a_form_can_hold() -> None:
    with pytest.raises(FormTooLarge):
        await read(scope("POST"), body(b"x" * MOST_FORM_BYTES, b"y"), prefix="/console")


async def test_a_get_has_no_form() -> None:
    request = await read(scope(query=b"q=1&q=2"), body(b"name=x"), prefix="/console")

    assert (request.form, request.query) == ({}, {"q": "2"})


@pytest.mark.parametrize(
    ("header", "value"), [("a=1; b=2", "2"), ("b=2", "2"), ("xb=2", ""), ("b=2=3", "2=3"), ("", "")]
)
async def test_a_cookie_is_found_by_its_whole_name(header: str, value: str) -> None:
    request = await read(scope(cookie=header), body(b""), prefix="/console")

    assert request.cookie("b") == value


async def test_every_answer_forbids_what_no_page_needs() -> None:
    sent = Sent()

    await answer(sent, Answer(b"<p>"))

    assert sent.headers[b"content-security-policy"].decode() == POLICY
    assert b"unsafe" not in sent.headers[b"content-security-policy"]
    assert sent.headers[b"x-content-type-options"] == b"nosniff"
    assert sent.headers[b"cache-control"] == b"no-store"
    assert sent.messages[1]["body"] == b"<p>"


def test_moving_on_is_done_with_get() -> None:
    assert (moved("/console/").status, moved("/console/").headers) == (303, {"location": "/console/"})


async def test_a_stream_ends_when_the_browser_leaves() -> None:
    ended: list[str] = []

    async def parts() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"x"
                await asyncio.sleep(0.01)
        finally:
            ended.append("yes")

    sent = Sent()
    arrivals: Sequence[Message] = [{"type": "http.request"}, {"type": "http.disconnect"}]
    left = list(arrivals)

    async def receive() -> Message:
        return left.pop(0)

    await stream(receive, sent, Stream(parts()))

    assert ended == ["yes"]


def test_a_file_to_keep_is_never_a_page() -> None:
    file = attachment("a", "text/csv", "a.csv")

    assert (file.body, file.content_type) == (b"a", "text/csv")
    assert file.headers == {"content-disposition": 'attachment; filename="a.csv"'}
