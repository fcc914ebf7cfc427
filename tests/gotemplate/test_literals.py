import pytest

from compass.gotemplate import literals


def test_a_string_constant_means_what_go_says() -> None:
    assert literals.string(r'"a\tb\"\\\u00e9\U0001F600\x41\101"') == 'a\tb"\\é😀AA'
    assert literals.string(r'"\xc3\xa9\xff"') == "é\ufffd"
    assert literals.string("`a\\n\r\nb`") == "a\\n\nb"


def test_a_character_constant_is_its_code_point() -> None:
    assert [literals.character(token) for token in ("'a'", r"'\n'", r"'\''", "'é'")] == [97, 10, 39, 233]


def test_numbers_keep_the_difference_between_int_and_float() -> None:
    written = ["7", "-7", "+7", "0x1F", "0b11", "0o17", "017", "1_000", "0", "1.0", ".5", "1e3", "-2.5E-1"]

    assert [repr(literals.number(token)) for token in written] == [
        "7", "-7", "7", "31", "3", "15", "15", "1000", "0", "1.0", "0.5", "1000.0", "-0.25",
    ]  # fmt: skip


@pytest.mark.parametrize("token", ["1x", "08", "1.2.3", "9223372036854775808", "1e999", "1" * 41, "0x", "1e"])
def test_what_is_no_number_of_64_bits_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        literals.number(token)


@pytest.mark.parametrize("token", [r'"\q"', r'"\ud800"', r'"\U00110000"', r'"\x4"', r'"\400"', '"\\\'"'])
def test_an_escape_go_does_not_know_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        literals.string(token)


@pytest.mark.parametrize("token", ["''", "'ab'", r"'\"'"])
def test_a_character_constant_holds_exactly_one_character(token: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        literals.character(token)
