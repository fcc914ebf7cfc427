"""What goes on without a page: it is told while it lasts, leads on when it is done, and ends by itself."""

import asyncio
from typing import Any

from compass.console.http import Answer, Request, moved
from compass.console.page import Page
from compass.console.session import Session
from compass.console.visit import Facts, Visit
from compass.console.waiting import MOST_UNDER_WAY, patiently, waited
from tests.director.groups import until


def visit(session: Session, *, waiting: str = "", is_part: bool = False) -> Visit:
    """A visit of the page that waits."""
    headers = {"hx-request": "true"} if is_part else {}
    request = Request("GET", "/x", {"waiting": waiting}, "", headers)
    no: Any = None
    return Visit(request, session, no, Facts("", str), {}, 0.0)


def number(answer: Answer) -> str:
    return answer.headers["location"].partition("?waiting=")[2]


async def test_what_is_soon_done_has_no_page_of_its_own() -> None:
    session = Session("token", "mine", 0.0)
    one = visit(session)

    async def work(inside: Visit) -> Answer:
        inside.asked.append(("Asked", {}))
        return moved("/done")

    assert (await patiently(one, work, page="/x", from_where="h")).headers["location"] == "/done"
    assert (one.asked, session.under_way) == ([("Asked", {})], {})


async def test_what_takes_longer_is_told_until_it_is_done() -> None:
    session = Session("token", "mine", 0.0)
    go_on = asyncio.Event()

    async def work(inside: Visit) -> Answer:
        await go_on.wait()
        inside.asked.append(("Asked", {}))
        return moved("/done")

    key = number(await patiently(visit(session), work, page="/x", from_where="h.example"))
    page = waited(visit(session, waiting=key))
    assert isinstance(page, Page)
    assert (page.title, page.poll_seconds) == ("Fetching from h.example", 1)
    assert waited(visit(session, waiting="another")) is None
    assert waited(visit(Session("token", "mine", 0.0), waiting=key)) is None  # another's
    go_on.set()

    async def is_done() -> bool:
        return bool(session.under_way[key].task.done())

    await until(is_done, within=30)
    part = visit(session, waiting=key, is_part=True)
    led = waited(part)
    assert isinstance(led, Answer)
    assert (led.headers["hx-redirect"], part.asked) == ("/done", [("Asked", {})])
    again = visit(session, waiting=key)
    answer = waited(again)
    # What was done is told once.
    assert isinstance(answer, Answer)
    assert (answer.headers["location"], again.asked) == ("/done", [])


async def test_what_breaks_is_told_to_whoever_waits() -> None:
    session = Session("token", "mine", 0.0)

    async def work(_: Visit) -> Answer:
        raise RuntimeError

    answer = await patiently(visit(session), work, page="/x", from_where="h")

    assert (answer.status, session.said[0][0]) == (303, "bad")


async def test_a_session_remembers_so_many_and_no_more() -> None:
    session = Session("token", "mine", 0.0)
    go_on = asyncio.Event()

    async def work(_: Visit) -> Answer:
        await go_on.wait()
        return moved("/done")

    several = [patiently(visit(session), work, page="/x", from_where="h") for _ in range(MOST_UNDER_WAY + 2)]
    keys = [number(answer) for answer in await asyncio.gather(*several)]

    assert list(session.under_way) == keys[2:]
    tasks = [one.task for one in session.under_way.values()]
    go_on.set()
    await asyncio.gather(*tasks)
