"""Names that a schema's nouns had in older clients: bundles were packages once.

A document that uses them is written anew before it is parsed for good: a field gets its old name as alias, so that the
answer has the keys that the client expects; types, arguments, and keys of inputs are renamed. Only names are touched,
never texts, labels, or what the client itself named. `__typename` answers today's names. Beside `compass.reads`, the
one module that reads the syntax tree. Source: contract/director.md §6, "Compatibility rewriting".
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import graphql
from graphql import language as syntax

from compass.reads.document import Schema
from compass.reads.kept import Kept
from compass.reads.limits import LIMITS, DocumentTooCostly, check, check_text

_MENTIONED: Final = "ackage"
"""In every old name, whether it begins one or not."""
_LONGEST: Final = 200_000
"""Characters of a document that is looked at; the longest of the original's clients has 23,000."""
_Edit = tuple[int, int, str]
"""From where to where, and what is written there instead."""


@dataclass(frozen=True)
class _Rewritten:
    text: str
    kinds: Mapping[str, Any]
    """The types of the variables, by name."""


class OldNames:
    """The old names of one schema."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._known: Kept[str, _Rewritten] = Kept()
        today = set(_names(schema.graphql))
        # A name that is in use today keeps its meaning.
        self._new = {old: name for name in today if (old := _as_it_was(name)) != name and old not in today}

    def rewritten(self, text: str, variables: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        """The document and its variables with today's names. Both unchanged when the document has no old name in it.

        What cannot be parsed is left as it is: whoever answers it says what is wrong.
        """
        if not self._new or len(text) > _LONGEST or _MENTIONED not in text:
            return text, variables
        known = self._known.get(text)
        if known is None:
            known = self._rewrite(text)
            self._known.keep(text, known, len(text))
        if known.text == text:
            return text, variables
        return known.text, {name: self._renamed(known.kinds.get(name), value) for name, value in variables.items()}

    def _rewrite(self, text: str) -> "_Rewritten":
        # Names first: only then do the types of arguments say which keys are those of an input.
        renamed = self._edited(self._edited(text, self._names_of), self._keys_of)
        document = _parsed(renamed) if renamed != text else None
        return _Rewritten(
            renamed,
            {
                declared.variable.name.value: graphql.type_from_ast(self._schema.graphql, declared.type)
                for node in (document.definitions if document is not None else ())
                if isinstance(node, syntax.OperationDefinitionNode)
                for declared in node.variable_definitions or ()
            },
        )

    def _edited(self, text: str, edits_of: Callable[[syntax.DocumentNode], Iterable[_Edit]]) -> str:
        document = _parsed(text)
        if document is None:
            return text
        pieces: list[str] = []
        end = 0
        for start, stop, written in sorted(edits_of(document)):
            pieces += [text[end:start], written]
            end = stop
        return "".join([*pieces, text[end:]])

    def _names_of(self, document: syntax.DocumentNode) -> Iterator[_Edit]:
        """Where fields, arguments and types have old names, and what to write there."""
        for node in _walk(document):
            match node:
                case syntax.FieldNode(name=name) | syntax.ArgumentNode(name=name) | syntax.NamedTypeNode(name=name):
                    pass
                case _:
                    continue
            new = self._new.get(name.value)
            if new is not None and name.loc is not None:
                aliased = isinstance(node, syntax.FieldNode) and node.alias is None
                yield name.loc.start, name.loc.end, f"{name.value}: {new}" if aliased else new

    def _keys_of(self, document: syntax.DocumentNode) -> Iterator[_Edit]:
        """Where the input objects written in a document have old keys; their types tell keys from labels."""
        info, found = graphql.TypeInfo(self._schema.graphql), []
        new_names = self._new

        class Reader(syntax.Visitor):
            def enter_object_field(self, node: syntax.ObjectFieldNode, *_: Any) -> None:
                kind = graphql.get_named_type(info.get_parent_input_type())
                new = _key(kind, node.name.value, new_names)
                if new != node.name.value and node.name.loc is not None:
                    found.append((node.name.loc.start, node.name.loc.end, new))

        syntax.visit(document, graphql.TypeInfoVisitor(info, Reader()))
        yield from found

    def _renamed(self, kind: Any, value: Any) -> Any:
        """A variable's value with today's keys, as far as its type says that they are keys of an input."""
        if isinstance(value, list):
            return [self._object(graphql.get_named_type(kind), entry) for entry in value]
        return self._object(graphql.get_named_type(kind), value)

    def _object(self, kind: Any, value: Any) -> Any:
        if not isinstance(value, dict) or not isinstance(kind, graphql.GraphQLInputObjectType):
            return value
        renamed = {}
        for key, entry in value.items():
            name = _key(kind, key, self._new)
            below = kind.fields.get(name)
            renamed[name] = entry if below is None else self._renamed(below.type, entry)
        return renamed


def _key(kind: Any, key: str, new_names: Mapping[str, str]) -> str:
    """The key of an input type that a key meant, old or not."""
    new = new_names.get(key, key)
    known = isinstance(kind, graphql.GraphQLInputObjectType) and key not in kind.fields and new in kind.fields
    return new if known else key


def _as_it_was(name: str) -> str:
    return name.replace("Bundle", "Package").replace("bundle", "package")


def _names(schema: graphql.GraphQLSchema) -> Iterator[str]:
    """Every name of the schema."""
    for type_name, kind in schema.type_map.items():
        yield type_name
        match kind:
            case graphql.GraphQLObjectType() | graphql.GraphQLInterfaceType():
                for name, definition in kind.fields.items():
                    yield name
                    yield from definition.args
            case graphql.GraphQLInputObjectType():
                yield from kind.fields


def _parsed(text: str) -> syntax.DocumentNode | None:
    """The syntax of a document within the limits of any document; None for anything else."""
    try:
        check_text(text)
        document = graphql.parse(text, max_tokens=LIMITS.tokens)
        check(document, LIMITS)
    except (graphql.GraphQLError, DocumentTooCostly, RecursionError):
        return None
    return document


def _walk(document: syntax.DocumentNode) -> Iterator[syntax.Node]:
    """Every node, without recursion: values may be nested deeply."""
    waiting: list[syntax.Node] = [document]
    while waiting:
        node = waiting.pop()
        yield node
        for key in node.keys:
            value = getattr(node, key, None)
            if isinstance(value, syntax.Node) and not isinstance(value, syntax.NameNode):
                waiting.append(value)
            elif isinstance(value, list | tuple):
                waiting += [entry for entry in value if isinstance(entry, syntax.Node)]
