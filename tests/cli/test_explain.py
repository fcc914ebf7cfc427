"""`compass explain` knows every code, under every way it is written."""

import json

import pytest

from compass.cli.explain import MEANINGS
from compass.cli.main import run
from compass.errors import Code


def test_every_code_has_a_meaning_and_a_remedy() -> None:
    assert set(MEANINGS) == set(Code)
    assert all(meaning.endswith(".") and remedy for meaning, remedy in MEANINGS.values())


@pytest.mark.parametrize("written", ["20", "COMPASS-20", "compass-20", "NotFound", "notfound"])
def test_a_code_is_found_however_it_is_written(written: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", written]) == 0

    assert capsys.readouterr().out.splitlines()[0] == "COMPASS-20 NotFound"


def test_an_unknown_code_is_not_found_and_the_known_ones_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "99"]) == 4

    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: there is no error code '99'\nhint: the codes are 10, 20, 21")


def test_as_json_it_names_the_exit_code_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "31", "-o", "json"]) == 0

    [facts] = json.loads(capsys.readouterr().out)
    assert (facts["code"], facts["name"], facts["exit"]) == ("COMPASS-31", "NotUniqueName", 6)
