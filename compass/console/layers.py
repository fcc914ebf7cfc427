"""The picture of a landscape: applications, groups and runtimes in three layers, with few crossings. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

ROW: Final = 46
"""Pixels from one node to the next below it."""
COLUMN: Final = 380
"""Pixels from one layer to the next."""
WIDTH: Final = 220
HEIGHT: Final = 34
MARGIN: Final = 24
SHORT: Final = 26
"""Characters of a name that fit into a box."""
_SWEEPS: Final = 4
"""More change nothing that anybody sees."""


@dataclass(frozen=True)
class Node:
    """One box."""

    id: str
    name: str
    kind: str
    """`application`, `group` or `runtime`."""
    state: str
    path: str
    x: float = 0
    y: float = 0
    why: str = ""
    """What is wrong with it, in a sentence."""
    part: str = ""
    """Of the picture, that it leads to: the id of what is around; itself when empty."""


@dataclass(frozen=True)
class Edge:
    """One line, from the right of a box to the left of another."""

    begin: Node
    end: Node

    @property
    def curve(self) -> str:
        """As the data of an SVG path."""
        x1, y1 = self.begin.x + WIDTH, self.begin.y + HEIGHT / 2
        x2, y2 = self.end.x, self.end.y + HEIGHT / 2
        middle = (x1 + x2) / 2
        return f"M{x1:g} {y1:g}C{middle:g} {y1:g} {middle:g} {y2:g} {x2:g} {y2:g}"


@dataclass(frozen=True)
class Picture:
    """Nodes at their places, and lines."""

    nodes: Sequence[Node]
    edges: Sequence[Edge]
    width: int
    height: int


def lay_out(layers: Sequence[Sequence[Node]], edges: Sequence[tuple[str, str]]) -> Picture:
    """Place the nodes: the layers side by side, in each the order that crosses few lines.

    `edges` are pairs of ids, each from a layer to a later one. The same input gives the same picture.
    """
    neighbours: dict[str, list[str]] = {}
    for first, second in edges:
        neighbours.setdefault(first, []).append(second)
        neighbours.setdefault(second, []).append(first)
    ordered = [sorted(layer, key=lambda node: (node.name.lower(), node.id)) for layer in layers]
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        numbers = range(1, len(ordered)) if forward else range(len(ordered) - 2, -1, -1)
        for number in numbers:
            fixed = ordered[number - 1 if forward else number + 1]
            ordered[number] = _by_neighbours(ordered[number], fixed, neighbours)
    tallest = max((len(layer) for layer in ordered), default=0)
    height = max(tallest * ROW, ROW)
    placed: dict[str, Node] = {}
    for column, layer in enumerate(ordered):
        # Few nodes beside many are spread, so that their lines stay short.
        gap = height / max(len(layer), 1)
        for row, node in enumerate(layer):
            y = MARGIN + gap * row + (gap - HEIGHT) / 2
            placed[node.id] = replace(node, x=MARGIN + column * COLUMN, y=y)
    lines = [Edge(placed[first], placed[second]) for first, second in edges if first in placed and second in placed]
    width = 2 * MARGIN + WIDTH + (len(ordered) - 1) * COLUMN
    return Picture(list(placed.values()), lines, width, round(height + 2 * MARGIN))


def _by_neighbours(layer: Sequence[Node], fixed: Sequence[Node], neighbours: Mapping[str, Sequence[str]]) -> list[Node]:
    """The layer in the order of the middles of what each node is joined to; what is joined to nothing comes last."""
    places = {node.id: number for number, node in enumerate(fixed)}

    def middle(node: Node) -> float:
        found = [places[other] for other in neighbours.get(node.id, ()) if other in places]
        return sum(found) / len(found) if found else float(len(fixed))

    return sorted(layer, key=middle)


def short(name: str) -> str:
    """A name as it fits into a box."""
    return name if len(name) <= SHORT else f"{name[: SHORT - 1]}…"
