"""What a document may cost, decided before it is paid. With `document.py` the module that reads the syntax tree.

The figures leave room for every query that the original's clients send (at most 23 KB, depth 13, 1,421 tokens,
672 fields, one alias) and stop those that are written to hurt: what reads a document takes time that grows with the
square of some of these numbers. Source: design/guarantees.md A17.
"""

import re
from dataclasses import dataclass
from typing import Final

from graphql import language as syntax

from compass.errors import InvalidData


@dataclass(frozen=True)
class DocumentLimits:
    """Upper bounds on one document."""

    characters: int = 2 * 1024 * 1024
    """The whole text. It may hold the specification of an API; larger ones are sent as variables, which are not read
    character by character."""
    besides_texts: int = 128 * 1024
    """The characters that are no literal text."""
    tokens: int = 10_000
    depth: int = 30
    """Nested selections, fragments included."""
    fields: int = 2_000
    """Fields after every fragment has been put in its places."""
    aliases: int = 500
    roots: int = 100
    """Fields at the top of one operation: each is a query of its own."""
    fragments: int = 100
    spreads: int = 500
    """Places where a fragment is put, inline ones included."""
    operations: int = 50
    variables: int = 500
    """Declared, in all operations."""
    directives: int = 200
    root_mutations: int = 20


class DocumentTooCostly(InvalidData):
    """The document asks for more than the plane answers in one request."""


LIMITS: Final = DocumentLimits()
_TEXTS: Final = re.compile(r'"""(?:[^"\\]++|\\.|"(?!""))*+"""|"(?:[^"\\\n]++|\\.)*+"|#[^\n]*+', re.DOTALL)
"""Literal texts, and comments, in which a quotation mark begins none."""


def check_text(text: str, limits: DocumentLimits = LIMITS) -> None:
    """Before it is read at all. Raises DocumentTooCostly."""
    _at_most(limits.characters, len(text), "characters")
    if len(text) <= limits.besides_texts:
        return
    besides = len(text)
    for number, found in enumerate(_TEXTS.finditer(text)):
        _at_most(limits.tokens, number, "tokens")
        if text[found.start()] == '"':
            besides -= found.end() - found.start()
    _at_most(limits.besides_texts, besides, "characters besides its literal texts")


def check(document: syntax.DocumentNode, limits: DocumentLimits) -> None:
    """Raises DocumentTooCostly. Time and memory are linear in the document, whatever its fragments multiply to."""
    fragments = {
        node.name.value: node for node in document.definitions if isinstance(node, syntax.FragmentDefinitionNode)
    }
    costs: dict[str, tuple[int, int]] = {}
    for name in _leaves_first(fragments):
        costs[name] = _cost(fragments[name].selection_set, costs)
    operations = [node for node in document.definitions if isinstance(node, syntax.OperationDefinitionNode)]
    _at_most(limits.fragments, len(fragments), "fragments")
    _at_most(limits.operations, len(operations), "operations")
    _at_most(limits.variables, sum(len(node.variable_definitions or ()) for node in operations), "variables")
    for node in operations:
        fields, depth = _cost(node.selection_set, costs)
        _at_most(limits.fields, fields, "fields")
        _at_most(limits.depth, depth, "levels of nesting")
        _at_most(limits.roots, len(node.selection_set.selections), "fields at its top")
        if node.operation is syntax.OperationType.MUTATION:
            _at_most(limits.root_mutations, len(node.selection_set.selections), "mutations")
    _check_written(document, limits)


def limit_acts(roots: int) -> None:
    """Refuse more root fields than may act in one request, be they mutations or queries. Raises DocumentTooCostly."""
    _at_most(LIMITS.root_mutations, roots, "root fields that act")


def _at_most(limit: int, found: int, what: str) -> None:
    if found > limit:
        raise DocumentTooCostly(reason=f"the document has {found} {what}, at most {limit} are answered in one request")


def _cost(top: syntax.SelectionSetNode, fragments: dict[str, tuple[int, int]]) -> tuple[int, int]:
    """Fields and depth of a selection. Iterative: a hostile document must not exhaust the stack."""
    fields = deepest = 0
    waiting = [(top, 1)]
    while waiting:
        chosen, depth = waiting.pop()
        deepest = max(deepest, depth)
        for node in chosen.selections:
            match node:
                case syntax.FieldNode():
                    fields += 1
                    if node.selection_set is not None:
                        waiting.append((node.selection_set, depth + 1))
                case syntax.InlineFragmentNode():
                    waiting.append((node.selection_set, depth))
                case syntax.FragmentSpreadNode():
                    more, below = fragments.get(node.name.value, (0, 0))
                    fields += more
                    # A fragment's own first level is this one.
                    deepest = max(deepest, depth + below - 1)
    return fields, deepest


def _leaves_first(fragments: dict[str, syntax.FragmentDefinitionNode]) -> list[str]:
    """Fragment names, each after those it uses; what lies on a cycle is left to validation, which refuses it."""
    uses = {name: _spreads(node.selection_set) & fragments.keys() for name, node in fragments.items()}
    ordered: list[str] = []
    ready = [name for name, used in uses.items() if not used]
    users: dict[str, list[str]] = {}
    for name, used in uses.items():
        for other in used:
            users.setdefault(other, []).append(name)
    missing = {name: len(used) for name, used in uses.items()}
    while ready:
        name = ready.pop()
        ordered.append(name)
        for user in users.get(name, ()):
            missing[user] -= 1
            if not missing[user]:
                ready.append(user)
    return ordered


def _spreads(top: syntax.SelectionSetNode) -> set[str]:
    found: set[str] = set()
    waiting = [top]
    while waiting:
        for node in waiting.pop().selections:
            if isinstance(node, syntax.FragmentSpreadNode):
                found.add(node.name.value)
            elif isinstance(node, syntax.FieldNode | syntax.InlineFragmentNode) and node.selection_set is not None:
                waiting.append(node.selection_set)
    return found


def _check_written(document: syntax.DocumentNode, limits: DocumentLimits) -> None:
    """What costs where it is written, however often it is used."""
    directives = aliases = spreads = 0
    waiting = [node.selection_set for node in document.definitions if isinstance(node, syntax.ExecutableDefinitionNode)]
    while waiting:
        for node in waiting.pop().selections:
            directives += len(node.directives or ())
            if isinstance(node, syntax.FieldNode):
                aliases += node.alias is not None
            else:
                spreads += 1
            if isinstance(node, syntax.FieldNode | syntax.InlineFragmentNode) and node.selection_set is not None:
                waiting.append(node.selection_set)
    _at_most(limits.directives, directives, "directives")
    _at_most(limits.aliases, aliases, "aliases")
    _at_most(limits.spreads, spreads, "places for fragments")
