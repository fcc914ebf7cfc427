"""What a view is given."""

from typing import Any

import pytest

from compass.client.protocol import PlaneRefused
from compass.console.http import Request
from compass.console.plane import NotAllowed, Plane
from compass.console.session import Session
from compass.console.visit import Facts, Visit, together


class Answers(Plane):
    def __init__(self, answer: dict[str, Any] | Exception) -> None:
        self._answer = answer

    async def ask(self, _name: str, /, **_variables: Any) -> dict[str, Any]:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def visit(answer: dict[str, Any] | Exception, form: dict[str, str] | None = None) -> Visit:
    request = Request("POST", "/x", {"q": " a "}, "q=a", {}, form or {})
    return Visit(request, Session("t", "tenant", 0), Answers(answer), Facts("", str), {"id": "7"}, 0.0)


async def test_a_part_that_may_not_be_seen_is_none_and_the_page_goes_on() -> None:
    seen = await together(visit(NotAllowed(why="no")).see("A"), visit({"a": 1}).see("B"))

    assert seen == [None, {"a": 1}]


async def test_whatever_else_is_refused_is_the_pages_business() -> None:
    with pytest.raises(PlaneRefused):
        await visit(PlaneRefused([{"message": "no"}], status=200)).see("A")


def test_what_was_done_is_said_by_the_next_page() -> None:
    made = visit({}, {"name": " x "})

    answer = made.done("Done", "/groups")
    made.refused("Not", "/groups")

    assert (answer.status, answer.headers["location"]) == (303, "/console/groups")
    assert made.session.said == [("ok", "Done"), ("bad", "Not")]
    assert (made.form("name"), made.form("other"), made.query("q"), made["id"]) == ("x", "", "a", "7")
