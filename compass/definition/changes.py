"""What changed between two definitions, and which of it breaks those who rely on the one before.

The rules, by what a client of the old definition would meet:

    of what it sends      less is taken: a new requirement, a type or value that is accepted no more
    of what it receives   less is given: a property that may be missing, a type or shape it does not know
    of both               an operation, channel or entity set that is gone, a way in that no longer suffices

A value more in what is received breaks nobody here, as new properties do not: clients are to ignore what they do not
know. A definition of more parts than are compared is not called harmless: it is said.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from compass.definition.model import ANYTHING, Content, Definition, Operation, Parameter, Schema

MOST_CHANGES: Final = 1000
MOST_COMPARED: Final = 100_000
"""Schemas, in one comparison: about a second."""
_MOST_DEPTH: Final = 40


class Direction(StrEnum):
    """Who has to bear a difference."""

    SENT = "sent"
    """By the client, to the application."""
    RECEIVED = "received"
    BOTH = "sent and received"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference."""

    sentence: str
    """What happened, with its place: `removed GET /orders/{id}`, `GET /orders: parameter limit is now required`."""
    is_breaking: bool
    place: str = ""
    """The operation or schema it is about; empty for the definition itself."""


def changes(before: Definition, after: Definition) -> list[Change]:
    """The differences, breaking ones first, otherwise in the order of the definitions; at most `MOST_CHANGES`."""
    comparison = _Comparison(before, after)
    found = dict.fromkeys(comparison.all())
    listed = sorted(found, key=lambda change: not change.is_breaking)
    if len(listed) > MOST_CHANGES:
        listed = [*listed[:MOST_CHANGES], Change(f"and {len(listed) - MOST_CHANGES} changes more", is_breaking=False)]
    if comparison.is_cut or before.is_cut or after.is_cut:
        listed.append(Change("not everything was compared: there is too much of it", is_breaking=False))
    return listed


class _Comparison:
    def __init__(self, before: Definition, after: Definition) -> None:
        self._before, self._after = before, after
        self._seen: set[tuple[str, str, Direction]] = set()
        self._left = MOST_COMPARED
        self._waiting: deque[tuple[Schema, Schema, Direction]] = deque()
        """Schemas with a name: compared after the operations, and once, so that a chain of them is no recursion."""
        self.is_cut = False

    def all(self) -> Iterator[Change]:
        before, after = self._before, self._after
        if _family(before) != _family(after):
            yield Change(f"it was {before.standard}, now it is {after.standard}", is_breaking=True)
        for what in ("standard", "title", "version"):
            was, now = getattr(before, what), getattr(after, what)
            if was != now and (what != "standard" or _family(before) == _family(after)):
                yield Change(f"{what} is now {now or 'empty'}, was {was or 'empty'}", is_breaking=False)
        if set(before.servers) != set(after.servers):
            yield Change(f"servers are now {', '.join(after.servers) or 'not named'}", is_breaking=False)
        old_ones, new_ones = _by_shape(before.operations), _by_shape(after.operations)
        for key, old_one in old_ones.items():
            if key in new_ones:
                yield from self._operation(old_one, new_ones[key])
            else:
                yield Change(f"removed {old_one.key}", is_breaking=True, place=old_one.key)
        for key, new_one in new_ones.items():
            if key not in old_ones:
                yield Change(f"added {new_one.key}", is_breaking=False, place=new_one.key)
        while self._waiting:
            old, new, direction = self._waiting.popleft()
            called = new.reference or old.reference
            yield from self._inside(old, new, f"{called} ({direction})", called, direction, 0)

    def _operation(self, old: Operation, new: Operation) -> Iterator[Change]:
        place = new.key
        if old.place != new.place and old.verb.isupper():
            yield Change(f"{old.key}: its path is now written {new.place}", is_breaking=False, place=place)
        if new.is_deprecated and not old.is_deprecated:
            yield Change(f"{place}: is now deprecated", is_breaking=False, place=place)
        if old.summary != new.summary or old.text != new.text:
            yield Change(f"{place}: is described otherwise", is_breaking=False, place=place)
        yield from _ways_in(old, new, place)
        yield from self._parameters(old, new, place)
        yield from self._sent(old.takes, new.takes, place)
        yield from self._given(old, new, place)

    def _parameters(self, old: Operation, new: Operation, place: str) -> Iterator[Change]:
        known, there = _parameters_of(old), _parameters_of(new)
        for key, parameter in known.items():
            called = f"{parameter.place} parameter {parameter.name}"
            if key not in there:
                yield Change(f"{place}: removed {called}", is_breaking=True, place=place)
                continue
            other = there[key]
            if other.is_required and not parameter.is_required:
                yield Change(f"{place}: {called} is now required", is_breaking=True, place=place)
            elif parameter.is_required and not other.is_required:
                yield Change(f"{place}: {called} is no longer required", is_breaking=False, place=place)
            yield from self._schema(parameter.schema, other.schema, f"{place}: {called}", place, Direction.SENT)
        for key, parameter in there.items():
            if key not in known:
                required = "required " if parameter.is_required else ""
                called = f"{required}{parameter.place} parameter {parameter.name}"
                yield Change(f"{place}: added {called}", is_breaking=parameter.is_required, place=place)

    def _sent(self, old: Content | None, new: Content | None, place: str) -> Iterator[Change]:
        if old is None and new is not None:
            required = "required " if new.is_required else ""
            yield Change(f"{place}: added a {required}body", is_breaking=new.is_required, place=place)
        elif new is None and old is not None:
            yield Change(f"{place}: removed the body", is_breaking=True, place=place)
        elif old is not None and new is not None:
            if new.is_required and not old.is_required:
                yield Change(f"{place}: the body is now required", is_breaking=True, place=place)
            yield from self._content(old, new, f"{place}: body", place, Direction.SENT)

    def _given(self, old: Operation, new: Operation, place: str) -> Iterator[Change]:
        word, direction = _told(new.verb)
        known = {content.name: content for content in old.gives}
        there = {content.name: content for content in new.gives}
        for called, content in known.items():
            if called in there:
                yield from self._content(content, there[called], f"{place}: {word} {called}", place, direction)
            else:
                yield Change(f"{place}: removed {word} {called}", is_breaking=True, place=place)
        for called in there:
            if called not in known:
                yield Change(f"{place}: added {word} {called}", is_breaking=False, place=place)

    def _content(self, old: Content, new: Content, called: str, place: str, direction: Direction) -> Iterator[Change]:
        for kind, schema in old.types.items():
            if kind in new.types:
                within = called if len(new.types) == 1 else f"{called} ({kind})"
                yield from self._schema(schema, new.types[kind], within, place, direction)
            else:
                yield Change(f"{called}: removed {kind}", is_breaking=True, place=place)
        for kind in new.types:
            if kind not in old.types:
                # A client that was told nothing of the content relies on nothing in it.
                yield Change(f"{called}: added {kind}", is_breaking=False, place=place)

    def _schema(
        self, old: Schema, new: Schema, called: str, place: str, direction: Direction, depth: int = 0
    ) -> Iterator[Change]:
        self._left -= 1
        if self._left < 0 or depth > _MOST_DEPTH:
            self.is_cut = True
            return
        if old.reference or new.reference:
            # Said once, of the schema, however many operations have it.
            pair = (old.reference or called, new.reference or called, direction)
            if pair not in self._seen:
                self._seen.add(pair)
                self._waiting.append((old, new, direction))
            return
        yield from self._inside(old, new, called, place, direction, depth)

    def _inside(
        self, old: Schema, new: Schema, called: str, place: str, direction: Direction, depth: int
    ) -> Iterator[Change]:
        old, new = _whole(self._before, old), _whole(self._after, new)
        yield from _value(old, new, called, place, direction)
        yield from self._members(old, new, called, place, direction, depth)
        if (old.items is not None or new.items is not None) and old.type == new.type:
            old_items, new_items = old.items or ANYTHING, new.items or ANYTHING
            yield from self._schema(old_items, new_items, f"{called}: each item", place, direction, depth + 1)
        if old.values is not None and new.values is not None:
            yield from self._schema(old.values, new.values, f"{called}: each value", place, direction, depth + 1)
        yield from self._choices(old, new, called, place, direction, depth)

    def _members(
        self, old: Schema, new: Schema, called: str, place: str, direction: Direction, depth: int
    ) -> Iterator[Change]:
        is_sent, is_received = direction is not Direction.RECEIVED, direction is not Direction.SENT
        for key, schema in old.properties.items():
            within = f"{called}: property {key}"
            if key not in new.properties:
                yield Change(f"{called}: removed property {key}", is_breaking=True, place=place)
                continue
            was, now = key in old.required, key in new.required
            if now and not was:
                yield Change(f"{within} is now required", is_breaking=is_sent, place=place)
            elif was and not now:
                yield Change(f"{within} is no longer required", is_breaking=is_received, place=place)
            yield from self._schema(schema, new.properties[key], within, place, direction, depth + 1)
        for key in new.properties:
            if key not in old.properties:
                needed = key in new.required
                required = "required " if needed else ""
                yield Change(f"{called}: added {required}property {key}", is_breaking=needed and is_sent, place=place)

    def _choices(
        self, old: Schema, new: Schema, called: str, place: str, direction: Direction, depth: int
    ) -> Iterator[Change]:
        was, now = _chosen(old), _chosen(new)
        is_sent = direction is not Direction.RECEIVED
        for key, schema in was.items():
            if key in now:
                yield from self._schema(schema, now[key], f"{called}: {key}", place, direction, depth + 1)
            else:
                is_breaking = is_sent and not _is_any(new)
                yield Change(f"{called}: removed alternative {key}", is_breaking=is_breaking, place=place)
        # Where anything was taken, the alternatives are all that is taken now.
        is_breaking = is_sent and not was and _is_any(old)
        for key in now:
            if key not in was:
                yield Change(f"{called}: added alternative {key}", is_breaking=is_breaking, place=place)


def _family(definition: Definition) -> str:
    return definition.standard.partition(" ")[0]


def _by_shape(operations: tuple[Operation, ...]) -> Mapping[tuple[str, str], Operation]:
    """By verb and place, however a path calls its parameters."""
    found: dict[tuple[str, str], Operation] = {}
    for operation in operations:
        shape = operation.place
        if operation.verb.isupper():
            shape = "/".join("{}" if piece[:1] == "{" and piece[-1:] == "}" else piece for piece in shape.split("/"))
        found.setdefault((operation.verb, shape), operation)
    return found


def _parameters_of(operation: Operation) -> Mapping[tuple[str, str], Parameter]:
    """By place and name; those in a path by their position there, because nobody sends their names."""
    names = [piece[1:-1] for piece in operation.place.split("/") if piece[:1] == "{" and piece[-1:] == "}"]
    found: dict[tuple[str, str], Parameter] = {}
    for parameter in operation.parameters:
        key = parameter.name
        if parameter.place == "path" and key in names:
            key = f"#{names.index(key)}"
        elif parameter.place == "header":
            key = key.lower()
        found[parameter.place, key] = parameter
    return found


def _told(verb: str) -> tuple[str, Direction]:
    """What an operation gives is called, and who has to bear it: clients publish, and receive what is sent."""
    match verb:
        case "publish" | "receive":
            return "message", Direction.SENT
        case "subscribe" | "send":
            return "message", Direction.RECEIVED
        case "channel":
            return "message", Direction.BOTH
        case "entity set" | "singleton":
            return "its", Direction.BOTH
        case _:
            return "answer", Direction.RECEIVED


def _ways_in(old: Operation, new: Operation, place: str) -> Iterator[Change]:
    """Breaking unless whoever had a way in still has what it takes."""
    if old.security == new.security:
        return
    open_way = frozenset({frozenset[str]()})
    before, after = old.security or open_way, new.security or open_way
    lost = [way for way in before if not any(other <= way for other in after)]
    wanted = " or ".join(sorted(" and ".join(sorted(way)) or "nothing" for way in after))
    if lost and any(not way for way in lost):
        yield Change(f"{place}: now requires security: {wanted}", is_breaking=True, place=place)
    elif lost:
        yield Change(f"{place}: security is now {wanted}", is_breaking=True, place=place)
    else:
        yield Change(f"{place}: security is now {wanted}", is_breaking=False, place=place)


def _whole(definition: Definition, schema: Schema) -> Schema:
    """The schema itself, with all parts that it is made of; one that is made of itself is taken once."""
    seen = set[str]()
    pending, flat = [schema], list[Schema]()
    while pending and len(flat) < _MOST_DEPTH:
        one = pending.pop(0)
        if one.reference:
            if one.reference in seen:
                continue
            seen.add(one.reference)
            one = definition.found(one)
        flat.append(one)
        pending += one.parts
    if len(flat) == 1:
        return flat[0]
    return Schema(
        type=next((one.type for one in flat if one.type), ""),
        format=next((one.format for one in flat if one.format), ""),
        enum=next((one.enum for one in flat if one.enum), ()),
        required=frozenset[str]().union(*(one.required for one in flat)),
        properties={key: value for one in reversed(flat) for key, value in one.properties.items()},
        items=next((one.items for one in flat if one.items is not None), None),
        values=next((one.values for one in flat if one.values is not None), None),
        choices=tuple(choice for one in flat for choice in one.choices),
        is_deprecated=any(one.is_deprecated for one in flat),
    )


def _value(old: Schema, new: Schema, called: str, place: str, direction: Direction) -> Iterator[Change]:
    """What a single value may be."""
    was, now = set(old.type.split("|")) - {""}, set(new.type.split("|")) - {""}
    if was != now:
        less, more = _is_less(was, now), _is_less(now, was)
        is_breaking = (less and direction is not Direction.RECEIVED) or (more and direction is not Direction.SENT)
        sentence = f"{called}: type is now {new.type or 'anything'}, was {old.type or 'anything'}"
        yield Change(sentence, is_breaking=is_breaking, place=place)
    elif old.format != new.format:
        sentence = f"{called}: format is now {new.format or 'any'}, was {old.format or 'any'}"
        yield Change(sentence, is_breaking=bool(old.format and new.format), place=place)
    if old.enum != new.enum and set(old.enum) != set(new.enum):
        gone = [value for value in old.enum if value not in set(new.enum)] if new.enum else []
        fresh = [value for value in new.enum if value not in set(old.enum)] if old.enum else []
        if not old.enum:
            listed = ", ".join(new.enum)[:200]
            yield Change(f"{called}: only {listed} now", is_breaking=direction is not Direction.RECEIVED, place=place)
        elif not new.enum:
            yield Change(f"{called}: any value now", is_breaking=False, place=place)
        if gone:
            sentence = f"{called}: removed value {', '.join(gone)[:200]}"
            yield Change(sentence, is_breaking=direction is not Direction.RECEIVED, place=place)
        if fresh:
            yield Change(f"{called}: added value {', '.join(fresh)[:200]}", is_breaking=False, place=place)
    if new.is_deprecated and not old.is_deprecated:
        yield Change(f"{called}: is now deprecated", is_breaking=False, place=place)


def _is_less(was: set[str], now: set[str]) -> bool:
    """Whether some value of the first is none of the second. No types at all are all of them."""
    taken = now | {"integer"} if "number" in now else now
    return bool(now) and not (was and was <= taken)


def _is_any(schema: Schema) -> bool:
    return not (schema.type or schema.properties or schema.enum or schema.items or schema.choices)


def _chosen(schema: Schema) -> dict[str, Schema]:
    """Alternatives by the name they have, or by their type and number."""
    found: dict[str, Schema] = {}
    for number, choice in enumerate(schema.choices):
        found.setdefault(choice.reference or f"{choice.type or 'anything'} {number + 1}", choice)
    return found
