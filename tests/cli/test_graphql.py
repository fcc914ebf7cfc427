"""`compass graphql`: the document and variables arrive as they were given, and the answer decides the exit code."""

import io
import json
from pathlib import Path

import pytest

from compass.cli import context
from compass.cli.context import Context
from compass.cli.main import run
from tests.cli.conftest import Answering


@pytest.fixture
def signed_in(plane: Answering) -> Answering:
    local = Context(name="local", url=plane.url, ca_pin=plane.pin, client_id="admin", tenant="default")
    context.keep(local, secret="correct", anchor=plane.ca_pem)
    return plane


def sent(plane: Answering) -> tuple[str, dict[str, str], dict[str, object]]:
    path, headers, body = plane.heard[-1]
    return path, headers, json.loads(body)


def test_the_answers_data_is_printed_as_json(signed_in: Answering, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["graphql", "-q", "{ viewer { id } }"]) == 0

    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"viewer": {"id": "admin"}}
    assert shown.err == ""
    path, headers, body = sent(signed_in)
    assert path == "/director/graphql"
    assert (headers["authorization"], headers["tenant"]) == ("Bearer t0k3n", "default")
    assert body == {"query": "{ viewer { id } }", "variables": {}}


def test_variables_are_json_where_they_read_as_json_and_text_otherwise(signed_in: Answering) -> None:
    pairs = ["n=5", "text=five", 'quoted="5"', "flag=true", "list=[1,2]", "equation=a=b", "empty="]

    assert run(["graphql", "-q", "query", *(part for pair in pairs for part in ("--var", pair))]) == 0

    assert sent(signed_in)[2]["variables"] == {
        "n": 5,
        "text": "five",
        "quoted": "5",
        "flag": True,
        "list": [1, 2],
        "equation": "a=b",
        "empty": "",
    }


@pytest.mark.parametrize("how", [["file.graphql"], ["-f", "file.graphql"], ["-"], ["-f", "-"]])
def test_the_document_may_be_a_file_or_standard_input(
    how: list[str], signed_in: Answering, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "file.graphql").write_text("{ a }")
    monkeypatch.setattr("sys.stdin", io.StringIO("{ a }"))

    assert run(["graphql", *how]) == 0

    assert sent(signed_in)[2]["query"] == "{ a }"


def test_another_api_and_another_tenant_can_be_named(signed_in: Answering) -> None:
    assert run(["graphql", "-q", "{ a }", "--api", "provisioner", "--tenant", "other"]) == 0

    path, headers, _ = sent(signed_in)
    assert (path, headers["tenant"]) == ("/provisioner/graphql", "other")


def test_a_token_of_the_environment_is_used_instead_of_the_stored_credentials(
    signed_in: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPASS_TOKEN", "mine")

    assert run(["graphql", "-q", "{ a }"]) == 0

    assert [path for path, _, _ in signed_in.heard] == ["/director/graphql"]
    assert sent(signed_in)[1]["authorization"] == "Bearer mine"


@pytest.mark.parametrize(("code", "expected"), [(20, 4), (31, 6), (23, 7), (22, 1)])
def test_a_refusal_ends_with_the_exit_code_of_its_kind(
    code: int, expected: int, signed_in: Answering, capsys: pytest.CaptureFixture[str]
) -> None:
    signed_in.answer = {"errors": [{"message": "it is so", "extensions": {"error_code": code}}], "data": None}

    assert run(["graphql", "-q", "{ a }"]) == expected

    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == f"error[COMPASS-{code}]: it is so\nhint: compass explain {code}\n"


def test_a_plane_of_another_authority_hears_nothing(signed_in: Answering, plane: Answering) -> None:
    local = context.chosen()
    local.anchor_file.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")

    assert run(["graphql", "-q", "{ a }"]) == 9

    assert plane.heard == []


@pytest.mark.parametrize(
    "arguments",
    [[], ["-q", "{ a }", "-f", "file"], ["-q", "{ a }", "--var", "novalue"], ["-q", "{ a }", "--api", "none"]],
)
def test_a_wrong_call_is_a_usage_error_and_nothing_is_sent(arguments: list[str], signed_in: Answering) -> None:
    assert run(["graphql", *arguments]) == 2

    assert signed_in.heard == []


def test_without_a_context_the_next_step_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["graphql", "-q", "{ a }"]) == 1

    assert capsys.readouterr().err == (
        "error: there is no plane to speak to yet\nhint: compass up starts one, compass login adds one\n"
    )
