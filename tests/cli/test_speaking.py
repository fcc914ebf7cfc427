"""Speaking to the plane: lists read to their end, and rehearsals that send nothing."""

import json
import re

import pytest

from compass.cli import context
from compass.cli.context import Context
from compass.cli.failures import Rehearsed
from compass.cli.speaking import HERE, Where, given, speaking
from compass.client.protocol import PlaneRefused
from tests.cli.conftest import Answering, Cli


@pytest.fixture(autouse=True)
def _signed_in(plane: Answering) -> None:
    local = Context(name="local", url=plane.url, ca_pin=plane.pin, client_id="admin", tenant="default")
    context.keep(local, secret="correct", anchor=plane.ca_pem)


def page(names: list[str], end: str) -> dict[str, object]:
    info = {"endCursor": end, "hasNextPage": bool(end)}
    return {"data": {"applications": {"data": [{"name": name} for name in names], "pageInfo": info, "totalCount": 3}}}


def asked(plane: Answering) -> list[dict[str, object]]:
    return [json.loads(body)["variables"] for path, _, body in plane.heard if path == "/director/graphql"]


def test_a_list_is_read_to_its_end_and_comes_by_name(plane: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = iter([page(["c", "a"], "next"), page(["b"], "")])
    monkeypatch.setattr(Answering, "answer", property(lambda _: next(pages), lambda *_: None), raising=False)

    with speaking(HERE) as conversation:
        assert [row["name"] for row in conversation.all("ApplicationNames")] == ["a", "b", "c"]

    assert [(each["first"], each["after"]) for each in asked(plane)] == [(200, None), (200, "next")]


def test_an_order_that_was_asked_for_is_left_as_it_comes(plane: Answering) -> None:
    plane.answer = page(["c", "a"], "")

    with speaking(HERE) as conversation:
        assert [row["name"] for row in conversation.all("ApplicationNames", {"orderBy": "CREATED"})] == ["c", "a"]


def test_a_limit_is_asked_of_the_plane(plane: Answering) -> None:
    plane.answer = page(["a", "b"], "next")

    with speaking(HERE) as conversation:
        assert len(conversation.all("ApplicationNames", limit=2)) == 2

    assert [each["first"] for each in asked(plane)] == [2]


def test_an_answer_that_is_null_is_an_empty_list(plane: Answering) -> None:
    plane.answer = {"data": {"application": None}}

    with speaking(HERE) as conversation:
        assert conversation.all("Bundles", {"application": "1"}, inside="bundles") == []


def test_a_rehearsal_sends_no_change(plane: Answering, capsys: pytest.CaptureFixture[str]) -> None:
    with speaking(HERE, dry_run=True) as conversation, pytest.raises(Rehearsed):
        conversation.change("DeleteBundle", {"id": "1", "more": None})

    assert asked(plane) == []
    assert capsys.readouterr().err == 'would send DeleteBundle {"id": "1"}\n'


def test_several_calls_share_one_sign_in(plane: Answering) -> None:
    with speaking(HERE) as conversation:
        conversation.ask("Viewer")
        conversation.ask("Viewer")

    assert [path for path, _, _ in plane.heard] == ["/oauth2/token", "/director/graphql", "/director/graphql"]


def test_what_was_not_given_is_left_to_the_plane() -> None:
    assert given(a=None, b=(), c={}, d=0, e="", f="x") == {"d": 0, "e": "", "f": "x"}


def test_another_context_and_tenant_can_be_named(cli: Cli, plane: Answering) -> None:
    assert cli("whoami", "--tenant", "other").code == 0
    assert plane.heard[-1][1]["tenant"] == "other"
    assert cli("whoami", "--context", "none").code == 4


def test_every_call_is_told_without_its_secrets_when_that_was_asked_for(
    plane: Answering, capsys: pytest.CaptureFixture[str]
) -> None:
    plane.answer = {"data": {"bundle": None}}
    given_in = {"in": {"name": "b", "auth": {"password": "geheim", "clientSecret": None}, "token": "geheim"}}
    with speaking(Where(verbose=True)) as conversation:
        conversation.ask("DeleteBundle", {"id": "1", **given_in})
        plane.answer = {"errors": [{"message": "no"}]}
        with pytest.raises(PlaneRefused):
            conversation.ask("DeleteBundle", {"id": "2"})

    told = capsys.readouterr()
    first, second = told.err.splitlines()
    assert (told.out, "geheim" in told.err) == ("", False)
    assert re.fullmatch(r'DeleteBundle \{"id": "1", "in": .*"name": "b".*\} answered in \d+ ms', first)
    assert re.fullmatch(r'DeleteBundle \{"id": "2"\} failed in \d+ ms', second)


def test_a_rehearsal_shows_no_secret(plane: Answering, capsys: pytest.CaptureFixture[str]) -> None:
    with speaking(HERE, dry_run=True) as conversation, pytest.raises(Rehearsed):
        conversation.change("DeleteBundle", {"in": {"auth": {"password": "geheim"}}})

    assert asked(plane) == []
    assert "geheim" not in capsys.readouterr().err
