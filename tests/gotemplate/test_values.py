from compass.gotemplate import parse
from compass.gotemplate.values import Absent, Record, TextMap, is_true, kind_name, type_name

ALL: list[object] = [None, True, 1, 1.5, "a", [], {}, TextMap(), Record(), object()]


def test_types_and_kinds_have_gos_names() -> None:
    assert [type_name(value) for value in ALL] == [
        "<nil>", "bool", "int", "float64", "string", "[]interface {}", "map[string]interface {}", "map[string]string",
        "structure", "unusable type object",
    ]  # fmt: skip
    assert [kind_name(value) for value in ALL[:-1]] == [
        "invalid", "bool", "int", "float64", "string", "slice", "map", "map", "struct",
    ]  # fmt: skip


def test_zero_nil_and_empty_values_are_false_and_a_record_never_is() -> None:
    false: list[object] = [None, False, 0, 0.0, "", [], {}, TextMap()]
    true: list[object] = [True, -1, 0.1, " ", [None], {"a": None}, Record()]

    assert list(map(is_true, false)) == [False] * 8
    assert list(map(is_true, true)) == [True] * 7


def test_a_structure_that_is_not_there_is_false_and_its_fields_are_found() -> None:
    nobody = Absent(Name="")

    assert not is_true(nobody)
    assert is_true(Record(Name=""))
    assert parse("{{if .A}}{{.A.Name}}{{else}}none{{end}}|{{.A.Name}}").render(Record(A=nobody)) == "none|"
