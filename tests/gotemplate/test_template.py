import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compass.errors import Code, CompassError
from compass.gotemplate import (
    Limits,
    Record,
    TemplateError,
    TemplateFailed,
    TemplateResultNotJson,
    TemplateSyntaxError,
    TextMap,
    parse,
    render_json,
)
from compass.gotemplate.template import FUNCTIONS

KNOWN: dict[str, Any] = json.loads((Path(__file__).parent / "facts.json").read_text(encoding="utf-8"))

WEBHOOK = """{
  "context": {
    "operation": "{{ .Operation }}",
    "account": "{{ if .Customer.AccountID }}{{ .Customer.AccountID }}{{ else }}{{ .Customer.Path }}{{ end }}"
  },
  {{- $region := .Application.Labels.region | default .Template.Labels.region }}
  "source": {
    "name": {{ .Application.Name | quote }},
    "region": "{{ $region }}",
    "owner": "{{ .Application.Labels.owner }}",
    {{- if .Template.Labels.parameters }}
    "parameters": {{ .Template.Labels.parameters }},
    {{- end }}
    "labels": {
      {{- range $i, $key := keys .Application.Labels }}
      {{- if $i }},{{ end }}
      {{ $key | quote }}: {{ index $.Application.Labels $key | toJson }}
      {{- end }}
    },
    "configuration": {{ .Reverse.Value }}
  },
  "receiver": {
    {{- if and .Context (eq .Context.Key "tenant") }}
    "id": "{{ .Context.ID }}",
    {{- else }}
    "id": "{{ .Runtime.ID }}",
    {{- end }}
    "name": {{ printf "%s (%s)" .Runtime.Name $region | toJson }},
    "description": "{{ .Runtime.Description }}",
    "note": {{ .Runtime.Description }}
  }
}
"""
DATA: dict[str, object] = {
    "Operation": "assign",
    "Customer": Record(AccountID=None, Path="p/q"),
    "Application": Record(Name='the "shop"', Labels=TextMap(region="eu", kind="shop")),
    "Template": Record(Labels=TextMap()),
    "Reverse": Record(Value='{"k":[1,2]}'),
    "Context": None,
    "Runtime": Record(ID="r-1", Name="kyma", Description=None),
}


@pytest.mark.parametrize("fact", KNOWN["facts"], ids=lambda fact: fact["template"][:50])
def test_a_template_renders_as_go_and_sprig_render_it(fact: dict[str, Any]) -> None:
    if fact["output"] is None:
        with pytest.raises(TemplateError):
            parse(fact["template"]).render(KNOWN["data"])
    else:
        assert parse(fact["template"]).render(KNOWN["data"]) == fact["output"]


def test_a_webhook_template_makes_the_body_of_a_notification() -> None:
    assert render_json(WEBHOOK, DATA) == {
        "context": {"operation": "assign", "account": "p/q"},
        "source": {
            "name": 'the "shop"',
            "region": "eu",
            "owner": "",
            "labels": {"kind": "shop", "region": "eu"},
            "configuration": {"k": [1, 2]},
        },
        "receiver": {"id": "r-1", "name": "kyma (eu)", "description": "", "note": None},
    }


def test_a_parsed_template_renders_again_with_other_data() -> None:
    template = parse("{{$n := .n}}{{range 2}}{{$n = add $n 1}}{{end}}{{$n}}")

    assert [template.render({"n": 1}), template.render({"n": 5}), template.render({"n": 1})] == ["3", "7", "3"]


def test_nil_becomes_empty_text_in_quotes_and_null_without() -> None:
    source = '{"a":"{{print .x}}","b":{{print .x}},"c":"{{.x}}","d":{{.x}}}'

    assert render_json(source, {}) == {"a": "", "b": None, "c": "", "d": None}


def test_a_result_that_is_not_json_is_refused_with_the_place() -> None:
    with pytest.raises(TemplateResultNotJson) as refused:
        render_json('{\n"a": {{.a}}}', {"a": "plain"})

    assert refused.value.line == 2
    assert refused.value.reason == (
        "line 2: the rendered text is not JSON: Expecting value, column 6, near '{\\n\"a\": plain}'"
    )


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{if false}}{}{{end}}  ", "the template renders to nothing, and JSON was expected"),
        ("[NaN]", "the rendered text holds a number that JSON does not know"),
        ("[" * 60_000, "the rendered text is nested too deeply for JSON"),
    ],
)
def test_what_only_looks_like_json_is_refused(source: str, reason: str) -> None:
    with pytest.raises(TemplateResultNotJson) as refused:
        render_json(source, {})

    assert refused.value.reason == reason


def test_every_error_tells_the_client_what_is_wrong_and_where() -> None:
    with pytest.raises(CompassError) as refused:
        parse("one\n{{ if .x }}\ntwo")

    assert refused.value.code is Code.INVALID_DATA
    assert refused.value.wire_text() == "Invalid data [reason=line 2: 'if' is not closed: expected \"{{end}}\"]"


def test_a_template_cannot_reach_into_python() -> None:
    class Holder:
        secret = "open sesame"

    for source in ("{{.h.secret}}", "{{.h}}", "{{.h.__class__}}", "{{toJson .h}}", "{{.d.keys.x}}", "{{index .h 0}}"):
        with pytest.raises(TemplateFailed):
            parse(source).render({"h": Holder(), "d": {}})
    assert parse("{{.d.items}}{{.__class__}}").render({"d": {}}) == "<no value><no value>"


def test_a_template_leaves_its_data_as_they_are() -> None:
    data: dict[str, object] = {"l": [3, 1, 2], "m": {"a": [1]}}

    parse('{{append .l 9}}{{sortAlpha .l}}{{reverse .l}}{{updateAndCopy .m "a" 2}}{{omit .m "a"}}').render(data)

    assert data == {"l": [3, 1, 2], "m": {"a": [1]}}


PIECES = st.sampled_from(
    [
        "{{", "}}", "{{- ", " -}}", "if ", "else", "end", "range ", "with ", "define ", "template ", "block ", "break",
        ".a", ".l", ".m", "$", "$x", " := ", " = ", "|", "(", ")", ",", '"', "`", "'", "\\", "1", "-9", "1e9", "0x",
        "nil", "true", " ", "\n", "{", "}", "/*", "*/", "é", "\ud800", "\0", "%v", *FUNCTIONS,
    ]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("alm"), inner, max_size=3),
    max_leaves=12,
)


@given(st.lists(PIECES, max_size=60), st.booleans(), VALUES)
@settings(max_examples=400, deadline=None)
def test_random_text_is_a_template_or_refused_and_ends_in_time(pieces: list[str], wrapped: bool, data: object) -> None:
    source = "".join(f"{{{{{piece} .a $ 3}}}}" if wrapped else piece for piece in pieces)
    started = time.process_time()
    with suppress(TemplateError):
        render_json(source, data)
    assert time.process_time() - started < 2


CALLS = st.sampled_from(sorted(FUNCTIONS.keys() - {"and", "or"}))
OPERANDS = st.sampled_from(
    [".", ".a", ".l", ".m", "$", "nil", '"x"', '"%d %s"', "1", "-1", "99999999999", "2.5", "true"]
)


@given(CALLS, st.lists(OPERANDS, max_size=4), VALUES)
@settings(max_examples=800, deadline=None)
def test_a_function_works_or_refuses_whatever_it_is_given(name: str, operands: list[str], data: object) -> None:
    with suppress(TemplateError):
        parse("{{" + " ".join([name, *operands]) + "}}").render(data).encode()


COSTLY_CALLS = ("upper $x", "js $x", "quote $x", "toJson $x", 'splitList "" $x', "title $x", "index $x 1")
BIG = '{{$x := repeat 2500 "abcde fghi"}}'


@pytest.mark.parametrize(
    "source",
    [
        *(BIG + "{{range 9999}}{{$y := " + call + "}}{{end}}" for call in COSTLY_CALLS),
        "{{$x := list 1 2}}{{range 60}}{{$x = list $x $x}}{{end}}{{toJson $x}}",
        "{{$x := list 1 2}}{{range 40}}{{$x = list $x $x}}{{end}}{{$x}}",
        "{{$x := list 1 2}}{{range 40}}{{$x = list $x $x}}{{end}}{{deepEqual $x $x}}",
        '{{$x := "ab"}}{{range 60}}{{$x = print $x $x}}{{end}}',
        "{{$x := list 1 2}}{{range 60}}{{$x = concat $x $x}}{{end}}",
        '{{define "a"}}{{template "a"}}{{template "a"}}{{end}}{{template "a"}}',
        '{{define "a"}}{{if .}}{{template "a" (sub . 1)}}{{template "a" (sub . 1)}}{{end}}{{end}}{{template "a" 25}}',
        '{{range 9999}}{{$x := printf "%200000d" 1}}{{end}}',
        '{{range 9999}}{{$x := printf "%.9999f" 1e308}}{{end}}',
        '{{repeat 999999999 "ab"}}',
        "{{until 999999999999}}",
        "{{range 999999999999}}{{end}}",
        "{{if 1}}" * 9000,
        "{{" + "(" * 30_000,
        "{{" + "1" * 60_000 + "}}",
        "{{" + "$x" * 30_000 + "}}",
        '{{"' + "\\" * 60_001 + '"}}',
    ],
    ids=lambda source: source[:60],
)  # fmt: skip
def test_a_template_made_to_exhaust_the_plane_is_refused_in_time(source: str) -> None:
    started = time.process_time()
    with pytest.raises(TemplateError):
        parse(source).render({})
    assert time.process_time() - started < 1


def test_a_typical_webhook_template_renders_within_a_millisecond() -> None:
    template = parse(WEBHOOK)

    def seconds() -> float:
        started = time.perf_counter()
        template.render(DATA, limits=Limits())
        return time.perf_counter() - started

    assert min(seconds() for _ in range(200)) < 0.001


def test_a_function_the_plane_leaves_out_is_refused_with_the_reason() -> None:
    with pytest.raises(TemplateSyntaxError, match="'env' is left out: a template reads nothing but the data"):
        parse('{{env "HOME"}}')
