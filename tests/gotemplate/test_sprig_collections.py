import pytest

from compass.gotemplate import TemplateFailed, TemplateStepsExhausted, parse

DATA: dict[str, object] = {"l": [3, 1, 3, {"a": [1]}, {"a": [1]}], "m": {"b": 2, "a": 1}, "nil": None}


@pytest.mark.parametrize(
    ("call", "output"),
    [
        ("uniq .l", "[3 1 map[a:[1]]]"),
        ("without .l 3", "[1 map[a:[1]] map[a:[1]]]"),
        ('has (dict "a" (list 1)) .l', "true"),
        ("has 1.0 .l", "false"),
        ("first .l | print (last (list 1 2))", "2 3"),
        ("keys .m .m", "[a b a b]"),
        ("values .m", "[1 2]"),
        ("keys .nil | len", "0"),
        ('dig "x" "y" "d" .m', "d"),
        ('pick .m "a" "q"', "map[a:1]"),
        ('omit .m "a"', "map[b:2]"),
        ('dict "a" 1 "b"', "map[a:1 b:]"),
        ("until -3", "[0 -1 -2]"),
    ],
)
def test_lists_and_maps_are_worked_on_as_sprig_does(call: str, output: str) -> None:
    assert parse("{{" + call + "}}").render(DATA) == output


@pytest.mark.parametrize("call", ["first .m", "append .nil 1", "get .l `a`", "hasKey .m 1", "until `3`", "dig 1 2 .m"])
def test_what_is_no_list_or_map_is_refused(call: str) -> None:
    with pytest.raises(TemplateFailed):
        parse("{{" + call + "}}").render(DATA)


def test_long_lists_cost_steps_before_they_are_made() -> None:
    with pytest.raises(TemplateStepsExhausted):
        parse("{{until 9223372036854775807}}").render({})
