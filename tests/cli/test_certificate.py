"""`compass cert` against a real plane."""

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.test_connect import bash


@pytest.mark.usefixtures("tenant")
def test_a_certificate_is_listed_shown_and_revoked(cli: Cli, home: Path) -> None:
    cli("app", "create", "crm")
    assert bash(cli("app", "connect", "crm").out, home / "there").returncode == 0

    (row,) = cli("cert", "list", "--state", "valid", "-o", "json").json
    assert cli("cert", "get", row["serial"][:10], "-o", "jsonpath=.fingerprint").out.strip() == row["fingerprint"]
    assert cli("cert", "list", "--app", "crm", "-o", "name").out.split() == [row["serial"]]
    assert cli("cert", "get", "zz").code == 4

    assert cli("cert", "revoke", row["serial"]).code == 2
    assert cli("cert", "revoke", row["serial"], "--reason", "stolen", "--yes").out == "1\n"

    (row,) = cli("cert", "list", "-o", "json").json
    assert (row["state"], row["revocationReason"]) == ("REVOKED", "stolen")
    assert cli("cert", "revoke", "--app", "crm", "--yes").out == "0\n"
    assert cli("cert", "revoke").code == 2
