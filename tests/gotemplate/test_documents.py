import pytest

from compass.gotemplate import TemplateFailed, TemplateTooDeep, parse, render_json

DATA: dict[str, object] = {
    "text": '{"a":{"b":[1,{"c":"x"}]},"d.e":1}',
    "map": {"a": {"b": [1, {"c": "x"}]}},
    "list": ["x", {"k": 1}],
    "nil": None,
    "empty": "",
}


@pytest.mark.parametrize(
    ("call", "output"),
    [
        ('contains .text "c"', "true"),
        ('contains .text "z"', "false"),
        ('contains .map "a"', "true"),
        ('contains .list "x"', "true"),
        ('contains .list "k"', "false"),
        ('contains .nil "a"', "false"),
        ('contains .empty "a"', "false"),
        ('contains "cat" "concatenate"', "true"),
        ('contains "concatenate" "cat"', "false"),
        ('contains "[x]" "a[x]b"', "true"),
        ('Join (mkslice "a" "b") "-"', "a-b"),
        ('Join "-" (mkslice "a" "b")', "a-b"),
        ('copy .text "a.b.1"', '{"c":"x"}'),
        ('copy .map "a" "b"', '[1,{"c":"x"}]'),
        ('copy .text "a.q.r"', "null"),
        ("copy .nil", "null"),
        ('updateAndCopy .map "a.b.1.c" "<y>"', '{"a":{"b":[1,{"c":"<y>"}]}}'),
        ('updateAndCopy .empty "a.b" (mkslice 1 2)', '{"a":{"b":[1,2]}}'),
        ('updateAndCopy .list "2" true', '["x",{"k":1},true]'),
        ("stringify .map", '{"a":{"b":[1,{"c":"x"}]}}'),
        ('stringify "a\\"b"', '"a\\"b"'),
        ("stringify .nil", "null"),
    ],
)
def test_documents_are_searched_copied_changed_and_written(call: str, output: str) -> None:
    assert parse("{{" + call + "}}").render(DATA) == output


@pytest.mark.parametrize(
    "call", ['updateAndCopy .list "9" 1', 'updateAndCopy .map "a.b.0.z" 1', 'copy "{" "a"', "stringify"]
)
def test_a_path_that_leads_nowhere_and_text_that_is_no_json_are_refused(call: str) -> None:
    with pytest.raises(TemplateFailed):
        parse("{{" + call + "}}").render(DATA)


def test_a_path_has_a_largest_length() -> None:
    with pytest.raises(TemplateTooDeep):
        parse('{{updateAndCopy .nil (repeat 5000 "a.") 1}}').render(DATA)


def test_changing_a_copy_leaves_the_document_as_it_was() -> None:
    body = render_json('{"new":{{updateAndCopy .map "a" 1}},"old":{{stringify .map}}}', DATA)

    assert body == {"new": {"a": 1}, "old": {"a": {"b": [1, {"c": "x"}]}}}
