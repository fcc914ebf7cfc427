"""Which failure ends with which exit code."""

import pytest

from compass.agent.pair import TokenRefused
from compass.cli.failures import Exit, exit_for, exit_of, number_of
from compass.client.graphql import PlaneAnswerUnreadable, PlaneNotTrusted, PlaneRefused, PlaneUnreachable
from compass.errors import Code, CompassError, NameTaken, NotFound
from compass.settings import SettingRefused


def refused(code: int | None, status: int = 200) -> PlaneRefused:
    extensions = {} if code is None else {"extensions": {"error_code": code}}
    return PlaneRefused([{"message": "no", **extensions}], status=status)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (SettingRefused(setting="a", source="b", reason="c"), Exit.USAGE),
        (PlaneUnreachable(url="u", why="w"), Exit.CANNOT_REACH),
        (PlaneNotTrusted(url="u", why="w"), Exit.NOT_TRUSTED),
        (PlaneAnswerUnreadable(url="u", status="502", why="w"), Exit.FAILURE),
        (TokenRefused(), Exit.TOKEN_REFUSED),
        (refused(20), Exit.NOT_FOUND),
        (refused(21), Exit.CONFLICT),
        (refused(23), Exit.NOT_ALLOWED),
        (refused(10), Exit.FAILURE),
        (refused(999), Exit.FAILURE),
        (refused(None), Exit.FAILURE),
        (refused(None, status=401), Exit.NOT_ALLOWED),
        (NotFound(), Exit.NOT_FOUND),
        (NameTaken(), Exit.CONFLICT),
    ],
)
def test_each_refusal_has_its_exit_code(error: CompassError, expected: Exit) -> None:
    assert exit_of(error) is expected


def test_a_refusal_by_the_plane_is_shown_under_the_planes_number() -> None:
    assert number_of(refused(20)) == 20
    assert number_of(refused(None)) == Code.INVALID_OPERATION
    assert number_of(NotFound()) == 20


def test_only_success_is_zero() -> None:
    assert Exit.OK not in {exit_for(code) for code in Code}
