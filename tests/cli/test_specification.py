"""What commands say of the text of a specification. Against a real plane: test_api.py, test_event.py."""

import json

import pytest

from compass.cli.failures import CommandFailed, Exit
from compass.cli.specification import compared, differences, render, summary, told, understood, validate
from tests.definition.samples import LAUGHS, ODATA_4, OPENAPI_3

BEFORE = json.dumps(OPENAPI_3)
AFTER = json.dumps({**OPENAPI_3, "paths": {"/orders": OPENAPI_3["paths"]["/orders"]}})


def test_what_breaks_is_marked_and_comes_first() -> None:
    changes = compared(AFTER.replace("List orders", "Orders"), BEFORE.replace("limit", "most"))

    assert changes is not None
    assert told(changes) == [
        "! breaking: GET /orders: removed query parameter limit",
        "  GET /orders: is described otherwise",
        "  GET /orders: added query parameter most",
        "  added GET /orders/{id}",
    ]


def test_how_texts_differ_is_told_by_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    before, after = (BEFORE, "before"), (AFTER, "after")

    assert differences(before, before) is Exit.OK
    assert differences(before, (json.dumps(OPENAPI_3, indent=1), "other")) is Exit.DIFFERENCES
    assert capsys.readouterr().out == "  the same, written otherwise\n"
    assert differences(before, (json.dumps(OPENAPI_3, indent=1), "other"), only_breaking=True) is Exit.OK
    assert differences(after, before, only_breaking=True) is Exit.OK
    assert differences(before, after, only_breaking=True) is Exit.DIFFERENCES
    assert capsys.readouterr().out == "! breaking: removed GET /orders/{id}\n"
    assert differences(before, after, as_text=True) is Exit.DIFFERENCES
    assert capsys.readouterr().out.startswith("--- before\n+++ after\n")


def test_what_cannot_be_taken_apart_is_compared_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert compared("{", BEFORE) is None
    assert differences(("a", "one"), ("b", "other")) is Exit.DIFFERENCES

    printed = capsys.readouterr()
    assert (printed.out, "line by line" in printed.err) == ("--- one\n+++ other\n@@ -1 +1 @@\n-a\n+b\n", True)


def test_what_cannot_be_read_is_refused_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CommandFailed, match=r"f\.yaml:2:8: \*a repeats another part") as refused:
        understood(LAUGHS, "f.yaml")
    assert refused.value.exit_code is Exit.USAGE

    assert validate("a: [\n", "f.yaml") is Exit.FAILURE
    assert capsys.readouterr().out == "f.yaml:2:1: error: did not find expected node content\n"
    assert summary(LAUGHS, "x") == ""


def test_a_specification_without_fault_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert validate(ODATA_4, "f.edmx") is Exit.OK

    assert capsys.readouterr().err == "✓ OData 4.0, 3 operations, 0 warnings\n"
    assert summary(BEFORE, "compass api validate f") == "3 operations"


def test_what_steers_a_terminal_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    render(json.dumps({"openapi": "3.0.0", "info": {"title": "a\x1b[2Jb", "description": "c\x1b]0;d\x07\r"}}), "f")

    printed = capsys.readouterr().out
    assert (printed.startswith("a [2Jb\n"), "\x1b" in printed, "\x07" in printed) == (True, False, False)
