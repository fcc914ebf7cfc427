"""The picture of the landscape, its table, its exports, and looking at a part of it."""

from compass.console.layers import Node
from compass.console.topology import focused, matching
from tests.console.conftest import Site

LAYERS = [
    [Node("a", "alpha", "application", "READY", "/"), Node("b", "beta", "application", "READY", "/")],
    [Node("g", "group", "group", "READY", "/"), Node("h", "hidden", "group", "READY", "/")],
    [Node("r", "run", "runtime", "READY", "/")],
]
EDGES = [("a", "g"), ("b", "h"), ("g", "r")]


async def test_picture_and_table_say_the_same(site: Site) -> None:
    application, name = await site.application("drawn & quartered")
    runtime, other = await site.runtime()
    group, group_name = await site.group(("APPLICATION", application), ("RUNTIME", runtime))

    shown = await site.get(f"/topology?focus={group}")

    drawn = {str(one.get("id")).removeprefix("node-") for one in shown.tree.xpath("//svg//a")}
    assert drawn == {application, runtime, group}
    assert len(shown.tree.xpath("//svg//path")) == 2
    rows = shown.tree.xpath("//table//tr[td]")
    assert {row.xpath("string(td[1])") for row in rows} == {name, other, group_name}
    joined = {row.xpath("string(td[1])"): row.xpath("string(td[4])") for row in rows}
    assert joined[group_name] == f"{name}, {other}"


async def test_the_exports_have_everything(site: Site) -> None:
    _, name = await site.application("exported-app")

    assert f">{name}<" in (await site.get("/topology.svg")).text
    assert (await site.get("/topology.mmd")).text.startswith("flowchart LR\n")
    assert f'"{name}"' in (await site.get("/topology.mmd")).text


async def test_a_search_shows_what_matches_and_what_it_is_joined_to(site: Site) -> None:
    application, name = await site.application("quite-special")
    _, group = await site.group(("APPLICATION", application))

    shown = await site.get("/topology?q=QUITE-spec")

    assert {one.xpath("string(td[1])") for one in shown.tree.xpath("//table//tr[td]")} == {name, group}
    assert "Nothing matches" in (await site.get("/topology?q=zzzzz")).words


def ids(layers: list[list[Node]]) -> list[list[str]]:
    return [[node.id for node in layer] for layer in layers]


def test_around_an_application_are_its_groups_and_whoever_is_in_them() -> None:
    assert focused(LAYERS, EDGES, "a") == ([[LAYERS[0][0]], [LAYERS[1][0]], [LAYERS[2][0]]], [("a", "g"), ("g", "r")])
    assert ids(focused(LAYERS, EDGES, "b")[0]) == [["b"], ["h"], []]
    assert ids(focused(LAYERS, EDGES, "nobody")[0]) == ids(LAYERS)


def test_a_term_is_looked_for_in_names() -> None:
    assert ids(matching(LAYERS, EDGES, "ALP")[0]) == [["a"], ["g"], []]
