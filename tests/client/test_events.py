"""Server-sent events as they come, in any pieces that the standard allows."""

from collections.abc import AsyncIterator

import pytest

from compass.client.events import Happened, events

NOTHING = Happened("", "", "")


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (b"id: 7-1\nevent: reset\ndata: {}\n\n", [Happened("7-1", "reset", "{}")]),
        (b"id:7-1\r\nevent:E\r\ndata:x\r\n\r\n", [Happened("7-1", "E", "x")]),
        (b"data: one\ndata: two\n\n", [Happened("", "message", "one\ntwo")]),
        (b":\n\nid: 1\ndata: x\n\n: still here\n\n", [NOTHING, Happened("1", "message", "x"), NOTHING]),
        (b"retry: 10\nunknown\ndata: \xff\n\n", [Happened("", "message", "\ufffd")]),
        (b"id: 1\nevent: E\ndata: x\n\nid: 2\nevent: E\ndata: cut o", [Happened("1", "E", "x")]),
        (b"", []),
    ],
)
async def test_a_stream_is_read(sent: bytes, read: list[Happened]) -> None:
    async def lines() -> AsyncIterator[bytes]:
        for line in sent.splitlines(keepends=True):
            yield line

    assert [one async for one in events(lines())] == read
