import pytest

from compass.gotemplate import (
    Limits,
    Record,
    TemplateFailed,
    TemplateOutputTooLarge,
    TemplateRecursionTooDeep,
    TemplateStepsExhausted,
    TemplateTooDeep,
    TextMap,
    parse,
)


def rendered(source: str, data: object = None, **limits: int) -> str:
    return parse(source).render(data, limits=Limits(**limits))


def test_a_field_a_record_lacks_is_an_error_and_a_key_a_map_lacks_is_nil() -> None:
    with pytest.raises(TemplateFailed, match=r"line 2: there is no field 'Nmae' in \.App\.Nmae"):
        rendered("\n{{.App.Nmae}}", {"App": Record(Name="a")})

    assert rendered("{{.App.Nmae}}", {"App": {"Name": "a"}}) == "<no value>"
    assert rendered("[{{.App.Nmae}}]", {"App": TextMap(Name="a")}) == "[]"


def test_a_field_of_nil_inside_a_chain_is_an_error_and_nil_in_parentheses_gives_nil() -> None:
    with pytest.raises(TemplateFailed, match=r"line 1: nil has no field 'Key' in \.Context\.Key"):
        rendered("{{.Context.Key}}", {"Context": None})

    assert rendered("{{(.Context).Key}}", {"Context": None}) == "<no value>"


def test_a_record_is_true_and_an_empty_map_is_false() -> None:
    assert rendered("{{if .r}}r{{end}}{{if .m}}m{{end}}", {"r": Record(), "m": {}}) == "r"


def test_and_or_leave_the_rest_unevaluated() -> None:
    assert rendered("{{and false (fail `a`)}} {{or 1 (fail `b`)}} {{2 | and 1}} {{2 | or 0}}") == "false 1 2 2"


def test_break_and_continue_end_only_the_innermost_range() -> None:
    source = "{{range .}}{{range .}}{{if eq . 2}}{{continue}}{{else if eq . 4}}{{break}}{{end}}{{.}}{{end}};{{end}}"

    assert rendered(source, [[1, 2, 3], [4, 5], [2, 6]]) == "13;;6;"


def test_an_assignment_reaches_the_variable_outside_the_block() -> None:
    assert (
        rendered("{{$a := 0}}{{range $i, $e := .}}{{if $i}}{{$a = add $a $e}}{{end}}{{end}}{{$a}}", [5, 6, 7]) == "13"
    )


def test_a_lone_surrogate_becomes_the_replacement_character() -> None:
    assert rendered("{{.}}", "a\ud800b") == "a\ufffdb"


def test_a_map_with_a_key_that_is_no_text_is_refused() -> None:
    for source in ("{{range .}}{{end}}", "{{.}}", "{{toJson .}}", "{{keys .}}"):
        with pytest.raises(TemplateFailed, match="a map that has a key of int"):
            rendered(source, {1: 2})


def test_steps_are_counted_up_to_the_limit() -> None:
    assert rendered("{{range 5}}{{end}}", max_steps=20) == ""

    with pytest.raises(TemplateStepsExhausted, match="line 2: rendering takes more than 20 steps"):
        rendered("\n{{range 15}}{{end}}", max_steps=20)


def test_the_output_has_a_largest_size_in_bytes() -> None:
    assert rendered("{{.}}", "é" * 5, max_output_bytes=10) == "é" * 5

    with pytest.raises(TemplateOutputTooLarge, match="the output is longer than 10 bytes"):
        rendered("{{.}}a", "é" * 5, max_output_bytes=10)
    with pytest.raises(TemplateOutputTooLarge, match="line 3"):
        rendered("\n\n{{range .}}{{.}}{{end}}", ["abcdef"] * 3, max_output_bytes=10)


def test_templates_call_each_other_up_to_the_limit() -> None:
    source = '{{define "down"}}{{.}}{{if .}}{{template "down" (sub . 1)}}{{end}}{{end}}{{template "down" .}}'

    assert rendered(source, 3, max_recursion=4) == "3210"
    with pytest.raises(TemplateRecursionTooDeep, match="more than 4 templates call each other"):
        rendered(source, 4, max_recursion=4)


def test_one_template_may_be_called_often_one_after_another() -> None:
    assert rendered('{{define "a"}}x{{end}}{{range 99}}{{template "a"}}{{end}}', max_recursion=1) == "x" * 99


def test_blocks_open_at_the_same_time_are_limited_through_called_templates() -> None:
    source = '{{define "d"}}{{if 1}}{{if 1}}{{template "d"}}{{end}}{{end}}{{end}}{{template "d"}}'

    with pytest.raises(TemplateTooDeep, match="more than 30 blocks"):
        rendered(source, max_depth=30)


def test_the_default_limits_leave_room_on_the_stack() -> None:
    nested = '{{define "d"}}' + "{{if 1}}" * 40 + '{{template "d"}}' + "{{end}}" * 40 + '{{end}}{{template "d"}}'

    with pytest.raises(TemplateTooDeep):
        rendered(nested)


def test_the_number_of_arguments_is_checked() -> None:
    with pytest.raises(TemplateFailed, match="line 1: upper: the number of arguments is 2: expected 1"):
        rendered("{{upper `a` `b`}}")
    with pytest.raises(TemplateFailed, match="printf: the number of arguments is 0: expected 1 or more"):
        rendered("{{printf}}")


def test_a_function_pays_for_the_texts_it_reads_and_makes() -> None:
    long = "a" * 6400  # a hundred steps each time it is read or made

    assert rendered("{{$x := len .}}", long, max_steps=110) == ""
    with pytest.raises(TemplateStepsExhausted):
        rendered("{{$x := len .}}", long, max_steps=90)
    assert rendered("{{$x := upper .}}", long, max_steps=210) == ""
    with pytest.raises(TemplateStepsExhausted):
        rendered("{{$x := upper .}}", long, max_steps=190)
