"""Texts as documents, wherever they come from. As files: tests/cli/test_files.py."""

import pytest

from compass.client.failed import CommandFailed, Exit
from compass.landscape.kinds import API
from compass.landscape.manifest import Kind, documents, in_order, of_text

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 9)}]\n" for number in range(1, 9)
)
"""A few lines, of which the aliases make hundreds of millions of things."""


def test_a_text_is_several_documents_in_the_order_in_which_they_can_be_applied() -> None:
    found = in_order(documents("kind: Runtime\nname: r\n---\n---\nkind: Group\nname: g\n", "t"))

    assert [(one.kind, one.name, one.place) for one in found] == [(Kind.GROUP, "g", "t:5"), (Kind.RUNTIME, "r", "t:1")]


@pytest.mark.parametrize(
    "text", [BOMB, "a: &a [*a]", "a: &a {b: *a}", "{? [x]: y}", "[" * 5000, "x: \x01", "a: 2001-99-99"]
)
def test_a_hostile_text_is_refused_and_takes_no_memory(text: str) -> None:
    with pytest.raises(CommandFailed) as refused:
        in_order(documents(f"kind: Group\nname: g\n---\n{text}\n", "t"))

    assert str(refused.value).startswith("t")
    assert refused.value.exit_code is Exit.USAGE


@pytest.mark.parametrize("value", ["2026-01-02", ".nan", ".inf", "!!binary aGk=", "!!set {a, b}"])
def test_what_json_cannot_say_is_refused_before_anything_is_sent(value: str) -> None:
    with pytest.raises(CommandFailed, match="t:1: it says something that JSON cannot") as refused:
        list(documents(f"kind: Application\nname: a\nlabels: {{since: {value}}}\n", "t"))

    assert refused.value.hint == "put it in quotes"


def test_without_a_folder_no_file_is_read() -> None:
    text = "kind: Application\nname: a\napis: [{name: b, targetURL: 'https://a.example', spec: /etc/passwd}]\n"

    with pytest.raises(CommandFailed, match="names the file '/etc/passwd', which is not here"):
        list(documents(text, "t"))


def test_a_specification_in_a_file_is_read_by_whoever_has_files() -> None:
    text = "kind: Application\nname: a\napis: [{name: b, targetURL: 'https://a.example', spec: s.yaml}]\n"
    asked = []

    def specification(kind: object, name: str) -> dict[str, str]:
        asked.append((kind, name))
        return {"data": "…"}

    (one,) = documents(text, "t", specification=specification)

    assert asked == [(API, "s.yaml")]
    assert one.says["apis"][0]["spec"] == {"data": "…"}


def test_what_is_said_of_one_object_needs_no_name() -> None:
    assert of_text(Kind.GROUP, "g", "template: t", place="f").says == {"template": "t"}
    with pytest.raises(CommandFailed, match="f: it is no object"):
        of_text(Kind.GROUP, "g", "- t", place="f")
