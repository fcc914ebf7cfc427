"""Texts as documents. What is refused, and that it costs little: test_read.py."""

import pytest

from compass.definition.text import MOST_EVENTS, Lines, Unreadable, document, is_json, is_xml, tree
from tests.definition.samples import LAUGHS, ODATA_4


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": [1, true, null]}', {"a": [1, True, None]}),
        ("\ufeff{}", {}),
        ("a: [1, true, null, ~, 'x', 1.10]", {"a": ["1", True, None, None, "x", "1.10"]}),
        ("on: yes\nno: 12:30:45\nd: 2020-01-01", {"on": "yes", "no": "12:30:45", "d": "2020-01-01"}),
        ("200: ok", {"200": "ok"}),
        ("{a: 1,\n b: }", {"a": "1", "b": None}),
        ("<<: {a: b}", {"<<": {"a": "b"}}),
    ],
)
def test_json_and_yaml_are_read_and_numbers_of_yaml_stay_as_they_are_written(text: str, found: object) -> None:
    assert document(text) == found


@pytest.mark.parametrize(
    ("text", "place", "why"),
    [
        ('{\n"a": }', (2, 6), "unexpected character"),
        ("a: 1\n b: 2", (2, 3), "mapping values are not allowed in this context"),
        (LAUGHS, (2, 8), "*a repeats another part, which is not done here"),
        ("a:\n  - !!python/name:os.system x", (2, 5), "could not determine a constructor for the tag"),
        ("- a\n" * MOST_EVENTS, (MOST_EVENTS - 1, 3), "it has more parts than are taken apart"),
    ],
)
def test_what_cannot_be_read_says_where(text: str, place: tuple[int, int], why: str) -> None:
    with pytest.raises(Unreadable) as refused:
        document(text)

    assert (refused.value.line, refused.value.column) == place
    assert refused.value.why.startswith(why)


def test_a_document_type_is_refused_wherever_it_stands() -> None:
    for text in ("<!DOCTYPE a><a/>", f"{ODATA_4}<!-- <!ENTITY a 'b'> -->", '<a b="<!DOCTYPE"/>'):
        with pytest.raises(Unreadable, match="declares a document type"):
            tree(text)
    with pytest.raises(Unreadable) as refused:
        tree("<a>\n<b></a>")
    assert refused.value.line == 2


def test_kinds_of_texts_are_told_by_how_they_begin() -> None:
    assert [is_xml(text) for text in ("\ufeff <a/>", "a: <b>", "")] == [True, False, False]
    assert [is_json(text) for text in (" {", "\n[", "a: {}", "")] == [True, True, False, False]


def test_lines_are_those_of_the_last_part_that_is_there() -> None:
    lines = Lines("a:\n  b:\n    - c\n    - d: 1\n")

    assert [lines.at(path) for path in ((), ("a",), ("a", "b"), ("a", "b", 1), ("a", "b", 1, "d"))] == [1, 1, 2, 4, 4]
    assert [lines.at(path) for path in (("x",), ("a", "x"), ("a", "b", 7))] == [1, 1, 2]
    assert Lines("a: [").at(("a",)) == 0
