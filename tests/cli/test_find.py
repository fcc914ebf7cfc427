"""Names, ids, and what was meant. On a real plane: test_application.py, test_runtime.py."""

import pytest

from compass.cli.failures import CommandFailed, Exit
from compass.cli.find import APPLICATION, TENANT, _named, by_id, is_id, meant, pick, the_one

ROWS = [{"id": "1", "name": "Shop"}, {"id": "2", "name": "crm"}, {"id": "3", "name": "crm"}]


def test_an_exact_name_goes_before_one_in_other_letters() -> None:
    assert pick(ROWS, APPLICATION, "Shop")["id"] == "1"
    assert pick(ROWS, APPLICATION, "sHOP")["id"] == "1"
    assert pick([*ROWS, {"id": "4", "name": "shop"}], APPLICATION, "shop")["id"] == "4"


def test_several_of_one_name_are_a_conflict_that_names_them() -> None:
    with pytest.raises(CommandFailed, match="2 applications are called 'crm'") as refused:
        pick(ROWS, APPLICATION, "crm")

    assert refused.value.exit_code is Exit.CONFLICT
    assert refused.value.hint == "say which by its id: 2, 3"


def test_an_unknown_name_gets_a_question_or_the_way_to_the_list() -> None:
    with pytest.raises(CommandFailed) as refused:
        pick(ROWS, APPLICATION, "shpo")
    assert (refused.value.exit_code, refused.value.hint) == (Exit.NOT_FOUND, "did you mean Shop?")
    with pytest.raises(CommandFailed) as refused:
        pick([], TENANT, "x")
    assert refused.value.hint == "compass tenant list shows what there is"
    assert meant("crn", ["crm", "crn-2", "other"]) == "did you mean crn-2 or crm?"


def test_ids_are_told_from_names() -> None:
    assert is_id("00000000-0000-4000-8000-00000000000A")
    assert not is_id("00000000-0000-4000-8000-00000000000")


@pytest.mark.parametrize(
    ("name", "normal"),
    [("Shop CRM", "mp-shop-crm"), ("mp-a", "mp-a"), ("mp--a", "mp-mp-a"), ("a__b!", "mp-a-b"), ("ä", "mp")],
)
def test_names_are_looked_for_as_the_plane_normalizes_them(name: str, normal: str) -> None:
    assert _named(name) == [{"key": "name", "query": f'"{normal}"'}]


def test_ids_are_known_by_their_beginning_and_by_their_end() -> None:
    one, other = ({"id": f"01a20b48-0000-7000-8000-00000000000{n}"} for n in (1, 2))
    assert by_id([one, other], "01a20b48…") == [one, other]
    assert by_id([one, other], "…0002") == [other]
    assert by_id([one, other], "3") == []
    assert the_one([other], "0002", "thing", listing="compass thing list") == other
    with pytest.raises(CommandFailed, match="2 things begin or end with '01a2'") as several:
        the_one([one, other], "01a2", "thing", listing="compass thing list")
    assert several.value.exit_code == Exit.CONFLICT
    with pytest.raises(CommandFailed, match="there is no thing '3'") as none:
        the_one([], "3", "thing", listing="compass thing list")
    assert none.value.exit_code == Exit.NOT_FOUND
