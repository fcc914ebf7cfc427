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


class Reader:
    """Puts the lines of a stream together. An event that was cut off in the middle is left out."""

    def __init__(self) -> None:
        self._fields: dict[str, str] = {}

    def take(self, line: bytes) -> Happened | None:
        """What this line completes, if it does; a comment completes one without a name."""
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if text:
            name, _, value = text.partition(":")
            value = value.removeprefix(" ")
            known = self._fields.get("data") if name == "data" else None
            self._fields[name] = value if known is None else f"{known}\n{value}"
            return None
        fields, self._fields = self._fields, {}
        if "data" in fields:
            return Happened(fields.get("id", ""), fields.get("event", "message"), fields["data"])
        return Happened("", "", "")


async def events(lines: AsyncIterable[bytes]) -> AsyncGenerator[Happened, None]:
    """The events of a stream, as `Reader` has them."""
    reader = Reader()
    async for line in lines:
        if (happened := reader.take(line)) is not None:
            yield happened
