"""Labels as they are written on the command line."""

import pytest

from compass.cli.failures import CommandFailed
from compass.cli.labels import filters, new, of_people, shown


def test_a_selector_is_a_filter_of_the_api() -> None:
    assert filters(["team=finance", "n=5", "only"]) == [
        {"key": "team", "query": '"finance"'},
        {"key": "n", "query": "5"},
        {"key": "only"},
    ]
    assert filters([]) is None


def test_values_are_json_where_they_read_as_json() -> None:
    assert new(["a=x", "b=5", 'c=["y"]', 'd="5"', "e="]) == {"a": "x", "b": 5, "c": ["y"], "d": "5", "e": ""}


@pytest.mark.parametrize("text", ["novalue", "=x"])
def test_what_is_no_label_is_refused(text: str) -> None:
    with pytest.raises(CommandFailed, match="is not key=value"):
        new([text])


def test_labels_of_the_plane_are_not_shown_as_somebodys() -> None:
    row = {"labels": {"team": "x", "n": 5, "scenarios": ["g"], "managed": "false", "isNormalized": "true"}}
    assert of_people(row) == {"n": 5, "team": "x"}
    assert shown(row) == "n=5,team=x"
    assert shown({"labels": None}) == ""
