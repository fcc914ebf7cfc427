"""`compass topology`: which application reaches which runtime, through which group."""

import html
import json
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Final

from cyclopts import Parameter

from compass.cli.failures import CommandFailed, Exit
from compass.cli.find import meant
from compass.cli.labels import groups as groups_of
from compass.cli.output import emit, printable
from compass.cli.speaking import HERE, Json, Where, speaking

_WIDTH: Final = 240
_GAP: Final = 140
_ROW: Final = 44
_HEIGHT: Final = 32
_LONGEST_NAME: Final = 30
_COLOURS: Final = {"CONNECTED": "#1a7f37", "READY": "#1a7f37", "INITIAL": "#6e7781", "IN_PROGRESS": "#9a6700"}
_ALONE: Final = "(in no group)"


class Drawing(StrEnum):
    """How the landscape is drawn."""

    TEXT = "text"
    MERMAID = "mermaid"
    JSON = "json"
    SVG = "svg"


def topology(
    *,
    group: tuple[str, ...] = (),
    output: Annotated[Drawing, Parameter(alias="-o")] = Drawing.TEXT,
    where: Where = HERE,
) -> None:
    """Draw applications, groups and runtimes, and what connects them.

    For example:

        compass topology
        compass topology -o svg > landscape.svg
        compass topology --group retail -o mermaid

    Exit codes: 0 drawn, 4 there is no such group, 7 not allowed, 8 plane not reached, 9 not the pinned plane.

    Parameters
    ----------
    group
        Only this group and who is in it; may be repeated.
    output
        text, mermaid, json or svg.
    """
    with speaking(where) as plane:
        found = {
            "applications": [_node(row) for row in plane.all("Applications")],
            "groups": [
                {"name": row["name"], "status": row["status"]["condition"], "id": row["id"]}
                for row in plane.all("Groups")
            ],
            "runtimes": [_node(row) for row in plane.all("Runtimes")],
        }
    if group:
        found = _only(found, group)
    for line in _DRAWN[output](found):
        emit(line)


def _node(row: Json) -> Json:
    return {"name": row["name"], "status": row["status"]["condition"], "groups": groups_of(row), "id": row["id"]}


def _only(found: Json, names: tuple[str, ...]) -> Json:
    known = [each["name"] for each in found["groups"]]
    for name in names:
        if name not in known:
            message = f"there is no group {name!r}"
            raise CommandFailed(message, exit_code=Exit.NOT_FOUND, hint=meant(name, known) or "compass group list")
    inside = set(names)
    kept: Json = {"groups": [each for each in found["groups"] if each["name"] in inside]}
    for what in ("applications", "runtimes"):
        kept[what] = [
            {**each, "groups": [one for one in each["groups"] if one in inside]}
            for each in found[what]
            if inside & set(each["groups"])
        ]
    return kept


def _text(found: Json) -> Iterator[str]:
    for group in [*found["groups"], {"name": _ALONE, "status": ""}]:
        members = {
            what: [each for each in found[what] if _is_in(each, group["name"])] for what in ("applications", "runtimes")
        }
        if group["name"] == _ALONE and not any(members.values()):
            continue
        yield printable(f"{group['name']}  {group['status']}".rstrip())
        for what, inside in members.items():
            for each in inside:
                arrow = "→" if what == "applications" else "←"
                yield printable(f"  {arrow} {what[:-1]:<11}  {each['name']}  {each['status']}")


def _is_in(node: Json, group: str) -> bool:
    return group in node["groups"] if group != _ALONE else not node["groups"]


def _mermaid(found: Json) -> Iterator[str]:
    yield "flowchart LR"
    shapes = {"applications": ("a", '["', '"]'), "groups": ("g", '{{"', '"}}'), "runtimes": ("r", '(["', '"])')}
    for what, (letter, begin, end) in shapes.items():
        for number, each in enumerate(found[what]):
            yield f"  {letter}{number}{begin}{_quoted(each['name'])}{end}"
    numbers = {each["name"]: number for number, each in enumerate(found["groups"])}
    for what, letter in (("applications", "a"), ("runtimes", "r")):
        for number, each in enumerate(found[what]):
            for group in each["groups"]:
                if group in numbers:
                    pair = (f"{letter}{number}", f"g{numbers[group]}")
                    yield "  {} --> {}".format(*(pair if letter == "a" else reversed(pair)))


def _quoted(name: str) -> str:
    """A name inside a label: what could end the label, or be markup, becomes an entity of Mermaid's."""
    return "".join(
        letter if letter.isalnum() or letter in " -_.:/" else f"#{ord(letter)};" for letter in printable(name)
    )


def _svg(found: Json) -> Iterator[str]:
    columns = [found["applications"], found["groups"], found["runtimes"]]
    tall = max(1, *(len(column) for column in columns)) * _ROW + _ROW
    wide = 3 * _WIDTH + 2 * _GAP + 40
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {tall}" width="{wide}" height="{tall}" '
        'role="img" aria-label="Landscape" font-family="system-ui, sans-serif" font-size="13">'
    )
    yield "<title>Applications, groups and runtimes</title>"
    yield f'<rect width="{wide}" height="{tall}" fill="#ffffff"/>'
    places = {each["name"]: _place(1, number) for number, each in enumerate(found["groups"])}
    for column, nodes in ((0, found["applications"]), (2, found["runtimes"])):
        for number, node in enumerate(nodes):
            x, y = _place(column, number)
            for group in node["groups"]:
                if group in places:
                    yield _line((x, y), places[group], is_left=column == 0)
    for column, (title, nodes) in enumerate(zip(("Applications", "Groups", "Runtimes"), columns, strict=True)):
        x, _ = _place(column, 0)
        yield f'<text x="{x}" y="22" font-weight="600" fill="#1f2328">{title}</text>'
        for number, node in enumerate(nodes):
            yield from _box(node, _place(column, number))
    yield "</svg>"


def _place(column: int, number: int) -> tuple[int, int]:
    return 20 + column * (_WIDTH + _GAP), 36 + number * _ROW


def _line(node: tuple[int, int], group: tuple[int, int], *, is_left: bool) -> str:
    (x1, y1), (x2, y2) = (node, group) if is_left else (group, node)
    x1, y1, y2 = x1 + _WIDTH, y1 + _HEIGHT // 2, y2 + _HEIGHT // 2
    middle = (x1 + x2) // 2
    return (
        f'<path d="M{x1} {y1} C{middle} {y1} {middle} {y2} {x2} {y2}" fill="none" stroke="#8c959f" stroke-width="1.5"/>'
    )


def _box(node: Json, place: tuple[int, int]) -> Iterator[str]:
    x, y = place
    colour = _COLOURS.get(node["status"], "#cf222e")
    name, status = html.escape(printable(node["name"])), html.escape(printable(node["status"]))
    shown = (
        name if len(node["name"]) <= _LONGEST_NAME else html.escape(f"{printable(node['name'])[: _LONGEST_NAME - 1]}…")
    )
    yield f"<g><title>{name}: {status}</title>"
    yield f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="#f6f8fa" stroke="{colour}"/>'
    yield f'<circle cx="{x + 14}" cy="{y + _HEIGHT // 2}" r="4" fill="{colour}"/>'
    yield f'<text x="{x + 26}" y="{y + 21}" fill="#1f2328">{shown}</text></g>'


def _json(found: Json) -> Iterator[str]:
    yield json.dumps(found, indent=2, ensure_ascii=False)


_DRAWN: Final = {Drawing.TEXT: _text, Drawing.MERMAID: _mermaid, Drawing.SVG: _svg, Drawing.JSON: _json}
