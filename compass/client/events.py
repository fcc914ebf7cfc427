"""Server-sent events, as a client reads them. Source: the HTML standard, "Server-sent events"."""

from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Happened:
    """One event of the plane's change feed, or None of it: that the plane is still there."""

    id: str
    """Where to go on: show it when coming back."""
    name: str
    """`reset` when everything is to be read anew; an empty text when nothing happened."""
    data: str


async def events(lines: AsyncIterable[bytes]) -> AsyncGenerator[Happened, None]:
    """The events of a stream; a comment is one without a name. One that was cut off in the middle is left out."""
    fields: dict[str, str] = {}
    async for line in lines:
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if text:
            name, _, value = text.partition(":")
            value = value.removeprefix(" ")
            fields[name] = f"{fields[name]}\n{value}" if name == "data" and "data" in fields else value
        elif "data" in fields:
            yield Happened(fields.get("id", ""), fields.get("event", "message"), fields["data"])
            fields = {}
        else:
            yield Happened("", "", "")
            fields = {}
