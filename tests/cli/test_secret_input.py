"""Secrets come from standard input, a file or the environment, and from nowhere else."""

import io
from pathlib import Path

import pytest

from compass.cli.failures import CommandFailed, Exit
from compass.cli.secret_input import over_tls, read_text, secret, whole_pin


def token(typed: str | None = None, file: Path | None = None) -> str:
    return secret("one-time token", flag="--token", typed=typed, file=file, variable="COMPASS_TOKEN")


@pytest.fixture(autouse=True)
def _piped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("piped\nmore\n"))


def test_each_way_in_is_read_without_its_line_end(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").write_text(" kept \n")
    monkeypatch.setenv("COMPASS_TOKEN", "exported\n")

    assert token(typed="-") == "piped"
    assert token(file=home / "file") == "kept"
    assert token() == "exported"


def test_a_file_named_minus_is_standard_input() -> None:
    assert token(file=Path("-")) == "piped"


def test_a_typed_secret_is_refused_and_not_repeated() -> None:
    with pytest.raises(CommandFailed) as refused:
        token(typed="geheim")

    assert refused.value.exit_code is Exit.USAGE
    assert "geheim" not in f"{refused.value} {refused.value.hint}"


def test_no_secret_at_all_is_a_usage_error_and_nobody_is_asked_without_a_terminal() -> None:
    with pytest.raises(CommandFailed, match="there is no one-time token"):
        token()


def test_two_ways_at_once_are_refused(home: Path) -> None:
    with pytest.raises(CommandFailed, match="exclude each other"):
        token(typed="-", file=home / "file")


def test_a_file_that_cannot_be_read_is_named(home: Path) -> None:
    with pytest.raises(CommandFailed, match=r"none cannot be read: .*No such file"):
        read_text(home / "none")


def test_a_secret_is_sent_over_tls_or_not_at_all() -> None:
    assert over_tls("https://plane.example") == "https://plane.example"
    for url in ("http://plane.example", "plane.example", "ftp://plane.example", ""):
        with pytest.raises(CommandFailed, match="a secret would be readable on its way") as refused:
            over_tls(url)
        assert refused.value.exit_code == Exit.USAGE


@pytest.mark.parametrize("pin", ["sha256:" + "0d" * 32, "0D" * 32, "sha256:" + ":".join(["0d"] * 32)])
def test_a_pin_is_taken_in_each_of_its_forms(pin: str) -> None:
    assert whole_pin(pin) == pin


@pytest.mark.parametrize("pin", ["sha256:" + "0d" * 31, "sha256:0d7d…", "", "sha1:" + "0d" * 32])
def test_a_pin_that_was_cut_off_is_a_usage_error_before_anything_is_sent(pin: str) -> None:
    with pytest.raises(CommandFailed, match="nothing was sent") as refused:
        whole_pin(pin)

    assert refused.value.exit_code is Exit.USAGE
