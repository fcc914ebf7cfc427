"""`compass login` stores nothing before the plane has proved who it is and taken the credentials."""

from pathlib import Path

import pytest

from compass.cli import context
from compass.cli.context import Context
from compass.cli.main import run
from tests.cli.conftest import Answering


def login(plane: Answering, home: Path, *, secret: str = "correct", pin: str | None = None) -> int:
    file = home / "secret"
    file.write_text(secret + "\n")
    arguments = ["--ca-pin", pin or plane.pin, "--client-id", "admin", "--secret-file", str(file), "--name", "x"]
    return run(["login", plane.url, *arguments])


def test_a_plane_that_fits_its_pin_and_takes_the_secret_becomes_the_current_context(
    plane: Answering, home: Path
) -> None:
    assert login(plane, home) == 0

    assert context.chosen() == Context(name="x", url=plane.url, ca_pin=plane.pin, client_id="admin")
    assert context.chosen().secret_file.read_text() == "correct\n"
    path, headers, body = plane.heard[-1]
    assert path == "/oauth2/token"
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert body == "grant_type=client_credentials"


def test_another_plane_than_the_pinned_one_hears_no_secret(
    plane: Answering, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert login(plane, home, pin="sha256:" + "0" * 64) == 9

    assert [path for path, _, _ in plane.heard] == ["/ca.pem"]
    assert "nothing was sent" in capsys.readouterr().err
    assert not (home / ".config").exists()


def test_a_refused_secret_is_not_kept(plane: Answering, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert login(plane, home, secret="wrong") == 7

    assert capsys.readouterr().err == (
        f"error: {plane.url}/oauth2/token refused the client admin\nhint: compass login replaces the credentials\n"
    )
    assert not (home / ".config").exists()


def test_silence_is_told_from_refusal(home: Path, plane: Answering) -> None:
    plane.url = "https://127.0.0.1:1"

    assert login(plane, home) == 8


def test_a_secret_is_never_sent_unencrypted(plane: Answering, home: Path) -> None:
    plane.url = plane.url.replace("https", "http")

    assert login(plane, home) == 2

    assert plane.heard == []
    assert not (home / ".config").exists()
