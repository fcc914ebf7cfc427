"""`compass cert renew` and `export` of a folder that was paired with a real plane."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization.pkcs12 import load_key_and_certificates

from compass.runtime.process import alone
from tests.cli.conftest import Cli
from tests.cli.test_connect import bash


@pytest.fixture
def paired(cli: Cli, tenant: str, home: Path) -> Path:
    """The folder of an application that was paired by the command that was printed."""
    cli("app", "create", "crm")
    assert bash(cli("app", "connect", "crm").out, home / "there").returncode == 0
    return home / "there/compass"


def test_a_certificate_is_renewed_with_a_new_key_and_the_plane_knows_both(cli: Cli, paired: Path) -> None:
    before = {name: (paired / name).read_text() for name in ("client.crt", "client.key")}

    not_due = cli("cert", "renew", "--folder", str(paired), "--if-due")
    assert (not_due.code, not_due.err) == (0, "not due yet\n")
    assert (paired / "client.crt").read_text() == before["client.crt"]

    renewed = cli("cert", "renew", "--folder", str(paired))

    assert renewed.code == 0, renewed.err
    assert all((paired / name).read_text() != text for name, text in before.items())
    end = x509.load_pem_x509_certificate((paired / "client.crt").read_bytes()).not_valid_after_utc
    assert renewed.out == f"{end:%Y-%m-%dT%H:%M:%SZ}\n"
    rows = cli("cert", "list", "--app", "crm", "-o", "json").json
    assert [(row["state"], row["lineage"]) for row in rows] == [("VALID", rows[0]["lineage"])] * 2


def test_a_revoked_certificate_is_not_renewed_and_stays_as_it_was(cli: Cli, paired: Path) -> None:
    before = (paired / "client.crt").read_text()
    assert cli("cert", "revoke", "--app", "crm", "--yes").code == 0

    refused = cli("cert", "renew", "--folder", str(paired))

    assert refused.code == 7, refused
    assert (paired / "client.crt").read_text() == before


def test_a_folder_that_an_agent_works_in_is_left_to_it(cli: Cli, paired: Path) -> None:
    with alone(paired):
        refused = cli("cert", "renew", "--folder", str(paired))

    assert (refused.code, refused.out) == (6, "")
    assert refused.err.endswith("hint: compass agent status says how it is doing\n")


def test_what_is_printed_is_public_and_the_file_holds_the_key(cli: Cli, paired: Path, home: Path) -> None:
    printed = cli("cert", "export", "--folder", str(paired))
    assert printed.out == (paired / "chain.crt").read_text()
    assert "PRIVATE" not in printed.out

    (home / "password").write_text("between us\n")
    file = home / "crm.p12"
    kept = cli("cert", "export", "--folder", str(paired), "--pkcs12", str(file), "--password-file", "password")

    assert (kept.code, kept.out) == (0, "")
    assert file.stat().st_mode & 0o777 == 0o600
    key, leaf, chain = load_key_and_certificates(file.read_bytes(), b"between us")
    assert key is not None
    assert leaf == x509.load_pem_x509_certificate((paired / "client.crt").read_bytes())
    assert len(chain) == printed.out.count("BEGIN CERTIFICATE") - 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["renew"], 4),
        (["export"], 4),
        (["export", "--pkcs12", "x.p12", "--password-file", "none"], 4),
    ],
)
def test_without_an_identity_nothing_is_done(arguments: list[str], expected: int, cli: Cli, home: Path) -> None:
    assert cli("cert", *arguments).code == expected
    assert list(home.iterdir()) == []


def test_a_password_is_asked_for_nowhere_without_a_terminal(cli: Cli, paired: Path, home: Path) -> None:
    assert cli("cert", "export", "--folder", str(paired), "--pkcs12", "x.p12").code == 2
    assert cli("cert", "export", "--folder", str(paired), "--pkcs12", "x.p12", "--password", "typed").code == 2
    assert cli("cert", "export", "--folder", str(paired), "--password-file", "x").code == 2
    assert not (home / "x.p12").exists()
