"""`compass pair`: what ends it before a token is spent. Pairing itself: tests/agent/test_pair.py and tests/e2e."""

import io
from pathlib import Path

import pytest

from compass.cli.main import run
from tests.cli.conftest import Answering


@pytest.fixture
def token_file(home: Path) -> str:
    (home / "token").write_text("one-time\n")
    return str(home / "token")


def test_a_wrong_pin_ends_it_before_the_token_is_sent(
    plane: Answering, token_file: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pin = "sha256:" + "0" * 64

    assert run(["pair", "--server", plane.url, "--ca-pin", pin, "--token-file", token_file]) == 9

    assert [path for path, _, _ in plane.heard] == ["/ca.pem"]
    assert f"it shows {plane.pin}, expected is {pin}; nothing was sent" in capsys.readouterr().err
    assert not (home / "compass").exists()


def test_a_refused_token_has_its_own_exit_code(plane: Answering, token_file: str, home: Path) -> None:
    plane.answer = {"errors": [{"message": "Failed to authenticate request"}], "data": None}

    assert (
        run(
            [
                "pair",
                "--connector-url",
                f"{plane.url}/connector/graphql",
                "--ca-pin",
                plane.pin,
                "--token-file",
                token_file,
            ]
        )
        == 10
    )

    path, headers, _ = plane.heard[-1]
    assert (path, headers["connector-token"]) == ("/connector/graphql", "one-time")
    assert not (home / "compass/client.crt").exists()


PIN = "sha256:" + "0" * 64


def test_an_unreachable_plane_has_its_own_exit_code(token_file: str) -> None:
    assert run(["pair", "--server", "https://127.0.0.1:1", "--ca-pin", PIN, "--token-file", token_file]) == 8


def test_the_token_may_come_from_standard_input(plane: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    plane.answer = {"errors": [{"message": "Failed to authenticate request"}], "data": None}
    monkeypatch.setattr("sys.stdin", io.StringIO("piped\n"))

    assert run(["pair", "--server", plane.url, "--ca-pin", plane.pin, "--token", "-"]) == 10

    assert plane.heard[-1][1]["connector-token"] == "piped"


@pytest.mark.parametrize("where", [[], ["--server", "https://a", "--connector-url", "https://b"]])
def test_where_to_is_given_once(where: list[str], token_file: str) -> None:
    assert run(["pair", *where, "--ca-pin", "sha256:00", "--token-file", token_file]) == 2


def test_a_token_is_never_sent_unencrypted(token_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["pair", "--server", "http://127.0.0.1:1", "--ca-pin", "sha256:00", "--token-file", token_file]) == 2

    assert "is not an https:// address" in capsys.readouterr().err
