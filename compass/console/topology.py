"""Topology: who talks to whom, as a picture, as a table and as text for other programs."""

import asyncio
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from compass.client import standing
from compass.console.http import Answer, attachment
from compass.console.layers import HEIGHT, WIDTH, Node, Picture, lay_out, short
from compass.console.page import Page, groups_of, tone, word
from compass.console.visit import View, Visit

MOST_PAGES: Final = 25
"""Of 200 objects each; a landscape that is larger says so."""


async def _all(visit: Visit, name: str, root: str) -> tuple[list[dict[str, Any]], bool]:
    """All objects of a list, and whether there were more than are taken."""
    found: list[dict[str, Any]] = []
    after = None
    for _ in range(MOST_PAGES):
        page = (await visit.ask(name, after=after))[root]
        found += page["data"]
        if not page["pageInfo"]["hasNextPage"]:
            return found, False
        after = page["pageInfo"]["endCursor"]
    return found, True


Edges = list[tuple[str, str]]


async def _landscape(visit: Visit) -> tuple[list[list[Node]], Edges, bool]:
    """Applications, groups and runtimes, what joins them, and whether something is left out."""
    (applications, cut_1), (groups, cut_2), (runtimes, cut_3) = await asyncio.gather(
        _all(visit, "TopologyApplications", "applications"),
        _all(visit, "TopologyGroups", "formations"),
        _all(visit, "TopologyRuntimes", "runtimes"),
    )
    by_name = {group["name"]: group["id"] for group in groups}
    layers = [
        [_node(one, "application") for one in applications],
        [_node(one, "group") for one in groups],
        [_node(one, "runtime") for one in runtimes],
    ]
    edges = [(one["id"], by_name[name]) for one in applications for name in groups_of(one["labels"]) if name in by_name]
    edges += [(by_name[name], one["id"]) for one in runtimes for name in groups_of(one["labels"]) if name in by_name]
    return layers, edges, cut_1 or cut_2 or cut_3


def _node(one: Mapping[str, Any], kind: str) -> Node:
    wrong = standing.troubles(one.get("connection"))
    state = wrong[0].state if wrong else one["status"]["condition"]
    return Node(one["id"], one["name"], kind, state, f"/{kind}s/{one['id']}", why=wrong[0].why if wrong else "")


def focused(layers: list[list[Node]], edges: Edges, focus: str) -> tuple[list[list[Node]], Edges]:
    """Only a node, its groups and whom it meets there; everything when there is no such node."""
    if focus not in {node.id for layer in layers for node in layer}:
        return layers, edges
    groups = {node.id for node in layers[1]}
    near = {focus} | {other for edge in edges if focus in edge for other in edge}
    kept = near | {other for edge in edges for other in edge if near & groups & set(edge)}
    return (
        [[node for node in layer if node.id in kept] for layer in layers],
        [edge for edge in edges if edge[0] in kept and edge[1] in kept],
    )


def matching(layers: list[list[Node]], edges: Edges, term: str) -> tuple[list[list[Node]], Edges]:
    """Only nodes with the term in their name, and what they are joined to."""
    return _around(layers, edges, {node.id for layer in layers for node in layer if term.lower() in node.name.lower()})


def _around(layers: list[list[Node]], edges: Edges, hits: set[str]) -> tuple[list[list[Node]], Edges]:
    kept = hits | {other for edge in edges if hits & set(edge) for other in edge}
    return (
        [[node for node in layer if node.id in kept] for layer in layers],
        [edge for edge in edges if edge[0] in kept and edge[1] in kept],
    )


def troubled(layers: list[list[Node]], edges: Edges) -> tuple[list[list[Node]], Edges]:
    """Only nodes that somebody should look at, and what they are joined to."""
    return _around(layers, edges, {node.id for layer in layers for node in layer if tone(node.state) in _TROUBLE})


_TROUBLE: Final = frozenset({"bad", "warn"})


def folded(layers: list[list[Node]], edges: Edges, groups: Iterable[str]) -> tuple[list[list[Node]], Edges]:
    """The members that one of these groups has for itself become a node for each kind; who is elsewhere, too, stays."""
    among: dict[str, set[str]] = {}
    for first, second in edges:
        among.setdefault(first, set()).add(second)
        among.setdefault(second, set()).add(first)
    wanted = {node.id for node in layers[1]} & set(groups)
    kept, made = [list(layer) for layer in layers], list(edges)
    for group in sorted(wanted):
        for number in (0, 2):
            own = [node for node in kept[number] if among.get(node.id) == {group}]
            if len(own) < _FEWEST:
                continue
            gone = {node.id for node in own}
            one = _folded(group, own)
            kept[number] = [*(node for node in kept[number] if node.id not in gone), one]
            made = [edge for edge in made if gone.isdisjoint(edge)]
            made.append((one.id, group) if number == 0 else (group, one.id))
    return kept, made


_FEWEST: Final = 2
"""A node in place of one other would say less."""


def _folded(group: str, own: list[Node]) -> Node:
    worst = min(own, key=lambda node: _WORST.index(tone(node.state)))
    wrong = sum(tone(node.state) in _TROUBLE for node in own)
    kind = own[0].kind
    why = f"{wrong} of them need attention" if wrong else ""
    return Node(
        f"{kind}s-of-{group}", f"{len(own)} {kind}s", kind, worst.state, f"/groups/{group}", why=why, part=group
    )


_WORST: Final = ("bad", "warn", "busy", "idle", "good")


@dataclass(frozen=True)
class Chosen:
    """The part of the landscape that an address asks for."""

    whole: list[list[Node]]
    layers: list[list[Node]]
    edges: Edges
    is_cut: bool


async def _chosen(visit: Visit) -> Chosen:
    whole, edges, is_cut = await _landscape(visit)
    layers = whole
    if visit.query("show") == "attention":
        layers, edges = troubled(layers, edges)
    if visit.query("q"):
        layers, edges = matching(layers, edges, visit.query("q"))
    if visit.query("focus"):
        layers, edges = focused(layers, edges, visit.query("focus"))
    fold = visit.query("fold")
    if fold:
        names = {node.id for node in layers[1]} if fold == "all" else set(fold.split("."))
        layers, edges = folded(layers, edges, names - {visit.query("focus")})
    return Chosen(whole, layers, edges, is_cut)


async def show(visit: Visit) -> Page:
    """The picture, and the same as a table."""
    chosen = await _chosen(visit)
    layers, edges, focus, term = chosen.layers, chosen.edges, visit.query("focus"), visit.query("q")
    names = {node.id: node.name for several in (chosen.whole, layers) for layer in several for node in layer}
    joined: dict[str, list[str]] = {}
    for first, second in edges:
        joined.setdefault(first, []).append(names[second])
        joined.setdefault(second, []).append(names[first])
    data = {
        "picture": lay_out(layers, edges),
        "layers": layers,
        "joined": joined,
        "focus": names.get(focus),
        "focus_id": focus,
        "q": term,
        "is_cut": chosen.is_cut,
        "is_empty": not any(chosen.whole),
        "asked": {name: visit.query(name) for name in ("q", "focus", "show", "fold")},
    }
    # That an agent is silent is told by nobody.
    topics = "applications,runtimes,groups"
    return Page("topology.html", "Topology", data, live=topics, poll_seconds=10, section="topology")


async def small(visit: Visit, most: int) -> Picture | None:
    """The picture of a landscape that has no more nodes than this; None of a larger one."""
    layers, edges, is_cut = await _landscape(visit)
    amount = sum(map(len, layers))
    return lay_out(layers, edges) if edges and amount <= most and not is_cut else None


async def mermaid(visit: Visit) -> Answer:
    """What the page shows as Mermaid text, for documents."""
    chosen = await _chosen(visit)
    layers, edges = chosen.layers, chosen.edges
    numbers = {node.id: f"n{number}" for number, node in enumerate(node for layer in layers for node in layer)}
    shapes = {"application": ("[", "]"), "group": ("{{", "}}"), "runtime": ("([", "])")}
    lines = ["flowchart LR"]
    for node in (node for layer in layers for node in layer):
        begin, end = shapes[node.kind]
        lines.append(f'  {numbers[node.id]}{begin}"{_quoted(node.name)}"{end}:::{tone(node.state)}')
    lines += [f"  {numbers[first]} --- {numbers[second]}" for first, second in edges]
    return attachment("\n".join(lines) + "\n", "text/plain; charset=utf-8", "topology.mmd")


def _quoted(name: str) -> str:
    # What Mermaid would take for syntax is written by number.
    return re.sub(r"[^\w .,:/+-]", lambda found: f"#{ord(found[0])};", name)


async def svg(visit: Visit) -> Answer:
    """The picture of the page as a file of its own, in colours of its own."""
    chosen = await _chosen(visit)
    picture = lay_out(chosen.layers, chosen.edges)
    colours = {"good": "#1a7f4b", "bad": "#c4314b", "busy": "#2563c9", "warn": "#9a6700", "idle": "#6b7280"}
    size = f'viewBox="0 0 {picture.width} {picture.height}" width="{picture.width}" height="{picture.height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="{picture.width}" height="{picture.height}" fill="#ffffff"/>',
        *(f'<path d="{edge.curve}" fill="none" stroke="#c3c8d4"/>' for edge in picture.edges),
    ]
    for node in picture.nodes:
        colour = colours[tone(node.state)]
        said = _xml(node.why or word(node.state))
        parts.append(
            f'<g><title>{_xml(node.name)}: {said}</title><rect x="{node.x:g}" y="{node.y:g}" '
            f'width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#ffffff" stroke="{colour}"/>'
            f'<circle cx="{node.x + 16:g}" cy="{node.y + HEIGHT / 2:g}" r="4" fill="{colour}"/>'
            f'<text x="{node.x + 30:g}" y="{node.y + HEIGHT / 2 + 4.5:g}" fill="#1c2333">'
            f"{_xml(short(node.name))}</text></g>"
        )
    parts.append("</svg>\n")
    return attachment("\n".join(parts), "image/svg+xml", "topology.svg")


def _xml(text: str) -> str:
    # A control character is in no XML document, written or not.
    kept = "".join(letter if letter.isprintable() else " " for letter in text)
    return kept.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/topology"): show,
    ("GET", "/topology.mmd"): mermaid,
    ("GET", "/topology.svg"): svg,
}
