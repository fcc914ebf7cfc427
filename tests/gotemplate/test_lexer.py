import pytest

from compass.gotemplate.errors import TemplateSyntaxError
from compass.gotemplate.lexer import Kind, tokens


def test_an_action_is_cut_into_tokens_that_know_whether_a_blank_stands_before_them() -> None:
    assert [(token.kind.name, token.text, token.spaced) for token in tokens('a{{$x.B .C | f "q" (1) := ,}}')] == [
        ("TEXT", "a", False),
        ("OPEN", "{{", False),
        ("VARIABLE", "$x", False),
        ("FIELD", ".B", False),
        ("FIELD", ".C", True),
        ("PIPE", "|", True),
        ("NAME", "f", True),
        ("STRING", '"q"', True),
        ("LEFT", "(", True),
        ("NUMBER", "1", False),
        ("RIGHT", ")", False),
        ("DECLARE", ":=", True),
        ("COMMA", ",", True),
        ("CLOSE", "}}", False),
        ("END", "", False),
    ]


def test_trim_markers_remove_the_blanks_next_to_them() -> None:
    texts = [token.text for token in tokens("a \n{{- 1 -}}\t b {{-1}} c") if token.kind is Kind.TEXT]

    assert texts == ["a", "b ", " c"]


def test_a_comment_leaves_no_token() -> None:
    assert [token.text for token in tokens("a {{- /* b\n}} */ -}} c")] == ["a", "c", ""]


def test_lines_are_counted_through_text_trimmed_blanks_comments_and_raw_strings() -> None:
    source = "a\n{{1}}\n\n{{- 2 -}}\n\n{{/*\n*/}}{{`\n`}}\n{{\n3}}"
    numbers = {token.text: token.line for token in tokens(source) if token.kind is Kind.NUMBER}

    assert numbers == {"1": 2, "2": 4, "3": 10}


@pytest.mark.parametrize(
    ("source", "line", "expected"),
    [
        ("\n{{ .a", 2, 'expected "}}"'),
        ("{{ /* a", 1, "unexpected '/'"),
        ("\n{{/* a", 2, 'expected "*/"'),
        ("{{/* a */ b}}", 1, 'expected "}}" right after the end of a comment'),
        ('{{"a\n"}}', 1, "a string is not closed"),
        ("{{`a", 1, "a raw string is not closed"),
        ("{{'a}}", 1, "a character constant is not closed"),
        ("{{\n#}}", 2, "unexpected '#' in an action"),
        ('{{.a"b"}}', 1, "unexpected '\"' after '.a': expected a blank"),
    ],
)
def test_what_is_no_token_is_refused_with_its_line(source: str, line: int, expected: str) -> None:
    with pytest.raises(TemplateSyntaxError) as refused:
        tokens(source)

    assert refused.value.line == line
    assert expected in refused.value.reason
