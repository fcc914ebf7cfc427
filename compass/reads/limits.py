"""What a document may cost, decided before it is paid. With `document.py` the module that reads the syntax tree.

The figures leave room for every query that the original's clients send (at most 23 KB, depth 13, 1,421 tokens,
672 fields) and stop those that are written to hurt. Source: design/guarantees.md A17.
"""

from dataclasses import dataclass

from graphql import language as syntax

from compass.errors import InvalidData


@dataclass(frozen=True)
class DocumentLimits:
    """Upper bounds on one document."""

    depth: int = 30
    """Nested selections, fragments included."""
    fields: int = 5_000
    """Fields after every fragment has been put in its places."""
    directives: int = 200
    root_mutations: int = 20


class DocumentTooCostly(InvalidData):
    """The document asks for more than the plane answers in one request."""


def check(document: syntax.DocumentNode, limits: DocumentLimits) -> None:
    """Raises DocumentTooCostly. Time and memory are linear in the document, whatever its fragments multiply to."""
    fragments = {
        node.name.value: node for node in document.definitions if isinstance(node, syntax.FragmentDefinitionNode)
    }
    costs: dict[str, tuple[int, int]] = {}
    directives = 0
    for name in _leaves_first(fragments):
        costs[name] = _cost(fragments[name].selection_set, costs)
    for node in document.definitions:
        if isinstance(node, syntax.OperationDefinitionNode):
            fields, depth = _cost(node.selection_set, costs)
            _at_most(limits.fields, fields, "fields")
            _at_most(limits.depth, depth, "levels of nesting")
            if node.operation is syntax.OperationType.MUTATION:
                _at_most(limits.root_mutations, len(node.selection_set.selections), "mutations")
        if isinstance(node, syntax.ExecutableDefinitionNode):
            directives += _directives(node.selection_set)
    _at_most(limits.directives, directives, "directives")


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


def _directives(top: syntax.SelectionSetNode) -> int:
    count = 0
    waiting = [top]
    while waiting:
        for node in waiting.pop().selections:
            count += len(node.directives or ())
            if isinstance(node, syntax.FieldNode | syntax.InlineFragmentNode) and node.selection_set is not None:
                waiting.append(node.selection_set)
    return count
