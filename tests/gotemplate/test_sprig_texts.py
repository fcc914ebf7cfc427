import pytest

from compass.gotemplate import TemplateFailed, TemplateOutputTooLarge, parse


@pytest.mark.parametrize(
    ("call", "output"),
    [
        ('upper "straße"', "STRAßE"),
        ('lower "ÀB"', "àb"),
        ('title "it\'s a-b c_d"', "It'S A-B C_d"),
        ('quote "a\\"b" nil 1', '"a\\"b" "1"'),
        ('trunc -2 "abc"', "bc"),
        ('nindent 2 "a\\nb"', "\n  a\n  b"),
        ('join "," .', "a,1,true"),
        ('(split "." "a.b")._1', "b"),
        ('splitList "" "aé"', "[a é]"),
        ('replace "" "-" "ab"', "-a-b-"),
        ('substr 1 3 "hello"', "el"),
    ],
)
def test_a_text_is_changed_as_sprig_changes_it(call: str, output: str) -> None:
    assert parse("{{" + call + "}}").render(["a", 1, None, True]) == output


@pytest.mark.parametrize(
    "call",
    [
        "repeat 262145 `a`",
        "indent 262145 `a`",
        "replace `` (repeat 999 `b`) (repeat 999 `a`)",
        "join (repeat 99999 `a`) (until 9)",
    ],
)
def test_a_text_that_grows_too_large_is_refused_before_it_is_made(call: str) -> None:
    with pytest.raises(TemplateOutputTooLarge):
        parse("{{" + call + "}}").render({})


@pytest.mark.parametrize(
    "call", ["upper 1", "upper .no", "trimAll 1 `a`", "repeat -1 `a`", "indent -1 `a`", "substr 3 1 `abc`"]
)
def test_what_is_no_text_or_no_sensible_count_is_refused(call: str) -> None:
    with pytest.raises(TemplateFailed):
        parse("{{" + call + "}}").render({})
