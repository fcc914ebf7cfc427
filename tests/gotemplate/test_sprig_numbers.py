import pytest

from compass.gotemplate import TemplateFailed, parse


@pytest.mark.parametrize(
    ("call", "output"),
    [
        ('add 1 "2" 3.9 nil "x" true', "7"),
        ("sub 1 2 | mul 3 4", "-12"),
        ("div -7 2", "-3"),
        ("mod -7 3", "-1"),
        ("add 9223372036854775807 1", "-9223372036854775808"),
        ("mul 4611686018427387904 4", "0"),
        ("max 1 5 3 | min 9", "5"),
        ('int "0x10"', "16"),
        ('int "1.0"', "1"),
        ('int "1.5"', "0"),
        ('int "99999999999999999999"', "0"),
        ('atoi "010"', "10"),
        ('float64 "1.25"', "1.25"),
        ('float64 "x"', "0"),
        ("int .big", "0"),
    ],
)
def test_numbers_are_worked_on_as_sprig_does(call: str, output: str) -> None:
    assert parse("{{" + call + "}}").render({"big": 2**64}) == output


@pytest.mark.parametrize("call", ["div 1 0", "mod 1 0", "div 1 nil", "atoi 1"])
def test_a_division_by_zero_and_what_is_no_number_are_refused(call: str) -> None:
    with pytest.raises(TemplateFailed):
        parse("{{" + call + "}}").render({})
