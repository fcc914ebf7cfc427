"""The paths of `-o jsonpath=…`."""

import pytest

from compass.cli.failures import CommandFailed, Exit
from compass.cli.jsonpath import JsonPath, as_text

DOCUMENT = {"items": [{"name": "a", "x.y": 1}, {"name": "b"}], "one": {"two": [10, 20, 30]}}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (".one.two[1]", [20]),
        ("{.one.two[-1]}", [30]),
        ("$.items[*].name", ["a", "b"]),
        ("items[0]['x.y']", [1]),
        (".one.two.*", [10, 20, 30]),
        (".nothing.at.all", []),
        (".items[9]", []),
        (".one.two.name", []),
        (".", [DOCUMENT]),
        ("", [DOCUMENT]),
    ],
)
def test_a_path_leads_to_what_stands_there(path: str, expected: list[object]) -> None:
    assert list(JsonPath.of(path).values(DOCUMENT)) == expected


@pytest.mark.parametrize("path", [".a[", "[x]", ".a..b", ".a['b]", "." + "a[?(@.b)]"])
def test_what_is_no_path_is_a_usage_error(path: str) -> None:
    with pytest.raises(CommandFailed) as refused:
        JsonPath.of(path)

    assert refused.value.exit_code is Exit.USAGE


def test_texts_are_printed_as_they_are_and_the_rest_as_json() -> None:
    assert [as_text(value) for value in ("ä b", None, True, ["ä"])] == ["ä b", "null", "true", '["ä"]']
