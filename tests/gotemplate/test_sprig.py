import pytest

from compass.gotemplate import TemplateFailed, TemplateSyntaxError, TemplateTooDeep, parse
from compass.gotemplate.sprig import REFUSED, SPRIG


def test_an_empty_value_is_replaced_by_the_default() -> None:
    assert (
        parse('{{default "d" .e}}{{.m | default "d"}}{{default "d" .s}}').render({"e": "", "m": {}, "s": "x"}) == "ddx"
    )


def test_numbers_read_from_json_are_floats_as_in_go() -> None:
    assert parse("{{fromJson .}}").render('{"a":12345678,"b":[true]}') == "map[a:1.2345678e+07 b:[true]]"


def test_text_that_is_not_json_gives_nil_or_a_failure_as_asked() -> None:
    assert parse('{{fromJson "{"}}').render({}) == "<no value>"
    with pytest.raises(TemplateFailed, match="mustFromJson: the text is not JSON"):
        parse('{{mustFromJson "{"}}').render({})


def test_json_nested_too_deeply_is_refused() -> None:
    for depth in (100, 5_000):
        with pytest.raises((TemplateTooDeep, TemplateFailed)):
            parse("{{mustFromJson .}}").render("[" * depth + "]" * depth)


@pytest.mark.parametrize("text", ["a", "a===", "é", "YQ==\n!"])
def test_text_that_is_not_base64_is_refused(text: str) -> None:
    with pytest.raises(TemplateFailed, match="b64dec: the text is not base64"):
        parse("{{b64dec .}}").render(text)


def test_fail_ends_the_rendering_with_the_words_of_the_template() -> None:
    with pytest.raises(TemplateFailed) as failed:
        parse('{{if not .region}}\n{{fail "a region is needed"}}{{end}}').render({})

    assert failed.value.reason == "line 2: fail: a region is needed"


def test_a_condition_must_be_a_bool() -> None:
    with pytest.raises(TemplateFailed, match="ternary: expected a bool as the condition, not int"):
        parse('{{ternary "a" "b" 1}}').render({})


@pytest.mark.parametrize("name", REFUSED)
def test_a_function_that_is_left_out_is_refused_when_the_template_is_parsed(name: str) -> None:
    with pytest.raises(TemplateSyntaxError, match=f"line 1: the function '{name}' is left out: "):
        parse("{{" + name + "}}")


def test_no_function_is_both_there_and_left_out() -> None:
    assert SPRIG.keys() & REFUSED.keys() == set()
