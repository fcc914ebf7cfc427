"""The way to one value in a JSON document."""

import time
from typing import Any

import pytest

from compass.director import json_path

DOCUMENT = {
    "a": {"b": [{"c": "deep"}, None], "odd key": 1, "-": 2},
    "list": [[0, 1], "two"],
    "ü": "snow",
    "none": None,
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$", DOCUMENT),
        ("$.a.b[0].c", "deep"),
        ("$['a'][\"b\"][0]['c']", "deep"),
        ("$.a['odd key']", 1),
        ("$.list[0][1]", 1),
        ("$.ü", "snow"),
        ("$.a.b[1]", None),
        ("$.a.b[1].c", None),
        ("$.a.b[2]", None),
        ("$.a[0]", None),
        ("$.list.a", None),
        ("$.list[1][0]", None),
        ("$.nobody.there", None),
        ("$.none", None),
    ],
)
def test_a_path_leads_to_one_value_or_to_nothing(path: str, value: Any) -> None:
    assert json_path.find(json_path.parse(path), DOCUMENT) == value


@pytest.mark.parametrize(
    "path",
    [
        "", "a.b", " $.a", "$.", "$..a", "$.*", "$[*]", "$[-1]", "$[0:2]", "$[0,1]", "$[?(@.a)]", "$[?@.a=='b']",
        "$.a b", "$['a", "$['']", "$['a']]", "$[01]", "$[99999999]", "$.a()", "$.1a", "$@.a", "$['a\\'b']", "$.a\n",
    ],
)  # fmt: skip
def test_what_leads_to_several_values_or_is_no_path_is_refused_with_what_is_allowed(path: str) -> None:
    with pytest.raises(json_path.JsonPathRefused, match=r"must begin with \$|use \$, .name, \['name'\] and \[0\] only"):
        json_path.parse(path)


def test_a_long_path_is_refused_and_a_hostile_one_costs_nothing() -> None:
    began = time.process_time()
    with pytest.raises(json_path.JsonPathRefused, match="a JSONPath has at most 512 characters"):
        json_path.parse("$" + ".a" * 500_000)
    with pytest.raises(json_path.JsonPathRefused):
        json_path.parse("$" + "['" * 255)
    assert time.process_time() - began < 0.1
