import pytest

from compass.gotemplate.errors import TemplateFailed, TemplateOutputTooLarge, TemplateTooDeep
from compass.gotemplate.formatting import float_text, json_text, printed, quoted, spaced_out, sprintf, utf8
from compass.gotemplate.run import Limits, Run
from compass.gotemplate.values import Record


@pytest.fixture
def run() -> Run:
    return Run(Limits())


def test_floats_have_gos_digits_and_exponents() -> None:
    values = [0.0, -0.0, 1.0, 0.1, 123456.0, 999999.5, 1e6, 1.5e6, 1e-4, 1e-5, 5e-324, 1.7976931348623157e308, -2.5]

    assert [float_text(value) for value in values] == [
        "0", "-0", "1", "0.1", "123456", "999999.5", "1e+06", "1.5e+06", "0.0001", "1e-05", "5e-324",
        "1.7976931348623157e+308", "-2.5",
    ]  # fmt: skip
    assert [float_text(float(name)) for name in ("nan", "inf", "-inf")] == ["NaN", "+Inf", "-Inf"]


def test_json_is_written_as_go_writes_it(run: Run) -> None:
    value = {"b": [1, 1.0, 1e21, 1e-7, None, True], "a": "<é\u2028\x01&>"}

    assert json_text(run, value) == r'{"a":"\u003cé\u2028\u0001\u0026\u003e","b":[1,1,1e+21,1e-7,null,true]}'
    assert json_text(run, "<&>", escape_html=False) == '"<&>"'
    assert json_text(run, {"a": [], "b": [1]}, indent="  ") == '{\n  "a": [],\n  "b": [\n    1\n  ]\n}'


def test_the_fields_of_a_record_keep_their_order_in_json(run: Run) -> None:
    assert json_text(run, Record(b=1, a=2)) == '{"b":1,"a":2}'


def test_json_knows_no_nan(run: Run) -> None:
    with pytest.raises(TemplateFailed, match="JSON has no number NaN"):
        json_text(run, [float("nan")])


def test_a_directive_formats_its_value_or_says_that_it_does_not_fit(run: Run) -> None:
    assert (
        sprintf(run, "%5d|%-5s|%05.1f|%+d|%q|%x", (42, "ab", 2.25, 7, 'a"', "hi")) == '   42|ab   |002.2|+7|"a\\""|6869'
    )
    assert sprintf(run, "%d %s", ("a",)) == "%!d(string=a) %!s(MISSING)"
    assert sprintf(run, "a", (1, None)) == "a%!(EXTRA int=1, <nil>)"
    assert sprintf(run, "%", ()) == "%!(NOVERB)"


@pytest.mark.parametrize("directive", ["%*d", "%[1]d", "%#v", "%99999999d"])
def test_what_printf_does_not_support_is_refused(run: Run, directive: str) -> None:
    with pytest.raises(TemplateFailed):
        sprintf(run, directive, (1, 2))


def test_padding_is_refused_before_it_is_made(run: Run) -> None:
    with pytest.raises(TemplateOutputTooLarge):
        sprintf(run, "%999999d", (1,))
    with pytest.raises(TemplateOutputTooLarge):
        sprintf(run, "%200000d%200000d", (1, 2))


def test_collections_are_printed_with_sorted_keys(run: Run) -> None:
    assert printed(run, {"b": [1, None, "x"], "a": {"c": 1.5}}) == "map[a:map[c:1.5] b:[1 <nil> x]]"
    assert spaced_out(run, (1, 2, "a", 3, None)) == "1 2a3 <nil>"


def test_a_value_nested_too_deeply_is_refused(run: Run) -> None:
    nested: list[object] = []
    for _ in range(65):
        nested = [nested]

    with pytest.raises(TemplateTooDeep):
        printed(run, nested)
    with pytest.raises(TemplateTooDeep):
        json_text(run, nested)


def test_an_int_beyond_64_bits_and_a_record_are_refused(run: Run) -> None:
    for value in (2**64, Record(a=1)):
        with pytest.raises(TemplateFailed):
            printed(run, value)


def test_quoted_text_shows_what_cannot_be_seen() -> None:
    assert quoted('a"\\\n\x00\x7f\u200b😀é') == r'"a\"\\\n\x00\x7f\u200b😀é"'


def test_bytes_of_a_lone_surrogate_are_those_of_the_replacement_character() -> None:
    assert utf8("a\ud800") == "a\ufffd".encode()


def test_writing_a_value_costs_a_step_for_each_of_its_elements() -> None:
    run = Run(Limits(max_steps=100))

    json_text(run, [1, [2, 3], {"a": 4}])
    assert run.steps_left == 100 - 7
    printed(run, [1, [2, 3], {"a": 4}])
    assert run.steps_left == 100 - 7 - 6
