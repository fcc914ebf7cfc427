"""`compass topology`: the same landscape in every drawing, and no name that breaks one."""

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from compass.cli.topology import _mermaid, _only, _svg, _text
from tests.cli.conftest import Cli

HOSTILE = '"]</title><script>alert(1)</script>\x1b[31m'


def node(name: str, *groups: str) -> dict[str, Any]:
    return {"name": name, "status": "CONNECTED", "groups": list(groups), "id": "1"}


@pytest.mark.usefixtures("tenant")
def test_the_landscape_is_drawn(cli: Cli) -> None:
    cli("app", "create", "crm", "--group", "retail")
    cli("app", "create", "alone")
    cli("runtime", "register", "edge", "--group", "retail")

    assert cli("topology").out.splitlines() == [
        "retail  READY",
        "  → application  crm  INITIAL",
        "  ← runtime      edge  INITIAL",
        "(in no group)",
        "  → application  alone  INITIAL",
    ]
    assert cli("topology", "-o", "json", "--group", "retail").json["applications"][0]["name"] == "crm"
    assert cli("topology", "--group", "retial").err.endswith("hint: did you mean retail?\n")
    assert "a1 --> g0" in cli("topology", "-o", "mermaid").out


def test_a_hostile_name_is_text_in_every_drawing() -> None:
    found = {
        "applications": [node(HOSTILE, "g")],
        "groups": [{"name": "g", "status": "READY"}],
        "runtimes": [node("r", "g")],
    }

    svg = "\n".join(_svg(found))
    root = ET.fromstring(svg)  # noqa: S314  # we wrote it; that it is well-formed is the point
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert HOSTILE.replace("\x1b", " ")[:29] + "…" in texts
    assert list(root.iter("{http://www.w3.org/2000/svg}script")) == []
    for drawing in (_mermaid(found), _text(found)):
        assert "\x1b" not in "\n".join(drawing)
    assert '"]</title>' not in "\n".join(_mermaid(found))


def test_a_thousand_nodes_are_a_thousand_boxes() -> None:
    found = {
        "applications": [node(f"a{number}", "g") for number in range(1000)],
        "groups": [{"name": "g", "status": "READY"}],
        "runtimes": [node(f"r{number}", "g") for number in range(300)],
    }

    svg = "\n".join(_svg(found))

    assert (svg.count("<circle"), svg.count("<path")) == (1301, 1300)
    assert len(_only(found, ("g",))["applications"]) == 1000
