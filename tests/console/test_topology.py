"""The picture of the landscape, its table, its exports, and looking at a part of it."""

from compass.console.layers import Node
from compass.console.topology import focused, folded, matching, troubled
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


async def test_what_is_exported_is_what_the_page_shows(site: Site) -> None:
    one, name = await site.application("alone-in-the-picture")
    _, other = await site.application("not-in-the-picture")
    page = await site.get(f"/topology?focus={one}")

    files = [link for link in page.links if "/topology." in link]

    assert [link.partition("?")[0] for link in files] == ["/console/topology.svg", "/console/topology.mmd"]
    for link in files:
        text = (await site.get(link.removeprefix("/console"))).text
        assert (name in text, other in text) == (True, False), link
    (png,) = page.tree.xpath("//button/@data-png")
    assert png == files[0]


async def test_a_folded_group_shows_how_many_it_has_and_leads_to_them(site: Site) -> None:
    members = [("APPLICATION", (await site.application())[0]) for _ in range(3)]
    elsewhere, name = await site.application()
    group, group_name = await site.group(*members, ("APPLICATION", elsewhere))
    await site.group(("APPLICATION", elsewhere))

    shown = await site.get(f"/topology?fold={group}")

    rows = {row.xpath("string(td[1])"): row.xpath("string(td[4])") for row in shown.tree.xpath("//table//tr[td]")}
    assert rows["3 applications"] == group_name
    assert name in rows
    drawn = shown.tree.xpath(f"//svg//a[@id='node-applications-of-{group}']/@href")
    assert drawn == [f"/console/topology?focus={group}"]


async def test_only_what_needs_attention_is_shown_when_that_is_asked_for(site: Site) -> None:
    _, name = await site.application("well-as-far-as-one-knows")

    assert name not in (await site.get("/topology?show=attention")).tree.xpath("string(//div[@id='list'])")


def test_who_is_in_one_folded_group_only_becomes_part_of_a_number() -> None:
    runtimes = [Node(name, name, "runtime", "READY", "/") for name in "rst"]
    layers = [LAYERS[0], LAYERS[1], runtimes]
    edges = [("a", "g"), ("b", "h"), ("g", "r"), ("g", "s"), ("g", "t"), ("h", "t")]

    kept, lines = folded(layers, edges, ["g", "unknown"])

    assert ids(kept) == [["a", "b"], ["g", "h"], ["t", "runtimes-of-g"]]
    assert sorted(lines) == [("a", "g"), ("b", "h"), ("g", "runtimes-of-g"), ("g", "t"), ("h", "t")]
    assert folded(layers, edges, []) == (layers, edges)


def test_a_folded_node_is_as_bad_as_its_worst() -> None:
    several = [Node("a", "a", "application", "CONNECTED", "/"), Node("b", "b", "application", "FAILED", "/")]

    (one,) = folded([several, LAYERS[1], []], [("a", "g"), ("b", "g")], ["g"])[0][0]

    assert (one.name, one.state, one.why) == ("2 applications", "FAILED", "1 of them need attention")


def test_what_needs_attention_is_shown_with_what_it_is_joined_to() -> None:
    layers = [[*LAYERS[0], Node("c", "c", "application", "FAILED", "/")], LAYERS[1], LAYERS[2]]

    assert ids(troubled(layers, [*EDGES, ("c", "g")])[0]) == [["c"], ["g"], []]


def ids(layers: list[list[Node]]) -> list[list[str]]:
    return [[node.id for node in layer] for layer in layers]


def test_around_an_application_are_its_groups_and_whoever_is_in_them() -> None:
    assert focused(LAYERS, EDGES, "a") == ([[LAYERS[0][0]], [LAYERS[1][0]], [LAYERS[2][0]]], [("a", "g"), ("g", "r")])
    assert ids(focused(LAYERS, EDGES, "b")[0]) == [["b"], ["h"], []]
    assert ids(focused(LAYERS, EDGES, "nobody")[0]) == ids(LAYERS)


def test_a_term_is_looked_for_in_names() -> None:
    assert ids(matching(LAYERS, EDGES, "ALP")[0]) == [["a"], ["g"], []]
