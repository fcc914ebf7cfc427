"""What `compass up` says and keeps when the plane is ready. The plane itself: tests/e2e."""

from dataclasses import replace
from pathlib import Path

import pytest

from compass.app import Started
from compass.cli import context
from compass.cli.context import Context
from compass.cli.up import report
from compass.settings import Settings

FIRST = Started(
    token_url="https://localhost:8443",
    mtls_url="https://localhost:8444",
    ca_fingerprint="sha256:aa",
    ca_pem="PEM",
    tenant="tenant-1",
    admin_client_id="admin-id",
    admin_secret="geheim",
    database="PostgreSQL of its own",
    elapsed_seconds=1.04,
)
LATER = replace(FIRST, admin_secret=None)
LOCAL = Context(name="local", url="https://localhost:8443", ca_pin="sha256:aa", client_id="admin-id", tenant="tenant-1")


def said(facts: Started, capsys: pytest.CaptureFixture[str]) -> str:
    report(facts, Settings(data_folder=Path("/data")))
    shown = capsys.readouterr()
    assert shown.out == ""  # nothing here is data
    return shown.err


def test_the_first_start_signs_its_owner_in_and_shows_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(FIRST, capsys)

    assert context.chosen() == LOCAL
    assert (LOCAL.secret_file.read_text(), LOCAL.anchor_file.read_text()) == ("geheim\n", "PEM")
    assert "geheim" not in shown
    assert "https://localhost:8443   client certificates on https://localhost:8444" in shown
    assert "Ready in 1.0 s" in shown


def test_a_secret_that_cannot_be_kept_is_shown_because_it_would_be_lost(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / ".config").write_text("a file where a folder belongs")

    shown = said(FIRST, capsys)

    assert shown.count("geheim") == 1
    assert "client admin-id, secret geheim" in shown


def test_a_later_start_finds_its_owner_signed_in_also_on_another_port(capsys: pytest.CaptureFixture[str]) -> None:
    said(FIRST, capsys)

    shown = said(replace(LATER, token_url="https://localhost:9443"), capsys)

    assert "✓ signed in  as the administrator (context local)" in shown
    assert context.chosen() == replace(LOCAL, url="https://localhost:9443")
    assert LOCAL.secret_file.read_text() == "geheim\n"


@pytest.mark.parametrize("known", [True, False])
def test_without_the_secret_of_the_first_start_the_way_in_is_named(
    known: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if known:  # another plane's
        said(replace(FIRST, ca_fingerprint="sha256:bb"), capsys)
    before = context.find("local")

    shown = said(LATER, capsys)

    assert "! signed in  no" in shown
    assert "compass login https://localhost:8443 --ca-pin sha256:aa --client-id admin-id" in shown
    assert context.find("local") == before


def test_it_prints_a_link_to_the_console(capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(replace(LATER, console_link=lambda: "https://localhost:8443/console/sign-in?code=abc"), capsys)

    assert "✓ console    https://localhost:8443/console/sign-in?code=abc   (signs in once, within 10 minutes)" in shown
