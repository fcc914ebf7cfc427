import pytest

from compass.gotemplate.errors import TemplateError, TemplateSyntaxError, TemplateTooDeep, TemplateTooLarge
from compass.gotemplate.nodes import Action, Call, Dot, Fields, Function, Literal, Pipeline, Source, Text, Variable
from compass.gotemplate.parser import MAX_NESTING, MAX_SOURCE_BYTES, parse_source

F = Function(lambda _run, *_values: None, 0, None)


def parsed(source: str) -> Source:
    return parse_source(source, {"f": F}, {"g": "it is dangerous"})


def test_a_template_becomes_a_tree() -> None:
    assert parsed("a{{$x := .A.B}}\n{{f $x.C (.) | f 1}}").main.nodes == (
        Text("a"),
        Action(Pipeline(Fields(Dot(), ("A", "B")), (), (1,), 1)),
        Text("\n"),
        Action(
            Pipeline(
                Call("f", F, (Fields(Variable(1), ("C",)), Pipeline(Dot(), (), (), 2)), 2),
                (Call("f", F, (Literal(1),), 2),),
                (),
                2,
            )
        ),
    )


def test_a_variable_ends_with_its_block() -> None:
    with pytest.raises(TemplateSyntaxError, match=r"line 2: the variable \$x is not defined"):
        parsed("{{if f}}{{$x := 1}}{{end}}\n{{$x}}")


def test_a_declaration_reads_the_outer_variable_of_the_same_name() -> None:
    (first, second) = parsed("{{$x := 1}}{{$x := $x}}").main.nodes

    assert isinstance(first, Action)
    assert isinstance(second, Action)
    assert second.pipeline == Pipeline(Variable(1), (), (1 + 1,), 1)


def test_a_template_knows_no_variables_of_the_one_around_it() -> None:
    with pytest.raises(TemplateSyntaxError, match="is not defined"):
        parsed('{{$x := 1}}{{block "b" .}}{{$x}}{{end}}')


def test_break_inside_a_defined_template_needs_a_range_of_its_own() -> None:
    with pytest.raises(TemplateSyntaxError, match="expected a 'range' around 'break'"):
        parsed('{{range .}}{{block "b" .}}{{break}}{{end}}{{end}}')


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("a\n\n{{h}}", "line 3: there is no function 'h'"),
        ("{{g}}", "line 1: the function 'g' is left out: it is dangerous"),
        ("{{if f}}\n{{else}}\n{{else}}{{end}}", "line 3: unexpected 'else': expected \"end\""),
        ("\n{{end}}", "line 2: unexpected 'end': expected text or an action: no block is open here"),
        ("{{f\n(f}}", 'line 2: unexpected "}}": expected ")" after a value in parentheses'),
        ('{{define "a"}}x{{end}}\n{{define "a"}}y{{end}}', "line 2: the template 'a' is defined twice"),
        ("{{if f}}{{define `a`}}{{end}}{{end}}", "line 1: unexpected 'define': expected an action"),
        ("{{.a 1}}", "line 1: unexpected '.a': expected a function before its arguments"),
        ("{{f | .a}}", 'line 1: expected a function after "|"'),
        ("{{1.2.3}}", "line 1: unexpected '1.2.3': expected a number"),
        ("{{range $a, .b}}{{end}}", "line 1: unexpected '.b': expected a variable after \",\""),
        ("{{range $a, $b}}{{end}}", 'line 1: unexpected "}}": expected ":=" or "="'),
        ("{{nil}}", "line 1: unexpected nil"),
    ],
)
def test_a_fault_is_named_with_its_line_and_what_was_expected(source: str, reason: str) -> None:
    with pytest.raises(TemplateSyntaxError) as refused:
        parsed(source)

    assert refused.value.reason.startswith(reason)


def test_a_source_has_a_largest_size_in_bytes() -> None:
    parsed("é" * (MAX_SOURCE_BYTES // 2))

    with pytest.raises(TemplateTooLarge, match="longer than 65536 bytes"):
        parsed("é" * (MAX_SOURCE_BYTES // 2) + "a")


@pytest.mark.parametrize(("opening", "closing"), [("{{if f}}", "{{end}}"), ("{{range f}}", "{{end}}")])
def test_blocks_nest_up_to_the_limit(opening: str, closing: str) -> None:
    parsed(opening * MAX_NESTING + closing * MAX_NESTING)

    with pytest.raises(TemplateTooDeep):
        parsed(opening * (MAX_NESTING + 1) + closing * (MAX_NESTING + 1))


def test_parentheses_nest_up_to_the_limit() -> None:
    parsed("{{" + "(" * MAX_NESTING + "f" + ")" * MAX_NESTING + "}}")

    with pytest.raises(TemplateTooDeep):
        parsed("{{" + "(" * (MAX_NESTING + 1) + "f" + ")" * (MAX_NESTING + 1) + "}}")


def test_blocks_one_after_another_do_not_count_as_nested() -> None:
    parsed(
        '{{if f}}{{else if f}}{{end}}{{with f}}{{end}}{{range f}}{{else}}{{end}}{{f (f)}}{{block "b" .}} {{end}}' * 100
    )


def test_every_error_of_the_parser_is_a_template_error() -> None:
    assert {kind.__mro__[1] for kind in (TemplateSyntaxError, TemplateTooDeep, TemplateTooLarge)} == {TemplateError}
