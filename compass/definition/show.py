"""A definition as text, for a terminal."""

from collections.abc import Iterator
from typing import Final

from compass.definition.model import Content, Definition, Operation, Schema

_MOST_DEPTH: Final = 6
MOST_LINES: Final = 20_000


def lines(definition: Definition) -> Iterator[str]:
    """The definition in lines: what it is, its operations, its schemas. At most `MOST_LINES`."""
    for number, line in enumerate(_lines(definition)):
        if number == MOST_LINES:
            yield "…"
            return
        yield line


def _lines(definition: Definition) -> Iterator[str]:
    yield " ".join(part for part in (definition.title or "Untitled", definition.version) if part)
    yield f"{definition.standard}, {count(definition)}"
    yield from (f"at {server}" for server in definition.servers)
    yield from _paragraph(definition.text, "")
    for operation in definition.operations:
        yield ""
        yield from _operation(operation)
    if definition.schemas:
        yield ""
        yield "Schemas"
    for called, schema in definition.schemas.items():
        yield ""
        yield f"  {called}: {kind(schema)}"
        yield from _paragraph(schema.text, "    ")
        yield from _members(schema, "    ")
    if definition.is_cut:
        yield ""
        yield "There is more, which is not shown."


def count(definition: Definition) -> str:
    """How many operations or channels there are, in words."""
    has_channels = definition.standard.startswith("AsyncAPI")
    word = "channel" if has_channels else "operation"
    number = len({one.place for one in definition.operations}) if has_channels else len(definition.operations)
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def _operation(operation: Operation) -> Iterator[str]:
    marks = " (deprecated)" if operation.is_deprecated else ""
    yield f"{operation.key}{marks}"
    yield from _paragraph(operation.summary, "  ")
    if operation.text != operation.summary:
        yield from _paragraph(operation.text, "  ")
    if operation.security and frozenset() not in operation.security:
        ways = sorted(" and ".join(sorted(way)) for way in operation.security)
        yield f"  needs {' or '.join(ways)}"
    for parameter in operation.parameters:
        required = ", required" if parameter.is_required else ""
        yield f"  {parameter.place} {parameter.name}: {kind(parameter.schema)}{required}"
        yield from _paragraph(parameter.text, "    ")
    if operation.takes is not None:
        yield from _content("takes", operation.takes)
    for content in operation.gives:
        yield from _content("gives", content)


def _content(word: str, content: Content) -> Iterator[str]:
    required = ", required" if content.is_required else ""
    yield f"  {word} {content.name}{required}"
    yield from _paragraph(content.text, "    ")
    for media, schema in content.types.items():
        yield f"    {media}: {kind(schema)}"
        yield from _members(schema, "      ")


def kind(schema: Schema, depth: int = 0) -> str:
    """What a value is, in a few words: `array of Order`, `string (date)`, `one of a, b`."""
    if schema.reference:
        return schema.reference
    if depth > _MOST_DEPTH:
        return "…"
    if schema.enum:
        return f"one of {', '.join(schema.enum)}"[:300]
    if schema.items is not None:
        return f"array of {kind(schema.items, depth + 1)}"
    if schema.choices:
        return " or ".join(kind(choice, depth + 1) for choice in schema.choices[:5])[:300]
    if schema.parts:
        return " with ".join(kind(part, depth + 1) for part in schema.parts[:5])[:300]
    base = schema.type.replace("|", " or ") or "anything"
    if schema.values is not None:
        return f"{base} of {kind(schema.values, depth + 1)}"
    return f"{base} ({schema.format})" if schema.format else base


def _members(schema: Schema, indent: str, depth: int = 0) -> Iterator[str]:
    if depth > _MOST_DEPTH:
        return
    for key, inner in schema.properties.items():
        required = ", required" if key in schema.required else ""
        deprecated = ", deprecated" if inner.is_deprecated else ""
        yield f"{indent}{key}: {kind(inner)}{required}{deprecated}"
        yield from _members(inner, f"{indent}  ", depth + 1)
    for inner in (*schema.parts, *schema.choices):
        yield from _members(inner, indent, depth + 1)
    if schema.items is not None:
        yield from _members(schema.items, f"{indent}  ", depth + 1)


def _paragraph(text: str, indent: str) -> Iterator[str]:
    for line in text.splitlines():
        yield f"{indent}{line}".rstrip()
