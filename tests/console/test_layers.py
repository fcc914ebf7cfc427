"""The picture of a landscape: places without overlap, few crossings, the same every time, and quick."""

import time
from itertools import pairwise

from compass.console.layers import HEIGHT, ROW, WIDTH, Node, lay_out, short


def nodes(kind: str, *names: str) -> list[Node]:
    return [Node(name, name, kind, "READY", "/") for name in names]


def test_nothing_is_a_picture_too() -> None:
    picture = lay_out([[], [], []], [])

    assert (list(picture.nodes), list(picture.edges)) == ([], [])
    assert picture.height > 0


def test_lines_that_need_not_cross_do_not() -> None:
    layers = [nodes("application", "a", "b", "c"), nodes("group", "x", "y", "z")]

    picture = lay_out(layers, [("a", "z"), ("b", "y"), ("c", "x")])

    heights = {node.id: node.y for node in picture.nodes}
    crossings = [
        (one, two)
        for one in picture.edges
        for two in picture.edges
        if (one.begin.y - two.begin.y) * (one.end.y - two.end.y) < 0
    ]
    assert crossings == []
    assert len(heights) == 6


def test_no_two_nodes_overlap() -> None:
    picture = lay_out([nodes("application", *map(str, range(40))), nodes("group", *"xyz"), nodes("runtime", "r")], [])

    boxes = sorted((node.x, node.y) for node in picture.nodes)
    for (x1, y1), (x2, y2) in pairwise(boxes):
        assert x2 >= x1 + WIDTH or y2 >= y1 + HEIGHT
    assert picture.height >= 40 * ROW
    assert all(node.y >= 0 and node.y + HEIGHT <= picture.height for node in picture.nodes)


def test_a_line_to_nobody_is_left_out() -> None:
    assert list(lay_out([nodes("application", "a"), []], [("a", "gone")]).edges) == []


def test_the_same_landscape_gives_the_same_picture() -> None:
    layers = [nodes("application", *"cab"), nodes("group", *"zx")]
    edges = [("a", "x"), ("b", "z"), ("c", "x")]

    again = lay_out([list(reversed(layer)) for layer in layers], edges)

    assert again == lay_out(layers, edges)


def test_a_large_landscape_takes_no_time_that_grows_with_its_square() -> None:
    layers = [
        nodes("application", *(f"a{number}" for number in range(1000))),
        nodes("group", *(f"g{number}" for number in range(100))),
        nodes("runtime", *(f"r{number}" for number in range(200))),
    ]
    edges = [(f"a{number}", f"g{number * step % 100}") for number in range(1000) for step in (1, 3, 7)]
    edges += [(f"g{number % 100}", f"r{number}") for number in range(200)]
    began = time.process_time()

    picture = lay_out(layers, edges)

    assert (len(picture.nodes), len(picture.edges)) == (1300, 3200)
    assert time.process_time() - began < 5


def test_a_long_name_is_cut_in_the_box() -> None:
    assert (short("x" * 26), short("x" * 27)) == ("x" * 26, "x" * 25 + "…")
