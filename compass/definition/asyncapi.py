"""AsyncAPI documents. Source: AsyncAPI 1, 2 and 3."""

from collections.abc import Iterator
from typing import Any, Final

from compass.definition.model import ANYTHING, Content, Definition, Operation, Parameter
from compass.definition.openapi import described, security
from compass.definition.schemas import MOST_NAME, Map, Reader, mapping, name, sequence, text

_VERBS: Final = ("publish", "subscribe")


def read(document: Map) -> Definition:
    """The model of an AsyncAPI document, however little of one it is."""
    reader = Reader(document)
    standard = name(document.get("asyncapi"))
    found = _third(reader) if standard.startswith("3") else _channels(reader)
    return described(reader, f"AsyncAPI {standard}", _servers(document), found)


def _servers(document: Map) -> Iterator[str]:
    servers = document.get("servers")
    for server in (list(servers.values()) if isinstance(servers, dict) else sequence(servers))[:20]:
        yield name(mapping(server).get("url") or mapping(server).get("host"))


def _channels(reader: Reader) -> Iterator[Operation]:
    """Of versions 1 and 2, whose channels say themselves what is done in them."""
    base = name(reader.document.get("baseTopic"))
    given = reader.document.get("channels") or reader.document.get("topics")
    for key, value in reader.each(given):
        place = f"{base}.{key}" if base else key
        channel = reader.followed(value)
        parameters = tuple(_parameters(reader, channel))
        said = [verb for verb in _VERBS if isinstance(channel.get(verb), dict)]
        for verb in said:
            action = mapping(channel[verb])
            # In version 1 the action is the message.
            message = action.get("message", action if "payload" in action or "$ref" in action else None)
            yield _operation(verb, place, action, parameters, _messages(reader, message), channel)
        if not said:
            yield _operation("channel", place, {}, parameters, (), channel)


def _third(reader: Reader) -> Iterator[Operation]:
    """Of version 3, whose operations name the channels they are done in."""
    channels = {key: reader.followed(value) for key, value in reader.each(reader.document.get("channels"))}
    used = set[str]()
    for key, value in reader.each(reader.document.get("operations")):
        operation = reader.followed(value)
        reference = mapping(operation.get("channel")).get("$ref")
        which = (
            name(reference.rpartition("/")[2].replace("~1", "/").replace("~0", "~"))
            if isinstance(reference, str)
            else ""
        )
        used.add(which)
        channel = channels.get(which, {})
        chosen = operation.get("messages")
        messages = tuple(_listed(reader, _unnamed(chosen) if chosen else _named(channel.get("messages"))))
        place = name(channel.get("address")) or which
        verb = name(operation.get("action")) or "channel"
        yield _operation(verb, place, operation, tuple(_parameters(reader, channel)), messages, channel, key)
    for which, channel in channels.items():
        if which not in used and reader.spend():
            messages = tuple(_listed(reader, _named(channel.get("messages"))))
            place = name(channel.get("address")) or which
            yield _operation("channel", place, {}, tuple(_parameters(reader, channel)), messages, channel)


def _operation(
    verb: str,
    place: str,
    given: Map,
    parameters: tuple[Parameter, ...],
    messages: tuple[Content, ...],
    channel: Map,
    called: str = "",
) -> Operation:
    return Operation(
        verb=verb,
        place=place,
        name=name(given.get("operationId")) or called,
        summary=name(given.get("summary")) or name(given.get("title")) or name(channel.get("description")),
        text=text(given.get("description")),
        tags=tuple(name(mapping(each).get("name")) for each in sequence(given.get("tags"))[:20]),
        parameters=parameters,
        gives=messages,
        security=security([each for each in sequence(given.get("security")) if "$ref" not in mapping(each)]),
    )


def _parameters(reader: Reader, channel: Map) -> Iterator[Parameter]:
    given = channel.get("parameters")
    listed = given if isinstance(given, dict) else {name(mapping(each).get("name")): each for each in sequence(given)}
    for key, value in reader.each(listed):
        found = reader.followed(value)
        schema = reader.schema(found["schema"]) if "schema" in found else ANYTHING
        yield Parameter(key, "path", schema, is_required=True, text=text(found.get("description"), MOST_NAME))


def _messages(reader: Reader, given: Any) -> tuple[Content, ...]:
    several = sequence(mapping(given).get("oneOf")) or ([given] if isinstance(given, dict) else [])
    return tuple(_listed(reader, _unnamed(several)))


def _named(given: Any) -> list[tuple[str, Any]]:
    """The messages of a channel by the names they have there."""
    return [(name(key), value) for key, value in sequence(list(mapping(given).items()))]


def _unnamed(given: Any) -> list[tuple[str, Any]]:
    return [("", value) for value in sequence(given)]


def _listed(reader: Reader, given: list[tuple[str, Any]]) -> Iterator[Content]:
    for number, (key, each) in enumerate(given):
        reference = mapping(each).get("$ref")
        found = reader.followed(each)
        if not reader.spend():
            return
        last = name(reference.rpartition("/")[2]) if isinstance(reference, str) else ""
        called = name(found.get("name")) or key or last or name(found.get("title")) or f"message {number + 1}"
        types = {part: reader.schema(_inner(found[part])) for part in ("headers", "payload") if part in found}
        yield Content(called, text(found.get("summary") or found.get("description")), types)


def _inner(given: Any) -> Any:
    """A schema, which version 3 may wrap together with the name of its language."""
    return given["schema"] if isinstance(given, dict) and "schemaFormat" in given and "schema" in given else given
